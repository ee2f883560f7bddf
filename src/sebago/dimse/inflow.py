"""What arrives on an established association, as it arrives: bytes in, events out, no I/O.

Theory of operation. The caller asks `room()` where the next bytes go, receives into it, says
`filled(n)` and asks `step()` for events until it is None. Headers and command sets go through a
small staging area; the bytes of a data set go from the socket straight into the sink that was
set when its command came out of `step()`. So nothing is put together twice, whatever the peer's
choice of PDU and fragment lengths, and a length that is only announced allocates nothing.

Where in the stream we are is three numbers: bytes left in the P-DATA-TF PDU, bytes left in the
fragment (-1 between fragments), and what is due: a command, or the data set of a context.
PS3.8 9.3.1, 9.3.5, annex E; PS3.7 6.3.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping
from enum import Enum
from typing import Final, TypeAlias

from sebago.dimse.command import COMMAND_BYTES_MAX, Command, decode_command
from sebago.dimse.negotiation import AcceptedContext
from sebago.dimse.pdu import (
    ABORT,
    HEADER_BYTES,
    INVALID_PARAMETER,
    P_DATA_TF,
    PDV_COMMAND,
    PDV_HEADER_BYTES,
    PDV_LAST,
    RELEASE_RP,
    RELEASE_RQ,
    UNEXPECTED_PARAMETER,
    UNEXPECTED_PDU,
    UNRECOGNIZED_PDU,
    Aborted,
    ProtocolViolation,
    decode_fixed,
)
from sebago.dimse.sink import DISCARD, Sink
from sebago.errors import PeerBrokeProtocol, SebagoError

log = logging.getLogger(__name__)

STAGING_BYTES: Final = 2048
"""A command set, its headers and those of the data set usually arrive in one piece this long."""

_FIXED_PDU_BYTES: Final = 10
_PDU_HEADER = struct.Struct(">BxI")
_PDV_HEADER = struct.Struct(">IBB")
_BOTH_HEADERS = struct.Struct(">BxIIBB")


class Signal(Enum):
    """Events that carry nothing."""

    END_OF_DATA = "the data set that was due is complete"
    RELEASE_RQ = "A-RELEASE-RQ"
    RELEASE_RP = "A-RELEASE-RP"


Event: TypeAlias = "Command | Signal | Aborted"


class Inflow:
    """The receiving half of one association after its negotiation.

    After a `Command` with a data set, set `sink` before the next call; without one the data set
    is thrown away. After `END_OF_DATA`, `sink_error` tells what a sink raised.
    """

    __slots__ = (
        "_awaited",
        "_command",
        "_command_context",
        "_command_cost",
        "_contexts",
        "_end",
        "_fragment_flags",
        "_fragment_left",
        "_pdu_bytes_max",
        "_pdu_left",
        "_staging",
        "_start",
        "_straight",
        "data_bytes",
        "pdus",
        "sink",
        "sink_error",
    )

    def __init__(self, contexts: Mapping[int, AcceptedContext], *, pdu_bytes_max: int) -> None:
        """`pdu_bytes_max` is what we announced; 0 is no limit.

        A peer that counts only a fragment's bytes against it, and not the fragment's header, is
        forgiven those six: devices differ in how they read PS3.8 D.1.
        """
        self._contexts = contexts
        self._pdu_bytes_max = pdu_bytes_max + PDV_HEADER_BYTES if pdu_bytes_max else 0xFFFFFFFF
        self._staging = memoryview(bytearray(STAGING_BYTES))
        self._start = self._end = 0
        self._straight = False
        self._pdu_left = 0
        self._fragment_left = -1
        self._fragment_flags = 0
        self._command = bytearray()
        self._command_cost = 0
        self._command_context: AcceptedContext | None = None
        self._awaited: AcceptedContext | None = None
        self.sink: Sink = DISCARD
        self.sink_error: Exception | None = None
        self.pdus = 0
        """PDUs received whole."""
        self.data_bytes = 0
        """Bytes of data sets received."""

    @property
    def mid_pdu(self) -> bool:
        """Whether a PDU has begun and not ended."""
        return self._pdu_left > 0 or self._fragment_left >= 0 or self._end > self._start

    @property
    def mid_message(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._awaited is not None or self._command_context is not None

    @property
    def in_data(self) -> bool:
        """Whether a data set is on its way."""
        return self._awaited is not None

    # --- bytes in -------------------------------------------------------------------------------

    def room(self) -> memoryview:
        """Where the next bytes go; never empty. Let go of it before `filled`."""
        if self._awaited is not None:
            if self._fragment_left > 0:
                self._straight = True
                return self._sink_room(self._fragment_left)
            # Only headers are due: reading no further keeps the data set out of the staging area.
            wanted = PDV_HEADER_BYTES if self._pdu_left else HEADER_BYTES + PDV_HEADER_BYTES
            wanted = max(wanted - (self._end - self._start), 1)
        else:
            wanted = STAGING_BYTES
        self._straight = False
        if self._start == self._end:
            self._start = self._end = 0
        elif self._end + min(wanted, HEADER_BYTES * 2) > STAGING_BYTES:
            staged = bytes(self._staging[self._start : self._end])
            self._staging[: len(staged)] = staged
            self._start, self._end = 0, len(staged)
        return self._staging[self._end : min(self._end + wanted, STAGING_BYTES)]

    def beyond(self, room: memoryview) -> memoryview | None:
        """Where the headers behind `room` go, if that is the rest of a fragment, else None.

        With it one read takes the end of a fragment and the headers of the next: half the system
        calls for peers that send 16 KiB at a time.
        """
        if self._straight and len(room) == self._fragment_left:
            if self._fragment_flags & PDV_LAST:
                return None  # the peer waits for the answer
            return self._staging[: _BOTH_HEADERS.size]
        return None

    def filled(self, n: int) -> None:
        """`n` bytes have been received into the last room, and what is beyond it."""
        if self._straight:
            if n > self._fragment_left:
                self._start, self._end = 0, n - self._fragment_left
                n = self._fragment_left
            self._fragment_left -= n
            self.data_bytes += n
            self._sink_filled(n)
        else:
            self._end += n

    def give_up(self) -> None:
        """The association has ended: a data set that was on its way is abandoned."""
        if self._awaited is not None:
            self._awaited = None
            self._fail_sink(None)

    # --- events out -----------------------------------------------------------------------------

    def step(self) -> Event | None:
        """The next event, or None when more bytes are needed.

        Raises:
            ProtocolViolation: the stream makes no sense; nothing after it can be understood.
        """
        while True:
            if self._fragment_left >= 0:
                if self._fragment_left:
                    self._take_staged()
                    if self._fragment_left:
                        return None
                event: Event | None = self._end_fragment()
                if event is None and self._goes_on():
                    continue
            elif self._pdu_left:
                if self._end - self._start < PDV_HEADER_BYTES:
                    return None
                self._open_fragment()
                continue
            else:
                if self._end == self._start:
                    return None
                event = self._open_pdu()
                if event is None and not self._pdu_left:
                    return None
            if event is not None:
                return event

    def _open_pdu(self) -> Event | None:
        """Judge the PDU that begins in the staging area by what of it is there."""
        kind = self._staging[self._start]
        if kind not in (P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT):
            if 1 <= kind <= 3:
                raise ProtocolViolation(f"PDU type {kind:02X}H in an association", UNEXPECTED_PDU)
            raise ProtocolViolation(f"PDU type {kind:02X}H", UNRECOGNIZED_PDU)
        staged = self._end - self._start
        if staged < HEADER_BYTES:
            return None
        _, length = _PDU_HEADER.unpack_from(self._staging, self._start)
        if kind == P_DATA_TF:
            if length < PDV_HEADER_BYTES:
                raise ProtocolViolation(f"P-DATA-TF of {length} bytes", INVALID_PARAMETER)
            if length > self._pdu_bytes_max:
                raise ProtocolViolation(f"P-DATA-TF claims {length} bytes", INVALID_PARAMETER)
            self._start += HEADER_BYTES
            self._pdu_left = length
            return None
        if length != _FIXED_PDU_BYTES - HEADER_BYTES:
            raise ProtocolViolation(
                f"PDU type {kind:02X}H claims {length} bytes, not 4", INVALID_PARAMETER
            )
        if staged < _FIXED_PDU_BYTES:
            return None
        _, source, reason = decode_fixed(self._staging[self._start : self._start + 10])
        self._start += _FIXED_PDU_BYTES
        self.pdus += 1
        if kind == RELEASE_RQ:
            return Signal.RELEASE_RQ
        return Signal.RELEASE_RP if kind == RELEASE_RP else Aborted(source, reason)

    def _goes_on(self) -> bool:
        """Open the next PDU and its fragment in one step, in the one case that is common: a data
        set goes on in a PDU with one fragment. Anything else is left to the general way.
        """
        if self._awaited is None or self._pdu_left or self._end - self._start < _BOTH_HEADERS.size:
            return False
        kind, pdu_bytes, pdv_bytes, context_id, flags = _BOTH_HEADERS.unpack_from(
            self._staging, self._start
        )
        if (
            kind != P_DATA_TF
            or pdv_bytes != pdu_bytes - 4
            or not 2 <= pdv_bytes < self._pdu_bytes_max - 3
            or context_id != self._awaited.id
            or flags & PDV_COMMAND
        ):
            return False
        self._start += _BOTH_HEADERS.size
        self._fragment_left = pdv_bytes - 2
        self._fragment_flags = flags
        return True

    def _open_fragment(self) -> None:
        length, context_id, flags = _PDV_HEADER.unpack_from(self._staging, self._start)
        if length < 2 or length > self._pdu_left - 4:
            raise ProtocolViolation(
                f"a fragment claims {length} of {self._pdu_left - 4} bytes", INVALID_PARAMETER
            )
        context = self._contexts.get(context_id)
        if context is None:
            raise ProtocolViolation(
                f"presentation context {context_id} is not in use", INVALID_PARAMETER
            )
        if flags & PDV_COMMAND:
            if self._awaited is not None:
                raise ProtocolViolation("a command inside a data set", UNEXPECTED_PARAMETER)
            if self._command_context is None:
                self._command_context = context
            elif self._command_context is not context:
                raise ProtocolViolation("a command in two contexts", UNEXPECTED_PARAMETER)
            self._command_cost += length + 4  # an endless row of empty fragments counts too
            if self._command_cost > COMMAND_BYTES_MAX:
                raise ProtocolViolation("a command set that does not end", INVALID_PARAMETER)
        elif self._awaited is None:
            raise ProtocolViolation("a data set without a command", UNEXPECTED_PARAMETER)
        elif self._awaited is not context:
            raise ProtocolViolation("a data set in another context", UNEXPECTED_PARAMETER)
        remains = self._pdu_left - 4 - length
        if 0 < remains < PDV_HEADER_BYTES:
            raise ProtocolViolation(f"{remains} bytes behind a fragment", INVALID_PARAMETER)
        self._start += PDV_HEADER_BYTES
        self._pdu_left = remains
        self._fragment_left = length - 2
        self._fragment_flags = flags

    def _take_staged(self) -> None:
        """Move what the staging area holds of the open fragment to where it belongs."""
        n = min(self._end - self._start, self._fragment_left)
        if not n:
            return
        piece = self._staging[self._start : self._start + n]
        self._start += n
        if self._fragment_flags & PDV_COMMAND:
            self._fragment_left -= n
            self._command += piece
            return
        self.data_bytes += n
        while n:
            room = self._sink_room(n)
            taken = len(room)
            room[:] = piece[:taken]
            del room
            piece = piece[taken:]
            n -= taken
            self._fragment_left -= taken
            self._sink_filled(taken)

    def _end_fragment(self) -> Event | None:
        self._fragment_left = -1
        if not self._pdu_left:
            self.pdus += 1
        if not self._fragment_flags & PDV_LAST:
            return None
        if not self._fragment_flags & PDV_COMMAND:
            self._awaited = None
            return Signal.END_OF_DATA
        assert self._command_context is not None
        command = decode_command(self._command, self._command_context)
        self._command = bytearray()
        self._command_cost = 0
        if command.has_data_set:
            self._awaited = self._command_context
            self.sink = DISCARD
            self.sink_error = None
        self._command_context = None
        return command

    # --- sinks may fail; the stream goes on -----------------------------------------------------

    def _sink_room(self, n: int) -> memoryview:
        try:
            room = self.sink.room(n)
            if len(room) == 0:
                raise ValueError("a sink has no room and does not say why")
        except PeerBrokeProtocol:
            raise
        except Exception as error:  # noqa: BLE001 - the door of the data: it answers for any fault
            self._fail_sink(error)
            room = self.sink.room(n)
        return room if len(room) <= n else room[:n]

    def _sink_filled(self, n: int) -> None:
        try:
            self.sink.filled(n)
        except PeerBrokeProtocol:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            self._fail_sink(error)

    def _fail_sink(self, error: Exception | None) -> None:
        """Abandon the sink; what is left of the data set is thrown away."""
        if error is not None and not isinstance(error, SebagoError):
            log.error("a data set could not be taken", exc_info=error)
        failed, self.sink = self.sink, DISCARD
        self.sink_error = error
        try:
            failed.abandon()
        except Exception:
            log.exception("a data set could not be abandoned")
