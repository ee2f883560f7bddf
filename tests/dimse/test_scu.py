"""The requestor against our own acceptor, and against acceptors that misbehave."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from sebago.dimse import (
    Admission,
    Association,
    Command,
    Rejected,
    Requestor,
    Sink,
    Timeouts,
)
from sebago.dimse import command as c
from sebago.dimse.associate import (
    AnsweredContext,
    AssociateAc,
    decode_associate_rq,
    encode_associate_ac,
    pdu_body,
)
from sebago.dimse.pdu import (
    REJECT_LOCAL_LIMIT,
    RELEASE_RP_PDU,
    RELEASE_RQ_PDU,
    encode_abort,
    encode_reject,
)
from sebago.errors import DiskFull, NotSupported, PeerAway, PeerBrokeProtocol
from tests.dimse.live import (
    CT,
    EXPLICIT,
    IDENTITY,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Desk,
    InMemory,
    door,
    pdus,
    request,
)

JPEG = "1.2.840.10008.1.2.4.50"
COMMIT = "1.2.840.10008.1.20.1"
CONTEXTS: list[tuple[str, Sequence[str]]] = [
    (VERIFICATION, [IMPLICIT]),
    (CT, [EXPLICIT]),
    (CT, [JPEG]),
    (STUDY_FIND, [IMPLICIT]),
    (STUDY_GET, [IMPLICIT]),
    (COMMIT, [IMPLICIT]),
]
SWIFT = Timeouts(pdu_s=1, stall_s=1, idle_s=5, closing_s=1)


def connect(
    port: int, *, roles: dict[str, tuple[bool, bool]] | None = None, response_timeout_s: float = 5
) -> Requestor:
    return Requestor.connect(
        "127.0.0.1",
        port,
        called="PEER",
        calling="SEBAGO",
        contexts=CONTEXTS,
        identity=IDENTITY,
        roles=roles,
        timeouts=SWIFT,
        associate_timeout_s=2,
        response_timeout_s=response_timeout_s,
    )


def test_an_object_arrives_byte_for_byte_however_it_lies_in_memory() -> None:
    data = os.urandom(400_003)
    view = memoryview(data)
    with door() as d, connect(d.port) as peer:
        assert peer.echo() == 0
        assert peer.store(CT, "1.2.1", EXPLICIT, data) == 0
        assert peer.store(CT, "1.2.2", JPEG, [view[:5], b"", view[5:300_000], view[300_000:]]) == 0
        assert peer.store(CT, "1.2.3", EXPLICIT, bytearray(data)) == 0
        assert [stored for _, stored in d.desk.stored] == [data] * 3
        assert [command.transfer_syntax_uid for command in d.desk.commands[1:]] == [
            EXPLICIT,
            JPEG,
            EXPLICIT,
        ]
        assert peer.storable(CT) == (EXPLICIT, JPEG)
        with pytest.raises(NotSupported):
            peer.store(CT, "1.2.4", IMPLICIT, data)
        assert peer.store(CT, "1.2.5", EXPLICIT, data, move_originator=("SEBAGO", 9)) == 0
        assert d.desk.commands[-1].move_originator == ("SEBAGO", 9)
    with pytest.raises(PeerAway):
        peer.echo()


def test_a_failure_comes_back_as_a_status_with_its_comment() -> None:
    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        raise DiskFull("no room to store")

    with door(Desk(on_handle=handle)) as d, connect(d.port) as peer:
        assert peer.store(CT, "1.2.1", EXPLICIT, b"12") == 0xA700
        assert peer.last_response is not None
        assert peer.last_response.text(c.ERROR_COMMENT) == "no room to store"


def _answer_many(association: Association, command: Command, sink: Sink | None) -> None:
    for number in range(500):
        if association.cancelled(command.message_id):
            association.respond(command, c.CANCELLED)
            return
        association.respond(command, c.PENDING, identifier=b"%06d" % number)
        time.sleep(0.001)
    association.respond(command, c.SUCCESS)


def test_a_query_gives_its_answers_and_is_cancelled_when_nobody_wants_more() -> None:
    with door(Desk(on_handle=_answer_many)) as d, connect(d.port) as peer:
        answers = list(peer.find(STUDY_FIND, b"12"))
        assert len(answers) == 501
        assert answers[0] == (c.PENDING, b"000000")
        assert answers[-1] == (c.SUCCESS, None)
        for number, (status, identifier) in enumerate(peer.find(STUDY_FIND, b"12")):
            assert (status, identifier) == (c.PENDING, b"%06d" % number)
            if number == 3:
                break
        query = peer.find(STUDY_FIND, b"12")
        next(query)
        query.close()
        assert peer.last_response is not None
        assert peer.last_response.status == c.CANCELLED
        assert len(list(peer.find(STUDY_FIND, b"12"))) == 501  # the association still serves


def test_a_get_brings_objects_on_the_same_association() -> None:
    sent = {f"1.2.{n}": os.urandom(60_000 + n) for n in range(5)}
    statuses: list[int] = []

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        for number, (uid, data) in enumerate(sent.items(), 1):
            statuses.append(association.store(CT, uid, EXPLICIT, data))
            association.respond(
                command, c.PENDING, remaining=5 - number, completed=number, failed=0, warning=0
            )
        association.respond(command, c.SUCCESS, completed=5, failed=0, warning=0)

    got: dict[str, bytes] = {}

    def receive(command: Command) -> Sink:
        if command.sop_instance_uid == "1.2.3":
            raise DiskFull("no room")
        return InMemory()

    def stored(command: Command, sink: Sink) -> int:
        assert isinstance(sink, InMemory)
        got[command.sop_instance_uid] = sink.data
        return 0xB000 if command.sop_instance_uid == "1.2.4" else 0

    desk = Desk(on_handle=handle)
    with door(desk) as d, connect(d.port, roles={CT: (True, True)}) as peer:
        progress = list(peer.get(STUDY_GET, b"12", receive=receive, stored=stored))
        assert [step.remaining for step in progress] == [4, 3, 2, 1, 0, 0]
        assert progress[-1].is_final
        assert progress[-1].completed == 5
    assert statuses == [0, 0, 0, 0xA700, 0xB000]
    del sent["1.2.3"]
    assert got == sent


def test_actions_and_event_reports_carry_their_type_and_data() -> None:
    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        seen.append(command)
        assert association is not None
        association.respond(command, c.SUCCESS, identifier=b"34" if sink else None)

    seen: list[Command] = []
    with door(Desk(on_handle=handle)) as d, connect(d.port, roles={COMMIT: (False, True)}) as peer:
        assert peer.action(COMMIT, f"{COMMIT}.1", 1, b"12") == (0, b"34")
        assert peer.event_report(COMMIT, f"{COMMIT}.1", 2, None) == (0, None)
        assert [command.name for command in seen] == ["N-ACTION", "N-EVENT-REPORT"]
        assert seen[0].integer(c.ACTION_TYPE_ID) == 1
        assert seen[1].integer(c.EVENT_TYPE_ID) == 2
        assert {command.sop_instance_uid for command in seen} == {f"{COMMIT}.1"}
        assert seen[0].context.requestor_scp


def test_what_the_acceptor_does_not_take_is_known_before_anything_is_sent() -> None:
    with (
        door(Desk(on_admit=lambda *_: Admission({1: IMPLICIT, 3: 4}))) as d,
        connect(d.port) as peer,
    ):
        assert not peer.storable(CT)
        with pytest.raises(NotSupported):
            peer.store(CT, "1.2", EXPLICIT, b"12")
        with pytest.raises(NotSupported):
            next(peer.find(STUDY_FIND, b"12"))
        assert peer.echo() == 0


def test_a_rejection_says_whether_to_try_again() -> None:
    admission = Admission(reject=REJECT_LOCAL_LIMIT)
    with (
        door(Desk(on_admit=lambda *_: admission)) as d,
        pytest.raises(Rejected, match="result 2, source 3, reason 2") as raised,
    ):
        connect(d.port)
    assert raised.value.transient


def test_nobody_at_the_address_is_a_peer_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(PeerAway, match="no connection"):
        connect(port)


# --- acceptors that misbehave -------------------------------------------------------------------


@contextlib.contextmanager
def scripted(*replies: bytes | None) -> Iterator[int]:
    """An acceptor that answers whatever arrives with these bytes in turn, then closes.

    None stands for silence. An empty answer closes at once.
    """

    def serve() -> None:
        with contextlib.suppress(OSError):
            sock, _ = listening.accept()
            with sock:
                for reply in replies:
                    if not sock.recv(1 << 20):
                        return
                    if reply is None:
                        over.wait(10)
                        return
                    sock.sendall(reply)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass

    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        over.set()
        thread.join(5)


ACCEPTED = encode_associate_ac(
    AssociateAc(
        tuple(
            AnsweredContext(2 * n + 1, 0, syntaxes[0]) for n, (_, syntaxes) in enumerate(CONTEXTS)
        )
    )
)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (encode_reject((1, 1, 7)), Rejected),
        (encode_abort(2, 0), PeerAway),
        (b"", PeerAway),
        (ACCEPTED[:30], PeerAway),
        (None, PeerAway),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", PeerBrokeProtocol),
        (RELEASE_RP_PDU, PeerBrokeProtocol),
        (b"\2\0\xff\xff\xff\xff", PeerBrokeProtocol),
        (b"\3\0\0\0\0\7" + bytes(7), PeerBrokeProtocol),
        (b"\3\0\0\0\0\2" + bytes(2), PeerBrokeProtocol),
        (b"\2\0\0\0\0\4" + bytes(4), PeerBrokeProtocol),
        (b"\2\0" + struct.pack(">I", 70) + bytes(70), PeerBrokeProtocol),
    ],
)
def test_a_bad_answer_to_a_proposal_is_an_error_in_time(
    reply: bytes | None, error: type[Exception]
) -> None:
    begun = time.monotonic()
    with scripted(reply) as port, pytest.raises(error):
        connect(port)
    assert time.monotonic() - begun < 5


def response(field: int, status: int, message_id: int = 1) -> bytes:
    return pdus(1, request(field, e0120=message_id, e0900=status))


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (encode_abort(0, 0), PeerAway),
        (b"", PeerAway),
        (None, PeerAway),
        (RELEASE_RQ_PDU, PeerAway),
        (RELEASE_RP_PDU, PeerBrokeProtocol),
        (b"\x04\0\0\0\0\2\0\0", PeerBrokeProtocol),
        (ACCEPTED, PeerBrokeProtocol),
        (response(0x8001, 0), PeerBrokeProtocol),
        (response(0x8030, 0, message_id=5), PeerBrokeProtocol),
        (response(0x8030, 0)[:20], PeerAway),
        (bytes(12), PeerBrokeProtocol),
    ],
)
def test_a_bad_response_ends_the_association_with_an_error_in_time(
    reply: bytes | None, error: type[Exception]
) -> None:
    begun = time.monotonic()
    with scripted(ACCEPTED, reply) as port:
        peer = connect(port, response_timeout_s=1)
        with peer:
            with pytest.raises(error):
                peer.echo()
            with pytest.raises(PeerAway):
                peer.echo()
    assert time.monotonic() - begun < 5


def test_requests_of_the_acceptor_are_refused_and_the_answer_still_awaited() -> None:
    odd = pdus(1, request(c.N_EVENT_REPORT_RQ, data=True), b"12") + pdus(1, request(c.C_ECHO_RQ))
    with scripted(ACCEPTED, odd + response(0x8030, 0x0122)) as port:
        peer = connect(port)
        assert peer.echo() == 0x0122
        peer.abort()


def test_an_answer_for_what_was_not_proposed_is_not_used() -> None:
    odd = AssociateAc(
        (
            AnsweredContext(1, 0, EXPLICIT),  # not the syntax that was proposed
            AnsweredContext(3, 0, EXPLICIT),
            AnsweredContext(99, 0, EXPLICIT),
            AnsweredContext(7, 3, IMPLICIT),
        )
    )
    with scripted(encode_associate_ac(odd)) as port:
        peer = connect(port)
        assert list(peer.contexts) == [3]
        peer.abort()


def test_a_peer_that_never_reads_is_given_up() -> None:
    with scripted(ACCEPTED, None) as port:
        peer = connect(port)
        begun = time.monotonic()
        with pytest.raises(PeerAway):
            peer.store(CT, "1.2", EXPLICIT, bytes(50_000_000))
        assert time.monotonic() - begun < 5
        peer.abort()


def test_the_proposal_says_who_we_are_and_what_we_ask() -> None:
    desk = Desk()
    with door(desk) as d, connect(d.port, roles={CT: (True, True)}):
        request = desk.requests[0]
        assert (request.called_ae_title, request.calling_ae_title) == ("PEER", "SEBAGO")
        assert request.roles == {CT: (True, True)}
        assert request.max_pdu_bytes == IDENTITY.pdu_bytes_max
        assert [context.id for context in request.contexts] == [1, 3, 5, 7, 9, 11]
        assert decode_associate_rq(pdu_body(b"\0" * 6 + _again(request))).contexts


def _again(request: object) -> bytes:
    from sebago.dimse.associate import AssociateRq, encode_associate_rq

    assert isinstance(request, AssociateRq)
    return encode_associate_rq(request)[6:]
