"""Every door by which an object comes in, with one face: give it a data set, hear what became of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
from pydicom.dataset import Dataset

from sebago.dimse import Identity
from sebago.dimse.scu import Requestor
from tests.samples import body, part10
from tests.serve.watch import wait_for
from tests.whole.server import Server

IDENTITY = Identity("1.2.3.4", "TESTS", 65536)
WayIn = Callable[[Server, str, Dataset], bool]


def by_c_store(server: Server, facility: str, made: Dataset, data: bytes | None = None) -> bool:
    """Whether it was taken."""
    sop_class, syntax = str(made.SOPClassUID), str(made.file_meta.TransferSyntaxUID)
    with Requestor.connect(
        *server.dimse,
        called=server.ae_title,
        calling=f"{facility}1",
        contexts=[(sop_class, [syntax])],
        identity=IDENTITY,
    ) as peer:
        uid = str(made.SOPInstanceUID)
        return peer.store(sop_class, uid, syntax, body(made) if data is None else data) == 0


def headers(server: Server, facility: str, role: str = "sender") -> dict[str, str]:
    """Headers that say who asks; a new token is waited for until it is known."""
    is_new = (facility, role) not in server.tokens
    given = server.headers(facility, role)
    if is_new:
        wait_for(
            lambda: httpx.get(f"{server.dicomweb}/studies", headers=given).status_code != 401,
            "a new token to be known",
        )
    return given


def stow(server: Server, facility: str, *files: bytes) -> httpx.Response:
    """A STOW-RS request."""
    edge = b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n"
    return httpx.post(
        f"{server.dicomweb}/studies",
        content=b"".join(edge + file for file in files) + b"\r\n--edge--\r\n",
        headers={
            **headers(server, facility),
            "content-type": 'multipart/related; type="application/dicom"; boundary=edge',
            "accept": "application/dicom+json",
        },
        timeout=60,
    )


def by_stow(server: Server, facility: str, made: Dataset) -> bool:
    """Whether it was taken."""
    return stow(server, facility, part10(made)).status_code == 200


def by_import(server: Server, facility: str, made: Dataset) -> bool:
    """Whether it was taken."""
    path = Path(server.folder) / "to-import"
    path.write_bytes(part10(made))
    return server.try_command("import", path, "--facility", facility).returncode == 0


WAYS_IN: dict[str, WayIn] = {"c-store": by_c_store, "stow": by_stow, "import": by_import}


def rows(server: Server, facility: str, role: str = "sender", **keys: str) -> list[dict]:
    """What QIDO-RS finds of studies."""
    answer = httpx.get(
        f"{server.dicomweb}/studies",
        params=keys,
        headers={**headers(server, facility, role), "accept": "application/dicom+json"},
        timeout=60,
    )
    return answer.json() if answer.status_code == 200 else []
