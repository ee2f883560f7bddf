"""Encapsulated documents: a PDF, a CDA document or a model, as it was before it was DICOM.

PS3.3 C.24.2; rendered as they are by PS3.18 8.3.5 and table 8.7.4-1.
"""

from __future__ import annotations

import re
import struct

from sebago.dicom.bulk import find_bulk
from sebago.dicom.elements import Buffer, inflate
from sebago.dicom.scan import scan
from sebago.errors import NotFound

_DOCUMENT, _MEDIA_TYPE, _LENGTH = 0x00420011, 0x00420012, 0x00420015
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]*")


def encapsulated_document(data: Buffer, transfer_syntax_uid: str) -> tuple[str, bytes]:
    """(media type, document) of an instance that encapsulates one.

    The padding byte goes by Encapsulated Document Length (0042,0015), or, of a PDF without it, by
    being a NUL behind the end. A media type that is none becomes `application/octet-stream`.

    Raises:
        NotFound: it holds no document.
    """
    plain, plain_uid = inflate(data, transfer_syntax_uid)
    header = scan(plain, plain_uid, wanted=frozenset({_MEDIA_TYPE, _LENGTH}))
    found = find_bulk(plain, plain_uid, f"{_DOCUMENT:08X}")
    if found.length <= 0:
        raise NotFound("there is no document in this instance")
    document = bytes(memoryview(plain)[found.offset : found.offset + found.length])
    raw = header.values.get(_LENGTH, b"")
    exact = (
        struct.unpack_from("<I" if header.little_endian else ">I", raw)[0] if len(raw) >= 4 else 0
    )
    media_type = header.text(_MEDIA_TYPE).strip()
    if exact and len(document) - 1 <= exact <= len(document):
        document = document[:exact]
    elif media_type == "application/pdf" and document.endswith(b"\0"):
        document = document[:-1]
    return media_type if _TYPE.fullmatch(media_type) else "application/octet-stream", document
