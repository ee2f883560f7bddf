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

Measured on one core of a shared two-core machine, Python 3.11: see `bench`. A CT of 85 elements
takes 20 to 25 us.
"""

from __future__ import annotations

import mmap
import zlib
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Final, Protocol

from sebago.dicom.charset import charsets_of, decode_text, decode_values
from sebago.dicom.uids import transfer_syntax
from sebago.errors import Inflated, NotDicom, TooDeep, Truncated

Buffer = bytes | bytearray | memoryview | mmap.mmap

NESTING_MAX: Final = 64
"""Levels of undefined-length sequences. Real objects stay below 16 (structured reports)."""

VALUE_BYTES_MAX: Final = 65536
"""A wanted value is cut here; none that the index keeps is meant to be longer."""

INFLATE_BYTES_MAX: Final = 2 << 30
INFLATE_RATIO_MAX: Final = 200
"""A deflated data set may grow so much, once it is over `_RATIO_COUNTS_FROM` bytes."""

# The group of a first element without VR. Without letters to go by, this tells text, archives and
# images of other kinds from a data set that begins with a group other than 0008.
_FIRST_GROUP_MAX: Final = 0x4000

_RATIO_COUNTS_FROM: Final = 16 << 20
_WINDOW: Final = 16384
_UNDEFINED: Final = 0xFFFFFFFF

# VR of every attribute that the scan keeps by default, in the order of the tags.
WANTED_VRS: Final[dict[int, str]] = {
    0x00080005: "CS",  # Specific Character Set
    0x00080008: "CS",  # Image Type
    0x00080012: "DA",  # Instance Creation Date
    0x00080013: "TM",  # Instance Creation Time
    0x00080016: "UI",  # SOP Class UID
    0x00080018: "UI",  # SOP Instance UID
    0x00080020: "DA",  # Study Date
    0x00080021: "DA",  # Series Date
    0x00080022: "DA",  # Acquisition Date
    0x00080023: "DA",  # Content Date
    0x0008002A: "DT",  # Acquisition DateTime
    0x00080030: "TM",  # Study Time
    0x00080031: "TM",  # Series Time
    0x00080032: "TM",  # Acquisition Time
    0x00080033: "TM",  # Content Time
    0x00080050: "SH",  # Accession Number
    0x00080051: "SQ",  # Issuer of Accession Number Sequence
    0x00080060: "CS",  # Modality
    0x00080064: "CS",  # Conversion Type
    0x00080068: "CS",  # Presentation Intent Type
    0x00080070: "LO",  # Manufacturer
    0x00080080: "LO",  # Institution Name
    0x00080090: "PN",  # Referring Physician's Name
    0x00080201: "SH",  # Timezone Offset From UTC
    0x00081010: "SH",  # Station Name
    0x00081030: "LO",  # Study Description
    0x00081032: "SQ",  # Procedure Code Sequence
    0x0008103E: "LO",  # Series Description
    0x0008103F: "SQ",  # Series Description Code Sequence
    0x00081040: "LO",  # Institutional Department Name
    0x00081048: "PN",  # Physician(s) of Record
    0x00081050: "PN",  # Performing Physician's Name
    0x00081060: "PN",  # Name of Physician(s) Reading Study
    0x00081070: "PN",  # Operators' Name
    0x00081080: "LO",  # Admitting Diagnoses Description
    0x00081090: "LO",  # Manufacturer's Model Name
    0x00100010: "PN",  # Patient's Name
    0x00100020: "LO",  # Patient ID
    0x00100021: "LO",  # Issuer of Patient ID
    0x00100024: "SQ",  # Issuer of Patient ID Qualifiers Sequence
    0x00100030: "DA",  # Patient's Birth Date
    0x00100032: "TM",  # Patient's Birth Time
    0x00100040: "CS",  # Patient's Sex
    0x00101000: "LO",  # Other Patient IDs
    0x00101001: "PN",  # Other Patient Names
    0x00101002: "SQ",  # Other Patient IDs Sequence
    0x00101010: "AS",  # Patient's Age
    0x00101020: "DS",  # Patient's Size
    0x00101030: "DS",  # Patient's Weight
    0x00102160: "SH",  # Ethnic Group
    0x00102180: "SH",  # Occupation
    0x001021B0: "LT",  # Additional Patient History
    0x00104000: "LT",  # Patient Comments
    0x00120062: "CS",  # Patient Identity Removed
    0x00180015: "CS",  # Body Part Examined
    0x00181000: "LO",  # Device Serial Number
    0x00181020: "LO",  # Software Versions
    0x00181030: "LO",  # Protocol Name
    0x00185101: "CS",  # View Position
    0x0020000D: "UI",  # Study Instance UID
    0x0020000E: "UI",  # Series Instance UID
    0x00200010: "SH",  # Study ID
    0x00200011: "IS",  # Series Number
    0x00200012: "IS",  # Acquisition Number
    0x00200013: "IS",  # Instance Number
    0x00200032: "DS",  # Image Position (Patient)
    0x00200037: "DS",  # Image Orientation (Patient)
    0x00200052: "UI",  # Frame of Reference UID
    0x00200060: "CS",  # Laterality
    0x00200062: "CS",  # Image Laterality
    0x00201041: "DS",  # Slice Location
    0x00204000: "LT",  # Image Comments
    0x00280002: "US",  # Samples per Pixel
    0x00280004: "CS",  # Photometric Interpretation
    0x00280006: "US",  # Planar Configuration
    0x00280008: "IS",  # Number of Frames
    0x00280010: "US",  # Rows
    0x00280011: "US",  # Columns
    0x00280100: "US",  # Bits Allocated
    0x00280101: "US",  # Bits Stored
    0x00280102: "US",  # High Bit
    0x00280103: "US",  # Pixel Representation
    0x00280301: "CS",  # Burned In Annotation
    0x00282110: "CS",  # Lossy Image Compression
    0x00321060: "LO",  # Requested Procedure Description
    0x00321064: "SQ",  # Requested Procedure Code Sequence
    0x00380010: "LO",  # Admission ID
    0x00400244: "DA",  # Performed Procedure Step Start Date
    0x00400245: "TM",  # Performed Procedure Step Start Time
    0x00400253: "SH",  # Performed Procedure Step ID
    0x00400254: "LO",  # Performed Procedure Step Description
    0x00400275: "SQ",  # Request Attributes Sequence
    0x0040A032: "DT",  # Observation DateTime
    0x0040A043: "SQ",  # Concept Name Code Sequence
    0x0040A491: "CS",  # Completion Flag
    0x0040A493: "CS",  # Verification Flag
    0x00420010: "ST",  # Document Title
    0x00420012: "LO",  # MIME Type of Encapsulated Document
    0x00700080: "CS",  # Content Label
    0x00700081: "LO",  # Content Description
    0x00700082: "DA",  # Presentation Creation Date
    0x00700083: "TM",  # Presentation Creation Time
    0x00700084: "PN",  # Content Creator's Name
    0x20500020: "CS",  # Presentation LUT Shape
}

WANTED: Final = frozenset(WANTED_VRS)

_PIXEL_DATA: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

_LONG_VRS: Final = (
    b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV",
)  # fmt: skip
SHORT_VRS: Final = (
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN",
    b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US",
)  # fmt: skip
VRS: Final = frozenset(_LONG_VRS + SHORT_VRS)


@dataclass(frozen=True, slots=True)
class Header:
    """What a scan keeps of a data set."""

    values: dict[int, bytes]
    """Raw value fields of the wanted top-level elements by tag, each cut at VALUE_BYTES_MAX.
    Of a sequence: its items, with delimiters where it had undefined length."""
    pixel_offset: int | None
    """Where the pixel data element (7FE0,0010), or Float (0008) or Double Float (0009), begins:
    its tag. In a deflated data set counted in inflated bytes, as `end` is."""
    end: int
    """Where the last element ends; padding may follow."""
    charsets: tuple[str, ...]
    """From (0008,0005), as `charset.decode_text` takes it."""
    explicit: bool
    """As found, which may differ from what the transfer syntax says."""
    little_endian: bool

    def text(self, tag: int) -> str:
        """The decoded value without padding, "" if absent. Several values stay joined."""
        raw = self.values.get(tag)
        return decode_text(raw, WANTED_VRS.get(tag, "LO"), self.charsets) if raw else ""

    def texts(self, tag: int) -> list[str]:
        """The decoded values, each without padding; [] if absent or empty."""
        raw = self.values.get(tag)
        return decode_values(raw, WANTED_VRS.get(tag, "LO"), self.charsets) if raw else []

    def uid(self, tag: int) -> str:
        """A UID without its padding, be it NUL or blank; "" if absent."""
        raw = self.values.get(tag)
        return raw.strip(b" \0\t\r\n").decode("ascii", "replace") if raw else ""

    def integer(self, tag: int) -> int | None:
        """A US, UL or IS value; None if absent or no integer. The first of several.

        A binary value is taken in the width it has, since Rows as UL occurs.
        """
        raw = self.values.get(tag)
        if not raw:
            return None
        if WANTED_VRS.get(tag, "IS") == "IS":
            return integer_of(raw.split(b"\\", 1)[0].decode("ascii", "replace"))
        if len(raw) not in (2, 4):
            raw = raw[:2]
        return int.from_bytes(raw, "little" if self.little_endian else "big")


def integer_of(text: str) -> int | None:
    """An IS value as a number, also `1.0` and `+1`; None for anything else or beyond 64 bits."""
    text = text.strip(" \0")
    whole, _, fraction = text.partition(".")
    if fraction.strip("0") or len(whole) > 19:
        return None
    try:
        number = int(whole)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None


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
        source: _Source = (
            _InflatingSource(octets, inflate_max) if syntax.deflated else _BufferSource(octets)
        )
        walk = _Walk(source, wanted, little_endian=syntax.little_endian)
        return walk.run(explicit=walk.looks_explicit(announced=syntax.explicit))


def inflated(data: Buffer, *, inflate_max: int = INFLATE_BYTES_MAX) -> bytearray:
    """The whole inflated data set of a deflated transfer syntax (PS3.5 A.5), for full reading.

    Raises:
        NotDicom: no deflate stream. Truncated: it ends early.
        Inflated: it grows past `inflate_max` or past INFLATE_RATIO_MAX.
    """
    out = bytearray()
    with memoryview(data) as view, view.cast("B") as octets:
        source = _InflatingSource(octets, inflate_max)
        while piece := source.read(len(out), _INFLATE_STEP):
            out += piece
    return out


# --- where the bytes come from ------------------------------------------------------------------


class _Source(Protocol):
    """Bytes by position. One that does not rewind keeps 2 * VALUE_BYTES_MAX behind the last
    position that was read, no more."""

    rewinds: bool

    def read(self, position: int, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end of the data."""
        ...

    def fits(self, position: int) -> bool:
        """Whether the data reach `position`, as far as that is known without reading."""
        ...

    def missing(self, position: int) -> int:
        """How many bytes the data are short of `position`; may read up to there."""
        ...


