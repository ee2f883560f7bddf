"""C-FIND: PS3.4 C.4.1. Matches come from `Archive.search`, in both native syntaxes."""

from __future__ import annotations

from sebago.dicom.identifier import read_keys, write_identifier
from sebago.dimse.association import Association
from sebago.dimse.command import CANCELLED, PENDING, PENDING_WITH_WARNING, SUCCESS, Command
from sebago.gate import Asker
from sebago.retrieve import Archive
from sebago.scp.contexts import relational
from sebago.scp.query import FIND_MODELS, find_answer, find_query

LOOK_FOR_CANCEL_EVERY = 10
"""Matches between two looks for a C-CANCEL; some 10 ms."""


def find(
    archive: Archive,
    asker: Asker,
    association: Association,
    command: Command,
    identifier: bytes,
    *,
    ae_title: str,
    lenient: bool,
) -> None:
    """Answer one C-FIND-RQ: a pending response for each match, then the final one.

    Raises:
        SebagoError: answered by the association with the error's status (A900, A700, 0124, C000).
    """
    syntax = command.transfer_syntax_uid
    keys = read_keys(identifier, syntax)
    model = FIND_MODELS[command.sop_class_uid]
    is_relational = lenient or relational(association.request, command.sop_class_uid)
    query = find_query(keys, model, relational=is_relational)
    answer = archive.search(asker, query, address=association.peer.address)
    pending = PENDING_WITH_WARNING if answer.unmatched else PENDING
    for number, row in enumerate(answer.rows):
        if number % LOOK_FOR_CANCEL_EVERY == 0 and association.cancelled(command.message_id):
            association.respond(command, CANCELLED)
            return
        match = write_identifier(find_answer(row, keys, query.level, ae_title), syntax)
        association.respond(command, pending, identifier=match)
    association.respond(command, SUCCESS)
