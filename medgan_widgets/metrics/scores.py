"""A metric's number with all that makes it comparable: n, interval, floor, warning."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.metrics._matrices import (
    LARGEST,
    Features,
    Floats,
    Rows,
    check_same_length,
    checked,
    checked_pair,
    group_of_each,
    in_random_order,
    some_groups,
)
from medgan_widgets.metrics._remarks import remarks
from medgan_widgets.metrics.balls import DENSITY_K, PRECISION_K, Balls
from medgan_widgets.metrics.columns import columns_apart
from medgan_widgets.metrics.columns import distances_of_rows as column_distances
from medgan_widgets.metrics.gaussians import (
    POINTS,
    distance_of_rows,
    infinity_of_rows,
)
from medgan_widgets.metrics.kernels import LARGEST as LARGEST_OF_KERNEL
from medgan_widgets.metrics.kernels import MOST, kernel_distance
from medgan_widgets.metrics.kernels import distances_of_rows as kernel_distances
from medgan_widgets.requests import Score
from medgan_widgets.seeds import SEED_LIMIT, whole_number

FID_EXTRACTOR = "inception-v3-compat"  # with any other weights it is no FID
NAMED_COLUMNS = "canonical-1"
DISTANCES = ("fd", "fd_infinity", "kid", "ks", "wasserstein")  # these say why
# Of the interval, and of the floor; fewer where features are long and a draw takes seconds.
DRAWS, FLOOR_DRAWS, FEW_DRAWS, WIDE = 40, 50, 10, 256
FEWEST_GROUPS = 10  # patients: the spread between halves of fewer is not known
SURE = 0.975  # both tails leave 95 %
SHARE = (0.0, 1.0)

Draw = tuple[Rows, Rows]  # some rows of either side
Draws = Sequence[Draw | None]  # None: all rows
Figures = dict[str, Floats]  # by name, one a draw


@dataclass(frozen=True)
class Metric:
    """How one metric is measured, how many rows it needs, and between what it lies."""

    measure: Callable[[Features, Features, Draws, int], Figures]
    least: int
    bounds: tuple[float, float]
    most: float = np.inf  # rows a side that are enough for a draw
    biased: bool = True  # fewer images alone move it


def score_of(
    metric: str,
    real: ArrayLike,
    fake: ArrayLike,
    *,
    extractor: str,
    other: ArrayLike | None = None,
    seed: int = 0,
    draws: int | None = None,
    real_groups: Sequence[Hashable] | None = None,
    other_groups: Sequence[Hashable] | None = None,
    fake_groups: Sequence[Hashable] | None = None,
) -> list[Score]:
    """Return a metric's scores, each with n, 95 % interval, floor and warning.

    The interval is the value and t quantiles times the standard error. The error is the
    spread of the metric over random halves of both sides, drawn without replacement: given
    the images, a half varies about the whole by s^2 (1/(n/2) - 1/n) = s^2/n, just what the
    whole varies by about the truth (the delete-half jackknife, Shao and Wu 1989; Politis,
    Romano and Wolf 1999). Drawing with replacement repeats images, and repeats bias
    distances. Images of one patient are alike, so where patients are known a half is half of
    the patients with all their images. KID is drawn from 1,000 images at most, and the error
    is scaled to all. Where all halves agree, a share has Wilson's interval and other figures
    have none. The interval is for the figure at this n: it does not undo FD's bias,
    FD-infinity does.

    The floor is what reals show against reals: the mean over 50 halvings of ``real`` (10 where
    there are more than 256 columns), no patient in both halves. Fewer images make most
    distances larger, so ``value_at_floor_n`` is the mean over the same halvings of one
    half against as many of ``fake``; that and the floor compare like with like.

    Parameters
    ----------
    metric
        One of `METRICS`: ``"fd"``, ``"fd_infinity"``, ``"kid"``, ``"precision"``,
        ``"recall"``, ``"density"``, ``"coverage"``, ``"ks"``, ``"wasserstein"``. The last two
        give two scores: the mean over the columns, and the largest.
    real, fake
        Features, [N, D] each; they may lie in a file.
    extractor
        Where they came from. FD is called FID only for ``"inception-v3-compat"``; distances
        of ``"canonical-1"`` say in ``why`` and ``families`` what differs.
    other
        Features of other real images, of other patients. The floor is then the metric of
        ``real`` against them at the same numbers (the mean of 50 draws where they are more);
        where they are fewer, as many on either side as there are (``floor_n``).
    seed
        Of all draws.
    draws
        Halves for the interval; by default 40, or 10 for more than 256 columns; 0
        gives no interval. FD-infinity takes half as many (each draws 15 sizes in turn).
    real_groups, other_groups, fake_groups
        Whose each row is, e.g. the patient's key: what belongs together is drawn together.
        None, for one row or for all, stands alone. Under ten groups there is no interval,
        and a warning.

    Raises
    ------
    RequestError
        For an unknown metric, or a seed or draws that are no whole number.
    DataError
        When features are no finite matrices of one D, or too few for the metric, or groups
        are not one a row.

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
    wide = real.shape[1] > WIDE
    draws = (FEW_DRAWS if wide else DRAWS) if draws is None else draws
    seed = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    if whole_number(draws, "draws", -1, 10**6) in (-1, 1):
        raise DataError(f"an interval needs at least 2 draws, or 0 for none, got {draws}.")
    draws = max(draws // 2, 2) if draws and metric == "fd_infinity" else draws
    whose = [
        group_of_each(real_groups, len(real), "real"),
        group_of_each(fake_groups, len(fake), "synthetic"),
    ]
    if other is not None:
        other = checked(other, "other real", largest=limit)
        check_same_length(real.shape[1], other.shape[1])
        whose.append(group_of_each(other_groups, len(other), "other real"))

    few = [
        f"only {codes.max() + 1} patients (groups) stand behind the {len(codes)} {side} images: "
        f"an interval needs {FEWEST_GROUPS}, and the floor is rough."
        for side, groups, codes in (
            ("real", real_groups, whose[0]),
            ("synthetic", fake_groups, whose[1]),
        )
        if codes.max() + 1 < FEWEST_GROUPS and any(one is not None for one in groups or ())
    ]
    halves = _halves(kind, whose[0], whose[1], 0 if few else draws, seed)
    random = np.random.default_rng([seed, 1])  # apart from the draws of the interval
    floors = _floor_draws(kind, whose, FEW_DRAWS if wide else FLOOR_DRAWS, random)
    same_n = not floors or (other is not None and len(other) >= len(fake))
    likes = [
        (some, some_groups(whose[1], len(rest), random))
        for some, rest in (floors if kind.biased and not same_n else ())
    ]
    found = kind.measure(real, fake, [None, *halves, *likes], seed)
    floor = kind.measure(real, real if other is None else other, floors, seed) if floors else {}
    warning = " ".join(filter(None, [remarks(metric, real, fake), *few]))
    named = extractor == NAMED_COLUMNS and metric in DISTANCES
    why, families = columns_apart(real, fake) if named else ((), {})
    count = min(int(codes.max()) + 1 for codes in whose[:2])
    scores = []
    for name, figures in found.items():
        value, drawn = float(figures[0]), figures[1 : 1 + len(halves)]
        error = _error(drawn, halves, whose)
        scores.append(
            Score(
                name=_named(name, extractor),
                value=value,
                n_real=len(real),
                n_fake=len(fake),
                extractor=extractor,
                interval=_interval(value, error, kind.bounds, len(halves), count),
                floor=_mean(floor.get(name, np.zeros(0))),
                floor_n=None if same_n else round(np.mean([len(rows) for _, rows in floors])),
                value_at_floor_n=_mean(figures[1 + len(halves) :]),
                warning=warning,
                why=why,
                families=families,
            )
        )
    return scores


def _named(name: str, extractor: str) -> str:
    if extractor == FID_EXTRACTOR and name.startswith("FD"):
        return f"FID{name[2:]}"
    return name


def _halves(kind: Metric, real: Rows, fake: Rows, draws: int, seed: int) -> list[Draw]:
    """Return the halves of an interval; none where a half would be too small to measure."""
    random = np.random.default_rng(seed)
    found = [(_half(real, kind.most, random), _half(fake, kind.most, random)) for _ in range(draws)]
    return found if all(len(rows) >= kind.least for pair in found for rows in pair) else []


def _half(groups: Rows, most: float, random: np.random.Generator) -> Rows:
    """Return the rows of half of the groups, or of as many as hold about ``most`` rows."""
    order, ends = in_random_order(groups, random)
    count = max(1, int(len(ends) * min(1 / 2, most / len(order))))
    return np.sort(order[: ends[count - 1]])


def _floor_draws(
    kind: Metric, whose: Sequence[Rows], draws: int, random: np.random.Generator
) -> list[Draw]:
    """Return which reals are held against which: two lots of one set, or one lot of either."""
    real, fake, *others = whose
    found: list[Draw] = []
    if others:
        n = min(len(real), len(others[0]))
        sizes = (len(real), len(fake)) if len(others[0]) >= len(fake) else (n, n)
        first, second = (int(min(size, kind.most)) for size in sizes)
        only_one = (first, second) == (len(real), len(others[0]))
        for _ in range(1 if only_one else draws):
            found.append((some_groups(real, first, random), some_groups(others[0], second, random)))
    elif real.max():
        n = int(min(len(real) // 2, len(fake), kind.most))
        for _ in range(draws):
            order, ends = in_random_order(real, random)
            cut = ends[np.abs(ends[:-1] - len(real) // 2).argmin()]  # groups stay whole
            found.append((np.sort(order[:cut][:n]), np.sort(order[cut:][:n])))
    return [pair for pair in found if min(map(len, pair)) >= kind.least]


def _error(values: Floats, halves: Sequence[Draw], whose: Sequence[Rows]) -> float | None:
    """Return the standard error of the whole: its halves' spread, where they are halves."""
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return None
    share = max(np.mean([len(pair[k]) for pair in halves]) / len(whose[k]) for k in (0, 1))
    return float(np.std(values, ddof=1) * np.sqrt(share / (1 - share)))


def _interval(
    value: float, error: float | None, bounds: tuple[float, float], draws: int, n: int
) -> tuple[float, float] | None:
    """Return value and margin; where all halves agree, what n images can say at most.

    A share of 0 or 1 in every half does not vary, and is not known for certain either:
    Wilson's (1927) interval of 0 or n out of n images, or patients, stands there. Other
    figures that do not vary have none.
    """
    if error is None or not np.isfinite(value):
        return None
    low, high = bounds
    if not error > 1e-12 * abs(value):
        share = round(value, 9)
        if (low, high) != SHARE or share not in SHARE:
            return None
        ends = stats.binomtest(round(share * n), n).proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)
    # So many patients say no more than n - 1 numbers, however often they are halved.
    margin = float(stats.t.ppf(SURE, min(draws, n) - 1)) * error
    return max(value - margin, low), min(value + margin, high)


def _mean(values: Floats) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _frechet(real: Features, fake: Features, draws: Draws, seed: int) -> Figures:
    every = np.arange(len(real)), np.arange(len(fake))
    return {"FD": np.array([distance_of_rows(real, fake, *(rows or every)) for rows in draws])}


def _frechet_infinity(real: Features, fake: Features, draws: Draws, seed: int) -> Figures:
    every = np.arange(len(real)), np.arange(len(fake))
    found = [infinity_of_rows(real, fake, *(rows or every), seed=seed) for rows in draws]
    return {"FD-infinity": np.array(found)}


def _kernel(real: Features, fake: Features, draws: Draws, seed: int) -> Figures:
    found = [kernel_distance(real, fake, seed=seed)] if None in draws else []
    rows = [pair for pair in draws if pair is not None]
    if rows:
        found += kernel_distances(real, fake, *map(list, zip(*rows, strict=True))).tolist()
    return {"KID": np.array(found)}


def _in_balls(name: str, k: int) -> Metric:
    place = {"precision": 0, "recall": 0, "density": 1, "coverage": 2}[name]

    def measure(real: Features, fake: Features, draws: Draws, seed: int) -> Figures:
        turned = name == "recall"
        sides = (fake, real) if turned else (real, fake)
        balls = Balls.around(*sides, k)
        found = [
            balls.figures if rows is None else balls.of_rows(*(rows[::-1] if turned else rows))
            for rows in draws
        ]
        return {name: np.array([figures[place] for figures in found])}

    return Metric(measure, k + 1, (0.0, np.inf) if name == "density" else SHARE)


def _by_column(name: str) -> Callable[..., Figures]:
    def measure(real: Features, fake: Features, draws: Draws, seed: int) -> Figures:
        both = column_distances(real, fake, draws)
        table = both[0] if name == "KS" else both[1]
        table = table[:, np.isfinite(table[0])]
        if not table.shape[1]:
            raise DataError(
                "every real column is constant, so there is no standard deviation to measure "
                "a Wasserstein distance in; use KS, or look whether the images are all alike."
            )
        return {name: table.mean(axis=1), f"{name} largest": table.max(axis=1)}

    return measure


_METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "fd": Metric(_frechet, 2, (0.0, np.inf)),
        "fd_infinity": Metric(_frechet_infinity, 2 * POINTS, (-np.inf, np.inf), biased=False),
        "kid": Metric(_kernel, 4, (-np.inf, np.inf), MOST, biased=False),
        "precision": _in_balls("precision", PRECISION_K),
        "recall": _in_balls("recall", PRECISION_K),
        "density": _in_balls("density", DENSITY_K),
        "coverage": _in_balls("coverage", DENSITY_K),
        "ks": Metric(_by_column("KS"), 2, SHARE),
        "wasserstein": Metric(_by_column("Wasserstein"), 2, (0.0, np.inf)),
    }
)
METRICS = tuple(_METRICS)
FEWEST = MappingProxyType({name: one.least for name, one in _METRICS.items()})  # rows a side
