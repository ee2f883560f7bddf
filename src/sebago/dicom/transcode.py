"""A data set in Explicit VR Little Endian, with its pixel data decompressed (PS3.18 8.7.3.5.1).

What is sent when a client names no transfer syntax. Values stay byte for byte but for byte order
and pixel data; private elements stay; group lengths go, since some would be wrong. Sequences that
must be written anew (because their elements get a VR, or another byte order) get undefined
lengths. Elements that were explicit little endian before are copied, not written.

The Image Pixel module is brought up to date with what decoding did: Photometric Interpretation,
Planar Configuration, and Bits Allocated where packed samples were widened. What lossy compression
did is not undone by decompression: (0028,2110) stays, and is put in where a lossy JPEG lacks it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from sebago.dicom.codecs import native_frame
from sebago.dicom.elements import (
    LONG_VRS,
    MARKERS,
    PIXEL_DATA,
    SHORT_VRS,
    Buffer,
    Element,
    Kind,
    encoding_of,
    header_at,
    inflate,
    outline,
    swapped,
    walk_part,
)
from sebago.dicom.frames import (
    FRAME_BYTES_MAX,
    FrameTable,
    Span,
    describe,
    frame_spans,
    pixel_word,
)
from sebago.dicom.json_sequence import shown_vr
from sebago.dicom.scan import Header, scan
from sebago.dicom.uids import EXPLICIT_VR_LE, TransferSyntax, transfer_syntax
from sebago.errors import NotDicom, NotSupported

NATIVE_BYTES_MAX = 4 * FRAME_BYTES_MAX - 2
"""Native pixel data end where a length of 32 bits does."""

_PHOTOMETRIC = 0x00280004
_PLANAR = 0x00280006
_BITS_ALLOCATED = 0x00280100
_PIXEL_REPRESENTATION = 0x00280103
_LOSSY = 0x00282110
_ENCAPSULATION = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})
"""Extended offset tables and the like, which only encapsulated pixel data have."""

_BLANK_PADDED = SHORT_VRS - {"UI"} | {"UC", "UR", "UT"}
_HEAD_SHORT = struct.Struct("<HH2sH").pack
_HEAD_LONG = struct.Struct("<HH2sHI").pack
_UNDEFINED = 0xFFFFFFFF
_MARK = struct.Struct("<HHI").pack
_ITEM = _MARK(0xFFFE, 0xE000, _UNDEFINED)
_ITEM_END = _MARK(0xFFFE, 0xE00D, 0)
_SEQUENCE_END = _MARK(0xFFFE, 0xE0DD, 0)


def to_explicit_le(data: Buffer, transfer_syntax_uid: str) -> Buffer:
    """The data set in Explicit VR Little Endian; `data` itself if that is what it is.

    Args:
        data: the data set as stored, without file meta information.

    Raises:
        NotSupported: the pixel data cannot be decoded (video, a broken codestream), or would be
            longer than a native element can be.
        NotDicom and its kinds.
    """
    plain, plain_uid = inflate(data, transfer_syntax_uid)
    syntax = transfer_syntax(plain_uid)
    explicit, little = encoding_of(plain, plain_uid)
    if explicit and little and not syntax.encapsulated and not syntax.big_endian_pixels:
        return plain
    with memoryview(plain) as view:
        return b"".join(_Transcoding(view, syntax, explicit, little).pieces())


def _element(tag: int, vr: str, value: bytes | memoryview) -> list[bytes | memoryview]:
    """An element's pieces. A value too long for a short header becomes UN (PS3.5 6.2.2)."""
    group, number, length = tag >> 16, tag & 0xFFFF, len(value)
    padding = b""
    if length % 2:
        padding = b" " if vr in _BLANK_PADDED else b"\0"
    if vr in LONG_VRS or length > 0xFFFE:
        name = vr if vr in LONG_VRS else "UN"
        return [_HEAD_LONG(group, number, name.encode(), 0, length + len(padding)), value, padding]
    return [_HEAD_SHORT(group, number, vr.encode(), length + len(padding)), value, padding]


@dataclass(slots=True)
class _Item:
    """What an open item holds that its encapsulated pixel data (an icon's) need."""

    values: dict[int, bytes] = field(default_factory=dict)
    signed: bool = False


Pieces = Iterator[bytes | memoryview]


