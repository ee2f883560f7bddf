"""C-MOVE and C-GET: PS3.4 C.4.2, C.4.3. What was asked for goes out as it is stored where the other
side takes that, else as native little endian; what it takes in neither form is counted as failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from sebago.dicom.identifier import read_keys, write_identifier
from sebago.dicom.implicit import to_implicit_le
from sebago.dicom.transcode import to_explicit_le
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.dimse.association import Association
from sebago.dimse.command import CANCELLED, PENDING, SUCCESS, Command
from sebago.dimse.negotiation import Identity
from sebago.dimse.scu import Requestor
from sebago.errors import NotFound, PeerAway, SebagoError
from sebago.gate import Asker
from sebago.registry import Peer
from sebago.retrieve import Archive, Held, Level, Query
from sebago.scp.query import (
    GET_MODELS,
    MOVE_MODELS,
    PATIENT_ID,
    Wanted,
    failed_list,
    wanted,
)

log = structlog.get_logger()

SOME_FAILED: Final = 0xB000
UNABLE: Final = 0xA702
DESTINATION_UNKNOWN: Final = 0xA801
COUNT_MAX: Final = 0xFFFF
"""Counters are US; a study of more instances shows the most that it can."""

PENDING_EVERY_S: Final = 0.5
RESPONSE_TIMEOUT_S: Final = 120.0
"""A destination that does not answer a C-STORE for so long is given up; the asker hears nothing of
progress meanwhile, so it is shorter than what stores of gigabytes may take elsewhere."""
CONTEXTS_MAX: Final = 128

_WARNINGS: Final = frozenset({0xB000, 0xB006, 0xB007, 0x0001, 0x0107, 0x0116})


class _DestinationAway(PeerAway):
    """Not the one who asked, but the one who was to receive."""


class Destination(Protocol):
    """Where instances go: another association (C-MOVE) or this one (C-GET)."""

    def storable(self, sop_class_uid: str) -> Sequence[str]:
        """Transfer syntaxes in which it takes objects of a SOP class."""

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data: memoryview,
    ) -> int:
        """Send one; its status. Raises PeerAway when there is nobody any more."""


@dataclass(slots=True)
class Tally:
    """Sub-operations of one retrieval."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failures: list[str] = field(default_factory=list)

    def count(self, sop_instance_uid: str, status: int | None) -> None:
        """One more is done; None: it could not be sent at all."""
        self.remaining -= 1
        if status == SUCCESS:
            self.completed += 1
        elif status in _WARNINGS:
            self.warning += 1
        else:
            self.failed += 1
            self.failures.append(sop_instance_uid)

    def respond(
        self,
        association: Association,
        command: Command,
        status: int,
        *,
        identifier: bytes | None = None,
    ) -> None:
        """Answer with the counters; Remaining is in pending and cancelled responses only."""
        says_remaining = status in (PENDING, CANCELLED)
        association.respond(
            command,
            status,
            identifier=identifier,
            remaining=min(self.remaining, COUNT_MAX) if says_remaining else None,
            completed=min(self.completed, COUNT_MAX),
            failed=min(self.failed, COUNT_MAX),
            warning=min(self.warning, COUNT_MAX),
        )


def move(
    archive: Archive,
    asker: Asker,
    association: Association,
    command: Command,
    identifier: bytes,
    *,
    destination: Peer | None,
    ae_title: str,
    identity: Identity,
) -> None:
    """Answer one C-MOVE-RQ. `destination` is None where the gate or the registry knows none."""
    keys = read_keys(identifier, command.transfer_syntax_uid)
    what = wanted(keys, MOVE_MODELS[command.sop_class_uid])
    if destination is None or not destination.port:
        association.respond(
            command,
            DESTINATION_UNKNOWN,
            error_comment="Move destination is not registered with host and port",
        )
        return
    held = collect(archive, asker, what)
    tally = Tally(len(held))
    originator = (association.peer.calling_ae_title, command.message_id)
    log.info(
        "move",
        caller=asker.actor,
        destination=destination.ae_title,
        instances=len(held),
    )
    cancelled = False
    for batch in _by_contexts(held):
        before = len(held) - tally.remaining
        try:
            peer = Requestor.connect(
                destination.host,
                destination.port,
                called=destination.ae_title,
                calling=ae_title,
                contexts=_offers(batch),
                identity=identity,
                response_timeout_s=RESPONSE_TIMEOUT_S,
            )
        except SebagoError as error:
            _give_up(batch, tally, destination, error)
            continue
        try:
            with peer:
                target = _Moved(peer, originator)
                cancelled = send(archive, association, command, batch, tally, target)
        except _DestinationAway as error:
            _give_up(batch[len(held) - tally.remaining - before :], tally, destination, error)
        if cancelled:
            break
    _finish(association, command, tally, cancelled=cancelled)


def _give_up(rest: Sequence[Held], tally: Tally, destination: Peer, error: SebagoError) -> None:
    """Count what can no longer be sent as failed."""
    log.warning(
        "move-failed", destination=destination.ae_title, instances=len(rest), why=error.detail
    )
    for one in rest:
        tally.count(one.sop_instance_uid, None)


def get(
    archive: Archive,
    asker: Asker,
    association: Association,
    command: Command,
    identifier: bytes,
) -> None:
    """Answer one C-GET-RQ: sub-operations on the same association."""
    keys = read_keys(identifier, command.transfer_syntax_uid)
    held = collect(archive, asker, wanted(keys, GET_MODELS[command.sop_class_uid]))
    tally = Tally(len(held))
    cancelled = send(archive, association, command, held, tally, association)
    _finish(association, command, tally, cancelled=cancelled)


