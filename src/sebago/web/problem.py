"""Errors as problem details (RFC 9457): one shape for every door of HTTP but FHIR's.

A body names the error's stable code, what happened and what helps, and the id under which the log
has the same request. It never holds anything of a patient: messages of `sebago.errors` name UIDs,
offsets and counts, and values of a query are not repeated.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from http import HTTPStatus

from starlette.responses import Response

from sebago.errors import SebagoError

PROBLEM_JSON = "application/problem+json"
ERRORS_PAGE = "/docs/errors"
"""Where the `type` of a problem leads; each code is an anchor on it."""

RETRY_AFTER_S = 30


def problem(
    status: int,
    code: str,
    title: str,
    *,
    detail: str = "",
    do: str = "",
    request_id: str = "",
    reason: str = "",
    retry_after_s: int | None = None,
) -> Response:
    """A problem as a response; 503 and 507 always say when to come back."""
    body: dict[str, object] = {
        "type": f"{ERRORS_PAGE}#{code}",
        "title": title,
        "status": status,
        "code": code,
    }
    more = {"detail": detail, "do": do, "reason": reason, "request_id": request_id}
    body.update({name: value for name, value in more.items() if value})
    headers = {"cache-control": "no-store"}
    if status in (503, 507):
        headers["retry-after"] = str(retry_after_s or RETRY_AFTER_S)
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="sebago"'
    return Response(
        json.dumps(body).encode(), status_code=status, headers=headers, media_type=PROBLEM_JSON
    )


def problem_of(error: SebagoError, request_id: str) -> Response:
    """The problem that says what `error` says."""
    return problem(
        error.http_status,
        error.code,
        error.title,
        detail=error.detail,
        do=error.do,
        request_id=request_id,
        reason=str(getattr(error, "reason", "")),
        retry_after_s=error.retry_after_s,
    )


def problem_of_status(status: int, request_id: str) -> Response:
    """A problem for a bare HTTP status: a path or method that no route takes."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    code = title.lower().replace(" ", "-")
    return problem(status, code, title, request_id=request_id)


def kinds(root: type[SebagoError] = SebagoError) -> Iterator[type[SebagoError]]:
    """Every kind of error, a parent before its children."""
    waiting = [root]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting.extend(reversed(kind.__subclasses__()))


def errors_page() -> str:
    """The page that the `type` of every problem leads to."""
    rows = "\n".join(
        f'<tr id="{html.escape(kind.code)}"><td><code>{html.escape(kind.code)}</code></td>'
        f"<td>{kind.http_status}</td><td>{kind.dimse_status:04X}</td>"
        f"<td>{html.escape(kind.title)}</td>"
        f"<td>{html.escape(' '.join((kind.__doc__ or '').split()))}</td></tr>"
        for kind in kinds()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Sebago: errors</title>'
        "</head><body><h1>Errors</h1><table><thead><tr><th>Code</th><th>HTTP</th><th>DICOM</th>"
        f"<th>Title</th><th>What it means</th></tr></thead><tbody>\n{rows}\n</tbody></table>"
        "</body></html>"
    )
