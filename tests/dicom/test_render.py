"""Rendered images: greys, colours, regions and sizes."""

from __future__ import annotations

import contextlib
import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.frames import Frames
from sebago.dicom.render import (
    MEDIA_TYPES,
    RenderRequest,
    Viewport,
    parse_quality,
    parse_viewport,
    parse_window,
    picture,
    render,
    thumbnail,
)
from sebago.dicom.scale import scaled
from sebago.dicom.voi import Greys, Lut, Window, shades
from sebago.errors import BadRequest, NotAcceptable, NotFound, SebagoError
from tests.dicom.giving_strategies import EXPLICIT, IMPLICIT, Part, element, encode, shared_files
from tests.dicom.test_frames import image

PNG = RenderRequest(media_type="image/png")


def instance(value: bytes, *more: Part, **module) -> bytes:
    parts = {part.tag: part for part in (*image(**module), *more)}
    parts[0x7FE00010] = Part(0x7FE00010, "OW", value + b"\0" * (len(value) % 2))
    return encode([parts[tag] for tag in sorted(parts)])


def words(values, kind="<u2") -> bytes:
    return np.array(values, kind).tobytes()


def shown(data: bytes, request: RenderRequest = PNG, frame_number: int = 1) -> list:
    found: list = imagecodecs.png_decode(render(data, EXPLICIT, frame_number, request)).tolist()
    return found


def ds(tag: int, text: str) -> Part:
    return Part(tag, "DS", (text + " " * (len(text) % 2)).encode())


# --- greys --------------------------------------------------------------------------------------


def test_the_header_window_is_applied_after_the_rescale():
    more = [
        ds(0x00281050, "40\\99"),
        ds(0x00281051, "101\\1"),
        ds(0x00281052, "-1024"),
        ds(0x00281053, "1"),
    ]
    values = words([[1014 - 1, 1014, 1064, 1114, 1115, 4000]])
    assert shown(instance(values, *more, rows=1, columns=6, bits=16)) == [
        [0, 1, 129, 255, 255, 255]
    ]


def test_the_request_s_window_comes_before_the_header_s():
    more = [ds(0x00281050, "0"), ds(0x00281051, "1")]
    data = instance(words([[0, 50, 100]]), *more, rows=1, columns=3, bits=16)
    request = RenderRequest("image/png", window=Window(50, 100, "LINEAR_EXACT"))
    assert shown(data, request) == [[0, 128, 255]]


def test_a_sigmoid_is_half_at_its_center_and_never_ends():
    out = shades(
        np.array([[0, 50, 100, 60000]], np.uint16), 16, Greys(window=Window(50, 100, "SIGMOID"))
    )
    assert out.tolist() == [[30, 128, 225, 255]]


def test_a_window_of_width_one_is_a_threshold():
    out = shades(np.array([[9, 10, 11]], np.uint16), 16, Greys(window=Window(10, 1)))
    assert out.tolist() == [[0, 255, 255]]


def test_a_voi_lut_serves_where_there_is_no_window():
    lut = [Part(0x00283002, "US", words([3, 10, 8])), Part(0x00283006, "OW", words([0, 128, 255]))]
    voi = Part(0x00283010, "SQ", [lut])
    data = instance(words([[9, 10, 11, 12, 99]]), voi, rows=1, columns=5, bits=16)
    assert shown(data) == [[0, 0, 128, 255, 255]]


def test_a_modality_lut_comes_first():
    lut = Lut(0, 16, (100, 200, 300))
    out = shades(np.array([[0, 1, 2, 9]], np.uint16), 16, Greys(modality=lut))
    assert out.tolist() == [[0, 128, 255, 255]]


def test_without_window_and_lut_what_occurs_is_spread_but_for_the_padding():
    padding = Part(0x00280120, "US", words([60000]))
    data = instance(words([[100, 150, 200, 60000]]), padding, rows=1, columns=4, bits=16)
    assert shown(data) == [[0, 128, 255, 255]]


def test_signed_values_are_below_zero():
    parts = image(rows=1, columns=3, bits=16)
    parts = [part if part.tag != 0x00280103 else Part(part.tag, "US", b"\1\0") for part in parts]
    data = encode([*parts, Part(0x7FE00010, "OW", words([[-100, 0, 100]], "<i2"))])
    assert shown(data) == [[0, 128, 255]]


