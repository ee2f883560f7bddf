"""What a codestream says of itself, read from its markers before anything is decoded.

A decoder allocates what the codestream claims. So the claim is read here first, and held against
what the data set says (`codecs.decode_frame`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sebago.errors import NotSupported

_SOF_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS_SOFS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_JPEGLS_SOF = 0xF7
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_SOC = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Claim:
    """Size and kind of one image, as its codestream has it."""

    rows: int
    columns: int
    components: int
    precision: int
    """Bits per sample."""
    offset: int = 0
    """JPEG: where the codestream begins."""
    signed: bool = False
    lossless: bool = False
    """JPEG: the lossless process. (Not told for the others.)"""
    transformed: bool | None = None
    """JPEG: components are YCbCr (True) or what they are called (False), if the codestream tells:
    by an Adobe marker, a JFIF marker, component names or subsampled components. JPEG 2000: a
    multiple component transform is used."""


def jpeg_claim(stream: bytes | memoryview) -> Claim:
    """Read a JPEG (T.81) or JPEG-LS (T.87) codestream up to its frame header.

    Raises:
        NotSupported: it has none.
    """
    data = bytes(stream[: 256 * 1024])
    start = offset = data.find(b"\xff\xd8")
    adobe: int | None = None
    jfif = False
    if offset < 0:
        raise NotSupported("a JPEG frame without a start of image")
    offset += 2
    while offset + 4 <= len(data):
        if data[offset] != 0xFF:
            offset += 1
            continue
        marker = data[offset + 1]
        if marker == 0xFF:
            offset += 1
            continue
        if marker in _ALONE or marker == 0:
            offset += 2
            continue
        (length,) = struct.unpack_from(">H", data, offset + 2)
        segment = data[offset + 4 : offset + 2 + length]
        if marker == 0xEE and segment[:5] == b"Adobe" and len(segment) >= 12:
            adobe = segment[11]
        elif marker == 0xE0 and segment[:4] == b"JFIF":
            jfif = True
        elif marker in _SOF_MARKERS or marker == _JPEGLS_SOF:
            return _frame_header(marker, segment, start, adobe, jfif=jfif)
        elif marker in (0xD9, 0xDA):
            break
        offset += 2 + length
    raise NotSupported("a JPEG frame without a frame header")


def _frame_header(
    marker: int, segment: bytes, start: int, adobe: int | None, *, jfif: bool
) -> Claim:
    if len(segment) < 6:
        raise NotSupported("a JPEG frame header that is cut off")
    precision, rows, columns, components = struct.unpack_from(">BHHB", segment)
    parts = [segment[6 + 3 * at : 9 + 3 * at] for at in range(components)]
    if any(len(part) < 3 for part in parts):
        raise NotSupported("a JPEG frame header that is cut off")
    transformed: bool | None = None
    if components == 3 and marker != _JPEGLS_SOF:
        if adobe is not None:
            transformed = adobe != 0
        elif bytes(part[0] for part in parts) == b"RGB":
            transformed = False
        elif jfif or len({part[1] for part in parts}) > 1:
            transformed = True
    return Claim(
        rows=rows,
        columns=columns,
        components=components,
        precision=precision,
        offset=start,
        lossless=marker in _LOSSLESS_SOFS,
        transformed=transformed,
    )


def j2k_claim(stream: bytes | memoryview) -> Claim:
    """Read the SIZ and COD markers of a JPEG 2000 or HTJ2K codestream (T.800 A.5), bare or in JP2.

    Raises:
        NotSupported: it has none.
    """
    data = bytes(stream[: 64 * 1024])
    start = data.find(_SOC)
    if start < 0 or start + 4 + 38 > len(data):
        raise NotSupported("a JPEG 2000 frame without a codestream")
    at = start + 4
    length, _, x1, y1, x0, y0 = struct.unpack_from(">HHIIII", data, at)
    (components,) = struct.unpack_from(">H", data, at + 36)
    if not components or at + 38 + 3 * components > len(data) or x1 < x0 or y1 < y0:
        raise NotSupported("a JPEG 2000 codestream with a broken size marker")
    depth = data[at + 38]
    transform = False
    offset = at + length
    while offset + 9 <= len(data) and data[offset] == 0xFF and data[offset + 1] != 0x90:
        if data[offset + 1] == 0x52:
            transform = data[offset + 8] != 0
            break
        offset += 2 + int(struct.unpack_from(">H", data, offset + 2)[0])
    return Claim(
        rows=y1 - y0,
        columns=x1 - x0,
        components=components,
        precision=(depth & 0x7F) + 1,
        signed=bool(depth & 0x80),
        transformed=transform,
    )
