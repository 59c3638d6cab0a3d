"""The metrics plot: how fast images are made, what memory that takes, and how good they are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import pandas as pd
import traitlets
from PIL import Image

from medgan_widgets.errors import MedganError, RequestError
from medgan_widgets.evaluation.scores import Scores
from medgan_widgets.files import write_whole
from medgan_widgets.panels._beacon import Beacon
from medgan_widgets.panels._lines import drawn
from medgan_widgets.panels._metrics_lines import (
    AXES,
    COLUMNS,
    COUNTED,
    LIVE,
    Comparable,
    axis_of,
    drawn_models,
    grouped,
    live,
    quality,
    usage_row,
)
from medgan_widgets.panels._panel import Panel
from medgan_widgets.panels._plots import Curves, side_by_side
from medgan_widgets.panels._run_lines import Shown
from medgan_widgets.panels._scripts import joined
from medgan_widgets.panels._watcher import Watcher
from medgan_widgets.requests import Measured, Score
from medgan_widgets.runs import run_config, some_ticks

KEPT = 2000  # scores; the oldest leave
LISTED = 100  # scores in the table on the page
PLOTTED = 12  # plots of quality on the page

Runs = str | Path | Sequence[str | Path]


class _Board(anywidget.AnyWidget):
    """Two tables and the buttons over them; what it is told is set as text."""

    _esm = joined("_monitor_base.js", "_clipboard.js", "metrics_plot.js")
    _css = Path(__file__).with_name("metrics_plot.css")
    columns = traitlets.List(list(COLUMNS)).tag(sync=True)
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
    scores: traitlets.List[Any] = traitlets.List().tag(sync=True)
    more = traitlets.Unicode("").tag(sync=True)
    log = traitlets.Bool(False).tag(sync=True)


class MetricsPlot(Panel):
    """Speed, memory and quality of models, live; never two extractors on one axis.

    Parameters
    ----------
    engine
        Whose work is shown; by default the shared engine.
    scores
        `Measured` rows, as `score` returns them: drawn against kimg or truncation where
        they say so, else one beside the other.
    runs
        Run directories: their scores are drawn against kimg.
    models
        Only these models' work; by default the last eight that were asked for.
    log
        Whether quality has a logarithmic axis.
    every
        Seconds between two looks, while the panel can be seen.

    Examples
    --------
    >>> from medgan_widgets.telemetry import Telemetry
    >>> class Quiet:
    ...     telemetry = Telemetry()
    >>> plot = MetricsPlot(Quiet())
    >>> plot.add(Measured(Score("FD", 0.2, 9, 9, "e", (0.1, 0.3), 0.1), of="m", against="r"))
    >>> plot
    MetricsPlot(models=0, scores=1, plots=1)
    >>> plot.close()
    """

    def __init__(
        self,
        engine: Any = None,
        scores: Iterable[Measured] = (),
        runs: Runs | None = None,
        *,
        models: Sequence[str] | None = None,
        log: bool = False,
        every: float = 0.5,
    ) -> None:
        if not every > 0:
            raise RequestError(f"every must be a number of seconds above 0; got {every!r}.")
        if engine is None:
            from medgan_widgets.engine import shared_engine  # torch is slow to load

            engine = shared_engine()
        self.engine, self.models = engine, models
        self._runs = [runs] if isinstance(runs, (str, Path)) else list(runs or ())
        self._lock = threading.RLock()
        self._scores: list[Measured] = []
        self._of_runs: list[Measured] = []
        self._plots: dict[Comparable, tuple[str, Curves]] = {}
        self._seen_version: object = None
        self.beacon, self.board = Beacon(), _Board(log=log)
        self._live = {
            name: Curves(title, x_label="images", zero=True, dots=12) for name, (title, _) in LIVE.items()
        }
        self._work, self._quality = side_by_side(self._live), ipywidgets.Box([])
        self._quality.add_class("mg-curves-row")
        self._box = ipywidgets.VBox([self.board, self._work, self._quality])
        self._box.add_class("mg-metrics-box")
        super().__init__("Metrics", [self.beacon, self._box])
        self.add_class("mg-metrics-panel")
        self._watcher = Watcher(self._watch, every)
        self.beacon.observe(self._seen, "visible")
        self.board.observe(self._relog, "log")
        self.board.on_msg(self._message)
        self.add(scores)

    # ------------------------------------------------------------ what it shows

    @property
    def scores(self) -> Scores:
        """The scores it shows, those of run directories after the others."""
        return Scores((*self._scores, *self._of_runs))

    def add(self, scores: Measured | Iterable[Measured]) -> None:
        """Show further scores.

        Raises
        ------
        RequestError
            For anything but `Measured` rows.
        """
        given = [scores] if isinstance(scores, Measured) else list(scores)
        wrong = [type(one).__name__ for one in given if not isinstance(one, Measured)]
        if wrong:
            raise RequestError(
                f"scores must be Measured rows, as mw.score returns them; got {wrong[0]}."
            )
        with self._lock:
            self._scores = [*self._scores, *given][-KEPT:]
            self._seen_version = None
            self.refresh()

    def refresh(self) -> None:
        """Look at the engine and the runs now, whether anybody can see the panel or not."""
        with self._lock:
            if self._closed:
                return
            self._read_runs()
            telemetry = self.engine.telemetry
            version = (id(telemetry), telemetry.version, len(self._scores), len(self._of_runs))
            if version == self._seen_version:
                return
            self._seen_version = version
            models = drawn_models(telemetry, self.models)
            for name, shown in live(telemetry, models).items():
                self._live[name].show(shown.lines, note=shown.note)
                hidden = name == "device" and not shown.lines
                self._live[name].widget.layout.display = "none" if hidden else None
            groups = grouped(self.scores)
            self._show_quality(groups)
            with self.board.hold_sync():
                self.board.rows = [usage_row(telemetry.usage(model)) for model in models]
                self.board.scores = [_score_row(one) for one in self.scores.rows[-LISTED:]]
                self.board.more = self._left_out(len(groups))
            self.status = self._words(len(models))

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a DataFrame, one row a figure."""
        return self.scores.to_frame()

    def usage_frame(self) -> pd.DataFrame:
        """Return the models' work as a DataFrame, one row a model."""
        return pd.DataFrame(self.engine.telemetry.to_rows())

    def to_csv(self, path: str | Path) -> Path:
        """Write the scores as CSV, all of it or nothing.

        Raises
        ------
        SaveError
            When it cannot be written.
        """
        return write_whole(Path(path), self.to_frame().to_csv(index=False).encode())

    # ------------------------------------------------------------ behind it

    def _show_quality(self, groups: Mapping[Comparable, list[Measured]]) -> None:
        few = dict(list(groups.items())[:PLOTTED])
        for key in [key for key, (axis, _) in self._plots.items()
                    if key not in few or axis != axis_of(few[key])]:  # fmt: skip
            self._plots.pop(key)[1].close()
        for key, rows in few.items():
            if key not in self._plots:
                axis = axis_of(rows)
                curves = Curves(
                    "", x_label=AXES[axis], log=self.board.log, height=150, whole=axis == COUNTED
                )
                curves.paused = self._asleep
                self._plots[key] = axis, curves
            shown = quality(rows)
            self._plots[key][1].show(shown.lines, title=shown.title, note=shown.note)
        self._quality.children = [curves.widget for _, curves in self._plots.values()]

    @property
    def _asleep(self) -> bool:
        """A page has shown it and does not now; before the first one everything is prepared."""
        return self._watcher.alive and not self.beacon.visible

    def _read_runs(self) -> None:
        found: list[Measured] = []
        for run in self._runs:
            try:
                run_config(run)  # says what is wrong with a folder that is no run
                ticks = some_ticks(run)
            except (MedganError, OSError) as error:
                self.error = str(error)
                continue
            for tick in ticks:
                one = _of_tick(tick.score)
                if one is not None:
                    found.append(
                        Measured(one, of=Path(run).name, against="held-out reals", kimg=tick.kimg)
                    )
        if found != self._of_runs:
            self._of_runs, self._seen_version = found, None

    def _left_out(self, groups: int) -> str:
        parts = []
        if len(self.scores) > LISTED:
            parts.append(f"the last {LISTED} of {len(self.scores)} scores are listed")
        if groups > PLOTTED:
            parts.append(f"{PLOTTED} of {groups} groups are drawn")
        return "; ".join(parts)

    def _words(self, models: int) -> str:
        if not models and not len(self.scores):
            return "Nothing generated and nothing scored yet: press Generate, or call mw.score."
        work = (
            f"{models} model{'s' if models != 1 else ''} on {self.engine.device}" if models else ""
        )
        figures = f"{len(self.scores)} score{'s' if len(self.scores) != 1 else ''}"
        return ", ".join(part for part in (work, figures) if part) + "."

    def _seen(self, change: Mapping[str, Any]) -> None:
        for curves in (*self._live.values(), *(one for _, one in self._plots.values())):
            curves.paused = not change["new"]
        if change["new"]:
            self._watcher.wake()
        else:
            self._watcher.rest()

    def _watch(self) -> None:
        if self.beacon.visible:
            self.refresh()

    def _relog(self, _: object) -> None:
        with self._lock:
            for _, curves in self._plots.values():
                curves.close()
            self._plots, self._seen_version = {}, None
            self.refresh()

    def _message(self, _: object, content: Mapping[str, Any], __: object) -> None:
        if content.get("kind") == "csv":
            text = self.to_frame().to_csv(index=False)
            self.board.send({"kind": "csv", "how": str(content.get("how")), "text": text})

    def _facts(self) -> Mapping[str, object]:
        groups = grouped(self.scores)
        return {
            "models": len(self.engine.telemetry.models),
            "scores": len(self.scores),
            "plots": len(groups),
        }

    def _picture(self) -> Image.Image | None:
        self.refresh()
        shown = [quality(rows) for rows in list(grouped(self.scores).values())[:PLOTTED]]
        models = drawn_models(self.engine.telemetry, self.models)
        work = live(self.engine.telemetry, models)
        shown = [one for one in work.values() if one.lines] + shown
        return _sheet(shown, self.board.log) if shown else None

    def _release(self) -> None:
        self._watcher.close()
        for curves in (*self._live.values(), *(one for _, one in self._plots.values())):
            curves.close()
        for widget in (self.board, self._work, self._quality, self._box):
            widget.layout.close()
            widget.close()


