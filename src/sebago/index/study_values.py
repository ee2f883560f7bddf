"""What the columns of a study and of a series take from an instance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sebago.dicom.facts import SeriesFacts, StudyFacts, series_facts, study_facts
from sebago.dicom.scan import Header
from sebago.index import columns

Value = str | int | bytes | None

STUDY_DIRECT: Final[Mapping[str, int]] = {
    "issuer_of_patient_id": 0x00100021,
    "patient_name": 0x00100010,
    "patient_birth_date": 0x00100030,
    "patient_sex": 0x00100040,
    "study_date": 0x00080020,
    "study_time": 0x00080030,
    "accession_number": 0x00080050,
    "study_id": 0x00200010,
    "study_description": 0x00081030,
    "referring_physician_name": 0x00080090,
}
"""Columns that are StudyFacts as they stand, and where the header says them. One that is empty is
filled by a later instance."""

STUDY_COLUMNS: Final = (
    *STUDY_DIRECT,
    "patient_name_folded",
    "patient_name_ideographic_folded",
    "patient_name_phonetic_folded",
    "study_description_folded",
    "referring_physician_name_folded",
    "attributes",
)

SERIES_DIRECT: Final[Mapping[str, int]] = {
    "modality": 0x00080060,
    "series_number": 0x00200011,
    "series_description": 0x0008103E,
    "body_part_examined": 0x00180015,
    "performed_procedure_step_start_date": 0x00400244,
    "performed_procedure_step_start_time": 0x00400245,
    "institution_name": 0x00080080,
    "station_name": 0x00081010,
}
"""As STUDY_DIRECT, of SeriesFacts."""

SERIES_COLUMNS: Final = (
    *SERIES_DIRECT,
    "series_description_folded",
    "institution_name_folded",
    "station_name_folded",
    "requested_procedure_ids",
    "scheduled_procedure_step_ids",
    "attributes",
)

_IDENTIFIERS: Final = frozenset({"issuer_of_patient_id", "accession_number", "study_id"})
_FOLDED_TEXTS: Final = frozenset(
    {"study_description", "series_description", "institution_name", "station_name"}
)


@dataclass(frozen=True, slots=True)
class Blanks:
    """Columns of a study and a series that are still empty, with the tags that may fill them."""

    study: tuple[tuple[str, int], ...]
    series: tuple[tuple[str, int], ...]

    def might_fill(self, header: Header) -> bool:
        """Whether an instance says something where a column is empty. Nothing is decoded for it.

        Most often the columns are empty because none of the series' instances says anything there.
        """
        values = header.values
        for _, tag in self.study:
            if values.get(tag):
                return True
        return any(values.get(tag) for _, tag in self.series)

    def without(self, study: Collection[str], series: Collection[str]) -> Blanks:
        """What is empty after these have been filled."""
        return Blanks(
            tuple(blank for blank in self.study if blank[0] not in study),
            tuple(blank for blank in self.series if blank[0] not in series),
        )


def study_values(header: Header) -> tuple[Value, ...]:
    """Values of `STUDY_COLUMNS`, in their order."""
    facts = study_facts(header)
    values = _direct(STUDY_DIRECT, facts)
    values |= _folded(values)
    values["attributes"] = facts.study_attributes
    return tuple(values[name] for name in STUDY_COLUMNS)


def series_values(header: Header) -> tuple[Value, ...]:
    """Values of `SERIES_COLUMNS`, in their order."""
    facts = series_facts(header)
    values = _direct(SERIES_DIRECT, facts)
    values |= _folded(values)
    values["requested_procedure_ids"] = _listed(facts.requested_procedure_ids)
    values["scheduled_procedure_step_ids"] = _listed(facts.scheduled_procedure_step_ids)
    values["attributes"] = facts.series_attributes
    return tuple(values[name] for name in SERIES_COLUMNS)


def study_blanks(values: Sequence[Value]) -> tuple[tuple[str, int], ...]:
    """Which direct columns are empty in a row of `STUDY_COLUMNS`."""
    return _blanks(STUDY_DIRECT, values)


def series_blanks(values: Sequence[Value]) -> tuple[tuple[str, int], ...]:
    """Which direct columns are empty in a row of `SERIES_COLUMNS`."""
    return _blanks(SERIES_DIRECT, values)


def brought(empty: Blanks, header: Header) -> tuple[dict[str, Value], dict[str, Value]]:
    """What an instance puts into the empty columns of its study and of its series."""
    values = header.values
    study = [name for name, tag in empty.study if values.get(tag)]
    series = [name for name, tag in empty.series if values.get(tag)]
    for_study = _direct(study, study_facts(header)) if study else {}
    for_series = _direct(series, series_facts(header)) if series else {}
    return _said(for_study), _said(for_series)


def _said(values: Mapping[str, Value]) -> dict[str, Value]:
    said = {name: value for name, value in values.items() if value is not None and value != ""}
    return said | _folded(said)


def _blanks(direct: Mapping[str, int], values: Sequence[Value]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (name, tag)
        for (name, tag), value in zip(direct.items(), values, strict=False)
        if value is None or value == ""
    )


def _direct(names: Collection[str], facts: StudyFacts | SeriesFacts) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for name in names:
        value: str | int | None = getattr(facts, name)
        if isinstance(value, str):
            kept = columns.identifier(value) if name in _IDENTIFIERS else columns.words(value)
            values[name] = kept
        else:
            values[name] = columns.large(value)
    return values


def _folded(values: Mapping[str, Value]) -> dict[str, Value]:
    """The folded columns beside those in `values`."""
    folded: dict[str, Value] = {}
    for name, value in values.items():
        if not isinstance(value, str):
            continue
        if name == "patient_name":
            groups = columns.folded_name(value)
            folded["patient_name_folded"] = groups[0]
            folded["patient_name_ideographic_folded"] = groups[1]
            folded["patient_name_phonetic_folded"] = groups[2]
        elif name == "referring_physician_name":
            folded["referring_physician_name_folded"] = columns.folded_name(value)[0]
        elif name in _FOLDED_TEXTS:
            folded[f"{name}_folded"] = columns.folded(value)
    return folded


def _listed(texts: Sequence[str]) -> str:
    """Several values in one column, each between backslashes."""
    kept = [columns.identifier(text).replace("\\", "") for text in texts]
    return columns.words("\\" + "\\".join(kept) + "\\") if kept else ""
