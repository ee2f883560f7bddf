"""The crash harness: kill -9 under load, again and again; then look for what was acknowledged.

    python -m tests.whole.crash --kills 200

Several client processes (C-STORE and STOW-RS) send to a running server and write every
acknowledgement into a log of their own before they go on. The harness kills all processes of the
server at once at random moments, also while it is coming up, sometimes tears the tail of the journal
as a power cut might (`crash_tail`), and starts it again. In the end every acknowledged instance must
come back byte for byte, what is shown must have been sent exactly so, what is found by a query must
be what can be fetched, and `sebago verify --deep` must find nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers import DidNotStart, Running
from tests.whole.crash_client import CALLING
from tests.whole.crash_tail import tear
from tests.whole.parts import (
    AS_STORED,
    DICOM_JSON,
    exported,
    http,
    multipart_parts,
    split_part10,
)
from tests.whole.server import Server

FACILITY = "CRASH"
EXPORTED_STUDIES = 4
SERVER_ENVIRONMENT = {
    # Small enough that a short run closes segments, and that a CT goes to a segment of its own.
    "SEBAGO_JOURNAL_SEGMENT_BYTES": str(16 * 2**20),
    "SEBAGO_INLINE_BYTES_MAX": str(400_000),
    "SEBAGO_JOURNAL_RESERVE_BYTES": str(2**20),
}


@dataclass(slots=True)
class Told:
    """What the clients' logs say."""

    sent: dict[str, tuple[str, str]] = field(default_factory=dict)
    """SOP Instance UID to digest and study."""
    acknowledged: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)

    def studies(self) -> dict[str, set[str]]:
        """SOP Instance UIDs of what was sent, by study."""
        made: dict[str, set[str]] = defaultdict(set)
        for uid, (_, study) in self.sent.items():
            made[study].add(uid)
        return made


def read_logs(folder: Path) -> Told:
    """Read the logs of all clients; an unfinished last line does not count."""
    told = Told()
    for path in sorted(folder.glob("*.log")):
        for line in path.read_text(encoding="ascii").splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            kind, *words = line.split()
            if kind == "S":
                told.sent[words[0]] = (words[1], words[2])
            elif kind == "A":
                told.acknowledged.add(words[0])
            elif kind == "R":
                told.refused[words[0]] = words[1]
    return told


@dataclass(slots=True)
class Outcome:
    """What a run found."""

    kills: int = 0
    kills_in_recovery: int = 0
    torn: list[str] = field(default_factory=list)
    acknowledged: int = 0
    sent: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    slowest_start_s: float = 0.0
    lost: list[str] = field(default_factory=list)
    corrupt: list[str] = field(default_factory=list)
    half_shown: list[str] = field(default_factory=list)
    not_started: list[str] = field(default_factory=list)
    verify_status: int = -1
    verify_said: str = ""

    def good(self) -> bool:
        """Nothing lost, nothing corrupt, nothing half shown, every start by itself."""
        bad = self.lost or self.corrupt or self.half_shown or self.not_started
        return not bad and self.verify_status == 0

    def summary(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.kills} kills, {self.kills_in_recovery} of them during recovery,"
            f" {len(self.torn)} torn tails; slowest start {self.slowest_start_s:.1f} s",
            f"{self.sent} sent, {self.acknowledged} acknowledged, {len(self.refused)} refused,"
            f" {len(self.lost)} lost, {len(self.corrupt)} corrupt,"
            f" {len(self.half_shown)} half shown; verify --deep: {self.verify_status}",
        ]
        for name, found in (
            ("lost", self.lost),
            ("corrupt", self.corrupt),
            ("half shown", self.half_shown),
            ("did not start", self.not_started),
        ):
            lines += [f"  {name}: {text}" for text in found[:10]]
        lines += [f"  refused: {uid} {status}" for uid, status in list(self.refused.items())[:3]]
        lines += [f"  torn: {text}" for text in self.torn[:20]]
        if self.verify_status != 0:
            lines.append(self.verify_said[-2000:])
        return "\n".join(lines)


