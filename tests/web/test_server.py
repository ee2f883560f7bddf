"""The server of a web worker: what reaches it over a real socket, and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import time

import pytest

from sebago.errors import PortTaken
from sebago.web.server import listen


@contextlib.contextmanager
def small_server(grace_s=5.0, head_timeout_s=1.0):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.web.small_server", str(grace_s), str(head_timeout_s)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def port():
    with small_server() as (_, port):
        yield port


def talk(port, sent, *, wait=5.0):
    """What the server says to some bytes until it closes; with the seconds that took."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        connection.sendall(sent)
        said = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while piece := connection.recv(65536):
                said += piece
    return said, time.monotonic() - begun


def get(port, path="/x"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body.decode()


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad Name: x\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 1_500_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\nabc",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 60,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
        b"\x01\x00\x00\x00\x00\xcd\x00\x01\x00\x00SEBAGO          " + b"x" * 200,
    ],
)
def test_what_is_no_request_is_refused_at_once_and_never_answered_with_200(port, sent):
    said, seconds = talk(port, sent)
    assert seconds < 4
    assert not said.startswith(b"HTTP/1.1 2")
    assert not said.startswith(b"HTTP/1.1 5")
    assert get(port)[0] == 200


def test_both_a_length_and_chunks_never_smuggle_a_second_request(port):
    said, _ = talk(
        port,
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        wait=2.0,
    )
    # Either refused, or read as chunks: then what follows is a request of its own by its framing.
    assert said.count(b"HTTP/1.1 ") in (0, 1, 2)
    assert not said.startswith(b"HTTP/1.1 5")


@pytest.mark.parametrize("sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_a_head_that_does_not_come_ends_the_connection_in_time(port, sent):
    _, seconds = talk(port, sent)
    assert seconds < 3


def test_a_head_that_drips_ends_the_connection_in_time(port):
    begun = time.monotonic()
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as connection,
        contextlib.suppress(ConnectionError),
    ):
        for byte in b"GET / HTTP/1.1\r\nHost: " + b"x" * 100:
            connection.sendall(bytes([byte]))
            time.sleep(0.1)
            if time.monotonic() - begun > 4:
                break
        assert connection.recv(100) == b""
    assert time.monotonic() - begun < 4


def test_a_connection_is_kept_alive(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    for _ in range(3):
        connection.request("GET", "/x")
        assert connection.getresponse().read() == b"/x"
    assert connection.sock is not None
    connection.close()


def test_a_body_may_wait_for_100_continue(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(
            b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100")
        connection.sendall(b"abc")
        assert b"200 OK" in connection.recv(1000)


def test_a_body_that_ends_before_its_length_is_seen_as_gone(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1000).endswith(b"gone")


def test_a_client_that_goes_away_stops_the_making_of_pieces(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        received = 0
        while received < 20 << 20:
            received += len(connection.recv(1 << 20))
    time.sleep(0.5)
    made = int(get(port, "/made")[1])
    time.sleep(0.3)
    assert int(get(port, "/made")[1]) == made < 200


def test_a_client_that_reads_nothing_does_not_make_pieces_pile_up(port):
    before = int(get(port, "/made")[1])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(1)
        assert int(get(port, "/made")[1]) - before < 40


def test_on_sigterm_running_requests_are_finished_and_nothing_new_is_taken():
    with small_server() as (process, port):
        idle = socket.create_connection(("127.0.0.1", port), timeout=5)
        slow = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        slow.request("GET", "/slow")
        time.sleep(0.2)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert slow.getresponse().status == 200
        assert process.wait(10) == 0
        assert time.monotonic() - begun < 5
        assert process.stdout.readline().strip() == "finished"
        idle.close()
        slow.close()
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", port), timeout=1)


def test_on_sigterm_a_request_that_never_ends_is_cut_off_in_time():
    with small_server(grace_s=1.0) as (process, port):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as stuck:
            stuck.sendall(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
            time.sleep(0.2)
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
            assert time.monotonic() - begun < 6
        assert process.stdout.read().splitlines()[-1] == "cut off"


def test_an_address_in_use_is_said_to_be_taken():
    with listen("127.0.0.1", 0) as first, pytest.raises(PortTaken):
        listen("127.0.0.1", first.getsockname()[1])


def test_hundreds_of_silent_connections_do_not_keep_anybody_else_waiting(port):
    with contextlib.ExitStack() as silent:
        for _ in range(700):
            silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
        begun = time.monotonic()
        assert get(port)[0] == 200
        assert time.monotonic() - begun < 1
