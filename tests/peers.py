"""Other people's DICOM programs: found on this machine, started for a test or a benchmark, ended.

What is not installed is named (`Absent`, whose text says what is missing and where it was looked
for), so that a test can skip by name. Every program runs in a session of its own on free loopback
ports with a temporary folder, and is ended by the id of the process that was started here.

DCMTK is called by absolute path: pynetdicom installs commands of the same names beside Python.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # ships no annotations

DCMTK_FOLDER = Path("/usr/bin")
ORTHANC_PLACES = ("/usr/sbin/Orthanc", "/usr/local/sbin/Orthanc", "/usr/bin/Orthanc")
ORTHANC_PLUGIN_PLACES = (
    "/usr/share/orthanc/plugins/libOrthancDicomWeb.so",
    "/usr/lib/orthanc/libOrthancDicomWeb.so",
    "/usr/local/share/orthanc/plugins/libOrthancDicomWeb.so",
)
PDU_BYTES_MAX = 131_072
"""Every peer that can be told its longest PDU is told this one."""


class Absent(Exception):
    """A program that this machine does not have; the text is fit to be a skip reason."""


class DidNotStart(Exception):
    """A program ended, or opened no door in time; the text holds the end of its log."""


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- processes ----------------------------------------------------------------------------------


class Running:
    """A program that was started here, with all that it starts in turn.

    It has its own session, so that a signal to the group reaches its children and nobody else.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
        stdout: Path | None = None,
    ) -> None:
        """Start `argv`; its output is appended to `log`, or what is on stdout to `stdout`."""
        self.argv = [str(part) for part in argv]
        self.log = log
        with log.open("ab") as err, (stdout or log).open("ab") as out:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=dict(env) if env is not None else None,
                cwd=folder,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Id of the process that was started, and of its group."""
        return self.process.pid

    def tree(self) -> list[psutil.Process]:
        """The process and all its descendants that are alive now."""
        try:
            root = psutil.Process(self.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def alive(self) -> bool:
        """Whether the first process still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL for the whole tree at once, and wait until nothing of it is left."""
        tree = self.tree()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=30)
        _wait_gone(tree, timeout_s=10)

    def stop(self, *, grace_s: float = 5.0) -> int:
        """SIGTERM, then SIGKILL for what is left after `grace_s`. Returns the exit status."""
        tree = self.tree()
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=grace_s)
        left = _wait_gone(tree, timeout_s=1)
        if self.alive() or left:
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        return self.process.wait(timeout=30)

    def tail(self, size: int = 2000) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_bytes()[-size:].decode("utf-8", "replace")
        return ""

    def wait_until(self, ready: Callable[[], bool], what: str, *, timeout_s: float = 30) -> None:
        """Poll `ready`; `DidNotStart` when the program ends first, or after `timeout_s`."""
        until = time.monotonic() + timeout_s
        while not ready():
            if not self.alive():
                status = self.process.returncode
                raise DidNotStart(f"{what} ended with status {status}:\n{self.tail()}")
            if time.monotonic() > until:
                self.kill()
                raise DidNotStart(f"{what} was not ready after {timeout_s} s:\n{self.tail()}")
            time.sleep(0.05)


def _wait_gone(processes: Sequence[psutil.Process], *, timeout_s: float) -> list[psutil.Process]:
    """Wait for processes that are not our children; those that still run after `timeout_s`.

    One that has ended and whom nobody has reaped yet holds no file and no port: it is gone.
    """
    until = time.monotonic() + timeout_s
    left = list(processes)
    while left:
        left = [process for process in left if _runs(process)]
        if time.monotonic() > until:
            break
        time.sleep(0.01)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a process tree, bytes."""

    pss: int
    rss_largest: int
    own_largest: int
    """Of one process, without pages of mapped files, which the kernel may take back."""
    rss_sum: int
    processes: int


