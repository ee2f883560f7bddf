"""How much this disk makes durable a second, measured as a receiver would use it."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class SyncRate:
    """Sequential writing with one fdatasync for each piece of `PIECE_BYTES`."""

    bytes_written: int
    seconds: float

    @property
    def mb_per_second(self) -> float:
        """Durable MB (10^6 bytes) a second."""
        return self.bytes_written / 1e6 / self.seconds


def sync_rate(folder: Path, total_bytes: int) -> SyncRate:
    """Write `total_bytes` of noise into a new file in `folder`, syncing every piece; remove it.

    A short run flatters: the first few hundred MB go into the cache of the disk or of the host
    beneath. Measure as many bytes as what it is compared with.
    """
    path = folder / "disk-rate.tmp"
    piece = os.urandom(PIECE_BYTES)
    pieces = max(1, total_bytes // PIECE_BYTES)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        began = time.perf_counter()
        for _ in range(pieces):
            at = memoryview(piece)
            while at:
                at = at[os.write(fd, at) :]
            os.fdatasync(fd)
        took = time.perf_counter() - began
    finally:
        os.close(fd)
        path.unlink()
    return SyncRate(pieces * PIECE_BYTES, took)