def test_bits_above_those_stored_do_not_show():
    data = instance(
        words([[0xF000, 0xF800, 0xFFFF]]),
        rows=1,
        columns=3,
        bits=16,
    )
    stored = data.replace(
        encode([Part(0x00280101, "US", words([16]))]), encode([Part(0x00280101, "US", words([12]))])
    ).replace(
        encode([Part(0x00280102, "US", words([15]))]), encode([Part(0x00280102, "US", words([11]))])
    )
    assert shown(stored) == [[0, 128, 255]]


def test_monochrome1_is_turned_round():
    data = instance(bytes([0, 100, 255]), rows=1, columns=3, photometric="MONOCHROME1")
    assert shown(data) == [[255, 155, 0]]


def test_plain_bytes_and_bits_are_shown_as_they_are():
    assert shown(instance(bytes([10, 20, 30]), rows=1, columns=3)) == [[10, 20, 30]]
    assert shown(instance(b"\5", rows=1, columns=3, bits=1)) == [[255, 0, 255]]


def test_the_functional_groups_of_a_frame_window_that_frame():
    def group(center: str) -> list[Part]:
        return [Part(0x00289132, "SQ", [[ds(0x00281050, center), ds(0x00281051, "101")]])]

    shift = [Part(0x00289145, "SQ", [[ds(0x00281052, "1000"), ds(0x00281053, "1")]])]
    groups = [
        Part(0x52009229, "SQ", [shift]),
        Part(0x52009230, "SQ", [group("1050"), group("1150")]),
    ]
    data = instance(words([[50, 100]] * 2), *groups, rows=1, columns=2, bits=16, frames=2)
    assert shown(data, frame_number=1) == [[129, 255]]
    assert shown(data, frame_number=2) == [[0, 1]]


@given(
    st.floats(-1e9, 1e9), st.floats(1, 1e9), st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"])
)
def test_a_window_never_shows_a_higher_value_darker(center, width, function):
    values = np.arange(0, 65536, 97, dtype=np.uint16).reshape(1, -1)
    out = shades(values, 16, Greys(window=Window(center, width, function)))
    assert (np.diff(out[0].astype(int)) >= 0).all()


def test_floats_are_spread_and_what_is_no_number_is_dark():
    pixels = np.array([[np.nan, -1.0, 0.0, 1.0, np.inf]], np.float32)
    assert shades(pixels, 32, Greys()).tolist()[0][1:4] == [0, 128, 255]


# --- colours ------------------------------------------------------------------------------------


def test_colour_by_plane_and_in_sixteen_bits():
    planar = Part(0x00280006, "US", b"\1\0")
    data = instance(b"rRgGbB", planar, rows=1, columns=2, samples=3, photometric="RGB")
    assert shown(data) == [[list(b"rgb"), list(b"RGB")]]
    deep = instance(
        words([0xFF00, 0x8000, 0x0100]), rows=1, columns=1, bits=16, samples=3, photometric="RGB"
    )
    assert shown(deep) == [[[255, 128, 1]]]


def test_luminance_and_chrominance_become_rgb():
    data = instance(bytes([76, 85, 255]), rows=1, columns=1, samples=3, photometric="YBR_FULL")
    assert np.abs(np.array(shown(data)[0][0]) - [255, 0, 0]).max() <= 2


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_of_eight_and_sixteen_bits_begin_at_their_first_value(bits):
    tables = []
    for number, entries in enumerate(([1, 2], [3, 4], [5, 6])):
        descriptor = words([2, 10, bits])
        value = bytes(entries) if bits == 8 else words([entry << 8 for entry in entries])
        tables += [
            Part(0x00281101 + number, "US", descriptor),
            Part(0x00281201 + number, "OW", value),
        ]
    data = instance(bytes([9, 10, 11, 12]), *tables, rows=1, columns=4, photometric="PALETTE COLOR")
    assert shown(data) == [[[1, 3, 5], [1, 3, 5], [2, 4, 6], [2, 4, 6]]]


def test_a_palette_image_without_its_palette_is_shown_in_grey():
    data = instance(bytes([0, 255]), rows=1, columns=2, photometric="PALETTE COLOR")
    assert shown(data) == [[0, 255]]


