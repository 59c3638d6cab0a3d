"""What all kinds are measured on: images of 64 × 64 pixels, and the axes of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize_local_mean

from medgan_widgets.phantoms.shapes import grid

SIDE = 64  # pixels: finer ones hold noise, and every quantity is at least two of these wide
TAUGHT_ON = 2**45  # the first seed of phantoms that measurements are taught on; nobody else's

Floats = NDArray[np.float64]

AXIS: Floats = grid(SIDE)[0].ravel().astype(np.float64)
X, Y = np.meshgrid(AXIS, AXIS)
R = np.hypot(X, Y)


def small(images: NDArray[Any]) -> Floats:
    """Return images [N, H, W] of 0 … 255 as means over squares, 0 … 1, float64 [N, 64, 64]."""
    count, height, width = images.shape
    if height == width and height % SIDE == 0:
        share = height // SIDE
        parts = images.reshape(count, SIDE, share, SIDE, share)
        return np.asarray(parts.mean(axis=(2, 4), dtype=np.float64) / 255)
    moved = np.moveaxis(images.astype(np.float64), 0, 2)
    resized = resize_local_mean(moved, (SIDE, SIDE), preserve_range=True)  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(np.moveaxis(resized, 2, 0)) / 255


def likeness(image: Floats, mean: Floats, where: NDArray[np.bool_]) -> float:
    """Return the correlation of an image with a mean image, 0 where either is constant."""
    one, other = image[where] - image[where].mean(), mean[where] - mean[where].mean()
    size = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum() / size) if size > 1e-9 else 0.0
