"""``compare_anatomy``: the measured anatomy of generated images against fresh phantoms."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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
from medgan_widgets.requests import Score
from medgan_widgets.seeds import Value, whole_number

if TYPE_CHECKING:
    import pandas as pd

FRESH = 2**46  # the first seed of phantoms to judge by: no training and no atlas has them
MAX_PHANTOMS = 500
HALVES = 200
FEWEST = 8  # images from which an interval is made
FEW = 50  # images of which hardly anything can be told apart
ALPHA = 0.05


@dataclass(frozen=True)
class Compared:
    """One quantity in generated images and, measured the same way, in fresh phantoms.

    Attributes
    ----------
    quantity
        As in ``measure_anatomy``.
    n, n_phantoms
        In how many images it could be measured.
    mean, spread, phantom_mean, phantom_spread
        Mean and standard deviation; for what is seen or not, the mean is the rate.
    ks
        The Kolmogorov-Smirnov statistic, 0 (same distribution) … 1; for a rate, the difference.
        None where fewer than two images could be measured.
    interval
        95 %, from half samples.
    floor
        The same of phantoms against other phantoms, of as many.
    p
        That so large a difference comes by chance, times the number of quantities.
    """

    quantity: str
    n: int
    n_phantoms: int
    mean: float
    spread: float
    phantom_mean: float
    phantom_spread: float
    ks: float | None
    interval: tuple[float, float] | None
    floor: float | None
    p: float | None

    @property
    def met(self) -> bool | None:
        """Whether no difference is shown (p of at least 0.05); None where nothing can be said."""
        return None if self.p is None else self.p >= ALPHA


@dataclass(frozen=True, repr=False)
class AnatomyReport:
    """Whether generated images have the statistics of the phantoms they were learned from.

    Attributes
    ----------
    kind
        Of the phantoms.
    n, n_phantoms
        Images judged, and fresh phantoms they were judged by.
    rows
        One a quantity.
    unlike
        How many of the images show no such anatomy at all, and of the phantoms.
    classes
        Where classes were asked for: in words, what share shows them, in images and phantoms.

    Examples
    --------
    >>> row = Compared("density", 90, 90, 0.4, 0.02, 0.41, 0.06, 0.3, (0.2, 0.4), 0.08, 0.001)
    >>> report = AnatomyReport("mammogram", 90, 90, (row,), (0, 0), {})
    >>> print(report.text.partition(" (KS")[0])
    Not met: density, 0.4 ± 0.02 against 0.41 ± 0.06 share of white
    >>> report.unmet
    ('density',)
    """

    kind: str
    n: int
    n_phantoms: int
    rows: tuple[Compared, ...]
    unlike: tuple[int, int]
    classes: Mapping[str, tuple[float, float]]

    def __repr__(self) -> str:
        return self.text

    @property
    def unmet(self) -> tuple[str, ...]:
        """The quantities whose statistics are not those of phantoms."""
        return tuple(row.quantity for row in self.rows if row.met is False)

    @property
    def scores(self) -> tuple[Score, ...]:
        """The statistics as scores, with n, interval and floor; KS only compares with KS."""
        warning = "fewer than 50 images" if min(self.n, self.n_phantoms) < FEW else ""
        extractor = f"anatomy-1 ({self.kind})"
        return tuple(
            Score(f"KS {row.quantity}", row.ks, row.n_phantoms, row.n, extractor, row.interval,
                  row.floor, warning=warning)
            for row in self.rows
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The findings in sentences, what is not met first."""
        return "\n".join(_sentences(self))

    def to_frame(self) -> pd.DataFrame:
        """Return one row a quantity; ``met`` says whether its statistics are the phantoms'."""
        import pandas as pd

        frame = pd.DataFrame([{**asdict(row), "met": row.met} for row in self.rows])
        ends = [row.interval or (None, None) for row in self.rows]
        frame["low"], frame["high"] = zip(*ends, strict=True)
        frame["unit"] = [QUANTITIES[self.kind][name].unit for name in frame["quantity"]]
        return frame[
            ["quantity", "unit", "mean", "spread", "phantom_mean", "phantom_spread",
             "ks", "low", "high", "floor", "p", "met", "n", "n_phantoms"]
        ]  # fmt: skip

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(index=False, float_format="{:.3g}".format, border=0)
        return table + "".join(f"<p>{html.escape(line)}</p>" for line in self.text.splitlines())


