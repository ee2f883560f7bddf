"""The `sebago` command on an empty folder, and on each database."""

from __future__ import annotations

import pytest

from tests.cli.command import Command
from tests.databases import DIALECTS, database_url


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory):
    return tmp_path_factory.getbasetemp() / "bytecode"


@pytest.fixture
def sebago(tmp_path, bytecode):
    return Command(tmp_path, bytecode)


@pytest.fixture(params=DIALECTS)
def sebago_on(request, tmp_path, bytecode):
    with database_url(request.param) as url:
        yield Command(tmp_path, bytecode, {"SEBAGO_DATABASE_URL": url} if url else {})
