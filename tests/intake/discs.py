"""Things that lie on discs: zips, gzips, text, directories of media."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import config
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from sebago.intake.media import Candidate, candidates, reading
from tests.samples import part10, small

MIB = 1 << 20


def image(number: int = 1, **more: object) -> bytes:
    """A Part 10 file; each number is another instance of one series."""
    return part10(small(instance=f"1.2.3.1.1.{number}", number=number, **more))  # type: ignore[arg-type]


def zipped(entries: Mapping[str, bytes], *, stored: bool = False) -> bytes:
    """A zip of these entries."""
    out = io.BytesIO()
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def gzipped(content: bytes) -> bytes:
    """A gzip of one file."""
    return gzip.compress(content, compresslevel=1)


def dicomdir(file_ids: Sequence[Sequence[str]]) -> bytes:
    """A DICOMDIR whose records name these files; offsets are nobody's concern here."""
    made = Dataset()
    made.FileSetID = "DISC"
    made.DirectoryRecordSequence = []
    for file_id in file_ids:
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = 0
        record.DirectoryRecordType = "IMAGE"
        with config.disable_value_validation():
            record.ReferencedFileID = list(file_id)
        made.DirectoryRecordSequence.append(record)
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    made.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3.99")
    return part10(made)


def walk(*paths: Path, inflate_max: int = 16 * MIB) -> list[Candidate]:
    """All candidates at once, as if nobody had opened any of them yet."""
    return list(candidates(paths, inflate_max=inflate_max))


def content(candidate: Candidate) -> bytes:
    """All of a candidate."""
    with reading(), candidate.open() as file:
        return file.read()
