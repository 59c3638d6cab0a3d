"""From a generated image to the training image that it resembles most, and how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.alignment import align, warped
from medgan_widgets.memorisation.individual import Individual
from medgan_widgets.memorisation.pixels import Floats, bars, flipped, shrunk
from medgan_widgets.memorisation.search import FLIPS, POSES, Index
from medgan_widgets.memorisation.tuning import LEAST_FIT, LOOKS, PAIRS, SIDE, SPECTRUM_IMAGES


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest training image of each of some generated images, [n] each."""

    rows: NDArray[np.intp]  # which training image
    likeness: Floats  # correlation of what is individual in both, -1 … 1
    flips: NDArray[np.intp]  # how the generated image was flipped, as in `flipped`
    poses: Floats  # which part of the training image it shows, as in `alignment.matrices`, [n, 5]


@dataclass(frozen=True, eq=False)
class Matcher:
    """Training images, ready to be searched."""

    images: NDArray[np.uint8]  # [N, 64, 64], grey
    index: Index
    individuals: tuple[Individual, ...]  # at the sizes of `LOOKS`
    aspect: float = 1.0  # width over height of the images before they were made square

    @classmethod
    def of(cls, images: NDArray[np.uint8], aspect: float = 1.0) -> Matcher:
        """Make training images, uint8 [N, 64, 64], ready."""
        count = min(len(images), SPECTRUM_IMAGES)
        rows = np.unique(np.linspace(0, len(images) - 1, count).astype(int))
        some = images[rows].astype(np.float32)
        individuals = tuple(Individual.of(shrunk(some, side)) for side, _, _ in LOOKS)
        return cls(images, Index.of(images, aspect), individuals, aspect)

    def nearest(self, images: Floats, without: NDArray[np.bool_] | None = None) -> Nearest:
        """Return the nearest training images of a few images, float32 [n, 64, 64].

        ``without`` says for each image which training images do not count: [n, N].
        """
        count = len(images)
        turned = np.concatenate([flipped(images, flip) for flip in range(FLIPS)])
        empty = bars(turned)  # what stands there instead is likeliest the usual
        filled = np.where(empty, self.individuals[-1].usual, turned)
        rows, flips, poses = self.index.candidates(filled, without)
        for look, (side, _, most) in enumerate(LOOKS):
            which = np.repeat(np.arange(count), len(rows) // count) + count * flips
            small, clear = shrunk(turned, side), 1 - shrunk(empty.astype(np.float32), side)
            poses, likeness = self._compared(small, clear, which, rows, poses, look)
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

    def _compared(
        self,
        generated: Floats,
        clear: Floats,
        which: NDArray[np.intp],
        rows: NDArray[np.intp],
        poses: Floats,
        look: int,
    ) -> tuple[Floats, Floats]:
        """Lay training images over generated ones; return poses, and how alike they are then."""
        side, steps, _ = LOOKS[look]
        likeness, poses = np.empty(len(rows), np.float32), poses.copy()
        individual = self.individuals[look]
        for start in range(0, len(rows), PAIRS):
            part = slice(start, start + PAIRS)
            fixed = generated[which[part]]
            moving = shrunk(self.images[rows[part]].astype(np.float32), side)
            poses[part], fit = align(
                fixed, moving, clear[which[part]], poses[part], steps, self.aspect
            )
            laid, mask = warped(moving, poses[part], self.aspect)
            alike = individual.likeness(fixed, _toned(fixed, laid, mask), mask)
            if side == SIDE:
                # In full size, also as it would be unmoved.
                plain = individual.likeness(fixed, _toned(fixed, moving, np.ones_like(mask)))
                poses[part] = np.where((plain >= alike)[:, None], POSES[0], poses[part])
                alike = np.maximum(plain, alike)
                # Noise is like anything in the few frequencies that stand out; not in pixels.
                alike = np.where(fit < LEAST_FIT, np.minimum(fit, alike), alike)
            likeness[part] = alike
        return poses, likeness


def _toned(fixed: Floats, laid: Floats, mask: Floats) -> Floats:
    """Return images [n, S, S] with their contrast bent to be like that of others, in the mask.

    A parabola does it, which is close to any power of 0.8 to 1.25.
    """
    grey = laid.reshape(len(laid), -1) / 255
    target = fixed.reshape(len(fixed), -1)
    powers = np.stack([np.ones_like(grey), grey, grey**2], 1)
    weighed = powers * mask.reshape(len(laid), 1, -1)
    normal = powers @ weighed.transpose(0, 2, 1) + 1e-3 * np.eye(3, dtype=np.float32)
    curve = np.linalg.solve(normal, weighed @ target[..., None])
    return np.asarray((curve * powers).sum(axis=1).reshape(laid.shape), np.float32)
