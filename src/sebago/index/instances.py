"""Questions about instances: which there are, where their bytes lie, which versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from sqlalchemy import Connection, Select, bindparam, select

from sebago.index import columns
from sebago.index.record import existing as existing
from sebago.index.studies import Custody, custodies
from sebago.index.tables import instance, series, study
from sebago.index.views import View


@dataclass(frozen=True, slots=True)
class Held:
    """One instance, its current version, as one facility holds it."""

    instance_id: int
    series_id: int
    custody_id: int
    facility: str
    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    series_number: int | None
    instance_number: int | None
    rows: int | None
    columns: int | None
    number_of_frames: int | None
    bits_allocated: int | None
    digest: bytes
    writer: str
    segment: int
    data_offset: int
    data_length: int
    received_us: int
    version: int


_SERIES_COLUMNS: Final = ("custody_id", "series_instance_uid", "series_number")
_STUDY_COLUMNS: Final = ("study_instance_uid",)
_COLUMNS: Final = [
    series.c[name]
    if name in _SERIES_COLUMNS
    else study.c[name]
    if name in _STUDY_COLUMNS
    else instance.c[name]
    for name in Held.__dataclass_fields__
]


def _all() -> Select[*tuple[Any, ...]]:
    return (
        select(*_COLUMNS)
        .select_from(instance)
        .join(series, series.c.series_id == instance.c.series_id)
        .join(study, study.c.custody_id == series.c.custody_id)
    )


def held(
    connection: Connection,
    view: View,
    study_instance_uid: str,
    series_instance_uid: str | None = None,
    sop_instance_uid: str | None = None,
    *,
    patient_id: str = "",
) -> list[Held]:
    """The current instances of a study, series or instance in `view`, one for each SOP Instance UID.

    Where several facilities hold one, it is the asker's own, else the earliest. In the exchange,
    custodies that name another patient under the same study UID (another name or birth date than the
    first custody's) are left out: two patients are never mixed. Ordered as viewers draw: series
    number, instance number.
    """
    there = custodies(connection, view, study_instance_uid)
    if patient_id:
        there = [one for one in there if one.patient_id == patient_id]
    if view.exchange:
        there = [one for one in there if one.is_same_study_as(there[0])]
    if not there:
        return []
    values: dict[str, Any] = {"custody_ids": [one.custody_id for one in there]}
    if series_instance_uid is not None:
        values["series_instance_uid"] = columns.uid(series_instance_uid)
    if sop_instance_uid is not None:
        values["sop_instance_uid"] = columns.uid(sop_instance_uid)
    statement = _held(series_instance_uid is not None, sop_instance_uid is not None)
    return _in_drawing_order(_one_each(connection.execute(statement, values).all(), there))


@cache
def _held(of_series: bool, of_instance: bool) -> Select[*tuple[Any, ...]]:
    """Built once, as every retrieval asks it: building it costs ten times its run."""
    statement = _all().where(
        study.c.custody_id.in_(bindparam("custody_ids", expanding=True)),
        instance.c.current == 1,
    )
    if of_series:
        statement = statement.where(
            series.c.series_instance_uid == bindparam("series_instance_uid")
        )
    if of_instance:
        statement = statement.where(instance.c.sop_instance_uid == bindparam("sop_instance_uid"))
    return statement


def by_ids(connection: Connection, instance_ids: Sequence[int]) -> list[Held]:
    """The instances of these ids, in the order of arrival; those that are gone are left out."""
    statement = (
        _all()
        .where(instance.c.instance_id.in_(list(instance_ids)))
        .order_by(instance.c.instance_id)
    )
    rows: Sequence[Any] = connection.execute(statement).all()
    return [Held(*row) for row in rows]


def study_of(connection: Connection, view: View, sop_instance_uid: str) -> str:
    """Study Instance UID of an instance in `view`; "" where there is none to be seen."""
    statement = (
        select(study.c.study_instance_uid)
        .select_from(instance)
        .join(series, series.c.series_id == instance.c.series_id)
        .join(study, study.c.custody_id == series.c.custody_id)
        .where(
            instance.c.sop_instance_uid == columns.uid(sop_instance_uid),
            instance.c.current == 1,
            view.allows(study),
        )
        .order_by(view.rank(study), study.c.custody_id)
        .limit(1)
    )
    return connection.execute(statement).scalar() or ""


def versions(connection: Connection, facility: str, sop_instance_uid: str) -> list[Held]:
    """Every version of a facility's instance, the current one first, then the later ones."""
    statement = (
        _all()
        .where(
            instance.c.sop_instance_uid == columns.uid(sop_instance_uid),
            instance.c.facility == facility,
        )
        .order_by(instance.c.version.desc())
    )
    rows: Sequence[Any] = connection.execute(statement).all()
    return [Held(*row) for row in rows]


def every(connection: Connection, *, after_id: int = 0, limit: int = 1000) -> list[Held]:
    """All versions of all instances in the order of their ids, a page at a time: for `verify`."""
    statement = (
        _all()
        .where(instance.c.instance_id > after_id)
        .order_by(instance.c.instance_id)
        .limit(limit)
    )
    rows: Sequence[Any] = connection.execute(statement).all()
    return [Held(*row) for row in rows]


def _one_each(rows: Sequence[Any], there: Sequence[Custody]) -> list[Held]:
    found = [Held(*row) for row in rows]
    if len(there) == 1:
        return found
    rank = {one.custody_id: at for at, one in enumerate(there)}
    best: dict[str, Held] = {}
    for one in found:
        before = best.get(one.sop_instance_uid)
        if before is None or rank[one.custody_id] < rank[before.custody_id]:
            best[one.sop_instance_uid] = one
    return list(best.values())


def _in_drawing_order(found: list[Held]) -> list[Held]:
    found.sort(
        key=lambda one: (
            one.series_number is None,
            one.series_number or 0,
            one.series_instance_uid,
            one.instance_number is None,
            one.instance_number or 0,
            one.sop_instance_uid,
        )
    )
    return found
