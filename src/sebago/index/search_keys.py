"""Matching keys as SQL conditions (PS3.4 C.2.2.2); what they mean is said in `dicom.matching`.

What can be matched on is what has a column: the required keys of PS3.18 table 10.6.1-5 and PS3.4
C.6, and a good deal more. A key that has none, and a key of a level below the one that is searched,
is not matched on and is reported, so that a door can say so (FF01, Warning 299). Matching in Python
after the SQL would break pages and counts, and matching inside JSON could neither fold nor use an
index.

Names, descriptions and names of places are compared folded, identifiers (patient id, accession
number) as they are, codes without case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

from sqlalchemy import ColumnElement, FromClause, and_, exists, false, func, or_, select, true

from sebago.dicom.matching import (
    LIKE_ESCAPE,
    AnyGroup,
    AnyOf,
    Exact,
    Groups,
    Like,
    Matcher,
    NameMatcher,
    OneOf,
    Range,
    Universal,
    combined,
    matcher,
    name_matcher,
    parse_range,
)
from sebago.index import columns
from sebago.index.tables import instance, series

Path = tuple[int, ...]
"""Tags from the data set's root: `(0x00100020,)`, or `(0x00400275, 0x00401001)` in a sequence."""


class Level(StrEnum):
    """Query levels of PS3.4 C.3."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    INSTANCE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Key:
    """A column that can be matched on.

    `vr` as `dicom.matching` takes it; LO and SH are compared as they are, `folded` ones beside
    their folded column. `listed` columns hold several values between backslashes.
    """

    level: Level
    vr: Literal["UI", "PN", "LO", "SH", "CS", "IS", "DA", "TM"]
    column: str
    folded: bool = False
    listed: bool = False


_P, _S, _R, _I = Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE

KEYS: Final[Mapping[Path, Key]] = {
    (0x00100010,): Key(_P, "PN", "patient_name"),
    (0x00100020,): Key(_P, "LO", "patient_id"),
    (0x00100030,): Key(_P, "DA", "patient_birth_date"),
    (0x00100040,): Key(_P, "CS", "patient_sex"),
    (0x0020000D,): Key(_S, "UI", "study_instance_uid"),
    (0x00080020,): Key(_S, "DA", "study_date"),
    (0x00080030,): Key(_S, "TM", "study_time"),
    (0x00080050,): Key(_S, "SH", "accession_number"),
    (0x00200010,): Key(_S, "SH", "study_id"),
    (0x00081030,): Key(_S, "LO", "study_description", folded=True),
    (0x00080090,): Key(_S, "PN", "referring_physician_name"),
    (0x0020000E,): Key(_R, "UI", "series_instance_uid"),
    (0x00080060,): Key(_R, "CS", "modality"),
    (0x00200011,): Key(_R, "IS", "series_number"),
    (0x0008103E,): Key(_R, "LO", "series_description", folded=True),
    (0x00180015,): Key(_R, "CS", "body_part_examined"),
    (0x00080080,): Key(_R, "LO", "institution_name", folded=True),
    (0x00081010,): Key(_R, "SH", "station_name", folded=True),
    (0x00400244,): Key(_R, "DA", "performed_procedure_step_start_date"),
    (0x00400245,): Key(_R, "TM", "performed_procedure_step_start_time"),
    (0x00400275, 0x00401001): Key(_R, "SH", "requested_procedure_ids", listed=True),
    (0x00400275, 0x00400009): Key(_R, "SH", "scheduled_procedure_step_ids", listed=True),
    (0x00080018,): Key(_I, "UI", "sop_instance_uid"),
    (0x00080016,): Key(_I, "UI", "sop_class_uid"),
    (0x00200013,): Key(_I, "IS", "instance_number"),
    (0x00280008,): Key(_I, "IS", "number_of_frames"),
    (0x00280010,): Key(_I, "IS", "rows"),
    (0x00280011,): Key(_I, "IS", "columns"),
    (0x00280100,): Key(_I, "IS", "bits_allocated"),
    (0x00080023,): Key(_I, "DA", "content_date"),
    (0x00080033,): Key(_I, "TM", "content_time"),
}

ISSUER_OF_PATIENT_ID: Final[Path] = (0x00100021,)
MODALITIES_IN_STUDY: Final[Path] = (0x00080061,)
SOP_CLASSES_IN_STUDY: Final[Path] = (0x00080062,)
_STUDY_DATE: Final[Path] = (0x00080020,)
_STUDY_TIME: Final[Path] = (0x00080030,)

_TELLING: Final = frozenset(
    {(0x00100010,), (0x00100020,), (0x00080050,), (0x0020000D,), (0x0020000E,), (0x00080018,)}
)
"""Name, patient id, accession number, and the UIDs."""

_MODALITY: Final = KEYS[(0x00080060,)]
_SOP_CLASS: Final = KEYS[(0x00080016,)]
_ORDER: Final = (_P, _S, _R, _I)

Condition = Callable[[FromClause], ColumnElement[bool]]
"""Makes a condition on a table, or on an alias of it."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What rows must satisfy, and the keys that were not understood as conditions."""

    of_study: tuple[Condition, ...]
    of_series: tuple[Condition, ...]
    of_instance: tuple[Condition, ...]
    unmatched: frozenset[Path]
    by_facility: bool
    """Whether an index of the facility should serve the search: no key tells more than it."""

    def on(
        self,
        study: FromClause,
        series: FromClause | None = None,
        instance: FromClause | None = None,
    ) -> list[ColumnElement[bool]]:
        """The conditions on these tables or aliases."""
        found = [condition(study) for condition in self.of_study]
        if series is not None:
            found += [condition(series) for condition in self.of_series]
        if instance is not None:
            found += [condition(instance) for condition in self.of_instance]
        return found


