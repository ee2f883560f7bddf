"""What tests of the running program share: the server with peers beside it, tables at the end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import Absent
from tests.whole.server import Server

TABLE = "table"
"""Name of a user property that is printed when all tests have run."""


SMALL = {
    "SEBAGO_JOURNAL_SEGMENT_BYTES": str(16 * 2**20),
    "SEBAGO_JOURNAL_RESERVE_BYTES": str(16 * 2**20),
}
"""Settings for tests: each process of a server writes its segments ahead, and spares besides."""


@contextlib.contextmanager
def absent_is_skipped() -> Iterator[None]:
    """Skip by name what this machine does not have."""
    try:
        yield
    except Absent as absent:
        pytest.skip(str(absent))


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A temporary folder for everything that a module starts; removed when it is done.

    pytest would keep those of three runs, journals and all.
    """
    folder = tmp_path_factory.mktemp("whole")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def archive(whole_folder: Path) -> Iterator[Server]:
    """An installation, not started yet: tests register who they need and start it."""
    with absent_is_skipped():
        server = Server(whole_folder / "sebago", environment=SMALL)
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
