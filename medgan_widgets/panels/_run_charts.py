"""Charts of how runs go: one table of quantities, for one run or several. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.panels._curves import COLOURS, Chart, Curve, Dash
from medgan_widgets.panels._metrics_charts import quality_chart, run_scores
from medgan_widgets.panels._run_snapshot import RunSnapshot, unique_name

BLUE, ORANGE, GREEN, PURPLE = COLOURS[:4]
_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dash_dotted")
# An empty chart, whose note says what it lacks, and its curves: name, field of a tick, colour.
QUANTITIES: dict[str, tuple[Chart, tuple[tuple[str, str, str], ...]]] = {
    "losses": (Chart("losses", note="nothing measured yet"), (
        ("generator", "generator_loss", BLUE),
        ("discriminator", "discriminator_loss", ORANGE),
    )),
    "score": (Chart("quality score", note="none measured yet"), ()),
    "signs": (Chart("discriminator's mean sign", note="nothing measured yet"), (
        ("real", "real_sign", BLUE),
        ("synthetic", "fake_sign", ORANGE),
        ("augment p", "augment_p", PURPLE),
        ("held-out", "held_out", GREEN),
    )),
    "r1": (Chart("R1 penalty", note="no R1 here", log=True), (("R1", "r1", BLUE),)),
    "speed": (Chart("images/s", note="nothing measured yet", zero=True), (
        ("training", "images_per_second", PURPLE),
    )),
    "memory": (Chart("memory, MB", note="nothing measured yet", zero=True), (
        ("training", "memory_mb", GREEN),
    )),
}  # fmt: skip


def run_charts(runs: Sequence[RunSnapshot]) -> dict[str, Chart]:
    """Return the charts of these runs; with several, each run has a colour.

    Examples
    --------
    >>> from pathlib import Path
    >>> from medgan_widgets.runs import Tick
    >>> knee = RunSnapshot(Path("knee"), ticks=(Tick(1.0, 0.7, 1.4), Tick(2.0, 0.6, 1.3)))
    >>> [curve.name for curve in run_charts([knee])["losses"].curves]
    ['generator', 'discriminator']
    >>> both = run_charts([knee, RunSnapshot(Path("hip"))])["losses"]
    >>> [curve.name for curve in both.curves], both.note
    (['knee', ''], 'solid generator, dashed discriminator')
    """
    charts = {name: _measured(*QUANTITIES[name], runs) for name in QUANTITIES}
    return charts | {"score": _scored(charts["score"], runs)}


def _measured(
    empty: Chart, quantities: Sequence[tuple[str, str, str]], runs: Sequence[RunSnapshot]
) -> Chart:
    curves = []
    for run, run_colour in zip(runs, cycle(COLOURS), strict=False):
        kimg = np.array([tick.kimg for tick in run.ticks], float)
        for (name, field, colour), dash in zip(quantities, _DASHES, strict=False):
            y = _values([getattr(tick, field) for tick in run.ticks])
            if not np.isfinite(y).any():
                continue
            if len(runs) == 1:
                curves.append(Curve(name, kimg, y, colour))
            else:  # a colour a run, a dash a quantity: one name a run is enough
                name = unique_name(run, runs) if dash == "solid" else ""
                curves.append(Curve(name, kimg, y, run_colour, dash))
    if not curves:
        return empty
    words = [f"{dash} {name}" for (name, *_), dash in zip(quantities, _DASHES, strict=False)]
    note = ", ".join(words).replace("_", "-") if len(runs) > 1 and len(words) > 1 else ""
    return replace(empty, curves=tuple(curves), note=note)


def _scored(empty: Chart, runs: Sequence[RunSnapshot]) -> Chart:
    """Return the score's curves; what another extractor judged is left out, and said so."""
    rows = {run.run: run_scores(run, unique_name(run, runs)) for run in runs}
    newest = next((own[-1] for own in rows.values() if own), None)
    if newest is None:
        return empty
    score = newest.score
    # Scores that agree in these stand on one axis; their number of images matters too.
    judged_by = attrgetter("name", "extractor", "n_real", "n_fake")
    alike = {run: [row for row in own if judged_by(row.score) == judged_by(score)]
             for run, own in rows.items()}  # fmt: skip
    left_out = [run.name for run in runs if rows[run.run] and not alike[run.run]]
    chart = quality_chart(
        (*newest.comparable, "kimg"),
        [row for own in alike.values() for row in own],
        colours={
            unique_name(run, runs): colour
            for run, colour in zip(runs, cycle(COLOURS), strict=False)
        },
    )
    parts = [score.extractor or "extractor not stated"]
    parts += [f"n {score.n_fake:,}"] if score.n_fake else []
    parts += [f"floor {score.floor:.2g}"] if score.floor is not None else []
    return replace(
        chart,
        title=f"{score.name} ({', '.join(parts)})",
        note=f"judged otherwise, left out: {', '.join(left_out)}" if left_out else "",
        height=empty.height,
    )


def _values(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], np.float64)
