"""Connections that are not associations: new ones until their proposal is whole, old ones until
they are closed.

One thread with a selector, nothing in it blocks. A new connection has one deadline, from accept
to the last byte of a whole A-ASSOCIATE-RQ (ARTIM, PS3.8 9.1.5), however it drips. What is not a
proposal (HTTP, TLS, another PDU) is answered with an A-ABORT at its first byte. A connection is a
socket and the bytes that arrived, nothing more, so thousands of silent ones cost little; past
`lobby_max` the oldest gives way.

After a rejection, a release or an abort the peer is to close the connection: until it does, or
the closing deadline passes, what it still sends is thrown away. Closing at once would reset the
connection, and the peer might never read why.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from sebago.dimse.associate import FIXED_BYTES, AssociateRq, decode_associate_rq
from sebago.dimse.channel import prepare
from sebago.dimse.negotiation import rejection
from sebago.dimse.pdu import (
    ABORT,
    ABORT_BY_USER,
    ASSOCIATE_RQ,
    HEADER_BYTES,
    NOT_SPECIFIED,
    ProtocolViolation,
    encode_abort,
    encode_reject,
)

log = logging.getLogger(__name__)

ASSOCIATE_BYTES_MAX: Final = 1 << 20
"""Longest A-ASSOCIATE-RQ: 128 contexts with every syntax there is come to some 100 KiB."""

PROPOSALS_BYTES_MAX: Final = 64 << 20
"""Of unfinished proposals together; past it the oldest connection without one gives way."""

_ACCEPTS_AT_ONCE: Final = 64
_PAUSE_S: Final = 0.2
_OUT_OF_RESOURCES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Arrived = Callable[[socket.socket, AssociateRq, str], bytes | None]
"""Takes the socket over and returns None, or returns what to send before it is closed."""


class _Guest:
    """A connection in the lobby."""

    __slots__ = ("address", "arrived", "deadline", "leaving", "sock")

    def __init__(self, sock: socket.socket, address: str, deadline: float) -> None:
        self.sock = sock
        self.address = address
        self.deadline = deadline
        self.arrived = bytearray()
        self.leaving = False


class Lobby:
    """Listening sockets, guests, and the thread's loop over them."""

    def __init__(
        self,
        sockets: Iterable[socket.socket],
        arrived: Arrived,
        *,
        associate_s: float,
        closing_s: float,
        lobby_max: int,
    ) -> None:
        self.refused = 0
        """Connections that brought no acceptable proposal."""
        self._listening = list(sockets)
        self._arrived = arrived
        self._associate_s = associate_s
        self._closing_s = closing_s
        self._lobby_max = lobby_max
        # Each in the order of its deadlines, because each has one length of stay.
        self._coming: dict[int, _Guest] = {}
        self._leaving: dict[int, _Guest] = {}
        self._farewells: deque[socket.socket] = deque()
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = socket.socketpair()
        self._wake_r.setblocking(False)
        self._wake_w.setblocking(False)
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._paused_until: float | None = None
        self._open = False
        self._closed = False
        self._held_bytes = 0

    # --- from other threads ---------------------------------------------------------------------

    def see_off(self, sock: socket.socket) -> None:
        """Take over a connection that was said good-bye to; wait for the peer to close it."""
        self._farewells.append(sock)
        self.wake()
        if self._closed:  # an association that outlived the lobby
            sock.close()

    def wake(self) -> None:
        """Make `turn` return soon. Safe in a signal handler."""
        with contextlib.suppress(OSError):
            self._wake_w.send(b"\0")

    # --- from the lobby's thread ----------------------------------------------------------------

    def open(self) -> None:
        """Begin to accept."""
        for listener in self._listening:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
        self._open = True

    def shut(self) -> None:
        """Accept nothing more, and send away who has not yet brought a proposal."""
        if self._open:
            self._open = False
            if self._paused_until is None:
                for listener in self._listening:
                    self._selector.unregister(listener)
        for guest in list(self._coming.values()):
            self._dismiss(guest, encode_abort(ABORT_BY_USER, NOT_SPECIFIED))

    def close(self) -> None:
        """Drop every guest."""
        self._closed = True
        while self._farewells:
            self._farewells.popleft().close()
        for guests in (self._coming, self._leaving):
            for guest in guests.values():
                guest.sock.close()
            guests.clear()
        self._selector.close()
        self._wake_r.close()
        self._wake_w.close()

    @property
    def guests(self) -> int:
        """Connections in the lobby."""
        return len(self._coming) + len(self._leaving) + len(self._farewells)

    def turn(self, wait_s: float | None) -> None:
        """One round: wait for something to happen, at most `wait_s`, and see to it."""
        for key, _ in self._selector.select(self._wait(wait_s)):
            if isinstance(key.data, _Guest):
                self._attend(key.data)
            elif key.fileobj is self._wake_r:
                with contextlib.suppress(BlockingIOError):
                    while self._wake_r.recv(4096):
                        pass
            else:
                assert isinstance(key.fileobj, socket.socket)
                self._accept(key.fileobj)
        while self._farewells:
            self._take_over(self._farewells.popleft())
        self._expire()

    def _attend(self, guest: _Guest) -> None:
        """A guest's socket can be read; whatever comes of it, the door stays open to others."""
        try:
            if guest.leaving:
                self._drain(guest)
            else:
                self._read(guest)
        except Exception:
            log.exception("a connection from %s failed", guest.address)
            self._drop(guest)

    def _wait(self, wait_s: float | None) -> float | None:
        """Until the first deadline, or for `wait_s` if that is shorter."""
        deadlines = [guest.deadline for guest in self._first_guests()]
        if self._paused_until is not None:
            deadlines.append(self._paused_until)
        if not deadlines:
            return wait_s
        until = max(0.0, min(deadlines) - time.monotonic())
        return until if wait_s is None else min(until, wait_s)

    def _first_guests(self) -> list[_Guest]:
        return [next(iter(guests.values())) for guests in (self._coming, self._leaving) if guests]

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return  # nobody there, or another process was quicker
            except OSError as error:
                self._look_away(error)
                return
            sock.setblocking(False)
            host = str(address[0]) if isinstance(address, tuple) and address else ""
            guest = _Guest(sock, host, time.monotonic() + self._associate_s)
            try:
                prepare(sock)
                self._selector.register(sock, selectors.EVENT_READ, guest)
            except OSError:
                sock.close()  # it is gone already
                continue
            self._coming[sock.fileno()] = guest
            if len(self._coming) > self._lobby_max:
                self._drop_oldest()
            self._attend(guest)

    def _look_away(self, error: OSError) -> None:
        """Accepting fails: leave the listening sockets alone a while, lest the loop spins.

        When descriptors have run out, whoever has been in the lobby for longest makes room.
        """
        log.error("cannot accept a connection: %s", error.strerror)
        if error.errno in _OUT_OF_RESOURCES:
            self._drop_oldest()
        if self._paused_until is None:
            for listener in self._listening:
                self._selector.unregister(listener)
        self._paused_until = time.monotonic() + _PAUSE_S

    def _drop_oldest(self) -> None:
        for guest in self._first_guests():
            self._drop(guest)

    def _read(self, guest: _Guest) -> None:
        """Take what has arrived of a proposal, never a byte past it."""
        arrived = guest.arrived
        while True:
            if len(arrived) < HEADER_BYTES:
                wanted = HEADER_BYTES - len(arrived)
            else:
                wanted = HEADER_BYTES + int.from_bytes(arrived[2:6], "big") - len(arrived)
            try:
                piece = guest.sock.recv(min(wanted, 64 * 1024))
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                self._drop(guest)
                return
            if not piece:
                self._drop(guest)
                return
            arrived += piece
            self._held_bytes += len(piece)
            if arrived[0] == ABORT:
                self._dismiss(guest, b"")  # AA-2
                return
            problem = _judge_header(arrived)
            if problem:
                self.refused += 1
                log.info("connection from %s refused: %s", guest.address, problem)
                # Sta2 and anything but a proposal is AA-1, whose source is the service user.
                self._dismiss(guest, encode_abort(ABORT_BY_USER, NOT_SPECIFIED))
                return
            if len(arrived) >= HEADER_BYTES and len(arrived) == HEADER_BYTES + int.from_bytes(
                arrived[2:6], "big"
            ):
                self._proposed(guest)
                return
            while self._held_bytes > PROPOSALS_BYTES_MAX and self._coming:
                self._drop(next(iter(self._coming.values())))

    def _proposed(self, guest: _Guest) -> None:
        """A whole A-ASSOCIATE-RQ is there."""
        try:
            request = decode_associate_rq(memoryview(guest.arrived)[HEADER_BYTES:])
        except ProtocolViolation as violation:
            self.refused += 1
            log.info("proposal from %s aborted: %s", guest.address, violation)
            self._dismiss(guest, encode_abort(violation.source, violation.reason))
            return
        refusal = rejection(request)
        if refusal is not None:
            self.refused += 1
            log.info("proposal from %s rejected: %s", guest.address, refusal)
            self._dismiss(guest, encode_reject(refusal))
            return
        self._leave(guest)
        farewell = self._arrived(guest.sock, request, guest.address)
        if farewell is not None:
            self.refused += 1
            self._say(guest.sock, farewell)
            self._take_over(guest.sock)

    def _dismiss(self, guest: _Guest, pdu: bytes) -> None:
        """Send a last PDU and wait for the peer to close."""
        self._leave(guest)
        self._say(guest.sock, pdu)
        self._take_over(guest.sock)

    def _leave(self, guest: _Guest) -> None:
        """The guest is not in the lobby any more; its socket stays open."""
        guests = self._leaving if guest.leaving else self._coming
        if guests.pop(guest.sock.fileno(), None) is not None:
            self._selector.unregister(guest.sock)
            self._held_bytes -= len(guest.arrived)

    def _say(self, sock: socket.socket, pdu: bytes) -> None:
        with contextlib.suppress(OSError):
            if pdu:
                sock.send(pdu, socket.MSG_DONTWAIT)
            sock.shutdown(socket.SHUT_WR)

    def _take_over(self, sock: socket.socket) -> None:
        """Sta13: the peer is to close the connection."""
        try:
            sock.setblocking(False)
            guest = _Guest(sock, "", time.monotonic() + self._closing_s)
            guest.leaving = True
            self._selector.register(sock, selectors.EVENT_READ, guest)
        except OSError:
            sock.close()
            return
        self._leaving[sock.fileno()] = guest
        self._drain(guest)
        if len(self._leaving) > self._lobby_max:
            self._drop(next(iter(self._leaving.values())))

    def _drain(self, guest: _Guest) -> None:
        try:
            for _ in range(16):
                if not guest.sock.recv(64 * 1024):
                    break
            else:
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._drop(guest)

    def _drop(self, guest: _Guest) -> None:
        self._leave(guest)
        guest.sock.close()

    def _expire(self) -> None:
        now = time.monotonic()
        for guests in (self._coming, self._leaving):
            while guests:
                guest = next(iter(guests.values()))
                if guest.deadline > now:
                    break
                if not guest.leaving:
                    self.refused += 1
                    log.info("connection from %s brought no proposal in time", guest.address)
                self._drop(guest)
        if self._paused_until is not None and self._paused_until <= now:
            self._paused_until = None
            if self._open:
                for listener in self._listening:
                    self._selector.register(listener, selectors.EVENT_READ)


def _judge_header(arrived: bytearray) -> str:
    """What is wrong with what came so far of a proposal, "" if nothing."""
    if arrived[0] != ASSOCIATE_RQ:
        return f"its first byte is {arrived[0]:02X}H, not an A-ASSOCIATE-RQ"
    if len(arrived) >= HEADER_BYTES:
        length = int.from_bytes(arrived[2:6], "big")
        if not FIXED_BYTES <= length <= ASSOCIATE_BYTES_MAX:
            return f"A-ASSOCIATE-RQ claims {length} bytes"
    return ""
