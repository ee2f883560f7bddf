"""What goes into the journal, and where it came to lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sebago.journal.record import DIGEST_BYTES, HEADER_BYTES, PROVENANCE_BYTES_MAX

if TYPE_CHECKING:
    from sebago.journal.spool import Spooled


@dataclass(frozen=True, slots=True)
class Position:
    """Where a data set lies in the journal. Kept in the index; good until the segment is released."""

    writer: str
    """Name of the writer's folder."""
    segment: int
    offset: int
    """Of the data set's first byte in the segment file; its record header lies right before it."""
    length: int
    """Bytes of the data set."""
    end: int
    """Where the record ends and the next begins: the watermark once this one is indexed."""

    @property
    def record(self) -> int:
        """Offset of the record header."""
        return self.offset - HEADER_BYTES


@dataclass(slots=True, eq=False)
class Entry:
    """One data set on its way into the journal.

    The caller fills the first five fields; `commit` sets `position`, or `error`. The buffer behind
    `data` is the caller's again when `commit` has returned.
    """

    data: memoryview | Spooled
    digest: bytes
    """BLAKE3-256 of the data set."""
    provenance: bytes
    """At most 64 KiB; opaque to the journal."""
    received_us: int
    note: Any = None
    """The caller's own."""
    position: Position | None = field(default=None, init=False)
    error: Exception | None = field(default=None, init=False)

    @property
    def data_bytes(self) -> int:
        """Length of the data set."""
        return self.data.nbytes

    def check(self) -> None:
        """Raise ValueError if the caller broke the rules above."""
        if isinstance(self.data, memoryview) and self.data.itemsize != 1:
            raise ValueError("an entry's data are a view of bytes")
        if len(self.digest) != DIGEST_BYTES:
            raise ValueError("an entry's digest has 32 bytes")
        if len(self.provenance) > PROVENANCE_BYTES_MAX:
            raise ValueError("an entry's provenance is longer than 64 KiB")
