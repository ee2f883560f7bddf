"""What a client accepts: Accept headers and `?accept=`, read and weighed (PS3.18 8.7; RFC 9110 12.5).

Real clients write `type="application/dicom"` and `type=application/dicom`, parameters in any order,
a whole media type with parameters inside the quotes of `type`, several headers, and q-values here
and there. All of it is read by one scanner that knows quoted strings, so that a semicolon or comma
inside quotes never splits anything. What cannot be read is skipped: a range that makes no sense
accepts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

ACCEPT_CHARS_MAX = 16 * 1024
RANGES_MAX = 200

MULTIPART = "multipart/related"
DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
DICOM_XML = "application/dicom+xml"
JSON = "application/json"
OCTETS = "application/octet-stream"
ZIP = "application/zip"


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One range of an Accept header.

    A multipart range is told by what its parts are: `multipart/related; type="image/jp2"` has
    `part` `image/jp2`. `*/*` and `image/*` keep their stars.
    """

    media_type: str
    """`type/subtype`, lower case."""
    part: str
    """The `type` parameter of a multipart range, lower case; empty for other ranges."""
    transfer_syntax: str | None
    """The `transfer-syntax` parameter: a UID, `*`, or None where there is none."""
    q: float
    """0 to 1; 0: not acceptable."""

    def matches(self, media_type: str, part: str) -> int:
        """How specifically this range names the offer; 0: not at all."""
        if self.media_type == "*/*":
            return 1
        major = media_type.partition("/")[0]
        if self.media_type == f"{major}/*":
            return 2
        if self.media_type != media_type:
            return 0
        if not self.part or self.part == part:
            return 4 if self.part else 3
        wild, _, minor = self.part.partition("/")
        if self.part == "*/*" or (minor == "*" and part.startswith(f"{wild}/")):
            return 3
        return 0


@dataclass(frozen=True, slots=True)
class Offer:
    """A representation that a resource can give; `part` is the media type of a multipart's parts."""

    media_type: str
    part: str = ""


def parse_accept(values: Iterable[str]) -> list[MediaRange]:
    """Read Accept header values (or `?accept=` values) into ranges, in the order given.

    At most `RANGES_MAX` ranges of `ACCEPT_CHARS_MAX` characters are read; the rest is ignored.
    """
    ranges: list[MediaRange] = []
    for value in values:
        for item in split_quoted(value[:ACCEPT_CHARS_MAX], ","):
            if len(ranges) >= RANGES_MAX:
                return ranges
            found = _media_range(item)
            if found is not None:
                ranges.append(found)
    return ranges


def choose(
    ranges: Sequence[MediaRange], offers: Sequence[Offer]
) -> tuple[Offer, MediaRange] | None:
    """The offer that the client likes best, and the range that names it; None: not acceptable.

    An offer's weight is the q of the most specific range that matches it. Among equal weights the
    order in the header decides, since clients of DICOMweb list their preference so, then the order
    of the offers. Without any range the first offer is taken.
    """
    for offer, media_range in ranked(ranges, offers):
        return offer, media_range
    return None


def ranked(
    ranges: Sequence[MediaRange], offers: Sequence[Offer]
) -> Iterator[tuple[Offer, MediaRange]]:
    """Every acceptable pair of offer and range, best first (rules of `choose`).

    The same offer may come several times, by ranges with different transfer syntaxes.
    """
    if not ranges:
        anything = MediaRange("*/*", "", None, 1.0)
        for offer in offers:
            yield offer, anything
        return
    found: list[tuple[float, int, int, int]] = []
    for place, offer in enumerate(offers):
        best = max(r.matches(offer.media_type, offer.part) for r in ranges)
        found.extend(
            (-r.q, index, place, index)
            for index, r in enumerate(ranges)
            if best and r.q > 0 and r.matches(offer.media_type, offer.part) == best
        )
    for _, _, place, index in sorted(found):
        yield offers[place], ranges[index]


def split_quoted(text: str, separator: str) -> Iterator[str]:
    """Split at a separator that stands outside quoted strings; parts come stripped, empty ones not."""
    start = 0
    quoted = False
    place = 0
    length = len(text)
    while place < length:
        char = text[place]
        if quoted:
            if char == "\\":
                place += 1
            elif char == '"':
                quoted = False
        elif char == '"':
            quoted = True
        elif char == separator:
            part = text[start:place].strip()
            if part:
                yield part
            start = place + 1
        place += 1
    part = text[start:].strip()
    if part:
        yield part


def unquoted(value: str) -> str:
    """A parameter value without its quotes and escapes (RFC 9110 5.6.4)."""
    value = value.strip()
    if len(value) >= 2 and value[0] == '"' and value[-1] == '"':
        value = value[1:-1]
        if "\\" in value:
            plain = []
            escaped = False
            for char in value:
                if char == "\\" and not escaped:
                    escaped = True
                    continue
                plain.append(char)
                escaped = False
            value = "".join(plain)
    return value


def media_type_of(value: str) -> tuple[str, dict[str, str]]:
    """A Content-Type (or one media range) as lower-case `type/subtype` and its parameters.

    Parameter names are lower case, values without quotes; the first of a name counts.
    """
    parts = list(split_quoted(value, ";"))
    if not parts or parts[0].partition("=")[1]:
        return "", {}
    parameters: dict[str, str] = {}
    for part in parts[1:]:
        name, _, given = part.partition("=")
        parameters.setdefault(name.strip().lower(), unquoted(given))
    return parts[0].lower(), parameters


def _media_range(item: str) -> MediaRange | None:
    media_type, parameters = media_type_of(item)
    major, slash, minor = media_type.partition("/")
    if media_type == "*":
        media_type, major, slash, minor = "*/*", "*", "/", "*"
    if not (major and slash and minor) or (major == "*" and minor != "*"):
        return None
    part = ""
    if major == "multipart":
        # `type="application/dicom; transfer-syntax=*"`: what is meant is clear enough
        part, inner = media_type_of(parameters.get("type", ""))
        for name, value in inner.items():
            parameters.setdefault(name, value)
    syntax = parameters.get("transfer-syntax", "").strip() or None
    return MediaRange(media_type, part, syntax, _quality(parameters.get("q", "1")))


def _quality(text: str) -> float:
    try:
        q = float(text)
    except ValueError:
        return 1.0
    return min(max(q, 0.0), 1.0) if q == q else 0.0
