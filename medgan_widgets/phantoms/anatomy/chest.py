"""Measuring chest X-rays: geometry by a linear reading of the image, a nodule by its shadow.

The heart hides behind the lung and the mediastinum, so its size and the lungs'
are read off by a ridge regression on the blurred image, taught on phantoms with
known truth (reference: Hoerl and Kennard 1970). A nodule is looked for with a matched filter, a
ball's shadow against the mean spectrum of nodule-free phantoms, and what the
filter answers is judged by what it answers at the same place without a nodule.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.phantoms.anatomy.frame import SIDE, TAUGHT_ON, Floats, R, X, Y, likeness, small

READ = ("heart_size", "lung_width", "lung_area", "turn")
TAUGHT = 800
FREE = 300  # nodule-free phantoms
RIDGE = 100.0
LIKE = 0.8  # correlation with the mean phantom below which this is no such chest
STANDS_OUT = 5.4  # deviations; found on phantoms
RADII = (0.045, 0.055, 0.065, 0.08, 0.095)
LUNGS = (np.abs(X) > 0.16) & (np.abs(X) < 0.82) & (Y > -0.85) & (Y < 0.45)
WINDOW: Floats = (
    np.clip((0.85 - np.abs(X)) / 0.1, 0, 1)
    * np.clip((0.62 - Y) / 0.1, 0, 1)
    * np.clip((Y + 0.95) / 0.1, 0, 1)
)


@dataclass(frozen=True)
class Reading:
    """What was taught by phantoms."""

    mean: Floats  # of blurred, standardised images
    slopes: Floats  # [pixels, quantities]
    offsets: Floats  # [quantities]
    image: Floats  # the mean image


@dataclass(frozen=True)
class Shadows:
    """How a matched filter answers where there is no nodule."""

    image: Floats  # the mean image
    filters: NDArray[np.complex128]  # one a radius
    answer: Floats  # mean answer of each filter at each place, without a nodule
    deviation: Floats


def measured_chests(images: NDArray[Any]) -> dict[str, Floats]:
    """Return the anatomy of chest images uint8 [N, H, W]; see ``measure_anatomy``."""
    known, shrunk = reading(), small(images)
    like = np.array([likeness(one, known.image, np.ones_like(LUNGS)) for one in shrunk])
    seen = like > LIKE
    read = known.offsets + (_standard(shrunk) - known.mean) @ known.slopes
    found: dict[str, Floats] = {
        name: np.where(seen, column, np.nan) for name, column in zip(READ, read.T, strict=True)
    }
    none = shadows(SIDE if images.shape[1] < 2 * SIDE else 2 * SIDE)
    answers = (_answers(shrunk - none.image, none.filters) - none.answer) / none.deviation
    strongest = np.where(LUNGS, answers, -np.inf).max(axis=(2, 3))
    nodule = strongest.max(axis=1) > STANDS_OUT
    found["lesion"] = np.where(seen, nodule, np.nan).astype(float)
    found["radius"] = np.where(seen & nodule, np.array(RADII)[strongest.argmax(axis=1)], np.nan)
    return found


@cache
def reading() -> Reading:
    """Return what phantoms of known truth teach, drawn once a process."""
    drawn = draw_phantoms("chest_xray", range(TAUGHT_ON, TAUGHT_ON + TAUGHT), size=SIDE)
    images = small(drawn.images)
    read = _standard(images)
    mean = read.mean(axis=0)
    centred = read - mean
    truth = np.stack([drawn.parameters[name] for name in READ], axis=1)
    offsets = truth.mean(axis=0)
    # The dual form: as many equations as phantoms, not as pixels.
    dual = np.linalg.solve(centred @ centred.T + RIDGE * np.eye(TAUGHT), truth - offsets)
    return Reading(mean, centred.T @ dual, offsets, images.mean(axis=0))


@cache
def shadows(size: int) -> Shadows:
    """Return how nodule-free phantoms answer; ribs are sharper in those of 128 pixels."""
    seeds = range(TAUGHT_ON + TAUGHT, TAUGHT_ON + TAUGHT + FREE)
    drawn = draw_phantoms("chest_xray", seeds, size=size, condition={"nodule": False})
    without = small(drawn.images)
    image = without.mean(axis=0)
    spectrum = (np.abs(np.fft.fft2((without - image) * WINDOW)) ** 2).mean(axis=0)
    filters = _matched(spectrum + spectrum.mean() * 1e-3)
    answers = _answers(without - image, filters)
    deviation = ndi.gaussian_filter(answers.std(axis=0), (0, 1, 1))
    return Shadows(image, filters, answers.mean(axis=0), deviation)


def _matched(spectrum: Floats) -> NDArray[np.complex128]:
    filters = []
    for radius in RADII:
        ball = np.sqrt(np.clip(1 - (R / radius) ** 2, 0, 1))  # the path through it
        shape = np.conj(np.fft.fft2(np.fft.ifftshift(ball)))
        filters.append(shape / spectrum / np.sqrt((np.abs(shape) ** 2 / spectrum).sum()) * SIDE)
    return np.stack(filters)


def _answers(images: Floats, filters: NDArray[np.complex128]) -> Floats:
    """Return what each filter answers at each place, [N, radii, 64, 64]."""
    turned = np.fft.fft2(images * WINDOW)
    return np.stack([np.fft.ifft2(turned * one).real for one in filters], axis=1)


def _standard(images: Floats) -> Floats:
    """Return images blurred, every other pixel, each with mean 0 and deviation 1: [N, 1024]."""
    flat = ndi.gaussian_filter(images, (0, 1, 1))[:, ::2, ::2].reshape(len(images), -1)
    spread = np.maximum(flat.std(axis=1, keepdims=True), 1e-6)
    return np.asarray((flat - flat.mean(axis=1, keepdims=True)) / spread)
