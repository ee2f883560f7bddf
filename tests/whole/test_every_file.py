"""Every DICOM file of the shared data goes in by every door and comes back byte for byte.

Or it is refused, for a reason that the file deserves. Each door has a facility of its own, so that
nothing is answered as a duplicate of what came in by another. A table by folder is printed at the end.
"""

from __future__ import annotations

import csv
import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from bench.load import LoadFailed
from tests.data_dirs import shared_data
from tests.whole.conftest import TABLE
from tests.whole.parts import (
    AS_STORED,
    DICOM_JSON,
    exported,
    http,
    multipart_body,
    multipart_parts,
    split_part10,
    stow_type,
)
from tests.whole.samples import Sample, store_exact, take_apart
from tests.whole.server import Server

DATA = shared_data()
pytestmark = pytest.mark.skipif(DATA is None, reason="the shared data are not on this machine")

CALLING = "EVERYSCU"
FACILITIES = {"import": "IMPORT", "STOW": "STOW", "C-STORE": "STORE"}
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"

CUT_OFF = {
    "dcm4che/3gb-bulk-data-truncated",
    "fo-dicom/GH1339.dcm",
    "pydicom/test_files/MR_truncated.dcm",
    "pydicom/test_files/rtplan_truncated.dcm",
}
"""Files that end before their last element does."""


@dataclass(slots=True)
class Column:
    """What became of the files of one folder behind one door."""

    tried: int = 0
    equal: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@functools.cache
def samples() -> list[Sample]:
    """All DICOM files that the manifest names."""
    if DATA is None:
        return []
    with (DATA / "manifest.tsv").open(encoding="utf-8", newline="") as listed:
        rows = csv.DictReader(listed, delimiter="\t")
        names = [row["path"] for row in rows if not row["path"].startswith(("fhir-r4", "hl7v2"))]
    found = (take_apart(DATA / name) for name in names)
    return [sample for sample in found if sample is not None]


def name_of(sample: Sample) -> str:
    """Path below the data folder."""
    return sample.path.relative_to(DATA or Path()).as_posix()


def folder_of(sample: Sample) -> str:
    """The folder of a row of the table."""
    parts = name_of(sample).split("/")
    return "/".join(parts[:2]) if parts[0] == "pydicom" else parts[0]


def deserves(sample: Sample) -> str:
    """Why a file is to be refused; empty if it is to be kept."""
    if name_of(sample) in CUT_OFF:
        return "cut off"
    if sample.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        return "a media directory"
    if not sample.identified:
        return "an identifier is absent"
    return ""


@pytest.fixture(scope="module")
def everything(archive: Server) -> Iterator[Server]:
    """The server, with a facility for each door."""
    for facility in FACILITIES.values():
        archive.add_facility(facility, peers=[CALLING] if facility == "STORE" else [])
    archive.start()
    yield archive
    archive.close()


def fetch(server: Server, sample: Sample, facility: str) -> bytes | None:
    """The data set that WADO-RS gives for the instance as stored; None if there is none."""
    study, series, instance = (
        quote(uid, safe="")
        for uid in (
            sample.study_instance_uid,
            sample.series_instance_uid,
            sample.sop_instance_uid,
        )
    )
    answer = http(
        f"{server.dicomweb}/studies/{study}/series/{series}/instances/{instance}",
        server.headers(facility),
        accept=AS_STORED,
    )
    if answer.status == 404:
        return None
    assert answer.status == 200, f"{answer.status} {answer.body[:300]!r}"
    ((_, content),) = multipart_parts(answer)
    return split_part10(content).dataset


def sent_before(sample: Sample, found: bytes) -> bool:
    """Whether this very content had come before a later version that is current now.

    Files A, B and A again under one UID: the third is already there, and B stays current.
    """
    earlier = [
        other.dataset
        for other in samples()[: samples().index(sample)]
        if other.sop_instance_uid == sample.sop_instance_uid
    ]
    return sample.dataset in earlier and found in earlier


def judge(column: Column, server: Server, sample: Sample, facility: str, refused: str) -> None:
    """Compare what became of a file with what it deserves."""
    column.tried += 1
    due = deserves(sample)
    if refused:
        column.refused[due or f"without cause: {refused}"] += 1
        if not due:
            column.wrong.append(f"{name_of(sample)}: refused: {refused}")
        return
    if due:
        column.wrong.append(f"{name_of(sample)}: kept, although it is {due}")
        return
    found = fetch(server, sample, facility)
    if found == sample.dataset or (found is not None and sent_before(sample, found)):
        column.equal += 1
    else:
        what = "not found" if found is None else f"{len(found)} bytes instead"
        column.wrong.append(f"{name_of(sample)}: {len(sample.dataset)} bytes went in: {what}")


def table_of(columns: dict[str, Column], door: str) -> str:
    """A line a folder."""
    lines = [f"{door:36} files  equal  refused"]
    for folder, column in sorted(columns.items()):
        reasons = ", ".join(f"{count} {why}" for why, count in sorted(column.refused.items()))
        refused = f"{column.refused.total():7}  {reasons}" if column.refused else f"{0:7}"
        lines.append(f"{folder:36} {column.tried:5} {column.equal:6}  {refused}".rstrip())
    whole = list(columns.values())
    tried, equal = sum(c.tried for c in whole), sum(c.equal for c in whole)
    lines.append(f"{'all':36} {tried:5} {equal:6}  {sum(c.refused.total() for c in whole):7}")
    return "\n".join(lines)


