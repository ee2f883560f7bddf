"""WADO-RS: bulk data, what the BulkDataURIs of the metadata lead to (PS3.18 10.4.1.1.5).

A value as stored, in little endian. Pixel data that are compressed come frame by frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.bulk import bulk_bytes, find_bulk
from sebago.dicom.elements import inflate
from sebago.dicom.frames import Frames
from sebago.errors import NotAcceptable
from sebago.retrieve import Archive, Held
from sebago.web.auth import address_of, asker_of
from sebago.web.dicomweb.accept import MULTIPART, OCTETS, MediaRange, Offer, choose
from sebago.web.dicomweb.answers import accepted, base_url, multipart_type, only
from sebago.web.dicomweb.frames import form_of_frames, frame_parts, one_frame, part_type
from sebago.web.dicomweb.multipart import closing, new_boundary, part_head
from sebago.web.dicomweb.ranges import byte_range
from sebago.web.dicomweb.retrieve import data_of, location, matches, uids_of
from sebago.web.threads import Streamed, Threads

OFFERS: Final = (Offer(OCTETS), Offer(MULTIPART, OCTETS))


@dataclass(frozen=True, slots=True)
class BulkData:
    """`.../instances/{instance}/bulk/{path}`"""

    archive: Archive
    threads: Threads
    public_url: str

    async def bulk(self, request: Request) -> Response:
        """One binary value."""
        only(request, frozenset())
        uids = uids_of(request)
        ranges = accepted(request)
        asker, address = asker_of(request.scope), address_of(request.scope)

        def answer() -> Response:
            held = self.archive.locate(asker, *uids, address=address)[0]
            return self._answer(request, held, ranges)

        return await self.threads.read(answer)

    def _answer(self, request: Request, held: Held, ranges: list[MediaRange]) -> Response:
        path: str = request.path_params["bulk"].upper()
        where = f"{location(held, base_url(request, self.public_url))}/bulk/{path}"
        data = data_of(self.archive, held)
        plain, plain_uid = inflate(data, held.transfer_syntax_uid)
        if find_bulk(plain, plain_uid, path).length < 0:
            return self._frames(Frames(data, held.transfer_syntax_uid), held, ranges, where)
        etag = f'"{held.digest.hex()[:32]}"'
        headers = {"etag": etag, "content-location": where, "accept-ranges": "bytes"}
        if matches(request, etag):
            return Response(status_code=304, headers=headers)
        value = bulk_bytes(plain, plain_uid, path)
        chosen = choose(ranges, OFFERS)
        if chosen is None:
            raise NotAcceptable("bulk data are given as application/octet-stream")
        if chosen[0].media_type == MULTIPART:
            boundary = new_boundary()
            part = {"Content-Type": OCTETS, "Content-Location": where}
            head, end = part_head(boundary, part, first=True), closing(boundary)
            return Streamed(
                iter((head, value, end)),
                self.threads,
                media_type=multipart_type(OCTETS, boundary),
                length=len(head) + len(value) + len(end),
            )
        size = len(value)
        status = 200
        part_of = byte_range(request.headers.get("range"), size)
        if part_of is not None:
            start, end_at = part_of
            if start >= size:
                headers["content-range"] = f"bytes */{size}"
                return Response(status_code=416, headers=headers)
            headers["content-range"] = f"bytes {start}-{end_at - 1}/{size}"
            value = memoryview(value)[start:end_at]
            status = 206
        headers["content-disposition"] = "attachment"
        return Streamed(
            iter((value,)),
            self.threads,
            status=status,
            media_type=OCTETS,
            headers=headers,
            length=len(value),
        )

    def _frames(self, frames: Frames, held: Held, ranges: list[MediaRange], where: str) -> Response:
        """Compressed pixel data: a part for each frame; a single frame may go alone."""
        count = len(frames)
        form = form_of_frames(ranges, held.transfer_syntax_uid, count=count)
        if not form.multipart:
            return Response(bytes(one_frame(frames, 0, form)), media_type=part_type(form))
        boundary = new_boundary()
        parts = frame_parts(frames, range(1, count + 1), form, boundary, where)
        return Streamed(
            parts,
            self.threads,
            media_type=multipart_type(form.media_type, boundary),
        )
