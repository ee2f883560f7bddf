"""A running server for the tests that only ask it, and folders for those that kill it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.watch import installed
from tests.whole.server import Server


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it is; two processes a door."""
    folder = tmp_path_factory.mktemp("running")
    server = installed(folder, 2)
    try:
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An installation of its own, not started; one process a door."""
    made = installed(tmp_path, 1)
    yield made
    made.close()
