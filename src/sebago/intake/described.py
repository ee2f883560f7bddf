"""An instance's facts as the index asks for them: its own at once, its study's and series' on demand.

Of hundreds of instances in a series only the first makes study and series rows. Later ones are asked
just for columns that are still empty, and an element that is absent or empty answers that without
anything being decoded.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sebago.dicom.facts import Facts, SeriesFacts, StudyFacts, facts, series_facts, study_facts
from sebago.dicom.scan import Header

_STUDY_TAGS: Final = {
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
_SERIES_TAGS: Final = {
    "series_number": 0x00200011,
    "series_description": 0x0008103E,
    "body_part": 0x00180015,
}
_SERIES_NAMES: Final = {"body_part": "body_part_examined"}


class Described:
    """Satisfies what `sebago.index` takes of an instance.

    Raises:
        MissingIdentifier: on construction, when a UID is absent or unusable.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self.own: Facts = facts(header)

    @cached_property
    def _study(self) -> StudyFacts:
        return study_facts(self._header)

    @cached_property
    def _series(self) -> SeriesFacts:
        return series_facts(self._header)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (columns of several types)
        if name.startswith("__"):
            raise AttributeError(name)
        if name in _STUDY_TAGS:
            return getattr(self._study, name) if self._has(_STUDY_TAGS[name]) else ""
        if name in _SERIES_TAGS:
            if not self._has(_SERIES_TAGS[name]):
                return None if name == "series_number" else ""
            return getattr(self._series, _SERIES_NAMES.get(name, name))
        if name == "study_attributes":
            return self._study.study_attributes
        if name == "series_attributes":
            return self._series.series_attributes
        return getattr(self.own, name)

    def _has(self, tag: int) -> bool:
        return bool(self._header.values.get(tag, b"").strip(b" \0"))
