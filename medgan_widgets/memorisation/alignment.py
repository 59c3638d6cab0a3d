"""Lay a training image over a generated one: which part, how turned, to a fraction of a pixel.

Gauss-Newton on position and size of a part along both axes and on its turn, as in Lucas and
Kanade (1981), blind to gain and offset as in Evangelidis and Psarakis (2008), for many pairs
at once. What lies outside the training image (the border of a shifted copy) does not count.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.pixels import Floats
from medgan_widgets.memorisation.tuning import DAMPING, LONGEST, REACH, SHORTEST, STEEPEST

NEXT = np.ones((3, 3), np.uint8)


def matrices(poses: Floats, shape: tuple[int, int], aspect: float) -> NDArray[np.float64]:
    """Return what leads from a pixel of the outcome to one of an image, [n, 2, 3], for OpenCV.

    Poses [n, 5] are top, height, left and width of a part in shares of the side, and its turn
    about its middle in radians. ``shape`` is height and width of image and outcome in pixels,
    ``aspect`` width over height of the scene, by which a turn is a turn.
    """
    high, wide = shape
    top, height, left, width, turn = poses.T.astype(np.float64)
    cos, sin = np.cos(turn), np.sin(turn) * aspect * high / wide
    found = np.empty((len(poses), 2, 3))
    found[:, 0, 0], found[:, 0, 1] = cos * width, -np.sin(turn) / aspect * height * wide / high
    found[:, 1, 0], found[:, 1, 1] = sin * width, cos * height
    middle = np.array([(wide - 1) / 2, (high - 1) / 2])
    found[:, :, 2] = np.stack([(left + width / 2) * wide, (top + height / 2) * high], 1) - 0.5
    found[:, :, 2] -= found[:, :, :2] @ middle
    return found


def warped(images: Floats, poses: Floats, aspect: float) -> tuple[Floats, Floats]:
    """Return parts of images [n, S, S], enlarged to S pixels, and 1 where they show the image."""
    side = images.shape[-1]
    laid, inside = np.empty_like(images), np.empty_like(images)
    linear, size = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, (side, side)
    whole = np.ones(size, np.float32)
    edge: dict[str, Any] = {"flags": linear, "borderMode": cv2.BORDER_REPLICATE}
    for index, matrix in enumerate(matrices(poses, size, aspect)):
        cv2.warpAffine(images[index], matrix, size, dst=laid[index], **edge)
        # Less one pixel, which is half border where somebody shrank the image afterwards.
        cv2.erode(cv2.warpAffine(whole, matrix, size, flags=linear), NEXT, dst=inside[index])
    return laid, np.asarray(inside > 0.99, np.float32)


def align(
    fixed: Floats, moving: Floats, clear: Floats, start: Floats, steps: int, aspect: float
) -> tuple[Floats, Floats]:
    """Return for each pair the best pose and how well it fits, float32 [n, 5] and [n].

    ``fixed`` are generated and ``moving`` training images, grey, [n, S, S]; ``clear`` is 1 where
    the generated ones are to be looked at. Poses ``start`` are improved ``steps`` times.
    """
    count, side = len(fixed), fixed.shape[-1]
    middles = ((np.arange(side) + 0.5) / side - 0.5).astype(np.float32)
    down, across = middles[:, None], middles[None]
    pose, best = start.astype(np.float32), start.astype(np.float32)
    fit = np.full(count, -2, np.float32)
    for step in range(steps + 1):
        images, inside = warped(moving, pose, aspect)
        inside *= clear
        mask = inside.reshape(count, -1)
        laid = _centred(images.reshape(count, -1), mask)
        target = _centred(fixed.reshape(count, -1), mask)
        target /= np.maximum(np.linalg.norm(target, axis=1, keepdims=True), 1e-6)
        length = np.linalg.norm(laid, axis=1)
        value = (laid * target).sum(axis=1) / np.maximum(length, 1e-6)
        better = value > fit
        fit, best = np.where(better, value, fit), np.where(better[:, None], pose, best)
        if step == steps:
            break
        # The turn is small: the outcome's own slopes, by its scale, are those of the image.
        height, width = pose[:, 1, None, None], pose[:, 3, None, None]
        slopes = np.empty((count, 5, side, side), np.float32)
        for axis, scale in ((0, height), (1, width)):
            np.multiply(np.gradient(images, axis=axis + 1), inside, out=slopes[:, 2 * axis])
            slopes[:, 2 * axis] *= side / scale
        np.multiply(slopes[:, 0], down, out=slopes[:, 1])
        np.multiply(slopes[:, 2], across, out=slopes[:, 3])
        np.multiply(slopes[:, 0], aspect * width * across, out=slopes[:, 4])
        slopes[:, 4] -= slopes[:, 2] * (height / aspect * down)
        moved = _step(slopes.reshape(count, 5, -1), laid, target, length, mask)
        moved[:, :4:2] -= moved[:, 1:4:2] / 2  # of the middle, which hardly depends on the length
        pose = _kept_inside(pose + moved)
    return best, fit


def _step(slopes: Floats, laid: Floats, target: Floats, length: Floats, mask: Floats) -> Floats:
    """Return one Gauss-Newton step, damped where the image says little."""
    total = slopes.sum(axis=2)
    normal = slopes @ slopes.transpose(0, 2, 1)  # about their means:
    normal -= total[:, :, None] * total[:, None] / mask.sum(axis=1)[:, None, None]
    diagonal = np.diagonal(normal, axis1=1, axis2=2)
    normal = normal + np.eye(5, dtype=np.float32) * (DAMPING * diagonal[:, None] + 1e-6)
    # The gain that makes the two alike; at least some, so that a poor start still moves.
    gain = np.maximum((laid * target).sum(axis=1), 0.3 * length)[:, None]
    residual = (gain * target - laid)[..., None]
    moved = np.linalg.solve(normal, slopes @ residual)[..., 0]
    return np.asarray(np.clip(moved, -0.05, 0.05), np.float32)


def _kept_inside(pose: Floats) -> Floats:
    pose = pose.copy()
    for first in (0, 2):
        pose[:, first + 1] = np.clip(pose[:, first + 1], SHORTEST, LONGEST)
        pose[:, first] = np.clip(pose[:, first], -REACH, 1 - pose[:, first + 1] + REACH)
    pose[:, 4] = np.clip(pose[:, 4], -STEEPEST, STEEPEST)
    return pose


def _centred(vectors: Floats, mask: Floats) -> Floats:
    """Return vectors [n, P] about their mean where the mask is 1, and 0 where it is 0."""
    mean = (vectors * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    return np.asarray((vectors - mean[:, None]) * mask, np.float32)
