"""The journal's bytes: headers of segments and records, encoded and decoded. No input or output.

A segment file is a 4096-byte segment header, then records, then (if it was closed in order) an end
mark. All integers are little-endian. `docs/formats/journal.md` has the tables.

    segment   | header block 4096 | batch | batch | ... | end mark |
    batch     | record | record | ... | zeros up to a multiple of 4096 |
    record    | header 128 | data set | provenance | zeros up to a multiple of 8 |

Three rules carry everything else:

- A batch begins at a multiple of 4096 and no page of it is written again: whatever happens to a
  later write, it cannot reach what was acknowledged.
- Every header carries the nonce of the segment's present life and its own offset. What a recycled
  file still holds of its former life, or a data set that is itself a journal, is never taken for
  a record.
- A record header says how far the segment was synced when it was written. A bad record below that
  mark is damage; one above it is a write that never finished.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

FORMAT_VERSION = 1
PAGE = 4096
"""Batches begin at multiples of this, and the segment header fills the first of them."""
RECORD_ALIGN = 8
HEADER_BYTES = 128
"""Length of a record header, and of each copy of the segment header."""
FIRST_RECORD = PAGE
HEADER_COPY = PAGE // 2
"""Where the second copy of the segment header lies."""
NONCE_BYTES = 16
DIGEST_BYTES = 32
PROVENANCE_BYTES_MAX = 64 * 1024
WRITER_NAME_BYTES_MAX = 16

SEGMENT_MAGIC = b"SEBAGO\x00S"
RECORD_MAGIC = b"SEBAGO\x00R"

# magic, version, kind, page, nonce, number, file bytes, created us, writer name
_SEGMENT = struct.Struct("<8sHHI16sQQq16s")
# magic, version, kind, provenance bytes, nonce, segment number, offset, total bytes, data bytes,
# received us, synced, digest, CRC-32 of the provenance
_RECORD = struct.Struct("<8sHHI16sQQQQqQ32sI")
_CRC = struct.Struct("<I")
_COVERED = HEADER_BYTES - _CRC.size
NONCE_AT = 16
"""Offset of the nonce in both headers."""


class BadHeader(ValueError):
    """These bytes are no header, or one that was damaged. The text says which."""


class SegmentKind(IntEnum):
    """What a segment file holds."""

    SHARED = 1
    """Many records, preallocated, recycled."""
    SPOOLED = 2
    """One record, of an object too large to be held in memory."""


class RecordKind(IntEnum):
    """What a record is."""

    DATA = 1
    END = 2
    """Closes a segment: everything before it was synced, nothing comes after it."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Identity of one life of a segment file."""

    kind: SegmentKind
    nonce: bytes
    number: int
    file_bytes: int
    """Length that was allocated for the file when this life began."""
    created_us: int
    writer: str


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """One record: what follows the header, and where."""

    kind: RecordKind
    nonce: bytes
    segment: int
    offset: int
    """Of this header in the segment file."""
    total: int
    """From this header to the next one: header, data set, provenance, padding."""
    data_bytes: int
    provenance_bytes: int
    provenance_crc: int
    digest: bytes
    """BLAKE3-256 of the data set."""
    received_us: int
    synced: int
    """Everything before this offset was on the disk when this header was written."""

    @property
    def data_offset(self) -> int:
        """Where the data set begins in the segment file."""
        return self.offset + HEADER_BYTES

    @property
    def provenance_offset(self) -> int:
        """Where the provenance begins in the segment file."""
        return self.offset + HEADER_BYTES + self.data_bytes

    @property
    def end(self) -> int:
        """Where the next record begins."""
        return self.offset + self.total


