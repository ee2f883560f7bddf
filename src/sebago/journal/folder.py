"""Folders and file names: one folder a writer, one file a segment.

    journal/<writer>/lock               held by the living writer; text: highest number given out
    journal/<writer>/0000000007.open    being written
    journal/<writer>/0000000007.seg     closed; never written again
    journal/<writer>/0000000007.cut     beside it after a failed write: how far it counts
    journal/<writer>/*.free             to be written over in a next life
    journal/<writer>/*.new, *.part      being made; of no account after a crash

A writer's folder belongs to one living process, by `flock` on its lock file. One that nobody holds is
taken over by the next process that starts, so that folders do not pile up. Segment numbers are never
given out twice in a folder, whatever was deleted meanwhile: the index knows segments by number.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path

from sebago.journal.disk import Disk
from sebago.journal.record import PAGE, up

LOCK_NAME = "lock"


class State(StrEnum):
    """What a file in a writer's folder is, told by its suffix."""

    OPEN = ".open"
    SEALED = ".seg"
    CUT = ".cut"
    FREE = ".free"
    NEW = ".new"
    PART = ".part"


def segment_path(folder: Path, number: int, state: State) -> Path:
    """The file of a segment in the given state."""
    return folder / f"{number:010d}{state}"


def number_of(path: Path) -> int:
    """The segment number in a file name; 0 where there is none."""
    return int(path.stem) if path.stem.isascii() and path.stem.isdigit() else 0


def writer_folders(root: Path) -> list[Path]:
    """Every writer's folder, living or not."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if (path / LOCK_NAME).is_file())


def segment_files(folder: Path) -> list[Path]:
    """Open and sealed segments of a folder by number."""
    found: dict[int, Path] = {}
    for path in folder.iterdir():
        # A segment that is sealed between two entries of the listing is seen by both names.
        if path.suffix == State.SEALED or (
            path.suffix == State.OPEN and number_of(path) not in found
        ):
            found[number_of(path)] = path
    return [found[number] for number in sorted(found) if number]


def is_live(folder: Path) -> bool:
    """Whether a process holds the folder just now."""
    fd = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return not _locked(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def _locked(fd: int, how: int) -> bool:
    """Take an advisory lock without waiting; False if another holds it."""
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Folder:
    """The folder that this process writes to."""

    def __init__(self, path: Path, disk: Disk, fd: int) -> None:
        self.path = path
        self._disk = disk
        self._fd = fd
        self._lock = threading.Lock()
        self._last = 0

    @property
    def name(self) -> str:
        """The writer's name in positions and headers."""
        return self.path.name

    @classmethod
    def take(cls, root: Path, disk: Disk) -> Folder:
        """Take over a folder that nobody holds, or make one. It is ours until `close`."""
        root.mkdir(mode=0o750, parents=True, exist_ok=True)
        candidates = chain(writer_folders(root), _new_folders(root))
        folder = next(filter(None, (cls._try(path, disk) for path in candidates)))
        # Taken over or new, its name and its lock file's are on the disk before anything in it.
        disk.sync_folder(folder.path)
        disk.sync_folder(root)
        return folder

    @classmethod
    def _try(cls, path: Path, disk: Disk) -> Folder | None:
        fd = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            if not _locked(fd, fcntl.LOCK_EX):
                os.close(fd)
                return None
            folder = cls(path, disk, fd)
            folder._tidy()
        except BaseException:
            os.close(fd)
            raise
        return folder

    def _tidy(self) -> None:
        """Close what a dead writer left open; drop what it was only making."""
        text = os.pread(self._fd, 32, 0).strip()
        self._last = int(text) if text.isdigit() else 0
        for path in list(self.path.iterdir()):
            self._last = max(self._last, number_of(path))
            if path.suffix in (State.NEW, State.PART) or _is_orphan(path):
                path.unlink()
            elif path.suffix == State.OPEN:
                _give_back_unwritten(path)
                path.rename(path.with_suffix(State.SEALED))

    def next_number(self) -> int:
        """A segment number that this folder never had. Raises OSError; may be called by any thread."""
        with self._lock:
            number = self._last + 1
            # The text is the only witness of numbers whose files are gone.
            self._disk.pwritev(self._fd, [f"{number:020d}\n".encode()], 0)
            self._disk.fdatasync(self._fd)
            self._last = number
            return number

    def free_files(self) -> list[Path]:
        """Segments to be written over."""
        return sorted(path for path in self.path.iterdir() if path.suffix == State.FREE)

    def sync(self) -> None:
        """Return once the names in the folder are on the disk."""
        self._disk.sync_folder(self.path)

    def close(self) -> None:
        """Let the folder go: the next process may take it over."""
        os.close(self._fd)


def _give_back_unwritten(path: Path) -> None:
    """Free what was allocated behind the last byte that was ever written.

    Without this every killed process would leave a whole preallocated segment behind. Where the file
    system cannot tell, all counts as written and nothing is freed.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        end = PAGE
        for extent_end in _written_extents(fd):
            end = max(end, up(extent_end, PAGE))
        os.ftruncate(fd, min(end, os.fstat(fd).st_size))
    finally:
        os.close(fd)


def _is_orphan(path: Path) -> bool:
    """Whether this is the note on a failed write of a segment that was released since."""
    return path.suffix == State.CUT and not any(
        path.with_suffix(state).exists() for state in (State.OPEN, State.SEALED)
    )


def _new_folders(root: Path) -> Iterator[Path]:
    """Folders that were not there before; another process may be quicker to take one."""
    while True:
        path = root / f"w{secrets.token_hex(5)}"
        path.mkdir(mode=0o750)
        yield path


def _written_extents(fd: int) -> Iterator[int]:
    """Where each stretch of written bytes ends."""
    at = 0
    with contextlib.suppress(OSError):
        while True:
            start = os.lseek(fd, at, os.SEEK_DATA)  # ENXIO: nothing but holes from here on
            at = os.lseek(fd, start, os.SEEK_HOLE)
            yield at


def try_lock_for_overwriting(fd: int) -> bool:
    """Take a file that no reader has open any more; False if one has."""
    return _locked(fd, fcntl.LOCK_EX)


def lock_for_reading(fd: int) -> bool:
    """Keep a file from being written over for as long as `fd` or a mapping of it lives.

    False if it is being written over just now.
    """
    return _locked(fd, fcntl.LOCK_SH)


def write_cut(sealed: Path, offset: int) -> None:
    """Note beside a segment that nothing from `offset` on was ever acknowledged.

    Not synced: it only tells readers of the page cache what the disk may not have. Once the cache is
    lost the bytes themselves tell.
    """
    sealed.with_suffix(State.CUT).write_text(f"{offset:020d}\n", encoding="ascii")


def read_cut(segment: Path) -> int | None:
    """How far a segment counts after a failed write; None if none failed."""
    try:
        text = segment.with_suffix(State.CUT).read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    # Half a number would hide records that count: only a whole one does.
    return int(text) if len(text) == 21 and text[:20].isdigit() else None
