"""Pixels before an extractor looks at them: checked, grey or colour, resized."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medgan_widgets.images import checked_pixels


def to_planes(images: NDArray[np.uint8], colours: str, size: int | None) -> Tensor:
    """Return checked images as floats 0 … 1, [N, 1 or 3, size, size].

    Colour becomes grey as the mean of its channels, grey becomes colour by repetition;
    ``colours="as they are"`` changes neither. Resizing is bilinear with antialias.
    """
    values = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).astype(np.float32) / 255
    planes = torch.from_numpy(values)
    if colours == "grey" and planes.shape[1] == 3:
        planes = planes.mean(dim=1, keepdim=True)
    if colours == "rgb" and planes.shape[1] == 1:
        planes = planes.expand(-1, 3, -1, -1)
    if size is None or planes.shape[2:] == (size, size):
        return planes.contiguous()
    return F.interpolate(planes, (size, size), mode="bilinear", antialias=True, align_corners=False)


def masks_among(images: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which images hold two values only, as masks do, bool [N].

    An image of one value is no mask: it is empty.

    Examples
    --------
    >>> mask = np.kron(np.eye(4), np.ones((2, 2))).astype(np.uint8)
    >>> grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    >>> masks_among(np.stack([mask, grey, np.zeros_like(grey)])).tolist()
    [True, False, False]
    """
    flat = checked_pixels(images).reshape(len(images), -1)
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    two: NDArray[np.bool_] = ((flat == low) | (flat == high)).all(axis=1) & (low < high)[:, 0]
    return two
