"""The running program: `sebago serve` on free ports with a temporary folder of data.

Facilities, peers and tokens are registered by the real commands; `ready` is read from the server's
stdout; the whole tree of its processes can be killed with SIGKILL and started again on the same
folder and ports.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import DidNotStart, Running, free_port

START_TIMEOUT_S = 30.0


class CommandFailed(Exception):
    """A `sebago` command ended with another status than 0; the text is what it said."""


@functools.cache
def sebago_command() -> tuple[str, ...]:
    """How the `sebago` command is called from this interpreter's environment."""
    script = Path(sys.executable).parent / "sebago"
    if script.is_file():
        return (str(script),)
    return (sys.executable, "-c", "from sebago.cli import main; raise SystemExit(main())")


@dataclass(slots=True)
class Server:
    """A Sebago installation in `folder`, running or not.

    Every path, port and token stays the same over restarts.
    """

    folder: Path
    workers: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    wrapper: Sequence[str | Path] = ()
    """A command that runs the server, strace for instance."""
    http_port: int = field(default_factory=free_port)
    dimse_port: int = field(default_factory=free_port)
    ae_title: str = "SEBAGO"
    running: Running | None = None
    tokens: dict[tuple[str, str], str] = field(default_factory=dict)
    """By facility and role; made when first asked for."""
    ready_after_s: float = 0.0
    _said_from: int = 0
    _started: float = 0.0

    def __post_init__(self) -> None:
        """Make the folders; start nothing."""
        self.folder.mkdir(parents=True, exist_ok=True)

    # --- where it is

    @property
    def data(self) -> Path:
        """`SEBAGO_DATA`."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What the server writes on stderr."""
        return self.folder / "serve.log"

    @property
    def stdout(self) -> Path:
        """What the server writes on stdout. A file: a pipe that nobody reads would stop it."""
        return self.folder / "serve.out"

    @property
    def url(self) -> str:
        """Root of the HTTP door."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        """Root of the DICOMweb services."""
        return f"{self.url}/dicomweb"

    @property
    def dimse(self) -> tuple[str, int]:
        """Address of the DICOM door."""
        return ("127.0.0.1", self.dimse_port)

    @property
    def env(self) -> dict[str, str]:
        """Environment of the server and of every command."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith("SEBAGO_")}
        # Many processes are started: without this each would compile every module again.
        mine.pop("PYTHONDONTWRITEBYTECODE", None)
        return {**mine, **self.environment, "SEBAGO_DATA": str(self.data)}

    # --- commands

    def try_command(
        self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 300
    ) -> subprocess.CompletedProcess[str]:
        """Run a `sebago` command on the same data to its end, whatever the exit status."""
        return subprocess.run(
            [*sebago_command(), *map(str, arguments)],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            env=self.env,
            cwd=self.folder,
            timeout=timeout_s,
        )

    def command(
        self, *arguments: str | Path, stdin: str | None = None, timeout_s: float = 300
    ) -> str:
        """Run a `sebago` command and return its stdout.

        Raises:
            CommandFailed: the exit status was not 0.
        """
        done = self.try_command(*arguments, stdin=stdin, timeout_s=timeout_s)
        if done.returncode != 0:
            said = f"{done.stdout[-1500:]}{done.stderr[-1500:]}"
            raise CommandFailed(f"sebago {' '.join(map(str, arguments))}: {done.returncode} {said}")
        return done.stdout

    def status(self) -> dict[str, object]:
        """`sebago status --json`."""
        told: dict[str, object] = json.loads(self.command("status", "--json"))
        return told

    def add_facility(self, code: str, *, peers: Sequence[str] = (), authority: str = "") -> None:
        """Register a facility with its peers (`TITLE` or `TITLE@HOST:PORT`)."""
        arguments = ["facility", "add", code, "--name", f"Facility {code}"]
        arguments += ["--authority", authority or f"{code}&1.2.3.{sum(code.encode())}&ISO"]
        for peer in peers:
            arguments += ["--ae", peer]
        self.command(*arguments)

    def add_peer(self, code: str, title: str, port: int | None = None) -> None:
        """Register a DICOM peer of a facility on this machine."""
        where = f"{title}@127.0.0.1:{port}" if port is not None else title
        self.command("facility", "ae", "add", code, where)

    def token(self, code: str, role: str) -> str:
        """A new bearer token."""
        return self.command("token", "create", "--role", role, "--facility", code).strip()

    def headers(self, code: str, role: str = "sender") -> dict[str, str]:
        """HTTP headers that say who asks."""
        if (code, role) not in self.tokens:
            self.tokens[code, role] = self.token(code, role)
        return {"Authorization": f"Bearer {self.tokens[code, role]}"}

    # --- running

    def start(self, *, wait: bool = True, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start the server; with `wait`, return when it has printed `ready`."""
        argv: list[str | Path] = [*self.wrapper, *sebago_command(), "serve"]
        argv += ["--http", f"127.0.0.1:{self.http_port}"]
        argv += ["--dimse", f"127.0.0.1:{self.dimse_port}"]
        if self.workers is not None:
            argv += ["--workers", str(self.workers)]
        self.stdout.touch()
        self._said_from = self.stdout.stat().st_size
        self._started = time.monotonic()
        self.running = Running(
            argv, log=self.log, env=self.env, folder=self.folder, stdout=self.stdout
        )
        if wait:
            self.wait_ready(timeout_s=timeout_s)

    def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Read the server's stdout until it says `ready`.

        Raises:
            DidNotStart: it ended, or said nothing in time.
        """
        running = self._running()
        while not self.is_ready():
            if not running.alive():
                running.kill()
                raise DidNotStart(f"sebago serve ended before `ready`:\n{running.tail()}")
            if time.monotonic() > self._started + timeout_s:
                running.kill()
                raise DidNotStart(f"sebago serve: not ready in {timeout_s} s\n{running.tail()}")
            time.sleep(0.01)
        self.ready_after_s = time.monotonic() - self._started

    def is_ready(self) -> bool:
        """Whether the server has printed `ready` since it was last started."""
        with self.stdout.open("rb") as said:
            said.seek(self._said_from)
            return b"ready" in said.read().splitlines()

    def _running(self) -> Running:
        if self.running is None:
            raise DidNotStart("sebago serve is not running")
        return self.running

    def kill(self) -> None:
        """SIGKILL for every process of the server at once."""
        self._running().kill()
        self.running = None

    def stop(self, *, grace_s: float = 20.0) -> int:
        """SIGTERM to the server's first process; its exit status."""
        status = self._running().stop(grace_s=grace_s)
        self.running = None
        return status

    def close(self) -> None:
        """Stop it if it runs; never raises for a server that is gone."""
        if self.running is not None:
            self.running.stop(grace_s=10.0)
            self.running = None
