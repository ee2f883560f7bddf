"""One web worker: an ASGI application served by Granian on a socket that it was given.

The supervisor opens the listening socket once and forks the workers; each accepts on the same
socket, so that a connection goes to a worker that is free to take it, and none is lost when one
dies. What serves is Granian's embedded server: its I/O runs in a thread of its own, without Python,
and hands requests to the event loop.

HTTP/1.1 only, as reverse proxies speak it: with HTTP/2 on the same port the server would wait
without limit for the first bytes of a silent connection. A request's head must come within
`HEAD_TIMEOUT_S`; so must the next one on a connection that is kept alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any, Final

import structlog
import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from sebago.errors import PortTaken

log = structlog.get_logger()

BACKLOG: Final = 2048
CONNECTIONS_MAX: Final = 8192
"""Open connections of one worker; more wait in the backlog. Fewer where descriptors are scarce."""
DESCRIPTORS_KEPT: Final = 512
"""Descriptors that are not for connections: journal segments, database, spools."""
HEAD_TIMEOUT_S: Final = 50
"""Also how long a connection may rest between two requests."""
LINGER_S: Final = 2.0
"""After the last request is answered: for bytes on their way to slow clients. What is left then are
connections that were opened and never said anything, for which the server would wait further."""
HEAD_BYTES_MAX: Final = 256 * 1024
"""Longest request head, and largest piece in which a body is read."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES: Final = 32 * 1024 * 1024
_ARENAS: Final = 4


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket that workers share; port 0 takes a free one.

    Raises:
        PortTaken: the address is in use or not ours.
    """
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        with contextlib.ExitStack() as closing:
            listener = closing.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            listener.bind((host, port))
            listener.listen(BACKLOG)
            closing.pop_all()
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {host}:{port} for HTTP: {error.strerror or error}",
            do="choose another address with --http, or end what listens there",
        ) from error
    return listener


def serve_http(
    app: ASGIApp,
    listener: socket.socket,
    *,
    ready: Callable[[], None],
    grace_s: float = 10.0,
    head_timeout_s: float = HEAD_TIMEOUT_S,
) -> bool:
    """Serve until SIGTERM (or SIGINT), then finish what is being answered.

    Runs in the main thread of a process forked before any thread was started, and closes the
    listener at the end. Returns True when every request was finished, False when `grace_s` seconds
    were not enough; the process is to end then without further waiting (`os._exit`), for a thread
    of the server may still be at work.

    Args:
        ready: called once the socket accepts.
        grace_s: how long requests may take after SIGTERM; `LINGER_S` more until their last bytes
            are out.
        head_timeout_s: from the first byte of a connection, or the end of the last request, to the
            end of a request's head.
    """
    keep_memory()
    logging.getLogger("_granian").setLevel(logging.WARNING)
    return uvloop.run(_serve(app, listener, ready, grace_s, head_timeout_s))


def keep_memory() -> None:
    """Have the allocator keep what large buffers are made of, instead of giving it back each time.

    Answers and bodies pass through buffers of up to 2 MiB that live for a millisecond. glibc gives
    such memory back to the kernel and takes it anew, zeroed page by page: that was two thirds of
    the processor time of sending a study (1.5 s a GB without this, 0.6 with; 3 times the rate).
    What is kept so is bounded: `_KEPT_BYTES` in each of `_ARENAS`. Elsewhere than with glibc
    nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for option, value in (
        (_M_MMAP_THRESHOLD, 8 * 1024 * 1024),
        (_M_TRIM_THRESHOLD, _KEPT_BYTES),
        (_M_ARENA_MAX, _ARENAS),
    ):
        mallopt(option, value)


def _connections_max() -> int:
    """How many connections there are descriptors for, once as many are allowed as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS_MAX + DESCRIPTORS_KEPT
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(64, min(CONNECTIONS_MAX, soft - DESCRIPTORS_KEPT))


class _Counted:
    """The application, and how many of its requests are not answered yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open = 0
        self.idle = asyncio.Event()
        self.idle.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._open += 1
        self.idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._open -= 1
            if not self._open:
                self.idle.set()


class OnSocket(Server):
    """Granian's embedded server on a socket that is open already."""

    def __init__(self, app: ASGIApp, listener: socket.socket, head_timeout_s: float) -> None:
        super().__init__(
            app,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http1,
            websockets=False,
            backlog=BACKLOG,
            backpressure=_connections_max(),
            http1_settings=HTTP1Settings(
                header_read_timeout=int(head_timeout_s * 1000), max_buffer_size=HEAD_BYTES_MAX
            ),
            log_enabled=False,
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        self._ssp = None
        holder: Any = SocketHolder  # its stub tells no arguments: descriptor, is it a path, backlog
        # The server closes the descriptor that it is given: this one is its own.
        self._shd = holder(os.dup(self._listener.fileno()), False, BACKLOG)


async def _serve(
    app: ASGIApp,
    listener: socket.socket,
    ready: Callable[[], None],
    grace_s: float,
    head_timeout_s: float,
) -> bool:
    loop = asyncio.get_running_loop()
    counted = _Counted(app)
    server: Any = OnSocket(counted, listener, head_timeout_s)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = loop.create_task(server.serve())
    loop.call_soon(ready)  # the socket listens since before the fork; it is accepted from now on
    stopped = loop.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        stopped.cancel()
        serving.result()
        return False
    server.stop()
    listener.close()
    idle = loop.create_task(counted.idle.wait())
    await asyncio.wait({serving, idle}, timeout=grace_s, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait({serving}, timeout=LINGER_S)
    if not counted.idle.is_set():
        log.warning("requests-cut-off", after_s=grace_s + LINGER_S)
        return False
    return True
