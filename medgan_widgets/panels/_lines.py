"""Curves before any library draws them: names, points, few enough points, ticks, paper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Dash = Literal["solid", "dashed", "dotted", "dash_dotted"]
X = Literal["amount", "count", "place"]  # of things; place: they stand beside each other
# Each can be told from the others, and from white paper as well as from black.
COLOURS = ("#2a7de1", "#e2711d", "#2f9e44", "#9c4dcc", "#e0453a", "#0f9aa8", "#b0792a", "#c2418f")
_ROW = 16  # pixels, of a legend on paper
_PAPER, _INK, _GREY = (255, 255, 255), (33, 33, 33), (216, 216, 216)


@dataclass(frozen=True, eq=False)
class Line:
    """One curve."""

    name: str  # for the legend; empty for a part of the curve before it
    x: NDArray[Any]  # [N], rising
    y: NDArray[Any]  # [N], not-a-number where there is a gap
    colour: str = COLOURS[0]  # as CSS writes it
    dash: Dash = "solid"
    notes: tuple[str, ...] = ()  # of each point, under the pointer; empty: no dots


def thinned(x: NDArray[Any], y: NDArray[Any], most: int = 500) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return at most ``most`` of the points, the least and the largest of each stretch among them.

    A short peak is what a curve is looked at for, so it is kept.

    Examples
    --------
    >>> y = np.zeros(10_000)
    >>> y[1234] = 7.0
    >>> xs, ys = thinned(np.arange(10_000), y, 100)
    >>> len(xs) <= 100, float(ys.max())
    (True, 7.0)
    """
    if len(x) <= most:
        return x, y
    kept = {0, len(x) - 1}
    for part in np.array_split(np.arange(len(x)), max(1, most // 2 - 1)):
        finite = part[np.isfinite(y[part])]
        if len(finite):
            kept |= {int(finite[np.argmin(y[finite])]), int(finite[np.argmax(y[finite])])}
    places = sorted(kept)
    return x[places], y[places]


def nice_ticks(low: float, high: float, number: int = 4, *, whole: bool = False) -> list[float]:
    """Return round numbers, evenly spaced, from at most ``low`` to at least ``high``.

    With ``whole`` there is no tick between two whole numbers: a quarter of an image is none.

    Examples
    --------
    >>> nice_ticks(0.13, 1.9)
    [0.0, 0.5, 1.0, 1.5, 2.0]
    >>> nice_ticks(3.0, 3.0)
    [2.0, 2.5, 3.0, 3.5, 4.0]
    >>> nice_ticks(0, 8, whole=True)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if not high > low:
        spread = abs(low) / 3 or 1.0
        low, high = low - spread, high + spread
    rough = max((high - low) / number, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough * 0.999]
    step = next(one for one in steps if one.is_integer() or not whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten around two positive numbers, at most about five."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    step = -(-(last - first) // 5)
    return [10.0**n for n in range(first, last + step, step)]


def bounds(arrays: Sequence[NDArray[Any]], *, positive: bool = False) -> tuple[float, float] | None:
    """Return the least and the largest finite value of all, or None without any."""
    values = np.concatenate([np.zeros(0), *arrays])
    values = values[np.isfinite(values)]
    values = values[values > 0] if positive else values
    return (float(values.min()), float(values.max())) if len(values) else None


def axes_of(
    lines: Sequence[Line],
    *,
    log: bool,
    zero: bool = False,
    x_is: X = "amount",
) -> tuple[list[float], list[float]]:
    """Return the ticks of both axes; the first and the last are where the axis ends.

    With ``zero`` the upright one begins at 0; a count has whole ticks, places have room at
    both ends.
    """
    across = bounds([line.x for line in lines]) or (0.0, 1.0)
    start = 0.0 if across[0] >= 0 and across[0] < 0.5 * across[1] else across[0]
    x = nice_ticks(start, across[1], whole=x_is != "amount")
    if x_is == "place":
        # A line across them, as the floor is, has no notes and is none of them.
        numbered = bounds([line.x for line in lines if line.notes]) or across
        first, last = round(numbered[0]), round(numbered[1])  # several of one stand around it
        step = max(1, -(-(last - first + 2) // 10))
        x = [float(one) for one in range(first - 1, last + 1 + step, step)]
    up = bounds([line.y for line in lines], positive=log)
    if up is None:
        return x, [1.0, 10.0] if log else [0.0, 1.0]
    low = min(0.0, up[0]) if zero else up[0]
    return x, log_ticks(*up) if log else nice_ticks(low, up[1])


def latest(line: Line) -> str:
    """Return the newest finite value in short, or nothing.

    Examples
    --------
    >>> latest(Line("a", np.arange(3), np.array([1.0, 0.123456, np.nan])))
    '0.123'
    """
    finite = line.y[np.isfinite(line.y)]
    if not len(finite):
        return ""
    value = float(finite[-1])
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def drawn(
    title: str,
    lines: Sequence[Line],
    *,
    log: bool = False,
    x_is: X = "amount",
    width: int = 420,
    height: int = 220,
) -> Image.Image:
    """Return the curves on paper, for a snapshot; the axes are those of `axes_of`.

    A legend that is wider than the plot goes on below itself, and the sheet is higher then.
    """
    font, left = ImageFont.load_default(12), 52
    row, across, legend = 0, left, []
    for line in (one for one in lines if one.name):
        wide = 30 + round(font.getlength(line.name))
        if across > left and across + wide - 12 > width:
            row, across = row + 1, left
        legend.append((line, across, 32 + row * _ROW))
        across += wide
    sheet = Image.new("RGB", (width, height + row * _ROW), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((8, 4), title, fill=_INK, font=ImageFont.load_default(13))
    top, right, bottom = 42 + row * _ROW, width - 12, sheet.height - 22
    xs, ys = axes_of(lines, log=log, x_is=x_is)
    scale = np.log10 if log else np.asarray
    low, high = float(scale(ys[0])), float(scale(ys[-1]))

    def place(x: Any, y: Any) -> tuple[float, float]:
        across = left + (float(x) - xs[0]) / (xs[-1] - xs[0]) * (right - left)
        return across, bottom - (float(scale(y)) - low) / (high - low) * (bottom - top)

    for tick in ys:
        (_, y) = place(xs[0], tick)
        pen.line([(left, y), (right, y)], fill=_GREY)
        pen.text((left - 6, y), f"{tick:g}", fill=_INK, font=font, anchor="rm")
    ended = -math.inf  # where the label before ended
    for tick in xs:
        (x, _), half = place(tick, ys[0]), pen.textlength(f"{tick:g}", font=font) / 2
        if x - half > ended + 6:
            pen.text((x, bottom + 4), f"{tick:g}", fill=_INK, font=font, anchor="mt")
            ended = x + half
    for line in lines:
        _trace(pen, line, place, log)
    for line, x, y in legend:
        pen.line([(x, y), (x + 14, y)], fill=line.colour, width=3)
        pen.text((x + 18, y), line.name, fill=_INK, font=font, anchor="lm")
    return sheet


def _trace(pen: ImageDraw.ImageDraw, line: Line, place: Any, log: bool) -> None:
    """Draw one curve; a gap in it stays a gap, and a point alone is a dot."""
    run: list[tuple[float, float]] = []
    for x, y in [*zip(*thinned(line.x, line.y, 400), strict=True), (0.0, math.nan)]:
        if math.isfinite(y) and (y > 0 or not log):
            run.append(place(x, y))
            continue
        if len(run) == 1:
            pen.ellipse([run[0][0] - 2, run[0][1] - 2, run[0][0] + 2, run[0][1] + 2], line.colour)
        elif run:
            pen.line(run, fill=line.colour, width=2 if line.dash == "solid" else 1)
        run = []
