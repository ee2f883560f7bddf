"""What each worker process does, from opening its door to the last answer."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial

import structlog
from prometheus_client import Gauge

from sebago.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from sebago.dimse.acceptor import Acceptor
from sebago.dimse.channel import Timeouts
from sebago.dimse.negotiation import Identity
from sebago.errors import DiskFull
from sebago.index.engine import Index
from sebago.intake.recover import recover
from sebago.keeper import Keeper
from sebago.scp import Policy
from sebago.scp import Services as DimseServices
from sebago.serve.services import Services, open_archive
from sebago.serve.supervise import started_anew
from sebago.settings import Settings
from sebago.web.app import build_app
from sebago.web.server import serve_http

log = structlog.get_logger()

GRACE_S = 12.0
"""For messages in flight; the supervisor kills after 15."""


def _on_term(call: Callable[[], None]) -> None:
    """Run `call` in a thread when SIGTERM comes: a handler may not wait for locks."""

    def handler(_signal: int, _frame: object) -> None:
        threading.Thread(target=call, name="stop", daemon=True).start()

    signal.signal(signal.SIGTERM, handler)


def _spare_the_collector() -> None:
    """Keep what was made at the start out of the garbage collector's rounds.

    Dictionaries, statements and routes are some hundred thousand objects that live as long as the
    process, and each full round looks at all of them while nobody is answered. The gain was within
    the noise of the machine it was measured on (docs/decisions/0008).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def receive_dimse(settings: Settings, listening: socket.socket, ready: Callable[[], None]) -> None:
    """A receiving process: associations on the inherited socket, a thread each."""
    identity = Identity(
        IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, settings.dimse_pdu_bytes_max
    )
    with Services.open(settings, recover_journal=started_anew()) as services:
        handler = DimseServices(
            services.archive,
            services.intake,
            services.registry,
            Policy(
                ae_title=settings.ae_title,
                open_facility=settings.dimse_open,
                lenient_hierarchy=settings.dimse_lenient_hierarchy,
                identity=identity,
                check_called_ae=settings.dimse_check_called_ae,
            ),
        )
        acceptor = Acceptor(
            handler,
            [listening],
            identity=identity,
            timeouts=Timeouts(
                pdu_s=settings.dimse_pdu_timeout_s, idle_s=settings.dimse_idle_timeout_s
            ),
            associate_timeout_s=settings.dimse_associate_timeout_s,
            associations_max=settings.dimse_associations_max,
        )
        _on_term(lambda: acceptor.stop(GRACE_S))
        _spare_the_collector()
        ready()
        acceptor.serve_forever()


def keep(settings: Settings, ready: Callable[[], None]) -> None:
    """The keeper: background work, behind everybody else's."""
    os.nice(10)
    with open_archive(settings) as archive:
        keeper = Keeper(archive, watch=partial(watch_disk, settings))
        _on_term(keeper.stop)
        ready()
        keeper.run()


FREE_BYTES = Gauge(
    "sebago_journal_free_bytes",
    "Free space on the disk of the journal.",
    multiprocess_mode="mostrecent",
)


def watch_disk(settings: Settings) -> None:
    """Say how much room there is."""
    with contextlib.suppress(OSError):  # there is no journal yet
        FREE_BYTES.set(shutil.disk_usage(settings.journal_dir).free)


def serve_web(
    settings: Settings,
    listening: socket.socket,
    ready: Callable[[], None],
    *,
    with_dimse: bool = True,
) -> None:
    """A web worker: HTTP on the inherited socket. `with_dimse`: this server has that door too."""
    with Services.open(settings, spare_segments=0, recover_journal=started_anew()) as services:
        app = build_app(
            services.archive,
            services.intake,
            services.registry,
            checks=checks(services, settings, with_dimse=with_dimse),
            public_url=settings.public_url,
            page_default=settings.query_page_default,
            instance_bytes_max=settings.max_instance_bytes,
        )
        _spare_the_collector()
        if serve_http(app, listening, ready=ready, grace_s=GRACE_S):
            return
    os._exit(0)  # a request was cut off, and its thread may still be at work


def checks(
    services: Services, settings: Settings, *, with_dimse: bool
) -> dict[str, Callable[[], None]]:
    """What `/readyz` asks of this process."""

    def index() -> None:
        with services.index.read() as conn:
            conn.exec_driver_sql("SELECT 1").close()

    def journal() -> None:
        if not os.access(settings.journal_dir, os.W_OK):
            raise DiskFull("the journal folder cannot be written")

    def dimse() -> None:
        host, port = settings.dimse.rsplit(":", 1)
        with socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout=1):
            pass

    asked = {"index": index, "journal": journal}
    return {**asked, "dimse": dimse} if with_dimse else asked


def recover_first(settings: Settings, ready: Callable[[], None]) -> None:
    """Migrate the database and index what a crash left, before any door opens."""
    index = Index.open(settings.data, settings.database_url)
    try:
        recover(index, settings.journal_dir)
    finally:
        index.dispose()
    ready()
