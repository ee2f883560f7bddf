"""What arrives: however it is cut, the same comes of it, and nothing is taken on trust."""

from __future__ import annotations

import contextlib
import itertools
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dimse import command as c
from sebago.dimse.inflow import Inflow, Signal
from sebago.dimse.negotiation import AcceptedContext
from sebago.dimse.pdu import RELEASE_RQ_PDU, Aborted, ProtocolViolation, encode_abort
from sebago.errors import DiskFull, PeerBrokeProtocol
from tests.dimse.live import CT, EXPLICIT, VERIFICATION, InMemory, pdus, request

CONTEXTS = {
    1: AcceptedContext(1, VERIFICATION, EXPLICIT),
    3: AcceptedContext(3, CT, EXPLICIT),
}


class Grudging(InMemory):
    """A sink that gives a few bytes of room at a time, and counts how it is treated."""

    def __init__(self, most: int = 1 << 20, *, fails_at: int | None = None) -> None:
        super().__init__()
        self.most = most
        self.fails_at = fails_at
        self.abandoned = 0
        self.calls: list[str] = []

    def room(self, n: int) -> memoryview:
        self.calls.append("room")
        if self.fails_at is not None and self._length >= self.fails_at:
            raise DiskFull("no room left")
        return super().room(min(n, self.most))

    def filled(self, n: int) -> None:
        self.calls.append("filled")
        assert 0 < n <= self.most
        super().filled(n)

    def abandon(self) -> None:
        self.abandoned += 1


def run(
    inflow: Inflow, stream: bytes, reads: list[int], sink: Grudging | None = None
) -> list[object]:
    """Feed a stream in reads of these lengths, over and over; the events that come of it."""
    events: list[object] = []
    offset, turn = 0, 0
    while True:
        while (event := inflow.step()) is not None:
            events.append(event)
            if isinstance(event, c.Command) and event.has_data_set and sink is not None:
                inflow.sink = sink
        if offset == len(stream):
            return events
        room = inflow.room()
        assert len(room) > 0
        beyond = inflow.beyond(room)
        wanted = reads[turn % len(reads)]
        turn += 1
        piece = stream[offset : offset + min(wanted, len(room) + (len(beyond) if beyond else 0))]
        first = piece[: len(room)]
        room[: len(first)] = first
        if beyond is not None and len(piece) > len(room):
            beyond[: len(piece) - len(first)] = piece[len(first) :]
        offset += len(piece)
        del room, beyond
        inflow.filled(len(piece))


