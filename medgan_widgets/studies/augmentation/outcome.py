"""Rows of a study to metrics, intervals, differences and a conclusion computed from them."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medgan_widgets.studies.augmentation.arms import CLASSICAL, DUPLICATED, MIXED, REAL, SYNTHETIC

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]
Difference = tuple[float, float, float]  # value, low and high end of its interval

DRAWS = 1000
DRAWS_SEED = 7_405_926  # no seed that anybody trains with, so nothing is drawn alike
FEWEST_SEEDS = 5
FEWEST_GROUPS = 5
FEWEST_TESTED = 100
NEITHER = "at no ratio better than both controls"
MEANS = ("accuracy", "balanced_accuracy", "macro_f1")
CONTROLS = {
    REAL: "the reals alone",
    DUPLICATED: "as many duplicated reals",
    CLASSICAL: "as many classically changed reals",
}


def classification_metrics(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, weights: Floats
) -> dict[str, Any]:
    """Return metrics [draws, seeds] of predictions [seeds, N] under weights [draws, N].

    Classes without a test image have no recall and count in no mean.
    """
    right = (predicted == truth).astype(np.float64).T
    recalls, scores = [], []
    for k in range(classes):
        true = (truth == k).astype(np.float64)
        hits, positives = weights @ (right * true[:, None]), (weights @ true)[:, None]
        predictions = weights @ (predicted == k).astype(np.float64).T
        with np.errstate(invalid="ignore", divide="ignore"):
            recalls.append(np.where(positives > 0, hits / positives, np.nan))
            # A class never predicted and never true has an F1 of 0.
            either = positives + predictions
            f1 = np.where(either > 0, 2 * hits / either, 0.0)
            scores.append(np.where(positives > 0, f1, np.nan))
    return {
        "accuracy": weights @ right / weights.sum(axis=1, keepdims=True),
        "balanced_accuracy": np.nanmean(recalls, axis=0),
        "macro_f1": np.nanmean(scores, axis=0),
        "recall": recalls,
    }


def row_metrics(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> dict[str, Any]:
    """Return accuracy, balanced accuracy, macro F1 and the recall of each class, as numbers."""
    found = classification_metrics(truth, predicted[None], classes, np.ones((1, len(truth))))
    recall = [float(values[0, 0]) for values in found["recall"]]
    return {name: float(found[name][0, 0]) for name in MEANS} | {"recall": recall}


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
        """Return one row a training, each recall in a column of its own."""
        import pandas as pd

        return pd.DataFrame([
            {name: value for name, value in row.items() if name not in ("recall", "predicted")}
            | {f"recall {k}": value for k, value in zip(self.classes, row["recall"], strict=True)}
            for row in self.rows
        ])  # fmt: skip

    def summary(self) -> pd.DataFrame:
        """Return one row an arm and ratio: means over seeds, with intervals (low, high)."""
        import pandas as pd

        rows = []
        for (arm, ratio), trainings in self._arms.items():
            row = {"arm": arm, "ratio": ratio, "n_train": trainings[0]["n_train"],
                   "seeds": len(trainings), "n_test": len(self.truth)}  # fmt: skip
            for name, (value, low, high) in self._metrics(arm, ratio).items():
                row |= {name: value, f"{name} low": low, f"{name} high": high}
            rows.append(row)
        return pd.DataFrame(rows)

    def differences(self) -> pd.DataFrame:
        """Return real + synthetic minus each control, in balanced accuracy, paired, 95 %.

        With several ratios the intervals are wider (95 % for all of them together,
        Bonferroni), since the best of many is better by chance.
        """
        import pandas as pd

        rows = [
            (ratio, control, value, low, high,
             "better" if low > 0 else "worse" if high < 0 else "no difference shown")
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
        return "\n".join([*map(self._of_ratio, self._ratios), self._overall()])

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What limits the conclusion, computed and told."""
        notes = list(self.notes)
        seeds = min((len(rows) for rows in self._arms.values()), default=0)
        if 0 < seeds < FEWEST_SEEDS:
            notes.append(f"Only {_count(seeds, 'seed')}: at least 5 are needed to trust it.")
        if len(self.truth) < FEWEST_TESTED:
            notes.append(f"Only {len(self.truth)} test images: differences may well be missed.")
        groups = len(set(self.groups))
        if groups < FEWEST_GROUPS:
            notes.append(
                f"Only {_count(groups, 'test group')}, too few for an interval: nobody can say how "
                "far the figures would vary with others."
            )
        elif groups < 20:
            notes.append(f"Only {groups} test groups: intervals are too narrow.")
        if (np.bincount(self.truth, minlength=len(self.classes)) == 0).any():
            notes.append("A class has no test image; it counts in no mean.")
        if (REAL, 0.0) in self._arms:
            real = self._metrics(REAL, 0.0)["balanced_accuracy"][0]
            if real > 0.97:
                notes.append(f"The reals alone reach {real:.2f}: there is hardly room for a gain.")
            if real < 1 / max(1, len(self.classes)) + 0.05:
                notes.append(
                    f"The reals alone reach {real:.2f}, about chance: the classifier does not "
                    "learn this yet, and a comparison says little."
                )
        return tuple(notes)

    def _repr_html_(self) -> str:
        table = self.summary().to_html(index=False, float_format="{:.3f}".format, border=0)
        return table + "".join(f"<p>{html.escape(line)}</p>" for line in repr(self).splitlines())

    # ------------------------------------------------------------ sentences

    def _of_ratio(self, ratio: float) -> str:
        added = self._arms[MIXED, ratio][0]["n_synthetic"]
        against = "; ".join(
            f"{_signed(difference)} against {CONTROLS[control]}"
            for control, difference in self._against(ratio).items()
        )
        text = (
            f"{added} synthetic images added (ratio {ratio:g}): balanced accuracy "
            f"{self._accuracy(MIXED, ratio)}; {against or 'no control was trained'}."
        )
        if (SYNTHETIC, ratio) in self._arms:
            text += f" Synthetic images alone: {self._accuracy(SYNTHETIC, ratio)}."
        return text

    def _accuracy(self, arm: str, ratio: float) -> str:
        value, low, high = self._metrics(arm, ratio)["balanced_accuracy"]
        return f"{value:.3f} [{low:.3f}, {high:.3f}]"

    def _overall(self) -> str:
        found = {ratio: self._against(ratio) for ratio in self._ratios}
        none = (0.0, 0.0, 0.0)
        missing = [text for control, text in CONTROLS.items()
                   if any(control not in against for against in found.values())]  # fmt: skip
        better = {control: {ratio for ratio in found if found[ratio].get(control, none)[1] > 0}
                  for control in CONTROLS}  # fmt: skip
        worse = {control: {ratio for ratio in found if found[ratio].get(control, none)[2] < 0}
                 for control in CONTROLS}  # fmt: skip
        if beyond := better[REAL] & better[DUPLICATED] & better[CLASSICAL]:
            text = (
                f"Synthetic images helped: at ratio {_ratios(beyond)} more than reals alone, and "
                "more than duplicating or classically changing the reals does."
            )
        elif better[REAL] and missing:
            text = (
                "Synthetic images helped against the reals alone; whether more than the controls "
                "do is open."
            )
        elif better[REAL]:
            best = max(better[REAL], key=lambda ratio: found[ratio][REAL][0])
            unbeaten = " or ".join(
                f"{CONTROLS[control]} ({_signed(found[best][control])})"
                for control in (DUPLICATED, CLASSICAL)
                if not better[REAL] & better[control]
            )
            but = f"not better than {unbeaten}" if unbeaten else NEITHER
            text = (
                "No gain by synthetic images is shown beyond more training steps: at ratio "
                f"{best:g} better than the reals alone ({_signed(found[best][REAL])}), but {but}."
            )
        elif worse[REAL]:
            text = f"Synthetic images made it worse, at ratio {_ratios(worse[REAL])}."
        else:
            text = "No gain by synthetic images is shown."
        if lost := [CONTROLS[control] for control in (DUPLICATED, CLASSICAL) if worse[control]]:
            text += f" They did worse than {' and '.join(lost)}."
        return text + (f" Not trained: {', '.join(missing)}." if missing else "")

    # ------------------------------------------------------------ numbers

    @cached_property
    def _arms(self) -> dict[tuple[str, float], list[Mapping[str, Any]]]:
        arms: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            arms.setdefault((row["arm"], float(row["ratio"])), []).append(row)
        return arms

    @cached_property
    def _ratios(self) -> list[float]:
        return sorted(ratio for arm, ratio in self._arms if arm == MIXED)

    @cached_property
    def _drawn(self) -> dict[tuple[str, float], dict[str, Any]]:
        """Return each arm's metrics on draws of test groups, one column a seed; first on all."""
        count, groups = len(set(self.groups)), np.array(self.groups)
        times = np.random.default_rng(DRAWS_SEED).multinomial(
            count, np.full(count, 1 / count), size=DRAWS - 1
        )
        weights = np.concatenate([np.ones((1, len(groups))), times[:, groups].astype(np.float64)])
        truth = np.array(self.truth)
        return {
            key: classification_metrics(
                truth, np.array([row["predicted"] for row in rows]), len(self.classes), weights
            )
            for key, rows in self._arms.items()
        }

    def _metrics(self, arm: str, ratio: float) -> dict[str, Difference]:
        """Return each metric's mean with its interval, recalls under the class's name."""
        drawn = self._drawn[arm, ratio]
        values = [(name, drawn[name], len(set(self.groups))) for name in MEANS]
        for k, (name, recall) in enumerate(zip(self.classes, drawn["recall"], strict=True)):
            groups = {group for true, group in zip(self.truth, self.groups, strict=True)
                      if true == k}  # fmt: skip
            values.append((f"recall {name}", recall, len(groups)))
        metrics = {}
        for name, metric, groups_with in values:
            low, high = _interval(metric, groups_with, 0.05)
            metrics[name] = float(metric[0].mean()), max(low, 0.0), min(high, 1.0)
        return metrics

    def _against(self, ratio: float) -> dict[str, Difference]:
        """Return the difference to each control that has seeds in common."""
        differences = {}
        for control in CONTROLS:
            keys = (MIXED, ratio), (control, 0.0 if control == REAL else ratio)
            seeds = [[row["seed"] for row in self._arms.get(key, ())] for key in keys]
            common = [seed for seed in seeds[0] if seed in seeds[1]]
            if not common:
                continue
            mixed, other = (
                self._drawn[key]["balanced_accuracy"][:, [own.index(seed) for seed in common]]
                for key, own in zip(keys, seeds, strict=True)
            )
            difference = mixed - other
            left_out = 0.05 / len(self._ratios)
            ends = _interval(difference, len(set(self.groups)), left_out)
            differences[control] = (float(difference[0].mean()), *ends)
        return differences


def _interval(values: Floats, groups: int, left_out: float) -> tuple[float, float]:
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


def _signed(difference: Difference) -> str:
    value, low, high = difference
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _ratios(ratios: set[float]) -> str:
    return ", ".join(f"{ratio:g}" for ratio in sorted(ratios))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"
