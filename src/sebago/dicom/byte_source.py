"""Where a scan reads from: a buffer as it is, or a deflated one as it is inflated (PS3.5 A.5).

A deflated data set is never held whole while it is scanned. A decompression bomb stops at a limit
in bytes, and at a ratio to what was sent once it is large enough to hurt.
"""

from __future__ import annotations

import mmap
import zlib
from typing import Final, Protocol

from sebago.dicom.header import VALUE_BYTES_MAX
from sebago.errors import Inflated, NotDicom, Truncated

Buffer = bytes | bytearray | memoryview | mmap.mmap

INFLATE_BYTES_MAX: Final = 2 << 30
INFLATE_RATIO_MAX: Final = 200
"""A deflated data set may grow so much, once it is over `_RATIO_COUNTS_FROM` bytes."""

_RATIO_COUNTS_FROM: Final = 16 << 20
_INFLATE_STEP: Final = 1 << 18


def inflated(data: Buffer, *, inflate_max: int = INFLATE_BYTES_MAX) -> bytearray:
    """The whole inflated data set of a deflated transfer syntax (PS3.5 A.5), for full reading.

    Raises:
        NotDicom: no deflate stream. Truncated: it ends early.
        Inflated: it grows past `inflate_max` or past INFLATE_RATIO_MAX.
    """
    out = bytearray()
    with memoryview(data) as view, view.cast("B") as octets:
        source = InflatingSource(octets, inflate_max)
        while piece := source.read(len(out), _INFLATE_STEP):
            out += piece
    return out


class Source(Protocol):
    """Bytes by position. One that does not rewind keeps 2 * VALUE_BYTES_MAX behind the last
    position that was read, no more."""

    rewinds: bool

    def read(self, position: int, count: int) -> bytes:
        """Up to `count` bytes; fewer only at the end of the data."""
        ...

    def fits(self, position: int) -> bool:
        """Whether the data reach `position`, as far as that is known without reading."""
        ...

    def missing(self, position: int) -> int:
        """How many bytes the data are short of `position`; may read up to there."""
        ...


class BufferSource:
    __slots__ = ("_length", "_view")

    rewinds = True

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._length = len(view)

    def read(self, position: int, count: int) -> bytes:
        return bytes(self._view[position : position + count])

    def fits(self, position: int) -> bool:
        return position <= self._length

    def missing(self, position: int) -> int:
        return max(0, position - self._length)


class InflatingSource:
    """Inflates as far as is asked for and forgets what lies well behind."""

    __slots__ = ("_base", "_fed", "_held", "_inflater", "_limit", "_view")

    rewinds = False

    def __init__(self, view: memoryview, inflate_max: int) -> None:
        self._view = view
        self._limit = min(inflate_max, max(_RATIO_COUNTS_FROM, len(view) * INFLATE_RATIO_MAX))
        # Raw deflate by the standard; some writers leave the zlib wrapper on (RFC 1950 2.2). Its
        # first byte, 78, would be a stored block with bits set that are always written as zero.
        wrapped = len(view) > 1 and view[0] == 0x78 and (view[0] << 8 | view[1]) % 31 == 0
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        self._fed = 0
        self._base = 0
        self._held = bytearray()

    def read(self, position: int, count: int) -> bytes:
        self._inflate_to(position + count, keep_from=position - 2 * VALUE_BYTES_MAX)
        start = position - self._base
        return bytes(self._held[start : start + count])

    def fits(self, position: int) -> bool:
        return not self._inflater.eof or position <= self._base + len(self._held)

    def missing(self, position: int) -> int:
        self._inflate_to(position, keep_from=position)
        return max(0, position - self._base - len(self._held))

    def _inflate_to(self, position: int, *, keep_from: int) -> None:
        while self._base + len(self._held) < position and not self._inflater.eof:
            behind = min(len(self._held), keep_from - self._base)
            if behind >= _INFLATE_STEP:
                del self._held[:behind]
                self._base += behind
            tail = self._inflater.unconsumed_tail
            if not tail:
                tail = bytes(self._view[self._fed : self._fed + _INFLATE_STEP])
                self._fed += len(tail)
            try:
                piece = self._inflater.decompress(tail, _INFLATE_STEP)
            except zlib.error as error:
                raise NotDicom(f"not a deflate stream: {error}") from error
            if not tail and not piece and not self._inflater.eof:
                raise Truncated(
                    f"the deflate stream ends early, after {self._base + len(self._held)} bytes"
                )
            self._held += piece
            if self._base + len(self._held) > self._limit:
                raise Inflated(f"the deflated data set grows past {self._limit} bytes")
