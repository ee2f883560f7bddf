"""Colour images as 8-bit RGB: palettes, luminance and chrominance (PS3.3 C.7.6.3.1.2, C.7.9)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sebago.errors import NotSupported

Pixels = NDArray[Any]
Rgb = NDArray[np.uint8]

_ENTRIES_MAX = 65536


def rgb(pixels: Pixels, bits_stored: int, photometric: str) -> Rgb:
    """Three samples per pixel as RGB of 8 bits each.

    Raises:
        NotSupported: a photometric interpretation that is none of RGB and YBR.
    """
    eight = eight_bits(pixels, bits_stored)
    if photometric in ("RGB", "ARGB", "YBR_RCT", "YBR_ICT"):
        return np.ascontiguousarray(eight[..., -3:])
    if photometric.startswith("YBR"):
        return _from_ybr(eight[..., :3], partial="PARTIAL" in photometric)
    raise NotSupported(f"colours in {photometric or 'no'} photometric interpretation")


def eight_bits(pixels: Pixels, bits_stored: int) -> Rgb:
    """The upper 8 of the stored bits."""
    if pixels.dtype.kind == "f":
        raise NotSupported("colour samples of floating point")
    if bits_stored > 8:
        return (pixels >> (bits_stored - 8)).astype(np.uint8)
    return pixels.astype(np.uint8, copy=False)


def _from_ybr(ybr: Rgb, *, partial: bool) -> Rgb:
    luma = ybr[..., 0].astype(np.float32)
    blue = ybr[..., 1].astype(np.float32) - 128
    red = ybr[..., 2].astype(np.float32) - 128
    if partial:
        luma = (luma - 16) * np.float32(255 / 219)
        blue, red = blue * np.float32(255 / 224), red * np.float32(255 / 224)
    out = np.empty(ybr.shape, np.float32)
    out[..., 0] = luma + np.float32(1.402) * red
    out[..., 1] = luma - np.float32(0.344136) * blue - np.float32(0.714136) * red
    out[..., 2] = luma + np.float32(1.772) * blue
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def palette(
    descriptor: bytes, entries: bytes, *, little_endian: bool, segmented: bool
) -> tuple[int, Rgb]:
    """One colour of a palette: (stored value that the first entry is for, entries in 8 bits).

    Raises:
        NotSupported: no palette can be made of it.
    """
    order = "<" if little_endian else ">"
    if len(descriptor) < 6 or not entries:
        raise NotSupported("a palette image without its palette")
    count, _, bits = struct.unpack_from(order + "3H", descriptor)
    (first,) = struct.unpack_from(order + "h", descriptor, 2)
    count = count or _ENTRIES_MAX
    if segmented:
        kind = "H" if bits > 8 else "B"
        size = struct.calcsize(kind)
        words = struct.unpack(
            f"{order}{len(entries) // size}{kind}", entries[: len(entries) // size * size]
        )
        values: NDArray[Any] = np.array(_expanded(words), np.uint16)
    elif bits <= 8 and len(entries) < 2 * count:
        values = np.frombuffer(entries, np.uint8)[:count].astype(np.uint16)
    else:
        values = np.frombuffer(entries[: len(entries) // 2 * 2], order + "u2")[:count].astype(
            np.uint16
        )
    if not values.size:
        raise NotSupported("a palette without entries")
    # Some writers announce 16 bits and fill 8.
    if bits > 8 and int(values.max()) > 255:
        values = values >> 8
    return first, values.astype(np.uint8)


def _expanded(words: tuple[int, ...]) -> list[int]:
    """The entries of a segmented palette (PS3.3 C.7.9.2): discrete, linear, and copies of both.

    A copied segment stands at an offset within the same words; copies of copies are not allowed.
    """
    out: list[int] = []
    at = 0
    while at + 1 < len(words) and len(out) < _ENTRIES_MAX:
        kind, count = words[at], words[at + 1]
        if kind == 2:
            if at + 3 >= len(words):
                break
            source = words[at + 2] | words[at + 3] << 16
            for _ in range(count):
                if source + 1 >= len(words) or words[source] == 2 or len(out) >= _ENTRIES_MAX:
                    break
                source = _segment(words, source, out)
            at += 4
        elif kind in (0, 1):
            at = _segment(words, at, out)
        else:
            raise NotSupported(f"a palette segment of kind {kind}")
    return out[:_ENTRIES_MAX]


def _segment(words: tuple[int, ...], at: int, out: list[int]) -> int:
    """Append one discrete or linear segment; the index behind it."""
    kind, count = words[at], words[at + 1]
    if kind == 0:
        out.extend(words[at + 2 : at + 2 + count])
        return at + 2 + count
    if at + 2 < len(words) and count:
        start, end = out[-1] if out else words[at + 2], words[at + 2]
        out.extend(start + (end - start) * step // count for step in range(1, count + 1))
    return at + 3


def through_palette(pixels: Pixels, tables: list[tuple[int, Rgb]]) -> Rgb:
    """Stored values to RGB; values beyond a table's ends have its first or last colour."""
    out = np.empty((*pixels.shape, 3), np.uint8)
    values = pixels.astype(np.int32)
    for channel, (first, table) in enumerate(tables):
        start = first if pixels.dtype.kind == "i" or first >= 0 else first + _ENTRIES_MAX
        out[..., channel] = table[np.clip(values - start, 0, len(table) - 1)]
    return out
