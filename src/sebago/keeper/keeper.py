"""The keeper's loop: what is due, a piece at a time; an error is logged and tried again later.

So far one kind of work: DICOM JSON of instances that arrived, made ready before anybody asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from sebago.errors import SebagoError
from sebago.retrieve import Archive

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
"""Between two looks when nothing was due."""
AFTER_ERROR_S = 5.0


class Keeper:
    """Runs until `stop`, in one thread."""

    def __init__(self, archive: Archive, *, watch: Callable[[], None] = lambda: None) -> None:
        """`watch` is called at every look: what is to be measured now and then."""
        self._archive = archive
        self._watch = watch
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have `run` return after the piece of work that is under way."""
        self._stop.set()

    def run(self) -> None:
        """Do what is due, for ever."""
        while not self._stop.is_set():
            started = time.monotonic()
            self._watch()
            try:
                done = self._archive.prepare_metadata()
            except SebagoError as error:
                log.warning("keeper-waits", code=error.code, why=error.detail)
                self._stop.wait(AFTER_ERROR_S)
                continue
            except Exception:
                log.exception("keeper-failed")
                self._stop.wait(AFTER_ERROR_S)
                continue
            if done:
                log.debug("metadata-prepared", instances=done, took_s=time.monotonic() - started)
            else:
                self._stop.wait(LOOK_EVERY_S)
