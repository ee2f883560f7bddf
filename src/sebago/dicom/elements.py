"""Every element of a data set, in order, at any depth: the reader under JSON and transcoding.

PS3.5 chapter 7. `walk` yields an `Element` for each value, and pairs of start and end for
sequences, items and encapsulated pixel data, whether their length was given or left undefined, so
that whoever reads sees one shape. Nothing is copied and nothing recurses: the levels are a list.

What real archives hold is read as it was meant (`header_at`, and the stray delimiters below):

- an element of an explicit data set that has no value representation is read as an implicit one;
- UN of undefined length is a sequence in Implicit VR Little Endian (PS3.5 6.2.2 note 2), unless
  its items show that they are explicit;
- item and sequence delimiters where none belong are passed over;
- zeros behind the last element, and less than a header's worth of them, end the data set.

Every length is checked against what is there before it is believed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydicom.datadict import dictionary_VR, private_dictionary_VR

from sebago.dicom.scan import INFLATE_BYTES_MAX, VALUE_BYTES_MAX, VRS, inflated
from sebago.dicom.scan import NESTING_MAX as NESTING_MAX
from sebago.dicom.scan import Buffer as Buffer
from sebago.dicom.uids import EXPLICIT_VR_LE, transfer_syntax
from sebago.errors import NotDicom, NotSupported, TooDeep, Truncated

UNDEFINED = 0xFFFFFFFF
ITEM = 0xFFFEE000
ITEM_END = 0xFFFEE00D
SEQUENCE_END = 0xFFFEE0DD
MARKERS = frozenset({ITEM, ITEM_END, SEQUENCE_END})
PIXEL_DATA = 0x7FE00010

LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs whose explicit header has two reserved bytes and a length of 32 bits (PS3.5 7.1.2)."""

SHORT_VRS = frozenset(
    {
        "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "PN", "SH", "SL",
        "SS", "ST", "TM", "UI", "UL", "US",
    }
)  # fmt: skip

_SHORT_NAMES = {vr.encode("ascii"): vr for vr in SHORT_VRS}
_LONG_NAMES = {vr.encode("ascii"): vr for vr in LONG_VRS}
_LE_EXPLICIT = struct.Struct("<HH2sH").unpack_from
_BE_EXPLICIT = struct.Struct(">HH2sH").unpack_from
_LE_LENGTH, _BE_LENGTH = struct.Struct("<I").unpack_from, struct.Struct(">I").unpack_from


class Kind(IntEnum):
    """What an `Element` of the walk stands for."""

    VALUE = 0
    SEQUENCE = 1
    ITEM = 2
    ITEM_END = 3
    SEQUENCE_END = 4
    FRAGMENTS = 5
    """Encapsulated pixel data begins (PS3.5 A.4); FRAGMENT events follow, the first of them the
    basic offset table."""
    FRAGMENT = 6
    FRAGMENTS_END = 7


class Element(NamedTuple):
    """One step of the walk. Offsets count from the start of the buffer that was walked.

    `length` is -1 where it was left undefined, 0 for ends. `depth` is 0 at the top; a sequence's
    items, fragments and their ends stand one deeper than the sequence, as do the elements in them.
    """

    tag: int
    vr: str
    depth: int
    value_offset: int
    length: int
    kind: Kind
    offset: int
    explicit: bool
    little_endian: bool


Header = tuple[int, str, int, int, bool]
"""An element's header: tag, VR, length (may be UNDEFINED), offset of the value, and whether this
one is written with its VR. A plain tuple: many are read."""


def inflate(
    data: Buffer, transfer_syntax_uid: str, *, bytes_max: int = INFLATE_BYTES_MAX
) -> tuple[Buffer, str]:
    """The data set ready to be walked: inflated if its syntax is deflated (PS3.5 A.5), else as is.

    Returns:
        The buffer, and the transfer syntax that now describes it.

    Raises:
        Inflated, Truncated, NotDicom: it grows past `bytes_max`, is cut off, or is no such stream.
    """
    if not transfer_syntax(transfer_syntax_uid).deflated:
        return data, transfer_syntax_uid
    return inflated(data, inflate_max=bytes_max), EXPLICIT_VR_LE


