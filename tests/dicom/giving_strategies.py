"""Data sets made of parts, in any encoding, for the tests of what is given back.

`encode` is the plain writer of PS3.5 chapter 7 that the tests compare readers with.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from sebago.dicom.elements import LONG_VRS, header_at, swapped
from tests.data_dirs import shared_data

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
UNDEFINED = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Part:
    """One element. `value` is little endian, or the items of a sequence."""

    tag: int
    vr: str
    value: bytes | Sequence[Sequence[Part]]
    undefined: bool = False


def encode(parts: Sequence[Part], syntax: str = EXPLICIT) -> bytes:
    """The data set in one of the three uncompressed transfer syntaxes."""
    return b"".join(_encode_part(part, syntax) for part in parts)


def _encode_part(part: Part, syntax: str) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    tag = struct.pack(order + "HH", part.tag >> 16, part.tag & 0xFFFF)
    if isinstance(part.value, bytes):
        value = swapped(part.value, part.vr) if syntax == BIG_ENDIAN else part.value
        length = struct.pack(order + "I", len(value))
    else:
        value = b"".join(_encode_item(item, part.undefined, syntax) for item in part.value)
        length = struct.pack(order + "I", len(value))
        if part.undefined:
            value += struct.pack(order + "HHI", 0xFFFE, 0xE0DD, 0)
            length = UNDEFINED
    if syntax == IMPLICIT:
        return tag + length + value
    if part.vr in LONG_VRS:
        return tag + part.vr.encode() + b"\0\0" + length + value
    return tag + part.vr.encode() + struct.pack(order + "H", len(value)) + value


def _encode_item(parts: Sequence[Part], undefined: bool, syntax: str) -> bytes:
    order = ">" if syntax == BIG_ENDIAN else "<"
    body = encode(parts, syntax)
    if undefined:
        end = struct.pack(order + "HHI", 0xFFFE, 0xE00D, 0)
        return struct.pack(order + "HH", 0xFFFE, 0xE000) + UNDEFINED + body + end
    return struct.pack(order + "HHI", 0xFFFE, 0xE000, len(body)) + body


def element(tag: int, vr: str, value: bytes | str, syntax: str = EXPLICIT) -> bytes:
    """One element; text is padded to an even length."""
    if isinstance(value, str):
        value = value.encode("utf-8")
        value += b" " * (len(value) % 2)
    return encode([Part(tag, vr, value)], syntax)


def encapsulated(*fragments: bytes, offsets: bytes = b"") -> bytes:
    """A pixel data element of fragments (PS3.5 A.4)."""
    items = b"".join(
        struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item for item in (offsets, *fragments)
    )
    head = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    return head + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


# Attributes whose VR a reader of implicit data sets knows.
_FLAT = (
    (0x00080008, "CS"), (0x00080018, "UI"), (0x00080020, "DA"), (0x00081030, "LO"),
    (0x00100010, "PN"), (0x00101030, "DS"), (0x00104000, "LT"), (0x00189073, "FD"),
    (0x00189087, "FD"), (0x00200013, "IS"), (0x00280009, "AT"), (0x00280010, "US"),
    (0x00420011, "OB"), (0x00720069, "OW"), (0x00720078, "UL"), (0x0072007C, "SL"),
)  # fmt: skip
_SEQUENCES = (0x00081140, 0x00400275, 0x0040A730)
_UNITS = {"FD": 8, "AT": 4, "US": 2, "SL": 4, "UL": 4}


@st.composite
def flat_parts(draw) -> Part:
    tag, vr = draw(st.sampled_from(_FLAT))
    unit = _UNITS.get(vr, 2)
    count = draw(st.integers(0, 6))
    return Part(tag, vr, draw(st.binary(min_size=unit * count, max_size=unit * count)))


def _item(parts: list[Part]) -> tuple[Part, ...]:
    return tuple({part.tag: part for part in sorted(parts, key=lambda part: part.tag)}.values())


def data_sets(max_leaves: int = 12) -> st.SearchStrategy[tuple[Part, ...]]:
    """Well-formed data sets: ascending tags, sequences of either kind of length."""

    def nest(children: st.SearchStrategy[Part]) -> st.SearchStrategy[Part]:
        items = st.lists(st.lists(children, max_size=3).map(_item), max_size=3)
        return st.builds(
            Part, st.sampled_from(_SEQUENCES), st.just("SQ"), items, undefined=st.booleans()
        )

    parts = st.recursive(flat_parts(), nest, max_leaves=max_leaves)
    return st.lists(parts, min_size=1, max_size=5).map(_item)


def part10(path: Path) -> tuple[str, bytes] | None:
    """(transfer syntax, data set) of a Part 10 file; None if it is not one."""
    raw = path.read_bytes()
    if raw[128:132] != b"DICM":
        return None
    offset, syntax = 132, IMPLICIT
    while raw[offset : offset + 2] == b"\x02\x00":
        tag, _, length, value, _ = header_at(
            raw, offset, len(raw), explicit=True, little_endian=True
        )
        if tag == 0x00020010:
            syntax = raw[value : value + length].decode("ascii").strip("\0 ")
        offset = value + length
    return syntax, raw[offset:]


def shared_files(folder: str = "") -> Iterator[tuple[str, str, bytes]]:
    """(name, transfer syntax, data set) of every Part 10 file among the shared test data."""
    root = shared_data()
    for path in sorted((root / folder).rglob("*")) if root else ():
        found = part10(path) if path.is_file() else None
        if root and found:
            yield str(path.relative_to(root)), *found
