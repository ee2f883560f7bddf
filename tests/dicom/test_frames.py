"""Where frames lie, and which bytes they are."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.frames import Frames
from sebago.errors import NotDicom, NotFound, NotSupported, SebagoError
from tests.dicom.giving_strategies import (
    BIG_ENDIAN,
    EXPLICIT,
    IMPLICIT,
    Part,
    encapsulated,
    encode,
    shared_files,
)

JPEG = "1.2.840.10008.1.2.4.50"
RLE = "1.2.840.10008.1.2.5"
J2K = "1.2.840.10008.1.2.4.90"


def image(
    *, rows=2, columns=3, bits=8, frames: int | None = None, samples=1, photometric="MONOCHROME2"
) -> list[Part]:
    """The Image Pixel module."""
    parts = [
        Part(0x00280002, "US", struct.pack("<H", samples)),
        Part(0x00280004, "CS", (photometric + " " * (len(photometric) % 2)).encode()),
        Part(0x00280010, "US", struct.pack("<H", rows)),
        Part(0x00280011, "US", struct.pack("<H", columns)),
        Part(0x00280100, "US", struct.pack("<H", bits)),
        Part(0x00280101, "US", struct.pack("<H", bits)),
        Part(0x00280102, "US", struct.pack("<H", bits - 1)),
        Part(0x00280103, "US", b"\0\0"),
    ]
    if frames is not None:
        text = str(frames).encode()
        parts.insert(2, Part(0x00280008, "IS", text + b" " * (len(text) % 2)))
    return parts


def native(value: bytes, syntax=EXPLICIT, vr="OW", **module) -> Frames:
    value += b"\0" * (len(value) % 2)
    return Frames(encode([*image(**module), Part(0x7FE00010, vr, value)], syntax), syntax)


def compressed(*fragments: bytes, syntax=JPEG, offsets=b"", extra=(), **module) -> Frames:
    head = encode([*image(**module), *extra])
    return Frames(head + encapsulated(*fragments, offsets=offsets), syntax)


def listed(frames: Frames) -> list[bytes]:
    return [bytes(frames.frame(index)) for index in range(len(frames))]


def test_native_frames_follow_one_another_also_when_their_length_is_odd():
    found = native(b"abcdefABCDEF123456", rows=2, columns=3, frames=3)
    assert listed(found) == [b"abcdef", b"ABCDEF", b"123456"]
    odd = native(b"abcABC123", rows=1, columns=3, frames=3)
    assert listed(odd) == [b"abc", b"ABC", b"123"]


@pytest.mark.parametrize("frames", [None, 0, 1])
def test_an_absent_or_zero_number_of_frames_is_one(frames):
    assert listed(native(b"abcdef", frames=frames)) == [b"abcdef"]


def test_a_frame_that_is_not_there_is_not_found():
    found = native(b"abcdefABCDEF", frames=3)
    assert len(found) == 2
    for index in (-1, 2, 3):
        with pytest.raises(NotFound):
            found.frame(index)


def test_big_endian_words_are_turned_round():
    little = struct.pack("<6H", *range(1, 7))
    assert listed(native(little, BIG_ENDIAN, bits=16)) == [little]


def test_big_endian_bytes_in_words_are_turned_round_across_frames_of_odd_length():
    assert listed(native(b"abcABC", BIG_ENDIAN, rows=1, columns=3, frames=2)) == [b"abc", b"ABC"]
    plain = native(b"abcABC", BIG_ENDIAN, vr="OB", rows=1, columns=3, frames=2)
    assert listed(plain) == [b"abc", b"ABC"]


@given(st.integers(1, 5), st.integers(1, 7), st.integers(1, 4), st.data())
def test_one_bit_frames_need_not_end_on_a_byte(rows, columns, count, data):
    size = rows * columns
    bits = data.draw(st.lists(st.integers(0, 1), min_size=size * count, max_size=size * count))
    value = np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()
    found = native(value, rows=rows, columns=columns, bits=1, frames=count)
    assert len(found) == count
    for index, frame in enumerate(listed(found)):
        unpacked = np.unpackbits(np.frombuffer(frame, np.uint8), count=size, bitorder="little")
        assert unpacked.tolist() == bits[index * size : (index + 1) * size]


def test_one_frame_is_all_its_fragments():
    assert listed(compressed(b"\xff\xd8\xff1", b"2222", b"33")) == [b"\xff\xd8\xff1222233"]


def test_as_many_fragments_as_frames_are_one_each_whatever_the_table_says():
    wrong = struct.pack("<2I", 7, 3)
    found = compressed(b"aa", b"bb", offsets=wrong, frames=2)
    assert listed(found) == [b"aa", b"bb"]


def test_a_basic_offset_table_groups_fragments():
    table = struct.pack("<2I", 0, 20)
    found = compressed(b"aa", b"bb", b"cc", offsets=table, frames=2)
    assert listed(found) == [b"aabb", b"cc"]


def test_an_extended_offset_table_groups_fragments_and_its_lengths_trim_padding():
    offsets = Part(0x7FE00001, "OV", struct.pack("<2Q", 0, 20))
    found = compressed(b"aa", b"bb", b"cc", extra=[offsets], frames=2)
    assert listed(found) == [b"aabb", b"cc"]
    offsets = Part(0x7FE00001, "OV", struct.pack("<2Q", 0, 12))
    lengths = Part(0x7FE00002, "OV", struct.pack("<2Q", 3, 2))
    found = compressed(b"aaa\0", b"bb", extra=[offsets, lengths], frames=2)
    assert listed(found) == [b"aaa", b"bb"]


@pytest.mark.parametrize(
    ("syntax", "start"),
    [(JPEG, b"\xff\xd8\xff\xe0"), (J2K, b"\xff\x4f\xff\x51"), (RLE, struct.pack("<2I56x", 1, 64))],
)
@pytest.mark.parametrize("table", [b"", struct.pack("<2I", 0, 9999), struct.pack("<2I", 4, 0)])
def test_fragments_are_grouped_by_where_codestreams_begin_if_the_table_is_empty_or_wrong(
    syntax, start, table
):
    found = compressed(start, b"bb", b"cc", start, syntax=syntax, offsets=table, frames=2)
    assert listed(found) == [start + b"bbcc", start]


def test_fragments_that_show_nothing_are_shared_out_evenly():
    assert listed(compressed(b"aa", b"bb", b"cc", b"dd", frames=2)) == [b"aabb", b"ccdd"]


def test_an_icon_is_not_the_image():
    icon = Part(0x00880200, "SQ", [[*image(rows=1, columns=2), Part(0x7FE00010, "OW", b"ic")]])
    data = encode([*image(), icon, Part(0x7FE00010, "OW", b"abcdef")])
    assert listed(Frames(data, EXPLICIT)) == [b"abcdef"]
    with pytest.raises(NotFound):
        Frames(encode([*image(), icon]), EXPLICIT)


def test_float_pixel_data_are_frames_too():
    value = struct.pack("<6f", *range(6))
    data = encode([*image(bits=16), Part(0x7FE00008, "OF", value)])
    found = Frames(data, EXPLICIT)
    assert (found.description.floating, found.description.bits_allocated) == (True, 32)
    assert listed(found) == [value]


def test_pixels_that_are_not_described_are_not_supported():
    with pytest.raises(NotSupported):
        Frames(encode([Part(0x7FE00010, "OW", b"abcdef")]), EXPLICIT)
    with pytest.raises(NotSupported):
        native(b"ab", rows=65535, columns=65535, bits=32)
    with pytest.raises(NotSupported):
        native(b"ab", bits=7)


@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_fragments_are_read_or_refused_by_name(junk, frames):
    head = encode(image(frames=frames))
    pixel = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    with contextlib.suppress(SebagoError):
        listed(Frames(head + pixel + junk, JPEG))


def test_cut_off_fragments_are_refused():
    head = encode(image())
    with pytest.raises(NotDicom):
        Frames(head + encapsulated(b"abcd")[:-3], JPEG)


def test_every_real_image_has_the_frames_that_it_says_it_has():
    seen = 0
    for name, syntax, data in shared_files():
        try:
            found = Frames(data, syntax)
        except SebagoError:
            continue
        assert len(found) == found.description.frames, name
        assert all(len(found.frame(index)) for index in range(len(found))), name
        seen += 1
    if not seen:
        pytest.skip("no shared test data on this machine")
    assert seen > 400


def test_the_syntax_decides_how_little_endian_pixels_are_written():
    little = struct.pack("<6H", *range(1, 7))
    assert listed(native(little, IMPLICIT, bits=16)) == [little]
