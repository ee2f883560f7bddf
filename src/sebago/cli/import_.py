"""`sebago import`: files, folders, zips and discs, into one facility's custody."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sebago.cli.app import Call, new_app
from sebago.cli.output import plain

if TYPE_CHECKING:
    from sebago.intake.load import Loaded, Tried
    from sebago.serve.services import Services

app = new_app()

SKIPPED_SHOWN = 4
LINE_EVERY_S = 10.0


@app.command(
    "import",
    epilog="sebago import /media/cd --facility CARY   "
    "sebago import old-pacs.zip folder/ --facility CARY --json",
)
def import_(
    ctx: typer.Context,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, folders, zips.")],
    facility: Annotated[str, typer.Option(metavar="CODE", help="Whose images they are.")],
) -> int:
    """Take in whatever DICOM is in files, folders, zips or on a disc. Safe to repeat."""
    from sebago.errors import BadValue
    from sebago.intake import Source
    from sebago.intake.dicomdir import named
    from sebago.intake.load import load
    from sebago.intake.media import count
    from sebago.serve.logs import configure
    from sebago.serve.services import Services

    call = Call.of(ctx)
    settings = call.settings()
    configure("error", "import")
    for path in paths:
        if not path.exists():
            raise BadValue(f"there is no {path}", do="name files, folders or zips that are there")
    with Services.open(settings, spare_segments=0) as services:
        known = services.registry.facility(facility)
        source = Source(known.code, str(known.authority), "import", call.actor)
        total = count(paths)
        disc = named(paths)
        if disc.directories:
            call.out.note(
                f"Reading      DICOMDIR names {disc.files:,} images, {total.files:,} files found"
            )
        else:
            call.out.note(f"Reading      {total.files:,} files, {total.bytes / 1e6:,.0f} MB")
        for file_id in disc.absent:
            call.out.refused(f"absent: {file_id}: DICOMDIR names it, and it is not there")
        started = time.monotonic()
        stop = threading.Event()
        with _stops_at_ctrl_c(stop), _Progress(call, total.bytes) as progress:
            loaded = load(
                services.intake,
                source,
                paths,
                inflate_max=settings.max_inflated_bytes,
                progress=progress.one,
                stop=stop,
            )
        took_s = time.monotonic() - started
        for tried in loaded.refused:
            call.out.refused(f"refused: {tried.label}: {tried.detail} [{tried.code}]")
        result, text = _summary(call, services, loaded, known.code, took_s)
        result["absent"] = list(disc.absent)
        call.out.result(result, text)
    if loaded.stopped_by is not None:
        call.out.sebago_error(loaded.stopped_by)
        return 1
    if loaded.interrupted:
        call.out.note("interrupted: run the same command again to go on")
        return 130
    return 1 if loaded.refused else 0


@contextmanager
def _stops_at_ctrl_c(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C lets the files under way finish; the second ends at once."""

    def first(_signal: int, _frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, first)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class _Progress:
    """A bar with rate and time left on a terminal; elsewhere a line every ten seconds."""

    def __init__(self, call: Call, total_bytes: int) -> None:
        self._call = call
        self._total_bytes = max(total_bytes, 1)
        self._bytes = 0
        self._files = 0
        self._said_s = self._started_s = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> _Progress:
        if self._call.out.shows_progress:
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            self._bar = Progress(
                TextColumn("Importing   "),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[files]:,} files"),
                DownloadColumn(),
                TransferSpeedColumn(),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=self._call.out.console(),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("import", total=self._total_bytes, files=0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def one(self, tried: Tried) -> None:
        """One file is done."""
        self._files += 1
        self._bytes += tried.size
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._bytes, files=self._files)
        elif now - self._said_s >= LINE_EVERY_S:
            self._said_s = now
            rate = self._bytes / (now - self._started_s)
            left_s = max(0, self._total_bytes - self._bytes) / max(rate, 1)
            self._call.out.note(
                f"Importing    {100 * self._bytes // self._total_bytes} %  {self._files:,} files  "
                f"{self._bytes / 1e6:,.0f} MB  {rate / 1e6:.1f} MB/s  ETA {left_s:.0f} s"
            )


def _summary(
    call: Call, services: Services, loaded: Loaded, facility: str, took_s: float
) -> tuple[dict[str, Any], str]:
    """The result as JSON, and as people read it."""
    result = {
        "stored": loaded.stored,
        "already": loaded.already,
        "versions": loaded.versions,
        "refused": len(loaded.refused),
        "skipped": len(loaded.skipped),
        "bytes": loaded.stored_bytes,
        "seconds": round(took_s, 3),
        "studies": list(loaded.studies),
        "refusals": [
            {"path": tried.label, "code": tried.code, "detail": tried.detail}
            for tried in loaded.refused
        ],
    }
    if call.out.as_json:
        return result, ""
    exams = _exams(services, facility, list(loaded.studies)[:5])
    lines = [f"{'':<18}{'images':>8}{'MB':>8}"]
    stored = f"  {'stored':<16}{loaded.stored:>8,}{loaded.stored_bytes / 1e6:>8,.0f}"
    of = f"   {len(loaded.studies)} exams: {plain(exams)}" if exams else ""
    lines.append(stored + (of if loaded.stored else ""))
    if loaded.versions:
        lines.append(f"  {'of them new versions':<22}{loaded.versions:>2,}")
    already = f"  {'already there':<16}{loaded.already:>8,}{loaded.already_bytes / 1e6:>8,.0f}"
    lines.append(already + ("" if loaded.stored else of))
    refused = f"  {'refused':<16}{len(loaded.refused):>8,}{'-':>8}"
    lines.append(refused + ("   listed above" if loaded.refused else ""))
    if loaded.skipped:
        some = loaded.skipped if call.out.verbose else loaded.skipped[:SKIPPED_SHOWN]
        more = "" if len(some) == len(loaded.skipped) else ", ... (-v lists them)"
        lines.append(
            f"  {'skipped':<16}{len(loaded.skipped):>8,}{'-':>8}   not DICOM: "
            + ", ".join(plain(Path(label).name) for label in some)
            + more
        )
    lines.append(
        f"Imported {loaded.stored:,} images of {len(loaded.studies):,} exams in {took_s:.1f} s"
        f" ({loaded.stored_bytes / 1e6 / max(took_s, 1e-3):.0f} MB/s)."
    )
    return result, "\n".join(lines)


def _exams(services: Services, facility: str, studies: list[str]) -> str:
    """What came in, in a clinician's words and without anybody's name."""
    from sebago.gate import Asker, Role
    from sebago.retrieve import Level, Query

    asker = Asker("command:import", Role.SENDER, facility)
    words = []
    for study in studies:
        answer = services.archive.search(asker, Query(Level.STUDY, {(0x0020000D,): study}))
        for row in answer.rows[:1]:
            said = [_first(row, "00080061"), _first(row, "00081030"), _first(row, "00080020")]
            words.append(" ".join(word for word in said if word))
    return " · ".join(words)


def _first(row: dict[str, dict[str, Any]], key: str) -> str:
    values = row.get(key, {}).get("Value") or [""]
    return str(values[0] or "")
