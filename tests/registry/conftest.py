"""An empty registry on each database."""

from __future__ import annotations

import pytest

from tests.databases import DIALECTS, an_index


@pytest.fixture(params=DIALECTS)
def registry_index(request, tmp_path):
    with an_index(request.param, tmp_path) as index:
        yield index
