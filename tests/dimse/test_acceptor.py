"""The acceptor over real sockets: what is answered, what ends an association, and when."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from sebago.dimse import (
    Admission,
    Association,
    Command,
    ProposedContext,
    Sink,
    Timeouts,
)
from sebago.dimse import command as c
from sebago.dimse.associate import (
    CommonExtended,
    UserIdentity,
    decode_associate_ac,
    encode_associate_rq,
    pdu_body,
)
from sebago.dimse.pdu import REJECT_CALLED_AE, RELEASE_RQ_PDU, encode_abort
from sebago.errors import DiskFull, Mismatch, PeerAway
from tests.dimse.live import (
    CT,
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    Desk,
    InMemory,
    Raw,
    cancel,
    door,
    echo,
    elements_of,
    find,
    pdus,
    proposal,
    request,
    store,
    told,
)


def test_an_echo_a_store_and_a_release() -> None:
    data = os.urandom(100_001)
    with door() as d, Raw(d.port) as peer:
        assert told(peer.associate()) == "accept"
        peer.send(echo())
        assert told(peer.pdu() or b"") == "status-0000"
        peer.send(store(data, uid="1.2.3"))
        elements, _ = peer.message()
        assert elements[c.STATUS] == b"\0\0"
        assert elements[c.AFFECTED_SOP_CLASS_UID].rstrip(b"\0").decode() == CT
        assert elements[c.AFFECTED_SOP_INSTANCE_UID] == b"1.2.3\0"
        assert elements[c.MESSAGE_ID_RESPONDED_TO] == b"\7\0"
        peer.send(RELEASE_RQ_PDU)
        assert peer.ended() == "released"
        assert d.desk.ended.acquire(timeout=5)
        assert d.desk.stored == [("1.2.3", data)]
        assert d.desk.commands[1].transfer_syntax_uid == EXPLICIT


def test_messages_that_are_sent_without_waiting_for_answers_are_answered_in_order() -> None:
    with door() as d, Raw(d.port) as peer:
        peer.associate(async_ops=(0, 0))
        peer.send(b"".join(store(b"%d" % n * 2, uid=f"1.{n}") for n in range(1, 40)) + echo())
        for n in range(1, 40):
            elements, _ = peer.message()
            assert elements[c.AFFECTED_SOP_INSTANCE_UID].rstrip(b"\0").decode() == f"1.{n}"
        assert told(peer.pdu() or b"") == "status-0000"


def test_every_part_of_a_proposal_is_answered_exactly() -> None:
    contexts = tuple(
        ProposedContext(2 * n + 1, CT if n % 2 else f"1.2.{n}", (IMPLICIT, EXPLICIT))
        for n in range(128)
    )

    def admit(*_: object) -> Admission:
        answered: dict[int, str | int] = dict.fromkeys(range(1, 200, 2), EXPLICIT)
        answered |= {3: 1, 5: 4, 7: "1.2.840.10008.1.2.4.50"}
        return Admission(
            answered,
            roles={CT: (True, True), "1.2.9": (True, True)},
            extended={CT: b"\1", "1.2.9": b"\1"},
            user_identity_response=b"hello",
        )

    with door(Desk(on_admit=admit)) as d:
        for asked in (True, False):
            with Raw(d.port) as peer:
                answer = peer.associate(
                    contexts=contexts,
                    async_ops=(5, 0),
                    roles={CT: (False, True)},
                    extended={CT: b"\0\1\2"},
                    common_extended=(CommonExtended(CT, "1.2.840.10008.4.2", ("1.2.3",)),),
                    user_identity=UserIdentity(1, asked, b"somebody"),
                )
                said = decode_associate_ac(pdu_body(answer))
                assert [context.id for context in said.contexts] == [2 * n + 1 for n in range(128)]
                results = {context.id: context.result for context in said.contexts}
                assert results[1] == 0
                assert (results[3], results[5], results[7]) == (1, 4, 4)
                assert results[199] == 0
                assert results[201] == 3
                assert said.async_ops == (1, 1)
                assert said.roles == {CT: (False, True)}
                assert said.extended == {CT: b"\1"}
                assert said.user_identity_response == (b"hello" if asked else None)
                assert said.ae_fields == b"SEBAGO".ljust(16) + b"TESTER".ljust(16) + bytes(32)
                assert said.implementation_version == "TESTING"


def test_a_plain_proposal_is_answered_without_what_it_did_not_ask() -> None:
    with door() as d, Raw(d.port) as peer:
        said = decode_associate_ac(pdu_body(peer.associate()))
        assert said.async_ops is None
        assert not said.roles
        assert not said.extended
        assert said.user_identity_response is None
        assert said.max_pdu_bytes == 131072


def test_a_handler_that_rejects_is_told_to_the_peer_and_one_that_fails_means_try_again() -> None:
    def admit(request: object, address: str) -> Admission:
        assert address == "127.0.0.1"
        if len(desk.requests) == 1:
            return Admission(reject=REJECT_CALLED_AE)
        raise RuntimeError("the register is away")

    desk = Desk(on_admit=admit)
    with door(desk) as d:
        for expected in ("reject-1-1-7", "reject-2-3-1"):
            with Raw(d.port) as peer:
                peer.send(encode_associate_rq(proposal()))
                assert peer.ended() == expected
        assert not desk.ended.acquire(blocking=False)


def test_over_the_limit_is_transient_and_room_is_made_by_a_release() -> None:
    with door(associations_max=2) as d, Raw(d.port) as first, Raw(d.port) as second:
        assert told(first.associate()) == "accept"
        assert told(second.associate()) == "accept"
        with Raw(d.port) as third:
            third.send(encode_associate_rq(proposal()))
            assert third.ended() == "reject-2-3-2"
        first.send(RELEASE_RQ_PDU)
        assert first.ended() == "released"
        assert d.desk.ended.acquire(timeout=5)
        deadline = time.monotonic() + 5
        while d.acceptor.counters.associations_open > 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with Raw(d.port) as third:
            assert told(third.associate()) == "accept"


def test_a_sink_that_fails_is_answered_with_its_status_and_the_association_goes_on() -> None:
    class Full(InMemory):
        def room(self, n: int) -> memoryview:
            if self._length > 50_000:
                raise DiskFull("no room to store this study, try again later " + "x" * 60)
            return super().room(n)

    class Odd(InMemory):
        def filled(self, n: int) -> None:
            raise RuntimeError("a mistake in the sink")

    sinks: list[object] = [Full(), DiskFull("at once"), Odd(), InMemory()]

    def sink(association: Association, command: Command) -> Sink | None:
        made = sinks.pop(0)
        if isinstance(made, Exception):
            raise made
        assert isinstance(made, InMemory)
        return made

    with door(Desk(on_sink=sink)) as d, Raw(d.port) as peer:
        peer.associate()
        for status in (0xA700, 0xA700, 0x0110, 0x0000):
            peer.send(store(bytes(300_000)))
            elements, _ = peer.message()
            assert int.from_bytes(elements[c.STATUS], "little") == status
            if status:
                assert 0 < len(elements[c.ERROR_COMMENT]) <= 64
        assert len(d.desk.stored) == 1


@pytest.mark.parametrize(
    ("raised", "status"),
    [(Mismatch("another study"), 0xA900), (ValueError("a mistake"), 0x0110), (None, 0x0110)],
)
def test_a_handler_that_fails_or_forgets_to_answer_is_answered_for(
    raised: Exception | None, status: int
) -> None:
    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        if raised is not None:
            raise raised

    with door(Desk(on_handle=handle)) as d, Raw(d.port) as peer:
        peer.associate()
        for message in (store(b"12"), echo()):
            peer.send(message)
            elements, _ = peer.message()
            assert int.from_bytes(elements[c.STATUS], "little") == status


def test_a_failure_at_another_system_does_not_end_the_association() -> None:
    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        raise PeerAway("the destination of a move does not answer")

    with door(Desk(on_handle=handle)) as d, Raw(d.port) as peer:
        peer.associate()
        for _ in range(2):
            peer.send(echo())
            assert told(peer.pdu() or b"") == "status-A700"


def test_answers_to_a_query_arrive_whole_in_the_fragments_that_the_peer_can_take() -> None:
    identifier = os.urandom(5_000)

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        for _ in range(3):
            association.respond(command, c.PENDING, identifier=identifier)
        association.respond(command, c.SUCCESS)

    with door(Desk(on_handle=handle)) as d:
        for max_pdu_bytes in (0, 8, 9, 100, 16384):
            with Raw(d.port) as peer:
                peer.associate(max_pdu_bytes=max_pdu_bytes)
                peer.send(find(b"12"))
                if max_pdu_bytes >= 200 or max_pdu_bytes == 0:
                    for _ in range(3):
                        assert peer.message()[1] == identifier
                    assert peer.message()[1] is None
                else:
                    longest = 0
                    for _ in range(100):
                        pdu = peer.pdu()
                        assert pdu is not None
                        longest = max(longest, len(pdu) - 6)
                    assert longest == max_pdu_bytes & ~1


def test_a_query_is_cancelled_while_it_is_answered() -> None:
    seen = threading.Event()

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        for _ in range(2000):
            if association.cancelled(command.message_id):
                seen.set()
                association.respond(command, c.CANCELLED)
                return
            association.respond(command, c.PENDING, identifier=b"12")
            time.sleep(0.002)

    with door(Desk(on_handle=handle)) as d, Raw(d.port) as peer:
        peer.associate()
        peer.send(find())
        peer.message()
        peer.send(cancel(message_id=8))  # another message: nothing to it
        peer.send(cancel()[:9])
        peer.message()
        peer.send(cancel()[9:])
        statuses = {peer.message()[0][c.STATUS]}
        while b"\0\xfe" not in statuses:
            statuses.add(peer.message()[0][c.STATUS])
        assert seen.is_set()
        peer.send(cancel())  # too late: nothing to cancel, nothing to answer
        peer.send(RELEASE_RQ_PDU)
        assert peer.ended() == "released"


@pytest.mark.parametrize("ending", ["abort", "close", "release"])
def test_a_query_stops_when_nobody_waits_for_it(ending: str) -> None:
    outcome: list[BaseException] = []

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        try:
            for _ in range(3000):
                association.cancelled(command.message_id)
                time.sleep(0.002)
        except PeerAway as away:
            outcome.append(away)
            raise

    with door(Desk(on_handle=handle)) as d, Raw(d.port) as peer:
        peer.associate()
        peer.send(find())
        time.sleep(0.05)
        if ending == "abort":
            peer.send(encode_abort(0, 0))
        elif ending == "close":
            peer.sock.close()
        else:
            peer.send(RELEASE_RQ_PDU)
            assert peer.ended() == "released"
        assert d.desk.ended.acquire(timeout=3)
        assert len(outcome) == 1


def test_a_get_stores_on_its_own_association_and_is_cancelled_in_between() -> None:
    sent = [os.urandom(70_000), os.urandom(1)]
    statuses: list[int] = []

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        assert association.storable(CT) == (EXPLICIT,)
        assert association.context_for(CT, IMPLICIT) is None
        for number, data in enumerate(sent):
            if association.cancelled(command.message_id):
                association.respond(command, c.CANCELLED, completed=number, remaining=1)
                return
            halves = [memoryview(data)[:30], memoryview(data)[30:]]
            statuses.append(association.store(CT, f"1.2.{number}", EXPLICIT, halves))
            association.respond(command, c.PENDING, completed=number + 1, remaining=1)

    contexts = (ProposedContext(1, STUDY_GET, (IMPLICIT,)), ProposedContext(3, CT, (EXPLICIT,)))
    with door(Desk(on_handle=handle)) as d, Raw(d.port) as peer:
        peer.associate(contexts=contexts, roles={CT: (False, True)})
        peer.send(pdus(1, request(c.C_GET_RQ, STUDY_GET, data=True, e0700=0), b"12"))
        elements, data = peer.message()
        assert elements[c.COMMAND_FIELD] == b"\1\0"
        assert elements[c.AFFECTED_SOP_INSTANCE_UID].rstrip(b"\0") == b"1.2.0"
        assert data == sent[0]
        peer.send(cancel(context_id=1))
        peer.send(
            pdus(
                3,
                c.encode_command(
                    {
                        c.COMMAND_FIELD: 0x8001,
                        c.MESSAGE_ID_RESPONDED_TO: int.from_bytes(elements[c.MESSAGE_ID], "little"),
                        c.DATA_SET_TYPE: c.NO_DATA_SET,
                        c.STATUS: 0xB000,
                    }
                ),
            )
        )
        assert peer.message()[0][c.STATUS] == b"\0\xff"
        final, _ = peer.message()
        assert final[c.STATUS] == b"\0\xfe"
        assert final[c.COMPLETED] == b"\1\0"
        assert statuses == [0xB000]


def test_an_identifier_without_an_end_is_aborted() -> None:
    with door() as d, Raw(d.port) as peer:
        peer.associate()
        peer.send(find(bytes(1 << 20)))
        assert told(peer.pdu() or b"") == "status-0000"
        peer.send(find(bytes((1 << 20) + 2)))
        assert peer.ended() == "abort-0-0"


def test_a_silent_association_is_aborted_and_a_dripping_pdu_too() -> None:
    timeouts = Timeouts(pdu_s=0.6, stall_s=1.0, idle_s=0.8, closing_s=1)
    with door(timeouts=timeouts) as d:
        with Raw(d.port) as peer:
            peer.associate()
            begun = time.monotonic()
            assert peer.ended() == "abort-2-0"
            assert 0.7 < time.monotonic() - begun < 3
        for message in (echo(), store(bytes(100))):
            with Raw(d.port) as peer:
                peer.associate()
                begun = time.monotonic()
                dripper = threading.Thread(target=_drip, args=(peer, message))
                dripper.start()
                assert peer.ended() in ("abort-2-0", "abort-2-0 reset")
                assert 0.5 < time.monotonic() - begun < 3
                dripper.join()
        with Raw(d.port) as peer:  # a message that stops between two of its PDUs
            peer.associate()
            begun = time.monotonic()
            peer.send(pdus(3, request(c.C_STORE_RQ, CT, data=True)))
            assert peer.ended() == "abort-2-0"
            assert 0.9 < time.monotonic() - begun < 4


def _drip(peer: Raw, message: bytes) -> None:
    try:
        for n in range(len(message)):
            peer.send(message[n : n + 1])
            time.sleep(0.1)
    except OSError:
        pass


def test_a_peer_that_does_not_read_its_answers_does_not_hold_its_thread() -> None:
    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        for _ in range(2000):
            association.respond(command, c.PENDING, identifier=bytes(100_000))

    timeouts = Timeouts(pdu_s=0.5, stall_s=1, idle_s=5, closing_s=1)
    with door(Desk(on_handle=handle), timeouts=timeouts) as d, Raw(d.port) as peer:
        peer.associate()
        peer.send(find())
        assert d.desk.ended.acquire(timeout=5)


def test_who_brings_no_proposal_is_closed_in_time_also_when_it_drips() -> None:
    with door(associate_timeout_s=0.7) as d, Raw(d.port) as silent, Raw(d.port) as dripping:
        begun = time.monotonic()
        dripper = threading.Thread(target=_drip, args=(dripping, encode_associate_rq(proposal())))
        dripper.start()
        assert silent.ended() == "closed"
        assert dripping.ended() in ("closed", "reset")
        assert 0.5 < time.monotonic() - begun < 3
        dripper.join()
        assert d.acceptor.counters.connections_refused == 2


def test_a_peer_that_does_not_close_after_a_release_is_closed() -> None:
    timeouts = Timeouts(pdu_s=5, stall_s=5, idle_s=5, closing_s=0.4)
    with door(timeouts=timeouts) as d, Raw(d.port) as peer:
        peer.associate()
        peer.send(RELEASE_RQ_PDU)
        assert peer.ended() == "released"
        assert d.desk.ended.acquire(timeout=5)  # no thread waits for it
        deadline = time.monotonic() + 3
        while d.acceptor.counters.lobby:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_stopping_aborts_the_idle_and_lets_a_message_finish() -> None:
    begun, go = threading.Event(), threading.Event()

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        if command.field == c.C_STORE_RQ:
            begun.set()
            go.wait(5)
        association.respond(command, c.SUCCESS)

    with door(Desk(on_handle=handle)) as d, Raw(d.port) as idle, Raw(d.port) as busy:
        with Raw(d.port) as lobby:
            idle.associate()
            busy.associate()
            busy.send(store(bytes(10_000)))
            assert begun.wait(5)
            d.acceptor.stop(5.0)
            assert idle.ended() == "abort-0-0"
            assert lobby.ended() == "abort-0-0"
        go.set()
        assert busy.ended() == "status-0000 abort-0-0"


def test_stopping_breaks_what_does_not_end_within_the_grace() -> None:
    with door() as d, Raw(d.port) as half:
        half.associate()
        half.send(store(bytes(10_000))[:5_000])
        time.sleep(0.1)
        d.acceptor.stop(0.3)
        begun = time.monotonic()
        half.ended()
        assert time.monotonic() - begun < 3
        assert d.desk.ended.acquire(timeout=3)


def test_two_acceptors_share_one_listening_socket() -> None:
    from sebago.dimse import Acceptor
    from tests.dimse.live import IDENTITY

    desks = [Desk(), Desk()]
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        acceptors = [Acceptor(desk, [listening], identity=IDENTITY) for desk in desks]
        threads = [threading.Thread(target=a.serve_forever) for a in acceptors]
        for thread in threads:
            thread.start()
        for _ in range(30):
            with Raw(listening.getsockname()[1]) as peer:
                peer.associate()
                peer.send(echo())
                assert told(peer.pdu() or b"") == "status-0000"
                peer.send(RELEASE_RQ_PDU)
                assert peer.ended() == "released"
        for acceptor, thread in zip(acceptors, threads, strict=True):
            acceptor.stop(1)
            thread.join(10)
        assert sum(len(desk.commands) for desk in desks) == 30


def test_the_handler_finds_its_own_object_and_the_peer_on_the_association() -> None:
    seen: list[Association] = []

    def handle(association: Association, command: Command, sink: Sink | None) -> None:
        seen.append(association)
        association.respond(command, c.SUCCESS)

    with door(Desk(on_handle=handle)) as d, Raw(d.port) as peer:
        peer.associate(calling_ae_title="ct 1", implementation_version="V1")
        peer.send(echo(), store(bytes(1000)))
        peer.message()
        peer.message()
        association = seen[0]
        assert association.caller == "127.0.0.1"
        assert association.peer.calling_ae_title == "ct 1"
        assert association.peer.called_ae_title == "SEBAGO"
        assert association.peer.implementation_version == "V1"
        assert association.bytes_received == 1000
        assert association.commands == 2
        assert {context.abstract_syntax for context in association.contexts.values()} == {
            VERIFICATION,
            CT,
            STUDY_FIND,
        }


def test_requests_that_make_no_sense_are_answered_and_not_handled() -> None:
    cases = [
        (pdus(1, request(0x0555)), 0x0211),
        (pdus(1, request(0x0555, data=True), b"12"), 0x0211),
        (pdus(1, request(c.C_ECHO_RQ, data=True), b"12"), 0x0212),
        (pdus(3, request(c.C_STORE_RQ, CT, e1000="1.2")), 0xC000),
        (pdus(5, request(c.C_FIND_RQ, STUDY_FIND)), 0xC000),
    ]
    with door() as d, Raw(d.port) as peer:
        peer.associate()
        for message, status in cases:
            peer.send(message)
            pdu = peer.pdu()
            assert pdu is not None
            elements = elements_of(pdu[12:])
            assert int.from_bytes(elements[c.STATUS], "little") == status
        assert not d.desk.commands
