"""A socket with an association on it: events in, buffers out, and every wait has an end.

The socket blocks, with `SO_RCVTIMEO` set once to a coarse tick: an ordinary read is one system
call, where Python's own timeouts make two. After a tick without bytes, and before a read that
could outlast a deadline, the deadline is looked at. Deadlines are totals, not gaps: a PDU that
drips in byte by byte does not prolong its own.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import struct
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from sebago.dimse.inflow import Event, Inflow
from sebago.dimse.negotiation import AcceptedContext
from sebago.dimse.pdu import Buffer, encode_abort
from sebago.errors import PeerAway, PeerBrokeProtocol

_TICK_S: Final = 15.0
_IOV_MAX: Final = 1024
"""Linux takes so many buffers in one sendmsg."""

_SLOWEST_SEND_BYTES: Final = 16 * 1024
"""A peer that takes less than this within the send timeout is not reading."""


class Closed(PeerAway):
    """The peer closed the connection, or it broke, without a release or an abort."""

    code = "peer-closed"


class Stalled(PeerAway):
    """The peer went silent, or a PDU of its was not complete in time."""

    code = "peer-stalled"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Deadlines of an association, in seconds."""

    pdu_s: float = 60.0
    """From a PDU's first byte to its last; also for a send without progress."""
    stall_s: float = 300.0
    """Between two PDUs of one message."""
    idle_s: float = 7200.0
    """Between messages: scanners hold associations open for an hour and more."""
    closing_s: float = 10.0
    """ARTIM after a rejection, a release or an abort (PS3.8 9.1.5): until the peer closes."""


