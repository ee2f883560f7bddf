"""Writing to the journal: two-stage leader group commit.

There is no committing thread. Whoever holds a lock does the work for all who wait for it:

 0. An object with a segment of its own is settled there by the thread that brings it, and is durable
    before it joins (see `spool`). A crash leaves a record that nobody was told of: harmless.
 1. The entries join those that wait. Nothing is on the disk.
 2. *Under the sync lock* the leader takes all that wait and writes them as one batch (as two where the
    segment ends, the second in the next one). A crash leaves an unfinished tail, which replay drops, or
    whole records that nobody was told of, which replay may bring up: harmless.
 3. Still under it, one `fdatasync`. From here on they survive anything. The batch goes into line for the
    second stage; the next leader may write while the second stage runs.
 4. *Under the second lock* a leader takes what is in line and calls `then` with it, once, in journal
    order: the index transaction. A crash before its end is made good by replay.
 5. `commit` returns to each caller whose own entries are through both. Now they may be acknowledged.

What fails, fails for exactly the batch it was part of. After a failed write or sync the segment is
abandoned and the next batch begins another one: a sync that failed once says nothing when it is tried
again, since the system may have dropped the very pages that it could not write.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sebago.errors import DiskFull, JournalBehind, JournalFailed, TryLater
from sebago.journal import segment as segments
from sebago.journal.disk import Disk, RealDisk, as_refusal
from sebago.journal.entry import Entry
from sebago.journal.folder import Folder
from sebago.journal.record import FIRST_RECORD, PAGE, record_bytes, up
from sebago.journal.segment import Segment
from sebago.journal.space import Space
from sebago.journal.spare import SpareMaker
from sebago.journal.spool import Buffers, Spool, Spooled

log = logging.getLogger(__name__)

MIB = 1024 * 1024
IDLE_AFTER_S = 0.5
"""So long after the last commit a spare segment may be worked on."""
Then = Callable[[Sequence[Entry]], None]


class _Ticket:
    """One call of `commit` on its way through the two stages."""

    __slots__ = ("entries", "nbytes", "synced", "through")

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.nbytes = sum(e.data_bytes for e in entries if not isinstance(e.data, Spooled))
        self.synced = False
        self.through = False

    def fail(self, error: Exception) -> None:
        """Refuse all of its entries."""
        for entry in self.entries:
            entry.error = error


class Journal:
    """The journal of this process. Any number of threads may commit and spool at once.

    Open it after a fork, in the process that uses it: a folder has one writer.
    """

    def __init__(
        self,
        folder: Folder,
        *,
        segment_bytes: int,
        inline_bytes_max: int,
        queue_bytes_max: int,
        space: Space,
        spares: int,
        then: Then,
        disk: Disk,
        clock: Callable[[], float],
    ) -> None:
        """Use `Journal.open`."""
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._queue_bytes_max = queue_bytes_max
        self._space = space
        self._then = then
        self._disk = disk
        self._clock = clock
        self._committed_s = clock()
        self._buffers = Buffers(inline_bytes_max)
        self._pid = os.getpid()
        self._closed = False
        self._segment: Segment | None = None  # under the sync lock
        self._sync_lock = threading.Lock()
        self._then_lock = threading.Lock()
        self._lines = threading.Lock()  # guards the next three, never held while waiting
        self._waiting: list[_Ticket] = []
        self._waiting_bytes = 0
        self._synced: list[_Ticket] = []
        self._spares = SpareMaker(
            folder,
            disk,
            space,
            file_bytes=segment_bytes,
            count=spares,
            is_idle=lambda: clock() - self._committed_s >= IDLE_AFTER_S,
        )
        if spares:
            self._spares.start()

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        segment_bytes: int = 256 * MIB,
        reserve_bytes: int = 1024 * MIB,
        queue_bytes_max: int = 512 * MIB,
        inline_bytes_max: int = 8 * MIB,
        spares: int = 1,
        then: Then,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Journal:
        """Take a folder under `root` that no living process holds, or a new one.

        Args:
            root: the journal folder, shared by all processes; made if absent.
            segment_bytes: length of a segment file; a longer batch gets a longer one.
            reserve_bytes: free space on the disk below which everything is refused.
            queue_bytes_max: bytes that may wait for the sync before more are refused.
            inline_bytes_max: longer objects stream to a segment of their own.
            spares: segments to be written with zeros ahead in idle time; 0 for a short-lived process.
            then: called with each synced batch in journal order, by one thread at a time. It may set
                `error` of single entries. What it raises becomes the error of the whole batch.
            disk: for tests of failing disks.
            clock: monotonic seconds.

        Raises:
            OSError: the folder cannot be made or locked.
        """
        disk = disk or RealDisk()
        folder = Folder.take(root, disk)
        return cls(
            folder,
            segment_bytes=up(segment_bytes, PAGE),
            inline_bytes_max=inline_bytes_max,
            queue_bytes_max=queue_bytes_max,
            space=Space(disk, folder.path, reserve_bytes, clock),
            spares=spares,
            then=then,
            disk=disk,
            clock=clock,
        )

    @property
    def writer(self) -> str:
        """Name of this process's folder, as in positions."""
        return self._folder.name

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for the sync just now."""
        return self._waiting_bytes

    def spool(self, expected: int | None = None) -> Spool:
        """Where the bytes of one object go while they arrive.

        `expected` is what the sender says its length is: a hint that nothing is allocated by.
        """
        self._check_usable()
        return Spool(self._folder, self._disk, self._space, self._buffers)

    def commit(self, entries: Sequence[Entry]) -> None:
        """Make entries durable and have `then` called with them.

        On return each entry has either its `position`, and `then` has returned without an error for
        it, or an `error`: JournalFailed, DiskFull, JournalBehind, or what `then` raised.
        """
        self._check_usable()
        for entry in entries:
            entry.check()
        ticket = _Ticket(entries)
        self._committed_s = self._clock()
        self._settle_spooled(entries)
        if not self._join(ticket):
            return
        with self._sync_lock:
            if not ticket.synced:
                self._sync_waiting()
        with self._then_lock:
            if not ticket.through:
                self._call_then()

    def close(self) -> None:
        """Close the segment and let the folder go. Nobody may be committing any more."""
        with self._sync_lock, self._then_lock:
            if self._closed:
                return
            self._closed = True
            self._spares.stop()
            if self._segment is not None:
                self._seal(shrink=True)
            self._folder.close()

    # --- stage 0 and 1 ---------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._closed or self._pid != os.getpid():
            raise RuntimeError("the journal is closed, or was opened before a fork by the parent")

    def _settle_spooled(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if isinstance(entry.data, Spooled):
                try:
                    entry.position = entry.data.settle(entry, time.time_ns() // 1000)
                except OSError as error:
                    entry.data.discard()
                    entry.error = as_refusal(error, "an object's own segment could not be made")

    def _join(self, ticket: _Ticket) -> bool:
        """Stand in line for the sync, unless too much waits already."""
        with self._lines:
            # A commit alone is taken whatever its length, else it could never be.
            if self._waiting_bytes and self._waiting_bytes + ticket.nbytes > self._queue_bytes_max:
                ticket.fail(
                    JournalBehind(
                        f"{self._waiting_bytes} bytes wait for the journal's sync,"
                        f" {self._queue_bytes_max} may",
                        do="send again later, or give the journal a faster disk",
                    )
                )
                return False
            self._waiting.append(ticket)
            self._waiting_bytes += ticket.nbytes
            return True

    # --- stages 2 and 3: the sync lock is held ----------------------------------------------------

    def _sync_waiting(self) -> None:
        """Write and sync all that wait, and put them in line for the second stage."""
        with self._lines:
            batch, self._waiting = self._waiting, []
        try:
            self._write(
                [entry for ticket in batch for entry in ticket.entries if _unwritten(entry)]
            )
        except BaseException:
            # Interrupted half-way: nobody knows what the disk has.
            self._abandon()
            for ticket in batch:
                ticket.fail(JournalFailed("the journal was interrupted", do="send again"))
            raise
        finally:
            with self._lines:
                self._synced += batch
                self._waiting_bytes -= sum(ticket.nbytes for ticket in batch)
            for ticket in batch:
                ticket.synced = True

    def _write(self, entries: list[Entry]) -> None:
        """Write entries as one batch, or as several where segments end."""
        while entries:
            try:
                self._space.take(0)
                segment, count = self._segment_for(entries)
            except (OSError, DiskFull) as error:
                _refuse(entries, error, "no journal segment could be begun")
                return
            run, entries = entries[:count], entries[count:]
            try:
                positions = segment.append(run)
            except OSError as error:
                self._abandon()
                _refuse(run, error, "the journal could not be written")
                continue
            for entry, position in zip(run, positions, strict=True):
                entry.position = position

    def _segment_for(self, entries: list[Entry]) -> tuple[Segment, int]:
        """The segment for the next batch, and how many of the entries go into it (at least one).

        Raises:
            DiskFull, OSError: there is none, and none could be begun.
        """
        if self._segment is not None:
            # A spare that was finished meanwhile is the faster place: go there at once.
            to_spare = self._spares.made and not self._segment.recycled
            count = 0 if to_spare else _how_many_fit(self._segment, entries)
            if count:
                return self._segment, count
            self._seal(shrink=to_spare)
        first = up(_bytes_of(entries[0]), PAGE)
        self._segment = self._begin(max(self._segment_bytes, FIRST_RECORD + first + PAGE))
        return self._segment, _how_many_fit(self._segment, entries)

    def _begin(self, file_bytes: int) -> Segment:
        now_us = time.time_ns() // 1000
        self._spares.made = False
        for path in self._folder.free_files():
            if path.stat().st_size >= file_bytes:
                recycled = segments.recycle(self._folder, self._disk, path, now_us)
                if recycled is not None:
                    return recycled
        self._space.take(file_bytes)
        return segments.create(self._folder, self._disk, file_bytes, now_us)

    def _seal(self, *, shrink: bool) -> None:
        segment, self._segment = self._segment, None
        assert segment is not None
        try:
            segment.seal(shrink=shrink)
        except OSError as error:
            # What it holds was synced long ago; only the end mark is missing.
            log.warning("journal segment %s could not be closed: %s", segment.path.name, error)
            segment.abandon()

    def _abandon(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.abandon()

    # --- stage 4: the second lock is held ---------------------------------------------------------

    def _call_then(self) -> None:
        """Call `then` with all synced entries that no leader took yet."""
        with self._lines:
            batch, self._synced = self._synced, []
        entries = [entry for ticket in batch for entry in ticket.entries if entry.error is None]
        try:
            if entries:
                self._then(entries)
        except Exception as error:  # noqa: BLE001  it is handed to each caller, who raises it
            for entry in entries:
                entry.error = error
        except BaseException:
            for ticket in batch:
                ticket.fail(JournalFailed("the journal was interrupted", do="send again"))
            raise
        finally:
            for ticket in batch:
                ticket.through = True


def _unwritten(entry: Entry) -> bool:
    return entry.position is None and entry.error is None


def _bytes_of(entry: Entry) -> int:
    return record_bytes(entry.data_bytes, len(entry.provenance))


def _how_many_fit(segment: Segment, entries: list[Entry]) -> int:
    total = 0
    for count, entry in enumerate(entries):
        total += _bytes_of(entry)
        if not segment.fits(up(total, PAGE)):
            return count
    return len(entries)


def _refuse(entries: Sequence[Entry], error: OSError | DiskFull, what: str) -> None:
    """Give entries their error; a failed call becomes the answer that doors know."""
    if isinstance(error, DiskFull):
        refusal: TryLater = error
    else:
        refusal = as_refusal(error, what)
        log.error("journal: %s", refusal)
    for entry in entries:
        entry.error = refusal
