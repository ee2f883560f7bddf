"""PDUs from and to bytes: round trips, and any bytes at all."""

from __future__ import annotations

import contextlib
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sebago.dimse.associate import (
    AnsweredContext,
    AssociateAc,
    AssociateRq,
    CommonExtended,
    ProposedContext,
    UserIdentity,
    decode_associate_ac,
    decode_associate_rq,
    encode_associate_ac,
    encode_associate_rq,
    pdu_body,
)
from sebago.dimse.pdu import (
    RELEASE_RQ_PDU,
    ProtocolViolation,
    data_pdus,
    decode_fixed,
    encode_abort,
    encode_reject,
    fragment_bytes_max,
)
from sebago.errors import PeerBrokeProtocol
from tests.dimse.live import proposal

uids = st.text("0123456789.", min_size=1, max_size=64)
titles = st.text("ABCdef 0123_-", min_size=1, max_size=16).filter(lambda t: t == t.strip())
versions = st.text("ABC_0123456789", min_size=1, max_size=16)
numbers = st.integers(0, 0xFFFF)
context_ids = st.lists(st.integers(0, 127).map(lambda n: 2 * n + 1), min_size=1, unique=True)
roles = st.dictionaries(uids, st.tuples(st.booleans(), st.booleans()), max_size=4)
extended = st.dictionaries(uids, st.binary(max_size=20), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> AssociateRq:
    contexts = tuple(
        ProposedContext(n, draw(uids), tuple(draw(st.lists(uids, min_size=1, max_size=3))))
        for n in draw(context_ids)[:8]
    )
    return AssociateRq(
        called_ae_title=draw(titles),
        calling_ae_title=draw(titles),
        contexts=contexts,
        max_pdu_bytes=draw(st.integers(0, 0xFFFFFFFF)),
        implementation_class_uid=draw(uids),
        implementation_version=draw(versions),
        roles=draw(roles),
        async_ops=draw(st.none() | st.tuples(numbers, numbers)),
        extended=draw(extended),
        common_extended=tuple(
            draw(
                st.lists(
                    st.builds(CommonExtended, uids, uids, st.lists(uids, max_size=3).map(tuple)),
                    max_size=3,
                )
            )
        ),
        user_identity=draw(
            st.none()
            | st.builds(
                UserIdentity,
                st.integers(1, 5),
                st.booleans(),
                st.binary(max_size=30),
                st.binary(max_size=30),
            )
        ),
    )


answers = st.builds(
    AssociateAc,
    contexts=context_ids.flatmap(
        lambda ids: st.tuples(
            *(st.builds(AnsweredContext, st.just(n), st.integers(0, 4), uids) for n in ids[:8])
        )
    ),
    max_pdu_bytes=st.integers(0, 0xFFFFFFFF),
    implementation_class_uid=uids,
    implementation_version=versions,
    roles=roles,
    async_ops=st.none() | st.tuples(numbers, numbers),
    extended=extended,
    user_identity_response=st.none() | st.binary(max_size=30),
    ae_fields=st.binary(min_size=64, max_size=64),
)


@given(requests())
def test_a_proposal_that_is_encoded_and_decoded_is_the_same(request: AssociateRq) -> None:
    decoded = decode_associate_rq(pdu_body(encode_associate_rq(request)))
    assert len(decoded.ae_fields) == 64
    assert encode_associate_rq(decoded) == encode_associate_rq(request)
    for name in AssociateRq.__slots__:
        if name != "ae_fields":
            assert getattr(decoded, name) == getattr(request, name), name


@given(answers)
def test_an_answer_that_is_encoded_and_decoded_is_the_same(answer: AssociateAc) -> None:
    assert decode_associate_ac(pdu_body(encode_associate_ac(answer))) == answer


@given(st.binary(max_size=400))
@example(b"")
def test_any_bytes_are_a_proposal_or_a_broken_protocol(body: bytes) -> None:
    for decode in (decode_associate_rq, decode_associate_ac):
        with contextlib.suppress(PeerBrokeProtocol):
            decode(body)


@given(requests(), st.data())
def test_a_proposal_with_bytes_changed_or_cut_off_is_decoded_or_refused(
    request: AssociateRq, data: st.DataObject
) -> None:
    body = bytearray(pdu_body(encode_associate_rq(request)))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    for broken in (body, body[:cut]):
        with contextlib.suppress(PeerBrokeProtocol):
            assert decode_associate_rq(broken).contexts


def test_lengths_that_are_only_claimed_allocate_nothing() -> None:
    body = bytearray(pdu_body(encode_associate_rq(proposal())))
    body[70:72] = b"\xff\xff"
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolViolation, match="claims 65535"):
            decode_associate_rq(body)
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()


