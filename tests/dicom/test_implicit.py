"""Implicit VR Little Endian: the same values, read by others."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from sebago.dicom.implicit import to_implicit_le
from sebago.dicom.part10 import parse_part10
from sebago.dicom.scan import scan
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.errors import SebagoError
from tests.samples import body, small


def read(data: bytes) -> Dataset:
    return pydicom.filereader.read_dataset(
        BytesIO(data), is_implicit_VR=True, is_little_endian=True
    )


def test_a_plain_data_set_is_what_others_write():
    assert to_implicit_le(body(small()), EXPLICIT_VR_LE) == body(small(implicit=True))
    again = body(small(implicit=True))
    assert to_implicit_le(again, IMPLICIT_VR_LE) == again


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm",
        "image_dfl.dcm", "nested_priv_SQ.dcm", "693_J2KI.dcm", "test-SR.dcm",
    ],
)  # fmt: skip
def test_real_files_keep_every_value(name: str):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom does not bring {name} along")
    assert isinstance(path, str)
    with open(path, "rb") as file:  # noqa: PTH123
        raw = file.read()
    parsed = parse_part10(raw)
    converted = to_implicit_le(raw[parsed.dataset_offset :], parsed.meta.transfer_syntax_uid)
    scan(converted, IMPLICIT_VR_LE)
    before, after = pydicom.dcmread(BytesIO(raw)), read(converted)
    for element in before:
        if element.tag.group == 0x7FE0 or element.tag.is_private or not element.tag.element:
            continue  # decoded; without a VR; group lengths, retired, which would be wrong now
        assert after[element.tag].value == element.value, element.tag
    lost = {element.tag for element in before} - {element.tag for element in after}
    assert not [tag for tag in lost if tag.element]


def test_sequences_and_odd_lengths_come_out_well_formed():
    made = small()
    item = Dataset()
    item.CodeValue = "113001"
    inner = Dataset()
    inner.CodeMeaning = "x"
    item.EquivalentCodeSequence = [inner]
    made.ProcedureCodeSequence = [item, Dataset()]
    after = read(to_implicit_le(body(made), EXPLICIT_VR_LE))
    assert after.ProcedureCodeSequence[0].EquivalentCodeSequence[0].CodeMeaning == "x"
    assert len(after.ProcedureCodeSequence) == 2
    odd = b"\x08\x00\x50\x00SH\x03\x00ABC" + b"\x10\x00\x20\x00LO\x02\x007 "
    assert to_implicit_le(odd, EXPLICIT_VR_LE) == (
        b"\x08\x00\x50\x00\x04\x00\x00\x00ABC\x00\x10\x00\x20\x00\x02\x00\x00\x007 "
    )


@given(st.integers(0, 700), st.binary(max_size=8))
def test_a_spoiled_data_set_is_converted_or_refused(at, change):
    raw = bytearray(body(small(pixels=b"\1\2")))
    raw[at : at + len(change)] = change
    try:
        to_implicit_le(bytes(raw), EXPLICIT_VR_LE)
    except SebagoError:
        return
