"""Fréchet distance of two Gaussians, and what it tends to with ever more images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.metrics._matrices import (
    Features,
    Floats,
    Rows,
    blocks,
    check_same_length,
    checked,
    checked_pair,
)

LOST = 1e-8  # of the total variance: above it the faster way to the root has lost too much
POINTS = 15  # subset sizes for the line through FD against 1/N


class Gaussian:
    """Mean and covariance of features that come batch by batch, in float64.

    Each batch is centred on its own mean and then joined to what is there (Chan, Golub and
    LeVeque 1979), so nothing is lost where values lie far from zero, and memory is
    D x D numbers however many rows come.

    Attributes
    ----------
    n
        Rows seen so far.
    mean
        float64 [D].

    Examples
    --------
    >>> points = np.random.default_rng(0).standard_normal((100, 3))
    >>> streamed = Gaussian()
    >>> for part in np.split(points, 4):
    ...     streamed.add(part)
    >>> streamed.n, bool(np.allclose(streamed.covariance, np.cov(points.T)))
    (100, True)
    """

    def __init__(self) -> None:
        self.n = 0
        self.mean: Floats = np.zeros(0)
        self._scatter: Floats = np.zeros((0, 0))

    @classmethod
    def of(cls, features: ArrayLike, rows: Rows | None = None) -> Gaussian:
        """Return the Gaussian of features [N, D], or of some of their rows.

        Raises
        ------
        DataError
            When they are no finite matrix.
        """
        found = cls()
        matrix = checked(features, "these", least=1)
        for block in blocks(matrix, rows):
            found._join(block)
        return found

    def add(self, batch: ArrayLike) -> None:
        """Take in the rows of a batch, [n, D].

        Raises
        ------
        DataError
            When it is no finite matrix, or of another D than before.
        """
        matrix = checked(batch, "these", least=1)
        if self.n:
            check_same_length(len(self.mean), matrix.shape[1])
        for block in blocks(matrix):
            self._join(block)

    @property
    def covariance(self) -> Floats:
        """The covariance, float64 [D, D], divided by n - 1.

        Raises
        ------
        DataError
            With fewer than 2 rows.
        """
        if self.n < 2:
            raise DataError(f"a covariance needs at least 2 rows, got {self.n}.")
        return self._scatter / (self.n - 1)

    def _join(self, block: Floats) -> None:
        if not self.n:
            self.mean = np.zeros(block.shape[1])
            self._scatter = np.zeros((block.shape[1],) * 2)
        count, mean = len(block), block.mean(axis=0)
        shift, total = mean - self.mean, self.n + count
        # The step between the two means adds a matrix of rank one.
        step = np.sqrt(self.n * count / total) * shift
        self._scatter += (block - mean).T @ (block - mean) + np.outer(step, step)
        self.mean = self.mean + shift * (count / total)
        self.n = total


def frechet_distance(real: ArrayLike | Gaussian, fake: ArrayLike | Gaussian) -> float:
    """Return the Fréchet distance of two Gaussians fitted to features [N, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel 2017).
    The trace of the root is the sum of the singular values of R1 R2^T with
    R^T R = C, which is exact also for fewer rows than columns. Where both covariances
    are well conditioned it comes faster from the eigenvalues of L^T C2 L, C1 = L L^T.

    Parameters
    ----------
    real, fake
        Features, [N, D] with N of at least 2, or Gaussians filled batch by batch.

    Raises
    ------
    DataError
        When a matrix is not [N, D] with N of at least 2, is not finite, or is too large to square.

    Examples
    --------
    >>> points = np.random.default_rng(0).standard_normal((100, 3))
    >>> round(frechet_distance(points, points + [1.0, 0, 0]), 6)
    1.0
    """
    first, second = _Spread.of(real, "real"), _Spread.of(fake, "fake")
    check_same_length(len(first.mean), len(second.mean))
    return _distance(first, second)


def distance_of_rows(real: Features, fake: Features, some: Rows, others: Rows) -> float:
    """Return the distance of some rows of checked features."""
    return _distance(_Spread.of_rows(real, some), _Spread.of_rows(fake, others))


def frechet_infinity(
    real: ArrayLike, fake: ArrayLike, *, points: int = POINTS, seed: int = 0
) -> float:
    """Return the Fréchet distance that endless images would have.

    The distance of n images is too large by about a constant times 1/n, and the constant
    differs from model to model. It is measured at subset sizes from n down to n/8 (but not
    under 2 D, and not above n/2) that are evenly spaced in 1/n, up to four subsets without
    a common row at each, and the line through them is read at 1/n = 0. It may come out a
    little below zero. The idea is Chong and Forsyth's (2020), who vary the synthetic images
    only and hold them against all reals; here both sides shrink alike, so the figure is also
    free of what few reals add.

    Parameters
    ----------
    real, fake
        Features, [N, D] with N of at least 30.
    points
        How many subset sizes, at least 2; the paper uses 15.
    seed
        Of the subsets.

    Raises
    ------
    DataError
        For fewer rows, or what `frechet_distance` refuses.

    Examples
    --------
    >>> real, fake = np.random.default_rng(0).standard_normal((2, 400, 8))
    >>> abs(frechet_infinity(real, fake)) < frechet_distance(real, fake)
    True
    """
    first, second = checked_pair(real, fake, least=2 * POINTS)
    if points < 2:
        raise DataError(f"a line needs at least 2 subset sizes, got {points}.")
    every = np.arange(len(first)), np.arange(len(second))
    return infinity_of_rows(first, second, *every, points=points, seed=seed)


def infinity_of_rows(
    real: Features, fake: Features, some: Rows, others: Rows, *, points: int = POINTS, seed: int = 0
) -> float:
    """Return the distance at 1/n = 0 of some rows of checked features."""
    random = np.random.default_rng(seed)
    n = min(len(some), len(others))
    smallest = min(max(2 * real.shape[1] / n, 1 / 8), 1 / 2)
    inverse = np.linspace(1, 1 / smallest, points)
    found = []
    for times in inverse:
        parts = min(4, int(times + 1e-9))
        rows = [_parts(one, times, parts, random) for one in (some, others)]
        found.append(
            np.mean([distance_of_rows(real, fake, a, b) for a, b in zip(*rows, strict=True)])
        )
    return float(np.polynomial.Polynomial.fit(inverse, found, 1)(0.0))


def _parts(rows: Rows, times: float, parts: int, random: np.random.Generator) -> list[Rows]:
    """Return so many subsets, each a ``times``-th of the rows, none in two of them."""
    size = max(2, int(len(rows) / times))
    order = random.permutation(rows)
    return [np.sort(order[i * size : (i + 1) * size]) for i in range(parts)]


class _Spread:
    """Mean and spread of one side: its centred rows where these are few, else its covariance."""

    def __init__(self, mean: Floats, matrix: Floats, thin: bool) -> None:
        self.mean, self.matrix, self.thin = mean, matrix, thin

    @classmethod
    def of(cls, side: ArrayLike | Gaussian, which: str) -> _Spread:
        if isinstance(side, Gaussian):
            return cls(side.mean, side.covariance, thin=False)
        matrix = checked(side, which)
        return cls.of_rows(matrix, np.arange(len(matrix)))

    @classmethod
    def of_rows(cls, matrix: Features, rows: Rows) -> _Spread:
        if len(rows) > matrix.shape[1]:
            gaussian = Gaussian()
            every = len(rows) == len(matrix)
            for block in blocks(matrix, None if every else rows):
                gaussian._join(block)
            return cls(gaussian.mean, gaussian.covariance, thin=False)
        points = np.asarray(matrix[rows], np.float64)
        mean = points.mean(axis=0)
        return cls(mean, (points - mean) / np.sqrt(len(rows) - 1), thin=True)

    def variances(self) -> Floats:
        found = (self.matrix**2).sum(axis=0) if self.thin else np.diag(self.matrix)
        return np.asarray(found, np.float64)

    def narrow(self, keep: NDArray[np.bool_], scale: float) -> None:
        """Leave some columns only, every value divided by ``scale``; in place, it is our own."""
        if not keep.all():
            columns = np.arange(len(self.matrix)) if self.thin else keep
            self.matrix = self.matrix[np.ix_(columns, keep)]
        self.matrix /= scale if self.thin else scale**2

    def root(self) -> Floats:
        """Return R with R^T R the covariance."""
        if self.thin:
            return self.matrix
        try:
            return np.asarray(np.linalg.cholesky(self.matrix).T, np.float64)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.matrix)
            return np.asarray(np.sqrt(np.maximum(values, 0))[:, None] * vectors.T)


def _distance(first: _Spread, second: _Spread) -> float:
    shift = first.mean - second.mean
    mine, others = first.variances(), second.variances()
    total = float(mine.sum() + others.sum())
    # A column that is constant on one side adds nothing to the root, and would make it singular.
    keep = (mine > 0) & (others > 0)
    if not keep.any():
        return float(shift @ shift) + total
    # A power of two loses nothing, and keeps products of products away from overflow.
    scale = 2.0 ** np.round(np.log2(np.sqrt(max(mine.max(), others.max()))))
    for side in (first, second):
        side.narrow(keep, scale)
    root = _trace_of_root(first, second)
    return float(max(shift @ shift + total - 2 * root * scale**2, 0.0))


def _trace_of_root(first: _Spread, second: _Spread) -> float:
    if not (first.thin or second.thin):
        found = _by_eigenvalues(first.matrix, second.matrix)
        if found is not None:
            return found
    return float(np.linalg.svd(first.root() @ second.root().T, compute_uv=False).sum())


def _by_eigenvalues(first: Floats, second: Floats) -> float | None:
    """Return the trace of the root from the eigenvalues of L^T C2 L; None where they drown.

    Eigenvalues carry an absolute error of the size of the largest; its root matters
    where the eigenvalue itself is small.
    """
    try:
        lower = np.linalg.cholesky(first)
    except np.linalg.LinAlgError:
        return None
    values = np.linalg.eigvalsh(lower.T @ second @ lower)
    noise = np.finfo(np.float64).eps * abs(values[-1])
    roots = np.sqrt(np.maximum(values, 0))
    lost = np.minimum(noise / np.maximum(2 * roots, np.finfo(np.float64).tiny), np.sqrt(noise))
    if lost.sum() > LOST * (np.trace(first) + np.trace(second)):
        return None
    return float(roots.sum())
