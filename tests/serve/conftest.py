"""A running server for the tests that only ask it, and folders for those that kill it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import Absent
from tests.serve.watch import CALLING, FACILITY, SMALL
from tests.whole.server import Server


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it is; two processes a door."""
    folder = tmp_path_factory.mktemp("running")
    server = _installed(folder, 2)
    server.start()
    yield server
    server.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An installation of its own, not started; one process a door."""
    made = _installed(tmp_path, 1)
    yield made
    made.close()


def _installed(folder: Path, workers: int) -> Server:
    try:
        server = Server(folder, workers=workers, environment=SMALL)
    except Absent as absent:
        pytest.skip(str(absent))
    server.add_facility(FACILITY, peers=[CALLING])
    return server
