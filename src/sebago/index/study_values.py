"""What the columns of a study and of a series take from an instance's facts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sebago.index import columns


class Facts(Protocol):
    """What the index takes of `sebago.dicom.facts.Facts`."""

    @property
    def sop_class_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    @property
    def study_instance_uid(self) -> str: ...
    @property
    def series_instance_uid(self) -> str: ...
    @property
    def patient_id(self) -> str: ...
    @property
    def instance_number(self) -> int | None: ...
    @property
    def rows(self) -> int | None: ...
    @property
    def columns(self) -> int | None: ...
    @property
    def number_of_frames(self) -> int | None: ...
    @property
    def bits_allocated(self) -> int | None: ...
    @property
    def study_attributes(self) -> bytes: ...
    @property
    def series_attributes(self) -> bytes: ...


STUDY_DIRECT: Final = (
    "issuer_of_patient_id",
    "patient_name",
    "patient_birth_date",
    "patient_sex",
    "study_date",
    "study_time",
    "accession_number",
    "study_id",
    "study_description",
    "referring_physician_name",
)
"""Columns that are facts as they stand; one that is empty is filled by a later instance."""

STUDY_COLUMNS: Final = (
    *STUDY_DIRECT,
    "patient_name_folded",
    "patient_name_ideographic_folded",
    "patient_name_phonetic_folded",
    "study_description_folded",
    "referring_physician_name_folded",
    "attributes",
)

SERIES_DIRECT: Final = ("modality", "series_number", "series_description", "body_part")

_PERFORMED_DATE: Final = "00400244"
_PERFORMED_TIME: Final = "00400245"
_REQUEST_ATTRIBUTES: Final = "00400275"
_REQUESTED_PROCEDURE_ID: Final = "00401001"
_SCHEDULED_STEP_ID: Final = "00400009"

SERIES_COLUMNS: Final = (
    *SERIES_DIRECT,
    "series_description_folded",
    "performed_procedure_step_start_date",
    "performed_procedure_step_start_time",
    "requested_procedure_id",
    "scheduled_procedure_step_id",
    "attributes",
)

_DIRECT: Final = frozenset(STUDY_DIRECT + SERIES_DIRECT)
_IDENTIFIERS: Final = frozenset({"issuer_of_patient_id", "accession_number", "study_id"})


@dataclass(frozen=True, slots=True)
class Blanks:
    """Columns of a study and a series that are still empty."""

    study: tuple[str, ...]
    series: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether a later instance could fill something."""
        return bool(self.study or self.series)

    def without(self, study: Collection[str], series: Collection[str]) -> Blanks:
        """What is empty after these have been filled."""
        return Blanks(
            tuple(name for name in self.study if name not in study),
            tuple(name for name in self.series if name not in series),
        )


def study_values(facts: Facts) -> tuple[str, ...]:
    """Values of `STUDY_COLUMNS`, in their order."""
    values = {name: _direct(name, getattr(facts, name)) for name in STUDY_DIRECT}
    values |= _derived({name: str(value) for name, value in values.items()})
    values["attributes"] = _attributes(facts.study_attributes)
    return tuple(str(values[name]) for name in STUDY_COLUMNS)


def series_values(facts: Facts) -> tuple[str | int | None, ...]:
    """Values of `SERIES_COLUMNS`, in their order."""
    attributes = _attributes(facts.series_attributes)
    said = _parsed(attributes)
    request = _first_item(said, _REQUEST_ATTRIBUTES)
    values: dict[str, str | int | None] = {
        name: _direct(name, getattr(facts, name)) for name in SERIES_DIRECT
    }
    values |= _derived({"series_description": str(values["series_description"])})
    values["performed_procedure_step_start_date"] = _first(said, _PERFORMED_DATE)
    values["performed_procedure_step_start_time"] = _first(said, _PERFORMED_TIME)
    values["requested_procedure_id"] = _first(request, _REQUESTED_PROCEDURE_ID)
    values["scheduled_procedure_step_id"] = _first(request, _SCHEDULED_STEP_ID)
    values["attributes"] = attributes
    return tuple(values[name] for name in SERIES_COLUMNS)


def blanks(names: Sequence[str], values: Sequence[str | int | None]) -> tuple[str, ...]:
    """Which direct columns are empty in a row."""
    return tuple(
        name
        for name, value in zip(names, values, strict=True)
        if name in _DIRECT and (value is None or value == "")
    )


def brought(empty: Blanks, facts: Facts) -> tuple[dict[str, str | int], dict[str, str | int]]:
    """What `facts` put into empty columns of the study and of the series."""
    return _brought(empty.study, facts), _brought(empty.series, facts)


def _brought(names: Sequence[str], facts: Facts) -> dict[str, str | int]:
    found: dict[str, str | int] = {}
    for name in names:
        value = getattr(facts, name)
        if value is None or value == "":
            continue
        kept = _direct(name, value)
        if kept is not None and kept != "":
            found[name] = kept
    return found | _derived(
        {name: value for name, value in found.items() if isinstance(value, str)}
    )


def _direct(name: str, value: str | int | None) -> str | int | None:
    if isinstance(value, str):
        return columns.identifier(value) if name in _IDENTIFIERS else columns.words(value)
    return columns.large(value)


def _derived(values: Mapping[str, str]) -> dict[str, str]:
    """The folded columns beside those in `values`."""
    derived: dict[str, str] = {}
    for name, value in values.items():
        if name == "patient_name":
            groups = columns.folded_name(value)
            derived["patient_name_folded"] = groups[0]
            derived["patient_name_ideographic_folded"] = groups[1]
            derived["patient_name_phonetic_folded"] = groups[2]
        elif name == "referring_physician_name":
            derived["referring_physician_name_folded"] = columns.folded_name(value)[0]
        elif name in ("study_description", "series_description"):
            derived[f"{name}_folded"] = columns.folded(value)
    return derived


def _attributes(raw: bytes) -> str:
    return columns.clean(raw.decode("utf-8", "replace"))


def _parsed(attributes: str) -> dict[str, Any]:
    try:
        parsed = json.loads(attributes) if attributes else {}
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _first_value(attributes: Mapping[str, Any], tag: str) -> object:
    """The first value of an attribute of a DICOM JSON object (PS3.18 F.2), None without one."""
    attribute = attributes.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _first(attributes: Mapping[str, Any], tag: str) -> str:
    value = _first_value(attributes, tag)
    return columns.identifier(str(value)) if isinstance(value, str | int) else ""


def _first_item(attributes: Mapping[str, Any], tag: str) -> dict[str, Any]:
    value = _first_value(attributes, tag)
    return value if isinstance(value, dict) else {}
