"""Data sets made Explicit VR Little Endian, beside DCMTK and beside what they were before."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.bulk import bulk_bytes, find_bulk
from sebago.dicom.codecs import decode_frame
from sebago.dicom.document import encapsulated_document
from sebago.dicom.elements import Kind, walk
from sebago.dicom.frames import Frames
from sebago.dicom.json_model import JsonWriter, bulk_uri
from sebago.dicom.part10 import write_meta
from sebago.dicom.scan import scan
from sebago.dicom.transcode import to_explicit_le
from sebago.errors import NotFound, NotSupported, SebagoError
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
from tests.dicom.test_frames import image

HERE = bulk_uri("1", "2", "3")
RLE = "1.2.840.10008.1.2.5"

# What decoding may change: character of colours, planes, packed bits, and the lossy flag put in.
CHANGED = frozenset({"00083002", "00280004", "00280006", "00280100", "00282110"})


def as_json(data: bytes, syntax: str) -> dict:
    answer: dict = json.loads(JsonWriter().write(data, syntax, bulk_uri=HERE))
    return answer


def rle(*planes: bytes) -> bytes:
    """An RLE frame of literal runs."""
    packed = [
        b"".join(
            bytes([len(plane[at : at + 128]) - 1]) + plane[at : at + 128]
            for at in range(0, len(plane), 128)
        )
        for plane in planes
    ]
    starts, at = [], 64
    for segment in packed:
        starts.append(at)
        at += len(segment)
    head = struct.pack("<16I", len(planes), *starts, *[0] * (15 - len(planes)))
    return head + b"".join(packed)


@given(data_sets(), st.sampled_from([IMPLICIT, BIG_ENDIAN]))
def test_every_value_is_what_it_was(parts, syntax):
    before = encode(parts, syntax)
    after = to_explicit_le(before, syntax)
    assert scan(after, EXPLICIT).explicit
    plain = as_json(encode(parts), EXPLICIT)
    assert as_json(bytes(after), EXPLICIT) == plain


def test_explicit_little_endian_is_handed_back_as_it_is():
    data = element(0x00100020, "LO", "A1")
    assert to_explicit_le(data, EXPLICIT) is data


def test_deflated_data_sets_are_inflated():
    import zlib

    plain = element(0x00100020, "LO", "A1")
    packed = zlib.compress(plain, wbits=-15)
    assert to_explicit_le(packed, "1.2.840.10008.1.2.1.99") == plain


def test_group_lengths_go_and_private_elements_stay():
    data = encode(
        [
            Part(0x00080000, "UL", bytes(4)),
            Part(0x00090010, "LO", b"MINE"),
            Part(0x00091001, "UN", b"\1\2\3\4"),
        ],
        IMPLICIT,
    )
    tags = [step.tag for step in walk(to_explicit_le(data, IMPLICIT), EXPLICIT)]
    assert tags == [0x00090010, 0x00091001]


def test_a_value_too_long_for_its_header_becomes_un():
    data = encode([Part(0x00104000, "LT", b"x" * 70_000)], IMPLICIT)
    (step,) = walk(to_explicit_le(data, IMPLICIT), EXPLICIT)
    assert (step.vr, step.length) == ("UN", 70_000)


def test_frames_are_decoded_joined_and_padded():
    frames = [rle(b"abc"), rle(b"ABC"), rle(b"123")]
    data = encode(image(rows=1, columns=3, frames=3)) + encapsulated(*frames)
    after = to_explicit_le(data, RLE)
    assert bytes(bulk_bytes(after, EXPLICIT, "7FE00010")) == b"abcABC123\0"
    found = find_bulk(after, EXPLICIT, "7FE00010")
    assert found.vr == "OB"


def test_colour_by_plane_becomes_colour_by_pixel_and_says_so():
    module = image(rows=1, columns=2, samples=3, photometric="RGB")
    module.insert(2, Part(0x00280006, "US", b"\1\0"))
    data = encode(module) + encapsulated(rle(b"rR", b"gG", b"bB"))
    after = bytes(to_explicit_le(data, RLE))
    assert bytes(bulk_bytes(after, EXPLICIT, "7FE00010")) == b"rgbRGB"
    assert as_json(after, EXPLICIT)["00280006"]["Value"] == [0]


def test_elements_behind_the_pixel_data_and_extended_offset_tables():
    behind = Part(0xFFFAFFFA, "SQ", [[Part(0x00080060, "CS", b"CT")]])
    table = Part(0x7FE00001, "OV", bytes(8))
    data = encode([*image(), table]) + encapsulated(rle(b"abcdef")) + encode([behind])
    tags = [step.tag for step in walk(to_explicit_le(data, RLE), EXPLICIT) if step.depth == 0]
    assert 0x7FE00001 not in tags
    assert tags[-2:] == [0xFFFAFFFA, 0xFFFEE0DD]


def test_an_icon_that_is_encapsulated_is_decoded_too():
    icon = encode(image(rows=1, columns=2)) + encapsulated(rle(b"ic"))
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(icon)) + icon
    sequence = struct.pack("<HH2sHI", 0x0088, 0x0200, b"SQ", 0, len(item)) + item
    data = encode(image()) + sequence + encapsulated(rle(b"abcdef"))
    after = to_explicit_le(data, RLE)
    assert bytes(bulk_bytes(after, EXPLICIT, "00880200/1/7FE00010")) == b"ic"
    assert not [step for step in walk(after, EXPLICIT) if step.kind is Kind.FRAGMENTS]


@pytest.mark.parametrize(
    "frames", [[rle(b"abcdef")], [b"\0" * 80, rle(b"abcdef")], [rle(b"abc"), rle(b"abcdef")]]
)
def test_what_cannot_be_decoded_whole_is_not_supported(frames):
    data = encode(image(frames=2)) + encapsulated(*frames)
    with pytest.raises(NotSupported):
        to_explicit_le(data, RLE)


def test_video_is_not_supported():
    data = encode(image()) + encapsulated(b"\0\0\1\xb3" * 20)
    with pytest.raises(NotSupported):
        to_explicit_le(data, "1.2.840.10008.1.2.4.102")


@given(data_sets(), st.data())
def test_whatever_the_header_scan_lets_in_is_made_explicit_or_refused_by_name(parts, data):
    syntax = data.draw(st.sampled_from([IMPLICIT, BIG_ENDIAN]))
    broken = bytearray(encode(parts, syntax))
    for _ in range(data.draw(st.integers(0, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    try:
        scan(bytes(broken), syntax)
    except SebagoError:
        return
    after = to_explicit_le(bytes(broken), syntax)
    if len(after):
        scan(after, EXPLICIT)


# --- bulk data and documents ---------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN])
def test_every_address_in_the_json_leads_to_its_value(syntax):
    lut = struct.pack("<600H", *range(600))
    inner = [Part(0x00283006, "OW", lut)]
    data = encode(
        [
            Part(0x00283010, "SQ", [[], inner]),
            *image(rows=1, columns=2, bits=16),
            Part(0x7FE00010, "OW", b"abcd"),
        ],
        syntax,
    )
    found = as_json(data, syntax)
    prefix = HERE.decode()
    for attribute in (found["00283010"]["Value"][1]["00283006"], found["7FE00010"]):
        path = attribute["BulkDataURI"].removeprefix(prefix + "/")
        assert bytes(bulk_bytes(data, syntax, path)) in (lut, b"abcd")


@pytest.mark.parametrize(
    "path", ["7FE00010", "00283010", "00283010/3/00283006", "00283010/0/00283006", "x", "", "../.."]
)
def test_an_address_that_leads_nowhere_is_not_found(path):
    data = encode([Part(0x00283010, "SQ", [[Part(0x00283006, "OW", b"ab")]])])
    with pytest.raises(NotFound):
        bulk_bytes(data, EXPLICIT, path)


def test_a_document_comes_out_as_it_went_in():
    pdf = b"%PDF-1.4 odd"
    for length in (None, len(pdf)):
        parts = [
            Part(0x00420011, "OB", pdf + b"\0" * (len(pdf) % 2)),
            Part(0x00420012, "LO", b"application/pdf "),
        ]
        if length:
            parts.append(Part(0x00420015, "UL", struct.pack("<I", length)))
        assert encapsulated_document(encode(parts), EXPLICIT) == ("application/pdf", pdf)
    hostile = [Part(0x00420011, "OB", b"ab"), Part(0x00420012, "LO", b"text/html\r\nx: y")]
    assert encapsulated_document(encode(hostile), EXPLICIT)[0] == "application/octet-stream"
    with pytest.raises(NotFound):
        encapsulated_document(element(0x00100020, "LO", "A1"), EXPLICIT)


# --- real files ---------------------------------------------------------------------------------


def transcoded(only: str = "") -> list[tuple[str, str, bytes, bytes]]:
    found = []
    for name, syntax, data in shared_files():
        if syntax == EXPLICIT or (only and syntax != only):
            continue
        try:
            scan(data, syntax)
            found.append((name, syntax, data, bytes(to_explicit_le(data, syntax))))
        except SebagoError:
            continue
    return found


def test_real_files_keep_every_value_and_every_pixel(tmp_path: Path):
    dump = shutil.which("dcmdump")
    seen = 0
    for name, syntax, before, after in transcoded():
        ours, theirs = as_json(before, syntax), as_json(after, EXPLICIT)
        changed = {tag for tag in ours.keys() | theirs.keys() if ours.get(tag) != theirs.get(tag)}
        padded = {tag for tag in changed if tag.startswith("0001")}  # odd lengths made even
        assert changed - padded <= CHANGED | {"7FE00010"}, name
        try:
            first, second = Frames(before, syntax), Frames(after, EXPLICIT)
        except SebagoError:
            pass
        else:
            assert len(first) == len(second), name
            for index in {0, len(first) - 1}:
                a = decode_frame(first.frame(index), first.description).pixels
                b = decode_frame(second.frame(index), second.description).pixels
                assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), name
        whole = write_meta("1.2.840.10008.5.1.4.1.1.7", "1.2.3", EXPLICIT) + after
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmread(BytesIO(whole), defer_size=None)
        seen += 1
        if dump and seen % 4 == 0:
            path = tmp_path / "after.dcm"
            path.write_bytes(whole)
            ran = subprocess.run([dump, "-q", path], capture_output=True, check=False)
            assert (ran.returncode, ran.stderr) == (0, b""), name
    if not seen:
        pytest.skip("no shared test data on this machine")
    assert seen > 100


def test_a_lossy_jpeg_says_so_also_when_it_is_decompressed():
    lossy = transcoded(only="1.2.840.10008.1.2.4.50")
    if not lossy:
        pytest.skip("no shared test data on this machine")
    for name, _, _, after in lossy:
        assert as_json(after, EXPLICIT)["00282110"]["Value"] == ["01"], name
