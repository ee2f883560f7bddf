"""The file format: preamble, prefix and file meta information (PS3.10 7.1), read and written.

Reading is tolerant, since what lies in old archives is: no preamble, no prefix, no meta
information at all, a group length that lies or is absent, implicit meta elements. Where the
transfer syntax is not told it is guessed from the first element of the data set.

The preamble is not part of the data set. It may hold a TIFF header or a program; it is never
kept, and what is written has zeros there.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from struct import Struct
from typing import Final

from sebago.dicom.scan import SHORT_VRS, VRS
from sebago.dicom.uids import (
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_VR_LE,
)
from sebago.errors import NotDicom, Truncated

_PREAMBLE_BYTES: Final = 128
_META_ELEMENTS_MAX: Final = 256
_META_VALUE_MAX: Final = 1024

_HEADER: Final = Struct("<HH2sH")
_LENGTH: Final = Struct("<I")
_UNDEFINED: Final = 0xFFFFFFFF

_SOP_CLASS: Final = 0x0002
_SOP_INSTANCE: Final = 0x0003
_TRANSFER_SYNTAX: Final = 0x0010
_SOURCE_AE: Final = 0x0016


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file says of itself in group 0002; "" where it is silent.

    `transfer_syntax_uid` is never empty: where the file is silent it is a guess, and `guessed`
    says so. A sender may also be wrong without being silent; the data set decides.
    """

    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    source_ae_title: str
    guessed: bool = False


@dataclass(frozen=True, slots=True)
class Part10:
    """A file: its meta information, and where its data set begins."""

    meta: FileMeta
    dataset_offset: int


def parse_part10(data: bytes | bytearray | memoryview | mmap.mmap) -> Part10:
    """Find the data set of a file.

    Args:
        data: the whole file, not copied; a data set alone is taken too.

    Raises:
        NotDicom: neither a DICOM file nor a data set.
        Truncated: the file ends within its meta information.
    """
    with memoryview(data) as view, view.cast("B") as octets:
        start, prefixed = _start_of_meta(octets)
        values, offset = _read_meta(octets, start)
        if offset == start and not prefixed and len(octets) < 8:
            raise NotDicom(f"{len(octets)} bytes are no DICOM file")
        syntax = values.get(_TRANSFER_SYNTAX, "")
        guessed = not syntax
        if guessed:
            syntax = _guess_transfer_syntax(octets, offset, prefixed=prefixed or offset > start)
        meta = FileMeta(
            syntax,
            values.get(_SOP_CLASS, ""),
            values.get(_SOP_INSTANCE, ""),
            values.get(_SOURCE_AE, ""),
            guessed,
        )
        return Part10(meta, offset)


def write_meta(
    sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, source_ae_title: str = ""
) -> bytes:
    """Preamble, prefix and file meta information to be put before a data set.

    Characters that the default repertoire lacks become `?`; an AE title is cut at 16.
    """
    body = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _meta_element(0x0002, b"UI", sop_class_uid),
            _meta_element(0x0003, b"UI", sop_instance_uid),
            _meta_element(0x0010, b"UI", transfer_syntax_uid),
            _meta_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _meta_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _meta_element(0x0016, b"AE", source_ae_title[:16]) if source_ae_title else b"",
        )
    )
    group_length = _HEADER.pack(0x0002, 0x0000, b"UL", 4) + _LENGTH.pack(len(body))
    return bytes(_PREAMBLE_BYTES) + b"DICM" + group_length + body


def _meta_element(number: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) & 1:
        value += b"\0" if vr == b"UI" else b" "
    return _HEADER.pack(0x0002, number, vr, len(value)) + value


def _start_of_meta(octets: memoryview) -> tuple[int, bool]:
    """Where group 0002 or the data set begins, and whether the prefix was there."""
    for at in (_PREAMBLE_BYTES, 0):
        if bytes(octets[at : at + 4]) == b"DICM":
            return at + 4, True
    # A preamble without the prefix: zeros, then group 0002.
    start = bytes(octets[: _PREAMBLE_BYTES + 2])
    if start == bytes(_PREAMBLE_BYTES) + b"\x02\x00":
        return _PREAMBLE_BYTES, True
    return 0, False


def _read_meta(octets: memoryview, start: int) -> tuple[dict[int, str], int]:
    """The values of group 0002 by element number, and where the next group begins.

    The group length is not believed: it is wrong too often, and not needed.
    """
    values: dict[int, str] = {}
    at, size = start, len(octets)
    for _ in range(_META_ELEMENTS_MAX):
        if size - at < 8:
            break
        group, number, vr, length = _HEADER.unpack_from(octets, at)
        if group != 0x0002:
            break
        value = at + 8
        if vr not in VRS:
            (length,) = _LENGTH.unpack_from(octets, at + 4)
        elif vr not in SHORT_VRS:
            if size - at < 12:
                raise Truncated("the file ends within its meta information")
            value = at + 12
            (length,) = _LENGTH.unpack_from(octets, at + 8)
        if length == _UNDEFINED:
            raise NotDicom(f"(0002,{number:04X}) has undefined length")
        if length > size - value:
            raise Truncated(f"(0002,{number:04X}) claims {length} bytes, {size - value} are there")
        raw = bytes(octets[value : value + min(length, _META_VALUE_MAX)])
        values.setdefault(number, raw.strip(b" \0\r\n\t").decode("ascii", "replace"))
        at = value + length
    else:
        raise NotDicom(f"more than {_META_ELEMENTS_MAX} elements of file meta information")
    return values, at


def _guess_transfer_syntax(octets: memoryview, offset: int, *, prefixed: bool) -> str:
    """Guess from the first element of the data set: VR letters, and which byte of the group is 0.

    Raises:
        NotDicom: it looks like no first element of a data set.
    """
    head = bytes(octets[offset : offset + 8])
    if len(head) < 8:
        raise NotDicom("no data set, and nothing that says it is a DICOM file")
    # Data sets begin with a group below 0100: in big endian its first byte is 0.
    big = head[0] == 0 and head[1] != 0
    if head[4:6] in VRS:
        return EXPLICIT_VR_BE if big else EXPLICIT_VR_LE
    fits = _LENGTH.unpack_from(head, 4)[0] <= len(octets) - offset - 8
    if prefixed or (fits and head[1] == 0 and head[0] % 2 == 0 and head[0]):
        return IMPLICIT_VR_LE
    raise NotDicom("neither a DICOM file nor a data set")
