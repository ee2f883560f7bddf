"""Images in another size: shrunk by averaging areas, enlarged by interpolation.

Separable, first rows, then columns: each new line is a weighted sum of at most four old ones.
Shrinking by a whole factor first, by plain averages of blocks, is what keeps them so few.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
_BLOCK_MAX = 256
"""Sums of so many bytes stay within 16 bits."""


def scaled(image: Image, rows: int, columns: int) -> Image:
    """`image`, (rows, columns) or (rows, columns, 3), in the new size; itself if it has it."""
    if image.shape[:2] == (rows, columns):
        return image
    work = _blocks(image, _factor(image.shape[0], rows), _factor(image.shape[1], columns))
    work = _lines(work, rows)
    work = _lines(work.swapaxes(0, 1), columns).swapaxes(0, 1)
    return np.clip(np.rint(work), 0, 255).astype(np.uint8)


def _factor(source: int, target: int) -> int:
    return min(max(source // target, 1), _BLOCK_MAX)


def _blocks(image: Image, down: int, across: int) -> NDArray[np.float32]:
    """Averages of blocks of `down` x `across`; what is left over at the end is left out."""
    rows, columns = image.shape[0] // down, image.shape[1] // across
    cut = image[: rows * down, : columns * across]
    sums: NDArray[Any] = cut
    if down > 1:
        sums = cut[::down].astype(np.uint16)
        for line in range(1, down):
            sums += cut[line::down]
    if across > 1:
        wide = sums[:, ::across].astype(np.uint32)
        for line in range(1, across):
            wide += sums[:, line::across]
        sums = wide
    averages: NDArray[np.float32] = sums.astype(np.float32)
    if down * across > 1:
        averages *= np.float32(1 / (down * across))
    return averages


def _lines(work: NDArray[np.float32], target: int) -> NDArray[np.float32]:
    """`work` with `target` lines along its first axis."""
    if work.shape[0] == target:
        return work
    work = np.ascontiguousarray(work)
    indices, weights = _taps(work.shape[0], target)
    column = (target, *[1] * (work.ndim - 1))
    out = np.zeros((target, *work.shape[1:]), np.float32)
    for index, weight in zip(indices, weights, strict=True):
        lines = work[index]
        lines *= weight.reshape(column)
        out += lines
    return out


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(taps, target): which source lines make each target line, and how much of each.

    A tent as wide as a target line when shrinking, as a source line when enlarging; what falls
    off the edge is made up for by the others.
    """
    ratio = source / target
    reach = max(ratio, 1.0)
    centers = (np.arange(target) + 0.5) * ratio - 0.5
    count = int(np.ceil(2 * reach))
    first = np.ceil(centers - reach).astype(np.intp)
    lines = first[None, :] + np.arange(count)[:, None]
    weights = np.clip(1.0 - np.abs(lines - centers[None, :]) / reach, 0.0, None)
    weights[(lines < 0) | (lines >= source)] = 0.0
    weights /= weights.sum(axis=0, keepdims=True)
    return np.clip(lines, 0, source - 1), weights.astype(np.float32)
