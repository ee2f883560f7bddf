"""The rows: what is run for each, in which order, and the goal that it is held against.

Every group starts its targets on empty folders, runs them in turn (A B C, A B C, ...), so that a
slow minute of the machine falls on all of them, and ends them again. Between two runs the disk is
synced: what a peer left in the page cache is not written out at the cost of the next one.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from bench import targets
from bench.disk import sync_rate
from bench.instances import (
    Study,
    Template,
    ct_templates,
    fresh_study,
    fresh_uid,
    number_text,
    small_templates,
)
from bench.load import LoadFailed, StoreRun, move_study, store_load
from bench.table import Goal, Row
from bench.targets import DISK, ORTHANC, PYNETDICOM, SEBAGO, STORESCP, Target
from bench.web import DICOM_JSON, DICOM_PARTS, FRAME_PARTS, StowRequest, WebFailed, stored_count
from tests import peers
from tests.whole.server import Server

SERIES_INSTANCES = 1800
STOW_INSTANCES = 1000
ASSOCIATIONS = (1, 4, 8)
MIB_LARGEST_CT = 0.53 * 1e6 / 2**20

FAILURES = (OSError, HTTPException, LoadFailed, WebFailed, peers.DidNotStart)


@dataclass(slots=True)
class Plan:
    """How much is run."""

    folder: Path
    rounds: int = 3
    scale: float = 1.0
    only: tuple[str, ...] = ()
    targets: tuple[str, ...] = (SEBAGO, ORTHANC, STORESCP, PYNETDICOM)
    rows: dict[str, Row] = field(default_factory=dict)

    def wants(self, *keys: str) -> bool:
        """Whether one of the rows is asked for; `--only store` means every row `store-...`."""
        return not self.only or any(
            key == asked or key.startswith(f"{asked}-") for key in keys for asked in self.only
        )

    def count(self, full: int) -> int:
        """A number of instances, scaled down for a quick run."""
        return max(16, int(full * self.scale))

    def row(self, key: str) -> Row:
        """The row, made from its definition at first use."""
        if key not in self.rows:
            self.rows[key] = define(key)
        return self.rows[key]

    def shown(self) -> list[Row]:
        """The rows that were asked for and have something in them, in the table's order."""
        made = [self.rows[key] for key in ORDER if key in self.rows]
        return [row for row in made if self.wants(row.key) and (row.samples or row.notes)]


STORE_KINDS = {"ct": "0.53 MB CT", "small": "10 kB CT"}
STORE_GOALS = {
    "ct": {1: 3.5, 4: 3.0, 8: 2.5},
    "small": {1: 4.0, 4: 4.0, 8: 4.0},
}
TIMES = {
    "metadata-first": (f"series metadata of {SERIES_INSTANCES:,} instances, first", 1 / 5),
    "metadata-again": ("the same again", 1 / 20),
    "qido-instances": (f"QIDO of those {SERIES_INSTANCES:,} instances", 1 / 10),
    "qido-study": ("QIDO of one study", 1.0),
    "frame": ("one frame as stored", 1.0),
    "rendered": ("one rendered JPEG", 1.0),
}
ORDER = (
    *(f"store-{kind}-{n}" for kind in STORE_KINDS for n in ASSOCIATIONS),
    "ack-p99",
    "stow",
    "import",
    *TIMES,
    "wado-study",
    "move",
    "memory-idle",
    "memory-work",
    "memory-own",
    "memory-pss",
)