def memory_of(processes: Sequence[psutil.Process]) -> Memory:
    """What the processes hold now. PSS counts a shared page once over all who share it."""
    pss, rss, own = 0, [], []
    for process in processes:
        try:
            info = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        pss += info.pss
        rss.append(info.rss)
        own.append(info.rss - info.shared)
    return Memory(pss, max(rss, default=0), max(own, default=0), sum(rss), len(rss))


def port_is_open(port: int) -> bool:
    """Whether somebody listens on the loopback port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


# --- DCMTK --------------------------------------------------------------------------------------


@functools.cache
def dcmtk(tool: str) -> Path:
    """The absolute path of one of DCMTK's programs.

    Raises:
        Absent: it is not there, or what is there is something else.
    """
    path = DCMTK_FOLDER / tool
    if not path.is_file():
        raise Absent(f"DCMTK's {tool} is not installed ({path})")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    if "$dcmtk:" not in said.stdout:
        raise Absent(f"{path} is not DCMTK's {tool}")
    return path


def dcmtk_version() -> str:
    """Version of the DCMTK programs, for instance `3.6.7`."""
    said = subprocess.run(
        [dcmtk("storescp"), "--version"], capture_output=True, text=True, timeout=20
    )
    return said.stdout.split()[2].removeprefix("v")


def dcmtk_environment() -> dict[str, str]:
    """The environment for DCMTK's programs: without TCP_NODELAY they wait for delayed ACKs."""
    return {**os.environ, "TCP_NODELAY": "1"}