def up(size: int, multiple: int) -> int:
    """`size` rounded up to a multiple."""
    return -(-size // multiple) * multiple


def record_bytes(data_bytes: int, provenance_bytes: int) -> int:
    """Length of a record inside a batch, padding included."""
    return up(HEADER_BYTES + data_bytes + provenance_bytes, RECORD_ALIGN)


def _sealed(fields: bytes) -> bytes:
    """The header's fields with zeros up to its length and the CRC-32 of all that."""
    covered = fields.ljust(_COVERED, b"\0")
    return covered + _CRC.pack(zlib.crc32(covered))


def _opened(raw: bytes, magic: bytes, what: str) -> None:
    if len(raw) != HEADER_BYTES or raw[:8] != magic:
        raise BadHeader(f"no {what} header")
    if zlib.crc32(raw[:_COVERED]) != _CRC.unpack_from(raw, _COVERED)[0]:
        raise BadHeader(f"the {what} header does not agree with its checksum")
    version = int.from_bytes(raw[8:10], "little")
    if version != FORMAT_VERSION:
        raise BadHeader(f"the {what} header has format version {version}")


def encode_segment(header: SegmentHeader) -> bytes:
    """The header block: 4096 bytes, the header at 0 and a copy of it at 2048."""
    name = header.writer.encode("ascii")
    if len(name) > WRITER_NAME_BYTES_MAX:
        raise ValueError("the writer's name is longer than 16 bytes")
    copy = _sealed(
        _SEGMENT.pack(
            SEGMENT_MAGIC,
            FORMAT_VERSION,
            header.kind,
            PAGE,
            header.nonce,
            header.number,
            header.file_bytes,
            header.created_us,
            name,
        )
    ).ljust(HEADER_COPY, b"\0")
    return copy + copy


def decode_segment(raw: bytes) -> SegmentHeader:
    """Read one 128-byte copy of a segment header.

    Raises:
        BadHeader: it is not one, or it was damaged.
    """
    _opened(raw, SEGMENT_MAGIC, "segment")
    _, _, kind, page, nonce, number, file_bytes, created_us, name = _SEGMENT.unpack_from(raw)
    if page != PAGE or kind not in (SegmentKind.SHARED, SegmentKind.SPOOLED):
        raise BadHeader("the segment header is of a kind that is not known")
    writer = name.rstrip(b"\0").decode("ascii", "replace")
    return SegmentHeader(SegmentKind(kind), nonce, number, file_bytes, created_us, writer)


def encode_record(header: RecordHeader) -> bytes:
    """The 128 bytes of a record header."""
    return _sealed(
        _RECORD.pack(
            RECORD_MAGIC,
            FORMAT_VERSION,
            header.kind,
            header.provenance_bytes,
            header.nonce,
            header.segment,
            header.offset,
            header.total,
            header.data_bytes,
            header.received_us,
            header.synced,
            header.digest,
            header.provenance_crc,
        )
    )


def decode_record(raw: bytes, offset: int) -> RecordHeader:
    """Read a record header that was found at `offset` of its file.

    The lengths agree with each other on return; whether the file is long enough is the caller's
    to check before it reads or allocates anything.

    Raises:
        BadHeader: it is not one, it was damaged, or it was written for another place.
    """
    _opened(raw, RECORD_MAGIC, "record")
    fields = _RECORD.unpack_from(raw)
    _, _, kind, provenance_bytes, nonce, segment, own, total, data_bytes, *rest = fields
    received_us, synced, digest, provenance_crc = rest
    if kind not in (RecordKind.DATA, RecordKind.END):
        raise BadHeader(f"the record header is of kind {kind}, which is not known")
    least = record_bytes(data_bytes, provenance_bytes)
    if own != offset or not least <= total <= least + PAGE or synced > offset:
        raise BadHeader("the record header was written for another place")
    return RecordHeader(
        kind=RecordKind(kind),
        nonce=nonce,
        segment=segment,
        offset=own,
        total=total,
        data_bytes=data_bytes,
        provenance_bytes=provenance_bytes,
        provenance_crc=provenance_crc,
        digest=digest,
        received_us=received_us,
        synced=synced,
    )


def bears_nonce(raw: bytes, nonce: bytes) -> bool:
    """Whether these 128 bytes were once a record header of the life that `nonce` names.

    One flipped bit leaves either the nonce whole, or a checksum that is right once the nonce is put
    back; what a former life left behind has neither.
    """
    if len(raw) != HEADER_BYTES:
        return False
    if raw[NONCE_AT : NONCE_AT + NONCE_BYTES] == nonce:
        return True
    mended = raw[:NONCE_AT] + nonce + raw[NONCE_AT + NONCE_BYTES : _COVERED]
    return zlib.crc32(mended) == int(_CRC.unpack_from(raw, _COVERED)[0])


def batch_offsets(start: int, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Offset and total length of each record of a batch that begins at `start`.

    `sizes` are (data bytes, provenance bytes). The last record takes the padding of the page.
    """
    placed: list[tuple[int, int]] = []
    offset = start
    for data_bytes, provenance_bytes in sizes:
        total = record_bytes(data_bytes, provenance_bytes)
        placed.append((offset, total))
        offset += total
    if placed:
        last, total = placed[-1]
        placed[-1] = (last, total + up(offset, PAGE) - offset)
    return placed
