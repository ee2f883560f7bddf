"""May they? Who asks, for which facility and purpose, about what: permit or deny, with a reason.

Rules of this module:

- *Until a rule permits, the answer is no.* `_RULES` lists what each role may do at all; a pair
  that is not in it is denied, and so is a role, an act or a purpose that this version has never
  heard of.
- *Custody* is what the asker's own facility stored; it is always whole to that facility.
  *Exchange* is everything that any facility stored, one's own included, and is there for
  treatment only: with any other purpose of use a clinician sees custody and no more.
- A permit names the widest scope that the asker may look through. Whoever reads data for the
  asker looks through that scope and nothing wider; the gate does not see rows.
- A reason code is stable: it stands in the ledger, in problem details and in the docs
  (`REASONS`). A code is never given a second meaning.
- The function is pure: same question, same answer, no clock, no database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """What a user or token is for. A sender is a facility's own PACS, modality or gateway."""

    CLINICIAN = "clinician"
    SENDER = "sender"
    REVIEWER = "reviewer"
    PRIVACY = "privacy"
    OPERATOR = "operator"
    ADMIN = "admin"


class Act(StrEnum):
    """What is asked for. The first three touch patients' data, the others never do."""

    STORE = "store"
    SEARCH = "search"
    RETRIEVE = "retrieve"
    AUDIT = "audit"
    """Read who was given or refused what."""
    STATUS = "status"
    """See counts, depths and the state of feeds."""
    REGISTER = "register"
    """Change or list facilities, peers, users and tokens."""


class Scope(StrEnum):
    """Whose copies a permitted asker looks through."""

    CUSTODY = "custody"
    """What the asker's own facility stored."""
    EXCHANGE = "exchange"
    """What any facility stored, the asker's own included."""


class Reason(StrEnum):
    """Why the gate answered as it did. Stable; `REASONS` says each in a sentence."""

    OWN_CUSTODY = "own-custody"
    EXCHANGE_TREATMENT = "exchange-treatment"
    ROLE_PERMITS = "role-permits"
    ROLE_MAY_NOT = "role-may-not"
    FACILITY_MISSING = "facility-missing"
    PURPOSE_UNKNOWN = "purpose-unknown"
    PURPOSE_NOT_TREATMENT = "purpose-not-treatment"
    NOT_OWN_FACILITY = "not-own-facility"
    NOTHING_HELD = "nothing-held"


REASONS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        Reason.OWN_CUSTODY: "Permitted: the asker's own facility stored it, or it is the asker's own view of what that facility stored.",
        Reason.EXCHANGE_TREATMENT: "Permitted: a clinician looks across facilities for treatment.",
        Reason.ROLE_PERMITS: "Permitted: the role is there to do this, and no patient's data are touched.",
        Reason.ROLE_MAY_NOT: "Denied: the role is not allowed to do this.",
        Reason.FACILITY_MISSING: "Denied: the asker acts for no facility, so there is no view to look through.",
        Reason.PURPOSE_UNKNOWN: "Denied: the purpose of use is not one that this archive knows.",
        Reason.PURPOSE_NOT_TREATMENT: "Denied: other facilities' images are shown for treatment only, and another purpose was given.",
        Reason.NOT_OWN_FACILITY: "Denied: it belongs to another facility, and the role sees its own facility's only.",
        Reason.NOTHING_HELD: "Denied: no facility holds anything of the kind.",
    }
)
"""Every reason code and what it means, for documentation and for people."""

PURPOSE_DEFAULT: Final = "TREAT"
PURPOSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "TREAT": "treatment",
        "ETREAT": "emergency treatment",
        "BTG": "break the glass",
        "HPAYMT": "payment",
        "HOPERAT": "operations of the facility",
        "PUBHLTH": "public health",
        "PATRQT": "the patient asked for it",
        "HRESCH": "research",
    }
)
"""Purposes of use that are understood: codes of HL7's PurposeOfUse value set."""

TREATMENT: Final = frozenset({"TREAT", "ETREAT", "BTG"})
"""Purposes for which a clinician sees across facilities."""

