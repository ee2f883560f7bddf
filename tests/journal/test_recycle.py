"""Released segments and zero-written spares: what is kept to be written over, and what is deleted."""

import threading
import time
from pathlib import Path

from sebago.errors import JournalFailed
from sebago.journal import release, segment_list
from sebago.journal.disk import RealDisk
from sebago.journal.folder import Folder
from sebago.journal.release import FREE_FILES_MAX
from sebago.journal.space import Space
from sebago.journal.spare import (
    PAUSE_BUSY_S,
    PAUSE_ENOUGH_S,
    PAUSE_FAILED_S,
    PAUSE_WRITING_S,
    PIECE_BYTES,
    SpareMaker,
)
from tests.faults import FailingDisk
from tests.journal.entries import entry, kept, open_journal


def free_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.free"))


def test_full_segments_are_kept_to_be_written_over_and_the_rest_is_deleted(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=48 * 1024)
    for number in range(FREE_FILES_MAX + 3):
        kept(journal, bytes([number]) * 30_000)
    journal.close()  # the last one is cut to what it holds
    folder = tmp_path / journal.writer
    for one in segment_list(tmp_path):
        release(tmp_path, one.writer, one.number)
    assert len(free_files(folder)) == FREE_FILES_MAX
    assert {path.stat().st_size for path in free_files(folder)} == {48 * 1024}
    assert segment_list(tmp_path) == []

    again = open_journal(tmp_path, segment_bytes=48 * 1024)
    kept(again, b"x" * 30_000)
    assert len(free_files(folder)) == FREE_FILES_MAX - 1
    again.close()
    longer = open_journal(tmp_path, segment_bytes=96 * 1024)
    kept(longer, b"x" * 30_000)
    assert len(free_files(folder)) == FREE_FILES_MAX - 1  # too short for this one
    longer.close()


def test_a_segment_with_a_failed_write_is_never_written_over(tmp_path: Path) -> None:
    disk = FailingDisk(0, operations=frozenset({"fdatasync"}))
    journal = open_journal(tmp_path, disk=disk)
    (one,) = kept(journal, b"1")
    disk.nth = disk.calls + 1
    journal.commit([entry(b"2")])
    assert one.position is not None
    folder = tmp_path / journal.writer
    assert len(list(folder.glob("*.cut"))) == 1
    release(tmp_path, journal.writer, one.position.segment)
    assert [path.name for path in folder.iterdir()] == ["lock"]
    journal.close()


def test_a_segment_whose_header_is_damaged_is_deleted_when_released(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=48 * 1024)
    (one,) = kept(journal, b"1" * 30_000)
    kept(journal, b"2" * 30_000)
    assert one.position is not None
    with (tmp_path / journal.writer / f"{one.position.segment:010d}.seg").open("r+b") as file:
        file.write(bytes(4096))
    release(tmp_path, journal.writer, one.position.segment)
    assert free_files(tmp_path / journal.writer) == []
    journal.close()


def test_a_batch_longer_than_a_segment_gets_a_longer_one(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=48 * 1024)
    kept(journal, b"1" * 30_000)
    kept(journal, b"2" * 60_000)
    assert max(one.file_bytes for one in segment_list(tmp_path)) > 64 * 1024
    journal.close()


def test_a_free_file_that_cannot_be_begun_anew_is_dropped_and_the_next_one_is_used(
    tmp_path: Path,
) -> None:
    disk = FailingDisk(0, operations=frozenset({"fdatasync"}))
    journal = open_journal(tmp_path, disk=disk, segment_bytes=48 * 1024)
    (one,) = kept(journal, b"1" * 30_000)
    kept(journal, b"2" * 30_000)
    assert one.position is not None
    release(tmp_path, journal.writer, one.position.segment)
    disk.nth = disk.calls + 3  # the end mark, the number, the new header
    lost = entry(b"3" * 30_000)
    journal.commit([lost])
    assert isinstance(lost.error, JournalFailed)
    assert free_files(tmp_path / journal.writer) == []
    kept(journal, b"4" * 30_000)
    journal.close()


