"""Images of any size and colour as small grey ones, and parts of them enlarged."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 64  # pixels along each side while images are compared
BLOCK = 256  # images at a time
DEPTH = 5  # pixels of 64: shifts of 6 %, and one
BLACK = 12.0  # grey levels below which a bar is black, noise and all

Floats = NDArray[np.float32]


def sampling(offset: Any, length: Any, to: int, of: int) -> Floats:
    """Return matrices that resize a part of an axis, float32 [..., to, of].

    Each row is a triangle as wide as the step, so that shrinking does not alias.

    Parameters
    ----------
    offset, length
        Where the part begins and how long it is, in shares of the axis; numbers or [...].
    to, of
        Pixels afterwards and before.

    Examples
    --------
    >>> sampling(0.0, 1.0, 2, 4).round(2)
    array([[0.43, 0.43, 0.14, 0.  ],
           [0.  , 0.14, 0.43, 0.43]], dtype=float32)
    """
    begin = np.asarray(offset, np.float32)[..., None, None]
    extent = np.asarray(length, np.float32)[..., None, None]
    middles = (np.arange(to, dtype=np.float32)[:, None] + 0.5) / to
    centres = (begin + extent * middles) * of - 0.5
    centres = np.clip(centres, 0, of - 1)
    step = np.maximum(extent * of / to, 1)
    rows = np.clip(1 - np.abs(np.arange(of, dtype=np.float32) - centres) / step, 0, None)
    return np.asarray(rows / rows.sum(axis=-1, keepdims=True), np.float32)


def small_greys(images: NDArray[Any], side: int = SIDE) -> Floats:
    """Return uint8 [N, H, W, C] as grey images of ``side`` pixels, float32 [N, side, side].

    Colours are averaged; a fourth channel, or a second one, is opacity and left out.

    Examples
    --------
    >>> small_greys(np.full((1, 100, 80, 3), 7, np.uint8)).shape
    (1, 64, 64)
    """
    count, height, width, channels = images.shape
    colours = {2: 1, 4: 3}.get(channels, channels)
    grey = np.empty((count, side, side), np.float32)
    rows, columns = sampling(0, 1, side, height), sampling(0, 1, side, width)
    for start in range(0, count, BLOCK):
        part = images[start : start + BLOCK, ..., :colours]
        plain = part[..., 0] if colours == 1 else part.mean(axis=3, dtype=np.float32)
        plain = plain.astype(np.float32)
        same = (height, width) == (side, side)
        grey[start : start + BLOCK] = plain if same else rows @ plain @ columns.T
    return grey


def flipped(images: NDArray[Any], flip: int) -> NDArray[Any]:
    """Return images [N, H, W] mirrored: bit 1 left-right, bit 2 top-bottom."""
    if flip & 1:
        images = images[:, :, ::-1]
    return images[:, ::-1] if flip & 2 else images


def bars(images: Floats) -> NDArray[np.bool_]:
    """Return which pixels of images [n, S, S] are black up to the edge, at most `DEPTH` of them.

    A shift or a turn leaves such bars and wedges: they may say nothing about the image.
    """
    found = np.zeros(images.shape, np.bool_)
    for quarter in range(4):
        rows, marked = (np.rot90(some, quarter, axes=(1, 2)) for some in (images, found))
        bar = np.logical_and.accumulate(rows[:, :DEPTH] < BLACK, axis=1)
        bar[:, 1:] |= bar[:, :-1].copy()  # one pixel more, which is half black and half image
        marked[:, :DEPTH] |= bar  # a view
    return found