def conditions(
    level: Level, keys: Mapping[Path, str], *, combine_date_and_time: bool, is_sqlite: bool
) -> Conditions:
    """Understand `keys` for a search at `level`.

    Raises:
        BadRequest: a date, time, number or list that cannot be understood.
    """
    found: dict[Level, list[Condition]] = {one: [] for one in _ORDER}
    unmatched: set[Path] = set()
    said = {path: value for path, value in keys.items() if value.strip(" *\0")}
    both = _instant(said) if combine_date_and_time else None
    if both is not None:
        found[_S].append(both)
        del said[_STUDY_DATE], said[_STUDY_TIME]
    for path, value in said.items():
        key = KEYS.get(path)
        if path == ISSUER_OF_PATIENT_ID:
            found[_P].append(_issuer(value))
        elif path == MODALITIES_IN_STUDY and level is not _P:
            found[_S].append(_in_series(_condition(_MODALITY, value, is_sqlite=is_sqlite)))
        elif path == SOP_CLASSES_IN_STUDY and level is not _P:
            found[_S].append(_in_instances(_condition(_SOP_CLASS, value, is_sqlite=is_sqlite)))
        elif key is None or _ORDER.index(key.level) > _ORDER.index(level):
            unmatched.add(path)
        else:
            found[key.level].append(_condition(key, value, is_sqlite=is_sqlite))
    return Conditions(
        tuple(found[_P] + found[_S]),
        tuple(found[_R]),
        tuple(found[_I]),
        frozenset(unmatched),
        by_facility=not (is_sqlite and any(_tells_much(path, said[path]) for path in said)),
    )


def _tells_much(path: Path, value: str) -> bool:
    """Whether the key leaves a few of a facility's studies, and an index serves it."""
    return path in _TELLING and not value.lstrip().startswith(("*", "?"))


