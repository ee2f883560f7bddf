"""WADO-URI: one instance by the parameters of a query (PS3.18 9).

Older viewers and reports ask so. Parameters that are not known are ignored, as PS3.18 9.1.2 says;
`anonymize` is refused, since data sets are handed out as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.part10 import write_meta
from sebago.dicom.render import (
    MEDIA_TYPES,
    RenderRequest,
    Viewport,
    parse_quality,
    parse_window,
    render,
)
from sebago.dicom.transcode import to_explicit_le
from sebago.dicom.uids import EXPLICIT_VR_LE, uid_is_sane
from sebago.dicom.voi import Window
from sebago.errors import BadRequest, NotAcceptable, NotFound
from sebago.gate import Asker
from sebago.retrieve import Archive, Held
from sebago.web.auth import address_of, asker_of
from sebago.web.dicomweb.accept import DICOM, Offer, choose, parse_accept
from sebago.web.dicomweb.query import one_of, parse_query_string
from sebago.web.dicomweb.retrieve import data_of, is_decodable
from sebago.web.threads import Streamed, Threads

SIDE_MAX: Final = 8192
_IMAGES: Final = tuple(Offer(media_type) for media_type in MEDIA_TYPES)


@dataclass(frozen=True, slots=True)
class WadoUri:
    """`/wado?requestType=WADO&...`"""

    archive: Archive
    threads: Threads

    async def get(self, request: Request) -> Response:
        """The instance that the query names."""
        pairs = parse_query_string(request.scope.get("query_string", b""))
        names = {name.lower() for name, _ in pairs}
        given = {
            name: value
            for name in sorted(names)
            if (value := one_of([(n.lower(), v) for n, v in pairs], name)) is not None
        }
        if given.get("requesttype", "").upper() != "WADO":
            raise BadRequest("requestType is WADO")
        if given.get("anonymize", "no") != "no":
            raise BadRequest("instances are not anonymized here")
        if not given.get("objectuid"):
            raise BadRequest("objectUID is missing")
        headers = request.headers.getlist("accept")
        return await self.threads.read(
            self._answer, asker_of(request.scope), address_of(request.scope), given, headers
        )

    def _answer(
        self, asker: Asker, address: str, given: dict[str, str], headers: list[str]
    ) -> Response:
        held = self._held(asker, address, given)
        ranges = parse_accept([given["contenttype"]] if given.get("contenttype") else headers)
        shown = (*_IMAGES, Offer(DICOM))
        if not held.rows or ((held.number_of_frames or 1) > 1 and "framenumber" not in given):
            shown = (Offer(DICOM), *_IMAGES)  # PS3.18 9.1.2.2.1: its default is not an image
        chosen = choose(ranges, shown)
        if chosen is None:
            raise NotAcceptable(f"instances are given as {DICOM} or {', '.join(MEDIA_TYPES)}")
        media_type = chosen[0].media_type
        if media_type == DICOM:
            return self._file(held, given.get("transfersyntax", EXPLICIT_VR_LE))
        number = _whole(given, "framenumber", SIDE_MAX * SIDE_MAX) or 1
        asked = RenderRequest(
            media_type,
            window=_window(given),
            viewport=_viewport(given, held),
            quality=parse_quality(given["imagequality"]) if given.get("imagequality") else None,
        )
        image = render(data_of(self.archive, held), held.transfer_syntax_uid, number, asked)
        return Response(image, media_type=media_type)

    def _held(self, asker: Asker, address: str, given: dict[str, str]) -> Held:
        uids = [given.get(name, "") for name in ("studyuid", "seriesuid", "objectuid")]
        if not all(uid_is_sane(uid) for uid in uids if uid):
            raise NotFound("there is nothing of the kind that may be seen")
        study, series, instance = uids
        if study:
            return self.archive.locate(asker, study, series or None, instance, address=address)[0]
        held = self.archive.find_instance(asker, instance, address=address)
        if series and held.series_instance_uid != series:
            raise NotFound("there is nothing of the kind that may be seen")
        return held

    def _file(self, held: Held, wanted: str) -> Response:
        stored = held.transfer_syntax_uid
        as_stored = wanted in ("*", stored)
        if not as_stored and not (wanted == EXPLICIT_VR_LE and is_decodable(stored)):
            raise NotAcceptable(
                f"what is stored in {stored} cannot be given in that transfer syntax",
                do=f"ask for transferSyntax={stored}",
            )
        data = data_of(self.archive, held)
        if as_stored:
            head = self.archive.part10_header(held)
        else:
            head = write_meta(held.sop_class_uid, held.sop_instance_uid, EXPLICIT_VR_LE)
            data = memoryview(to_explicit_le(data, stored))
        return Streamed(
            iter((head, data)),
            self.threads,
            media_type=f"{DICOM}; transfer-syntax={stored if as_stored else EXPLICIT_VR_LE}",
            headers={"content-disposition": 'attachment; filename="instance.dcm"'},
            length=len(head) + len(data),
        )


def _whole(given: dict[str, str], name: str, most: int) -> int | None:
    text = given.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) <= most):
        raise BadRequest(f"{name} is a whole number from 1 to {most}")
    return int(text)


def _window(given: dict[str, str]) -> Window | None:
    center, width = given.get("windowcenter", ""), given.get("windowwidth", "")
    if not center and not width:
        return None
    return parse_window(f"{center},{width}")


def _viewport(given: dict[str, str], held: Held) -> Viewport | None:
    """`rows`, `columns` and `region` as a viewport (PS3.18 9.1.2.2)."""
    rows, columns = _whole(given, "rows", SIDE_MAX), _whole(given, "columns", SIDE_MAX)
    region = given.get("region", "")
    if not region:
        return Viewport(width=columns, height=rows) if rows or columns else None
    try:
        left, top, right, bottom = (float(part) for part in region.split(","))
    except ValueError as error:
        raise BadRequest("region is four numbers from 0 to 1: left, top, right, bottom") from error
    if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
        raise BadRequest("region is four numbers from 0 to 1: left, top, right, bottom")
    wide, high = held.columns or 1, held.rows or 1
    return Viewport(
        width=columns,
        height=rows,
        x=left * wide,
        y=top * high,
        source_width=(right - left) * wide,
        source_height=(bottom - top) * high,
    )
