"""Data sets in Implicit VR Little Endian, for peers that take nothing else (PS3.5 10.1)."""

from __future__ import annotations

import struct

from sebago.dicom.elements import ITEM, ITEM_END, SEQUENCE_END, UNDEFINED, Buffer, Kind, walk
from sebago.dicom.transcode import to_explicit_le
from sebago.dicom.uids import EXPLICIT_VR_LE

_HEADER = struct.Struct("<HHI").pack


def to_implicit_le(data: Buffer, transfer_syntax_uid: str) -> bytes:
    """The data set in Implicit VR Little Endian, pixel data decompressed.

    Sequences and items get undefined lengths; the VRs of private elements, which the syntax cannot
    say, are lost to the receiver.

    Raises:
        NotSupported: the pixel data cannot be decoded.
        NotDicom and its kinds.
    """
    pieces: list[bytes | memoryview] = []
    with memoryview(to_explicit_le(data, transfer_syntax_uid)) as view:
        for element in walk(view, EXPLICIT_VR_LE):
            if element.kind is Kind.VALUE:
                value = view[element.value_offset : element.value_offset + element.length]
                odd = b"\0" if element.length % 2 else b""
                pieces += [_head(element.tag, element.length + len(odd)), bytes(value), odd]
            elif element.kind is Kind.SEQUENCE:
                pieces.append(_head(element.tag, UNDEFINED))
            elif element.kind is Kind.ITEM:
                pieces.append(_head(ITEM, UNDEFINED))
            elif element.kind is Kind.ITEM_END:
                pieces.append(_head(ITEM_END, 0))
            elif element.kind is Kind.SEQUENCE_END:
                pieces.append(_head(SEQUENCE_END, 0))
    return b"".join(pieces)


def _head(tag: int, length: int) -> bytes:
    return _HEADER(tag >> 16, tag & 0xFFFF, length)