_REVIEWED: Final = frozenset({"ETREAT", "BTG"})


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as the authenticated connection says: nothing in it comes from an object.

    `actor` is "user:ann", "token:7f3a" or "ae:CT1@CARY"; `facility` is the code of the facility
    that the asker acts for; `purpose` a code of `PURPOSES` (another one is denied).
    """

    actor: str
    role: Role
    facility: str
    purpose: str = PURPOSE_DEFAULT


@dataclass(frozen=True, slots=True)
class About:
    """What the question is about: the codes of the facilities that hold it."""

    custodians: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's answer. `scope` is None in a denial and where no patient's data are touched.

    `obligations` are what the permit is bound to: "record" (the answer is in the ledger before
    anything goes out) always, denied or not; "review" where a person looks at it afterwards.
    """

    permit: bool
    reason: Reason
    scope: Scope | None
    obligations: tuple[str, ...]


class _Rule(Enum):
    OWN_FACILITY = 1
    EXCHANGE_FOR_TREATMENT = 2
    NO_PATIENT_DATA = 3


_RULES: Final[Mapping[tuple[Role, Act], _Rule]] = MappingProxyType(
    {
        (Role.SENDER, Act.STORE): _Rule.OWN_FACILITY,
        (Role.SENDER, Act.SEARCH): _Rule.OWN_FACILITY,
        (Role.SENDER, Act.RETRIEVE): _Rule.OWN_FACILITY,
        (Role.CLINICIAN, Act.SEARCH): _Rule.EXCHANGE_FOR_TREATMENT,
        (Role.CLINICIAN, Act.RETRIEVE): _Rule.EXCHANGE_FOR_TREATMENT,
        (Role.PRIVACY, Act.AUDIT): _Rule.NO_PATIENT_DATA,
        (Role.OPERATOR, Act.STATUS): _Rule.NO_PATIENT_DATA,
        (Role.ADMIN, Act.STATUS): _Rule.NO_PATIENT_DATA,
        (Role.ADMIN, Act.REGISTER): _Rule.NO_PATIENT_DATA,
    }
)


def purpose_code(given: str | None) -> str:
    """The purpose of use that a request states, `PURPOSE_DEFAULT` where it states none.

    Case and blanks around it do not matter. A code that is not in `PURPOSES` comes back as given
    (cut at 16 characters): the gate denies it, and the ledger keeps what was asked.
    """
    code = (given or "").strip().upper()
    return code[:16] or PURPOSE_DEFAULT


def decide(asker: Asker, act: Act, about: About | None = None) -> Decision:
    """Permit or deny one act.

    Args:
        asker: who asks, for which facility and purpose.
        act: what they want to do.
        about: what is known of the thing itself; None where nothing particular is asked for (a
            search) or not yet looked up: a permit then says through which scope to look.
    """
    rule = _RULES.get((asker.role, act))
    if rule is None:
        return _deny(Reason.ROLE_MAY_NOT)
    if asker.purpose not in PURPOSES:
        return _deny(Reason.PURPOSE_UNKNOWN)
    if rule is _Rule.NO_PATIENT_DATA:
        return Decision(True, Reason.ROLE_PERMITS, None, ("record",))
    if not asker.facility:
        return _deny(Reason.FACILITY_MISSING)
    if about is not None and not about.custodians:
        return _deny(Reason.NOTHING_HELD)
    own = about is None or asker.facility in about.custodians
    exchange = rule is _Rule.EXCHANGE_FOR_TREATMENT
    if exchange and asker.purpose in TREATMENT:
        held = about is not None and own
        reason = Reason.OWN_CUSTODY if held else Reason.EXCHANGE_TREATMENT
        return Decision(True, reason, Scope.EXCHANGE, _obligations(asker))
    if own:
        return Decision(True, Reason.OWN_CUSTODY, Scope.CUSTODY, _obligations(asker))
    return _deny(Reason.PURPOSE_NOT_TREATMENT if exchange else Reason.NOT_OWN_FACILITY)


def _deny(reason: Reason) -> Decision:
    return Decision(False, reason, None, ("record",))


def _obligations(asker: Asker) -> tuple[str, ...]:
    return ("record", "review") if asker.purpose in _REVIEWED else ("record",)
