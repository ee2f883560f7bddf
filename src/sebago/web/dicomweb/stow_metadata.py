"""STOW-RS by metadata and bulk data: DICOM JSON or XML, and parts that it refers to.

PS3.18 10.5.1, 8.6.1.2.2 and 8.6.1.2.3. A form that few clients use, for objects made elsewhere than
in a scanner; it is off the hot path, and held in memory up to a limit. The data set is put together
by pydicom and then goes to intake as bytes, as if it had come as a file.
"""

from __future__ import annotations

import json
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from sebago.dicom.part10 import FileMeta
from sebago.dicom.uids import EXPLICIT_VR_LE, transfer_syntax
from sebago.errors import (
    BadRequest,
    Mismatch,
    MissingIdentifier,
    NotDicom,
    SebagoError,
    TooDeep,
    TooLarge,
)
from sebago.intake import Declared, Incoming
from sebago.web.dicomweb.accept import DICOM_JSON, DICOM_XML
from sebago.web.dicomweb.media_types import syntax_of_media_type
from sebago.web.dicomweb.multipart import MultipartScanner, PartBegins
from sebago.web.dicomweb.native_xml import from_xml
from sebago.web.dicomweb.stow_parts import Arrived, Refused

FORM_BYTES_MAX: Final = 128 * 1024 * 1024
PARTS_MAX: Final = 100_000

_PIXELS: Final = frozenset({"7FE00010", "7FE00008", "7FE00009"})


class FormReader:
    """Collects a body of metadata and bulk data; the instances arrive when it is over."""

    def __init__(
        self,
        boundary: str,
        open_incoming: Callable[[], Incoming],
        *,
        form: str,
        instance_bytes_max: int,
        study_instance_uid: str = "",
    ) -> None:
        self._scanner = MultipartScanner(boundary)
        self._open_incoming = open_incoming
        self._form = form
        self._instance_bytes_max = instance_bytes_max
        self._study_instance_uid = study_instance_uid
        self._parts: list[tuple[PartBegins, bytearray]] = []
        self._collected = 0
        self.arrived: list[Arrived] = []
        self.refused: list[Refused] = []

    @property
    def arrived_bytes(self) -> int:
        """Nothing arrives before the end."""
        return 0

    def feed(self, pieces: deque[bytes], *, parts_max: int, bytes_max: int) -> int:
        """Take all pieces.

        Raises:
            BadRequest: the body is not multipart as it says.
            TooLarge: it is longer than `FORM_BYTES_MAX`.
        """
        taken = 0
        while pieces:
            piece = pieces.popleft()
            taken += len(piece)
            self._collected += len(piece)
            if self._collected > FORM_BYTES_MAX:
                raise TooLarge(
                    f"metadata with bulk data are taken up to {FORM_BYTES_MAX} bytes in one request",
                    do="send the instances as application/dicom",
                )
            for found in self._scanner.feed(piece):
                if isinstance(found, PartBegins):
                    if len(self._parts) >= PARTS_MAX:
                        raise TooLarge(f"a body of more than {PARTS_MAX} parts")
                    self._parts.append((found, bytearray()))
                elif isinstance(found, memoryview):
                    self._parts[-1][1].extend(found)
        return taken

    def end(self, *, whole: bool) -> bool:
        """Put the instances together; nothing of a body that is cut off.

        Raises:
            BadRequest, TooDeep: the metadata cannot be read.
        """
        if not whole or not self._scanner.finished:
            return False
        data_sets, bulk = self._sorted_parts()
        for number, data_set in enumerate(data_sets):
            self._one(number, data_set, bulk)
        self._parts.clear()
        return True

    def take(self) -> list[Arrived]:
        """The data sets that have arrived; the caller's from now on."""
        taken, self.arrived = self.arrived, []
        return taken

    def abandon(self) -> None:
        """Give everything back that was not taken."""
        for item in self.take():
            item.incoming.abandon()

    def _sorted_parts(self) -> tuple[list[dict[str, Any]], dict[str, list[_Bulk]]]:
        data_sets: list[dict[str, Any]] = []
        bulk: dict[str, list[_Bulk]] = {}
        for begins, content in self._parts:
            if begins.content_type in (DICOM_JSON, DICOM_XML, "application/json"):
                data_sets.extend(_read_metadata(begins.content_type, bytes(content)))
            else:
                location = begins.headers.get("content-location", "")
                bulk.setdefault(location, []).append(
                    (begins.content_type, begins.transfer_syntax, bytes(content))
                )
        return data_sets, bulk

    def _one(
        self, number: int, data_set: Mapping[str, Any], bulk: Mapping[str, list[_Bulk]]
    ) -> None:
        sop_class, sop_instance = _uid(data_set, "00080016"), _uid(data_set, "00080018")
        incoming: Incoming | None = None
        try:
            if not sop_class or not sop_instance:
                raise MissingIdentifier(f"data set {number + 1} has no SOP class or instance UID")
            study = _uid(data_set, "0020000D")
            if self._study_instance_uid and study != self._study_instance_uid:
                raise Mismatch(f"data set {number + 1} is not of the study of the address")
            encoded, syntax = encode(data_set, bulk)
            if len(encoded) > self._instance_bytes_max:
                raise TooLarge(f"data set {number + 1} is longer than one instance may be")
            incoming = self._open_incoming()
            incoming.write(encoded)
        except SebagoError as error:
            if incoming is not None:
                incoming.abandon()
            self.refused.append(Refused(number, error, sop_class, sop_instance))
            return
        meta = FileMeta(syntax, sop_class, sop_instance, "")
        self.arrived.append(Arrived(number, Declared(syntax), incoming, meta))