class Idle:
    """Idle when the test says so."""

    def __init__(self) -> None:
        self.idle = True

    def __call__(self) -> bool:
        return self.idle


def maker(root: Path, idle: Idle, disk: RealDisk, *, reserve: int = 0) -> tuple[Folder, SpareMaker]:
    folder = Folder.take(root, RealDisk())
    space = Space(disk, folder.path, reserve, time.monotonic)
    size = 3 * PIECE_BYTES + 4096
    return folder, SpareMaker(folder, disk, space, file_bytes=size, count=2, is_idle=idle)


def test_spares_are_written_piece_by_piece_while_nobody_commits(tmp_path: Path) -> None:
    idle = Idle()
    folder, spares = maker(tmp_path, idle, RealDisk())
    assert spares.step() == PAUSE_WRITING_S
    idle.idle = False
    assert spares.step() == PAUSE_BUSY_S
    assert free_files(folder.path) == []
    idle.idle = True
    assert [spares.step() for _ in range(7)] == [PAUSE_WRITING_S] * 7
    assert spares.step() == PAUSE_ENOUGH_S
    one, two = free_files(folder.path)
    assert one.stat().st_size == two.stat().st_size == 3 * PIECE_BYTES + 4096
    assert one.stat().st_blocks * 512 >= one.stat().st_size
    one.unlink()
    assert spares.step() == PAUSE_WRITING_S
    spares.stop()
    assert {path.suffix for path in folder.path.iterdir()} == {"", ".free"}
    folder.close()


def test_a_spare_that_cannot_be_made_is_let_be_for_a_while(tmp_path: Path) -> None:
    disk = FailingDisk(2, operations=frozenset({"fdatasync"}))
    folder, spares = maker(tmp_path, Idle(), disk)
    assert spares.step() == PAUSE_WRITING_S
    assert spares.step() == PAUSE_FAILED_S
    assert [path.name for path in folder.path.iterdir()] == ["lock"]
    spares.stop()
    folder.close()
    folder, spares = maker(tmp_path / "full", Idle(), RealDisk(), reserve=1 << 60)
    assert spares.step() == PAUSE_FAILED_S
    assert [path.name for path in folder.path.iterdir()] == ["lock"]
    spares.stop()
    folder.close()


def test_an_idle_journal_makes_a_spare_and_writes_over_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=2 * PIECE_BYTES, spares=1)
    folder = tmp_path / journal.writer
    until = time.monotonic() + 30
    while not free_files(folder) and time.monotonic() < until:
        time.sleep(0.02)
    (spare,) = free_files(folder)
    inode = spare.stat().st_ino
    (one,) = kept(journal, b"1")
    assert one.position is not None
    path = folder / f"{one.position.segment:010d}.open"
    assert path.stat().st_ino == inode
    journal.close()
    assert "journal-spare" not in {thread.name for thread in threading.enumerate()}


def test_a_spare_is_moved_to_as_soon_as_it_is_there(tmp_path: Path) -> None:
    now_s = [0.0]
    journal = open_journal(
        tmp_path, segment_bytes=2 * PIECE_BYTES, spares=1, clock=lambda: now_s[0]
    )
    folder = tmp_path / journal.writer
    (one,) = kept(journal, b"1")
    now_s[0] += 10
    until = time.monotonic() + 30
    while not free_files(folder) and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.05)  # from the spare's name to its being told of
    (two,) = kept(journal, b"2")
    (three,) = kept(journal, b"3")
    assert one.position is not None
    assert two.position is not None
    assert three.position is not None
    assert two.position.segment == three.position.segment != one.position.segment
    first = folder / f"{one.position.segment:010d}.seg"
    assert first.stat().st_size == 3 * 4096
    journal.close()
