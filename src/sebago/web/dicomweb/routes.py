"""The table of DICOMweb resources: method, path, what it does, what it gives."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from sebago.dicom.render import MEDIA_TYPES
from sebago.intake import Intake
from sebago.registry import Registry
from sebago.retrieve import Archive
from sebago.web.dicomweb.accept import DICOM, DICOM_JSON, DICOM_XML, MULTIPART, OCTETS, ZIP
from sebago.web.dicomweb.answers import ROOT
from sebago.web.dicomweb.bulkdata import BulkData
from sebago.web.dicomweb.frames import FrameResources
from sebago.web.dicomweb.qido import Qido
from sebago.web.dicomweb.rendered import Rendered
from sebago.web.dicomweb.retrieve import Retrieve
from sebago.web.dicomweb.stow import Stow
from sebago.web.dicomweb.wado_uri import WadoUri
from sebago.web.threads import Threads

_STUDY = ROOT + "/studies/{study}"
_SERIES = _STUDY + "/series/{series}"
_INSTANCE = _SERIES + "/instances/{instance}"
_FRAMES = _INSTANCE + "/frames/{frames}"

_SEARCHED = (DICOM_JSON, MULTIPART)
_FILES = (MULTIPART, DICOM, ZIP)
_IMAGES = MEDIA_TYPES


@dataclass(frozen=True, slots=True)
class Resource:
    """One method of one resource."""

    method: str
    path: str
    endpoint: Callable[[Request], Awaitable[Response]]
    service: str
    summary: str
    gives: tuple[str, ...]


def resources(
    archive: Archive,
    intake: Intake,
    registry: Registry,
    threads: Threads,
    *,
    public_url: str,
    page_default: int,
    instance_bytes_max: int,
) -> list[Resource]:
    """All of them. The order decides where two paths match: the longer ones first."""
    qido = Qido(archive, threads, public_url, page_default)
    stow = Stow(intake, registry, threads, public_url, instance_bytes_max)
    retrieve = Retrieve(archive, threads, public_url)
    frames = FrameResources(archive, threads, public_url)
    rendered = Rendered(archive, threads, public_url)
    bulk = BulkData(archive, threads, public_url)
    found: list[Resource] = []

    def add(
        method: str,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        service: str,
        summary: str,
        gives: tuple[str, ...],
    ) -> None:
        found.append(Resource(method, path, endpoint, service, summary, gives))

    for path in ("/studies",):
        add("GET", ROOT + path, qido.studies, "QIDO-RS", "Search for studies", _SEARCHED)
    for path in (ROOT + "/series", _STUDY + "/series"):
        add("GET", path, qido.series, "QIDO-RS", "Search for series", _SEARCHED)
    for path in (ROOT + "/instances", _STUDY + "/instances", _SERIES + "/instances"):
        add("GET", path, qido.instances, "QIDO-RS", "Search for instances", _SEARCHED)
    for path in (_STUDY, _SERIES, _INSTANCE):
        add("GET", path, retrieve.instances, "WADO-RS", "Retrieve DICOM files", _FILES)
        add("GET", path + "/metadata", retrieve.metadata, "WADO-RS", "Metadata", _SEARCHED)
    for path in (_STUDY, _SERIES, _INSTANCE, _FRAMES):
        add("GET", path + "/rendered", rendered.rendered, "WADO-RS", "Rendered images", _IMAGES)
        add("GET", path + "/thumbnail", rendered.thumbnail, "WADO-RS", "A thumbnail", _IMAGES)
    add("GET", _FRAMES, frames.frames, "WADO-RS", "Frames", (MULTIPART, OCTETS))
    path = _INSTANCE + "/bulk/{bulk:path}"
    add("GET", path, bulk.bulk, "WADO-RS", "A binary value", (OCTETS, MULTIPART))
    wado_uri = WadoUri(archive, threads)
    add("GET", ROOT + "/wado", wado_uri.get, "WADO-URI", "An instance", (*_IMAGES, DICOM))
    for path in (ROOT + "/studies", _STUDY):
        add("POST", path, stow.store, "STOW-RS", "Store instances", (DICOM_JSON, DICOM_XML))
    return found