def encoding_of(data: Buffer, transfer_syntax_uid: str) -> tuple[bool, bool]:
    """(explicit, little endian) as the data set is written.

    Gateways announce it wrongly; the first element tells, as it does to the header scan.

    Raises:
        NotSupported: the syntax is a deflated one; `inflate` first.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    if syntax.deflated:
        raise NotSupported("a deflated data set is walked only once it is inflated")
    if not syntax.little_endian:
        return True, False
    first = bytes(data[:8])
    if first[4:6] in VRS:
        return True, True
    if syntax.explicit and len(first) == 8 and any(first):
        second = 8 + int(_LE_LENGTH(first, 4)[0])
        if second <= VALUE_BYTES_MAX:
            following = bytes(data[second : second + 8])
            return len(following) < 8 or following[4:6] in VRS, True
    return syntax.explicit, True


@lru_cache(maxsize=8192)
def public_vr(tag: int) -> str:
    """The VR that PS3.6 gives a public tag, UN if it gives none; 'US or SS' stays as it is."""
    if tag & 0xFFFF == 0:
        return "UL"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return "UN"
    return vr if vr != "NONE" else "UN"


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """The VR that a known private dictionary gives a tag, UN if none does."""
    if tag & 0xFFFF == 0:
        return "UL"
    if 0x10 <= tag & 0xFFFF <= 0xFF:
        return "LO"
    try:
        return private_dictionary_VR(tag, creator)
    except KeyError:
        return "UN"


def header_at(
    buffer: Buffer, offset: int, end: int, *, explicit: bool, little_endian: bool
) -> Header:
    """Read the element header at `offset`; the VR of an implicit one is left ''.

    Raises:
        Truncated: the header does not fit before `end`.
    """
    if end - offset < 8:
        raise Truncated(f"{end - offset} bytes at offset {offset} are too few for an element")
    group, number, raw_vr, short = (_LE_EXPLICIT if little_endian else _BE_EXPLICIT)(buffer, offset)
    tag = group << 16 | number
    if explicit and raw_vr in _SHORT_NAMES:
        return (tag, _SHORT_NAMES[raw_vr], short, offset + 8, True)
    read_length = _LE_LENGTH if little_endian else _BE_LENGTH
    vr = _LONG_NAMES.get(raw_vr) if explicit else None
    if vr is None and (tag in MARKERS or (tag and not explicit)):
        return (tag, "", read_length(buffer, offset + 4)[0], offset + 8, False)
    if vr is None:
        return _odd_header(buffer, offset, end, tag, raw_vr, little_endian=little_endian)
    if end - offset < 12:
        raise Truncated(f"element {tag:08X} at offset {offset} ends within its header")
    return (tag, vr, read_length(buffer, offset + 8)[0], offset + 12, True)


def _odd_header(
    buffer: Buffer, offset: int, end: int, tag: int, raw_vr: bytes, *, little_endian: bool
) -> Header:
    """A header with a VR that PS3.5 does not have, read as the header scan reads it.

    Two capital letters may be a VR of the future, which has the long header (PS3.5 6.2), or a
    misspelt one. Other bytes are none: the element is an implicit one, or the VR was left blank.
    The first reading that leads to another element is taken, or the first.
    """
    read_length = _LE_LENGTH if little_endian else _BE_LENGTH
    short = (_LE_EXPLICIT if little_endian else _BE_EXPLICIT)(buffer, offset)[3]
    as_short: Header = (tag, "UN", short, offset + 8, True)
    if raw_vr.isalpha() and raw_vr.isupper():
        readings = [as_short]
        if short == 0 and end - offset >= 12:
            long = read_length(buffer, offset + 8)[0]
            readings.insert(0, (tag, "UN", long, offset + 12, True))
    else:
        readings = [(tag, "", read_length(buffer, offset + 4)[0], offset + 8, False), as_short]
    for reading in readings:
        _, _, length, value, _ = reading
        if length == UNDEFINED or (
            length <= VALUE_BYTES_MAX
            and _leads_on(buffer, value + length, end, tag, little_endian=little_endian)
        ):
            return reading
    return readings[0]


def _leads_on(buffer: Buffer, offset: int, end: int, tag: int, *, little_endian: bool) -> bool:
    """Whether the data end at `offset`, or the header of a higher tag stands there."""
    if offset > end:
        return False
    if end - offset < 8:
        return not bytes(buffer[offset:end]).strip(b"\0")
    group, number, raw_vr, _ = (_LE_EXPLICIT if little_endian else _BE_EXPLICIT)(buffer, offset)
    return raw_vr in VRS or tag < (group << 16 | number) < 0x7FE10000


class _Level:
    """One open data set, sequence or fragment list. `end` bounds it; `undefined` says it is not
    where its own length put it but that of what holds it."""

    __slots__ = ("creators", "end", "explicit", "kind", "little_endian", "tag", "undefined", "vr")

    def __init__(
        self, kind: Kind, tag: int, vr: str, end: int, encoding: tuple[bool, bool], undefined: bool
    ) -> None:
        self.kind = kind
        self.tag = tag
        self.vr = vr
        self.end = end
        self.explicit, self.little_endian = encoding
        self.undefined = undefined
        self.creators: dict[int, str] = {}


def walk(data: Buffer, transfer_syntax_uid: str) -> Iterator[Element]:
    """Yield every element of a data set, in the order in which they stand.

    Args:
        data: the data set without file meta information; of a deflated one what `inflate` gave.

    Raises:
        Truncated, NotDicom, TooDeep: while walking, at the element where it shows.
        NotSupported: the syntax is a deflated one.
    """
    explicit, little_endian = encoding_of(data, transfer_syntax_uid)
    return walk_part(data, 0, len(data), explicit=explicit, little_endian=little_endian)


def walk_part(
    data: Buffer,
    start: int,
    end: int,
    *,
    explicit: bool,
    little_endian: bool,
    items: bool = False,
    into_defined: bool = True,
) -> Iterator[Element]:
    """As `walk`, over the elements from `start` to `end`, or over the items if `items`.

    With `items` the bytes are the value of a sequence (say, of one hidden in UN): its items come
    as if the sequence stood at depth 0, without the sequence's own start and end. Without
    `into_defined` sequences and items of given length are stepped over, whatever is in them.
    """
    encoding = (explicit, little_endian)
    levels = [_Level(Kind.ITEM, 0, "", end, encoding, undefined=False)]
    if items:
        levels.append(_Level(Kind.SEQUENCE, 0, "", end, encoding, undefined=False))
    lowest = len(levels)
    offset = start
    while True:
        level = levels[-1]
        if offset >= level.end:
            if len(levels) == lowest:
                return
            if level.undefined and offset >= end:
                raise Truncated(f"{level.tag:08X} is not closed where the data set ends")
            levels.pop()
            yield _end_of(level, offset, len(levels))
            continue
        if level.kind is not Kind.ITEM:
            offset, step, inner = _in_sequence(data, offset, level, levels)
        else:
            offset, step, inner = _in_data_set(data, offset, level, levels)
        if step is not None:
            yield step
        if inner is not None and not inner.undefined and not into_defined:
            offset = inner.end
        elif inner is not None:
            levels.append(inner)
            # Each sequence is two levels: itself and its item.
            if len(levels) > 2 * NESTING_MAX + 2:
                raise TooDeep(f"sequences nest deeper than {NESTING_MAX} at offset {offset}")


def _end_of(level: _Level, offset: int, open_levels: int) -> Element:
    if level.kind is Kind.ITEM:
        kind, tag, depth = Kind.ITEM_END, ITEM_END, open_levels // 2
    else:
        kind = Kind.SEQUENCE_END if level.kind is Kind.SEQUENCE else Kind.FRAGMENTS_END
        tag, depth = SEQUENCE_END, (open_levels - 1) // 2
    return Element(tag, "", depth, offset, 0, kind, offset, level.explicit, level.little_endian)


_Step = tuple[int, Element | None, _Level | None]


def _in_sequence(data: Buffer, offset: int, level: _Level, levels: list[_Level]) -> _Step:
    """One item, fragment or delimiter of the sequence or fragment list on top of `levels`."""
    explicit, little = level.explicit, level.little_endian
    header = header_at(data, offset, level.end, explicit=False, little_endian=little)
    tag, _, length, value, _ = header
    if tag == ITEM:
        depth = (len(levels) + 1) // 2
        room = level.end - value
        if level.kind is Kind.FRAGMENTS:
            if length > room:
                raise Truncated(f"a fragment at {offset} claims {length} bytes, {room} are there")
            step = Element(
                ITEM, level.vr, depth, value, length, Kind.FRAGMENT, offset, explicit, little
            )
            return value + length, step, None
        undefined = length == UNDEFINED
        if not undefined and length > room:
            if level.undefined:
                raise Truncated(f"an item at {offset} claims {length} bytes, {room} are there")
            length = room  # the sequence's own length is believed, it is what readers skip by
        item_end = level.end if undefined else value + length
        # Items in UN are implicit by the standard and explicit by mistake, and some makers paste
        # explicit items into implicit data sets: the letters of a VR would be a length past 16 KiB.
        explicit = explicit or bytes(data[value + 4 : min(value + 6, item_end)]) in VRS
        shown = -1 if undefined else length
        step = Element(ITEM, "", depth, value, shown, Kind.ITEM, offset, explicit, little)
        return value, step, _Level(Kind.ITEM, ITEM, "", item_end, (explicit, little), undefined)
    if tag == SEQUENCE_END and level.undefined:
        levels.pop()
        return value, _end_of(level, value, len(levels)), None
    if tag == ITEM_END or (tag == SEQUENCE_END and level.kind is Kind.SEQUENCE):
        return value, None, None
    raise NotDicom(f"{tag:08X} at offset {offset} stands where an item of {level.tag:08X} should")


def _in_data_set(data: Buffer, offset: int, level: _Level, levels: list[_Level]) -> _Step:
    """One element of the data set or item on top of `levels`."""
    little, end = level.little_endian, level.end
    if len(levels) == 1 and only_zeros(data, offset, end):
        return end, None, None
    header = header_at(data, offset, end, explicit=level.explicit, little_endian=little)
    tag, vr, length, value, explicit = header
    if tag in MARKERS and (not vr or len(levels) > 1):
        length, value = (_LE_LENGTH if little else _BE_LENGTH)(data, offset + 4)[0], offset + 8
        return _delimiter_in_data_set(tag, offset, value, length, level, levels)
    if not vr:
        vr = implicit_vr(tag, level.creators)
    if length != UNDEFINED and length > end - value:
        raise Truncated(
            f"element {tag:08X} at offset {offset} claims {length} bytes, {end - value} are there"
        )
    depth = (len(levels) - 1) // 2
    if length != UNDEFINED and vr != "SQ":
        if not explicit and is_private_creator(tag):
            name = creator_name(bytes(data[value : value + min(length, 64)]))
            level.creators[creator_block(tag)] = name
        step = Element(tag, vr, depth, value, length, Kind.VALUE, offset, explicit, little)
        return value + length, step, None
    undefined = length == UNDEFINED
    shown = -1 if undefined else length
    inner_end = end if undefined else value + length
    if undefined and (tag == PIXEL_DATA or vr in ("OB", "OW")):
        step = Element(tag, vr, depth, value, shown, Kind.FRAGMENTS, offset, explicit, little)
        inner = _Level(Kind.FRAGMENTS, tag, vr, inner_end, (level.explicit, little), undefined)
        return value, step, inner
    # What stands in UN was not understood by whoever wrote UN round it: it is implicit, little.
    encoding = (False, True) if vr == "UN" and level.explicit else (level.explicit, little)
    step = Element(tag, vr, depth, value, shown, Kind.SEQUENCE, offset, explicit, little)
    return value, step, _Level(Kind.SEQUENCE, tag, vr, inner_end, encoding, undefined)


def _delimiter_in_data_set(
    tag: int, offset: int, value: int, length: int, level: _Level, levels: list[_Level]
) -> _Step:
    """A delimiter met among elements: the end of what is open, or a stray to be passed over."""
    if len(levels) > 1 and level.undefined:
        if tag == ITEM_END:
            levels.pop()
            return value, _end_of(level, value, len(levels)), None
        # The item's own delimiter is missing: this one belongs to the sequence round it.
        if tag in (ITEM, SEQUENCE_END):
            levels.pop()
            return offset, _end_of(level, offset, len(levels)), None
    return value + (length if tag == ITEM and length != UNDEFINED else 0), None, None


def is_private_creator(tag: int) -> bool:
    """Whether the element reserves a block of private tags (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def creator_block(tag: int) -> int:
    """The first tag of the block that a private creator element reserves."""
    return tag & 0xFFFF0000 | (tag & 0xFF) << 8


def creator_name(value: bytes) -> str:
    """A private creator's name, by which private dictionaries are kept."""
    return value.decode("latin-1").strip(" \0")


def implicit_vr(tag: int, creators: Mapping[int, str]) -> str:
    """The VR of an element that does not carry one; `creators` are those of its data set."""
    if tag >> 16 & 1:
        return private_vr(tag, creators.get(tag & 0xFFFFFF00, ""))
    return public_vr(tag)


def only_zeros(data: Buffer, offset: int, end: int) -> bool:
    """Whether nothing but zeros is left: padding that some writers round files up with."""
    if data[offset] or data[min(offset + 1, end - 1)]:
        return False
    for at in range(offset, end, 65536):
        if bytes(data[at : min(at + 65536, end)]).strip(b"\0"):
            return False
    return True


def outline(
    data: Buffer, start: int, end: int, *, explicit: bool, little_endian: bool
) -> Iterator[tuple[Element, int]]:
    """Yield the elements from `start` to `end` at the top only, each with the offset behind it.

    A sequence whose length was given is skipped, not looked into: faults within it do not show.
    """
    encoding = (explicit, little_endian)
    level = _Level(Kind.ITEM, 0, "", end, encoding, undefined=False)
    levels = [level]
    offset = start
    while offset < end:
        at = offset
        offset, step, inner = _in_data_set(data, at, level, levels)
        if step is None:
            continue
        if inner is not None:
            offset = inner.end if not inner.undefined else _behind(data, at, end, encoding)
        yield step, offset


def _behind(data: Buffer, offset: int, end: int, encoding: tuple[bool, bool]) -> int:
    """The offset behind the undefined-length element at `offset`."""
    explicit, little = encoding
    for step in walk_part(
        data, offset, end, explicit=explicit, little_endian=little, into_defined=False
    ):
        if step.depth == 0 and step.kind in (Kind.SEQUENCE_END, Kind.FRAGMENTS_END):
            return step.value_offset
    raise Truncated(f"the element at offset {offset} is not closed where the data set ends")


_SWAP_UNITS = {
    "AT": 2, "OW": 2, "SS": 2, "US": 2, "FL": 4, "OF": 4, "OL": 4, "SL": 4, "UL": 4,
    "FD": 8, "OD": 8, "OV": 8, "SV": 8, "UV": 8,
}  # fmt: skip


def swapped(value: bytes | memoryview, vr: str) -> bytes:
    """A value with the other byte order (PS3.5 7.3). A tail shorter than its unit stays as it is."""
    unit = _SWAP_UNITS.get(vr, 1)
    whole = len(value) // unit * unit
    if unit == 1 or not whole:
        return bytes(value)
    turned = np.frombuffer(value, dtype=f"u{unit}", count=whole // unit).byteswap().tobytes()
    return turned + bytes(value[whole:])
