"""Matches as DICOM JSON objects: what a query at each level always returns, and what was asked for.

PS3.18 10.6.3 (tables of QIDO-RS), PS3.4 C.6. Columns give what is always returned; the level's
attributes, kept as a DICOM JSON object, give the rest, and where one stands in both the attribute
as it was sent takes precedence. A level that the query does not fix brings its own along, so that a
relational answer says whose series it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Connection

from sebago.errors import TooMany
from sebago.index import search as statements
from sebago.index import search_keys
from sebago.index.search_rows import InstanceRow, PatientRow, SeriesRow, StudyRow
from sebago.index.views import View
from sebago.retrieve.answers import Answer, Level, Query, Row

_STUDY_UID: Final = (0x0020000D,)
_SERIES_UID: Final = (0x0020000E,)

_ONLINE: Final = {"vr": "CS", "Value": ["ONLINE"]}
_EMPTY_REQUEST_ATTRIBUTES: Final = {"vr": "SQ"}


def search(connection: Connection, view: View, query: Query, *, matches_max: int) -> Answer:
    """Matches of a query in `view`.

    Raises:
        BadRequest: a key cannot be understood.
        TooMany: the query names no limit of its own, and more than `matches_max` match.
    """
    asked = statements.Query(
        search_keys.Level(query.level.value),
        query.keys,
        limit=min(query.limit, matches_max) if query.limit is not None else matches_max,
        offset=query.offset,
        order=statements.Order.NEWEST if query.newest_first else statements.Order.ARRIVAL,
    )
    shown = _Shown(query)
    rows: list[Row]
    if query.level is Level.PATIENT:
        patients = statements.patients(connection, view, asked)
        remaining, unmatched = patients.remaining, patients.unmatched
        rows = [shown.patient(row) for row in patients.rows]
    elif query.level is Level.STUDY:
        studies = statements.studies(connection, view, asked)
        remaining, unmatched = studies.remaining, studies.unmatched
        rows = [shown.study(row) for row in studies.rows]
    elif query.level is Level.SERIES:
        several = statements.all_series(connection, view, asked)
        remaining, unmatched = several.remaining, several.unmatched
        rows = [shown.series(row) for row in several.rows]
    else:
        instances = statements.instances(connection, view, asked)
        remaining, unmatched = instances.remaining, instances.unmatched
        rows = [shown.instance(row) for row in instances.rows]
    if remaining and (query.limit is None or query.limit > matches_max):
        raise TooMany(
            f"more than {matches_max} match", do="narrow the query: a date, a patient, a modality"
        )
    return Answer(rows, remaining, unmatched)


class _Shown:
    """What of a row one query returns. Upper levels are made once and shared by the rows below."""

    def __init__(self, query: Query) -> None:
        self._all = query.include == "all"
        include = query.keys.keys() | (set() if query.include == "all" else query.include)
        self._include = frozenset(f"{path[0]:08X}" for path in include)
        self._study_is_fixed = _is_one(query.keys.get(_STUDY_UID, ""))
        self._series_is_fixed = self._study_is_fixed and _is_one(query.keys.get(_SERIES_UID, ""))
        self._studies: dict[int, Row] = {}
        self._series: dict[int, Row] = {}

    def patient(self, row: PatientRow) -> Row:
        shown = _patient_columns(row)
        shown["00201200"] = _number("IS", row.study_count)
        shown["00201202"] = _number("IS", row.series_count)
        shown["00201204"] = _number("IS", row.instance_count)
        return self._with_attributes(shown, row.attributes)

    def study(self, row: StudyRow) -> Row:
        shown = _patient_columns(row)
        shown |= {
            "00080020": _text("DA", row.study_date),
            "00080030": _text("TM", row.study_time),
            "00080050": _text("SH", row.accession_number),
            "00080056": _ONLINE,
            "00080061": _texts("CS", row.modalities),
            "00080090": _name(row.referring_physician_name),
            "00081030": _text("LO", row.study_description),
            "0020000D": _text("UI", row.study_instance_uid),
            "00200010": _text("SH", row.study_id),
            "00201206": _number("IS", row.series_count),
            "00201208": _number("IS", row.instance_count),
        }
        return self._with_attributes(shown, row.attributes)

    def series(self, row: SeriesRow) -> Row:
        shown: Row = {
            "00080056": _ONLINE,
            "00080060": _text("CS", row.modality),
            "0008103E": _text("LO", row.series_description),
            "00180015": _text("CS", row.body_part_examined),
            "0020000D": _text("UI", row.study.study_instance_uid),
            "0020000E": _text("UI", row.series_instance_uid),
            "00200011": _number("IS", row.series_number),
            "00201209": _number("IS", row.instance_count),
            "00400244": _text("DA", row.performed_procedure_step_start_date),
            "00400245": _text("TM", row.performed_procedure_step_start_time),
        }
        shown = self._with_attributes(shown, row.attributes, always=("00400275", "00080201"))
        shown.setdefault("00400275", _EMPTY_REQUEST_ATTRIBUTES)
        return (
            shown
            if self._study_is_fixed and not self._asks_above()
            else (
                self._upper(self._studies, row.study.custody_id, lambda: self.study(row.study))
                | shown
            )
        )

    def instance(self, row: InstanceRow) -> Row:
        shown: Row = {
            "00080016": _text("UI", row.sop_class_uid),
            "00080018": _text("UI", row.sop_instance_uid),
            "00080056": _ONLINE,
            "00083002": _text("UI", row.transfer_syntax_uid),
            "0020000D": _text("UI", row.series.study.study_instance_uid),
            "0020000E": _text("UI", row.series.series_instance_uid),
            "00200013": _number("IS", row.instance_number),
        }
        for key, vr, value in (
            ("00280008", "IS", row.number_of_frames),
            ("00280010", "US", row.rows),
            ("00280011", "US", row.columns),
            ("00280100", "US", row.bits_allocated),
        ):
            if value is not None or key in self._include:
                shown[key] = _number(vr, value)
        shown = self._with_attributes(shown, row.attributes)
        if self._series_is_fixed and not self._asks_above():
            return shown
        above = self._upper(self._series, row.series.series_id, lambda: self.series(row.series))
        return above | shown

    def _asks_above(self) -> bool:
        return self._all or bool(self._include - {"0020000D", "0020000E"})

    def _upper(self, made: dict[int, Row], key: int, make: Any) -> Row:  # noqa: ANN401
        row = made.get(key)
        if row is None:
            row = made[key] = make()
        return row

    def _with_attributes(
        self, shown: Row, attributes: bytes, *, always: Iterable[str] = ("00080201",)
    ) -> Row:
        if not attributes:
            return shown
        kept: Row = json.loads(attributes)
        if self._all:
            return shown | kept
        for key in kept.keys() & (shown.keys() | self._include | set(always)):
            shown[key] = kept[key]
        return shown


def _patient_columns(row: PatientRow | StudyRow) -> Row:
    """What says whose it is. An id without an issuer is of the facility's own authority."""
    issuer = row.issuer_of_patient_id or row.assigning_authority.split("&")[0]
    return {
        "00100010": _name(row.patient_name),
        "00100020": _text("LO", row.patient_id),
        "00100021": _text("LO", issuer),
        "00100030": _text("DA", row.patient_birth_date),
        "00100040": _text("CS", row.patient_sex),
    }


def _is_one(value: str) -> bool:
    return bool(value) and "\\" not in value and "," not in value


def _text(vr: str, value: str) -> dict[str, Any]:
    return {"vr": vr, "Value": [value]} if value else {"vr": vr}


def _texts(vr: str, values: Iterable[str]) -> dict[str, Any]:
    listed = [value for value in values if value]
    return {"vr": vr, "Value": listed} if listed else {"vr": vr}


def _number(vr: str, value: int | None) -> dict[str, Any]:
    return {"vr": vr} if value is None else {"vr": vr, "Value": [value]}


def _name(value: str) -> dict[str, Any]:
    """A person name with its component groups (PS3.18 F.2.2)."""
    if not value:
        return {"vr": "PN"}
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), value.split("="), strict=False)
    return {"vr": "PN", "Value": [{name: text for name, text in groups if text}]}
