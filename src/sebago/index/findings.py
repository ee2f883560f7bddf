"""What somebody should look at: kept once for each subject, with how often it was seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from sebago.index.statements import insert_into
from sebago.index.tables import finding

STUDY_OF_TWO_PATIENTS: Final = "study-of-two-patients"
"""A facility sent one Study Instance UID under two patients. Subject: the study UID."""

OTHER_CONTENT: Final = "other-content"
"""A facility sent another content under a SOP Instance UID. Subject: the SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something seen at `at_us`. `detail` names UIDs, counts and offsets, never a patient."""

    kind: str
    facility: str
    subject: str
    detail: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A finding as it is kept."""

    finding_id: int
    kind: str
    facility: str
    subject: str
    detail: str
    first_us: int
    last_us: int
    times: int


def record(connection: Connection, seen: Finding) -> None:
    """Keep a finding, or count it again; the latest detail stays."""
    statement = insert_into(finding, connection.dialect.name).values(
        kind=seen.kind,
        facility=seen.facility,
        subject=seen.subject,
        detail=seen.detail,
        first_us=seen.at_us,
        last_us=seen.at_us,
        times=1,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["kind", "facility", "subject"],
            set_={
                "detail": statement.excluded.detail,
                "last_us": statement.excluded.last_us,
                "times": finding.c.times + 1,
            },
        )
    )


def count(connection: Connection) -> int:
    """How many things there are that somebody should look at."""
    return int(connection.execute(select(func.count()).select_from(finding)).scalar_one())


def latest(connection: Connection, *, kind: str | None = None, limit: int = 100) -> list[Seen]:
    """The findings seen last, the newest first."""
    statement = select(*(finding.c[name] for name in Seen.__dataclass_fields__))
    if kind is not None:
        statement = statement.where(finding.c.kind == kind)
    statement = statement.order_by(finding.c.last_us.desc(), finding.c.finding_id.desc())
    return [Seen(*row) for row in connection.execute(statement.limit(limit))]
