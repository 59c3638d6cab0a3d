"""From a generated image to the training image that it resembles most, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.alignment import align, warped
from medgan_widgets.memorisation.individual import LEARN_FROM, Individual
from medgan_widgets.memorisation.pixels import SIDE, Floats, flipped, sampling
from medgan_widgets.memorisation.search import PARTS, Index

AT_ONCE = 64  # generated images
FINE = 8  # pairs an image that are looked at in full
HALF = 32  # pixels a side for a first look


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training image of each of some images, [n] each.

    Attributes
    ----------
    rows
        Which training image.
    likeness
        Correlation of what is individual in both, -1 … 1.
    flips
        How the generated image was flipped: bit 1 left-right, bit 2 top-bottom.
    parts
        Which part of the training image it shows: top, height, left, width, [n, 4].
    """

    rows: NDArray[np.intp]
    likeness: Floats
    flips: NDArray[np.intp]
    parts: Floats


@dataclass(frozen=True, eq=False)
class Matcher:
    """Training images, made ready for being searched.

    Attributes
    ----------
    images
        uint8 [N, 64, 64], grey.
    """

    images: NDArray[np.uint8]
    index: Index
    individual: Individual
    roughly: Individual

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Matcher:
        """Make training images, uint8 [N, 64, 64], ready."""
        rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), LEARN_FROM)).astype(int))
        some = images[rows].astype(np.float32)
        roughly = Individual.of(_shrunk(some, HALF))
        return cls(images, Index.of(images), Individual.of(some), roughly)

    def nearest(self, images: Floats, without: NDArray[np.bool_] | None = None) -> Nearest:
        """Return the nearest training images of a few images, float32 [n, 64, 64].

        ``without`` says for each image which training images do not count: [n, N].
        """
        found = self.index.candidates(images, without)
        count, kept = found.rows.shape
        rows, flips = found.rows.ravel(), found.flips.ravel()
        which = np.repeat(np.arange(count), kept)
        parts, fit = self._coarse(images, which, rows, flips, found.parts.reshape(-1, 4))
        fine = min(FINE, kept)
        top = np.argsort(-fit.reshape(count, kept), axis=1, kind="stable")[:, :fine]
        take = (top + np.arange(count)[:, None] * kept).ravel()
        rows, flips, which = rows[take], flips[take], which[take]
        parts, likeness = self._fine(images, which, rows, flips, parts[take])
        if without is not None:  # with very few images it is among the candidates all the same
            likeness[without[which, rows]] = -1
        best = likeness.reshape(count, fine).argmax(axis=1) + np.arange(count) * fine
        return Nearest(rows[best], likeness[best], flips[best], parts[best])

    def _coarse(
        self,
        images: Floats,
        which: NDArray[np.intp],
        rows: NDArray[np.intp],
        flips: NDArray[np.intp],
        parts: Floats,
    ) -> tuple[Floats, Floats]:
        """Align all candidates at half the size, a few hundred pairs at a time."""
        turned = np.stack([flipped(images, flip) for flip in range(4)], 1).reshape(-1, SIDE, SIDE)
        quarter, half = _shrunk(turned, HALF // 2), _shrunk(turned, HALF)
        fits = np.empty(len(rows), np.float32)
        found = parts.copy()
        for start in range(0, len(rows), 512):
            some = slice(start, start + 512)
            fixed = which[some] * 4 + flips[some]
            whole = self.images[rows[some]].astype(np.float32)
            moving = _shrunk(whole, HALF // 2)
            found[some], _ = align(quarter[fixed], moving, found[some], steps=4)
            moving = _shrunk(whole, HALF)
            found[some], _ = align(half[fixed], moving, found[some], steps=3)
            fits[some] = self.roughly.likeness(half[fixed], warped(moving, found[some]))
        return found, fits

    def _fine(
        self,
        images: Floats,
        which: NDArray[np.intp],
        rows: NDArray[np.intp],
        flips: NDArray[np.intp],
        parts: Floats,
    ) -> tuple[Floats, Floats]:
        """Align the best few in full, as they are and as they would be uncropped."""
        whole = self.images[rows].astype(np.float32)
        turned = np.stack([flipped(images, flip) for flip in range(4)], 1)[which, flips]
        parts, _ = align(turned, whole, parts, steps=4)
        likeness = self.individual.likeness(turned, warped(whole, parts))
        plain = self.individual.likeness(turned, whole)
        uncropped = plain >= likeness
        parts = np.where(uncropped[:, None], PARTS[0], parts)
        return parts, np.maximum(plain, likeness)


def _shrunk(images: Floats, side: int) -> Floats:
    rows = sampling(0.0, 1.0, side, SIDE)
    return np.asarray(rows @ images @ rows.T, np.float32)
