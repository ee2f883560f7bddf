"""multipart/related: a scanner for bodies that stream in, and the frame of those that stream out.

PS3.18 8.6.1.2, RFC 2387, RFC 2046 5.1.

Theory of operation. The scanner is fed the body as it arrives, cut anywhere, and gives what it
finds: a part begins, bytes of the part, the part is whole. It holds no more than one head (header
lines, limited) or the possible beginning of a delimiter; the bytes given are views into the chunk
that was fed. A delimiter is the line end, two hyphens and the boundary. Which line end a client
uses, CRLF or bare LF, is learned from the line of its first delimiter: learning, instead of
accepting both, keeps a data set whole that happens to end with CR. What starts like a delimiter and
goes on with something else is data.

A part is whole only when the delimiter after it was seen: what is cut off is never given as whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto

from sebago.errors import BadRequest
from sebago.web.dicomweb.accept import media_type_of

HEAD_BYTES_MAX = 16 * 1024
PREAMBLE_BYTES_MAX = 16 * 1024
PADDING_BYTES_MAX = 256
BOUNDARY_CHARS_MAX = 200
"""RFC 2046 says 70; some clients take a longer one."""


@dataclass(frozen=True, slots=True)
class PartBegins:
    """The head of a part was read."""

    headers: Mapping[str, str]
    """Names in lower case; the first of a name counts."""

    @property
    def content_type(self) -> str:
        """The part's media type in lower case, without parameters; empty if it names none."""
        return media_type_of(self.headers.get("content-type", ""))[0]

    @property
    def transfer_syntax(self) -> str:
        """The `transfer-syntax` parameter of the part's Content-Type, or empty."""
        return media_type_of(self.headers.get("content-type", ""))[1].get("transfer-syntax", "")


@dataclass(frozen=True, slots=True)
class PartEnds:
    """The part that was begun is whole."""


PART_ENDS = PartEnds()

Found = PartBegins | memoryview | PartEnds


class _State(Enum):
    PREAMBLE = auto()
    HEAD = auto()
    BODY = auto()
    EPILOGUE = auto()


