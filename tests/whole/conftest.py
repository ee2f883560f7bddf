"""What tests of the running program share: the server with peers beside it, tables at the end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import Absent
from tests.whole.server import Server

TABLE = "table"
"""Name of a user property that is printed when all tests have run."""


@contextlib.contextmanager
def absent_is_skipped() -> Iterator[None]:
    """Skip by name what this machine does not have."""
    try:
        yield
    except Absent as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder for everything that a module starts."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def archive(whole_folder: Path) -> Iterator[Server]:
    """An installation, not started yet: tests register who they need and start it."""
    with absent_is_skipped():
        server = Server(whole_folder / "sebago")
    yield server
    server.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests made."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, text in report.user_properties:
                if name == TABLE and report.when == "call":
                    terminalreporter.write_sep("-", report.nodeid)
                    terminalreporter.write_line(str(text))