def define(key: str) -> Row:
    """A row by its key, with its goals."""
    if key.startswith("store-"):
        _, kind, n = key.split("-")
        factor = STORE_GOALS[kind][int(n)]
        goals = (Goal(factor, ORTHANC), *((Goal(0.6, STORESCP),) if kind == "ct" else ()))
        plural = "association" if n == "1" else "associations"
        return Row(key, f"C-STORE, {STORE_KINDS[kind]}, {n} {plural}", "/s", goals=goals)
    if key in TIMES:
        title, factor = TIMES[key]
        return Row(key, title, "ms", higher_is_better=False, goals=(Goal(factor, ORTHANC),))
    memory_goal = 256 + 2 * MIB_LARGEST_CT
    return {
        "ack-p99": Row(
            key, "p99 of acknowledgement, 0.53 MB, 4 associations", "ms", False, (Goal(15),)
        ),
        "stow": Row(
            key,
            f"STOW-RS, {STOW_INSTANCES:,} CT in one request",
            "MB/s",
            goals=(Goal(2, ORTHANC), Goal(0.7, DISK)),
        ),
        "import": Row(key, "sebago import of a folder of CT", "MB/s", goals=(Goal(0.7, DISK),)),
        "wado-study": Row(
            key, "whole study by WADO-RS as stored", "MB/s", goals=(Goal(1, ORTHANC),)
        ),
        "move": Row(key, "C-MOVE to DCMTK storescp", "/s", goals=(Goal(2, ORTHANC),)),
        "memory-idle": Row(
            key, "largest process, idle, RSS", "MiB", False, (Goal(150),), most=True
        ),
        "memory-work": Row(
            key, "largest process, at work, RSS", "MiB", False, (Goal(memory_goal),), most=True
        ),
        "memory-own": Row(key, "the same without mapped files", "MiB", False, most=True),
        "memory-pss": Row(key, "all processes, at work, PSS", "MiB", False, most=True),
    }[key]


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _room(plan: Plan, name: str) -> Iterator[Path]:
    folder = plan.folder / name
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _attempt(row: Row, target: str, measure: Callable[[], float]) -> float | None:
    """One sample; what goes wrong is a note in the row, and the run goes on."""
    try:
        value = measure()
    except FAILURES as error:
        note = f"{target}: {type(error).__name__}: {str(error)[:200]}"
        if note not in row.notes:
            row.notes.append(note)
        say(f"  {row.key} {note}")
        return None
    row.add(target, value)
    say(f"  {row.key:16} {target:15} {value:10.2f} {row.unit}")
    return value


# --- receiving ----------------------------------------------------------------------------------


def store_rows(plan: Plan) -> None:
    """C-STORE by every receiver; p99 of acknowledgement and memory come out of the same runs."""
    wanted = [
        (kind, n)
        for kind in STORE_KINDS
        for n in ASSOCIATIONS
        if plan.wants(f"store-{kind}-{n}")
        or (
            plan.wants("ack-p99", "memory-work", "memory-own", "memory-pss")
            and (kind, n) == ("ct", 4)
        )
    ]
    if not wanted and not plan.wants("memory-idle"):
        return
    say("C-STORE")
    with _room(plan, "store") as folder, targets.running(folder, plan.targets) as running:
        if plan.wants("memory-idle"):
            for target in running.values():
                idle = targets.idle_memory(target.running)
                plan.row("memory-idle").add(target.name, idle.rss_largest_mib)
        for target in running.values():  # first contact opens caches, journals, code paths
            store_load(target.store, small_templates(), 8, 1)
        for kind, n in wanted:
            templates = ct_templates() if kind == "ct" else small_templates()
            row = plan.row(f"store-{kind}-{n}")
            for _ in range(plan.rounds):
                for target in running.values():
                    count = plan.count(_store_count(kind, target.name))
                    _store_once(plan, row, target, templates, count, n)


def _store_count(kind: str, target: str) -> int:
    """Enough for about a second; fewer where a receiver is much slower."""
    full = 400 if kind == "ct" else 1200
    return full // 4 if target == PYNETDICOM else full


def _store_once(
    plan: Plan, row: Row, target: Target, templates: Sequence[Template], count: int, n: int
) -> None:
    watch = targets.MemoryWatch(target.running)
    runs: list[StoreRun] = []

    def measure() -> float:
        run = store_load(target.store, templates, count, n)
        runs.append(run)
        return run.per_second

    _attempt(row, target.name, measure)
    _note_memory(plan, target, watch)
    if row.key == "store-ct-4" and runs:
        plan.row("ack-p99").add(target.name, runs[0].latency_ms(0.99))
    target.tidy()
    os.sync()


