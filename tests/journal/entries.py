"""Entries and journals for the tests of the journal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from blake3 import blake3

from sebago.journal import Entry, Journal

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
