"""Which presentation contexts an association gets: PS3.8 9.3.3, PS3.4 B and C.

Every storage SOP class is taken, private and future ones included, in whatever transfer syntax it is
sent: a refused class is a lost image that nobody sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sebago.dicom.uids import (
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
    is_storage_class,
    transfer_syntax,
    uid_is_sane,
)
from sebago.dimse.associate import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    AssociateRq,
)
from sebago.scp.query import FIND_MODELS, GET_MODELS, MOVE_MODELS

VERIFICATION: Final = "1.2.840.10008.1.1"
SERVICES: Final = frozenset({VERIFICATION, *FIND_MODELS, *MOVE_MODELS, *GET_MODELS})
"""Classes whose data sets are ours to write: answered in the native little-endian syntaxes."""

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"

_NATIVE: Final = (EXPLICIT_VR_LE, IMPLICIT_VR_LE)


def contexts(request: AssociateRq) -> dict[int, str | int]:
    """By context id: the transfer syntax that is accepted, or the reason of a refusal."""
    return {
        context.id: _verdict(context.abstract_syntax, context.transfer_syntaxes)
        for context in request.contexts
    }


def _verdict(abstract_syntax: str, offered: Sequence[str]) -> str | int:
    if abstract_syntax in SERVICES:
        return next((s for s in _NATIVE if s in offered), TRANSFER_SYNTAXES_NOT_SUPPORTED)
    if not is_storage_class(abstract_syntax):
        return ABSTRACT_SYNTAX_NOT_SUPPORTED
    return storage_syntax(offered) or TRANSFER_SYNTAXES_NOT_SUPPORTED


def storage_syntax(offered: Sequence[str]) -> str | None:
    """The transfer syntax in which to receive a storage class; None if none can be named.

    The peer's first choice is most often what it holds, so taking it spares a conversion on its
    side; only among uncompressed syntaxes Explicit VR Little Endian comes before the others, as
    it alone says the VR of private elements.
    """
    usable = [uid for uid in offered if uid in TRANSFER_SYNTAXES or uid_is_sane(uid)]
    if not usable:
        return None
    first = transfer_syntax(usable[0])
    if not first.encapsulated and not first.deflated:
        return next((s for s in _NATIVE if s in usable), usable[0])
    return usable[0]


def roles(request: AssociateRq) -> dict[str, tuple[bool, bool]]:
    """The roles that a requestor may have: as proposed for storage classes, SCU for services.

    A requestor that is SCP of a storage class receives objects by C-GET (PS3.4 C.5.3.1).
    """
    return {
        uid: (scu, scp) if is_storage_class(uid) else (scu, False)
        for uid, (scu, scp) in request.roles.items()
    }


def extended(request: AssociateRq) -> dict[str, bytes]:
    """Extended negotiation of queries (PS3.4 C.5.1.1): relational queries yes, nothing else."""
    return {
        uid: bytes([information[0] & 1]) + bytes(len(information) - 1)
        for uid, information in request.extended.items()
        if information and (uid in FIND_MODELS or uid in MOVE_MODELS or uid in GET_MODELS)
    }


def relational(request: AssociateRq, sop_class_uid: str) -> bool:
    """Whether relational queries were agreed for a class (PS3.4 C.5.1.1.1.1)."""
    information = request.extended.get(sop_class_uid, b"")
    return bool(information) and information[0] == 1
