"""C-STORE requests as buffers to send; for the requestor, and for C-GET on its own association."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sebago.dimse.command import (
    AFFECTED_SOP_CLASS_UID,
    AFFECTED_SOP_INSTANCE_UID,
    C_STORE_RQ,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    MESSAGE_ID,
    MOVE_ORIGINATOR_AE_TITLE,
    MOVE_ORIGINATOR_MESSAGE_ID,
    PRIORITY,
    WITH_DATA_SET,
    Value,
    encode_command,
)
from sebago.dimse.negotiation import AcceptedContext
from sebago.dimse.pdu import Buffer, data_pdus


def store_request(
    context: AcceptedContext,
    message_id: int,
    sop_class_uid: str,
    sop_instance_uid: str,
    data: Buffer | Sequence[Buffer],
    *,
    fragment_max: int,
    move_originator: tuple[str, int] | None = None,
    priority: int = 0,
) -> Iterator[Buffer]:
    """The PDUs of a C-STORE-RQ, PS3.7 9.3.1.1: headers, and views into `data`, uncopied."""
    elements: dict[int, Value] = {
        AFFECTED_SOP_CLASS_UID: sop_class_uid,
        COMMAND_FIELD: C_STORE_RQ,
        MESSAGE_ID: message_id,
        PRIORITY: priority,
        DATA_SET_TYPE: WITH_DATA_SET,
        AFFECTED_SOP_INSTANCE_UID: sop_instance_uid,
    }
    if move_originator is not None:
        elements[MOVE_ORIGINATOR_AE_TITLE] = move_originator[0]
        elements[MOVE_ORIGINATOR_MESSAGE_ID] = move_originator[1]
    return message_pdus(context, encode_command(elements), data, fragment_max=fragment_max)


def message_pdus(
    context: AcceptedContext,
    command: bytes,
    data: Buffer | Sequence[Buffer] | None,
    *,
    fragment_max: int,
) -> Iterator[Buffer]:
    """A command set and its data set as buffers to send one behind the other."""
    yield from data_pdus(context.id, [command], command=True, fragment_max=fragment_max)
    if data is not None:
        parts = [data] if isinstance(data, bytes | bytearray | memoryview) else data
        yield from data_pdus(context.id, parts, command=False, fragment_max=fragment_max)


def by_syntaxes(
    contexts: Iterable[AcceptedContext], *, requestor_scp: bool
) -> dict[tuple[str, str], AcceptedContext]:
    """Contexts on which C-STORE requests may go out, by (SOP class, transfer syntax).

    The sender is the SCU: the requestor itself, or the acceptor of an association whose requestor
    has the SCP role.
    """
    out: dict[tuple[str, str], AcceptedContext] = {}
    for context in contexts:
        if context.requestor_scp if requestor_scp else context.requestor_scu:
            out.setdefault((context.abstract_syntax, context.transfer_syntax), context)
    return out
