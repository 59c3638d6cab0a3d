"""Charts on the page. The one file that knows bqplot.

What it is careful about: x and y of all curves of one style travel in one message, a curve has
at most 500 points, and a chart is never sent twice the same. Ticks and ends of the axes are round
numbers chosen here: bqplot's own are too many for so low a plot, and its axes end in between.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from numpy.typing import NDArray

from medgan_widgets.panels._curves import Chart, Curve, Dash, thinned
from medgan_widgets.panels._panel import Page, joined
from medgan_widgets.words import number

DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dash_dotted")


class Caption(Page):
    """Title, legend with the newest values, and a note; text stays text."""

    _esm = joined("_dom.js", "_plots.js")
    _css = joined("_plots.css")
    title = traitlets.Unicode("").tag(sync=True)
    legend: traitlets.List[Any] = traitlets.List().tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    hidden: traitlets.List[Any] = traitlets.List().tag(sync=True)  # names that were clicked away


class Plot(ipywidgets.VBox):
    """One chart on the page, under its caption."""

    def __init__(self, chart: Chart) -> None:
        import bqplot  # slow to load

        self.chart = chart
        self._sent: object = None
        self._lock = threading.RLock()  # a click in the legend comes on a thread of its own
        scales = {
            "x": bqplot.LinearScale(min=0.0, max=1.0),
            "y": bqplot.LogScale(min=1.0, max=10.0)
            if chart.log
            else bqplot.LinearScale(min=0.0, max=1.0),
        }
        self._axes = {
            "x": bqplot.Axis(
                scale=scales["x"], tick_format="~g", grid_lines="none", label=chart.x_label,
                label_offset="0em", label_location="end",
            ),
            "y": bqplot.Axis(scale=scales["y"], tick_format="~g", side="left"),
        }  # fmt: skip
        self._marks = {
            dash: bqplot.Lines(
                x=[0.0, 1.0], y=[1.0, 1.0], scales=scales, visible=False, apply_clip=True,
                line_style=dash, stroke_width=1.75 if dash == "solid" else 1.25,
            )
            for dash in DASHES
        }  # fmt: skip
        self._dots = bqplot.Scatter(
            x=[0.0], y=[1.0], scales=scales, visible=False, apply_clip=True, stroke_width=0,
            default_size=12 if chart.x_is == "count" else 36, display_names=False,
            tooltip=bqplot.Tooltip(fields=["name"], labels=[""], show_labels=False),
        )  # fmt: skip
        right = max(36, 10 + 7 * len(chart.x_label))  # what x is stands beside the end of its axis
        self._figure = bqplot.Figure(
            marks=[*self._marks.values(), self._dots],
            axes=list(self._axes.values()),
            animation_duration=0,
            display_toolbar=False,  # it would lie over the curves
            fig_margin={"top": 8, "bottom": 22, "left": 46, "right": right},
            min_aspect_ratio=0.05,
            max_aspect_ratio=50,
            layout=ipywidgets.Layout(width="100%", height=f"{chart.height}px", min_width="0"),
        )
        self.caption = Caption(title=chart.title)
        super().__init__([self.caption, self._figure])
        self.add_class("mg-curves")
        self.caption.observe(lambda _: self.show(self.chart), "hidden")
        self.show(chart)

    def show(self, chart: Chart) -> None:
        """Show this chart instead of the one before; its scales stay what they are."""
        with self._lock:
            self.chart = chart
            curves, hidden = (
                [_for_page(one, chart.log) for one in chart.curves],
                self.caption.hidden,
            )
            sent = (chart.title, chart.note, tuple(hidden), [
                (one.name, one.colour, one.dash, one.x.tobytes(), one.y.tobytes(), one.notes)
                for one in curves
            ])  # fmt: skip
            if sent == self._sent:
                return
            self._sent = sent
            named: dict[str, Curve] = {}
            for curve in curves:
                if curve.name:
                    named.setdefault(curve.name, curve)
            with self.caption.hold_sync():
                self.caption.title, self.caption.note = chart.title, chart.note
                self.caption.legend = [
                    [one.name, one.colour, one.dash, _newest(one)] for one in named.values()
                ]
            self._draw(chart, _without(curves, hidden))

    def close(self) -> None:
        """Take it off the page."""
        scales = [axis.scale for axis in self._axes.values()]
        marks = (*self._marks.values(), self._dots.tooltip, self._dots)
        figure = (self._figure.scale_x, self._figure.scale_y, self._figure.layout, self._figure)
        for widget in (*marks, *self._axes.values(), *scales, *figure, self.caption, self.layout):
            widget.close()
        super().close()

    def _draw(self, chart: Chart, curves: Sequence[Curve]) -> None:
        self._figure.layout.visibility = "visible" if curves else "hidden"  # axes of nothing
        for name, values in (("x", _x_ticks(chart, curves)), ("y", _y_ticks(chart, curves))):
            axis = self._axes[name]
            if axis.tick_values is None or list(axis.tick_values) != values:
                with axis.scale.hold_sync():
                    axis.scale.min, axis.scale.max = values[0], values[-1]
                axis.tick_values = np.asarray(values)
        for dash, mark in self._marks.items():
            own = [one for one in curves if one.dash == dash and np.isfinite(one.y).any()]
            with mark.hold_sync():
                if own:
                    width = max(2, *(len(one.x) for one in own))
                    mark.x = np.stack([_padded(one.x, width, one.x[-1]) for one in own])
                    mark.y = np.stack([_padded(one.y, width, np.nan) for one in own])
                    mark.colors = [one.colour for one in own]
                mark.visible = bool(own)
        points = [
            (one.x[k], one.y[k], one.notes[k], one.colour)
            for one in curves
            for k in range(len(one.notes))
            if np.isfinite(one.y[k])
        ]
        with self._dots.hold_sync():
            if points:
                x, y, notes, colours = zip(*points, strict=True)
                self._dots.x, self._dots.y, self._dots.names = map(np.array, (x, y, notes))
                self._dots.colors = list(colours)
            self._dots.visible = bool(points)


class Plots(ipywidgets.Box):
    """Charts in rows of as many as there is room for."""

    def __init__(self) -> None:
        self._plots: dict[Hashable, Plot] = {}
        super().__init__()
        self.add_class("mg-curves-row")

    def __getitem__(self, key: Hashable) -> Plot:
        return self._plots[key]

    @property
    def charts(self) -> dict[Hashable, Chart]:
        """What is shown."""
        return {key: plot.chart for key, plot in self._plots.items()}

    def show(self, charts: Mapping[Any, Chart]) -> None:
        """Show these charts, each in the plot that had its key before."""
        kept: dict[Hashable, Plot] = {}
        for key, chart in charts.items():
            plot = self._plots.get(key)
            if plot is None or plot.chart.log != chart.log:  # no scale becomes a logarithm
                plot = Plot(chart)
            plot.show(chart)
            kept[key] = plot
        gone = [plot for key, plot in self._plots.items() if kept.get(key) is not plot]
        self._plots, self.children = kept, tuple(kept.values())
        for plot in gone:
            plot.close()

    def close(self) -> None:
        """Take it off the page, plots and all."""
        for plot in self._plots.values():
            plot.close()
        self.layout.close()
        super().close()


def _for_page(curve: Curve, log: bool) -> Curve:
    """Return a curve as the page gets it: few points, no infinity, half the bytes."""
    with np.errstate(over="ignore", under="ignore"):
        y = np.asarray(curve.y, np.float32)
    keep = np.isfinite(y) & (y > 0) if log else np.isfinite(y)
    x, y = thinned(np.asarray(curve.x, np.float32), np.where(keep, y, np.float32(np.nan)))
    notes = curve.notes if len(curve.notes) == len(x) else ()
    return Curve(curve.name, x, y, curve.colour, curve.dash, notes)


def _newest(curve: Curve) -> str:
    finite = curve.y[np.isfinite(curve.y)]
    return number(float(finite[-1])) if len(finite) else ""


def _without(curves: Sequence[Curve], hidden: Sequence[str]) -> list[Curve]:
    """Return the curves that nobody clicked away; one without a name goes with the one before."""
    kept, name = [], ""
    for curve in curves:
        name = curve.name or name
        if name not in hidden:
            kept.append(curve)
    return kept


def _padded(values: NDArray[Any], width: int, value: float) -> NDArray[Any]:
    return np.pad(values, (0, width - len(values)), constant_values=value)


# ------------------------------------------------------------ ticks


def _x_ticks(chart: Chart, curves: Sequence[Curve]) -> list[float]:
    if chart.x_is != "place":
        x = _finite([one.x for one in curves])
        if len(x) and 0 <= x.min() < 0.5 * x.max():
            x = np.append(x, 0.0)
        return ticks(x, whole=chart.x_is == "count")
    # A line across them, as the floor is, has no notes and is none of them.
    numbered = _finite([one.x for one in curves if one.notes])
    first, last = (round(numbered.min()), round(numbered.max())) if len(numbered) else (1, 1)
    step = max(1, -(-(last - first + 2) // 10))
    return [float(one) for one in range(first - 1, last + 1 + step, step)]


def _y_ticks(chart: Chart, curves: Sequence[Curve]) -> list[float]:
    y = _finite([one.y for one in curves])
    if not chart.log:
        return ticks(np.append(y, 0.0) if chart.zero and len(y) else y)
    if not len(y):
        return [1.0, 10.0]
    first, last = math.floor(math.log10(y.min())), math.ceil(math.log10(y.max()))
    last = max(last, first + 1)
    step = -(-(last - first) // 5)
    return [10.0**n for n in range(first, last + step, step)]


def _finite(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    values = np.concatenate([np.zeros(0), *arrays])
    return values[np.isfinite(values)]


def ticks(values: NDArray[Any], *, whole: bool = False) -> list[float]:
    """Return round numbers, evenly spaced, from at most the least to at least the largest value.

    With ``whole`` there is no tick between two whole numbers: a quarter of an image is none.

    Examples
    --------
    >>> ticks(np.array([0.13, 1.9]))
    [0.0, 0.5, 1.0, 1.5, 2.0]
    >>> ticks(np.array([3.0]))
    [2.0, 2.5, 3.0, 3.5, 4.0]
    >>> ticks(np.array([0, 8]), whole=True)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    if not len(values):
        return [0.0, 1.0]
    low, high = float(values.min()), float(values.max())
    if not high > low:
        spread = abs(low) / 3 or 1.0
        low, high = low - spread, high + spread
    rough = max((high - low) / 4, 1.0 if whole else 0.0)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough * 0.999]
    step = next(one for one in steps if one.is_integer() or not whole)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]