class Channel:
    """The connection of one association, used by one thread."""

    __slots__ = (
        "_armed_s",
        "_pdu_seen",
        "_pdu_until",
        "_quick_ack",
        "_tick_s",
        "broken",
        "inflow",
        "sock",
        "timeouts",
    )

    def __init__(
        self,
        sock: socket.socket,
        contexts: Mapping[int, AcceptedContext],
        *,
        pdu_bytes_max: int,
        timeouts: Timeouts,
    ) -> None:
        self.sock = sock
        self.inflow = Inflow(contexts, pdu_bytes_max=pdu_bytes_max)
        self.timeouts = timeouts
        self.broken: PeerAway | PeerBrokeProtocol | None = None
        """Why this channel is of no more use, once it is: tells its end from other peers'."""
        self._tick_s = min(_TICK_S, timeouts.pdu_s)
        self._pdu_seen = -1
        self._quick_ack: int | None = None
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            self._quick_ack = getattr(socket, "TCP_QUICKACK", None)
        self._pdu_until = 0.0
        sock.settimeout(None)
        self._armed_s = 0.0
        self._arm(self._tick_s)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeouts.pdu_s))

    def next(self, wait_s: float) -> Event:
        """The next event; between messages, wait `wait_s` for it.

        Raises:
            ProtocolViolation: the peer broke the protocol.
            Stalled: a deadline passed.
            Closed: the connection is gone.
        """
        try:
            event = self.inflow.step()
            if event is None:
                until = time.monotonic() + wait_s
                while event is None:
                    self._receive(until)
                    event = self.inflow.step()
        except (PeerAway, PeerBrokeProtocol) as ended:
            self.broken = ended
            raise
        return event

    def poll(self) -> Event | None:
        """An event that can be had without waiting.

        Raises:
            ProtocolViolation, Closed: as `next`.
        """
        inflow = self.inflow
        try:
            while (event := inflow.step()) is None:
                room = inflow.room()
                try:
                    n = self.sock.recv_into(room, 0, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return None
                except OSError as error:
                    raise Closed(f"the connection broke: {error.strerror}") from error
                if not n:
                    raise Closed("the peer closed the connection")
                del room
                inflow.filled(n)
        except (PeerAway, PeerBrokeProtocol) as ended:
            self.broken = ended
            raise
        return event

    def _receive(self, until: float) -> None:
        """Some more bytes, at least one."""
        inflow = self.inflow
        now = time.monotonic()
        if inflow.mid_pdu:
            if inflow.pdus != self._pdu_seen:
                self._pdu_seen = inflow.pdus
                self._pdu_until = now + self.timeouts.pdu_s
            until = self._pdu_until
            if not inflow.in_data:
                self._acknowledge_quickly()
        elif inflow.mid_message:
            until = now + self.timeouts.stall_s
        room = inflow.room()
        while True:
            left = until - now
            if left <= 0:
                raise Stalled("a PDU was not complete in time" if inflow.mid_pdu else "silence")
            tick = self._tick_s
            if left < tick:
                self._arm(left)
            elif self._armed_s != tick:
                self._arm(tick)
            try:
                beyond = inflow.beyond(room)
                if beyond is None:
                    n = self.sock.recv_into(room)
                else:
                    n = self.sock.recvmsg_into((room, beyond))[0]
                break
            except BlockingIOError:
                now = time.monotonic()
            except OSError as error:
                raise Closed(f"the connection broke: {error.strerror}") from error
        if not n:
            raise Closed("the peer closed the connection")
        del room
        inflow.filled(n)

    def _arm(self, seconds: float) -> None:
        self._armed_s = seconds
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(seconds))

    def send(self, buffers: Iterable[Buffer]) -> None:
        """Send buffers one behind the other without joining them.

        Raises:
            Closed: the connection is gone.
            Stalled: the peer does not read.
        """
        try:
            left = iter(buffers)
            while batch := list(itertools.islice(left, _IOV_MAX)):
                self._send_batch(batch)
        except PeerAway as ended:
            self.broken = ended
            raise

    def _send_batch(self, batch: Sequence[Buffer]) -> None:
        left = sum(map(len, batch))
        while True:
            begun = time.monotonic()
            try:
                sent = self.sock.sendmsg(batch)
            except BlockingIOError:
                raise Stalled("the peer does not read") from None
            except OSError as error:
                raise Closed(f"the connection broke: {error.strerror}") from error
            left -= sent
            if not left:
                return
            # Less than all is sent when the send timeout passed, or a signal came.
            waited = time.monotonic() - begun >= self.timeouts.pdu_s
            if waited and sent < _SLOWEST_SEND_BYTES:
                raise Stalled("the peer reads too slowly")
            batch = _rest(batch, sent)

    def _acknowledge_quickly(self) -> None:
        """Have TCP acknowledge at once the piece of a command that has arrived.

        Peers that leave Nagle's algorithm on (DCMTK does, unless told not to) send a message in
        small writes, and hold the second back until the first is acknowledged, which Linux delays
        by 40 ms: 22 instances a second to its storescp instead of hundreds. The option is not
        sticky, so it is set where a command came in pieces, and nowhere else.
        """
        if self._quick_ack is not None:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.IPPROTO_TCP, self._quick_ack, 1)

    def end(self, why: PeerAway | PeerBrokeProtocol) -> NoReturn:
        """Mark the channel as of no more use, and raise why."""
        self.broken = why
        raise why

    def send_abort(self, source: int, reason: int) -> None:
        """Send an A-ABORT if it can be done at once; say that no more will come."""
        with contextlib.suppress(OSError):
            self.sock.send(encode_abort(source, reason), socket.MSG_DONTWAIT)
        self.finish_sending()

    def finish_sending(self) -> None:
        """Let the peer see the end of what we sent, so that it need not wait for a timer."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection and give up what was on its way."""
        self.inflow.give_up()
        self.sock.close()


def _timeval(seconds: float) -> bytes:
    """struct timeval; never zero, which would mean for ever."""
    micros = max(1000, int(seconds * 1_000_000))
    return struct.pack("ll", micros // 1_000_000, micros % 1_000_000)


def _rest(buffers: Sequence[Buffer], sent: int) -> list[Buffer]:
    """What is left of `buffers` after the first `sent` bytes."""
    for index, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[index + 1 :]]
        sent -= len(buffer)
    return []


def prepare(sock: socket.socket) -> None:
    """Options of every DICOM connection: no delay of small PDUs, and dead peers are noticed.

    Keep-alive probes find a half-open connection within about four minutes; an idle one, whose
    peer answers probes, stays.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4)):
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
