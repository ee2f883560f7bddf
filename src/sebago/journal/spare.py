"""A segment written over with zeros ahead of need, while nobody commits.

Writing over blocks that were written before takes 0.6 of the time that newly allocated ones take
(`docs/decisions/0001-journal-segments.md`). Released segments are such blocks; until there are any, and
while none are released, this makes one in idle time. It writes a megabyte at a time, slowly, and
stops as soon as somebody commits: a commit waits for at most one such write.

A crash leaves a `.new` file, which the next owner of the folder deletes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from sebago.errors import DiskFull
from sebago.journal.disk import Disk, write_all
from sebago.journal.folder import Folder, State
from sebago.journal.space import Space

log = logging.getLogger(__name__)

PIECE_BYTES = 1024 * 1024
PAUSE_WRITING_S = 1 / 250
PAUSE_BUSY_S = 0.25
PAUSE_ENOUGH_S = 1.0
PAUSE_FAILED_S = 30.0


class SpareMaker:
    """Keeps `count` free segment files of `file_bytes` at hand. `step` is one piece of the work."""

    def __init__(
        self,
        folder: Folder,
        disk: Disk,
        space: Space,
        *,
        file_bytes: int,
        count: int,
        is_idle: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._space = space
        self._file_bytes = file_bytes
        self._count = count
        self._is_idle = is_idle
        self._path = folder.path / f"spare{State.NEW}"
        self._fd = -1
        self._at = 0
        self.made = False
        """A spare was finished; whoever begins a segment sets it back."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Work in a thread of its own until `stop`."""
        self._thread = threading.Thread(target=self._run, name="journal-spare", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and drop a spare that is not finished."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._drop()

    def _run(self) -> None:
        pause_s = PAUSE_BUSY_S
        while not self._stop.wait(pause_s):
            pause_s = self.step()

    def step(self) -> float:
        """Write one piece if that is wanted and nobody is in the way; returns seconds to wait."""
        if not self._is_idle():
            return PAUSE_BUSY_S
        try:
            if self._fd < 0:
                if len(self._folder.free_files()) >= self._count:
                    return PAUSE_ENOUGH_S
                self._begin()
            self._write_piece()
        except DiskFull:
            return PAUSE_FAILED_S  # it is only a convenience: leave the space to what needs it
        except OSError as error:
            log.warning("no spare journal segment could be made: %s", error)
            self._drop()
            return PAUSE_FAILED_S
        return PAUSE_WRITING_S

    def _begin(self) -> None:
        self._space.take(self._file_bytes)
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(self._path, flags, 0o640)
        self._at = 0
        self._disk.fallocate(self._fd, self._file_bytes)

    def _write_piece(self) -> None:
        piece = bytes(min(PIECE_BYTES, self._file_bytes - self._at))
        self._at += write_all(self._disk, self._fd, [piece], self._at)
        self._disk.fdatasync(self._fd)
        if self._at == self._file_bytes:
            self._disk.rename(self._path, self._unused_name())
            os.close(self._fd)
            self._fd = -1
            self.made = True

    def _unused_name(self) -> Path:
        taken = {path.name for path in self._folder.free_files()}
        names = (f"spare-{n}{State.FREE}" for n in range(len(taken) + 1))
        return self._folder.path / next(name for name in names if name not in taken)

    def _drop(self) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._path.unlink()
            os.close(self._fd)
            self._fd = -1
