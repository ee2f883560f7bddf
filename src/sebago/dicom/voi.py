"""From stored values to shades of grey: modality, VOI and polarity (PS3.3 C.11.1, C.11.2, C.7.6.3).

Integer pixels of up to 16 bits go through one table from stored value to shade, which is made once
for all slices that share their parameters. Wider integers and floats are computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINEAR, LINEAR_EXACT, SIGMOID = "LINEAR", "LINEAR_EXACT", "SIGMOID"
VOI_FUNCTIONS = frozenset({LINEAR, LINEAR_EXACT, SIGMOID})

Pixels = NDArray[Any]
Shades = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Window:
    """A VOI window in modality units (PS3.3 C.11.2.1.2, C.11.2.1.3)."""

    center: float
    width: float
    function: str = LINEAR


@dataclass(frozen=True, slots=True)
class Lut:
    """A lookup table (PS3.3 C.11.1.1.1): `first` is the value that the first entry is for."""

    first: int
    bits: int
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Greys:
    """How one image's stored values become shades."""

    slope: float = 1.0
    intercept: float = 0.0
    modality: Lut | None = None
    """Instead of slope and intercept."""
    window: Window | None = None
    voi: Lut | None = None
    """Where there is no window. Where there is neither, the values that occur are spread."""
    inverted: bool = False
    """MONOCHROME1."""
    padding: tuple[int, int] | None = None
    """Stored values (lowest, highest) that are no part of the image (PS3.3 C.7.5.1.1.2)."""


def shades(pixels: Pixels, bits_stored: int, greys: Greys) -> Shades:
    """The shades of one frame's stored values, 0 black to 255 white.

    Args:
        pixels: integers within `bits_stored`, or floats.
        bits_stored: how many of their bits are used.
    """
    if pixels.dtype.kind == "f" or pixels.dtype.itemsize > 2:
        return _computed(pixels.astype(np.float64), greys)
    spread = greys.window is None and greys.voi is None
    bounds = _bounds(pixels, bits_stored, greys) if spread else None
    signed = pixels.dtype.kind == "i"
    table = _table(greys, min(bits_stored, pixels.dtype.itemsize * 8), signed, bounds)
    index = pixels.view(f"u{pixels.dtype.itemsize}")
    if len(table) < 1 << 8 * pixels.dtype.itemsize:
        index = index & np.array(len(table) - 1, index.dtype)
    taken: Shades = np.take(table, index)
    return taken


def _bounds(pixels: Pixels, bits_stored: int, greys: Greys) -> tuple[int, int]:
    """The lowest and highest stored value to spread: of those that occur, but for the padding.

    Plain bytes and single bits are shown as they are: whoever made them meant shades.
    """
    plain = greys.modality is None and greys.slope == 1 and greys.intercept == 0
    if pixels.dtype.kind == "u" and plain and (bits_stored == 8 or bits_stored == 1):
        return 0, (1 << bits_stored) - 1
    used = pixels
    if greys.padding is not None:
        low, high = greys.padding
        used = pixels[(pixels < low) | (pixels > high)]
        if not used.size:
            used = pixels
    return int(used.min()), int(used.max())


@lru_cache(maxsize=64)
def _table(greys: Greys, bits: int, signed: bool, bounds: tuple[int, int] | None) -> Shades:
    """Shade by stored value, whose negative ones lie in the upper half of the table."""
    stored = np.arange(1 << bits, dtype=np.int64)
    if signed:
        stored[1 << (bits - 1) :] -= 1 << bits
    made = _shade(_modality(stored.astype(np.float64), greys), greys, _ends(greys, bounds))
    made.setflags(write=False)
    return made


def _ends(greys: Greys, bounds: tuple[int, int] | None) -> tuple[float, float] | None:
    if bounds is None:
        return None
    ends = _modality(np.array(bounds, np.float64), greys)
    return float(ends.min()), float(ends.max())


def _computed(pixels: NDArray[np.float64], greys: Greys) -> Shades:
    values = _modality(pixels, greys)
    ends = None
    if greys.window is None and greys.voi is None:
        used = values[np.isfinite(values)]
        if greys.padding is not None and used.size:
            low, high = greys.padding
            kept = values[np.isfinite(values) & ((pixels < low) | (pixels > high))]
            used = kept if kept.size else used
        ends = (float(used.min()), float(used.max())) if used.size else (0.0, 1.0)
    return _shade(np.nan_to_num(values), greys, ends)


def _modality(stored: NDArray[np.float64], greys: Greys) -> NDArray[np.float64]:
    if greys.modality is None:
        return stored * greys.slope + greys.intercept
    return _looked_up(stored, greys.modality)


def _looked_up(values: NDArray[np.float64], lut: Lut) -> NDArray[np.float64]:
    entries = np.array(lut.entries, np.float64)
    index = np.clip(np.rint(values) - lut.first, 0, len(entries) - 1).astype(np.int64)
    found: NDArray[np.float64] = entries[index]
    return found


def _shade(values: NDArray[np.float64], greys: Greys, ends: tuple[float, float] | None) -> Shades:
    """Modality values to shades, by window, by table or by spreading what lies between `ends`."""
    if greys.window is not None:
        part = _windowed(values, greys.window)
    elif greys.voi is not None:
        top = max((1 << greys.voi.bits) - 1, 1)
        part = _looked_up(values, greys.voi) / top
    else:
        low, high = ends or (0.0, 1.0)
        part = (values - low) / (high - low) if high > low else values * 0.0
    made = np.rint(np.clip(part, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.uint8(255) - made if greys.inverted else made


def _windowed(values: NDArray[np.float64], window: Window) -> NDArray[np.float64]:
    center, width = window.center, window.width
    if window.function == SIGMOID:
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700, 700)))
    if window.function == LINEAR_EXACT:
        return (values - center) / width + 0.5
    if width <= 1:
        return (values > center - 0.5).astype(np.float64)
    return (values - (center - 0.5)) / (width - 1) + 0.5
