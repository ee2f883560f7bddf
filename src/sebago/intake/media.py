"""Files on a disc, in a folder or in a zip, one after the other, as things to try.

Nothing is decided by a name or an extension: discs have none. Zips are opened wherever they turn
up, inside zips too, and gzip-wrapped files are unwrapped; sizes in their directories are not
believed, reading stops at a limit. DICOMDIRs are tried like every other file: what they name is
compared with what was found, never trusted for completeness (PS3.10 8.6).
"""

from __future__ import annotations

import contextlib
import gzip
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

ZIP_DEPTH_MAX = 3
ZIP_ENTRIES_MAX = 1_000_000
_SEPARATOR = "!"
"""Between a zip's path and the entry's name in what people are shown."""


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
    inflates: bool = False
    """Its bytes come out of a decompressor: reading is bounded by the caller."""


@dataclass(frozen=True, slots=True)
class Count:
    """How much there is to read, by what directories say; for progress only."""

    files: int
    bytes: int


def count(paths: Sequence[Path]) -> Count:
    """Files and bytes at and below the paths, without opening anything."""
    files = size = 0
    for path in paths:
        found = [path] if not path.is_dir() else _below(path)
        for one in found:
            files += 1
            with contextlib.suppress(OSError):
                size += one.stat().st_size
    return Count(files, size)


def _below(folder: Path) -> Iterator[Path]:
    for parent, names, files in os.walk(folder):
        names.sort()
        for name in sorted(files):
            yield Path(parent) / name


def candidates(paths: Sequence[Path]) -> Iterator[Candidate]:
    """Every file at and below the paths, in a stable order; zips opened up.

    Symbolic links to folders are not followed, so that a loop ends; what cannot be listed is left
    to `open`, which raises OSError.
    """
    for path in paths:
        if path.is_dir():
            for below in _below(path):
                yield from _file(below)
        else:
            yield from _file(path)


def _file(path: Path) -> Iterator[Candidate]:
    try:
        size = path.stat().st_size
        kind = _kind(path)
    except OSError:
        yield Candidate(str(path), 0, partial(path.open, "rb"))
        return
    if kind == "zip":
        yield from _zip(str(path), path.open("rb"), 1)
    elif kind == "gzip":
        yield Candidate(str(path), size, partial(_gunzip, path), inflates=True)
    else:
        yield Candidate(str(path), size, partial(path.open, "rb"))


def _kind(path: Path) -> str:
    """By the first bytes: `zip`, `gzip`, or nothing special."""
    with path.open("rb") as file:
        return _kind_of(file.read(4))


def _kind_of(start: bytes) -> str:
    if start in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    return "gzip" if start[:3] == b"\x1f\x8b\x08" else ""


def _gunzip(path: Path) -> AbstractContextManager[IO[bytes]]:
    return gzip.open(path, "rb")  # type: ignore[return-value]  # GzipFile reads as IO[bytes] does


def _zip(label: str, file: IO[bytes], depth: int) -> Iterator[Candidate]:
    """Entries of a zip. A broken one is itself the candidate, so that it is reported."""
    try:
        archive = zipfile.ZipFile(file)
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        yield Candidate(label, 0, partial(Path(label).open, "rb"))
        return
    with archive:
        for entry in entries[:ZIP_ENTRIES_MAX]:
            name = f"{label}{_SEPARATOR}{entry.filename}"
            if depth < ZIP_DEPTH_MAX and _is_zip_entry(archive, entry):
                yield from _zip(name, archive.open(entry), depth + 1)
            else:
                yield Candidate(name, entry.file_size, partial(archive.open, entry), inflates=True)


def _is_zip_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as content:
            return _kind_of(content.read(4)) == "zip"
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError):
        return False
