"""`/healthz`: the process lives. `/readyz`: what it needs answers.

Both are open to everybody, so they say which check failed and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sebago.web.problem import RETRY_AFTER_S
from sebago.web.threads import Threads

log = structlog.get_logger()

Checks = Mapping[str, Callable[[], None]]
"""What must work for the doors to be open, by name; a check raises when it does not."""


@dataclass(frozen=True, slots=True)
class Health:
    """Answers the two questions of whoever watches over this process."""

    checks: Checks
    threads: Threads

    async def alive(self, request: Request) -> Response:
        """200 as long as the event loop turns."""
        return JSONResponse({"status": "alive"})

    async def ready(self, request: Request) -> Response:
        """200 when every check passes, 503 with the names of those that do not."""
        failed = await self.threads.read(self._failed)
        if failed:
            return JSONResponse(
                {"status": "not ready", "failed": failed},
                status_code=503,
                headers={"retry-after": str(RETRY_AFTER_S)},
            )
        return JSONResponse({"status": "ready", "checks": sorted(self.checks)})

    def _failed(self) -> list[str]:
        failed = []
        for name, check in self.checks.items():
            try:
                check()
            except Exception as error:  # noqa: BLE001  (any failure of a check means: not ready)
                log.warning("not-ready", check=name, why=type(error).__name__)
                failed.append(name)
        return failed
