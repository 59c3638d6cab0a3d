"""Lay a training image over a generated one: which part of it, to a fraction of a pixel.

Gauss-Newton on position and size of a crop along both axes, as in Lucas and Kanade
(1981), blind to gain and offset as in Evangelidis and Psarakis (2008), for many pairs at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.pixels import Floats, sampling

SHORTEST = 0.76  # of the side: crops of 80 % are looked for, and a little beyond
SLACK = 0.01
DAMPING = 0.01


def warped(images: Floats, parts: Floats) -> Floats:
    """Return parts (top, height, left, width) of images [n, S, S], enlarged to S pixels."""
    side = images.shape[-1]
    rows = sampling(parts[:, 0], parts[:, 1], side, side)
    columns = sampling(parts[:, 2], parts[:, 3], side, side)
    return np.asarray(rows @ images @ columns.transpose(0, 2, 1), np.float32)


def align(fixed: Floats, moving: Floats, start: Floats, steps: int) -> tuple[Floats, Floats]:
    """Return for each pair the best part and how well it fits, float32 [n, 4] and [n].

    Parameters
    ----------
    fixed, moving
        Generated and training images, grey, [n, S, S].
    start
        Where to begin: (top, height, left, width) in shares of the side, [n, 4].
    steps
        How often to improve.
    """
    side = fixed.shape[-1]
    wanted = _unit(fixed.reshape(len(fixed), -1))
    down, across = np.gradient(moving, axis=(1, 2))
    middle = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)[None]
    part, best = start.astype(np.float32), start.astype(np.float32)
    fit = np.full(len(fixed), -2, np.float32)
    for step in range(steps + 1):
        rows = sampling(part[:, 0], part[:, 1], side, side)
        columns = sampling(part[:, 2], part[:, 3], side, side).transpose(0, 2, 1)
        shown = _centred(np.asarray(rows @ moving @ columns, np.float32).reshape(len(fixed), -1))
        length = np.linalg.norm(shown, axis=1)
        value = (shown * wanted).sum(axis=1) / np.maximum(length, 1e-6)
        better = value > fit
        fit, best = np.where(better, value, fit), np.where(better[:, None], part, best)
        if step == steps:
            break
        slope_y, slope_x = side * (rows @ down @ columns), side * (rows @ across @ columns)
        slopes = np.stack(
            [slope_y, slope_y * middle[:, :, None], slope_x, slope_x * middle[:, None]], 1
        ).reshape(len(fixed), 4, -1)
        moved = _step(slopes, shown, wanted, length)
        moved[:, ::2] -= moved[:, 1::2] / 2  # of the middle, which hardly depends on the length
        part = _kept_inside(part + moved)
    return best, fit


def _step(slopes: Floats, shown: Floats, wanted: Floats, length: Floats) -> Floats:
    """Return one Gauss-Newton step, damped where the image says little."""
    slopes = slopes - slopes.mean(axis=2, keepdims=True)
    normal = slopes @ slopes.transpose(0, 2, 1)
    diagonal = np.diagonal(normal, axis1=1, axis2=2)
    normal = normal + np.eye(4, dtype=np.float32) * (DAMPING * diagonal[:, None] + 1e-6)
    # The gain that makes the two alike; at least some, so that a poor start still moves.
    gain = np.maximum((shown * wanted).sum(axis=1), 0.3 * length)[:, None]
    residual = (gain * wanted - shown)[..., None]
    moved = np.linalg.solve(normal, slopes @ residual)[..., 0]
    return np.asarray(np.clip(moved, -0.05, 0.05), np.float32)


def _kept_inside(part: Floats) -> Floats:
    part = part.copy()
    for first in (0, 2):
        part[:, first + 1] = np.clip(part[:, first + 1], SHORTEST, 1 + SLACK)
        room = 1 - part[:, first + 1] + SLACK
        part[:, first] = np.clip(part[:, first], -SLACK, np.maximum(room, -SLACK))
    return part


def _centred(vectors: Floats) -> Floats:
    return np.asarray(vectors - vectors.mean(axis=1, keepdims=True), np.float32)


def _unit(vectors: NDArray[np.float32]) -> Floats:
    centred = _centred(vectors)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-6), np.float32)