def test_segmented_palettes_are_expanded():
    segments = words([0, 2, 0, 0x1000, 1, 2, 0x3000, 2, 1, 0, 0])
    tables = []
    for number in range(3):
        tables += [
            Part(0x00281101 + number, "US", words([6, 0, 16])),
            Part(0x00281221 + number, "OW", segments),
        ]
    data = instance(bytes(range(6)), *tables, rows=1, columns=6, photometric="PALETTE COLOR")
    assert [pixel[0] for pixel in shown(data)[0]] == [0, 0x10, 0x20, 0x30, 0, 0x10]


# --- regions and sizes --------------------------------------------------------------------------


def sized(data: bytes, text: str) -> np.ndarray:
    request = RenderRequest("image/png", viewport=parse_viewport(text))
    return np.asarray(imagecodecs.png_decode(render(data, EXPLICIT, 1, request)))


SQUARE = instance(bytes(range(100)), rows=10, columns=10)


def test_the_image_is_as_large_as_fits_and_keeps_its_shape():
    wide = instance(bytes(range(50)), rows=5, columns=10)
    assert sized(wide, "40,40").shape == (20, 40)
    assert sized(wide, "4,40").shape == (2, 4)
    assert sized(wide, ",20").shape == (20, 40)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4,3,2,1,4,3", [[12, 13, 14, 15], [22, 23, 24, 25], [32, 33, 34, 35]]),
        ("4,3,2,1,-4,3", [[15, 14, 13, 12], [25, 24, 23, 22], [35, 34, 33, 32]]),
        ("4,3,2,1,4,-3", [[32, 33, 34, 35], [22, 23, 24, 25], [12, 13, 14, 15]]),
        ("2,2,8,8", [[88, 89], [98, 99]]),
        ("2,2,8,8,50,50", [[88, 89], [98, 99]]),
        ("3,1,,,3,1", [[0, 1, 2]]),
    ],
)
def test_a_source_region_is_cut_and_mirrored(text, expected):
    assert sized(SQUARE, text).tolist() == expected


@pytest.mark.parametrize(
    "text",
    ["", "a,b", "0,5", "5", "5,5,1,1,1,1,1", "1e9,5", "5,5,-1,0", "5,5,0,0,0,5", "nan,5", "1.5,2"],
)
def test_a_viewport_that_is_none_is_a_bad_request(text):
    with pytest.raises(BadRequest):
        parse_viewport(text)


def test_a_region_outside_the_image_is_a_bad_request():
    with pytest.raises(BadRequest):
        sized(SQUARE, "5,5,10,0")


@pytest.mark.parametrize(
    "text", ["", "5", "a,b", "1,0", "1,0.5", "1,2,CUBIC", "1,2,LINEAR,3", "inf,1", "1,-2,SIGMOID"]
)
def test_a_window_that_is_none_is_a_bad_request(text):
    with pytest.raises(BadRequest):
        parse_window(text)


def test_windows_and_qualities_are_read():
    assert parse_window("40,400") == Window(40, 400, "LINEAR")
    assert parse_window("-40.5,0.5,linear-exact") == Window(-40.5, 0.5, "LINEAR_EXACT")
    assert parse_quality("75") == 75
    for text in ("0", "101", "x", "", "-5", "9" * 9):
        with pytest.raises(BadRequest):
            parse_quality(text)


@pytest.mark.parametrize(
    "shape",
    [Part(0x00280034, "IS", b"2\\1 "), ds(0x00280030, "1.0\\0.5"), ds(0x00181164, "0.2\\0.1")],
)
def test_pixels_that_are_not_square_are_made_so(shape):
    data = instance(bytes(range(100)), shape, rows=10, columns=10)
    assert np.asarray(shown(data)).shape == (20, 10)


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 60),
    st.integers(1, 60),
    st.integers(0, 255),
)
def test_a_plain_image_is_plain_in_any_size(rows, columns, new_rows, new_columns, shade):
    out = scaled(np.full((rows, columns), shade, np.uint8), new_rows, new_columns)
    assert out.shape == (new_rows, new_columns)
    assert (out == shade).all()


def test_shrinking_averages_and_enlarging_interpolates():
    assert scaled(np.array([[0, 100], [100, 200]], np.uint8), 1, 1).tolist() == [[100]]
    assert scaled(np.array([[0, 100]], np.uint8), 1, 4).tolist() == [[0, 25, 75, 100]]


