"""Fuzz targets: bytes in; whatever a parser raises beyond the error tree is a finding.

Each target takes any bytes and returns, or raises what ought never to be raised. So they can be run
without a fuzzer too: `test_targets` runs each over its seeds and over spoiled ones.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from sebago.dicom.facts import facts
from sebago.dicom.identifier import read_keys
from sebago.dicom.json_model import JsonWriter
from sebago.dicom.part10 import parse_part10
from sebago.dicom.scan import scan
from sebago.dicom.uids import EXPLICIT_VR_LE, IMPLICIT_VR_LE
from sebago.dimse.associate import (
    AssociateRq,
    ProposedContext,
    decode_associate_ac,
    decode_associate_rq,
    encode_associate_rq,
)
from sebago.dimse.command import decode_command
from sebago.dimse.negotiation import AcceptedContext
from sebago.errors import SebagoError
from sebago.intake.dicomdir import file_ids
from sebago.intake.media import candidates, reading
from sebago.web.dicomweb.multipart import MultipartScanner, PartBegins
from tests.dimse.live import request
from tests.intake.discs import dicomdir, gzipped, zipped
from tests.samples import body, part10, small

SYNTAXES = (
    IMPLICIT_VR_LE,
    EXPLICIT_VR_LE,
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
)
INFLATE_MAX = 1 << 20
CONTEXT = AcceptedContext(1, "1.2.840.10008.1.1", IMPLICIT_VR_LE)


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under test, and inputs to begin with."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _choice(data: bytes) -> tuple[str, bytes]:
    """The first byte chooses a transfer syntax."""
    return SYNTAXES[data[0] % len(SYNTAXES)] if data else EXPLICIT_VR_LE, data[1:]


def fuzz_scan(data: bytes) -> None:
    """The header scan, and what the index keeps of it."""
    syntax, data_set = _choice(data)
    with contextlib.suppress(SebagoError):
        facts(scan(data_set, syntax, inflate_max=INFLATE_MAX))


def fuzz_json(data: bytes) -> None:
    """What the scan took can be written as DICOM JSON that is JSON."""
    syntax, data_set = _choice(data)
    with contextlib.suppress(SebagoError):
        scan(data_set, syntax, inflate_max=INFLATE_MAX)
        written = JsonWriter().write(memoryview(data_set), syntax, bulk_uri=b"/bulk")
        assert isinstance(json.loads(written), dict)


def fuzz_part10(data: bytes) -> None:
    """File meta information."""
    with contextlib.suppress(SebagoError):
        parsed = parse_part10(data)
        assert 0 <= parsed.dataset_offset <= len(data)


def fuzz_identifier(data: bytes) -> None:
    """Keys of queries."""
    syntax, data_set = _choice(data)
    with contextlib.suppress(SebagoError):
        read_keys(data_set, syntax)


def fuzz_pdu(data: bytes) -> None:
    """A-ASSOCIATE PDUs, both ways."""
    for decode in (decode_associate_rq, decode_associate_ac):
        with contextlib.suppress(SebagoError):
            decode(memoryview(data))


def fuzz_command(data: bytes) -> None:
    """Command sets."""
    with contextlib.suppress(SebagoError):
        command = decode_command(data, CONTEXT)
        assert command.name
        assert isinstance(command.sop_instance_uid, str)
        assert command.move_originator is None or command.move_originator[0]


def fuzz_multipart(data: bytes) -> None:
    """A multipart body: cut anywhere, it gives what it gives whole."""
    if not data:
        return
    whole, at = data[1:], data[0]
    assert _parts(whole) == _parts(whole[:at], whole[at:])


def _parts(*pieces: bytes) -> tuple[list[tuple[str, bytes]], str]:
    """Media types and contents of the parts, and whether the end was seen or the body refused."""
    scanner = MultipartScanner("edge")
    parts: list[tuple[str, bytes]] = []
    try:
        for piece in pieces:
            for found in scanner.feed(piece):
                if isinstance(found, PartBegins):
                    parts.append((found.content_type, b""))
                elif isinstance(found, memoryview):
                    parts[-1] = (parts[-1][0], parts[-1][1] + bytes(found))
    except SebagoError as error:
        return [], error.code
    # What is held back at the end may be the beginning of a delimiter, or not.
    return (parts, "whole") if scanner.finished else (parts[:-1], "cut off")


def fuzz_media(data: bytes) -> None:
    """Files as they lie on discs: zips, gzips, directories, anything."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        for candidate in candidates([path], inflate_max=INFLATE_MAX):
            with contextlib.suppress(SebagoError), reading(), candidate.open() as file:
                file.read(INFLATE_MAX)
        with contextlib.suppress(SebagoError, ValueError):  # an empty file cannot be mapped
            list(file_ids(path))


def _targets() -> dict[str, Target]:
    explicit, implicit = body(small(pixels=b"\1\2")), body(small(implicit=True, pixels=b"\1\2"))
    data_sets = (b"\0" + implicit, b"\1" + explicit)
    file = part10(small(pixels=b"\1\2"))
    proposal = AssociateRq(
        called_ae_title="SEBAGO",
        calling_ae_title="FUZZ",
        contexts=(ProposedContext(1, "1.2.840.10008.1.1", SYNTAXES),),
        max_pdu_bytes=16384,
        implementation_class_uid="1.2.3",
        roles={"1.2.840.10008.1.1": (True, True)},
        extended={"1.2.840.10008.5.1.4.1.2.2.1": b"\1"},
    )
    multipart = b"--edge\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--edge--\r\n"
    return {
        "scan": Target(fuzz_scan, data_sets),
        "json": Target(fuzz_json, data_sets),
        "part10": Target(fuzz_part10, (file, file[128:], explicit, implicit)),
        "identifier": Target(fuzz_identifier, data_sets),
        "pdu": Target(fuzz_pdu, (encode_associate_rq(proposal)[6:],)),
        "command": Target(fuzz_command, (request(0x0030), request(0x0020, data=True, e0700=0))),
        "multipart": Target(fuzz_multipart, (b"\x05" + multipart, b"\x30" + multipart * 2)),
        "media": Target(
            fuzz_media, (file, zipped({"a": file, "b": zipped({"c": file})}), gzipped(file),
                         dicomdir([("A", "B")]))
        ),
    }  # fmt: skip


TARGETS: Mapping[str, Target] = _targets()
