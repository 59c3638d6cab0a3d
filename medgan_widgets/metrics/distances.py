"""The bare distances between two sets of features, in float64.

The tests hold each against torch-fidelity, torchmetrics, scipy or its definition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgan_widgets.errors import DataError

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Draw = tuple[Rows, Rows] | None  # some rows of either side, or all

LARGEST = 1e100  # squares and their sums stay far from the end of float64
LARGEST_CUBED = 1e48  # and so does the sixth power in a kernel
BLOCK = 2**22  # numbers in one block: 32 MiB of float64
POINTS = 15  # subset sizes for the line through FD against 1/n
SUBSETS, SUBSET_ROWS = 100, 1000  # of KID, as its paper has them
PRECISION_K, DENSITY_K = 3, 5  # neighbours, as the papers have them
SAME = 1e-12  # squared distances below this share of the squared lengths are rounding
EDGE = 1 + 1e-9  # at the rim but for rounding is inside


def checked(features: ArrayLike, which: str, *, least: int = 2, largest: float = LARGEST) -> Floats:
    """Return features as float64 [N, D], or refuse them in a sentence."""
    if hasattr(features, "detach"):  # a tensor with a gradient, or on a GPU, is no array itself
        features = features.detach().cpu()
    try:
        matrix = np.asarray(features)
        if matrix.dtype.kind not in "fiubO":
            raise TypeError("no real numbers")
        matrix = matrix.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise DataError(f"{which} features must be rows of numbers, all as long.") from None
    if matrix.ndim != 2 or len(matrix) < least or not matrix.shape[1]:
        hint = " (one number an image? give them as a column, [N, 1])" if matrix.ndim == 1 else ""
        raise DataError(
            f"{which} features must be [N, D] with at least {least} rows, got {matrix.shape}{hint}."
        )
    if bad := int((~np.isfinite(matrix)).any(axis=1).sum()):
        raise DataError(
            f"{which} features hold values that are not finite in {bad} of {len(matrix)} rows; "
            "leave those images out, or see what the extractor does with them."
        )
    if max(matrix.max(), -matrix.min()) > largest:
        raise DataError(
            f"{which} features hold values above {largest:g}, too large to square; "
            "divide both sides by one number."
        )
    return matrix


def checked_pair(
    real: ArrayLike, fake: ArrayLike, *, least: int = 2, largest: float = LARGEST
) -> tuple[Floats, Floats]:
    """Return both sides checked, and of one length of features."""
    first = checked(real, "real", least=least, largest=largest)
    second = checked(fake, "fake", least=least, largest=largest)
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"features differ in length: {first.shape[1]} and {second.shape[1]}; use one "
            "extractor for both."
        )
    return first, second


def frechet_distance(real: ArrayLike, fake: ArrayLike) -> float:
    """Return the Fréchet distance of two Gaussians fitted to features [N, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel 2017). The trace of
    the root is the sum of the singular values of R1 R2^T with R^T R = C, which is exact also for
    fewer rows than columns.

    Examples
    --------
    >>> points = np.random.default_rng(0).standard_normal((100, 3))
    >>> round(frechet_distance(points, points + [1.0, 0, 0]), 6)
    1.0
    """
    return frechet_of_rows(*checked_pair(real, fake))


def frechet_of_rows(first: Floats, second: Floats) -> float:
    """Return the distance of checked features."""
    means, centred, variances, varied = [], [], [], []
    for points in (first, second):
        means.append(points.mean(axis=0))
        centred.append((points - means[-1]) / np.sqrt(len(points) - 1))
        # By the range: the variance of equal values need not come out as 0.
        varied.append(points.max(axis=0) > points.min(axis=0))
        variances.append(np.where(varied[-1], (centred[-1] ** 2).sum(axis=0), 0.0))
    shift, total = means[0] - means[1], sum(map(np.sum, variances))
    # A column that is constant on one side adds nothing to the root, and would make it singular.
    keep = varied[0] & varied[1]
    root = 0.0
    if keep.any():
        product = _root(centred[0], keep) @ _root(centred[1], keep).T
        root = float(np.linalg.svd(product, compute_uv=False).sum())
    return float(max(shift @ shift + total - 2 * root, 0.0))


def _root(centred: Floats, keep: NDArray[np.bool_]) -> Floats:
    """Return R, where R^T R is the covariance of the columns that are kept."""
    kept = centred if keep.all() else centred[:, keep]
    if len(kept) <= kept.shape[1]:  # few rows are a root themselves
        return kept
    covariance = kept.T @ kept
    try:
        return np.asarray(np.linalg.cholesky(covariance).T)
    except np.linalg.LinAlgError:  # singular: columns lean on one another
        values, vectors = np.linalg.eigh(covariance)
        return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def frechet_infinity(
    real: ArrayLike, fake: ArrayLike, *, points: int = POINTS, seed: int = 0
) -> float:
    """Return the Fréchet distance that endless images would have; may be a little below zero.

    The distance of n images is too large by about a constant times 1/n, and the constant
    differs from model to model. It is measured at ``points`` subset sizes from n down to n/8 (but
    not under 2 D, and not above n/2), evenly spaced in 1/n, in up to four subsets without a common
    row at each, and the line through them is read at 1/n = 0. The idea is Chong and Forsyth's
    (2020), who vary the synthetic images only; here both sides shrink alike, so the figure is
    also free of what few reals add. Each side needs 30 rows.

    Examples
    --------
    >>> real, fake = np.random.default_rng(0).standard_normal((2, 400, 8))
    >>> abs(frechet_infinity(real, fake)) < frechet_distance(real, fake)
    True
    """
    first, second = checked_pair(real, fake, least=2 * POINTS)
    if points < 2:
        raise DataError(f"a line needs at least 2 subset sizes, got {points}.")
    random = np.random.default_rng(seed)
    n = min(len(first), len(second))
    smallest = min(max(2 * first.shape[1] / n, 1 / 8), 1 / 2)
    inverse = np.linspace(1, 1 / smallest, points)
    means = []
    for times in inverse:
        parts = [_parts(side, times, min(4, int(times + 1e-9)), random) for side in (first, second)]
        means.append(np.mean([frechet_of_rows(*pair) for pair in zip(*parts, strict=True)]))
    return float(np.polynomial.Polynomial.fit(inverse, means, 1)(0.0))


def _parts(side: Floats, times: float, count: int, random: np.random.Generator) -> list[Floats]:
    size = max(2, int(len(side) / times))
    order = random.permutation(len(side))
    return [side[np.sort(order[i * size : (i + 1) * size])] for i in range(count)]


def kernel_distance(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    subsets: int = SUBSETS,
    size: int | None = None,
    seed: int = 0,
) -> float:
    """Return the kernel distance (KID) of features [N, D]: the mean over random subsets.

    The unbiased squared maximum mean discrepancy (Gretton 2012) under the kernel
    (x.y / D + 1)^3 (Binkowski 2018): it does not depend on n, and comes out a little below zero
    for sets that do not differ. Subsets of ``size`` rows a side (half of the smaller side, at most
    1,000) are drawn by row, so other orders give other figures, apart by chance only.

    Examples
    --------
    >>> real, fake = np.random.default_rng(0).standard_normal((2, 400, 8))
    >>> abs(kernel_distance(real, fake)) < 0.1 < kernel_distance(real, fake + 0.3)
    True
    """
    first, second = checked_pair(real, fake, least=4, largest=LARGEST_CUBED)
    n = min(len(first), len(second))
    size = min(SUBSET_ROWS, n // 2) if size is None else size
    if not 2 <= size <= n or subsets < 1:
        raise DataError(
            f"a kernel distance needs at least 1 subset of 2 to {n} rows, got {subsets} of {size}."
        )
    random = np.random.default_rng(seed)
    rows: list[list[Rows]] = [
        [random.choice(len(side), size, replace=False) for _ in range(subsets)]
        for side in (first, second)
    ]
    return float(kernel_distances(first, second, *rows).mean())


def kernel_distances(
    real: Floats, fake: Floats, some: Sequence[Rows], others: Sequence[Rows]
) -> Floats:
    """Return the kernel distances of subsets that are given by their rows on either side, [S]."""
    m, n = (np.array([len(rows) for rows in side]) for side in (some, others))
    pairs = len(real) ** 2 + len(fake) ** 2 + len(real) * len(fake)
    if len(some) > 1 and pairs > (m**2 + n**2 + m * n).sum():  # small subsets of many rows
        parts = [(real[np.sort(a)], fake[np.sort(b)]) for a, b in zip(some, others, strict=True)]
        return np.concatenate(
            [kernel_distances(a, b, [np.arange(len(a))], [np.arange(len(b))]) for a, b in parts]
        )
    within = _kernel_sums(real, real, some, some) / (m * (m - 1))
    within += _kernel_sums(fake, fake, others, others) / (n * (n - 1))
    return np.asarray(within - 2 * _kernel_sums(real, fake, some, others) / (m * n))


def _kernel_sums(
    first: Floats, second: Floats, some: Sequence[Rows], others: Sequence[Rows]
) -> Floats:
    """Return the kernel summed over each subset, without the diagonal within one side, [S].

    Each pair's kernel is made once for all subsets: some twenty times less work than one by one.
    """
    left, right = (
        np.stack([np.bincount(rows, minlength=len(side)) for rows in subsets]).astype(np.float64)
        for side, subsets in ((first, some), (second, others))
    )
    sums = np.zeros(len(left))
    step = max(1, min(1024, BLOCK // len(second)))
    for start in range(0, len(first), step):
        rows, begin = slice(start, start + step), start if first is second else 0
        base = first[rows] @ second[begin:].T / first.shape[1] + 1
        kernel = base * base * base
        if first is second:  # symmetric: what lies beyond this block stands for its mirror image
            np.fill_diagonal(kernel, 0.0)
            kernel[:, len(kernel) :] *= 2
        sums += ((left[:, rows] @ kernel) * right[:, begin:]).sum(axis=1)
    return sums


def precision_recall(
    real: ArrayLike, fake: ArrayLike, *, k: int = PRECISION_K
) -> tuple[float, float]:
    """Return the improved precision and recall of features [N, D], each 0 to 1.

    Precision is the share of fakes within the ball of a real, recall the share of reals within the
    ball of a fake; balls reach to the k-th nearest neighbour of their own set (Kynkäänniemi 2019).

    Examples
    --------
    >>> real = np.random.default_rng(0).standard_normal((200, 4))
    >>> precision_recall(real, real + 10)
    (0.0, 0.0)
    """
    first, second = _checked_neighbours(real, fake, k)
    inside = [in_balls(*pair, k, [None])[0] for pair in ((first, second), (second, first))]
    return float(inside[0][0]), float(inside[1][0])


def density_coverage(
    real: ArrayLike, fake: ArrayLike, *, k: int = DENSITY_K
) -> tuple[float, float]:
    """Return density and coverage of features [N, D] (Naeem 2020).

    Density is how many balls of reals a fake lies in, over k: 1 for equal sets, more where fakes
    crowd. Coverage, 0 to 1, is the share of reals with a fake in their ball.

    Examples
    --------
    >>> real, fake = np.random.default_rng(0).standard_normal((2, 500, 4))
    >>> density, coverage = density_coverage(real, fake)
    >>> 0.9 < density < 1.1, coverage > 0.9
    (True, True)
    """
    _, density, coverage = in_balls(*_checked_neighbours(real, fake, k), k, [None])[0]
    return float(density), float(coverage)


def _checked_neighbours(real: ArrayLike, fake: ArrayLike, k: int) -> tuple[Floats, Floats]:
    if not isinstance(k, int) or k < 1:
        raise DataError(f"k must be a whole number from 1, got {k!r}.")
    return checked_pair(real, fake, least=k + 1)


def in_balls(centres: Floats, others: Floats, k: int, draws: Sequence[Draw]) -> Floats:
    """Return which points lie in balls around centres, for each draw of rows, [S, 3].

    A ball reaches to the k-th nearest centre. The three figures: the share of the others in any
    ball; the balls that an other lies in, over k; the share of balls with an other.
    """
    middle = centres.mean(axis=0)
    mine, theirs = (
        np.stack([_is_in(rows and rows[side], len(points)) for rows in draws])
        for side, points in enumerate((centres, others))
    )
    # With half of the centres balls are wider: so many neighbours are kept that only one ball in
    # 50,000 has fewer than k of them in a half, and reaches to the farthest kept one.
    depth = min(len(centres) - 1, 4 * k + 12)
    covered = np.zeros_like(theirs)
    pairs, hit = np.zeros((2, len(draws)))
    step = max(1, BLOCK // max(len(centres), len(others)))
    for start in range(0, len(centres), step):
        block = centres[start : start + step] - middle
        row = np.arange(len(block))
        own = _squared(block, centres - middle)
        own[row, start + row] = np.inf
        which = np.argpartition(own, depth - 1, axis=1)[:, :depth]
        which = np.take_along_axis(which, np.take_along_axis(own, which, 1).argsort(axis=1), 1)
        near = np.take_along_axis(own, which, 1)
        across = _squared(block, others - middle)
        ball, other = np.nonzero(across <= near[:, -1:] * EDGE)
        far = across[ball, other]
        for draw in range(len(draws)):
            reached = mine[draw][which].cumsum(axis=1) >= k
            last = np.where(reached.any(axis=1), reached.argmax(axis=1), depth - 1)
            inside = mine[draw, start + ball] & theirs[draw, other]
            inside &= far <= near[row, last][ball] * EDGE
            covered[draw, other[inside]] = True
            pairs[draw] += inside.sum()
            hit[draw] += len(np.unique(ball[inside]))
    n, m = mine.sum(axis=1), theirs.sum(axis=1)
    found = np.stack([covered.sum(axis=1) / m, pairs / (k * m), hit / n], axis=1)
    for draw, rows in enumerate(draws):
        if rows is not None and 3 * len(rows[0]) < len(centres):  # too few neighbours were kept
            found[draw] = in_balls(centres[rows[0]], others[rows[1]], k, [None])[0]
    return found


def _is_in(rows: Rows | None, count: int) -> NDArray[np.bool_]:
    return np.ones(count, bool) if rows is None else np.bincount(rows, minlength=count) > 0


def _squared(points: Floats, others: Floats) -> Floats:
    """Return squared distances [n, m]; what is only rounding is 0."""
    sums = (points**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    squares = points @ others.T
    squares *= -2
    squares += sums
    squares[squares <= SAME * sums] = 0.0
    return np.asarray(squares)


class ColumnDistances(NamedTuple):
    """Two distances of each column, [D].

    ``ks``: largest gap of the two cumulative distributions (Kolmogorov-Smirnov), 0 to 1.
    ``wasserstein``: how far values must be moved on average to turn one set into the other, in
    standard deviations of the reals; NaN where the reals are constant.
    """

    ks: Floats
    wasserstein: Floats


def distribution_distances(real: ArrayLike, fake: ArrayLike) -> ColumnDistances:
    """Return the Kolmogorov-Smirnov and the Wasserstein distance of each column of [N, D].

    Examples
    --------
    >>> real = np.random.default_rng(0).standard_normal((500, 2))
    >>> found = distribution_distances(real, real + [0.0, 1.0])
    >>> found.ks.round(1).tolist(), found.wasserstein.round(1).tolist()
    ([0.0, 0.4], [0.0, 1.0])
    """
    ks, wasserstein = column_distances(*checked_pair(real, fake), [None])
    return ColumnDistances(ks[0], wasserstein[0])


def column_distances(real: Floats, fake: Floats, draws: Sequence[Draw]) -> tuple[Floats, Floats]:
    """Return both distances of each column for each draw of rows, [S, D]: one sort serves all."""
    # Reals weigh upwards and fakes downwards: the running sum is the gap of the two curves.
    weights = np.concatenate(
        [
            np.stack([sign * _is_in(rows and rows[side], len(points)) for rows in draws])
            / np.array([[len(points if rows is None else rows[side])] for rows in draws])
            for side, (points, sign) in enumerate(((real, 1.0), (fake, -1.0)))
        ],
        axis=1,
    )
    found = np.empty((2, len(draws), real.shape[1]))
    step = max(1, BLOCK // 8 // weights.shape[1])
    for start in range(0, real.shape[1], step):
        columns = slice(start, start + step)
        reals = real[:, columns]
        values = np.concatenate([reals, fake[:, columns]])
        order = np.argsort(values, axis=0, kind="stable")
        steps = np.diff(np.take_along_axis(values, order, axis=0), axis=0)
        # By the range: the deviation of equal values need not come out as 0.
        varied = reals.max(axis=0) > reals.min(axis=0)
        scale = np.where(varied, reals.std(axis=0, ddof=1), np.nan)
        for draw, weight in enumerate(weights):
            gap = np.abs(weight[order].cumsum(axis=0)[:-1])
            # Between equal values there is no gap to be seen, however they were sorted.
            found[0, draw, columns] = np.minimum(np.where(steps > 0, gap, 0.0).max(axis=0), 1.0)
            found[1, draw, columns] = (gap * steps).sum(axis=0) / scale
    return found[0], found[1]
