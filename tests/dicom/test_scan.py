"""The header scan: what it finds, what it takes, what it refuses, what it costs in memory."""

from __future__ import annotations

import csv
import gzip
import io
import mmap
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pydicom
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset

from sebago.dicom.part10 import parse_part10
from sebago.dicom.scan import NESTING_MAX, VALUE_BYTES_MAX, WANTED_VRS, inflated, scan
from sebago.dicom.uids import (
    DEFLATED_EXPLICIT_VR_LE,
    EXPLICIT_VR_BE,
    EXPLICIT_VR_LE,
    IMPLICIT_VR_LE,
    TRANSFER_SYNTAXES,
)
from sebago.errors import Inflated, NotDicom, SebagoError, TooDeep, Truncated
from tests.data_dirs import shared_data
from tests.dicom.reading_strategies import (
    BIG_EXPLICIT,
    FORMS,
    LITTLE_EXPLICIT,
    LITTLE_IMPLICIT,
    PIXEL_DATA,
    UNDEFINED,
    Element,
    Item,
    data_sets,
    encode,
    header,
    read_plainly,
    tag_bytes,
)

PATIENT_ID = 0x00100020
STUDY_UID = 0x0020000D
NAME = Element(0x00100010, "PN", b"DOE^JANE")
STUDY = Element(STUDY_UID, "UI", b"1.2.3\0")


def deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


# --- what it finds ------------------------------------------------------------------------------


@given(elements=data_sets(), form=st.sampled_from(FORMS))
def test_a_scan_finds_what_the_plain_reader_finds(elements, form):
    encoded = encode(elements, form)
    found = scan(encoded.data, form.uid)
    expected: dict[int, bytes] = {}
    pixel_offset = None
    for tag, offset, value in read_plainly(encoded.data, form):
        if tag in WANTED_VRS:
            expected.setdefault(tag, value)
        if tag == PIXEL_DATA:
            pixel_offset = offset
    assert found.values == expected
    assert found.pixel_offset == pixel_offset
    assert found.end == len(encoded.data)


@given(elements=data_sets())
def test_a_deflated_data_set_is_scanned_as_the_same_data_set_undeflated(elements):
    encoded = encode(elements, LITTLE_EXPLICIT)
    plain = scan(encoded.data, EXPLICIT_VR_LE)
    for deflated in (deflate(encoded.data), zlib.compress(encoded.data)):
        assert scan(deflated, DEFLATED_EXPLICIT_VR_LE) == plain
        assert inflated(deflated) == encoded.data


@given(elements=data_sets(), form=st.sampled_from(FORMS))
def test_what_pydicom_reads_from_a_generated_data_set_is_what_the_scan_keeps(elements, form):
    # Without a VR pydicom takes an unknown sequence for bytes, and the first delimiter for its end.
    assume(form.explicit or all(element.items is None for element in elements))
    encoded = encode(elements, form)
    theirs = read_dataset(io.BytesIO(encoded.data), not form.explicit, form.little_endian)
    for tag, value in scan(encoded.data, form.uid).values.items():
        raw: Any = theirs.get_item(tag)
        assert (raw.value or b"") == value


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_buffer_can_be_scanned(wrap):
    assert (
        scan(wrap(encode([NAME, STUDY], LITTLE_EXPLICIT).data), EXPLICIT_VR_LE).uid(STUDY_UID)
        == "1.2.3"
    )


def test_a_mapped_file_can_be_scanned_and_closed_afterwards(tmp_path):
    path = tmp_path / "object"
    path.write_bytes(encode([NAME, STUDY], LITTLE_EXPLICIT).data)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert scan(mapped, EXPLICIT_VR_LE).text(0x00100010) == "DOE^JANE"


