"""What a query key means, as values that a database query can be made of (PS3.4 C.2.2.2).

`matcher` turns the raw text of a key and its VR into one of a few small objects; nothing here
knows of tables. `matches` applies such an object to a stored value in plain Python: the oracle by
which whatever translates matchers to SQL is tested.

Policies that the standard leaves open, and where it is widened:

- Person names, and other text that is kept folded, are compared without case, accents, width and
  trailing blanks or carets (`fold`). Identifiers (Patient ID, Accession Number, codes) are not
  folded: whoever calls says which kind a column is.
- A name key without `=` is looked for in each component group; one with `=` group by group.
- `*` alone is universal on every VR and matches absent values; other wildcards are so only on the
  text VRs of PS3.4 C.2.2.2.4.
- A time, or an end of a range of times, given to the minute or hour means that whole minute or
  hour; a time given to the second the whole second.
- Several values, by backslash, match any of them: on every VR, not only UI. On UI and CS a comma
  separates as well (`CT,MR`), as web clients write it.
- Datetimes (DT) are compared as written, without their offset from UTC.
- An empty value matches a key of `""` where the caller negotiated that (PS3.4 C.2.2.2.7).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from sebago.dicom.facts import date_of, time_of
from sebago.dicom.header import integer_of
from sebago.errors import BadRequest

LIKE_ESCAPE: Final = "!"
"""The ESCAPE character of every pattern in `Like`."""

VALUES_MAX: Final = 10_000
"""Values in one key. Lists of hundreds of UIDs are usual."""

VALUE_CHARACTERS_MAX: Final = 1024
"""Characters in one value of a key."""

_FOLDED_VRS: Final = frozenset({"PN", "LT", "ST", "UT", "UC"})
_WILDCARD_VRS: Final = frozenset({"AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
_COMMA_VRS: Final = frozenset({"UI", "CS"})
_NUMBER_VRS: Final = frozenset({"IS", "US", "SS", "UL", "SL", "UV", "SV"})
_RANGE_VRS: Final = frozenset({"DA", "TM", "DT"})


@dataclass(frozen=True, slots=True)
class Universal:
    """Matches everything, absent values too (PS3.4 C.2.2.2.3)."""


@dataclass(frozen=True, slots=True)
class Exact:
    """Equal to `value`; if `folded`, to the folded column."""

    value: str
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Like:
    """An SQL LIKE pattern with `LIKE_ESCAPE`, case-sensitive, to be applied to a folded column if
    `folded`. An absent value does not match."""

    pattern: str
    folded: bool = False

    @property
    def prefix(self) -> str:
        """The text before the first wildcard: what an ordinary index can be asked for."""
        literals = takewhile(lambda piece: piece not in "%_", _LIKE_PIECES.findall(self.pattern))
        return _unescaped("".join(literals))


@dataclass(frozen=True, slots=True)
class OneOf:
    """Equal to one of the values (PS3.4 C.2.2.2.2)."""

    values: tuple[str, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """From `low` to `high`, both included, None where open; compared as text, so that it works
    on columns in the form of `facts.date_of` and `time_of`. An absent value does not match."""

    low: str | None
    high: str | None


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several matchers of the same column."""

    matchers: tuple[Exact | Like | OneOf | Range, ...]


Matcher = Universal | Exact | Like | OneOf | Range | AnyOf


@dataclass(frozen=True, slots=True)
class AnyGroup:
    """A name key without `=`: any of the three component groups, always folded."""

    matcher: Matcher


@dataclass(frozen=True, slots=True)
class Groups:
    """A name key with `=`: each group that was given, all of them, always folded."""

    alphabetic: Matcher
    ideographic: Matcher
    phonetic: Matcher


NameMatcher = Universal | AnyGroup | Groups


# --- folding ------------------------------------------------------------------------------------

# Letters that carry a stroke or are ligatures: Unicode does not take them apart, people do.
_LETTERS: Final = str.maketrans(
    {
        "ø": "o",
        "ł": "l",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "æ": "ae",
        "œ": "oe",
        "ħ": "h",
        "\u0131": "i",  # dotless
        "ŧ": "t",
        "\0": None,
    }
)
# Voicing marks are no accents: without them 'da' and 'ta' would be one kana.
_VOICING_MARKS: Final = "\u3099\u309a"
_BLANKS_AT_CARETS: Final = re.compile(r" *\^ *")


