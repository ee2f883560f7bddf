"""What a store request is told: the response data set and the status (PS3.18 10.5.3, I.2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from sebago.errors import (
    BadRequest,
    TooLarge,
    TryLater,
    UnsupportedMediaType,
)
from sebago.intake import Accepted
from sebago.web.dicomweb.accept import DICOM_JSON, DICOM_XML, JSON, MULTIPART, Offer
from sebago.web.dicomweb.native_xml import to_xml
from sebago.web.dicomweb.stow_parts import Refused

OFFERS: Final = (
    Offer(DICOM_JSON),
    Offer(JSON),
    Offer(DICOM_XML),
    Offer("application/xml"),
    Offer(MULTIPART, DICOM_XML),
)

_WARNED: Final = 0xB000
"""Stored, something noteworthy (PS3.4 B.2.3: coercion of data elements is the nearest there is)."""


def status_of(accepted: Sequence[Accepted], refused: Sequence[Refused], *, whole: bool) -> int:
    """The status of a request of which something was understood.

    Raises:
        SebagoError: nothing was stored, and one reason explains all of it: the request is answered
            by that (503, 507, 413, 415, or 400 for a body that holds nothing).
    """
    if accepted:
        warned = any(item.warning for item in accepted)
        return 202 if refused or warned or not whole else 200
    if not refused:
        raise BadRequest("the body holds no part that could be stored")
    for kind in (TryLater, TooLarge, UnsupportedMediaType):
        errors = [item.error for item in refused if isinstance(item.error, kind)]
        if len(errors) == len(refused):
            raise errors[0]
    broken = [item.error for item in refused if item.error.http_status >= 500]
    if broken:
        raise (
            broken[0]
            if isinstance(broken[0], TryLater)
            else TryLater("nothing could be stored", do="send it again later")
        )
    if not whole:
        raise BadRequest(
            "the body ends before its closing boundary; nothing of it was stored",
            do="send it again, with --boundary-- at its end",
        )
    return 409


def response_data_set(
    accepted: Sequence[Accepted], refused: Sequence[Refused], base: str
) -> dict[str, Any]:
    """The store instances response as a DICOM JSON object; empty sequences are left out."""
    answer: dict[str, Any] = {}
    studies = {item.study_instance_uid for item in accepted}
    if len(studies) == 1:
        answer["00081190"] = _ur(f"{base}/studies/{studies.pop()}")
    failed = [_failed(item) for item in refused if item.sop_instance_uid]
    others = [
        {"00081197": _us(item.error.dimse_status)} for item in refused if not item.sop_instance_uid
    ]
    for tag, items in (
        ("00081198", failed),
        ("00081199", [_referenced(item, base) for item in accepted]),
        ("0008119A", others),
    ):
        if items:
            answer[tag] = {"vr": "SQ", "Value": items}
    return answer


def write_answer(data_set: dict[str, Any], media_type: str, status: int) -> Response:
    """The response data set in the form that was accepted."""
    if media_type in (DICOM_JSON, JSON):
        return Response(json.dumps(data_set).encode(), status, media_type=DICOM_JSON)
    return Response(to_xml(data_set), status, media_type=DICOM_XML)


def _referenced(item: Accepted, base: str) -> dict[str, Any]:
    url = (
        f"{base}/studies/{item.study_instance_uid}/series/{item.series_instance_uid}"
        f"/instances/{item.sop_instance_uid}"
    )
    found = {
        "00081150": _ui(item.sop_class_uid),
        "00081155": _ui(item.sop_instance_uid),
        "00081190": _ur(url),
    }
    if item.warning:
        found["00081196"] = _us(_WARNED)
    return found


def _failed(item: Refused) -> dict[str, Any]:
    found = {
        "00081155": _ui(item.sop_instance_uid),
        "00081197": _us(item.error.dimse_status),
    }
    if item.sop_class_uid:
        found["00081150"] = _ui(item.sop_class_uid)
    return found


def _ui(value: str) -> dict[str, Any]:
    return {"vr": "UI", "Value": [value]}


def _ur(value: str) -> dict[str, Any]:
    return {"vr": "UR", "Value": [value]}


def _us(value: int) -> dict[str, Any]:
    return {"vr": "US", "Value": [value]}