def test_values_are_read_as_text_numbers_and_uids():
    found = scan(
        encode(
            [
                Element(0x00080005, "CS", b"ISO_IR 192"),
                Element(0x00080008, "CS", b"ORIGINAL\\PRIMARY "),
                Element(0x00100010, "PN", "Müller^Jörg=".encode()),
                Element(STUDY_UID, "UI", b"1.2.3.4 "),
                Element(0x00200013, "IS", b"1.0 "),
                Element(0x00280010, "US", b"\x00\x02"),
                Element(0x00280011, "UL", b"\x00\x02\x00\x00"),
            ],
            LITTLE_EXPLICIT,
        ).data,
        EXPLICIT_VR_LE,
    )
    assert found.text(0x00100010) == "Müller^Jörg="
    assert found.texts(0x00080008) == ["ORIGINAL", "PRIMARY"]
    assert found.uid(STUDY_UID) == "1.2.3.4"
    assert found.integer(0x00200013) == 1
    assert found.integer(0x00280010) == 512
    assert found.integer(0x00280011) == 512
    assert found.text(PATIENT_ID) == ""
    assert found.texts(PATIENT_ID) == []
    assert found.uid(0x0020000E) == ""
    assert found.integer(0x00280100) is None


def test_numbers_of_a_big_endian_data_set_are_read_as_such():
    data = encode([Element(0x00280010, "US", b"\x02\x00")], BIG_EXPLICIT).data
    assert scan(data, EXPLICIT_VR_BE).integer(0x00280010) == 512


def test_the_pixel_data_of_an_icon_is_not_that_of_the_image():
    icon = Element(
        0x00880200, "SQ", items=(Item((Element(PIXEL_DATA, "OB", bytes(4)),)),), undefined=True
    )
    assert scan(encode([NAME, icon], LITTLE_EXPLICIT).data, EXPLICIT_VR_LE).pixel_offset is None


def test_float_pixel_data_counts_as_pixel_data():
    encoded = encode([NAME, Element(0x7FE00008, "OF", bytes(8))], LITTLE_EXPLICIT)
    assert scan(encoded.data, EXPLICIT_VR_LE).pixel_offset == encoded.starts[1]


def test_a_long_wanted_value_is_cut_at_64_kib():
    for form in (LITTLE_EXPLICIT, LITTLE_IMPLICIT):
        data = encode(
            [Element(0x00081032, "SQ", bytes(100_000)), NAME, Element(0x00104000, "LT", b"note")],
            form,
        ).data
        for found in (scan(data, form.uid),):
            assert found.values[0x00081032] == bytes(VALUE_BYTES_MAX)
            assert found.text(0x00104000) == "note"


def test_a_wanted_sequence_of_undefined_length_is_kept_with_its_items():
    code = Item((Element(0x00080100, "SH", b"CODE"),), undefined=True)
    for count in (1, 1500):
        sequence = Element(0x00081032, "SQ", items=(code,) * count, undefined=True)
        data = encode([sequence, NAME], LITTLE_EXPLICIT).data
        kept = min(len(data) - 12 - 16, VALUE_BYTES_MAX)
        plain = scan(data, EXPLICIT_VR_LE)
        assert plain.values[0x00081032] == data[12 : 12 + kept]
        assert scan(deflate(data), DEFLATED_EXPLICIT_VR_LE) == plain


# --- what is cut off ----------------------------------------------------------------------------


@given(elements=data_sets(), form=st.sampled_from(FORMS), where=st.floats(0, 1, exclude_max=True))
def test_a_data_set_cut_anywhere_but_between_elements_is_refused(elements, form, where):
    encoded = encode(elements, form)
    cut = int(where * len(encoded.data))
    assume(cut not in encoded.starts)
    with pytest.raises(NotDicom):
        scan(encoded.data[:cut], form.uid)


@given(elements=data_sets(), where=st.floats(0, 1, exclude_max=True))
def test_a_deflated_data_set_cut_anywhere_is_refused(elements, where):
    deflated = deflate(encode(elements, LITTLE_EXPLICIT).data)
    with pytest.raises(NotDicom):
        scan(deflated[: int(where * len(deflated))], DEFLATED_EXPLICIT_VR_LE)


