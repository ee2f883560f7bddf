"""Made-up instances for the index's tests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from sebago.index.record import NewInstance

ROOT = "2.25.4711"


@dataclass(frozen=True, slots=True)
class MadeFacts:
    """The fields of `sebago.dicom.facts.Facts` that the index takes."""

    study_instance_uid: str = f"{ROOT}.1"
    series_instance_uid: str = f"{ROOT}.1.1"
    sop_instance_uid: str = f"{ROOT}.1.1.1"
    sop_class_uid: str = "1.2.840.10008.5.1.4.1.1.2"
    patient_id: str = "P1"
    issuer_of_patient_id: str = ""
    patient_name: str = "SMITH^JOHN"
    patient_birth_date: str = "19500102"
    patient_sex: str = "M"
    study_date: str = "20240301"
    study_time: str = "101500"
    accession_number: str = "A1"
    study_id: str = "S1"
    study_description: str = "CT Chest"
    referring_physician_name: str = "JONES^ANN"
    modality: str = "CT"
    series_number: int | None = 1
    series_description: str = "Axial"
    body_part: str = "CHEST"
    instance_number: int | None = 1
    rows: int | None = 512
    columns: int | None = 512
    number_of_frames: int | None = None
    bits_allocated: int | None = 16
    study_attributes: bytes = b"{}"
    series_attributes: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class MadePlace:
    """A place in a journal."""

    writer: str = "w1"
    segment: int = 1
    offset: int = 64
    length: int = 1000
    end: int = 1064


def new(
    content: str | None = None,
    *,
    facility: str = "CARY",
    authority: str = "CARY",
    received_us: int = 1_000_000,
    place: MadePlace | None = None,
    **facts: Any,
) -> NewInstance:
    """An instance to be recorded; `content` stands for its bytes (default: its UID)."""
    made = MadeFacts(**facts)
    content = made.sop_instance_uid if content is None else content
    return NewInstance(
        facility=facility,
        assigning_authority=authority,
        facts=made,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=hashlib.blake2b(content.encode(), digest_size=32).digest(),
        received_us=received_us,
        place=place or MadePlace(),
    )


def uid(*numbers: int) -> str:
    return ".".join([ROOT, *map(str, numbers)])


def slices(count: int, study: int = 1, series: int = 1, **more: Any) -> list[NewInstance]:
    """`count` instances of one series."""
    return [
        new(
            study_instance_uid=uid(study),
            series_instance_uid=uid(study, series),
            sop_instance_uid=uid(study, series, number),
            instance_number=number,
            **more,
        )
        for number in range(1, count + 1)
    ]
