"""dicomweb-client (Python) against the running server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from bench.instances import Study, fresh_study
from tests.whole.samples import write_study
from tests.whole.server import Server

dicomweb_client = pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed")

FACILITY = "WEBCLIENT"
INSTANCES = 5
# What the client and pydicom warn of between themselves is not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True, slots=True)
class Site:
    """The server, a client, and a study that the client has stored."""

    client: Any
    study: Study
    sent: dict[str, pydicom.Dataset]


@pytest.fixture(scope="module")
def site(archive: Server, whole_folder: Path) -> Site:
    # The client says Host without the port, as a proxy might: addresses must come from the setting.
    archive.environment = {**archive.environment, "SEBAGO_PUBLIC_URL": archive.url}
    archive.add_facility(FACILITY)
    archive.start()
    client = dicomweb_client.DICOMwebClient(archive.dicomweb, headers=archive.headers(FACILITY))
    study = fresh_study()
    sent = [pydicom.dcmread(p) for p in write_study(whole_folder / "files", INSTANCES, study)]
    answer = client.store_instances(sent)
    assert len(answer.ReferencedSOPSequence) == INSTANCES
    assert "FailedSOPSequence" not in answer
    return Site(client, study, {str(ds.SOPInstanceUID): ds for ds in sent})


def first(site: Site) -> tuple[str, pydicom.Dataset]:
    """One of the stored instances."""
    return next(iter(site.sent.items()))


def test_it_finds_the_study_by_its_patient(site: Site) -> None:
    patient = site.study.patient.decode().strip()
    (found,) = site.client.search_for_studies(search_filters={"PatientID": patient})
    assert found["0020000D"]["Value"] == [site.study.uid]
    assert found["00201208"]["Value"] == [INSTANCES]


def test_it_pages_through_instances(site: Site) -> None:
    pages = [
        site.client.search_for_instances(site.study.uid, limit=2, offset=offset)
        for offset in range(0, INSTANCES, 2)
    ]
    uids = [item["00080018"]["Value"][0] for page in pages for item in page]
    assert len(uids) == INSTANCES
    assert set(uids) == set(site.sent)


def test_it_finds_no_study_of_an_unknown_patient(site: Site) -> None:
    assert site.client.search_for_studies(search_filters={"PatientID": "NOBODY-HERE"}) == []


def test_series_metadata_make_data_sets_again(site: Site) -> None:
    metadata = site.client.retrieve_series_metadata(site.study.uid, site.study.series_uid)
    made = [pydicom.Dataset.from_json(item) for item in metadata]
    assert {ds.SOPInstanceUID for ds in made} == set(site.sent)
    for ds in made:
        sent = site.sent[ds.SOPInstanceUID]
        assert ds.PatientName == sent.PatientName
        assert ds.ImagePositionPatient == sent.ImagePositionPatient
        assert ds.Rows == sent.Rows


def test_it_retrieves_the_study_whole(site: Site) -> None:
    got = site.client.retrieve_study(site.study.uid)
    assert {ds.SOPInstanceUID for ds in got} == set(site.sent)
    for ds in got:
        assert ds.PixelData == site.sent[ds.SOPInstanceUID].PixelData


def test_it_retrieves_one_instance_as_stored(site: Site) -> None:
    uid, sent = first(site)
    got = site.client.retrieve_instance(
        site.study.uid, site.study.series_uid, uid, media_types=(("application/dicom", "*"),)
    )
    assert got == sent


def test_it_retrieves_a_frame(site: Site) -> None:
    uid, sent = first(site)
    (frame,) = site.client.retrieve_instance_frames(
        site.study.uid, site.study.series_uid, uid, frame_numbers=[1]
    )
    assert bytes(frame) == sent.PixelData


def test_it_retrieves_a_rendered_image(site: Site) -> None:
    uid, sent = first(site)
    picture = site.client.retrieve_instance_rendered(
        site.study.uid, site.study.series_uid, uid, media_types=("image/png",)
    )
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = imagecodecs.png_decode(picture)
    assert pixels.shape[:2] == (sent.Rows, sent.Columns)
    assert np.ptp(pixels) > 0


def test_it_follows_the_bulk_data_address_of_pixel_data(site: Site) -> None:
    uid, sent = first(site)
    metadata = site.client.retrieve_instance_metadata(site.study.uid, site.study.series_uid, uid)
    address = metadata["7FE00010"]["BulkDataURI"]
    (bulk,) = site.client.retrieve_bulkdata(address)
    assert bulk == sent.PixelData
