"""Entries and journals for the tests of the journal."""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from blake3 import blake3

from sebago.journal import Entry, Finding, Journal, Position, replay

PROVENANCE = b'{"facility": "CARY"}'


def entry(data: bytes, provenance: bytes = PROVENANCE, note: object = None) -> Entry:
    return Entry(memoryview(data), blake3(data).digest(), provenance, 1_700_000_000_000_000, note)


def nothing(_: Sequence[Entry]) -> None:
    """A second stage that does nothing."""


def open_journal(
    root: Path, then: Callable[[Sequence[Entry]], None] = nothing, **options: Any
) -> Journal:
    """A journal with small segments and no reserve."""
    values: dict[str, Any] = {
        "segment_bytes": 256 * 1024,
        "reserve_bytes": 0,
        "inline_bytes_max": 64 * 1024,
        "spares": 0,
        "queue_bytes_max": 64 * 1024 * 1024,
    }
    return Journal.open(root, then=then, **(values | options))


def kept(journal: Journal, *datas: bytes) -> list[Entry]:
    """Commit data sets; each must be acknowledged."""
    entries = [entry(data) for data in datas]
    journal.commit(entries)
    assert [found.error for found in entries] == [None] * len(entries)
    return entries


def dead_copy(root: Path) -> Path:
    """The journal as a crash of its process just now would leave it: nobody holds the copy."""
    return Path(shutil.copytree(root, root.with_name(f"{root.name}-copy")))


def fast_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder in memory where there is one, for tests with many examples."""
    shm = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None)


def segment_file(root: Path, found: Entry) -> Path:
    """The sealed or open file that holds an entry."""
    assert found.position is not None
    folder = root / found.position.writer
    path = folder / f"{found.position.segment:010d}.seg"
    return path if path.exists() else path.with_suffix(".open")


def replayed(
    root: Path, since: Mapping[tuple[str, int], int] = MappingProxyType({})
) -> tuple[list[Position], list[Finding]]:
    """All that a replay yields, and its findings."""
    findings: list[Finding] = []
    found = [record.position for record in replay(root, since, found=findings.append)]
    return found, findings
