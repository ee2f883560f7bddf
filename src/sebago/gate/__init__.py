"""The gate: one pure function that answers every request for anybody's data, yes or no.

Doors and `retrieve` build an `Asker` from an authenticated connection, ask `decide`, have the
answer recorded (`sebago.ledger`), and only then let bytes go. Nothing here does I/O.
"""

from sebago.gate.decide import (
    PURPOSE_DEFAULT,
    PURPOSES,
    REASONS,
    TREATMENT,
    About,
    Act,
    Asker,
    Decision,
    Reason,
    Role,
    Scope,
    decide,
    purpose_code,
)

__all__ = [
    "PURPOSES",
    "PURPOSE_DEFAULT",
    "REASONS",
    "TREATMENT",
    "About",
    "Act",
    "Asker",
    "Decision",
    "Reason",
    "Role",
    "Scope",
    "decide",
    "purpose_code",
]
