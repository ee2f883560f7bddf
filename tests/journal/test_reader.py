"""Reading by position, in any process, while segments are sealed, released and written over."""

import fcntl
import gc
import os
from dataclasses import replace
from pathlib import Path

import pytest

from sebago.errors import Damaged
from sebago.journal import Position, Reader, release
from sebago.journal.reader import open_segment
from tests.faults import BadSector
from tests.journal.entries import kept, open_journal, segment_file


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path, open_segments=2)


def test_an_open_segment_is_read_while_it_is_written(tmp_path: Path, reader: Reader) -> None:
    journal = open_journal(tmp_path)
    for number in range(20):
        data = bytes([number]) * 40_000
        (one,) = kept(journal, data)
        assert one.position is not None
        assert reader.view(one.position) == data
        assert reader.digest(one.position) == one.digest
        with reader.fd(one.position) as fd:
            assert os.pread(fd, one.position.length, one.position.offset) == data
    journal.close()


def test_only_so_many_segments_are_kept_open(tmp_path: Path, reader: Reader) -> None:
    journal = open_journal(tmp_path, segment_bytes=48 * 1024)
    entries = [kept(journal, bytes([n]) * 30_000)[0] for n in range(6)]
    before = open_descriptors()
    for one in entries * 2:
        assert one.position is not None
        reader.verify(one.position, one.digest)
    gc.collect()
    assert open_descriptors() <= before + 4  # a descriptor and its mapping each
    reader.close()
    gc.collect()
    assert open_descriptors() == before
    journal.close()


def test_a_position_where_no_such_record_lies_is_answered_as_damage(
    tmp_path: Path, reader: Reader
) -> None:
    journal = open_journal(tmp_path)
    one, two = kept(journal, b"1" * 1000, b"2" * 1000)
    at = one.position
    assert at is not None
    assert two.position is not None
    wrong = [
        replace(at, length=999),
        replace(at, offset=at.offset + 8),
        replace(at, offset=two.position.offset + 4096 * 50),
        replace(at, end=at.end + (1 << 40)),
        replace(at, segment=at.segment + 1),
        replace(at, writer="nobody"),
    ]
    for position in wrong:
        with pytest.raises(Damaged):
            reader.view(position)
        with pytest.raises(Damaged):
            reader.read(position)
    with pytest.raises(Damaged, match="digest"):
        reader.verify(at, two.digest)
    journal.close()


def test_bytes_that_changed_are_not_handed_out_as_verified(tmp_path: Path, reader: Reader) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, b"1" * 1000)
    at = one.position
    assert at is not None
    with segment_file(tmp_path, one).open("r+b") as file:
        file.seek(at.offset + 5)
        file.write(b"x")
        file.seek(at.offset + at.length)
        file.write(b"x")
    with pytest.raises(Damaged):
        reader.verify(at, one.digest)
    with pytest.raises(Damaged, match="provenance"):
        reader.provenance(at)
    journal.close()


def test_a_file_that_was_cut_off_is_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, b"1" * 50_000)
    journal.close()
    at = one.position
    assert at is not None
    path = segment_file(tmp_path, one)
    held = Reader(tmp_path)
    held.view(at)
    os.truncate(path, 20_000)
    with pytest.raises(Damaged, match="ends before"):
        held.read(at)
    with pytest.raises(Damaged):
        Reader(tmp_path).view(at)
    os.truncate(path, 0)
    with pytest.raises(Damaged):
        Reader(tmp_path).view(at)


def test_records_are_read_though_both_copies_of_the_segment_header_are_damaged(
    tmp_path: Path, reader: Reader
) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, b"1" * 1000)
    journal.close()
    with segment_file(tmp_path, one).open("r+b") as file:
        file.write(bytes(4096))
    assert one.position is not None
    assert reader.read(one.position) == b"1" * 1000


def test_a_view_stays_right_when_its_segment_is_released_and_never_blocks_the_writer(
    tmp_path: Path, reader: Reader
) -> None:
    journal = open_journal(tmp_path, segment_bytes=48 * 1024)
    (one,) = kept(journal, b"1" * 30_000)
    kept(journal, b"2" * 30_000)
    at = one.position
    assert at is not None
    inode = segment_file(tmp_path, one).stat().st_ino
    view = reader.view(at)
    release(tmp_path, at.writer, at.segment)
    (three,) = kept(journal, b"3" * 30_000)  # the free file is being read: a new one is made
    assert segment_file(tmp_path, three).stat().st_ino != inode
    assert view == b"1" * 30_000
    del view
    reader.forget_released()
    gc.collect()
    with pytest.raises(Damaged, match="no journal segment"):
        reader.view(at)
    (four,) = kept(journal, b"4" * 30_000)
    assert segment_file(tmp_path, four).stat().st_ino == inode
    assert four.position is not None
    assert reader.read(four.position) == b"4" * 30_000
    journal.close()


def test_a_file_that_begins_another_life_just_now_is_not_opened_as_the_old_one(
    tmp_path: Path, reader: Reader
) -> None:
    journal = open_journal(tmp_path, segment_bytes=48 * 1024)
    (one,) = kept(journal, b"1" * 30_000)
    journal.close()
    at = one.position
    assert at is not None
    path = segment_file(tmp_path, one)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(FileNotFoundError):
            open_segment(path.parent, at.segment)
    path.rename(path.with_name("0000000077.seg"))
    with pytest.raises(Damaged, match="no journal segment"):
        reader.view(Position(at.writer, 77, at.offset, at.length, at.end))


def test_what_the_disk_cannot_read_is_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, b"1" * 1000)
    at = one.position
    assert at is not None
    with pytest.raises(Damaged, match="cannot be read"):
        Reader(tmp_path, read=BadSector(at.offset + 9, at.offset + 10)).read(at)
    with pytest.raises(Damaged):
        Reader(tmp_path, read=BadSector(at.record, at.record + 1)).view(at)
    journal.close()


def test_a_data_set_that_comes_in_several_reads_is_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    (one,) = kept(journal, bytes(range(250)) * 100)
    assert one.position is not None
    little = Reader(tmp_path, read=lambda fd, length, at: os.pread(fd, min(length, 900), at))
    assert little.read(one.position) == bytes(range(250)) * 100
    journal.close()
