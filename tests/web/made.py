"""Small DICOM files, made byte by byte, and multipart bodies of them."""

from __future__ import annotations

import itertools
import struct

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
ROOT = "2.25.8"
BOUNDARY = "test-boundary-7"

_fresh = itertools.count(1000)
_LONG = (b"OB", b"OW", b"SQ", b"UT", b"UN")


def fresh_uid():
    return f"{ROOT}.{next(_fresh)}"


def element(tag, vr, value):
    """One explicit VR little endian element."""
    if isinstance(value, str):
        value = value.encode()
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode()
    if vr.encode() in _LONG:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def data_set(
    study=f"{ROOT}.1",
    series=f"{ROOT}.1.1",
    instance=None,
    *,
    patient_id="7",
    patient_name="Doe^Jane",
    number=1,
    rows=4,
    columns=4,
    pixels=None,
    more=b"",
):
    """An explicit little endian CT of `rows` x `columns`, 16 bit."""
    pixels = struct.pack("<H", number % 65536) * (rows * columns) if pixels is None else pixels
    return b"".join(
        [
            element(0x00080016, "UI", CT),
            element(0x00080018, "UI", instance or fresh_uid()),
            element(0x00080020, "DA", "20240131"),
            element(0x00080030, "TM", "101500"),
            element(0x00080050, "SH", "A1"),
            element(0x00080060, "CS", "CT"),
            element(0x00081030, "LO", "Chest"),
            element(0x00100010, "PN", patient_name),
            element(0x00100020, "LO", patient_id),
            element(0x00100030, "DA", "19700101"),
            element(0x0020000D, "UI", study),
            element(0x0020000E, "UI", series),
            element(0x00200011, "IS", "1"),
            element(0x00200013, "IS", str(number)),
            element(0x00280002, "US", struct.pack("<H", 1)),
            element(0x00280004, "CS", "MONOCHROME2"),
            element(0x00280010, "US", struct.pack("<H", rows)),
            element(0x00280011, "US", struct.pack("<H", columns)),
            element(0x00280100, "US", struct.pack("<H", 16)),
            element(0x00280101, "US", struct.pack("<H", 16)),
            element(0x00280102, "US", struct.pack("<H", 15)),
            element(0x00280103, "US", struct.pack("<H", 0)),
            more,
            element(0x7FE00010, "OW", pixels),
        ]
    )


def uid_in(data, tag=0x00080018):
    """The value of a UI element of a data set made here."""
    at = data.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"UI")
    length = int.from_bytes(data[at + 6 : at + 8], "little")
    return data[at + 8 : at + 8 + length].rstrip(b"\0").decode()


def part10(data, syntax=EXPLICIT, *, preamble=b"\0" * 128, more=b""):
    """A DICOM file of a data set."""
    meta = b"".join(
        [
            element(0x00020001, "OB", b"\0\1"),
            element(0x00020002, "UI", CT),
            element(0x00020003, "UI", uid_in(data)),
            element(0x00020010, "UI", syntax),
            element(0x00020012, "UI", "1.2.3"),
            more,
        ]
    )
    length = element(0x00020000, "UL", struct.pack("<I", len(meta)))
    return preamble + b"DICM" + length + meta + data


def body(files, *, line=b"\r\n", content_type=b"application/dicom", end=b"\r\n"):
    """A multipart body."""
    mark = b"--" + BOUNDARY.encode()
    head = b"Content-Type: " + content_type + line + line
    parts = b"".join(mark + line + head + file + line for file in files)
    return parts + mark + b"--" + end


STOW = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
