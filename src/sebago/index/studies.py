"""Questions about studies: who holds one, how much there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from sebago.index import columns
from sebago.index.tables import instance, series, study
from sebago.index.views import View, allows_bound, rank_bound


@dataclass(frozen=True, slots=True)
class Custody:
    """One facility's custody of a study of one patient."""

    custody_id: int
    facility: str
    assigning_authority: str
    patient_id: str
    study_instance_uid: str
    patient_name_folded: str
    patient_birth_date: str
    first_received_us: int
    instance_count: int

    def is_same_study_as(self, other: Custody) -> bool:
        """Whether two custodies of a UID are taken as one study: see `search`."""
        return self.custody_id == other.custody_id or (
            self.facility != other.facility
            and self.patient_name_folded == other.patient_name_folded
            and self.patient_birth_date == other.patient_birth_date
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """What one facility has sent. Bytes are of all versions, as received."""

    facility: str
    studies: int
    series: int
    instances: int
    received_bytes: int
    last_received_us: int


def custodies(connection: Connection, view: View, study_instance_uid: str) -> list[Custody]:
    """The custodies of a study that hold an instance, in `view`; its own first, then the earliest.

    Those of other patients under the same UID are among them.
    """
    rows: Sequence[Any] = connection.execute(
        _custodies(view.exchange),
        {
            "study_instance_uid": columns.uid(study_instance_uid),
            "own_facility": view.facility,
            **view.parameters,
        },
    ).all()
    return [Custody(*row) for row in rows]


# Statements that every retrieval asks are built once: building one costs ten times its run.
@cache
def _custodies(exchange: bool) -> Select[*tuple[Any, ...]]:
    held = func.coalesce(func.sum(series.c.instance_count), 0)
    return (
        select(*(study.c[name] for name in list(Custody.__dataclass_fields__)[:-1]), held)
        .join(series, series.c.custody_id == study.c.custody_id)
        .where(
            study.c.study_instance_uid == bindparam("study_instance_uid"),
            allows_bound(study, exchange=exchange),
        )
        .group_by(study.c.custody_id)
        .having(held > 0)
        .order_by(rank_bound(study), study.c.custody_id)
    )


def custodians(connection: Connection, study_instance_uid: str) -> frozenset[str]:
    """Codes of the facilities that hold an instance of a study, for the gate to judge by."""
    statement, uid = _custodians(), columns.uid(study_instance_uid)
    return frozenset(connection.execute(statement, {"study_instance_uid": uid}).scalars())


@cache
def _custodians() -> Select[Any]:
    return (
        select(study.c.facility)
        .join(series, series.c.custody_id == study.c.custody_id)
        .where(
            study.c.study_instance_uid == bindparam("study_instance_uid"),
            series.c.instance_count > 0,
        )
        .distinct()
    )


def totals(connection: Connection) -> list[Totals]:
    """What each facility has sent, by code. Reads every row: for `sebago status`, not for doors."""
    counts = (
        select(
            study.c.facility,
            func.count(study.c.custody_id.distinct()),
            func.count(series.c.series_id),
            func.coalesce(func.sum(series.c.instance_count), 0),
        )
        .join(series, series.c.custody_id == study.c.custody_id)
        .where(series.c.instance_count > 0)
        .group_by(study.c.facility)
    )
    volumes = select(
        instance.c.facility,
        func.sum(instance.c.data_length),
        func.max(instance.c.received_us),
    ).group_by(instance.c.facility)
    received = {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(volumes)}
    return sorted(
        (
            Totals(facility, studies, n_series, int(instances), *received.get(facility, (0, 0)))
            for facility, studies, n_series, instances in connection.execute(counts)
        ),
        key=lambda one: one.facility,
    )
