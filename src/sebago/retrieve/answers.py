"""What retrieval takes and gives: queries, answers, and metadata ready to be sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Row = dict[str, dict[str, Any]]
"""One match as a DICOM JSON object (PS3.18 F.2): `{"00100020": {"vr": "LO", "Value": ["7"]}}`."""

Path = tuple[int, ...]
"""Tags from the data set's root: `(0x00100020,)`, or `(0x00400275, 0x00401001)` in a sequence."""


class Level(StrEnum):
    """Query levels of PS3.4 C.3; PS3.18 10.6 searches the last three."""

    PATIENT = "PATIENT"
    STUDY = "STUDY"
    SERIES = "SERIES"
    INSTANCE = "IMAGE"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked for, by whatever door."""

    level: Level
    keys: Mapping[Path, str] = field(default_factory=dict)
    """Matching keys: the raw DICOM string, several values at backslashes; empty: universal."""
    include: frozenset[Path] | Literal["all"] = frozenset()
    """Attributes to return beyond those that the level always returns."""
    limit: int | None = None
    offset: int = 0
    newest_first: bool = True
    """Newest study first, for lists that people look at; else in the order of arrival, in which no
    page repeats or skips while studies come in."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Matches in a total order, filtered by the gate before paging."""

    rows: list[Row]
    remaining: int
    """Matches past the last row given."""
    unmatched: frozenset[Path] = frozenset()
    """Keys that were not matched on because this archive keeps no such attribute (FF01)."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """A DICOM JSON array of instances, ready to be sent in pieces."""

    etag: str
    """Changes when an instance arrives or a version replaces another; quoted as a header wants."""
    gzip: bool
    """The pieces are gzip-encoded."""
    length: int | None
    """Bytes of the whole answer, where they are known."""
    body: Iterator[bytes]
