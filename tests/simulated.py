"""Readers who guess: their answers are drawn at random and say nothing about the images."""

from __future__ import annotations

import numpy as np

from medgan_widgets.studies.reader_study import Study
from medgan_widgets.studies.reader_study.plan import RATINGS


def simulate_reader(
    study: Study,
    name: str = "simulated 1",
    *,
    skill: float = 0.0,  # the share of choices that are right whatever is drawn
    most: int | None = None,  # stop after so many answers
) -> None:
    """Answer what is open; results call a reader simulated whose name begins so."""
    draw = np.random.default_rng([0, *name.encode()])
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
