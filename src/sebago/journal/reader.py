"""Reading data sets out of the journal by position, from any process, also while it is written.

A segment that a reader has open carries its shared `flock`; a recycled life begins only under an
exclusive one. So a view of a data set stays right for as long as anybody holds it, also when its segment
was released meanwhile.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from sebago.errors import Damaged
from sebago.journal.disk import Read
from sebago.journal.entry import Position
from sebago.journal.folder import State, lock_for_reading, segment_path
from sebago.journal.record import (
    HEADER_BYTES,
    HEADER_COPY,
    BadHeader,
    RecordHeader,
    RecordKind,
    SegmentHeader,
    decode_record,
    decode_segment,
)

OPEN_SEGMENTS = 64
RESIDENT_BYTES = 64 * 1024 * 1024
"""After views of this many bytes their pages are let go: they stay in the system's cache and are
mapped again where a view is still in use, but no longer count as this process's memory."""


def open_segment(folder: Path, number: int) -> int:
    """A descriptor of an open or sealed segment, kept from being written over while it is open.

    Raises:
        FileNotFoundError: there is no such segment (any more).
    """
    # It may be sealed, and so renamed, between two tries.
    for state in (State.SEALED, State.OPEN, State.SEALED):
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(segment_path(folder, number, state), os.O_RDONLY | os.O_CLOEXEC)
            if lock_for_reading(fd):
                return fd
            os.close(fd)
    raise FileNotFoundError(f"there is no journal segment {folder.name}/{number}")


@dataclass(frozen=True, slots=True, eq=False)
class _Open:
    fd: int
    content: mmap.mmap
    nonce: bytes | None
    """None where both copies of the segment header are damaged: records are then checked without."""

    def __del__(self) -> None:
        # The mapping keeps the lock while views of it live; the descriptor is not needed for that.
        with contextlib.suppress(OSError):
            os.close(self.fd)


