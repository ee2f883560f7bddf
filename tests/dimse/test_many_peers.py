"""Many peers at once, and one after the other: what they cost, and what they leave behind."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from sebago.dimse.associate import encode_associate_rq
from tests.dimse.live import Raw, door, echo, proposal, store, told


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_idle_associations_and_bare_connections_are_cheap_and_slow_nobody_down() -> None:
    with door() as d:
        with Raw(d.port) as peer:
            peer.associate()
        d.desk.ended.acquire(timeout=5)
        before = _resident_bytes()
        idle = [Raw(d.port) for _ in range(200)]
        bare = [Raw(d.port) for _ in range(200)]
        for peer in idle:
            assert told(peer.associate()) == "accept"
        # Both ends, the test's own sockets and threads' stacks are in this number.
        assert (_resident_bytes() - before) / 200 < 150_000
        slowest = 0.0
        with Raw(d.port) as peer:
            peer.associate()
            for message in (echo(), store(bytes(500_000))) * 10:
                begun = time.monotonic()
                peer.send(message)
                assert told(peer.pdu() or b"") == "status-0000"
                slowest = max(slowest, time.monotonic() - begun)
        assert slowest < 1.0
        for peer in idle + bare:
            peer.sock.close()


def test_many_connections_leave_no_descriptor_and_no_thread_behind() -> None:
    with door() as d:

        def round_of(n: int) -> None:
            for index in range(n):
                with Raw(d.port) as peer:
                    if index % 4 == 0:
                        peer.associate()
                    elif index % 4 == 1:
                        peer.send(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
                        assert peer.ended() == "abort-0-0"
                    elif index % 4 == 2:
                        peer.send(encode_associate_rq(proposal())[:50])

        def settled() -> tuple[int, int]:
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                if d.acceptor.counters.associations_open + d.acceptor.counters.lobby == 0:
                    break
                time.sleep(0.02)
            return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

        round_of(20)
        before = settled()
        round_of(400)
        after = settled()
        assert after[0] <= before[0] + 1
        assert after[1] <= before[1]


def test_a_full_lobby_lets_the_oldest_go_and_serves_the_next() -> None:
    with door(lobby_max=5) as d:
        silent = [Raw(d.port) for _ in range(8)]
        with Raw(d.port) as peer:
            assert told(peer.associate()) == "accept"
        assert silent[0].ended() == "closed"
        for peer in silent:
            peer.sock.close()