@dataclass(frozen=True, slots=True)
class _Moved:
    """A requestor as a destination of C-MOVE: names the move originator in each C-STORE."""

    peer: Requestor
    originator: tuple[str, int]

    def storable(self, sop_class_uid: str) -> Sequence[str]:
        return self.peer.storable(sop_class_uid)

    def store(
        self,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        data: memoryview,
    ) -> int:
        return self.peer.store(
            sop_class_uid,
            sop_instance_uid,
            transfer_syntax_uid,
            data,
            move_originator=self.originator,
        )


def collect(archive: Archive, asker: Asker, what: Wanted) -> list[Held]:
    """The instances that are asked for, in the order in which viewers want them.

    What is not there, or not to be seen, is simply not among them: zero sub-operations.
    """
    studies = what.studies
    if what.level is Level.PATIENT:
        query = Query(Level.STUDY, {(PATIENT_ID,): what.patient_id})
        rows = archive.search(asker, query).rows
        studies = tuple(dict.fromkeys(row["0020000D"]["Value"][0] for row in rows))
    held: list[Held] = []
    if not studies:  # series or instances by their UIDs alone
        studies = archive.studies_of(asker, series=what.series, instances=what.instances)
    for study in studies:
        try:
            held += archive.locate(
                asker,
                study,
                series=what.series,
                instances=what.instances,
                patient_id=what.patient_id,
            )
        except NotFound:
            continue
    return held


def send(
    archive: Archive,
    association: Association,
    command: Command,
    held: Sequence[Held],
    tally: Tally,
    destination: Destination,
) -> bool:
    """Send instances one after the other, with pending responses meanwhile; True if cancelled.

    Raises:
        _DestinationAway: the destination went away; what is not counted was not sent.
        PeerAway: whoever asked went away.
    """
    said = 0.0
    for one in held:
        now = time.monotonic()
        if now - said >= PENDING_EVERY_S:
            if association.cancelled(command.message_id) or association.stopping:
                return True
            tally.respond(association, command, PENDING)
            said = now
        tally.count(one.sop_instance_uid, _send_one(archive, one, destination))
    return association.cancelled(command.message_id) if tally.remaining else False


def _send_one(archive: Archive, one: Held, destination: Destination) -> int | None:
    try:
        syntax, data = _form(archive, one, destination.storable(one.sop_class_uid))
        return destination.store(one.sop_class_uid, one.sop_instance_uid, syntax, data)
    except PeerAway as error:
        raise _DestinationAway(error.detail) from error
    except SebagoError as error:
        log.warning(
            "not-sent", sop_instance_uid=one.sop_instance_uid, code=error.code, why=error.detail
        )
        return None


def _form(archive: Archive, one: Held, takes: Sequence[str]) -> tuple[str, memoryview]:
    """The transfer syntax and bytes in which an instance can go.

    Raises:
        NotSupported: its pixel data cannot be decoded; or the destination takes nothing of it.
    """
    data = archive.open(one)
    if one.transfer_syntax_uid in takes or not takes:
        return one.transfer_syntax_uid, data
    if EXPLICIT_VR_LE in takes or IMPLICIT_VR_LE not in takes:
        return EXPLICIT_VR_LE, memoryview(to_explicit_le(data, one.transfer_syntax_uid))
    return IMPLICIT_VR_LE, memoryview(to_implicit_le(data, one.transfer_syntax_uid))


def _by_contexts(held: Sequence[Held]) -> Iterator[Sequence[Held]]:
    """Runs of instances whose contexts fit one proposal; almost always one run."""
    run: list[Held] = []
    kinds: set[tuple[str, str]] = set()
    classes: set[str] = set()
    for one in held:
        kind = (one.sop_class_uid, one.transfer_syntax_uid)
        new = len(kinds | {kind}) + 2 * len(classes | {one.sop_class_uid})
        if run and new > CONTEXTS_MAX:
            yield run
            run, kinds, classes = [], set(), set()
        run.append(one)
        kinds.add(kind)
        classes.add(one.sop_class_uid)
    if run:
        yield run


def _offers(batch: Sequence[Held]) -> list[tuple[str, list[str]]]:
    """Per SOP class: each stored transfer syntax in a context alone, and so the native ones."""
    kinds = dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in batch)
    offers = [(sop_class, [syntax]) for sop_class, syntax in kinds]
    for sop_class in dict.fromkeys(sop_class for sop_class, _ in kinds):
        for native in (EXPLICIT_VR_LE, IMPLICIT_VR_LE):
            if (sop_class, native) not in kinds and len(offers) < CONTEXTS_MAX:
                offers.append((sop_class, [native]))
    return offers


def _finish(association: Association, command: Command, tally: Tally, *, cancelled: bool) -> None:
    """The final response: 0000 all, B000 some, A702 none, FE00 cancelled (PS3.4 C.4.2.1.5)."""
    if cancelled and tally.remaining:
        status = CANCELLED
    elif not tally.failed:
        status = SOME_FAILED if tally.warning else SUCCESS
    else:
        status = SOME_FAILED if tally.completed or tally.warning else UNABLE
    identifier = None
    if tally.failures:
        identifier = write_identifier(failed_list(tally.failures), command.transfer_syntax_uid)
    tally.respond(association, command, status, identifier=identifier)
