"""What a door says of the bytes that it hands over, and what it is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Source:
    """Who sent it, from the authenticated connection: so whose it is."""

    facility: str
    """Facility code; custody is (facility, UID)."""
    authority: str
    """The facility's assigning authority: a patient id means nothing without it."""
    door: str
    """`dimse`, `stow` or `import`."""
    name: str
    """Calling AE title, or the actor of the token or command."""
    address: str = ""
    """Network address of the sender, where there is one."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What the command or file meta information says of the data set; empty: it says nothing."""

    transfer_syntax_uid: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    """Given by C-STORE, whose command must agree with the data set (PS3.4 B.2.3: A900). File meta
    information is often wrong on real media, and is not compared."""


class Outcome(StrEnum):
    """What became of an instance."""

    STORED = "stored"
    ALREADY = "already"
    """The same content under the same UID from the same custodian: one copy, a success."""
    VERSION = "version"
    """Other content under the same UID from the same custodian: now the current version."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """An instance that is durable and findable."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    outcome: Outcome
    length: int
    """Bytes of the data set."""
    warning: str = ""
    """Something noteworthy (B000), without patient data; empty in the ordinary case."""
