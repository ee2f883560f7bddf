"""The DICOM door: takes connections, reads proposals, gives each association a thread.

Several processes may share one listening socket: each runs an acceptor of its own on it.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sebago.dimse.associate import AssociateRq
from sebago.dimse.association import Association
from sebago.dimse.channel import Timeouts
from sebago.dimse.handler import Handler
from sebago.dimse.lobby import Lobby
from sebago.dimse.negotiation import Identity
from sebago.dimse.pdu import REJECT_CONGESTION, REJECT_LOCAL_LIMIT, encode_reject

log = logging.getLogger(__name__)

_STACK_BYTES: Final = 512 * 1024
"""Of an association's thread; only what is touched of it takes memory."""

_STOP_LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Counters:
    """What an acceptor has done so far, for metrics."""

    associations_open: int
    associations_accepted: int
    connections_refused: int
    lobby: int


class Acceptor:
    """Serves associations on listening sockets until it is stopped.

    Args:
        handler: decides and answers.
        sockets: already listening. They are made non-blocking, and stay open after the stop.
        identity: implementation class UID and version name, and the longest PDU to ask for.
        associations_max: more are rejected as transient, local limit exceeded.
        associate_timeout_s: from accept to a whole A-ASSOCIATE-RQ.
        timeouts: of associations.
        lobby_max: connections without a proposal; past it the oldest is closed.
    """

    def __init__(
        self,
        handler: Handler,
        sockets: Sequence[socket.socket],
        *,
        identity: Identity,
        associations_max: int = 2000,
        associate_timeout_s: float = 30.0,
        timeouts: Timeouts | None = None,
        lobby_max: int = 4096,
    ) -> None:
        self._handler = handler
        self._identity = identity
        self._associations_max = associations_max
        self._timeouts = timeouts or Timeouts()
        self._lock = threading.Lock()
        self._associations: dict[Association, threading.Thread] = {}
        self._accepted = 0
        self._stop_at: float | None = None
        self._lobby = Lobby(
            sockets,
            self._arrived,
            associate_s=associate_timeout_s,
            closing_s=self._timeouts.closing_s,
            lobby_max=lobby_max,
        )

    def serve_forever(self) -> None:
        """Accept and serve; returns once `stop` was called and every association is over."""
        lobby = self._lobby
        lobby.open()
        try:
            while self._stop_at is None:
                lobby.turn(None)
            lobby.shut()
            self._wind_down(self._stop_at)
        finally:
            lobby.close()

    def stop(self, grace_s: float) -> None:
        """Ask for the end; returns at once, may be called in a signal handler.

        Nothing new is accepted. Idle associations are aborted now, the others after the message
        that they are at, or when `grace_s` has passed.
        """
        if self._stop_at is None:
            self._stop_at = time.monotonic() + grace_s
        self._lobby.wake()

    @property
    def counters(self) -> Counters:
        """A snapshot."""
        return Counters(
            len(self._associations), self._accepted, self._lobby.refused, self._lobby.guests
        )

    def _wind_down(self, until: float) -> None:
        hard = False
        while True:
            with self._lock:
                remaining = list(self._associations)
            if not remaining:
                break
            if time.monotonic() >= until:
                if hard:
                    log.error("%d associations do not end", len(remaining))
                    break
                hard = True
                until = time.monotonic() + 1.0
            for association in remaining:
                association.interrupt(hard=hard)
            self._lobby.turn(_STOP_LOOK_S)
        # The last A-ABORTs are read by their peers before the sockets go.
        last = time.monotonic() + min(1.0, self._timeouts.closing_s)
        while self._lobby.guests and time.monotonic() < last:
            self._lobby.turn(_STOP_LOOK_S)

    def _arrived(self, sock: socket.socket, request: AssociateRq, address: str) -> bytes | None:
        """Called by the lobby with a whole proposal: start its thread, or say why not."""
        if len(self._associations) >= self._associations_max:
            log.warning(
                "association from %s rejected: %d are open", address, len(self._associations)
            )
            return encode_reject(REJECT_LOCAL_LIMIT)
        sock.setblocking(True)
        association = Association(
            sock,
            request,
            address,
            self._handler,
            identity=self._identity,
            timeouts=self._timeouts,
        )
        thread = threading.Thread(
            target=self._run, args=(association,), name=f"dimse {address}", daemon=True
        )
        with self._lock:
            self._associations[association] = thread
        stack_bytes = threading.stack_size(_STACK_BYTES)
        try:
            thread.start()
        except RuntimeError:
            log.exception("no thread for an association from %s", address)
            with self._lock:
                del self._associations[association]
            return encode_reject(REJECT_CONGESTION)
        finally:
            threading.stack_size(stack_bytes)
        self._accepted += 1
        return None

    def _run(self, association: Association) -> None:
        try:
            association.run(self._lobby.see_off)
        finally:
            with self._lock:
                del self._associations[association]
            if self._stop_at is not None:
                self._lobby.wake()
