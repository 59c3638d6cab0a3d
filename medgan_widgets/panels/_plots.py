"""Curves on the page. The one file that knows bqplot.

What it is careful about: x and y of all curves of one style travel in one
message; a curve has at most 500 points; a plot is sent at most five times a
second, not at all while it is paused, and never twice the same. Ticks and ends
of the axes are round numbers chosen here, so that they seldom change.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import bqplot
import ipywidgets
import numpy as np
import traitlets
from PIL import Image

from medgan_widgets.panels._lines import Dash, Line, X, axes_of, drawn, latest, thinned
from medgan_widgets.panels._panel import Page

_MARGIN = {"top": 8, "bottom": 22, "left": 46}
_LETTER = 7  # pixels, of what x is, beside the end of its axis
_DASHES: tuple[Dash, ...] = ("solid", "dashed", "dotted", "dash_dotted")

CAPTION = """
function render({ model, el }) {
  el.classList.add('mg-curves-caption');
  const node = (name, text = '') => {
    const made = document.createElement('span');
    made.className = `mg-curves-${name}`;
    made.textContent = text;
    return made;
  };
  const show = () => {
    const title = node('title', model.get('title'));
    title.setAttribute('role', 'heading');
    title.setAttribute('aria-level', '4');
    const hidden = new Set(model.get('hidden'));
    const own = el.contains(document.activeElement);
    const focused = own ? document.activeElement.dataset.name : null;
    const entries = model.get('legend').map(([name, colour, dash, value]) => {
      const entry = document.createElement('button');
      entry.type = 'button';
      entry.className = 'mg-curves-entry';
      entry.title = hidden.has(name) ? 'show this curve' : 'hide this curve';
      entry.setAttribute('aria-pressed', String(!hidden.has(name)));
      entry.dataset.name = name;
      entry.addEventListener('click', () => {
        if (hidden.has(name)) hidden.delete(name); else hidden.add(name);
        model.set('hidden', [...hidden]);
        model.save_changes();
      });
      const key = node('key');
      key.style.borderTop = `3px ${dash === 'dash_dotted' ? 'dashed' : dash} ${colour}`;
      key.setAttribute('aria-hidden', 'true');
      entry.append(key, node('name', name), node('value', value));
      return entry;
    });
    el.replaceChildren(title, ...entries, node('note', model.get('note')));
    entries.find((entry) => entry.dataset.name === focused)?.focus();
  };
  model.on('change', show);
  show();
  return () => model.off('change', show);
}
export default { render };
"""


class _Caption(Page):
    """Title, legend with the newest values, and a note; text stays text."""

    _esm = CAPTION
    _css = Path(__file__).with_name("_plots.css")
    title = traitlets.Unicode("").tag(sync=True)
    legend: traitlets.List[Any] = traitlets.List().tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    hidden: traitlets.List[Any] = traitlets.List().tag(sync=True)  # names that were clicked away


class Curves:
    """A plot of several named curves against one quantity."""

    def __init__(
        self,
        title: str,
        *,
        x_label: str = "kimg",
        log: bool = False,  # then values of 0 and less are left out
        zero: bool = False,  # whether y begins at 0
        height: int = 130,  # of the plot without its title, in pixels
        x_is: X = "amount",
        dots: int = 36,  # area of the dots that answer the pointer, in square pixels
        least: float = 0.2,  # seconds between two messages to the page
        most: int = 500,  # points of a curve on the page
    ) -> None:
        self.sent = 0  # how often the plot went to the page
        self._log, self._zero, self._least, self._most = log, zero, least, most
        self._x_is: X = x_is
        self._lock = threading.RLock()
        self._wanted: tuple[str, str, tuple[Line, ...]] = (title, "", ())
        self._last: object = None
        self._sent_at = -1e9
        self._paused = self._closed = False
        self._timer: threading.Timer | None = None
        self._caption = _Caption(title=title)
        self._x = bqplot.LinearScale(min=0.0, max=1.0)
        self._y = (
            bqplot.LogScale(min=1.0, max=10.0) if log else bqplot.LinearScale(min=0.0, max=1.0)
        )
        self._axes = [
            bqplot.Axis(scale=self._x, tick_format="~g", grid_lines="none", label=x_label,
                        label_offset="0em", label_location="end"),
            bqplot.Axis(scale=self._y, tick_format="~g", side="left"),
        ]  # fmt: skip
        self._marks = {dash: self._mark(dash) for dash in _DASHES}
        self._dots = bqplot.Scatter(
            x=[0.0], y=[1.0], scales={"x": self._x, "y": self._y}, visible=False, default_size=dots,
            display_names=False, stroke_width=0, apply_clip=True,
            tooltip=bqplot.Tooltip(fields=["name"], labels=[""], show_labels=False),
        )  # fmt: skip
        self._figure = bqplot.Figure(
            marks=[*self._marks.values(), self._dots],
            axes=self._axes,
            animation_duration=0,
            display_toolbar=False,  # it would lie over the curves
            fig_margin={**_MARGIN, "right": max(36, 10 + _LETTER * len(x_label))},
            min_aspect_ratio=0.05,
            max_aspect_ratio=50,
            layout=ipywidgets.Layout(width="100%", height=f"{height}px", min_width="0"),
        )
        self._caption.observe(self._hide, "hidden")
        self.widget = ipywidgets.VBox([self._caption, self._figure])
        self.widget.add_class("mg-curves")

    def _mark(self, dash: Dash) -> Any:
        return bqplot.Lines(
            x=[0.0, 1.0], y=[1.0, 1.0], scales={"x": self._x, "y": self._y}, visible=False,
            line_style=dash, stroke_width=1.75 if dash == "solid" else 1.25, apply_clip=True,
        )  # fmt: skip

    @property
    def title(self) -> str:
        """What stands above the plot."""
        return self._wanted[0]

    @property
    def lines(self) -> tuple[Line, ...]:
        """What is to be shown, all points of it."""
        return self._wanted[2]

    @property
    def legend(self) -> tuple[str, ...]:
        """The names on the page, each with its newest value."""
        return tuple(f"{name} {value}".strip() for name, _, _, value in self._caption.legend)

    @property
    def paused(self) -> bool:
        """Whether nothing is sent now; what came meanwhile is sent once, when it ends."""
        return self._paused

    @paused.setter
    def paused(self, paused: bool) -> None:
        with self._lock:
            self._paused = paused
            self._flush()

    def show(self, lines: Sequence[Line], *, title: str | None = None, note: str = "") -> None:
        """Show these curves instead of the ones before; without a title the old one stays."""
        with self._lock:
            self._wanted = (self.title if title is None else title, note, tuple(lines))
            self._flush()

    def picture(self, width: int = 420, height: int = 220) -> Image.Image:
        """Return the curves on paper."""
        shape = {"width": width, "height": height}
        return drawn(self.title, self.lines, log=self._log, x_is=self._x_is, **shape)

    def close(self) -> None:
        """Take it off the page; twice does no harm."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()
        figure = self._figure
        dots = (self._dots, self._dots.tooltip)
        parts = [*self._marks.values(), *dots, *self._axes, self._x, self._y]
        for widget in (*parts, figure.scale_x, figure.scale_y, figure.layout, figure):
            widget.close()
        for widget in (self._caption, self.widget.layout, self.widget):
            widget.close()

    def _hide(self, _: object) -> None:
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        """Send what is wanted now, or as soon as it may be sent."""
        if self._paused or self._closed:
            return
        wait = self._sent_at + self._least - time.monotonic()
        if wait <= 0:
            self._send()
        elif self._timer is None:
            self._timer = threading.Timer(wait, self._late)
            self._timer.daemon = True
            self._timer.start()

    def _late(self) -> None:
        with self._lock:
            self._timer = None
            self._flush()

    def _send(self) -> None:
        title, note, lines = self._wanted
        few = [self._few(line) for line in lines]
        hidden = tuple(self._caption.hidden)
        now = (title, note, hidden, [
            (one.name, one.colour, one.dash, one.x.tobytes(), one.y.tobytes(), one.notes)
            for one in few
        ])  # fmt: skip
        if now == self._last:
            return
        self._last, self._sent_at = now, time.monotonic()
        self.sent += 1
        with self._caption.hold_sync():
            self._caption.title, self._caption.note = title, note
            named = {one.name: one for one in reversed(few) if one.name}
            named = dict(reversed(named.items()))
            self._caption.legend = [
                [one.name, one.colour, one.dash, latest(one)] for one in named.values()
            ]
        few = _without(few, hidden)
        self._figure.layout.visibility = "visible" if few else "hidden"  # axes of nothing
        self._send_axes(few)
        for dash, mark in self._marks.items():
            _send_mark(mark, [one for one in few if one.dash == dash])
        _send_dots(self._dots, [one for one in few if one.notes])

    def _few(self, line: Line) -> Line:
        """Return a curve as the page gets it: few points, no infinity, half the bytes."""
        y = np.asarray(line.y, np.float64)
        keep = np.isfinite(y) & (y > 0) if self._log else np.isfinite(y)
        x, y = thinned(np.asarray(line.x), np.where(keep, y, np.nan), self._most)
        x, y = x.astype(np.float32), y.astype(np.float32)
        notes = line.notes if len(line.notes) == len(x) else ()
        return Line(line.name, x, y, line.colour, line.dash, notes)

    def _send_axes(self, lines: Sequence[Line]) -> None:
        across, up = axes_of(lines, log=self._log, zero=self._zero, x_is=self._x_is)
        both = zip((self._x, self._y), self._axes, (across, up), strict=True)
        for scale, axis, ticks in both:
            if list(np.asarray(axis.tick_values if axis.tick_values is not None else [])) == ticks:
                continue
            with scale.hold_sync():
                scale.min, scale.max = ticks[0], ticks[-1]
            axis.tick_values = np.asarray(ticks)


