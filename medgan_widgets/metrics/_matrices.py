"""Feature matrices: checked once, read by the block, drawn by the group."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgan_widgets.errors import DataError

Features = NDArray[Any]  # [N, D], of any real numbers; may lie in a file
Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

LARGEST = 1e100  # squares and their sums stay far from the end of float64
BLOCK = 2**22  # numbers in one block: 32 MiB of float64


def checked(
    features: ArrayLike, which: str, *, least: int = 2, largest: float = LARGEST
) -> Features:
    """Return the features as they are where they are an array: a file stays a file."""
    if hasattr(features, "detach"):  # a tensor with a gradient, or on a GPU, is no array itself
        features = features.detach().cpu()
    try:
        matrix = features if isinstance(features, np.ndarray) else np.asarray(features)
        if matrix.dtype.kind not in "fiub":
            if matrix.dtype.kind != "O":
                raise TypeError("no real numbers")
            matrix = matrix.astype(np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{which} features must be rows of numbers, all as long.") from None
    if matrix.ndim != 2 or len(matrix) < least or not matrix.shape[1]:
        one = " (one number an image? give them as a column, [N, 1])" if matrix.ndim == 1 else ""
        raise DataError(
            f"{which} features must be [N, D] with at least {least} rows, got {matrix.shape}{one}."
        )
    _check_values(matrix, which, largest)
    return matrix


def checked_pair(
    real: ArrayLike, fake: ArrayLike, *, least: int = 2, largest: float = LARGEST
) -> tuple[Features, Features]:
    """Return both sides checked, and of one length of features."""
    first = checked(real, "real", least=least, largest=largest)
    second = checked(fake, "fake", least=least, largest=largest)
    check_same_length(first.shape[1], second.shape[1])
    return first, second


def check_same_length(first: int, second: int) -> None:
    """Refuse features of two lengths."""
    if first != second:
        raise DataError(
            f"features differ in length: {first} and {second}; use one extractor for both."
        )


def blocks(matrix: Features, rows: Rows | None = None, size: int | None = None) -> Iterator[Floats]:
    """Yield the rows, or some of them, as float64 blocks of some 32 MiB at most."""
    count = len(matrix) if rows is None else len(rows)
    step = size or max(1, min(4096, BLOCK // max(1, matrix.shape[1])))
    for start in range(0, count, step):
        some = slice(start, start + step) if rows is None else rows[start : start + step]
        yield np.ascontiguousarray(matrix[some], np.float64)


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
    known: dict[Hashable, int] = {}
    keys = ((row, None) if one is None or one != one else one for row, one in enumerate(groups))
    return np.array([known.setdefault(key, len(known)) for key in keys], np.intp)


def in_random_order(groups: Rows, random: np.random.Generator) -> tuple[Rows, Rows]:
    """Return all rows, groups in random order and each in one piece, and where each one ends."""
    ranks = random.permutation(int(groups.max()) + 1)[groups]
    return np.argsort(ranks, kind="stable"), np.bincount(ranks).cumsum()


def some_groups(groups: Rows, size: int, random: np.random.Generator) -> Rows:
    """Return ``size`` rows: whole groups by chance, but for the last one."""
    return np.sort(in_random_order(groups, random)[0][:size])


def _check_values(matrix: Features, which: str, largest: float) -> None:
    # One that is not finite is at one of the ends, so two quick looks find it.
    ends = np.array([matrix.min(), matrix.max()], np.float64)
    if not np.isfinite(ends).all():
        bad = sum(int((~np.isfinite(block).all(axis=1)).sum()) for block in blocks(matrix))
        raise DataError(
            f"{which} features hold values that are not finite in {bad} of {len(matrix)} rows; "
            "leave those images out, or see what the extractor does with them."
        )
    if np.abs(ends).max() > largest:
        raise DataError(
            f"{which} features hold values above {largest:g}, too large to square; "
            "divide both sides by one number."
        )