def fold(text: str) -> str:
    """Text as it is compared: without case, accents, width, blanks around it, trailing carets.

    `Müller^Jörg^^ ` and `MULLER^JORG` fold alike; so do full-width and half-width forms. Folding
    twice changes nothing. Hangul syllables and voiced kana stay one character each, so that `?`
    stands for one of them.
    """
    folded = text.lower().replace("\0", "") if text.isascii() else _fold_letters(text)
    if "^" in folded:
        folded = _BLANKS_AT_CARETS.sub("^", folded)
    return folded.lstrip(" ").rstrip(" ^")


def _fold_letters(text: str) -> str:
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = "".join(c for c in apart if not unicodedata.combining(c) or c in _VOICING_MARKS)
    return unicodedata.normalize("NFC", kept.translate(_LETTERS))


def fold_name(name: str) -> tuple[str, str, str]:
    """The alphabetic, ideographic and phonetic group of a name, each folded; "" if absent."""
    groups = [*name.split("=")[:3], "", ""]
    return fold(groups[0]), fold(groups[1]), fold(groups[2])


# --- keys ---------------------------------------------------------------------------------------


def matcher(
    raw: str, vr: str, *, folded: bool | None = None, empty_values: bool = False
) -> Matcher:
    """What a key of any VR but PN asks for; `name_matcher` is for those.

    Args:
        raw: the key's text without padding; "" is a universal key.
        folded: whether the column is folded; by default PN and the long texts are.
        empty_values: `""` matches only empty values.

    Raises:
        BadRequest: a date, time or number that is none, too many values, or one too long.
    """
    if folded is None:
        folded = vr in _FOLDED_VRS
    if _is_universal(raw):
        return Universal()
    if empty_values and raw == '""':
        return Exact("", folded)
    if vr in _RANGE_VRS:
        return _one_or_any([_moment(part, vr) for part in _values(raw, vr)])
    if vr in _NUMBER_VRS:
        return _exact([_number(part, vr) for part in _values(raw, vr)], folded=False)
    values = _values(raw, vr)
    if vr in _WILDCARD_VRS and ("*" in raw or "?" in raw):
        return _one_or_any([_text(part, folded=folded) for part in values])
    return _exact([fold(part) for part in values] if folded else values, folded=folded)


def name_matcher(raw: str, *, empty_values: bool = False) -> NameMatcher:
    """What a key of VR PN asks for (PS3.4 C.2.2.2.1, PS3.5 6.2.1).

    Raises:
        BadRequest: the name is longer than VALUE_CHARACTERS_MAX.
    """
    if len(raw) > VALUE_CHARACTERS_MAX:
        raise BadRequest(f"a key of more than {VALUE_CHARACTERS_MAX} characters")
    if _is_universal(raw):
        return Universal()
    if empty_values and raw == '""':
        return Groups(Exact("", folded=True), Exact("", folded=True), Exact("", folded=True))
    if "=" not in raw:
        found = _name_group(raw)
        return found if isinstance(found, Universal) else AnyGroup(found)
    groups = [_name_group(group) for group in [*raw.split("=")[:3], "", ""][:3]]
    if all(isinstance(group, Universal) for group in groups):
        return Universal()
    return Groups(*groups)


def parse_range(value: str, vr: str) -> Range:
    """A DA, TM or DT key as a range: `a-b`, `a-`, `-b`, or one value, which is a range too.

    Raises:
        BadRequest: an end is no date or time, both are absent, or the first is behind the second.
    """
    low, dash, high = _split_range(value, vr)
    if not dash:
        return Range(_low(low, vr), _high(low, vr))
    bounds = Range(_low(low, vr) if low else None, _high(high, vr) if high else None)
    if bounds.low is None and bounds.high is None:
        raise BadRequest(f"a range of {vr} without ends")
    if bounds.low is not None and bounds.high is not None and bounds.low > bounds.high:
        raise BadRequest(f"a range of {vr} that ends before it begins")
    return bounds


def combined(dates: Matcher, times: Matcher) -> Range | None:
    """A date and a time range as one range over the date and time put together.

    PS3.4 C.2.2.2.5.4, by extended negotiation: `20060705-20060707` and `1000-1800` then mean one
    span of two days and eight hours. Only where both have the same form; else None, and each is
    matched by itself, as it is without negotiation.
    """
    if not isinstance(dates, Range) or not isinstance(times, Range):
        return None
    if (dates.low is None, dates.high is None) != (times.low is None, times.high is None):
        return None
    low = None if dates.low is None or times.low is None else dates.low + times.low
    high = None if dates.high is None or times.high is None else dates.high + times.high
    return Range(low, high)


