"""Identifiers of C-FIND, C-MOVE and C-GET: small data sets of keys, to and from DICOM JSON.

PS3.4 C.4.1.1.3 (identifier structure), PS3.5 7.1 (element encoding). Requests are read into key
strings by tag path; answers are written from DICOM JSON objects (PS3.18 F.2), the one form in
which matches travel inside Sebago.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any

from pydicom.datadict import dictionary_VR

from sebago.dicom.charset import charsets_of, decode_text
from sebago.dicom.elements import Kind, walk
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.errors import BadRequest, NotSupported

SPECIFIC_CHARACTER_SET = 0x00080005
KEY_BYTES_MAX = 64 * 1024
SEQUENCE_DEPTH_MAX = 8

_LONG_VRS = frozenset(
    {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
)
_NUMBERS = {
    "US": "H", "SS": "h", "UL": "I", "SL": "i", "FL": "f", "FD": "d", "UV": "Q", "SV": "q",
}  # fmt: skip
_UTF8_VRS = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})


def read_keys(data: bytes | memoryview, transfer_syntax_uid: str) -> dict[tuple[int, ...], str]:
    """Read an identifier into {path of tags: raw value as text}; "" is a universal match.

    A sequence with an empty item, or none, is a universal key of its own path. Text is decoded by
    the identifier's Specific Character Set (0008,0005), which is left out of the answer, as are
    group lengths.

    Raises:
        NotDicom, Truncated, TooDeep: the bytes are no data set in that transfer syntax.
        BadRequest: a key is longer than 64 KiB.
    """
    view = memoryview(data)
    charsets: tuple[str, ...] = ()
    keys: dict[tuple[int, ...], str] = {}
    parents: list[int] = []
    for element in walk(view, transfer_syntax_uid):
        if element.kind not in (Kind.VALUE, Kind.SEQUENCE):
            continue
        del parents[element.depth :]
        path = (*parents, element.tag)
        if element.kind is Kind.SEQUENCE:
            parents.append(element.tag)
            keys[path] = ""
            continue
        if element.tag & 0xFFFF == 0:
            continue
        if element.length > KEY_BYTES_MAX:
            raise BadRequest(f"key {element.tag:08X} is {element.length} bytes long")
        raw = bytes(view[element.value_offset : element.value_offset + max(element.length, 0)])
        if element.tag == SPECIFIC_CHARACTER_SET:
            if element.depth == 0:
                charsets = charsets_of(raw)
            continue
        for depth in range(1, len(path)):
            keys.pop(path[:depth], None)
        keys[path] = _key_text(raw, element.vr, charsets)
    return keys


def _key_text(raw: bytes, vr: str, charsets: tuple[str, ...]) -> str:
    if vr in _NUMBERS:
        size = struct.calcsize(_NUMBERS[vr])
        count = len(raw) // size
        values = struct.unpack(f"<{count}{_NUMBERS[vr]}", raw[: count * size])
        return "\\".join(str(value) for value in values)
    if vr == "AT":
        return "\\".join(
            f"{group:04X}{element:04X}"
            for group, element in struct.iter_unpack("<HH", raw[: len(raw) // 4 * 4])
        )
    return decode_text(raw, vr, charsets).strip(" \0")


def write_identifier(row: Mapping[str, Mapping[str, Any]], transfer_syntax_uid: str) -> bytes:
    """Write one DICOM JSON object as a data set, elements in ascending order of tags.

    Text that is not ASCII makes the answer ISO_IR 192, said in (0008,0005) (PS3.3 C.12.1.1.2).

    Raises:
        NotSupported: the transfer syntax is not one of the two little-endian native ones.
    """
    if transfer_syntax_uid not in (IMPLICIT_VR_LE, EXPLICIT_VR_LE):
        raise NotSupported(f"identifiers are not written in {transfer_syntax_uid}")
    explicit = transfer_syntax_uid == EXPLICIT_VR_LE
    body = dict(row)
    body.pop("00080005", None)
    encoded, ascii_only = _write_items(body, explicit, 0)
    if ascii_only:
        return encoded
    body["00080005"] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return _write_items(body, explicit, 0)[0]


def _write_items(
    row: Mapping[str, Mapping[str, Any]], explicit: bool, depth: int
) -> tuple[bytes, bool]:
    """One level of elements; recursion is bounded by SEQUENCE_DEPTH_MAX, deeper items are left out."""
    out: list[bytes] = []
    ascii_only = True
    for key in sorted(row):
        tag = int(key, 16)
        vr = row[key]["vr"]
        if vr == "SQ":
            items = []
            for item in row[key].get("Value", ()) if depth < SEQUENCE_DEPTH_MAX else ():
                content, plain = _write_items(item or {}, explicit, depth + 1)
                ascii_only &= plain
                items.append(struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)
            value = b"".join(items)
        else:
            value = _value_bytes(row[key], vr)
            if vr in _UTF8_VRS and not value.isascii():
                ascii_only = False
        out.append(_element(tag, vr, value, explicit))
    return b"".join(out), ascii_only


def _element(tag: int, vr: str, value: bytes, explicit: bool) -> bytes:
    if not explicit:
        return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value
    if vr in _LONG_VRS:
        head = struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr.encode(), 0, len(value))
        return head + value
    if len(value) > 0xFFFE:  # a short VR that outgrew its length field: PS3.5 6.2.2 note
        return _element(tag, "UN", value, explicit)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def _value_bytes(attribute: Mapping[str, Any], vr: str) -> bytes:
    if "InlineBinary" in attribute:
        try:
            return _padded(base64.b64decode(attribute["InlineBinary"]), b"\0")
        except (binascii.Error, ValueError):
            return b""
    values = attribute.get("Value", ())
    if vr in _NUMBERS:
        return b"".join(_number(vr, value) for value in values if value is not None)
    if vr == "AT":
        return b"".join(_tag(value) for value in values)
    if vr == "PN":
        texts = [_person_name(value) for value in values]
    elif vr == "DS":
        texts = [_decimal(value) for value in values]
    else:
        texts = ["" if value is None else str(value) for value in values]
    return _padded("\\".join(texts).encode("utf-8"), b"\0" if vr == "UI" else b" ")


def _number(vr: str, value: Any) -> bytes:  # noqa: ANN401  (a JSON number or its text)
    code = _NUMBERS[vr]
    try:
        return struct.pack("<" + code, float(value) if code in "fd" else int(value))
    except (struct.error, ValueError, OverflowError):
        return b""


def _tag(value: Any) -> bytes:  # noqa: ANN401  (8 hexadecimal digits, or what else stands there)
    try:
        tag = int(value, 16)
        return struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    except (TypeError, ValueError, struct.error):
        return b""


def _decimal(value: Any) -> str:  # noqa: ANN401  (a JSON number or its text)
    """A decimal string of at most 16 characters (PS3.5 6.2); text goes as it was sent."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    text = repr(value)
    digits = 15
    while len(text) > 16:
        text = f"{value:.{digits}g}"
        digits -= 1
    return text


def _person_name(value: Any) -> str:  # noqa: ANN401  (an object of name groups, or None)
    if not isinstance(value, Mapping):
        return ""
    groups = [str(value.get(name, "")) for name in ("Alphabetic", "Ideographic", "Phonetic")]
    return "=".join(groups).rstrip("=")


def _padded(value: bytes, pad: bytes) -> bytes:
    return value + pad if len(value) % 2 else value


def vr_of(tag: int) -> str:
    """The dictionary's VR of a tag (PS3.6), its first where there are several; UN if unknown."""
    try:
        return str(dictionary_VR(tag))[:2]
    except KeyError:
        return "UN"
