"""Protocol data units of the DICOM upper layer: headers, rejection, release, abort and data.

Pure functions and constants of PS3.8 9.3; nothing here does I/O. A-ASSOCIATE-RQ and -AC, which
hold items within items, have `associate.py`; reading P-DATA-TF as it arrives is `inflow.py`.

Every PDU is a type byte, a reserved byte and the length of the rest, unsigned, big endian
(PS3.8 9.3.1). Reserved bytes are sent as zero and never looked at.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from sebago.errors import PeerBrokeProtocol

Buffer: TypeAlias = "bytes | bytearray | memoryview"

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
P_DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

HEADER_BYTES: Final = 6
PDV_HEADER_BYTES: Final = 6
"""Item length (4), presentation context id (1), message control header (1): PS3.8 9.3.5.1, E.2."""

PDV_COMMAND: Final = 0x01
PDV_LAST: Final = 0x02

# A-ABORT (PS3.8 table 9-26): who ended it, and for a provider why.
ABORT_BY_USER: Final = 0
ABORT_BY_PROVIDER: Final = 2
NOT_SPECIFIED: Final = 0
UNRECOGNIZED_PDU: Final = 1
UNEXPECTED_PDU: Final = 2
UNRECOGNIZED_PARAMETER: Final = 4
UNEXPECTED_PARAMETER: Final = 5
INVALID_PARAMETER: Final = 6

# A-ASSOCIATE-RJ (PS3.8 table 9-21): result, source, reason.
REJECTED_PERMANENT: Final = 1
REJECTED_TRANSIENT: Final = 2
SOURCE_USER: Final = 1
SOURCE_ACSE: Final = 2
SOURCE_PRESENTATION: Final = 3

Rejection: TypeAlias = tuple[int, int, int]
REJECT_CONTEXT_NAME: Final[Rejection] = (REJECTED_PERMANENT, SOURCE_USER, 2)
REJECT_CALLING_AE: Final[Rejection] = (REJECTED_PERMANENT, SOURCE_USER, 3)
REJECT_CALLED_AE: Final[Rejection] = (REJECTED_PERMANENT, SOURCE_USER, 7)
REJECT_NO_REASON: Final[Rejection] = (REJECTED_PERMANENT, SOURCE_ACSE, 1)
REJECT_VERSION: Final[Rejection] = (REJECTED_PERMANENT, SOURCE_ACSE, 2)
REJECT_CONGESTION: Final[Rejection] = (REJECTED_TRANSIENT, SOURCE_PRESENTATION, 1)
REJECT_LOCAL_LIMIT: Final[Rejection] = (REJECTED_TRANSIENT, SOURCE_PRESENTATION, 2)

FRAGMENT_BYTES_MAX: Final = 1 << 20
"""Longest fragment that we send to a peer whose maximum length is 0, which means no limit."""

PDU_BYTES_MIN: Final = PDV_HEADER_BYTES + 2
"""A peer that takes less than this cannot be sent one even byte pair."""

_FIXED = struct.Struct(">BxIxBBB")
_DATA = struct.Struct(">BxIIBB")


class ProtocolViolation(PeerBrokeProtocol):
    """What the peer sent is against PS3.8 or PS3.7; `reason` goes into our A-ABORT (9.3.8).

    `source` is `ABORT_BY_PROVIDER` where the upper layer is broken, `ABORT_BY_USER` where a
    well-formed message makes no sense to the DIMSE layer (its reason is then 0).
    """

    def __init__(self, detail: str, reason: int, *, source: int = ABORT_BY_PROVIDER) -> None:
        super().__init__(detail)
        self.reason = reason
        self.source = source


@dataclass(frozen=True, slots=True)
class Aborted:
    """An A-ABORT PDU (PS3.8 9.3.8)."""

    source: int
    reason: int

    def __str__(self) -> str:
        return f"A-ABORT, source {self.source}, reason {self.reason}"


def encode_reject(rejection: Rejection) -> bytes:
    """An A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
    return _FIXED.pack(ASSOCIATE_RJ, 4, *rejection)


def encode_abort(source: int, reason: int) -> bytes:
    """An A-ABORT PDU (PS3.8 9.3.8)."""
    return _FIXED.pack(ABORT, 4, 0, source, reason)


RELEASE_RQ_PDU: Final = _FIXED.pack(RELEASE_RQ, 4, 0, 0, 0)
RELEASE_RP_PDU: Final = _FIXED.pack(RELEASE_RP, 4, 0, 0, 0)


def decode_fixed(pdu: Buffer) -> tuple[int, int, int]:
    """The last three bytes of a ten-byte PDU: result, source, reason of -RJ; 0, source, reason.

    Raises:
        ProtocolViolation: the PDU does not hold exactly four bytes after its header.
    """
    if len(pdu) != _FIXED.size:
        raise ProtocolViolation(f"a PDU of {len(pdu)} bytes that has to have 10", INVALID_PARAMETER)
    _, length, result, source, reason = _FIXED.unpack(pdu)
    if length != 4:
        raise ProtocolViolation(f"length {length} where only 4 is possible", INVALID_PARAMETER)
    return result, source, reason


def data_header(context_id: int, flags: int, fragment_bytes: int) -> bytes:
    """Header of a P-DATA-TF PDU with one fragment, up to the fragment's first byte (9.3.5)."""
    return _DATA.pack(
        P_DATA_TF,
        fragment_bytes + PDV_HEADER_BYTES,
        fragment_bytes + 2,
        context_id,
        flags,
    )


def fragment_bytes_max(peer_pdu_bytes_max: int) -> int:
    """Most message bytes in one fragment for a peer that announced this maximum (PS3.8 D.1).

    Even, because only a message's last fragment may be odd. 0 is announced for "no limit".
    """
    if peer_pdu_bytes_max == 0:
        return FRAGMENT_BYTES_MAX
    return max(2, min(FRAGMENT_BYTES_MAX, peer_pdu_bytes_max - PDV_HEADER_BYTES) & ~1)


def data_pdus(
    context_id: int,
    parts: Iterable[Buffer],
    *,
    command: bool,
    fragment_max: int,
) -> Iterator[Buffer]:
    """One message part (a command set, or a data set) as buffers to send one behind the other.

    Every fragment is a PDU of its own. Nothing is copied, and nothing is made ahead of its use, so
    that an object of many gigabytes takes no memory: headers alternate with views into `parts`,
    which together are the command set or data set. An empty data set makes one empty last
    fragment.
    """
    kind = PDV_COMMAND if command else 0
    views = [view.cast("B") for part in parts if (view := memoryview(part)).nbytes]
    left = sum(len(view) for view in views)
    if not left:
        yield data_header(context_id, kind | PDV_LAST, 0)
        return
    whole = data_header(context_id, kind, fragment_max)  # the same for all but the last
    index, offset = 0, 0
    while left:
        if left > fragment_max:
            room = fragment_max
            yield whole
        else:
            room = left
            yield data_header(context_id, kind | PDV_LAST, room)
        left -= room
        while room:
            view = views[index]
            piece = view[offset : offset + room]
            yield piece
            room -= len(piece)
            offset += len(piece)
            if offset == len(view):
                index, offset = index + 1, 0
