"""DCMTK's programs against the running server: they store, find, move and get."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest

from bench.instances import Study, fresh_study
from bench.load import LoadFailed, StoreTarget, move_study
from tests.data_dirs import shared_data
from tests.peers import StoreScp, dcmtk, dcmtk_storescp, free_port, pynetdicom_storescp, run_dcmtk
from tests.whole.conftest import absent_is_skipped
from tests.whole.parts import split_part10
from tests.whole.samples import store_exact, take_apart, write_study
from tests.whole.server import Server

CALLING = "DCMTKSCU"
DESTINATION = "DCMTKDEST"
OTHER_DESTINATION = "PYNETDEST"
SELF_DESTINATION = "DCMTKSELF"
FACILITY = "DCMTK"
INSTANCES = 6


@dataclass(frozen=True, slots=True)
class Site:
    """The server, a storescp that it knows, and a study that it holds."""

    server: Server
    destination: StoreScp
    other: StoreScp | None
    self_port: int
    study: Study
    files: dict[str, bytes]
    """SOP Instance UID to data set."""

    def address(self, *, called: str = "SEBAGO", calling: str = CALLING) -> list[str]:
        """Arguments by which DCMTK's programs find the server."""
        return ["-aec", called, "-aet", calling, "127.0.0.1", str(self.server.dimse_port)]


@pytest.fixture(scope="module")
def site(archive: Server, whole_folder: Path) -> Iterator[Site]:
    with absent_is_skipped():
        for tool in ("echoscu", "storescu", "findscu", "movescu", "getscu"):
            dcmtk(tool)
    with contextlib.ExitStack() as stack:
        with absent_is_skipped():
            destination = stack.enter_context(
                dcmtk_storescp(whole_folder / "destination", ae_title=DESTINATION)
            )
        other = stack.enter_context(
            pynetdicom_storescp(whole_folder / "other", ae_title=OTHER_DESTINATION)
        )
        self_port = free_port()
        archive.add_facility(
            FACILITY,
            peers=[
                CALLING,
                f"{DESTINATION}@127.0.0.1:{destination.port}",
                f"{OTHER_DESTINATION}@127.0.0.1:{other.port}",
                f"{SELF_DESTINATION}@127.0.0.1:{self_port}",
            ],
        )
        archive.start()
        study = fresh_study()
        paths = write_study(whole_folder / "files", INSTANCES, study)
        samples = [sample for path in paths if (sample := take_apart(path)) is not None]
        # Byte for byte as in the files: storescu would encode them anew.
        statuses = store_exact(archive.dimse, archive.ae_title, CALLING, samples)
        assert statuses == [0] * INSTANCES
        yield Site(
            archive,
            destination,
            other,
            self_port,
            study,
            {sample.sop_instance_uid: sample.dataset for sample in samples},
        )


def find(site: Site, folder: Path, *arguments: str) -> list[pydicom.Dataset]:
    """Run findscu; the identifiers of the answers."""
    folder.mkdir(exist_ok=True)
    done = run_dcmtk("findscu", "-X", "-od", folder, *arguments, *site.address())
    assert done.returncode == 0, done.stdout
    return [pydicom.dcmread(path) for path in sorted(folder.glob("rsp*.dcm"))]


