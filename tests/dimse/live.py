"""A live acceptor with a small handler, and a client that speaks raw bytes, for these tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sebago.dimse import (
    Acceptor,
    Admission,
    AssociateRq,
    Association,
    Buffered,
    Command,
    Identity,
    ProposedContext,
    Sink,
    Timeouts,
)
from sebago.dimse import command as c
from sebago.dimse.associate import encode_associate_rq
from sebago.dimse.pdu import data_pdus

VERIFICATION = "1.2.840.10008.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_GET = "1.2.840.10008.5.1.4.1.2.2.3"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IDENTITY = Identity("2.25.27182818284590452353602874713526", "TESTING", 131072)
QUICK = Timeouts(pdu_s=5, stall_s=5, idle_s=20, closing_s=2)

Handle = Callable[[Association, Command, Sink | None], None]


class InMemory(Buffered):
    """A sink without a limit that matters."""

    def __init__(self) -> None:
        super().__init__(1 << 30)


@dataclass
class Desk:
    """A handler that takes everything and remembers it; single methods can be replaced."""

    on_handle: Handle | None = None
    on_sink: Callable[[Association, Command], Sink | None] | None = None
    on_admit: Callable[[AssociateRq, str], Admission] | None = None
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    requests: list[AssociateRq] = field(default_factory=list)
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def admit(self, request: AssociateRq, address: str) -> Admission:
        self.requests.append(request)
        if self.on_admit is not None:
            return self.on_admit(request, address)
        return Admission(
            {context.id: context.transfer_syntaxes[0] for context in request.contexts},
            caller=address,
            roles=request.roles,
        )

    def sink(self, association: Association, command: Command) -> Sink | None:
        if self.on_sink is not None:
            return self.on_sink(association, command)
        return InMemory() if command.field == c.C_STORE_RQ else None

    def handle(self, association: Association, command: Command, sink: Sink | None) -> None:
        self.commands.append(command)
        if self.on_handle is not None:
            self.on_handle(association, command, sink)
            return
        if command.field == c.C_STORE_RQ:
            assert isinstance(sink, Buffered)
            self.stored.append((command.sop_instance_uid, sink.data))
        association.respond(command, c.SUCCESS)

    def closed(self, association: Association) -> None:
        self.ended.release()


@dataclass
class Door:
    """A running acceptor."""

    acceptor: Acceptor
    desk: Desk
    port: int


@contextlib.contextmanager
def door(desk: Desk | None = None, *, timeouts: Timeouts = QUICK, **limits: Any) -> Iterator[Door]:
    """An acceptor on a free port of the loopback; it has to stop by itself at the end."""
    desk = desk or Desk()
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        limits.setdefault("identity", IDENTITY)
        acceptor = Acceptor(desk, [listening], timeouts=timeouts, **limits)
        thread = threading.Thread(target=acceptor.serve_forever)
        thread.start()
        try:
            yield Door(acceptor, desk, listening.getsockname()[1])
        finally:
            acceptor.stop(1.0)
            thread.join(15)
        assert not thread.is_alive()


def proposal(**changes: Any) -> AssociateRq:
    """A plain proposal: verification (1), CT storage (3), study root find (5)."""
    said: dict[str, Any] = {
        "called_ae_title": "SEBAGO",
        "calling_ae_title": "TESTER",
        "contexts": (
            ProposedContext(1, VERIFICATION, (IMPLICIT,)),
            ProposedContext(3, CT, (EXPLICIT, IMPLICIT)),
            ProposedContext(5, STUDY_FIND, (IMPLICIT,)),
        ),
        "max_pdu_bytes": 16384,
        "implementation_class_uid": "1.2.3",
    }
    return AssociateRq(**(said | changes))


class Raw:
    """A client that sends bytes and reads PDUs."""

    def __init__(self, port: int, *, timeout_s: float = 8.0) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.sock.sendall(piece)

    def associate(self, **changes: Any) -> bytes:
        self.send(encode_associate_rq(proposal(**changes)))
        answer = self.pdu()
        assert answer is not None
        return answer

    def pdu(self) -> bytes | None:
        """A whole PDU, or None at the end of the stream."""
        header = self._exactly(6)
        if header is None:
            return None
        body = self._exactly(int.from_bytes(header[2:6], "big"))
        assert body is not None
        return header + body

    def message(self) -> tuple[dict[int, bytes], bytes | None]:
        """A message that comes as one PDU for the command and any number for the data set."""
        command, context_id = b"", 0
        while True:
            pdu = self.pdu()
            assert pdu is not None
            assert pdu[0] == 4, pdu
            context_id = pdu[10]
            command += pdu[12:]
            if pdu[11] & 2:
                break
        elements = elements_of(command)
        if elements[c.DATA_SET_TYPE] == b"\x01\x01":
            return elements, None
        data = b""
        while True:
            pdu = self.pdu()
            assert pdu is not None
            assert pdu[10] == context_id
            data += pdu[12:]
            if pdu[11] & 2:
                return elements, data

    def _exactly(self, n: int) -> bytes | None:
        out = b""
        while len(out) < n:
            piece = self.sock.recv(n - len(out))
            if not piece:
                assert not out, "a PDU was cut off"
                return None
            out += piece
        return out

    def ended(self) -> str:
        """What comes next until the end of the stream, in a word a PDU."""
        said = []
        try:
            while (pdu := self.pdu()) is not None:
                said.append(told(pdu))
        except ConnectionError:
            said.append("reset")
        return " ".join(said) or "closed"


def told(pdu: bytes) -> str:
    """A PDU in a word: "abort-2-1", "reject-1-1-3", "accept", "released", "status-0000"."""
    if pdu[0] == 4:
        status = elements_of(pdu[12:]).get(c.STATUS, b"\xff\xff")
        return f"status-{int.from_bytes(status, 'little'):04X}"
    if pdu[0] == 7:
        return f"abort-{pdu[8]}-{pdu[9]}"
    if pdu[0] == 3:
        return f"reject-{pdu[7]}-{pdu[8]}-{pdu[9]}"
    return {2: "accept", 5: "release", 6: "released"}.get(pdu[0], f"pdu-{pdu[0]}")


def elements_of(command: bytes) -> dict[int, bytes]:
    """A command set read in the plainest way: the tests' own reader."""
    out, offset = {}, 0
    while offset < len(command):
        group = int.from_bytes(command[offset : offset + 2], "little")
        element = int.from_bytes(command[offset + 2 : offset + 4], "little")
        length = int.from_bytes(command[offset + 4 : offset + 8], "little")
        assert group == 0
        out[element] = command[offset + 8 : offset + 8 + length]
        offset += 8 + length
    return out


