"""The requestor: associations that we open, and the services that we ask for on them.

    with Requestor.connect(host, port, called="PACS", calling="SEBAGO", identity=identity,
                           contexts=[(ct_image_storage, [explicit_vr_le])]) as peer:
        status = peer.store(ct_image_storage, sop_instance_uid, explicit_vr_le, data)

Leaving the block releases the association, or aborts it after an exception. Everything that ends
an association raises `PeerAway` (or `PeerBrokeProtocol`, then with an A-ABORT sent); a status is
always returned, never raised. Not for several threads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import TracebackType

from sebago.dimse.associate import (
    AssociateAc,
    AssociateRq,
    UserIdentity,
)
from sebago.dimse.channel import Channel, Closed, Stalled, Timeouts
from sebago.dimse.command import (
    ACTION_TYPE_ID,
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_CANCEL_RQ,
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    EVENT_TYPE_ID,
    MESSAGE_ID,
    MESSAGE_ID_RESPONDED_TO,
    MOVE_DESTINATION,
    N_ACTION_RQ,
    N_EVENT_REPORT_RQ,
    NO_DATA_SET,
    PRIORITY,
    PROCESSING_FAILURE,
    REQUESTED_SOP_CLASS_UID,
    REQUESTED_SOP_INSTANCE_UID,
    RESPONSE,
    UNRECOGNIZED_OPERATION,
    WITH_DATA_SET,
    Command,
    Progress,
    Value,
    encode_command,
    encode_response,
    is_pending,
    progress,
)
from sebago.dimse.dial import dial
from sebago.dimse.inflow import Event, Signal
from sebago.dimse.negotiation import AcceptedContext, Identity, agreed, propose
from sebago.dimse.pdu import (
    ABORT_BY_PROVIDER,
    ABORT_BY_USER,
    NOT_SPECIFIED,
    RELEASE_RP_PDU,
    RELEASE_RQ_PDU,
    UNEXPECTED_PDU,
    Aborted,
    Buffer,
    ProtocolViolation,
    fragment_bytes_max,
)
from sebago.dimse.sink import DISCARD, IDENTIFIER_BYTES_MAX, Buffered, Sink
from sebago.dimse.storing import by_syntaxes, message_pdus, store_request
from sebago.errors import NotSupported, PeerAway, PeerBrokeProtocol, SebagoError

VERIFICATION = "1.2.840.10008.1.1"


class Requestor:
    """An association that we opened. Make one with `connect`."""

    def __init__(
        self,
        channel: Channel,
        reply: AssociateAc,
        contexts: Mapping[int, AcceptedContext],
        *,
        response_timeout_s: float,
    ) -> None:
        self.reply = reply
        self.contexts = contexts
        """Accepted contexts by id."""
        self.last_response: Command | None = None
        """The last response received, for its error comment and other details."""
        self._channel = channel
        self._response_timeout_s = response_timeout_s
        self._fragment_max = fragment_bytes_max(reply.max_pdu_bytes)
        self._storable = by_syntaxes(contexts.values(), requestor_scp=False)
        self._message_id = 0
        self._over = False

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        *,
        called: str,
        calling: str,
        contexts: Sequence[tuple[str, Sequence[str]]],
        identity: Identity,
        roles: Mapping[str, tuple[bool, bool]] | None = None,
        extended: Mapping[str, bytes] | None = None,
        user_identity: UserIdentity | None = None,
        connect_timeout_s: float = 10.0,
        associate_timeout_s: float = 30.0,
        response_timeout_s: float = 600.0,
        timeouts: Timeouts | None = None,
    ) -> Requestor:
        """Open an association.

        Args:
            host: name or address.
            port: TCP port.
            called: AE title of the peer.
            calling: our AE title.
            contexts: (abstract syntax, transfer syntaxes) pairs, at most 128. To be able to send
                an object in several syntaxes, propose a context for each: an acceptor chooses one
                syntax per context.
            identity: implementation class and version, and the longest PDU to ask for.
            roles: by SOP class UID the (SCU, SCP) roles to ask for; C-GET needs (False, True) or
                (True, True) for every storage class.
            extended: SOP class extended negotiation by SOP class UID.
            user_identity: PS3.7 D.3.3.7.
            connect_timeout_s: for the TCP connection.
            associate_timeout_s: from the proposal to the whole answer.
            response_timeout_s: for each response to a request.
            timeouts: of PDUs and of closing.

        Raises:
            Rejected: by the peer.
            PeerAway: no connection, or no answer in time.
            PeerBrokeProtocol: the answer makes no sense.
        """
        request = AssociateRq(
            called_ae_title=called,
            calling_ae_title=calling,
            contexts=propose(contexts),
            max_pdu_bytes=identity.pdu_bytes_max,
            implementation_class_uid=identity.implementation_class_uid,
            implementation_version=identity.implementation_version,
            roles=roles or {},
            extended=extended or {},
            user_identity=user_identity,
        )
        sock, reply = dial(
            host,
            port,
            request,
            connect_timeout_s=connect_timeout_s,
            associate_timeout_s=associate_timeout_s,
        )
        accepted = agreed(request, reply)
        try:
            channel = Channel(
                sock,
                accepted,
                pdu_bytes_max=identity.pdu_bytes_max,
                timeouts=timeouts or Timeouts(),
            )
        except OSError as error:
            sock.close()
            raise Closed(f"the connection broke: {error.strerror}") from error
        return cls(channel, reply, accepted, response_timeout_s=response_timeout_s)

    def __enter__(self) -> Requestor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.release()
        else:
            self.abort()

    # --- the association ------------------------------------------------------------------------

    def context_of(self, abstract_syntax: str) -> AcceptedContext:
        """The first accepted context of an abstract syntax.

        Raises:
            NotSupported: the peer accepted none.
        """
        for context in self.contexts.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        raise NotSupported(f"the peer does not support {abstract_syntax}")

    def storable(self, sop_class_uid: str) -> tuple[str, ...]:
        """Transfer syntaxes in which the peer takes objects of a SOP class."""
        return tuple(syntax for abstract, syntax in self._storable if abstract == sop_class_uid)

    def release(self) -> None:
        """End the association in order (PS3.8 7.2); never raises, the connection is closed."""
        if self._over:
            return
        self._over = True
        channel = self._channel
        with contextlib.suppress(PeerAway, PeerBrokeProtocol):
            if channel.broken is None:
                channel.send([RELEASE_RQ_PDU])
                while (event := channel.next(channel.timeouts.closing_s)) is not Signal.RELEASE_RP:
                    if event is Signal.RELEASE_RQ:
                        channel.send([RELEASE_RP_PDU])  # both at once: PS3.8 7.2.2
                    elif isinstance(event, Aborted):
                        break
        channel.close()

    def abort(self) -> None:
        """End the association at once."""
        if not self._over:
            self._over = True
            if self._channel.broken is None:
                self._channel.send_abort(ABORT_BY_USER, NOT_SPECIFIED)
            self._channel.close()

    # --- services -------------------------------------------------------------------------------

    def echo(self) -> int:
        """C-ECHO (PS3.7 9.1.5); its status."""
        context = self.context_of(VERIFICATION)
        message_id = self._next_id()
        self._send(
            context,
            {
                AFFECTED_SOP_CLASS_UID: VERIFICATION,
                COMMAND_FIELD: C_ECHO_RQ,
                MESSAGE_ID: message_id,
            },
        )
        return self._response(C_ECHO_RQ, message_id)[0].status

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data: Buffer | Sequence[Buffer],
        *,
        move_originator: tuple[str, int] | None = None,
        priority: int = 0,
    ) -> int:
        """C-STORE (PS3.7 9.1.1); its status.

        Args:
            sop_class_uid: of the object.
            sop_instance_uid: of the object.
            transfer_syntax_uid: in which `data` is encoded.
            data: the data set, in one piece or several; nothing of it is copied.
            move_originator: AE title and message id of the C-MOVE behind it.
            priority: 0 medium, 1 high, 2 low.

        Raises:
            NotSupported: the peer accepted no context for this class in this syntax.
        """
        context = self._storable.get((sop_class_uid, transfer_syntax_uid))
        if context is None:
            raise NotSupported(
                f"the peer does not take {sop_class_uid} in transfer syntax {transfer_syntax_uid}"
            )
        message_id = self._next_id()
        self._push(
            store_request(
                context,
                message_id,
                sop_class_uid,
                sop_instance_uid,
                data,
                fragment_max=self._fragment_max,
                move_originator=move_originator,
                priority=priority,
            )
        )
        return self._response(C_STORE_RQ, message_id)[0].status

    def find(
        self, sop_class_uid: str, identifier: Buffer, *, priority: int = 0
    ) -> Generator[tuple[int, bytes | None], None, None]:
        """C-FIND (PS3.7 9.1.2): statuses and identifiers as they come, the final one last.

        Identifiers are in the transfer syntax of `context_of(sop_class_uid)`. Closing the
        generator early cancels the query.
        """
        context = self.context_of(sop_class_uid)
        message_id = self._begin(context, C_FIND_RQ, identifier, priority)
        with contextlib.closing(self._responses(context, C_FIND_RQ, message_id)) as responses:
            for command, data in responses:
                yield command.status, data

    def move(
        self, sop_class_uid: str, destination: str, identifier: Buffer, *, priority: int = 0
    ) -> Generator[Progress, None, None]:
        """C-MOVE (PS3.7 9.1.4): responses as they come. Closing the generator cancels it."""
        context = self.context_of(sop_class_uid)
        message_id = self._begin(
            context, C_MOVE_RQ, identifier, priority, {MOVE_DESTINATION: destination}
        )
        with contextlib.closing(self._responses(context, C_MOVE_RQ, message_id)) as responses:
            for command, data in responses:
                yield progress(command, data)

    def get(
        self,
        sop_class_uid: str,
        identifier: Buffer,
        *,
        receive: Callable[[Command], Sink],
        stored: Callable[[Command, Sink], int],
        priority: int = 0,
    ) -> Generator[Progress, None, None]:
        """C-GET (PS3.7 9.1.3): responses as they come; objects arrive in between.

        Args:
            sop_class_uid: of the query/retrieve model.
            identifier: what is wanted.
            receive: where the data set of a C-STORE sub-operation goes.
            stored: called when it is complete; its status for the response.
            priority: 0 medium, 1 high, 2 low.
        """
        context = self.context_of(sop_class_uid)
        message_id = self._begin(context, C_GET_RQ, identifier, priority)

        def on_store(store: Command) -> None:
            self._take_store(store, receive, stored)

        with contextlib.closing(
            self._responses(context, C_GET_RQ, message_id, on_store)
        ) as responses:
            for command, data in responses:
                yield progress(command, data)

    def cancel(self, context: AcceptedContext, message_id: int) -> None:
        """C-CANCEL of a C-FIND, C-GET or C-MOVE (PS3.7 9.3.2.3); there is no answer to it."""
        self._send(context, {COMMAND_FIELD: C_CANCEL_RQ, MESSAGE_ID_RESPONDED_TO: message_id})

    def action(
        self, sop_class_uid: str, sop_instance_uid: str, action_type: int, data: Buffer | None
    ) -> tuple[int, bytes | None]:
        """N-ACTION (PS3.7 10.1.4): status, and the action reply."""
        return self._n_service(
            sop_class_uid,
            {
                REQUESTED_SOP_CLASS_UID: sop_class_uid,
                COMMAND_FIELD: N_ACTION_RQ,
                REQUESTED_SOP_INSTANCE_UID: sop_instance_uid,
                ACTION_TYPE_ID: action_type,
            },
            data,
        )

    def event_report(
        self, sop_class_uid: str, sop_instance_uid: str, event_type: int, data: Buffer | None
    ) -> tuple[int, bytes | None]:
        """N-EVENT-REPORT (PS3.7 10.1.1): status, and the event reply."""
        return self._n_service(
            sop_class_uid,
            {
                AFFECTED_SOP_CLASS_UID: sop_class_uid,
                COMMAND_FIELD: N_EVENT_REPORT_RQ,
                AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
                EVENT_TYPE_ID: event_type,
            },
            data,
        )

    # --- messages -------------------------------------------------------------------------------

    def _next_id(self) -> int:
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _begin(
        self,
        context: AcceptedContext,
        field: int,
        identifier: Buffer,
        priority: int,
        more: Mapping[int, Value] | None = None,
    ) -> int:
        message_id = self._next_id()
        elements: dict[int, Value] = {
            AFFECTED_SOP_CLASS_UID: context.abstract_syntax,
            COMMAND_FIELD: field,
            MESSAGE_ID: message_id,
            PRIORITY: priority,
        }
        elements.update(more or {})
        self._send(context, elements, identifier)
        return message_id

    def _n_service(
        self, sop_class_uid: str, elements: dict[int, Value], data: Buffer | None
    ) -> tuple[int, bytes | None]:
        message_id = self._next_id()
        elements[MESSAGE_ID] = message_id
        self._send(self.context_of(sop_class_uid), elements, data)
        field = elements[COMMAND_FIELD]
        assert isinstance(field, int)
        command, reply = self._response(field, message_id)
        return command.status, reply

    def _send(
        self, context: AcceptedContext, elements: dict[int, Value], data: Buffer | None = None
    ) -> None:
        elements[DATA_SET_TYPE] = NO_DATA_SET if data is None else WITH_DATA_SET
        self._push(
            message_pdus(context, encode_command(elements), data, fragment_max=self._fragment_max)
        )

    def _push(self, buffers: Iterable[Buffer]) -> None:
        channel = self._channel
        if self._over:
            raise Closed("the association is over")
        try:
            channel.send(buffers)
        except PeerAway as away:
            # What broke the connection may stand in what the peer sent before: an A-ABORT.
            with contextlib.suppress(PeerAway, PeerBrokeProtocol):
                while (event := channel.poll()) is not None:
                    if isinstance(event, Aborted):
                        raise Closed(f"the peer ended the association: {event}") from away
            raise

    def _event(self, wait_s: float) -> Event:
        """The next event; what breaks the association ends it for good."""
        if self._over:
            raise Closed("the association is over")
        try:
            event = self._channel.next(wait_s)
            if isinstance(event, Aborted):
                raise Closed(f"the peer ended the association: {event}")
            if event is Signal.RELEASE_RQ:
                self._channel.send([RELEASE_RP_PDU])
                raise Closed("the peer released the association")
            return event
        except ProtocolViolation as violation:
            self._end(violation.source, violation.reason)
            raise
        except Stalled:
            self._end(ABORT_BY_USER, NOT_SPECIFIED)
            raise
        except (PeerAway, PeerBrokeProtocol):
            self._over = True
            self._channel.close()
            raise

    def _end(self, source: int, reason: int) -> None:
        self._over = True
        self._channel.send_abort(source, reason)
        self._channel.close()

    def _command(self, wait_s: float) -> Command:
        event = self._event(wait_s)
        if isinstance(event, Command):
            return event
        assert isinstance(event, Signal)
        self._end(ABORT_BY_PROVIDER, UNEXPECTED_PDU)
        raise ProtocolViolation(f"unexpected: {event.value}", UNEXPECTED_PDU)

    def _data(self, sink: Sink) -> None:
        """Receive the data set of the command that came last."""
        self._channel.inflow.sink = sink
        if self._event(self._channel.timeouts.stall_s) is not Signal.END_OF_DATA:
            self._end(ABORT_BY_PROVIDER, UNEXPECTED_PDU)
            raise ProtocolViolation("something else inside a data set", UNEXPECTED_PDU)

    def _response(
        self,
        field: int,
        message_id: int,
        on_store: Callable[[Command], None] | None = None,
        wait_s: float | None = None,
    ) -> tuple[Command, bytes | None]:
        """The next response to a request, and its data set."""
        while True:
            command = self._command(self._response_timeout_s if wait_s is None else wait_s)
            if command.field == C_STORE_RQ and on_store is not None:
                on_store(command)
                continue
            if not command.is_response:
                if command.has_data_set:
                    self._data(DISCARD)
                if command.field != C_CANCEL_RQ:
                    self._answer(command, UNRECOGNIZED_OPERATION)
                continue
            if command.field != field | RESPONSE or command.message_id != message_id:
                self._end(ABORT_BY_USER, NOT_SPECIFIED)
                raise ProtocolViolation(
                    f"{command.name} to message {command.message_id}, where {message_id} is out",
                    NOT_SPECIFIED,
                    source=ABORT_BY_USER,
                )
            self.last_response = command
            if not command.has_data_set:
                return command, None
            identifier = Buffered(IDENTIFIER_BYTES_MAX * 16)
            self._data(identifier)
            return command, identifier.data

    def _responses(
        self,
        context: AcceptedContext,
        field: int,
        message_id: int,
        on_store: Callable[[Command], None] | None = None,
    ) -> Generator[tuple[Command, bytes | None], None, None]:
        """All responses to a request. If the consumer goes away, the request is cancelled."""
        final = False
        try:
            while not final:
                command, data = self._response(field, message_id, on_store)
                final = not is_pending(command.status)
                yield command, data
        finally:
            if not final and not self._over:
                self._cancel_and_drain(context, field, message_id, on_store)

    def _cancel_and_drain(
        self,
        context: AcceptedContext,
        field: int,
        message_id: int,
        on_store: Callable[[Command], None] | None,
    ) -> None:
        wait_s = self._channel.timeouts.closing_s
        until = time.monotonic() + wait_s
        try:
            self.cancel(context, message_id)
            while time.monotonic() < until:
                command, _ = self._response(field, message_id, on_store, wait_s)
                if not is_pending(command.status):
                    return
        except (PeerAway, PeerBrokeProtocol):
            pass
        self.abort()

    def _take_store(
        self,
        command: Command,
        receive: Callable[[Command], Sink],
        stored: Callable[[Command, Sink], int],
    ) -> None:
        """A C-STORE sub-operation of our C-GET: receive, hand over, answer."""
        if not command.has_data_set:
            self._answer(command, PROCESSING_FAILURE)
            return
        inflow = self._channel.inflow
        sink: Sink = DISCARD
        error: Exception | None = None
        try:
            sink = receive(command)
        except SebagoError as refused:
            error = refused
        self._data(sink)
        error = error or inflow.sink_error
        if error is None:
            try:
                status = stored(command, sink)
            except SebagoError as refused:
                status = refused.dimse_status
        else:
            status = error.dimse_status if isinstance(error, SebagoError) else PROCESSING_FAILURE
        self._answer(command, status)

    def _answer(self, command: Command, status: int) -> None:
        encoded = encode_response(command, status)
        self._push(message_pdus(command.context, encoded, None, fragment_max=self._fragment_max))