@given(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255)))
def test_rejections_and_aborts_keep_their_reasons(values: tuple[int, int, int]) -> None:
    assert decode_fixed(encode_reject(values)) == values
    assert decode_fixed(encode_abort(values[1], values[2])) == (0, *values[1:])


@given(st.binary(max_size=30))
def test_a_pdu_that_has_to_have_ten_bytes_has_ten(pdu: bytes) -> None:
    if len(pdu) == 10 and pdu[2:6] == b"\0\0\0\4":
        decode_fixed(pdu)
    else:
        with pytest.raises(ProtocolViolation):
            decode_fixed(pdu)
    decode_fixed(RELEASE_RQ_PDU)


def plain_fragments(stream: bytes) -> list[tuple[int, int, bytes]]:
    """The oracle: every fragment of P-DATA-TF PDUs, read in the plainest way."""
    out = []
    while stream:
        assert stream[0] == 4
        length = int.from_bytes(stream[2:6], "big")
        body, stream = stream[6 : 6 + length], stream[6 + length :]
        while body:
            item = int.from_bytes(body[:4], "big")
            out.append((body[4], body[5], body[6 : 4 + item]))
            body = body[4 + item :]
    return out


@given(
    st.lists(st.binary(max_size=50), max_size=6),
    st.integers(1, 40).map(lambda n: 2 * n),
    st.booleans(),
)
def test_a_message_part_in_several_buffers_goes_out_whole_and_in_order(
    parts: list[bytes], fragment_max: int, command: bool
) -> None:
    stream = b"".join(map(bytes, data_pdus(9, parts, command=command, fragment_max=fragment_max)))
    fragments = plain_fragments(stream)
    assert b"".join(data for _, _, data in fragments) == b"".join(parts)
    assert {context for context, _, _ in fragments} == {9}
    flags = [flag for _, flag, _ in fragments]
    assert flags[-1] == (3 if command else 2)
    assert all(flag == (1 if command else 0) for flag in flags[:-1])
    assert all(len(data) == fragment_max for _, _, data in fragments[:-1])


def test_an_object_of_many_gigabytes_is_cut_up_as_it_goes() -> None:
    part = memoryview(bytes(1 << 20))
    tracemalloc.start()
    try:
        count = sum(1 for _ in data_pdus(1, [part] * 500, command=False, fragment_max=16378))
        assert count >= 64_000
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("announced", "fragment"),
    [(0, 1 << 20), (8, 2), (9, 2), (16384, 16378), (16383, 16376), (0xFFFFFFFF, 1 << 20)],
)
def test_fragments_are_even_and_fit_what_the_peer_announced(announced: int, fragment: int) -> None:
    assert fragment_bytes_max(announced) == fragment


def test_titles_padded_with_nul_and_uids_padded_with_blanks_are_trimmed() -> None:
    request = proposal(
        ae_fields=b"sebago\0\0\0\0\0\0\0\0\0\0" + b" lower case ".ljust(16) + bytes(32)
    )
    encoded = encode_associate_rq(request)
    decoded = decode_associate_rq(pdu_body(encoded))
    assert decoded.called_ae_title == "sebago"
    assert decoded.calling_ae_title == "lower case"


def test_a_passcode_is_not_shown_when_a_proposal_is_printed() -> None:
    request = proposal(user_identity=UserIdentity(2, True, b"somebody", b"secret"))
    assert "secret" not in repr(request)
    assert "somebody" not in repr(request)
