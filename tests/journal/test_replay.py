"""Replay after a crash, torn tails, damage, and segments that lived before."""

import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sebago.errors import Damaged
from sebago.journal import (
    Entry,
    Finding,
    Journal,
    Position,
    Tail,
    What,
    check,
    cut_tails,
    release,
    replay,
    segment_list,
)
from sebago.journal.folder import write_cut
from sebago.journal.record import FIRST_RECORD, HEADER_BYTES, PAGE, record_bytes
from tests.faults import BadSector
from tests.journal.entries import (
    PROVENANCE,
    dead_copy,
    entry,
    fast_folder,
    kept,
    open_journal,
    replayed,
    segment_file,
)


def positions(entries: Sequence[Entry]) -> list[Position]:
    return [found.position for found in entries if found.position]


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(1)
        file.seek(offset)
        file.write(bytes([old[0] ^ (1 << bit)]))


batches = st.lists(
    st.lists(st.binary(max_size=6000), min_size=1, max_size=4), min_size=1, max_size=5
)


@given(batches=batches, cut=st.floats(0, 1), rest=st.sampled_from(["zeros", "gone", "noise"]))
@settings(max_examples=100, deadline=None)
def test_a_journal_cut_anywhere_after_its_sync_replays_all_that_was_acknowledged(
    batches: list[list[bytes]], cut: float, rest: str
) -> None:
    """The last batch is the one whose sync was never heard of; it is cut anywhere."""
    with fast_folder() as folder:
        root = Path(folder, "journal")
        journal = open_journal(root)
        acknowledged = [found for batch in batches[:-1] for found in kept(journal, *batch)]
        unheard = kept(journal, *batches[-1])
        copy = dead_copy(root)
        journal.close()
        path = segment_file(copy, unheard[0])
        first, last = unheard[0].position, unheard[-1].position
        assert first is not None
        assert last is not None
        at = first.record + int(cut * (last.end - first.record))
        content = path.read_bytes()
        noise = random.Random(at).randbytes(last.end - at)
        tails = {
            "zeros": bytes(len(content) - at),
            "gone": b"",
            "noise": noise + content[last.end :],
        }
        path.write_bytes(content[:at] + tails[rest])

        found, findings = replayed(copy)
        assert found[: len(acknowledged)] == positions(acknowledged)
        assert found[len(acknowledged) :] == positions(unheard)[: len(found) - len(acknowledged)]
        assert not [one for one in findings if one.what is What.DAMAGE]


@pytest.mark.parametrize("closed", [True, False])
def test_a_flipped_bit_anywhere_is_told_of_or_harms_nothing(closed: bool) -> None:
    with fast_folder() as folder:
        root = Path(folder, "journal")
        journal = open_journal(root, segment_bytes=64 * 1024)
        entries = [
            *kept(journal, b"a" * 700, b"b"),
            *kept(journal, b"c" * 300),
            *kept(journal, b""),
        ]
        if closed:
            journal.close()
        copy = dead_copy(root)
        path = segment_file(copy, entries[0])
        whole = positions(entries)
        assert replayed(copy) == (whole, [])
        last = whole[-1].end + PAGE
        headers = [0, 2048, *(position.record for position in whole), whole[-1].end]
        every = {at + n for at in headers for n in range(HEADER_BYTES)}
        for offset in sorted(every | set(range(PAGE, last, 7))):
            flip(path, offset, offset % 8)
            found, findings = replayed(copy)
            assert set(found) <= set(whole)
            assert found == whole or findings, f"a bit at {offset} lost a record in silence"
            flip(path, offset, offset % 8)
        if not closed:
            journal.close()


