"""Walking segments: replay after a crash, and the search for damage.

**Torn or damaged?** Every record header says how far the segment was synced when it was written; call
the highest such mark of a segment its floor (the caller's own watermark counts too, and an end mark
puts it at the end). A bad record below the floor was once whole: it is damage, it is reported, and
what comes after it is still found. A bad record at or above the floor belongs to the last batch, whose
sync never returned or was never heard of: the walk ends there. If it bears traces of this life, that
is reported too, as torn: after a crash it is expected; without one it is damage of the last batch.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from blake3 import blake3

from sebago.errors import Damaged
from sebago.journal.disk import Read
from sebago.journal.entry import Position
from sebago.journal.folder import (
    State,
    is_live,
    number_of,
    read_cut,
    segment_files,
    write_cut,
    writer_folders,
)
from sebago.journal.reader import open_segment
from sebago.journal.record import (
    FIRST_RECORD,
    HEADER_BYTES,
    HEADER_COPY,
    NONCE_AT,
    NONCE_BYTES,
    PAGE,
    PROVENANCE_BYTES_MAX,
    RECORD_ALIGN,
    BadHeader,
    RecordHeader,
    RecordKind,
    SegmentHeader,
    bears_nonce,
    decode_record,
    decode_segment,
    up,
)
from sebago.journal.segment import position_of

_CHUNK = 1024 * 1024
RECEIVED_BEFORE_US = 10 * 60 * 1_000_000
"""A record may have been received this long before its segment was begun: it waited for the sync."""


class What(StrEnum):
    """Kinds of findings."""

    DAMAGE = "damage"
    """Bytes that were once acknowledged cannot be read back."""
    TORN = "torn"
    """A last batch that was not finished; expected after a crash, and only then."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be in one segment."""

    what: What
    writer: str
    segment: int
    start: int
    """Offset of the first byte concerned."""
    end: int
    """Offset behind the last one."""
    detail: str

    def __str__(self) -> str:
        where = f"journal segment {self.writer}/{self.segment}, bytes {self.start} to {self.end}"
        return f"{where}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One record that is whole: its digest was computed again and agrees."""

    position: Position
    digest: bytes
    provenance: bytes
    received_us: int


@dataclass(frozen=True, slots=True)
class Tail:
    """A segment whose writer was killed, and where its last whole record ends."""

    writer: str
    segment: int
    end: int


def _raise_damage(finding: Finding) -> None:
    if finding.what is What.DAMAGE:
        raise Damaged(str(finding), do="run `sebago verify`")


def replay(
    root: Path,
    since: Mapping[tuple[str, int], int],
    *,
    found: Callable[[Finding], None] = _raise_damage,
    read: Read = os.pread,
    tails: list[Tail] | None = None,
) -> Iterator[Replayed]:
    """Every whole record that lies behind its segment's watermark, in the order of reception.

    The order holds across writers and segments: which of two contents under one UID came last must
    not depend on which process received them, nor on one of them having a segment of its own.

    Segments that a living process is writing just now are left to it. What is yielded is on the disk,
    not only in the page cache that a killed process left behind.

    Args:
        root: the journal folder.
        since: by writer and segment, how far the index knows it (`Position.end`).
        found: told of damage and torn tails as they are met. Unless given, damage is raised.
        tails: is given the segments that a crash left without an end mark, for `cut_tails`.

    Raises:
        Damaged: unless `found` is given.
        OSError: a segment cannot be opened or synced.
    """
    waiting = _by_creation(root)
    open_: list[tuple[int, int, Replayed, Iterator[Replayed]]] = []
    opened = 0
    while waiting or open_:
        # A segment can hold nothing older than itself, so those that are younger than the oldest
        # record at hand may stay closed: few are open at a time.
        while waiting and (not open_ or waiting[0][0] <= open_[0][0]):
            _, folder, number = waiting.popleft()
            start = since.get((folder.name, number), FIRST_RECORD)
            records = _records(folder, number, start, found, read, tails)
            opened += 1
            _push(open_, opened, records)
        if open_:
            _, order, record, records = heapq.heappop(open_)
            yield record
            _push(open_, order, records)


def _push(
    open_: list[tuple[int, int, Replayed, Iterator[Replayed]]],
    order: int,
    records: Iterator[Replayed],
) -> None:
    record = next(records, None)
    if record is not None:
        heapq.heappush(open_, (record.received_us, order, record, records))


def _records(
    folder: Path,
    number: int,
    start: int,
    found: Callable[[Finding], None],
    read: Read,
    tails: list[Tail] | None,
) -> Iterator[Replayed]:
    with _opened(folder, number, start, read) as walk:
        if walk is None or not walk.prepare(found):
            return
        yield from walk.records(found)
        if tails is not None and not walk.marked and not walk.damaged:
            tails.append(Tail(folder.name, number, walk.at))


