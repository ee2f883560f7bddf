"""What comes of a proposal: the answer to send, and the contexts that both sides then use.

Pure functions over the values of `associate.py`. PS3.8 7.1.1 and 9.3.3, PS3.7 annex D.3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sebago.dimse.associate import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTANCE,
    APPLICATION_CONTEXT,
    NO_REASON,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    AnsweredContext,
    AssociateAc,
    AssociateRq,
    ProposedContext,
)
from sebago.dimse.pdu import (
    PDU_BYTES_MIN,
    REJECT_CALLED_AE,
    REJECT_CALLING_AE,
    REJECT_CONTEXT_NAME,
    REJECT_NO_REASON,
    REJECT_VERSION,
    Rejection,
)

_UID = re.compile(r"[0-9.]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context in use, seen from either side.

    `requestor_scu` and `requestor_scp` say which roles the association's *requestor* has on it
    (PS3.7 D.3.3.4); the acceptor has the opposite ones.
    """

    id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_scu: bool = True
    requestor_scp: bool = False


@dataclass(frozen=True, slots=True)
class Admission:
    """A handler's decision on an association.

    `contexts`: by context id the accepted transfer syntax UID (one of those proposed), or the
    refusal reason 1 to 4 of PS3.8 table 9-18; an id that is left out is refused with 3.
    `roles`: by SOP class UID, which of the proposed (SCU, SCP) roles the requestor may have; only
    what was proposed is answered, and no role is given that was not offered.
    `reject`: (result, source, reason) of an A-ASSOCIATE-RJ; then nothing else counts.
    `caller`: the handler's own object, found again as `Association.caller`.
    `user_identity_response`: sent only if the requestor asked for one (PS3.7 D.3.3.7).
    """

    contexts: Mapping[int, str | int] = field(default_factory=dict)
    caller: Any = None
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    reject: Rejection | None = None
    extended: Mapping[str, bytes] = field(default_factory=dict)
    user_identity_response: bytes | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are on the wire (PS3.7 D.3.3.2), and the longest PDU that we ask peers to send."""

    implementation_class_uid: str
    implementation_version: str
    pdu_bytes_max: int


def uid_is_sane(uid: str) -> bool:
    """Digits and dots, 1 to 64 of them; more of PS3.5 9.1 is broken too often to insist on."""
    return _UID.fullmatch(uid) is not None


def rejection(request: AssociateRq) -> Rejection | None:
    """Why a well-formed proposal cannot be accepted by anyone, or None (PS3.8 9.3.4).

    An AE title of blanks is not allowed (9.3.2), nor are control characters or backslash.
    """
    if not request.protocol_version & 1:
        return REJECT_VERSION
    if request.application_context != APPLICATION_CONTEXT:
        return REJECT_CONTEXT_NAME
    if not _ae_title_is_sane(request.calling_ae_title):
        return REJECT_CALLING_AE
    if not _ae_title_is_sane(request.called_ae_title):
        return REJECT_CALLED_AE
    if 0 < request.max_pdu_bytes < PDU_BYTES_MIN:
        return REJECT_NO_REASON
    return None


def _ae_title_is_sane(title: str) -> bool:
    return bool(title) and title.isascii()


def answer(
    request: AssociateRq, admission: Admission, identity: Identity
) -> tuple[AssociateAc, dict[int, AcceptedContext]]:
    """The A-ASSOCIATE-AC to a proposal that was let in, and the contexts in use after it.

    Every proposed context is answered, in the order of the proposal. The asynchronous operations
    window is answered with 1,1 when one was proposed (PS3.7 D.3.3.3): messages are taken one
    after the other.
    """
    roles = {
        uid: (scu and offered[0], scp and offered[1])
        for uid, (scu, scp) in admission.roles.items()
        if (offered := request.roles.get(uid)) is not None and uid_is_sane(uid)
    }
    answered: list[AnsweredContext] = []
    accepted: dict[int, AcceptedContext] = {}
    for context in request.contexts:
        result, syntax = _verdict(context, admission)
        answered.append(AnsweredContext(context.id, result, syntax))
        if result == ACCEPTANCE:
            scu, scp = roles.get(context.abstract_syntax, (True, False))
            accepted[context.id] = AcceptedContext(
                context.id, context.abstract_syntax, syntax, scu, scp
            )
    identity_response = admission.user_identity_response
    if request.user_identity is None or not request.user_identity.response_requested:
        identity_response = None
    reply = AssociateAc(
        contexts=tuple(answered),
        max_pdu_bytes=identity.pdu_bytes_max,
        implementation_class_uid=identity.implementation_class_uid,
        implementation_version=identity.implementation_version,
        roles=roles,
        async_ops=(1, 1) if request.async_ops is not None else None,
        extended={
            uid: information
            for uid, information in admission.extended.items()
            if uid in request.extended and uid_is_sane(uid)
        },
        user_identity_response=identity_response,
        ae_fields=request.ae_fields,
    )
    return reply, accepted


def _verdict(context: ProposedContext, admission: Admission) -> tuple[int, str]:
    verdict = admission.contexts.get(context.id, ABSTRACT_SYNTAX_NOT_SUPPORTED)
    if not uid_is_sane(context.abstract_syntax):
        return ABSTRACT_SYNTAX_NOT_SUPPORTED, ""
    if isinstance(verdict, str):
        if verdict not in context.transfer_syntaxes or not uid_is_sane(verdict):
            return TRANSFER_SYNTAXES_NOT_SUPPORTED, ""
        return ACCEPTANCE, verdict
    return (verdict if 1 <= verdict <= 4 else NO_REASON), ""


def agreed(request: AssociateRq, reply: AssociateAc) -> dict[int, AcceptedContext]:
    """The contexts in use, from the requestor's side.

    An acceptance of what was not proposed is not used: the acceptor's mistake costs that
    context, not the association. Roles that were offered and not answered are the default ones.
    """
    proposed = {context.id: context for context in request.contexts}
    accepted: dict[int, AcceptedContext] = {}
    for context in reply.contexts:
        own = proposed.get(context.id)
        if context.result != ACCEPTANCE or own is None:
            continue
        if context.transfer_syntax not in own.transfer_syntaxes:
            continue
        offered = request.roles.get(own.abstract_syntax)
        given = reply.roles.get(own.abstract_syntax)
        scu, scp = True, False
        if offered is not None and given is not None:
            scu, scp = offered[0] and given[0], offered[1] and given[1]
        accepted[own.id] = AcceptedContext(
            own.id, own.abstract_syntax, context.transfer_syntax, scu, scp
        )
    return accepted


def propose(wanted: Sequence[tuple[str, Sequence[str]]]) -> tuple[ProposedContext, ...]:
    """Contexts with ids 1, 3, 5, ... for (abstract syntax, transfer syntaxes) pairs.

    Raises:
        ValueError: more than the 128 that a proposal can hold.
    """
    if len(wanted) > 128:
        raise ValueError(f"{len(wanted)} presentation contexts; a proposal holds 128")
    return tuple(
        ProposedContext(2 * index + 1, abstract, tuple(transfer))
        for index, (abstract, transfer) in enumerate(wanted)
    )
