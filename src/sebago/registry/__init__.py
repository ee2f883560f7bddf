"""Who is there: facilities and their authorities, DICOM peers, users and tokens.

`Registry` is what a running server asks (a snapshot in memory, at most seconds old), `Registrar`
what the command line changes (each change an event and its projection in one transaction), and
`rebuild` makes the tables again of the ledger's events.
"""

from sebago.registry.facts import SECRET_FIELDS, rebuild
from sebago.registry.names import Authority, Place
from sebago.registry.registrar import Registrar
from sebago.registry.registry import (
    REFRESH_S,
    Caller,
    Facility,
    Peer,
    Registry,
    Token,
    User,
)

__all__ = [
    "REFRESH_S",
    "SECRET_FIELDS",
    "Authority",
    "Caller",
    "Facility",
    "Peer",
    "Place",
    "Registrar",
    "Registry",
    "Token",
    "User",
    "rebuild",
]
