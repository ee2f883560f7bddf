"""Images in another size: shrunk by averaging areas, enlarged by interpolation.

Separable: one matrix of weights for rows, one for columns. Shrinking by a whole factor first, by
plain averages of blocks, keeps large images cheap.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def scaled(image: Image, rows: int, columns: int) -> Image:
    """`image`, (rows, columns) or (rows, columns, 3), in the new size; itself if it has it."""
    if image.shape[:2] == (rows, columns):
        return image
    down, across = image.shape[0] // rows, image.shape[1] // columns
    work = image
    if down >= 2 or across >= 2:
        work_f = _blocks(image, max(down, 1), max(across, 1))
    else:
        work_f = work.astype(np.float32)
    by_rows = _weights(work_f.shape[0], rows)
    by_columns = _weights(work_f.shape[1], columns)
    if work_f.ndim == 2:
        out = by_rows @ work_f @ by_columns.T
    else:
        out = np.stack(
            [by_rows @ work_f[..., channel] @ by_columns.T for channel in range(work_f.shape[2])],
            axis=-1,
        )
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _blocks(image: Image, down: int, across: int) -> NDArray[np.float32]:
    """Averages of blocks of `down` x `across`; rows and columns left over join the last block."""
    rows, columns = image.shape[0] // down, image.shape[1] // across
    cut = image[: rows * down, : columns * across]
    blocks = cut.reshape(rows, down, columns, across, *image.shape[2:])
    averages: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return averages


@lru_cache(maxsize=64)
def _weights(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): what each source line gives to each target line; rows add up to 1."""
    ratio = source / target
    centers = (np.arange(target) + 0.5) * ratio - 0.5
    # A tent as wide as a target pixel when shrinking, as a source pixel when enlarging.
    reach = max(ratio, 1.0)
    distance = np.abs(centers[:, None] - np.arange(source)[None, :]) / reach
    weights = np.clip(1.0 - distance, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    made: NDArray[np.float32] = weights.astype(np.float32)
    made.setflags(write=False)
    return made
