"""Files with and without what PS3.10 asks for; and the meta information that is written."""

from __future__ import annotations

import io
import struct
from contextlib import suppress

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom import uids
from sebago.dicom.part10 import FileMeta, parse_part10, write_meta
from sebago.errors import NotDicom, Truncated
from tests.dicom.reading_strategies import FORMS, LITTLE_EXPLICIT, Element, data_sets, encode

NAME = Element(0x00100010, "PN", b"DOE^JANE")
CLASS = "1.2.840.10008.5.1.4.1.1.7"
INSTANCE = "1.2.3.4.5"


def written(ae: str = "CT1") -> bytes:
    return write_meta(CLASS, INSTANCE, uids.JPEG2000_LOSSLESS, ae)


def element(number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", 2, number, vr, len(value)) + value


def test_pydicom_reads_the_meta_information_that_is_written():
    theirs = pydicom.dcmread(io.BytesIO(written() + encode([NAME], LITTLE_EXPLICIT).data))
    meta = theirs.file_meta
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert meta.MediaStorageSOPClassUID == CLASS
    assert meta.MediaStorageSOPInstanceUID == INSTANCE
    assert meta.TransferSyntaxUID == uids.JPEG2000_LOSSLESS
    assert meta.ImplementationClassUID == uids.IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == uids.IMPLEMENTATION_VERSION_NAME
    assert meta.SourceApplicationEntityTitle == "CT1"
    assert meta.FileMetaInformationGroupLength == len(written()) - 144
    assert theirs.preamble == bytes(128)


def test_what_is_written_is_read_back():
    for ae in ("", "CT1"):
        found = parse_part10(written(ae) + b"\x08\x00")
        assert found.meta == FileMeta(uids.JPEG2000_LOSSLESS, CLASS, INSTANCE, ae)
        assert found.dataset_offset == len(written(ae))


def test_an_ae_title_that_is_too_long_or_not_ascii_still_makes_a_file():
    found = parse_part10(written("ÄÖÜ-0123456789-ABCDEF"))
    assert found.meta.source_ae_title == "???-0123456789-A"


def test_a_preamble_with_a_program_in_it_is_not_looked_at():
    data = b"MZ\x90\0" + bytes(124) + written()[128:]
    assert parse_part10(data).meta.sop_class_uid == CLASS


@pytest.mark.parametrize(
    "strip",
    [
        lambda file: file[128:],  # no preamble
        lambda file: file[132:],  # no preamble, no prefix
        lambda file: file[:128] + file[132:],  # no prefix
        lambda file: file[:132] + file[144:],  # no group length
        lambda file: file[:140] + b"\xff\xff\0\0" + file[144:],  # a wrong group length
    ],
)
def test_a_file_that_lacks_formalities_is_read(strip):
    file = strip(written())
    found = parse_part10(file + encode([NAME], LITTLE_EXPLICIT).data)
    assert found.meta.transfer_syntax_uid == uids.JPEG2000_LOSSLESS
    assert found.meta.source_ae_title == "CT1"
    assert not found.meta.guessed
    assert found.dataset_offset == len(file)


def test_meta_elements_without_vr_are_read():
    value = uids.EXPLICIT_VR_LE.encode() + b"\0"
    implicit = struct.pack("<HHI", 2, 0x10, len(value)) + value
    assert parse_part10(bytes(128) + b"DICM" + implicit).meta.transfer_syntax_uid == (
        uids.EXPLICIT_VR_LE
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", [b"", bytes(128) + b"DICM" + element(2, b"UI", b"1.2\0")])
def test_the_transfer_syntax_is_guessed_where_nothing_says_it(form, prefix):
    data = encode([Element(0x00080005, "CS", b"ISO_IR 100"), NAME], form).data
    found = parse_part10(prefix + data)
    assert found.meta.transfer_syntax_uid == form.uid
    assert found.meta.guessed
    assert found.dataset_offset == len(prefix)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"DICM",
        bytes(500),
        b"%PDF-1.7 not at all",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"GIF89a\x01\0\x01\0",
        b"PK\x03\x04" + bytes(60),
        b'{"resourceType": "Bundle"}',
    ],
)
def test_what_is_no_dicom_file_is_refused(data):
    with pytest.raises(NotDicom):
        parse_part10(data)


def test_a_file_cut_off_in_its_meta_information_is_refused():
    for cut in (145, 150, 160, len(written()) - 2):
        with pytest.raises(NotDicom):
            parse_part10(written()[:cut])
    with pytest.raises(Truncated):
        parse_part10(bytes(128) + b"DICM" + struct.pack("<HH2sHI", 2, 1, b"OB", 0, 0xFFFFFFF0))


def test_meta_information_without_end_is_refused():
    with pytest.raises(NotDicom):
        parse_part10(b"DICM" + element(0x16, b"AE", b"") * 100_000)


@given(data=st.binary(max_size=400), prefixed=st.booleans())
def test_any_bytes_are_read_or_refused(data, prefixed):
    file = bytes(128) + b"DICM\x02\x00" + data if prefixed else data
    with suppress(NotDicom):
        assert 0 <= parse_part10(file).dataset_offset <= len(file)


@given(elements=data_sets(), form=st.sampled_from(FORMS))
def test_the_data_set_of_a_file_is_found(elements, form):
    data = encode(elements, form).data
    file = write_meta(CLASS, INSTANCE, form.uid) + data
    found = parse_part10(memoryview(file))
    assert file[found.dataset_offset :] == data
    assert found.meta.transfer_syntax_uid == form.uid
