"""What a search shows of the rows that it found.

Upper levels are read once and shared by the rows below: 1,800 instances of a series hold one
SeriesRow and one StudyRow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select, tuple_

from sebago.index.tables import instance, series, study
from sebago.index.views import View

_IDS_AT_ONCE: Final = 10_000
"""Row ids in one statement; SQLite takes 32,766 values, PostgreSQL 65,535."""


@dataclass(frozen=True, slots=True)
class PatientRow:
    """One patient of one assigning authority, as the latest study says."""

    custody_id: int
    assigning_authority: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    attributes: bytes
    study_count: int
    series_count: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study in the asker's view: columns of the custody that is shown, counts of all of it.

    `attributes` is a DICOM JSON object of what has no column (empty: nothing).
    """

    custody_id: int
    facility: str
    assigning_authority: str
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    study_instance_uid: str
    study_date: str
    study_time: str
    accession_number: str
    study_id: str
    study_description: str
    referring_physician_name: str
    attributes: bytes
    first_received_us: int
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series in the asker's view."""

    study: StudyRow
    series_id: int
    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    body_part_examined: str
    performed_procedure_step_start_date: str
    performed_procedure_step_start_time: str
    institution_name: str
    station_name: str
    attributes: bytes
    changed_us: int
    instance_count: int


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One instance in the asker's view."""

    series: SeriesRow
    instance_id: int
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    instance_number: int | None
    rows: int | None
    columns: int | None
    number_of_frames: int | None
    bits_allocated: int | None
    content_date: str
    content_time: str
    attributes: bytes
    received_us: int


_PATIENT_COLUMNS: Final = list(PatientRow.__dataclass_fields__)[:-3]
_STUDY_COLUMNS: Final = list(StudyRow.__dataclass_fields__)[:-3]
_SERIES_COLUMNS: Final = list(SeriesRow.__dataclass_fields__)[1:-1]
_INSTANCE_COLUMNS: Final = list(InstanceRow.__dataclass_fields__)[1:]


# Made once: making a statement or an alias costs more than running a short one.
_READ_STUDIES: Final = select(*(study.c[name] for name in _STUDY_COLUMNS))
_READ_SERIES: Final = select(
    series.c.custody_id, series.c.instance_count, *(series.c[name] for name in _SERIES_COLUMNS)
)
_READ_INSTANCES: Final = select(
    instance.c.series_id, *(instance.c[name] for name in _INSTANCE_COLUMNS)
)
_SHOWN: Final = study.alias("shown")


@dataclass(frozen=True, slots=True)
class _Member:
    """One series of one of the custodies of a study that is shown."""

    shown_id: int  # of the custody that is shown
    custody_id: int
    series_id: int
    series_instance_uid: str
    modality: str
    instance_count: int


def patients(connection: Connection, view: View, custody_ids: Sequence[int]) -> list[PatientRow]:
    """One row for each custody, counting all that the view has of its patient."""
    counts: dict[tuple[str, str], tuple[int, int, int]] = {}
    rows: dict[int, Any] = {}
    patient = tuple_(study.c.assigning_authority, study.c.patient_id)
    for ids in _batches(custody_ids):
        named = select(study.c.assigning_authority, study.c.patient_id)
        named = named.where(study.c.custody_id.in_(ids))
        counting = (
            select(
                study.c.assigning_authority,
                study.c.patient_id,
                func.count(study.c.study_instance_uid.distinct()),
                func.count(series.c.series_instance_uid.distinct()),
                func.sum(series.c.instance_count),
            )
            .join(series, series.c.custody_id == study.c.custody_id)
            .where(patient.in_(named), view.allows(study), series.c.instance_count > 0)
            .group_by(study.c.assigning_authority, study.c.patient_id)
        )
        for authority, patient_id, *numbers in connection.execute(counting):
            counts[authority, patient_id] = (numbers[0], numbers[1], int(numbers[2]))
        reading = select(*(study.c[name] for name in _PATIENT_COLUMNS))
        for row in connection.execute(reading.where(study.c.custody_id.in_(ids))):
            rows[row.custody_id] = row
    found: list[PatientRow] = []
    for row in (rows[custody_id] for custody_id in custody_ids):
        values: list[Any] = [*row, *counts[row.assigning_authority, row.patient_id]]
        found.append(PatientRow(*values))
    return found


def studies(connection: Connection, view: View, custody_ids: Sequence[int]) -> list[StudyRow]:
    """One row for each custody, in order."""
    found = _studies(connection, view, custody_ids)[0]
    return [found[custody_id] for custody_id in custody_ids]


def all_series(connection: Connection, view: View, series_ids: Sequence[int]) -> list[SeriesRow]:
    """One row for each series, in order."""
    found = _series(connection, view, series_ids)
    return [found[series_id] for series_id in series_ids]


