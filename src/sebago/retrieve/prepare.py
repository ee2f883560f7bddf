"""DICOM JSON made ready behind the intake: which series have new instances, and when it is time.

What arrived is read off the index in the order of arrival. A series is prepared when it has been
quiet for a moment or when many of its instances wait, so that chunks are neither tiny nor late.
Nothing is lost when this stops: what has no chunk is written when it is first asked for.

Writing the JSON takes a core for a quarter of a millisecond an instance, just while a burst comes in.
It runs in a thread that the system schedules only where nobody else wants to (SCHED_IDLE), so that a
receiver that wakes from its sync need not wait out its slice. The database's turn is taken in the ordinary thread, so that nobody waits for one that is not scheduled.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from sebago.index import metadata as chunks
from sebago.index.engine import Index
from sebago.index.instances import by_ids
from sebago.retrieve.metadata import MetadataStore

QUIET_S: Final = 0.3
ENOUGH: Final = 256
AT_ONCE: Final = 2048
LOOK_BACK: Final = 100_000
"""Instances before the last one that a new process looks at: what came while none ran."""


@dataclass(slots=True)
class _Waiting:
    count: int = 0
    last_s: float = 0.0


class Preparer:
    """Makes chunks of what arrived. For one thread."""

    def __init__(
        self,
        index: Index,
        store: MetadataStore,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index = index
        self._store = store
        self._clock_s = clock_s
        self._writer = ThreadPoolExecutor(1, "json", initializer=_only_when_idle)
        self._seen: int | None = None
        self._waiting: dict[int, _Waiting] = {}

    def once(self) -> int:
        """Look for what arrived and prepare what is due; how many instances were prepared."""
        now = self._clock_s()
        with self._index.read() as conn:
            if self._seen is None:
                self._seen = max(0, chunks.last_id(conn) - LOOK_BACK)
            arrived = chunks.arrived(conn, after_id=self._seen)
        for instance_id, series_id in arrived:
            waiting = self._waiting.setdefault(series_id, _Waiting())
            waiting.count += 1
            waiting.last_s = now
            self._seen = instance_id
        done = 0
        for series_id, waiting in list(self._waiting.items()):
            if waiting.count >= ENOUGH or now - waiting.last_s >= QUIET_S:
                del self._waiting[series_id]
                done += self._prepare(series_id)
        return done

    def _prepare(self, series_id: int) -> int:
        with self._index.read() as conn:
            ids = chunks.without_chunk(conn, series_id, limit=AT_ONCE)
            held = by_ids(conn, ids)
        return self._store.prepare(series_id, held, lambda work: self._writer.submit(work).result())


def _only_when_idle() -> None:
    """Let this thread run where no other wants to; where the system does not know that, as it is."""
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