class _BufferSource:
    __slots__ = ("_length", "_view")

    rewinds = True

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._length = len(view)

    def read(self, position: int, count: int) -> bytes:
        return bytes(self._view[position : position + count])

    def fits(self, position: int) -> bool:
        return position <= self._length

    def missing(self, position: int) -> int:
        return max(0, position - self._length)


_INFLATE_STEP: Final = 1 << 18


class _InflatingSource:
    """Inflates as far as is asked for and forgets what lies well behind."""

    __slots__ = ("_base", "_fed", "_held", "_inflater", "_limit", "_view")

    rewinds = False

    def __init__(self, view: memoryview, inflate_max: int) -> None:
        self._view = view
        self._limit = min(inflate_max, max(_RATIO_COUNTS_FROM, len(view) * INFLATE_RATIO_MAX))
        # Raw deflate by the standard; some writers leave the zlib wrapper on (RFC 1950 2.2). Its
        # first byte, 78, would be a stored block with bits set that are always written as zero.
        wrapped = len(view) > 1 and view[0] == 0x78 and (view[0] << 8 | view[1]) % 31 == 0
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        self._fed = 0
        self._base = 0
        self._held = bytearray()

    def read(self, position: int, count: int) -> bytes:
        self._inflate_to(position + count, keep_from=position - 2 * VALUE_BYTES_MAX)
        start = position - self._base
        return bytes(self._held[start : start + count])

    def fits(self, position: int) -> bool:
        return not self._inflater.eof or position <= self._base + len(self._held)

    def missing(self, position: int) -> int:
        self._inflate_to(position, keep_from=position)
        return max(0, position - self._base - len(self._held))

    def _inflate_to(self, position: int, *, keep_from: int) -> None:
        while self._base + len(self._held) < position and not self._inflater.eof:
            behind = min(len(self._held), keep_from - self._base)
            if behind >= _INFLATE_STEP:
                del self._held[:behind]
                self._base += behind
            tail = self._inflater.unconsumed_tail
            if not tail:
                tail = bytes(self._view[self._fed : self._fed + _INFLATE_STEP])
                self._fed += len(tail)
            try:
                piece = self._inflater.decompress(tail, _INFLATE_STEP)
            except zlib.error as error:
                raise NotDicom(f"not a deflate stream: {error}") from error
            if not tail and not piece and not self._inflater.eof:
                raise Truncated(
                    f"the deflate stream ends early, after {self._base + len(self._held)} bytes"
                )
            self._held += piece
            if self._base + len(self._held) > self._limit:
                raise Inflated(f"the deflated data set grows past {self._limit} bytes")


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
    """Wanted tags, and those of pixel data, by what the header struct yields for them."""
    return {_as_read(tag, little_endian): tag for tag in wanted | _PIXEL_DATA}