def finish(
    door: str, columns: dict[str, Column], record_property: Callable[[str, object], None]
) -> None:
    """Print the table at the end of the run; fail for what went wrong."""
    record_property(TABLE, table_of(columns, door))
    wrong = [line for column in columns.values() for line in column.wrong]
    assert not wrong, "\n".join(wrong)


def stow(server: Server, sample: Sample, facility: str) -> str:
    """Send one file; empty if it was stored, else what the answer says."""
    boundary = "every-file-boundary"
    answer = http(
        f"{server.dicomweb}/studies",
        server.headers(facility),
        accept=DICOM_JSON,
        body=multipart_body(boundary, [sample.file]),
        content_type=stow_type(boundary),
    )
    if answer.status in (200, 202):
        return ""
    assert answer.status in (400, 409), f"{name_of(sample)}: {answer.status} {answer.body[:300]!r}"
    said = answer.json()
    reason = said.get("00081198") if isinstance(said, dict) else None
    return f"{answer.status} {reason or answer.body[:200]!r}"


@pytest.mark.timeout(600)
def test_every_file_comes_back_as_it_went_in_by_stow(
    everything: Server, record_property: Callable[[str, object], None]
) -> None:
    columns: dict[str, Column] = defaultdict(Column)
    for sample in samples():
        refused = stow(everything, sample, "STOW")
        judge(columns[folder_of(sample)], everything, sample, "STOW", refused)
    finish("STOW", columns, record_property)


@pytest.mark.timeout(600)
def test_every_file_comes_back_as_it_went_in_by_c_store(
    everything: Server, record_property: Callable[[str, object], None]
) -> None:
    columns: dict[str, Column] = defaultdict(Column)
    for sample in samples():
        if not (sample.sop_class_uid and sample.sop_instance_uid):
            continue  # there is no C-STORE request without them
        try:
            (status,) = store_exact(everything.dimse, everything.ae_title, CALLING, [sample])
        except LoadFailed as error:
            status, why = None, str(error)
        else:
            why = "context refused" if status is None else f"{status:04X}"
        kept = status is not None and (status == 0 or status >> 12 == 0xB)
        judge(columns[folder_of(sample)], everything, sample, "STORE", "" if kept else why)
    finish("C-STORE", columns, record_property)


@pytest.mark.timeout(600)
def test_every_file_comes_back_as_it_went_in_by_import(
    everything: Server, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    columns: dict[str, Column] = defaultdict(Column)
    same_uid: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples():
        same_uid[sample.sop_instance_uid].append(sample)
    assert DATA is not None
    done = everything.try_command(
        "import", *(DATA / folder for folder in media_folders()), "--facility", "IMPORT"
    )
    assert done.returncode in (0, 1), done.stderr  # 1: something was refused
    for sample in samples():
        twins = same_uid[sample.sop_instance_uid]
        if len(twins) > 1 and not deserves(sample):
            judge_twins(columns[folder_of(sample)], everything, sample, twins)
            continue
        found = fetch(everything, sample, "IMPORT") if sample.identified else None
        # What is found may be another file with the same UID, one that is whole.
        refused = found is None or (len(twins) > 1 and found != sample.dataset)
        judge(columns[folder_of(sample)], everything, sample, "IMPORT", "?" if refused else "")
    export_some(everything, columns, tmp_path)
    finish("import", columns, record_property)


def judge_twins(column: Column, server: Server, sample: Sample, twins: Sequence[Sample]) -> None:
    """Files with one UID and several contents: the current one is one of them, as it was."""
    column.tried += 1
    for twin in twins:
        found = fetch(server, twin, "IMPORT")
        if found is not None and any(found == other.dataset for other in twins):
            column.equal += 1
            return
    column.wrong.append(f"{name_of(sample)}: none of {len(twins)} files with its UID came back")


def media_folders() -> list[str]:
    """Top-level folders with DICOM files in them."""
    return sorted({name_of(sample).split("/")[0] for sample in samples()})


def export_some(server: Server, columns: dict[str, Column], place: Path) -> None:
    """`export --as-received` of a study of every third folder: the same bytes again."""
    by_folder: dict[str, Counter[str]] = defaultdict(Counter)
    bytes_of: dict[str, list[bytes]] = defaultdict(list)
    for sample in samples():
        bytes_of[sample.sop_instance_uid].append(sample.dataset)
        if not deserves(sample):
            by_folder[folder_of(sample)][sample.study_instance_uid] += 1
    for number, (folder, studies) in enumerate(sorted(by_folder.items())[::3]):
        study = studies.most_common(1)[0][0]
        target = place / str(number)
        server.command("export", target, "--study", study, "--as-received", "--facility", "IMPORT")
        files = exported(target)
        if not files:
            columns[folder].wrong.append(f"{folder}: study {study}: nothing was exported")
        for uid, file in files.items():
            if file.dataset not in bytes_of[uid]:
                columns[folder].wrong.append(f"{folder}: {uid} was exported with other bytes")


def test_the_files_are_taken_apart_as_the_manifest_says() -> None:
    """The oracle of this module, against itself: what it found in the files."""
    found = samples()
    assert len(found) > 500
    reasons = Counter(deserves(sample) for sample in found)
    assert reasons["cut off"] == len(CUT_OFF & {name_of(sample) for sample in found})
    assert reasons[""] > 500


def test_a_file_that_is_no_dicom_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("nothing of the kind, but longer than a preamble " * 10)
    assert take_apart(path) is None
