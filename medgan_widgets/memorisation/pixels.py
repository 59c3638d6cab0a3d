"""Images of any size and colour as small grey ones, and parts of them enlarged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.tuning import BAR_BLACK, BAR_DEPTH, BLOCK, FLAT, SIDE

Floats = NDArray[np.float32]


def sampling(offset: Any, length: Any, to: int, of: int) -> Floats:
    """Return matrices that resize a part of an axis of ``of`` pixels, float32 [..., to, of].

    ``offset`` and ``length`` of the part are shares of the axis, numbers or [...]. Each row is
    a triangle as wide as the step, so that shrinking does not alias.

    Examples
    --------
    >>> sampling(0.0, 1.0, 2, 4).round(2)
    array([[0.43, 0.43, 0.14, 0.  ],
           [0.  , 0.14, 0.43, 0.43]], dtype=float32)
    """
    begin = np.asarray(offset, np.float32)[..., None, None]
    extent = np.asarray(length, np.float32)[..., None, None]
    middles = (np.arange(to, dtype=np.float32)[:, None] + 0.5) / to
    centres = np.clip((begin + extent * middles) * of - 0.5, 0, of - 1)
    step = np.maximum(extent * of / to, 1)
    rows = np.clip(1 - np.abs(np.arange(of, dtype=np.float32) - centres) / step, 0, None)
    return np.asarray(rows / rows.sum(axis=-1, keepdims=True), np.float32)


def small_greys(images: NDArray[Any]) -> Floats:
    """Return uint8 [N, H, W, C] as grey images, float32 [N, 64, 64].

    Colours are averaged; a fourth channel is opacity and left out.
    """
    count, height, width, channels = images.shape
    colours = min(channels, 3)
    grey = np.empty((count, SIDE, SIDE), np.float32)
    rows, columns = sampling(0, 1, SIDE, height), sampling(0, 1, SIDE, width)
    for start in range(0, count, BLOCK):
        part = images[start : start + BLOCK, ..., :colours]
        plain = part[..., 0] if colours == 1 else part.mean(axis=3, dtype=np.float32)
        plain = plain.astype(np.float32)
        same = (height, width) == (SIDE, SIDE)
        grey[start : start + BLOCK] = plain if same else rows @ plain @ columns.T
    return grey


def shrunk(images: Floats, side: int) -> Floats:
    """Return square images [n, S, S] with fewer pixels a side."""
    if side == images.shape[-1]:
        return images
    rows = sampling(0.0, 1.0, side, images.shape[-1])
    return np.asarray(rows @ images @ rows.T, np.float32)


def flipped(images: NDArray[Any], flip: int) -> NDArray[Any]:
    """Return images [N, H, W] mirrored: bit 1 left-right, bit 2 top-bottom."""
    if flip & 1:
        images = images[:, :, ::-1]
    return images[:, ::-1] if flip & 2 else images


def is_flat(images: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which images [N, H, W] have no contrast to compare."""
    return np.asarray(images.std(axis=(1, 2)) < FLAT)


def bars(images: Floats) -> NDArray[np.bool_]:
    """Return which pixels of images [n, S, S] are black up to the edge, a few of them.

    A shift or a turn leaves such bars and wedges: they may say nothing about the image.
    """
    found = np.zeros(images.shape, np.bool_)
    for quarter in range(4):
        rows, marked = (np.rot90(some, quarter, axes=(1, 2)) for some in (images, found))
        bar = np.logical_and.accumulate(rows[:, :BAR_DEPTH] < BAR_BLACK, axis=1)
        bar[:, 1:] |= bar[:, :-1].copy()  # one pixel more, which is half black and half image
        marked[:, :BAR_DEPTH] |= bar  # a view
    return found
