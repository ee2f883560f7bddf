"""Identifiers: keys that are read as they were meant, answers that others read as we meant them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from sebago.dicom.identifier import KEY_BYTES_MAX, read_keys, vr_of, write_identifier
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.errors import BadRequest, NotDicom, NotSupported, SebagoError

NATIVE = [IMPLICIT_VR_LE, EXPLICIT_VR_LE]


def encoded(data_set: Dataset, syntax: str) -> bytes:
    """A data set as pydicom writes it."""
    out = BytesIO()
    implicit = syntax == IMPLICIT_VR_LE
    pydicom.dcmwrite(out, data_set, implicit_vr=implicit, little_endian=True)
    return out.getvalue()


def decoded(data: bytes, syntax: str) -> Dataset:
    """A data set as pydicom reads it."""
    return pydicom.filereader.read_dataset(
        BytesIO(data), is_implicit_VR=syntax == IMPLICIT_VR_LE, is_little_endian=True
    )


@pytest.mark.parametrize("syntax", NATIVE)
def test_keys_are_read_by_the_path_of_their_tags(syntax):
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 100"
    made.QueryRetrieveLevel = "STUDY"
    made.PatientName = "Müller^J*"
    made.StudyDate = "20240101-20240131"
    made.StudyInstanceUID = ["1.2.3", "1.2.4"]
    made.PatientID = ""
    made.Rows = 512
    made.FrameIncrementPointer = 0x00181063
    item = Dataset()
    item.RequestedProcedureID = "RP1"
    item.ScheduledProcedureStepID = ""
    made.RequestAttributesSequence = [item]
    made.ReferencedStudySequence = []
    made.ProcedureCodeSequence = [Dataset()]
    assert read_keys(encoded(made, syntax), syntax) == {
        (0x00080020,): "20240101-20240131",
        (0x00080052,): "STUDY",
        (0x00081032,): "",
        (0x00081110,): "",
        (0x00100010,): "Müller^J*",
        (0x00100020,): "",
        (0x0020000D,): "1.2.3\\1.2.4",
        (0x00280009,): "00181063",
        (0x00280010,): "512",
        (0x00400275, 0x00401001): "RP1",
        (0x00400275, 0x00400009): "",
    }


def test_group_lengths_and_the_character_set_are_no_keys():
    raw = bytes.fromhex("08000000 04000000 0a000000 08000500 0a000000") + b"ISO_IR 192"
    raw += bytes.fromhex("10002000 02000000") + b"7 "
    assert read_keys(raw, IMPLICIT_VR_LE) == {(0x00100020,): "7"}


def test_a_key_that_is_too_long_is_refused():
    raw = bytes.fromhex("10002000") + (KEY_BYTES_MAX + 2).to_bytes(4, "little")
    with pytest.raises(BadRequest):
        read_keys(raw + bytes(KEY_BYTES_MAX + 2), IMPLICIT_VR_LE)
    with pytest.raises(NotDicom):
        read_keys(raw, IMPLICIT_VR_LE)


@given(st.binary(max_size=300), st.sampled_from(NATIVE))
def test_whatever_comes_is_read_or_refused(data, syntax):
    try:
        keys = read_keys(data, syntax)
    except SebagoError:
        return
    for path, value in keys.items():
        assert all(isinstance(tag, int) for tag in path)
        assert isinstance(value, str)


@given(st.integers(0, 200), st.binary(max_size=6), st.sampled_from(NATIVE))
def test_an_identifier_that_was_spoiled_is_read_or_refused(at, change, syntax):
    made = Dataset()
    made.QueryRetrieveLevel = "SERIES"
    made.PatientName = "A^B"
    item = Dataset()
    item.RequestedProcedureID = "RP1"
    made.RequestAttributesSequence = [item, item]
    raw = bytearray(encoded(made, syntax))
    raw[at : at + len(change)] = change
    try:
        read_keys(bytes(raw), syntax)
    except SebagoError:
        return


@pytest.mark.parametrize("syntax", NATIVE)
def test_an_answer_is_read_by_others_as_it_was_meant(syntax):
    row: dict[str, Any] = {
        "00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"]},
        "00080020": {"vr": "DA", "Value": ["20240102"]},
        "00080061": {"vr": "CS", "Value": ["CT", "SR"]},
        "00081030": {"vr": "LO"},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^T", "Ideographic": "山田^太郎"}]},
        "00101001": {"vr": "PN", "Value": [None, {"Alphabetic": "B"}]},
        "00101030": {"vr": "DS", "Value": [71.5]},
        "00200013": {"vr": "IS", "Value": [-4]},
        "00280009": {"vr": "AT", "Value": ["00181063"]},
        "00280010": {"vr": "US", "Value": [512, None, 3]},
        "00281055": {"vr": "LO", "Value": ["", None]},
        "00400275": {"vr": "SQ", "Value": [{"00401001": {"vr": "SH", "Value": ["RP1"]}}, {}]},
        "00420011": {"vr": "OB", "InlineBinary": "AQID"},
    }
    read = decoded(write_identifier(row, syntax), syntax)
    assert read.SpecificCharacterSet == "ISO_IR 192"
    read.decode()
    assert read.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert read.StudyDate == "20240102"
    assert read.ModalitiesInStudy == ["CT", "SR"]
    assert read.StudyDescription == ""
    assert read.PatientName.ideographic == "山田^太郎"
    assert [str(name) for name in read.OtherPatientNames] == ["", "B"]
    assert read.PatientWeight == 71.5
    assert read.InstanceNumber == -4
    assert read.FrameIncrementPointer == 0x00181063
    assert read.Rows == [512, 3]
    assert read.RequestAttributesSequence[0].RequestedProcedureID == "RP1"
    assert len(read.RequestAttributesSequence) == 2
    assert read.EncapsulatedDocument == b"\1\2\3\0"
    tags = [element.tag for element in read]
    assert tags == sorted(tags)


def test_plain_text_says_no_character_set():
    data = write_identifier(
        {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "A"}]}}, IMPLICIT_VR_LE
    )
    assert data == bytes.fromhex("10001000 02000000") + b"A "


def test_numbers_as_text_keep_to_the_length_that_the_standard_allows():
    row = {"00101030": {"vr": "DS", "Value": [1 / 3, -1e-300 / 7, 123456789012345.678]}}
    read = decoded(write_identifier(row, EXPLICIT_VR_LE), EXPLICIT_VR_LE)
    raw = read.get_item("PatientWeight").value.decode()
    assert all(len(part.strip()) <= 16 for part in raw.split("\\"))
    assert [float(part) for part in raw.split("\\")] == pytest.approx(row["00101030"]["Value"])


def test_values_that_do_not_fit_their_vr_are_left_out_not_raised():
    row: dict[str, Any] = {
        "00280010": {"vr": "US", "Value": [70000, "x", -1]},
        "00420011": {"vr": "OB", "InlineBinary": "not base64!"},
        "00100010": {"vr": "PN", "Value": ["A^B"]},
        "00280009": {"vr": "AT", "Value": ["nonsense"]},
    }
    for syntax in NATIVE:
        decoded(write_identifier(row, syntax), syntax)


def test_text_longer_than_a_short_length_field_goes_as_unknown():
    row = {"00081030": {"vr": "LO", "Value": ["x" * 70_000]}}
    read = decoded(write_identifier(row, EXPLICIT_VR_LE), EXPLICIT_VR_LE)
    assert len(read.get_item("StudyDescription").value) == 70_000


def test_items_that_nest_too_deep_are_left_out():
    row: dict[str, Any] = {"00100020": {"vr": "LO", "Value": ["7"]}}
    for _ in range(3000):
        row = {"00400275": {"vr": "SQ", "Value": [row]}}
    assert len(write_identifier(row, EXPLICIT_VR_LE)) < 1000


def test_identifiers_are_written_in_native_little_endian_only():
    with pytest.raises(NotSupported):
        write_identifier({}, "1.2.840.10008.1.2.2")


@given(
    st.dictionaries(
        st.sampled_from(["00080050", "00081030", "00100020", "00102160"]),
        st.text(st.characters(codec="utf-8", exclude_characters="\\\0"), max_size=20),
    ),
    st.sampled_from(NATIVE),
)
def test_what_is_written_is_read_again(texts, syntax):
    row = {tag: {"vr": vr_of(int(tag, 16)), "Value": [text]} for tag, text in texts.items()}
    keys = read_keys(write_identifier(row, syntax), syntax)
    found = {f"{path[0]:08X}": value for path, value in keys.items()}
    if all(text.isprintable() for text in texts.values()):
        assert found == {tag: text.strip(" ") for tag, text in texts.items()}


def test_the_vr_of_a_tag_is_the_dictionarys_first():
    assert vr_of(0x00100010) == "PN"
    assert vr_of(0x7FE00010) == "OB"
    assert vr_of(0x00091001) == "UN"
