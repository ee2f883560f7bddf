"""The running archive of the demonstration, driven by the commands that anybody has."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from demo.residents import FACILITIES

SEBAGO = Path(sys.executable).parent / "sebago"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 20


def free_port(wanted: int) -> int:
    """The wanted port of the loopback address, or one that is free where it is taken."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("no free port on 127.0.0.1")


@dataclass
class Archive:
    """`sebago serve` on a folder of its own, and the `sebago` command on the same folder."""

    data: Path
    http_port: int
    dimse_port: int
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def command(self, *words: str, stdin: str = "", may_fail: bool = False) -> str:
        """Run one `sebago` command; its stdout. A refusal ends the demonstration, in words."""
        done = subprocess.run(
            [str(SEBAGO), *words],
            env=os.environ | {"SEBAGO_DATA": str(self.data)},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode and not may_fail:
            raise SystemExit(f"sebago {' '.join(words)}\n{done.stderr}")
        return done.stdout.strip()

    def start(self) -> None:
        """Start the server and wait until all doors are open."""
        self.data.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [
                str(SEBAGO), "serve",
                "--http", f"127.0.0.1:{self.http_port}", "--dimse", f"127.0.0.1:{self.dimse_port}",
            ],
            env=os.environ | {"SEBAGO_DATA": str(self.data)},
            stdout=subprocess.PIPE,
            stderr=(self.data / "serve.log").open("a"),
            text=True,
        )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT_S
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
            if time.monotonic() > deadline:
                break
        self.stop()
        raise SystemExit(f"the archive did not start; see {self.data / 'serve.log'}")

    def stop(self) -> int:
        """Ask the server to finish and wait for it; its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@dataclass(frozen=True, slots=True)
class SignIns:
    """Tokens by facility code for senders, the clinician's token, and local accounts."""

    senders: dict[str, str]
    clinician: str
    passwords: dict[str, str]


def register(archive: Archive) -> SignIns:
    """Facilities, accounts and tokens; a second run finds them and makes nothing anew."""
    kept = archive.data / "demo-sign-ins.json"
    if kept.is_file():
        return SignIns(**json.loads(kept.read_text()))
    for facility in FACILITIES:
        archive.command(
            "facility", "add", facility.code, "--name", facility.name,
            "--authority", facility.authority, "--ae", f"{facility.ae_title}@127.0.0.1:11113",
            may_fail=True,
        )  # fmt: skip
    passwords = {login: secrets.token_urlsafe(9) for login in ("clinician", "admin")}
    for login, password in passwords.items():
        archive.command(
            "user", "add", login, "--role", login, "--facility", "NPH", "--password-stdin",
            stdin=password + "\n", may_fail=True,
        )  # fmt: skip
    sign_ins = SignIns(
        senders={
            f.code: archive.command("token", "create", "--role", "sender", "--facility", f.code)
            for f in FACILITIES
        },
        clinician=archive.command("token", "create", "--role", "clinician", "--facility", "NPH"),
        passwords=passwords,
    )
    kept.touch(mode=0o600)
    kept.write_text(
        json.dumps(
            {
                "senders": sign_ins.senders,
                "clinician": sign_ins.clinician,
                "passwords": sign_ins.passwords,
            }
        )
    )
    return sign_ins