def _is_universal(raw: str) -> bool:
    return not raw.strip(" *")


def _values(raw: str, vr: str) -> list[str]:
    if vr in _COMMA_VRS:
        raw = raw.replace(",", "\\")
    values = [value for part in raw.split("\\") if (value := part.strip(" \0"))]
    if len(values) > VALUES_MAX:
        raise BadRequest(f"{len(values)} values in one key, {VALUES_MAX} at most")
    if any(len(value) > VALUE_CHARACTERS_MAX for value in values):
        raise BadRequest(f"a key of more than {VALUE_CHARACTERS_MAX} characters")
    return values or [""]


def _exact(values: list[str], *, folded: bool) -> Matcher:
    if len(values) == 1:
        return Exact(values[0], folded)
    return OneOf(tuple(dict.fromkeys(values)), folded)


def _one_or_any(matchers: list[Matcher]) -> Matcher:
    if any(isinstance(one, Universal) for one in matchers):
        return Universal()
    parts: list[Exact | Like | OneOf | Range] = []
    for one in matchers:
        if isinstance(one, AnyOf):
            parts.extend(one.matchers)
        elif not isinstance(one, Universal):
            parts.append(one)
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def _number(text: str, vr: str) -> str:
    number = integer_of(text)
    if number is None:
        raise BadRequest(f"a key of {vr} that is no whole number")
    return str(number)


# --- wildcards ----------------------------------------------------------------------------------

_WILDCARDS: Final = re.compile(r"([*?])")
_LIKE_SPECIAL: Final = re.compile(r"[%_!]")
_LIKE_PIECES: Final = re.compile(r"!.|[%_]|[^!%_]+", re.DOTALL)


def _text(text: str, *, folded: bool) -> Matcher:
    """One value of a text key: exact, or a pattern if it holds wildcards."""
    if _is_universal(text):
        return Universal()
    if "*" not in text and "?" not in text:
        return Exact(fold(text) if folded else text, folded)
    return Like(like_pattern(text, folded=folded), folded)


def like_pattern(text: str, *, folded: bool) -> str:
    """A key with `*` and `?` as an SQL LIKE pattern (PS3.4 C.2.2.2.4)."""
    pattern: list[str] = []
    for piece in _WILDCARDS.split(text):
        if piece == "*":
            if pattern[-1:] != ["%"]:
                pattern.append("%")
        elif piece == "?":
            pattern.append("_")
        elif piece:
            if folded:
                piece = _fold_within(piece)
            pattern.append(_LIKE_SPECIAL.sub(lambda found: LIKE_ESCAPE + found[0], piece))
    return "".join(pattern)


def _fold_within(piece: str) -> str:
    """`fold` for text between wildcards, whose blanks and carets at both ends count."""
    core = piece.strip(" ^")
    start = piece[: piece.index(core)] if core else piece
    end = piece[len(start) + len(core) :]
    return _BLANKS_AT_CARETS.sub("^", start) + fold(core) + _BLANKS_AT_CARETS.sub("^", end)


def _name_group(text: str) -> Matcher:
    """One component group of a name key."""
    text = text.strip(" \0")
    if _is_universal(text.replace("^", "*")):
        return Universal()
    if "*" not in text and "?" not in text:
        return Exact(fold(text), folded=True)
    stem = text.rstrip("*^ ")
    before, star, _ = text[len(stem) :].partition("*")
    if not star:
        return _text(stem, folded=True)
    if not before:
        return _text(stem + "*", folded=True)
    # Components that may be anything may also be absent: SMITH^* finds SMITH.
    return _one_or_any([_text(stem, folded=True), _text(f"{stem}{before}*", folded=True)])


def _unescaped(pattern: str) -> str:
    return re.sub(r"!(.)", r"\1", pattern, flags=re.DOTALL)


# --- dates and times ----------------------------------------------------------------------------

_DATETIME: Final = re.compile(r"([0-9]{4}(?:[0-9]{2}){0,5})(?:\.([0-9]{1,6}))?([+-][0-9]{4})?")


def _moment(text: str, vr: str) -> Matcher:
    if _is_universal(text):
        return Universal()
    bounds = parse_range(text, vr)
    if bounds.low == bounds.high and bounds.low is not None:
        return Exact(bounds.low)
    return bounds


