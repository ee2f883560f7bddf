"""The parts of a STOW-RS body on their way to intake: bytes in, data sets and refusals out.

Pure of HTTP and of threads. A part's bytes are copied once, from the piece in which the network
brought them to where intake keeps a data set that is coming in. Only a part's head is looked at
here, to find where the data set begins behind preamble and file meta information (PS3.10 7.1).
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sebago.dicom.elements import inflate, walk
from sebago.dicom.part10 import FileMeta, parse_part10
from sebago.errors import (
    Mismatch,
    NotDicom,
    SebagoError,
    TooLarge,
    Truncated,
    UnsupportedMediaType,
)
from sebago.intake import Declared, Incoming
from sebago.web.dicomweb.accept import DICOM, OCTETS
from sebago.web.dicomweb.multipart import Found, MultipartScanner, PartBegins, PartEnds

HEAD_BYTES = 16 * 1024
"""Enough of a part for the file meta information that there usually is."""
HEAD_BYTES_MAX = 1024 * 1024
STUDY_BYTES_MAX = 1024 * 1024
"""Where the Study Instance UID is looked for, when the path names the study."""

_STUDY_INSTANCE_UID = 0x0020000D
_TAKEN = frozenset({"", DICOM, OCTETS})
"""Content types of parts: some clients name none, or call everything octets."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A whole part: a data set for intake."""

    number: int
    """Which part of the body it was, from 0."""
    declared: Declared
    incoming: Incoming
    meta: FileMeta
    """What its file meta information says it is; to name it if it is refused."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A part that does not even get to intake, or that intake refused."""

    number: int
    error: SebagoError
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


class PartReader:
    """Takes the pieces of one body, and gives its parts as `arrived` and `refused`.

    One thread at a time. Whoever takes from `arrived` owns the data sets taken.
    """

    def __init__(
        self,
        boundary: str | None,
        open_incoming: Callable[[], Incoming],
        *,
        instance_bytes_max: int,
        study_instance_uid: str = "",
    ) -> None:
        """
        Args:
            boundary: of a multipart body; None: the body is one part.
            open_incoming: intake's way to begin a data set.
            study_instance_uid: the study that the path names; parts of others are refused.
        """
        self._scanner = MultipartScanner(boundary) if boundary is not None else None
        self._open_incoming = open_incoming
        self._instance_bytes_max = instance_bytes_max
        self._study_instance_uid = study_instance_uid
        self._part: _Part | None = None
        self._count = 0
        self.arrived: list[Arrived] = []
        self.arrived_bytes = 0
        self.refused: list[Refused] = []
        if self._scanner is None:
            self._take(PartBegins({"content-type": DICOM}))

    @property
    def parts(self) -> int:
        """Parts begun so far."""
        return self._count

    def feed(self, pieces: deque[bytes], *, parts_max: int, bytes_max: int) -> int:
        """Take pieces off the left until none is left or enough parts have arrived.

        Returns:
            How many bytes were taken.

        Raises:
            BadRequest: the body is not multipart as it says.
        """
        taken = 0
        while pieces and len(self.arrived) < parts_max and self.arrived_bytes < bytes_max:
            piece = pieces.popleft()
            taken += len(piece)
            if self._scanner is None:
                self._take(memoryview(piece))
            else:
                for found in self._scanner.feed(piece):
                    self._take(found)
        return taken

    def end(self, *, whole: bool) -> bool:
        """The body is over. A part that is not at its end by then is refused as cut off.

        Args:
            whole: all bytes came that the client promised.

        Returns:
            Whether the body was complete.
        """
        if self._scanner is None and whole:
            self._take(PartEnds())
            return True
        if whole and self._scanner is not None and self._scanner.finished:
            return True
        if self._part is not None:
            self._part.fail(Truncated("the body ends within this part"))
            self._finish_part()
        return False

    def take(self) -> list[Arrived]:
        """The data sets that have arrived since the last call; the caller's from now on."""
        taken, self.arrived, self.arrived_bytes = self.arrived, [], 0
        return taken

    def abandon(self) -> None:
        """Give everything back that was not taken."""
        if self._part is not None:
            self._part.fail(Truncated("given up"))
            self._part = None
        for item in self.take():
            item.incoming.abandon()

    def _take(self, found: Found) -> None:
        if isinstance(found, memoryview):
            if self._part is not None:
                self._part.write(found)
        elif isinstance(found, PartBegins):
            self._part = _Part(
                self._count,
                found,
                self._open_incoming,
                self._instance_bytes_max,
                self._study_instance_uid,
            )
            self._count += 1
        else:
            self._finish_part()

    def _finish_part(self) -> None:
        part, self._part = self._part, None
        assert part is not None
        result = part.end()
        if isinstance(result, Refused):
            self.refused.append(result)
        else:
            self.arrived.append(result)
            self.arrived_bytes += result.incoming.nbytes