class Reader:
    """Data sets by position. Any number of threads; keeps the segments it used last open."""

    def __init__(
        self, root: Path, *, open_segments: int = OPEN_SEGMENTS, read: Read = os.pread
    ) -> None:
        self._root = root
        self._read = read
        self._limit = open_segments
        self._lock = threading.Lock()
        self._open: OrderedDict[tuple[str, int], _Open] = OrderedDict()
        self._viewed = 0

    def view(self, position: Position) -> memoryview:
        """The data set, read only, mapped into memory: nothing is copied or read ahead of use.

        It stays right for as long as it is held. A disk that cannot read a page ends the process, as it
        does with any mapping; `read` raises instead.

        Raises:
            Damaged: there is no such record at that position.
        """
        self._count_viewed(position.length)
        found = self._segment(position)
        self._header(found, position)
        return memoryview(found.content)[position.offset : position.offset + position.length]

    def read(self, position: Position) -> bytes:
        """A copy of the data set.

        Raises:
            Damaged: there is no such record at that position, or the disk cannot read it.
        """
        found = self._segment(position)
        self._header(found, position)
        return self._bytes(found, position, position.offset, position.length)

    @contextlib.contextmanager
    def fd(self, position: Position) -> Iterator[int]:
        """A descriptor of the segment file, for `preadv` and `sendfile` from `position.offset` on.

        It is the caller's for the length of the block.
        """
        found = self._segment(position)
        self._header(found, position)
        fd = os.dup(found.fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def provenance(self, position: Position) -> bytes:
        """The provenance that was committed with the data set. Raises Damaged."""
        found = self._segment(position)
        header = self._header(found, position)
        length = header.provenance_bytes
        provenance = self._bytes(found, position, header.provenance_offset, length)
        if zlib.crc32(provenance) != header.provenance_crc:
            raise Damaged(f"{_name(position)}: its provenance does not agree with its checksum")
        return provenance

    def digest(self, position: Position) -> bytes:
        """The digest that was committed with the data set, by its record's header. Raises Damaged."""
        return self._header(self._segment(position), position).digest

    def verify(self, position: Position, digest: bytes) -> None:
        """Read every byte of the data set and compare.

        Raises:
            Damaged: its BLAKE3 is not `digest`.
        """
        view = self.view(position)
        if blake3(view).digest() != digest:
            raise Damaged(f"{_name(position)} does not agree with its digest")

    def close(self) -> None:
        """Let all segments go; views that are held stay good."""
        with self._lock:
            self._open.clear()

    def _bytes(self, found: _Open, position: Position, offset: int, length: int) -> bytes:
        """`length` bytes of the file; one call reads no more than 2 GiB."""
        try:
            data = self._read(found.fd, length, offset)
            while len(data) < length:
                more = self._read(found.fd, length - len(data), offset + len(data))
                if not more:
                    raise Damaged(f"{_name(position)}: the file ends before it")
                data += more
        except OSError as error:
            raise Damaged(f"{_name(position)} cannot be read: {error.strerror}") from error
        return data

    def _header(self, found: _Open, position: Position) -> RecordHeader:
        """The record's header, once it is sure that this is the record. About 8 us with the look-up."""
        try:
            raw = self._read(found.fd, HEADER_BYTES, position.record)
            header = decode_record(raw, position.record)
        except (BadHeader, OSError) as error:
            raise Damaged(f"{_name(position)}: {error}") from error
        if (
            header.segment != position.segment
            or header.data_bytes != position.length
            or header.kind != RecordKind.DATA
            or (found.nonce is not None and header.nonce != found.nonce)
            or position.end > len(found.content)
        ):
            raise Damaged(f"{_name(position)}: another record lies there")
        return header

    def _segment(self, position: Position) -> _Open:
        key = (position.writer, position.segment)
        with self._lock:
            found = self._open.get(key)
            if found is not None and position.end <= len(found.content):
                self._open.move_to_end(key)
                return found
        fresh = self._load(position)
        with self._lock:
            self._open[key] = fresh
            self._open.move_to_end(key)
            while len(self._open) > self._limit:
                self._open.popitem(last=False)
        return fresh

    def _load(self, position: Position) -> _Open:
        self.forget_released()
        try:
            fd = open_segment(self._root / position.writer, position.segment)
        except FileNotFoundError as error:
            raise Damaged(str(error)) from error
        try:
            content = mmap.mmap(fd, 0, prot=mmap.PROT_READ)
        except (OSError, ValueError) as error:
            os.close(fd)
            raise Damaged(f"{_name(position)} cannot be read: {error}") from error
        header = read_segment_header(fd)
        found = _Open(fd, content, header.nonce if header else None)
        # Between the opening and its lock the file may have begun another life.
        if header is not None and header.number != position.segment:
            raise Damaged(f"there is no journal segment {position.writer}/{position.segment}")
        return found

    def _count_viewed(self, count: int) -> None:
        """Keep what is mapped and was looked at from adding up without bound."""
        with self._lock:
            self._viewed += count
            if self._viewed < RESIDENT_BYTES:
                return
            self._viewed = 0
            mapped = [found.content for found in self._open.values()]
        for content in mapped:
            content.madvise(mmap.MADV_DONTNEED)

    def forget_released(self) -> None:
        """Let go of segments that were released, so that they may be written over."""
        with self._lock:
            for key in [key for key in self._open if not self._is_there(key)]:
                del self._open[key]

    def _is_there(self, key: tuple[str, int]) -> bool:
        writer, number = key
        return any(
            segment_path(self._root / writer, number, state).exists()
            for state in (State.SEALED, State.OPEN, State.SEALED)
        )


def read_segment_header(fd: int) -> SegmentHeader | None:
    """The segment header by either of its copies; None if both are damaged."""
    for at in (0, HEADER_COPY):
        with contextlib.suppress(BadHeader, OSError):
            return decode_segment(os.pread(fd, HEADER_BYTES, at))
    return None


def _name(position: Position) -> str:
    return f"journal record {position.writer}/{position.segment} at {position.record}"
