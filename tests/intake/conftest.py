"""An intake on a folder of its own, and ways to hand it things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sebago.index.engine import Index
from sebago.intake import Accepted, Declared, Intake, Source
from sebago.intake.accept import Limits

EXPLICIT = "1.2.840.10008.1.2.1"
MIB = 1 << 20
LIMITS = Limits(
    segment_bytes=4 * MIB,
    reserve_bytes=0,
    queue_bytes_max=64 * MIB,
    inline_bytes_max=1 * MIB,
    instance_bytes_max=64 * MIB,
    inflated_bytes_max=16 * MIB,
)
NORTH = Source("NORTH", "NORTH&2.999.1&ISO", "dimse", "NORTH_PACS", "127.0.0.1")
SOUTH = Source("SOUTH", "SOUTH&2.999.2&ISO", "dimse", "SOUTH_PACS", "127.0.0.1")

Give = Callable[..., Accepted]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    opened = Index.open(tmp_path)
    yield opened
    opened.dispose()


@pytest.fixture
def intake(index: Index, tmp_path: Path) -> Iterator[Intake]:
    opened = Intake(index, tmp_path / "journal", LIMITS)
    yield opened
    opened.close()


@pytest.fixture
def give(intake: Intake) -> Give:
    """Hand data-set bytes to the intake, as a door would."""

    def hand_over(
        data: bytes,
        source: Source = NORTH,
        syntax: str = EXPLICIT,
        sop_class: str = "",
        sop_instance: str = "",
    ) -> Accepted:
        incoming = intake.incoming()
        incoming.write(data)
        return intake.accept(source, Declared(syntax, sop_class, sop_instance), incoming)

    return hand_over
