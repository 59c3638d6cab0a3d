"""Images that are almost the same, found among many thousands without comparing all with all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIDE = 16  # pixels of a thumbnail
ALIKE = 0.999  # correlation of two thumbnails
BLOCK = 512  # images compared at a time: a few megabytes
MOST_PAIRS = 1000


@dataclass(frozen=True)
class Pairs:
    """Pairs of images that are almost the same.

    Attributes
    ----------
    count
        How many pairs there are.
    across
        How many of them have one image on each side of the split.
    some
        The first of them, each two places in the images, at most 1,000.
    """

    count: int = 0
    across: int = 0
    some: tuple[tuple[int, int], ...] = ()


def near_duplicates(images: NDArray[np.uint8], sides: Sequence[str] = ()) -> Pairs:
    """Return the pairs whose thumbnails correlate above 0.999.

    Thumbnails are unit vectors, so two that are alike lie within 0.045 of each
    other along any direction: sorted along the one in which they differ most,
    only neighbours need comparing. Memory is a block of 512 by its neighbours.

    Parameters
    ----------
    images
        uint8 [N, H, W, C].
    sides
        ``"train"`` or ``"test"``, one an image, to count pairs that stand on both.

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 1), dtype=np.uint8)
    >>> images[4] = images[1]
    >>> near_duplicates(images).some
    ((1, 4),)
    """
    if len(images) < 2:
        return Pairs()
    vectors = _unit_thumbnails(images)
    along = vectors @ _direction(vectors)
    order = np.argsort(along, kind="stable")
    vectors, along = vectors[order], along[order]
    reach = float(np.sqrt(2 * (1 - ALIKE))) + 1e-4
    judging = np.array([side == "test" for side in sides] or [False] * len(images))[order]
    count = across = 0
    some: list[tuple[int, int]] = []
    for start in range(0, len(vectors), BLOCK):
        last = min(start + BLOCK, len(vectors))
        end = int(np.searchsorted(along, along[last - 1] + reach, side="right"))
        for from_ in range(start, end, BLOCK):
            to = min(from_ + BLOCK, end)
            alike = vectors[start:last] @ vectors[from_:to].T > ALIKE
            if from_ == start:
                alike = np.triu(alike, 1)
            count += int(alike.sum())
            across += int((alike & (judging[start:last, None] != judging[None, from_:to])).sum())
            if len(some) < MOST_PAIRS:
                rows, columns = np.nonzero(alike)
                few = zip(order[start + rows], order[from_ + columns], strict=True)
                some += [(int(min(pair)), int(max(pair))) for pair in few][: MOST_PAIRS - len(some)]
    return Pairs(count, across, tuple(sorted(some)))


def _unit_thumbnails(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return thumbnails as vectors of length 1 about their mean, float32 [N, 257].

    Images without any contrast have a direction of their own: they are all alike.
    """
    vectors = np.zeros((len(images), SIDE * SIDE + 1), np.float32)
    for start in range(0, len(images), BLOCK):
        part = images[start : start + BLOCK].astype(np.float32).mean(axis=3)
        small = _pooled(_pooled(part, 1), 2).reshape(len(part), -1)
        small -= small.mean(axis=1, keepdims=True)
        length = np.linalg.norm(small, axis=1)
        flat = length < 1e-3
        vectors[start : start + BLOCK, :-1] = small / np.where(flat, 1, length)[:, None]
        vectors[start : start + BLOCK, :-1][flat] = 0
        vectors[start : start + BLOCK, -1] = flat
    return vectors


def _pooled(images: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return means of 16 parts along an axis, which may differ in length by one."""
    length = images.shape[axis]
    if length < SIDE:
        return np.repeat(images, -(-SIDE // length), axis=axis).take(range(SIDE), axis=axis)
    edges = np.linspace(0, length, SIDE + 1).astype(int)
    sums = np.add.reduceat(images, edges[:-1], axis=axis)
    shape = [1, 1, 1]
    shape[axis] = SIDE
    widths = np.diff(edges).astype(np.float32).reshape(shape)
    return np.asarray(sums / widths, np.float32)


def _direction(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the direction in which vectors differ most, by their covariance."""
    centred = vectors - vectors.mean(axis=0)
    _, directions = np.linalg.eigh(centred.T @ centred)
    direction: NDArray[np.float32] = directions[:, -1].astype(np.float32)
    return direction
