"""The web application of one worker process: every route, behind the door that all pass.

FastAPI carries what answers JSON and pages; DICOMweb resources are plain Starlette routes, since
they stream and negotiate by themselves. They are described in the OpenAPI document all the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from sebago import __version__
from sebago.gate import Act
from sebago.intake import Intake
from sebago.registry import Registry
from sebago.retrieve import Archive
from sebago.web import metrics
from sebago.web.auth import asker_of, require
from sebago.web.dicomweb.routes import Resource, resources
from sebago.web.door import Door
from sebago.web.health import Checks, Health
from sebago.web.openapi import describe, docs_page
from sebago.web.problem import ERRORS_PAGE, errors_page, problem, problem_of_status
from sebago.web.threads import Threads

Endpoint = Callable[[Request], Awaitable[Response]]


def build_app(
    archive: Archive,
    intake: Intake,
    registry: Registry,
    *,
    checks: Checks,
    public_url: str = "",
    page_default: int = 1000,
    instance_bytes_max: int,
    cors_origins: Sequence[str] = ("*",),
) -> FastAPI:
    """The application, to be served by `server.serve_http`.

    Build it after the fork: it owns threads.

    Args:
        archive, intake, registry: this process's own.
        checks: what `/readyz` asks; each raises when what it looks at does not answer.
        public_url: address that clients see, without a path; empty: taken from each request.
        page_default: how many studies or series a search gives that names no limit.
        instance_bytes_max: largest instance that is taken, in bytes.
        cors_origins: origins of browser applications that may call; `*`: any. Cookies are never
            taken, so that any origin still needs a token.
    """
    threads = Threads()

    app = FastAPI(
        title="Sebago",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.threads = threads
    web = resources(
        archive,
        intake,
        registry,
        threads,
        public_url=public_url,
        page_default=page_default,
        instance_bytes_max=instance_bytes_max,
    )
    health = Health(checks, threads)
    described: dict[str, Any] = describe(app, web)

    async def scrape(request: Request) -> Response:
        require(asker_of(request.scope), Act.STATUS)
        text = await threads.read(metrics.exposition)
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE})

    async def openapi(request: Request) -> Response:
        return JSONResponse(described)

    async def docs(request: Request) -> Response:
        return HTMLResponse(docs_page(described))

    async def errors(request: Request) -> Response:
        return HTMLResponse(errors_page())

    own: list[tuple[str, Endpoint]] = [
        ("/healthz", health.alive),
        ("/readyz", health.ready),
        ("/metrics", scrape),
        ("/openapi.json", openapi),
        ("/docs", docs),
        (ERRORS_PAGE, errors),
    ]
    for path, endpoint in own:
        app.router.routes.append(Route(path, _named(path, endpoint), methods=["GET"]))
    app.router.routes.extend(_route(resource) for resource in web)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _not_valid)
    app.add_middleware(
        Door,
        registry=registry,
        threads=threads,
        cors_origins=tuple(cors_origins),
    )
    return app


def _named(template: str, endpoint: Endpoint) -> Endpoint:
    """The endpoint, which tells the door by which template it was reached."""

    async def named(request: Request) -> Response:
        request.scope["sebago.route"] = template
        return await endpoint(request)

    return named


def _route(resource: Resource) -> Route:
    return Route(
        resource.path,
        _named(resource.path, resource.endpoint),
        methods=[resource.method],
        name=f"{resource.method} {resource.path}",
    )


async def _http_exception(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    response = problem_of_status(status, request.scope["state"].get("request_id", ""))
    for name, value in (getattr(error, "headers", None) or {}).items():
        response.headers[name] = value
    return response


async def _not_valid(request: Request, error: Exception) -> Response:
    """What FastAPI's models refuse; which values they were is not repeated."""
    places = sorted({".".join(str(part) for part in item["loc"]) for item in _errors_of(error)})
    return problem(
        400,
        "bad-request",
        "The request cannot be understood",
        detail="not as it should be: " + ", ".join(places)[:500],
        request_id=request.scope["state"].get("request_id", ""),
    )


def _errors_of(error: Exception) -> Sequence[dict[str, Any]]:
    return error.errors() if isinstance(error, RequestValidationError) else ()
