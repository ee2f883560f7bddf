"""Objects taken in as they arrive: small ones in memory, large ones in segments of their own."""

import subprocess
import sys
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from sebago.errors import JournalFailed
from sebago.journal import Entry, Reader, Spooled, release, segment_list
from sebago.journal import spool as spooling
from sebago.journal.spool import KEPT_BUFFER_BYTES, KEPT_BUFFERS, Buffers
from tests.faults import FailingDisk
from tests.journal.entries import fast_folder, open_journal, replayed


@given(pieces=st.lists(st.binary(max_size=9000), max_size=12), limit=st.sampled_from([4096, 16384]))
@settings(max_examples=50, deadline=None)
def test_whatever_the_pieces_an_object_is_kept_as_it_came(pieces: list[bytes], limit: int) -> None:
    with fast_folder() as folder:
        journal = open_journal(Path(folder), inline_bytes_max=limit)
        whole = b"".join(pieces)
        with journal.spool(expected=len(whole)) as spool:
            for piece in pieces:
                spool.write(piece)
            data = spool.finish()
            assert isinstance(data, Spooled) == (len(whole) > limit)
            assert spool.nbytes == len(whole) == data.nbytes
            assert spool.finish() is data
            assert spool.digest == blake3(whole).digest()
            view = data.view() if isinstance(data, Spooled) else data
            assert view == whole
            assert view.readonly
            one = Entry(data, spool.digest, b"provenance", 1)
            journal.commit([one])
            assert one.error is None
            del view, data
        journal.close()
        assert one.position is not None
        reader = Reader(Path(folder))
        assert reader.read(one.position) == whole
        assert reader.provenance(one.position) == b"provenance"
        assert replayed(Path(folder)) == ([one.position], [])
        reader.close()


def test_a_door_receives_straight_to_the_place_of_the_bytes(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, inline_bytes_max=8192)
    spool = journal.spool()
    room = spool.room(0)
    assert len(room) == 1
    room = spool.room(5000)
    room[:3] = b"abc"
    spool.filled(3)
    assert len(spool.room(100_000)) == 8192 - 3
    del room
    data = spool.finish()
    assert isinstance(data, memoryview)
    assert bytes(data) == b"abc"
    spool.abandon()
    spool.abandon()
    with pytest.raises(ValueError, match="released"):
        bytes(data)  # the buffer is another object's now
    journal.close()


def test_a_buffer_that_somebody_still_looks_at_is_left_to_him(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, inline_bytes_max=8192)
    spool = journal.spool()
    spool.write(b"abc")
    data = spool.finish()
    assert isinstance(data, memoryview)
    held = memoryview(data)
    spool.abandon()
    with journal.spool() as other:
        other.write(b"xyz")
        assert bytes(held) == b"abc"
    journal.close()


def test_what_is_abandoned_leaves_no_file(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, inline_bytes_max=8192)
    with journal.spool() as spool:
        spool.write(bytes(100_000))
    with journal.spool() as spool:
        spool.write(bytes(100_000))
        assert isinstance(spool.finish(), Spooled)
    assert [path.name for path in (tmp_path / journal.writer).iterdir()] == ["lock"]
    journal.close()


def test_a_failure_shows_at_the_end_and_what_still_comes_is_dropped(tmp_path: Path) -> None:
    disk = FailingDisk(0, operations=frozenset({"pwritev"}))
    journal = open_journal(tmp_path, disk=disk, inline_bytes_max=8192)
    disk.nth = disk.calls + 2
    with journal.spool() as spool:
        for _ in range(20):
            spool.write(bytes(8192))
        assert isinstance(spool.error, JournalFailed)
        with pytest.raises(JournalFailed):
            spool.finish()
        assert [path.name for path in (tmp_path / journal.writer).iterdir()] == ["lock"]
    journal.close()


def test_a_spooled_object_whose_segment_cannot_be_made_is_refused_and_removed(
    tmp_path: Path,
) -> None:
    disk = FailingDisk(0, operations=frozenset({"rename"}))
    journal = open_journal(tmp_path, disk=disk, inline_bytes_max=8192)
    with journal.spool() as spool:
        spool.write(bytes(100_000))
        one = Entry(spool.finish(), spool.digest, b"", 1)
        disk.nth = disk.calls + 1
        journal.commit([one])
        assert isinstance(one.error, JournalFailed)
    assert [path.name for path in (tmp_path / journal.writer).iterdir()] == ["lock"]
    journal.close()


def test_a_view_of_a_spooled_object_outlives_its_spool(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, inline_bytes_max=8192)
    with journal.spool() as spool:
        spool.write(b"x" * 100_000)
        data = spool.finish()
        assert isinstance(data, Spooled)
        view = data.view()
        assert data.view() == view
        one = Entry(data, spool.digest, b"", 1)
        journal.commit([one])
    assert view == b"x" * 100_000
    assert one.position is not None
    journal.close()
    release(tmp_path, journal.writer, one.position.segment)
    assert view[99_999] == ord("x")
    assert segment_list(tmp_path) == []


def test_a_long_object_is_synced_as_it_grows(tmp_path: Path) -> None:
    disk = FailingDisk(0, operations=frozenset({"fdatasync"}))
    journal = open_journal(tmp_path, disk=disk, inline_bytes_max=8 * 1024 * 1024)
    with journal.spool() as spool:
        piece = bytes(8 * 1024 * 1024)
        for _ in range(10):
            spool.write(piece)
        assert disk.calls == 1 == 10 * len(piece) // spooling.SYNC_EVERY_BYTES
    journal.close()


def test_buffers_are_used_again_unless_somebody_still_looks_at_them() -> None:
    buffers = Buffers(4 * KEPT_BUFFER_BYTES)
    first = buffers.take()
    buffers.give_back(first, 10)
    assert buffers.take() is first
    view = memoryview(first)
    buffers.give_back(first, 10)
    assert buffers.take() is not first
    view.release()
    first[:] = b"x" * len(first)
    buffers.give_back(first, len(first))
    assert buffers.take() is first
    assert first[:] == bytes(len(first))  # its pages were given back
    many = [buffers.take() for _ in range(KEPT_BUFFERS + 1)]
    for buffer in many:
        buffers.give_back(buffer, 10)
    assert many[0] is not many[-1]
    assert many[-1].closed


SPOOL_LARGE = """
import resource, sys
from pathlib import Path
from sebago.journal import Entry, Journal
journal = Journal.open(Path(sys.argv[1]), reserve_bytes=0, spares=0, then=lambda batch: None)
piece = memoryview(bytes(1 << 17))
def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
with journal.spool() as spool:
    for _ in range(128):
        spool.write(piece)
    before = rss()
    for _ in range(2 * 1024):
        spool.write(piece)
    one = Entry(spool.finish(), spool.digest, b"", 1)
    journal.commit([one])
    assert one.error is None
    print(rss() - before)
"""


def test_an_object_of_hundreds_of_megabytes_takes_no_more_memory_than_a_small_one(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", SPOOL_LARGE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8  # MiB
    (one,) = segment_list(tmp_path)
    assert one.file_bytes > 256 * 1024 * 1024
