"""Structured logs: one JSON object a line on stderr, without anything of a patient.

What a log line may hold is UIDs, AE titles, addresses, counts, codes. Control characters, line
ends and escapes in values are escaped by the JSON encoding, so one event is one line. What the lower
packages say through the standard library comes out in the same form.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_PROCESS: Final[dict[str, str]] = {"role": "cli"}
"""Of this process, whatever the thread; a forked worker says anew what it is."""


def configure(level: str, role: str) -> None:
    """Set up logging for one process; `role` (dimse, web, keeper, a command) goes on each line."""
    become(role)
    numeric = getattr(logging, level.upper(), logging.INFO)
    shared: list[Processor] = [
        _process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render = structlog.processors.JSONRenderer(ensure_ascii=True)
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("sebago").setLevel(numeric)


def become(role: str) -> None:
    """Say what this process is, after a fork."""
    _PROCESS["role"] = role


def _process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["role"] = _PROCESS["role"]
    event["pid"] = os.getpid()
    return event
