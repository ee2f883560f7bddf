"""A running server with two facilities, for what must hold across its doors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.serve.watch import installed
from tests.whole.server import Server


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("doors")
    server = installed(folder, 1)
    try:
        for code in ("NORTH", "SOUTH"):
            server.add_facility(code, peers=[f"{code}1"])
        server.start()
        yield server
    finally:
        server.close()
        shutil.rmtree(folder, ignore_errors=True)
