"""What is individual in an image: all that the training images do not have in common.

Medical images of one kind resemble each other, so plain pixel distances say little. Here
an image is written in cosines (DCT), what all training images share is projected out,
and each spatial frequency is weighted as by Wiener's filter and whitened: S / (S + noise),
over the square root of S, its mean power among them. Two unrelated images then have little
in common, and copies nearly all, also noisy ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import dctn

from medgan_widgets.memorisation.pixels import Floats, is_flat
from medgan_widgets.memorisation.tuning import SHARED, SPECTRUM_IMAGES, WHITENING_NOISE


@dataclass(frozen=True, eq=False)
class Individual:
    """Turns small grey images into vectors of what is individual in them."""

    weights: Floats  # one a frequency, [S, S]
    shared: Floats  # orthonormal directions that are left out, [..., S * S]
    usual: Floats  # the mean image: stands where two images are not to be compared, [S, S]

    @classmethod
    def of(cls, images: Floats) -> Individual:
        """Learn it from training images, float32 [N, S, S]; a few hundred are enough."""
        rows = np.linspace(0, len(images) - 1, min(len(images), SPECTRUM_IMAGES)).astype(int)
        spectra = _cosines(images[np.unique(rows)])
        mean = spectra.mean(axis=0)
        power = _along_rings(np.square(spectra - mean).mean(axis=0))
        power[0, 0] = power[0, 1]  # brightness is left out
        weights = (np.sqrt(power) / (power + WHITENING_NOISE**2)).astype(np.float32)
        common = [(mean * weights).reshape(1, -1)]
        if count := min(SHARED, len(spectra) // 25):  # fewer images share directions by chance
            about_mean = (spectra * weights).reshape(len(spectra), -1) - common[0]
            common.append(np.linalg.svd(about_mean, full_matrices=False)[2][:count])
        shared, _ = np.linalg.qr(np.concatenate(common).T)
        usual = np.asarray(images.mean(axis=0), np.float32)
        return cls(weights, np.ascontiguousarray(shared.T, np.float32), usual)

    def likeness(self, generated: Floats, training: Floats, mask: Floats | None = None) -> Floats:
        """Return how alike pairs of images [n, S, S] are, correlation -1 … 1, float32 [n].

        Each pair is compared in the frequencies in which the training image, the one without
        added noise, stands out from noise, and where ``mask`` [n, S, S] is 1. Flat images
        are like nothing.
        """
        vectors, known = [
            self._vectors(images if mask is None else self.usual + mask * (images - self.usual))
            for images in (generated, training)
        ]
        gain = self._gains(known)
        vectors, known = vectors * gain, known * gain
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(known, axis=1)
        lengths[is_flat(generated) | is_flat(training)] = np.inf
        return np.asarray((vectors * known).sum(axis=1) / np.maximum(lengths, 1e-12), np.float32)

    def _vectors(self, images: Floats) -> Floats:
        found = (_cosines(images) * self.weights).reshape(len(images), -1)
        found -= (found @ self.shared.T) @ self.shared
        return found

    def _gains(self, vectors: Floats) -> Floats:
        """Return how far each frequency stands out from noise, 0 … 1, float32 [n, S * S]."""
        ring = _rings(len(self.weights)).ravel()
        rings = int(ring.max()) + 1
        bins = (np.arange(len(vectors))[:, None] * rings + ring).ravel()
        power = np.square(vectors / np.maximum(self.weights.ravel(), 1e-9)).ravel()
        totals = np.bincount(bins, power, len(vectors) * rings).reshape(-1, rings)
        mean = ndimage.uniform_filter1d(totals / np.bincount(ring), 3, axis=1)
        return np.asarray(np.square(mean / (mean + WHITENING_NOISE**2))[:, ring], np.float32)


def _cosines(images: Floats) -> Floats:
    found = dctn(images, axes=(1, 2), norm="ortho")
    found[:, 0, 0] = 0  # brightness is not individual
    return np.asarray(found, np.float32)


def _along_rings(power: Floats) -> Floats:
    """Return the mean power of each spatial frequency, whatever its direction."""
    ring = _rings(len(power))
    totals = np.bincount(ring.ravel(), power.ravel().astype(np.float64))
    return np.asarray((totals / np.bincount(ring.ravel()))[ring], np.float32)


def _rings(side: int) -> NDArray[np.intp]:
    """Return each frequency's distance from none, rounded, [side, side]."""
    step = np.arange(side)
    return np.rint(np.hypot(step[:, None], step[None])).astype(np.intp)