class _Walk:
    """The walk over one data set. `run` is the hot loop; what is rare has methods of its own.

    Positions count from the start of the data set. In the two loops they are kept as `base`,
    where the window begins, and `at`, counted in the window.
    """

    __slots__ = ("_form", "_source", "_wanted")

    def __init__(self, source: _Source, wanted: frozenset[int], *, little_endian: bool) -> None:
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
        markers, wide = form.markers, form.wide
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
                    following = value + length
                else:
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
                    following = value + length
                    if length == _UNDEFINED:
                        ahead = b""
                        if not source.rewinds and tag in keys and keys[tag] not in _PIXEL_DATA:
                            ahead = source.read(base + value, VALUE_BYTES_MAX)
                        following = self._behind_undefined(base + value, vr, explicit) - base
                        if ahead:
                            values.setdefault(keys[tag], ahead[: following - value])
                if tag in keys:
                    known = keys[tag]
                    if known in _PIXEL_DATA:
                        if pixel_offset is None:
                            pixel_offset = base + at
                    elif known not in values:
                        if following <= size:
                            values[known] = window[value:following]
                        else:
                            kept = min(following - value, VALUE_BYTES_MAX)
                            values[known] = source.read(base + value, kept)
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
            return little._behind_undefined(position, _LITTLE.unknown, explicit)
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
        while True:
            if at + 12 > size:
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
        if tag == 0 and position and self._zeros_from(position):
            return None
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
