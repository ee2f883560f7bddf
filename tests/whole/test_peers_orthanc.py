"""Orthanc against the running server: as sender, as move destination, as DICOMweb client."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.instances import Study, fresh_study
from tests.peers import Orthanc, orthanc
from tests.whole.conftest import absent_is_skipped
from tests.whole.parts import AS_STORED, DICOM_JSON, http, multipart_parts, split_part10
from tests.whole.samples import write_study
from tests.whole.server import Server

AE_TITLE = "ORTHANCAE"
FACILITY = "ORTHANC"
INSTANCES = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """The server and an Orthanc, each of which knows the other."""

    server: Server
    orthanc: Orthanc

    def load(self, folder: Path, study: Study) -> tuple[list[str], dict[str, bytes]]:
        """Put a study into Orthanc; its resource ids, and the data sets by SOP Instance UID."""
        ids, files = [], {}
        for path in write_study(folder, INSTANCES, study):
            file = split_part10(path.read_bytes())
            files[file.sop_instance_uid] = file.dataset
            answer = self.orthanc.rest("POST", "/instances", path.read_bytes())
            assert isinstance(answer, dict)
            ids.append(str(answer["ID"]))
        return ids, files

    def listed(self, study: Study) -> set[str]:
        """SOP Instance UIDs that the server lists for a study."""
        answer = http(
            f"{self.server.dicomweb}/studies/{study.uid}/instances",
            self.server.headers(FACILITY),
            accept=DICOM_JSON,
        )
        items = answer.json() if answer.status == 200 else []
        assert isinstance(items, list)
        return {item["00080018"]["Value"][0] for item in items}

    def fetched(self, study: Study) -> dict[str, bytes]:
        """Data sets that the server hands out for a study, as stored."""
        answer = http(
            f"{self.server.dicomweb}/studies/{study.uid}",
            self.server.headers(FACILITY),
            accept=AS_STORED,
        )
        assert answer.status == 200, answer.body[:300]
        files = [split_part10(content) for _, content in multipart_parts(answer)]
        return {file.sop_instance_uid: file.dataset for file in files}

    def empty_orthanc(self) -> None:
        """Remove every patient from Orthanc."""
        patients = self.orthanc.rest("GET", "/patients")
        assert isinstance(patients, list)
        for patient in patients:
            self.orthanc.rest("DELETE", f"/patients/{patient}")

    def orthanc_instances(self) -> set[str]:
        """SOP Instance UIDs that Orthanc has."""
        instances = self.orthanc.rest("GET", "/instances?expand&since=0&limit=1000")
        assert isinstance(instances, list)
        return {item["MainDicomTags"]["SOPInstanceUID"] for item in instances}


@pytest.fixture(scope="module")
def pair(archive: Server, whole_folder: Path) -> Iterator[Pair]:
    with (
        absent_is_skipped(),
        orthanc(
            whole_folder / "orthanc",
            ae_title=AE_TITLE,
            modalities={"sebago": (archive.ae_title, "127.0.0.1", archive.dimse_port)},
        ) as peer,
    ):
        archive.add_facility(FACILITY, peers=[f"{AE_TITLE}@127.0.0.1:{peer.port}"])
        archive.start()
        peer.rest(
            "PUT",
            "/dicom-web/servers/sebago",
            {"Url": f"{archive.dicomweb}/", "HttpHeaders": archive.headers(FACILITY)},
        )
        yield Pair(archive, peer)


@pytest.fixture
def study(pair: Pair) -> Iterator[Study]:
    yield fresh_study()
    pair.empty_orthanc()


def test_orthanc_sends_a_study_by_c_store(pair: Pair, study: Study, tmp_path: Path) -> None:
    ids, files = pair.load(tmp_path, study)
    said = pair.orthanc.rest("POST", "/modalities/sebago/store", ids)
    assert isinstance(said, dict)
    assert said["InstancesCount"] == INSTANCES
    assert said["FailedInstancesCount"] == 0
    assert pair.listed(study) == set(files)


def test_orthanc_finds_a_study_and_has_it_moved_to_itself(
    pair: Pair, study: Study, tmp_path: Path
) -> None:
    ids, files = pair.load(tmp_path, study)
    pair.orthanc.rest("POST", "/modalities/sebago/store", ids)
    pair.empty_orthanc()
    assert pair.orthanc_instances() == set()
    query = pair.orthanc.rest(
        "POST",
        "/modalities/sebago/query",
        {"Level": "Study", "Query": {"PatientID": study.patient.decode().strip()}},
    )
    assert isinstance(query, dict)
    answers = pair.orthanc.rest("GET", f"/queries/{query['ID']}/answers?expand&simplify")
    assert isinstance(answers, list)
    (answer,) = answers
    assert answer["StudyInstanceUID"] == study.uid
    moved = pair.orthanc.rest(
        "POST", f"/queries/{query['ID']}/retrieve", {"TargetAet": AE_TITLE, "Synchronous": True}
    )
    assert isinstance(moved, dict)
    assert pair.orthanc_instances() == set(files)


def test_orthanc_sends_a_study_by_stow(pair: Pair, study: Study, tmp_path: Path) -> None:
    ids, files = pair.load(tmp_path, study)
    pair.orthanc.rest(
        "POST", "/dicom-web/servers/sebago/stow", {"Resources": ids, "Synchronous": True}
    )
    assert pair.listed(study) == set(files)
    assert pair.fetched(study) == files


def test_orthanc_queries_by_qido(pair: Pair, study: Study, tmp_path: Path) -> None:
    ids, _ = pair.load(tmp_path, study)
    pair.orthanc.rest("POST", "/modalities/sebago/store", ids)
    found = pair.orthanc.rest(
        "POST",
        "/dicom-web/servers/sebago/qido",
        {"Uri": "/studies", "Arguments": {"PatientID": study.patient.decode().strip()}},
    )
    assert isinstance(found, list)
    (one,) = found
    assert one["0020000D"]["Value"] == study.uid


def test_orthanc_retrieves_by_wado(pair: Pair, study: Study, tmp_path: Path) -> None:
    ids, files = pair.load(tmp_path, study)
    pair.orthanc.rest("POST", "/modalities/sebago/store", ids)
    pair.empty_orthanc()
    pair.orthanc.rest(
        "POST",
        "/dicom-web/servers/sebago/retrieve",
        {"Resources": [{"Study": study.uid}], "Synchronous": True},
    )
    assert pair.orthanc_instances() == set(files)