class _Transcoding:
    """One data set on its way."""

    def __init__(
        self, view: memoryview, syntax: TransferSyntax, explicit: bool, little: bool
    ) -> None:
        self._view = view
        self._syntax = syntax
        self._explicit = explicit
        self._little = little
        self._header = scan(view, syntax.uid)
        self._table: FrameTable | None = None
        self._replaced: dict[int, tuple[str, bytes]] = {}
        self._left_out = MARKERS | _ENCAPSULATION if syntax.encapsulated else MARKERS

    def pieces(self) -> Pieces:
        if self._header.pixel_offset is not None and self._syntax.encapsulated:
            self._prepare_pixels()
        signed = self._header.integer(_PIXEL_REPRESENTATION) == 1
        waiting = dict(sorted(self._replaced.items()))
        for step, end in outline(
            self._view,
            0,
            self._header.end,
            explicit=self._explicit,
            little_endian=self._little,
        ):
            tag = step.tag
            for earlier in [due for due in waiting if due < tag]:
                yield from _element(earlier, *waiting.pop(earlier))
            if tag in waiting:
                yield from _element(tag, *waiting.pop(tag))
            elif tag in self._replaced or tag & 0xFFFF == 0 or tag in self._left_out:
                continue
            elif self._is_image(step):
                yield from self._image(step)
            else:
                yield from self._top(step, end, signed=signed)
        for tag, replacement in waiting.items():
            yield from _element(tag, *replacement)

    # --- pixel data -----------------------------------------------------------------------------

    def _is_image(self, step: Element) -> bool:
        """Whether this is the instance's own pixel data, and must be written anew."""
        if step.offset != self._header.pixel_offset:
            return False
        return step.kind is Kind.FRAGMENTS or self._syntax.big_endian_pixels

    def _prepare_pixels(self) -> None:
        """Read the frame table, and what decoding will change."""
        table = self._table = frame_spans(self._view, self._syntax.uid, self._header)
        description = table.description
        if table.count < description.frames:
            raise NotSupported(f"{table.count} of {description.frames} frames are there")
        total = table.count * description.frame_bits // 8
        if total > NATIVE_BYTES_MAX:
            raise NotSupported(f"{total} bytes of native pixel data do not fit in an element")
        _, photometric = native_frame(table.frame(self._view, 0), description)
        if photometric != description.photometric:
            self._replaced[_PHOTOMETRIC] = ("CS", _even(photometric))
        if description.planar:
            self._replaced[_PLANAR] = ("US", b"\0\0")
        if description.bits_allocated == 12:
            self._replaced[_BITS_ALLOCATED] = ("US", b"\x10\0")
        lossy = self._syntax.codec == "jpeg" and self._syntax.lossy
        if lossy and not self._header.text(_LOSSY):
            self._replaced[_LOSSY] = ("CS", b"01")

    def _image(self, step: Element) -> Pieces:
        if self._table is None:
            yield from self._big_endian_image(step)
            return
        table, description = self._table, self._table.description
        decoded = [
            native_frame(table.frame(self._view, index), description)[0]
            for index in range(table.count)
        ]
        if description.bits_allocated == 1 and description.frame_bits % 8:
            decoded = [_bits_joined(decoded, description.frame_bits)]
        total = sum(map(len, decoded))
        padding = b"\0" * (total % 2)
        vr = b"OB" if description.bits_allocated <= 8 else b"OW"
        yield _HEAD_LONG(step.tag >> 16, step.tag & 0xFFFF, vr, 0, total + len(padding))
        yield from decoded
        yield padding

    def _big_endian_image(self, step: Element) -> Pieces:
        value = self._view[step.value_offset : step.value_offset + step.length]
        vr = step.vr if step.vr in LONG_VRS else "OW"
        word = pixel_word(vr, self._header.integer(_BITS_ALLOCATED) or 16)
        yield from _element(step.tag, vr, swapped(value, word))

    # --- everything else ------------------------------------------------------------------------

    def _top(self, step: Element, end: int, *, signed: bool) -> Pieces:
        explicit, little = self._explicit, self._little
        _, _, _, value, with_vr = header_at(
            self._view, step.offset, self._header.end, explicit=explicit, little_endian=little
        )
        known = bytes(self._view[step.offset + 4 : step.offset + 6]).decode("latin-1") == step.vr
        if step.kind is Kind.VALUE:
            if explicit and little and with_vr and known:
                yield self._view[step.offset : end]
            else:
                yield from self._value(step, signed=signed)
            return
        try:
            if explicit and little and with_vr and not self._holds_fragments(step, end):
                yield self._view[step.offset : end]
            else:
                yield from list(self._sequence(step, end, signed=signed))
        except NotDicom:
            # Faults within a sequence of given length: handed out as they were stored, as UN.
            yield from _element(step.tag, "UN", self._view[value:end])

    def _holds_fragments(self, step: Element, end: int) -> bool:
        """Whether encapsulated pixel data lie in the sequence (an icon's, say)."""
        if not self._syntax.encapsulated or step.vr == "UN":
            return False
        return any(inner.kind is Kind.FRAGMENTS for inner in self._inside(step, end))

    def _inside(self, step: Element, end: int) -> Iterator[Element]:
        hidden = step.vr == "UN"
        return walk_part(
            self._view,
            step.value_offset,
            end,
            explicit=self._explicit and not hidden,
            little_endian=self._little or hidden,
            items=True,
        )

    def _value(self, step: Element, *, signed: bool) -> Pieces:
        value: bytes | memoryview = self._view[step.value_offset : step.value_offset + step.length]
        vr = step.vr
        if " " in vr:
            vr = shown_vr(step.tag, vr, step.length, signed=signed)
        if not step.little_endian and vr != "UN":
            value = swapped(value, vr)
        yield from _element(step.tag, vr, value)

    def _sequence(self, begin: Element, end: int, *, signed: bool) -> Pieces:
        """A sequence written anew: explicit, little endian, undefined lengths."""
        items: list[_Item] = []
        fragments: list[Span] | None = None
        yield _HEAD_LONG(begin.tag >> 16, begin.tag & 0xFFFF, b"SQ", 0, _UNDEFINED)
        for step in self._inside(begin, end):
            if step.kind is Kind.VALUE:
                if step.tag & 0xFFFF == 0:
                    continue
                if step.tag >> 16 == 0x0028 and step.length <= 64:
                    items[-1].values[step.tag] = bytes(
                        self._view[step.value_offset : step.value_offset + step.length]
                    )
                    if step.tag == _PIXEL_REPRESENTATION:
                        items[-1].signed = 1 in items[-1].values[step.tag]
                yield from self._value(step, signed=items[-1].signed)
            elif step.kind is Kind.SEQUENCE:
                yield _HEAD_LONG(step.tag >> 16, step.tag & 0xFFFF, b"SQ", 0, _UNDEFINED)
            elif step.kind is Kind.ITEM:
                items.append(_Item(signed=items[-1].signed if items else signed))
                yield _ITEM
            elif step.kind is Kind.ITEM_END:
                items.pop()
                yield _ITEM_END
            elif step.kind is Kind.SEQUENCE_END:
                yield _SEQUENCE_END
            elif step.kind is Kind.FRAGMENTS:
                fragments = []
            elif step.kind is Kind.FRAGMENT and fragments is not None:
                fragments.append((step.value_offset, step.length))
            elif step.kind is Kind.FRAGMENTS_END and fragments is not None:
                yield from self._icon(items[-1].values, fragments[1:])
                fragments = None
        yield _SEQUENCE_END

    def _icon(self, values: dict[int, bytes], fragments: list[Span]) -> Pieces:
        """Encapsulated pixel data of an item, one frame, decoded."""
        header = Header(values, None, 0, (), self._explicit, self._little)
        description = describe(header, self._syntax.uid)
        frame = b"".join(self._view[offset : offset + length] for offset, length in fragments)
        native, photometric = native_frame(frame, description)
        if photometric != description.photometric:
            raise NotSupported("an icon image in colours that decoding would change")
        vr = "OB" if description.bits_allocated <= 8 else "OW"
        yield from _element(PIXEL_DATA, vr, native)


def _even(text: str) -> bytes:
    return (text + " " * (len(text) % 2)).encode("ascii")


def _bits_joined(frames: list[bytes], frame_bits: int) -> bytes:
    """Frames of one-bit samples that do not end on a byte, without gaps (PS3.5 8.1.1)."""
    bits = [
        np.unpackbits(np.frombuffer(frame, np.uint8), count=frame_bits, bitorder="little")
        for frame in frames
    ]
    return np.packbits(np.concatenate(bits), bitorder="little").tobytes()


__all__ = ["EXPLICIT_VR_LE", "NATIVE_BYTES_MAX", "to_explicit_le"]
