"""`accept`: the one way in, behind every door.

Theory of operation. A data set is kept as it came: it is scanned for what identifies it, never
parsed into objects and never encoded anew. One instance goes through these steps:

1. The header scan walks every element to the last byte. What is cut off or no DICOM is refused
   here, before anything is written.
2. The index is asked whether this facility already sent this content under this UID. If so, that is
   a success without a second copy.
3. The bytes go to the journal, with their digest and where they came from. *After the journal's sync
   they are durable*; a crash from here on leaves a record that replay puts into the index.
4. One index transaction for all that wait makes them findable: new, already there after all (two
   senders at once), or another version.
5. `accept` returns, and only then does a door acknowledge.

Nothing is acknowledged anywhere else. Steps 3 and 4 are the journal's group commit: `_record` runs
in journal order, under its lock, while the next batch is being synced.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from sebago.dicom.facts import Facts, facts
from sebago.dicom.scan import Header, scan
from sebago.dicom.uids import is_storage_class, uid_is_sane
from sebago.errors import Mismatch, NotSupported, SebagoError, TooLarge
from sebago.index.engine import Index
from sebago.index.record import KnownSeries, Recorded, existing, record_batch
from sebago.intake.metrics import RECEIVED, RECEIVED_BYTES, REFUSED
from sebago.intake.provenance import new_instance, provenance
from sebago.intake.sources import Accepted, Declared, Outcome, Source
from sebago.journal import Entry, Journal, Spool, Spooled

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process may take in; see the settings of the same names."""

    segment_bytes: int
    reserve_bytes: int
    queue_bytes_max: int
    inline_bytes_max: int
    instance_bytes_max: int
    inflated_bytes_max: int
    spare_segments: int = 1
    """Segments written ahead in idle time; none for a command that ends soon."""


@dataclass(slots=True)
class _Arrival:
    """What travels with a journal entry to the index and back."""

    source: Source
    declared: Declared
    header: Header
    facts: Facts
    recorded: Recorded | None = None


