"""The statistics of a reading: shares against chance, and agreement among readers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, ttest_1samp

from medgan_widgets.errors import DataError

DRAWS = 2000  # resamplings of the trials


@dataclass(frozen=True)
class Share:
    """How many of n answers were right, against chance.

    Attributes
    ----------
    n, right
        How many answers there are, and how many of them are right.
    chance
        The share that guessing gets right.
    value
        ``right / n``; None for no answers.
    interval
        Wilson's score interval, 95 %, each answer taken as independent of the others;
        None for no answers.
    p_value
        Exact two-sided binomial test against chance; of several readers together the
        larger of it and of a test that has trials as its units. None for no answers.
    """

    n: int
    right: int
    chance: float
    value: float | None = None
    interval: tuple[float, float] | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Kappa:
    """Agreement among readers.

    Attributes
    ----------
    value
        Fleiss kappa: 1 for agreement on everything, 0 for as much as chance gives; None
        where it is not defined, and ``note`` says why.
    interval
        95 %, from 2,000 resamplings of the trials; None where not defined.
    n_trials, n_readers
        What it was computed over: the trials that all readers answered.
    note
        Why there is no value.
    """

    value: float | None
    interval: tuple[float, float] | None
    n_trials: int
    n_readers: int
    note: str = ""


def share_of(right: int, n: int, chance: float) -> Share:
    """Return a share of right answers with its interval and its test against chance.

    Wilson 1927 for the interval, the exact binomial test for p, both by scipy.
    """
    if not n:
        return Share(0, 0, chance)
    test = binomtest(right, n, chance)
    found = test.proportion_ci(method="wilson")
    return Share(
        n, right, chance, right / n, (float(found.low), float(found.high)), float(test.pvalue)
    )


def interval_by_trial(right: ArrayLike) -> tuple[float, float] | None:
    """Return a 95 % interval of the share of right answers [trials, readers], NaN where none.

    Several readers' answers to one trial are alike, as they see the same images, so they
    count for less than as many answers to different trials. Whole trials are drawn again
    with replacement. None for fewer than 2 trials.
    """
    table = np.asarray(right, np.float64)
    table = table[~np.isnan(table).all(axis=1)]
    if len(table) < 2:
        return None
    picks = np.random.default_rng(0).integers(0, len(table), (DRAWS, len(table)))
    sums, counts = np.nansum(table, axis=1), (~np.isnan(table)).sum(axis=1)
    low, high = np.quantile(sums[picks].sum(axis=1) / counts[picks].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def p_by_trial(right: ArrayLike, chance: float) -> float:
    """Return the p value against chance of answers [trials, readers], trials as units.

    Student's t test of the share of right answers in each trial: readers who answer alike
    do not make more evidence. Where all trials agree, the binomial test of as many answers
    as there are trials.
    """
    table = np.asarray(right, np.float64)
    table = table[~np.isnan(table).all(axis=1)]
    shares = np.nanmean(table, axis=1)
    if len(shares) < 2 or np.ptp(shares) == 0:
        return float(binomtest(round(shares.sum()), len(shares), chance).pvalue)
    return float(ttest_1samp(shares, chance).pvalue)


def fleiss_kappa(counts: ArrayLike) -> float:
    """Return Fleiss' kappa of a table of counts.

    Fleiss 1971, "Measuring nominal scale agreement among many raters", Psychological
    Bulletin 76(5): ``(P - Pe) / (1 - Pe)``, with P the mean share of pairs of raters who
    agree on a subject, and Pe the sum of the squared shares of the categories.

    Parameters
    ----------
    counts
        [subjects, categories]: how many raters put a subject in a category, the same
        number of raters for each subject.

    Returns
    -------
    float
        At most 1; below 0 for less agreement than chance gives.

    Raises
    ------
    DataError
        For other tables, fewer than 2 raters, or all answers in one category, where
        kappa is not defined.

    Examples
    --------
    >>> fleiss_kappa([[3, 0], [0, 3], [3, 0], [0, 3]])
    1.0
    """
    table = _table(counts)
    value = float(_kappas(table[None])[0])
    if np.isnan(value):
        raise DataError(
            "Fleiss kappa is not defined where all answers are in one category: there is nothing "
            "to agree beyond chance; look at the share of right answers instead."
        )
    return value


def agreement(chosen: NDArray[np.float64], categories: int) -> Kappa:
    """Return the agreement over the trials that all readers answered, [trials, readers].

    Each answer is a category from 0, NaN where there is none.
    """
    shared = chosen[~np.isnan(chosen).any(axis=1)].astype(int)
    trials, readers = shared.shape
    if readers < 2:
        note = f"Fleiss kappa is not defined for {readers} reader{'s' * (readers != 1)}"
        return Kappa(None, None, trials, readers, note)
    if trials < 2:
        note = f"Fleiss kappa needs 2 trials that all {readers} readers answered, and has {trials}"
        return Kappa(None, None, trials, readers, note)
    counts = np.stack([(shared == one).sum(axis=1) for one in range(categories)], axis=1)
    try:
        value = fleiss_kappa(counts)
    except DataError as error:
        return Kappa(None, None, trials, readers, str(error).rstrip("."))
    picks = np.random.default_rng(0).integers(0, trials, (DRAWS, trials))
    drawn = _kappas(counts[picks].astype(np.float64))
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Kappa(value, (float(low), float(high)), trials, readers)


def _kappas(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return kappa for each table of [draws, subjects, categories]; NaN where not defined."""
    raters = tables[0, 0].sum()
    agreed = ((tables**2).sum(axis=2) - raters) / (raters * (raters - 1))
    shares = tables.sum(axis=1) / tables.sum(axis=(1, 2))[:, None]
    by_chance = (shares**2).sum(axis=1)
    room, found = 1 - by_chance, np.full(len(tables), np.nan)
    np.divide(agreed.mean(axis=1) - by_chance, room, out=found, where=room > 1e-12)
    return found


def _table(counts: ArrayLike) -> NDArray[np.float64]:
    try:
        table = np.asarray(counts, np.float64)
    except (TypeError, ValueError):
        table = np.empty(0)
    whole = table.ndim == 2 and table.size > 0 and np.isfinite(table).all() and (table >= 0).all()
    if not whole or (table != np.rint(table)).any() or len(set(table.sum(axis=1))) != 1:
        raise DataError(
            "Fleiss kappa takes whole counts [subjects, categories] with the same number of raters "
            f"for each subject, got {np.shape(counts)}; leave out subjects that some did not rate."
        )
    if table[0].sum() < 2:
        raise DataError(f"Fleiss kappa needs at least 2 raters, got {table[0].sum():g}.")
    return table
