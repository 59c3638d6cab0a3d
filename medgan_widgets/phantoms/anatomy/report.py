"""What a comparison of anatomy found: a table, scores, and sentences."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd

from medgan_widgets.phantoms.anatomy.measuring import LESIONS, QUANTITIES
from medgan_widgets.requests import Score

FEW = 50  # images of which hardly anything can be told apart


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
        return None if self.p is None else self.p >= 0.05


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
        few = "fewer than 50 images" if min(self.n, self.n_phantoms) < FEW else ""
        return tuple(
            Score(
                f"KS {row.quantity}", row.ks, row.n_phantoms, row.n, f"anatomy-1 ({self.kind})",
                row.interval, row.floor, warning=few,
            )
            for row in self.rows
        )  # fmt: skip

    @property
    def text(self) -> str:
        """The findings in sentences, what is not met first."""
        lines = []
        if self.unlike[0]:
            lines.append(
                f"{self.unlike[0]} of {self.n} images show no {self.kind} at all "
                f"(phantoms: {self.unlike[1]} of {self.n_phantoms})."
            )
        lines += [_not_met(self.kind, row) for row in self.rows if row.met is False]
        if met := [row for row in self.rows if row.met]:
            told = [f"{_words(self.kind, row)} {_least(row, len(self.rows)):.2f}" for row in met]
            lines.append(
                f"No difference shown (n {self.n} / {self.n_phantoms}; behind each the KS below "
                f"which none would show): {', '.join(told)}."
            )
        if blank := [_words(self.kind, row) for row in self.rows if not row.n]:
            lines.append(f"Nothing to measure: {', '.join(blank)}.")
        if few := [_words(self.kind, row) for row in self.rows if row.n and row.met is None]:
            lines.append(
                f"Not compared, which needs at least 2 images on each side: {', '.join(few)}."
            )
        for words, (share, of_phantoms) in self.classes.items():
            lines.append(f"{words}: {share:.0%} (phantoms: {of_phantoms:.0%}).")
        if min(self.n, self.n_phantoms) < FEW:
            only = f"Only {self.n} image{'s' * (self.n != 1)}"
            lines.append(f"{only}: differences may well be missed.")
        return "\n".join(lines)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a quantity; ``met`` says whether its statistics are the phantoms'."""
        rows = []
        for row in self.rows:
            told = asdict(row)
            low, high = told.pop("interval") or (None, None)
            unit = QUANTITIES[self.kind][row.quantity].unit
            rows.append({**told, "low": low, "high": high, "met": row.met, "unit": unit})
        columns = [
            "quantity", "unit", "mean", "spread", "phantom_mean", "phantom_spread",
            "ks", "low", "high", "floor", "p", "met", "n", "n_phantoms",
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=columns)

    def _repr_html_(self) -> str:
        table = self.to_frame().to_html(index=False, float_format="{:.3g}".format, border=0)
        return table + "".join(f"<p>{html.escape(line)}</p>" for line in self.text.splitlines())


def _least(row: Compared, tests: int) -> float:
    """Return Smirnov's 5 % point for two large samples, at this row's n, of so many tests."""
    point = math.sqrt(-math.log(0.05 / tests / 2) / 2)
    return min(1.0, point * math.sqrt(1 / max(row.n, 1) + 1 / max(row.n_phantoms, 1)))


def _words(kind: str, row: Compared) -> str:
    return QUANTITIES[kind][row.quantity].words


def _not_met(kind: str, row: Compared) -> str:
    unit = QUANTITIES[kind][row.quantity].unit
    if row.quantity == "lesion":
        return (
            f"Not met: {_words(kind, row)}; a {LESIONS[kind]} is seen in {row.mean:.0%} of the "
            f"images and in {row.phantom_mean:.0%} of phantoms."
        )
    ends = "" if row.interval is None else f" [{row.interval[0]:.2f}, {row.interval[1]:.2f}]"
    floor = "" if row.floor is None else f", floor {row.floor:.2f}"
    told = (
        f"Not met: {_words(kind, row)}, {row.mean:.3g} ± {row.spread:.2g} against "
        f"{row.phantom_mean:.3g} ± {row.phantom_spread:.2g} {unit} (KS {row.ks:.2f}{ends}{floor})"
    )
    notes = []
    if row.quantity not in ("turn", "contrast") and row.phantom_mean > 0:
        ratio = row.mean / row.phantom_mean
        if abs(ratio - 1) > 0.02:
            notes.append(f"{ratio:.0%} as large on average")
    if row.phantom_spread > 0 and abs(row.spread / row.phantom_spread - 1) > 0.2:
        notes.append(f"its spread {row.spread / row.phantom_spread:.0%} of the phantoms'")
    return told + (f": {', '.join(notes)}." if notes else ".")
