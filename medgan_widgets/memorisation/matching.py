"""From a generated image to the training image that it resembles most, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.alignment import align, warped
from medgan_widgets.memorisation.individual import LEARN_FROM, Individual
from medgan_widgets.memorisation.pixels import SIDE, Floats, bars, flipped, sampling
from medgan_widgets.memorisation.search import FLIPS, POSES, Index

AT_ONCE = 64  # generated images
LEAST = 0.3  # correlation of pixels below which nothing is a copy
PAIRS = 512  # laid over each other at a time
# Candidates are looked at three times: pixels a side, steps of the alignment, and how many of
# an image's candidates go on from there. In 16 pixels ribs slip by one, and copies are lost.
LOOKS = ((32, 3, 16), (32, 3, 8), (SIDE, 4, 1))


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
    poses
        Which part of the training image it shows: top, height, left, width, turn, [n, 5].
    """

    rows: NDArray[np.intp]
    likeness: Floats
    flips: NDArray[np.intp]
    poses: Floats


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
    aspect
        Width over height of the training images before they were made square.
    """

    images: NDArray[np.uint8]
    index: Index
    individuals: tuple[Individual, ...]
    aspect: float = 1.0

    @classmethod
    def of(cls, images: NDArray[np.uint8], aspect: float = 1.0) -> Matcher:
        """Make training images, uint8 [N, 64, 64], ready."""
        rows = np.unique(np.linspace(0, len(images) - 1, min(len(images), LEARN_FROM)).astype(int))
        some = images[rows].astype(np.float32)
        individuals = tuple(Individual.of(_shrunk(some, side)) for side, _, _ in LOOKS)
        return cls(images, Index.of(images, aspect), individuals, aspect)

    def nearest(self, images: Floats, without: NDArray[np.bool_] | None = None) -> Nearest:
        """Return the nearest training images of a few images, float32 [n, 64, 64].

        ``without`` says for each image which training images do not count: [n, N].
        """
        count = len(images)
        turned = np.concatenate([flipped(images, flip) for flip in range(FLIPS)])
        empty = bars(turned)  # what stands there instead is likeliest the usual
        found = self.index.candidates(np.where(empty, self.individuals[-1].usual, turned), without)
        rows, flips, poses = found.rows.ravel(), found.flips.ravel(), found.poses.reshape(-1, 5)
        for look, (side, _, most) in enumerate(LOOKS):
            which = np.repeat(np.arange(count), len(rows) // count) + count * flips
            seen, clear = _shrunk(turned, side), 1 - _shrunk(empty.astype(np.float32), side)
            poses, likeness = self._looked(seen, clear, which, rows, poses, look)
            if without is not None:  # with few images they are among the candidates all the same
                likeness[without[which % count, rows]] = -1
            values = likeness.reshape(count, -1)
            top = np.argsort(-values, axis=1, kind="stable")[:, :most]
            take = (top + np.arange(count)[:, None] * values.shape[1]).ravel()
            rows, flips, poses, likeness = rows[take], flips[take], poses[take], likeness[take]
        return Nearest(rows, likeness, flips, poses)

    def pairs(self, rows: NDArray[np.intp], others: NDArray[np.intp]) -> Floats:
        """Return how alike training images are to others of them, as they are: [n]."""
        two = (self.images[which].astype(np.float32) for which in (rows, others))
        return self.individuals[-1].likeness(*two)

    def _looked(
        self,
        generated: Floats,
        clear: Floats,
        which: NDArray[np.intp],
        rows: NDArray[np.intp],
        poses: Floats,
        look: int,
    ) -> tuple[Floats, Floats]:
        """Lay training images over generated ones, and say how alike they are then."""
        side, steps, _ = LOOKS[look]
        likeness = np.empty(len(rows), np.float32)
        found = poses.copy()
        individual = self.individuals[look]
        for start in range(0, len(rows), PAIRS):
            some = slice(start, start + PAIRS)
            fixed = generated[which[some]]
            moving = _shrunk(self.images[rows[some]].astype(np.float32), side)
            found[some], fit = align(
                fixed, moving, clear[which[some]], found[some], steps, self.aspect
            )
            shown, mask = warped(moving, found[some], self.aspect)
            likeness[some] = individual.likeness(fixed, _toned(fixed, shown, mask), mask)
            if side == SIDE:  # in full, also as it would be unmoved
                whole = np.ones_like(mask)
                plain = individual.likeness(fixed, _toned(fixed, moving, whole))
                unmoved = plain >= likeness[some]
                found[some] = np.where(unmoved[:, None], POSES[0], found[some])
                likeness[some] = np.maximum(plain, likeness[some])
                # Noise is like anything in the few frequencies that stand out; not in pixels.
                likeness[some] = np.where(
                    fit < LEAST, np.minimum(fit, likeness[some]), likeness[some]
                )
        return found, likeness


def _toned(fixed: Floats, shown: Floats, mask: Floats) -> Floats:
    """Return images [n, S, S] with their contrast bent to be like that of others, in the mask.

    A parabola does it, which is close to any power of 0.8 to 1.25.
    """
    grey = shown.reshape(len(shown), -1) / 255
    wanted = fixed.reshape(len(fixed), -1)
    powers = np.stack([np.ones_like(grey), grey, grey**2], 1)
    weighed = powers * mask.reshape(len(shown), 1, -1)
    normal = powers @ weighed.transpose(0, 2, 1) + 1e-3 * np.eye(3, dtype=np.float32)
    curve = np.linalg.solve(normal, weighed @ wanted[..., None])
    return np.asarray((curve * powers).sum(axis=1).reshape(shown.shape), np.float32)


def _shrunk(images: Floats, side: int) -> Floats:
    if side == images.shape[-1]:
        return images
    rows = sampling(0.0, 1.0, side, images.shape[-1])
    return np.asarray(rows @ images @ rows.T, np.float32)
