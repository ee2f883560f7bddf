"""WADO-RS: frames of an instance (PS3.18 10.4.1.1.4).

They go out as stored, in the media type that the standard pairs with their transfer syntax, or
decoded, as octets in little endian.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.codecs import native_frame
from sebago.dicom.elements import Buffer
from sebago.dicom.frames import Frames
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.errors import BadRequest, NotAcceptable, NotFound
from sebago.gate import Asker
from sebago.retrieve import Archive
from sebago.web.auth import address_of, asker_of
from sebago.web.dicomweb.accept import MULTIPART, OCTETS, MediaRange, Offer, ranked
from sebago.web.dicomweb.answers import accepted, base_url, multipart_type, only
from sebago.web.dicomweb.media_types import media_type_of_frames
from sebago.web.dicomweb.multipart import closing, new_boundary, part_head
from sebago.web.dicomweb.retrieve import data_of, is_decodable, location, uids_of
from sebago.web.threads import Streamed, Threads

FRAMES_MAX: Final = 10_000
"""Frames that one request may list."""
AT_ONCE_MAX: Final = 4
"""So many frames are put together before the answer begins: one thread, one message."""

_NUMBER: Final = re.compile(r"0*([1-9][0-9]{0,8})\Z")


@dataclass(frozen=True, slots=True)
class Form:
    """In what form frames go out."""

    media_type: str
    transfer_syntax_uid: str
    decoded: bool
    multipart: bool


@dataclass(frozen=True, slots=True)
class FrameResources:
    """`.../instances/{instance}/frames/{frames}`"""

    archive: Archive
    threads: Threads
    public_url: str

    async def frames(self, request: Request) -> Response:
        """The frames that the path lists, in that order."""
        only(request, frozenset())
        uids = uids_of(request)
        numbers = frame_numbers(request.path_params["frames"])
        ranges = accepted(request)
        base = base_url(request, self.public_url)
        asker, address = asker_of(request.scope), address_of(request.scope)
        return await self.threads.read(self._answer, asker, address, uids, numbers, ranges, base)

    def _answer(
        self,
        asker: Asker,
        address: str,
        uids: tuple[str, str | None, str | None],
        numbers: Sequence[int],
        ranges: Sequence[MediaRange],
        base: str,
    ) -> Response:
        held = self.archive.locate(asker, *uids, address=address)[0]
        frames = Frames(data_of(self.archive, held), held.transfer_syntax_uid)
        if max(numbers) > len(frames):
            raise NotFound(f"the instance has {len(frames)} frames")
        form = form_of_frames(ranges, held.transfer_syntax_uid, count=len(numbers))
        where = f"{location(held, base)}/frames"
        if not form.multipart:
            body = bytes(one_frame(frames, numbers[0] - 1, form))
            headers = {"content-location": f"{where}/{numbers[0]}"}
            return Response(body, headers=headers, media_type=part_type(form))
        boundary = new_boundary()
        media_type = multipart_type(form.media_type, boundary)
        buffers = frame_parts(frames, numbers, form, boundary, where)
        if len(numbers) <= AT_ONCE_MAX:
            return Response(b"".join(buffers), media_type=media_type)
        return Streamed(buffers, self.threads, media_type=media_type)


def frame_numbers(text: str) -> list[int]:
    """Frame numbers of a path, from 1: `1`, `3,1,2`.

    Raises:
        BadRequest: something else, or more than `FRAMES_MAX`.
    """
    parts = text.split(",")
    if len(parts) > FRAMES_MAX:
        raise BadRequest(f"more than {FRAMES_MAX} frames in one request")
    matches = [_NUMBER.match(part.strip()) for part in parts]
    numbers = [int(match.group(1)) for match in matches if match is not None]
    if len(numbers) != len(parts):
        raise BadRequest("frames are numbered from 1, and separated by commas")
    return numbers


def form_of_frames(ranges: Sequence[MediaRange], stored: str, *, count: int) -> Form:
    """The form of frames that the client likes best (PS3.18 8.7.3.3).

    Octets without a transfer syntax are decoded frames; with `*` they are frames as stored, which
    is how viewers ask that find the decoder by the part's Content-Type.

    Args:
        stored: transfer syntax of the instance.
        count: how many frames are asked for; only one can go without multipart.

    Raises:
        NotAcceptable: frames of this transfer syntax cannot be given in a form that is accepted.
    """
    media = media_type_of_frames(stored)
    kinds = [OCTETS] if media == OCTETS else [OCTETS, media]
    offers = [Offer(MULTIPART, kind.lower()) for kind in kinds]
    if count == 1:
        offers += [Offer(kind.lower()) for kind in kinds]
    for offer, media_range in ranked(ranges, offers):
        multipart = offer.media_type == MULTIPART
        wanted = media_range.transfer_syntax
        if (offer.part or offer.media_type) != OCTETS:
            if wanted in (None, "*", stored):
                return Form(media, stored, decoded=False, multipart=multipart)
        elif wanted in (None, EXPLICIT_VR_LE, IMPLICIT_VR_LE):
            if is_decodable(stored):
                return Form(OCTETS, EXPLICIT_VR_LE, decoded=True, multipart=multipart)
        elif wanted == stored or (
            wanted == "*" and (media_range.media_type != "*/*" or media == OCTETS)
        ):
            return Form(OCTETS, stored, decoded=False, multipart=multipart)
    raise NotAcceptable(
        f"frames stored in {stored} cannot be given in a form that the request accepts",
        do='accept multipart/related; type="application/octet-stream"; transfer-syntax=*',
    )


def part_type(form: Form) -> str:
    """Content-Type of one frame."""
    return f"{form.media_type}; transfer-syntax={form.transfer_syntax_uid}"


def one_frame(frames: Frames, index: int, form: Form) -> Buffer:
    """The bytes of one frame; `index` from 0.

    Decoded frames have their colours as Planar Configuration (0028,0006) says in the metadata, by
    pixel or by plane, since that is what a viewer reads them by.
    """
    frame = frames.frame(index)
    description = frames.description
    if not form.decoded or not description.syntax.encapsulated:
        return frame
    native, _ = native_frame(frame, description)
    if description.planar and description.bits_allocated in (8, 16):
        shape = (description.rows * description.columns, description.samples)
        samples = np.frombuffer(native, f"<u{description.bits_allocated // 8}").reshape(shape)
        return samples.T.tobytes()
    return native


def frame_parts(
    frames: Frames, numbers: Sequence[int], form: Form, boundary: str, where: str
) -> Iterator[Buffer]:
    """The buffers of a multipart answer of frames."""
    for place, number in enumerate(numbers):
        yield part_head(
            boundary,
            {"Content-Type": part_type(form), "Content-Location": f"{where}/{number}"},
            first=place == 0,
        )
        yield one_frame(frames, number - 1, form)
    yield closing(boundary)
