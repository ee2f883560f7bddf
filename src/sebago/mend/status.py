"""How much there is: what `sebago status` and the metrics say. No patient data."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sebago.index.engine import Index
from sebago.index.findings import count as count_findings
from sebago.index.segments import watermarks
from sebago.index.studies import totals
from sebago.journal.folder import number_of, segment_files, writer_folders
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
    """Journal bytes past the index's watermarks: what a replay would look at."""
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
            if (folder.name, number_of(path)) not in known:
                not_indexed += stat.st_blocks * 512
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
