"""Rows of a study to intervals, differences and a conclusion computed from them."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from medgan_widgets.studies.augmentation.arms import CLASSICAL, DUPLICATED, MIXED, REAL, SYNTHETIC
from medgan_widgets.studies.augmentation.figures import Floats, weighted

DRAWS = 1000
DRAWN_BY = 7_405_926  # no seed that anybody trains with, so nothing is drawn alike
FEWEST_SEEDS = 5
FEWEST_GROUPS = 5
FEWEST_TESTED = 100
CONTROLS = {
    REAL: "the reals alone",
    DUPLICATED: "as many duplicated reals",
    CLASSICAL: "as many classically changed reals",
}


@dataclass(frozen=True, repr=False)
class StudyOutcome:
    """What a study found.

    Intervals are 95 % and hold for other training seeds and other test patients
    of the same kind, not for other training images. Two variances are added: that of
    the mean over seeds, and that over test groups (patients; images where
    nobody named any), drawn again 1,000 times; the t quantile has the degrees
    of freedom of their sum (Satterthwaite 1946), so five seeds count as five.
    Differences are paired: both arms have the same seeds and test images.

    Attributes
    ----------
    rows
        One a training, plain dictionaries.
    truth
        The class of each test image, by its place in ``classes``.
    groups
        Which group each test image belongs to.
    classes
        Names.
    provenance
        What the generator has seen.
    notes
        What else is to be said.
    """

    rows: tuple[Mapping[str, Any], ...]
    truth: tuple[int, ...]
    groups: tuple[int, ...]
    classes: tuple[str, ...]
    provenance: str = ""
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "\n".join([self.conclusion, *filter(None, [self.provenance]), *self.all_notes])

    def to_frame(self) -> pd.DataFrame:
        """Return one row a training."""
        return pd.DataFrame([plain_row(row, self.classes) for row in self.rows])

    def summary(self) -> pd.DataFrame:
        """Return one row an arm and ratio: means over seeds, with intervals (low, high)."""
        rows = []
        for (arm, ratio), trained in self._arms.items():
            found = self._metrics(arm, ratio)
            row = {"arm": arm, "ratio": ratio, "n_train": trained[0]["n_train"],
                   "seeds": len(trained), "n_test": len(self.truth)}  # fmt: skip
            for name in ("accuracy", "balanced_accuracy", "macro_f1"):
                row |= _with_interval(name, *found[name])
            for name, recall in zip(self.classes, found["recall"], strict=True):
                row |= _with_interval(f"recall {name}", *recall)
            rows.append(row)
        return pd.DataFrame(rows)

    def differences(self) -> pd.DataFrame:
        """Return real + synthetic minus each control, in balanced accuracy, paired, 95 %.

        With several ratios the intervals are wider (95 % for all of them together,
        Bonferroni), since the best of many is better by chance.
        """
        rows = [
            {"ratio": ratio, "against": control, "difference": value, "low": low, "high": high,
             "verdict": _verdict(low, high)}
            for ratio in self._ratios
            for control, (value, low, high) in self._against(ratio).items()
        ]  # fmt: skip
        columns = ["ratio", "against", "difference", "low", "high", "verdict"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def conclusion(self) -> str:
        """What the numbers say, in sentences made from them alone."""
        if not self.rows:
            return "Nothing was trained yet, so nothing can be said."
        if not self._ratios:
            return "No arm with synthetic images was trained beside the reals, so nothing is said."
        return "\n".join([*(self._of_ratio(ratio) for ratio in self._ratios), self._overall()])

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What limits the conclusion, computed and told."""
        found = list(self.notes)
        seeds = min((len(rows) for rows in self._arms.values()), default=0)
        if 0 < seeds < FEWEST_SEEDS:
            found.append(
                f"Only {seeds} seed{'s' * (seeds != 1)}: at least 5 are needed to trust it."
            )
        if len(self.truth) < FEWEST_TESTED:
            found.append(f"Only {len(self.truth)} test images: differences may well be missed.")
        groups = len(set(self.groups))
        if groups < FEWEST_GROUPS:
            found.append(
                f"Only {groups} test group{'s' * (groups != 1)}, too few for an interval: nobody "
                "can say how far the figures would vary with others."
            )
        elif groups < 20:
            found.append(f"Only {groups} test groups: intervals are too narrow.")
        if any(count == 0 for count in np.bincount(self.truth, minlength=len(self.classes))):
            found.append("A class has no test image; it counts in no mean.")
        if (REAL, 0.0) in self._arms:
            real = self._metrics(REAL, 0.0)["balanced_accuracy"][0]
            if real > 0.97:
                found.append(f"The reals alone reach {real:.2f}: there is hardly room for a gain.")
            if real < 1 / max(1, len(self.classes)) + 0.05:
                found.append(f"The reals alone reach {real:.2f}, about chance: the classifier does "
                             "not learn this yet, and a comparison says little.")  # fmt: skip
        return tuple(found)

    def _repr_html_(self) -> str:
        table = self.summary().to_html(index=False, float_format="{:.3f}".format, border=0)
        return table + "".join(f"<p>{html.escape(line)}</p>" for line in repr(self).splitlines())

    # ------------------------------------------------------------ sentences

    def _of_ratio(self, ratio: float) -> str:
        added = self._arms[MIXED, ratio][0]["n_synthetic"]
        value, (low, high) = self._metrics(MIXED, ratio)["balanced_accuracy"]
        parts = []
        for control, difference in self._against(ratio).items():
            parts.append(f"{_signed(difference)} against {CONTROLS[control]}")
        text = (
            f"{added} synthetic images added (ratio {ratio:g}): balanced accuracy {value:.3f} "
            f"[{low:.3f}, {high:.3f}]; {'; '.join(parts) or 'no control was trained'}."
        )
        if (SYNTHETIC, ratio) in self._arms:
            alone, (low, high) = self._metrics(SYNTHETIC, ratio)["balanced_accuracy"]
            text += f" Synthetic images alone: {alone:.3f} [{low:.3f}, {high:.3f}]."
        return text

    def _overall(self) -> str:
        found = {ratio: self._against(ratio) for ratio in self._ratios}
        missing = [words for control, words in CONTROLS.items()
                   if any(control not in one for one in found.values())]  # fmt: skip
        better = {
            control: [ratio for ratio, one in found.items() if one.get(control, (0, 0, 0))[1] > 0]
            for control in CONTROLS
        }
        all_three = [r for r in found if all(r in better[control] for control in CONTROLS)]
        worse = [ratio for ratio, one in found.items() if one.get(REAL, (0, 0, 0))[2] < 0]
        if all_three:
            text = (
                f"Synthetic images helped: at ratio {_list(all_three)} more than reals alone, and "
                "more than duplicating or classically changing the reals does."
            )
        elif better[REAL] and missing:
            text = (
                "Synthetic images helped against the reals alone; whether more than the controls "
                "do is open."
            )
        elif better[REAL]:
            best = max(better[REAL], key=lambda ratio: found[ratio][REAL][0])
            text = (
                "No gain by synthetic images is shown beyond more training steps: at ratio "
                f"{best:g} better than the reals alone ({_signed(found[best][REAL])}), but "
                f"{_unbeaten(better, found[best])}."
            )
        elif worse:
            text = f"Synthetic images made it worse, at ratio {_list(worse)}."
        else:
            text = "No gain by synthetic images is shown."
        beaten = [
            words
            for control, words in CONTROLS.items()
            if control != REAL and any(one.get(control, (0, 0, 0))[2] < 0 for one in found.values())
        ]
        if beaten:
            text += f" They did worse than {' and '.join(beaten)}."
        return text + (f" Not trained: {', '.join(missing)}." if missing else "")

    # ------------------------------------------------------------ numbers

    @cached_property
    def _arms(self) -> dict[tuple[str, float], list[Mapping[str, Any]]]:
        found: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            found.setdefault((row["arm"], float(row["ratio"])), []).append(row)
        return found

    @cached_property
    def _ratios(self) -> list[float]:
        return sorted(ratio for arm, ratio in self._arms if arm == MIXED)

    @cached_property
    def _drawn(self) -> Floats:
        """Return how often each test image is drawn, by groups, [DRAWS, N]; the first has all."""
        random = np.random.default_rng(DRAWN_BY)
        groups = np.array(self.groups)
        count = len(set(self.groups))
        times = random.multinomial(count, np.full(count, 1 / count), size=DRAWS - 1)
        return np.concatenate([np.ones((1, len(groups))), times[:, groups].astype(np.float64)])

    @cached_property
    def _found(self) -> dict[tuple[str, float], dict[str, Any]]:
        """Return each arm's metrics on all draws of test groups, one column a seed."""
        truth = np.array(self.truth)
        return {
            key: weighted(
                truth, np.array([row["predicted"] for row in rows]), len(self.classes), self._drawn
            )
            for key, rows in self._arms.items()
        }

    def _metrics(self, arm: str, ratio: float) -> dict[str, Any]:
        """Return each metric's mean and interval."""
        found = self._found[arm, ratio]

        def told(values: Floats, groups: int) -> tuple[float, tuple[float, float]]:
            low, high = self._interval(values, groups, 0.05)
            return float(values[0].mean()), (max(low, 0.0), min(high, 1.0))

        names, every = ("accuracy", "balanced_accuracy", "macro_f1"), len(set(self.groups))
        own: list[set[int]] = [set() for _ in self.classes]  # groups in which a class is
        for place, group in zip(self.truth, self.groups, strict=True):
            own[place].add(group)
        recalls = zip(found["recall"], own, strict=True)
        return {
            **{name: told(found[name], every) for name in names},
            "recall": [told(values, len(some)) for values, some in recalls],
        }

    def _against(self, ratio: float) -> dict[str, tuple[float, float, float]]:
        told = {}
        for control in CONTROLS:
            key = (control, 0.0 if control == REAL else ratio)
            if key not in self._arms:
                continue
            sides = ((MIXED, ratio), key)
            seeds = [[row["seed"] for row in self._arms[side]] for side in sides]
            both = [seed for seed in seeds[0] if seed in seeds[1]]  # that both arms have
            if not both:
                continue
            mixed, others = (
                self._found[side]["balanced_accuracy"][:, [own.index(seed) for seed in both]]
                for side, own in zip(sides, seeds, strict=True)
            )
            difference = mixed - others
            tried = max(1, len(self._ratios))
            told[control] = (
                float(difference[0].mean()),
                *self._interval(difference, len(set(self.groups)), 0.05 / tried),
            )
        return told

    def _interval(self, values: Floats, groups: int, left_out: float) -> tuple[float, float]:
        """Return the interval of a mean; of values [draws, seeds] the first row has all.

        Below five test groups nothing says how far others would be: all that can be.
        """
        seeds, middle = values.shape[1], float(values[0].mean())
        if not np.isfinite(middle):  # a class without a test image
            return np.nan, np.nan
        if groups < FEWEST_GROUPS:
            return -1.0, 1.0
        of_seeds = float(values[0].var(ddof=1)) / seeds if seeds > 1 else 0.0
        of_groups = float(np.nanvar(values[1:].mean(axis=1), ddof=1))
        both = of_seeds + of_groups
        if not both > 0:  # all agree; Wilson (1927): what that many groups can say at most
            ends = stats.binomtest(0, groups).proportion_ci(1 - left_out, method="wilson")
            return middle - float(ends.high), middle + float(ends.high)
        freedom = both**2 / (of_seeds**2 / max(seeds - 1, 1) + of_groups**2 / max(groups - 1, 1))
        half = float(stats.t.ppf(1 - left_out / 2, freedom)) * float(np.sqrt(both))
        return middle - half, middle + half


def plain_row(row: Mapping[str, Any], classes: Sequence[str]) -> dict[str, Any]:
    """Return a row for a table: each recall in a column of its own, no single predictions."""
    told = {name: value for name, value in row.items() if name not in ("recall", "predicted")}
    return told | {
        f"recall {name}": value for name, value in zip(classes, row["recall"], strict=True)
    }


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> dict[str, float]:
    return {name: value, f"{name} low": interval[0], f"{name} high": interval[1]}


def _unbeaten(
    better: Mapping[str, Sequence[float]], found: Mapping[str, tuple[float, float, float]]
) -> str:
    """Return the controls that no ratio which beats the reals beats as well, in words."""
    left = [one for one in (DUPLICATED, CLASSICAL) if not set(better[REAL]) & set(better[one])]
    if not left:
        return "at no ratio better than both controls"
    told = [f"{CONTROLS[one]} ({_signed(found[one])})" for one in left]
    return f"not better than {' or '.join(told)}"


def _signed(difference: tuple[float, float, float]) -> str:
    value, low, high = difference
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _verdict(low: float, high: float) -> str:
    return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


def _list(ratios: Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in ratios)
