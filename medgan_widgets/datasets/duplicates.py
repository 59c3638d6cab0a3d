"""Images that are almost the same, found by their thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 16  # pixels of a thumbnail
ALIKE = 0.999  # correlation of two thumbnails
BLOCK = 256  # images compared with all others at a time
MAX_PAIRS = 1000


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that are almost the same.

    How many, how many of them across the split, and the first 1,000, each two rows of the images.
    """

    count: int = 0
    across: int = 0
    some: tuple[tuple[int, int], ...] = ()


def near_duplicates(images: NDArray[np.uint8], sides: Sequence[str] = ()) -> Pairs:
    """Return the pairs of images [N, H, W, C] whose thumbnails correlate above 0.999.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 1), dtype=np.uint8)
    >>> images[4] = images[1]
    >>> near_duplicates(images).some
    ((1, 4),)
    """
    vectors = _unit_thumbnails(images)
    test = np.array([side == "test" for side in sides] or [False] * len(images))
    count = across = 0
    some: list[tuple[int, int]] = []
    for start in range(0, len(vectors), BLOCK):
        alike = np.triu(vectors[start : start + BLOCK] @ vectors[start:].T > ALIKE, 1)
        rows, columns = np.nonzero(alike)
        count += len(rows)
        across += int((test[start + rows] != test[start + columns]).sum())
        few = slice(0, max(0, MAX_PAIRS - len(some)))
        some += zip((start + rows[few]).tolist(), (start + columns[few]).tolist(), strict=True)
    return Pairs(count, across, tuple(some))


def _unit_thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails as vectors of length 1 about their mean, float32 [N, 257].

    Images without any contrast have a direction of their own, the last: they are all alike.
    """
    vectors = np.zeros((len(images), SIDE * SIDE + 1), np.float32)
    for start in range(0, len(images), BLOCK):
        part = images[start : start + BLOCK].astype(np.float32).mean(axis=3)
        small = _pooled(_pooled(part, 1), 2).reshape(len(part), -1)
        small -= small.mean(axis=1, keepdims=True)
        length = np.linalg.norm(small, axis=1)
        flat = length < 1e-3
        small[flat] = 0
        vectors[start : start + BLOCK, :-1] = small / np.where(flat, 1, length)[:, None]
        vectors[start : start + BLOCK, -1] = flat
    return vectors


def _pooled(images: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return means of 16 parts along an axis, which may differ in length by one."""
    length = images.shape[axis]
    if length < SIDE:
        return np.repeat(images, -(-SIDE // length), axis=axis).take(range(SIDE), axis=axis)
    edges = np.linspace(0, length, SIDE + 1).astype(int)
    sums = np.add.reduceat(images, edges[:-1], axis=axis)
    widths = np.diff(edges).astype(np.float32).reshape(-1, *[1] * (2 - axis))
    return np.asarray(sums / widths, np.float32)
