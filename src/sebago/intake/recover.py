"""What a crash left: records that the journal holds and the index does not know yet.

Run before a process opens its journal, and over the whole journal to make an index anew. The same
record twice is one instance, so running it again, or two processes at once, changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import structlog
from sqlalchemy import Connection

from sebago.dicom.facts import facts
from sebago.dicom.scan import scan
from sebago.errors import SebagoError
from sebago.index.engine import Index
from sebago.index.record import KnownSeries, NewInstance, record_batch
from sebago.index.segments import watermarks
from sebago.intake.provenance import new_instance, read_provenance
from sebago.journal import Finding, Reader, Replayed, Tail, What, cut_tails, replay

log = structlog.get_logger()

BATCH = 500
"""Instances in one index transaction."""


@dataclass(slots=True)
class Recovered:
    """What a recovery found."""

    instances: int = 0
    bytes: int = 0
    unreadable: list[str] = field(default_factory=list)
    """Records whose data set cannot be indexed, with the reason; they stay in the journal."""
    damage: list[str] = field(default_factory=list)


def recover(index: Index, journal_dir: Path) -> Recovered:
    """Index every record past its segment's watermark, in the order in which they were received.

    A torn tail, which every crash may leave, is passed over in silence: nobody was told of it.
    Damage is logged and counted; what lies behind it is still found.
    """
    recovered = Recovered()

    def found(finding: Finding) -> None:
        if finding.what is What.DAMAGE:
            recovered.damage.append(str(finding))
            log.error("journal-damaged", why=str(finding))

    with index.read() as conn:
        since = watermarks(conn)
    known = KnownSeries()
    tails: list[Tail] = []
    reader = Reader(journal_dir)
    try:
        records = replay(journal_dir, since, found=found, tails=tails)
        arrivals = _arrivals(records, reader, recovered)
        while batch := list(islice(arrivals, BATCH)):
            index.transact(partial(_record, known, batch))
            recovered.instances += len(batch)
            recovered.bytes += sum(item.place.length for item in batch)
        if not recovered.unreadable:
            cut_tails(journal_dir, tails)
    finally:
        reader.close()
    if recovered.instances:
        log.info("journal-replayed", instances=recovered.instances, bytes=recovered.bytes)
    return recovered


def _record(known: KnownSeries, batch: list[NewInstance], conn: Connection) -> None:
    record_batch(conn, known, batch)


def _arrivals(
    records: Iterator[Replayed], reader: Reader, recovered: Recovered
) -> Iterator[NewInstance]:
    for record in records:
        try:
            source, declared = read_provenance(record.provenance)
            header = scan(reader.view(record.position), declared.transfer_syntax_uid)
            yield new_instance(
                source,
                declared,
                header,
                facts(header),
                digest=record.digest,
                received_us=record.received_us,
                place=record.position,
            )
        except SebagoError as error:
            where = f"{record.position.writer}/{record.position.segment}@{record.position.offset}"
            recovered.unreadable.append(f"{where}: {error.detail}")
            log.error("journal-record-not-indexed", record=where, code=error.code)
