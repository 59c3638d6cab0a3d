"""One column at a time: how far each statistic of the images lies from the reals' own.

scipy has both distances for one column (the tests hold these lines against it); here one
sort serves both, for all columns and all halves that an interval needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from medgan_widgets.metrics._matrices import BLOCK, Features, Floats, Rows, checked_pair

TOLD = 5  # columns that are named


@dataclass(frozen=True)
class ColumnDistances:
    """Two distances of each column.

    Attributes
    ----------
    ks
        Largest gap of the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1, [D].
    wasserstein
        How far values must be moved on average to turn one set into the other, in
        standard deviations of the reals, [D]; NaN where the reals are constant.
    """

    ks: Floats
    wasserstein: Floats


def distribution_distances(real: ArrayLike, fake: ArrayLike) -> ColumnDistances:
    """Return the Kolmogorov-Smirnov and the Wasserstein distance of each column of [N, D].

    Raises
    ------
    DataError
        When a side is not [N, D] with at least 2 rows of finite values.

    Examples
    --------
    >>> real = np.random.default_rng(0).standard_normal((500, 2))
    >>> found = distribution_distances(real, real + [0.0, 1.0])
    >>> found.ks.round(1).tolist(), found.wasserstein.round(1).tolist()
    ([0.0, 0.4], [0.0, 1.0])
    """
    first, second = checked_pair(real, fake)
    ks, wasserstein = distances_of_rows(first, second, [None])
    return ColumnDistances(ks[0], wasserstein[0])


def columns_apart(
    real: Features, fake: Features
) -> tuple[tuple[tuple[str, float], ...], dict[str, float]]:
    """Return the five columns that differ most, and each family's share of all squares.

    In means apart over the pooled standard deviation; in columns that stand still, over the
    phantoms' own, which is 1 in these features.
    """
    from medgan_widgets.features.canonical import canonical_families  # this needs torch

    family = canonical_families()
    first, second = (np.asarray(side, np.float64) for side in (real, fake))
    pooled = np.sqrt((first.var(axis=0, ddof=1) + second.var(axis=0, ddof=1)) / 2)
    apart = (second.mean(axis=0) - first.mean(axis=0)) / np.where(pooled > 1e-9, pooled, 1.0)
    total = float((apart**2).sum())
    if len(family) != len(apart) or total == 0:
        return (), {}
    shares = dict.fromkeys(family.values(), 0.0)
    for name, value in zip(family, apart, strict=True):
        shares[family[name]] += float(value**2) / total
    found = sorted(zip(family, apart.tolist(), strict=True), key=lambda one: -abs(one[1]))
    return tuple(found[:TOLD]), shares


def distances_of_rows(
    real: Features, fake: Features, subsets: Sequence[tuple[Rows, Rows] | None]
) -> tuple[Floats, Floats]:
    """Return both distances of each subset, [S, D]; None is all rows."""
    shares = [_share(len(real), rows and rows[0]) for rows in subsets]
    others = [_share(len(fake), rows and rows[1]) for rows in subsets]
    # Reals weigh upwards and fakes downwards: the running sum is the gap of the two curves.
    weights = np.concatenate([np.stack(shares), -np.stack(others)], axis=1)
    found = np.empty((2, len(weights), real.shape[1]))
    step = max(1, BLOCK // 8 // weights.shape[1])
    for start in range(0, real.shape[1], step):
        columns = slice(start, start + step)
        values = np.concatenate([real[:, columns], fake[:, columns]]).astype(np.float64)
        reals = np.asarray(real[:, columns], np.float64)
        # By the range: the deviation of equal values need not come out as 0.
        varied = reals.max(axis=0) > reals.min(axis=0)
        scale = np.where(varied, reals.std(axis=0, ddof=1), 0.0)
        order = np.argsort(values, axis=0, kind="stable")
        ordered = np.take_along_axis(values, order, axis=0)
        steps = np.diff(ordered, axis=0)
        for place, weight in enumerate(weights):
            gap = np.abs(weight[order].cumsum(axis=0)[:-1])
            # Between equal values there is no gap to be seen, however they were sorted.
            found[0, place, columns] = np.minimum(np.where(steps > 0, gap, 0.0).max(axis=0), 1.0)
            moved = (gap * steps).sum(axis=0)
            constant = np.full(len(scale), np.nan)
            found[1, place, columns] = np.divide(moved, scale, out=constant, where=scale > 0)
    return found[0], found[1]


def _share(count: int, rows: Rows | None) -> Floats:
    return (
        np.full(count, 1 / count)
        if rows is None
        else np.bincount(rows, minlength=count) / len(rows)
    )
