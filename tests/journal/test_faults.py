"""A disk that fails, fills up or writes short: what was acknowledged is there, nothing else is lost."""

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sebago.errors import DiskFull, JournalBehind, JournalFailed, TryLater
from sebago.journal import Entry, Journal, Reader, What
from sebago.journal.disk import BUFFERS_MAX, RealDisk, write_all
from tests.faults import FailingDisk, FullDisk, RecordingDisk, ShortDisk
from tests.journal.entries import dead_copy, entry, kept, open_journal, replayed

SMALL: dict[str, Any] = {"segment_bytes": 48 * 1024, "inline_bytes_max": 12 * 1024}


def store_all(journal: Journal) -> Iterator[Entry]:
    """Commits that begin and end segments, and one object with a segment of its own."""
    for number in range(8):
        batch = [entry(bytes([number]) * 9000), entry(bytes([number, 1]) * 100)]
        journal.commit(batch)
        yield from batch
        if number == 4:
            with journal.spool() as spool:
                spool.write(b"spooled" * 4000)
                try:
                    data = spool.finish()
                except TryLater:
                    continue
                one = Entry(data, spool.digest, b"", 1)
                journal.commit([one])
                yield one


def calls_of_a_whole_run(folder: Path) -> int:
    disk = FailingDisk(0)
    journal = open_journal(folder, disk=disk, **SMALL)
    assert all(one.error is None for one in store_all(journal))
    journal.close()
    return disk.calls


@pytest.mark.parametrize("stays_broken", [False, True])
def test_whichever_call_fails_what_was_acknowledged_is_there_and_the_rest_was_refused(
    tmp_path: Path, stays_broken: bool
) -> None:
    calls = calls_of_a_whole_run(tmp_path / "whole")
    assert calls > 40
    for nth in range(1, calls + 1):
        root = tmp_path / f"fail-{nth}"
        disk = FailingDisk(nth, stays_broken=stays_broken)
        try:
            journal = open_journal(root, disk=disk, **SMALL)
        except OSError:
            continue  # nothing was begun
        acknowledged: list[Entry] = []
        refused: list[Entry] = []
        for one in store_all(journal):
            (acknowledged if one.error is None else refused).append(one)
        copy = dead_copy(root)
        journal.close()
        assert all(isinstance(one.error, JournalFailed) for one in refused)
        if not stays_broken:
            assert len(refused) <= 2  # one batch, and what comes next goes to another segment
        for where in (root, copy):
            reader = Reader(where)
            for one in acknowledged:
                assert one.position is not None
                reader.verify(one.position, one.digest)
            found, findings = replayed(where)
            assert {one.position for one in acknowledged} <= set(found)
            assert not [f for f in findings if f.what is What.DAMAGE]
            reader.close()


def test_after_a_failed_sync_the_file_is_never_written_or_synced_again(tmp_path: Path) -> None:
    for failing in range(1, 12):
        disk = RecordingDisk(frozenset({failing}))
        journal = open_journal(tmp_path / str(failing), disk=disk, **SMALL)
        for number in range(6):
            journal.commit([entry(bytes([number]) * 9000)])
        journal.close()
        folder = tmp_path / str(failing) / journal.writer
        lock = (folder / "lock").stat().st_ino
        assert "failed" in {what for what, _ in disk.log}, failing
        at = next(n for n, (what, _) in enumerate(disk.log) if what == "failed")
        inode = disk.log[at][1]
        if inode != lock:
            assert inode not in {where for _, where in disk.log[at + 1 :]}
        os.close(disk.pinned)


def test_a_batch_whose_sync_failed_is_refused_alone_and_does_not_come_up_again(
    tmp_path: Path,
) -> None:
    disk = FailingDisk(0, operations=frozenset({"fdatasync"}))
    journal = open_journal(tmp_path, disk=disk)
    first = kept(journal, b"first")
    disk.nth = disk.calls + 1
    lost = [entry(b"lost"), entry(b"lost too")]
    journal.commit(lost)
    assert all(isinstance(one.error, JournalFailed) for one in lost)
    assert all(one.position is None for one in lost)
    second = kept(journal, b"second")
    copy = dead_copy(tmp_path)
    journal.close()
    expected = [one.position for one in (*first, *second)]
    for where in (tmp_path, copy):
        assert replayed(where) == (expected, [])
    assert first[0].position is not None
    Reader(tmp_path).verify(first[0].position, first[0].digest)


@pytest.mark.parametrize("most", [1, 100, 4096, 100_000])
def test_short_writes_are_carried_on_to_the_end(tmp_path: Path, most: int) -> None:
    journal = open_journal(tmp_path, disk=ShortDisk(most))
    entries = kept(journal, b"a" * 500, b"", b"b" * 30)
    journal.close()
    assert replayed(tmp_path) == ([one.position for one in entries], [])


def test_a_write_that_gets_nowhere_is_a_failure(tmp_path: Path) -> None:
    disk = ShortDisk(1 << 30)
    journal = open_journal(tmp_path, disk=disk)
    kept(journal, b"1")
    disk.stuck_from = disk.calls + 1
    one = entry(b"2")
    journal.commit([one])
    assert isinstance(one.error, JournalFailed)
    journal.close()


def test_a_batch_of_more_buffers_than_one_call_takes_is_written_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=4 * 1024 * 1024)
    entries = kept(journal, *(str(n).encode() for n in range(BUFFERS_MAX)))
    journal.close()
    assert replayed(tmp_path) == ([one.position for one in entries], [])


