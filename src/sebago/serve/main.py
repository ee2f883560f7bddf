"""`sebago serve`: open the doors' sockets, recover, fork the workers, watch them.

Order at start, and why: the sockets first, so that a taken port is said at once; then what a crash
left is put into the index, in a process of its own (this one stays free of connections and
threads); then the workers. `ready` is printed when every worker's door is open.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from functools import partial

import structlog

from sebago.errors import OperatorsFault, PortTaken
from sebago.serve.roles import keep, receive_dimse, recover_first, serve_web
from sebago.serve.supervise import Worker, run_alone, supervise
from sebago.settings import Settings
from sebago.web.server import listen as listen_http

log = structlog.get_logger()

ROLES = ("all", "dimse", "web", "keeper")
DIMSE_BACKLOG = 1024


def serve(settings: Settings, *, role: str = "all", ready: Callable[[], None]) -> int:
    """Run until SIGTERM; the exit status.

    Raises:
        PortTaken: an address is in use or not ours.
        OperatorsFault: an unknown role, an address that is none, an unusable data folder.
    """
    if role not in ROLES:
        raise OperatorsFault(f"no role {role!r}", do="one of " + ", ".join(ROLES))
    prepare_folders(settings, fresh_metrics=role == "all")
    workers: list[Worker] = []
    if role in ("all", "dimse"):
        receiving = listen_dimse(*host_and_port(settings.dimse, "dimse"))
        workers += [
            Worker("dimse", partial(receive_dimse, settings, receiving))
            for _ in range(settings.workers)
        ]
    if role in ("all", "web"):
        serving = listen_http(*host_and_port(settings.http, "http"))
        workers += [
            Worker("web", partial(serve_web, settings, serving)) for _ in range(settings.workers)
        ]
    if role in ("all", "keeper"):
        workers.append(Worker("keeper", partial(keep, settings)))
    if not run_alone(Worker("recover", partial(recover_first, settings))):
        return 1
    return supervise(workers, ready=ready)


def prepare_folders(settings: Settings, *, fresh_metrics: bool) -> None:
    """Make the data folder, for our eyes only, and the folder of metrics.

    Must run before `prometheus_client` is imported by a worker's code: it reads its folder once.
    """
    try:
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o750)
        metrics = settings.run_dir / "metrics"
        if fresh_metrics:
            shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorsFault(
            f"the data folder {settings.data} cannot be used: {error.strerror}",
            do="give a folder that this account may write, by --data or SEBAGO_DATA",
        ) from error


def metrics_folder(settings: Settings) -> str:
    """Value of PROMETHEUS_MULTIPROC_DIR for every process of this server."""
    return str(settings.run_dir / "metrics")


def host_and_port(address: str, name: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host stands in brackets. Raises OperatorsFault."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise OperatorsFault(
            f"{address!r} is no HOST:PORT", do=f"give --{name} like 127.0.0.1:8080"
        )
    return host.strip("[]"), int(port)


def listen_dimse(host: str, port: int) -> socket.socket:
    """The socket on which all receiving processes accept. Raises PortTaken."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(DIMSE_BACKLOG)
    except OSError as error:
        raise PortTaken(
            f"cannot listen on {host}:{port} for DICOM: {error.strerror or error}",
            do="choose another address with --dimse, or end what listens there",
        ) from error
    return listening