@st.composite
def cut_messages(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A C-STORE cut into fragments and PDUs as no peer would, and its data set."""
    data = draw(st.binary(max_size=3000))
    command = request(c.C_STORE_RQ, CT, data=True, e1000="1.2.3", e0700=0)
    fragments: list[bytes] = []
    for part, flag in ((command, 1), (data, 0)):
        cuts = sorted(draw(st.lists(st.integers(0, len(part)), max_size=6)))
        places = [0, *cuts, len(part)]
        for index, (start, end) in enumerate(itertools.pairwise(places)):
            last = 2 if index == len(places) - 2 else 0
            fragments.append(struct.pack(">IBB", end - start + 2, 3, flag | last) + part[start:end])
    stream = b""
    while fragments:
        n = draw(st.integers(1, len(fragments)))
        body = b"".join(fragments[:n])
        stream += struct.pack(">BxI", 4, len(body)) + body
        fragments = fragments[n:]
    return stream, data


@given(cut_messages(), st.lists(st.integers(1, 3000), min_size=1, max_size=8), st.integers(1, 500))
def test_however_a_message_is_split_the_same_data_set_arrives(
    message: tuple[bytes, bytes], reads: list[int], most: int
) -> None:
    stream, data = message
    inflow = Inflow(CONTEXTS, pdu_bytes_max=131072)
    sink = Grudging(most)
    events = run(inflow, stream + RELEASE_RQ_PDU, reads, sink)
    assert len(events) == 3
    assert isinstance(events[0], c.Command)
    assert events[0].context is CONTEXTS[3]
    assert events[1:] == [Signal.END_OF_DATA, Signal.RELEASE_RQ]
    assert sink.data == data
    assert inflow.data_bytes == len(data)
    assert inflow.sink_error is None
    assert not inflow.mid_pdu
    assert not inflow.mid_message


@given(st.integers(1, 120), st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_every_pdu_is_counted_however_it_is_read(fragment: int, reads: list[int]) -> None:
    data = bytes(500)
    stream = pdus(3, request(c.C_STORE_RQ, CT, data=True), data, fragment=fragment)
    count, rest = 0, stream
    while rest:
        rest = rest[6 + int.from_bytes(rest[2:6], "big") :]
        count += 1
    inflow = Inflow(CONTEXTS, pdu_bytes_max=0)
    run(inflow, stream, reads, Grudging())
    assert inflow.pdus == count


@given(st.binary(max_size=300), st.lists(st.integers(1, 300), min_size=1, max_size=5))
def test_any_bytes_are_events_or_a_broken_protocol(stream: bytes, reads: list[int]) -> None:
    inflow = Inflow(CONTEXTS, pdu_bytes_max=131072)
    with contextlib.suppress(PeerBrokeProtocol):
        run(inflow, stream, reads)


@given(cut_messages(), st.data())
def test_a_message_with_bytes_changed_is_events_or_a_broken_protocol(
    message: tuple[bytes, bytes], data: st.DataObject
) -> None:
    stream = bytearray(message[0])
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, min(len(stream) - 1, 250)))] = data.draw(
            st.integers(0, 255)
        )
    sink = Grudging()
    with contextlib.suppress(PeerBrokeProtocol):
        run(Inflow(CONTEXTS, pdu_bytes_max=131072), bytes(stream), [4096], sink)
    assert len(sink.data) <= len(stream)


def test_lengths_that_are_only_claimed_allocate_nothing() -> None:
    inflow = Inflow(CONTEXTS, pdu_bytes_max=0)
    sink = Grudging()
    tracemalloc.start()
    try:
        command = pdus(3, request(c.C_STORE_RQ, CT, data=True))
        run(inflow, command + struct.pack(">BxIIBB", 4, 0xFFFFFFFF, 0xFFFFFFF0, 3, 0), [99], sink)
        room = inflow.room()
        assert 0 < len(room) <= 64 * 1024
        assert tracemalloc.get_traced_memory()[1] < 512 * 1024
    finally:
        tracemalloc.stop()


def test_a_sink_that_fails_costs_the_data_set_and_not_the_association() -> None:
    inflow = Inflow(CONTEXTS, pdu_bytes_max=0)
    sink = Grudging(fails_at=100)
    stream = pdus(3, request(c.C_STORE_RQ, CT, data=True), bytes(5000), fragment=64)
    events = run(inflow, stream + RELEASE_RQ_PDU, [77], sink)
    assert events[1:] == [Signal.END_OF_DATA, Signal.RELEASE_RQ]
    assert isinstance(inflow.sink_error, DiskFull)
    assert sink.abandoned == 1


def test_a_sink_is_abandoned_when_its_association_ends() -> None:
    inflow = Inflow(CONTEXTS, pdu_bytes_max=0)
    sink = Grudging()
    stream = pdus(3, request(c.C_STORE_RQ, CT, data=True), bytes(500), fragment=64)
    run(inflow, stream[:300], [64], sink)
    inflow.give_up()
    inflow.give_up()
    assert sink.abandoned == 1


def test_the_room_of_a_sink_is_let_go_before_it_is_told_that_it_was_filled() -> None:
    class Growing(Grudging):
        def room(self, n: int) -> memoryview:
            view = memoryview(self.memory)[len(self.memory) - 64 :]
            return view[:n]

        def filled(self, n: int) -> None:
            self.memory.extend(bytes(64))  # raises BufferError while a view is held

        memory = bytearray(64)

    inflow = Inflow(CONTEXTS, pdu_bytes_max=0)
    stream = pdus(3, request(c.C_STORE_RQ, CT, data=True), bytes(5000), fragment=300)
    run(inflow, stream, [500], Growing())
    assert inflow.sink_error is None


def test_an_abort_keeps_its_source_and_reason() -> None:
    assert run(Inflow(CONTEXTS, pdu_bytes_max=0), encode_abort(2, 6), [3]) == [Aborted(2, 6)]


def test_a_command_that_does_not_end_is_not_collected_for_ever() -> None:
    inflow = Inflow(CONTEXTS, pdu_bytes_max=131072)
    piece = struct.pack(">BxIIBB", 4, 30006, 30002, 3, 1) + bytes(30000)
    with pytest.raises(ProtocolViolation, match="does not end"):
        run(inflow, piece * 3, [4096])


def test_empty_fragments_without_end_are_not_read_for_ever() -> None:
    inflow = Inflow(CONTEXTS, pdu_bytes_max=131072)
    with pytest.raises(ProtocolViolation, match="does not end"):
        run(inflow, struct.pack(">BxIIBB", 4, 6, 2, 3, 1) * 20_000, [4096])
