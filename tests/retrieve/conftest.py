"""An archive of two facilities in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scp.site import Site, open_site


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path) as site:
        yield site
