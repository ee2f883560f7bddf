"""WADO-RS: rendered images and thumbnails, at every level (PS3.18 10.4.1.1.3, 8.3.5).

An instance is rendered by its first frame, a series or study by an instance from its middle, or, as
multipart, by all of its instances. Documents and video are given as they are. A thumbnail always
gives something: where nothing can be shown, a grey square.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.document import encapsulated_document
from sebago.dicom.elements import Buffer
from sebago.dicom.frames import Frames
from sebago.dicom.render import (
    MEDIA_TYPES,
    RenderRequest,
    parse_quality,
    parse_viewport,
    parse_window,
    render,
    thumbnail,
)
from sebago.dicom.uids import transfer_syntax
from sebago.errors import BadRequest, NotAcceptable, NotFound, SebagoError
from sebago.retrieve import Archive, Held
from sebago.web.auth import address_of, asker_of
from sebago.web.dicomweb.accept import MULTIPART, MediaRange, Offer, choose
from sebago.web.dicomweb.answers import accepted, base_url, multipart_type, only
from sebago.web.dicomweb.frames import frame_numbers
from sebago.web.dicomweb.media_types import media_type_of_frames
from sebago.web.dicomweb.multipart import closing, new_boundary, part_head
from sebago.web.dicomweb.retrieve import data_of, location, matches, uids_of
from sebago.web.threads import Streamed, Threads

PARAMETERS: Final = frozenset({"window", "viewport", "quality", "annotation", "iccprofile"})
THUMBNAIL_PARAMETERS: Final = frozenset({"viewport"})
TRIED_MAX: Final = 3
"""Instances of a series that are tried for a thumbnail before the grey square."""

_ANNOTATIONS: Final = frozenset({"patient", "technique"})
_PROFILES: Final = frozenset({"no", "yes", "srgb", "adobergb", "rommrgb", "displayp3"})
_IMAGES: Final = tuple(Offer(media_type) for media_type in MEDIA_TYPES)
_PARTS: Final = tuple(Offer(MULTIPART, media_type) for media_type in MEDIA_TYPES)


@dataclass(frozen=True, slots=True)
class Rendered:
    """`.../rendered` and `.../thumbnail`"""

    archive: Archive
    threads: Threads
    public_url: str

    async def rendered(self, request: Request) -> Response:
        """`/rendered` of a study, a series, an instance or frames of it"""
        parameters = only(request, PARAMETERS)
        asked = RenderRequest(
            window=parse_window(parameters["window"]) if "window" in parameters else None,
            viewport=parse_viewport(parameters["viewport"]) if "viewport" in parameters else None,
            quality=parse_quality(parameters["quality"]) if "quality" in parameters else None,
        )
        warning = _not_done(parameters)
        response = await self._answered(
            request, lambda held, ranges, base: self._rendered(request, held, ranges, base, asked)
        )
        if warning:
            response.headers["warning"] = warning
        return response

    async def thumbnail(self, request: Request) -> Response:
        """`/thumbnail` of a study, a series, an instance or a frame"""
        parameters = only(request, THUMBNAIL_PARAMETERS)
        viewport = parse_viewport(parameters["viewport"]) if "viewport" in parameters else None
        size: int | tuple[int, int] = 256
        if viewport is not None:
            sides = [side for side in (viewport.width, viewport.height) if side is not None]
            if sides:
                size = (viewport.width or sides[0], viewport.height or sides[0])
        return await self._answered(
            request, lambda held, ranges, base: self._thumbnail(request, held, ranges, size)
        )

    async def _answered(
        self,
        request: Request,
        answer: Callable[[list[Held], list[MediaRange], str], Response],
    ) -> Response:
        uids = uids_of(request)
        ranges = accepted(request)
        base = base_url(request, self.public_url)
        asker, address = asker_of(request.scope), address_of(request.scope)
        return await self.threads.read(
            lambda: answer(self.archive.locate(asker, *uids, address=address), ranges, base)
        )

    def _rendered(
        self,
        request: Request,
        held: list[Held],
        ranges: list[MediaRange],
        base: str,
        asked: RenderRequest,
    ) -> Response:
        alone: tuple[Held, int] | None
        if "frames" in request.path_params:
            wanted = [(held[0], n) for n in frame_numbers(request.path_params["frames"])]
            frames = Frames(data_of(self.archive, held[0]), held[0].transfer_syntax_uid)
            if max(n for _, n in wanted) > len(frames):
                raise NotFound(f"the instance has {len(frames)} frames")
            alone = wanted[0] if len(wanted) == 1 else None
        else:
            if "instance" in request.path_params:
                as_it_is = self._as_it_is(held[0], ranges)
                if as_it_is is not None:
                    return as_it_is
            wanted = [(one, 1) for one in held]
            images = [(one, 1) for one in held if one.rows] or wanted
            alone = images[len(images) // 2]
        offers = _PARTS if alone is None else (*_IMAGES, *_PARTS)
        chosen = choose(ranges, offers)
        if chosen is None:
            raise NotAcceptable(f"images are rendered as {', '.join(MEDIA_TYPES)}")
        media_type = chosen[0].part or chosen[0].media_type
        asked = RenderRequest(media_type, asked.window, asked.viewport, asked.quality)
        if chosen[0].media_type == MULTIPART:
            return self._all(wanted, asked, base)
        assert alone is not None
        one, number = alone
        etag = _etag(one, number, request, media_type)
        headers = {"etag": etag, "content-location": f"{location(one, base)}/frames/{number}"}
        if matches(request, etag):
            return Response(status_code=304, headers=headers)
        image = render(data_of(self.archive, one), one.transfer_syntax_uid, number, asked)
        return Response(image, media_type=media_type, headers=headers)

    def _all(self, wanted: Sequence[tuple[Held, int]], asked: RenderRequest, base: str) -> Response:
        """Every instance or frame as a part; what holds no image is left out.

        Raises:
            NotFound: none holds one.
        """
        boundary = new_boundary()

        def buffers() -> Iterator[Buffer]:
            first = True
            for one, number in wanted:
                try:
                    data = data_of(self.archive, one)
                    image = render(data, one.transfer_syntax_uid, number, asked)
                except SebagoError:
                    if len(wanted) == 1:
                        raise
                    continue
                where = f"{location(one, base)}/frames/{number}"
                part = {"Content-Type": asked.media_type, "Content-Location": where}
                yield part_head(boundary, part, first=first)
                yield image
                first = False
            if first:
                raise NotFound("there are no images in it")
            yield closing(boundary)

        return Streamed(
            buffers(),
            self.threads,
            media_type=multipart_type(asked.media_type, boundary),
        )

    def _as_it_is(self, held: Held, ranges: list[MediaRange]) -> Response | None:
        """A document or a video, in the media type that it has; None for everything else.

        Raises:
            NotAcceptable: that media type is not accepted.
        """
        if transfer_syntax(held.transfer_syntax_uid).codec == "video":
            media_type = media_type_of_frames(held.transfer_syntax_uid)
            frames = Frames(data_of(self.archive, held), held.transfer_syntax_uid)
            content: Buffer = frames.frame(0)
        elif held.rows is None:
            try:
                media_type, content = encapsulated_document(
                    data_of(self.archive, held), held.transfer_syntax_uid
                )
            except NotFound:
                return None
        else:
            return None
        if choose(ranges, (Offer(media_type.lower()),)) is None:
            raise NotAcceptable(f"this instance is rendered as {media_type}")
        return Streamed(
            iter((content,)),
            self.threads,
            media_type=media_type,
            length=len(content),
            headers={"content-disposition": "attachment"},
        )

    def _thumbnail(
        self,
        request: Request,
        held: list[Held],
        ranges: list[MediaRange],
        size: int | tuple[int, int],
    ) -> Response:
        chosen = choose(ranges, _IMAGES)
        if chosen is None:
            raise NotAcceptable(f"thumbnails are {', '.join(MEDIA_TYPES)}")
        media_type = chosen[0].media_type
        frame: int | None = None
        if "frames" in request.path_params:
            frame = frame_numbers(request.path_params["frames"])[0]
        candidates = [one for one in held if one.rows] or held
        middle = len(candidates) // 2
        for one in (candidates[middle:] + candidates[:middle])[:TRIED_MAX]:
            etag = _etag(one, frame or 0, request, media_type)
            headers = {"etag": etag}
            if matches(request, etag):
                return Response(status_code=304, headers=headers)
            data = data_of(self.archive, one)
            try:
                if frame is None:
                    image = thumbnail(data, one.transfer_syntax_uid, size, media_type=media_type)
                else:
                    image = render(data, one.transfer_syntax_uid, frame, _small(size, media_type))
            except NotFound:
                if frame is not None:
                    raise
            except SebagoError:
                pass
            else:
                return Response(image, media_type=media_type, headers=headers)
        return Response(grey_square(size), media_type="image/png")


def grey_square(size: int | tuple[int, int]) -> bytes:
    """What stands for an instance without a picture, as PNG."""
    width, height = (size, size) if isinstance(size, int) else size
    shape = (max(1, min(height, 512)), max(1, min(width, 512)))
    return bytes(imagecodecs.png_encode(np.full(shape, 96, np.uint8)))


def _small(size: int | tuple[int, int], media_type: str) -> RenderRequest:
    width, height = (size, size) if isinstance(size, int) else size
    return RenderRequest(media_type, viewport=parse_viewport(f"{width},{height}"))


def _etag(held: Held, number: int, request: Request, media_type: str) -> str:
    """A tag for one way of showing one frame: the pixels never change, the way is in the query."""
    digest = hashlib.blake2b(held.digest, digest_size=16)
    digest.update(f"{number} {media_type} {request.url.path}".encode())
    digest.update(request.scope.get("query_string", b""))
    return f'"{digest.hexdigest()}"'


def _not_done(parameters: dict[str, str]) -> str:
    """Check the parameters that are understood but not carried out; a Warning for those.

    Raises:
        BadRequest: a value that the standard does not have.
    """
    annotations = {part for part in parameters.get("annotation", "").split(",") if part}
    profile = parameters.get("iccprofile", "no").lower()
    if not annotations <= _ANNOTATIONS or profile not in _PROFILES:
        raise BadRequest("annotation is patient or technique; iccprofile is no, yes or a profile")
    left_out = ["annotation"] if annotations else []
    if profile not in ("no", "srgb"):
        left_out.append("iccprofile")
    if not left_out:
        return ""
    return f'299 sebago "{" and ".join(left_out)} not applied: the image is rendered without"'
