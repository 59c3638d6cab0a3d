"""Curves and charts before any library draws them, and on paper. No widgets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Dash = Literal["solid", "dashed", "dotted", "dash_dotted"]
# Each can be told from the others, and from white paper as well as from black.
COLOURS = ("#2a7de1", "#e2711d", "#2f9e44", "#9c4dcc", "#e0453a", "#0f9aa8", "#b0792a", "#c2418f")


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve: what it is called, and its points."""

    name: str  # for the legend; empty for a part of the curve before it
    x: NDArray[Any]  # [N], rising
    y: NDArray[Any]  # [N], not-a-number where there is a gap
    colour: str = COLOURS[0]  # as CSS writes it
    dash: Dash = "solid"
    notes: tuple[str, ...] = ()  # of each point, under the pointer; empty: no dots


@dataclass(frozen=True)
class Chart:
    """Some curves against one quantity, and what is written around them."""

    title: str
    curves: tuple[Curve, ...] = ()
    note: str = ""
    x_label: str = "kimg"
    x_is: Literal["amount", "count", "place"] = "amount"  # place: things beside each other
    log: bool = False  # then values of 0 and less are left out
    zero: bool = False  # whether y begins at 0
    height: int = 130  # of the plot on a page without its title, in pixels


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
    indices = sorted(kept)
    return x[indices], y[indices]


def paper(charts: Sequence[Chart]) -> Image.Image:
    """Return charts on paper, two in a row, for a snapshot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to load
    from matplotlib.figure import Figure

    columns, rows = min(2, len(charts)), -(-len(charts) // 2)
    # Long legends stand under their plot, which keeps its height.
    legend_rows = max(sum(bool(c.name) for c in chart.curves) for chart in charts)
    figure = Figure((4.2 * columns, (2.2 + 0.16 * legend_rows) * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[len(charts) :]:
        unused.remove()
    for axis, chart in zip(axes, charts, strict=False):
        _draw(axis, chart)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _draw(axis: Any, chart: Chart) -> None:
    named = []
    for curve in chart.curves:
        keep = np.isfinite(curve.y) & (curve.y > 0) if chart.log else np.isfinite(curve.y)
        x, y = thinned(np.asarray(curve.x), np.where(keep, curve.y, np.nan))
        # A point alone has no line to be seen by.
        alone = bool(curve.notes) or np.isfinite(y).sum() == 1
        (line,) = axis.plot(
            x, y, color=curve.colour, linestyle=curve.dash.replace("dash_dotted", "dashdot"),
            marker="o" if alone else None, markersize=3, linewidth=1.5,
        )  # fmt: skip
        if curve.name:
            named.append((line, curve.name))
    axis.set_title(chart.title, loc="left", fontsize=8.5, wrap=True, parse_math=False)
    axis.set_xlabel(chart.x_label, loc="right", fontsize=8)
    axis.tick_params(which="both", labelsize=8, length=0)
    axis.grid(axis="y", color="#d8d8d8")
    axis.set_axisbelow(True)
    axis.spines[:].set_visible(False)
    if chart.log:
        axis.set_yscale("log")
    elif chart.zero:
        axis.set_ylim(bottom=0)
    if chart.x_is == "place":  # of whole numbers, with room beside the first and the last
        last = max((round(c.x[-1]) for c in chart.curves if c.notes), default=1)
        axis.set_xlim(0, last + 1)
        axis.set_xticks(range(1, last + 1, 1 + last // 10))
    if named:
        lines, names = zip(*named, strict=True)
        legend = axis.legend(
            lines, names, loc="upper left", bbox_to_anchor=(0, -0.14), fontsize=7.5,
            frameon=False, borderpad=0, labelspacing=0.2,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)
