"""What lies in the journal, and letting go of segments that nobody needs any more.

Called by whoever knows that every data set of a segment is safe elsewhere; any process may.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sebago.errors import OperatorsFault
from sebago.journal.disk import Disk, RealDisk
from sebago.journal.folder import (
    State,
    is_live,
    number_of,
    segment_files,
    segment_path,
    writer_folders,
)
from sebago.journal.reader import read_segment_header
from sebago.journal.record import SegmentKind

FREE_FILES_MAX = 4
"""Files that a writer's folder keeps to be written over; more are deleted."""


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One segment on the disk."""

    writer: str
    number: int
    file_bytes: int
    allocated_bytes: int
    sealed: bool
    """Nothing is written to it any more: it may be released once its data sets are safe elsewhere."""
    live: bool
    """A process holds its folder."""


def segment_list(root: Path) -> list[SegmentFile]:
    """Every open and sealed segment, by writer and number."""
    listed: list[SegmentFile] = []
    for folder in writer_folders(root):
        live = is_live(folder)
        for path in segment_files(folder):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # sealed or released since it was listed: the next list has it right
            listed.append(
                SegmentFile(
                    writer=folder.name,
                    number=number_of(path),
                    file_bytes=status.st_size,
                    allocated_bytes=status.st_blocks * 512,
                    sealed=path.suffix == State.SEALED,
                    live=live,
                )
            )
    return listed


def release(root: Path, writer: str, segment: int, *, disk: Disk | None = None) -> None:
    """Let go of a sealed segment: to be written over if it is of full length, else deleted.

    Readers that hold a view of it keep it whole. Durable on return: it does not come back after a power
    failure, to be replayed. Releasing what is gone already is no error.

    Raises:
        OperatorsFault: the segment is still being written.
        OSError: the disk failed; it may or may not be released.
    """
    disk = disk or RealDisk()
    folder = root / writer
    sealed = segment_path(folder, segment, State.SEALED)
    if not sealed.exists():
        if segment_path(folder, segment, State.OPEN).exists():
            raise OperatorsFault(f"journal segment {writer}/{segment} is still being written")
        return
    cut = sealed.with_suffix(State.CUT)
    failed_once = cut.exists()
    free = sum(1 for path in folder.iterdir() if path.suffix == State.FREE)
    if not failed_once and free < FREE_FILES_MAX and _is_full_length(sealed):
        disk.rename(sealed, sealed.with_suffix(State.FREE))
    else:
        # The name goes at once, the bytes when the last reader lets go.
        sealed.unlink(missing_ok=True)
        cut.unlink(missing_ok=True)
    disk.sync_folder(folder)


def _is_full_length(path: Path) -> bool:
    """Whether the file still has the length it was allocated with: worth writing over."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = read_segment_header(fd)
        return (
            header is not None
            and header.kind is SegmentKind.SHARED
            and header.file_bytes == os.fstat(fd).st_size
        )
    finally:
        os.close(fd)
