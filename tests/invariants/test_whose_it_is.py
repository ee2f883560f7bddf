"""Who sent it says whose it is: the connection, never anything in the object."""

from __future__ import annotations

import pytest

from tests.invariants.ways_in import WAYS_IN, rows
from tests.samples import small
from tests.whole.server import Server


@pytest.mark.parametrize("way", WAYS_IN)
def test_an_object_that_names_another_facility_is_the_senders(doors: Server, way: str):
    study = f"1.2.41.{list(WAYS_IN).index(way) + 1}"
    made = small(
        study=study,
        series=f"{study}.1",
        instance=f"{study}.1.1",
        InstitutionName="SOUTH",
        IssuerOfPatientID="SOUTH",
        StationName="SOUTH1",
    )
    made.file_meta.SourceApplicationEntityTitle = "SOUTH1"
    made.file_meta.SendingApplicationEntityTitle = "SOUTH1"
    assert WAYS_IN[way](doors, "NORTH", made)
    assert rows(doors, "SOUTH", StudyInstanceUID=study) == []
    (row,) = rows(doors, "NORTH", StudyInstanceUID=study)
    # What the object says of its issuer is shown as it was sent; whose it is does not change.
    assert row["00100021"]["Value"] == ["SOUTH"]
