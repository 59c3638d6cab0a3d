"""A metric's number with all that makes it comparable: n, interval, floor, warning."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.metrics.distances import (
    DENSITY_K,
    LARGEST,
    LARGEST_CUBED,
    POINTS,
    PRECISION_K,
    SUBSET_ROWS,
    Draw,
    Floats,
    Rows,
    checked,
    checked_pair,
    column_distances,
    frechet_infinity,
    frechet_of_rows,
    in_balls,
    kernel_distance,
    kernel_distances,
)
from medgan_widgets.metrics.draws import group_of_each, half, some_groups, two_halves
from medgan_widgets.metrics.remarks import columns_apart, remarks
from medgan_widgets.requests import Score
from medgan_widgets.seeds import SEED_LIMIT, whole_number

FID_EXTRACTOR = "inception-v3-compat"  # with any other weights it is no FID
NAMED_COLUMNS = "canonical-1"
DISTANCES = ("fd", "fd_infinity", "kid", "ks", "wasserstein")  # these say why
# Of the interval, and of the floor; fewer where features are long and a draw takes seconds.
DRAWS, FLOOR_DRAWS, FEW_DRAWS, WIDE = 40, 50, 10, 256
FEWEST_GROUPS = 10  # patients: the spread between halves of fewer is not known
SHARE = (0.0, 1.0)
DISTANCE, UNBIASED = (0.0, np.inf), (-np.inf, np.inf)

Figures = dict[str, Floats]  # by name, one a draw
Measure = Callable[[Floats, Floats, Sequence[Draw], int], Figures]


@dataclass(frozen=True)
class Metric:
    """How one metric is measured, how many rows it needs, and between what it lies."""

    measure: Measure
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

    The interval is the value and t quantiles times the standard error, which is the spread of the
    metric over random halves of both sides, drawn without replacement: given the images, a half
    varies about the whole by s^2 (1/(n/2) - 1/n) = s^2/n, just what the whole varies by about the
    truth (the delete-half jackknife, Shao and Wu 1989; Politis, Romano and Wolf 1999). Drawing
    with replacement repeats images, and repeats bias distances. It is the interval of the figure
    at this n: it does not undo FD's bias, FD-infinity does.

    The floor is what reals show against reals: the mean over 50 halvings of ``real``, no patient
    in both halves. Fewer images make most distances larger, so ``value_at_floor_n`` is the mean
    over the same halvings of one half against as many of ``fake``, which compares with it.

    Parameters
    ----------
    metric
        One of `METRICS`. ``"ks"`` and ``"wasserstein"`` give two scores: the mean over the
        columns, and the largest.
    real, fake
        Features, [N, D] each.
    extractor
        Where they came from. FD is called FID only for ``"inception-v3-compat"``; distances
        of ``"canonical-1"`` say in ``why`` and ``families`` what differs.
    other
        Features of other real images. The floor is then the metric of ``real`` against them at
        the same n, or where they are fewer at as many on either side as there are (``floor_n``).
    seed, draws
        Of all draws; halves for the interval (40, or 10 above 256 columns; 0 for no interval).
    real_groups, other_groups, fake_groups
        Whose each row is, e.g. the patient's key: what belongs together is drawn together.
        None, for one row or for all, stands alone. Under ten groups there is no interval.

    Raises
    ------
    RequestError
        For an unknown metric, or a seed or draws that are no whole number.
    DataError
        When features or groups do not fit, or are too few.

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
    largest = LARGEST_CUBED if metric == "kid" else LARGEST
    real, fake = checked_pair(real, fake, least=kind.least, largest=largest)
    wide = real.shape[1] > WIDE
    draws = (FEW_DRAWS if wide else DRAWS) if draws is None else draws
    seed = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    if whole_number(draws, "draws", -1, 10**6) in (-1, 1):
        raise DataError(f"an interval needs at least 2 draws, or 0 for none, got {draws}.")
    if draws and metric == "fd_infinity":  # each of its draws takes 15 sizes in turn
        draws = max(draws // 2, 2)
    whose = [
        group_of_each(real_groups, len(real), "real"),
        group_of_each(fake_groups, len(fake), "synthetic"),
    ]
    if other is not None:
        other = checked(other, "other real", largest=largest)
        checked_pair(real, other, largest=largest)  # of one length
        whose.append(group_of_each(other_groups, len(other), "other real"))
    patients = [int(groups.max()) + 1 for groups in whose[:2]]
    few = [
        f"only {count} patients (groups) stand behind the {len(groups)} {side} images: "
        f"an interval needs {FEWEST_GROUPS}, and the floor is rough."
        for side, count, groups, named in (
            ("real", patients[0], whose[0], real_groups),
            ("synthetic", patients[1], whose[1], fake_groups),
        )
        if count < FEWEST_GROUPS and any(group is not None for group in named or ())
    ]

    # Halves for the interval; lots of reals for the floor; and as many synthetic ones beside them.
    halves = [] if few else _halves(kind, whose[0], whose[1], draws, seed)
    random = np.random.default_rng([seed, 1])  # apart from the draws of the interval
    floor_draws = _floor_draws(kind, whose, FEW_DRAWS if wide else FLOOR_DRAWS, random)
    same_n = not floor_draws or (other is not None and len(other) >= len(fake))
    at_floor_n: list[Draw] = [
        (some, some_groups(whose[1], len(rest), random))
        for some, rest in (floor_draws if kind.biased and not same_n else ())
    ]
    measured = kind.measure(real, fake, [None, *halves, *at_floor_n], seed)
    others = real if other is None else other
    floors = kind.measure(real, others, floor_draws, seed) if floor_draws else {}

    named = extractor == NAMED_COLUMNS and metric in DISTANCES
    why, families = columns_apart(real, fake) if named else ((), {})
    return [
        Score(
            name=f"FID{name[2:]}" if extractor == FID_EXTRACTOR and name[:2] == "FD" else name,
            value=float(figures[0]),
            n_real=len(real),
            n_fake=len(fake),
            extractor=extractor,
            interval=_interval(kind, figures[: 1 + len(halves)], halves, whose, min(patients)),
            floor=_mean(floors.get(name, np.zeros(0))),
            floor_n=None if same_n else round(np.mean([len(rest) for _, rest in floor_draws])),
            value_at_floor_n=_mean(figures[1 + len(halves) :]),
            warning=" ".join(filter(None, [remarks(metric, real, fake), *few])),
            why=why,
            families=families,
        )
        for name, figures in measured.items()
    ]


def _halves(kind: Metric, real: Rows, fake: Rows, draws: int, seed: int) -> list[tuple[Rows, Rows]]:
    """Return the halves of an interval; none where a half would be too small to measure."""
    random = np.random.default_rng(seed)
    pairs = [(half(real, kind.most, random), half(fake, kind.most, random)) for _ in range(draws)]
    return pairs if all(len(rows) >= kind.least for pair in pairs for rows in pair) else []


def _floor_draws(
    kind: Metric, whose: Sequence[Rows], draws: int, random: np.random.Generator
) -> list[tuple[Rows, Rows]]:
    """Return which reals are held against which: two lots of one set, or one lot of either."""
    real, fake, *others = whose
    pairs = []
    if others:
        n = min(len(real), len(others[0]))
        sizes = (len(real), len(fake)) if len(others[0]) >= len(fake) else (n, n)
        first, second = (int(min(size, kind.most)) for size in sizes)
        all_of_both = (first, second) == (len(real), len(others[0]))
        for _ in range(1 if all_of_both else draws):
            pairs.append((some_groups(real, first, random), some_groups(others[0], second, random)))
    elif real.max():  # one patient has no halves
        most = int(min(len(real) // 2, len(fake), kind.most))
        pairs = [two_halves(real, most, random) for _ in range(draws)]
    return [pair for pair in pairs if min(map(len, pair)) >= kind.least]


def _interval(
    kind: Metric,
    figures: Floats,
    halves: Sequence[tuple[Rows, Rows]],
    whose: Sequence[Rows],
    patients: int,
) -> tuple[float, float] | None:
    """Return value and margin; where all halves agree, what n images can say at most.

    A share of 0 or 1 in every half does not vary, and is not known for certain either: Wilson's
    (1927) interval of 0 or n out of n images, or patients, stands there. Other figures that do
    not vary have none.
    """
    value, drawn = float(figures[0]), figures[1:][np.isfinite(figures[1:])]
    if len(drawn) < 2 or not np.isfinite(value):
        return None
    # The spread of halves is the error of the whole, where they are halves.
    share = max(np.mean([len(pair[k]) for pair in halves]) / len(whose[k]) for k in (0, 1))
    error = float(np.std(drawn, ddof=1) * np.sqrt(share / (1 - share)))
    if not error > 1e-12 * abs(value):
        if kind.bounds != SHARE or round(value, 9) not in SHARE:
            return None
        test = stats.binomtest(round(round(value, 9) * patients), patients)
        ends = test.proportion_ci(method="wilson")
        return float(ends.low), float(ends.high)
    # So many patients say no more than n - 1 numbers, however often they are halved.
    margin = float(stats.t.ppf(0.975, min(len(halves), patients) - 1)) * error
    return max(value - margin, kind.bounds[0]), min(value + margin, kind.bounds[1])


def _mean(values: Floats) -> float | None:
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else None


def _frechet(real: Floats, fake: Floats, draws: Sequence[Draw], seed: int) -> Figures:
    return {"FD": np.array([frechet_of_rows(*_rows(real, fake, draw)) for draw in draws])}


def _infinity(real: Floats, fake: Floats, draws: Sequence[Draw], seed: int) -> Figures:
    found = [frechet_infinity(*_rows(real, fake, draw), seed=seed) for draw in draws]
    return {"FD-infinity": np.array(found)}


def _rows(real: Floats, fake: Floats, draw: Draw) -> tuple[Floats, Floats]:
    return (real, fake) if draw is None else (real[draw[0]], fake[draw[1]])


def _kernel(real: Floats, fake: Floats, draws: Sequence[Draw], seed: int) -> Figures:
    found = [kernel_distance(real, fake, seed=seed)] if None in draws else []
    rows = [draw for draw in draws if draw is not None]
    if rows:
        found += kernel_distances(real, fake, [a for a, _ in rows], [b for _, b in rows]).tolist()
    return {"KID": np.array(found)}


def _balls(
    name: str, k: int, column: int, real: Floats, fake: Floats, draws: Sequence[Draw], seed: int
) -> Figures:
    if name == "recall":  # the balls are those of the fakes
        real, fake = fake, real
        draws = [draw and draw[::-1] for draw in draws]
    return {name: in_balls(real, fake, k, draws)[:, column]}


def _columns(name: str, real: Floats, fake: Floats, draws: Sequence[Draw], seed: int) -> Figures:
    table = column_distances(real, fake, draws)[name == "Wasserstein"]
    table = table[:, np.isfinite(table[0])]
    if not table.shape[1]:
        raise DataError(
            "every real column is constant, so there is no standard deviation to measure "
            "a Wasserstein distance in; use KS, or look whether the images are all alike."
        )
    return {name: table.mean(axis=1), f"{name} largest": table.max(axis=1)}


_METRICS = {
    "fd": Metric(_frechet, 2, DISTANCE),
    "fd_infinity": Metric(_infinity, 2 * POINTS, UNBIASED, biased=False),
    "kid": Metric(_kernel, 4, UNBIASED, SUBSET_ROWS, biased=False),
    "precision": Metric(partial(_balls, "precision", PRECISION_K, 0), PRECISION_K + 1, SHARE),
    "recall": Metric(partial(_balls, "recall", PRECISION_K, 0), PRECISION_K + 1, SHARE),
    "density": Metric(partial(_balls, "density", DENSITY_K, 1), DENSITY_K + 1, DISTANCE),
    "coverage": Metric(partial(_balls, "coverage", DENSITY_K, 2), DENSITY_K + 1, SHARE),
    "ks": Metric(partial(_columns, "KS"), 2, SHARE),
    "wasserstein": Metric(partial(_columns, "Wasserstein"), 2, DISTANCE),
}
METRICS = tuple(_METRICS)
FEWEST = MappingProxyType({name: metric.least for name, metric in _METRICS.items()})  # rows a side
