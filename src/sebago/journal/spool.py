"""Receiving one object: in memory while it is small, into a segment of its own past that.

A spool offers room for the next bytes and is told how many came, so that a socket can receive straight
to their place. Up to `inline_bytes_max` they stay in a pooled buffer; an object that grows past it
goes to `spool-<random>.part` in the writer's folder, a buffer at a time, synced every 64 MiB so that
the last sync is short and the page cache stays small. Memory is one buffer whatever the length.

**A spooled object becomes a segment** (`Spooled.settle`, in the thread that commits it):
 1. Its data set lies in the `.part` file from offset 4224 on, synced. A crash leaves a `.part`.
 2. Provenance and end mark are written behind it, segment header and record header, last, before
    it; the file is synced. The same.
 3. It is renamed `<n>.seg` and the folder synced. From here on replay finds it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import secrets
import threading
from pathlib import Path
from types import TracebackType

from blake3 import blake3

from sebago.errors import DiskFull, TryLater
from sebago.journal.disk import Disk, as_refusal, write_all
from sebago.journal.entry import Entry, Position
from sebago.journal.folder import Folder, State, segment_path
from sebago.journal.record import (
    FIRST_RECORD,
    HEADER_BYTES,
    PAGE,
    SegmentKind,
    encode_record,
    encode_segment,
    record_bytes,
    up,
)
from sebago.journal.segment import data_record, end_mark, new_header, position_of
from sebago.journal.space import Space

DATA_AT = FIRST_RECORD + HEADER_BYTES
"""Where the data set begins in a segment of its own."""
SYNC_EVERY_BYTES = 64 * 1024 * 1024
HASH_EVERY_BYTES = 128 * 1024
"""Hashed as it comes, while the sender fills the socket again, and not all at the end."""
KEPT_BUFFERS = 16
"""Free buffers that the pool keeps; more are given back."""
KEPT_BUFFER_BYTES = 1024 * 1024
"""A buffer that was filled further than this goes back to the pool emptied."""


class Buffers:
    """A pool of equally long buffers. Anonymous mappings: pages count once they are touched."""

    def __init__(self, buffer_bytes: int) -> None:
        self.buffer_bytes = buffer_bytes
        self._free: list[mmap.mmap] = []
        self._lock = threading.Lock()

    def take(self) -> mmap.mmap:
        """A buffer with any content."""
        with self._lock:
            if self._free:
                return self._free.pop()
        # Private: pages of a shared mapping stay in memory whatever is advised.
        return mmap.mmap(-1, self.buffer_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def give_back(self, buffer: mmap.mmap, used_bytes: int) -> None:
        """Return a buffer; one that somebody still looks at is left to him instead."""
        try:
            buffer.resize(self.buffer_bytes)  # changes nothing, and fails while views exist
        except BufferError:
            return
        if used_bytes > KEPT_BUFFER_BYTES:
            buffer.madvise(mmap.MADV_DONTNEED)
        with self._lock:
            if len(self._free) < KEPT_BUFFERS:
                self._free.append(buffer)
                return
        buffer.close()


class Spooled:
    """An object in a segment file of its own, complete but not yet committed."""

    __slots__ = ("_disk", "_fd", "_folder", "_map", "_path", "nbytes")

    def __init__(self, fd: int, path: Path, folder: Folder, disk: Disk) -> None:
        self._fd = fd
        self._path: Path | None = path
        self._folder = folder
        self._disk = disk
        self._map: mmap.mmap | None = None
        self.nbytes = 0
        """Length of the data set."""

    def view(self) -> memoryview:
        """The data set, read only, mapped: pages are read as they are looked at."""
        if self._map is None:
            self._map = mmap.mmap(self._fd, DATA_AT + self.nbytes, prot=mmap.PROT_READ)
        return memoryview(self._map)[DATA_AT:]

    def append(self, data: memoryview) -> None:
        """Write the next bytes of the data set. Raises OSError."""
        write_all(self._disk, self._fd, [data], DATA_AT + self.nbytes)
        self.nbytes += len(data)

    def sync(self) -> None:
        """Return once what was appended is on the disk. Raises OSError."""
        self._disk.fdatasync(self._fd)

    def settle(self, entry: Entry, created_us: int) -> Position:
        """Make it a segment under a number of its own; returns its position, durable.

        Raises:
            OSError: it is not kept; call `discard`.
        """
        number = self._folder.next_number()
        total = up(record_bytes(self.nbytes, len(entry.provenance)), PAGE)
        end = FIRST_RECORD + total
        header = new_header(SegmentKind.SPOOLED, number, end + PAGE, created_us, self._folder.name)
        record = data_record(header, entry, FIRST_RECORD, total, FIRST_RECORD)
        padding = bytes(end - record.provenance_offset - record.provenance_bytes)
        tail = [entry.provenance, padding, end_mark(header, end)]
        write_all(self._disk, self._fd, tail, record.provenance_offset)
        write_all(self._disk, self._fd, [encode_segment(header), encode_record(record)], 0)
        self._disk.fdatasync(self._fd)
        target = segment_path(self._folder.path, number, State.SEALED)
        assert self._path is not None
        self._disk.rename(self._path, target)
        self._path = target
        self._folder.sync()
        self._path = None  # it is the journal's now
        return position_of(record, self._folder.name)

    def discard(self) -> None:
        """Close it, and remove the file unless it was committed. Views stay good."""
        self._map = None
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
            self._path = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Spool:
    """Where one object's bytes go while they arrive. One thread at a time.

    Call `abandon` at the end in any case (or use it as a context manager): it gives the buffer back,
    and removes what was not committed. What `finish` returned is released by that.

    A failing disk does not show before `finish`: until then what comes is taken and dropped, so that
    a door can read a message to its end and answer it. `error` tells a door that would rather stop.
    """

    def __init__(self, folder: Folder, disk: Disk, space: Space, buffers: Buffers) -> None:
        self._folder = folder
        self._disk = disk
        self._space = space
        self._buffers = buffers
        self._buffer: mmap.mmap | None = buffers.take()
        self._view = memoryview(self._buffer)
        self._given: memoryview | Spooled | None = None
        self._used = 0
        self._hashed = 0
        self._high = 0
        self._unsynced = 0
        self._hash = blake3()
        self._spooled: Spooled | None = None
        self.error: TryLater | None = None
        """Why the object cannot be kept, as soon as that is known."""
        self.nbytes = 0
        """Bytes received so far."""

    def room(self, wanted: int) -> memoryview:
        """Where the next bytes go: at most `wanted` of them, at least one."""
        if self._used == self._buffers.buffer_bytes:
            self._flush()
        return self._view[self._used : self._used + max(wanted, 1)]

    def filled(self, count: int) -> None:
        """The first `count` bytes of the last `room` are there."""
        self._used += count
        self.nbytes += count
        if self._used - self._hashed >= HASH_EVERY_BYTES:
            self._hash_up()

    def write(self, data: bytes | memoryview) -> None:
        """Take all of `data`; for callers that have the bytes already."""
        rest = memoryview(data).cast("B")
        while rest:
            room = self.room(len(rest))
            room[:] = rest[: len(room)]
            self.filled(len(room))
            rest = rest[len(room) :]

    def finish(self) -> memoryview | Spooled:
        """All bytes have come: the data set, in memory or in a segment of its own. Again: the same.

        Raises:
            DiskFull, JournalFailed: it could not be written.
        """
        if self._given is not None:
            return self._given
        if self._spooled is None and self.error is None:
            self._take_in()
            self._given = self._view[: self._used].toreadonly()
            return self._given
        self._flush(last=True)
        if self.error is not None:
            raise self.error
        assert self._spooled is not None
        self._given = self._spooled
        return self._given

    @property
    def digest(self) -> bytes:
        """BLAKE3-256 of the data set; right once `finish` has returned."""
        return self._hash.digest()

    def abandon(self) -> None:
        """Give everything back; may be called at any time and again."""
        if self._spooled is not None:
            self._spooled.discard()
            self._spooled = None
        if self._buffer is not None:
            buffer, self._buffer = self._buffer, None
            with contextlib.suppress(BufferError):  # somebody still looks at it
                if isinstance(self._given, memoryview):
                    self._given.release()
                self._view.release()
            self._buffers.give_back(buffer, self._high)

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abandon()

    def _hash_up(self) -> None:
        """Hash what has come since the last time; outside the interpreter's lock."""
        self._hash.update(self._view[self._hashed : self._used])
        self._hashed = self._used

    def _take_in(self) -> None:
        """Hash the rest of what the buffer holds."""
        self._hash_up()
        self._high = max(self._high, self._used)

    def _flush(self, *, last: bool = False) -> None:
        """Write the buffer to the object's own file, and begin again at its start."""
        self._take_in()
        data = self._view[: self._used]
        self._used = self._hashed = 0
        if self.error is not None:
            return
        try:
            self._space.take(len(data))
            if self._spooled is None:
                self._spooled = self._begin()
            self._spooled.append(data)
            self._unsynced += len(data)
            if last or self._unsynced >= SYNC_EVERY_BYTES:
                self._unsynced = 0
                self._spooled.sync()
        except DiskFull as error:
            self._fail(error)
        except OSError as error:
            self._fail(as_refusal(error, "an object could not be written to the journal"))

    def _begin(self) -> Spooled:
        path = self._folder.path / f"spool-{secrets.token_hex(8)}{State.PART}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        return Spooled(fd, path, self._folder, self._disk)

    def _fail(self, error: TryLater) -> None:
        """Remember why it cannot be kept; its file goes at once, what still comes is dropped."""
        self.error = error
        if self._spooled is not None:
            self._spooled.discard()
            self._spooled = None
