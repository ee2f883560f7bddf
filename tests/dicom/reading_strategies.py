"""Generated data sets for the readers' tests, with what is in them; and a plain reader.

Data sets are encoded here by a few lines of their own, so that the same content can be written in
every byte order, with and without VRs, with defined and undefined lengths.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st

from sebago.dicom.scan import WANTED_VRS
from sebago.dicom.uids import EXPLICIT_VR_BE, EXPLICIT_VR_LE, IMPLICIT_VR_LE

LONG_VRS = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True)
class Form:
    """How to encode: with VRs or without, in which byte order."""

    uid: str
    explicit: bool
    little_endian: bool

    @property
    def order(self) -> str:
        return "<" if self.little_endian else ">"


FORMS = (
    Form(EXPLICIT_VR_LE, explicit=True, little_endian=True),
    Form(IMPLICIT_VR_LE, explicit=False, little_endian=True),
    Form(EXPLICIT_VR_BE, explicit=True, little_endian=False),
)
LITTLE_EXPLICIT, LITTLE_IMPLICIT, BIG_EXPLICIT = FORMS


@dataclass(frozen=True)
class Item:
    elements: tuple[Element, ...]
    undefined: bool = False


@dataclass(frozen=True)
class Element:
    """One element: `value`, or `items` of a sequence, or `fragments` of encapsulated pixels."""

    tag: int
    vr: str
    value: bytes = b""
    items: tuple[Item, ...] | None = None
    fragments: tuple[bytes, ...] | None = None
    undefined: bool = False


@dataclass
class Encoded:
    """Bytes, and where each top-level element begins in them; the last entry is the end."""

    data: bytes = b""
    starts: list[int] = field(default_factory=list)


def tag_bytes(tag: int, form: Form) -> bytes:
    return struct.pack(form.order + "HH", tag >> 16, tag & 0xFFFF)


def header(tag: int, vr: str, length: int, form: Form) -> bytes:
    if not form.explicit or tag >> 16 == 0xFFFE:
        return tag_bytes(tag, form) + struct.pack(form.order + "I", length)
    if vr in LONG_VRS:
        return tag_bytes(tag, form) + vr.encode() + struct.pack(form.order + "HI", 0, length)
    return tag_bytes(tag, form) + vr.encode() + struct.pack(form.order + "H", length)


def encode_element(element: Element, form: Form) -> bytes:
    if element.fragments is not None:
        body = b"".join(
            header(0xFFFEE000, "", len(fragment), form) + fragment for fragment in element.fragments
        )
        return header(element.tag, element.vr, UNDEFINED, form) + body + end_of_sequence(form)
    if element.items is None:
        return header(element.tag, element.vr, len(element.value), form) + element.value
    body = b"".join(encode_item(item, form) for item in element.items)
    if element.undefined:
        return header(element.tag, element.vr, UNDEFINED, form) + body + end_of_sequence(form)
    return header(element.tag, element.vr, len(body), form) + body


def encode_item(item: Item, form: Form) -> bytes:
    body = b"".join(encode_element(element, form) for element in item.elements)
    if item.undefined:
        return header(0xFFFEE000, "", UNDEFINED, form) + body + header(0xFFFEE00D, "", 0, form)
    return header(0xFFFEE000, "", len(body), form) + body


def end_of_sequence(form: Form) -> bytes:
    return header(0xFFFEE0DD, "", 0, form)


def encode(elements: tuple[Element, ...] | list[Element], form: Form) -> Encoded:
    encoded = Encoded()
    pieces: list[bytes] = []
    at = 0
    for element in elements:
        encoded.starts.append(at)
        pieces.append(encode_element(element, form))
        at += len(pieces[-1])
    encoded.starts.append(at)
    encoded.data = b"".join(pieces)
    return encoded


# --- what is generated --------------------------------------------------------------------------

_even = st.binary(max_size=40).map(lambda raw: raw + b" " * (len(raw) % 2))
_text = st.text(st.sampled_from("ABCabc ^=0123456789.-"), max_size=30).map(
    lambda text: (text + " " * (len(text) % 2)).encode()
)
_plain_vrs = st.sampled_from(
    ["LO", "SH", "CS", "UI", "US", "UL", "FD", "AT", "OB", "OW", "UN", "UT", "UC", "OV"]
)
_wanted_tags = st.sampled_from(
    sorted(tag for tag, vr in WANTED_VRS.items() if vr not in ("SQ", "US") and tag > 0x00080016)
)
_other_tags = st.integers(0x00080019, 0x7FDFFFFF).filter(
    lambda tag: tag not in WANTED_VRS and tag >> 16 != 0 and tag & 0xFFFF != 0
)

wanted_elements = st.builds(
    lambda tag, value: Element(tag, WANTED_VRS[tag], value), _wanted_tags, _text
)
plain_elements = st.builds(Element, _other_tags, _plain_vrs, _even)


def _sequences(children: st.SearchStrategy[Element]) -> st.SearchStrategy[Element]:
    items = st.builds(Item, st.lists(children, max_size=3).map(tuple), st.booleans())
    return st.builds(
        lambda tag, these, undefined: Element(tag, "SQ", items=these, undefined=undefined),
        _other_tags,
        st.lists(items, max_size=3).map(tuple),
        st.booleans(),
    )


sequences = st.recursive(plain_elements, _sequences, max_leaves=8)

SOP_CLASS = Element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0")

pixels = st.one_of(
    st.none(),
    st.builds(lambda value: Element(PIXEL_DATA, "OW", value), _even),
    st.builds(
        lambda fragments: Element(PIXEL_DATA, "OB", fragments=tuple(fragments)),
        st.lists(_even, max_size=4),
    ),
)
trailers = st.sampled_from([None, Element(0xFFFCFFFC, "OB", bytes(10))])


@st.composite
def data_sets(draw: st.DrawFn) -> tuple[Element, ...]:
    """The elements of a data set: its SOP class, others, perhaps pixels, perhaps padding."""
    middle = draw(
        st.lists(st.one_of(wanted_elements, sequences), min_size=1, max_size=10, unique_by=_tag)
    )
    elements = [SOP_CLASS, *sorted(middle, key=_tag)]
    elements.extend(last for last in (draw(pixels), draw(trailers)) if last is not None)
    return tuple(elements)


def _tag(element: Element) -> int:
    return element.tag


# --- the plain reader ---------------------------------------------------------------------------


def read_plainly(data: bytes, form: Form) -> Iterator[tuple[int, int, bytes]]:
    """Yield (tag, offset, value field) of the top level: the scan's oracle for valid data sets.

    The value of an undefined length is everything up to and with its delimiter.
    """
    at = 0
    while at < len(data):
        tag, value, length = _header_at(data, at, form)
        end = _end_of(data, value, form) if length == UNDEFINED else value + length
        assert end <= len(data)
        yield tag, at, data[value:end]
        at = end


def _header_at(data: bytes, at: int, form: Form) -> tuple[int, int, int]:
    group, number = struct.unpack_from(form.order + "HH", data, at)
    tag = group << 16 | number
    if form.explicit and group != 0xFFFE:
        vr = data[at + 4 : at + 6].decode()
        if vr not in LONG_VRS:
            return tag, at + 8, struct.unpack_from(form.order + "H", data, at + 6)[0]
        return tag, at + 12, struct.unpack_from(form.order + "I", data, at + 8)[0]
    return tag, at + 8, struct.unpack_from(form.order + "I", data, at + 4)[0]


def _end_of(data: bytes, at: int, form: Form) -> int:
    while True:
        tag, value, length = _header_at(data, at, form)
        if tag in (0xFFFEE0DD, 0xFFFEE00D):
            return value
        at = _end_of(data, value, form) if length == UNDEFINED else value + length
