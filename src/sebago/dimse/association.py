"""One association that we accepted: its messages, one after the other, in a thread of its own.

States of PS3.8 9.2 and where they are: Sta2 is the lobby; Sta3 is `_admit`; Sta6 is `_serve`;
Sta8 is the moment between A-RELEASE-RQ and -RP; Sta13 is the lobby again (`see_off`), where the
connection waits for the peer to close it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sebago.dimse.associate import AssociateRq, encode_associate_ac
from sebago.dimse.channel import Channel, Closed, Stalled, Timeouts
from sebago.dimse.command import (
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    CANNOT_UNDERSTAND,
    MISTYPED_ARGUMENT,
    PROCESSING_FAILURE,
    REQUESTS,
    RESPONSE,
    UNRECOGNIZED_OPERATION,
    Command,
    encode_response,
    is_pending,
    store_response_pdu,
)
from sebago.dimse.handler import Handler
from sebago.dimse.inflow import Event, Signal
from sebago.dimse.negotiation import AcceptedContext, Admission, Identity, answer
from sebago.dimse.pdu import (
    ABORT,
    ABORT_BY_PROVIDER,
    ABORT_BY_USER,
    NOT_SPECIFIED,
    REJECT_CONGESTION,
    RELEASE_RP_PDU,
    UNEXPECTED_PDU,
    Aborted,
    Buffer,
    ProtocolViolation,
    Rejection,
    encode_abort,
    encode_reject,
    fragment_bytes_max,
)
from sebago.dimse.sink import DISCARD, Buffered, Sink
from sebago.dimse.storing import by_syntaxes, message_pdus, store_request
from sebago.errors import NotSupported, PeerAway, SebagoError

log = logging.getLogger(__name__)

_NEEDS_DATA_SET = frozenset((C_STORE_RQ, C_FIND_RQ, C_GET_RQ, C_MOVE_RQ))
_CANCELS_MAX = 64


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as far as it says so itself; `address` is where it really is."""

    calling_ae_title: str
    called_ae_title: str
    address: str
    implementation_class_uid: str
    implementation_version: str

    def __str__(self) -> str:
        return (
            f"{self.calling_ae_title.encode('ascii', 'backslashreplace').decode()}@{self.address}"
        )