class _Part:
    """One part while it is coming in."""

    def __init__(
        self,
        number: int,
        begins: PartBegins,
        open_incoming: Callable[[], Incoming],
        instance_bytes_max: int,
        study_instance_uid: str,
    ) -> None:
        self._number = number
        self._syntax_said = begins.transfer_syntax
        self._open_incoming = open_incoming
        self._instance_bytes_max = instance_bytes_max
        self._study_instance_uid = study_instance_uid
        self._head: bytearray | None = bytearray()
        self._start = bytearray()
        """First bytes of the data set, kept only where its study must be known."""
        self._incoming: Incoming | None = None
        self._meta = FileMeta("", "", "", "")
        self._error: SebagoError | None = None
        if begins.content_type not in _TAKEN:
            self._error = UnsupportedMediaType(
                f"part {number + 1} is {begins.content_type[:64]!a}, not application/dicom"
            )

    def fail(self, error: SebagoError) -> None:
        """The part is not to be kept, for this reason unless there was one before."""
        self._error = self._error or error
        if self._incoming is not None:
            self._incoming.abandon()
            self._incoming = None
        if self._head:
            with contextlib.suppress(SebagoError):  # so that it can be named in the answer
                self._meta = parse_part10(self._head).meta
        self._head = None

    def write(self, data: memoryview) -> None:
        if self._error is not None:
            return
        try:
            if self._head is None:
                self._keep(data)
            elif not self._head and len(data) >= HEAD_BYTES:
                self._begin(data, final=False)
            else:
                self._head += data
                if len(self._head) >= HEAD_BYTES:
                    self._begin(memoryview(bytes(self._head)), final=False)
        except SebagoError as error:
            self.fail(error)

    def end(self) -> Arrived | Refused:
        try:
            if self._error is None and self._head is not None:
                self._begin(memoryview(bytes(self._head)), final=True)
            if self._error is None and self._study_instance_uid:
                self._check_study()
        except SebagoError as error:
            self.fail(error)
        if self._error is not None or self._incoming is None:
            why = self._error or NotDicom("an empty part")
            return Refused(self._number, why, self._meta.sop_class_uid, self._meta.sop_instance_uid)
        declared = Declared(self._meta.transfer_syntax_uid)
        return Arrived(self._number, declared, self._incoming, self._meta)

    def _begin(self, head: memoryview, *, final: bool) -> None:
        """Find the data set behind the file meta information, and begin to keep it.

        With more to come, a head that ends within the meta information, or so near its end that
        the next element cannot be told, waits for more.
        """
        try:
            found = parse_part10(head)
        except Truncated:
            if final or len(head) > HEAD_BYTES_MAX:
                raise
            self._head = bytearray(head)
            return
        if not final and found.dataset_offset + 8 > len(head) <= HEAD_BYTES_MAX:
            self._head = bytearray(head)
            return
        self._meta = found.meta
        if found.meta.guessed and self._syntax_said not in ("", "*"):
            self._meta = FileMeta(
                self._syntax_said,
                found.meta.sop_class_uid,
                found.meta.sop_instance_uid,
                found.meta.source_ae_title,
            )
        self._head = None
        self._incoming = self._open_incoming()
        self._keep(head[found.dataset_offset :])

    def _keep(self, data: memoryview) -> None:
        incoming = self._incoming
        assert incoming is not None
        if incoming.nbytes + len(data) > self._instance_bytes_max:
            raise TooLarge(
                f"part {self._number + 1} is longer than the {self._instance_bytes_max} bytes "
                "that one instance may have"
            )
        if self._study_instance_uid and len(self._start) < STUDY_BYTES_MAX:
            self._start += data[: STUDY_BYTES_MAX - len(self._start)]
        incoming.write(data)
        if incoming.error is not None:
            raise incoming.error

    def _check_study(self) -> None:
        """Refuse a data set of another study than the path's (PS3.18 10.5.1.1).

        Raises:
            Mismatch: it is of another study, or its study cannot be found.
        """
        found = _study_of(bytes(self._start), self._meta.transfer_syntax_uid)
        if found != self._study_instance_uid:
            raise Mismatch(
                f"part {self._number + 1} is not of the study that the address names",
                do="send it to /studies, or to its own study",
            )


def _study_of(start: bytes, transfer_syntax_uid: str) -> str:
    """The Study Instance UID in the first bytes of a data set; empty if it is not there."""
    try:
        data, syntax = inflate(start, transfer_syntax_uid, bytes_max=STUDY_BYTES_MAX)
        for element in walk(data, syntax):
            if element.depth == 0 and element.tag == _STUDY_INSTANCE_UID:
                end = element.value_offset + max(element.length, 0)
                raw = bytes(data[element.value_offset : end])
                return raw.strip(b" \0").decode("ascii", "replace")
    except SebagoError:
        pass  # what is wrong with it is intake's to say
    return ""


def refusals(items: Iterable[Arrived], error: SebagoError) -> list[Refused]:
    """The same refusal for several data sets, which are given back."""
    refused = []
    for item in items:
        item.incoming.abandon()
        refused.append(
            Refused(item.number, error, item.meta.sop_class_uid, item.meta.sop_instance_uid)
        )
    return refused