def _note_memory(plan: Plan, target: Target, watch: targets.MemoryWatch) -> None:
    peak = watch.end()
    if peak is not None:
        plan.row("memory-work").add(target.name, peak.rss_largest_mib)
        plan.row("memory-own").add(target.name, peak.own_largest_mib)
        plan.row("memory-pss").add(target.name, peak.pss_mib)


def stow_rows(plan: Plan) -> None:
    """A thousand CT in one STOW-RS request, and what the disk syncs for as many bytes."""
    if not plan.wants("stow"):
        return
    say("STOW-RS")
    row = plan.row("stow")
    names = [name for name in plan.targets if name in (SEBAGO, ORTHANC)]
    with _room(plan, "stow") as folder, targets.running(folder, names) as running:
        for _ in range(plan.rounds):
            size = StowRequest(ct_templates(), STOW_INSTANCES, fresh_study()).dicom_bytes
            _disk_once(plan, row, size)
            for target in running.values():
                _stow_once(plan, row, target)


def _disk_once(plan: Plan, row: Row, size: int) -> None:
    _attempt(row, DISK, lambda: sync_rate(plan.folder, size).mb_per_second)


def _stow_once(plan: Plan, row: Row, target: Target) -> None:
    web = target.web
    if web is None:
        return
    request = StowRequest(ct_templates(), STOW_INSTANCES, fresh_study())

    def measure() -> float:
        answer = web.stow(request)
        if stored_count(answer) != request.count:
            raise WebFailed(f"{stored_count(answer)} of {request.count} stored")
        return request.dicom_bytes / 1e6 / answer.seconds

    watch = targets.MemoryWatch(target.running)
    _attempt(row, target.name, measure)
    _note_memory(plan, target, watch)
    os.sync()


def import_rows(plan: Plan) -> None:
    """`sebago import` of a folder of CT files, and what the disk syncs for as many bytes."""
    if not plan.wants("import") or SEBAGO not in plan.targets:
        return
    row = plan.row("import")
    say("sebago import")
    count = plan.count(1500)
    with _room(plan, "import") as folder:
        try:
            server = Server(folder / "sebago")
            server.add_facility(targets.FACILITY)
        except (peers.Absent, *FAILURES) as error:
            row.notes.append(f"{SEBAGO}: {error}")
            return
        nothing = folder / "nothing"
        nothing.mkdir()
        for _ in range(plan.rounds):
            files = folder / "files"
            size = _write_files(files, count)
            _disk_once(plan, row, size)
            began = time.perf_counter()
            server.try_command("import", nothing, "--facility", targets.FACILITY)
            empty = time.perf_counter() - began

            def measure(size: int = size, files: Path = files, empty: float = empty) -> float:
                began = time.perf_counter()
                done = server.try_command("import", files, "--facility", targets.FACILITY)
                took = time.perf_counter() - began - empty
                if done.returncode != 0:
                    raise LoadFailed(done.stderr[-300:])
                return size / 1e6 / took

            _attempt(row, SEBAGO, measure)
            shutil.rmtree(files)
            os.sync()
        row.notes.append(
            f"{count:,} files; the {empty:.1f} s that the command takes for an empty folder are"
            " not counted"
        )


def _write_files(folder: Path, count: int) -> int:
    folder.mkdir()
    templates = ct_templates()
    size = 0
    study = fresh_study()
    for i in range(count):
        if i % 250 == 0:
            study = fresh_study()
        fields = {**study.fields(), "sop": fresh_uid(), "number": number_text(i + 1)}
        made = templates[i % len(templates)].part10_with(fields)
        (folder / f"IM{i:05d}.dcm").write_bytes(made)
        size += len(made)
    os.sync()
    return size


# --- giving back --------------------------------------------------------------------------------


READ_KEYS = (*TIMES, "wado-study", "move")


