"""Torn tails: what a power cut may leave behind the last synced record of a journal segment.

Only bytes that no sync vouches for are touched: the pages behind the last whole record of a segment
that was being written, and records that the index does not know yet. The latter were never
acknowledged: an acknowledgement comes after the index transaction.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from sebago.journal.folder import State, number_of
from sebago.journal.record import (
    FIRST_RECORD,
    HEADER_BYTES,
    PAGE,
    BadHeader,
    RecordHeader,
    decode_record,
    decode_segment,
    encode_record,
    up,
)


@dataclass(frozen=True, slots=True)
class Torn:
    """What was done to one segment."""

    segment: Path
    offset: int
    how: str


def watermarks(data: Path) -> dict[tuple[str, int], int]:
    """How far the index knows each segment; read from a copy, so that nothing is recovered early."""
    with tempfile.TemporaryDirectory(prefix="sebago-look-") as place:
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                shutil.copy(data / f"index.db{suffix}", Path(place) / f"index.db{suffix}")
        with contextlib.closing(sqlite3.connect(Path(place) / "index.db")) as base:
            rows = base.execute("SELECT writer, segment, indexed_bytes FROM journal_segment")
            return {(str(w), int(s)): int(n) for w, s, n in rows}


def open_segments(data: Path) -> list[Path]:
    """Segments that were being written when the server died."""
    return sorted((data / "journal").glob(f"*/*{State.OPEN}"))


def records(segment: Path) -> list[RecordHeader]:
    """Headers of the records of a segment's present life, from the first to the last."""
    found: list[RecordHeader] = []
    size = segment.stat().st_size
    with segment.open("rb") as file:
        try:
            nonce = decode_segment(file.read(HEADER_BYTES)).nonce
        except BadHeader:
            return []
        at = FIRST_RECORD
        while at + HEADER_BYTES <= size:
            file.seek(at)
            try:
                header = decode_record(file.read(HEADER_BYTES), at)
            except BadHeader:
                break
            if header.nonce != nonce or header.end > size:
                break
            found.append(header)
            at = header.end
    return found


def tear(data: Path, dice: random.Random) -> list[Torn]:
    """Tear the tail of every segment that was being written; returns what was done."""
    known = watermarks(data)
    done: list[Torn] = []
    for segment in open_segments(data):
        whole = records(segment)
        if not whole:
            continue
        watermark = known.get((segment.parent.name, number_of(segment)), FIRST_RECORD)
        floor = max([watermark, *(header.synced for header in whole)])
        loose = [header for header in whole if header.offset >= floor]
        if loose and dice.random() < 0.7:
            done.append(_break_record(segment, dice.choice(loose), whole[-1].end, dice))
        else:
            done.append(_append(segment, whole[-1], dice))
    return done


def _write(segment: Path, offset: int, data: bytes) -> None:
    """Overwrite within the file, never making it longer."""
    size = segment.stat().st_size
    fd = os.open(segment, os.O_WRONLY)
    try:
        os.pwrite(fd, data[: max(0, size - offset)], offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def _break_record(segment: Path, header: RecordHeader, end: int, dice: random.Random) -> Torn:
    """From somewhere in an unacknowledged record on, nothing of the batch reached the disk."""
    at = header.offset + dice.randrange(header.total)
    _write(segment, at, b"\0" * (end - at))
    return Torn(segment, at, "last batch cut off")


def _append(segment: Path, last: RecordHeader, dice: random.Random) -> Torn:
    """Behind the last batch, something of a next one reached the disk."""
    at = up(last.end, PAGE)
    how = dice.choice(["noise", "a header from elsewhere", "a record without its data"])
    if how == "noise":
        _write(segment, at, dice.randbytes(dice.randrange(1, 200_000)))
    elif how == "a header from elsewhere":
        _write(segment, at, encode_record(last) + dice.randbytes(dice.randrange(5000)))
    else:
        torn = replace(last, offset=at, synced=at)
        half = dice.randbytes(dice.randrange(max(1, last.data_bytes)))
        _write(segment, at, encode_record(torn) + half)
    return Torn(segment, at, how)
