"""Readers who guess: to try a study out, and to see what its files and statistics look like."""

from __future__ import annotations

import numpy as np

from medgan_widgets.errors import RequestError
from medgan_widgets.reader_study.plan import RATINGS
from medgan_widgets.reader_study.study import SIMULATED, Study


def simulate_reader(
    study: Study,
    name: str = "simulated 1",
    *,
    skill: float = 0.0,
    seed: int = 0,
    most: int | None = None,
) -> int:
    """Answer what is open with answers drawn at random; they say nothing about the images.

    Parameters
    ----------
    study
        The study.
    name
        Must begin with ``simulated``, so that nobody takes it for a person.
    skill
        The share of choices that are right whatever is drawn, 0 to 1; the others are guessed.
    seed
        Of the draws.
    most
        Stop after so many answers; left out, at the end.

    Returns
    -------
    int
        How many answers were added.

    Raises
    ------
    RequestError
        For another name, or a skill that is no share.
    """
    if not str(name).startswith(SIMULATED):
        raise RequestError(
            f"a simulated reader's name must begin with {SIMULATED!r}, got {name!r}: results must "
            "never take it for a person."
        )
    if not 0 <= skill <= 1:
        raise RequestError(f"skill must be a share from 0 to 1, got {skill!r}.")
    draw = np.random.default_rng([seed, *name.encode()])
    count, done = 0, study.answers(name).done
    for asked in study.asked(name):
        seconds, known, guess = draw.lognormal(1.2, 0.5), draw.random(), draw.random()
        if most is not None and count >= most:
            break
        if (asked.kind, asked.trial) in done:
            continue
        if asked.kind == "rating":
            place = RATINGS[int(guess * len(RATINGS))]
        else:
            place = int(guess * len(asked.rows))
            if known < skill:
                trial = study.plan.trials[asked.trial]
                place = asked.rows.index(trial[study.plan.target(asked.trial)])
        count += study.record(name, asked, place, float(seconds))
    return count
