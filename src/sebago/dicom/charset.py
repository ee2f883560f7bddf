"""Text of data elements, from bytes to str (PS3.5 6.1, PS3.3 C.12.1.1.2). Never raises.

Specific Character Set (0008,0005) says how SH, LO, ST, LT, UC, UT and PN are encoded. Three kinds
of answer occur: one table for all bytes (ISO_IR 100, ISO_IR 192, GB18030), code extensions by
ISO 2022 escape sequences (several values, or terms that begin with `ISO 2022`), or an answer that
is wrong. What is wrong in practice, and what is done about it:

- misspelt terms (`ISO-IR 100`, `ISO_IR_192`, `iso_ir 100`, `UTF-8`): spelt right;
- bytes over 7F although nothing was declared: UTF-8 if they are valid UTF-8, else Latin-1;
- escape sequences although none were declared: followed;
- Shift-JIS under ISO_IR 13, GBK under GB 2312: the larger table, whose second bytes may be 5C;
- anything left over becomes U+FFFD.

Values are split at backslashes after decoding, never before: 5C, 5E and 3D are second bytes of
characters in several of these tables.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

DEFAULT: Final = ("",)
"""No (0008,0005), or an empty one: the default repertoire, ISO-IR 6."""

UTF_8: Final = ("ISO_IR 192",)

_SINGLE_BYTE: Final = {
    "100": "latin_1",
    "101": "iso8859_2",
    "109": "iso8859_3",
    "110": "iso8859_4",
    "126": "iso8859_7",
    "127": "iso8859_6",
    "138": "iso8859_8",
    "144": "iso8859_5",
    "148": "iso8859_9",
    "166": "iso8859_11",
    "203": "iso8859_15",
    "13": "cp932",
}

# Terms whose table holds every character, without code extensions (PS3.3 C.12.1.1.2 tables
# C.12-5). GB18030 reads GBK and GB 2312 alike.
_WHOLE: Final = {"ISO_IR 192": "utf_8", "GB18030": "gb18030", "GBK": "gb18030"}

# What an escape sequence designates: (the half it changes, codec). PS3.3 tables C.12-3 and C.12-4,
# and three that are not there but are sent (GB 2312 and the 1978 kanji in G0, kana in G0).
_ESCAPES: Final = {
    b"(B": ("g0", "ascii"),
    b"(J": ("g0", "ascii"),
    b"(I": ("g0", "kana"),
    b")I": ("g1", "cp932"),
    b"-A": ("g1", "latin_1"),
    b"-B": ("g1", "iso8859_2"),
    b"-C": ("g1", "iso8859_3"),
    b"-D": ("g1", "iso8859_4"),
    b"-F": ("g1", "iso8859_7"),
    b"-G": ("g1", "iso8859_6"),
    b"-H": ("g1", "iso8859_8"),
    b"-L": ("g1", "iso8859_5"),
    b"-M": ("g1", "iso8859_9"),
    b"-T": ("g1", "iso8859_11"),
    b"-b": ("g1", "iso8859_15"),
    b"$B": ("g0", "jisx0208"),
    b"$@": ("g0", "jisx0208"),
    b"$(B": ("g0", "jisx0208"),
    b"$(D": ("g0", "jisx0212"),
    b"$A": ("g0", "gb2312"),
    b"$)A": ("g1", "gbk"),
    b"$)C": ("g1", "cp949"),
}

# What high bytes mean before any escape sequence, by the number of a declared term.
_FIRST_G1: Final = {**_SINGLE_BYTE, "149": "cp949", "58": "gbk"}

_TERM: Final = re.compile(r"ISO[ _-]*(2022)?[ _-]*IR[ _-]*([0-9]{1,3})")
_RUNS: Final = re.compile(rb"[\x00-\x20\x7f]+|[\x21-\x7e]+|[\x80-\xff]+")
_LINE_CONTROLS: Final = (b"\t", b"\n", b"\f", b"\r")

# VRs with one value however many backslashes it holds, and VRs whose leading blanks count.
ONE_VALUE: Final = frozenset({"ST", "LT", "UT", "UR"})
_LEADING_BLANKS_COUNT: Final = frozenset({"ST", "LT", "UT", "UC", "PN", "UR"})
_PADDING: Final = " \0"


def charsets_of(raw: bytes | None) -> tuple[str, ...]:
    """The terms of a raw (0008,0005), spelt as the standard spells them; `("",)` if none.

    Terms that mean nothing stay as they are; `decode_text` treats them as undeclared.
    """
    return DEFAULT if raw is None else _charsets_of(bytes(raw[:256]))


@lru_cache(maxsize=256)
def _charsets_of(raw: bytes) -> tuple[str, ...]:
    terms = raw.decode("ascii", "replace").split("\\")
    return tuple(_spelt_right(term) for term in terms)


def _spelt_right(term: str) -> str:
    term = term.strip(" \0\t\r\n").upper()
    found = _TERM.match(term)
    if found:
        extension, number = found.groups()
        return f"ISO 2022 IR {number}" if extension else f"ISO_IR {number}"
    plain = term.replace("-", "").replace("_", "").replace(" ", "")
    return {
        "UTF8": "ISO_IR 192",
        "UNICODE": "ISO_IR 192",
        "GB18030": "GB18030",
        "GBK": "GBK",
        "GB2312": "GBK",
        "LATIN1": "ISO_IR 100",
        "ISO88591": "ISO_IR 100",
        "ISO6": "ISO_IR 6",
    }.get(plain, term)


def decode_text(raw: bytes | memoryview, vr: str, charsets: tuple[str, ...]) -> str:
    """The text of one element without its padding; several values stay joined by backslashes.

    Args:
        raw: the value field.
        vr: decides which padding is not part of the value (PS3.5 6.2) and which characters end
            a code extension. Any VR is taken: text in the wrong VR is read like text.
        charsets: from `charsets_of`.
    """
    value = bytes(raw)
    if value.isascii() and b"\x1b" not in value:
        text = value.decode("ascii")
    else:
        text = _decode(value, vr, charsets)
    text = text.rstrip(_PADDING)
    return text if vr in _LEADING_BLANKS_COUNT else text.lstrip(_PADDING)


def decode_values(raw: bytes | memoryview, vr: str, charsets: tuple[str, ...]) -> list[str]:
    """The values of one element, each without its padding; no value is an empty list."""
    text = decode_text(raw, vr, charsets)
    if not text:
        return []
    if vr in ONE_VALUE or "\\" not in text:
        return [text]
    strip = str.rstrip if vr in _LEADING_BLANKS_COUNT else str.strip
    return [strip(value, _PADDING) for value in text.split("\\")]


def _decode(raw: bytes, vr: str, charsets: tuple[str, ...]) -> str:
    first = charsets[0] if charsets else ""
    whole = _WHOLE.get(first)
    if whole:
        return raw.decode(whole, "replace")
    if b"\x1b" in raw or len(charsets) > 1:
        return _decode_extended(raw, vr, charsets)
    codec = _FIRST_G1.get(_number(first))
    return raw.decode(codec, "replace") if codec else _decode_undeclared(raw)


def _number(term: str) -> str:
    return term.rpartition(" ")[2]


def _decode_undeclared(raw: bytes) -> str:
    try:
        return raw.decode("utf_8")
    except UnicodeDecodeError:
        return raw.decode("latin_1")


def _decode_extended(raw: bytes, vr: str, charsets: tuple[str, ...]) -> str:
    """ISO 2022 with the escape sequences of PS3.3 C.12.1.1.2 (PS3.5 6.1.2.5)."""
    first_g1 = _FIRST_G1.get(_number(charsets[0]), "") if charsets else ""
    # Without a G1 of its own the first term leaves high bytes undefined until an escape sequence;
    # some senders leave that out, and mean the table they declared.
    fallback_g1 = next((g1 for term in charsets if (g1 := _FIRST_G1.get(_number(term)))), "")
    delimiters = b"" if vr in ONE_VALUE else b"\\^=" if vr == "PN" else b"\\"
    g0, g1 = "ascii", first_g1
    text: list[str] = []
    pieces = raw.split(b"\x1b")
    for number, piece in enumerate(pieces):
        if number:
            for width in (3, 2):
                designated = _ESCAPES.get(piece[:width])
                if designated:
                    half, codec = designated
                    g0, g1 = (codec, g1) if half == "g0" else (g0, codec)
                    piece = piece[width:]
                    break
            else:
                text.append("\ufffd")
        for run in _RUNS.findall(piece):
            lead = run[0]
            if lead >= 0x80:
                text.append(_decode_high(run, g1 or fallback_g1))
            elif lead <= 0x20 or lead == 0x7F:
                text.append(run.decode("ascii"))
                if any(control in run for control in _LINE_CONTROLS):
                    g0, g1 = "ascii", first_g1 or g1
            else:
                text.append(_decode_low(run, g0))
                # Components and values begin in the initial state again. Where that leaves high
                # bytes undefined the last table stays: senders forget to repeat the escape.
                if first_g1 and g0 == "ascii" and any(byte in delimiters for byte in run):
                    g1 = first_g1
    return "".join(text)


def _decode_high(run: bytes, codec: str) -> str:
    return run.decode(codec, "replace") if codec else _decode_undeclared(run)


def _decode_low(run: bytes, codec: str) -> str:
    if codec == "ascii":
        return run.decode("ascii")
    high = bytes(byte | 0x80 for byte in run)
    if codec == "kana":
        return high.decode("cp932", "replace")
    if codec == "gb2312":
        return high.decode("gbk", "replace")
    if codec == "jisx0212":
        triples = b"".join(b"\x8f" + high[at : at + 2] for at in range(0, len(high), 2))
        return triples.decode("euc_jp", "replace")
    return high.decode("euc_jp", "replace")