def test_records_behind_damage_are_still_found_and_the_damage_is_named(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    entries = [
        *kept(journal, b"1" * 5000),
        *kept(journal, b"2" * 5000),
        *kept(journal, b"3" * 5000),
    ]
    journal.close()
    path = segment_file(tmp_path, entries[0])
    one, two, three = positions(entries)

    flip(path, two.offset + 77)  # in the data set
    found, findings = replayed(tmp_path)
    assert found == [one, three]
    assert [(f.what, f.start, f.end) for f in findings] == [(What.DAMAGE, two.record, two.end)]
    flip(path, two.end - PAGE + 1400)  # in the padding
    flip(path, two.offset + 77)
    assert replayed(tmp_path) == ([one, two, three], [])

    flip(path, two.record + 60)  # in the header
    found, findings = replayed(tmp_path)
    assert found == [one, three]
    assert [(f.what, f.start, f.end) for f in findings] == [(What.DAMAGE, two.record, two.end)]
    assert f"bytes {two.record} to {two.end}" in str(findings[0])
    with pytest.raises(Damaged):
        list(replay(tmp_path, {}))


def test_a_bad_provenance_is_damage_too(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    (one,) = positions(kept(journal, b"1"))
    (two,) = positions(kept(journal, b"2"))
    journal.close()
    flip(tmp_path / one.writer / f"{one.segment:010d}.seg", one.offset + one.length + 3)
    found, findings = replayed(tmp_path)
    assert found == [two]
    assert "provenance" in findings[0].detail


def test_damage_that_swallows_the_rest_of_a_segment_reaches_to_what_was_synced(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path)
    entries = [*kept(journal, b"1" * 3000), *kept(journal, b"2" * 3000)]
    journal.close()
    one, two = positions(entries)
    path = segment_file(tmp_path, entries[0])
    content = path.read_bytes()
    path.write_bytes(content[: two.record] + bytes(len(content) - two.record))
    known = {(two.writer, two.segment): two.end}

    findings: list[Finding] = []
    checked = check(tmp_path, known, found=findings.append)
    assert checked.records == 1
    assert [(f.what, f.start, f.end) for f in findings] == [(What.DAMAGE, two.record, two.end)]

    path.write_bytes(content[: two.record])
    findings.clear()
    check(tmp_path, known, found=findings.append)
    assert [(f.what, f.start, f.end) for f in findings] == [(What.DAMAGE, two.record, two.end)]
    assert one.end == two.record


def test_replay_begins_at_the_watermark_of_each_segment(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    one, two = positions([*kept(journal, b"1"), *kept(journal, b"2")])
    copy = dead_copy(tmp_path)
    journal.close()
    for root in (tmp_path, copy):
        assert replayed(root, {(one.writer, one.segment): one.end}) == ([two], [])
        assert replayed(root, {(one.writer, one.segment): two.end}) == ([], [])


def test_what_a_living_process_is_writing_is_left_to_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=16 * 1024)
    one = positions(kept(journal, b"1" * 6000))
    two = positions(kept(journal, b"2" * 6000))  # does not fit any more: the first one is sealed
    assert one[0].segment != two[0].segment
    assert replayed(tmp_path) == (one, [])
    journal.close()
    assert replayed(tmp_path) == (one + two, [])


def test_a_recycled_segment_never_replays_what_it_held_before(tmp_path: Path) -> None:
    """The second life is the same length to the byte, so that old records lie where new ones might."""
    journal = open_journal(tmp_path, segment_bytes=64 * 1024)
    old = [found for _ in range(6) for found in kept(journal, b"o" * 9000)]
    kept(journal, b"n" * 60)  # no room for another 9000: begins the second segment
    old += kept(journal, b"o" * 9000)
    first = positions(old)[0]
    kept(journal, b"f" * 50_000)
    kept(journal, b"f" * 50_000)
    release(tmp_path, first.writer, first.segment)
    files = list((tmp_path / first.writer).glob("*.free"))
    assert len(files) == 1
    inode = files[0].stat().st_ino

    fresh = kept(journal, b"n" * 50_000)  # written over the old ones
    small = kept(journal, b"n" * 10)
    assert segment_file(tmp_path, fresh[0]).stat().st_ino == inode
    copy = dead_copy(tmp_path)
    journal.close()
    now = positions([*fresh, *small])
    for root in (copy, tmp_path):
        found, findings = replayed(root)
        assert [one for one in found if one.segment == now[0].segment] == now
        assert first not in found
        assert findings == []


def test_a_data_set_that_is_itself_a_journal_is_not_taken_for_records(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    inner = kept(journal, b"inner" * 100)
    content = segment_file(tmp_path, inner[0]).read_bytes()[: 3 * PAGE]
    outer = kept(journal, content)
    after = kept(journal, b"after")
    journal.close()
    position = outer[0].position
    assert position is not None
    flip(segment_file(tmp_path, outer[0]), position.record + 50)
    found, findings = replayed(tmp_path)
    assert found == positions([*inner, *after])
    assert [one.what for one in findings] == [What.DAMAGE]


def test_with_both_copies_of_its_header_gone_a_segment_is_still_read(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    entries = kept(journal, b"1", b"2")
    journal.close()
    path = segment_file(tmp_path, entries[0])
    flip(path, 20)
    flip(path, 2048 + 20)
    found, findings = replayed(tmp_path)
    assert found == positions(entries)
    assert [one.start for one in findings] == [0, 2048]
    flip(path, FIRST_RECORD + 3)  # and the first record's: nothing names this life any more
    found, findings = replayed(tmp_path)
    assert found == []
    assert len(findings) == 2


def test_a_segment_under_another_ones_name_is_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    entries = kept(journal, b"1")
    journal.close()
    path = segment_file(tmp_path, entries[0])
    shutil.copy(path, path.with_name("0000000099.seg"))
    found, findings = replayed(tmp_path)
    assert found == positions(entries)
    assert [(one.segment, one.what) for one in findings] == [(99, What.DAMAGE)]


def test_a_batch_whose_sync_failed_does_not_come_up_again(tmp_path: Path) -> None:
    """Its bytes may be whole in the page cache and nowhere else."""
    journal = open_journal(tmp_path)
    entries = [*kept(journal, b"1"), *kept(journal, b"2")]
    copy = dead_copy(tmp_path)
    journal.close()
    one, two = positions(entries)
    write_cut(segment_file(copy, entries[0]), two.record)
    assert replayed(copy) == ([one], [])
    cut = copy / one.writer / f"{one.segment:010d}.cut"
    for half in ("", cut.read_text()[:12]):  # no room was left for the note
        cut.write_text(half)
        assert replayed(copy) == ([one, two], [])


def test_a_torn_record_in_an_unclosed_segment_is_told_of_but_is_no_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    entries = [*kept(journal, b"1"), *kept(journal, b"2" * 9000)]
    copy = dead_copy(tmp_path)
    journal.close()
    one, two = positions(entries)
    flip(segment_file(copy, entries[0]), two.offset + 4000)
    assert replayed(copy)[0] == [one]
    assert [found.what for found in replayed(copy)[1]] == [What.TORN]
    assert [record.provenance for record in replay(copy, {})] == [PROVENANCE]  # not raised


def test_check_reads_everything_and_leaves_a_living_writers_unfinished_batch_alone(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path)
    entries = [*kept(journal, b"1" * 10), *kept(journal, b"2" * 20)]
    findings: list[Finding] = []
    checked = check(tmp_path, {}, found=findings.append)
    assert (checked.segments, checked.records, checked.data_bytes) == (1, 2, 30)
    one, two = positions(entries)
    flip(segment_file(tmp_path, entries[0]), two.offset)
    assert check(tmp_path, {}, found=findings.append).records == 1
    assert findings == []
    flip(segment_file(tmp_path, entries[0]), one.offset)
    check(tmp_path, {}, found=findings.append)
    assert [found.start for found in findings] == [one.record]
    journal.close()


def test_there_is_nothing_to_replay_where_there_is_no_journal(tmp_path: Path) -> None:
    assert replayed(tmp_path / "absent") == ([], [])


def test_records_that_span_many_pieces_are_searched_and_read_whole(tmp_path: Path) -> None:
    """Damage at the start of a record of several MiB: the next one is found behind it."""
    journal = open_journal(tmp_path, segment_bytes=8 * 1024 * 1024)
    big = kept(journal, os.urandom(3_000_001))
    after = kept(journal, b"after")
    journal.close()
    assert replayed(tmp_path) == (positions([*big, *after]), [])
    position = big[0].position
    assert position is not None
    flip(segment_file(tmp_path, big[0]), position.record + 9)
    assert replayed(tmp_path)[0] == positions(after)
    assert record_bytes(position.length, len(PROVENANCE)) <= position.end - position.record


def test_journals_of_several_writers_are_replayed_together(tmp_path: Path) -> None:
    journals: list[Journal] = [open_journal(tmp_path) for _ in range(3)]
    assert len({journal.writer for journal in journals}) == 3
    entries = [found for journal in journals for found in kept(journal, journal.writer.encode())]
    for journal in journals:
        journal.close()
    assert set(replayed(tmp_path)[0]) == set(positions(entries))
    assert entry(b"").position is None


def test_what_the_disk_cannot_read_is_damage_and_the_rest_is_found(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=8 * 1024 * 1024)
    entries = [found for n in range(3) for found in kept(journal, bytes([n]) * 1_500_000)]
    journal.close()
    one, two, three = positions(entries)

    def walk(bad: BadSector) -> tuple[list[Position], list[Finding]]:
        findings: list[Finding] = []
        found = [
            record.position for record in replay(tmp_path, {}, found=findings.append, read=bad)
        ]
        return found, findings

    found, findings = walk(BadSector(two.offset + 1000, two.offset + 1512))
    assert found == [one, three]
    assert "cannot read" in findings[0].detail
    found, findings = walk(BadSector(two.record, two.record + 512))
    assert found == [one, three]
    assert [(f.what, f.start, f.end) for f in findings] == [(What.DAMAGE, two.record, two.end)]
    found, findings = walk(BadSector(0, 128))
    assert found == [one, two, three]
    assert [f.start for f in findings] == [0]
    assert walk(BadSector(0, 1 << 40))[0] == []

    def cut_short(fd: int, length: int, offset: int) -> bytes:
        return b"" if offset == two.offset else os.pread(fd, length, offset)

    findings = []
    list(replay(tmp_path, {}, found=findings.append, read=cut_short))
    assert [f.start for f in findings] == [two.record]


def test_a_record_that_a_living_writer_finishes_between_two_looks_is_no_damage(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path)
    one, two = positions([*kept(journal, b"1" * 1000), *kept(journal, b"2" * 1000)])
    for late in (one.record, one.offset):
        findings: list[Finding] = []
        read = BadSector(late, late + 1, times=1, noise=True)
        assert check(tmp_path, {}, found=findings.append, read=read).records == 2
        assert findings == []
    journal.close()
    assert two.record == one.end


def test_a_segment_that_is_released_while_the_journal_is_walked_is_passed_over(
    tmp_path: Path,
) -> None:
    journal = open_journal(tmp_path)
    entries = kept(journal, b"1")
    journal.close()
    folder = tmp_path / journal.writer
    (folder / "0000000050.seg").symlink_to(folder / "gone")  # listed, and gone when it is opened
    findings: list[Finding] = []
    assert check(tmp_path, {}, found=findings.append).segments == 1
    assert replayed(tmp_path) == (positions(entries), [])
    assert [one.number for one in segment_list(tmp_path)] == [1]


def test_a_segment_of_which_nothing_can_be_told_is_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    entries = kept(journal, b"1")
    journal.close()
    path = segment_file(tmp_path, entries[0])
    path.write_bytes(bytes(path.stat().st_size))
    findings: list[Finding] = []
    assert check(tmp_path, {}, found=findings.append).records == 0
    assert [one.what for one in findings] == [What.DAMAGE, What.DAMAGE]


def test_two_damaged_headers_in_a_row_are_one_stretch_of_damage(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    entries = [found for n in range(4) for found in kept(journal, bytes([n]) * 500)]
    journal.close()
    one, two, three, four = positions(entries)
    flip(segment_file(tmp_path, entries[0]), two.record + 50)
    flip(segment_file(tmp_path, entries[0]), three.record + 50)
    found, findings = replayed(tmp_path)
    assert found == [one, four]
    assert [(f.what, f.start, f.end) for f in findings] == [(What.DAMAGE, two.record, three.end)]


def test_replay_goes_by_reception_across_writers_and_segments_of_their_own(tmp_path):
    journals = [
        Journal.open(tmp_path, segment_bytes=1 << 20, reserve_bytes=0, inline_bytes_max=4096,
                     spares=0, then=lambda batch: None)
        for _ in range(2)
    ]  # fmt: skip
    base = time.time_ns() // 1000
    for number in range(12):
        journal = journals[number % 2]
        with journal.spool() as spool:
            spool.write(bytes([number]) * (9000 if number % 3 == 0 else 100))
            data = spool.finish()
            journal.commit([Entry(data, spool.digest, b"p", base + number)])
    for journal in journals:
        journal.close()
    replayed = [record.received_us - base for record in replay(tmp_path, {})]
    assert replayed == list(range(12))


def test_where_a_crashed_segment_ends_is_looked_for_once() -> None:
    with fast_folder() as folder:
        root = Path(folder, "journal")
        journal = open_journal(root, segment_bytes=4 << 20)
        entries = kept(journal, b"a" * 700, b"b" * 9000)
        copy = dead_copy(root)
        journal.close()
        last = entries[-1].position
        assert last is not None
        read_bytes = 0

        def read(fd: int, length: int, offset: int) -> bytes:
            nonlocal read_bytes
            read_bytes += length
            return os.pread(fd, length, offset)

        tails: list[Tail] = []
        assert len(list(replay(copy, {}, read=read, tails=tails))) == 2
        assert tails == [Tail(last.writer, last.segment, last.end)]
        assert read_bytes > 4_000_000
        cut_tails(copy, tails)
        read_bytes = 0
        known = {(last.writer, last.segment): last.end}
        assert list(replay(copy, known, read=read)) == []
        assert read_bytes < 10_000
        findings: list[Finding] = []
        assert check(copy, known, found=findings.append).records == 2
        assert findings == []
