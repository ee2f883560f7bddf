"""Facts about UIDs: transfer syntaxes (PS3.5 A, PS3.6 A) and which SOP classes are kept.

Nothing here refuses an object because its UID is new. A storage class that this release has
never heard of is stored, and a transfer syntax that it does not know is kept as it was sent: a
refused class is a lost image that nobody sees.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

IMPLICIT_VR_LE: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1"
ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1.98"
DEFLATED_EXPLICIT_VR_LE: Final = "1.2.840.10008.1.2.1.99"
EXPLICIT_VR_BE: Final = "1.2.840.10008.1.2.2"
JPEG_BASELINE: Final = "1.2.840.10008.1.2.4.50"
JPEG_EXTENDED: Final = "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS: Final = "1.2.840.10008.1.2.4.57"
JPEG_LOSSLESS_SV1: Final = "1.2.840.10008.1.2.4.70"
JPEGLS_LOSSLESS: Final = "1.2.840.10008.1.2.4.80"
JPEGLS_NEAR_LOSSLESS: Final = "1.2.840.10008.1.2.4.81"
JPEG2000_LOSSLESS: Final = "1.2.840.10008.1.2.4.90"
JPEG2000: Final = "1.2.840.10008.1.2.4.91"
HTJ2K_LOSSLESS: Final = "1.2.840.10008.1.2.4.201"
HTJ2K_LOSSLESS_RPCL: Final = "1.2.840.10008.1.2.4.202"
HTJ2K: Final = "1.2.840.10008.1.2.4.203"
RLE_LOSSLESS: Final = "1.2.840.10008.1.2.5"
DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"
GE_PRIVATE_IMPLICIT_VR: Final = "1.2.840.113619.5.2"
PAPYRUS_IMPLICIT_VR_LE: Final = "1.2.840.10008.1.20"

MEDIA_STORAGE_DIRECTORY: Final = "1.2.840.10008.1.3.10"
VERIFICATION: Final = "1.2.840.10008.1.1"

IMPLEMENTATION_CLASS_UID: Final = "2.25.278418027087672403125737566848474311763"
"""Sebago's own (0002,0012), PS3.7 D.3.3.2: made once from a random UUID, the same for ever."""

IMPLEMENTATION_VERSION_NAME: Final = "SEBAGO_010"
"""(0002,0013): at most 16 characters."""


@dataclass(frozen=True, slots=True)
class TransferSyntax:
    """How the data sets of one transfer syntax are laid out."""

    uid: str
    name: str
    explicit: bool
    """Elements carry their VR. False only for the implicit ones."""
    little_endian: bool
    """Byte order of the elements (PS3.5 7.3)."""
    deflated: bool
    """The whole data set is one raw deflate stream (PS3.5 A.5)."""
    encapsulated: bool
    """Pixel data are a sequence of fragments (PS3.5 A.4)."""
    lossy: bool
    """Frames in it may have lost information; False where the syntax forbids that."""
    codec: str
    """What decodes a frame: "" (native), jpeg, jpegls, j2k, htj2k, rle, jpegxl, video,
    deflate-frame, uncompressed (.98), jpip (no pixels inside), unknown."""
    big_endian_pixels: bool = False
    """Words of native pixel data are big endian: (retired) Explicit VR Big Endian, and GE's own
    syntax, which is little endian in everything else."""


def _native(
    uid: str, name: str, *, explicit: bool = True, deflated: bool = False
) -> TransferSyntax:
    return TransferSyntax(
        uid,
        name,
        explicit=explicit,
        little_endian=True,
        deflated=deflated,
        encapsulated=False,
        lossy=False,
        codec="",
    )


def _encapsulated(uid: str, name: str, codec: str, *, lossy: bool) -> TransferSyntax:
    return TransferSyntax(
        uid,
        name,
        explicit=True,
        little_endian=True,
        deflated=False,
        encapsulated=True,
        lossy=lossy,
        codec=codec,
    )


def _without_pixels(
    uid: str, name: str, codec: str, *, lossy: bool, deflated: bool
) -> TransferSyntax:
    return TransferSyntax(
        uid,
        name,
        explicit=True,
        little_endian=True,
        deflated=deflated,
        encapsulated=False,
        lossy=lossy,
        codec=codec,
    )


_JPEG: Final = "1.2.840.10008.1.2.4."

