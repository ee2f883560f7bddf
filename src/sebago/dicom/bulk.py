"""What a BulkDataURI of the DICOM JSON stands for: one binary value, found by its path.

A path is `<tag>`, or `<tag>/<item from 1>/<tag>` and so on through sequences, tags as eight
hexadecimal digits: what `json_model.JsonWriter` puts behind its prefix.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from sebago.dicom.elements import (
    NESTING_MAX,
    Buffer,
    Element,
    Kind,
    encoding_of,
    inflate,
    outline,
    swapped,
    walk_part,
)
from sebago.dicom.frames import pixel_word
from sebago.dicom.json_sequence import shown_vr
from sebago.errors import NotFound, NotSupported

_PATH = re.compile(r"[0-9A-Fa-f]{8}(?:/[1-9][0-9]{0,6}/[0-9A-Fa-f]{8})*")
_BITS_ALLOCATED = 0x00280100
_PIXEL_DATA = 0x7FE00010


class BulkValue(NamedTuple):
    """Where a value lies in the data set."""

    vr: str
    offset: int
    length: int
    """-1 for encapsulated pixel data: read it by `frames.Frames`."""
    little_endian: bool


def find_bulk(data: Buffer, transfer_syntax_uid: str, path: str) -> BulkValue:
    """Find the value at `path`; of an element that comes twice, the first.

    Args:
        data: inflated, if the syntax is a deflated one.

    Raises:
        NotFound: nothing is there, or it is a sequence.
    """
    if not _PATH.fullmatch(path) or path.count("/") > 2 * NESTING_MAX:
        raise NotFound(f"{path[:80]!r} is no path of bulk data")
    steps = path.split("/")
    explicit, little = encoding_of(data, transfer_syntax_uid)
    start, end = 0, len(data)
    for position in range(0, len(steps), 2):
        element, behind = _element(data, start, end, int(steps[position], 16), explicit, little)
        hidden = element.vr == "UN"
        if position + 1 == len(steps):
            if element.kind is Kind.SEQUENCE:
                break
            length = element.length if element.kind is Kind.VALUE else -1
            vr = shown_vr(element.tag, element.vr, element.length, signed=False)
            return BulkValue(vr, element.value_offset, length, little or hidden)
        explicit, little = explicit and not hidden, little or hidden
        item, end = _item(
            data, element.value_offset, behind, int(steps[position + 1]), explicit, little
        )
        start, explicit = item.value_offset, item.explicit
    raise NotFound(f"no bulk data at {path}")


def bulk_bytes(data: Buffer, transfer_syntax_uid: str, path: str) -> bytes | memoryview:
    """The value at `path` in little endian; a view into `data` where nothing had to be changed.

    Raises:
        NotFound: nothing is there.
        NotSupported: it is encapsulated pixel data.
    """
    plain, plain_uid = inflate(data, transfer_syntax_uid)
    found = find_bulk(plain, plain_uid, path)
    if found.length < 0:
        raise NotSupported("encapsulated pixel data are fetched frame by frame")
    value = memoryview(plain)[found.offset : found.offset + found.length]
    if found.little_endian:
        return value
    vr = found.vr
    if path.upper() == f"{_PIXEL_DATA:08X}":
        vr = pixel_word(vr, _bits_allocated(plain, plain_uid))
    return swapped(value, vr)


def _bits_allocated(data: Buffer, transfer_syntax_uid: str) -> int:
    try:
        found = find_bulk(data, transfer_syntax_uid, f"{_BITS_ALLOCATED:08X}")
    except NotFound:
        return 16
    raw = bytes(memoryview(data)[found.offset : found.offset + 2])
    return int.from_bytes(raw, "little" if found.little_endian else "big")


def _element(
    data: Buffer, start: int, end: int, tag: int, explicit: bool, little: bool
) -> tuple[Element, int]:
    for element, behind in outline(data, start, end, explicit=explicit, little_endian=little):
        if element.tag == tag:
            return element, behind
    raise NotFound(f"{tag:08X} is not there")


def _item(
    data: Buffer, start: int, end: int, number: int, explicit: bool, little: bool
) -> tuple[Element, int]:
    """Item `number`, from 1, of the sequence whose items stand from `start`; where it ends."""
    found: Element | None = None
    count = 0
    for step in walk_part(data, start, end, explicit=explicit, little_endian=little, items=True):
        if step.depth != 1:
            continue
        if step.kind is Kind.ITEM:
            count += 1
            if count == number:
                found = step
        elif step.kind is Kind.ITEM_END and found is not None:
            return found, step.value_offset
    raise NotFound(f"there is no item {number}")
