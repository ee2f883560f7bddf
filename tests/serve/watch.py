"""Looking at a running server: its processes, its metrics, whether its doors answer."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no annotations
import pytest

from bench.load import VERIFICATION, Association, LoadFailed
from tests.peers import Absent
from tests.whole.server import Server

FACILITY = "SERVE"
CALLING = "SERVESCU"
SMALL = {
    "SEBAGO_JOURNAL_SEGMENT_BYTES": str(8 << 20),
    "SEBAGO_JOURNAL_RESERVE_BYTES": str(1 << 20),
}
LONG_S = 60.0
"""How long a test waits for what must come; a machine may be busy."""


def installed(folder: Path, workers: int) -> Server:
    """An installation with one facility and its peer, not started; skipped by name if there is none."""
    try:
        server = Server(folder, workers=workers, environment=SMALL)
    except Absent as absent:
        pytest.skip(str(absent))
    server.add_facility(FACILITY, peers=[CALLING])
    return server


def wait_for(holds: Callable[[], bool], what: str, *, timeout_s: float = LONG_S) -> None:
    """Wait until something comes true."""
    until = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < until, f"waited {timeout_s} s in vain for: {what}"
        time.sleep(0.05)


def workers(server: Server) -> list[psutil.Process]:
    """The supervisor's children that are alive."""
    assert server.running is not None
    children = psutil.Process(server.running.pid).children()
    return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]


def metrics(server: Server, *, token: str) -> dict[str, float]:
    """Every sample of `/metrics`, by name and labels."""
    request = urllib.request.Request(
        f"{server.url}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read().decode()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[re.sub(r"\s", "", name)] = float(value)
    return found


def echoes(server: Server, calling: str = CALLING) -> bool:
    """Whether the DICOM door lets a caller in and answers."""
    try:
        association = Association(
            server.dimse, server.ae_title, calling, [(1, VERIFICATION, ["1.2.840.10008.1.2"])]
        )
        status = association.echo(1)
        association.release()
    except (LoadFailed, OSError):
        return False
    return status == 0


def is_ready(server: Server) -> bool:
    """Whether `/readyz` says so."""
    try:
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
