"""What the DICOMweb resources share: the service's address, what a client accepts, small answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.uids import uid_is_sane
from sebago.errors import BadRequest, NotFound
from sebago.web.dicomweb.accept import (
    DICOM_JSON,
    DICOM_XML,
    JSON,
    MULTIPART,
    MediaRange,
    Offer,
    parse_accept,
)
from sebago.web.dicomweb.multipart import closing, new_boundary, part_head
from sebago.web.dicomweb.native_xml import to_xml
from sebago.web.dicomweb.query import parse_query_string

ROOT: Final = "/dicomweb"

DATA_SETS: Final = (
    Offer(DICOM_JSON),
    Offer(JSON),
    Offer(MULTIPART, DICOM_XML),
)
"""In what form searches and metadata are answered (PS3.18 8.7.3)."""

_HOST: Final = re.compile(
    r"[A-Za-z0-9._~-]{1,253}(:[0-9]{1,5})?\Z|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?\Z"
)


def base_url(request: Request, public_url: str) -> str:
    """The address of the DICOMweb service as the client sees it, without a slash at the end.

    The configured one, or what a reverse proxy says (X-Forwarded-Proto, -Host), or the request's
    Host. It goes into answers to this client only, so that there is nothing to gain by lying.
    """
    if public_url:
        return public_url.rstrip("/") + ROOT
    headers = request.headers
    scheme = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower()
    if scheme not in ("http", "https"):
        scheme = str(request.scope.get("scheme", "http"))
    for given in (headers.get("x-forwarded-host", ""), headers.get("host", "")):
        host = given.partition(",")[0].strip()
        if _HOST.match(host):
            return f"{scheme}://{host}{ROOT}"
    server = request.scope.get("server") or ("localhost", 80)
    return f"{scheme}://{server[0]}:{server[1]}{ROOT}"


def accepted(request: Request) -> list[MediaRange]:
    """What the client accepts: `?accept=` where it is there, else the Accept headers (8.3.3.1).

    Raises:
        BadRequest: the query cannot be read.
    """
    query = request.scope.get("query_string", b"")
    if b"accept" in query:
        given = [value for name, value in parse_query_string(query) if name == "accept"]
        if given:
            # "+" in `dicom+json` arrives as a blank where a client did not encode it
            return parse_accept(re.sub(r"(?<=dicom) (?=json|xml)", "+", value) for value in given)
    return parse_accept(request.headers.getlist("accept"))


def uid_in_path(request: Request, name: str) -> str:
    """A UID of the path; anything that cannot be one is not found, like one that is unknown.

    Raises:
        NotFound: it is not made of digits and dots, or longer than 64.
    """
    uid: str = request.path_params[name]
    if not uid_is_sane(uid):
        raise NotFound("there is nothing of the kind that may be seen")
    return uid


def only(request: Request, allowed: frozenset[str]) -> dict[str, str]:
    """The query's parameters, each of which must be known and stand once.

    Raises:
        BadRequest: another one, or one twice with different values.
    """
    found: dict[str, str] = {}
    for name, value in parse_query_string(request.scope.get("query_string", b"")):
        if name not in allowed and name not in ("accept", "charset", "_"):
            raise BadRequest(f"this resource has no parameter {name[:64]!a}")
        if name != "accept" and found.get(name, value) != value:
            raise BadRequest(f"the parameter {name} stands more than once")
        found.setdefault(name, value)
    return found


def multipart_type(part: str, boundary: str, *, transfer_syntax: str = "") -> str:
    """The Content-Type of a multipart answer (8.6.1.2)."""
    syntax = f"; transfer-syntax={transfer_syntax}" if transfer_syntax else ""
    return f'{MULTIPART}; type="{part}"{syntax}; boundary={boundary}'


def xml_parts(
    data_sets: Sequence[Mapping[str, Any]], *, headers: Mapping[str, str] | None = None
) -> Response:
    """Data sets as parts in XML, one each."""
    boundary = new_boundary()
    pieces = []
    for number, data_set in enumerate(data_sets):
        pieces.append(part_head(boundary, {"Content-Type": DICOM_XML}, first=number == 0))
        pieces.append(to_xml(data_set))
    pieces.append(closing(boundary))
    return Response(
        b"".join(pieces),
        media_type=multipart_type(DICOM_XML, boundary),
        headers=dict(headers or {}),
    )
