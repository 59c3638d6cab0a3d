"""What every phantom is drawn with: random numbers by seed, and soft shapes on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.seeds import Value

Array = NDArray[Any]  # floats, broadcast to [N, H, W]
Labels = dict[str, tuple[Value, ...]]
Truth = dict[str, Array]


class Draws:
    """Random numbers for N images, each from its own seed, kind and purpose."""

    def __init__(self, seeds: Sequence[int], stream: int) -> None:
        self.count = len(seeds)
        self._shape = [_generator(seed, 2 * stream) for seed in seeds]
        self._noise = [_generator(seed, 2 * stream + 1) for seed in seeds]

    def uniform(self, low: float, high: float) -> Array:
        """Draw one number an image, float32 [N, 1, 1]."""
        drawn = np.array([g.uniform(low, high) for g in self._shape], np.float32)
        return drawn[:, None, None]

    def pick(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """Draw one of the values for every image."""
        return tuple(values[int(g.integers(len(values)))] for g in self._shape)

    def normal(self, size: int) -> Array:
        """Draw white noise, float32 [N, size, size]."""
        return np.stack([g.standard_normal((size, size), np.float32) for g in self._noise])

    def poisson(self, expected: Array) -> Array:
        """Draw photon counts of the expected ones, float32 [N, H, W]."""
        pairs = zip(self._noise, expected, strict=True)
        return np.stack([g.poisson(e) for g, e in pairs]).astype(np.float32)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 64 + stream], np.uint64)))


def grid(size: int) -> tuple[Array, Array]:
    """Return x to the right and y downwards, -1 … 1 at the image's edges, [1, H, W]."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    return axis[None, None, :], axis[None, :, None]


def turned(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    """Return a point in axes turned by an angle in radians."""
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def inside(distance: Array, softness: Array | float) -> Array:
    """Turn a signed distance (negative inside) into coverage, 0 … 1."""
    cover: Array = np.clip(0.5 - distance / softness, 0, 1)
    return cover


def ellipse(x: Array, y: Array, cx: Array, cy: Array, a: Array, b: Array, turn: Array) -> Array:
    """Return the signed distance, to first order, from a turned ellipse."""
    u, v = turned(x - cx, y - cy, turn)
    r = np.sqrt((u / a) ** 2 + (v / b) ** 2 + 1e-9)
    distance: Array = (r - 1) * np.minimum(a, b)
    return distance


def blob(draws: Draws, x: Array, y: Array, cx: Array, cy: Array, radius: Array) -> Array:
    """Return the signed distance from an irregular round shape (a lesion)."""
    dx, dy = x - cx, y - cy
    theta = np.arctan2(dy, dx)
    wobble = sum(
        draws.uniform(0.02, 0.22 / k) * np.cos(k * theta + draws.uniform(0, 2 * np.pi))
        for k in (2, 3, 5)
    )
    distance: Array = np.sqrt(dx**2 + dy**2) - radius * (1 + wobble)
    return distance


def power_law(noise: Array, beta: Array) -> Array:
    """Shape white noise to a power spectrum 1 / f^beta: zero mean, unit deviation."""
    size = noise.shape[-1]
    fy, fx = np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size)[None] * size
    f = np.sqrt(fx**2 + fy**2).astype(np.float32)
    f[0, 0] = np.inf  # no mean
    shaped = np.fft.irfft2(np.fft.rfft2(noise) * f[None] ** (-beta / 2), s=(size, size))
    shaped = shaped / shaped.std(axis=(1, 2), keepdims=True)
    unit: Array = shaped.astype(np.float32)
    return unit


def lesion_truth(has: Array, radius: Array, cx: Array, cy: Array) -> Truth:
    """Return where the lesion is, zero where there is none."""
    return {"lesion": has, "radius": has * radius, "x": has * cx, "y": has * cy}


def flags(labels: tuple[Value, ...]) -> Array:
    """Return 1 where a class is present and 0 where not, [N, 1, 1]."""
    return np.array(labels, np.float32)[:, None, None]


def placed(cx: Array, cy: Array, turn: Array, shift: tuple[Array, Array]) -> tuple[Array, Array]:
    """Return where a point of the turned and shifted anatomy lies in the image."""
    x, y = turned(cx, cy, -turn)
    return x + shift[0], y + shift[1]


def area(cover: Array) -> Array:
    """Return the covered share of each image, 0 … 1, [N]."""
    share: Array = cover.mean(axis=(1, 2), dtype=np.float64)
    return share