def _split_range(value: str, vr: str) -> tuple[str, str, str]:
    """(low, "-" or "", high). Dates of the form 2024-01-02 are one value."""
    value = value.strip(" \0")
    if vr == "DA" and date_of(value):
        return value, "", ""
    if vr == "DT" and _DATETIME.fullmatch(value):
        return value, "", ""
    if vr == "DT":
        # A hyphen may belong to an offset from UTC: the one that leaves two datetimes separates.
        for at in (found.start() for found in re.finditer("-", value)):
            low, high = value[:at].strip(), value[at + 1 :].strip()
            if all(not end or _DATETIME.fullmatch(end) for end in (low, high)):
                return low, "-", high
        raise BadRequest("a key of DT that is no date and time")
    low, dash, high = value.partition("-")
    if vr == "DA" and value.count("-") == 5:
        parts = value.split("-")
        low, high = "-".join(parts[:3]), "-".join(parts[3:])
    return low.strip(), dash, high.strip()


def _low(text: str, vr: str) -> str:
    if vr == "DA":
        return _date(text)
    if vr == "DT":
        return _without_offset(text)
    time = _time(text)
    whole, dot, fraction = time.partition(".")
    if dot and fraction.strip("0"):
        return f"{whole}.{fraction.rstrip('0')}"
    # 103000 stored as 1030 is the same time, and is the lesser text.
    while len(whole) > 2 and whole.endswith("00"):
        whole = whole[:-2]
    return whole


def _high(text: str, vr: str) -> str:
    if vr == "DA":
        return _date(text)
    if vr == "DT":
        # The whole of what was named: text that goes on after it is still within.
        return _without_offset(text) + ("" if "." in text else "~")
    time = _time(text)
    whole, dot, fraction = time.partition(".")
    if dot:
        return f"{whole}.{fraction.ljust(6, '0')}"
    # The last moment of the hour, minute or second that was named; leap seconds are 60.
    return whole + {2: "5960", 4: "60"}.get(len(whole), "") + ".999999"


def _without_offset(text: str) -> str:
    found = _DATETIME.fullmatch(text)
    if not found:
        raise BadRequest("a key of DT that is no date and time")
    whole, fraction, _ = found.groups()
    return whole + (f".{fraction}" if fraction else "")


def _date(text: str) -> str:
    date = date_of(text)
    if not date:
        raise BadRequest("a key of DA that is no date", do="Write dates as YYYYMMDD.")
    return date


def _time(text: str) -> str:
    time = time_of(text)
    if not time:
        raise BadRequest("a key of TM that is no time", do="Write times as HHMMSS.")
    return time


# --- the oracle ---------------------------------------------------------------------------------


def matches(asked: Matcher | NameMatcher, stored: str) -> bool:
    """Whether a stored value (unfolded, "" if absent) is what was asked for."""
    if isinstance(asked, Universal):
        return True
    if isinstance(asked, AnyGroup):
        return any(_matches_folded(asked.matcher, group) for group in fold_name(stored))
    if isinstance(asked, Groups):
        wanted = (asked.alphabetic, asked.ideographic, asked.phonetic)
        return all(map(_matches_folded, wanted, fold_name(stored)))
    if isinstance(asked, AnyOf):
        return any(matches(one, stored) for one in asked.matchers)
    if isinstance(asked, Range):
        return _in_range(asked, stored)
    return _matches_folded(asked, fold(stored) if asked.folded else stored)


def _matches_folded(asked: Matcher, stored: str) -> bool:
    if isinstance(asked, Universal):
        return True
    if isinstance(asked, Exact):
        return stored == asked.value
    if isinstance(asked, OneOf):
        return stored in asked.values
    if isinstance(asked, Like):
        return bool(stored) and _like_regex(asked.pattern).fullmatch(stored) is not None
    if isinstance(asked, AnyOf):
        return any(_matches_folded(one, stored) for one in asked.matchers)
    return _in_range(asked, stored)


def _in_range(bounds: Range, stored: str) -> bool:
    if not stored or (bounds.low is not None and stored < bounds.low):
        return False
    return bounds.high is None or stored <= bounds.high


def _like_regex(pattern: str) -> re.Pattern[str]:
    pieces = [
        {"%": ".*", "_": "."}.get(piece) or re.escape(_unescaped(piece))
        for piece in _LIKE_PIECES.findall(pattern)
    ]
    return re.compile("".join(pieces), re.DOTALL)