def _condition(key: Key, value: str, *, is_sqlite: bool) -> Condition:
    """The condition of one key; its value is understood here, once, for every alias."""
    to_sql = _Sql(key, is_sqlite=is_sqlite)
    if key.vr == "PN":
        asked_name = name_matcher(value)
        return lambda table: to_sql.name(table, asked_name)
    asked = matcher(value.upper() if key.vr == "CS" else value, key.vr, folded=key.folded)
    return lambda table: to_sql.on(to_sql.column(table), asked)


@dataclass(frozen=True, slots=True)
class _Sql:
    """Matchers of one key as SQL."""

    key: Key
    is_sqlite: bool

    def column(self, table: FromClause) -> Any:  # noqa: ANN401
        if self.key.folded:
            return table.c[f"{self.key.column}_folded"]
        if self.key.vr == "CS":
            return func.upper(table.c[self.key.column])
        return table.c[self.key.column]

    def name(self, table: FromClause, asked: NameMatcher) -> ColumnElement[bool]:
        """A name: in `patient_name` each group has its column, elsewhere there is one."""
        first = table.c[f"{self.key.column}_folded"]
        others: list[Any] = []
        if self.key.column == "patient_name":
            others = [
                table.c.patient_name_ideographic_folded,
                table.c.patient_name_phonetic_folded,
            ]
        if isinstance(asked, Universal):
            return true()
        if isinstance(asked, AnyGroup):
            return or_(*(self.on(column, asked.matcher) for column in (first, *others)))
        return self._groups([first, *others], asked)

    def _groups(self, there: list[Any], asked: Groups) -> ColumnElement[bool]:
        found: list[ColumnElement[bool]] = []
        for at, group in enumerate((asked.alphabetic, asked.ideographic, asked.phonetic)):
            if at < len(there):
                found.append(self.on(there[at], group))
            elif not isinstance(group, Universal):
                found.append(false())
        return and_(*found)

    def on(self, column: Any, asked: Matcher) -> ColumnElement[bool]:  # noqa: ANN401
        match asked:
            case Universal():
                return true()
            case Exact(value=value):
                return self._one_of(column, (value,))
            case OneOf(values=values):
                return self._one_of(column, values)
            case Like():
                return self._like(column, asked)
            case Range(low=low, high=high):
                return _between(column, low, high)
            case AnyOf(matchers=matchers):
                return or_(*(self.on(column, one) for one in matchers))

    def _one_of(self, column: Any, values: tuple[str, ...]) -> ColumnElement[bool]:  # noqa: ANN401
        if self.key.listed:
            patterns = (f"%\\{_escaped(columns.identifier(value))}\\%" for value in values)
            return or_(*(self._wild(column, pattern) for pattern in patterns))
        kept = [self._kept(value) for value in values]
        if len(kept) == 1:
            return column == kept[0]  # type: ignore[no-any-return]
        return column.in_(kept)  # type: ignore[no-any-return]

    def _kept(self, value: str) -> str | int | None:
        """A value as the column keeps it."""
        if self.key.vr == "UI":
            return columns.uid(value)
        if self.key.vr == "IS":
            return columns.large(int(value))
        if self.key.vr in ("LO", "SH") and not self.key.folded:
            return columns.identifier(value)
        return columns.words(value)

    def _like(self, column: Any, asked: Like) -> ColumnElement[bool]:  # noqa: ANN401
        """What stands before the first wildcard becomes a range.

        The range, not LIKE, is what an index serves on both databases.
        """
        if self.key.listed:
            return self._wild(column, f"%\\{asked.pattern}\\%")
        begin = columns.clean(asked.prefix)
        bounds = [column >= begin, column < _after(begin)] if begin else []
        if not begin or asked.pattern != f"{_escaped(begin)}%":
            bounds.append(self._wild(column, asked.pattern))
        return and_(*bounds)

    def _wild(self, column: Any, pattern: str) -> ColumnElement[bool]:  # noqa: ANN401
        pattern = columns.clean(pattern)
        if not self.is_sqlite:
            return column.like(pattern, escape=LIKE_ESCAPE)  # type: ignore[no-any-return]
        # SQLite's LIKE knows no case; GLOB does, and has the same two wildcards.
        return column.op("GLOB", is_comparison=True)(_glob(pattern))  # type: ignore[no-any-return]


