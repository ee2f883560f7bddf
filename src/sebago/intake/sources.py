"""What a door says of the bytes that it hands over, and what it is told of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from sebago.journal import Spooled


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


class Incoming(Protocol):
    """A data set on its way in: grows in memory, past a limit in a journal segment of its own.

    `room(n)` gives a writable view of at least one byte, where the next bytes go; `filled(n)` says
    how many were put there. One of `finish` and `abandon` ends it. Raises `TooLarge` or `DiskFull`
    from `room`.
    """

    def room(self, n: int) -> memoryview: ...

    def filled(self, n: int) -> None: ...

    def finish(self) -> memoryview | Spooled: ...

    def abandon(self) -> None: ...
