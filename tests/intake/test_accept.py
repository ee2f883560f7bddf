"""The one way in: what is kept, what is refused, and that the same thing twice is one thing."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from sebago.errors import Mismatch, MissingIdentifier, NotDicom, NotSupported, TooLarge, Truncated
from sebago.index.engine import Index
from sebago.intake import Intake, Outcome
from sebago.intake.recover import recover
from sebago.journal import Position, Reader
from tests.intake.conftest import LIMITS, NORTH, SOUTH, Give
from tests.samples import body, small


def rows(index: Index, statement: str) -> list[tuple[object, ...]]:
    with index.read() as conn:
        return [tuple(row) for row in conn.execute(text(statement))]


def kept(index: Index, folder: Path, where: str = "") -> list[bytes]:
    """The journal's bytes of all instances, in the order of arrival."""
    found = rows(
        index,
        "select writer, segment, data_offset, data_length from instance "
        f"{where} order by instance_id",
    )
    reader = Reader(folder / "journal")
    try:
        return [
            reader.read(Position(str(w), int(s), int(o), int(n), int(o) + int(n)))  # type: ignore[call-overload]
            for w, s, o, n in found
        ]
    finally:
        reader.close()


def test_what_is_accepted_is_findable_and_lies_in_the_journal_byte_for_byte(
    give: Give, index: Index, tmp_path: Path
):
    data = body(small())
    accepted = give(data)
    assert accepted.outcome is Outcome.STORED
    assert accepted.study_instance_uid == "1.2.3.1"
    assert kept(index, tmp_path) == [data]
    assert rows(index, "select patient_id, assigning_authority, facility from study") == [
        ("0042", "NORTH&2.999.1&ISO", "NORTH")
    ]


def test_the_same_content_again_is_a_success_without_a_second_copy(
    give: Give, index: Index, tmp_path: Path
):
    data = body(small())
    give(data)
    assert give(data).outcome is Outcome.ALREADY
    assert kept(index, tmp_path) == [data]


def test_other_content_under_the_same_uid_becomes_the_current_version_and_the_earlier_stays(
    give: Give, index: Index, tmp_path: Path
):
    first, second = body(small()), body(small(SeriesDescription="CORRECTED"))
    give(first)
    assert give(second).outcome is Outcome.VERSION
    assert kept(index, tmp_path) == [first, second]
    assert kept(index, tmp_path, "where current = 1") == [second]
    assert rows(index, "select sum(instance_count) from series") == [(1,)]


def test_two_facilities_that_send_the_same_study_keep_two_custodies(give: Give, index: Index):
    give(body(small()), NORTH)
    assert give(body(small()), SOUTH).outcome is Outcome.STORED
    assert rows(index, "select facility from study order by 1") == [("NORTH",), ("SOUTH",)]


def test_one_study_uid_under_two_patients_stays_two_studies(give: Give, index: Index):
    give(body(small(patient_id="0042")))
    give(body(small(patient_id="0043", instance="1.2.3.1.1.2")))
    assert rows(index, "select patient_id from study order by 1") == [("0042",), ("0043",)]


def test_a_data_set_cut_off_anywhere_is_refused_and_leaves_nothing(
    give: Give, index: Index, tmp_path: Path
):
    data = body(small())
    for cut in (1, 7, 100, len(data) // 2, len(data) - 200, len(data) - 1):
        with pytest.raises((Truncated, NotDicom, MissingIdentifier)):
            give(data[:cut])
    assert rows(index, "select count(*) from instance") == [(0,)]


def test_a_command_that_names_another_object_is_refused(give: Give):
    data = body(small())
    with pytest.raises(Mismatch):
        give(data, sop_instance="1.2.3.4")
    with pytest.raises(Mismatch):
        give(data, sop_class="1.2.840.10008.5.1.4.1.1.4")


def test_what_is_no_stored_object_is_refused(give: Give):
    with pytest.raises(NotSupported):
        give(body(small(SOPClassUID="1.2.840.10008.1.3.10")))


def test_an_object_past_the_limit_is_refused(give: Give):
    pixels = bytes(LIMITS.instance_bytes_max)
    with pytest.raises(TooLarge):
        give(body(small(pixels=pixels)))


def test_an_object_too_large_for_memory_streams_into_a_segment_of_its_own(
    give: Give, index: Index, tmp_path: Path
):
    data = body(small(pixels=bytes(range(256)) * 20_000))
    assert give(data).outcome is Outcome.STORED
    assert kept(index, tmp_path) == [data]


def test_a_thousand_sends_of_one_instance_from_eight_threads_leave_one_copy(
    give: Give, index: Index, tmp_path: Path
):
    data = body(small())
    outcomes: list[Outcome] = []

    def send() -> None:
        outcomes.extend(give(data).outcome for _ in range(125))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Outcome.STORED) == 1
    assert outcomes.count(Outcome.ALREADY) == 999
    assert kept(index, tmp_path) == [data]


def test_an_index_that_was_deleted_is_made_again_from_the_journal(
    give: Give, intake: Intake, index: Index, tmp_path: Path
):
    for number in range(1, 6):
        give(body(small(instance=f"1.2.3.1.1.{number}", number=number)))
    give(body(small(SeriesDescription="CORRECTED")))
    give(body(small()), SOUTH)
    columns = (
        "select facility, sop_instance_uid, digest, version, current, received_us, segment, "
        "data_offset from instance order by received_us"
    )
    studies = "select facility, study_instance_uid, patient_name, attributes from study order by 1"
    before = rows(index, columns), rows(index, studies)
    intake.close()
    fresh = Index.open(tmp_path / "fresh")
    try:
        recovered = recover(fresh, tmp_path / "journal")
        assert recovered.instances == 7
        assert not recovered.damage
        assert (rows(fresh, columns), rows(fresh, studies)) == before
        assert recover(fresh, tmp_path / "journal").instances == 0
    finally:
        fresh.dispose()