# --- conditions on other tables -----------------------------------------------------------------


def _issuer(value: str) -> Condition:
    """What the header named as issuer, or whose patient id it is by the sender's registration.

    An authority is written NAMESPACE or NAMESPACE&OID&ISO.
    """
    kept = columns.identifier(value.strip(" \0"))
    begins = f"{kept}&"

    def condition(table: FromClause) -> ColumnElement[bool]:
        authority = table.c.assigning_authority
        return or_(
            table.c.issuer_of_patient_id == kept,
            authority == kept,
            and_(authority >= begins, authority < _after(begins)),
        )

    return condition


def _in_series(condition: Condition) -> Condition:
    def of_study(table: FromClause) -> ColumnElement[bool]:
        some = series.alias()
        return exists(
            select(some.c.series_id).where(
                some.c.custody_id == table.c.custody_id, some.c.instance_count > 0, condition(some)
            )
        )

    return of_study


def _in_instances(condition: Condition) -> Condition:
    def of_study(table: FromClause) -> ColumnElement[bool]:
        some, one = series.alias(), instance.alias()
        return exists(
            select(one.c.instance_id)
            .join(some, some.c.series_id == one.c.series_id)
            .where(some.c.custody_id == table.c.custody_id, one.c.current == 1, condition(one))
        )

    return of_study


def _instant(said: Mapping[Path, str]) -> Condition | None:
    """Study Date and Study Time as one span, where both are ranges (PS3.4 C.2.2.2.5.4)."""
    date, time = said.get(_STUDY_DATE), said.get(_STUDY_TIME)
    if date is None or time is None or "-" not in date or "-" not in time or "\\" in date + time:
        return None
    dates = parse_range(date, "DA")
    # Each end by itself: a span over several days may end at an earlier hour than it begins.
    begin, _, end = (part.strip(" \0") for part in time.partition("-"))
    first = parse_range(f"{begin}-", "TM").low if begin else None
    last = parse_range(f"-{end}", "TM").high if end else None
    span = combined(dates, Range(first, last))
    if span is None:
        return None

    def condition(table: FromClause) -> ColumnElement[bool]:
        # The range of days is what an index serves; the instant decides.
        return and_(
            _between(table.c.study_date, dates.low, dates.high),
            _between(table.c.study_date + table.c.study_time, span.low, span.high),
        )

    return condition


# --- SQL ----------------------------------------------------------------------------------------


def _between(column: Any, low: str | None, high: str | None) -> ColumnElement[bool]:  # noqa: ANN401
    bounds = [column != ""]
    if low is not None:
        bounds.append(column >= low)
    if high is not None:
        bounds.append(column <= high)
    return and_(*bounds)


def _escaped(text: str) -> str:
    """Text that a LIKE pattern takes as it is."""
    return re.sub(r"[%_!]", lambda found: LIKE_ESCAPE + found[0], text)


def _glob(pattern: str) -> str:
    """A LIKE pattern as one of SQLite's GLOB."""
    pieces: list[str] = []
    for piece in re.findall(r"!.|.", pattern, re.DOTALL):
        if piece == "%":
            pieces.append("*")
        elif piece == "_":
            pieces.append("?")
        else:
            character = piece[-1]
            pieces.append(f"[{character}]" if character in "*?[" else character)
    return "".join(pieces)


def _after(begin: str) -> str:
    """The least text that is greater than all that begin so, by code points."""
    last = ord(begin[-1])
    if last == 0x10FFFF:
        return begin + "\U0010ffff"
    return begin[:-1] + chr(0xE000 if last == 0xD7FF else last + 1)
