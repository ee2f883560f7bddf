"""What a disc's DICOMDIR names, compared with what is there: PS3.10 8.6, PS3.3 F.3.2.2.

A DICOMDIR may lie, be out of date or name half of the disc, so it decides nothing: every file is
tried whether it is named or not. But a file that is named and not there may be an image that got
lost when the disc was copied, and that is worth a line. Names are compared, never opened.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sebago.dicom.elements import Kind, walk
from sebago.dicom.part10 import parse_part10
from sebago.errors import SebagoError
from sebago.intake.media import below, said

REFERENCED_FILE_ID: Final = 0x00041500
_FILE_ID_BYTES_MAX: Final = 8 * 17
"""Eight components of 8 characters (PS3.10 8.2), and room for those who write longer ones."""


@dataclass(frozen=True, slots=True)
class Named:
    """What the DICOMDIRs below some paths name."""

    directories: int
    """How many DICOMDIRs could be read."""
    files: int
    """Files that they name."""
    absent: tuple[str, ...]
    """Those of them that are not there, as `folder/FILE/ID`."""


def named(paths: Sequence[Path]) -> Named:
    """Read every DICOMDIR at and below the paths, and look for what it names."""
    directories = files = 0
    absent: list[str] = []
    for path in paths:
        for found in below(path):
            if not isinstance(found, Path) or _plain(found.name) != "DICOMDIR":
                continue
            try:
                wanted = list(dict.fromkeys(file_ids(found)))
            except (SebagoError, OSError, ValueError):
                continue  # it is tried like every other file, and its fate said there
            directories += 1
            files += len(wanted)
            there = {
                tuple(_plain(part) for part in one.relative_to(found.parent).parts)
                for one in below(found.parent)
                if isinstance(one, Path)
            }
            absent += [
                f"{said(found.parent)}/{'/'.join(file_id)}"
                for file_id in wanted
                if tuple(_plain(part) for part in file_id) not in there
            ]
    return Named(directories, files, tuple(absent))


def file_ids(path: Path) -> Iterator[tuple[str, ...]]:
    """Referenced File ID (0004,1500) of each directory record, in its components.

    Raises:
        NotDicom and its kinds, OSError, ValueError: it cannot be read as a DICOMDIR.
    """
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content,
        memoryview(content) as view,
    ):
        parsed = parse_part10(view)
        with view[parsed.dataset_offset :] as data:
            for element in walk(data, parsed.meta.transfer_syntax_uid):
                if (
                    element.tag == REFERENCED_FILE_ID
                    and element.kind is Kind.VALUE
                    and 0 < element.length <= _FILE_ID_BYTES_MAX
                ):
                    start = element.value_offset
                    raw = bytes(data[start : start + element.length])
                    text = raw.decode("ascii", "backslashreplace").strip(" \0")
                    yield tuple(part.strip(" \0") for part in text.split("\\"))


def _plain(name: str) -> str:
    """A file name as ISO 9660 compares it: without case, version and final dot."""
    return name.partition(";")[0].rstrip(".").upper()
