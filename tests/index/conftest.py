"""Every test of the index runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

from sebago.index.engine import Index
from tests.databases import DIALECTS, database_url


@pytest.fixture(params=DIALECTS)
def dialect(request):
    return request.param


@pytest.fixture
def url(dialect):
    """What Index.open takes as its URL; an empty database."""
    with database_url(dialect) as url:
        yield url


@pytest.fixture
def index(url, tmp_path):
    index = Index.open(tmp_path, url)
    yield index
    index.dispose()
