"""Feature matrices to scores that carry what makes them comparable.

Arrays in, numbers out: no torch, no images. A value of one extractor never
compares with a value of another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.requests import Score

Features = NDArray[np.float64]
LARGEST = 1e100  # squares and their sums stay far from the end of float64


def frechet_distance(real: Features, fake: Features) -> float:
    """Return the Fréchet distance of two Gaussians fitted to features [N, D].

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Dowson and Landau 1982; Heusel
    2017). The trace of the root is the sum of the singular values of
    C1^(1/2) C2^(1/2), which needs no root of a matrix that is not symmetric.

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
    first, second = _checked(real, "real"), _checked(fake, "fake")
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"features differ in length: {first.shape[1]} and {second.shape[1]}; "
            "use one extractor for both."
        )
    shift = first.mean(axis=0) - second.mean(axis=0)
    cross = np.linalg.svd(_scatter_root(first) @ _scatter_root(second).T, compute_uv=False)
    spread = first.var(axis=0, ddof=1).sum() + second.var(axis=0, ddof=1).sum()
    return float(max(shift @ shift + spread - 2 * cross.sum(), 0.0))


def frechet_score(
    real: Features,
    fake: Features,
    *,
    extractor: str,
    floor_from: Features,
    name: str = "FD",
    draws: int = 40,
    seed: int = 0,
) -> Score:
    """Return the distance with n, extractor, 95 % interval, and the floor.

    Parameters
    ----------
    real, fake
        Features, [N, D] each.
    extractor
        Where they came from.
    floor_from
        Features of other real images: what the distance is between two sets
        of real images, at the same n.
    draws
        How many halves to draw for the interval. Halves are drawn without
        replacement (repeats would bias the distance); at one half, the spread
        over the draws estimates the spread of the whole (Politis 1994).

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> real, other, fake = random.standard_normal((3, 200, 2))
    >>> score = frechet_score(real, fake + 1, extractor="none", floor_from=other)
    >>> score.n_fake, score.floor < score.interval[0] < score.value
    (200, True)
    """
    if draws < 2:
        raise DataError(f"an interval needs at least 2 draws, got {draws}.")
    real, fake = _checked(real, "real"), _checked(fake, "fake")
    if min(len(real), len(fake)) < 4:
        raise DataError(
            f"an interval needs at least 4 images on each side, got {len(real)} and {len(fake)}."
        )
    random = np.random.default_rng(seed)
    value = frechet_distance(real, fake)
    halves = [frechet_distance(_half(real, random), _half(fake, random)) for _ in range(draws)]
    margin = 1.96 * float(np.std(halves, ddof=1))
    n = min(len(real), len(fake), len(floor_from))
    return Score(
        name=name,
        value=value,
        n_real=len(real),
        n_fake=len(fake),
        extractor=extractor,
        interval=(max(value - margin, 0.0), value + margin),
        floor=frechet_distance(real[:n], floor_from[:n]),
    )


def _half(features: Features, random: np.random.Generator) -> Features:
    return features[random.choice(len(features), len(features) // 2, replace=False)]


def _scatter_root(features: Features) -> Features:
    """Return R with R^T R the covariance of the features, at most [D, D]."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"), np.float64)


def _checked(features: Features, which: str) -> Features:
    try:
        matrix = np.asarray(features, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{which} features must be rows of numbers, all as long.") from None
    if matrix.ndim != 2 or len(matrix) < 2:
        raise DataError(
            f"{which} features must be [N, D] with at least 2 rows, got {matrix.shape}."
        )
    if not np.isfinite(matrix).all():
        raise DataError(f"{which} features hold values that are not finite.")
    if np.abs(matrix).max(initial=0.0) > LARGEST:
        raise DataError(f"{which} features hold values above {LARGEST:g}, too large to square.")
    return matrix
