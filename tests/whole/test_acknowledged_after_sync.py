"""No acknowledgement leaves before the journal's sync: seen from outside, by strace."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.instances import fresh_study, small_templates
from bench.load import StoreTarget, store_load
from bench.web import StowRequest, WebClient, stored_count
from tests import peers
from tests.whole.conftest import SMALL
from tests.whole.server import Server
from tests.whole.syscalls import acknowledgements, calls, finished, strace

CALLING = "SYNCSCU"

SAMPLE = """\
10 recvfrom(5<TCP:[127.0.0.1:1042->127.0.0.1:9]>, "\\x04\\x00\\x00", 100, 0, NULL, NULL) = 90
11 recvfrom(6<TCP:[127.0.0.1:1042->127.0.0.1:8]>, "\\x04\\x00\\x00", 100, 0, NULL, NULL) = 90
10 fdatasync(7</data/journal/w/1.open> <unfinished ...>
11 recvfrom(6<TCP:[127.0.0.1:1042->127.0.0.1:8]>, "\\x00\\x00", 100, 0, NULL, NULL) = 10
10 <... fdatasync resumed>) = 0
10 sendto(5<TCP:[127.0.0.1:1042->127.0.0.1:9]>, "\\x04\\x00\\x00", 90, 0, NULL, 0) = 90
11 sendto(6<TCP:[127.0.0.1:1042->127.0.0.1:8]>, "\\x04\\x00\\x00", 90, 0, NULL, 0) = 90
11 recvfrom(6<TCP:[127.0.0.1:1042->127.0.0.1:8]>, 0x7f, 10, 0, NULL, NULL) = -1 EAGAIN (Resource)
"""


def test_a_sync_that_began_before_the_last_byte_was_read_does_not_count() -> None:
    seen = acknowledgements(SAMPLE.splitlines(), 1042, Path("/data/journal"))
    assert (seen.seen, seen.unsynced) == (2, 1)
    assert seen.first_unsynced == "line 7"


def test_interrupted_calls_are_put_together() -> None:
    sync = next(call for call in calls(SAMPLE.splitlines()) if call.name == "fdatasync")
    assert (sync.begun, sync.ended, sync.result) == (2, 4, 0)


@contextlib.contextmanager
def traced_or_skipped(output: Path) -> Iterator[list[str]]:
    try:
        yield strace(output)
    except peers.Absent as absent:
        pytest.skip(str(absent))


def test_a_receiver_that_does_not_sync_is_seen_not_to(tmp_path: Path) -> None:
    """The check can fail: DCMTK's storescp acknowledges without any sync."""
    output = tmp_path / "calls"
    port = peers.free_port()
    with traced_or_skipped(output) as prefix:
        argv: list[str | Path] = [
            *prefix,
            peers.dcmtk("storescp"),
            "+B",
            "-od",
            tmp_path,
            str(port),
        ]
        running = peers.Running(argv, log=tmp_path / "log", env=peers.dcmtk_environment())
        try:
            running.wait_until(lambda: peers.port_is_open(port), "storescp under strace")
            store_load(StoreTarget(("127.0.0.1", port), "ANY", CALLING), small_templates(2), 5, 1)
        finally:
            running.stop()
    seen = acknowledgements(finished(output), port, tmp_path)
    assert (seen.seen, seen.unsynced) == (5, 5)


@pytest.mark.timeout(180)
def test_every_acknowledgement_follows_a_sync_of_the_journal(tmp_path: Path) -> None:
    output = tmp_path / "calls"
    with traced_or_skipped(output) as prefix:
        server = Server(tmp_path / "sebago", environment=SMALL, wrapper=prefix)
        server.add_facility("SYNC", peers=[CALLING])
        try:
            server.start(timeout_s=90)
            target = StoreTarget(server.dimse, server.ae_title, CALLING)
            for associations in (1, 4):
                store_load(target, small_templates(2), 40, associations)
            web = WebClient(server.dicomweb, server.headers("SYNC"))
            for _ in range(5):
                request = StowRequest(small_templates(2), 7, fresh_study())
                assert stored_count(web.stow(request)) == 7
            web.close()
        finally:
            server.close()
    lines = finished(output)
    journal = server.data / "journal"
    stored = acknowledgements(lines, server.dimse_port, journal)
    assert stored.seen == 80
    assert stored.unsynced == 0, (
        f"{stored.unsynced} C-STORE answers, first: {stored.first_unsynced}"
    )
    posted = acknowledgements(lines, server.http_port, journal, opening="HTTP/1.1 200")
    assert posted.seen == 5
    assert posted.unsynced == 0, f"{posted.unsynced} STOW answers, first: {posted.first_unsynced}"
