"""Who is in the demonstration: made-up residents, three facilities, and who sent what of whom.

The same resident has another medical record number at every facility: until identity linking says
otherwise, two hospitals' numbers are two people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pydicom

HERE = Path(__file__).parent / "data"


@dataclass(frozen=True, slots=True)
class Facility:
    """A facility of the demonstration; `door` is how its images come in."""

    code: str
    name: str
    authority: str
    ae_title: str
    door: str


FACILITIES = (
    Facility("NPH", "Northport Hospital", "NPH&2.999.1.1&ISO", "NPH_PACS", "C-STORE"),
    Facility("RBC", "Riverbend Clinic", "RBC&2.999.1.2&ISO", "RBC_PACS", "C-STORE"),
    Facility("LKI", "Lakeside Imaging", "LKI&2.999.1.3&ISO", "LKI_PACS", "STOW-RS"),
)


@dataclass(frozen=True, slots=True)
class Study:
    """One study of one resident at one facility."""

    facility: str
    patient_id: str
    patient_name: str
    birth_date: str
    sex: str
    study_date: str
    accession_number: str
    description: str
    images: str
    """Which sample: a folder under `data/`, or a file of the pydicom-data package."""
    count: int


STUDIES = (
    Study("NPH", "0042", "PELLETIER^ANN", "19580302", "F", "20260302", "N-1001", "CT HEAD", "ct-head", 28),
    Study("RBC", "R-7719", "PELLETIER^ANN", "19580302", "F", "20241119", "R-5501", "CT HEAD", "ct-head", 12),
    Study("LKI", "88-301", "PELLETIER^ANN", "19580302", "F", "20250614", "L-0107", "MR HEAD", "mr-head", 10),
    Study("NPH", "0097", "OUELLETTE^JEAN-RENÉ", "19470921", "M", "20260211", "N-0988", "XR CHEST", "RG3_UNCR.dcm", 1),
    Study("LKI", "88-412", "OUELLETTE^JEAN-RENÉ", "19470921", "M", "20251003", "L-0093", "US HEART", "us-heart", 1),
    Study("RBC", "R-8120", "王^小东=王^小东", "19990105", "M", "20260120", "R-6102", "MR HEAD", "mr-head", 10),
    Study("LKI", "88-007", "TANAKA^YUKI", "20150730", "F", "20260305", "L-0140", "XR KNEE", "RG1_UNCR.dcm", 1),
)  # fmt: skip


def uid(*parts: object) -> str:
    """A UID under 2.25 that is the same at every run (PS3.5 B.2)."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=15).digest()
    return f"2.25.{int.from_bytes(digest, 'big')}"


def sample_files(images: str) -> list[Path]:
    """The files of one sample, in order."""
    folder = HERE / images
    if folder.is_dir():
        return sorted(p for p in folder.iterdir() if p.is_file())
    import data_store  # the pydicom-data package

    return [Path(data_store.__file__).parent / "data" / images]


def instances(study: Study) -> Iterator[bytes]:
    """Part 10 files of a study: the samples under the resident's name and fresh UIDs."""
    study_uid = uid("study", study.facility, study.accession_number)
    for number, path in enumerate(sample_files(study.images)[: study.count], 1):
        sample = pydicom.dcmread(path)
        sample.SpecificCharacterSet = "ISO_IR 192"
        sample.PatientName = study.patient_name
        sample.PatientID = study.patient_id
        sample.PatientBirthDate = study.birth_date
        sample.PatientSex = study.sex
        sample.StudyDate = sample.SeriesDate = sample.ContentDate = study.study_date
        sample.AccessionNumber = study.accession_number
        sample.StudyDescription = study.description
        sample.StudyInstanceUID = study_uid
        sample.SeriesInstanceUID = uid("series", study_uid, sample.get("SeriesInstanceUID"))
        sample.SOPInstanceUID = uid("instance", study_uid, number)
        sample.file_meta.MediaStorageSOPInstanceUID = sample.SOPInstanceUID
        out = BytesIO()
        pydicom.dcmwrite(out, sample, enforce_file_format=True)
        yield out.getvalue()