@dataclass(frozen=True)
class Measurements:
    """What was measured in some images, and which classes they were asked to show."""

    values: Mapping[str, Floats]
    labels: Mapping[str, Sequence[Value]]

    def of(self, quantity: str) -> Floats:
        """Return the values that could be measured."""
        values = self.values[quantity]
        return values[np.isfinite(values)]

    def lesions(self, factor: str, value: bool) -> Floats:
        """Return whether a lesion is seen in the images of one class, where anything is."""
        seen = self.values["lesion"]
        asked = np.array([bool(label) == value for label in self.labels[factor]])
        return seen[asked & np.isfinite(seen)]


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
        As ``measure_anatomy`` does.

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
    check_labels(kind, labels, len(grey))
    requested = {name: list(values) for name, values in (labels or {}).items()}
    size = grey.shape[1]
    count = min(len(grey), MAX_PHANTOMS) if n is None else whole_number(n, "n", 2, 100_000)
    first = FRESH + 1_000_000 * whole_number(seed, "seed", 0, 10**9)
    generated = Measurements(measure_anatomy(kind, grey), requested)
    fresh = _phantoms(kind, requested, size, count, first)
    others = _phantoms(kind, requested, size, count, first + 500_000)
    random = np.random.default_rng(seed)
    rows = tuple(_compared(kind, name, generated, fresh, others, random)
                 for name in QUANTITIES[kind])  # fmt: skip
    unlike = tuple(int(np.isnan(side.values["lesion"]).sum()) for side in (generated, fresh))
    classes = dict(_classes(kind, generated, fresh))
    return AnatomyReport(kind, len(grey), count, rows, (unlike[0], unlike[1]), classes)


