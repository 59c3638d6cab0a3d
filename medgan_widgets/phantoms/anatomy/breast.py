"""Measuring mammograms: density and spread by moments, a mass by a matched filter.

Tissue has a spectrum of 1 / f^beta (Burgess 1999), so a mass stands out in an
image whose spectrum is made flat first; then it is correlated with masses of
many radii. The exponent beta itself is drawn from 2.6 to 3.4 and cannot be read
back well from one region (correlation about 0.7), so it is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.phantoms.anatomy.frame import SIDE, Floats, R, X, Y, small

RADII = np.linspace(0.09, 0.28, 12)
STANDS_OUT = 16.2  # times the flattened image's median; found on phantoms
EDGE = 0.16  # how soft a mass is at its border, in radii
PLACES = (np.abs(X) < 0.4) & (np.abs(Y) < 0.4)
CYCLES: Floats = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE) * SIDE, np.fft.fftfreq(SIDE) * SIDE))
# f^2.5 flattens tissue; above a quarter of the sampling there is only noise.
FLAT: Floats = np.where(CYCLES > 0, np.maximum(CYCLES, 1.0) ** 2.5, 0.0)
FLAT = FLAT / (1 + (CYCLES / (SIDE * 0.22)) ** 8)


def measured_breasts(images: NDArray[Any]) -> dict[str, Floats]:
    """Return the anatomy of mammograms uint8 [N, H, W]; see ``measure_anatomy``."""
    shrunk = small(images)
    seen = shrunk.std(axis=(1, 2)) > 1 / 255
    turned = np.fft.fft2(shrunk)
    flat = np.fft.ifft2(turned * np.sqrt(FLAT)).real
    quiet = np.maximum(np.median(np.abs(flat), axis=(1, 2)), 1e-9)
    strongest = np.stack([_answer(turned, radius) for radius in RADII], axis=1)
    mass = strongest.max(axis=1) / quiet > STANDS_OUT
    return {
        "density": np.where(seen, np.median(shrunk, axis=(1, 2)), np.nan),
        "spread": np.where(seen, shrunk.std(axis=(1, 2)), np.nan),
        "lesion": np.where(seen, mass, np.nan).astype(float),
        "radius": np.where(seen & mass, RADII[strongest.argmax(axis=1)], np.nan),
    }


def _answer(turned: NDArray[np.complex128], radius: float) -> Floats:
    """Return the strongest answer of each image to a mass of one radius, [N]."""
    mass = 1 / (1 + np.exp(np.clip((R - radius) / (EDGE * radius), -30, 30)))
    shape = np.fft.fft2(np.fft.ifftshift(mass))
    matched = FLAT * np.conj(shape) / np.sqrt((FLAT * np.abs(shape) ** 2).sum()) * SIDE
    answers = np.fft.ifft2(turned * matched).real
    strongest: Floats = np.where(PLACES, answers, -np.inf).max(axis=(1, 2))
    return strongest
