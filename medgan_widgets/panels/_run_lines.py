"""Which curves show how runs go: one table of plots, for one run or several. No widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.panels._lines import COLOURS, Dash, Line, X
from medgan_widgets.panels._run_looks import Look
from medgan_widgets.runs import Tick

BLUE, ORANGE, GREEN, PURPLE = COLOURS[:4]
_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dash_dotted")
_WORDS = ("solid", "dashed", "dotted", "dash-dotted")


@dataclass(frozen=True)
class Plot:
    """One plot: its title and the curves of each run, as (name, value of a tick, colour)."""

    title: str
    curves: tuple[tuple[str, Callable[[Tick], float | None], str], ...]
    log: bool = False
    zero: bool = False
    none: str = "nothing measured yet"


PLOTS: dict[str, Plot] = {
    "losses": Plot(
        "losses",
        (
            ("generator", lambda t: t.generator_loss, BLUE),
            ("discriminator", lambda t: t.discriminator_loss, ORANGE),
        ),
    ),
    "score": Plot("quality score", (), none="none measured yet"),
    "signs": Plot(
        "discriminator's mean sign",
        (
            ("real", lambda t: t.real_sign, BLUE),
            ("synthetic", lambda t: t.fake_sign, ORANGE),
            ("augment p", lambda t: t.augment_p, PURPLE),
            ("held-out", lambda t: t.held_out, GREEN),
        ),
    ),
    "r1": Plot("R1 penalty", (("R1", lambda t: t.r1, BLUE),), log=True, none="no R1 here"),
    "speed": Plot("images/s", (("training", lambda t: t.images_per_second, PURPLE),), zero=True),
    "memory": Plot("memory, MB", (("training", lambda t: t.memory_mb, GREEN),), zero=True),
}


@dataclass(frozen=True)
class Shown:
    """What one plot is to show: title, curves, and a note where there is something to say."""

    title: str
    lines: tuple[Line, ...]
    note: str = ""
    x_is: X = "amount"


def shown(looks: Sequence[Look]) -> dict[str, Shown]:
    """Return what each plot shows of these runs; with several, each run has a colour.

    Examples
    --------
    >>> from pathlib import Path
    >>> look = Look(Path("knee"), ticks=(Tick(1.0, 0.7, 1.4), Tick(2.0, 0.6, 1.3)))
    >>> [line.name for line in shown([look])["losses"].lines]
    ['generator', 'discriminator']
    >>> both = shown([look, Look(Path("hip"))])["losses"]
    >>> [line.name for line in both.lines], both.note
    (['knee', ''], 'solid generator, dashed discriminator')
    """
    found = {name: _plain(plot, looks) for name, plot in PLOTS.items() if name != "score"}
    return {name: found[name] if name in found else _score(looks) for name in PLOTS}


def _plain(plot: Plot, looks: Sequence[Look]) -> Shown:
    lines = []
    for place, look in enumerate(looks):
        kimg = np.array([tick.kimg for tick in look.ticks], float)
        for number, (name, value, colour) in enumerate(plot.curves):
            y = _values([value(tick) for tick in look.ticks])
            if not np.isfinite(y).any():
                continue
            if len(looks) > 1:  # a colour a run, a dash a quantity: one name a run is enough
                colour, name = COLOURS[place % len(COLOURS)], "" if number else look.name
            dash = _DASHES[number] if len(looks) > 1 else "solid"
            lines.append(Line(name, kimg, y, colour, dash))
    key = ""
    if len(looks) > 1 and len(plot.curves) > 1:
        key = ", ".join(f"{_WORDS[n]} {curve[0]}" for n, curve in enumerate(plot.curves))
    return Shown(plot.title, tuple(lines), key if lines else plot.none)


def _score(looks: Sequence[Look]) -> Shown:
    """Return the score's curves; what another extractor judged is left out, and said so."""
    scored = [
        [t for t in look.ticks if t.score and _number(t.score.get("value"))] for look in looks
    ]
    first = next((ticks[-1].score for ticks in scored if ticks), None)
    if first is None:
        return Shown(PLOTS["score"].title, (), PLOTS["score"].none)
    lines: list[Line] = []
    left_out = []
    for place, (look, ticks) in enumerate(zip(looks, scored, strict=True)):
        same = [t for t in ticks if t.score and _judged(t.score) == _judged(first)]
        if ticks and not same:
            left_out.append(look.name)
        if same:
            colour = COLOURS[place % len(COLOURS)] if len(looks) > 1 else GREEN
            lines += _score_lines(look.name if len(looks) > 1 else str(first["name"]), same, colour)
    note = f"judged otherwise, left out: {', '.join(left_out)}" if left_out else ""
    return Shown(score_title(first), tuple(lines), note)


def _score_lines(name: str, ticks: Sequence[Tick], colour: str) -> list[Line]:
    """Return the score and, dotted, the ends of its interval."""
    kimg = np.array([tick.kimg for tick in ticks], float)
    scores = [tick.score or {} for tick in ticks]
    lines = [Line(name, kimg, _values([one["value"] for one in scores]), colour)]
    ends = [one.get("interval") or (None, None) for one in scores]
    for end in (0, 1):
        y = _values([pair[end] if len(pair) == 2 else None for pair in ends])
        if np.isfinite(y).any():
            lines.append(Line("", kimg, y, colour, "dotted"))
    return lines


def score_title(score: Mapping[str, Any]) -> str:
    """Return a score's name with what makes it comparable.

    Examples
    --------
    >>> score_title({"name": "FD", "extractor": "phantom-cnn-1", "n_fake": 500, "floor": 0.31})
    'FD (phantom-cnn-1, n 500, floor 0.31)'
    """
    count, floor = score.get("n_fake"), score.get("floor")
    parts = [str(score.get("extractor") or "extractor not stated")]
    parts += [f"n {count:,}"] if isinstance(count, int) else []
    parts += [f"floor {floor:.2g}"] if _number(floor) else []
    return f"{score.get('name', 'score')} ({', '.join(parts)})"


def _judged(score: Mapping[str, Any]) -> tuple[Any, ...]:
    """Two scores with the same of these stand on one axis; their number of images matters too."""
    return tuple(str(score.get(key)) for key in ("name", "extractor", "n_real", "n_fake"))


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _values(values: Sequence[Any]) -> NDArray[np.float64]:
    return np.array([value if _number(value) else np.nan for value in values], np.float64)