# (last part of the UID under _JPEG, name, codec, may be lossy)
_ENCAPSULATED: Final = (
    ("50", "JPEG Baseline (Process 1)", "jpeg", True),
    ("51", "JPEG Extended (Process 2 and 4)", "jpeg", True),
    ("52", "JPEG Extended (Process 3 and 5)", "jpeg", True),
    ("53", "JPEG Spectral Selection, Non-Hierarchical (Process 6 and 8)", "jpeg", True),
    ("54", "JPEG Spectral Selection, Non-Hierarchical (Process 7 and 9)", "jpeg", True),
    ("55", "JPEG Full Progression, Non-Hierarchical (Process 10 and 12)", "jpeg", True),
    ("56", "JPEG Full Progression, Non-Hierarchical (Process 11 and 13)", "jpeg", True),
    ("57", "JPEG Lossless, Non-Hierarchical (Process 14)", "jpeg", False),
    ("58", "JPEG Lossless, Non-Hierarchical (Process 15)", "jpeg", False),
    ("59", "JPEG Extended, Hierarchical (Process 16 and 18)", "jpeg", True),
    ("60", "JPEG Extended, Hierarchical (Process 17 and 19)", "jpeg", True),
    ("61", "JPEG Spectral Selection, Hierarchical (Process 20 and 22)", "jpeg", True),
    ("62", "JPEG Spectral Selection, Hierarchical (Process 21 and 23)", "jpeg", True),
    ("63", "JPEG Full Progression, Hierarchical (Process 24 and 26)", "jpeg", True),
    ("64", "JPEG Full Progression, Hierarchical (Process 25 and 27)", "jpeg", True),
    ("65", "JPEG Lossless, Hierarchical (Process 28)", "jpeg", False),
    ("66", "JPEG Lossless, Hierarchical (Process 29)", "jpeg", False),
    ("70", "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14)", "jpeg", False),
    ("80", "JPEG-LS Lossless", "jpegls", False),
    ("81", "JPEG-LS Lossy (Near-Lossless)", "jpegls", True),
    ("90", "JPEG 2000 (Lossless Only)", "j2k", False),
    ("91", "JPEG 2000", "j2k", True),
    ("92", "JPEG 2000 Part 2 Multi-component (Lossless Only)", "j2k", False),
    ("93", "JPEG 2000 Part 2 Multi-component", "j2k", True),
    ("100", "MPEG2 Main Profile / Main Level", "video", True),
    ("100.1", "Fragmentable MPEG2 Main Profile / Main Level", "video", True),
    ("101", "MPEG2 Main Profile / High Level", "video", True),
    ("101.1", "Fragmentable MPEG2 Main Profile / High Level", "video", True),
    ("102", "MPEG-4 AVC/H.264 High Profile / Level 4.1", "video", True),
    ("102.1", "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", "video", True),
    ("103", "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", "video", True),
    ("103.1", "Fragmentable MPEG-4 AVC/H.264 BD-compatible / Level 4.1", "video", True),
    ("104", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", "video", True),
    ("104.1", "Fragmentable MPEG-4 AVC/H.264 / Level 4.2 For 2D Video", "video", True),
    ("105", "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", "video", True),
    ("105.1", "Fragmentable MPEG-4 AVC/H.264 / Level 4.2 For 3D Video", "video", True),
    ("106", "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", "video", True),
    ("106.1", "Fragmentable MPEG-4 AVC/H.264 Stereo / Level 4.2", "video", True),
    ("107", "HEVC/H.265 Main Profile / Level 5.1", "video", True),
    ("108", "HEVC/H.265 Main 10 Profile / Level 5.1", "video", True),
    ("110", "JPEG XL Lossless", "jpegxl", False),
    ("111", "JPEG XL JPEG Recompression", "jpegxl", True),
    ("112", "JPEG XL", "jpegxl", True),
    ("201", "High-Throughput JPEG 2000 (Lossless Only)", "htj2k", False),
    ("202", "High-Throughput JPEG 2000 with RPCL Options (Lossless Only)", "htj2k", False),
    ("203", "High-Throughput JPEG 2000", "htj2k", True),
)

_ALL: Final = (
    _native(IMPLICIT_VR_LE, "Implicit VR Little Endian", explicit=False),
    _native(EXPLICIT_VR_LE, "Explicit VR Little Endian"),
    _native(DEFLATED_EXPLICIT_VR_LE, "Deflated Explicit VR Little Endian", deflated=True),
    TransferSyntax(
        EXPLICIT_VR_BE,
        "Explicit VR Big Endian (retired)",
        explicit=True,
        little_endian=False,
        deflated=False,
        encapsulated=False,
        lossy=False,
        codec="",
        big_endian_pixels=True,
    ),
    TransferSyntax(
        GE_PRIVATE_IMPLICIT_VR,
        "GE private: Implicit VR Little Endian with big endian pixel data",
        explicit=False,
        little_endian=True,
        deflated=False,
        encapsulated=False,
        lossy=False,
        codec="",
        big_endian_pixels=True,
    ),
    _native(PAPYRUS_IMPLICIT_VR_LE, "Papyrus 3 Implicit VR Little Endian", explicit=False),
    _encapsulated(
        ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LE,
        "Encapsulated Uncompressed Explicit VR Little Endian",
        "uncompressed",
        lossy=False,
    ),
    *(
        _encapsulated(_JPEG + end, name, codec, lossy=lossy)
        for end, name, codec, lossy in _ENCAPSULATED
    ),
    _without_pixels(_JPEG + "94", "JPIP Referenced", "jpip", lossy=True, deflated=False),
    _without_pixels(_JPEG + "95", "JPIP Referenced Deflate", "jpip", lossy=True, deflated=True),
    _without_pixels(_JPEG + "204", "JPIP HTJ2K Referenced", "jpip", lossy=True, deflated=False),
    _without_pixels(
        _JPEG + "205", "JPIP HTJ2K Referenced Deflate", "jpip", lossy=True, deflated=True
    ),
    _encapsulated(RLE_LOSSLESS, "RLE Lossless", "rle", lossy=False),
    # Deflates each frame by itself; the data set around the fragments is not deflated.
    _encapsulated(
        DEFLATED_IMAGE_FRAME, "Deflated Image Frame Compression", "deflate-frame", lossy=False
    ),
    _without_pixels(
        "1.2.840.10008.1.2.6.1",
        "RFC 2557 MIME encapsulation",
        "unknown",
        lossy=False,
        deflated=False,
    ),
    _without_pixels(
        "1.2.840.10008.1.2.6.2", "XML Encoding", "unknown", lossy=False, deflated=False
    ),
    _without_pixels(
        "1.2.840.10008.1.2.7.1",
        "SMPTE ST 2110-20 Uncompressed Progressive Active Video",
        "video",
        lossy=False,
        deflated=False,
    ),
    _without_pixels(
        "1.2.840.10008.1.2.7.2",
        "SMPTE ST 2110-20 Uncompressed Interlaced Active Video",
        "video",
        lossy=False,
        deflated=False,
    ),
    _without_pixels(
        "1.2.840.10008.1.2.7.3",
        "SMPTE ST 2110-30 PCM Digital Audio",
        "unknown",
        lossy=False,
        deflated=False,
    ),
)

TRANSFER_SYNTAXES: Final[Mapping[str, TransferSyntax]] = MappingProxyType(
    {syntax.uid: syntax for syntax in _ALL}
)
"""Every transfer syntax of PS3.6 table A-1, the retired ones too, and two private ones by UID."""


def transfer_syntax(uid: str) -> TransferSyntax:
    """The facts of a transfer syntax.

    PS3.5 10.1 lets every syntax but the two uncompressed defaults be explicit little endian with
    encapsulated pixel data; an unknown UID is taken for one of these and kept as it was sent.
    """
    known = TRANSFER_SYNTAXES.get(uid)
    return known or _encapsulated(uid, "unknown transfer syntax", "unknown", lossy=True)


# Storage classes that lie outside the range of composite storage classes: stored print and
# hardcopy (retired), and the treatment objects of radiotherapy.
_STORAGE_ELSEWHERE: Final = frozenset(
    {
        "1.2.840.10008.5.1.1.27",
        "1.2.840.10008.5.1.1.29",
        "1.2.840.10008.5.1.1.30",
        "1.2.840.10008.5.1.4.34.1",
        "1.2.840.10008.5.1.4.34.7",
        "1.2.840.10008.5.1.4.34.10",
    }
)

_STANDARD_ROOT: Final = "1.2.840.10008."
_COMPOSITE_STORAGE_ROOT: Final = "1.2.840.10008.5.1.4.1.1."
_SANE: Final = re.compile(r"[0-9.]{1,64}")


def is_storage_class(sop_class_uid: str) -> bool:
    """Whether objects of this SOP class are taken into the archive.

    True for the standard's range of composite storage classes, also those not yet published, the
    few that lie elsewhere, and every private class. False for query, print, worklist and other
    services, for directories (Media Storage Directory), and for objects that belong to no study
    (hanging protocols, colour palettes, implant templates: PS3.4 GG), which this archive cannot
    file.
    """
    if not uid_is_sane(sop_class_uid):
        return False
    if sop_class_uid.startswith(_STANDARD_ROOT):
        return (
            sop_class_uid.startswith(_COMPOSITE_STORAGE_ROOT) or sop_class_uid in _STORAGE_ELSEWHERE
        )
    return True


def uid_is_sane(uid: str) -> bool:
    """1 to 64 digits and dots: fit for a file name, a URL segment and a database key.

    Looser than PS3.5 9.1 on purpose: leading zeros and doubled dots occur in archives that have
    worked for decades, and hurt nobody.
    """
    return _SANE.fullmatch(uid) is not None
