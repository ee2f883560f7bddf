"""The walk over every element of a data set."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.elements import (
    NESTING_MAX,
    Kind,
    encoding_of,
    implicit_vr,
    inflate,
    outline,
    swapped,
    walk,
    walk_part,
)
from sebago.dicom.scan import scan
from sebago.errors import NotDicom, NotSupported, SebagoError, TooDeep, Truncated
from tests.dicom.giving_strategies import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    Part,
    data_sets,
    element,
    encapsulated,
    encode,
    shared_files,
)


def read_back(data: bytes, syntax: str) -> list[Part]:
    """The parts that a walk finds, put together again."""
    top: list = []
    open_items: list = [top]
    sequences: list = []
    for step in walk(data, syntax):
        if step.kind is Kind.VALUE:
            value = data[step.value_offset : step.value_offset + step.length]
            if not step.little_endian:
                value = swapped(value, step.vr)
            open_items[-1].append(Part(step.tag, step.vr, value))
        elif step.kind is Kind.SEQUENCE:
            sequences.append((step, []))
        elif step.kind is Kind.ITEM:
            open_items.append([])
        elif step.kind is Kind.ITEM_END:
            sequences[-1][1].append(tuple(open_items.pop()))
        elif step.kind is Kind.SEQUENCE_END:
            begin, items = sequences.pop()
            open_items[-1].append(Part(begin.tag, "SQ", items, undefined=begin.length == -1))
    assert len(open_items) == 1
    assert not sequences
    return top


@given(data_sets(), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_what_was_encoded_is_what_the_walk_finds_in_every_encoding(parts, syntax):
    assert read_back(encode(parts, syntax), syntax) == list(parts)


@given(data_sets(), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_the_outline_is_the_top_of_the_walk(parts, syntax):
    data = encode(parts, syntax)
    explicit, little = encoding_of(data, syntax)
    found = list(outline(data, 0, len(data), explicit=explicit, little_endian=little))
    assert [step.tag for step, _ in found] == [part.tag for part in parts]
    assert [end for _, end in found][-1] == len(data)


@given(st.binary(max_size=400), st.sampled_from([EXPLICIT, IMPLICIT, BIG_ENDIAN]))
def test_any_bytes_are_walked_or_refused_by_name(data, syntax):
    try:
        for step in walk(data, syntax):
            assert step.value_offset + max(step.length, 0) <= len(data)
    except SebagoError:
        pass


@given(data_sets(), st.data())
def test_a_data_set_cut_within_an_element_is_truncated(parts, data):
    whole = encode(parts)
    cut = data.draw(st.integers(0, len(whole)))
    try:
        ends = {0} | {
            end for _, end in outline(whole[:cut], 0, cut, explicit=True, little_endian=True)
        }
    except NotDicom:
        return
    assert cut in ends or not whole[max(ends) : cut].strip(b"\0")


def test_undefined_un_is_a_sequence_in_implicit_little_endian():
    inner = element(0x00100020, "LO", "A1", IMPLICIT)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + end
    steps = list(walk(data, EXPLICIT))
    assert [step.kind for step in steps] == [
        Kind.SEQUENCE, Kind.ITEM, Kind.VALUE, Kind.ITEM_END, Kind.SEQUENCE_END,
    ]  # fmt: skip
    assert (steps[2].vr, steps[2].depth, steps[2].explicit) == ("LO", 1, False)


def test_items_in_un_that_are_explicit_all_the_same_are_read_as_such():
    inner = element(0x00100020, "LO", "A1")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = struct.pack("<HH2sHI", 0x0009, 0x1001, b"UN", 0, 0xFFFFFFFF) + item + end
    value = next(step for step in walk(data, EXPLICIT) if step.kind is Kind.VALUE)
    assert (value.vr, value.length, value.explicit) == ("LO", 2, True)


def test_encapsulated_pixel_data_is_fragments():
    steps = list(walk(encapsulated(b"abcd", b"efgh"), "1.2.840.10008.1.2.5"))
    assert [step.kind for step in steps] == [
        Kind.FRAGMENTS, Kind.FRAGMENT, Kind.FRAGMENT, Kind.FRAGMENT, Kind.FRAGMENTS_END,
    ]  # fmt: skip
    assert [step.length for step in steps[1:4]] == [0, 4, 4]


def test_encapsulated_pixel_data_without_its_end_is_truncated():
    data = encapsulated(b"abcd")[:-8]
    with pytest.raises(Truncated):
        list(walk(data, "1.2.840.10008.1.2.5"))


def test_stray_delimiters_and_padding_zeros_are_passed_over():
    stray = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    data = element(0x00100020, "LO", "A1") + stray + element(0x00100040, "CS", "F ") + bytes(13)
    assert [step.tag for step in walk(data, EXPLICIT)] == [0x00100020, 0x00100040]


def test_a_missing_item_delimiter_is_supplied():
    inner = element(0x00100020, "LO", "A1")
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item + item + end
    kinds = [step.kind for step in walk(data, EXPLICIT)]
    assert kinds.count(Kind.ITEM) == kinds.count(Kind.ITEM_END) == 2


def test_private_tags_of_implicit_data_sets_get_their_vr_from_their_creator():
    creators = {0x00091000: "GEMS_IDEN_01"}
    assert implicit_vr(0x00091001, creators) == "LO"
    assert implicit_vr(0x00091001, {}) == "UN"
    assert implicit_vr(0x00090010, {}) == "LO"


def nested(levels: int, undefined: bool) -> bytes:
    parts: list[Part] = []
    for _ in range(levels):
        parts = [Part(0x00081140, "SQ", [parts], undefined)]
    return encode(parts)


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_nest_as_deep_as_the_limit_and_no_deeper(undefined):
    assert list(walk(nested(NESTING_MAX, undefined), EXPLICIT))
    with pytest.raises(TooDeep):
        list(walk(nested(NESTING_MAX + 2, undefined), EXPLICIT))


def test_a_sequence_of_given_length_is_not_looked_into_by_the_outline():
    data = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 6) + b"broken"
    assert len(list(outline(data, 0, len(data), explicit=True, little_endian=True))) == 1
    with pytest.raises(NotDicom):
        list(walk_part(data, 0, len(data), explicit=True, little_endian=True))


def test_a_deflated_data_set_is_inflated_first():
    plain = element(0x00100020, "LO", "A1")
    packed = zlib.compress(plain, wbits=-15)
    deflated = "1.2.840.10008.1.2.1.99"
    assert inflate(packed, deflated) == (plain, EXPLICIT)
    with pytest.raises(NotSupported):
        walk(packed, deflated)


def test_the_walk_goes_through_whatever_real_file_the_header_scan_lets_in():
    seen = 0
    for name, syntax, data in shared_files():
        try:
            scan(data, syntax)
        except SebagoError:
            continue
        plain, plain_syntax = inflate(data, syntax)
        explicit, little = encoding_of(plain, plain_syntax)
        ends = [
            end for _, end in outline(plain, 0, len(plain), explicit=explicit, little_endian=little)
        ]
        assert ends, name
        seen += 1
    if not seen:
        pytest.skip("no shared test data on this machine")
    assert seen > 500