_Bulk = tuple[str, str, bytes]
"""A bulk part: its media type, its transfer syntax if it says one, its bytes."""


def encode(data_set: Mapping[str, Any], bulk: Mapping[str, list[_Bulk]]) -> tuple[bytes, str]:
    """The bytes of a data set given as DICOM JSON, and its transfer syntax.

    Compressed pixel data (a part `image/jp2`, say) are encapsulated, one part a frame.

    Raises:
        NotDicom: a value is not what its VR wants, or a bulk part is missing.
        TooDeep: sequences nest too deep.
    """
    syntax = EXPLICIT_VR_LE
    pixels = _pixel_parts(data_set, bulk)
    if pixels and pixels[0][0] not in ("", "application/octet-stream"):
        media_type, said, _ = pixels[0]
        syntax = said if said not in ("", "*") else syntax_of_media_type(media_type)
    compressed = transfer_syntax(syntax).encapsulated
    plain = {
        tag: attribute
        for tag, attribute in data_set.items()
        if not tag.startswith("0002") and tag != "00083002" and not (compressed and tag in _PIXELS)
    }

    def fetch(uri: str) -> bytes:
        found = bulk.get(uri)
        if not found:
            raise NotDicom("a BulkDataURI names no part of the body", do="send it as a part")
        return b"".join(content for _, _, content in found)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that break rules are kept as they come
            made = Dataset.from_json(dict(plain), bulk_data_uri_handler=fetch)
            if compressed:
                made.add_new(0x7FE00010, "OB", encapsulate([content for _, _, content in pixels]))
                made[0x7FE00010].is_undefined_length = True
            made.SpecificCharacterSet = "ISO_IR 192"
            buffer = DicomBytesIO()
            buffer.is_little_endian = True
            buffer.is_implicit_VR = False
            write_dataset(buffer, made)
    except SebagoError:
        raise
    except RecursionError as error:
        raise TooDeep("sequences nest too deep") from error
    except Exception as error:
        # pydicom raises whatever its parts raise; all of it means that the values make no sense.
        raise NotDicom("the metadata cannot be made into a data set") from error
    return buffer.getvalue(), syntax


def _pixel_parts(data_set: Mapping[str, Any], bulk: Mapping[str, list[_Bulk]]) -> list[_Bulk]:
    for tag in _PIXELS:
        attribute = data_set.get(tag)
        if isinstance(attribute, Mapping) and "BulkDataURI" in attribute:
            return bulk.get(str(attribute["BulkDataURI"]), [])
    return []


def _read_metadata(content_type: str, content: bytes) -> list[dict[str, Any]]:
    if content_type == DICOM_XML:
        return from_xml(content)
    try:
        read = json.loads(content)
    except RecursionError as error:
        raise TooDeep("the JSON metadata nest too deep") from error
    except ValueError as error:
        raise BadRequest("the metadata are not JSON") from error
    data_sets = read if isinstance(read, list) else [read]
    if not all(isinstance(item, dict) for item in data_sets):
        raise BadRequest("the metadata are not DICOM JSON objects (PS3.18 F.2)")
    return data_sets


def _uid(data_set: Mapping[str, Any], tag: str) -> str:
    attribute = data_set.get(tag)
    values = attribute.get("Value") if isinstance(attribute, Mapping) else None
    if isinstance(values, list) and values and isinstance(values[0], str):
        return values[0].strip()
    return ""
