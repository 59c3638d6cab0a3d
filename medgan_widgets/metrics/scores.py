"""A metric's number with all that makes it comparable: n, interval, floor, warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.metrics._matrices import (
    LARGEST,
    Features,
    Rows,
    check_same_length,
    checked,
    checked_pair,
    halves,
    some_rows,
)
from medgan_widgets.metrics._remarks import remarks
from medgan_widgets.metrics.balls import DENSITY_K, PRECISION_K, Balls
from medgan_widgets.metrics.columns import distances_of_rows as column_distances
from medgan_widgets.metrics.gaussians import (
    POINTS,
    distance_of_rows,
    frechet_distance,
    frechet_infinity,
    infinity_of_rows,
)
from medgan_widgets.metrics.kernels import LARGEST as LARGEST_OF_KERNEL
from medgan_widgets.metrics.kernels import kernel_distances, size_of_subsets
from medgan_widgets.requests import Score
from medgan_widgets.seeds import SEED_LIMIT, whole_number

FID_EXTRACTOR = "inception-v3-compat"  # with any other weights it is no FID
DRAWS, FEW_DRAWS, WIDE = 40, 10, 256  # fewer draws where a draw takes seconds
SURE = 0.975  # both tails leave 95 %
SHARE = (0.0, 1.0)


@dataclass(frozen=True)
class Found:
    """One figure, and the standard error that its interval is made of."""

    name: str
    value: float
    error: float | None
    draws: int = 0


@dataclass(frozen=True)
class Metric:
    """How one metric is measured, how many rows it needs, and between what it lies."""

    measure: Callable[[Features, Features, int, int], list[Found]]
    least: int
    bounds: tuple[float, float]


def score_of(
    metric: str,
    real: ArrayLike,
    fake: ArrayLike,
    *,
    extractor: str,
    other: ArrayLike | None = None,
    seed: int = 0,
    draws: int | None = None,
) -> list[Score]:
    """Return a metric's scores, each with n, 95 % interval, floor and warning.

    The interval is the value and t quantiles times the standard error. The error is the
    spread of the metric over random halves of both sides, drawn without replacement: given
    the images, a half varies about the whole by s^2 (1/(n/2) - 1/n) = s^2/n, just what the
    whole varies by about the truth (the delete-half jackknife, Shao and Wu 1989; Politis,
    Romano and Wolf 1999). Drawing with replacement repeats images, and repeats bias
    distances. KID's error comes from its own subsets of m rows, times sqrt(m/(n - m)).
    Where all halves agree, a share has Wilson's interval and other figures have none.
    The interval is for the figure at this n: it does not undo FD's bias, FD-infinity does.

    Parameters
    ----------
    metric
        One of `METRICS`: ``"fd"``, ``"fd_infinity"``, ``"kid"``, ``"precision"``,
        ``"recall"``, ``"density"``, ``"coverage"``, ``"ks"``, ``"wasserstein"``. The last two
        give two scores: the mean over the columns, and the largest.
    real, fake
        Features, [N, D] each; they may lie in a file.
    extractor
        Where they came from. FD is called FID only for ``"inception-v3-compat"``.
    other
        Features of other real images. The floor is the metric of ``real`` against them at the
        same numbers; where they are fewer, as many on either side as there are (``floor_n``).
        Without them the floor is one half of ``real`` against the other half.
    seed
        Of all draws.
    draws
        Halves for the interval; by default 40, or 10 for more than 256 columns; 0
        gives no interval. FD-infinity takes half as many (each draws 15 sizes in turn).

    Raises
    ------
    RequestError
        For an unknown metric, or a seed or draws that are no whole number.
    DataError
        When features are no finite matrices of one D, or too few for the metric.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> real, other, fake = random.standard_normal((3, 2500, 4))
    >>> score = score_of("fd", real, fake + 0.5, extractor="none", other=other)[0]
    >>> score.floor < score.interval[0] < 1.0 < score.interval[1], score.warning
    (True, '')
    """
    if not isinstance(metric, str) or metric not in _METRICS:
        raise RequestError(f"metric must be one of {', '.join(METRICS)}; got {metric!r}.")
    kind = _METRICS[metric]
    limit = LARGEST_OF_KERNEL if metric == "kid" else LARGEST
    real, fake = checked_pair(real, fake, least=kind.least, largest=limit)
    draws = _draws_of(real.shape[1]) if draws is None else draws
    seed = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    if whole_number(draws, "draws", -1, 10**6) in (-1, 1):
        raise DataError(f"an interval needs at least 2 draws, or 0 for none, got {draws}.")
    if other is not None:
        other = checked(other, "other real", largest=limit)
        check_same_length(real.shape[1], other.shape[1])
    floors, floor_n = _floors(kind, real, len(fake), other, seed)
    warning = remarks(metric, real, fake)
    return [
        Score(
            name=_named(found.name, extractor),
            value=found.value,
            n_real=len(real),
            n_fake=len(fake),
            extractor=extractor,
            interval=_interval(found, kind.bounds, min(len(real), len(fake))),
            floor=floors.get(found.name),
            floor_n=floor_n,
            warning=warning,
        )
        for found in kind.measure(real, fake, draws, seed)
    ]


def frechet_score(
    real: ArrayLike,
    fake: ArrayLike,
    *,
    extractor: str,
    floor_from: ArrayLike,
    name: str = "FD",
    draws: int = DRAWS,
    seed: int = 0,
) -> Score:
    """Return the Fréchet distance with n, extractor, 95 % interval, and the floor.

    The same as ``score_of("fd", …)``, under a name of one's own.

    Parameters
    ----------
    real, fake
        Features, [N, D] each, with N of at least 4.
    extractor
        Where they came from.
    floor_from
        Features of other real images: what the distance is between two sets
        of real images, at the same n.
    draws
        How many halves to draw for the interval, at least 2.

    Raises
    ------
    DataError
        As `score_of`, and for fewer draws or rows.

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
    real, fake = checked_pair(real, fake)
    if min(len(real), len(fake)) < 4:
        raise DataError(
            f"an interval needs at least 4 images on each side, got {len(real)} and {len(fake)}."
        )
    found = score_of(
        "fd", real, fake, extractor=extractor, other=floor_from, seed=seed, draws=draws
    )
    return replace(found[0], name=name)


