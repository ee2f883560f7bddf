"""Searching: patients, studies, series, instances that match a query, in one facility's view.

Theory of operation. The SQL decides everything that pages and counts depend on: the access filter,
the matching keys, which of several custodies is shown, the order. It gives row ids; `search_rows`
then reads what is shown of them.

The exchange shows once what several facilities hold. Two custodies of one Study Instance UID are
taken as one study if they are of different facilities and name the same patient: equal folded name
and equal birth date. (Patient ids cannot be compared across authorities.) Where they differ, both
are shown, since they may be two persons; a wrongly shown second row is an inconvenience, a merged
one a danger. Of one study's custodies that match the query the asker's own is shown, else the one
that came first. Counts and modalities are those of all its custodies together, instances counted
once.

Orders, both total. NEWEST: by study date and time, then by arrival, the latest first: for lists
that people look at. ARRIVAL: the order in which custodies were made; what arrives while somebody
reads page after page is added behind, so no page repeats or skips: for doors that page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from sebago.index import search_rows
from sebago.index.search_keys import Conditions, Level, Path, conditions
from sebago.index.search_rows import InstanceRow, PatientRow, SeriesRow, StudyRow
from sebago.index.tables import instance, series, study
from sebago.index.views import View

COUNT_MAX: Final = 100_000
"""Matches are counted up to here; `remaining` is then at least what it says."""

_NUMBER_AFTER_ALL: Final = 2**62

# Aliases are made once: making one costs more than running a short statement.
_SOME: Final = series.alias("some_series")
_OTHER_STUDY: Final = study.alias("other_study")
_OTHER_SERIES: Final = series.alias("other_series")
_OTHER_INSTANCE: Final = instance.alias("other_instance")


class Order(Enum):
    """See the module."""

    NEWEST = "newest"
    ARRIVAL = "arrival"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for; `keys` hold raw DICOM strings, empty ones match everything."""

    level: Level
    keys: Mapping[Path, str] = field(default_factory=dict)
    limit: int | None = None
    offset: int = 0
    order: Order = Order.NEWEST
    combine_date_and_time: bool = True
    """Ranges of Study Date and Study Time are one span (PS3.18; by negotiation in PS3.4)."""