class Association:
    """An accepted association, handed to the handler with every command.

    Not for several threads: whoever handles a command has the association to itself until it
    returns, `stopping` apart.
    """

    def __init__(
        self,
        sock: socket.socket,
        request: AssociateRq,
        address: str,
        handler: Handler,
        *,
        identity: Identity,
        timeouts: Timeouts,
        response_timeout_s: float = 600.0,
    ) -> None:
        self.request = request
        self.peer = Peer(
            request.calling_ae_title,
            request.called_ae_title,
            address,
            request.implementation_class_uid,
            request.implementation_version,
        )
        self.caller: Any = None
        self.contexts: Mapping[int, AcceptedContext] = {}
        self.stopping = False
        """The acceptor is about to stop: long operations may end early."""
        self.commands = 0
        """Requests received so far."""
        self.idle = False
        """Waiting between messages. Read by the acceptor's thread when it stops."""
        self._sock = sock
        self._handler = handler
        self._identity = identity
        self._timeouts = timeouts
        self._response_timeout_s = response_timeout_s
        self._fragment_max = fragment_bytes_max(request.max_pdu_bytes)
        self._channel: Channel | None = None
        self._stash: Event | None = None
        self._cancelled: set[int] = set()
        self._answered = True
        self._sub_operation_id = 0
        self._storable: dict[tuple[str, str], AcceptedContext] | None = None

    # --- for handlers ---------------------------------------------------------------------------

    @property
    def bytes_received(self) -> int:
        """Bytes of data sets received so far."""
        return self._channel.inflow.data_bytes if self._channel else 0

    def respond(
        self,
        command: Command,
        status: int,
        *,
        identifier: Buffer | None = None,
        remaining: int | None = None,
        completed: int | None = None,
        failed: int | None = None,
        warning: int | None = None,
        error_comment: str = "",
        offending: tuple[int, ...] = (),
    ) -> None:
        """Answer a request; pending statuses (FF00, FF01) may be followed by further responses.

        Args:
            command: the request.
            status: PS3.7 annex C, PS3.4.
            identifier: a data set in the context's transfer syntax.
            remaining: sub-operations of C-MOVE and C-GET, as are the next three.
            error_comment: at most 64 characters are sent; nothing of a patient.
            offending: tags for (0000,0901).

        Raises:
            PeerAway: the connection is gone, or the peer does not read.
        """
        channel = self._open_channel()
        if not is_pending(status):
            self._answered = True
        counts = (remaining, completed, failed, warning)
        plain = identifier is None and not error_comment and not offending
        if plain and command.field == C_STORE_RQ and counts == (None, None, None, None):
            pdu = store_response_pdu(command, status)
            if pdu is not None and len(pdu) <= self._fragment_max:
                channel.send([pdu])
                return
        encoded = encode_response(
            command,
            status,
            with_data_set=identifier is not None,
            counts=counts,
            error_comment=error_comment,
            offending=offending,
        )
        channel.send(
            message_pdus(command.context, encoded, identifier, fragment_max=self._fragment_max)
        )

    def respond_error(self, command: Command, error: SebagoError) -> None:
        """Answer with the status of an error; its text is cut to what an Error Comment holds."""
        self.respond(command, error.dimse_status, error_comment=str(error))

    def cancelled(self, message_id: int) -> bool:
        """Whether a C-CANCEL for this request has arrived; looks without waiting.

        Raises:
            PeerAway: the peer aborted, closed or asked for a release meanwhile: nobody waits for
                the answer any more.
            ProtocolViolation: what arrived is nonsense; let it pass.
        """
        channel = self._open_channel()
        while self._stash is None and (event := channel.poll()) is not None:
            self._note(channel, event)
        return message_id in self._cancelled

    def context_for(self, sop_class_uid: str, transfer_syntax_uid: str) -> AcceptedContext | None:
        """A context on which `store` can send such an object: the peer has the SCP role on it."""
        if self._storable is None:
            self._storable = by_syntaxes(self.contexts.values(), requestor_scp=True)
        return self._storable.get((sop_class_uid, transfer_syntax_uid))

    def storable(self, sop_class_uid: str) -> tuple[str, ...]:
        """Transfer syntaxes in which `store` can send objects of a SOP class."""
        return tuple(
            context.transfer_syntax
            for context in self.contexts.values()
            if context.requestor_scp and context.abstract_syntax == sop_class_uid
        )

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data: Buffer | Sequence[Buffer],
    ) -> int:
        """A C-STORE sub-operation of a C-GET on this association; its status (PS3.4 C.4.3).

        Nothing of `data` is copied. A C-CANCEL that comes in between is remembered for
        `cancelled`.

        Raises:
            NotSupported: no context for it was accepted with the SCP role.
            PeerAway: the peer is gone or does not answer.
        """
        context = self.context_for(sop_class_uid, transfer_syntax_uid)
        if context is None:
            raise NotSupported(f"no context to send {sop_class_uid} in {transfer_syntax_uid}")
        self._sub_operation_id = self._sub_operation_id % 0xFFFF + 1
        channel = self._open_channel()
        channel.send(
            store_request(
                context,
                self._sub_operation_id,
                sop_class_uid,
                sop_instance_uid,
                data,
                fragment_max=self._fragment_max,
            )
        )
        while True:
            event = channel.next(self._response_timeout_s)
            if (
                isinstance(event, Command)
                and event.field == C_STORE_RQ | RESPONSE
                and event.message_id == self._sub_operation_id
                and not event.has_data_set
            ):
                return event.status
            self._note(channel, event)
            if self._stash is not None:
                channel.end(_unexpected("a request where a response is due"))

    # --- for the acceptor -----------------------------------------------------------------------

    def run(self, see_off: Callable[[socket.socket], None]) -> None:
        """Negotiate, serve until the end, then hand the socket to `see_off`, which closes it."""
        try:
            self._run()
        except OSError as error:
            log.info("association with %s lost: %s", self.peer, error)
        except Exception:
            log.exception("association with %s failed", self.peer)
            self._last_words(encode_abort(ABORT_BY_USER, NOT_SPECIFIED))
        finally:
            see_off(self._sock)

    def interrupt(self, *, hard: bool) -> None:
        """Called by the acceptor's thread when it stops.

        An idle association wakes up and is aborted by its own thread; one in the middle of a
        message finishes it first. `hard` breaks the connection.
        """
        self.stopping = True
        if hard or self.idle:
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR if hard else socket.SHUT_RD)

    def _run(self) -> None:
        """Sta3 and on; on return all that the peer should read has been sent."""
        admission = self._admit()
        if admission is None:
            return
        try:
            self.caller = admission.caller
            reply, self.contexts = answer(self.request, admission, self._identity)
            channel = Channel(
                self._sock,
                self.contexts,
                pdu_bytes_max=self._identity.pdu_bytes_max,
                timeouts=self._timeouts,
            )
            self._channel = channel
            try:
                self._serve(channel, encode_associate_ac(reply))
            finally:
                channel.inflow.give_up()
        finally:
            self._handler.closed(self)  # which may ask how much was received
            self._channel = None

    def _admit(self) -> Admission | None:
        """Sta3: ask the handler. None when the peer has been told no."""
        rejection: Rejection | None
        try:
            admission = self._handler.admit(self.request, self.peer.address)
            rejection = admission.reject
        except Exception:
            log.exception("cannot decide on an association of %s", self.peer)
            rejection = REJECT_CONGESTION
        if rejection is not None:
            log.info("association of %s rejected: %s", self.peer, rejection)
            self._last_words(encode_reject(rejection))
            return None
        return admission

    def _last_words(self, pdu: bytes) -> None:
        with contextlib.suppress(OSError):
            self._sock.send(pdu, socket.MSG_DONTWAIT)
            self._sock.shutdown(socket.SHUT_WR)

    def _serve(self, channel: Channel, accept: bytes) -> None:
        """The answer to the proposal, then Sta6 to the end."""
        try:
            if (early := _peek(self._sock)) is not None:
                # PS3.8 table 9-10: in Sta3 only an A-ABORT, or the end, may come.
                if early == ABORT:
                    channel.end(Closed("the peer thought better of it"))
                channel.end(_unexpected(f"PDU type {early:02X}H before the answer"))
            channel.send([accept])
            while True:
                event = self._next_between(channel)
                if isinstance(event, Command):
                    self._take(channel, event)
                elif event is Signal.RELEASE_RQ:
                    channel.end(_Released("A-RELEASE-RQ"))
                elif isinstance(event, Aborted):
                    channel.end(Closed(str(event)))
                else:
                    channel.end(_unexpected(event.value))
        except _Released:
            with contextlib.suppress(PeerAway):
                channel.send([RELEASE_RP_PDU])
            channel.finish_sending()
        except ProtocolViolation as violation:
            log.warning("association with %s aborted: %s", self.peer, violation)
            channel.send_abort(violation.source, violation.reason)
        except Stalled as stalled:
            log.info("association with %s aborted: %s", self.peer, stalled)
            channel.send_abort(ABORT_BY_PROVIDER, NOT_SPECIFIED)
        except Closed as closed:
            if self.stopping:
                channel.send_abort(ABORT_BY_USER, NOT_SPECIFIED)
            else:
                log.info("association with %s lost: %s", self.peer, closed)
                channel.finish_sending()

    def _next_between(self, channel: Channel) -> Event:
        """The next event between two messages; what `cancelled` came upon is first."""
        if self._stash is not None:
            event, self._stash = self._stash, None
            return event
        # The acceptor sets `stopping`, then looks at `idle`; here it is the other way round. So
        # either it sees this association idle and wakes it up, or the stop is seen here.
        self.idle = True
        try:
            if self.stopping:
                channel.end(Closed("stopping"))
            return channel.next(self._timeouts.idle_s)
        finally:
            self.idle = False

    def _take(self, channel: Channel, command: Command) -> None:
        """Receive a request's data set, and have it answered whatever happens."""
        if command.is_response:
            channel.end(_unexpected(f"{command.name} to nothing"))
        known = command.field in REQUESTS
        sink: Sink | None = None
        error: Exception | None = None
        if command.has_data_set:
            wanted = known and command.field not in (C_ECHO_RQ, C_CANCEL_RQ)
            sink, error = self._receive_data(channel, command, wanted=wanted)
        if command.field == C_CANCEL_RQ:
            return  # what it would cancel is over
        self.commands += 1
        self._answered = False
        self._cancelled.clear()
        try:
            if error is not None:
                raise error
            if not known:
                self.respond(command, UNRECOGNIZED_OPERATION)
            elif command.field == C_ECHO_RQ and command.has_data_set:
                self.respond(command, MISTYPED_ARGUMENT, error_comment="C-ECHO has no data set")
            elif command.field in _NEEDS_DATA_SET and not command.has_data_set:
                self.respond(command, CANNOT_UNDERSTAND, error_comment="no data set")
            else:
                self._handler.handle(self, command, sink)
        except Exception as failed:
            if channel.broken is not None:
                raise channel.broken from failed
            self._answer_failure(command, failed)
        if channel.broken is not None:
            raise channel.broken
        if not self._answered:
            log.error("%s of %s was left without an answer", command.name, self.peer)
            self.respond(command, PROCESSING_FAILURE)

    def _answer_failure(self, command: Command, failed: Exception) -> None:
        if isinstance(failed, SebagoError):
            log.warning("%s of %s refused: %s: %s", command.name, self.peer, failed.code, failed)
            if not self._answered:
                self.respond_error(command, failed)
            return
        log.error("%s of %s failed", command.name, self.peer, exc_info=failed)
        if not self._answered:
            self.respond(command, PROCESSING_FAILURE, error_comment="internal failure, see the log")

    def _receive_data(
        self, channel: Channel, command: Command, *, wanted: bool
    ) -> tuple[Sink | None, Exception | None]:
        """Read the data set to its end; the sink, or why it could not be taken."""
        inflow = channel.inflow
        error: Exception | None = None
        sink: Sink = DISCARD
        if wanted:
            try:
                sink = self._handler.sink(self, command) or Buffered()
            except Exception as raised:  # noqa: BLE001 - answered after the data set is read
                error = raised
        inflow.sink = sink
        event = channel.next(self._timeouts.stall_s)
        if event is not Signal.END_OF_DATA:
            inflow.give_up()
            self._note(channel, event)
            channel.end(_unexpected("something else inside a data set"))
        inflow.sink = DISCARD
        error = error or inflow.sink_error
        return (None if error or not wanted else sink), error

    def _note(self, channel: Channel, event: Event) -> None:
        """Take in what comes while a request is being carried out."""
        if isinstance(event, Command):
            if event.field == C_CANCEL_RQ and not event.has_data_set:
                if len(self._cancelled) < _CANCELS_MAX:
                    self._cancelled.add(event.message_id)
            elif event.is_response:
                channel.end(_unexpected(f"{event.name} to nothing"))
            else:
                self._stash = event  # the peer does not wait for answers: its turn comes
        elif event is Signal.RELEASE_RQ:
            channel.end(_Released("the peer released the association"))
        elif isinstance(event, Aborted):
            channel.end(Closed(str(event)))
        else:
            channel.end(_unexpected(event.value))

    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise Closed("the association is over")
        return self._channel


class _Released(PeerAway):
    """The peer sent A-RELEASE-RQ: orderly, but whatever was going on has no listener any more."""

    code = "peer-released"


def _unexpected(what: str) -> ProtocolViolation:
    return ProtocolViolation(f"unexpected: {what}", UNEXPECTED_PDU)


def _peek(sock: socket.socket) -> int | None:
    """The type of a PDU that is there already; None when there is nothing, as should be."""
    try:
        early = sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    return early[0] if early else ABORT
