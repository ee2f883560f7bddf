"""The archive's DIMSE services behind the upper layer: who is let in, and who answers what.

The facility, and with it custody and assigning authority, come from the calling AE title as it is
registered; nothing in an object changes it. Every service ends in `Intake` or `Archive`.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from sebago.dimse.associate import AssociateRq
from sebago.dimse.association import Association
from sebago.dimse.command import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    SUCCESS,
    UNRECOGNIZED_OPERATION,
    Command,
)
from sebago.dimse.negotiation import Admission, Identity
from sebago.dimse.pdu import REJECT_CALLED_AE, REJECT_CALLING_AE
from sebago.dimse.sink import Buffered, Sink
from sebago.errors import Denied, Mismatch, NotSupported
from sebago.gate import Act, Asker, decide
from sebago.intake import Declared, Incoming, Intake, Source
from sebago.registry import Caller, Peer, Registry
from sebago.retrieve import Archive
from sebago.scp import contexts
from sebago.scp.find import find
from sebago.scp.metrics import ASSOCIATIONS, ASSOCIATIONS_OPEN
from sebago.scp.query import FIND_MODELS, GET_MODELS, MOVE_MODELS
from sebago.scp.sending import get, move

log = structlog.get_logger()

STORED_WITH_WARNING = 0xB000


@dataclass(frozen=True, slots=True)
class Policy:
    """How the DICOM door behaves; see the settings of the same names."""

    ae_title: str
    open_facility: str
    lenient_hierarchy: bool
    identity: Identity
    check_called_ae: bool = False


@dataclass(frozen=True, slots=True)
class Guest:
    """A peer that was let in: whose it is, and what it may."""

    caller: Caller
    asker: Asker
    source: Source


class Services:
    """Implements `sebago.dimse.handler.Handler` for the archive. Safe for threads."""

    def __init__(
        self, archive: Archive, intake: Intake, registry: Registry, policy: Policy
    ) -> None:
        self._archive = archive
        self._intake = intake
        self._registry = registry
        self._policy = policy

    def admit(self, request: AssociateRq, address: str) -> Admission:
        """Known callers only; every context is answered."""
        caller = self._registry.who_is_ae(
            request.calling_ae_title, address, self._policy.open_facility
        )
        if caller is None:
            ASSOCIATIONS.labels("refused").inc()
            log.warning(
                "association-refused",
                calling=request.calling_ae_title,
                called=request.called_ae_title,
                address=address,
                why="the calling AE title is not registered",
            )
            return Admission(reject=REJECT_CALLING_AE)
        if self._policy.check_called_ae and request.called_ae_title != self._policy.ae_title:
            ASSOCIATIONS.labels("refused").inc()
            return Admission(reject=REJECT_CALLED_AE)
        ASSOCIATIONS.labels("admitted").inc()
        ASSOCIATIONS_OPEN.inc()
        asker = caller.asker()
        source = Source(caller.facility, caller.authority, "dimse", caller.ae_title, address)
        return Admission(
            contexts=contexts.contexts(request),
            caller=Guest(caller, asker, source),
            roles=contexts.roles(request),
            extended=contexts.extended(request),
        )

    def sink(self, association: Association, command: Command) -> Sink | None:
        """Objects to store go to the journal's spool, identifiers into memory."""
        if command.field != C_STORE_RQ:
            return None
        if command.sop_class_uid != command.context.abstract_syntax:
            raise Mismatch(
                f"a C-STORE of {command.sop_class_uid[:64]} on the presentation context of "
                f"{command.context.abstract_syntax}"
            )
        guest: Guest = association.caller
        decision = decide(guest.asker, Act.STORE, None)
        if not decision.permit:
            raise Denied("this caller may not store", reason=decision.reason)
        return self._intake.incoming()

    def handle(self, association: Association, command: Command, sink: Sink | None) -> None:
        """Carry out one request."""
        if command.field == C_STORE_RQ:
            self._store(association, command, sink)
        elif command.field == C_ECHO_RQ:
            association.respond(command, SUCCESS)
        elif command.field == C_FIND_RQ and command.sop_class_uid in FIND_MODELS:
            find(
                self._archive,
                association.caller.asker,
                association,
                command,
                _identifier(sink),
                ae_title=self._policy.ae_title,
                lenient=self._policy.lenient_hierarchy,
            )
        elif command.field == C_MOVE_RQ and command.sop_class_uid in MOVE_MODELS:
            move(
                self._archive,
                association.caller.asker,
                association,
                command,
                _identifier(sink),
                destination=self._destination(association.caller.caller, command.move_destination),
                ae_title=self._policy.ae_title,
                identity=self._policy.identity,
            )
        elif command.field == C_GET_RQ and command.sop_class_uid in GET_MODELS:
            get(
                self._archive,
                association.caller.asker,
                association,
                command,
                _identifier(sink),
            )
        elif command.field in (C_FIND_RQ, C_MOVE_RQ, C_GET_RQ):
            raise NotSupported(f"SOP class {command.sop_class_uid[:64]} does not fit the command")
        else:
            association.respond(command, UNRECOGNIZED_OPERATION)

    def closed(self, association: Association) -> None:
        """One line for what an association brought."""
        ASSOCIATIONS_OPEN.dec()
        guest: Guest = association.caller
        log.info(
            "association-closed",
            calling=guest.caller.ae_title,
            facility=guest.caller.facility,
            address=association.peer.address,
            commands=association.commands,
            received_bytes=association.bytes_received,
        )

    def _store(self, association: Association, command: Command, sink: Sink | None) -> None:
        assert isinstance(sink, Incoming)
        guest: Guest = association.caller
        declared = Declared(
            command.transfer_syntax_uid, command.sop_class_uid, command.sop_instance_uid
        )
        accepted = self._intake.accept(guest.source, declared, sink)
        association.respond(command, STORED_WITH_WARNING if accepted.warning else SUCCESS)

    def _destination(self, caller: Caller, ae_title: str) -> Peer | None:
        """A registered peer of the caller's own facility; another facility's is as unknown.

        Moving to another facility's system would show it what only the caller may see.
        """
        peer = self._registry.peer(ae_title)
        return peer if peer is not None and peer.facility == caller.facility else None


def _identifier(sink: Sink | None) -> bytes:
    return sink.data if isinstance(sink, Buffered) else b""
