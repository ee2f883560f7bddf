"""Where the frames of an instance lie, and their bytes as they were stored (PS3.5 8, A.4, annex D).

Native frames follow one another without a gap, to the bit where samples have fewer than eight.
Encapsulated ones are fragments, and which fragments make a frame is known, in this order of trust:

1. one frame: all fragments;
2. as many fragments as frames: one each;
3. a basic offset table (PS3.5 A.4) whose entries are starts of fragments, from 0 upwards;
4. an extended offset table (PS3.3 C.7.6.3.1.8), likewise;
5. fragments that begin as a codestream of the transfer syntax begins, if they are as many as frames;
6. the same number of fragments for each frame, if that comes out even.

Offset tables come after the plain counts because they are what is wrong most often. Where nothing
fits each fragment is a frame. An icon's pixel data are not the image's: only the top level counts.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sebago.dicom.elements import (
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    Buffer,
    header_at,
    inflate,
    outline,
    swapped,
)
from sebago.dicom.scan import WANTED, Header, scan
from sebago.dicom.uids import TransferSyntax, transfer_syntax
from sebago.errors import NotDicom, NotFound, NotSupported, Truncated

EXTENDED_OFFSET_TABLE = 0x7FE00001
EXTENDED_OFFSET_TABLE_LENGTHS = 0x7FE00002
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA = 0x7FE00009
FRAME_BYTES_MAX = 1 << 30
"""Largest frame that is decoded or cut out, in bytes as it comes out."""

_ITEM = struct.Struct("<HHI").unpack_from
_JPEG_STARTS = (b"\xff\xd8\xff",)
_J2K_STARTS = (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  ")
_STARTS = {
    "jpeg": _JPEG_STARTS,
    "jpegls": _JPEG_STARTS,
    "j2k": _J2K_STARTS,
    "htj2k": _J2K_STARTS,
    "jpegxl": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
}


@dataclass(frozen=True, slots=True)
class PixelDescription:
    """The Image Pixel module of one instance (PS3.3 C.7.6.3), with absences filled in."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    """Colours one plane after another (Planar Configuration 1)."""
    frames: int
    """Number of Frames, at least 1."""
    floating: bool
    """Float or Double Float Pixel Data."""
    syntax: TransferSyntax

    @property
    def frame_bits(self) -> int:
        """Bits of one native frame."""
        pixels = self.rows * self.columns
        if self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and not self.syntax.encapsulated:
            return pixels * 2 * self.bits_allocated
        return pixels * self.samples * self.bits_allocated


def describe(header: Header, transfer_syntax_uid: str, *, pixel_tag: int = 0) -> PixelDescription:
    """The pixel description that a scan's header gives.

    Raises:
        NotSupported: it describes no image, or one of absurd size.
    """

    def number(tag: int, default: int) -> int:
        value = header.integer(tag)
        return default if value is None else value

    allocated = number(0x00280100, 0)
    floating = pixel_tag in (FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)
    if floating:
        allocated = 32 if pixel_tag == FLOAT_PIXEL_DATA else 64
    samples = number(0x00280002, 1) or 1
    stored = number(0x00280101, allocated) or allocated
    photometric = header.text(0x00280004).upper()
    description = PixelDescription(
        rows=number(0x00280010, 0),
        columns=number(0x00280011, 0),
        samples=samples,
        bits_allocated=allocated,
        bits_stored=stored if 0 < stored <= allocated else allocated,
        high_bit=number(0x00280102, stored - 1),
        signed=number(0x00280103, 0) == 1,
        photometric=photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
        planar=number(0x00280006, 0) == 1 and samples > 1,
        frames=max(number(0x00280008, 1), 1),
        floating=floating,
        syntax=transfer_syntax(transfer_syntax_uid),
    )
    if not description.rows or not description.columns or samples > 4:
        raise NotSupported(
            f"{description.rows} rows, {description.columns} columns and {samples} samples per "
            f"pixel describe no image"
        )
    if allocated not in (1, 8, 12, 16, 32, 64):
        raise NotSupported(f"{allocated} bits allocated per sample")
    if description.frame_bits > 8 * FRAME_BYTES_MAX:
        raise NotSupported(f"a frame of {description.frame_bits // 8} bytes")
    return description


def pixel_word(vr: str, bits_allocated: int) -> str:
    """The VR that says in which words native pixel data are turned round from big endian.

    Samples of 8 bits and fewer lie in pairs if the VR is OW (PS3.5 8.1.2); larger ones are turned
    round as a whole, also the 32-bit ones in OW, since that is what writers do.
    """
    if bits_allocated < 16:
        return "OB" if vr == "OB" else "OW"
    return {16: "OW", 32: "OL", 64: "OV"}.get(bits_allocated, "OW")


Span = tuple[int, int]
"""(offset, length) in the data set."""


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The frames of one data set. Hold the buffer that it was made from beside it."""

    description: PixelDescription
    vr: str
    value: Span
    """Of native pixel data; (0, 0) for encapsulated ones."""
    fragments: tuple[tuple[Span, ...], ...]
    """Of encapsulated pixel data: the spans of each frame, without item headers."""

    @property
    def count(self) -> int:
        """How many frames can be read, which may be fewer than Number of Frames says."""
        if self.description.syntax.encapsulated:
            return len(self.fragments)
        return min(self.description.frames, self.value[1] * 8 // self.description.frame_bits)

    def frame(self, data: Buffer, index: int) -> bytes | memoryview:
        """One frame as stored: its codestream, or its native bytes in little endian.

        A view into `data` where nothing had to be joined, turned round or shifted. A native frame
        of one bit per sample begins at its first byte's lowest bit, wherever it began in the data.

        Args:
            data: the data set that the table was made from (inflated, if it was deflated).
            index: from 0.

        Raises:
            NotFound: there is no such frame.
        """
        if not 0 <= index < self.count:
            raise NotFound(f"frame {index + 1} of {self.count}")
        view = memoryview(data)
        if self.description.syntax.encapsulated:
            spans = self.fragments[index]
            if len(spans) == 1:
                offset, length = spans[0]
                return view[offset : offset + length]
            return b"".join(view[offset : offset + length] for offset, length in spans)
        return self._native(view, index)

    def _native(self, view: memoryview, index: int) -> bytes | memoryview:
        bits = self.description.frame_bits
        first, last = index * bits, (index + 1) * bits
        offset, length = self.value
        start, end = first // 8, -(-last // 8)
        word = pixel_word(self.vr, self.description.bits_allocated)
        cut: bytes | memoryview
        if not self.description.syntax.big_endian_pixels or word == "OB":
            cut = view[offset + start : offset + end]
        else:
            # Words are turned round as they lie, and need not end with a frame.
            unit = {"OW": 2, "OL": 4}.get(word, 8)
            even_start, even_end = start // unit * unit, min(-(-end // unit) * unit, length)
            turned = swapped(view[offset + even_start : offset + even_end], word)
            cut = turned[start - even_start : end - even_start]
        if first % 8 == 0 and (last % 8 == 0 or index + 1 == self.count):
            return cut
        flat = np.unpackbits(np.frombuffer(cut, np.uint8), bitorder="little")
        return np.packbits(flat[first % 8 : first % 8 + bits], bitorder="little").tobytes()


class Frames:
    """An instance's frames together with its bytes: scanned, and inflated where it was deflated."""

    __slots__ = ("_data", "header", "syntax_uid", "table")

    def __init__(
        self, data: Buffer, transfer_syntax_uid: str, *, more: frozenset[int] = WANTED
    ) -> None:
        """Scan `data`, keeping the values of `more` in the header.

        Raises:
            NotFound: there are no pixel data.
            NotSupported, NotDicom and its kinds.
        """
        self._data, self.syntax_uid = inflate(data, transfer_syntax_uid)
        self.header = scan(self._data, self.syntax_uid, wanted=more | WANTED)
        self.table = frame_spans(self._data, self.syntax_uid, self.header)

    @property
    def data(self) -> Buffer:
        """The data set that offsets count in."""
        return self._data

    @property
    def description(self) -> PixelDescription:
        """Of the table."""
        return self.table.description

    def __len__(self) -> int:
        """How many frames there are."""
        return self.table.count

    def frame(self, index: int) -> bytes | memoryview:
        """See `FrameTable.frame`."""
        return self.table.frame(self._data, index)


def frame_spans(data: Buffer, transfer_syntax_uid: str, header: Header) -> FrameTable:
    """Find the frames of a data set.

    Args:
        data: inflated, if the syntax is a deflated one.
        header: what `scan` made of it.

    Raises:
        NotFound: there are no pixel data.
        NotSupported: they are not described, or in a way that is not supported.
    """
    if header.pixel_offset is None:
        raise NotFound("there are no pixel data in this instance")
    total = len(data)
    tag, vr, length, value, _ = header_at(
        data, header.pixel_offset, total, explicit=header.explicit,
        little_endian=header.little_endian,
    )  # fmt: skip
    description = describe(header, transfer_syntax_uid, pixel_tag=tag)
    if length != UNDEFINED:
        if description.syntax.encapsulated:
            raise NotSupported("pixel data of an encapsulated transfer syntax are not encapsulated")
        if length > total - value:
            raise Truncated(f"pixel data claim {length} bytes, {total - value} are there")
        return FrameTable(description, vr or "OW", (value, length), ())
    if not description.syntax.encapsulated:
        raise NotSupported("encapsulated pixel data in a native transfer syntax")
    table, fragments = _read_fragments(data, value)
    spans = _frames_of(data, fragments, table, description, header)
    return FrameTable(description, vr or "OB", (0, 0), spans)


def _read_fragments(data: Buffer, offset: int) -> tuple[bytes, list[Span]]:
    """The basic offset table and the fragments behind it."""
    total = len(data)
    spans: list[Span] = []
    while total - offset >= 8:
        group, number, length = _ITEM(data, offset)
        offset += 8
        tag = group << 16 | number
        if tag == SEQUENCE_END:
            break
        if tag != ITEM or length > total - offset:
            raise NotDicom(f"no fragment at offset {offset - 8}")
        spans.append((offset, length))
        offset += length
    if not spans:
        return b"", []
    start, length = spans[0]
    return bytes(memoryview(data)[start : start + length]), spans[1:]


def _frames_of(
    data: Buffer,
    fragments: list[Span],
    table: bytes,
    description: PixelDescription,
    header: Header,
) -> tuple[tuple[Span, ...], ...]:
    frames = description.frames
    if frames == 1 or len(fragments) <= 1 or description.syntax.codec == "video":
        return (tuple(fragments),) if fragments else ()
    if len(fragments) == frames:
        lengths = _extended(data, header, EXTENDED_OFFSET_TABLE_LENGTHS) if not table else ()
        if len(lengths) == frames:
            return tuple(
                ((offset, min(length, exact) if exact else length),)
                for (offset, length), exact in zip(fragments, lengths, strict=True)
            )
        return tuple((span,) for span in fragments)
    if len(fragments) > frames:
        starts = [offset - 8 - (fragments[0][0] - 8) for offset, _ in fragments]
        for offsets in (
            struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4]),
            _extended(data, header, EXTENDED_OFFSET_TABLE),
            tuple(_starts_of_codestreams(data, fragments, starts, description)),
        ):
            grouped = _grouped(fragments, starts, offsets, frames)
            if grouped:
                return grouped
        if len(fragments) % frames == 0:
            each = len(fragments) // frames
            return tuple(tuple(fragments[at : at + each]) for at in range(0, len(fragments), each))
    return tuple((span,) for span in fragments)


