"""Files on a disc, in a folder or in a zip, one after the other, as things to try.

Nothing is decided by a name or an extension: discs have none. Zips are opened wherever they turn
up, inside zips too, and gzip-wrapped files are unwrapped; sizes in their directories are not
believed, reading stops at a limit. What cannot be read is a candidate all the same, whose `open`
says why: a folder or a zip that cannot be listed must not look like one that is empty.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Final, Protocol

from sebago.errors import Inflated, OperatorsFault, SebagoError

ZIP_DEPTH_MAX: Final = 3
ZIP_ENTRIES_MAX: Final = 1_000_000
NESTED_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
"""A zip inside a zip is unpacked first, to a temporary file past this."""

_SEPARATOR: Final = "!"
"""Between a zip's path and the entry's name in what people are shown."""
_PIECE_BYTES: Final = 1 << 20

_SPOILED: Final = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,  # encrypted; NotImplementedError, a method that Python lacks, is one too
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
)
"""All that reading a file, a gzip or a zip entry raises for what is in it."""


class Unreadable(OperatorsFault):
    """A file, a folder or a zip that cannot be read."""

    code = "unreadable"
    title = "It cannot be read"


class _Opener(Protocol):
    def __call__(self) -> AbstractContextManager[IO[bytes]]: ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that may be a DICOM file."""

    label: str
    """What to call it in a summary: its path, with `!` before a zip entry's name."""
    size: int
    """Bytes as its directory says; for progress only."""
    open: _Opener
    """Its content, to be read under `reading`."""
    inflates: bool = False
    """Its bytes come out of a decompressor: reading is bounded by the caller."""


@dataclass(frozen=True, slots=True)
class Count:
    """How much there is to read, by what directories say; for progress only."""

    files: int
    bytes: int


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Around everything that reads a candidate.

    Raises:
        Unreadable: instead of whatever the file system or a decompressor raises.
    """
    try:
        yield
    except _SPOILED as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Unreadable:
    if isinstance(error, OSError) and error.strerror:
        return Unreadable(error.strerror)
    return Unreadable(str(error) or type(error).__name__)


def count(paths: Sequence[Path]) -> Count:
    """Files and bytes at and below the paths, without opening anything."""
    files = size = 0
    for path in paths:
        for one in below(path):
            if isinstance(one, Path):
                files += 1
                with contextlib.suppress(OSError):
                    size += one.lstat().st_size
    return Count(files, size)


def below(path: Path) -> Iterator[Path | OSError]:
    """The file itself, or every file below a folder, in a stable order.

    A folder that cannot be listed is the error that listing it gave. Symbolic links to folders are
    not followed, so that a loop ends.
    """
    if not path.is_dir():
        yield path
        return
    failed: list[OSError] = []
    for parent, names, files in os.walk(path, onerror=failed.append):
        names.sort()
        yield from failed
        failed.clear()
        for name in sorted(files):
            yield Path(parent, name)
    yield from failed


def said(path: Path | str) -> str:
    """A path as text that can be printed, whatever bytes are in its name."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def candidates(paths: Sequence[Path], *, inflate_max: int) -> Iterator[Candidate]:
    """Every file at and below the paths, in a stable order; zips opened up.

    Args:
        inflate_max: most bytes that a zip inside a zip may have.
    """
    for path in paths:
        for one in below(path):
            if isinstance(one, Path):
                yield from _file(one, inflate_max)
            else:
                yield _spoiled(said(one.filename or path), 0, _unreadable(one))


def _file(path: Path, inflate_max: int) -> Iterator[Candidate]:
    label = said(path)
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device: opening it may wait for ever
            yield Candidate(label, 0, partial(BytesIO, b""))
            return
        with path.open("rb") as file:
            kind = _kind(file.read(4))
    except OSError as error:
        yield _spoiled(label, 0, _unreadable(error))
        return
    if kind == "zip":
        yield from _zip(label, path, found.st_size, 1, inflate_max)
    elif kind == "gzip":
        yield Candidate(label, found.st_size, partial(_unwrapped, partial(path.open, "rb")), True)
    else:
        yield Candidate(label, found.st_size, partial(path.open, "rb"))


