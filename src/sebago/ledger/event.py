"""What an event is: one fact, appended once, never updated.

An event says when, of which kind, who did it, at which facility, to what, and the rest in a body.
The sequence number is the order of events; the time is information (clocks jump).

Kinds are stable words with a dot, subject first (`KINDS`). What a kind's body holds is said where
the event is made: `sebago.registry.facts` for the registry, `sebago.ledger.access` for access.

Patients' names are in no event. Identifiers of studies are; a query's keys are patient data and
stand in the body of an access event, which is read through the gate only: the ledger is no log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

BODY_BYTES_MAX: Final = 64 * 1024
TEXT_CHARS_MAX: Final = 256


class Kind(StrEnum):
    """Every kind of event that this version writes."""

    FACILITY_ADDED = "facility.added"
    PEER_SET = "peer.set"
    PEER_REMOVED = "peer.removed"
    USER_ADDED = "user.added"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    TOKEN_CREATED = "token.created"  # noqa: S105 (a kind of event, no secret)
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    SIGNIN_DONE = "signin.done"
    SIGNIN_REFUSED = "signin.refused"
    ACCESS_PERMITTED = "access.permitted"
    ACCESS_DENIED = "access.denied"


@dataclass(frozen=True, slots=True)
class Event:
    """One fact, not yet appended.

    `actor` is who did it ("user:ann", "token:7f3a", "ae:CT1@CARY", "local:root"), `facility` the
    code of the facility it concerns or acts for (empty: none), `subject` what it was done to (a
    code, title, login, token id or study UID).
    """

    kind: str
    actor: str
    facility: str
    subject: str
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as the ledger holds it; `at_us` is UTC in microseconds."""

    seq: int
    at_us: int
    kind: str
    actor: str
    facility: str
    subject: str
    body: Mapping[str, Any]


def encode_body(body: Mapping[str, Any]) -> str:
    """A body as the one JSON text that stands for it: sorted keys, no blanks, ASCII only.

    The text is what is sealed later, so equal bodies give equal bytes. ASCII, because a database
    of text takes neither a lone surrogate nor U+0000, and both arrive in queries.

    Raises:
        ValueError: longer than `BODY_BYTES_MAX`, or not JSON.
    """
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > BODY_BYTES_MAX:
        raise ValueError(
            f"an event's body of {len(text):,} bytes is longer than {BODY_BYTES_MAX:,}"
        )
    return text


def decode_body(text: str) -> dict[str, Any]:
    """The body that `encode_body` wrote."""
    body: dict[str, Any] = json.loads(text)
    return body
