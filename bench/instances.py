"""Instances to send: encoded once, then patched with fresh UIDs, each one unlike any other.

A `Template` is a whole Part 10 file in Explicit VR Little Endian whose UIDs, instance number,
patient id and accession number have a fixed width, so that a new instance is a copy with some
bytes changed in place: no DICOM library runs while something is measured.
"""

from __future__ import annotations

import functools
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from tests.data_dirs import shared_data

UID_BYTES = 44
"""Length of every UID made here: `2.25.` and 39 digits; even, so that nothing is padded."""
NUMBER_BYTES = 6
TEXT_BYTES = 12
FIELDS = ("sop", "series", "study", "number", "patient", "accession")

_random = random.SystemRandom()


def fresh_uid() -> bytes:
    """A new UID under 2.25 (PS3.5 B.2), `UID_BYTES` long."""
    return b"2.25.%d" % _random.randrange(10**38, 2**128)


def number_text(number: int) -> bytes:
    """An IS value of `NUMBER_BYTES`, padded with blanks (PS3.5 6.2)."""
    return str(number).encode().ljust(NUMBER_BYTES)


def short_text(text: str) -> bytes:
    """An LO or SH value of `TEXT_BYTES`."""
    return text.encode("ascii")[:TEXT_BYTES].ljust(TEXT_BYTES)


@dataclass(frozen=True, slots=True)
class Study:
    """The fields that the instances of one study and series share."""

    study: bytes
    series: bytes
    patient: bytes
    accession: bytes

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return self.study.decode()

    @property
    def series_uid(self) -> str:
        """Series Instance UID."""
        return self.series.decode()

    def fields(self) -> dict[str, bytes]:
        """As `Template.patch` wants them."""
        return {
            "study": self.study,
            "series": self.series,
            "patient": self.patient,
            "accession": self.accession,
        }


def fresh_study() -> Study:
    """A study of a made-up patient with one series."""
    serial = _random.randrange(10**9)
    return Study(
        fresh_uid(), fresh_uid(), short_text(f"BM{serial:09d}"), short_text(f"A{serial:09d}")
    )


@dataclass(frozen=True, slots=True)
class Template:
    """One encoded Part 10 file and where its fields stand.

    `dataset_offset` is where the data set begins in `part10`; offsets in `places` count from the
    beginning of `part10`.
    """

    sop_class_uid: str
    part10: bytes
    dataset_offset: int
    places: Mapping[str, tuple[int, ...]]

    @property
    def dataset_bytes(self) -> int:
        """Length of the data set."""
        return len(self.part10) - self.dataset_offset

    def patch(self, target: bytearray, fields: Mapping[str, bytes], *, shift: int = 0) -> None:
        """Write `fields` into `target`, a copy of `part10` that begins `shift` bytes later."""
        for name, value in fields.items():
            for place in self.places[name]:
                at = place + shift
                target[at : at + len(value)] = value

    def part10_with(self, fields: Mapping[str, bytes]) -> bytearray:
        """A fresh Part 10 file."""
        made = bytearray(self.part10)
        self.patch(made, fields)
        return made


def _template(ds: Dataset) -> Template:
    marks = {
        "sop": fresh_uid(),
        "series": fresh_uid(),
        "study": fresh_uid(),
        "number": b"918273",
        "patient": b"PATIENT-MARK",
        "accession": b"ACCESS--MARK",
    }
    ds.SOPInstanceUID = marks["sop"].decode()
    ds.SeriesInstanceUID = marks["series"].decode()
    ds.StudyInstanceUID = marks["study"].decode()
    ds.InstanceNumber = int(marks["number"])
    ds.PatientID = marks["patient"].decode()
    ds.AccessionNumber = marks["accession"].decode()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta = meta
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    part10 = out.getvalue()
    places: dict[str, tuple[int, ...]] = {}
    for name, mark in marks.items():
        found: list[int] = []
        at = part10.find(mark)
        while at >= 0:
            found.append(at)
            at = part10.find(mark, at + 1)
        places[name] = tuple(found)
    expected = {name: 2 if name == "sop" else 1 for name in marks}
    if {name: len(found) for name, found in places.items()} != expected:
        raise ValueError(f"a mark of the template is not where it should be: {places}")
    group_length = int.from_bytes(part10[140:144], "little")
    return Template(str(ds.SOPClassUID), part10, 144 + group_length, places)


def _source_cts() -> list[Path]:
    data = shared_data()
    if data is not None:
        return sorted(
            path
            for path in (data / "ct-philips-head" / "S21570" / "S2010").rglob("*")
            if path.is_file() and path.name != "DIRFILE"
        )
    named = get_testdata_file("693_UNCR.dcm", download=False)
    if named is None:
        raise FileNotFoundError("neither the shared data nor pydicom-data's CT is on this machine")
    return [Path(str(named))]


@functools.cache
def ct_templates(count: int = 12) -> Sequence[Template]:
    """Real CT slices of 512 x 512, about 0.53 MB each, private elements and all."""
    made: list[Template] = []
    for path in _source_cts():
        ds = pydicom.dcmread(path)
        if ds.get("Rows") == 512 and ds.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian:
            made.append(_template(ds))
        if len(made) == count:
            break
    if not made:
        raise FileNotFoundError("no uncompressed CT of 512 x 512 among the sample files")
    return made


@functools.cache
def small_templates(count: int = 12) -> Sequence[Template]:
    """Made CT instances of 64 x 64, about 10 kB each."""
    noise = np.random.default_rng(64)
    made: list[Template] = []
    for slice_number in range(count):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.SOPClassUID = CTImageStorage
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20240318"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500"
        ds.Modality = "CT"
        ds.Manufacturer = "Bench"
        ds.InstitutionName = "Made up"
        ds.ReferringPhysicianName = "OUELLETTE^CLAIRE"
        ds.StationName = "CT1"
        ds.StudyDescription = "CT HEAD WITHOUT CONTRAST"
        ds.SeriesDescription = "AXIAL 2.0"
        ds.ManufacturerModelName = "Model"
        ds.PatientName = "THIBODEAU^ALICE^J"
        ds.PatientBirthDate = "19520704"
        ds.PatientSex = "F"
        ds.PatientAge = "071Y"
        ds.BodyPartExamined = "HEAD"
        ds.SliceThickness = "2.0"
        ds.KVP = "120"
        ds.SpacingBetweenSlices = "2.0"
        ds.ProtocolName = "Head"
        ds.ReconstructionDiameter = "250"
        ds.GantryDetectorTilt = "0"
        ds.TableHeight = "140"
        ds.ExposureTime = "1000"
        ds.XRayTubeCurrent = "250"
        ds.ConvolutionKernel = "STANDARD"
        ds.PatientPosition = "HFS"
        ds.StudyID = "1"
        ds.SeriesNumber = 2
        ds.ImagePositionPatient = ["-125", "-125", str(slice_number * 2)]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.FrameOfReferenceUID = fresh_uid().decode()
        ds.SliceLocation = str(slice_number * 2)
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.Rows = ds.Columns = 64
        ds.PixelSpacing = ["3.9", "3.9"]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        ds.PixelRepresentation = 0
        ds.WindowCenter, ds.WindowWidth = "40", "80"
        ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
        ds.PixelData = noise.integers(0, 4096, 4096, dtype=np.uint16).tobytes()
        made.append(_template(ds))
    return made
