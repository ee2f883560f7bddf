"""Real images that every checkout has, and made-up variations of them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

DEMO = Path(__file__).parents[1] / "demo" / "data"


def ct_slices() -> list[Path]:
    """A CT series of a phantom: 28 slices of 0.53 MB."""
    return sorted((DEMO / "ct-head").iterdir())


def small(
    *,
    study: str = "1.2.3.1",
    series: str = "1.2.3.1.1",
    instance: str = "1.2.3.1.1.1",
    number: int = 1,
    patient_id: str = "0042",
    patient_name: str = "Pelletier^Ann",
    pixels: bytes = bytes(range(256)) * 2,
    implicit: bool = False,
    **more: object,
) -> Dataset:
    """A CT image of 16 by 16 pixels with made-up identifiers; `more` sets attributes by keyword."""
    made = Dataset()
    made.SpecificCharacterSet = "ISO_IR 192"
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = instance
    made.StudyInstanceUID = study
    made.SeriesInstanceUID = series
    made.StudyDate = "20260302"
    made.StudyTime = "101112"
    made.AccessionNumber = "A-1"
    made.Modality = "CT"
    made.StudyDescription = "CT HEAD"
    made.SeriesDescription = "AXIAL"
    made.ReferringPhysicianName = "Moreau^Lise"
    made.PatientName = patient_name
    made.PatientID = patient_id
    made.PatientBirthDate = "19580302"
    made.PatientSex = "F"
    made.StudyID = "7"
    made.SeriesNumber = 2
    made.InstanceNumber = number
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.Rows = made.Columns = 16
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = 0
    for name, value in more.items():
        setattr(made, name, value)
    made.add_new(0x7FE00010, "OW", pixels)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = (
        ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    )
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    return made


def part10(data_set: Dataset) -> bytes:
    """A Part 10 file of a data set that has its file meta information."""
    out = BytesIO()
    pydicom.dcmwrite(out, data_set, enforce_file_format=True)
    return out.getvalue()


def body(data_set: Dataset) -> bytes:
    """The data set's bytes alone, in its transfer syntax."""
    out = BytesIO()
    pydicom.dcmwrite(
        out,
        data_set,
        implicit_vr=data_set.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian,
        little_endian=True,
        enforce_file_format=False,
    )
    whole = out.getvalue()
    from sebago.dicom.part10 import parse_part10

    return whole[parse_part10(whole).dataset_offset :]
