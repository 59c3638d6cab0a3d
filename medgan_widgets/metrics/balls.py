"""Precision, recall, density, coverage: who lies in whose neighbourhood.

Around every point of one set lies a ball that reaches to its k-th nearest neighbour in
the same set; the figures count which points of the other set lie in which balls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.metrics._matrices import BLOCK, Features, Floats, Rows, blocks, checked_pair

PRECISION_K = 3
DENSITY_K = 5
MOST_PAIRS = 2**23  # some 130 MiB of them
SAME = 1e-12  # squared distances below this share of the squared lengths are rounding
EDGE = 1 + 1e-9  # at the rim but for rounding is inside


def precision_recall(
    real: ArrayLike, fake: ArrayLike, *, k: int = PRECISION_K
) -> tuple[float, float]:
    """Return the improved precision and recall of features [N, D], each 0 to 1.

    Precision is the share of fakes within the ball of a real, recall the share of
    reals within the ball of a fake; balls reach to the k-th nearest neighbour of their
    own set (Kynkäänniemi 2019).

    Raises
    ------
    DataError
        When a side has fewer than k + 1 rows, or holds values that are not finite.

    Examples
    --------
    >>> real = np.random.default_rng(0).standard_normal((200, 4))
    >>> precision_recall(real, real + 10)
    (0.0, 0.0)
    """
    first, second = _checked(real, fake, k)
    return Balls.around(first, second, k).figures[0], Balls.around(second, first, k).figures[0]


def density_coverage(
    real: ArrayLike, fake: ArrayLike, *, k: int = DENSITY_K
) -> tuple[float, float]:
    """Return density and coverage of features [N, D].

    Density is how many balls of reals a fake lies in, over k: 1 for equal sets, more
    where fakes crowd (so it may exceed 1). Coverage, 0 to 1, is the share of reals with a
    fake in their ball (Naeem 2020).

    Raises
    ------
    DataError
        When the reals are fewer than k + 1, or values are not finite.

    Examples
    --------
    >>> real, fake = np.random.default_rng(0).standard_normal((2, 500, 4))
    >>> density, coverage = density_coverage(real, fake)
    >>> 0.9 < density < 1.1, coverage > 0.9
    (True, True)
    """
    first, second = _checked(real, fake, k)
    return Balls.around(first, second, k).figures[1:]


def _checked(real: ArrayLike, fake: ArrayLike, k: int) -> tuple[Features, Features]:
    if not isinstance(k, int) or k < 1:
        raise DataError(f"k must be a whole number from 1, got {k!r}.")
    return checked_pair(real, fake, least=k + 1)


@dataclass(frozen=True)
class Balls:
    """Balls around one set of points, and which points of another lie in them.

    ``figures``: the share of the others that lie in any ball; balls that an other lies in, on
    average, over k; the share of the balls with any other in them.
    """

    k: int
    figures: tuple[float, float, float]
    _centres: Features
    _others: Features
    _near: Floats  # [n, depth], squared distances to the nearest of the own set, ascending
    _which: Rows  # [n, depth], who they are
    _pairs: tuple[Rows, Rows, Floats] | None  # ball, other, squared distance

    @classmethod
    def around(cls, centres: Features, others: Features, k: int) -> Balls:
        """Look at all pairs once, by the block.

        More neighbours than k are kept (``depth``), and all others up to the farthest of
        them: enough to know the balls of any half of the centres, which are wider.
        """
        middle = np.mean([block.mean(axis=0) for block in blocks(centres)], axis=0)
        depth = min(len(centres) - 1, 4 * k + 12)
        near = np.empty((len(centres), depth))
        which = np.empty((len(centres), depth), np.intp)
        covered, hit = np.zeros(len(others), bool), np.zeros(len(centres), bool)
        total, kept, found = 0, 0, []
        step = max(1, BLOCK // max(len(centres), len(others)))
        start = 0
        for block in blocks(centres, size=step):
            rows = slice(start, start + len(block))
            own = _squared(block - middle, centres, middle)
            own[np.arange(len(block)), np.arange(start, start + len(block))] = np.inf
            which[rows], near[rows] = _nearest(own, depth)
            across = _squared(block - middle, others, middle)
            inside = across <= near[rows, k - 1, None] * EDGE
            covered |= inside.any(axis=0)
            hit[rows] = inside.any(axis=1)
            total += int(inside.sum())
            wider = across <= near[rows, -1, None] * EDGE
            kept += int(wider.sum())
            if kept <= MOST_PAIRS:
                ball, other = np.nonzero(wider)
                found.append((ball + start, other, across[ball, other]))
            else:
                found = []  # nearly all alike: too many to keep
            start += len(block)
        pairs = None
        if kept <= MOST_PAIRS:
            ball, other, far = (np.concatenate(part) for part in zip(*found, strict=True))
            pairs = ball, other, far
        return cls(
            k=k,
            figures=(float(covered.mean()), total / (k * len(others)), float(hit.mean())),
            _centres=centres,
            _others=others,
            _near=near,
            _which=which,
            _pairs=pairs,
        )

    def of_rows(self, some: Rows, others: Rows) -> tuple[float, float, float]:
        """Return the figures of some centres and others only."""
        if self._pairs is None or 3 * len(some) < len(self._centres):  # too few neighbours kept
            few = self._centres[some], self._others[others]
            return Balls.around(*few, self.k).figures
        mine, theirs = (
            np.bincount(rows, minlength=len(side)) > 0
            for rows, side in ((some, self._centres), (others, self._others))
        )
        radius = self._radii(mine)
        ball, other, far = self._pairs
        inside = mine[ball] & theirs[other] & (far <= radius[ball] * EDGE)
        covered = np.count_nonzero(np.bincount(other[inside], minlength=len(theirs)))
        hit = np.count_nonzero(np.bincount(ball[inside], minlength=len(mine)))
        density = np.count_nonzero(inside) / (self.k * len(others))
        return covered / len(others), density, hit / len(some)

    def _radii(self, mine: NDArray[np.bool_]) -> Floats:
        """Return how far each ball reaches when only some centres are there.

        With half of them, fewer than k of the 4 k + 12 kept neighbours remain in one of
        50,000 cases; the farthest kept one stands in.
        """
        seen = mine[self._which].cumsum(axis=1)
        reached = seen >= self.k
        place = np.where(reached.any(axis=1), reached.argmax(axis=1), self._near.shape[1] - 1)
        return np.asarray(np.take_along_axis(self._near, place[:, None], axis=1)[:, 0])


def _squared(points: Floats, others: Features, middle: Floats) -> Floats:
    """Return squared distances [n, m]; what is only rounding is 0."""
    found = np.empty((len(points), len(others)))
    lengths = (points**2).sum(axis=1)
    start = 0
    for block in blocks(others):
        rest = block - middle
        sums = lengths[:, None] + (rest**2).sum(axis=1)
        squares = points @ rest.T
        squares *= -2
        squares += sums
        squares[squares <= SAME * sums] = 0.0
        found[:, start : start + len(rest)] = squares
        start += len(rest)
    return found


def _nearest(squares: Floats, depth: int) -> tuple[Rows, Floats]:
    which = np.argpartition(squares, depth - 1, axis=1)[:, :depth]
    near = np.take_along_axis(squares, which, axis=1)
    order = np.argsort(near, axis=1)
    return np.take_along_axis(which, order, axis=1), np.take_along_axis(near, order, axis=1)
