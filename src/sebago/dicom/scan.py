"""The header scan: one walk over a data set's top-level elements, from first byte to last.

Theory of operation. Every object that enters the archive is scanned, so this is written for speed:
values are skipped, not decoded, and nothing is allocated but the few values that the index keeps.
The walk goes on behind the pixel data to the very end, because only there shows whether the data
set was cut off on its way. It reads through windows of some kilobytes, so that a data set of many
gigabytes costs no memory, a mapped file is touched only where headers lie, and a deflated one is
inflated as it is read, never held whole.

What it takes and what it refuses. An archive that refuses an object loses an image; one that takes
half an object loses it later and more quietly. So every oddity is taken that leaves no doubt where
the next element begins:

- elements out of order or twice (the first counts), group lengths, odd lengths, any private
  element, a wrong but known VR;
- a VR that no edition of PS3.5 has: its length is read in the form that leads to another element;
- elements without VR in an explicit data set, and a data set that is explicit although implicit was
  announced (never another byte order);
- undefined length on SQ, UN and anything else; items inside UN are implicit (PS3.5 6.2.2) or not;
- missing item delimiters where an item or the end of its sequence follows, delimiters that carry
  a length, item tags between top-level elements;
- padding at the end: (FFFC,FFFC), zeros, the pad byte of an odd last element.

Sequences of defined length are skipped whole, so what lies in them is not checked here. A value,
item, sequence or fragment list that does not end where it says before the data do is `Truncated`;
bytes that are no element are `NotDicom`.

Measured on one core of a shared two-core machine, Python 3.11, where unpacking one header struct
takes 120 ns: 5 us for a scan, 0.23 us an element and 0.28 us a kept value; so a CT of 126 elements,
52 of them kept, 49 us, and of 85 elements about 35 us. Elements in sequences of undefined length
take 0.2 us each (an enhanced MR of 1 MB with 16,000 of them: 3 ms).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final

from sebago.dicom.byte_source import (
    INFLATE_BYTES_MAX,
    INFLATE_RATIO_MAX,
    Buffer,
    BufferSource,
    InflatingSource,
    Source,
    inflated,
)
from sebago.dicom.charset import charsets_of
from sebago.dicom.header import (
    VALUE_BYTES_MAX,
    WANTED,
    WANTED_VRS,
    Header,
    integer_of,
)
from sebago.dicom.uids import transfer_syntax
from sebago.errors import NotDicom, TooDeep, Truncated

__all__ = [
    "INFLATE_BYTES_MAX",
    "INFLATE_RATIO_MAX",
    "NESTING_MAX",
    "SHORT_VRS",
    "VALUE_BYTES_MAX",
    "VRS",
    "WANTED",
    "WANTED_VRS",
    "Buffer",
    "Header",
    "inflated",
    "integer_of",
    "scan",
]

NESTING_MAX: Final = 64
"""Levels of undefined-length sequences. Real objects stay below 16 (structured reports)."""

# The group of a first element without VR. Without letters to go by, this tells text, archives and
# images of other kinds from a data set that begins with a group other than 0008.
_FIRST_GROUP_MAX: Final = 0x4000

_ODD_HEADERS_MAX: Final = 65536
"""A guess costs some 5 us, and may be needed for every 8 bytes that somebody makes up."""

_WINDOW: Final = 16384
_UNDEFINED: Final = 0xFFFFFFFF

_PIXEL_DATA: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)

_LONG_VRS: Final = (
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
)  # fmt: skip
SHORT_VRS: Final = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip
VRS: Final = frozenset(_LONG_VRS + SHORT_VRS)


def scan(
    data: Buffer,
    transfer_syntax_uid: str,
    *,
    wanted: frozenset[int] = WANTED,
    inflate_max: int = INFLATE_BYTES_MAX,
) -> Header:
    """Walk a data set to its end and keep what is wanted of its top level.

    Args:
        data: the data set alone, without preamble and file meta information. Not copied.
        transfer_syntax_uid: how it is encoded; an unknown one is read as explicit little endian.
        wanted: tags to keep the values of.
        inflate_max: where inflating stops, in bytes of the inflated data set.

    Raises:
        NotDicom: the bytes are not elements in this transfer syntax.
        Truncated: they end before the data set does.
        TooDeep: more than NESTING_MAX levels of undefined length.
        Inflated: a deflated data set grows past `inflate_max` or past INFLATE_RATIO_MAX.
    """
    syntax = transfer_syntax(transfer_syntax_uid)
    with memoryview(data) as view, view.cast("B") as octets:
        source: Source = (
            InflatingSource(octets, inflate_max) if syntax.deflated else BufferSource(octets)
        )
        walk = _Walk(source, wanted, little_endian=syntax.little_endian)
        return walk.run(explicit=walk.looks_explicit(announced=syntax.explicit))


# --- the walk -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Form:
    """One byte order, with tags and VRs as the numbers that its header struct yields."""

    little_endian: bool
    header: Struct  # tag, VR, 16-bit length; in an implicit element the last two are its length
    length: Struct
    short: frozenset[int]
    long: frozenset[int]
    unknown: int  # UN
    item: int
    item_end: int
    sequence_end: int
    markers: frozenset[int]  # item tags, and (0000,0000): what padding looks like
    pixels: frozenset[int]  # Pixel Data, Float and Double Float Pixel Data

    @classmethod
    def of(cls, *, little_endian: bool) -> _Form:
        order = "<" if little_endian else ">"
        vr = Struct(order + "H")
        item, item_end, sequence_end = (
            _as_read(tag, little_endian) for tag in (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD)
        )
        return cls(
            little_endian,
            Struct(order + "IHH"),
            Struct(order + "I"),
            frozenset(vr.unpack(name)[0] for name in SHORT_VRS),
            frozenset(vr.unpack(name)[0] for name in _LONG_VRS),
            vr.unpack(b"UN")[0],
            item,
            item_end,
            sequence_end,
            frozenset({item, item_end, sequence_end, 0}),
            frozenset(_as_read(tag, little_endian) for tag in _PIXEL_DATA),
        )

    def wide(self, vr: int, length: int) -> int:
        """The 32-bit length of an element or item without VR."""
        return vr | length << 16 if self.little_endian else vr << 16 | length


def _as_read(tag: int, little_endian: bool) -> int:
    """A tag as the header struct yields it: in little endian the group is the low half."""
    return (tag >> 16 | (tag & 0xFFFF) << 16) if little_endian else tag


_LITTLE: Final = _Form.of(little_endian=True)
_BIG: Final = _Form.of(little_endian=False)


@lru_cache(maxsize=32)
def _keys(wanted: frozenset[int], little_endian: bool) -> dict[int, int]:
    """Wanted tags by what the header struct yields for them."""
    return {_as_read(tag, little_endian): tag for tag in wanted}


class _Walk:
    """The walk over one data set. `run` is the hot loop; what is rare has methods of its own.

    Positions count from the start of the data set. In the two loops they are kept as `base`,
    where the window begins, and `at`, counted in the window.
    """

    __slots__ = ("_form", "_odd_headers", "_source", "_wanted")

    def __init__(self, source: Source, wanted: frozenset[int], *, little_endian: bool) -> None:
        self._odd_headers = 0
        self._source = source
        self._form = _LITTLE if little_endian else _BIG
        self._wanted = wanted

    def looks_explicit(self, *, announced: bool) -> bool:
        """Whether the elements carry VRs, by the first of them; gateways announce it wrongly."""
        first = self._source.read(0, 8)
        if not first:
            raise NotDicom("an empty data set")
        if len(first) < 8:
            raise Truncated(f"{len(first)} bytes are no data set")
        if not self._form.little_endian:
            return True
        if first[4:6] in VRS:
            # As the length of an implicit element these letters would mean 16 KiB or more.
            return True
        tag, vr, length = self._form.header.unpack(first)
        if tag & 0xFFFF >= _FIRST_GROUP_MAX or first == bytes(8):
            raise NotDicom("the data begin with no element of a data set")
        second = 8 + self._form.wide(vr, length)
        if announced and second <= VALUE_BYTES_MAX:
            following = self._source.read(second, 8)
            return len(following) < 8 or following[4:6] in VRS
        return announced

    def run(self, *, explicit: bool) -> Header:
        """Walk to the end."""
        source, form = self._source, self._form
        unpack, unpack_length = form.header.unpack_from, form.length.unpack_from
        keys = _keys(self._wanted, form.little_endian)
        nothing: frozenset[int] = frozenset()
        short, long = (form.short, form.long) if explicit else (nothing, nothing)
        markers, wide, pixels = form.markers, form.wide, form.pixels
        values: dict[int, bytes] = {}
        pixel_offset: int | None = None
        base = at = tag = length = 0
        window = source.read(0, _WINDOW)
        size = len(window)
        while True:
            # An element header has 12 bytes at most; the last one of a data set may have 8.
            last = size - 12 if size == _WINDOW else size - 8
            while at <= last:
                tag, vr, length = unpack(window, at)
                if vr in short:
                    value = at + 8
                    at = value + length
                    # `keys` is looked up twice, for only a third of the tags is in it.
                    if tag in keys and (known := keys[tag]) not in values:
                        if at <= size:
                            values[known] = window[value:at]
                        else:
                            values[known] = source.read(base + value, length)
                    continue
                if vr in long:
                    value = at + 12
                    if value > size:
                        raise Truncated(f"the data set ends in a header at {base + at}")
                    (length,) = unpack_length(window, at + 8)
                elif not explicit and tag not in markers:
                    value = at + 8
                    length = wide(vr, length)
                else:
                    odd = self._odd_header(base + at)
                    if odd is None:
                        return self._header(values, pixel_offset, base + at, explicit)
                    value, length = odd[0] - base, odd[1]
                if tag in pixels and pixel_offset is None:
                    pixel_offset = base + at
                following = value + length
                ahead = b""
                if length == _UNDEFINED:
                    if not source.rewinds and tag in keys:
                        ahead = source.read(base + value, VALUE_BYTES_MAX)
                    following = self._behind_undefined(base + value, vr, explicit) - base
                if tag in keys and (known := keys[tag]) not in values:
                    kept = min(following - value, VALUE_BYTES_MAX)
                    if following <= size:
                        values[known] = window[value : value + kept]
                    else:
                        values[known] = ahead[:kept] or source.read(base + value, kept)
                at = following
            if at > size and (missing := source.missing(base + at)):
                raise Truncated(
                    f"element {_as_read(tag, form.little_endian):08X} ends {missing} bytes "
                    f"behind the end of the data set"
                )
            if at <= size < _WINDOW:
                break
            base += at
            at = 0
            window = source.read(base, _WINDOW)
            size = len(window)
        self._check_tail(window[at:], base + at, odd=bool(length & 1))
        return self._header(values, pixel_offset, base + at, explicit)

    def _header(
        self, values: dict[int, bytes], pixel_offset: int | None, end: int, explicit: bool
    ) -> Header:
        charsets = charsets_of(values.get(0x00080005))
        return Header(values, pixel_offset, end, charsets, explicit, self._form.little_endian)

    def _check_tail(self, tail: bytes, position: int, *, odd: bool) -> None:
        """What is left is too short for an element: only padding may be that."""
        if tail.strip(b"\0") or (len(tail) == 1 and not odd):
            raise Truncated(f"the data set ends in an element header at {position}")

    def _behind_undefined(self, position: int, vr: int, explicit: bool) -> int:
        """The position behind the sequence or fragments of undefined length that begin here.

        PS3.5 7.5.1 and A.4. A list stands for recursion: two entries a level, its sequence and
        its item, each with how elements in it are written.
        """
        form = self._form
        if vr == form.unknown and explicit and not form.little_endian:
            # Inside UN it is little endian, whatever is outside (PS3.5 6.2.2 note 2).
            little = _Walk(self._source, self._wanted, little_endian=True)
            little._odd_headers = self._odd_headers
            end = little._behind_undefined(position, _LITTLE.unknown, explicit)
            self._odd_headers = little._odd_headers
            return end
        source, unpack, unpack_length = (
            self._source,
            form.header.unpack_from,
            form.length.unpack_from,
        )
        short, long, wide = form.short, form.long, form.wide
        item, sequence_end, markers = form.item, form.sequence_end, form.markers
        outer: list[tuple[bool, bool, bool]] = []
        in_item = False
        # Items in UN are implicit by the standard and explicit by mistake: their first element
        # tells.
        undecided = vr == form.unknown and explicit
        base, at = position, 0
        window = source.read(base, _WINDOW)
        size = len(window)
        nothing: frozenset[int] = frozenset()
        while True:
            # Most elements are ordinary ones in an item: passed over here, three lines each.
            ordinary = short if in_item and explicit and not undecided else nothing
            last = size - 12
            while at <= last:
                tag, vr, length = unpack(window, at)
                if vr not in ordinary or tag in markers:
                    break
                at += 8 + length
            else:
                if size == _WINDOW or at > size:
                    base += at
                    at = 0
                    window = source.read(base, _WINDOW)
                    size = len(window)
                if at + 8 > size:
                    raise Truncated(
                        f"the sequence or fragments at {position} are not closed where the data "
                        f"set ends"
                    )
                tag, vr, length = unpack(window, at)
            if tag in markers and tag:
                at += 8
                if tag == item:
                    length = wide(vr, length)
                    if length != _UNDEFINED:
                        at += length
                        if in_item:
                            in_item, explicit, undecided = outer.pop()
                    elif not in_item:
                        outer.append((in_item, explicit, undecided))
                        in_item = True
                else:
                    if in_item:
                        in_item, explicit, undecided = outer.pop()
                    if tag == sequence_end:
                        if not outer:
                            return base + at
                        in_item, explicit, undecided = outer.pop()
                continue
            if not in_item:
                raise NotDicom(
                    f"{_as_read(tag, form.little_endian):08X} at {base + at} stands where an item "
                    f"of the sequence at {position} should"
                )
            if undecided:
                explicit = vr in short or vr in long
                undecided = False
            if not explicit:
                length = wide(vr, length)
                value = at + 8
            elif vr in short:
                at += 8 + length
                continue
            elif vr in long:
                value = at + 12
                if value > size:
                    raise Truncated(f"the data set ends in a header at {base + at}")
                (length,) = unpack_length(window, at + 8)
            else:
                odd = self._odd_header(base + at)
                if odd is None:
                    raise Truncated(f"the sequence at {position} ends in zeros")
                value, length = odd[0] - base, odd[1]
            at = value
            if length != _UNDEFINED:
                at += length
                continue
            outer.append((in_item, explicit, undecided))
            in_item = False
            undecided = explicit and vr == form.unknown
            if len(outer) >= 2 * NESTING_MAX:
                raise TooDeep(
                    f"more than {NESTING_MAX} levels of sequences at {base + at}",
                    do="Sequences are nested like this only by mistake or on purpose.",
                )

    def _odd_header(self, position: int) -> tuple[int, int] | None:
        """Read a header that is no ordinary one: (where the value begins, its length).

        None where nothing but zeros is left. The guess is the first reading that leads to
        another element.

        Raises:
            NotDicom: no reading makes an element of these bytes.
        """
        head = self._source.read(position, 12)
        tag, vr, length = self._form.header.unpack_from(head)
        wide = self._form.wide(vr, length)
        self._odd_headers += 1
        if self._odd_headers > _ODD_HEADERS_MAX:
            raise NotDicom(f"more than {_ODD_HEADERS_MAX} elements that can only be guessed at")
        if head[:8] == bytes(8):
            # Looked at once: zeros that are not the last thing are no elements either.
            if position and self._zeros_from(position):
                return None
            raise NotDicom(f"the zeros at {position} are no element")
        if tag in self._form.markers and tag:
            # An item is passed over whole; delimiters and an item of undefined length are passed
            # over by themselves: whatever they close or open is not there.
            whole = tag == self._form.item and wide != _UNDEFINED
            return position + 8, wide if whole else 0
        readings = [(position + 8, wide), (position + 8, length)]
        if head[4:6].isalpha() and head[4:6].isupper():
            readings = [(position + 8, length)]
            if length == 0 and len(head) == 12:
                (far,) = self._form.length.unpack_from(head, 8)
                readings.insert(0, (position + 12, far))
        for value, count in readings:
            if count == _UNDEFINED or self._leads_on(value + count, tag, position):
                return value, count
        value, count = readings[0]
        if position == 0 or not self._source.fits(value + count):
            raise NotDicom(f"the bytes at {position} are no element")
        return value, count

    def _leads_on(self, position: int, tag: int, before: int) -> bool:
        """Whether the data end here, or the header of a higher tag follows."""
        if position - before > VALUE_BYTES_MAX:
            return False
        head = self._source.read(position, 8)
        if len(head) < 8:
            return not head.strip(b"\0") and self._source.fits(position)
        next_tag = _as_read(self._form.header.unpack(head)[0], self._form.little_endian)
        return head[4:6] in VRS or (
            next_tag > _as_read(tag, self._form.little_endian) and next_tag < 0x7FE10000
        )

    def _zeros_from(self, position: int) -> bool:
        while piece := self._source.read(position, _WINDOW):
            if piece.strip(b"\0"):
                return False
            position += len(piece)
        return True