def instances(connection: Connection, view: View, instance_ids: Sequence[int]) -> list[InstanceRow]:
    """One row for each instance, in order."""
    rows: dict[int, Any] = {}
    for ids in _batches(instance_ids):
        for row in connection.execute(_READ_INSTANCES.where(instance.c.instance_id.in_(ids))):
            rows[row[1]] = row
    all_of = _series(connection, view, sorted({row[0] for row in rows.values()}))
    return [
        InstanceRow(all_of[row[0]], *row[1:])
        for row in (rows[instance_id] for instance_id in instance_ids)
    ]


def _series(connection: Connection, view: View, series_ids: Sequence[int]) -> dict[int, SeriesRow]:
    rows: dict[int, Any] = {}
    for ids in _batches(series_ids):
        for row in connection.execute(_READ_SERIES.where(series.c.series_id.in_(ids))):
            rows[row.series_id] = row
    custody_ids = sorted({row[0] for row in rows.values()})
    of_studies, members = _studies(connection, view, custody_ids)
    counts = _series_counts(connection, members)
    found: dict[int, SeriesRow] = {}
    for series_id, row in rows.items():
        count = counts.get((row.custody_id, row.series_instance_uid), row.instance_count)
        values: list[Any] = [of_studies[row.custody_id], *row[2:], count]
        found[series_id] = SeriesRow(*values)
    return found


def _studies(
    connection: Connection, view: View, custody_ids: Sequence[int]
) -> tuple[dict[int, StudyRow], dict[int, list[_Member]]]:
    """The rows of these custodies, and all series of the studies that they stand for."""
    rows: dict[int, Any] = {}
    members: dict[int, list[_Member]] = defaultdict(list)
    for ids in _batches(custody_ids):
        for row in connection.execute(_READ_STUDIES.where(study.c.custody_id.in_(ids))):
            rows[row.custody_id] = row
        for member in _members(connection, view, ids):
            members[member.shown_id].append(member)
    found: dict[int, StudyRow] = {}
    for custody_id, row in rows.items():
        there = members[custody_id]
        modalities = tuple(sorted({one.modality for one in there} - {""}))
        series_count = len({one.series_instance_uid for one in there})
        values: list[Any] = [
            *row,
            modalities,
            series_count,
            _instance_count(connection, there),
        ]
        found[custody_id] = StudyRow(*values)
    return found, members


def _members(connection: Connection, view: View, custody_ids: Sequence[int]) -> Iterator[_Member]:
    """The series of these custodies and, in the exchange, of the others of the same study."""
    held = (
        series.c.custody_id,
        series.c.series_id,
        series.c.series_instance_uid,
        series.c.modality,
        series.c.instance_count,
    )
    if view.exchange:
        shown = _SHOWN
        statement = (
            select(shown.c.custody_id, *held)
            .select_from(shown)
            .join(study, study.c.study_instance_uid == shown.c.study_instance_uid)
            .join(series, series.c.custody_id == study.c.custody_id)
            .where(
                shown.c.custody_id.in_(custody_ids),
                view.allows(study),
                (study.c.custody_id == shown.c.custody_id)
                | (
                    (study.c.facility != shown.c.facility)
                    & (study.c.patient_name_folded == shown.c.patient_name_folded)
                    & (study.c.patient_birth_date == shown.c.patient_birth_date)
                ),
            )
        )
    else:
        statement = select(series.c.custody_id, *held).where(series.c.custody_id.in_(custody_ids))
    for row in connection.execute(statement.where(series.c.instance_count > 0)):
        yield _Member(*row)


def _instance_count(connection: Connection, members: Sequence[_Member]) -> int:
    """Distinct instances: summed where one custody holds them, counted where several do."""
    if len({one.custody_id for one in members}) <= 1:
        return sum(one.instance_count for one in members)
    return int(
        connection.execute(
            select(func.count(instance.c.sop_instance_uid.distinct())).where(
                instance.c.series_id.in_([one.series_id for one in members]),
                instance.c.current == 1,
            )
        ).scalar_one()
    )


def _series_counts(
    connection: Connection, members: dict[int, list[_Member]]
) -> dict[tuple[int, str], int]:
    """Distinct instances of each series that several custodies hold, by shown custody and UID."""
    counts: dict[tuple[int, str], int] = {}
    for shown_id, all_of in members.items():
        by_uid: dict[str, list[_Member]] = defaultdict(list)
        for member in all_of:
            by_uid[member.series_instance_uid].append(member)
        for series_instance_uid, same in by_uid.items():
            counts[shown_id, series_instance_uid] = _instance_count(connection, same)
    return counts


def _batches(ids: Sequence[int]) -> Iterator[list[int]]:
    for at in range(0, len(ids), _IDS_AT_ONCE):
        yield list(ids[at : at + _IDS_AT_ONCE])