def test_empty_buffers_at_the_end_of_a_short_write_are_passed_over(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        disk = ShortDisk(3)
        assert write_all(disk, file.fileno(), [b"", b"abcd", b"", b"ef", b""], 0) == 6
        assert file.read() == b"abcdef"


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Reported(RealDisk):
    """A disk that reports as much free space as it is told to."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.asked = 0

    def free_bytes(self, folder: Path) -> int:
        self.asked += 1
        return self.free


def test_a_disk_below_its_reserve_refuses_before_anything_is_written_and_resumes_by_itself(
    tmp_path: Path,
) -> None:
    clock, disk = Clock(), Reported(10_000_000)
    journal = open_journal(tmp_path, disk=disk, clock=clock, reserve_bytes=1_000_000)
    kept(journal, b"1")
    disk.free = 999_999
    clock.now_s += 1.1
    folder = tmp_path / journal.writer
    before = {path: path.read_bytes() for path in folder.iterdir()}
    one = entry(b"2")
    journal.commit([one])
    assert isinstance(one.error, DiskFull)
    assert one.error.do
    with journal.spool() as spool:
        spool.write(bytes(200_000))
        with pytest.raises(DiskFull):
            spool.finish()
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    disk.free = 10_000_000
    clock.now_s += 1.1
    kept(journal, b"3")
    journal.close()


def test_the_system_is_asked_for_free_space_once_a_second_and_allocation_is_counted_between(
    tmp_path: Path,
) -> None:
    clock, disk = Clock(), Reported(1_000_000)
    journal = open_journal(
        tmp_path, disk=disk, clock=clock, reserve_bytes=500_000, segment_bytes=256 * 1024
    )
    for _ in range(3):
        kept(journal, b"1" * 70_000)
    assert disk.asked == 1
    more = [entry(b"1" * 70_000) for _ in range(4)]
    journal.commit(more)  # wants a second segment: 1,000,000 less two of them is below the reserve
    assert [isinstance(one.error, DiskFull) for one in more] == [True] * 4
    journal.close()


def test_a_full_disk_is_answered_as_one(tmp_path: Path) -> None:
    disk = FullDisk(300_000)
    journal = open_journal(tmp_path, disk=disk, segment_bytes=256 * 1024)
    kept(journal, b"1" * 200_000)
    one = entry(b"2" * 200_000)
    journal.commit([one])
    assert isinstance(one.error, DiskFull)
    disk.left_bytes = 300_000
    journal.commit([again := entry(b"2" * 200_000)])
    assert isinstance(again.error, DiskFull)  # within the same second nothing else is known
    journal.close()
    assert len(replayed(tmp_path)[0]) == 1


@pytest.mark.parametrize("operation", ["fallocate", "pwritev"])
def test_no_room_where_there_should_be_some_is_disk_full_too(
    tmp_path: Path, operation: str
) -> None:
    disk = FailingDisk(0, operations=frozenset({operation}), number=errno.ENOSPC)
    journal = open_journal(tmp_path, disk=disk)
    if operation == "pwritev":
        kept(journal, b"1")
    disk.nth = disk.calls + 1
    one = entry(b"2")
    journal.commit([one])
    assert isinstance(one.error, DiskFull)
    kept(journal, b"3")
    journal.close()


def test_more_waiting_than_allowed_is_refused_at_once_and_taken_again_later(tmp_path: Path) -> None:
    class SlowDisk(RealDisk):
        hold = threading.Event()
        held = threading.Event()

        def pwritev(
            self, fd: int, buffers: Sequence[bytes | bytearray | memoryview], at: int
        ) -> int:
            if len(buffers) > 1:
                self.held.set()
                self.hold.wait(30)
            return super().pwritev(fd, buffers, at)

    disk = SlowDisk()
    journal = open_journal(tmp_path, disk=disk, queue_bytes_max=10_000)
    first = entry(b"1" * 20_000)  # alone it may be longer than the queue
    thread = threading.Thread(target=journal.commit, args=([first],))
    thread.start()
    assert disk.held.wait(30)
    assert journal.waiting_bytes == 20_000
    second = entry(b"2")
    journal.commit([second])
    assert isinstance(second.error, JournalBehind)
    disk.hold.set()
    thread.join()
    assert first.error is None
    assert journal.waiting_bytes == 0
    kept(journal, b"3")
    journal.close()


class Interrupted(BaseException):
    """As Ctrl-C in the main thread would be."""


def test_an_interrupt_while_writing_leaves_nobody_waiting_and_abandons_the_segment(
    tmp_path: Path,
) -> None:
    class InterruptingDisk(RealDisk):
        armed = False

        def fdatasync(self, fd: int) -> None:
            if self.armed:
                self.armed = False
                raise Interrupted
            super().fdatasync(fd)

    disk = InterruptingDisk()
    journal = open_journal(tmp_path, disk=disk)
    first = kept(journal, b"1")
    disk.armed = True
    lost = entry(b"2")
    with pytest.raises(Interrupted):
        journal.commit([lost])
    assert isinstance(lost.error, JournalFailed)
    third = kept(journal, b"3")
    disk.armed = True
    with pytest.raises(Interrupted):
        kept(open_journal(tmp_path, disk=disk), b"4")  # while a segment is begun
    journal.close()
    assert replayed(tmp_path)[0] == [one.position for one in (*first, *third)]


def test_an_interrupt_in_the_second_stage_is_an_error_for_its_batch(tmp_path: Path) -> None:
    def interrupted(batch: Sequence[Entry]) -> None:
        if batch[0].note:
            raise Interrupted

    journal = open_journal(tmp_path, interrupted)
    one = entry(b"1", note="now")
    with pytest.raises(Interrupted):
        journal.commit([one])
    assert isinstance(one.error, JournalFailed)
    kept(journal, b"2")
    journal.close()