def cut_tails(root: Path, tails: Sequence[Tail]) -> None:
    """Note where crashed segments end, once all that they hold is indexed.

    Without it every later start looks through the rest of each of them again, to tell a torn tail
    from damage.
    """
    for tail in tails:
        segment = root / tail.writer / f"{tail.segment:010d}{State.SEALED}"
        if read_cut(segment) is None:
            write_cut(segment, tail.end)


def _by_creation(root: Path) -> deque[tuple[int, Path, int]]:
    """Segments to replay with a moment before which they hold nothing, the oldest first."""
    segments = []
    for folder in writer_folders(root):
        live = is_live(folder)
        for path in segment_files(folder):
            if live and path.suffix == State.OPEN:
                continue
            segments.append((_created_us(path) - RECEIVED_BEFORE_US, folder, number_of(path)))
    return deque(sorted(segments, key=lambda segment: segment[0]))


def _created_us(path: Path) -> int:
    """When a segment was begun; 0, before everything, where its header cannot tell."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        for at in (0, HEADER_COPY):
            file.seek(at)
            with contextlib.suppress(BadHeader):
                return decode_segment(file.read(HEADER_BYTES)).created_us
    return 0


@dataclass(slots=True)
class Checked:
    """What `check` read."""

    segments: int = 0
    records: int = 0
    data_bytes: int = 0


def check(
    root: Path,
    known: Mapping[tuple[str, int], int],
    *,
    found: Callable[[Finding], None],
    each: Callable[[Replayed], None] = lambda record: None,
    read: Read = os.pread,
) -> Checked:
    """Read every byte of every record of every segment, and tell of all that is not as it should be.

    May run beside living writers: of their open segments it reads what is there.
    `known` is as `since` in `replay`; here it tells up to where records must be. `each` is called with
    every whole record.
    """
    checked = Checked()
    for folder in writer_folders(root):
        for path in segment_files(folder):
            number = number_of(path)
            with _opened(folder, number, FIRST_RECORD, read) as walk:
                if walk is None:
                    continue  # released meanwhile
                checked.segments += 1
                walk.floor = known.get((folder.name, number), FIRST_RECORD)
                # What a living writer is in the middle of looks like a torn tail.
                tell = found if path.suffix == State.SEALED else _damage_only(found)
                if walk.identify(tell):
                    for record in walk.records(tell):
                        each(record)
                        checked.records += 1
                        checked.data_bytes += record.position.length
    return checked


def _damage_only(found: Callable[[Finding], None]) -> Callable[[Finding], None]:
    def tell(finding: Finding) -> None:
        if finding.what is What.DAMAGE:
            found(finding)

    return tell


@contextlib.contextmanager
def _opened(folder: Path, number: int, start: int, read: Read) -> Iterator[_Walk | None]:
    try:
        fd = open_segment(folder, number)
    except FileNotFoundError:
        yield None
        return
    try:
        limit = read_cut(folder / f"{number:010d}{State.SEALED}")
        yield _Walk(fd, folder.name, number, start, limit, read)
    finally:
        os.close(fd)


class _Walk:
    """A walk along one segment file."""

    def __init__(
        self, fd: int, writer: str, number: int, start: int, limit: int | None, read: Read
    ) -> None:
        self.fd = fd
        self._pread = read
        self.writer = writer
        self.number = number
        self.at = start
        self.floor = start
        """What lies before this offset was synced once."""
        self.file_bytes = os.fstat(fd).st_size
        self.limit = self.file_bytes if limit is None else min(limit, self.file_bytes)
        """Nothing from here on counts."""
        self.nonce = b""
        self.marked = False
        """It was closed with an end mark."""
        self.damaged = False
        """Something in it was told as damage."""
        self._looked_ahead = False

    def prepare(self, found: Callable[[Finding], None]) -> bool:
        """Whether there is anything to replay; if so it is on the disk afterwards."""
        if self.at + HEADER_BYTES > self.limit or not self.identify(found):
            return False
        header = self._header(self.at)
        if header is not None and header.kind is RecordKind.END:
            return False
        # A killed process leaves pages that were never synced, a failed sync pages that never will
        # be: write the former, and drop both from the cache, so that the disk itself is read.
        os.fdatasync(self.fd)
        os.posix_fadvise(self.fd, self.at, 0, os.POSIX_FADV_DONTNEED)
        return True

    def identify(self, found: Callable[[Finding], None]) -> bool:
        """Read the segment header; False if nothing can be told of the file."""
        good: list[SegmentHeader] = []
        for at in (0, HEADER_COPY):
            try:
                header = decode_segment(self._read(at, HEADER_BYTES))
            except (BadHeader, OSError) as error:
                found(self._finding(What.DAMAGE, at, at + HEADER_BYTES, str(error)))
            else:
                good.append(header)
        if good:
            self.nonce = good[0].nonce
            if good[0].number == self.number:
                return True
            detail = f"its header says it is segment {good[0].number}"
            found(self._finding(What.DAMAGE, 0, self.file_bytes, detail))
            return False
        # The first record of this life names the nonce too; one of a former life has another number.
        try:
            first = decode_record(self._read(FIRST_RECORD, HEADER_BYTES), FIRST_RECORD)
        except (BadHeader, OSError):
            return False
        self.nonce = first.nonce
        return first.segment == self.number

    def records(self, found: Callable[[Finding], None]) -> Iterator[Replayed]:
        """Whole records from here on; everything else is told to `found`."""
        while self.at + HEADER_BYTES <= self.limit:
            header = self._header(self.at)
            if header is None:
                if not self._skip(found):
                    return
                continue
            self.floor = max(self.floor, header.synced)
            if header.kind is RecordKind.END:
                self.marked = True
                self.at = header.end
                break
            record, why = self._content(header)
            if record is not None:
                self.at = header.end
                yield record
                continue
            self._look_ahead()
            if header.offset >= self.floor:
                found(self._finding(What.TORN, header.offset, header.end, why))
                return
            self.at = header.end
            # A living writer may have finished it between the two looks.
            record, why = self._content(header)
            if record is not None:
                yield record
            else:
                found(self._finding(What.DAMAGE, header.offset, header.end, why))
        if self.at < self.floor:
            detail = "the file is shorter than what was once written to it"
            found(self._finding(What.DAMAGE, self.at, self.floor, detail))

    def _content(self, header: RecordHeader) -> tuple[Replayed | None, str]:
        """Read a record whole; or say what is wrong with it."""
        hasher = blake3()
        try:
            for chunk in self._chunks(header.data_offset, header.data_bytes):
                hasher.update(chunk)
            provenance = self._read(header.provenance_offset, header.provenance_bytes)
        except OSError as error:
            return None, f"the disk cannot read it: {error.strerror}"
        if hasher.digest() != header.digest:
            return None, "the data set does not agree with its digest"
        if zlib.crc32(provenance) != header.provenance_crc:
            return None, "the provenance does not agree with its checksum"
        position = position_of(header, self.writer)
        return Replayed(position, header.digest, provenance, header.received_us), ""

    def _skip(self, found: Callable[[Finding], None]) -> bool:
        """There is no record here: go on behind the damage, or tell that this is the end."""
        self._look_ahead()
        start = self.at
        if start >= self.floor:
            if bears_nonce(self._read(start, HEADER_BYTES), self.nonce):
                detail = "a record header does not agree with its checksum"
                found(self._finding(What.TORN, start, start + HEADER_BYTES, detail))
            return False
        following = self._next_header(start)
        if following is not None and following.offset == start:
            return True  # a living writer has finished it between the two looks
        self.at = self.limit if following is None else following.offset
        end = self.floor if following is None else following.offset
        found(self._finding(What.DAMAGE, start, end, "no record can be read"))
        return following is not None

    def _look_ahead(self) -> None:
        """Learn the floor from all headers that are still to come; once a segment."""
        if self._looked_ahead:
            return
        self._looked_ahead = True
        header = self._next_header(self.at + RECORD_ALIGN)
        while header is not None:
            self.floor = max(self.floor, header.synced)
            following = self._header(header.end)
            header = following or self._next_header(header.offset + RECORD_ALIGN)

    def _header(self, at: int) -> RecordHeader | None:
        """The header of this life at `at`, if the record that it begins lies within the file."""
        try:
            return self._decode(self._read(at, HEADER_BYTES), at)
        except OSError:
            return None

    def _decode(self, raw: bytes, at: int) -> RecordHeader | None:
        try:
            header = decode_record(raw, at)
        except BadHeader:
            return None
        mine = header.nonce == self.nonce and header.segment == self.number
        fits = header.end <= self.limit and header.provenance_bytes <= PROVENANCE_BYTES_MAX
        return header if mine and fits else None

    def _next_header(self, start: int) -> RecordHeader | None:
        """The first header of this life at or behind `start`."""
        # By the nonce: nobody who sends a data set knows it, and no former life had it.
        at = up(start, RECORD_ALIGN) + NONCE_AT
        while at < self.limit:
            length = min(_CHUNK, self.limit - at)
            try:
                block = self._read(at, length)
            except OSError:
                # One bad sector spoils the whole call: leave it out in small steps.
                length = min(PAGE, length)
                block = self._read_or_nothing(at, length)
            hit = block.find(self.nonce)
            while hit >= 0:
                header = self._header(at + hit - NONCE_AT)
                if header is not None:
                    return header
                hit = block.find(self.nonce, hit + 1)
            # The nonce may lie across two blocks, unless this is the last one.
            at += length if at + length == self.limit else length - NONCE_BYTES + 1
        return None

    def _read_or_nothing(self, offset: int, length: int) -> bytes:
        try:
            return self._read(offset, length)
        except OSError:
            return b""

    def _chunks(self, offset: int, length: int) -> Iterator[bytes]:
        end = offset + length
        while offset < end:
            chunk = self._read(offset, min(_CHUNK, end - offset))
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def _read(self, offset: int, length: int) -> bytes:
        return self._pread(self.fd, length, offset)

    def _finding(self, what: What, start: int, end: int, detail: str) -> Finding:
        self.damaged |= what is What.DAMAGE
        return Finding(what, self.writer, self.number, start, end, detail)