SEQUENCE = Element(
    0x00081110, "SQ", items=(Item((STUDY,), undefined=True), Item((STUDY,))), undefined=True
)
FRAGMENTS = Element(PIXEL_DATA, "OB", fragments=(b"", bytes(20_000), bytes(10)))


@pytest.mark.parametrize(
    "last", [Element(PIXEL_DATA, "OW", bytes(50_000)), FRAGMENTS, SEQUENCE, STUDY]
)
@pytest.mark.parametrize("lost", [1, 2, 4, 7])
def test_a_few_lost_bytes_at_the_end_are_noticed(last, lost):
    for form in FORMS:
        data = encode([NAME, last], form).data
        with pytest.raises(Truncated):
            scan(data[:-lost], form.uid)


@pytest.mark.parametrize("last", [FRAGMENTS, SEQUENCE])
def test_a_missing_sequence_delimiter_is_noticed(last):
    for form in FORMS:
        with pytest.raises(Truncated):
            scan(encode([NAME, last], form).data[:-8], form.uid)


@pytest.mark.parametrize("vr", ["OW", "SQ", "UN"])
def test_a_length_that_no_data_bear_out_is_truncation(vr):
    for form in FORMS:
        data = encode([NAME], form).data + header(0x00091001, vr, 0xFFFFFFF0, form) + bytes(20)
        with pytest.raises(Truncated):
            scan(data, form.uid)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(100),
        b"GET / HTTP/1.1\r\nHost: archive\r\n\r\n",
        b"%PDF-1.7 and so on, for quite some time",
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x01\x00\x48\x00\x48\x00\x00",
        b"PK\x03\x04\x14" + bytes(60),
    ],
)
@pytest.mark.parametrize("uid", [EXPLICIT_VR_LE, IMPLICIT_VR_LE, EXPLICIT_VR_BE])
def test_what_is_not_dicom_is_refused(data, uid):
    with pytest.raises(NotDicom):
        scan(data, uid)


@pytest.mark.parametrize("depth", [NESTING_MAX + 1, 10_000])
def test_sequences_that_nest_too_deep_are_refused_without_recursion(depth):
    for form in FORMS:
        level = header(0x00081110, "SQ", UNDEFINED, form) + header(0xFFFEE000, "", UNDEFINED, form)
        with pytest.raises(TooDeep):
            scan(level * depth, form.uid)


def test_sequences_that_nest_as_deep_as_is_allowed_are_taken():
    for form in FORMS:
        level = header(0x00081110, "SQ", UNDEFINED, form) + header(0xFFFEE000, "", UNDEFINED, form)
        ends = header(0xFFFEE00D, "", 0, form) + header(0xFFFEE0DD, "", 0, form)
        data = level * NESTING_MAX + ends * NESTING_MAX
        assert scan(data, form.uid).end == len(data)


def test_what_stands_where_an_item_should_is_refused():
    data = (
        header(0x00081110, "SQ", UNDEFINED, LITTLE_EXPLICIT) + encode([NAME], LITTLE_EXPLICIT).data
    )
    with pytest.raises(NotDicom):
        scan(data + bytes(20), EXPLICIT_VR_LE)


@given(data=st.binary(max_size=300), uid=st.sampled_from(sorted(TRANSFER_SYNTAXES)))
def test_any_bytes_in_any_syntax_are_scanned_or_refused_by_an_error_of_ours(data, uid):
    with suppress(SebagoError):
        assert scan(data, uid).end <= max(len(data), 1 << 16)


@given(
    elements=data_sets(),
    form=st.sampled_from(FORMS),
    damage=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), max_size=4
    ),
)
def test_damaged_data_sets_are_scanned_or_refused_by_an_error_of_ours(elements, form, damage):
    data = bytearray(encode(elements, form).data)
    for where, replacement in damage:
        at = int(where * len(data))
        data[at : at + len(replacement)] = replacement
    for syntax, sent in (
        (form.uid, bytes(data)),
        (DEFLATED_EXPLICIT_VR_LE, deflate(bytes(data))),
        (DEFLATED_EXPLICIT_VR_LE, bytes(data)),
    ):
        try:
            found = scan(sent, syntax)
        except SebagoError:
            continue
        assert found.end <= len(data) or not damage


