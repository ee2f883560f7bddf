"""A-ASSOCIATE-RQ and A-ASSOCIATE-AC: items within items, from and to bytes.

Implements PS3.8 9.3.2 and 9.3.3, the user information of PS3.8 annex D and of PS3.7 annex D.3.3.

Tolerated because devices do it, or because PS3.8 9.3.1 says so: unknown items and sub-items are
skipped; reserved bytes are not looked at; AE titles may be padded with NUL as well as blanks; a
UID may be padded; the maximum length or the implementation class may be absent. Refused, with the
reason for an A-ABORT: an item longer than what holds it, a context with an even or repeated id or
without its syntaxes, no application context, no context, no user information.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sebago.dimse.pdu import (
    ASSOCIATE_AC,
    ASSOCIATE_RQ,
    HEADER_BYTES,
    INVALID_PARAMETER,
    Buffer,
    ProtocolViolation,
)

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
IMPLICIT_VR_LE: Final = "1.2.840.10008.1.2"

ACCEPTANCE: Final = 0
USER_REJECTION: Final = 1
NO_REASON: Final = 2
ABSTRACT_SYNTAX_NOT_SUPPORTED: Final = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED: Final = 4

FIXED_BYTES: Final = 68
"""Protocol version, reserved, called, calling, 32 reserved: what stands before the items."""

MAX_PDU_BYTES_UNSAID: Final = 16384
"""Assumed where a peer leaves out its maximum length: what every implementation takes."""

_ITEM = struct.Struct(">BxH")
_FIXED = struct.Struct(">HH16s16s32s")

_APPLICATION_CONTEXT_ITEM = 0x10
_CONTEXT_RQ_ITEM = 0x20
_CONTEXT_AC_ITEM = 0x21
_ABSTRACT_SYNTAX_ITEM = 0x30
_TRANSFER_SYNTAX_ITEM = 0x40
_USER_INFORMATION_ITEM = 0x50
_MAX_LENGTH = 0x51
_IMPLEMENTATION_CLASS = 0x52
_ASYNC_OPS = 0x53
_ROLE = 0x54
_IMPLEMENTATION_VERSION = 0x55
_EXTENDED = 0x56
_COMMON_EXTENDED = 0x57
_IDENTITY_RQ = 0x58
_IDENTITY_AC = 0x59


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed (PS3.8 9.3.2.2)."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """A presentation context as answered (PS3.8 9.3.3.2): `result` 0 is acceptance."""

    id: int
    result: int
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class UserIdentity:
    """User identity as proposed (PS3.7 D.3.3.7.1).

    `kind`: 1 name, 2 name and passcode, 3 Kerberos ticket, 4 SAML assertion, 5 JSON web token.
    """

    kind: int
    response_requested: bool
    primary: bytes = field(repr=False)
    secondary: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class CommonExtended:
    """SOP class common extended negotiation (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_sop_class_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AssociateRq:
    """What a requestor proposes. AE titles are trimmed; `ae_fields` are their bytes as sent."""

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    max_pdu_bytes: int = MAX_PDU_BYTES_UNSAID
    implementation_class_uid: str = ""
    implementation_version: str = ""
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    """By SOP class UID: the requestor offers to be (SCU, SCP); PS3.7 D.3.3.4."""
    async_ops: tuple[int, int] | None = None
    extended: Mapping[str, bytes] = field(default_factory=dict)
    common_extended: tuple[CommonExtended, ...] = ()
    user_identity: UserIdentity | None = None
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    ae_fields: bytes = b""


@dataclass(frozen=True, slots=True)
class AssociateAc:
    """What an acceptor answers. `ae_fields` are the 64 bytes that are handed back as received."""

    contexts: tuple[AnsweredContext, ...]
    max_pdu_bytes: int = MAX_PDU_BYTES_UNSAID
    implementation_class_uid: str = ""
    implementation_version: str = ""
    roles: Mapping[str, tuple[bool, bool]] = field(default_factory=dict)
    async_ops: tuple[int, int] | None = None
    extended: Mapping[str, bytes] = field(default_factory=dict)
    user_identity_response: bytes | None = None
    application_context: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    ae_fields: bytes = bytes(64)


@dataclass(slots=True)
class _UserInformation:
    max_pdu_bytes: int = MAX_PDU_BYTES_UNSAID
    implementation_class_uid: str = ""
    implementation_version: str = ""
    roles: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    async_ops: tuple[int, int] | None = None
    extended: dict[str, bytes] = field(default_factory=dict)
    common_extended: list[CommonExtended] = field(default_factory=list)
    user_identity: UserIdentity | None = None
    user_identity_response: bytes | None = None


# --- from bytes ---------------------------------------------------------------------------------


def decode_associate_rq(body: Buffer) -> AssociateRq:
    """Decode an A-ASSOCIATE-RQ from what follows its six-byte header (PS3.8 9.3.2).

    Raises:
        ProtocolViolation: the structure is broken.
    """
    version, called, calling, ae_fields, items = _fixed(body)
    application_context: str | None = None
    contexts: list[ProposedContext] = []
    ids: set[int] = set()
    user: _UserInformation | None = None
    for kind, item in _items(items):
        if kind == _APPLICATION_CONTEXT_ITEM:
            _only_one(application_context, "application context")
            application_context = _uid(item)
        elif kind == _CONTEXT_RQ_ITEM:
            context = _proposed_context(item)
            if context.id in ids:
                raise _invalid(f"presentation context id {context.id} twice")
            ids.add(context.id)
            contexts.append(context)
        elif kind == _USER_INFORMATION_ITEM:
            _only_one(user, "user information")
            user = _user_information(item)
    if application_context is None:
        raise _invalid("no application context")
    if not contexts:
        raise _invalid("no presentation context")
    if user is None:
        raise _invalid("no user information")
    return AssociateRq(
        called_ae_title=called,
        calling_ae_title=calling,
        contexts=tuple(contexts),
        max_pdu_bytes=user.max_pdu_bytes,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        roles=user.roles,
        async_ops=user.async_ops,
        extended=user.extended,
        common_extended=tuple(user.common_extended),
        user_identity=user.user_identity,
        application_context=application_context,
        protocol_version=version,
        ae_fields=ae_fields,
    )


def decode_associate_ac(body: Buffer) -> AssociateAc:
    """Decode an A-ASSOCIATE-AC from what follows its six-byte header (PS3.8 9.3.3).

    Raises:
        ProtocolViolation: the structure is broken.
    """
    version, _, _, ae_fields, items = _fixed(body)
    application_context = ""
    contexts: dict[int, AnsweredContext] = {}
    user: _UserInformation | None = None
    for kind, item in _items(items):
        if kind == _APPLICATION_CONTEXT_ITEM:
            application_context = _uid(item)
        elif kind == _CONTEXT_AC_ITEM:
            context = _answered_context(item)
            if context.id in contexts:
                raise _invalid(f"presentation context id {context.id} answered twice")
            contexts[context.id] = context
        elif kind == _USER_INFORMATION_ITEM:
            _only_one(user, "user information")
            user = _user_information(item)
    if user is None:
        raise _invalid("no user information")
    return AssociateAc(
        contexts=tuple(contexts.values()),
        max_pdu_bytes=user.max_pdu_bytes,
        implementation_class_uid=user.implementation_class_uid,
        implementation_version=user.implementation_version,
        roles=user.roles,
        async_ops=user.async_ops,
        extended=user.extended,
        user_identity_response=user.user_identity_response,
        application_context=application_context,
        protocol_version=version,
        ae_fields=ae_fields,
    )


def _invalid(detail: str) -> ProtocolViolation:
    return ProtocolViolation(detail, INVALID_PARAMETER)


def _only_one(earlier: object, what: str) -> None:
    if earlier is not None:
        raise _invalid(f"more than one {what}")


def _fixed(body: Buffer) -> tuple[int, str, str, bytes, memoryview]:
    if len(body) < FIXED_BYTES:
        raise _invalid(f"A-ASSOCIATE of {len(body)} bytes, which needs {FIXED_BYTES} at least")
    view = memoryview(body)
    version, _, called, calling, _ = _FIXED.unpack_from(view)
    return version, _ae_title(called), _ae_title(calling), bytes(view[4:68]), view[FIXED_BYTES:]


def _items(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and value of each item or sub-item: PS3.8 9.3.2.1 and on."""
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ITEM.size:
            raise _invalid(f"{len(data) - offset} bytes where an item's header needs four")
        kind, length = _ITEM.unpack_from(data, offset)
        offset += _ITEM.size
        if length > len(data) - offset:
            raise _invalid(f"item {kind:02X}H claims {length} of {len(data) - offset} bytes")
        yield kind, data[offset : offset + length]
        offset += length


def _uid(raw: Buffer) -> str:
    return bytes(raw).strip(b"\0 ").decode("ascii", "replace")


def _ae_title(raw: bytes) -> str:
    """Trimmed; a byte that PS3.5 6.2 does not allow in an AE title becomes U+FFFD."""
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else "\N{REPLACEMENT CHARACTER}"
        for byte in raw.strip(b"\0 ")
    )


def _context_id(item: memoryview) -> int:
    if len(item) < 4:
        raise _invalid(f"a presentation context of {len(item)} bytes")
    if not item[0] & 1:
        raise _invalid(f"presentation context id {item[0]}, which has to be odd")
    return item[0]


def _proposed_context(item: memoryview) -> ProposedContext:
    context_id = _context_id(item)
    abstract: str | None = None
    transfer: list[str] = []
    for kind, value in _items(item[4:]):
        if kind == _ABSTRACT_SYNTAX_ITEM:
            _only_one(abstract, "abstract syntax in a context")
            abstract = _uid(value)
        elif kind == _TRANSFER_SYNTAX_ITEM:
            transfer.append(_uid(value))
    if abstract is None or not transfer:
        raise _invalid(f"presentation context {context_id} lacks an abstract or transfer syntax")
    return ProposedContext(context_id, abstract, tuple(transfer))


def _answered_context(item: memoryview) -> AnsweredContext:
    context_id = _context_id(item)
    transfer = ""
    for kind, value in _items(item[4:]):
        if kind == _TRANSFER_SYNTAX_ITEM:
            transfer = _uid(value)
    return AnsweredContext(context_id, item[2], transfer)


def _user_information(item: memoryview) -> _UserInformation:
    user = _UserInformation()
    for kind, value in _items(item):
        if kind == _MAX_LENGTH:
            user.max_pdu_bytes = int.from_bytes(_exactly(value, 4, "maximum length"), "big")
        elif kind == _IMPLEMENTATION_CLASS:
            user.implementation_class_uid = _uid(value)
        elif kind == _IMPLEMENTATION_VERSION:
            user.implementation_version = bytes(value[:16]).strip(b"\0 ").decode("ascii", "replace")
        elif kind == _ASYNC_OPS:
            invoked, performed = struct.unpack(">HH", _exactly(value, 4, "asynchronous window"))
            user.async_ops = (invoked, performed)
        elif kind == _ROLE:
            uid, rest = _counted(value, "role selection")
            scu, scp = _exactly(rest, 2, "roles")
            user.roles[_uid(uid)] = (scu == 1, scp == 1)
        elif kind == _EXTENDED:
            uid, rest = _counted(value, "extended negotiation")
            user.extended[_uid(uid)] = bytes(rest)
        elif kind == _COMMON_EXTENDED:
            user.common_extended.append(_common_extended(value))
        elif kind == _IDENTITY_RQ:
            user.user_identity = _user_identity(value)
        elif kind == _IDENTITY_AC:
            response, _ = _counted(value, "user identity response")
            user.user_identity_response = bytes(response)
    return user


def _exactly(value: memoryview, length: int, what: str) -> memoryview:
    if len(value) != length:
        raise _invalid(f"{what} of {len(value)} bytes, which has {length}")
    return value


def _counted(value: memoryview, what: str) -> tuple[memoryview, memoryview]:
    """A field with a two-byte length before it, and what follows the field."""
    if len(value) < 2:
        raise _invalid(f"{what} of {len(value)} bytes")
    length = int.from_bytes(value[:2], "big")
    if length > len(value) - 2:
        raise _invalid(f"{what}: a field claims {length} of {len(value) - 2} bytes")
    return value[2 : 2 + length], value[2 + length :]


def _common_extended(value: memoryview) -> CommonExtended:
    what = "common extended negotiation"
    sop_class, rest = _counted(value, what)
    service_class, rest = _counted(rest, what)
    related: list[str] = []
    if len(rest):
        listed, _ = _counted(rest, what)
        while len(listed):
            uid, listed = _counted(listed, what)
            related.append(_uid(uid))
    return CommonExtended(_uid(sop_class), _uid(service_class), tuple(related))


def _user_identity(value: memoryview) -> UserIdentity:
    if len(value) < 2:
        raise _invalid(f"user identity of {len(value)} bytes")
    primary, rest = _counted(value[2:], "user identity")
    secondary = _counted(rest, "user identity")[0] if len(rest) else memoryview(b"")
    return UserIdentity(value[0], value[1] == 1, bytes(primary), bytes(secondary))


# --- to bytes -----------------------------------------------------------------------------------


def encode_associate_rq(request: AssociateRq) -> bytes:
    """The whole A-ASSOCIATE-RQ PDU (PS3.8 9.3.2)."""
    ae_fields = request.ae_fields or (
        _padded_ae(request.called_ae_title) + _padded_ae(request.calling_ae_title) + bytes(32)
    )
    user = _encode_user(request) + b"".join(
        _encode_common_extended(common) for common in request.common_extended
    )
    if request.user_identity is not None:
        user += _encode_identity(request.user_identity)
    items = [_item(_APPLICATION_CONTEXT_ITEM, request.application_context.encode("ascii"))]
    items += [_encode_proposed(context) for context in request.contexts]
    items.append(_item(_USER_INFORMATION_ITEM, user))
    return _pdu(ASSOCIATE_RQ, request.protocol_version, ae_fields, items)


def encode_associate_ac(answer: AssociateAc) -> bytes:
    """The whole A-ASSOCIATE-AC PDU (PS3.8 9.3.3)."""
    user = _encode_user(answer)
    if answer.user_identity_response is not None:
        user += _item(_IDENTITY_AC, _with_length(answer.user_identity_response))
    items = [_item(_APPLICATION_CONTEXT_ITEM, answer.application_context.encode("ascii"))]
    items += [_encode_answered(context) for context in answer.contexts]
    items.append(_item(_USER_INFORMATION_ITEM, user))
    return _pdu(ASSOCIATE_AC, answer.protocol_version, answer.ae_fields, items)


def _padded_ae(title: str) -> bytes:
    raw = title.encode("ascii")
    if not 0 < len(raw) <= 16:
        raise ValueError(f"an AE title has 1 to 16 characters, not {len(raw)}")
    return raw.ljust(16)


def _item(kind: int, value: bytes) -> bytes:
    if len(value) > 0xFFFF:
        raise ValueError(f"item {kind:02X}H of {len(value)} bytes does not fit")
    return _ITEM.pack(kind, len(value)) + value


def _with_length(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _pdu(kind: int, version: int, ae_fields: bytes, items: Sequence[bytes]) -> bytes:
    body = version.to_bytes(2, "big") + bytes(2) + ae_fields + b"".join(items)
    assert len(ae_fields) == FIXED_BYTES - 4
    return struct.pack(">BxI", kind, len(body)) + body


def _encode_proposed(context: ProposedContext) -> bytes:
    value = bytes([context.id, 0, 0, 0]) + _item(
        _ABSTRACT_SYNTAX_ITEM, context.abstract_syntax.encode("ascii")
    )
    for syntax in context.transfer_syntaxes:
        value += _item(_TRANSFER_SYNTAX_ITEM, syntax.encode("ascii"))
    return _item(_CONTEXT_RQ_ITEM, value)


def _encode_answered(context: AnsweredContext) -> bytes:
    # A refused context has a transfer syntax that means nothing (PS3.8 9.3.3.2), but has one.
    syntax = context.transfer_syntax or IMPLICIT_VR_LE
    return _item(
        _CONTEXT_AC_ITEM,
        bytes([context.id, 0, context.result, 0])
        + _item(_TRANSFER_SYNTAX_ITEM, syntax.encode("ascii")),
    )


def _encode_user(said: AssociateRq | AssociateAc) -> bytes:
    """What both sides say, in the order of the item types."""
    out = [_item(_MAX_LENGTH, said.max_pdu_bytes.to_bytes(4, "big"))]
    if said.implementation_class_uid:
        out.append(_item(_IMPLEMENTATION_CLASS, said.implementation_class_uid.encode("ascii")))
    if said.async_ops is not None:
        out.append(_item(_ASYNC_OPS, struct.pack(">HH", *said.async_ops)))
    for uid, (scu, scp) in said.roles.items():
        out.append(_item(_ROLE, _with_length(uid.encode("ascii")) + bytes([scu, scp])))
    if said.implementation_version:
        out.append(_item(_IMPLEMENTATION_VERSION, said.implementation_version.encode("ascii")))
    for uid, information in said.extended.items():
        out.append(_item(_EXTENDED, _with_length(uid.encode("ascii")) + information))
    return b"".join(out)


def _encode_common_extended(common: CommonExtended) -> bytes:
    related = b"".join(_with_length(uid.encode("ascii")) for uid in common.related_sop_class_uids)
    return _item(
        _COMMON_EXTENDED,
        _with_length(common.sop_class_uid.encode("ascii"))
        + _with_length(common.service_class_uid.encode("ascii"))
        + _with_length(related),
    )


def _encode_identity(identity: UserIdentity) -> bytes:
    return _item(
        _IDENTITY_RQ,
        bytes([identity.kind, identity.response_requested])
        + _with_length(identity.primary)
        + _with_length(identity.secondary),
    )


def pdu_body(pdu: Buffer) -> memoryview:
    """What follows a PDU's six-byte header."""
    return memoryview(pdu)[HEADER_BYTES:]
