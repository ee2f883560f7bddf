"""Made-up instances for the index's tests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from sebago.dicom.charset import charsets_of
from sebago.dicom.facts import facts
from sebago.dicom.scan import Header
from sebago.index.record import NewInstance

ROOT = "2.25.4711"

TAGS: Final = {
    "sop_class_uid": 0x00080016,
    "sop_instance_uid": 0x00080018,
    "study_date": 0x00080020,
    "content_date": 0x00080023,
    "study_time": 0x00080030,
    "accession_number": 0x00080050,
    "modality": 0x00080060,
    "institution_name": 0x00080080,
    "referring_physician_name": 0x00080090,
    "station_name": 0x00081010,
    "study_description": 0x00081030,
    "series_description": 0x0008103E,
    "patient_name": 0x00100010,
    "patient_id": 0x00100020,
    "issuer_of_patient_id": 0x00100021,
    "patient_birth_date": 0x00100030,
    "patient_sex": 0x00100040,
    "body_part_examined": 0x00180015,
    "protocol_name": 0x00181030,
    "study_instance_uid": 0x0020000D,
    "series_instance_uid": 0x0020000E,
    "study_id": 0x00200010,
    "series_number": 0x00200011,
    "instance_number": 0x00200013,
    "number_of_frames": 0x00280008,
    "performed_procedure_step_start_date": 0x00400244,
    "performed_procedure_step_start_time": 0x00400245,
    "request_attributes": 0x00400275,
}

USUAL: Final = {
    "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
    "study_instance_uid": f"{ROOT}.1",
    "series_instance_uid": f"{ROOT}.1.1",
    "sop_instance_uid": f"{ROOT}.1.1.1",
    "patient_id": "P1",
    "patient_name": "SMITH^JOHN",
    "patient_birth_date": "19500102",
    "patient_sex": "M",
    "study_date": "20240301",
    "study_time": "101500",
    "accession_number": "A1",
    "study_id": "S1",
    "study_description": "CT Chest",
    "referring_physician_name": "JONES^ANN",
    "modality": "CT",
    "series_number": "1",
    "series_description": "Axial",
    "body_part_examined": "CHEST",
    "instance_number": "1",
}


@dataclass(frozen=True, slots=True)
class MadePlace:
    """A place in a journal."""

    writer: str = "w1"
    segment: int = 1
    offset: int = 64
    length: int = 1000
    end: int = 1064


def item(elements: dict[int, str]) -> bytes:
    """A sequence's value: one item of explicit-VR SH elements."""
    body = b""
    for tag, text in elements.items():
        raw = text.encode() + b" " * (len(text) % 2)
        body += (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
        body += b"SH" + len(raw).to_bytes(2, "little") + raw
    return b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body


def new(
    content: str | None = None,
    *,
    facility: str = "CARY",
    authority: str = "CARY",
    received_us: int = 1_000_000,
    place: MadePlace | None = None,
    **said: str | bytes | int,
) -> NewInstance:
    """An instance to be recorded; `content` stands for its bytes (default: its UID)."""
    values = {0x00080005: b"ISO_IR 192", 0x00280010: b"\0\2", 0x00280011: b"\0\2"}
    for name, value in (USUAL | said).items():
        raw = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
        if raw:
            values[TAGS[name]] = raw
    header = Header(
        values=values,
        pixel_offset=1000,
        end=2000,
        charsets=charsets_of(b"ISO_IR 192"),
        explicit=True,
        little_endian=True,
    )
    made = facts(header)
    content = made.sop_instance_uid if content is None else content
    return NewInstance(
        facility=facility,
        assigning_authority=authority,
        facts=made,
        header=header,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=hashlib.blake2b(content.encode(), digest_size=32).digest(),
        received_us=received_us,
        place=place or MadePlace(),
    )


def uid(*numbers: int) -> str:
    return ".".join([ROOT, *map(str, numbers)])


def slices(
    count: int, study: int = 1, series: int = 1, **more: str | bytes | int
) -> list[NewInstance]:
    """`count` instances of one series."""
    return [
        new(
            study_instance_uid=uid(study),
            series_instance_uid=uid(study, series),
            sop_instance_uid=uid(study, series, number),
            instance_number=number,
            series_number=series,
            **more,  # type: ignore[arg-type]  # what `new` takes
        )
        for number in range(1, count + 1)
    ]