# --- what is tolerated --------------------------------------------------------------------------


def ends_with_study(data: bytes, uid: str = EXPLICIT_VR_LE) -> bool:
    found = scan(data, uid)
    same = True
    if uid == EXPLICIT_VR_LE:
        same = scan(deflate(data), DEFLATED_EXPLICIT_VR_LE) == found
    return same and found.uid(STUDY_UID) == "1.2.3"


def in_explicit(*elements: Element) -> bytes:
    return encode(elements, LITTLE_EXPLICIT).data


def test_unordered_and_duplicate_elements_are_taken_and_the_first_counts():
    later = Element(STUDY_UID, "UI", b"9.9.9\0")
    assert ends_with_study(in_explicit(STUDY, NAME, later, Element(0x00080018, "UI", b"1.")))


def test_group_lengths_are_passed_over():
    assert ends_with_study(
        in_explicit(
            Element(0x00080000, "UL", bytes(4)), NAME, Element(0x00200000, "UL", bytes(4)), STUDY
        )
    )


def test_odd_lengths_are_taken_also_with_their_uncounted_pad_byte_at_the_end():
    odd = Element(PIXEL_DATA, "OB", bytes(7))
    data = in_explicit(Element(0x00100010, "PN", b"DOE"), STUDY, odd)
    assert ends_with_study(data)
    assert ends_with_study(data + b"\0")


@pytest.mark.parametrize("padding", [2, 4, 8, 10, 11, 12, 500, 50_001])
def test_zeros_at_the_end_are_padding(padding):
    for form in FORMS:
        data = encode([NAME, STUDY], form).data
        found = scan(data + bytes(padding), form.uid)
        assert found.uid(STUDY_UID) == "1.2.3"
        assert found.end == len(data) or not form.explicit


def test_zeros_at_the_end_that_are_not_only_zeros_are_refused():
    with pytest.raises(NotDicom):
        scan(in_explicit(NAME, STUDY) + bytes(20_000) + b"\x77" * 12, EXPLICIT_VR_LE)


def test_zeros_are_looked_at_once_however_many_there_are():
    for form in FORMS:
        data = encode([NAME, STUDY], form).data + bytes(4 << 20) + b"\x77" * 12
        with pytest.raises(NotDicom):
            scan(data, form.uid)


def test_guesses_have_an_end():
    odd = header(0x00091001, "", 0, LITTLE_IMPLICIT)
    assert ends_with_study(in_explicit(NAME) + odd * 1000 + in_explicit(STUDY))
    with pytest.raises(NotDicom):
        scan(in_explicit(NAME) + odd * 100_000 + in_explicit(STUDY), EXPLICIT_VR_LE)


def test_data_set_trailing_padding_is_an_element_like_others():
    assert ends_with_study(in_explicit(NAME, STUDY, Element(0xFFFCFFFC, "OB", bytes(100))))


@pytest.mark.parametrize("vr", [b"ZZ", b"QX"])
@pytest.mark.parametrize("length", [0, 6, 300])
def test_an_unknown_vr_is_read_in_the_form_that_leads_on(vr, length):
    tag = tag_bytes(0x00110010, LITTLE_EXPLICIT)
    value = b"\x01" * length
    short = tag + vr + struct.pack("<H", length) + value
    long = tag + vr + b"\0\0" + struct.pack("<I", length) + value
    for odd in (short, long):
        assert ends_with_study(in_explicit(NAME) + odd + in_explicit(STUDY))


@pytest.mark.parametrize("vr", [b"\0\0", b"??", b"  "])
def test_a_blank_vr_with_a_short_length_is_read(vr):
    odd = tag_bytes(0x00110010, LITTLE_EXPLICIT) + vr + struct.pack("<H", 6) + b"ABCDEF"
    assert ends_with_study(in_explicit(NAME) + odd + in_explicit(STUDY))


