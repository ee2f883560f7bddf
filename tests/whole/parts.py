"""Reading what a server hands out, without the code under test: multipart bodies, Part 10 files."""

from __future__ import annotations

import json
import struct
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path

from blake3 import blake3

AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
DICOM_JSON = "application/dicom+json"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, read whole."""

    status: int
    content_type: str
    body: bytes

    def json(self) -> object:
        """The body as JSON; an empty body is None."""
        return json.loads(self.body) if self.body else None


def http(
    url: str,
    headers: Mapping[str, str],
    *,
    accept: str = "*/*",
    body: bytes | None = None,
    content_type: str = "",
    timeout_s: float = 60,
) -> Answer:
    """GET, or POST with a body; an answer whatever its status. Raises OSError for no answer."""
    request = urllib.request.Request(url, data=body, headers={"Accept": accept, **headers})
    if content_type:
        request.add_header("Content-Type", content_type)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return Answer(answer.status, answer.headers.get("Content-Type", ""), answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers.get("Content-Type", ""), error.read())


def multipart_parts(answer: Answer) -> Iterator[tuple[str, bytes]]:
    """Content type and content of each part of a multipart/related body (RFC 2046 5.1)."""
    header = Message()
    header["Content-Type"] = answer.content_type
    boundary = header.get_param("boundary")
    if not isinstance(boundary, str):
        raise ValueError(f"no boundary in {answer.content_type!r}")
    # The first delimiter may stand at the very beginning.
    body = b"\r\n" + answer.body
    delimiter = b"\r\n--" + boundary.encode()
    pieces = body.split(delimiter)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("the multipart body does not end with its closing delimiter")
    for piece in pieces[1:-1]:
        head, found, content = piece.partition(b"\r\n\r\n")
        if not found:
            raise ValueError("a part without the empty line after its headers")
        kind = ""
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-type":
                kind = value.strip()
        yield kind, content


def multipart_body(boundary: str, files: list[bytes]) -> bytes:
    """A STOW-RS body of Part 10 files."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{boundary}--\r\n".encode()


def stow_type(boundary: str) -> str:
    """The Content-Type that goes with `multipart_body`."""
    return f'multipart/related; type="application/dicom"; boundary={boundary}'


@dataclass(frozen=True, slots=True)
class File10:
    """A Part 10 file taken apart (PS3.10 7.1)."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes

    @property
    def digest(self) -> str:
        """BLAKE3 of the data set, hexadecimal."""
        return blake3(self.dataset).hexdigest()


def split_part10(file: bytes) -> File10:
    """Take a well-formed Part 10 file apart.

    Raises:
        ValueError: it is not one.
    """
    if file[128:132] != b"DICM":
        raise ValueError("no DICM after the preamble")
    at, end = 132, len(file)
    found: dict[int, bytes] = {}
    while at + 8 <= end:
        group, element, vr, length = struct.unpack_from("<HH2sH", file, at)
        if group != 2:
            break
        at += 8
        if vr in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
            (length,) = struct.unpack_from("<I", file, at)
            at += 4
        found[element] = file[at : at + length]
        at += length
        if element == 0:
            end = at + int.from_bytes(found[0], "little")
    if 0x0010 not in found:
        raise ValueError("the file meta information names no transfer syntax")
    return File10(
        found.get(0x0003, b"").rstrip(b"\0 ").decode("ascii", "replace"),
        found[0x0010].rstrip(b"\0 ").decode("ascii", "replace"),
        file[at:],
    )


def exported(folder: Path) -> dict[str, File10]:
    """Every Part 10 file below a folder that `sebago export` wrote, by SOP Instance UID."""
    made = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "DICOMDIR":
            file = split_part10(path.read_bytes())
            made[file.sop_instance_uid] = file
    return made
