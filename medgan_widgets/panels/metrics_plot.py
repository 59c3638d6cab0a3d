"""The metrics plot: how fast images are made, what memory that takes, and how good they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import traitlets
from PIL import Image

from medgan_widgets.errors import RequestError
from medgan_widgets.files import write_whole
from medgan_widgets.metrics.table import Scores
from medgan_widgets.panels._metrics_lines import (
    AXES,
    COUNTED,
    LIVE,
    SCORES,
    SPEED,
    Group,
    drawn_models,
    grouped,
    live,
    of_run,
    quality,
    score_row,
    sheet,
    usage_row,
)
from medgan_widgets.panels._panel import Page, Panel, joined
from medgan_widgets.panels._plots import Curves, side_by_side
from medgan_widgets.panels._run_looks import Looker
from medgan_widgets.panels._visibility import Visibility, watched
from medgan_widgets.requests import Measured
from medgan_widgets.telemetry import Telemetry

KEPT = 2000  # scores; the oldest leave
LISTED = 100  # scores in the table on the page
PLOTTED = 12  # plots of quality on the page
LOGS = ("latency", "speed")  # of the live plots; memory begins at 0

Runs = str | Path | Sequence[str | Path]


class _Table(Page):
    """A table under its title and buttons; what it is told is set as text."""

    _esm = joined("_dom.js", "metrics_plot.js")
    _css = joined("_panel.css", "metrics_plot.css")
    title = traitlets.Unicode().tag(sync=True)
    what = traitlets.Unicode().tag(sync=True)  # the name of its file
    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    numbers: traitlets.List[Any] = traitlets.List().tag(sync=True)  # places of columns
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)
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
        Whether latency, speed and quality have logarithmic axes.
    every
        Seconds between two looks, while the panel can be seen.

    Examples
    --------
    >>> from medgan_widgets.requests import Score
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
        if not isinstance(every, (int, float)) or not every > 0:
            raise RequestError(f"every must be a number of seconds above 0; got {every!r}.")
        if engine is None:
            from medgan_widgets.engine import shared_engine  # torch is slow to load

            engine = shared_engine()
        if not isinstance(getattr(engine, "telemetry", None), Telemetry):
            raise RequestError(
                f"engine must be an Engine, which keeps telemetry; got {engine!r:.80}. Scores "
                "go in as MetricsPlot(scores=…)."
            )
        self.engine = engine
        self.models = (models,) if isinstance(models, str) else models
        folders = [runs] if isinstance(runs, (str, Path)) else list(runs or ())
        self._lookers = [Looker(path) for path in dict.fromkeys(map(Path, folders))]
        self._lock = threading.RLock()
        self._scores: list[Measured] = []
        self._of_runs: list[Measured] = []
        self._plots: dict[Group, Curves] = {}
        self._seen_version: object = None
        self.visibility = Visibility()
        self.speed_table = _Table(
            title="speed and memory", what="speed", columns=list(SPEED),
            numbers=list(range(2, len(SPEED))), log=log,
        )  # fmt: skip
        self.score_table = _Table(
            title="quality", what="scores", columns=list(SCORES), numbers=[3, 4, 6], log=log
        )
        self._live = {name: self._live_curves(name) for name in LIVE}
        self._work, self._quality = side_by_side(self._live), ipywidgets.Box([])
        self._quality.add_class("mg-curves-row")
        parts = [self.speed_table, self._work, self.score_table, self._quality]
        self._box = ipywidgets.VBox(parts)
        self._box.add_class("mg-metrics-box")
        super().__init__("Metrics", [self.visibility, self._box])
        self.add_class("mg-metrics-panel")
        self._poller = watched(self.visibility, self.refresh, every, lambda: self._all_curves)
        self.speed_table.observe(self._relog_speed, "log")
        self.score_table.observe(self._relog_scores, "log")
        self.speed_table.on_msg(lambda t, content, _: self._answer(t, content, self.usage_frame))
        self.score_table.on_msg(lambda t, content, _: self._answer(t, content, self.to_frame))
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
        if isinstance(scores, Measured) or not isinstance(scores, Iterable):
            scores = [scores]
        given = list(scores)
        wrong = [one for one in given if not isinstance(one, Measured)]
        if wrong:
            raise RequestError(
                f"scores must be Measured rows, as mw.score returns them; got {wrong[0]!r:.80}."
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
            self._work.layout.display = None if models else "none"  # axes of nothing
            groups = grouped(self.scores)
            self._show_quality(groups)
            self.speed_table.rows = [usage_row(telemetry.usage(model)) for model in models]
            with self.score_table.hold_sync():
                self.score_table.rows = [score_row(one) for one in self.scores.rows[-LISTED:]]
                self.score_table.more = self._left_out(len(groups))
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

    def _show_quality(self, groups: Mapping[Group, list[Measured]]) -> None:
        few = dict(list(groups.items())[:PLOTTED])
        for key in [key for key in self._plots if key not in few]:
            self._plots.pop(key).close()
        for key, rows in few.items():
            if key not in self._plots:
                axis = key[-1]
                self._plots[key] = Curves(
                    "",
                    x_label=AXES[axis],
                    log=self.score_table.log,
                    height=150,
                    x_is="place" if axis == COUNTED else "amount",
                )
                self._plots[key].paused = self._asleep
            shown = quality(key, rows)
            self._plots[key].show(shown.lines, title=shown.title, note=shown.note)
        self._quality.children = [curves.widget for curves in self._plots.values()]

    def _live_curves(self, name: str) -> Curves:
        title, _ = LIVE[name]
        log = self.speed_table.log and name in LOGS
        return Curves(title, x_label="images", x_is="count", log=log, zero=True, dots=12)

    @property
    def _all_curves(self) -> list[Curves]:
        return [*self._live.values(), *list(self._plots.values())]

    @property
    def _asleep(self) -> bool:
        """A page has shown it and does not now; before the first one everything is prepared."""
        return self._poller.alive and not self.visibility.visible

    def _read_runs(self) -> None:
        if not self._lookers:
            return
        looks = [looker.look() for looker in self._lookers]
        names = [look.name for look in looks]
        found: list[Measured] = []
        for look in looks:
            alone = names.count(look.name) == 1
            found += of_run(look, look.name if alone else str(look.run))
        self.error = " ".join(filter(None, (look.problem for look in looks)))
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
        known = len(self.engine.telemetry.models)
        count = f"{models} of {known}" if models < known else f"{known}"
        work = f"{count} model{'s' if known != 1 else ''} on {self.engine.device}" if models else ""
        figures = f"{len(self.scores)} score{'s' if len(self.scores) != 1 else ''}"
        return ", ".join(part for part in (work, figures) if part) + "."

    def _relog_speed(self, _: object) -> None:
        """Draw speed again: a scale cannot become a logarithm."""
        with self._lock:
            if self._closed:
                return
            for name in LOGS:
                self._live[name].close()
                self._live[name] = self._live_curves(name)
                self._live[name].paused = self._asleep
            self._work.children = [curves.widget for curves in self._live.values()]
            self._seen_version = None
            self.refresh()

    def _relog_scores(self, _: object) -> None:
        with self._lock:
            if self._closed:
                return
            for curves in self._plots.values():
                curves.close()
            self._plots, self._seen_version = {}, None
            self.refresh()

    def _answer(self, table: _Table, content: Any, frame: Callable[[], pd.DataFrame]) -> None:
        if isinstance(content, Mapping) and content.get("kind") == "csv":
            text = frame().to_csv(index=False)
            table.send({"kind": "csv", "how": str(content.get("how")), "text": text})

    def _facts(self) -> Mapping[str, object]:
        groups = grouped(self.scores)
        return {
            "models": len(self.engine.telemetry.models),
            "scores": len(self.scores),
            "plots": len(groups),
        }

    def _picture(self) -> Image.Image | None:
        self.refresh()
        telemetry = self.engine.telemetry
        work = live(telemetry, drawn_models(telemetry, self.models))
        groups = list(grouped(self.scores).items())[:PLOTTED]
        log = self.speed_table.log
        plots = [(one, log and name in LOGS) for name, one in work.items() if one.lines]
        log = self.score_table.log
        plots += [(quality(group, rows), log) for group, rows in groups]
        return sheet(plots) if plots else None

    def _release(self) -> None:
        self._poller.close()
        with self._lock:
            for curves in self._all_curves:
                curves.close()
        tables = (self.speed_table, self.score_table)
        for widget in (*tables, self._work, self._quality, self._box):
            widget.layout.close()
            widget.close()