def test_a_wrong_but_known_vr_is_read_by_its_own_form():
    assert ends_with_study(in_explicit(Element(0x00280010, "UL", bytes(4)), STUDY))


def test_implicit_elements_inside_an_explicit_data_set_are_read():
    implicit = encode([Element(0x00181030, "LO", b"PROTOCOL")], LITTLE_IMPLICIT).data
    assert ends_with_study(in_explicit(NAME) + implicit + in_explicit(STUDY))


def test_a_data_set_announced_with_vrs_that_has_none_is_read_and_the_other_way_round():
    for announced, form in ((EXPLICIT_VR_LE, LITTLE_IMPLICIT), (IMPLICIT_VR_LE, LITTLE_EXPLICIT)):
        data = encode([Element(0x00080008, "CS", b"ORIGINAL"), NAME, STUDY, SEQUENCE], form).data
        found = scan(data, announced)
        assert found.explicit is form.explicit
        assert found.uid(STUDY_UID) == "1.2.3"


def test_a_byte_order_other_than_the_announced_one_is_refused():
    for announced, form in ((EXPLICIT_VR_LE, BIG_EXPLICIT), (EXPLICIT_VR_BE, LITTLE_EXPLICIT)):
        with pytest.raises(NotDicom):
            scan(encode([NAME, STUDY], form).data, announced)


@pytest.mark.parametrize("inner", [LITTLE_EXPLICIT, LITTLE_IMPLICIT])
@pytest.mark.parametrize("outer", FORMS)
@pytest.mark.parametrize("item_undefined", [True, False])
def test_un_of_undefined_length_holds_items_with_or_without_vrs(inner, outer, item_undefined):
    nested = Element(0x00091002, "SQ", items=(Item((NAME,), undefined=True),), undefined=True)
    sequence = encode(
        [Element(0x00091001, "UN", items=(Item((NAME, nested), item_undefined),), undefined=True)],
        inner,
    ).data
    body = sequence[len(header(0x00091001, "UN", UNDEFINED, inner)) :]
    data = (
        encode([Element(0x00080008, "CS", b"ORIGINAL")], outer).data
        + header(0x00091001, "UN", UNDEFINED, outer)
        + body
        + encode([STUDY], outer).data
    )
    if inner is LITTLE_EXPLICIT and not outer.explicit and item_undefined:
        # Items of an implicit data set are implicit; what looks different is not believed.
        with pytest.raises(NotDicom):
            scan(data, outer.uid)
    else:
        assert ends_with_study(data, outer.uid)


def test_item_tags_between_top_level_elements_are_passed_over():
    item = header(0xFFFEE000, "", 8, LITTLE_EXPLICIT) + header(0x00091001, "LO", 0, LITTLE_EXPLICIT)
    open_item = header(0xFFFEE000, "", UNDEFINED, LITTLE_EXPLICIT)
    ends = header(0xFFFEE00D, "", 0, LITTLE_EXPLICIT) + header(0xFFFEE0DD, "", 0, LITTLE_EXPLICIT)
    assert ends_with_study(in_explicit(NAME) + item + open_item + ends + in_explicit(STUDY))


def test_a_missing_item_delimiter_and_delimiters_with_a_length_are_taken():
    start = header(0x00081110, "SQ", UNDEFINED, LITTLE_EXPLICIT)
    item = header(0xFFFEE000, "", UNDEFINED, LITTLE_EXPLICIT) + in_explicit(NAME)
    whole = header(0xFFFEE000, "", 0, LITTLE_EXPLICIT)
    end = tag_bytes(0xFFFEE0DD, LITTLE_EXPLICIT) + b"\x08\0\0\0"
    assert ends_with_study(start + item + item + whole + end + in_explicit(STUDY))


# --- memory -------------------------------------------------------------------------------------


