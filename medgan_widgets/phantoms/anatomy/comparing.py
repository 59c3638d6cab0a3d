"""``compare_anatomy``: the measured anatomy of generated images against fresh phantoms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from medgan_widgets.errors import DataError
from medgan_widgets.phantoms import KINDS, LARGEST, check_kind, draw_phantoms
from medgan_widgets.phantoms.anatomy.brain import CONTRASTS
from medgan_widgets.phantoms.anatomy.frame import Floats
from medgan_widgets.phantoms.anatomy.measuring import (
    LESIONS,
    QUANTITIES,
    check_labels,
    grey_images,
    measure_anatomy,
)
from medgan_widgets.phantoms.anatomy.report import AnatomyReport, Compared
from medgan_widgets.seeds import Value, whole_number

FRESH = 2**46  # the first seed of phantoms to judge by: no training and no atlas has them
MOST = 500
HALVES = 200
FEWEST = 8  # images from which an interval is made


@dataclass(frozen=True)
class Side:
    """Measured images with what was asked of them."""

    measured: Mapping[str, Floats]
    labels: Mapping[str, Sequence[Value]]

    def of(self, quantity: str) -> Floats:
        """Return the values that could be measured."""
        values = self.measured[quantity]
        return values[np.isfinite(values)]


def compare_anatomy(
    kind: str,
    images: Any,
    *,
    labels: Mapping[str, Sequence[Value]] | None = None,
    n: int | None = None,
    seed: int = 0,
) -> AnatomyReport:
    """Compare the anatomy in generated images with the same measurements on fresh phantoms.

    Both sides are measured by the same means, so the error of the measurement
    cancels; the floor is what phantoms show against other phantoms. Phantoms are
    drawn in the images' own size, and with the classes that were asked for
    where ``labels`` says them.

    Parameters
    ----------
    kind
        ``"brain_mri"``, ``"chest_xray"`` or ``"mammogram"``.
    images
        As for ``measure_anatomy``.
    labels
        Factor -> what was asked for, one value an image (``Batch.labels``).
    n
        How many phantoms on each side; as many as images by default, at most 500.
    seed
        Draws the phantoms and the half samples.

    Returns
    -------
    AnatomyReport
        ``.text`` says where the statistics are not met; ``.to_frame()``; ``.scores``.

    Raises
    ------
    RequestError, DataError
        As ``measure_anatomy`` does, and for labels that do not fit.

    Notes
    -----
    Two-sample Kolmogorov-Smirnov tests (Fisher's exact test for rates), p times
    the number of quantities (Bonferroni). Intervals: the 2.5th and 97.5th
    percentile of the statistic on 200 pairs of halves drawn without replacement,
    moved to the statistic of all: half samples of n vary as samples of n do, but
    are larger in the mean.

    Examples
    --------
    >>> drawn = draw_phantoms("mammogram", range(60), size=64)
    >>> report = compare_anatomy("mammogram", drawn.images, n=60)
    >>> report.unmet, report.to_frame().shape
    ((), (4, 14))
    """
    check_kind(kind)
    grey = grey_images(images)
    if grey.shape[1] > LARGEST:
        raise DataError(
            f"phantoms are drawn up to {LARGEST} pixels a side, the images have {grey.shape[1]}; "
            "make them smaller first."
        )
    asked = _checked_labels(kind, labels, len(grey))
    size = grey.shape[1]
    count = min(len(grey), MOST) if n is None else whole_number(n, "n", 2, 100_000)
    first = FRESH + 1_000_000 * whole_number(seed, "seed", 0, 10**9)
    judged = Side(measure_anatomy(kind, grey), asked)
    fresh = _phantoms(kind, asked, size, count, first)
    others = _phantoms(kind, asked, size, count, first + 500_000)
    random = np.random.default_rng(seed)
    rows = tuple(_compared(name, judged, fresh, others, random, len(QUANTITIES[kind]))
                 for name in QUANTITIES[kind])  # fmt: skip
    return AnatomyReport(
        kind, len(grey), count, rows, (_unlike(judged), _unlike(fresh)),
        dict(_classes(kind, judged, fresh)),
    )  # fmt: skip


def _checked_labels(
    kind: str, labels: Mapping[str, Sequence[Value]] | None, count: int
) -> dict[str, list[Value]]:
    check_labels(labels, count)
    asked = {}
    for name, values in (labels or {}).items():
        if name not in KINDS[kind].factors:
            have = ", ".join(KINDS[kind].factors)
            raise DataError(f"{kind} phantoms have no class {name!r}; they have: {have}.")
        known = KINDS[kind].factors[name]
        if any(one not in known for one in values):
            raise DataError(f"{name} must be one of {', '.join(map(repr, known))}.")
        asked[name] = list(values)
    return asked


def _phantoms(
    kind: str, asked: Mapping[str, Sequence[Value]], size: int, count: int, first: int
) -> Side:
    """Draw and measure phantoms whose classes are mixed as those of the images."""
    rows = list(zip(*asked.values(), strict=True)) if asked else [()]
    # The classes of the images in turn, so that as many phantoms have each as images do.
    wanted = [rows[place * len(rows) // count] if count <= len(rows) else rows[place % len(rows)]
              for place in range(count)]  # fmt: skip
    parts = []
    for classes in dict.fromkeys(wanted):
        many = wanted.count(classes)
        condition = dict(zip(asked, classes, strict=True))
        for start in range(0, many, 64):
            seeds = range(first + start, first + min(start + 64, many))
            drawn = draw_phantoms(kind, seeds, size=size, condition=condition)
            parts.append(Side(measure_anatomy(kind, drawn.images), drawn.labels))
        first += many
    measured = {
        name: np.concatenate([part.measured[name] for part in parts]) for name in QUANTITIES[kind]
    }
    labels = {
        name: [one for part in parts for one in part.labels[name]] for name in KINDS[kind].factors
    }
    return Side(measured, labels)


def _compared(
    name: str, judged: Side, fresh: Side, others: Side, random: np.random.Generator, tests: int
) -> Compared:
    one, two, three = judged.of(name), fresh.of(name), others.of(name)
    ks = interval = floor = p = None
    if min(len(one), len(two)) >= 2:
        chance = min(_chance(name, one, two), _by_class(name, judged, fresh))
        ks, p = _distance(one, two), min(1.0, tests * chance)
        interval = _interval(ks, one, two, random)
    if min(len(two), len(three)) >= 2:
        floor = _distance(two, three)
    return Compared(
        name, len(one), len(two), *_moments(one), *_moments(two), ks, interval, floor, p
    )


def _moments(values: Floats) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (np.nan, np.nan)


def _distance(one: Floats, two: Floats) -> float:
    """Return the largest difference of the two distribution functions."""
    return float(stats.ks_2samp(one, two, method="asymp").statistic)


def _chance(name: str, one: Floats, two: Floats) -> float:
    if name == "contrast":
        table = [[int((side == k).sum()) for k in range(len(CONTRASTS))] for side in (one, two)]
        seen = np.array(table)[:, np.array(table).sum(axis=0) > 0]
        return float(stats.chi2_contingency(seen).pvalue) if seen.shape[1] > 1 else 1.0
    if name == "lesion":
        table = [[int(side.sum()), int((1 - side).sum())] for side in (one, two)]
        return float(stats.fisher_exact(table).pvalue)
    # Exact: by the formula for many images two and three that differ could not be chance.
    return float(stats.ks_2samp(one, two).pvalue)


def _by_class(name: str, judged: Side, fresh: Side) -> float:
    """Return the chance of the lesion rates within each class asked for; 1 where none was.

    A model that misses tumours asked for, and makes some that were not, has the
    right rate and is wrong all the same.
    """
    found = []
    for factor in set(LESIONS.values()) & set(judged.labels) if name == "lesion" else ():
        for value in (True, False):
            seen = [_chosen(side, factor, value) for side in (judged, fresh)]
            if min(map(len, seen)):
                found.append(_chance("lesion", seen[0], seen[1]))
    return min(1.0, len(found) * min(found)) if found else 1.0


def _interval(
    ks: float, one: Floats, two: Floats, random: np.random.Generator
) -> tuple[float, float] | None:
    if min(len(one), len(two)) < FEWEST:
        return None
    halves = np.array([_distance(_half(one, random), _half(two, random)) for _ in range(HALVES)])
    low, high = np.quantile(halves - halves.mean(), (0.025, 0.975))
    return float(np.clip(ks + low, 0, ks)), float(np.clip(ks + high, ks, 1))


def _half(values: Floats, random: np.random.Generator) -> Floats:
    return random.choice(values, len(values) // 2, replace=False)


def _unlike(side: Side) -> int:
    return int(np.isnan(side.measured["lesion"]).sum())


def _classes(kind: str, judged: Side, fresh: Side) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield how often what was asked for is seen, in images and in phantoms."""
    lesion = LESIONS[kind]
    if lesion in judged.labels:
        for value, words in (
            (True, f"Asked for a {lesion}, it is seen in"),
            (False, f"Asked for no {lesion}, one is seen all the same in"),
        ):
            seen = [_chosen(side, lesion, value) for side in (judged, fresh)]
            if min(map(len, seen)):
                yield words, (float(seen[0].mean()), float(seen[1].mean()))
    if "contrast" in judged.labels:
        shares = []
        for side in (judged, fresh):
            asked = np.array([CONTRASTS.index(str(one)) for one in side.labels["contrast"]])
            shares.append(float((side.measured["contrast"] == asked).mean()))
        yield "The contrast asked for is seen in", (shares[0], shares[1])


def _chosen(side: Side, factor: str, value: bool) -> Floats:
    """Return whether a lesion is seen in the images of one class, where anything is."""
    seen = side.measured["lesion"]
    asked = np.array([bool(one) == value for one in side.labels[factor]])
    return seen[asked & np.isfinite(seen)]
