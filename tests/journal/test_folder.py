"""Writers' folders: one owner each, taken over from the dead, numbers given out once."""

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sebago.errors import OperatorsFault
from sebago.journal import release, segment_list
from sebago.journal.folder import is_live, segment_files, writer_folders
from tests.journal.entries import entry, kept, nothing, open_journal, replayed

ONE_COMMIT = """
import sys
from pathlib import Path
from blake3 import blake3
from sebago.journal import Entry, Journal
journal = Journal.open(Path(sys.argv[1]), segment_bytes=1 << 20, reserve_bytes=0, spares=0,
                       then=lambda batch: None)
one = Entry(memoryview(b"x"), blake3(b"x").digest(), b"", 1)
journal.commit([one])
assert one.error is None
print(journal.writer, flush=True)
sys.stdin.read()
"""


def test_a_living_writers_folder_is_left_alone_and_a_dead_ones_is_taken_over(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", ONE_COMMIT, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
        assert child.stdout is not None
        theirs = child.stdout.readline().strip()
        assert is_live(tmp_path / theirs)
        mine = open_journal(tmp_path)
        assert mine.writer != theirs
        child.send_signal(signal.SIGKILL)
    mine.close()
    assert not is_live(tmp_path / theirs)
    (tmp_path / theirs / "0000000009.new").touch()
    (tmp_path / theirs / "spool-1.part").touch()
    (tmp_path / theirs / "0000000008.cut").touch()  # of a segment that was released
    both = [open_journal(tmp_path), open_journal(tmp_path)]
    assert {journal.writer for journal in both} == {mine.writer, theirs}
    # What it had allocated and never written is given back, what it wrote replays.
    assert {path.suffix for path in (tmp_path / theirs).iterdir()} == {"", ".seg"}
    left = next(one for one in segment_list(tmp_path) if one.writer == theirs)
    assert left.file_bytes < 64 * 1024
    assert left.sealed
    assert left.live
    assert len(replayed(tmp_path)[0]) == 1
    for journal in both:
        journal.close()


def test_a_segment_number_is_never_given_out_twice_whatever_was_deleted(tmp_path: Path) -> None:
    numbers = []
    for _ in range(4):
        journal = open_journal(tmp_path)
        for found in kept(journal, b"x"):
            assert found.position is not None
            numbers.append(found.position.segment)
        journal.close()
        for path in segment_files(tmp_path / journal.writer):
            path.unlink()
    assert numbers == sorted(set(numbers))


def test_a_folder_whose_lock_file_is_empty_counts_on_from_its_segments(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, b"x")
    journal.close()
    (tmp_path / journal.writer / "lock").write_bytes(b"")
    journal = open_journal(tmp_path)
    (two,) = kept(journal, b"y")
    journal.close()
    assert one.position is not None
    assert two.position is not None
    assert two.position.segment > one.position.segment


def test_a_process_that_is_closed_in_order_leaves_only_what_it_stored(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=8 * 1024 * 1024)
    kept(journal, b"x")
    journal.close()
    journal.close()  # again is no error
    (one,) = segment_list(tmp_path)
    assert one.file_bytes == 3 * 4096
    assert not one.live


def test_many_short_lived_processes_share_one_folder_between_them(tmp_path: Path) -> None:
    for _ in range(5):
        journal = open_journal(tmp_path)
        kept(journal, b"x")
        journal.close()
    assert len(writer_folders(tmp_path)) == 1


def test_a_journal_is_not_used_across_a_fork(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    kept(journal, b"1")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            journal.commit([entry(b"2")])
        except RuntimeError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert b"fork" in os.read(reading, 100)
    os.close(reading)
    os.close(writing)
    journal.close()


def _commit_some(root: str) -> None:
    journal = open_journal(Path(root), nothing)
    for number in range(20):
        kept(journal, b"%d-%d" % (os.getpid(), number))
    journal.close()


def test_several_processes_write_one_journal_at_once(tmp_path: Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_commit_some, args=(str(tmp_path),))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found, findings = replayed(tmp_path)
    assert len(found) == 60
    assert findings == []


def test_a_segment_that_is_still_written_cannot_be_released(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, b"1")
    assert one.position is not None
    with pytest.raises(OperatorsFault):
        release(tmp_path, journal.writer, one.position.segment)
    journal.close()
    release(tmp_path, journal.writer, one.position.segment)
    release(tmp_path, journal.writer, one.position.segment)  # gone already
    assert segment_list(tmp_path) == []


def test_a_folder_that_cannot_be_tidied_is_let_go_again(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.close()
    (tmp_path / journal.writer / "odd.new").mkdir()
    with pytest.raises(OSError, match="odd"):
        open_journal(tmp_path)
    assert not is_live(tmp_path / journal.writer)
