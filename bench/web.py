"""A DICOMweb client for measuring: one connection kept open, bodies counted and not looked into."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from bench.instances import Study, Template, fresh_uid, number_text

BOUNDARY = b"bench-4f1d0a7c9b3e"
DICOM_PARTS = 'multipart/related; type="application/dicom"; transfer-syntax=*'
FRAME_PARTS = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
DICOM_JSON = "application/dicom+json"


class WebFailed(Exception):
    """A status other than what was asked for."""


@dataclass(frozen=True, slots=True)
class WebAnswer:
    """One answer: seconds from sending the request to the last byte of the body."""

    status: int
    size: int
    seconds: float
    body: bytes
    content_type: str


@dataclass(slots=True)
class WebClient:
    """Requests below one root such as `http://127.0.0.1:8080/dicomweb`."""

    root: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout_s: float = 120.0
    _connection: http.client.HTTPConnection | None = None
    _room: memoryview = field(default_factory=lambda: memoryview(bytearray(1 << 20)))

    def _open(self) -> http.client.HTTPConnection:
        if self._connection is None:
            parts = urlsplit(self.root)
            if parts.hostname is None:
                raise ValueError(f"not an address: {self.root}")
            self._connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=self.timeout_s
            )
            self._connection.connect()
            self._connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._connection

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, accept: str, *, keep: bool = False) -> WebAnswer:
        """GET below the root. The body is read to its end, and returned only with `keep`.

        Raises:
            WebFailed: any status but 200.
        """
        target = urlsplit(self.root).path + path
        connection = self._open()
        began = time.perf_counter()
        try:
            connection.request("GET", target, headers={"Accept": accept, **self.headers})
            answer = connection.getresponse()
            size, kept = 0, bytearray()
            while n := answer.readinto(self._room):
                size += n
                if keep or answer.status != 200:
                    kept += self._room[:n]
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        took = time.perf_counter() - began
        if answer.status != 200:
            said = bytes(kept[:300]).decode("utf-8", "replace")
            raise WebFailed(f"GET {target}: {answer.status} {answer.reason} {said}")
        return WebAnswer(
            answer.status, size, took, bytes(kept), answer.headers.get("Content-Type", "")
        )

    def stow(self, request: StowRequest) -> WebAnswer:
        """POST to `/studies`, with a Content-Length, part by part.

        Raises:
            WebFailed: any status but 200.
        """
        target = urlsplit(self.root).path + "/studies"
        connection = self._open()
        began = time.perf_counter()
        try:
            connection.putrequest("POST", target)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.putheader("Accept", DICOM_JSON)
            kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY.decode()}'
            connection.putheader("Content-Type", kind)
            connection.putheader("Content-Length", str(request.size))
            connection.endheaders()
            for piece in request.pieces():
                connection.send(piece)
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            raise
        took = time.perf_counter() - began
        if answer.status != 200:
            said = body[:300].decode("utf-8", "replace")
            raise WebFailed(f"POST {target}: {answer.status} {answer.reason} {said}")
        return WebAnswer(
            answer.status, len(body), took, body, answer.headers.get("Content-Type", "")
        )


class StowRequest:
    """The body of one STOW-RS request: `count` fresh instances of one study (PS3.18 10.5.1)."""

    HEAD = b"--" + BOUNDARY + b"\r\nContent-Type: application/dicom\r\n\r\n"
    TAIL = b"--" + BOUNDARY + b"--\r\n"

    def __init__(self, templates: Sequence[Template], count: int, study: Study) -> None:
        """Encode a part for each template; what is sent are these parts, patched."""
        self.count = count
        self._templates = templates
        self._parts = []
        for template in templates:
            part = bytearray(self.HEAD + template.part10 + b"\r\n")
            template.patch(part, study.fields(), shift=len(self.HEAD))
            self._parts.append(part)
        self.dicom_bytes = sum(len(templates[i % len(templates)].part10) for i in range(count))
        self.size = self.dicom_bytes + count * (len(self.HEAD) + 2) + len(self.TAIL)

    def pieces(self) -> Iterator[bytes | bytearray]:
        """The body in order. A part is used again after it was sent: send it before the next."""
        for i in range(self.count):
            k = i % len(self._parts)
            part = self._parts[k]
            self._templates[k].patch(
                part, {"sop": fresh_uid(), "number": number_text(i + 1)}, shift=len(self.HEAD)
            )
            yield part
        yield self.TAIL


def stored_count(answer: WebAnswer) -> int:
    """How many instances a STOW answer in DICOM JSON says were stored (PS3.18 10.5.3)."""
    said = json.loads(answer.body)
    said = said[0] if isinstance(said, list) else said
    return len(said.get("00081199", {}).get("Value", []))