Row = TypeVar("Row", PatientRow, StudyRow, SeriesRow, InstanceRow)


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Matches in order."""

    rows: list[Row]
    remaining: int
    """Matches behind the last row."""
    unmatched: frozenset[Path]
    """Keys that were not matched on: they have no column, or are of a lower level."""


def patients(connection: Connection, view: View, query: Query) -> Page[PatientRow]:
    """Patients, by (assigning authority, patient id), that have a study that matches.

    Raises:
        BadRequest: a key cannot be understood. So do the other three.
    """
    wanted = _conditions(connection, Level.PATIENT, query)
    latest = (
        select(func.max(study.c.custody_id).label("custody_id"))
        .where(*_studies_shown(view, wanted, study))
        .group_by(study.c.assigning_authority, study.c.patient_id)
    )
    ids, remaining = _page(connection, latest, [literal_column("custody_id").desc()], query)
    return Page(search_rows.patients(connection, view, ids), remaining, wanted.unmatched)


def studies(connection: Connection, view: View, query: Query) -> Page[StudyRow]:
    """Studies; each row is a custody, see the module."""
    wanted = _conditions(connection, Level.STUDY, query)
    statement = select(study.c.custody_id).where(*_studies_shown(view, wanted, study))
    if view.exchange:
        other = _OTHER_STUDY
        statement = statement.where(
            ~exists(
                select(other.c.custody_id).where(
                    _is_same_study(other, study),
                    _is_before(view, other, study),
                    *_studies_shown(view, wanted, other),
                )
            )
        )
    ids, remaining = _page(connection, statement, _study_order(query), query)
    return Page(search_rows.studies(connection, view, ids), remaining, wanted.unmatched)


def all_series(connection: Connection, view: View, query: Query) -> Page[SeriesRow]:
    """Series, those of one study together and by number."""
    wanted = _conditions(connection, Level.SERIES, query)
    statement = (
        select(series.c.series_id)
        .join(study, study.c.custody_id == series.c.custody_id)
        .where(*_series_shown(view, wanted, study, series))
    )
    if view.exchange:
        other_study, other = _OTHER_STUDY, _OTHER_SERIES
        statement = statement.where(
            ~exists(
                select(other.c.series_id)
                .join(other_study, other_study.c.custody_id == other.c.custody_id)
                .where(
                    _is_same_study(other_study, study),
                    _is_before(view, other_study, study),
                    other.c.series_instance_uid == series.c.series_instance_uid,
                    *_series_shown(view, wanted, other_study, other),
                )
            )
        )
    order = [*_study_order(query), _number(series.c.series_number), series.c.series_id]
    ids, remaining = _page(connection, statement, order, query)
    return Page(search_rows.all_series(connection, view, ids), remaining, wanted.unmatched)


def instances(connection: Connection, view: View, query: Query) -> Page[InstanceRow]:
    """Instances, those of one series together and by number."""
    wanted = _conditions(connection, Level.INSTANCE, query)
    statement = (
        select(instance.c.instance_id)
        .join(series, series.c.series_id == instance.c.series_id)
        .join(study, study.c.custody_id == series.c.custody_id)
        .where(*_instances_shown(view, wanted, study, series, instance))
    )
    if view.exchange:
        other_study, other_series, other = _OTHER_STUDY, _OTHER_SERIES, _OTHER_INSTANCE
        statement = statement.where(
            ~exists(
                select(other.c.instance_id)
                .join(other_series, other_series.c.series_id == other.c.series_id)
                .join(other_study, other_study.c.custody_id == other_series.c.custody_id)
                .where(
                    _is_same_study(other_study, study),
                    _is_before(view, other_study, study),
                    other.c.sop_instance_uid == instance.c.sop_instance_uid,
                    *_instances_shown(view, wanted, other_study, other_series, other),
                )
            )
        )
    order = [
        *_study_order(query),
        _number(series.c.series_number),
        series.c.series_id,
        _number(instance.c.instance_number),
        instance.c.instance_id,
    ]
    ids, remaining = _page(connection, statement, order, query)
    return Page(search_rows.instances(connection, view, ids), remaining, wanted.unmatched)


# --- conditions -----------------------------------------------------------------------------------


def _conditions(connection: Connection, level: Level, query: Query) -> Conditions:
    return conditions(
        level,
        query.keys,
        combine_date_and_time=query.combine_date_and_time,
        is_sqlite=connection.dialect.name == "sqlite",
    )


def _studies_shown(
    view: View, wanted: Conditions, of_study: FromClause
) -> list[ColumnElement[bool]]:
    return [
        view.allows(of_study, by_index=wanted.by_facility),
        _holds_something(of_study),
        *wanted.on(of_study),
    ]


def _series_shown(
    view: View, wanted: Conditions, of_study: FromClause, of_series: FromClause
) -> list[ColumnElement[bool]]:
    return [
        view.allows(of_study, by_index=wanted.by_facility),
        of_series.c.instance_count > 0,
        *wanted.on(of_study, of_series),
    ]


def _instances_shown(
    view: View,
    wanted: Conditions,
    of_study: FromClause,
    of_series: FromClause,
    of_instance: FromClause,
) -> list[ColumnElement[bool]]:
    return [
        view.allows(of_study, by_index=wanted.by_facility),
        of_instance.c.current == literal_column("1"),
        *wanted.on(of_study, of_series, of_instance),
    ]


def _holds_something(of_study: FromClause) -> ColumnElement[bool]:
    """A custody whose instances all became versions of another study's is not shown."""
    return exists(
        select(_SOME.c.series_id).where(
            _SOME.c.custody_id == of_study.c.custody_id, _SOME.c.instance_count > 0
        )
    )


def _is_same_study(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(
        one.c.study_instance_uid == other.c.study_instance_uid,
        one.c.facility != other.c.facility,
        one.c.patient_name_folded == other.c.patient_name_folded,
        one.c.patient_birth_date == other.c.patient_birth_date,
    )


def _is_before(view: View, one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """Whether `one` is shown rather than `other`."""
    return or_(
        view.rank(one) < view.rank(other),
        and_(view.rank(one) == view.rank(other), one.c.custody_id < other.c.custody_id),
    )


# --- order and pages ------------------------------------------------------------------------------


def _study_order(query: Query) -> list[ColumnElement[Any]]:
    if query.order is Order.ARRIVAL:
        return [study.c.custody_id]
    return [study.c.study_date.desc(), study.c.study_time.desc(), study.c.custody_id.desc()]


def _number(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """By number; what has none comes last, on both databases."""
    return func.coalesce(column, _NUMBER_AFTER_ALL)


def _page(
    connection: Connection,
    statement: Select[*tuple[Any, ...]],
    order: list[ColumnElement[Any]],
    query: Query,
) -> tuple[list[int], int]:
    """Row ids of the page, and how many matches lie behind it."""
    paged = statement.order_by(*order).offset(query.offset or None)
    if query.limit is None:
        return list(connection.execute(paged).scalars()), 0
    ids = list(connection.execute(paged.limit(query.limit + 1)).scalars())
    if len(ids) <= query.limit:
        return ids, 0
    counted = select(func.count()).select_from(statement.limit(COUNT_MAX).subquery())
    total = connection.execute(counted).scalar_one()
    return ids[: query.limit], max(total - query.offset - query.limit, 1)
