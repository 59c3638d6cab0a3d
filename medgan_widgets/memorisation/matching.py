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
PAIRS = 512  # laid over each other at a time
# Candidates are looked at three times: pixels a side, steps of the alignment, and how many
# of an image's candidates go on from there.
LOOKS = ((16, 4, 32), (32, 4, 10), (SIDE, 4, 1))


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
    """Training images, ready to be searched.

    Attributes
    ----------
    images
        uint8 [N, 64, 64], grey.
    index
        Finds candidates.
    individuals
        What is individual in an image, at the sizes of ``LOOKS``.
    """

    images: NDArray[np.uint8]
    index: Index
    individuals: tuple[Individual, ...]

    @classmethod
    def of(cls, images: NDArray[np.uint8]) -> Matcher:
        """Make training images, uint8 [N, 64, 64], ready."""
        rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), LEARN_FROM)).astype(int))
        some = images[rows].astype(np.float32)
        individuals = tuple(Individual.of(_shrunk(some, side)) for side, _, _ in LOOKS)
        return cls(images, Index.of(images), individuals)

    def nearest(self, images: Floats, without: NDArray[np.bool_] | None = None) -> Nearest:
        """Return the nearest training images of a few images, float32 [n, 64, 64].

        ``without`` says for each image which training images do not count: [n, N].
        """
        found = self.index.candidates(images, without)
        count = len(images)
        turned = np.stack([flipped(images, flip) for flip in range(4)], 1).reshape(-1, SIDE, SIDE)
        rows, flips, parts = found.rows.ravel(), found.flips.ravel(), found.parts.reshape(-1, 4)
        for look, (side, _, most) in enumerate(LOOKS):
            which = np.repeat(np.arange(count), len(rows) // count) * 4 + flips
            parts, likeness = self._looked(_shrunk(turned, side), which, rows, parts, look)
            if without is not None:  # with few images they are among the candidates all the same
                likeness[without[which // 4, rows]] = -1
            values = likeness.reshape(count, -1)
            top = np.argsort(-values, axis=1, kind="stable")[:, :most]
            take = (top + np.arange(count)[:, None] * values.shape[1]).ravel()
            rows, flips, parts, likeness = rows[take], flips[take], parts[take], likeness[take]
        return Nearest(rows, likeness, flips, parts)

    def pairs(self, rows: NDArray[np.intp], others: NDArray[np.intp]) -> Floats:
        """Return how alike training images are to others of them, as they are: [n]."""
        two = (self.images[which].astype(np.float32) for which in (rows, others))
        return self.individuals[-1].likeness(*two)

    def _looked(
        self,
        generated: Floats,
        which: NDArray[np.intp],
        rows: NDArray[np.intp],
        parts: Floats,
        look: int,
    ) -> tuple[Floats, Floats]:
        """Lay training images over generated ones, and say how alike they are then."""
        side, steps, _ = LOOKS[look]
        likeness = np.empty(len(rows), np.float32)
        found = parts.copy()
        for start in range(0, len(rows), PAIRS):
            some = slice(start, start + PAIRS)
            fixed = generated[which[some]]
            moving = _shrunk(self.images[rows[some]].astype(np.float32), side)
            found[some], _ = align(fixed, moving, found[some], steps)
            individual = self.individuals[look]
            likeness[some] = individual.likeness(*_toned(fixed, warped(moving, found[some])))
            if side == SIDE:  # in full, also as it would be uncropped
                plain = individual.likeness(*_toned(fixed, moving))
                uncropped = plain >= likeness[some]
                found[some] = np.where(uncropped[:, None], PARTS[0], found[some])
                likeness[some] = np.maximum(plain, likeness[some])
        return found, likeness


def _toned(fixed: Floats, shown: Floats) -> tuple[Floats, Floats]:
    """Return pairs [n, S, S] with the second one's contrast bent to be like the first one's.

    A parabola does it, which is close to any power of 0.8 to 1.25.
    """
    grey = shown.reshape(len(shown), -1) / 255
    wanted = fixed.reshape(len(fixed), -1)
    powers = np.stack([np.ones_like(grey), grey, grey**2], 1)
    normal = powers @ powers.transpose(0, 2, 1) + 1e-3 * np.eye(3, dtype=np.float32)
    curve = np.linalg.solve(normal, powers @ wanted[..., None])
    return fixed, (curve * powers).sum(axis=1).reshape(shown.shape)


def _shrunk(images: Floats, side: int) -> Floats:
    if side == images.shape[-1]:
        return images
    rows = sampling(0.0, 1.0, side, images.shape[-1])
    return np.asarray(rows @ images @ rows.T, np.float32)
