"""What the answers say: numbers with their n, and sentences that claim no more than they hold."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.files import write_whole
from medgan_widgets.studies.reader_study import words
from medgan_widgets.studies.reader_study.answers import Answer, Answers
from medgan_widgets.studies.reader_study.plan import RATINGS, Plan
from medgan_widgets.studies.reader_study.statistics import (
    Kappa,
    Share,
    agreement,
    interval_by_trial,
    p_by_trial,
    share_of,
)

if TYPE_CHECKING:
    import pandas as pd

    from medgan_widgets.studies.reader_study.study import Asked

POOLED = "all readers"
COLUMNS = (
    *("reader", "simulated", "number", "kind", "trial", "right", "place", "rating"),
    *("rated_synthetic", "seconds", "resumed", "at"),
)


@dataclass(frozen=True)
class Ratings:
    """Realism of some images, 1 to 5.

    Attributes
    ----------
    n
        How many ratings.
    mean, deviation, median
        Of them; None without any (the deviation: below 2).
    counts
        How many ratings of 1, 2, 3, 4 and 5.
    """

    n: int
    mean: float | None
    deviation: float | None
    median: float | None
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """What one reader answered, or all together.

    Attributes
    ----------
    reader
        A pseudonym, or ``"all readers"``.
    simulated
        Whether nobody read.
    share
        How many choices were right.
    by_trial
        95 % interval of that share with each trial's answers kept together; for one
        reader None, as each trial is one answer.
    seconds
        Median time of a choice, without those whose pictures may have been seen before.
    real, synthetic
        Realism of either side.
    waiting
        How many answers are still to come.
    """

    reader: str
    simulated: bool
    share: Share
    by_trial: tuple[float, float] | None
    seconds: float | None
    real: Ratings
    synthetic: Ratings
    waiting: int


@dataclass(frozen=True, repr=False)
class Results:
    """The results of a study so far.

    Attributes
    ----------
    study
        The plan's identity.
    readers
        Each reader's own, by name.
    pooled
        All together: the persons, or where there is none the simulated readers.
    kappa
        Agreement of the same readers on the image they point at.
    sentences
        The same in plain words.
    notes
        What was left out, and what may have given the images away.
    rows
        One row an answer, with the truth beside it.
    folder
        Where the study lies.
    """

    study: str
    readers: tuple[Reading, ...]
    pooled: Reading
    kappa: Kappa
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    folder: Path

    def __repr__(self) -> str:
        return "\n".join((*self.sentences, *self.notes))

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the single answers, as plain values."""
        told = asdict(self)
        del told["rows"], told["folder"]
        return told

    def to_frame(self) -> pd.DataFrame:
        """Return one row an answer, with the truth beside it."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=list(COLUMNS))

    def save(self, folder: str | Path | None = None) -> tuple[Path, Path]:
        """Write ``results.json`` (the numbers) and ``results.csv`` (each answer); return both.

        Parameters
        ----------
        folder
            Where to; left out, the study's own folder.

        Raises
        ------
        SaveError
            When they cannot be written.
        """
        place = self.folder if folder is None else Path(folder)
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        numbers = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        return (
            write_whole(place / "results.json", numbers.encode(), parents=True),
            write_whole(place / "results.csv", text.getvalue().encode(), parents=True),
        )


def results_of(
    plan: Plan,
    answers: Sequence[Answers],
    orders: Mapping[str, Sequence[Asked]],
    folder: Path,
) -> Results:
    """Return the results of what was answered; ``orders`` is what each reader was asked."""
    readings = tuple(_reading(plan, [one], one.reader) for one in answers)
    persons = [one for one, read in zip(answers, readings, strict=True) if not read.simulated]
    counted = persons or list(answers)
    pooled = _reading(plan, counted, POOLED)
    kappa = agreement(_table(plan, counted, lambda one: one.chosen), plan.choices)
    notes = [*plan.notes, *(note for one in answers for note in one.notes)]
    if persons and len(persons) < len(answers):
        notes.append("Simulated readers are not among all readers.")
    return Results(
        study=plan.id,
        readers=readings,
        pooled=pooled,
        kappa=kappa,
        sentences=tuple(words.sentences(plan, readings, pooled, kappa, len(counted))),
        notes=tuple(notes),
        rows=tuple(row for one in answers for row in _rows(plan, one, orders[one.reader])),
        folder=folder,
    )


def _reading(plan: Plan, answers: Sequence[Answers], reader: str) -> Reading:
    given = [one for each in answers for one in each.given]
    choices = [one for one in given if one.kind == "choice"]
    rated = [one for one in given if one.kind == "rating"]
    right = sum(one.chosen == plan.target(one.trial) for one in choices)
    times = [one.seconds for one in choices if not one.resumed]
    sides = {
        side: _ratings([one.chosen for one in rated if _rated_synthetic(plan, one) is side])
        for side in (False, True)
    }
    asked = len(answers) * (len(plan.trials) + len(plan.ratings))
    several = len(answers) > 1 and bool(choices)
    share = share_of(right, len(choices), plan.chance)
    table = _table(plan, answers, lambda one: one.chosen == plan.target(one.trial))
    if several and share.p_value is not None:
        share = replace(share, p_value=max(share.p_value, p_by_trial(table, plan.chance)))
    return Reading(
        reader=reader,
        simulated=any(one.simulated for one in given),
        share=share,
        by_trial=interval_by_trial(table) if several else None,
        seconds=float(np.median(times)) if times else None,
        real=sides[False],
        synthetic=sides[True],
        waiting=asked - len(given),
    )


def _ratings(given: Sequence[int]) -> Ratings:
    counts = tuple(given.count(one) for one in RATINGS)
    if not given:
        return Ratings(0, None, None, None, counts)
    values = np.asarray(given, np.float64)
    deviation = float(values.std(ddof=1)) if len(values) > 1 else None
    return Ratings(len(values), float(values.mean()), deviation, float(np.median(values)), counts)


def _table(
    plan: Plan, answers: Sequence[Answers], value: Callable[[Answer], float]
) -> NDArray[np.float64]:
    """Return a value of each choice as [trials, readers], NaN where there is no answer."""
    table = np.full((len(plan.trials), len(answers)), np.nan)
    for column, each in enumerate(answers):
        for one in each.given:
            if one.kind == "choice":
                table[one.trial, column] = value(one)
    return table


def _rated_synthetic(plan: Plan, answer: Answer) -> bool:
    return plan.synthetic[plan.ratings[answer.trial]]


def _rows(plan: Plan, answers: Answers, order: Sequence[Asked]) -> list[dict[str, Any]]:
    numbers = {(one.kind, one.trial): one.number for one in order}
    rows = []
    for one in answers.given:
        choice = one.kind == "choice"
        values = (
            *(one.reader, one.simulated, numbers[one.kind, one.trial], one.kind, one.trial),
            one.chosen == plan.target(one.trial) if choice else None,
            one.place + 1 if choice else None,
            None if choice else one.chosen,
            None if choice else _rated_synthetic(plan, one),
            *(one.seconds, one.resumed, one.at),
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return sorted(rows, key=lambda row: int(row["number"]))
