"""The same thing twice is one thing, whatever the doors; other content is a version, never a loss."""

from __future__ import annotations

import pytest

from tests.invariants.ways_in import WAYS_IN, rows
from tests.samples import body, small
from tests.whole.server import Server

ORDERS = [tuple(WAYS_IN), tuple(WAYS_IN)[::-1]]


def versions(server: Server, study: str, folder) -> list[bytes]:
    """Data sets of every version that NORTH holds, in the order of their names."""
    from sebago.dicom.part10 import parse_part10

    server.command(
        "export", folder, "--study", study, "--as-received", "--all-versions", "--facility", "NORTH"
    )
    found = []
    for path in sorted(folder.rglob("*.dcm")):
        content = path.read_bytes()
        found.append(content[parse_part10(content).dataset_offset :])
    return found


@pytest.mark.parametrize("ways", ORDERS, ids="-".join)
def test_one_instance_by_every_door_is_one_instance(doors: Server, tmp_path, ways):
    number = 1 + ORDERS.index(ways)
    study = f"1.2.40.{number}"
    made = small(study=study, series=f"{study}.1", instance=f"{study}.1.1")
    for way in ways:
        assert WAYS_IN[way](doors, "NORTH", made), way
    (row,) = rows(doors, "NORTH", StudyInstanceUID=study)
    assert row["00201208"]["Value"] == [1]
    other = small(study=study, series=f"{study}.1", instance=f"{study}.1.1", SeriesNumber=9)
    assert WAYS_IN[ways[0]](doors, "NORTH", other)
    assert WAYS_IN[ways[1]](doors, "NORTH", made)  # an earlier version again: still no third one
    assert WAYS_IN[ways[2]](doors, "NORTH", other)
    (row,) = rows(doors, "NORTH", StudyInstanceUID=study)
    assert row["00201208"]["Value"] == [1]
    assert versions(doors, study, tmp_path / "out") == [body(other), body(made)]


def test_two_facilities_never_overwrite_each_other(doors: Server, tmp_path):
    study = "1.2.40.100"
    ours = small(study=study, series=f"{study}.1", instance=f"{study}.1.1")
    theirs = small(
        study=study, series=f"{study}.1", instance=f"{study}.1.1", SeriesDescription="THEIRS"
    )
    for way in WAYS_IN.values():
        assert way(doors, "NORTH", ours)
        assert way(doors, "SOUTH", theirs)
    assert versions(doors, study, tmp_path / "out") == [body(ours)]
    assert len(rows(doors, "NORTH", "clinician", StudyInstanceUID=study)) == 1