def run_dcmtk(
    tool: str, *arguments: str | Path, timeout_s: float = 60, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run one of DCMTK's programs to its end; stdout and stderr come back as one text."""
    return subprocess.run(
        [dcmtk(tool), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        env=dcmtk_environment(),
        cwd=folder,
    )


@dataclass(slots=True)
class StoreScp:
    """A storescp that listens: DCMTK's or pynetdicom's."""

    name: str
    ae_title: str
    port: int
    folder: Path
    running: Running

    def files(self) -> list[Path]:
        """What it has stored."""
        return sorted(p for p in self.folder.iterdir() if p.is_file())


@contextlib.contextmanager
def dcmtk_storescp(
    folder: Path,
    *,
    ae_title: str = "STORESCP",
    fork: bool = True,
    ignore_data: bool = False,
    options: Sequence[str] = (),
) -> Iterator[StoreScp]:
    """DCMTK's storescp, writing data sets as they come (`+B`) into `folder`/received.

    Args:
        folder: a temporary folder; its log lies there too.
        ae_title: its own title (it takes any).
        fork: a process an association (else one association at a time).
        ignore_data: receive, but store nothing.
        options: further options of the program.
    """
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv: list[str | Path] = [dcmtk("storescp"), "--aetitle", ae_title]
    argv += ["--max-pdu", str(PDU_BYTES_MAX), "--output-directory", received]
    argv += ["--fork"] if fork else []
    # All transfer syntaxes are proposed by others; +xa accepts every one that it knows.
    argv += ["+xa", "--ignore" if ignore_data else "+B", *options, str(port)]
    running = Running(argv, log=folder / "storescp.log", env=dcmtk_environment(), folder=folder)
    try:
        running.wait_until(lambda: port_is_open(port), "storescp")
        yield StoreScp("DCMTK storescp", ae_title, port, received, running)
    finally:
        running.stop(grace_s=2)


@contextlib.contextmanager
def pynetdicom_storescp(folder: Path, *, ae_title: str = "PYNETSCP") -> Iterator[StoreScp]:
    """pynetdicom's own storescp application, writing into `folder`/received."""
    if importlib.util.find_spec("pynetdicom") is None:
        raise Absent("pynetdicom is not installed in this environment")
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-aet", ae_title]
    argv += ["--max-pdu", str(PDU_BYTES_MAX), "-od", str(received), "-q"]
    running = Running(argv, log=folder / "pynetdicom.log", folder=folder)
    try:
        running.wait_until(lambda: port_is_open(port), "pynetdicom's storescp")
        yield StoreScp("pynetdicom storescp", ae_title, port, received, running)
    finally:
        running.stop(grace_s=2)


# --- Orthanc ------------------------------------------------------------------------------------


@functools.cache
def orthanc_program() -> Path:
    """Where Orthanc is. Raises `Absent`."""
    found = [p for p in (*ORTHANC_PLACES, shutil.which("Orthanc") or "") if p and Path(p).is_file()]
    if not found:
        raise Absent(f"Orthanc is not installed ({', '.join(ORTHANC_PLACES)})")
    return Path(found[0])


@functools.cache
def orthanc_plugin() -> Path:
    """Where Orthanc's DICOMweb plugin is. Raises `Absent`."""
    found = [p for p in ORTHANC_PLUGIN_PLACES if Path(p).is_file()]
    if not found:
        raise Absent(f"Orthanc's DICOMweb plugin is not installed ({ORTHANC_PLUGIN_PLACES[0]})")
    return Path(found[0])


@dataclass(slots=True)
class Orthanc:
    """An Orthanc that runs."""

    ae_title: str
    port: int
    http_port: int
    version: str
    running: Running
    modalities: dict[str, tuple[str, str, int]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Root of its REST API, without a slash at the end."""
        return f"http://127.0.0.1:{self.http_port}"

    def rest(
        self, method: str, path: str, body: object | bytes | None = None, *, timeout_s: float = 60
    ) -> object:
        """Call its REST API; JSON in (or bytes as they are), JSON out.

        Raises:
            RuntimeError: any status but 2xx, with what it said.
        """
        data: bytes | None = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                said = error.read()[:500].decode("utf-8", "replace")
            raise RuntimeError(f"Orthanc: {method} {path}: {error.code} {said}") from error
        return json.loads(text) if text.strip()[:1] in (b"{", b"[", b'"') else text

    def knows(self, name: str, ae_title: str, port: int) -> None:
        """Register a DICOM peer on this machine under `name`, while it runs."""
        self.modalities[name] = (ae_title, "127.0.0.1", port)
        self.rest("PUT", f"/modalities/{name}", [ae_title, "127.0.0.1", port])


@contextlib.contextmanager
def orthanc(
    folder: Path,
    *,
    ae_title: str = "ORTHANC",
    modalities: Mapping[str, tuple[str, str, int]] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Iterator[Orthanc]:
    """Orthanc with its DICOMweb plugin, SQLite index, no sign-in, nothing compressed.

    Args:
        folder: a temporary folder for storage, index and log.
        ae_title: its own title.
        modalities: name to (AE title, host, port) of peers that it knows from the start.
        settings: further keys of its configuration.
    """
    program, plugin = orthanc_program(), orthanc_plugin()
    folder.mkdir(parents=True, exist_ok=True)
    port, http_port = free_port(), free_port()
    known = dict(modalities or {})
    configuration = {
        "Name": "peer",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "StorageCompression": False,
        "HttpPort": http_port,
        "DicomPort": port,
        "DicomAet": ae_title,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "UnknownSopClassAccepted": True,
        "MaximumPduLength": PDU_BYTES_MAX,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "KeepAlive": True,
        "TcpNoDelay": True,
        "SaveJobs": False,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True},
        "DicomModalities": {name: list(peer) for name, peer in known.items()},
        **(settings or {}),
    }
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration, indent=1))
    running = Running(
        [program, file], log=folder / "orthanc.log", env=dcmtk_environment(), folder=folder
    )
    peer = Orthanc(ae_title, port, http_port, "", running, known)

    def answers() -> bool:
        with contextlib.suppress(OSError, RuntimeError):
            system = peer.rest("GET", "/system", timeout_s=2)
            peer.version = str(system["Version"]) if isinstance(system, dict) else ""
            return True
        return False

    try:
        running.wait_until(answers, "Orthanc")
        yield peer
    finally:
        running.stop(grace_s=10)
