"""The process tree of `sebago serve`: one supervisor, and the workers that it forks.

The supervisor opens the listening sockets, recovers the journal, forks the workers and watches
them. It holds no threads and no database connection, so that a fork is safe at any time. A worker
that dies is counted, said in the log and started anew; one that keeps dying is started ever more
slowly, never given up in silence. When the supervisor itself dies, the kernel ends its workers
(PR_SET_PDEATHSIG), so that no half of a server lives on.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from select import PIPE_BUF
from typing import Final

import structlog
from prometheus_client import Counter

from sebago.errors import OperatorsFault, SebagoError
from sebago.serve.folders import forget
from sebago.serve.logs import become

log = structlog.get_logger()

DEATHS = Counter("sebago_worker_deaths_total", "Workers that ended by themselves.", ["role"])

READY: Final = b"1"
"""What a worker writes to its pipe when its door is open; what else it writes is its last words."""

_started_anew = False
"""Of this process; set once, right after the fork."""

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_PR_SET_PDEATHSIG = 1
_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 30.0
"""A worker that lived this long starts again at once."""


@dataclass(frozen=True, slots=True)
class Worker:
    """One process to keep alive. `run(ready)` opens its door, calls `ready`, works until SIGTERM."""

    role: str
    run: Callable[[Callable[[], None]], None]


@dataclass(slots=True)
class _Running:
    worker: Worker
    pid: int
    started: float
    ready_fd: int
    failures: int = 0


def supervise(
    workers: Sequence[Worker],
    *,
    ready: Callable[[], None],
    ready_timeout_s: float = 60.0,
    grace_s: float = 15.0,
) -> int:
    """Run the workers until SIGTERM or SIGINT; the exit status (0: all ended as asked).

    `ready` is called once, when every worker has said that its door is open.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    running = [_start(worker) for worker in workers]
    if not _all_ready(running, ready_timeout_s):
        ended = _stop(running, grace_s)
        return ended if _told_to_stop() else 1
    ready()
    waiting: list[tuple[float, Worker, int]] = []  # (when, what, failures so far)
    while True:
        timeout = min([1.0, *[max(0.0, when - time.monotonic()) for when, _, _ in waiting]])
        caught = signal.sigtimedwait(_WATCHED, timeout)
        if caught is not None and caught.si_signo in (signal.SIGTERM, signal.SIGINT):
            return _stop(running, grace_s)
        for dead, status in _reap(running):
            failures = dead.failures + 1
            if time.monotonic() - dead.started > _STEADY_S:
                failures = 0
            delay = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
            DEATHS.labels(dead.worker.role).inc()
            forget(dead.pid)
            log.error(
                "worker-died",
                worker=dead.worker.role,
                worker_pid=dead.pid,
                status=status,
                again_in_s=delay,
            )
            waiting.append((time.monotonic() + delay, dead.worker, failures))
        for item in [item for item in waiting if item[0] <= time.monotonic()]:
            waiting.remove(item)
            again = _start(item[1], anew=True)
            os.close(again.ready_fd)
            again.failures = item[2]
            running.append(again)


def run_alone(worker: Worker) -> bool:
    """Run a worker that ends by itself, before there are others; False if told to stop meanwhile.

    Raises:
        SebagoError: of the kind, and with the words, that it ended with.
        OperatorsFault: it ended otherwise than well; the log says why.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    child = _start(worker)
    with os.fdopen(child.ready_fd, "rb") as told:
        pid = status = 0
        while not pid:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid and _told_to_stop():
                os.kill(child.pid, signal.SIGTERM)
                os.waitpid(child.pid, 0)
                return False
        last_words = told.read()
    if _told_to_stop():
        return False
    if os.waitstatus_to_exitcode(status) != 0:
        raise _revived(last_words, f"{worker.role} ended before its time")
    return True


def _told_to_stop() -> bool:
    """Whether SIGTERM or SIGINT has come and waits, blocked, to be taken."""
    return bool(signal.sigpending() & {signal.SIGTERM, signal.SIGINT})


def _revived(last_words: bytes, otherwise: str) -> SebagoError:
    """The error that a worker ended with, as it wrote it to its pipe."""
    try:
        said = json.loads(last_words)
        code, detail, why, do = (str(said[name]) for name in ("code", "detail", "why", "do"))
    except (ValueError, TypeError, KeyError):
        return OperatorsFault(otherwise, why="the log says why", do="look at the lines above")
    kinds: list[type[SebagoError]] = [SebagoError]
    for kind in kinds:
        if kind.code == code and kind is not SebagoError:
            return kind(detail, why=why, do=do)
        kinds += kind.__subclasses__()
    return OperatorsFault(detail, why=why, do=do)


def started_anew() -> bool:
    """Whether this worker follows one that died, and so has to look for what that one left."""
    return _started_anew


def _start(worker: Worker, *, anew: bool = False) -> _Running:
    ready_fd, said_fd = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        global _started_anew
        _started_anew = anew
        os.close(ready_fd)
        os._exit(_worker_main(worker, parent, said_fd))
    os.close(said_fd)
    return _Running(worker, pid, time.monotonic(), ready_fd)


def _worker_main(worker: Worker, parent: int, said_fd: int) -> int:
    """The life of a forked worker; its exit status."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the supervisor died before the line above took hold
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; we wait for TERM
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    become(worker.role)

    def say_ready() -> None:
        with contextlib.suppress(BrokenPipeError):  # a worker started anew: nobody waits for it
            os.write(said_fd, READY)
        os.close(said_fd)

    try:
        worker.run(say_ready)
    except SebagoError as error:
        log.error("worker-failed", code=error.code, why=error.detail)
        words = {
            "code": error.code, "detail": error.detail, "why": error.why, "do": error.do
        }  # fmt: skip
        with contextlib.suppress(OSError):  # closed: it was ready once
            os.write(said_fd, json.dumps(words).encode()[:PIPE_BUF])
        return 1
    except Exception:
        log.exception("worker-failed")
        return 1
    return 0


def _all_ready(running: list[_Running], timeout_s: float) -> bool:
    """Wait until every worker has said so; False when one ended first, time is up, or we are to stop."""
    deadline = time.monotonic() + timeout_s
    open_fds = {r.ready_fd for r in running}
    while open_fds:
        if _told_to_stop():
            return False
        if time.monotonic() > deadline:
            log.error("worker-not-ready", after_s=timeout_s)
            return False
        for fd in select.select(open_fds, [], [], 0.1)[0]:
            said = os.read(fd, 1)
            os.close(fd)
            open_fds.discard(fd)
            if said != READY:
                return False
    return not _told_to_stop()


def _reap(running: list[_Running]) -> list[tuple[_Running, int]]:
    """Collect ended children; each with its exit status (negative: the signal)."""
    dead = []
    for child in list(running):
        pid, status = os.waitpid(child.pid, os.WNOHANG)
        if pid:
            running.remove(child)
            dead.append((child, os.waitstatus_to_exitcode(status)))
    return dead


def _stop(running: list[_Running], grace_s: float) -> int:
    """SIGTERM to all, SIGKILL to those that have not ended in time; 0 when none had to be killed."""
    for child in running:
        os.kill(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    worst = 0
    while running and time.monotonic() < deadline:
        for child, status in _reap(running):
            if status not in (0, -signal.SIGTERM):
                log.warning("worker-ended", worker=child.worker.role, status=status)
                worst = 1
        if running:
            signal.sigtimedwait({signal.SIGCHLD}, 0.1)
    for child in running:
        log.error("worker-killed", worker=child.worker.role, after_s=grace_s)
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        worst = 1
    return worst
