"""`sebago serve`: open the doors' sockets, recover, fork the workers, watch them.

Order at start, and why: the sockets first, so that a taken port is said at once; then what a crash
left is put into the index, in a process of its own (this one stays free of connections and
threads); then the workers. `ready` is printed when every worker's door is open.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

import structlog

from sebago.errors import OperatorsFault, PortTaken
from sebago.serve.folders import forget_former, prepare
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
    prepare(settings)
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
            Worker("web", partial(serve_web, settings, serving, with_dimse=role == "all"))
            for _ in range(settings.workers)
        ]
    if role in ("all", "keeper"):
        workers.append(Worker("keeper", partial(keep, settings)))
    forget_former(settings, all_of_them=role == "all")
    if not run_alone(Worker("recover", partial(recover_first, settings))):
        return 0
    return supervise(workers, ready=ready)


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
    listening: socket.socket | None = None
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(DIMSE_BACKLOG)
    except OSError as error:
        if listening is not None:
            listening.close()
        raise PortTaken(
            f"cannot listen on {host}:{port} for DICOM",
            why=error.strerror or str(error),
            do="choose another address with --dimse, or end what listens there",
        ) from error
    return listening