class MultipartScanner:
    """Finds the parts of one body: `feed` it every chunk, then look whether it is `finished`."""

    def __init__(self, boundary: str) -> None:
        self._marker = b"--" + boundary.encode("latin-1", "replace")
        self._line_end = b"\r\n"
        self._delimiter = self._line_end + self._marker
        self._state = _State.PREAMBLE
        self._held = b""
        """Bytes not decided on yet: a head so far, or what may be the beginning of a delimiter."""
        self._unsaid = 0
        """How many of the next bytes are the line end of the head, and no part bytes.

        They are looked at once more because the delimiter of an empty part may follow at once."""
        self.parts = 0
        """Parts begun so far."""

    @property
    def finished(self) -> bool:
        """The closing delimiter was seen."""
        return self._state is _State.EPILOGUE

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """What the next bytes of the body bring, in order; exhaust it before feeding again.

        The views stay valid as long as they are referred to.

        Raises:
            BadRequest: no boundary within the first 16 KiB, or a part's head that is too long or
                is no header lines.
        """
        data = self._held + chunk if self._held else chunk
        self._held = b""
        place = 0
        while place >= 0:
            if self._state is _State.BODY:
                place = yield from self._body(data, place)
            elif self._state is _State.HEAD:
                place = yield from self._head(data, place)
            elif self._state is _State.PREAMBLE:
                place = self._preamble(data)
            else:
                return

    # Each state gives where the next one starts, or -1 when it needs more bytes.

    def _preamble(self, data: bytes) -> int:
        start = 0
        while (found := data.find(self._marker, start)) >= 0:
            if found == 0 or data[found - 1] == 0x0A:
                ends = self._after_marker(data, found + len(self._marker))
                if ends is None:
                    break
                what, after = ends
                if what:
                    self._line_end = b"\n" if what == b"\n" else b"\r\n"
                    self._delimiter = self._line_end + self._marker
                    self._state = _State.EPILOGUE if what == b"--" else _State.HEAD
                    return after
            start = found + 1
        if len(data) > PREAMBLE_BYTES_MAX:
            raise BadRequest(
                f"no boundary within the first {PREAMBLE_BYTES_MAX} bytes of the body",
                do="give the boundary that the body uses in its Content-Type",
            )
        self._held = data
        return -1

    def _head(self, data: bytes, place: int) -> Generator[PartBegins, None, int]:
        end = self._line_end
        if data.startswith(end, place):
            lines, after = b"", place
        else:
            found = data.find(end + end, place, place + HEAD_BYTES_MAX)
            if found < 0:
                if len(data) - place > HEAD_BYTES_MAX:
                    raise BadRequest(f"the head of part {self.parts + 1} is longer than 16 KiB")
                self._held = data[place:]
                return -1
            lines, after = data[place:found], found + len(end)
        self.parts += 1
        self._unsaid = len(end)
        self._state = _State.BODY
        yield PartBegins(self._header_lines(lines))
        return after

    def _body(self, data: bytes, place: int) -> Generator[memoryview | PartEnds, None, int]:
        start = place
        while (found := data.find(self._delimiter, start)) >= 0:
            ends = self._after_marker(data, found + len(self._delimiter))
            if ends is None:
                yield from self._said(data, place, found)
                self._held = data[found:]
                return -1
            what, after = ends
            if what:
                yield from self._said(data, place, found)
                self._unsaid = 0
                self._state = _State.EPILOGUE if what == b"--" else _State.HEAD
                yield PART_ENDS
                return after
            start = found + 1
        cut = self._cut(data, start)
        yield from self._said(data, place, cut)
        self._held = data[cut:]
        return -1

    def _cut(self, data: bytes, start: int) -> int:
        """Where the beginning of a delimiter may stand at the end of the data.

        The first byte of a delimiter, CR or LF, stands in it only once, so that only its last
        occurrence can begin one.
        """
        first = self._delimiter[:1]
        found = data.rfind(first, max(start, len(data) - len(self._delimiter) + 1))
        if found >= 0 and self._delimiter.startswith(data[found:]):
            return found
        return len(data)

    def _said(self, data: bytes, start: int, end: int) -> Iterator[memoryview]:
        if self._unsaid:
            skipped = min(self._unsaid, end - start)
            self._unsaid -= skipped
            start += skipped
        if end > start:
            yield memoryview(data)[start:end]

    def _after_marker(self, data: bytes, place: int) -> tuple[bytes, int] | None:
        """What follows a marker (`--`, CRLF, LF, or b"": it is none) and where that ends.

        Blanks may stand before the line end. None: more bytes are needed to tell.
        """
        if data.startswith(b"--", place):
            return b"--", place + 2
        end = place
        limit = min(len(data), place + PADDING_BYTES_MAX)
        while end < limit and data[end] in b" \t":
            end += 1
        if data.startswith(b"\r\n", end):
            return b"\r\n", end + 2
        if data.startswith(b"\n", end):
            return b"\n", end + 1
        rest = data[end : end + 2]
        if not rest or rest == b"\r" or (rest == b"-" and end == place):
            return None
        return b"", place

    def _header_lines(self, lines: bytes) -> dict[str, str]:
        headers: dict[str, str] = {}
        name = ""
        for line in lines.split(self._line_end) if lines else ():
            text = line.decode("latin-1")
            if text[:1] in (" ", "\t") and name:  # folded, RFC 5322 2.2.3
                headers[name] += " " + text.strip()
                continue
            name, colon, value = text.partition(":")
            name = name.strip().lower()
            if not colon or not name:
                raise BadRequest(f"part {self.parts} has a line in its head that is no header")
            headers.setdefault(name, value.strip())
        return headers


def boundary_of(content_type: str) -> tuple[str, str]:
    """The `type` parameter and the boundary of a multipart/related Content-Type.

    Raises:
        BadRequest: there is no boundary, or it is longer than `BOUNDARY_CHARS_MAX`.
    """
    _, parameters = media_type_of(content_type)
    boundary = parameters.get("boundary", "")
    if not 0 < len(boundary) <= BOUNDARY_CHARS_MAX or not boundary.isprintable():
        raise BadRequest(
            "a multipart body needs a boundary of 1 to 200 printable characters",
            do='send Content-Type: multipart/related; type="application/dicom"; boundary=...',
        )
    return media_type_of(parameters.get("type", ""))[0], boundary


def new_boundary() -> str:
    """A boundary for an answer: 128 random bits, which no data hold by chance."""
    return f"sebago-{secrets.token_hex(16)}"


def part_head(boundary: str, headers: Mapping[str, str], *, first: bool) -> bytes:
    """What stands before a part's bytes: delimiter, header lines, empty line."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{'' if first else chr(13) + chr(10)}--{boundary}\r\n{lines}\r\n".encode("latin-1")


def closing(boundary: str) -> bytes:
    """What stands after the last part's bytes."""
    return f"\r\n--{boundary}--\r\n".encode("latin-1")
