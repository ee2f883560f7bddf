"""STOW-RS: instances come in over HTTP (PS3.18 10.5).

Theory of operation. Three things go on at once, each bounded:

- *receiving*: the event loop takes pieces of the body as the network brings them, up to
  `AHEAD_BYTES` ahead of what is looked at; then it does not read, and the client waits.
- *reading parts*: a storing thread finds the parts in the pieces and copies each to where intake
  keeps what is coming in. A client that sends slowly keeps no thread busy.
- *storing*: whole parts go to intake in groups, one group commit each; `GROUPS_OPEN` of them may be
  on their way, so that the disk is never without work while the next group comes in.

Both limits are shared by the requests of a worker: with several at once each holds less.

What has been stored stays stored, whatever becomes of the rest of the body. An answer is given when
the last group is durable and findable. A part is handed over only when the delimiter behind it was
seen and, for a body of known length, never on the word of that length.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from sebago.errors import (
    BadRequest,
    NotAcceptable,
    SebagoError,
    TryLater,
    UnsupportedMediaType,
)
from sebago.gate import Act, Asker
from sebago.intake import Accepted, Intake, Source
from sebago.registry import Registry
from sebago.web.auth import address_of, asker_of, require
from sebago.web.dicomweb.accept import (
    DICOM,
    DICOM_JSON,
    DICOM_XML,
    MULTIPART,
    OCTETS,
    choose,
    media_type_of,
)
from sebago.web.dicomweb.answers import accepted, base_url, uid_in_path
from sebago.web.dicomweb.multipart import boundary_of
from sebago.web.dicomweb.stow_answer import OFFERS, response_data_set, status_of, write_answer
from sebago.web.dicomweb.stow_metadata import FormReader
from sebago.web.dicomweb.stow_parts import Arrived, PartReader, Refused, refusals
from sebago.web.metrics import RECEIVED_BYTES, STOW_INSTANCES
from sebago.web.threads import Threads

log = structlog.get_logger()

AHEAD_BYTES: Final = 4 * 1024 * 1024
GROUP_BYTES: Final = 16 * 1024 * 1024
GROUP_PARTS: Final = 64
GROUPS_OPEN: Final = 2
REQUESTS_MAX: Final = 32
"""Store requests whose bodies are read at once by a worker; more wait, `WAIT_S` at most."""
WAIT_S: Final = 20.0
BODY_IDLE_TIMEOUT_S: Final = 60.0
"""A body of which nothing comes for this long is cut off."""


class Body:
    """The pieces of a request's body, received ahead of their use."""

    def __init__(self, receive: Receive, ahead_bytes: Callable[[], int]) -> None:
        self._receive = receive
        self._ahead_bytes = ahead_bytes
        self.pieces: deque[bytes] = deque()
        self.waiting_bytes = 0
        self.over = False
        """Nothing more will come."""
        self.whole = False
        """The body came to its end, as its length or last chunk says."""
        self.gone = False
        """The client is gone."""
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.ensure_future(self._run())

    async def some(self) -> bool:
        """Wait until there are pieces; False when there are none and none will come."""
        while not self.pieces and not self.over:
            self._changed.clear()
            await self._changed.wait()
        return bool(self.pieces)

    def used(self, count: int) -> None:
        """So many bytes were taken off `pieces`."""
        self.waiting_bytes -= count
        self._room.set()

    async def close(self) -> None:
        """Stop receiving."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while not self.over:
                async with asyncio.timeout(BODY_IDLE_TIMEOUT_S):
                    message = await self._receive()
                if message["type"] != "http.request":
                    self.gone = True
                    break
                piece = message.get("body", b"")
                if piece:
                    RECEIVED_BYTES.inc(len(piece))
                    self.pieces.append(piece)
                    self.waiting_bytes += len(piece)
                    self._changed.set()
                if not message.get("more_body", False):
                    self.whole = True
                    break
                while self.waiting_bytes > self._ahead_bytes():
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            pass
        finally:
            self.over = True
            self._changed.set()


class Reader(Protocol):
    """What finds instances in a body: by parts, or by metadata and bulk data."""

    refused: list[Refused]

    def feed(self, pieces: deque[bytes], *, parts_max: int, bytes_max: int) -> int: ...

    def end(self, *, whole: bool) -> bool: ...

    def take(self) -> list[Arrived]: ...

    def abandon(self) -> None: ...

    @property
    def arrived(self) -> Sequence[Arrived]: ...

    @property
    def arrived_bytes(self) -> int: ...


class Share:
    """What each of the store requests that are under way may hold."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(REQUESTS_MAX)
        self._open = 0

    async def __aenter__(self) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._slots.acquire()
        except TimeoutError:
            raise TryLater(
                f"{REQUESTS_MAX} store requests are being read already", do="send it again later"
            ) from None
        self._open += 1

    async def __aexit__(self, *_: object) -> None:
        self._open -= 1
        self._slots.release()

    def ahead_bytes(self) -> int:
        """Bytes of a body that may wait to be looked at."""
        return max(AHEAD_BYTES // max(1, self._open), 256 * 1024)

    def group_bytes(self) -> int:
        """Bytes of whole parts that may wait for the rest of their group."""
        return max(GROUP_BYTES // max(1, self._open), 1024 * 1024)

    def groups(self) -> int:
        """Groups that may be on their way."""
        return GROUPS_OPEN if self._open <= 2 else 1


@dataclass(frozen=True, slots=True)
class Stow:
    """The store resource."""

    intake: Intake
    registry: Registry
    threads: Threads
    public_url: str
    instance_bytes_max: int
    share: Share = field(default_factory=Share)

    async def store(self, request: Request) -> Response:
        """POST `/studies` and `/studies/{study}`"""
        asker = asker_of(request.scope)
        require(asker, Act.STORE)
        study = uid_in_path(request, "study") if "study" in request.path_params else ""
        chosen = choose(accepted(request), OFFERS)
        if chosen is None:
            raise NotAcceptable(
                "stores are answered as application/dicom+json or application/dicom+xml"
            )
        source = await self.threads.read(self._source, asker, request)
        reader = self._reader(request, study)
        async with self.share:
            took, refused, whole = await self._run(source, reader, request.receive)
        for item in took:
            STOW_INSTANCES.labels(item.outcome.value).inc()
        STOW_INSTANCES.labels("refused").inc(len(refused))
        status = status_of(took, refused, whole=whole)
        answer = response_data_set(took, refused, base_url(request, self.public_url))
        return write_answer(answer, chosen[0].media_type, status)

    def _source(self, asker: Asker, request: Request) -> Source:
        facility = self.registry.facility(asker.facility)
        address = address_of(request.scope)
        return Source(facility.code, str(facility.authority), "stow", asker.actor, address)

    def _reader(self, request: Request, study: str) -> Reader:
        """What reads this body, by its Content-Type.

        Raises:
            UnsupportedMediaType, BadRequest: nothing does.
        """
        content_type = request.headers.get("content-type", "")
        media_type, _ = media_type_of(content_type)
        boundary: str | None = None
        part = DICOM
        if media_type == MULTIPART:
            part, boundary = boundary_of(content_type)
        elif media_type != DICOM:
            raise UnsupportedMediaType(
                "instances are stored as application/dicom, or as parts of "
                'multipart/related; type="application/dicom"'
            )
        if part in (DICOM_JSON, DICOM_XML) and boundary is not None:
            return FormReader(
                boundary,
                self.intake.incoming,
                form=part,
                instance_bytes_max=self.instance_bytes_max,
                study_instance_uid=study,
            )
        if part not in (DICOM, OCTETS, ""):
            raise UnsupportedMediaType(
                "the parts of a store request are application/dicom, or application/dicom+json or "
                "application/dicom+xml with their bulk data"
            )
        return PartReader(
            boundary,
            self.intake.incoming,
            instance_bytes_max=self.instance_bytes_max,
            study_instance_uid=study,
        )

    async def _run(
        self, source: Source, reader: Reader, receive: Receive
    ) -> tuple[list[Accepted], list[Refused], bool]:
        """Store what the body brings; see the module. Returns what was taken, refused, and whether
        the body was whole."""
        body = Body(receive, self.share.ahead_bytes)
        groups: list[tuple[list[Arrived], asyncio.Future[list[Accepted | SebagoError]]]] = []
        malformed: BadRequest | None = None
        try:
            while await body.some():
                limit = self.share.group_bytes()
                work = partial(reader.feed, body.pieces, parts_max=GROUP_PARTS, bytes_max=limit)
                try:
                    body.used(await self.threads.begin_store(work))
                except BadRequest as error:
                    malformed = error
                    break
                if reader.arrived_bytes >= limit or len(reader.arrived) >= GROUP_PARTS:
                    await self._hand_over(source, reader, groups)
            end = partial(reader.end, whole=body.whole and malformed is None)
            whole = await self.threads.begin_store(end)
            await self._hand_over(source, reader, groups)
            took, refused = await _outcomes(groups)
        finally:
            await body.close()
            reader.abandon()
        refused.extend(reader.refused)
        if malformed is not None and not took:
            raise malformed
        return took, sorted(refused, key=lambda item: item.number), whole

    async def _hand_over(
        self,
        source: Source,
        reader: Reader,
        groups: list[tuple[list[Arrived], asyncio.Future[list[Accepted | SebagoError]]]],
    ) -> None:
        """Give intake what has arrived; waits while too many groups are on their way."""
        items = reader.take()
        if not items:
            return
        open_groups = [future for _, future in groups if not future.done()]
        if len(open_groups) >= self.share.groups():
            await asyncio.wait(open_groups, return_when=asyncio.FIRST_COMPLETED)
        pairs = [(item.declared, item.incoming) for item in items]
        store = partial(self.intake.accept_many, source, pairs)
        groups.append((items, self.threads.begin_store(store)))


async def _outcomes(
    groups: list[tuple[list[Arrived], asyncio.Future[list[Accepted | SebagoError]]]],
) -> tuple[list[Accepted], list[Refused]]:
    took: list[Accepted] = []
    refused: list[Refused] = []
    for items, future in groups:
        try:
            outcomes = await future
        except SebagoError as error:
            refused.extend(refusals(items, error))
            continue
        except Exception:
            # Other groups are stored all the same, and the client must learn which.
            log.exception("group-not-stored", instances=len(items))
            refused.extend(refusals(items, SebagoError("the archive failed to store it")))
            continue
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Accepted):
                took.append(outcome)
            else:
                refused.append(
                    Refused(
                        item.number,
                        outcome,
                        item.meta.sop_class_uid,
                        item.meta.sop_instance_uid,
                    )
                )
    return took, refused