def read_rows(plan: Plan) -> None:
    """A series of 1,800 CT: metadata, QIDO, frames, the whole study, C-MOVE."""
    if not plan.wants(*READ_KEYS):
        return
    say("reading back")
    names = [name for name in plan.targets if name in (SEBAGO, ORTHANC)]
    with ExitStack() as stack:
        folder = stack.enter_context(_room(plan, "read"))
        move_to: int | None = None
        try:
            destination = stack.enter_context(
                peers.dcmtk_storescp(
                    folder / "destination", ae_title=targets.DESTINATION, ignore_data=True
                )
            )
            move_to = destination.port
        except peers.Absent as absent:
            plan.row("move").notes.append(str(absent))
        running = stack.enter_context(targets.running(folder, names, move_to=move_to))
        for _ in range(plan.rounds):
            loaded: dict[str, Study] = {}
            for target in running.values():
                study = fresh_study()
                run = store_load(target.store, ct_templates(), SERIES_INSTANCES, 4, study=study)
                say(f"  {target.name}: {run.instances} instances loaded, {run.per_second:.0f}/s")
                loaded[target.name] = study
            os.sync()
            for target in running.values():
                _read_study(plan, target, loaded[target.name])
            if move_to is not None and plan.wants("move"):
                for target in running.values():
                    _move_once(plan, target, loaded[target.name])


def _get(target: Target, path: str, accept: str) -> float:
    if target.web is None:
        raise WebFailed(f"{target.name} has no DICOMweb")
    return target.web.get(path, accept).seconds * 1000


def _read_study(plan: Plan, target: Target, study: Study) -> None:
    series = f"/studies/{study.uid}/series/{study.series_uid}"
    web = target.web
    if web is None:
        return

    def times(key: str, paths: Sequence[str], accept: str) -> None:
        if plan.wants(key):
            row = plan.row(key)
            _attempt(
                row,
                target.name,
                lambda: statistics.median(_get(target, path, accept) for path in paths),
            )

    _metadata(plan, target, series)
    listing = f"{series}/instances?limit={SERIES_INSTANCES}"
    try:
        instances = _instance_uids(target, listing)
    except FAILURES as error:
        plan.row("qido-instances").notes.append(f"{target.name}: {error}")
        return
    times("qido-instances", [listing] * 3, DICOM_JSON)
    times("qido-study", [f"/studies?StudyInstanceUID={study.uid}"] * 40, DICOM_JSON)
    # Each instance once: what a cache would do for the same one again is not measured.
    some = instances[5 :: max(1, len(instances) // 41)][:40]
    others = instances[11 :: max(1, len(instances) // 41)][:40]
    times("frame", [f"{series}/instances/{uid}/frames/1" for uid in some], FRAME_PARTS)
    times("rendered", [f"{series}/instances/{uid}/rendered" for uid in others], "image/jpeg")
    if plan.wants("wado-study"):

        def whole() -> float:
            answer = web.get(f"/studies/{study.uid}", DICOM_PARTS)
            return answer.size / 1e6 / answer.seconds

        _attempt(plan.row("wado-study"), target.name, whole)


def _metadata(plan: Plan, target: Target, series: str) -> None:
    path = f"{series}/metadata"
    if plan.wants("metadata-first", "metadata-again"):
        row = plan.row("metadata-first")
        _attempt(row, target.name, lambda: _get(target, path, DICOM_JSON))
    if plan.wants("metadata-again"):
        again = plan.row("metadata-again")
        _attempt(
            again,
            target.name,
            lambda: statistics.median(_get(target, path, DICOM_JSON) for _ in range(3)),
        )


def _instance_uids(target: Target, listing: str) -> list[str]:
    if target.web is None:
        raise WebFailed(f"{target.name} has no DICOMweb")
    answer = target.web.get(listing, DICOM_JSON, keep=True)
    uids = [str(item["00080018"]["Value"][0]) for item in json.loads(answer.body)]
    if len(set(uids)) != SERIES_INSTANCES:
        raise WebFailed(f"QIDO lists {len(set(uids))} of {SERIES_INSTANCES} instances")
    return uids


def _move_once(plan: Plan, target: Target, study: Study) -> None:
    def measure() -> float:
        run = move_study(target.store, targets.DESTINATION, study.uid)
        if run.completed != SERIES_INSTANCES:
            raise LoadFailed(f"{run.completed} of {SERIES_INSTANCES} moved, {run.failed} failed")
        return run.per_second

    _attempt(plan.row("move"), target.name, measure)


GROUPS: tuple[Callable[[Plan], None], ...] = (store_rows, stow_rows, import_rows, read_rows)
