"""The few calls by which the journal reaches a disk, so that a failing one can be put in its place.

`Disk` is what the writer needs; `RealDisk` is the operating system. Tests hand in disks that fill up,
fail the n-th sync or write short. Reading takes plain files and a `Read`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from sebago.errors import DiskFull, JournalFailed, TryLater

Buffer = bytes | bytearray | memoryview

Read = Callable[[int, int, int], bytes]
"""`pread(2)`: descriptor, length, offset. An argument where a bad sector must be tried out."""

BUFFERS_MAX = min(1024, os.sysconf("SC_IOV_MAX"))
"""Most buffers that one `pwritev` takes."""


class Disk(Protocol):
    """What the journal asks of a disk. Every call raises OSError as the system would."""

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """Write at `offset`; returns how many bytes were written, which may be fewer."""

    def fdatasync(self, fd: int) -> None:
        """Return once the file's bytes, and the length needed to read them, are on the disk."""

    def sync_folder(self, folder: Path) -> None:
        """Return once the names in the folder are on the disk."""

    def fallocate(self, fd: int, length: int) -> None:
        """Give the file `length` bytes of disk space, zeros where nothing was written."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name in the same folder."""

    def free_bytes(self, folder: Path) -> int:
        """Space that is left for us where the folder lies."""


class RealDisk:
    """The operating system's calls."""

    def pwritev(self, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
        """`pwritev(2)`."""
        return os.pwritev(fd, buffers, offset)

    def fdatasync(self, fd: int) -> None:
        """`fdatasync(2)`."""
        os.fdatasync(fd)

    def sync_folder(self, folder: Path) -> None:
        """`fsync(2)` of the directory."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def fallocate(self, fd: int, length: int) -> None:
        """`posix_fallocate(3)`."""
        os.posix_fallocate(fd, 0, length)

    def rename(self, source: Path, target: Path) -> None:
        """`rename(2)`."""
        source.rename(target)

    def free_bytes(self, folder: Path) -> int:
        """`statvfs(3)`: blocks that an unprivileged process may take."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize


def write_all(disk: Disk, fd: int, buffers: Sequence[Buffer], offset: int) -> int:
    """Write all buffers one after the other from `offset`; returns how many bytes that was.

    One `pwritev` unless there are more buffers than it takes or the system writes fewer bytes than it
    was given, which it may (2 GiB are its limit). A write that gets nowhere is an error.
    """
    at = offset
    todo = list(buffers)
    while todo:
        part = todo[:BUFFERS_MAX]
        written = disk.pwritev(fd, part, at)
        if written <= 0:
            raise OSError(errno.EIO, "the disk took none of the bytes")
        at += written
        todo = _after(part, written) + todo[BUFFERS_MAX:]
    return at - offset


def _after(buffers: Sequence[Buffer], written: int) -> list[Buffer]:
    """What is left of the buffers once `written` bytes of them are gone."""
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []


def as_refusal(error: OSError, what: str) -> TryLater:
    """The answer to a failed call: DiskFull where there was no room, else JournalFailed."""
    detail = f"{what}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(detail, do="free space on the journal's disk; intake resumes by itself")
    return JournalFailed(detail, do="check the journal's disk; the object was not kept")