@dataclass(slots=True)
class Harness:
    """One run in a temporary folder."""

    folder: Path
    kills: int
    seed: int
    storers: int = 3
    stowers: int = 2
    load_s: tuple[float, float] = (0.3, 1.5)
    say: Callable[[str], object] = lambda _: None
    outcome: Outcome = field(default_factory=Outcome)

    def run(self) -> Outcome:
        """Load, kill, start, and so on; then look."""
        dice = random.Random(self.seed)
        server = Server(self.folder / "sebago", environment=SERVER_ENVIRONMENT)
        server.add_facility(FACILITY, peers=[CALLING])
        clients: list[Running] = []
        try:
            clients = self._start_clients(server)
            start_s = self._start(server)
            for number in range(self.kills):
                if number % 4 == 3:
                    self._kill_in_recovery(server, dice, start_s)
                else:
                    time.sleep(dice.uniform(*self.load_s))
                    server.kill()
                    self.outcome.kills += 1
                if number % 3 == 1:
                    self._tear(server, dice)
                start_s = self._start(server)
                if number % 5 == 4:
                    self._look_at_some(server, dice)
                self.say(f"kill {number + 1}: ready after {start_s:.1f} s")
            time.sleep(0.5)
            self._stop_clients(clients)
            self._look_at_all(server)
            self.outcome.verify_status, self.outcome.verify_said = _verify(server)
        except DidNotStart as error:
            self.outcome.not_started.append(str(error))
            told = read_logs(self.folder)
            self.outcome.sent, self.outcome.acknowledged = len(told.sent), len(told.acknowledged)
        finally:
            (self.folder / "stop").touch()
            server.close()
            for client in clients:
                client.stop(grace_s=5)
        return self.outcome

    def _start(self, server: Server) -> float:
        server.start()
        self.outcome.slowest_start_s = max(self.outcome.slowest_start_s, server.ready_after_s)
        return server.ready_after_s

    def _kill_in_recovery(self, server: Server, dice: random.Random, start_s: float) -> None:
        """One kill under load, and another before the server is up again."""
        time.sleep(dice.uniform(*self.load_s))
        server.kill()
        server.start(wait=False)
        time.sleep(dice.uniform(0.05, max(0.1, start_s)))
        server.kill()
        self.outcome.kills += 1
        self.outcome.kills_in_recovery += 1

    # --- clients

    def _start_clients(self, server: Server) -> list[Running]:
        where = {
            "host": "127.0.0.1",
            "dimse_port": server.dimse_port,
            "http_port": server.http_port,
            "ae_title": server.ae_title,
            "authorization": server.headers(FACILITY)["Authorization"],
        }
        (self.folder / "clients.json").write_text(json.dumps(where))
        names = [("cstore", f"cstore{i}") for i in range(self.storers)]
        names += [("stow", f"stow{i}") for i in range(self.stowers)]
        return [
            Running(
                [sys.executable, "-m", "tests.whole.crash_client", kind, self.folder, name],
                log=self.folder / f"{name}.err",
                folder=Path(__file__).parents[2],
            )
            for kind, name in names
        ]

    def _stop_clients(self, clients: list[Running]) -> None:
        (self.folder / "stop").touch()
        for client in clients:
            client.process.wait(timeout=60)
            if client.process.returncode != 0:
                raise DidNotStart(f"a client failed: {client.tail()}")

    def _wait_for_clients(self) -> None:
        """Until every client knows that the server is gone: its log says so.

        What a client has read but not written down yet would else count as unacknowledged.
        """
        logs = sorted(self.folder.glob("*.log"))
        sizes = {path: path.stat().st_size for path in logs}
        until = time.monotonic() + 40
        for path in logs:
            while "L\n" not in path.read_text(encoding="ascii")[sizes[path] :]:
                if time.monotonic() > until:
                    raise DidNotStart(f"{path.name}: a client hangs on a dead connection")
                time.sleep(0.02)

    # --- torn tails

    def _tear(self, server: Server, dice: random.Random) -> None:
        self._wait_for_clients()
        for torn in tear(server.data, dice):
            self.outcome.torn.append(f"{torn.segment.name} at {torn.offset}: {torn.how}")

    # --- looking

    def _fetch(self, server: Server, path: str) -> dict[str, str] | None:
        """SOP Instance UID to digest of what a WADO-RS path gives as stored; None if 404."""
        answer = http(
            f"{server.dicomweb}{path}", server.headers(FACILITY), accept=AS_STORED, timeout_s=120
        )
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise DidNotStart(f"GET {path}: {answer.status} {answer.body[:300]!r}")
        files = [split_part10(content) for _, content in multipart_parts(answer)]
        return {file.sop_instance_uid: file.digest for file in files}

    def _look_at_some(self, server: Server, dice: random.Random) -> None:
        """A few acknowledged instances right after a start: a loss is seen near its cause."""
        told = read_logs(self.folder)
        for uid in dice.sample(sorted(told.acknowledged), min(5, len(told.acknowledged))):
            digest, study = told.sent[uid]
            found = self._fetch_instance(server, study, uid)
            if found is None:
                self.outcome.lost.append(f"{uid} after kill {self.outcome.kills}")
            elif found != digest:
                self.outcome.corrupt.append(f"{uid} after kill {self.outcome.kills}")

    def _fetch_instance(self, server: Server, study: str, uid: str) -> str | None:
        answer = http(
            f"{server.dicomweb}/studies/{study}/instances?SOPInstanceUID={uid}",
            server.headers(FACILITY),
            accept=DICOM_JSON,
        )
        items = answer.json() if answer.status == 200 else None
        if not isinstance(items, list) or len(items) != 1:
            return None
        series = items[0]["0020000E"]["Value"][0]
        found = self._fetch(server, f"/studies/{study}/series/{series}/instances/{uid}")
        return None if found is None else found.get(uid)

    def _look_at_all(self, server: Server) -> None:
        told = read_logs(self.folder)
        outcome = self.outcome
        outcome.sent, outcome.acknowledged = len(told.sent), len(told.acknowledged)
        outcome.refused = told.refused
        for number, (study, uids) in enumerate(told.studies().items()):
            found = self._fetch(server, f"/studies/{study}") or {}
            self._compare(told, uids, found, "WADO-RS")
            listed = self._listed(server, study)
            if listed != set(found):
                text = f"study {study}: {len(listed)} listed, {len(found)} handed out"
                outcome.half_shown.append(text)
            if number < EXPORTED_STUDIES and found:
                folder = self.folder / f"export{number}"
                server.command(
                    "export", folder, "--study", study, "--as-received", "--facility", FACILITY
                )
                files = {uid: file.digest for uid, file in exported(folder).items()}
                self._compare(told, uids, files, "export")

    def _compare(self, told: Told, uids: set[str], found: dict[str, str], by: str) -> None:
        for uid in uids & told.acknowledged:
            if uid not in found:
                self.outcome.lost.append(f"{uid} ({by})")
        for uid, digest in found.items():
            if uid not in told.sent:
                self.outcome.half_shown.append(f"{uid} was never sent ({by})")
            elif told.sent[uid][0] != digest:
                kept = uid in told.acknowledged
                (self.outcome.corrupt if kept else self.outcome.half_shown).append(f"{uid} ({by})")

    def _listed(self, server: Server, study: str) -> set[str]:
        answer = http(
            f"{server.dicomweb}/studies/{study}/instances?limit=5000",
            server.headers(FACILITY),
            accept=DICOM_JSON,
        )
        items = answer.json() if answer.status == 200 else []
        return {i["00080018"]["Value"][0] for i in items} if isinstance(items, list) else set()


def _verify(server: Server) -> tuple[int, str]:
    done = server.try_command("verify", "--deep", timeout_s=600)
    return done.returncode, done.stdout + done.stderr


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """The long run, on demand."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.whole.crash", description="Kill the server under load, then look."
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--load", type=float, default=2.5, help="longest load before a kill, s")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--keep", action="store_true", help="keep the folder after a failure")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sebago-crash-", dir=asked.folder))
    _say(f"seed {asked.seed}, {folder}")
    began = time.monotonic()
    good = False
    try:
        harness = Harness(
            folder,
            asked.kills,
            asked.seed,
            load_s=(0.3, asked.load),
            say=_say,
        )
        outcome = harness.run()
        good = outcome.good()
        _say(outcome.summary())
        _say(f"{'good' if good else 'NOT GOOD'} after {time.monotonic() - began:.0f} s")
    finally:
        if good or not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
