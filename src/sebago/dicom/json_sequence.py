"""A sequence, however deep, as one DICOM JSON attribute (PS3.18 F.2.2), without recursion.

An item may declare a Specific Character Set of its own (PS3.3 C.12.1.1.2), which then governs it
and what is nested in it. Faults in a sequence are the caller's to handle: `sequence_attribute`
raises them.
"""

from __future__ import annotations

from collections.abc import Iterator

from sebago.dicom.charset import DEFAULT, charsets_of
from sebago.dicom.elements import (
    PIXEL_DATA,
    Buffer,
    Element,
    Kind,
    is_private_creator,
    public_vr,
    swapped,
    walk_part,
)
from sebago.dicom.json_values import BINARY_VRS, INLINE_BYTES_MAX, attribute, bulk_attribute
from sebago.dicom.scan import NESTING_MAX
from sebago.errors import NotDicom

SPECIFIC_CHARACTER_SET = 0x00080005
PIXEL_REPRESENTATION = 0x00280103
UTF_8_DECLARED = b'"00080005":{"vr":"CS","Value":["ISO_IR 192"]}'

_PIXELS = frozenset({0x7FE00008, 0x7FE00009, PIXEL_DATA})
_KEY_BYTES = len(b'"00080005"')


def shown_vr(tag: int, vr: str, length: int, *, signed: bool) -> str:
    """The VR under which an element is shown.

    A public element that came as UN is called what it is: a defined-length UN holds the value as
    Implicit VR Little Endian has it (PS3.5 6.2.2 note 2). What PS3.6 leaves open ('US or SS') is
    settled as PS3.5 A.1 and the sign of the pixels say.
    """
    if vr == "UN":
        if is_private_creator(tag):
            return "LO"
        known = public_vr(tag) if not tag >> 16 & 1 and length < 0xFFFF else "UN"
        return "UN" if " " in known else known
    if " " not in vr:
        return vr
    if "OW" not in vr:
        return "SS" if signed else "US"
    if "OB" in vr or length > 2:
        return "OW"
    return "SS" if signed and "SS" in vr else "US"


def is_bulky(tag: int, vr: str, length: int) -> bool:
    """Whether a value goes by BulkDataURI: long binary ones, and pixel data of any length."""
    return vr in BINARY_VRS and (length > INLINE_BYTES_MAX or (tag in _PIXELS and length > 0))


def in_order(fragments: list[bytes]) -> list[bytes]:
    """Attributes in ascending order (PS3.18 F.2.2); of one that came twice, the first.

    The first is what the header scan keeps, and so what queries find.
    """
    by_key = {fragment[:_KEY_BYTES]: fragment for fragment in reversed(fragments)}
    return [by_key[key] for key in sorted(by_key)]


class _OpenSequence:
    __slots__ = ("items", "tag", "uri")

    def __init__(self, tag: int, uri: bytes) -> None:
        self.tag = tag
        self.uri = uri
        self.items: list[bytes] = []

    def attribute(self) -> bytes:
        if not self.items:
            return b'"%08X":{"vr":"SQ"}' % self.tag
        return b'"%08X":{"vr":"SQ","Value":[%s]}' % (self.tag, b",".join(self.items))


class _OpenItem:
    __slots__ = ("charsets", "fragments", "last_tag", "ordered", "signed", "uri")

    def __init__(self, uri: bytes, charsets: tuple[str, ...], *, signed: bool) -> None:
        self.uri = uri
        self.charsets = charsets
        self.signed = signed
        self.fragments: list[bytes] = []
        self.last_tag = -1
        self.ordered = True

    def put(self, tag: int, fragment: bytes) -> None:
        self.ordered = self.ordered and tag > self.last_tag
        self.last_tag = tag
        self.fragments.append(fragment)

    def object(self) -> bytes:
        fragments = self.fragments if self.ordered else in_order(self.fragments)
        return b"{%s}" % b",".join(fragments)


