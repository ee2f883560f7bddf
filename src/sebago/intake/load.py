"""Loading files from media: each candidate through `Intake.accept`, several at a time.

Tolerant of what real discs hold: no preamble, no file meta, viewers and text around the images.
What is no DICOM is skipped, what is DICOM and cannot be kept is refused with its reason. Loading is
safe to interrupt and to repeat: what is already there is said to be so, in no time.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from sebago.dicom.part10 import Part10, parse_part10
from sebago.dicom.uids import transfer_syntax
from sebago.errors import Inflated, NotDicom, SebagoError, Truncated, TryLater
from sebago.intake.accept import Intake
from sebago.intake.media import Candidate, candidates, reading
from sebago.intake.sources import Accepted, Declared, Outcome, Source

HEAD_BYTES = 64 * 1024
"""Enough for a preamble and file meta information."""
THREADS = 4
"""Several at a time share one sync of the journal."""

MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of one candidate."""

    label: str
    size: int
    verdict: Literal["stored", "already", "version", "refused", "skipped"]
    accepted: Accepted | None = None
    code: str = ""
    detail: str = ""


@dataclass(slots=True)
class Loaded:
    """The sum of a load."""

    stored: int = 0
    versions: int = 0
    already: int = 0
    stored_bytes: int = 0
    already_bytes: int = 0
    refused: list[Tried] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    studies: dict[str, None] = field(default_factory=dict)
    """Study Instance UIDs in the order in which they turned up."""
    interrupted: bool = False
    stopped_by: TryLater | None = None
    """Why the archive could take no more (disk full): what is counted here is kept all the same."""

    def add(self, tried: Tried) -> None:
        """Count one candidate in."""
        if tried.verdict == "refused":
            self.refused.append(tried)
        elif tried.verdict == "skipped":
            self.skipped.append(tried.label)
        elif tried.accepted is not None:
            self.studies[tried.accepted.study_instance_uid] = None
            if tried.verdict == "already":
                self.already += 1
                self.already_bytes += tried.accepted.length
            else:
                self.stored += 1
                self.versions += tried.verdict == "version"
                self.stored_bytes += tried.accepted.length


def load(
    intake: Intake,
    source: Source,
    paths: Sequence[Path],
    *,
    inflate_max: int,
    progress: Callable[[Tried], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> Loaded:
    """Load all files at and below the paths.

    Args:
        inflate_max: most bytes that one zip entry or gzip file may grow to.
        progress: called for each candidate when its fate is known, from one thread at a time.
        stop: when set, files under way are finished and the sum so far is returned.
    """
    loaded = Loaded()
    stop = stop or threading.Event()
    things = _shared(candidates(paths, inflate_max=inflate_max))
    lock = threading.Lock()

    def work() -> None:
        while not stop.is_set():
            candidate = next(things, None)
            if candidate is None:
                return
            try:
                tried = try_one(intake, source, candidate, inflate_max=inflate_max)
            except TryLater as full:
                stop.set()
                loaded.stopped_by = full
                return
            with lock:
                loaded.add(tried)
                progress(tried)

    with ThreadPoolExecutor(THREADS, "load") as pool:
        for worker in [pool.submit(work) for _ in range(THREADS)]:
            try:
                worker.result()
            except BaseException:
                stop.set()
                raise
    loaded.interrupted = stop.is_set() and loaded.stopped_by is None
    return loaded


def _shared(things: Iterator[Candidate]) -> Iterator[Candidate]:
    """The same iterator, safe for several threads."""
    lock = threading.Lock()

    class Shared:
        def __iter__(self) -> Iterator[Candidate]:
            return self

        def __next__(self) -> Candidate:
            with lock:
                return next(things)

    return Shared()


def try_one(intake: Intake, source: Source, candidate: Candidate, *, inflate_max: int) -> Tried:
    """One candidate: stored, already there, refused or skipped. Raises only TryLater."""

    def verdict(word: Literal["refused", "skipped"], code: str = "", detail: str = "") -> Tried:
        return Tried(candidate.label, candidate.size, word, None, code, detail)

    is_file = False
    try:
        with ExitStack() as stack:
            with reading():
                file = stack.enter_context(candidate.open())
            head = _read(file, HEAD_BYTES)
            is_file = head[128:132] == b"DICM" or head[:4] == b"DICM"
            try:
                parsed = parse_part10(head)
            except NotDicom:
                if is_file:
                    raise
                return verdict("skipped")
            if parsed.meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
                return verdict("skipped")
            if not is_file and not _begins_a_data_set(head, parsed):
                return verdict("skipped")
            limit = inflate_max if candidate.inflates else None
            accepted = _accept(intake, source, file, head, parsed, limit)
    except TryLater:
        raise
    except Truncated as error:
        return verdict("refused", error.code, f"{error.detail}: copy it again from its source")
    except NotDicom as error:
        if not is_file:  # it only looked like a data set
            return verdict("skipped")
        return verdict("refused", error.code, error.detail)
    except SebagoError as error:
        return verdict("refused", error.code, error.detail)
    word = {Outcome.STORED: "stored", Outcome.ALREADY: "already", Outcome.VERSION: "version"}
    return Tried(candidate.label, candidate.size, word[accepted.outcome], accepted)  # type: ignore[arg-type]


def _begins_a_data_set(head: bytes, parsed: Part10) -> bool:
    """Whether a file that does not say so is DICOM.

    Text, whose fifth and sixth character happen to be a VR, is not: what can be kept has a SOP
    Class UID, so its first element is of group 0002, which is meta information, or 0008. And the
    second follows the first.
    """
    if parsed.dataset_offset > 0 or not parsed.meta.guessed:
        return True
    syntax = transfer_syntax(parsed.meta.transfer_syntax_uid)
    order = "<" if syntax.little_endian else ">"
    at = parsed.dataset_offset
    before = 0
    for _ in range(2):
        if len(head) < at + 8:
            return before > 0
        group, number = struct.unpack_from(f"{order}HH", head, at)
        if group << 16 | number <= before or group != 0x0008:
            return before > 0 and group > 0x0008
        before = group << 16 | number
        size = "H" if syntax.explicit else "I"
        (length,) = struct.unpack_from(order + size, head, at + 6 if syntax.explicit else at + 4)
        at += 8 + length  # the few long VRs of group 0008 come later
    return True


def _accept(
    intake: Intake,
    source: Source,
    file: IO[bytes],
    head: bytes,
    parsed: Part10,
    limit: int | None,
) -> Accepted:
    """Feed the data set, after its meta information, into the way in."""
    incoming = intake.incoming()
    taken = 0
    try:
        piece: bytes | memoryview = memoryview(head)[parsed.dataset_offset :]
        while len(piece):
            room = incoming.room(len(piece))
            count = min(len(room), len(piece))
            room[:count] = piece[:count]
            incoming.filled(count)
            taken += count
            piece = piece[count:]
            if limit is not None and taken > limit:
                raise Inflated(f"it grows past {limit} bytes when unpacked")
            if not len(piece):
                with reading():
                    piece = file.read(1 << 20)
    except BaseException:
        incoming.abandon()
        raise
    return intake.accept(source, Declared(parsed.meta.transfer_syntax_uid), incoming)


def _read(file: IO[bytes], count: int) -> bytes:
    """Up to `count` bytes; fewer only at the end."""
    pieces = []
    while count > 0:
        with reading():
            piece = file.read(count)
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
