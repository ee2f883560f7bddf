"""Which media types stand for which transfer syntaxes of frames (PS3.18 8.7.3.3, table 8.7.3-5).

A wrong pair breaks viewers that choose their decoder by it, so that the table is the standard's and
nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sebago.errors import UnsupportedMediaType
from sebago.web.dicomweb.accept import OCTETS

_JPEG: Final = "1.2.840.10008.1.2.4."

SYNTAXES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "image/jpeg": tuple(_JPEG + n for n in ("70", "50", "51", "57")),
        "image/dicom-rle": ("1.2.840.10008.1.2.5",),
        "image/jls": tuple(_JPEG + n for n in ("80", "81")),
        "image/jp2": tuple(_JPEG + n for n in ("90", "91")),
        "image/jpx": tuple(_JPEG + n for n in ("92", "93")),
        "image/jphc": tuple(_JPEG + n for n in ("201", "202", "203")),
        "image/jxl": tuple(_JPEG + n for n in ("110", "111", "112")),
        "video/mpeg2": tuple(_JPEG + n for n in ("100", "101", "100.1", "101.1")),
        "video/mp4": tuple(
            _JPEG + n
            for n in (
                "102", "103", "104", "105", "106",
                "102.1", "103.1", "104.1", "105.1", "106.1",
            )
        ),
        "video/H265": tuple(_JPEG + n for n in ("107", "108")),
    }
)  # fmt: skip
"""Media type of compressed frames: its transfer syntaxes, the default one first."""

_MEDIA_TYPES: Final = {uid: media for media, uids in SYNTAXES.items() for uid in uids}


def media_type_of_frames(transfer_syntax_uid: str) -> str:
    """The media type of frames as stored; octets for native ones and those that have none."""
    return _MEDIA_TYPES.get(transfer_syntax_uid, OCTETS)


def syntax_of_media_type(media_type: str) -> str:
    """The default transfer syntax of a media type of compressed frames.

    Raises:
        UnsupportedMediaType: the standard has none.
    """
    for known, uids in SYNTAXES.items():
        if known.lower() == media_type:
            return uids[0]
    raise UnsupportedMediaType(f"no transfer syntax stands for {media_type[:64]!a}")