def _grouped(
    fragments: list[Span], starts: list[int], offsets: tuple[int, ...], frames: int
) -> tuple[tuple[Span, ...], ...]:
    """Fragments by frame as offsets say; nothing unless they say it without contradiction."""
    if len(offsets) != frames or offsets[0] != 0:
        return ()
    index_of = {start: index for index, start in enumerate(starts)}
    cuts = [index_of.get(offset, -1) for offset in offsets] + [len(fragments)]
    if any(later <= earlier for earlier, later in pairwise(cuts)):
        return ()
    return tuple(tuple(fragments[first:behind]) for first, behind in pairwise(cuts))


def _starts_of_codestreams(
    data: Buffer, fragments: list[Span], starts: list[int], description: PixelDescription
) -> list[int]:
    """Offsets of the fragments that begin as a codestream does."""
    view = memoryview(data)
    known = _STARTS.get(description.syntax.codec, ())
    found = []
    for start, (offset, length) in zip(starts, fragments, strict=True):
        head = bytes(view[offset : offset + min(length, 64)])
        if head.startswith(known) if known else _is_rle_header(head, description):
            found.append(start)
    return found


def _is_rle_header(head: bytes, description: PixelDescription) -> bool:
    """PS3.5 G.5: the number of segments and their offsets, of which the first is 64."""
    if len(head) < 64 or description.syntax.codec != "rle":
        return False
    count, first = struct.unpack_from("<II", head)
    return bool(first == 64 and count == description.samples * -(-description.bits_allocated // 8))


def _extended(data: Buffer, header: Header, tag: int) -> tuple[int, ...]:
    """An extended offset table or its lengths; () if there is none. They stand near the pixels."""
    if header.pixel_offset is None:
        return ()
    for step, end in outline(
        data, 0, header.pixel_offset, explicit=header.explicit, little_endian=header.little_endian
    ):
        if step.tag == tag and step.length > 0:
            raw = bytes(memoryview(data)[step.value_offset : end])
            return struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])
    return ()
