"""After a crash: what the journal holds and the index does not comes back, once, and damage is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from sebago.errors import Damaged
from sebago.index.engine import Index
from sebago.intake import Declared, Intake, Source
from sebago.intake.provenance import provenance, read_provenance
from sebago.intake.recover import Recovered, recover
from sebago.journal import Entry, Journal
from tests.intake.conftest import EXPLICIT, LIMITS, NORTH, SOUTH, Give
from tests.samples import body, small

words = st.text(max_size=20)


def unknown_to_the_index(folder: Path, *things: tuple[bytes, bytes]) -> None:
    """Records as a process leaves them that dies between the journal's sync and the index."""
    from blake3 import blake3

    journal = Journal.open(
        folder / "journal",
        segment_bytes=LIMITS.segment_bytes,
        reserve_bytes=0,
        queue_bytes_max=1 << 20,
        inline_bytes_max=1 << 20,
        then=lambda entries: None,
    )
    try:
        for at, (data, said) in enumerate(things):
            entry = Entry(
                data=memoryview(data),
                digest=blake3(data).digest(),
                provenance=said,
                received_us=1_700_000_000_000_000 + at,
                note=None,
            )
            journal.commit([entry])
            assert entry.error is None
    finally:
        journal.close()


def facilities(index: Index) -> list[tuple[str, str]]:
    with index.read() as conn:
        rows = conn.execute(text("select facility, sop_instance_uid from instance order by 1, 2"))
        return [(row[0], row[1]) for row in rows]


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Index]:
    opened = Index.open(tmp_path)
    yield opened
    opened.dispose()


def recovered(index: Index, folder: Path) -> Recovered:
    return recover(index, folder / "journal")


def test_what_was_durable_and_not_indexed_is_found_afterwards_and_once(fresh: Index, tmp_path):
    said = provenance(NORTH, Declared(EXPLICIT))
    theirs = provenance(SOUTH, Declared(EXPLICIT))
    one, two = body(small()), body(small(instance="1.2.3.1.1.2"))
    unknown_to_the_index(tmp_path, (one, said), (two, said), (one, said), (one, theirs))
    found = recovered(fresh, tmp_path)
    assert (found.instances, found.damage, found.unreadable) == (4, [], [])
    assert facilities(fresh) == [
        ("NORTH", "1.2.3.1.1.1"), ("NORTH", "1.2.3.1.1.2"), ("SOUTH", "1.2.3.1.1.1"),
    ]  # fmt: skip
    assert recovered(fresh, tmp_path).instances == 0


def test_the_latest_of_two_contents_is_current_after_a_recovery(fresh: Index, tmp_path):
    said = provenance(NORTH, Declared(EXPLICIT))
    first, second = body(small()), body(small(SeriesDescription="CORRECTED"))
    unknown_to_the_index(tmp_path, (first, said), (second, said))
    recovered(fresh, tmp_path)
    with fresh.read() as conn:
        rows = conn.execute(text("select version, current from instance order by version")).all()
    assert [tuple(row) for row in rows] == [(1, None), (2, 1)]


def test_what_cannot_be_indexed_is_named_and_the_rest_comes_back(fresh: Index, tmp_path):
    said = provenance(NORTH, Declared(EXPLICIT))
    good = body(small())
    things = [(b"no data set", said), (good, b"no provenance"), (good, said)]
    unknown_to_the_index(tmp_path, *things)
    found = recovered(fresh, tmp_path)
    assert found.instances == 1
    assert len(found.unreadable) == 2
    assert facilities(fresh) == [("NORTH", "1.2.3.1.1.1")]


def test_an_empty_folder_has_nothing_to_recover(fresh: Index, tmp_path):
    assert recovered(fresh, tmp_path) == Recovered()


def test_recovery_beside_a_working_intake_changes_nothing(
    give: Give, intake: Intake, index: Index, tmp_path
):
    for number in range(1, 4):
        give(body(small(instance=f"1.2.3.1.1.{number}")))
        assert recover(index, tmp_path / "journal").instances == 0
    assert len(facilities(index)) == 3


@given(words, words, words, words, words, words)
def test_provenance_says_what_was_said_whatever_the_words(facility, authority, door, name, at, ts):
    source, declared = Source(facility, authority, door, name, at), Declared(ts)
    assert read_provenance(provenance(source, declared)) == (source, declared)


@pytest.mark.parametrize("data", [b"", b"[]", b"1", b"{}", b'{"v":2}', b"\xff", b'{"v":1}'])
def test_a_provenance_that_is_none_is_damage(data):
    with pytest.raises(Damaged):
        read_provenance(data)


def test_members_that_are_not_known_are_passed_over():
    said = provenance(NORTH, Declared(EXPLICIT))
    assert read_provenance(said[:-1] + b',"later":[1,{}]}') == (NORTH, Declared(EXPLICIT))
