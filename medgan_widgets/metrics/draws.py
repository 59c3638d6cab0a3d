"""Which images are drawn together: by chance, and those of one patient in one piece."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from medgan_widgets.errors import DataError
from medgan_widgets.metrics.distances import Rows


def group_of_each(
    groups: Sequence[Hashable] | None, count: int, which: str, what: str = "groups"
) -> Rows:
    """Return a number from 0 for each row, the same for rows of one group.

    A row without a group (None, or NaN as tables have it) stands alone.
    """
    if groups is None:
        return np.arange(count)
    if len(groups) != count:
        raise DataError(
            f"there are {len(groups)} {what} for {count} {which} images; give one each."
        )
    numbers: dict[Hashable, int] = {}
    keys = ((row, None) if g is None or g != g else g for row, g in enumerate(groups))
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.intp)


def some_groups(groups: Rows, size: int, random: np.random.Generator) -> Rows:
    """Return ``size`` rows: whole groups by chance, but for the last one."""
    return np.sort(_in_random_order(groups, random)[0][:size])


def half(groups: Rows, most: float, random: np.random.Generator) -> Rows:
    """Return the rows of half of the groups, or of as many as hold about ``most`` rows."""
    order, ends = _in_random_order(groups, random)
    count = max(1, int(len(ends) * min(1 / 2, most / len(order))))
    return np.sort(order[: ends[count - 1]])


def two_halves(groups: Rows, most: int, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Return two lots of whole groups, as even as groups allow, of ``most`` rows at most."""
    order, ends = _in_random_order(groups, random)
    cut = ends[np.abs(ends[:-1] - len(groups) // 2).argmin()]
    return np.sort(order[:cut][:most]), np.sort(order[cut:][:most])


def _in_random_order(groups: Rows, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Return all rows, groups in random order and each in one piece, and where each one ends."""
    ranks = random.permutation(int(groups.max()) + 1)[groups]
    return np.argsort(ranks, kind="stable"), np.bincount(ranks).cumsum()
