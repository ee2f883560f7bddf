"""`verify`: every instance that the index knows lies in the journal as it was received.

Each row, of every version, is compared with the record it names: that is there, with the row's
length and digest in its checked header. Deep: every byte is read again and compared with its
digest, then the journal by itself, so that damage to what no row names is found too, and a record
that was indexed once and that no row holds any more.

What is damaged is one finding, however many comparisons it fails.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sebago.errors import Damaged
from sebago.index.engine import Index
from sebago.index.instances import Held, every
from sebago.index.segments import watermarks
from sebago.journal import Finding, Position, Reader, Replayed, What, check

PAGE = 1000


@dataclass(slots=True)
class Verified:
    """What was compared, and one line for each thing that is not as it should be."""

    instances: int = 0
    bytes: int = 0
    findings: list[str] = field(default_factory=list)


def verify(index: Index, journal_dir: Path, *, deep: bool) -> Verified:
    """Compare; may run beside a working server."""
    verified = Verified()
    damaged: list[Position] = []
    digests: set[bytes] = set()
    with index.read() as conn:  # before the rows: what is indexed meanwhile is not missed below
        known = watermarks(conn)
    reader = Reader(journal_dir)
    try:
        for held in _all(index):
            verified.instances += 1
            verified.bytes += held.data_length
            if deep:
                digests.add(held.digest)
            position = Position(
                held.writer,
                held.segment,
                held.data_offset,
                held.data_length,
                held.data_offset + held.data_length,
            )
            try:
                if deep:
                    reader.verify(position, held.digest)
                elif reader.digest(position) != held.digest:
                    raise Damaged(
                        f"journal record {held.writer}/{held.segment} is of another content"
                    )
            except Damaged as error:
                damaged.append(position)
                verified.findings.append(
                    f"damaged: {held.facility} {held.sop_instance_uid} "
                    f"version {held.version}: {error.detail}"
                )
    finally:
        reader.close()
    if deep:
        _check_journal(journal_dir, known, verified, damaged, digests)
    return verified


def _check_journal(
    journal_dir: Path,
    known: Mapping[tuple[str, int], int],
    verified: Verified,
    damaged: Sequence[Position],
    digests: Collection[bytes],
) -> None:
    """The journal by itself: torn tails are what a crash leaves, everything else is a finding.

    A record below its segment's watermark whose content no row holds was lost from the index, or its
    sender was told to try again and never did.
    """
    named = {(one.writer, one.segment, one.offset) for one in damaged}

    def found(finding: Finding) -> None:
        if finding.what is What.DAMAGE and not any(
            writer == finding.writer
            and segment == finding.segment
            and finding.start <= offset < finding.end
            for writer, segment, offset in named
        ):
            verified.findings.append(f"damaged: {finding}")

    def each(record: Replayed) -> None:
        at = record.position
        if at.end <= known.get((at.writer, at.segment), 0) and record.digest not in digests:
            verified.findings.append(
                f"not indexed: journal record {at.writer}/{at.segment} at {at.record}, received "
                f"{record.received_us}: make the index anew (sebago reindex into an empty one)"
            )

    check(journal_dir, known, found=found, each=each)


def _all(index: Index) -> Iterator[Held]:
    last = 0
    while True:
        with index.read() as conn:
            page = every(conn, after_id=last, limit=PAGE)
        if not page:
            return
        yield from page
        last = page[-1].instance_id