def pdus(
    context_id: int, command: bytes, data: bytes | None = None, *, fragment: int = 4096
) -> bytes:
    """A message as a peer might send it."""
    out = list(data_pdus(context_id, [command], command=True, fragment_max=fragment))
    if data is not None:
        out += data_pdus(context_id, [data], command=False, fragment_max=fragment)
    return b"".join(map(bytes, out))


def request(
    field: int, sop_class: str = VERIFICATION, *, data: bool = False, **more: c.Value
) -> bytes:
    """A request's command set; `more` are elements by hexadecimal number, as e1000="1.2.3"."""
    elements: dict[int, c.Value] = {
        c.AFFECTED_SOP_CLASS_UID: sop_class,
        c.COMMAND_FIELD: field,
        c.MESSAGE_ID: 7,
        c.DATA_SET_TYPE: c.WITH_DATA_SET if data else c.NO_DATA_SET,
    }
    for name, value in more.items():
        elements[int(name[1:], 16)] = value
    return c.encode_command(elements)


def echo() -> bytes:
    return pdus(1, request(c.C_ECHO_RQ))


def store(data: bytes, *, uid: str = "1.2.3.4", fragment: int = 4096) -> bytes:
    return pdus(
        3, request(c.C_STORE_RQ, CT, data=True, e0700=0, e1000=uid), data, fragment=fragment
    )


def find(identifier: bytes = b"") -> bytes:
    return pdus(5, request(c.C_FIND_RQ, STUDY_FIND, data=True, e0700=0), identifier)


def cancel(message_id: int = 7, context_id: int = 5) -> bytes:
    return pdus(
        context_id,
        c.encode_command(
            {
                c.COMMAND_FIELD: c.C_CANCEL_RQ,
                c.MESSAGE_ID_RESPONDED_TO: message_id,
                c.DATA_SET_TYPE: c.NO_DATA_SET,
            }
        ),
    )
