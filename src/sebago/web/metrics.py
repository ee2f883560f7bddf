"""What the web door counts, and `/metrics`, which gives the counts of all processes.

Names begin with `sebago_`; labels are route templates, methods and statuses, never paths, so that
no identifier gets into a metric. With PROMETHEUS_MULTIPROC_DIR set (by the supervisor, before this
module is imported) each process writes its own files there, and a scrape of any worker adds them up.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST

REQUEST_SECONDS = Histogram(
    "sebago_http_request_seconds",
    "Seconds from a request's head to the last byte of its answer.",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0),
)
REQUESTS_OPEN = Gauge(
    "sebago_http_requests_open",
    "Requests being answered.",
    multiprocess_mode="livesum",
)
SENT_BYTES = Counter("sebago_http_sent_bytes_total", "Bytes of answers' bodies handed over.")
RECEIVED_BYTES = Counter("sebago_http_received_bytes_total", "Bytes of requests' bodies taken.")
STOW_INSTANCES = Counter(
    "sebago_stow_instances_total",
    "Instances in STOW-RS requests, by what became of them.",
    ["outcome"],
)


def exposition() -> bytes:
    """All metrics of all processes in Prometheus' text format."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