def peak_bytes(data: bytes, uid: str, **limits: int) -> tuple[int, type[Exception] | None]:
    tracemalloc.start()
    raised: type[Exception] | None = None
    try:
        scan(data, uid, **limits)  # type: ignore[arg-type]
    except SebagoError as error:
        raised = type(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, raised


def test_a_claimed_length_allocates_nothing():
    for form in FORMS:
        data = encode([NAME], form).data + header(0x00104000, "UT", 0xFFFFFFF0, form) + bytes(30)
        peak, raised = peak_bytes(data, form.uid)
        assert raised is Truncated
        assert peak < 200_000


def test_a_large_deflated_object_is_scanned_without_holding_it():
    pixels = Element(PIXEL_DATA, "OW", Random(1).randbytes(20 << 20))
    deflated = deflate(in_explicit(NAME, STUDY, pixels))
    peak, raised = peak_bytes(deflated, DEFLATED_EXPLICIT_VR_LE)
    assert raised is None
    assert peak < 4 << 20


def test_a_decompression_bomb_stops_at_its_limits():
    bomb = deflate(in_explicit(NAME, Element(PIXEL_DATA, "OW", bytes(40 << 20))))
    peak, raised = peak_bytes(bomb, DEFLATED_EXPLICIT_VR_LE)
    assert raised is Inflated
    assert peak < 4 << 20
    peak, raised = peak_bytes(bomb, DEFLATED_EXPLICIT_VR_LE, inflate_max=1 << 20)
    assert raised is Inflated
    with pytest.raises(Inflated):
        inflated(bomb, inflate_max=1 << 20)


# --- real objects -------------------------------------------------------------------------------

# What is wrong with the few files that are refused, by the end of their path.
REFUSED: dict[str, type[NotDicom]] = {
    "dcm4che/3gb-bulk-data-truncated": Truncated,
    "fo-dicom/GH1339.dcm": Truncated,  # its pixel data lack the sequence delimiter
    "pydicom/test_files/MR_truncated.dcm": Truncated,
    "pydicom/test_files/rtplan_truncated.dcm": Truncated,
    "fo-dicom/GH626.dcm": NotDicom,  # a private value is four bytes longer than its length
    "pydicom/test_files/no_meta.dcm": NotDicom,  # one stray byte before the first element
}


def dicom_files() -> list[str]:
    data = shared_data()
    if data is None:
        return []
    with (data / "manifest.tsv").open(encoding="utf-8", newline="") as lines:
        return [
            row["path"]
            for row in csv.DictReader(lines, delimiter="\t")
            if row["sop_class"] != "-" or row["path"].endswith((".dcm", "DICOMDIR"))
        ]


def check_against_pydicom(content: bytes) -> None:
    file = parse_part10(content)
    found = scan(memoryview(content)[file.dataset_offset :], file.meta.transfer_syntax_uid)
    theirs = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=list(WANTED_VRS))
    for tag, vr in WANTED_VRS.items():
        raw: Any = theirs.get_item(tag)
        if raw is None or vr == "SQ":
            continue
        if isinstance(raw, RawDataElement):
            assert (raw.value or b"") == found.values[tag], f"{tag:08X}"
        else:
            assert tag in found.values


@pytest.mark.skipif(shared_data() is None, reason="the shared folder of real objects is absent")
@pytest.mark.filterwarnings("ignore")
def test_every_real_object_is_scanned_or_refused_for_its_reason():
    folder = shared_data()
    assert folder is not None
    paths = dicom_files()
    assert len(paths) > 500
    refused: dict[str, type[Exception]] = {}
    for path in paths:
        content = (folder / path).read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        try:
            check_against_pydicom(content)
        except NotDicom as error:
            refused[path] = type(error)
    assert refused == REFUSED


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm",
        "JPEG2000.dcm", "rtplan.dcm", "UN_sequence.dcm", "nested_priv_SQ.dcm", "priv_SQ.dcm",
        "empty_charset_LEI.dcm", "test-SR.dcm", "waveform_ecg.dcm", "MR_small_padded.dcm",
    ],
)  # fmt: skip
def test_objects_that_come_with_pydicom_are_read_as_pydicom_reads_them(name):
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    check_against_pydicom(Path(path).read_bytes())
