"""Whose eyes: which rows of the index somebody may see.

Every question that is answered to somebody takes a View, and its condition is part of the SQL, so
that counts, limits and pages are of what may be seen. What the gate decided becomes a View above
this package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, bindparam, case, true


@dataclass(frozen=True, slots=True)
class View:
    """One facility's custody, or with `exchange` every facility's, its own first."""

    facility: str
    exchange: bool = False

    @property
    def parameters(self) -> dict[str, str]:
        """Values for what `allows_bound` and `rank_bound` leave open."""
        return {} if self.exchange else {"view_facility": self.facility}

    def allows(self, study: FromClause, *, by_index: bool = True) -> ColumnElement[bool]:
        """The condition on a row of the study table (or an alias of it).

        Without `by_index` it is written so that no index serves it: SQLite would read all of a
        facility in the order of an index rather than the few rows that a name gives.
        """
        if self.exchange:
            return true()
        facility = study.c.facility if by_index else study.c.facility + ""
        return facility == self.facility

    def rank(self, study: FromClause) -> ColumnElement[Any]:
        """0 for the asker's own custody, 1 for another's: the lesser is shown, then the earlier."""
        return case((study.c.facility == self.facility, 0), else_=1)


def allows_bound(study: FromClause, *, exchange: bool) -> ColumnElement[bool]:
    """As `View.allows`, for a statement that is built once: the facility is `:view_facility`."""
    return true() if exchange else study.c.facility == bindparam("view_facility")


def rank_bound(study: FromClause) -> ColumnElement[Any]:
    """As `View.rank`, for a statement that is built once: the facility is `:own_facility`."""
    return case((study.c.facility == bindparam("own_facility"), 0), else_=1)
