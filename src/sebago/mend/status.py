"""How much there is: what `sebago status` and the metrics say. No patient data."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from sebago.index.engine import Index
from sebago.index.findings import count as count_findings
from sebago.index.segments import watermarks
from sebago.index.studies import totals
from sebago.journal.folder import number_of, segment_files, writer_folders
from sebago.journal.record import (
    FIRST_RECORD,
    HEADER_BYTES,
    BadHeader,
    RecordKind,
    decode_record,
    decode_segment,
)
from sebago.registry import Registry


@dataclass(frozen=True, slots=True)
class FacilityStatus:
    """What one facility has sent so far."""

    code: str
    studies: int
    instances: int
    received_bytes: int
    last_received_us: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """The archive in numbers."""

    studies: int
    series: int
    instances: int
    received_bytes: int
    journal_bytes: int
    """What journal segments take on disk."""
    journal_segments: int
    not_indexed_bytes: int
    """Bytes of journal records past the index's watermarks: what a replay would put into it."""
    free_bytes: int
    findings: int
    facilities: list[FacilityStatus]


def status(index: Index, journal_dir: Path) -> Status:
    """Look; reads every series row once."""
    with index.read() as conn:
        sums = {one.facility: one for one in totals(conn)}
        known = watermarks(conn)
        findings = count_findings(conn)
    codes = {facility.code for facility in Registry(index).facilities()} | sums.keys()
    journal_bytes = segments = not_indexed = 0
    for folder in writer_folders(journal_dir) if journal_dir.is_dir() else ():
        for path in segment_files(folder):
            try:
                stat = path.stat()
            except FileNotFoundError:  # released meanwhile
                continue
            segments += 1
            journal_bytes += stat.st_blocks * 512
            not_indexed += _not_indexed_bytes(path, known.get((folder.name, number_of(path)), 0))
    facilities = []
    for code in sorted(codes):
        one = sums.get(code)
        facilities.append(
            FacilityStatus(
                code,
                one.studies if one else 0,
                one.instances if one else 0,
                one.received_bytes if one else 0,
                one.last_received_us if one else None,
            )
        )
    return Status(
        studies=sum(one.studies for one in sums.values()),
        series=sum(one.series for one in sums.values()),
        instances=sum(one.instances for one in sums.values()),
        received_bytes=sum(one.received_bytes for one in sums.values()),
        journal_bytes=journal_bytes,
        journal_segments=segments,
        not_indexed_bytes=not_indexed,
        free_bytes=shutil.disk_usage(
            journal_dir if journal_dir.is_dir() else journal_dir.parent
        ).free,
        findings=findings,
        facilities=facilities,
    )


def _not_indexed_bytes(path: Path, indexed_bytes: int) -> int:
    """Bytes of whole records past a segment's watermark; a segment that waits to be used has none.

    Follows record headers, so it costs a read for each record that is not indexed yet.
    """
    at = start = max(indexed_bytes, FIRST_RECORD)
    with contextlib.suppress(BadHeader, OSError), path.open("rb", buffering=0) as file:
        segment = decode_segment(file.read(HEADER_BYTES))
        while True:
            file.seek(at)
            record = decode_record(file.read(HEADER_BYTES), at)
            mine = record.nonce == segment.nonce and record.segment == segment.number
            if not mine or record.kind is RecordKind.END:
                break
            at = record.end
    return at - start
