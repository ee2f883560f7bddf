"""Destinations of C-MOVE: other acceptors on this machine, with manners of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sebago.dimse import Admission, AssociateRq, Association, Command, Sink
from sebago.dimse import command as c
from tests.dimse.live import Desk, door
from tests.scp.site import Site


@dataclass
class Received:
    """What came in at a destination."""

    desk: Desk
    port: int
    originators: list[tuple[str, int]] = field(default_factory=list)

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs in the order in which they came."""
        return [uid for uid, _ in self.desk.stored]

    @property
    def syntaxes(self) -> list[str]:
        """Transfer syntaxes in which they came."""
        return [command.transfer_syntax_uid for command in self.desk.commands]

    @property
    def data(self) -> dict[str, bytes]:
        """Data sets by SOP Instance UID."""
        return dict(self.desk.stored)


@contextlib.contextmanager
def destination(
    site: Site,
    title: str = "DEST",
    *,
    facility: str = "NORTH",
    takes: Callable[[str], bool] = lambda syntax: True,
    status: Callable[[str], int] = lambda uid: 0,
    after: Callable[[int], None] = lambda count: None,
) -> Iterator[Received]:
    """A registered peer of `facility` that takes some transfer syntaxes and answers as it is told."""

    def admit(request: AssociateRq, address: str) -> Admission:
        contexts: dict[int, str | int] = {}
        for one in request.contexts:
            usable = [syntax for syntax in one.transfer_syntaxes if takes(syntax)]
            contexts[one.id] = usable[0] if usable else 4
        return Admission(contexts, caller=address)

    lock = threading.Lock()

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        with lock:
            answer = status(command.sop_instance_uid)
            if answer == 0 or answer >> 12 == 0xB:
                desk.stored.append((command.sop_instance_uid, sink.data))  # type: ignore[union-attr]
            after(len(desk.stored))
        association.respond(command, answer)

    desk = Desk(on_admit=admit, on_handle=handle)
    with door(desk) as opened:
        site.registrar.set_peer(facility, f"{title}@127.0.0.1:{opened.port}")
        yield Received(desk, opened.port)


__all__ = ["Received", "c", "destination"]