def _kind(start: bytes) -> str:
    """By the first bytes: `zip`, `gzip`, or nothing special."""
    if start in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    return "gzip" if start[:3] == b"\x1f\x8b\x08" else ""


@contextlib.contextmanager
def _unwrapped(opener: _Opener) -> Iterator[IO[bytes]]:
    with opener() as file, gzip.GzipFile(fileobj=file) as content:
        yield content  # type: ignore[misc]  # GzipFile reads as IO[bytes] does


class _Zip(zipfile.ZipFile):
    """A zip whose entries are read by several threads, at their own pace.

    It is closed when the last candidate that names it has gone, never earlier: a thread may open
    its entry long after the walk has passed the zip's end.
    """

    def __init__(self, file: Path | IO[bytes]) -> None:
        self._temporary = None if isinstance(file, Path) else file
        super().__init__(file)

    def close(self) -> None:
        super().close()
        if self._temporary is not None:
            self._temporary.close()


def _zip(
    label: str, file: Path | IO[bytes], size: int, depth: int, inflate_max: int
) -> Iterator[Candidate]:
    """Entries of a zip. A broken one is itself the candidate, so that it is reported."""
    try:
        with reading():
            archive = _Zip(file)
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except Unreadable as error:
        if not isinstance(file, Path):
            file.close()
        yield _spoiled(label, size, Unreadable(f"the zip cannot be read: {error.detail}"))
        return
    for entry in entries[:ZIP_ENTRIES_MAX]:
        yield from _entry(label, archive, entry, depth, inflate_max)
    if len(entries) > ZIP_ENTRIES_MAX:
        why = f"the zip has {len(entries)} entries, {ZIP_ENTRIES_MAX} were read"
        yield _spoiled(label, 0, Unreadable(why))


def _entry(
    label: str, archive: _Zip, entry: zipfile.ZipInfo, depth: int, inflate_max: int
) -> Iterator[Candidate]:
    name = f"{label}{_SEPARATOR}{entry.filename}"
    opener: _Opener = partial(archive.open, entry)
    try:
        with reading(), opener() as content:
            kind = _kind(content.read(4))
            nested = _copied(content, inflate_max) if kind == "zip" else None
    except SebagoError as error:
        yield _spoiled(name, entry.file_size, error)
        return
    if nested is not None and depth < ZIP_DEPTH_MAX:
        yield from _zip(name, nested, entry.file_size, depth + 1, inflate_max)
    elif nested is not None:
        nested.close()
        why = f"zips are opened {ZIP_DEPTH_MAX} deep, this one lies deeper"
        yield _spoiled(name, entry.file_size, Unreadable(why))
    elif kind == "gzip":
        yield Candidate(name, entry.file_size, partial(_unwrapped, opener), True)
    else:
        yield Candidate(name, entry.file_size, opener, True)


def _copied(content: IO[bytes], bytes_max: int) -> IO[bytes]:
    """A zip in a zip, unpacked: reading it in place would start anew with each step backwards."""
    content.seek(0)
    taken = 0
    file = tempfile.SpooledTemporaryFile(NESTED_IN_MEMORY_BYTES)  # noqa: SIM115  (handed on)
    try:
        while piece := content.read(_PIECE_BYTES):
            taken += len(piece)
            if taken > bytes_max:
                raise Inflated(f"it grows past {bytes_max} bytes when unpacked")
            file.write(piece)
    except BaseException:
        file.close()
        raise
    return file


def _spoiled(label: str, size: int, error: SebagoError) -> Candidate:
    """A candidate of which it is known already that it cannot be read, and why.

    The error is kept without where it came from: that holds frames, and they a zip, which would
    be closed no earlier than by the garbage collector.
    """
    error.__cause__ = error.__context__ = None
    error.__traceback__ = None
    return Candidate(label, size, partial(_fails, error))


def _fails(error: SebagoError) -> AbstractContextManager[IO[bytes]]:
    raise type(error)(error.detail, why=error.why, do=error.do)
