"""How much room is left on the journal's disk above the reserve."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from sebago.errors import DiskFull
from sebago.journal.disk import Disk

ASK_EVERY_S = 1.0


class Space:
    """Free space by the system's word at most once a second, less what was allocated since.

    The reserve is what the index, the ledger and everything else on the disk live on while intake
    refuses. Nothing has to be restarted once space was freed. Any thread may ask.
    """

    def __init__(
        self, disk: Disk, folder: Path, reserve_bytes: int, clock: Callable[[], float]
    ) -> None:
        self._disk = disk
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_s = float("-inf")
        self._free_bytes = 0

    def take(self, more_bytes: int) -> None:
        """Count `more_bytes` as allocated if that leaves the reserve whole; 0 only asks.

        Raises:
            DiskFull: it would not; nothing was counted.
            OSError: the system does not say.
        """
        with self._lock:
            now_s = self._clock()
            if now_s - self._asked_s >= ASK_EVERY_S:
                self._free_bytes = self._disk.free_bytes(self._folder)
                self._asked_s = now_s
            if self._free_bytes - more_bytes < self._reserve_bytes:
                raise DiskFull(
                    f"{self._free_bytes} bytes are free on the journal's disk, {more_bytes} are asked"
                    f" for, and {self._reserve_bytes} are kept in reserve",
                    do="free space on that disk; intake resumes by itself",
                )
            self._free_bytes -= more_bytes
