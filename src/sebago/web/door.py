"""What every request passes, on its way in and out: one ASGI layer around all routes.

In: a request id, CORS preflight, the token, no compressed bodies. Out: problem details for whatever
failed, headers that keep browsers from guessing, one access line, one measurement. The access line
holds the route's template and never the path or query: those hold identifiers.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sebago.errors import SebagoError, TooLarge, UnsupportedMediaType
from sebago.registry import Registry
from sebago.web.auth import OPEN_PATHS, address_of, bearer_token
from sebago.web.metrics import REQUEST_SECONDS, REQUESTS_OPEN, SENT_BYTES
from sebago.web.problem import problem, problem_of
from sebago.web.threads import Threads

log = structlog.get_logger()

HEADERS_BYTES_MAX: Final = 64 * 1024
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_EXPOSED: Final = (
    "Content-Type, Content-Location, Content-Range, ETag, Location, Retry-After, Warning, "
    "X-Request-Id, X-Total-Count"
)


class Door:
    """The layer; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        registry: Registry,
        threads: Threads,
        cors_origins: Sequence[str] = ("*",),
        open_paths: frozenset[str] = OPEN_PATHS,
    ) -> None:
        self._app = app
        self._registry = registry
        self._threads = threads
        self._origins = frozenset(cors_origins)
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(scope, send, self._origins)
        REQUESTS_OPEN.inc()
        try:
            await self._serve(scope, receive, answer)
        except SebagoError as error:
            await answer.instead(problem_of(error, answer.request_id), receive)
            answer.code = error.code
            if error.http_status >= 500:
                log.warning("request-failed", request_id=answer.request_id, why=error.detail)
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("request-failed", request_id=answer.request_id)
            failed = problem(
                500, "internal", "Something failed inside", request_id=answer.request_id
            )
            await answer.instead(failed, receive)
            answer.code = "internal"
        finally:
            REQUESTS_OPEN.dec()
            answer.measure()

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_BYTES_MAX:
            raise TooLarge(f"the headers are longer than {HEADERS_BYTES_MAX} bytes")
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        state["request_id"] = answer.request_id
        if scope["method"] == "OPTIONS":
            scope["sebago.route"] = "preflight"
            await _preflight()(scope, receive, answer.send)
            return
        if scope["path"] not in self._open_paths:
            token = bearer_token(headers)
            state["asker"] = await self._threads.read(
                self._registry.authenticate,
                token,
                purpose=headers.get("x-purpose-of-use"),
                address=address_of(scope),
            )
        coding = headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):
            raise UnsupportedMediaType(
                "bodies are taken without Content-Encoding",
                do="send the body as it is",
            )
        await self._app(scope, receive, answer.send)


class _Answer:
    """The way out of one request: adds headers, counts, remembers whether it has begun."""

    def __init__(self, scope: Scope, send: Send, origins: frozenset[str]) -> None:
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.request_id = given if _REQUEST_ID.match(given) else secrets.token_hex(8)
        self.status = 0
        self.code = ""
        self._scope = scope
        self._send = send
        self._begun = time.perf_counter()
        self._sent = 0
        origin = headers.get("origin")
        self._origin = ""
        if origin is not None and "*" in origins:
            self._origin = "*"
        elif origin in origins:
            self._origin = str(origin)

    async def send(self, message: Message) -> None:
        """Pass a message of the application on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            headers["x-content-type-options"] = "nosniff"
            headers["x-request-id"] = self.request_id
            headers.setdefault("cache-control", "private, no-cache")
            headers.setdefault("referrer-policy", "no-referrer")
            headers["server"] = "sebago"
            if self._origin:
                headers["access-control-allow-origin"] = self._origin
                headers["access-control-expose-headers"] = _EXPOSED
                headers.add_vary_header("Origin")
            message = {**message, "headers": headers.raw}
        else:
            self._sent += len(message.get("body", b""))
        await self._send(message)

    async def instead(self, response: Response, receive: Receive) -> None:
        """Answer with a problem, unless an answer has begun: then its body just ends too early."""
        if not self.status:
            await response(self._scope, receive, self.send)

    def measure(self) -> None:
        """One access line, one measurement."""
        seconds = time.perf_counter() - self._begun
        route = self._scope.get("sebago.route") or "other"
        method = self._scope["method"] if self._scope["method"] in _METHODS else "other"
        REQUEST_SECONDS.labels(method, route, str(self.status)).observe(seconds)
        SENT_BYTES.inc(self._sent)
        asker = self._scope.get("state", {}).get("asker")
        log.info(
            "request",
            method=method,
            route=route,
            status=self.status,
            ms=round(seconds * 1000, 1),
            sent=self._sent,
            actor=asker.actor if asker else "",
            request_id=self.request_id,
            **({"code": self.code} if self.code else {}),
        )


def _preflight() -> Response:
    """OPTIONS of whatever: what a browser asks before it sends a token across origins."""
    return Response(
        status_code=204,
        headers={
            "allow": "GET, HEAD, POST, OPTIONS",
            "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
            "access-control-allow-headers": (
                "Authorization, Accept, Content-Type, If-None-Match, Range, X-Purpose-Of-Use, "
                "X-Request-Id"
            ),
            "access-control-max-age": "600",
        },
    )
