"""The demonstration's own client: sends by C-STORE and STOW-RS, and reads everything back."""

from __future__ import annotations

import http.client
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from demo.archive import Archive
from sebago.dicom.part10 import parse_part10
from sebago.dimse.negotiation import Identity
from sebago.dimse.scu import Requestor


@dataclass(frozen=True, slots=True)
class Sent:
    """One instance as it left: what must come back to the letter."""

    sop_instance_uid: str
    data_set: bytes


def split(part10: bytes) -> tuple[Any, bytes]:
    """File meta information, and the data set's bytes."""
    parsed = parse_part10(part10)
    return parsed.meta, part10[parsed.dataset_offset :]


def c_store(archive: Archive, calling: str, files: Iterable[bytes]) -> list[Sent]:
    """Send Part 10 files over one association; each must be answered with success."""
    parsed = [split(file) for file in files]
    offers = {(meta.sop_class_uid, meta.transfer_syntax_uid) for meta, _ in parsed}
    sent = []
    with Requestor.connect(
        "127.0.0.1",
        archive.dimse_port,
        called="SEBAGO",
        calling=calling,
        contexts=[(sop_class, [syntax]) for sop_class, syntax in sorted(offers)],
        identity=Identity("2.999.7.1", "SEBAGO_DEMO", 131072),
    ) as peer:
        for meta, data_set in parsed:
            status = peer.store(
                meta.sop_class_uid,
                meta.sop_instance_uid,
                meta.transfer_syntax_uid,
                memoryview(data_set),
            )
            if status != 0:
                raise SystemExit(f"C-STORE of {meta.sop_instance_uid} was answered {status:04X}")
            sent.append(Sent(meta.sop_instance_uid, data_set))
    return sent


def stow(archive: Archive, token: str, files: Iterable[bytes]) -> list[Sent]:
    """Send Part 10 files in one STOW-RS request; all must be stored (PS3.18 10.5)."""
    files = list(files)
    boundary = uuid.uuid4().hex
    body = b"".join(
        f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + file + b"\r\n"
        for file in files
    )
    status, _, answer = request(
        archive,
        "POST",
        "/dicomweb/studies",
        token,
        {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        },
        body + f"--{boundary}--\r\n".encode(),
    )
    if status != 200:
        raise SystemExit(f"STOW-RS was answered {status}: {answer[:500]!r}")
    return [Sent(meta.sop_instance_uid, data) for meta, data in map(split, files)]


def request(
    archive: Archive,
    method: str,
    path: str,
    token: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
) -> tuple[int, str, bytes]:
    """One HTTP request; status, content type, body."""
    connection = http.client.HTTPConnection("127.0.0.1", archive.http_port, timeout=60)
    try:
        connection.request(
            method, path, body, {"Authorization": f"Bearer {token}", **(headers or {})}
        )
        response = connection.getresponse()
        return response.status, response.getheader("Content-Type", ""), response.read()
    finally:
        connection.close()


def studies_of(archive: Archive, token: str, query: str) -> list[dict[str, Any]]:
    """QIDO-RS at study level: matches as DICOM JSON objects."""
    status, _, body = request(archive, "GET", f"/dicomweb/studies?{query}", token)
    if status == 204:
        return []
    if status != 200:
        raise SystemExit(f"QIDO-RS was answered {status}: {body[:500]!r}")
    return list(json.loads(body))


def retrieve(archive: Archive, token: str, study_instance_uid: str) -> dict[str, bytes]:
    """A whole study by WADO-RS as stored: data-set bytes by SOP Instance UID."""
    status, content_type, body = request(
        archive,
        "GET",
        f"/dicomweb/studies/{study_instance_uid}",
        token,
        {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'},
    )
    if status != 200:
        raise SystemExit(f"WADO-RS was answered {status}: {body[:500]!r}")
    boundary = content_type.split("boundary=")[1].split(";")[0].strip('"')
    found = {}
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        file = part.split(b"\r\n\r\n", 1)[1][:-2]
        meta, data_set = split(file)
        found[meta.sop_instance_uid] = data_set
    return found
