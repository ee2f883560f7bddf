"""What commit promises: order, completeness, and what is on the disk when it returns."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from sebago.journal import Entry, Reader, replay
from tests.journal.entries import dead_copy, entry, kept, open_journal, replayed


def test_what_was_committed_is_read_back_byte_for_byte(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    datas = [b"", b"a", bytes(range(256)) * 16, b"x" * 60_000]
    entries = kept(journal, *datas)
    reader = Reader(tmp_path)
    for found, data in zip(entries, datas, strict=True):
        assert found.position is not None
        assert reader.read(found.position) == data
        assert reader.view(found.position) == data
        assert reader.provenance(found.position) == found.provenance
        reader.verify(found.position, found.digest)
    reader.close()
    journal.close()


def test_a_thousand_commits_at_once_are_all_kept_and_reach_the_index_in_journal_order(
    tmp_path: Path,
) -> None:
    seen: list[Entry] = []
    journal = open_journal(tmp_path, seen.extend)
    entries = [entry(number.to_bytes(4, "big") * 300) for number in range(1000)]

    def commit(mine: Sequence[Entry]) -> None:
        for one in mine:
            journal.commit([one])
            assert one.error is None
            assert one in seen  # through the second stage before commit returns

    threads = [threading.Thread(target=commit, args=(entries[n::20],)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert set(map(id, seen)) == set(map(id, entries))
    places = [(e.position.segment, e.position.offset) for e in seen if e.position]
    assert places == sorted(places)
    assert [r.position for r in replay(tmp_path, {})] == [e.position for e in seen]


def test_what_the_second_stage_raises_is_the_error_of_exactly_that_batch(tmp_path: Path) -> None:
    def refuse(batch: Sequence[Entry]) -> None:
        if any(one.note == "bad" for one in batch):
            raise LookupError("the index is away")

    journal = open_journal(tmp_path, refuse)
    bad = [entry(b"1", note="bad"), entry(b"2")]
    journal.commit(bad)
    assert all(isinstance(one.error, LookupError) for one in bad)
    kept(journal, b"3")
    journal.close()


def test_an_entry_that_breaks_the_rules_is_the_callers_mistake(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(ValueError, match="provenance"):
        journal.commit([entry(b"1", provenance=bytes(65_537))])
    journal.close()
    with pytest.raises(RuntimeError, match="closed"):
        journal.commit([entry(b"1")])
    with pytest.raises(ValueError, match="view of bytes"):
        Entry(memoryview(b"1234").cast("I"), bytes(32), b"", 1).check()
    with pytest.raises(ValueError, match="digest"):
        Entry(memoryview(b""), b"short", b"", 1).check()


def test_the_next_batch_is_synced_while_the_second_stage_of_the_last_one_runs(
    tmp_path: Path,
) -> None:
    calls: list[list[object]] = []
    running, may_end = threading.Event(), threading.Event()

    def slow(batch: Sequence[Entry]) -> None:
        calls.append([one.note for one in batch])
        running.set()
        assert may_end.wait(30)

    journal = open_journal(tmp_path, slow)
    entries = [entry(b"%d" % number, note=number) for number in range(4)]
    threads = [threading.Thread(target=journal.commit, args=([one],)) for one in entries]
    threads[0].start()
    assert running.wait(30)
    for number in (1, 2, 3):  # each on the disk before the next one comes, none through
        threads[number].start()
        while entries[number].position is None:
            pass
    assert len(replayed(dead_copy(tmp_path))[0]) == 4
    assert calls == [[0]]
    may_end.set()
    for thread in threads:
        thread.join()
    assert calls == [[0], [1, 2, 3]]  # one call for all that waited, in their order
    journal.close()