def _send_mark(mark: Any, lines: Sequence[Line]) -> None:
    """Give a mark its curves: one message, rows of one length, gaps where a curve has ended."""
    drawn = [line for line in lines if np.isfinite(line.y).any()]
    if not drawn:
        if mark.visible:
            mark.visible = False
        return
    width = max(2, *(len(line.x) for line in drawn))
    x = np.stack([np.pad(line.x, (0, width - len(line.x)), mode="edge") for line in drawn])
    y = np.stack(
        [np.pad(line.y, (0, width - len(line.y)), constant_values=np.nan) for line in drawn]
    )
    with mark.hold_sync():
        mark.x, mark.y = x, y
        mark.colors = [line.colour for line in drawn]
        mark.visible = True


def _send_dots(mark: Any, lines: Sequence[Line]) -> None:
    """Give the dots their places, colours and words; they answer the pointer."""
    places = [(line, k) for line in lines for k in range(len(line.x)) if np.isfinite(line.y[k])]
    if not places:
        if mark.visible:
            mark.visible = False
        return
    with mark.hold_sync():
        mark.x = np.array([line.x[k] for line, k in places])
        mark.y = np.array([line.y[k] for line, k in places])
        mark.names = np.array([line.notes[k] for line, k in places])
        mark.colors = [line.colour for line, _ in places]
        mark.visible = True


def _without(lines: Sequence[Line], hidden: Sequence[str]) -> list[Line]:
    """Return the curves that nobody clicked away; one without a name goes with the one before."""
    kept, name = [], ""
    for line in lines:
        name = line.name or name
        if name not in hidden:
            kept.append(line)
    return kept


def side_by_side(curves: Mapping[str, Curves]) -> ipywidgets.Widget:
    """Return several plots in rows of as many as there is room for."""
    box = ipywidgets.Box([one.widget for one in curves.values()])
    box.add_class("mg-curves-row")
    return cast(ipywidgets.Widget, box)
