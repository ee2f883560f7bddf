"""What a header scan keeps of a data set: raw values by tag, decoded when they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sebago.dicom.charset import decode_text, decode_values

VALUE_BYTES_MAX: Final = 65536
"""A wanted value is cut here; none that the index keeps is meant to be longer."""

# VR of every attribute that the scan keeps by default, in the order of the tags.
WANTED_VRS: Final[dict[int, str]] = {
    0x00080005: "CS",  # Specific Character Set
    0x00080008: "CS",  # Image Type
    0x00080012: "DA",  # Instance Creation Date
    0x00080013: "TM",  # Instance Creation Time
    0x00080016: "UI",  # SOP Class UID
    0x00080018: "UI",  # SOP Instance UID
    0x00080020: "DA",  # Study Date
    0x00080021: "DA",  # Series Date
    0x00080022: "DA",  # Acquisition Date
    0x00080023: "DA",  # Content Date
    0x0008002A: "DT",  # Acquisition DateTime
    0x00080030: "TM",  # Study Time
    0x00080031: "TM",  # Series Time
    0x00080032: "TM",  # Acquisition Time
    0x00080033: "TM",  # Content Time
    0x00080050: "SH",  # Accession Number
    0x00080051: "SQ",  # Issuer of Accession Number Sequence
    0x00080060: "CS",  # Modality
    0x00080064: "CS",  # Conversion Type
    0x00080068: "CS",  # Presentation Intent Type
    0x00080070: "LO",  # Manufacturer
    0x00080080: "LO",  # Institution Name
    0x00080090: "PN",  # Referring Physician's Name
    0x00080201: "SH",  # Timezone Offset From UTC
    0x00081010: "SH",  # Station Name
    0x00081030: "LO",  # Study Description
    0x00081032: "SQ",  # Procedure Code Sequence
    0x0008103E: "LO",  # Series Description
    0x0008103F: "SQ",  # Series Description Code Sequence
    0x00081040: "LO",  # Institutional Department Name
    0x00081048: "PN",  # Physician(s) of Record
    0x00081050: "PN",  # Performing Physician's Name
    0x00081060: "PN",  # Name of Physician(s) Reading Study
    0x00081070: "PN",  # Operators' Name
    0x00081080: "LO",  # Admitting Diagnoses Description
    0x00081090: "LO",  # Manufacturer's Model Name
    0x00100010: "PN",  # Patient's Name
    0x00100020: "LO",  # Patient ID
    0x00100021: "LO",  # Issuer of Patient ID
    0x00100024: "SQ",  # Issuer of Patient ID Qualifiers Sequence
    0x00100030: "DA",  # Patient's Birth Date
    0x00100032: "TM",  # Patient's Birth Time
    0x00100040: "CS",  # Patient's Sex
    0x00101000: "LO",  # Other Patient IDs
    0x00101001: "PN",  # Other Patient Names
    0x00101002: "SQ",  # Other Patient IDs Sequence
    0x00101010: "AS",  # Patient's Age
    0x00101020: "DS",  # Patient's Size
    0x00101030: "DS",  # Patient's Weight
    0x00102160: "SH",  # Ethnic Group
    0x00102180: "SH",  # Occupation
    0x001021B0: "LT",  # Additional Patient History
    0x00104000: "LT",  # Patient Comments
    0x00120062: "CS",  # Patient Identity Removed
    0x00180015: "CS",  # Body Part Examined
    0x00181000: "LO",  # Device Serial Number
    0x00181020: "LO",  # Software Versions
    0x00181030: "LO",  # Protocol Name
    0x00185101: "CS",  # View Position
    0x0020000D: "UI",  # Study Instance UID
    0x0020000E: "UI",  # Series Instance UID
    0x00200010: "SH",  # Study ID
    0x00200011: "IS",  # Series Number
    0x00200012: "IS",  # Acquisition Number
    0x00200013: "IS",  # Instance Number
    0x00200032: "DS",  # Image Position (Patient)
    0x00200037: "DS",  # Image Orientation (Patient)
    0x00200052: "UI",  # Frame of Reference UID
    0x00200060: "CS",  # Laterality
    0x00200062: "CS",  # Image Laterality
    0x00201041: "DS",  # Slice Location
    0x00204000: "LT",  # Image Comments
    0x00280002: "US",  # Samples per Pixel
    0x00280004: "CS",  # Photometric Interpretation
    0x00280006: "US",  # Planar Configuration
    0x00280008: "IS",  # Number of Frames
    0x00280010: "US",  # Rows
    0x00280011: "US",  # Columns
    0x00280100: "US",  # Bits Allocated
    0x00280101: "US",  # Bits Stored
    0x00280102: "US",  # High Bit
    0x00280103: "US",  # Pixel Representation
    0x00280301: "CS",  # Burned In Annotation
    0x00282110: "CS",  # Lossy Image Compression
    0x00321060: "LO",  # Requested Procedure Description
    0x00321064: "SQ",  # Requested Procedure Code Sequence
    0x00380010: "LO",  # Admission ID
    0x00400244: "DA",  # Performed Procedure Step Start Date
    0x00400245: "TM",  # Performed Procedure Step Start Time
    0x00400253: "SH",  # Performed Procedure Step ID
    0x00400254: "LO",  # Performed Procedure Step Description
    0x00400275: "SQ",  # Request Attributes Sequence
    0x0040A032: "DT",  # Observation DateTime
    0x0040A043: "SQ",  # Concept Name Code Sequence
    0x0040A491: "CS",  # Completion Flag
    0x0040A493: "CS",  # Verification Flag
    0x00420010: "ST",  # Document Title
    0x00420012: "LO",  # MIME Type of Encapsulated Document
    0x00700080: "CS",  # Content Label
    0x00700081: "LO",  # Content Description
    0x00700082: "DA",  # Presentation Creation Date
    0x00700083: "TM",  # Presentation Creation Time
    0x00700084: "PN",  # Content Creator's Name
    0x20500020: "CS",  # Presentation LUT Shape
}

WANTED: Final = frozenset(WANTED_VRS)

UID_PADDING: Final = b" \0\t\r\n"
"""NUL by the standard, blanks and line ends in practice."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a scan keeps of a data set."""

    values: dict[int, bytes]
    """Raw value fields of the wanted top-level elements by tag, each cut at VALUE_BYTES_MAX.
    Of a sequence: its items, with delimiters where it had undefined length."""
    pixel_offset: int | None
    """Where the pixel data element (7FE0,0010), or Float (0008) or Double Float (0009), begins:
    its tag. In a deflated data set counted in inflated bytes, as `end` is."""
    end: int
    """Where the last element ends; padding may follow."""
    charsets: tuple[str, ...]
    """From (0008,0005), as `charset.decode_text` takes it."""
    explicit: bool
    """As found, which may differ from what the transfer syntax says."""
    little_endian: bool

    def text(self, tag: int) -> str:
        """The decoded value without padding, "" if absent. Several values stay joined."""
        raw = self.values.get(tag)
        return decode_text(raw, WANTED_VRS.get(tag, "LO"), self.charsets) if raw else ""

    def texts(self, tag: int) -> list[str]:
        """The decoded values, each without padding; [] if absent or empty."""
        raw = self.values.get(tag)
        return decode_values(raw, WANTED_VRS.get(tag, "LO"), self.charsets) if raw else []

    def uid(self, tag: int) -> str:
        """A UID without its padding, be it NUL or blank; "" if absent."""
        raw = self.values.get(tag)
        return raw.strip(UID_PADDING).decode("ascii", "replace") if raw else ""

    def integer(self, tag: int) -> int | None:
        """A US, UL or IS value; None if absent or no integer. The first of several.

        A binary value is taken in the width it has, since Rows as UL occurs.
        """
        raw = self.values.get(tag)
        if not raw:
            return None
        if WANTED_VRS.get(tag, "IS") == "IS":
            return integer_of(raw.split(b"\\", 1)[0].decode("ascii", "replace"))
        if len(raw) not in (2, 4):
            raw = raw[:2]
        return int.from_bytes(raw, "little" if self.little_endian else "big")


def integer_of(text: str) -> int | None:
    """An IS value as a number, also `1.0` and `+1`; None for anything else or beyond 64 bits."""
    text = text.strip(" \0")
    whole, _, fraction = text.partition(".")
    if fraction.strip("0") or len(whole) > 19:
        return None
    try:
        number = int(whole)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None