def _phantoms(
    kind: str, requested: Mapping[str, Sequence[Value]], size: int, count: int, first: int
) -> Measurements:
    """Draw and measure phantoms whose classes are mixed as those of the images."""
    rows = list(zip(*requested.values(), strict=True)) if requested else [()]
    # The classes of the images in turn, so that as many phantoms have each as images do.
    mixed = [rows[place * len(rows) // count] if count <= len(rows) else rows[place % len(rows)]
             for place in range(count)]  # fmt: skip
    parts = []
    for classes in dict.fromkeys(mixed):
        end = mixed.count(classes)
        condition = dict(zip(requested, classes, strict=True))
        for start in range(0, end, 64):  # a chunk, so that memory stays small
            seeds = range(first + start, first + min(start + 64, end))
            drawn = draw_phantoms(kind, seeds, size=size, condition=condition)
            parts.append(Measurements(measure_anatomy(kind, drawn.images), drawn.labels))
        first += end
    return Measurements(
        {name: np.concatenate([part.values[name] for part in parts]) for name in QUANTITIES[kind]},
        {name: [label for part in parts for label in part.labels[name]]
         for name in KINDS[kind].factors},
    )  # fmt: skip


def _compared(
    kind: str,
    name: str,
    generated: Measurements,
    fresh: Measurements,
    others: Measurements,
    random: np.random.Generator,
) -> Compared:
    images, phantoms, baseline = generated.of(name), fresh.of(name), others.of(name)
    ks = interval = floor = p = None
    if min(len(images), len(phantoms)) >= 2:
        chance = _chance(name, images, phantoms)
        if name == "lesion":
            chance = min(chance, _chance_by_class(kind, generated, fresh))
        ks, p = _distance(images, phantoms), min(1.0, len(QUANTITIES[kind]) * chance)
        if min(len(images), len(phantoms)) >= FEWEST:
            halves = np.array([
                _distance(_half(images, random), _half(phantoms, random)) for _ in range(HALVES)
            ])  # fmt: skip
            low, high = np.quantile(halves - halves.mean(), (0.025, 0.975))
            interval = float(np.clip(ks + low, 0, ks)), float(np.clip(ks + high, ks, 1))
    if min(len(phantoms), len(baseline)) >= 2:
        floor = _distance(phantoms, baseline)
    return Compared(
        name, len(images), len(phantoms), *_moments(images), *_moments(phantoms),
        ks, interval, floor, p,
    )  # fmt: skip


def _moments(values: Floats) -> tuple[float, float]:
    return (float(values.mean()), float(values.std())) if len(values) else (np.nan, np.nan)


def _half(values: Floats, random: np.random.Generator) -> Floats:
    return random.choice(values, len(values) // 2, replace=False)


def _distance(one: Floats, two: Floats) -> float:
    """Return the largest difference of the two distribution functions."""
    return float(stats.ks_2samp(one, two, method="asymp").statistic)


def _chance(name: str, one: Floats, two: Floats) -> float:
    if name == "contrast":
        table = np.array(
            [[(side == k).sum() for k in range(len(CONTRASTS))] for side in (one, two)]
        )
        seen = table[:, table.sum(axis=0) > 0]
        return float(stats.chi2_contingency(seen).pvalue) if seen.shape[1] > 1 else 1.0
    if name == "lesion":
        table = np.array([[side.sum(), (1 - side).sum()] for side in (one, two)]).astype(int)
        return float(stats.fisher_exact(table).pvalue)
    # Exact: by the formula for many images two and three that differ could not be chance.
    return float(stats.ks_2samp(one, two).pvalue)


def _chance_by_class(kind: str, generated: Measurements, fresh: Measurements) -> float:
    """Return the chance of the lesion rates within each class asked for; 1 where none was.

    A model that misses tumours asked for, and makes some that were not, has the
    right rate and is wrong all the same.
    """
    factor = LESIONS[kind]
    if factor not in generated.labels:
        return 1.0
    pairs = [
        [side.lesions(factor, value) for side in (generated, fresh)] for value in (True, False)
    ]
    chances = [_chance("lesion", *pair) for pair in pairs if min(map(len, pair))]
    return min([1.0, *(len(chances) * chance for chance in chances)])


def _classes(
    kind: str, generated: Measurements, fresh: Measurements
) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield how often what was asked for is seen, in images and in phantoms."""
    lesion = LESIONS[kind]
    if lesion in generated.labels:
        for value, words in (
            (True, f"Asked for a {lesion}, it is seen in"),
            (False, f"Asked for no {lesion}, one is seen all the same in"),
        ):
            seen = [side.lesions(lesion, value) for side in (generated, fresh)]
            if min(map(len, seen)):
                yield words, (float(seen[0].mean()), float(seen[1].mean()))
    if "contrast" in generated.labels:
        shares = [
            float((side.values["contrast"]
                   == [CONTRASTS.index(str(label)) for label in side.labels["contrast"]]).mean())
            for side in (generated, fresh)
        ]  # fmt: skip
        yield "The contrast asked for is seen in", (shares[0], shares[1])


def _sentences(report: AnatomyReport) -> Iterator[str]:
    kind, rows = report.kind, report.rows
    words = {row.quantity: QUANTITIES[kind][row.quantity].words for row in rows}
    if report.unlike[0]:
        yield (
            f"{report.unlike[0]} of {report.n} images show no {kind} at all "
            f"(phantoms: {report.unlike[1]} of {report.n_phantoms})."
        )
    yield from (_not_met(kind, row) for row in rows if row.met is False)
    if met := [f"{words[row.quantity]} {_least(row, len(rows)):.2f}" for row in rows if row.met]:
        yield (
            f"No difference shown (n {report.n} / {report.n_phantoms}; behind each the KS below "
            f"which none would show): {', '.join(met)}."
        )
    if blank := [words[row.quantity] for row in rows if not row.n]:
        yield f"Nothing to measure: {', '.join(blank)}."
    if few := [words[row.quantity] for row in rows if row.n and row.met is None]:
        yield f"Not compared, which needs at least 2 images on each side: {', '.join(few)}."
    for asked, (share, of_phantoms) in report.classes.items():
        yield f"{asked}: {share:.0%} (phantoms: {of_phantoms:.0%})."
    if min(report.n, report.n_phantoms) < FEW:
        yield f"Only {report.n} image{'s' * (report.n != 1)}: differences may well be missed."


def _least(row: Compared, tests: int) -> float:
    """Return Smirnov's 5 % point for two large samples, at this row's n, of so many tests."""
    point = math.sqrt(-math.log(ALPHA / tests / 2) / 2)
    return min(1.0, point * math.sqrt(1 / max(row.n, 1) + 1 / max(row.n_phantoms, 1)))


def _not_met(kind: str, row: Compared) -> str:
    quantity = QUANTITIES[kind][row.quantity]
    if row.quantity == "lesion":
        return (
            f"Not met: {quantity.words}; a {LESIONS[kind]} is seen in {row.mean:.0%} of the "
            f"images and in {row.phantom_mean:.0%} of phantoms."
        )
    ends = "" if row.interval is None else f" [{row.interval[0]:.2f}, {row.interval[1]:.2f}]"
    floor = "" if row.floor is None else f", floor {row.floor:.2f}"
    return (
        f"Not met: {quantity.words}, {row.mean:.3g} ± {row.spread:.2g} against "
        f"{row.phantom_mean:.3g} ± {row.phantom_spread:.2g} {quantity.unit} "
        f"(KS {row.ks:.2f}{ends}{floor})."
    )
