"""What is measured: Sebago, and the peers that this machine has, each running in its own folder."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.load import StoreTarget
from bench.web import WebClient
from tests import peers
from tests.whole.server import Server

SEBAGO, ORTHANC, STORESCP, PYNETDICOM, DISK = (
    "Sebago",
    "Orthanc",
    "DCMTK storescp",
    "pynetdicom",
    "disk",
)
CALLING = "BENCHSCU"
DESTINATION = "BENCHDEST"
FACILITY = "BENCH"


@dataclass(slots=True)
class Target:
    """One receiver that runs."""

    name: str
    running: peers.Running
    store: StoreTarget
    web: WebClient | None = None
    server: Server | None = None
    received: Path | None = None
    """Where a storescp puts its files; emptied between runs."""

    def tidy(self) -> None:
        """Remove what a storescp has written, outside any measurement."""
        if self.received is not None:
            for path in self.received.iterdir():
                path.unlink()


def versions() -> dict[str, str]:
    """Name and version of what is there; for what is not, why."""
    told: dict[str, str] = {}
    checks = {
        SEBAGO: _sebago_version,
        ORTHANC: _orthanc_version,
        STORESCP: peers.dcmtk_version,
        PYNETDICOM: _pynetdicom_version,
    }
    for name, check in checks.items():
        try:
            told[name] = check()
        except peers.Absent as absent:
            told[name] = f"absent: {absent}"
    return told


def _sebago_version() -> str:
    import sebago

    return str(getattr(sebago, "__version__", "here"))


def _orthanc_version() -> str:
    peers.orthanc_plugin()
    return str(peers.orthanc_program())


def _pynetdicom_version() -> str:
    try:
        import pynetdicom
    except ImportError as error:
        raise peers.Absent("pynetdicom is not installed in this environment") from error
    return str(pynetdicom.__version__)


@contextlib.contextmanager
def running(
    folder: Path, names: Sequence[str], *, move_to: int | None = None
) -> Iterator[dict[str, Target]]:
    """Start the named targets on fresh folders; those that are absent are left out.

    Args:
        folder: a temporary folder.
        names: which ones.
        move_to: port of a storescp that Sebago and Orthanc shall know as `DESTINATION`.
    """
    with contextlib.ExitStack() as stack:
        started: dict[str, Target] = {}
        for name in names:
            place = folder / name.replace(" ", "-").lower()
            with contextlib.suppress(peers.Absent):
                started[name] = _start(stack, name, place, move_to)
        yield started
        for target in started.values():
            if target.web is not None:
                target.web.close()


def _start(stack: contextlib.ExitStack, name: str, place: Path, move_to: int | None) -> Target:
    if name == SEBAGO:
        return _start_sebago(stack, place, move_to)
    if name == ORTHANC:
        known = {DESTINATION: (DESTINATION, "127.0.0.1", move_to)} if move_to else {}
        orthanc = stack.enter_context(peers.orthanc(place, modalities=known))
        return Target(
            name,
            orthanc.running,
            StoreTarget(("127.0.0.1", orthanc.port), orthanc.ae_title, CALLING),
            WebClient(f"{orthanc.url}/dicom-web"),
        )
    started = stack.enter_context(
        peers.dcmtk_storescp(place) if name == STORESCP else peers.pynetdicom_storescp(place)
    )
    return Target(
        name,
        started.running,
        StoreTarget(("127.0.0.1", started.port), started.ae_title, CALLING),
        received=started.folder,
    )


def _start_sebago(stack: contextlib.ExitStack, place: Path, move_to: int | None) -> Target:
    server = Server(place)
    known = [CALLING, *([f"{DESTINATION}@127.0.0.1:{move_to}"] if move_to else [])]
    server.add_facility(FACILITY, peers=known)
    server.start()
    stack.callback(server.close)
    if server.running is None:
        raise peers.DidNotStart("sebago serve")
    return Target(
        SEBAGO,
        server.running,
        StoreTarget(server.dimse, server.ae_title, CALLING),
        WebClient(server.dicomweb, server.headers(FACILITY)),
        server,
    )


# --- memory -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Peak:
    """The most that was seen while something ran, MiB."""

    pss_mib: float
    rss_largest_mib: float
    own_largest_mib: float
    processes: int


def _mib(memory: peers.Memory) -> Peak:
    mib = 2**20
    rss, own = memory.rss_largest / mib, memory.own_largest / mib
    return Peak(memory.pss / mib, rss, own, memory.processes)


def memory_now(running: peers.Running) -> Peak:
    """What a target holds at this moment."""
    return _mib(peers.memory_of(running.tree()))


def _sample(running: peers.Running, pipe: multiprocessing.connection.Connection) -> None:
    most = memory_now(running)
    while not pipe.poll(0.2):
        now = memory_now(running)
        most = Peak(
            max(most.pss_mib, now.pss_mib),
            max(most.rss_largest_mib, now.rss_largest_mib),
            max(most.own_largest_mib, now.own_largest_mib),
            max(most.processes, now.processes),
        )
    pipe.send(most)


class MemoryWatch:
    """Looks at a target's memory five times a second from a process of its own."""

    def __init__(self, running: peers.Running) -> None:
        """Begin to look."""
        fork = multiprocessing.get_context("fork")
        self._pipe, theirs = fork.Pipe()
        self._process = fork.Process(target=_sample, args=(running, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def end(self) -> Peak | None:
        """Stop looking; the most that was seen, None if the looking process died."""
        peak: Peak | None = None
        with contextlib.suppress(OSError, EOFError):
            self._pipe.send("end")
            if self._pipe.poll(10):
                peak = self._pipe.recv()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
        self._pipe.close()
        return peak


def idle_memory(running: peers.Running, *, after_s: float = 2.0) -> Peak:
    """Memory a while after the start, before any work."""
    time.sleep(after_s)
    return memory_now(running)
