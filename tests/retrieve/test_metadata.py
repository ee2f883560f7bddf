"""Metadata of series: right at the first request, again, while it arrives, after a new version."""

from __future__ import annotations

import gzip
import json
import threading

import pytest
from sqlalchemy import text

from sebago.gate import Role
from sebago.keeper import Keeper
from sebago.retrieve import Metadata
from tests.samples import small
from tests.scp.site import Site

BASE = "https://archive.example/dicomweb"


def image(number: int, **more: object):
    return small(instance=f"1.2.3.1.1.{number}", number=number, **more)  # type: ignore[arg-type]


def asked(site: Site, *, zipped: bool = False, role: Role = Role.SENDER, **more) -> Metadata:
    return site.archive.metadata(
        site.asker("NORTH", role), "1.2.3.1", **more, base_url=BASE, gzip=zipped
    )


def objects(metadata: Metadata) -> dict[int, dict]:
    """DICOM JSON objects by instance number; each must be there once."""
    body = b"".join(metadata.body)
    if metadata.length is not None:
        assert len(body) == metadata.length
    if metadata.gzip:
        body = gzip.decompress(body)
    listed = json.loads(body)
    found = {one["00200013"]["Value"][0]: one for one in listed}
    assert len(found) == len(listed)
    return found


def chunks(site: Site) -> list[int]:
    """Instances in each chunk that is kept."""
    with site.index.read() as conn:
        rows = conn.execute(text("select instance_count from metadata_chunk order by chunk_id"))
        return [row[0] for row in rows]


def test_the_first_request_and_the_next_give_the_same_and_keep_it(here: Site):
    here.give(*(image(number) for number in range(1, 6)))
    assert chunks(here) == []
    first = asked(here)
    told = objects(first)
    assert sorted(told) == [1, 2, 3, 4, 5]
    assert chunks(here) == [5]
    again = asked(here)
    assert objects(again) == told
    assert again.etag == first.etag
    assert objects(asked(here, zipped=True)) == told
    assert objects(asked(here, series="1.2.3.1.1")) == told
    assert told[3]["00100010"]["Value"] == [{"Alphabetic": "Pelletier^Ann"}]
    assert told[3]["7FE00010"]["BulkDataURI"].startswith(f"{BASE}/studies/1.2.3.1/series/")


def test_what_arrives_meanwhile_is_in_the_next_answer_and_changes_the_etag(here: Site):
    etags = set()
    for number in range(1, 8):
        here.give(image(number))
        answer = asked(here)
        assert sorted(objects(answer)) == list(range(1, number + 1))
        etags.add(answer.etag)
    assert len(etags) == 7
    assert sum(chunks(here)) == 7


def test_a_new_version_is_shown_at_once_and_the_old_one_nowhere(here: Site):
    here.give(*(image(number) for number in range(1, 4)))
    before = asked(here)
    assert len(objects(before)) == 3
    here.give(image(2, ImageComments="CORRECTED"))
    after = asked(here)
    told = objects(after)
    assert sorted(told) == [1, 2, 3]
    assert told[2]["00204000"]["Value"] == ["CORRECTED"]
    assert after.etag != before.etag
    assert objects(asked(here)) == told
    (held,) = [one for one in here.archive.locate(here.asker(), "1.2.3.1") if one.version == 2]
    assert held.sop_instance_uid == "1.2.3.1.1.2"


def test_the_etag_is_of_the_content_and_the_address(here: Site):
    here.give(image(1))
    etag = asked(here).etag
    other = here.archive.metadata(here.asker(), "1.2.3.1", base_url="https://b", gzip=False)
    assert other.etag != etag
    here.give(image(1))
    assert asked(here).etag == etag


def test_one_instance_and_part_of_a_series_are_no_more_than_that(here: Site):
    here.give(*(image(number) for number in range(1, 4)))
    asked(here)
    assert sorted(objects(asked(here, instance="1.2.3.1.1.2"))) == [2]


def test_the_exchange_gives_each_instance_once_and_custody_its_own(here: Site):
    here.give(image(1), image(2))
    here.give(image(2), image(3), facility="SOUTH")
    for _ in range(2):
        assert sorted(objects(asked(here, role=Role.CLINICIAN))) == [1, 2, 3]
        assert sorted(objects(asked(here))) == [1, 2]


def test_the_keeper_makes_it_ready_before_anybody_asks(here: Site):
    here.give(*(image(number) for number in range(1, 6)))
    keeper = Keeper(here.archive)
    running = threading.Thread(target=keeper.run)
    running.start()
    try:
        for _ in range(600):
            if sum(chunks(here)) == 5:
                break
            threading.Event().wait(0.05)
        assert sum(chunks(here)) == 5
        here.give(image(2, ImageComments="CORRECTED"), image(6))
        for _ in range(600):
            if sum(chunks(here)) == 6:
                break
            threading.Event().wait(0.05)
        assert sum(chunks(here)) == 6
    finally:
        keeper.stop()
        running.join(30)
    assert not running.is_alive()
    before = chunks(here)
    told = objects(asked(here))
    assert sorted(told) == [1, 2, 3, 4, 5, 6]
    assert told[2]["00204000"]["Value"] == ["CORRECTED"]
    assert chunks(here) == before


def test_readers_and_arrivals_at_once_always_see_whole_answers(here: Site):
    here.give(image(1))
    failed: list[BaseException] = []
    arrived = 1
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                least = arrived
                told = objects(asked(here))
                assert len(told) >= least
                assert sorted(told) == list(range(1, len(told) + 1))
        except BaseException as error:  # noqa: BLE001  (told below)
            failed.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(2, 31):
        here.give(image(number))
        arrived = number
        if number % 10 == 0:
            here.archive.prepare_metadata()
    done.set()
    for reader in readers:
        reader.join(60)
    assert failed == []
    assert sorted(objects(asked(here))) == list(range(1, 31))


@pytest.mark.parametrize("zipped", [False, True])
def test_an_instance_that_is_damaged_does_not_take_its_series_along(here: Site, zipped: bool):
    here.give(*(image(number) for number in range(1, 4)))
    held = here.archive.locate(here.asker(), "1.2.3.1", None, "1.2.3.1.1.2")[0]
    (segment,) = (here.folder / "journal" / held.writer).glob(f"{held.segment:010d}.*")
    with segment.open("r+b") as file:
        file.seek(held.data_offset - 100)
        file.write(bytes(80))
    body = b"".join(asked(here, zipped=zipped).body)
    listed = json.loads(gzip.decompress(body) if zipped else body)
    assert {one["00080018"]["Value"][0] for one in listed} == {
        "1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1.3",
    }  # fmt: skip
