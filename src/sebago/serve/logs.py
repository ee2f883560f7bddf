"""Structured logs: one JSON object a line on stderr, without anything of a patient.

What a log line may hold is UIDs, AE titles, addresses, counts, codes. Control characters, line
ends and escapes in values are escaped by the JSON encoding, so one event is one line.
"""

from __future__ import annotations

import logging
import os
import sys

import structlog


def configure(level: str, role: str) -> None:
    """Set up logging for one process; `role` (dimse, web, keeper, cli) and pid go on each line."""
    numeric = getattr(logging, level.upper(), logging.INFO)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role, pid=os.getpid())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s", force=True)