def received(folder: Path) -> dict[str, bytes]:
    """Data sets by SOP Instance UID of the files in a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = [split_part10(p.read_bytes()) for p in sorted(folder.iterdir()) if p.is_file()]
    return {file.sop_instance_uid: file.dataset for file in files}


def test_echoscu_is_answered(site: Site) -> None:
    done = run_dcmtk("echoscu", *site.address())
    assert done.returncode == 0, done.stdout


def test_an_unknown_caller_is_refused_for_good_and_told_why(site: Site) -> None:
    done = run_dcmtk("echoscu", *site.address(calling="STRANGER"))
    assert done.returncode != 0
    assert "Rejected Permanent" in done.stdout
    assert "Calling AE Title Not Recognized" in done.stdout


def test_findscu_finds_the_study_by_its_patient(site: Site, tmp_path: Path) -> None:
    patient = site.study.patient.decode().strip()
    (found,) = find(
        site, tmp_path, "-P",
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"PatientID={patient}",
        "-k", "StudyInstanceUID", "-k", "AccessionNumber", "-k", "NumberOfStudyRelatedInstances",
        "-k", "StudyDescription",
    )  # fmt: skip
    assert found.StudyInstanceUID == site.study.uid
    assert found.AccessionNumber == site.study.accession.decode().strip()
    assert found.NumberOfStudyRelatedInstances == INSTANCES
    assert found.QueryRetrieveLevel == "STUDY"
    assert "StudyDescription" in found


def test_findscu_lists_series_and_images_of_the_study(site: Site, tmp_path: Path) -> None:
    (series,) = find(
        site, tmp_path / "series", "-S",
        "-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={site.study.uid}",
        "-k", "SeriesInstanceUID", "-k", "Modality", "-k", "NumberOfSeriesRelatedInstances",
    )  # fmt: skip
    assert series.SeriesInstanceUID == site.study.series_uid
    assert series.Modality == "CT"
    images = find(
        site, tmp_path / "images", "-S",
        "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={site.study.uid}",
        "-k", f"SeriesInstanceUID={site.study.series_uid}", "-k", "SOPInstanceUID",
        "-k", "InstanceNumber",
    )  # fmt: skip
    assert {image.SOPInstanceUID for image in images} == set(site.files)
    assert sorted(image.InstanceNumber for image in images) == list(range(1, INSTANCES + 1))


def test_findscu_finds_nothing_for_an_unknown_patient(site: Site, tmp_path: Path) -> None:
    assert not find(
        site, tmp_path, "-S",
        "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=NOBODY-HERE", "-k", "StudyInstanceUID",
    )  # fmt: skip


def move_arguments(site: Site) -> list[str]:
    """Keys of a C-MOVE or C-GET of the whole study."""
    return ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={site.study.uid}"]


def test_movescu_moves_the_study_to_a_storescp_byte_for_byte(site: Site) -> None:
    done = run_dcmtk("movescu", "-aem", DESTINATION, *move_arguments(site), *site.address())
    assert done.returncode == 0, done.stdout
    assert received(site.destination.folder) == site.files


def test_a_study_moves_to_the_storescp_of_pynetdicom_too(site: Site) -> None:
    assert site.other is not None
    done = run_dcmtk("movescu", "-aem", OTHER_DESTINATION, *move_arguments(site), *site.address())
    assert done.returncode == 0, done.stdout
    assert set(received(site.other.folder)) == set(site.files)


def test_movescu_receives_on_a_port_of_its_own(site: Site, tmp_path: Path) -> None:
    done = run_dcmtk(
        "movescu", "-aem", SELF_DESTINATION, "+P", str(site.self_port), "-od", tmp_path,
        *move_arguments(site), *site.address(),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert set(received(tmp_path)) == set(site.files)


def test_a_move_to_an_unknown_destination_is_answered_a801(site: Site) -> None:
    target = StoreTarget(site.server.dimse, "SEBAGO", CALLING)
    with pytest.raises(LoadFailed, match="A801"):
        move_study(target, "NOWHERE", site.study.uid)


def test_getscu_gets_the_study_byte_for_byte(site: Site, tmp_path: Path) -> None:
    done = run_dcmtk("getscu", "+B", "-od", tmp_path, *move_arguments(site), *site.address())
    assert done.returncode == 0, done.stdout
    assert received(tmp_path) == site.files


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("-xi", "LittleEndianImplicitTransferSyntax"),
        ("-xb", "BigEndianExplicitTransferSyntax"),
        ("-xd", "DeflatedExplicitVRLittleEndianTransferSyntax"),
        ("-xy", "JPEGProcess1TransferSyntax"),
        ("-xx", "JPEGProcess2_4TransferSyntax"),
        ("-xs", "JPEGProcess14SV1TransferSyntax"),
        ("-xt", "JPEGLSLosslessTransferSyntax"),
        ("-xu", "JPEGLSLossyTransferSyntax"),
        ("-xv", "JPEG2000LosslessOnlyTransferSyntax"),
        ("-xr", "RLELosslessTransferSyntax"),
    ],
)
def test_storescu_sends_what_it_can_in_its_own_transfer_syntax(
    site: Site, tmp_path: Path, option: str, name: str
) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the shared data are not on this machine")
    (source,) = (data / "transfer-syntaxes-ct").glob(f"CTImage.dcm_{name}_*")
    ds = pydicom.dcmread(source)
    study = fresh_study()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study.uid, study.series_uid
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    path = tmp_path / "sent.dcm"
    ds.save_as(path)
    sent = run_dcmtk("storescu", option, *site.address(), path)
    assert sent.returncode == 0, sent.stdout
    folder = tmp_path / "exported"
    site.server.command(
        "export", folder, "--study", study.uid, "--as-received", "--facility", FACILITY
    )
    (file,) = (split_part10(p.read_bytes()) for p in folder.rglob("*") if p.is_file())
    assert file.sop_instance_uid == ds.SOPInstanceUID
    assert file.transfer_syntax_uid == ds.file_meta.TransferSyntaxUID
    if option != "-xd":  # deflated bytes depend on who deflates
        assert file.dataset.find(ds.PixelData[-1000:]) > 0 or option == "-xb"
