"""One attribute as DICOM JSON text, from the bytes of its value (PS3.18 F.2.2 to F.2.7).

Total: there is no value that cannot be written. What is not what its VR promises stays readable
(a DS of '1,5' is a string) or whole (a US of three bytes is UN in base64), and never raises.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from json import JSONEncoder
from math import isfinite

from sebago.dicom.charset import decode_text, decode_values

BULK_BASE = b"{{bulk}}"
"""Stands in BulkDataURI for the public address of the service, which whoever sends the text puts
there. No value can contain it: its first brace is escaped wherever text happens to."""

INLINE_BYTES_MAX = 1024
"""Binary values longer than this are fetched by BulkDataURI."""

BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

_NUMBERS = {
    "US": ("H", 2), "SS": ("h", 2), "UL": ("I", 4), "SL": ("i", 4),
    "FL": ("f", 4), "FD": ("d", 8), "UV": ("Q", 8), "SV": ("q", 8),
}  # fmt: skip
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})
_TEXT_VRS = frozenset(
    {"AE", "AS", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)
_LEADING_BLANKS_COUNT = frozenset({"LT", "ST", "UC", "UR", "UT"})

# Printable ASCII that needs no escape: without quotation mark, backslash and opening brace.
_PLAIN_VALUES = re.compile(rb"[ !#-z|}~]*")
_JSON_NUMBERS = re.compile(rb"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:\\(?=[-0-9])|\Z))+")
_JSON_INTEGERS = re.compile(rb"(?:-?(?:0|[1-9][0-9]*)(?:\\(?=[-0-9])|\Z))+")
_DECIMAL = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?")
_SAFE_INTEGER = 2**53
_GROUPS = (b'"Alphabetic":', b'"Ideographic":', b'"Phonetic":')

_encode_string = JSONEncoder(ensure_ascii=False).encode


def attribute(tag: int, vr: str, value: bytes, charsets: tuple[str, ...]) -> bytes:
    """`"GGGGEEEE":{"vr":...}` of one element that is no sequence; `value` is little endian."""
    if vr not in _KNOWN_VRS:
        vr = "UN"
    values = _values(vr, value, charsets) if value else b""
    if values is None:
        vr, values = "UN", b""
    if vr in BINARY_VRS and value:
        return b'"%08X":{"vr":"%s","InlineBinary":"%s"}' % (tag, vr.encode(), b64encode(value))
    if not values:
        return b'"%08X":{"vr":"%s"}' % (tag, vr.encode())
    return b'"%08X":{"vr":"%s","Value":[%s]}' % (tag, vr.encode(), values)


def bulk_attribute(tag: int, vr: str, uri: bytes) -> bytes:
    """An attribute whose value is fetched from `uri`, which is safe in a JSON string."""
    return b'"%08X":{"vr":"%s","BulkDataURI":"%s"}' % (tag, vr.encode(), uri)


def binary_attribute(tag: int, vr: str, value: bytes, uri: bytes) -> bytes:
    """An attribute of a binary VR, in the text or fetched from `uri` as its length asks."""
    if len(value) > INLINE_BYTES_MAX:
        return bulk_attribute(tag, vr, uri)
    return attribute(tag, vr, value, ())


def quoted(text: str) -> bytes:
    """A JSON string in UTF-8 that does not contain `BULK_BASE`."""
    # Lone surrogates have no UTF-8: 'backslashreplace' writes them as JSON would, \udxxx.
    encoded = _encode_string(text).encode("utf-8", "backslashreplace")
    return encoded.replace(BULK_BASE, b"\\u007b" + BULK_BASE[1:])


def _values(vr: str, value: bytes, charsets: tuple[str, ...]) -> bytes | None:
    """The inside of "Value", b"" if there is no value, None if the bytes do not fit the VR."""
    if vr in _TEXT_VRS:
        return _text_values(vr, value, charsets)
    if vr in ("DS", "IS"):
        return _decimal_values(vr, value)
    if vr in _NUMBERS:
        return _binary_numbers(vr, value)
    if vr == "PN":
        return _person_names(value, charsets)
    if vr == "AT":
        return _tags(value)
    return b""


def _text_values(vr: str, value: bytes, charsets: tuple[str, ...]) -> bytes:
    plain = value.rstrip(b" \0")
    if not _PLAIN_VALUES.fullmatch(plain):
        return b",".join(
            quoted(text) if text else b"null" for text in decode_values(value, vr, charsets)
        )
    if vr in _LEADING_BLANKS_COUNT:
        if not plain:
            return b""
        if vr in _ONE_VALUE:
            return b'"%s"' % plain.replace(b"\\", b"\\\\")
        return b",".join(b'"%s"' % part if part else b"null" for part in plain.split(b"\\"))
    plain = plain.lstrip(b" ")
    if not plain:
        return b""
    if b"\\" not in plain:
        return b'"%s"' % plain
    parts = [part.strip(b" ") for part in plain.split(b"\\")]
    return b",".join(b'"%s"' % part if part else b"null" for part in parts)


def _decimal_values(vr: str, value: bytes) -> bytes:
    plain = value.strip(b" \0")
    if (_JSON_INTEGERS if vr == "IS" else _JSON_NUMBERS).fullmatch(plain):
        return plain.replace(b"\\", b",")
    text = decode_text(plain, vr, ())
    if not text:
        return b""
    return b",".join(_decimal(part.strip(" \0"), whole=vr == "IS") for part in text.split("\\"))


def _decimal(text: str, *, whole: bool) -> bytes:
    """A DS or IS value as a JSON number with all its digits, or as a string if it is none."""
    if not text:
        return b"null"
    found = _DECIMAL.fullmatch(text)
    if not found or not text.isascii():
        return quoted(text)
    sign, integer, fraction, exponent = found.groups()
    if not integer and not fraction and "0" not in text:
        return quoted(text)
    if exponent and not isfinite(float(text)):
        return quoted(text)
    number = ("-" if sign == "-" else "") + (integer or "0")
    if fraction and not (whole and not fraction.strip("0")):
        number += "." + fraction
    if exponent:
        number += "e" + exponent
    return number.encode("ascii")


def _binary_numbers(vr: str, value: bytes) -> bytes | None:
    letter, size = _NUMBERS[vr]
    count, rest = divmod(len(value), size)
    if rest:
        return None
    numbers = struct.unpack(f"<{count}{letter}", value)
    if vr in ("FL", "FD"):
        return ",".join(map(_float, numbers)).encode("ascii")
    if vr in ("SV", "UV"):
        # Past 2**53 readers that hold numbers as doubles would change them.
        exact = (
            str(number) if -_SAFE_INTEGER <= number <= _SAFE_INTEGER else f'"{number}"'
            for number in numbers
        )
        return ",".join(exact).encode("ascii")
    return ",".join(map(str, numbers)).encode("ascii")


def _float(number: float) -> str:
    """JSON has no infinities and no NaN; they go as the strings other implementations read."""
    if isfinite(number):
        return repr(number)
    return '"NaN"' if number != number else '"inf"' if number > 0 else '"-inf"'


def _person_names(value: bytes, charsets: tuple[str, ...]) -> bytes:
    return b",".join(_person_name(name) for name in decode_values(value, "PN", charsets))


def _person_name(name: str) -> bytes:
    groups = name.split("=", 2)
    members = [
        key + quoted(group) for key, part in zip(_GROUPS, groups, strict=False)
        if (group := part.strip(" \0"))
    ]  # fmt: skip
    return b"{%s}" % b",".join(members) if members else b"null"


def _tags(value: bytes) -> bytes | None:
    if len(value) % 4:
        return None
    halves = struct.unpack(f"<{len(value) // 2}H", value)
    pairs = zip(halves[::2], halves[1::2], strict=True)
    return ",".join(f'"{group:04X}{number:04X}"' for group, number in pairs).encode("ascii")


_KNOWN_VRS = BINARY_VRS | _TEXT_VRS | frozenset(_NUMBERS) | {"AT", "DS", "IS", "PN"}
