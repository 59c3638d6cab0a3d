"""The sentences of a study: what a reader is asked, and what the results say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from medgan_widgets.studies.reader_study.plan import Plan

if TYPE_CHECKING:
    from medgan_widgets.studies.reader_study.results import Ratings, Reading
    from medgan_widgets.studies.reader_study.statistics import Kappa

ALPHA = 0.05
_SHARES = {
    ("two", "synthetic"): "half",
    ("two", "real"): "half",
    ("four", "synthetic"): "one in four",
    ("four", "real"): "three in four",
}


def banner(plan: Plan) -> str:
    """Return what stands over all images while they are read, as none is marked by itself."""
    share = _SHARES[plan.design, plan.find]
    rated = " (half of those shown alone)" if plan.ratings and share != "half" else ""
    reals = "The others are phantoms, drawn by a program, in place of real ones. "
    return (
        f"Research: {share} of these images are SYNTHETIC{rated}, made by a model. "
        f"{reals if plan.phantom else ''}None is for diagnosis."
    )


def question(plan: Plan, kind: str) -> str:
    """Return what a reader is asked."""
    if kind == "rating":
        return "How real does this image look?"
    among = "" if plan.design == "two" else " of the four"
    return f"Which{among} image{'s' * (plan.design == 'four')} is {side_word(plan, plan.find)}?"


def side_word(plan: Plan, side: str) -> str:
    """Return what a side is called: real images that are phantoms are called so."""
    return "a phantom" if side == "real" and plan.phantom else side


def sentences(
    plan: Plan, readers: Sequence[Reading], pooled: Reading, kappa: Kappa, counted: int
) -> Iterator[str]:
    """Yield what the results say; every share with its n, its interval and chance."""
    if plan.phantom:
        yield "Phantoms stand in for real images: this says nothing about images of patients."
    if not readers or not (pooled.share.n or pooled.real.n or pooled.synthetic.n):
        yield "No answers yet."
        return
    if pooled.simulated:
        yield (
            "Simulated readers: their answers are drawn by a program, show the file format and the "
            "statistics, and say nothing about the images."
        )
    for reading in readers:
        yield reading_words(plan, reading)
        if reading.waiting:
            yield f"Reader {reading.reader} still has {reading.waiting} to answer."
    if counted > 1:
        yield f"{counted} readers together {_share(pooled)}"
    yield _kappa(kappa)
    if pooled.real.n or pooled.synthetic.n:
        yield (
            f"Realism from 1 to 5: {'phantom' if plan.phantom else 'real'} images "
            f"{_rating(pooled.real)}, synthetic images {_rating(pooled.synthetic)}."
        )


def reading_words(plan: Plan, reading: Reading) -> str:
    """Return how many choices of one reader were right, against chance."""
    return f"Reader {reading.reader} {_share(reading)}"


def _share(reading: Reading) -> str:
    share = reading.share
    if share.value is None or share.interval is None:
        return "has made no choice yet."
    low, high = share.interval
    by_trial = reading.by_trial
    text = (
        f"chose right in {share.right} of {share.n} ({share.value:.0%}; 95 % interval {low:.0%} to "
        f"{high:.0%}; chance {share.chance:.0%}"
    )
    if by_trial:
        text += f"; {by_trial[0]:.0%} to {by_trial[1]:.0%} with each trial's answers kept together"
    if reading.seconds is not None:
        text += f"; median {reading.seconds:.1f} s"
    return f"{text}): {_verdict(reading)}"


def _verdict(reading: Reading) -> str:
    share = reading.share
    assert share.interval is not None
    assert share.p_value is not None
    ends = [share.interval, *([reading.by_trial] if reading.by_trial else [])]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if share.p_value < ALPHA and low > share.chance:
        return f"better than chance (p = {share.p_value:.2g})."
    if share.p_value < ALPHA and high < share.chance:
        return (
            f"worse than chance (p = {share.p_value:.2g}), so a difference was seen and taken "
            "for its opposite."
        )
    return (
        f"could not be told from chance at this n (p = {share.p_value:.2g}); a true share of "
        f"{high:.0%} would fit these answers too."
    )


def _kappa(kappa: Kappa) -> str:
    if kappa.value is None or kappa.interval is None:
        return f"{kappa.note}."
    low, high = kappa.interval
    return (
        f"Fleiss kappa {kappa.value:.2f} (95 % interval {low:.2f} to {high:.2f}) over the "
        f"{kappa.n_trials} trials that all {kappa.n_readers} readers answered: whether they point "
        "at the same image."
    )


def _rating(ratings: Ratings) -> str:
    if ratings.mean is None:
        return "have no rating yet"
    return f"{ratings.mean:.1f} on average (median {ratings.median:g}, n = {ratings.n})"