# --- files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize("samples", [1, 3])
def test_every_media_type_can_be_made_of_grey_and_of_colour(media_type, samples):
    photometric = "RGB" if samples == 3 else "MONOCHROME2"
    data = instance(
        bytes(64 * samples), rows=8, columns=8, samples=samples, photometric=photometric
    )
    made = render(data, EXPLICIT, 1, RenderRequest(media_type, quality=50))
    starts = {"image/jpeg": b"\xff\xd8", "image/png": b"\x89PNG", "image/gif": b"GIF8"}
    assert made.startswith(starts.get(media_type, b"\0\0\0\x0cjP"))


def test_other_media_types_are_not_acceptable():
    with pytest.raises(NotAcceptable):
        render(SQUARE, EXPLICIT, 1, RenderRequest("image/webp"))


def test_quality_decides_the_size_of_a_jpeg():
    noise = np.random.default_rng(3).integers(0, 255, 64 * 64).astype(np.uint8).tobytes()
    data = instance(noise, rows=64, columns=64)
    sizes = [len(render(data, EXPLICIT, 1, RenderRequest(quality=q))) for q in (10, 50, 95)]
    assert sizes == sorted(sizes)


def test_a_frame_or_pixel_data_that_are_not_there_are_not_found():
    for number in (0, 2):
        with pytest.raises(NotFound):
            render(SQUARE, EXPLICIT, number, PNG)
    with pytest.raises(NotFound):
        render(element(0x00100020, "LO", "A1"), EXPLICIT, 1, PNG)


def test_a_thumbnail_is_the_middle_frame_and_no_larger_than_asked():
    data = instance(bytes([0] * 100 + [9] * 100 + [0] * 100), rows=10, columns=10, frames=3)
    small = imagecodecs.png_decode(thumbnail(data, EXPLICIT, 5, media_type="image/png"))
    assert small.tolist() == [[9] * 5] * 5
    whole = imagecodecs.png_decode(thumbnail(data, EXPLICIT, (64, 64), media_type="image/png"))
    assert whole.shape == (10, 10)


@given(st.binary(min_size=1, max_size=40), st.binary(max_size=12), st.integers(0, 20))
def test_hostile_presentation_values_are_rendered_or_refused_by_name(value, table, tag_number):
    tags = [
        (0x00280120, "US"), (0x00281050, "DS"), (0x00281051, "DS"), (0x00281052, "DS"),
        (0x00281053, "DS"), (0x00280034, "IS"), (0x00281101, "US"), (0x00281201, "OW"),
        (0x00281221, "OW"), (0x00283000, "OB"), (0x52009230, "OB"),
    ]  # fmt: skip
    tag, vr = tags[tag_number % len(tags)]
    lut = [Part(0x00283002, "US", table), Part(0x00283006, "OW", value)]
    more = [Part(tag, vr, value), Part(0x00283010, "SQ", [lut])]
    photometric = "PALETTE COLOR" if tag_number > 10 else "MONOCHROME2"
    data = instance(bytes(64), *more, rows=4, columns=8, bits=16, photometric=photometric)
    with contextlib.suppress(SebagoError):
        render(data, EXPLICIT, 1, RenderRequest(viewport=Viewport(16, 16)))


def test_every_real_image_can_be_rendered_and_made_a_thumbnail():
    seen = 0
    for name, syntax, data in shared_files():
        try:
            frames = Frames(data, syntax)
        except SebagoError:
            continue
        if "embedded-sequence-delimiter" in name:
            continue  # its codestream claims another size
        small = imagecodecs.jpeg8_decode(thumbnail(data, syntax, 100))
        assert max(small.shape[:2]) <= 100, name
        if seen % 5 == 0:
            assert picture(frames, 0, None).dtype == np.uint8, name
        seen += 1
    if not seen:
        pytest.skip("no shared test data on this machine")
    assert seen > 400


def test_implicit_data_sets_are_windowed_too():
    parts = [*image(rows=1, columns=2, bits=16), ds(0x00281050, "5"), ds(0x00281051, "2")]
    data = encode([*parts, Part(0x7FE00010, "OW", struct.pack("<2H", 0, 99))], IMPLICIT)
    assert imagecodecs.png_decode(render(data, IMPLICIT, 1, PNG)).tolist() == [[0, 255]]
