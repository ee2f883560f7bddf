"""One site for the tests that only ask, and a fresh one for those that change it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.samples import small
from tests.scp.site import Site, open_site


@pytest.fixture(scope="session")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two studies of NORTH (the second with Greek and Japanese names), one of them at SOUTH too."""
    with open_site(tmp_path_factory.mktemp("site")) as site:
        for series in (1, 2):
            for number in (1, 2, 3):
                site.give(
                    small(
                        series=f"1.2.3.1.{series}",
                        instance=f"1.2.3.1.{series}.{number}",
                        number=number,
                        Modality="CT" if series == 1 else "SR",
                        SeriesNumber=series,
                    )
                )
        site.give(
            small(
                study="1.2.3.2",
                series="1.2.3.2.1",
                instance="1.2.3.2.1.1",
                patient_id="0050",
                patient_name="Yamada^Tarou=山田^太郎",
                StudyDate="20240105",
                AccessionNumber="A-2",
                StudyDescription="MR ΚΕΦΑΛΗ",
                Modality="MR",
            )
        )
        site.give(small(), facility="SOUTH")
        site.give(
            small(
                study="1.2.3.3",
                series="1.2.3.3.1",
                instance="1.2.3.3.1.1",
                patient_name="Ouellette^Guy",
            ),
            facility="SOUTH",
        )
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty one."""
    with open_site(tmp_path) as opened:
        yield opened
