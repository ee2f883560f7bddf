"""The format: what is encoded is decoded, what was changed is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.journal.record import (
    HEADER_BYTES,
    HEADER_COPY,
    PAGE,
    RECORD_MAGIC,
    BadHeader,
    RecordHeader,
    RecordKind,
    SegmentHeader,
    SegmentKind,
    _sealed,
    batch_offsets,
    bears_nonce,
    decode_record,
    decode_segment,
    encode_record,
    encode_segment,
    record_bytes,
)

SEGMENT = SegmentHeader(
    SegmentKind.SHARED, bytes(range(16)), 7, 1 << 28, 1_700_000_000_000_000, "w1"
)
RECORD = RecordHeader(
    RecordKind.DATA, bytes(range(16)), 7, 8192, 1136, 1000, 8, 99, b"d" * 32, -5, 4096
)

u64 = st.integers(0, 2**63)


@st.composite
def records(draw: st.DrawFn) -> RecordHeader:
    data_bytes, provenance_bytes = draw(u64), draw(st.integers(0, 65536))
    offset = draw(u64)
    return RecordHeader(
        kind=draw(st.sampled_from(RecordKind)),
        nonce=draw(st.binary(min_size=16, max_size=16)),
        segment=draw(u64),
        offset=offset,
        total=record_bytes(data_bytes, provenance_bytes) + draw(st.integers(0, 511)) * 8,
        data_bytes=data_bytes,
        provenance_bytes=provenance_bytes,
        provenance_crc=draw(st.integers(0, 2**32 - 1)),
        digest=draw(st.binary(min_size=32, max_size=32)),
        received_us=draw(st.integers(-(2**63), 2**63 - 1)),
        synced=draw(st.integers(0, offset)),
    )


@given(records())
def test_a_record_header_is_read_back_as_it_was_written(header: RecordHeader) -> None:
    raw = encode_record(header)
    assert len(raw) == HEADER_BYTES
    assert decode_record(raw, header.offset) == header
    assert bears_nonce(raw, header.nonce)


def test_a_segment_header_is_read_back_from_both_its_places() -> None:
    block = encode_segment(SEGMENT)
    assert len(block) == PAGE
    for at in (0, HEADER_COPY):
        assert decode_segment(block[at : at + HEADER_BYTES]) == SEGMENT


def test_every_flipped_bit_of_a_header_is_noticed() -> None:
    record = encode_record(RECORD)
    segment = encode_segment(SEGMENT)[:HEADER_BYTES]
    for bit in range(HEADER_BYTES * 8):
        flip = (1 << bit).to_bytes(HEADER_BYTES, "little")
        bad = bytes(a ^ b for a, b in zip(record, flip, strict=True))
        with pytest.raises(BadHeader):
            decode_record(bad, RECORD.offset)
        assert bears_nonce(bad, RECORD.nonce)
        with pytest.raises(BadHeader):
            decode_segment(bytes(a ^ b for a, b in zip(segment, flip, strict=True)))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no record header"),
        (bytes(HEADER_BYTES), "no record header"),
        (_sealed(RECORD_MAGIC + b"\x02\x00"), "format version 2"),
        (_sealed(RECORD_MAGIC + b"\x01\x00\x09\x00"), "kind 9"),
        (_sealed(RECORD_MAGIC + b"\x01\x00\x01\x00"), "another place"),
    ],
)
def test_what_is_no_header_of_this_place_is_refused_with_its_reason(raw: bytes, why: str) -> None:
    with pytest.raises(BadHeader, match=why):
        decode_record(raw, 4096)


def test_a_segment_header_of_an_unknown_kind_is_refused() -> None:
    with pytest.raises(BadHeader, match="kind"):
        decode_segment(_sealed(b"SEBAGO\x00S\x01\x00\x09\x00"))


def test_a_header_in_a_place_it_was_not_written_for_is_refused() -> None:
    with pytest.raises(BadHeader, match="another place"):
        decode_record(encode_record(RECORD), RECORD.offset + 8)


def test_a_writers_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        encode_segment(SegmentHeader(SegmentKind.SHARED, bytes(16), 1, 1, 1, "w" * 17))


def test_what_a_former_life_left_bears_no_nonce_of_this_one() -> None:
    assert not bears_nonce(encode_record(RECORD), b"another nonce 16")
    assert not bears_nonce(b"short", RECORD.nonce)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300)), max_size=8))
def test_records_of_a_batch_follow_each_other_and_end_with_a_page(
    sizes: list[tuple[int, int]],
) -> None:
    placed = batch_offsets(8192, sizes)
    at = 8192
    for (offset, total), (data_bytes, provenance_bytes) in zip(placed, sizes, strict=True):
        assert offset == at
        assert offset % 8 == 0
        assert total >= HEADER_BYTES + data_bytes + provenance_bytes
        at += total
    assert at % PAGE == 0
