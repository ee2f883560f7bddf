"""One segment file while it is written.

**Made afresh** (`create`), each step durable or undone before the next:
 1. `<n>.new` is created and its whole length allocated. A crash leaves a `.new`: deleted later.
 2. Its header, with a new nonce, is written and synced. The same.
 3. It is renamed `<n>.open` and the folder synced. From here on a record in it can be found again.

**Recycled** (`recycle`): a `.free` file that no reader has open any more (an exclusive `flock`
 says so) gets a new header with a new nonce, synced, and is then renamed and the folder synced. A
 crash before the rename leaves a `.free` file as it was to all intents; from the new header on none
 of its old records counts, since their nonce is another one.

**Sealed** (`seal`): an end mark is written and synced, and the file renamed `<n>.seg`. A crash leaves
 an `.open` file without an end mark, which reads as one with a last batch that may be unfinished.

**Abandoned** (`abandon`) after a failed write or sync: the file is never written or synced again. A
 note beside it (`.cut`) says where the failed batch began.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import zlib
from collections.abc import Sequence
from pathlib import Path

from sebago.journal.disk import Buffer, Disk, write_all
from sebago.journal.entry import Entry, Position
from sebago.journal.folder import (
    Folder,
    State,
    segment_path,
    try_lock_for_overwriting,
    write_cut,
)
from sebago.journal.record import (
    DIGEST_BYTES,
    FIRST_RECORD,
    NONCE_BYTES,
    PAGE,
    RecordHeader,
    RecordKind,
    SegmentHeader,
    SegmentKind,
    batch_offsets,
    encode_record,
    encode_segment,
)

log = logging.getLogger(__name__)

_ZEROS = bytes(2 * PAGE)


def new_header(
    kind: SegmentKind, number: int, file_bytes: int, created_us: int, writer: str
) -> SegmentHeader:
    """A segment header with a nonce that nobody can guess."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return SegmentHeader(kind, nonce, number, file_bytes, created_us, writer)


def data_record(
    header: SegmentHeader, entry: Entry, offset: int, total: int, synced: int
) -> RecordHeader:
    """The header of an entry's record at its place."""
    return RecordHeader(
        kind=RecordKind.DATA,
        nonce=header.nonce,
        segment=header.number,
        offset=offset,
        total=total,
        data_bytes=entry.data_bytes,
        provenance_bytes=len(entry.provenance),
        provenance_crc=zlib.crc32(entry.provenance),
        digest=entry.digest,
        received_us=entry.received_us,
        synced=synced,
    )


def end_mark(header: SegmentHeader, offset: int) -> bytes:
    """The page that closes a segment at `offset`."""
    mark = RecordHeader(
        kind=RecordKind.END,
        nonce=header.nonce,
        segment=header.number,
        offset=offset,
        total=PAGE,
        data_bytes=0,
        provenance_bytes=0,
        provenance_crc=0,
        digest=bytes(DIGEST_BYTES),
        received_us=header.created_us,
        synced=offset,
    )
    return encode_record(mark).ljust(PAGE, b"\0")


def position_of(record: RecordHeader, writer: str) -> Position:
    """Where the record's data set lies."""
    return Position(writer, record.segment, record.data_offset, record.data_bytes, record.end)


class Segment:
    """A segment that this process writes; one thread at a time."""

    def __init__(
        self, fd: int, path: Path, header: SegmentHeader, disk: Disk, *, recycled: bool
    ) -> None:
        self._fd = fd
        self._disk = disk
        self.recycled = recycled
        """Whether its blocks were written before: the faster kind."""
        self.path = path
        self.header = header
        self.end = FIRST_RECORD
        """Everything before this offset is synced; the next batch begins here."""

    def fits(self, batch_bytes: int) -> bool:
        """Whether a batch of that length leaves room for the end mark."""
        return self.end + batch_bytes + PAGE <= self.header.file_bytes

    def append(self, entries: Sequence[Entry]) -> list[Position]:
        """Write entries held in memory as one batch and sync them; returns their positions.

        Raises:
            OSError: nothing of the batch counts, and the segment is to be abandoned.
        """
        sizes = [(entry.data_bytes, len(entry.provenance)) for entry in entries]
        buffers: list[Buffer] = []
        positions: list[Position] = []
        for entry, (offset, total) in zip(entries, batch_offsets(self.end, sizes), strict=True):
            record = data_record(self.header, entry, offset, total, self.end)
            data = entry.data
            assert isinstance(data, memoryview)
            padding = total - (record.provenance_offset - offset) - record.provenance_bytes
            buffers += (encode_record(record), data, entry.provenance, _ZEROS[:padding])
            positions.append(position_of(record, self.header.writer))
        written = write_all(self._disk, self._fd, buffers, self.end)
        self._disk.fdatasync(self._fd)
        self.end += written
        return positions

    def seal(self, *, shrink: bool) -> None:
        """Close the segment for good; `shrink` gives the unused rest back to the file system.

        Raises:
            OSError: it is to be abandoned; what was acknowledged is safe.
        """
        if shrink:
            os.ftruncate(self._fd, self.end + PAGE)
        write_all(self._disk, self._fd, [end_mark(self.header, self.end)], self.end)
        self._disk.fdatasync(self._fd)
        self._disk.rename(self.path, self.path.with_suffix(State.SEALED))
        os.close(self._fd)

    def abandon(self) -> None:
        """Never touch the file again after a failed write or sync.

        Whatever goes wrong here is logged only: the note and the name are conveniences.
        """
        try:
            write_cut(self.path, self.end)
            self._disk.rename(self.path, self.path.with_suffix(State.SEALED))
        except OSError as error:
            log.warning("journal segment %s left as it is: %s", self.path.name, error)
        with contextlib.suppress(OSError):
            os.close(self._fd)


def create(folder: Folder, disk: Disk, file_bytes: int, created_us: int) -> Segment:
    """A new segment file, allocated and durable by name. Raises OSError; then nothing is left."""
    number = folder.next_number()
    path = segment_path(folder.path, number, State.NEW)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        disk.fallocate(fd, file_bytes)
        header = _begin(fd, path, number, folder, disk, created_us)
    except BaseException:
        _discard(fd, path)
        raise
    target = segment_path(folder.path, number, State.OPEN)
    return Segment(fd, target, header, disk, recycled=False)


def recycle(folder: Folder, disk: Disk, path: Path, created_us: int) -> Segment | None:
    """Begin a new life of a `.free` file; None while a reader still has it open. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not try_lock_for_overwriting(fd):
            os.close(fd)
            return None
        header = _begin(fd, path, folder.next_number(), folder, disk, created_us)
    except BaseException:
        _discard(fd, path)
        raise
    target = segment_path(folder.path, header.number, State.OPEN)
    return Segment(fd, target, header, disk, recycled=True)


def _begin(
    fd: int, path: Path, number: int, folder: Folder, disk: Disk, created_us: int
) -> SegmentHeader:
    """Steps 2 and 3: header, sync, name, sync."""
    file_bytes = os.fstat(fd).st_size
    header = new_header(SegmentKind.SHARED, number, file_bytes, created_us, folder.name)
    write_all(disk, fd, [encode_segment(header)], 0)
    disk.fdatasync(fd)
    target = segment_path(folder.path, number, State.OPEN)
    disk.rename(path, target)
    try:
        folder.sync()
        # Shared from now on: readers may open it, and nobody can write over it.
        fcntl.flock(fd, fcntl.LOCK_SH)
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink()
        raise
    return header


def _discard(fd: int, path: Path) -> None:
    """Remove a file that never held a record that counts."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        os.close(fd)
