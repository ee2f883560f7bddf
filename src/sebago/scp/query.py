"""From a C-FIND, C-MOVE or C-GET identifier to a query, and from a match to an answer.

PS3.4 C.4.1 (query), C.4.2 and C.4.3 (retrieve), C.6 (the information models).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sebago.dicom.identifier import vr_of
from sebago.errors import SendersFault
from sebago.retrieve import Level, Query, Row

QUERY_RETRIEVE_LEVEL: Final = 0x00080052
RETRIEVE_AE_TITLE: Final = 0x00080054
INSTANCE_AVAILABILITY: Final = 0x00080056
TIMEZONE_OFFSET: Final = 0x00080201
PATIENT_ID: Final = 0x00100020
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
SOP_INSTANCE_UID: Final = 0x00080018

UNIQUE_KEY: Final[Mapping[Level, int]] = {
    Level.PATIENT: PATIENT_ID,
    Level.STUDY: STUDY_INSTANCE_UID,
    Level.SERIES: SERIES_INSTANCE_UID,
    Level.INSTANCE: SOP_INSTANCE_UID,
}

_NOT_KEYS: Final = frozenset(
    {QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, INSTANCE_AVAILABILITY, TIMEZONE_OFFSET}
)
"""Said in an identifier without being matched on; GE sends the time zone along."""


class WrongIdentifier(SendersFault):
    """The identifier does not fit the information model (PS3.4 C.4.1.1.4: A900)."""

    code = "wrong-identifier"
    title = "The identifier does not fit the query model"
    dimse_status = 0xA900


@dataclass(frozen=True, slots=True)
class Model:
    """A query/retrieve information model: its name and its levels from the top."""

    name: str
    levels: tuple[Level, ...]


PATIENT_ROOT = Model("Patient Root", (Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE))
STUDY_ROOT = Model("Study Root", (Level.STUDY, Level.SERIES, Level.INSTANCE))
PATIENT_STUDY_ONLY = Model("Patient/Study Only", (Level.PATIENT, Level.STUDY))

_QR: Final = "1.2.840.10008.5.1.4.1.2"
FIND_MODELS: Final = {
    f"{_QR}.1.1": PATIENT_ROOT,
    f"{_QR}.2.1": STUDY_ROOT,
    f"{_QR}.3.1": PATIENT_STUDY_ONLY,
}
MOVE_MODELS: Final = {
    f"{_QR}.1.2": PATIENT_ROOT,
    f"{_QR}.2.2": STUDY_ROOT,
    f"{_QR}.3.2": PATIENT_STUDY_ONLY,
}
GET_MODELS: Final = {
    f"{_QR}.1.3": PATIENT_ROOT,
    f"{_QR}.2.3": STUDY_ROOT,
    f"{_QR}.3.3": PATIENT_STUDY_ONLY,
}

Keys = Mapping[tuple[int, ...], str]


def level_of(keys: Keys, model: Model) -> Level:
    """The Query/Retrieve Level (0008,0052) of an identifier.

    Raises:
        WrongIdentifier: it is absent, or no level of the model.
    """
    said = keys.get((QUERY_RETRIEVE_LEVEL,), "").strip().upper()
    for level in model.levels:
        if level.value == said:
            return level
    known = said if said in list(Level) else "that was sent" if said else "is absent, which"
    raise WrongIdentifier(  # what else stands there is not repeated: it may be anything
        f"Query/Retrieve Level {known} is none of {model.name}",
        do="send one of " + ", ".join(level.value for level in model.levels),
    )


def find_query(keys: Keys, model: Model, *, relational: bool) -> Query:
    """The query that a C-FIND identifier asks; it names no limit, so that too much is an error.

    Without relational queries every level above must be given by one unique key (C.4.1.2.2.1).

    Raises:
        WrongIdentifier: a unique key above the level is absent, a list or a wildcard.
    """
    level = level_of(keys, model)
    if not relational:
        for above in model.levels[: model.levels.index(level)]:
            _single(keys, UNIQUE_KEY[above])
    asked = {path: value for path, value in keys.items() if path[0] not in _NOT_KEYS}
    return Query(level=level, keys=asked, include=frozenset(asked))


def _single(keys: Keys, tag: int) -> str:
    value = keys.get((tag,), "")
    if not value or "\\" in value or "*" in value or "?" in value:
        raise WrongIdentifier(
            f"the unique key {tag:08X} above the level is absent or not a single value",
            do="query level by level, or negotiate relational queries",
        )
    return value


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a C-MOVE or C-GET identifier asks for: lists of unique keys, empty where not given."""

    level: Level
    patient_id: str
    studies: tuple[str, ...]
    series: tuple[str, ...]
    instances: tuple[str, ...]


def wanted(keys: Keys, model: Model) -> Wanted:
    """What to retrieve. Keys other than unique ones are ignored, as PS3.4 C.4.2.1.4 has it.

    At the level itself a list of UIDs may be given; above it single values; in the study root
    model an instance may also be asked for by its UID alone, as workstations do.

    Raises:
        WrongIdentifier: no unique key at the level.
    """
    level = level_of(keys, model)
    lists = {at: _uids(keys.get((UNIQUE_KEY[at],), "")) for at in Level}
    if level is Level.PATIENT:
        patient = keys.get((PATIENT_ID,), "").strip()
        if not patient or "*" in patient or "?" in patient or "\\" in patient:
            raise WrongIdentifier("a patient-level retrieval needs one Patient ID (0010,0020)")
        return Wanted(level, patient, (), (), ())
    if not lists[level]:
        raise WrongIdentifier(
            f"a retrieval at level {level.value} needs the unique key {UNIQUE_KEY[level]:08X}"
        )
    below = model.levels[model.levels.index(level) + 1 :]
    kept = {at: () if at in below else lists[at] for at in Level}
    return Wanted(
        level,
        keys.get((PATIENT_ID,), "").strip() if model is not STUDY_ROOT else "",
        kept[Level.STUDY],
        kept[Level.SERIES],
        kept[Level.INSTANCE],
    )


def _uids(value: str) -> tuple[str, ...]:
    """A list of UIDs, each once."""
    parts = (part.strip(" \0") for part in value.split("\\"))
    return tuple(dict.fromkeys(uid for uid in parts if uid))


def find_answer(row: Row, keys: Keys, level: Level, ae_title: str) -> Row:
    """One match as a C-FIND response identifier: every key that was asked for, empty if unknown.

    Query/Retrieve Level, Retrieve AE Title and Instance Availability are always there.
    """
    answer: Row = {}
    for path in keys:
        key = f"{path[0]:08X}"
        if path[0] & 0xFFFF and path[0] not in (QUERY_RETRIEVE_LEVEL, TIMEZONE_OFFSET):
            answer[key] = row.get(key) or {"vr": "SQ" if len(path) > 1 else vr_of(path[0])}
    answer[f"{QUERY_RETRIEVE_LEVEL:08X}"] = {"vr": "CS", "Value": [level.value]}
    answer[f"{RETRIEVE_AE_TITLE:08X}"] = {"vr": "AE", "Value": [ae_title]}
    answer[f"{INSTANCE_AVAILABILITY:08X}"] = {"vr": "CS", "Value": ["ONLINE"]}
    return answer


def failed_list(sop_instance_uids: Sequence[str]) -> Row:
    """The identifier of a C-MOVE or C-GET response that failed: (0008,0058), at most 64 kB of it."""
    kept: list[str] = []
    size = 0
    for uid in sop_instance_uids:
        size += len(uid) + 1
        if size > 60_000:
            break
        kept.append(uid)
    return {"00080058": {"vr": "UI", "Value": kept}}
