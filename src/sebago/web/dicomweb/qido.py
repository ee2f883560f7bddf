"""QIDO-RS: searches for studies, series and instances (PS3.18 10.6)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from sebago.errors import NotAcceptable
from sebago.gate import Asker
from sebago.retrieve import Archive
from sebago.retrieve.answers import Level, Path, Row
from sebago.web.auth import address_of, asker_of
from sebago.web.dicomweb.accept import DICOM_JSON, MULTIPART, choose
from sebago.web.dicomweb.answers import (
    DATA_SETS,
    accepted,
    base_url,
    uid_in_path,
    xml_parts,
)
from sebago.web.dicomweb.query import (
    SERIES_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Search,
    parse_search,
)
from sebago.web.threads import Threads

RETRIEVE_URL: Final = "00081190"
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"

_dumps = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class Qido:
    """The search resources."""

    archive: Archive
    threads: Threads
    public_url: str
    page_default: int
    """Limit of searches for studies and series that name none."""

    async def studies(self, request: Request) -> Response:
        """`/studies`"""
        return await self._search(request, Level.STUDY)

    async def series(self, request: Request) -> Response:
        """`/series` and `/studies/{study}/series`"""
        return await self._search(request, Level.SERIES)

    async def instances(self, request: Request) -> Response:
        """`/instances`, `/studies/{study}/instances`, `/studies/{study}/series/{series}/instances`"""
        return await self._search(request, Level.INSTANCE)

    async def _search(self, request: Request, level: Level) -> Response:
        within: dict[Path, str] = {}
        if "study" in request.path_params:
            within[STUDY_INSTANCE_UID] = uid_in_path(request, "study")
        if "series" in request.path_params:
            within[SERIES_INSTANCE_UID] = uid_in_path(request, "series")
        page = None if within or level is Level.INSTANCE else self.page_default
        search = parse_search(request.scope["query_string"], level, within, page_default=page)
        chosen = choose(accepted(request), DATA_SETS)
        if chosen is None:
            raise NotAcceptable(
                "searches are answered as application/dicom+json, or as "
                'multipart/related; type="application/dicom+xml"'
            )
        base = base_url(request, self.public_url)
        return await self.threads.read(
            self._answer,
            asker_of(request.scope),
            search,
            base,
            chosen[0].media_type,
            address_of(request.scope),
        )

    def _answer(
        self, asker: Asker, search: Search, base: str, media_type: str, address: str
    ) -> Response:
        """Search and write; in a reading thread."""
        answer = self.archive.search(asker, search.query, address=address)
        warnings = _warnings(search, answer.remaining)
        headers = {"cache-control": "no-store"}
        if warnings:
            headers["warning"] = ", ".join(warnings)
        if not answer.rows:
            return Response(status_code=204, headers=headers)
        add_retrieve_urls(answer.rows, search.query.level, base)
        if media_type == MULTIPART:
            return xml_parts(answer.rows, headers=headers)
        body = _dumps(answer.rows).encode("utf-8", "replace")
        return Response(body, media_type=DICOM_JSON, headers=headers)


def add_retrieve_urls(rows: Sequence[Row], level: Level, base: str) -> None:
    """Put Retrieve URL (0008,1190) into each row: what WADO-RS answers about it."""
    for row in rows:
        url = f"{base}/studies/{_uid(row, _STUDY)}"
        if level is not Level.STUDY:
            url += f"/series/{_uid(row, _SERIES)}"
        if level is Level.INSTANCE:
            url += f"/instances/{_uid(row, _INSTANCE)}"
        row[RETRIEVE_URL] = {"vr": "UR", "Value": [url]}


def _uid(row: Row, tag: str) -> str:
    return str(row[tag]["Value"][0])


def _warnings(search: Search, remaining: int) -> list[str]:
    """Warning headers (RFC 7234 5.5) as PS3.18 8.3.4.4 and 10.6.3.3 word them."""
    warnings = []
    if search.fuzzy:
        warnings.append(
            '299 sebago "The fuzzymatching parameter is not supported. Only literal matching has '
            'been performed."'
        )
    if remaining:
        warnings.append(
            f'299 sebago "There are {remaining} additional results that can be requested"'
        )
    return warnings