def _draws_of(columns: int) -> int:
    return DRAWS if columns <= WIDE else FEW_DRAWS


def _named(name: str, extractor: str) -> str:
    if extractor == FID_EXTRACTOR and name.startswith("FD"):
        return f"FID{name[2:]}"
    return name


def _interval(found: Found, bounds: tuple[float, float], n: int) -> tuple[float, float] | None:
    """Return value and margin; where all halves agree, what n images can say at most.

    A share of 0 or 1 in every half does not vary, and is not known for certain either:
    Wilson's (1927) interval of 0 or n out of n images stands there. Other figures that do
    not vary have none.
    """
    if found.error is None or not np.isfinite(found.value):
        return None
    low, high = bounds
    if not found.error > 1e-12 * abs(found.value):
        share = round(found.value, 9)
        if (low, high) != SHARE or share not in SHARE:
            return None
        ends = stats.binomtest(round(share * n), n).proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)
    margin = float(stats.t.ppf(SURE, found.draws - 1)) * found.error
    return max(found.value - margin, low), min(found.value + margin, high)


def _floors(
    kind: Metric, real: Features, n_fake: int, other: Features | None, seed: int
) -> tuple[dict[str, float], int | None]:
    """Return the metric of reals against reals by name, and its n where that is another one."""
    random = np.random.default_rng([seed, 1])  # apart from the draws of the interval
    if other is None:
        n = min(len(real) // 2, n_fake)
        order = random.permutation(len(real))
        sides = real[np.sort(order[:n])], real[np.sort(order[n : 2 * n])]
        told: int | None = n
    elif len(other) >= n_fake:
        sides, told = (real, _some(other, n_fake, random)), None
    else:
        n = min(len(real), len(other))
        sides, told = (_some(real, n, random), _some(other, n, random)), n
    if min(map(len, sides)) < kind.least:
        return {}, None
    return {found.name: found.value for found in kind.measure(*sides, 0, seed)}, told


def _some(matrix: Features, n: int, random: np.random.Generator) -> Features:
    return matrix if len(matrix) == n else matrix[some_rows(len(matrix), n, random)]


def _error(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _halved(
    real: Features, fake: Features, draws: int, seed: int, least: int = 2
) -> list[tuple[Rows, Rows]]:
    """Return the halves of an interval; none where a half would be too small to measure."""
    if min(len(real), len(fake)) // 2 < least:
        return []
    return list(halves(len(real), len(fake), draws, np.random.default_rng(seed)))


def _frechet(real: Features, fake: Features, draws: int, seed: int) -> list[Found]:
    drawn = [distance_of_rows(real, fake, *rows) for rows in _halved(real, fake, draws, seed)]
    return [Found("FD", frechet_distance(real, fake), _error(drawn), draws)]


def _frechet_infinity(real: Features, fake: Features, draws: int, seed: int) -> list[Found]:
    draws = max(draws // 2, 2) if draws else 0
    drawn = [
        infinity_of_rows(real, fake, *rows, seed=seed)
        for rows in _halved(real, fake, draws, seed, least=2 * POINTS)
    ]
    return [Found("FD-infinity", frechet_infinity(real, fake, seed=seed), _error(drawn), draws)]


def _kernel(real: Features, fake: Features, draws: int, seed: int) -> list[Found]:
    found = kernel_distances(real, fake, seed=seed)
    n = min(len(real), len(fake))
    size, error = size_of_subsets(n), None
    if draws and n > 4:
        # What a whole of n varies by, and what is left of the chance in the drawing.
        error = float(found.std(ddof=1) * np.sqrt(size / (n - size) + 1 / len(found)))
    return [Found("KID", float(found.mean()), error, len(found))]


def _in_balls(name: str, k: int) -> Callable[[Features, Features, int, int], list[Found]]:
    place = {"precision": 0, "recall": 0, "density": 1, "coverage": 2}[name]

    def measure(real: Features, fake: Features, draws: int, seed: int) -> list[Found]:
        sides = (fake, real) if name == "recall" else (real, fake)
        balls = Balls.around(*sides, k)
        drawn = []
        for rows in _halved(*sides, draws, seed, least=k + 1):
            half = balls.of_rows(*rows)
            if half is not None:
                drawn.append(half[place])
        value = (balls.covered, balls.density, balls.hit)[place]
        return [Found(name, value, _error(drawn), draws)]

    return measure


def _by_column(name: str) -> Callable[[Features, Features, int, int], list[Found]]:
    def measure(real: Features, fake: Features, draws: int, seed: int) -> list[Found]:
        both = column_distances(real, fake, _halved(real, fake, draws, seed))
        table = both[0] if name == "KS" else both[1]
        table = table[:, np.isfinite(table[0])]
        if not table.shape[1]:
            raise DataError(
                "every real column is constant, so there is no standard deviation to measure "
                "a Wasserstein distance in; use KS, or look whether the images are all alike."
            )
        means, largest = table.mean(axis=1), table.max(axis=1)
        return [
            Found(title, float(figures[0]), _error(figures[1:]), draws)
            for title, figures in ((name, means), (f"{name} largest", largest))
        ]

    return measure


_METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "fd": Metric(_frechet, 2, (0.0, np.inf)),
        "fd_infinity": Metric(_frechet_infinity, 2 * POINTS, (-np.inf, np.inf)),
        "kid": Metric(_kernel, 4, (-np.inf, np.inf)),
        "precision": Metric(_in_balls("precision", PRECISION_K), PRECISION_K + 1, SHARE),
        "recall": Metric(_in_balls("recall", PRECISION_K), PRECISION_K + 1, SHARE),
        "density": Metric(_in_balls("density", DENSITY_K), DENSITY_K + 1, (0.0, np.inf)),
        "coverage": Metric(_in_balls("coverage", DENSITY_K), DENSITY_K + 1, SHARE),
        "ks": Metric(_by_column("KS"), 2, SHARE),
        "wasserstein": Metric(_by_column("Wasserstein"), 2, (0.0, np.inf)),
    }
)
METRICS = tuple(_METRICS)
FEWEST = MappingProxyType({name: one.least for name, one in _METRICS.items()})  # rows a side
