"""Disks that fail, as small classes that stand in for the real one. Nothing is patched."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from sebago.journal.disk import Buffer, RealDisk


class FullDisk(RealDisk):
    """A disk with `left_bytes` of room: allocating and writing past that fails, as the system says."""

    def __init__(self, left_bytes: int) -> None:
        self.left_bytes = left_bytes

    def free_bytes(self, folder: Path) -> int:
        return self.left_bytes

    def fallocate(self, fd: int, length: int) -> None:
        if length > self.left_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().fallocate(fd, length)
        self.left_bytes -= length


class FailingDisk(RealDisk):
    """Counts calls and fails the n-th of them (the first is 1), with EIO unless told otherwise.

    `stays_broken` fails every later one too. `operations` limits what is counted.
    """

    def __init__(
        self,
        nth: int,
        *,
        operations: frozenset[str] = frozenset(
            {"pwritev", "fdatasync", "sync_folder", "fallocate", "rename", "free_bytes"}
        ),
        number: int = errno.EIO,
        stays_broken: bool = False,
    ) -> None:
        self.nth = nth
        self.operations = operations
        self.number = number
        self.stays_broken = stays_broken
        self.calls = 0
        self.failed: list[str] = []

    def _count(self, operation: str) -> None:
        if operation not in self.operations:
            return
        self.calls += 1
        if self.calls == self.nth or (self.stays_broken and self.calls > self.nth):
            self.failed.append(operation)
            raise OSError(self.number, os.strerror(self.number))

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self._count("pwritev")
        return super().pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        self._count("fdatasync")
        super().fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        self._count("sync_folder")
        super().sync_folder(folder)

    def fallocate(self, fd: int, length: int) -> None:
        self._count("fallocate")
        super().fallocate(fd, length)

    def rename(self, source: Path, target: Path) -> None:
        self._count("rename")
        super().rename(source, target)

    def free_bytes(self, folder: Path) -> int:
        self._count("free_bytes")
        return super().free_bytes(folder)


class ShortDisk(RealDisk):
    """A disk that takes at most `most` bytes a write, and none at all from the n-th write on."""

    def __init__(self, most: int, *, stuck_from: int | None = None) -> None:
        self.most = most
        self.stuck_from = stuck_from
        self.calls = 0

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self.calls += 1
        if self.stuck_from is not None and self.calls >= self.stuck_from:
            return 0
        data = b"".join(buffers)[: self.most]
        return super().pwritev(fd, [data], offset)


class BadSector:
    """Reading, except that a stretch of one file's bytes cannot be read.

    `times` is how often that fails before the disk finds them again; `noise` returns zeros instead
    of failing.
    """

    def __init__(self, start: int, end: int, *, times: int = 1 << 30, noise: bool = False) -> None:
        self.start = start
        self.end = end
        self.times = times
        self.noise = noise

    def __call__(self, fd: int, length: int, offset: int) -> bytes:
        if self.times and offset < self.end and offset + length > self.start:
            self.times -= 1
            if self.noise:
                return bytes(length)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return os.pread(fd, length, offset)


class RecordingDisk(RealDisk):
    """Remembers by inode, in order, what was written, synced and which syncs were made to fail."""

    def __init__(self, fail_syncs: frozenset[int] = frozenset()) -> None:
        self.fail_syncs = fail_syncs
        self.syncs = 0
        self.log: list[tuple[str, int]] = []
        self.pinned = -1

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        self.log.append(("pwritev", os.fstat(fd).st_ino))
        return super().pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        self.syncs += 1
        if self.syncs in self.fail_syncs:
            self.log.append(("failed", os.fstat(fd).st_ino))
            self.pinned = os.dup(fd)  # so that its inode number is not given to another file
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.log.append(("fdatasync", os.fstat(fd).st_ino))
        super().fdatasync(fd)
