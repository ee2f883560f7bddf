"""What the index keeps of an instance, its series and its study."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sebago.dicom.facts import (
    INSTANCE_TAGS,
    SERIES_TAGS,
    STUDY_TAGS,
    date_of,
    facts,
    series_facts,
    study_facts,
    time_of,
)
from sebago.dicom.part10 import parse_part10
from sebago.dicom.scan import WANTED_VRS, Header, scan
from sebago.errors import MissingIdentifier, NotDicom
from tests.data_dirs import shared_data
from tests.dicom.reading_strategies import FORMS, LITTLE_EXPLICIT, Element, Form, Item, encode

IDENTIFIERS = {
    0x00080016: b"1.2.840.10008.5.1.4.1.1.2",
    0x00080018: b"1.2.3.1",
    0x0020000D: b"1.2.3",
    0x0020000E: b"1.2.3.0",
}


def scanned(form: Form = LITTLE_EXPLICIT, /, **values: bytes) -> Header:
    """A header with identifiers and `_GGGGEEEE=value` besides; an empty value removes one."""
    wanted = IDENTIFIERS | {int(name[1:], 16): value for name, value in values.items()}
    elements = [
        Element(tag, WANTED_VRS[tag], value) for tag, value in sorted(wanted.items()) if value
    ]
    return scan(encode(elements, form).data, form.uid)


def header_with(*more: Element, form: Form = LITTLE_EXPLICIT) -> Header:
    elements = [Element(tag, WANTED_VRS[tag], value) for tag, value in IDENTIFIERS.items()]
    return scan(encode(sorted([*elements, *more], key=lambda e: e.tag), form).data, form.uid)


def test_an_instance_is_told_by_its_own_attributes():
    found = facts(
        scanned(
            _00080005=b"ISO_IR 100",
            _00080008=b"ORIGINAL\\PRIMARY\\AXIAL ",
            _00080023=b"20240102",
            _00080033=b"103000.5",
            _00080060=b"CT",
            _00100020=b"MRN-1 ",
            _00100021=b"CARY",
            _00200013=b"12",
            _00201041=b"-12.50",
            _00280008=b"1 ",
            _00280010=b"\x00\x02",
            _00280011=b"\x00\x01",
            _00280100=b"\x10\x00",
        )
    )
    assert found.sop_class_uid == "1.2.840.10008.5.1.4.1.1.2"
    assert found.sop_instance_uid == "1.2.3.1"
    assert found.study_instance_uid == "1.2.3"
    assert found.series_instance_uid == "1.2.3.0"
    assert (found.patient_id, found.issuer_of_patient_id) == ("MRN-1", "CARY")
    assert found.modality == "CT"
    assert (found.instance_number, found.number_of_frames) == (12, 1)
    assert (found.content_date, found.content_time) == ("20240102", "103000.5")
    assert (found.rows, found.columns, found.bits_allocated) == (512, 256, 16)
    assert not found.has_pixels
    assert found.instance_attributes == (
        b'{"00080008":{"vr":"CS","Value":["ORIGINAL","PRIMARY","AXIAL"]},'
        b'"00201041":{"vr":"DS","Value":[-12.50]}}'
    )


def test_a_study_is_told_with_its_patient():
    found = study_facts(
        scanned(
            _00080005=b"ISO_IR 192",
            _00080020=b"2024.01.02",
            _00080030=b"10:30",
            _00080050=b"ACC1",
            _00080090="Ärztin^A".encode(),
            _00080201=b"-0500",
            _00081030=b"CHEST",
            _00100010="Müller^Jörg=穆勒".encode(),
            _00100020=b"MRN-1",
            _00100030=b"19570203",
            _00100040=b"M ",
            _00101000=b"OLD1\\OLD2",
            _00101010=b"067Y",
            _00200010=b"S1",
        )
    )
    assert found.patient_name == "Müller^Jörg=穆勒"
    assert found.referring_physician_name == "Ärztin^A"
    assert (found.patient_id, found.patient_birth_date, found.patient_sex) == (
        "MRN-1", "19570203", "M",
    )  # fmt: skip
    assert (found.study_date, found.study_time) == ("20240102", "1030")
    assert (found.accession_number, found.study_id) == ("ACC1", "S1")
    assert (found.study_description, found.timezone_offset_from_utc) == ("CHEST", "-0500")
    attributes = json.loads(found.study_attributes)
    assert attributes["00101000"] == {"vr": "LO", "Value": ["OLD1", "OLD2"]}
    assert attributes["00101010"] == {"vr": "AS", "Value": ["067Y"]}
    assert attributes["00080201"] == {"vr": "SH", "Value": ["-0500"]}
    # What the normalised columns do not say is kept as it came.
    assert attributes["00080020"] == {"vr": "DA", "Value": ["2024.01.02"]}
    assert attributes["00080030"] == {"vr": "TM", "Value": ["10:30"]}


def request_item(step: bytes, procedure: bytes, *, undefined: bool) -> Item:
    return Item((Element(0x00400009, "SH", step), Element(0x00401001, "SH", procedure)), undefined)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("undefined", [True, False])
def test_a_series_is_told_with_its_requests(form, undefined):
    items = (
        request_item(b"SPS1", b"RP1 ", undefined=undefined),
        request_item(b"SPS2", b"RP2 ", undefined=undefined),
    )
    found = series_facts(
        header_with(
            Element(0x00080060, "CS", b"MR"),
            Element(0x00081010, "SH", b"MR01"),
            Element(0x0008103E, "LO", b"T1"),
            Element(0x00180015, "CS", b"HEAD"),
            Element(0x00200011, "IS", b"3 "),
            Element(0x00400244, "DA", b"20240102"),
            Element(0x00400275, "SQ", items=items, undefined=undefined),
            form=form,
        )
    )
    assert (found.modality, found.series_number, found.series_description) == ("MR", 3, "T1")
    assert (found.body_part_examined, found.station_name) == ("HEAD", "MR01")
    assert found.performed_procedure_step_start_date == "20240102"
    assert found.scheduled_procedure_step_ids == ("SPS1", "SPS2")
    assert found.requested_procedure_ids == ("RP1", "RP2")
    request = json.loads(found.series_attributes)["00400275"]
    assert request["vr"] == "SQ"
    assert [item["00400009"]["Value"] for item in request["Value"]] == [["SPS1"], ["SPS2"]]


@pytest.mark.parametrize("tag", sorted(IDENTIFIERS))
@pytest.mark.parametrize("value", [b"", b"  ", b"\0\0", b"1.2\\1.3", b"../../etc", b"1" * 130])
def test_an_object_without_a_usable_identifier_is_refused(tag, value):
    with pytest.raises(MissingIdentifier) as refused:
        facts(scanned(**{f"_{tag:08X}": value}))
    assert "etc" not in str(refused.value)


@pytest.mark.parametrize(
    "value", [b"1.02.003", b"1.2.3 ", b"1.2.3\0", b"1.2." + b"3" * 90, b"3gb_a.0"]
)
def test_odd_but_usable_uids_are_kept_without_padding(value):
    assert facts(scanned(_0020000D=value)).study_instance_uid == value.strip(b" \0").decode()


@pytest.mark.parametrize(
    ("value", "number", "kept"),
    [
        (b"1.0 ", 1, "1"),
        (b"007", 7, "7"),
        (b"+5", 5, "5"),
        (b"-3", -3, None),
        (b"1A", None, '"1A"'),
        (b"1.5", None, "1.5"),
        (b"1\\2", None, "1,2"),
        (b"9" * 30, None, "9" * 30),
    ],
)
def test_an_odd_instance_number_is_a_number_or_kept_as_it_came(value, number, kept):
    found = facts(scanned(_00200013=value))
    assert found.instance_number == number
    expected = b"{}" if kept is None else b'{"00200013":{"vr":"IS","Value":[%s]}}' % kept.encode()
    assert found.instance_attributes == expected


@pytest.mark.parametrize("value", [b"0000", b"00000000", b"1957", b"unknown ", b"19571340"])
def test_a_birthday_that_is_none_is_kept_as_text_beside_an_empty_column(value):
    found = study_facts(scanned(_00100030=value))
    assert found.patient_birth_date == ""
    kept = json.loads(found.study_attributes)["00100030"]
    assert kept == {"vr": "DA", "Value": [value.decode().strip()]}


def test_a_sequence_that_cannot_be_read_is_left_out_and_harms_nothing():
    overrun = b"\xfe\xff\x00\xe0\x10\0\0\0\x40\0\x09\0SH\xf0\x0f12345678"
    for value in (b"garbage!", bytes(70_000), overrun):
        broken = Element(0x00400275, "SQ", value)
        found = series_facts(header_with(broken, Element(0x00200060, "CS", b"L ")))
        assert found.scheduled_procedure_step_ids == ()
        assert found.series_attributes == b'{"00200060":{"vr":"CS","Value":["L"]}}'


def test_nul_inside_text_does_not_reach_a_column():
    assert study_facts(scanned(_00100020=b"A\0B ")).patient_id == "AB"


def test_every_attribute_that_is_kept_is_scanned_for_and_belongs_to_one_level():
    kept = [*STUDY_TAGS, *SERIES_TAGS, *INSTANCE_TAGS]
    assert len(set(kept)) == len(kept)
    assert set(kept) <= set(WANTED_VRS)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("20240229", "20240229"), ("2024.02.29", "20240229"), ("2024-02-29", "20240229"),
        ("2024/02/29", "20240229"), ("2024.02-29", ""), ("202402", ""), ("20241301", ""),
        ("20240100", ""), ("00000101", ""), ("", ""),
    ],
)  # fmt: skip
def test_dates_are_normalised(text, date):
    assert date_of(text) == date


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("10", "10"), ("1030", "1030"), ("103005", "103005"), ("103005.5", "103005.5"),
        ("10:30:05.1234567", "103005.123456"), ("235960", "235960"), ("2400", ""), ("1060", ""),
        ("103061", ""), ("1", ""), ("10.5", ""), ("", ""),
    ],
)  # fmt: skip
def test_times_are_normalised(text, time):
    assert time_of(text) == time


@given(
    values=st.dictionaries(
        st.sampled_from(sorted(set(WANTED_VRS) - set(IDENTIFIERS))), st.binary(max_size=40)
    ),
    explicit=st.booleans(),
    little_endian=st.booleans(),
    charsets=st.sampled_from([("",), ("ISO_IR 192",), ("", "ISO 2022 IR 87"), ("GB18030",)]),
)
def test_whatever_a_header_holds_facts_are_made_and_are_json(
    values, explicit, little_endian, charsets
):
    header = Header(values | IDENTIFIERS, None, 0, charsets, explicit, little_endian)
    for attributes in (
        facts(header).instance_attributes,
        series_facts(header).series_attributes,
        study_facts(header).study_attributes,
    ):
        for key, attribute in json.loads(attributes).items():
            assert attribute["vr"] == WANTED_VRS[int(key, 16)]


@pytest.mark.skipif(shared_data() is None, reason="the shared folder of real objects is absent")
def test_every_real_object_has_facts_or_lacks_an_identifier():
    folder = shared_data()
    assert folder is not None
    without: set[str] = set()
    made = 0
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_relative_to(folder / "hl7v2"):
            continue
        content = path.read_bytes()
        try:
            file = parse_part10(content)
            header = scan(memoryview(content)[file.dataset_offset :], file.meta.transfer_syntax_uid)
            facts(header)
        except MissingIdentifier:
            without.add(path.name)
        except NotDicom:
            continue
        else:
            made += 1
            json.loads(study_facts(header).study_attributes)
            json.loads(series_facts(header).series_attributes)
    assert made > 500
    # Directories, palettes and plans without a study, and a scan of before DICOM.
    assert {"DICOMDIR", "GH340.dcm"} <= without
