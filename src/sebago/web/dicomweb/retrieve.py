"""WADO-RS: studies, series and instances as DICOM files, and their metadata (PS3.18 10.4).

A study as stored is the hot path: data sets go from the journal to the network with one copy in
between. It is answered with Content-Length, so that a body that ends too early is never taken for a
whole one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.elements import Buffer
from sebago.dicom.part10 import write_meta
from sebago.dicom.transcode import to_explicit_le
from sebago.dicom.uids import EXPLICIT_VR_LE, transfer_syntax
from sebago.errors import NotAcceptable
from sebago.retrieve import Archive, Held
from sebago.web.auth import address_of, asker_of
from sebago.web.dicomweb.accept import (
    DICOM,
    DICOM_JSON,
    MULTIPART,
    ZIP,
    MediaRange,
    Offer,
    choose,
    ranked,
)
from sebago.web.dicomweb.answers import (
    DATA_SETS,
    accepted,
    base_url,
    multipart_type,
    only,
    uid_in_path,
    xml_parts,
)
from sebago.web.dicomweb.multipart import closing, new_boundary, part_head
from sebago.web.dicomweb.zip_stream import ZipStream
from sebago.web.threads import Streamed, Threads

COPIED_BYTES_MAX: Final = 8 * 1024 * 1024
HEADS_MAX: Final = 20_000
"""Up to so many instances their heads are made before the answer begins, for its length."""

INSTANCES: Final = (Offer(MULTIPART, DICOM), Offer(DICOM), Offer(ZIP))


@dataclass(frozen=True, slots=True)
class _Sent:
    """One instance and the transfer syntax in which it goes out."""

    held: Held
    transfer_syntax_uid: str

    @property
    def as_stored(self) -> bool:
        return self.transfer_syntax_uid == self.held.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Retrieve:
    """The resources that give data sets."""

    archive: Archive
    threads: Threads
    public_url: str

    async def instances(self, request: Request) -> Response:
        """`/studies/{study}`, `.../series/{series}`, `.../instances/{instance}`"""
        only(request, frozenset())
        uids = uids_of(request)
        asker = asker_of(request.scope)
        address = address_of(request.scope)
        ranges = accepted(request)
        base = base_url(request, self.public_url)

        def prepare() -> Response:
            held = self.archive.locate(asker, *uids, address=address)
            return self._answer(held, ranges, base)

        return await self.threads.read(prepare)

    async def metadata(self, request: Request) -> Response:
        """`.../metadata` at every level"""
        only(request, frozenset())
        chosen = choose(accepted(request), DATA_SETS)
        if chosen is None:
            raise NotAcceptable(
                "metadata are answered as application/dicom+json, or as "
                'multipart/related; type="application/dicom+xml"'
            )
        as_xml = chosen[0].media_type == MULTIPART
        coded = not as_xml and accepts_gzip(request)
        study, series, instance = uids_of(request)
        found = await self.threads.read(
            self.archive.metadata,
            asker_of(request.scope),
            study,
            series,
            instance,
            base_url=base_url(request, self.public_url),
            gzip=coded,
            address=address_of(request.scope),
        )
        headers = {
            "etag": found.etag,
            "cache-control": "private, no-cache",
            "vary": "Accept, Accept-Encoding, Authorization",
        }
        if matches(request, found.etag):
            return Response(status_code=304, headers=headers)
        if as_xml:
            data_sets = await self.threads.read(lambda: json.loads(b"".join(found.body)))
            return await self.threads.read(xml_parts, data_sets, headers=headers)
        if found.gzip:
            headers["content-encoding"] = "gzip"
        return Streamed(
            found.body, self.threads, media_type=DICOM_JSON, headers=headers, length=found.length
        )

    def _answer(self, held: Sequence[Held], ranges: Sequence[MediaRange], base: str) -> Response:
        """Choose how to answer, by what all of the instances can be given as.

        Raises:
            NotAcceptable: none of them can be given in a form that is accepted.
        """
        best: tuple[Offer, list[_Sent]] | None = None
        offers = INSTANCES if len(held) == 1 else tuple(o for o in INSTANCES if o != Offer(DICOM))
        # A ZIP file is given to those who ask for one, not to those who take anything.
        pairs = [
            (offer, media_range)
            for offer, media_range in ranked(ranges, offers)
            if offer.media_type != ZIP or media_range.media_type == ZIP
        ]
        for offer in dict.fromkeys(offer for offer, _ in pairs):
            wanted = [
                wanted_syntax(media_range, offer) for given, media_range in pairs if given == offer
            ]
            sent = [s for s in (_chosen(item, wanted) for item in held) if s is not None]
            if len(sent) == len(held):
                best = offer, sent
                break
            if sent and best is None:
                best = offer, sent
        if best is None:
            raise NotAcceptable(
                "none of it can be given in a form that the request accepts",
                do='accept multipart/related; type="application/dicom"; transfer-syntax=*',
            )
        offer, sent = best
        left_out = len(held) - len(sent)
        headers: dict[str, str] = {}
        if left_out:
            headers["warning"] = (
                f'299 sebago "{left_out} instances cannot be given in an accepted transfer syntax"'
            )
        status = 206 if left_out else 200
        if offer.media_type == DICOM:
            return self._single(sent[0], base, headers)
        if offer.media_type == ZIP:
            return self._zip(sent, status, headers)
        return self._multipart(sent, base, status, headers)

    def _single(self, sent: _Sent, base: str, headers: dict[str, str]) -> Response:
        headers["content-location"] = location(sent.held, base)
        headers["content-disposition"] = 'attachment; filename="instance.dcm"'
        media_type = f"{DICOM}; transfer-syntax={sent.transfer_syntax_uid}"
        head = self._file_head(sent)
        length = len(head) + sent.held.data_length if sent.as_stored else None
        pieces = self._file(sent, head)
        return Streamed(pieces, self.threads, media_type=media_type, headers=headers, length=length)

    def _multipart(
        self, sent: Sequence[_Sent], base: str, status: int, headers: dict[str, str]
    ) -> Response:
        boundary = new_boundary()
        end = closing(boundary)
        length: int | None = None
        heads: Iterable[tuple[bytes, bytes]]
        heads = (
            (self._part_head(item, boundary, base, first=not n), self._file_head(item))
            for n, item in enumerate(sent)
        )
        if len(sent) <= HEADS_MAX and all(item.as_stored for item in sent):
            heads = list(heads)
            length = (
                sum(len(part) + len(file) for part, file in heads)
                + sum(item.held.data_length for item in sent)
                + len(end)
            )

        def buffers() -> Iterator[Buffer]:
            for item, (part, file) in zip(sent, heads, strict=True):
                yield part
                yield from self._file(item, file)
            yield end

        return Streamed(
            buffers(),
            self.threads,
            status=status,
            media_type=multipart_type(DICOM, boundary),
            headers=headers,
            length=length,
        )

    def _zip(self, sent: Sequence[_Sent], status: int, headers: dict[str, str]) -> Response:
        archive = ZipStream()

        def buffers() -> Iterator[Buffer]:
            for number, item in enumerate(sent, 1):
                file = self._file(item, self._file_head(item))
                yield from archive.entry(f"{number:06d}.dcm", file)
            yield from archive.end()

        headers["content-disposition"] = 'attachment; filename="study.zip"'
        return Streamed(
            buffers(),
            self.threads,
            status=status,
            media_type=ZIP,
            headers=headers,
        )

    def _part_head(self, item: _Sent, boundary: str, base: str, *, first: bool) -> bytes:
        return part_head(
            boundary,
            {
                "Content-Type": f"{DICOM}; transfer-syntax={item.transfer_syntax_uid}",
                "Content-Location": location(item.held, base),
            },
            first=first,
        )

    def _file_head(self, item: _Sent) -> bytes:
        if item.as_stored:
            return self.archive.part10_header(item.held)
        return write_meta(
            item.held.sop_class_uid, item.held.sop_instance_uid, item.transfer_syntax_uid
        )

    def _file(self, item: _Sent, head: bytes) -> Iterator[Buffer]:
        """The buffers of one DICOM file."""
        yield head
        data = data_of(self.archive, item.held)
        if item.as_stored:
            yield data
        else:
            yield to_explicit_le(data, item.held.transfer_syntax_uid)


def data_of(archive: Archive, held: Held) -> bytes | memoryview:
    """The data set as received: a copy if it is short, else mapped.

    A copy is read without holding the interpreter's lock, does not add the journal's pages to this
    process, and a disk that cannot read a page is an error of this request alone.
    """
    if held.data_length <= COPIED_BYTES_MAX:
        return archive.read(held)
    return archive.open(held)


def uids_of(request: Request) -> tuple[str, str | None, str | None]:
    """Study, series and instance of the path, as far as it names them."""
    parameters = request.path_params
    return (
        uid_in_path(request, "study"),
        uid_in_path(request, "series") if "series" in parameters else None,
        uid_in_path(request, "instance") if "instance" in parameters else None,
    )


def wanted_syntax(media_range: MediaRange, offer: Offer) -> str:
    """The transfer syntax that a range asks for: a UID, or `*`, as stored.

    Without the parameter that is Explicit VR Little Endian (PS3.18 8.7.3.5.2), but for a ZIP file,
    which keeps what it holds.
    """
    return media_range.transfer_syntax or ("*" if offer.media_type == ZIP else EXPLICIT_VR_LE)


def _chosen(held: Held, wanted: Sequence[str]) -> _Sent | None:
    """How to send an instance: by the first wanted transfer syntax that it can be given in."""
    stored = held.transfer_syntax_uid
    for syntax in wanted:
        if syntax in ("*", stored):
            return _Sent(held, stored)
        if syntax == EXPLICIT_VR_LE and is_decodable(stored):
            return _Sent(held, EXPLICIT_VR_LE)
    return None


UNDECODABLE: Final = frozenset({"video", "jpip", "unknown"})


def is_decodable(transfer_syntax_uid: str) -> bool:
    """Whether what is stored so can be given in Explicit VR Little Endian."""
    return transfer_syntax(transfer_syntax_uid).codec not in UNDECODABLE


def location(held: Held, base: str) -> str:
    """The URL of an instance."""
    return (
        f"{base}/studies/{held.study_instance_uid}/series/{held.series_instance_uid}"
        f"/instances/{held.sop_instance_uid}"
    )


def accepts_gzip(request: Request) -> bool:
    """Whether Accept-Encoding names gzip with a weight above 0 (RFC 9110 12.5.3)."""
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def matches(request: Request, etag: str) -> bool:
    """Whether If-None-Match names the tag (RFC 9110 13.1.2, weak comparison)."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return bool(given) and ("*" in tags or etag.removeprefix("W/") in tags)