class Intake:
    """One process's way in: its journal, and its view of the index. Safe for its threads."""

    def __init__(self, index: Index, journal_dir: Path, limits: Limits) -> None:
        self._index = index
        self._limits = limits
        self._known = KnownSeries()
        self._journal = Journal.open(
            journal_dir,
            segment_bytes=limits.segment_bytes,
            reserve_bytes=limits.reserve_bytes,
            queue_bytes_max=limits.queue_bytes_max,
            inline_bytes_max=limits.inline_bytes_max,
            spares=limits.spare_segments,
            then=self._record,
        )

    def close(self) -> None:
        """Finish what is being committed and let go of the journal's folder."""
        self._journal.close()

    def incoming(self, expected: int | None = None) -> Spool:
        """Begin to receive a data set; `expected` is its length in bytes where that is known."""
        return self._journal.spool(expected)

    def accept(self, source: Source, declared: Declared, incoming: Spool) -> Accepted:
        """Keep one received data set; durable and findable when this returns.

        Raises:
            SebagoError: of the kind that says why it was not kept; nothing of it is shown.
        """
        result = self.accept_many(source, [(declared, incoming)])[0]
        if isinstance(result, SebagoError):
            raise result
        return result

    def accept_many(
        self, source: Source, items: Sequence[tuple[Declared, Spool]]
    ) -> list[Accepted | SebagoError]:
        """Keep several data sets with one group commit; each has its own outcome, in order.

        The spools are given back in any case.
        """
        outcomes: list[Entry | Accepted | SebagoError] = []
        try:
            for declared, incoming in items:
                outcomes.append(self._prepare(source, declared, incoming))
            entries = [outcome for outcome in outcomes if isinstance(outcome, Entry)]
            if entries:
                self._journal.commit(entries)
            results = [_result(o) if isinstance(o, Entry) else o for o in outcomes]
        finally:
            for _, incoming in items:
                incoming.abandon()
        for result in results:
            self._count(source, result)
        return results

    def _prepare(
        self, source: Source, declared: Declared, incoming: Spool
    ) -> Entry | Accepted | SebagoError:
        """Steps 1 and 2: scan, and look whether it is already there."""
        try:
            if incoming.nbytes > self._limits.instance_bytes_max:
                raise TooLarge(
                    f"{incoming.nbytes} bytes are more than the "
                    f"{self._limits.instance_bytes_max} that one instance may have"
                )
            data = incoming.finish()
            view = data.view() if isinstance(data, Spooled) else data
            try:
                header = scan(
                    view,
                    declared.transfer_syntax_uid,
                    inflate_max=self._limits.inflated_bytes_max,
                )
                what = facts(header)
            finally:
                length = len(view)
                if view is not data:
                    view.release()
            _check_declared(declared, what)
            arrival = _Arrival(source, declared, header, what)
            digest = incoming.digest
            with self._index.glance() as conn:
                found = existing(conn, source.facility, what.sop_instance_uid)
            if found == digest:
                return _accepted(arrival, Outcome.ALREADY, length)
        except SebagoError as refusal:
            return refusal
        return Entry(
            data=data,
            digest=digest,
            provenance=provenance(source, Declared(declared.transfer_syntax_uid)),
            received_us=time.time_ns() // 1000,
            note=arrival,
        )

    def _record(self, batch: Sequence[Entry]) -> None:
        """Step 4, called by the journal in its order: one index transaction for the batch."""
        new = [
            new_instance(
                entry.note.source,
                entry.note.declared,
                entry.note.header,
                entry.note.facts,
                digest=entry.digest,
                received_us=entry.received_us,
                place=place,
            )
            for entry in batch
            if (place := entry.position) is not None
        ]
        recorded = self._index.transact(lambda conn: record_batch(conn, self._known, new))
        for entry, what in zip(batch, recorded, strict=True):
            entry.note.recorded = what

    def _count(self, source: Source, result: Accepted | SebagoError) -> None:
        if isinstance(result, Accepted):
            RECEIVED.labels(source.door, result.outcome).inc()
            RECEIVED_BYTES.labels(source.door).inc(result.length)
            if result.outcome is Outcome.VERSION:
                log.info(
                    "new-version",
                    door=source.door,
                    facility=source.facility,
                    sender=source.name,
                    sop_instance_uid=result.sop_instance_uid,
                )
        else:
            REFUSED.labels(source.door, result.code).inc()
            log.warning(
                "refused",
                door=source.door,
                facility=source.facility,
                sender=source.name,
                address=source.address,
                code=result.code,
                why=result.detail,
            )


def _check_declared(declared: Declared, what: Facts) -> None:
    """The data set is what the command said, and something to archive.

    Raises:
        Mismatch: SOP class or instance differ (PS3.4 B.2.3: A900).
        NotSupported: its SOP class is not a storage class: a DICOMDIR, a print job.
    """
    for said, found, name in (
        (declared.sop_class_uid, what.sop_class_uid, "SOP Class UID"),
        (declared.sop_instance_uid, what.sop_instance_uid, "SOP Instance UID"),
    ):
        if said and said != found:
            raise Mismatch(f"the command's {name} is {_told(said)}, the data set's {_told(found)}")
    if not is_storage_class(what.sop_class_uid):
        raise NotSupported(f"SOP class {_told(what.sop_class_uid)} is not one of stored objects")


def _told(uid: str) -> str:
    """A UID as a message may name it; what has letters in it may be anything, a name for one."""
    return uid if uid_is_sane(uid) else "none that is a UID"


def _result(entry: Entry) -> Accepted | SebagoError:
    if entry.error is not None:
        if isinstance(entry.error, SebagoError):
            return entry.error
        log.error("index-transaction-failed", exc_info=entry.error)
        return SebagoError("the index transaction failed; the object is not kept as a study yet")
    arrival: _Arrival = entry.note
    assert arrival.recorded is not None
    return _accepted(arrival, Outcome(arrival.recorded.outcome), entry.data_bytes)


def _accepted(arrival: _Arrival, outcome: Outcome, length: int) -> Accepted:
    what = arrival.facts
    return Accepted(
        sop_class_uid=what.sop_class_uid,
        sop_instance_uid=what.sop_instance_uid,
        study_instance_uid=what.study_instance_uid,
        series_instance_uid=what.series_instance_uid,
        outcome=outcome,
        length=length,
    )