def sequence_attribute(
    data: Buffer,
    tag: int,
    start: int,
    end: int,
    *,
    explicit: bool,
    little_endian: bool,
    charsets: tuple[str, ...],
    signed: bool,
    uri: bytes,
) -> bytes:
    """The attribute `tag` whose items stand from `start` to `end`.

    Args:
        charsets: of the data set round it.
        signed: whether the data set's Pixel Representation says so.
        uri: the address of the sequence's own bulk data, below which its elements' are.

    Raises:
        NotDicom and its kinds.
    """
    walks: list[Iterator[Element]] = [
        walk_part(data, start, end, explicit=explicit, little_endian=little_endian, items=True)
    ]
    sequences = [_OpenSequence(tag, uri)]
    items: list[_OpenItem] = []
    while True:
        step = next(walks[-1], None)
        if step is None or step.kind is Kind.SEQUENCE_END:
            if step is None:
                walks.pop()
            done = sequences.pop()
            if not sequences:
                return done.attribute()
            items[-1].put(done.tag, done.attribute())
        elif step.kind is Kind.VALUE:
            if not _put_value(data, step, items[-1]):
                # A sequence hidden in UN of given length: read as a walk within this one.
                sequences.append(_OpenSequence(step.tag, b"%s/%08X" % (items[-1].uri, step.tag)))
                if len(sequences) > NESTING_MAX:
                    raise NotDicom("sequences hidden in UN nest too deep")
                walks.append(_hidden_items(data, step))
        elif step.kind is Kind.SEQUENCE:
            sequences.append(_OpenSequence(step.tag, b"%s/%08X" % (items[-1].uri, step.tag)))
        elif step.kind is Kind.ITEM:
            outer = items[-1] if items else None
            number = len(sequences[-1].items) + 1
            items.append(
                _OpenItem(
                    b"%s/%d" % (sequences[-1].uri, number),
                    outer.charsets if outer else charsets,
                    signed=outer.signed if outer else signed,
                )
            )
        elif step.kind is Kind.ITEM_END:
            sequences[-1].items.append(items.pop().object())
        elif step.kind is Kind.FRAGMENTS:
            item = items[-1]
            vr = step.vr if step.vr in ("OB", "OW") else "OB"
            item.put(step.tag, bulk_attribute(step.tag, vr, b"%s/%08X" % (item.uri, step.tag)))


def _put_value(data: Buffer, step: Element, item: _OpenItem) -> bool:
    """Write one value into its item; False if it is a sequence in the guise of UN."""
    tag, length = step.tag, step.length
    if tag & 0xFFFF == 0:
        return True
    vr = shown_vr(tag, step.vr, length, signed=item.signed)
    start, end = step.value_offset, step.value_offset + length
    uri = b"%s/%08X" % (item.uri, tag)
    if vr == "SQ":
        try:
            for _ in _hidden_items(data, step):
                pass
        except NotDicom:
            vr = "UN"
        else:
            return False
    if is_bulky(tag, vr, length):
        item.put(tag, bulk_attribute(tag, vr, uri))
        return True
    value = bytes(data[start:end])
    if not step.little_endian and step.vr != "UN":
        value = swapped(value, vr)
    if tag == SPECIFIC_CHARACTER_SET:
        item.charsets = charsets_of(value)
        if item.charsets != DEFAULT:
            item.put(tag, UTF_8_DECLARED)
        return True
    if tag == PIXEL_REPRESENTATION:
        item.signed = value[:1] == b"\1"
    item.put(tag, attribute(tag, vr, value, item.charsets))
    return True


def _hidden_items(data: Buffer, step: Element) -> Iterator[Element]:
    """The items of a sequence that came as UN: Implicit VR Little Endian (PS3.5 6.2.2 note 2)."""
    start = step.value_offset
    return walk_part(
        data, start, start + step.length, explicit=False, little_endian=True, items=True
    )