def _of_tick(score: Mapping[str, Any] | None) -> Score | None:
    """Return a tick's score, or None where it has none or a damaged one."""
    if not score:
        return None
    known = {name: score[name] for name in Score.__dataclass_fields__ if name in score}
    try:
        one = Score(**{**known, "interval": tuple(known["interval"] or ()) or None})
        return one if isinstance(one.value, (int, float)) else None
    except (TypeError, KeyError):
        return None


def _score_row(row: Measured) -> list[str]:
    score = row.score
    low, high = score.interval or (None, None)
    at = f"{row.kimg:g} kimg" if row.kimg is not None else ""
    at = f"psi {row.truncation_psi:g}" if row.truncation_psi is not None else at
    return [
        row.of, at, score.name, "–" if score.value is None else f"{score.value:.4g}",
        "–" if low is None or high is None else f"{low:.4g} to {high:.4g}",
        "–" if score.floor is None else f"{score.floor:.4g}",
        f"{score.n_real if score.n_real is not None else '?'} / "
        f"{score.n_fake if score.n_fake is not None else '?'}",
        score.extractor or "not stated", row.against, score.warning,
    ]  # fmt: skip


def _sheet(shown: Sequence[Shown], log_axis: bool, columns: int = 2) -> Image.Image:
    """Return plots on paper, two in a row."""
    plots = [
        drawn(one.title, one.lines, log=log_axis and not one.title.startswith(tuple(_TITLES)))
        for one in shown
    ]
    width, height = plots[0].size
    rows = -(-len(plots) // columns)
    page = Image.new("RGB", (width * min(columns, len(plots)), height * rows), (255, 255, 255))
    for place, plot in enumerate(plots):
        page.paste(plot, (place % columns * width, place // columns * height))
    return page


_TITLES = [title for title, _ in LIVE.values()]
