"""The metrics plot: how fast images are made, what memory that takes, and how good they are."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import pandas as pd
import traitlets
from PIL import Image

from medgan_widgets.errors import RequestError
from medgan_widgets.files import write_whole
from medgan_widgets.metrics.table import Scores
from medgan_widgets.panels._curves import Chart, paper
from medgan_widgets.panels._metrics_charts import (
    SCORES,
    SPEED,
    drawn_models,
    grouped,
    quality_chart,
    run_scores,
    score_row,
    usage_row,
    work_charts,
)
from medgan_widgets.panels._panel import Page, Panel, joined
from medgan_widgets.panels._plots import Plots
from medgan_widgets.panels._polling import Polling, Visibility
from medgan_widgets.panels._run_snapshot import RunReader, unique_name
from medgan_widgets.requests import Measured
from medgan_widgets.telemetry import Telemetry

KEPT = 2000  # scores; the oldest leave
LISTED = 100  # scores in the table on the page
PLOTTED = 12  # charts of quality on the page

Runs = str | Path | Sequence[str | Path]


class Table(Page):
    """A table under its title and buttons; what its cells hold is set as text."""

    _esm = joined("_dom.js", "metrics_plot.js")
    _css = joined("_panel.css", "metrics_plot.css")
    title = traitlets.Unicode().tag(sync=True)
    what = traitlets.Unicode().tag(sync=True)  # the name of its file
    columns: traitlets.List[Any] = traitlets.List().tag(sync=True)
    numbers: traitlets.List[Any] = traitlets.List().tag(sync=True)  # indices of columns
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
        Seconds between two refreshes, while the panel can be seen.

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
        self._readers = [RunReader(path) for path in dict.fromkeys(map(Path, folders))]
        self._lock = threading.RLock()  # clicks and the polling come on threads of their own
        self._scores: list[Measured] = []
        self._run_scores: list[Measured] = []
        self._shown: object = None  # what the last refresh showed
        self.speed_table = Table(
            title="speed and memory", what="speed", columns=list(SPEED),
            numbers=list(range(2, len(SPEED))), log=log,
        )  # fmt: skip
        self.score_table = Table(
            title="quality", what="scores", columns=list(SCORES), numbers=[3, 4, 6], log=log
        )
        self.work_plots, self.quality_plots = Plots(), Plots()
        self._box = ipywidgets.VBox(
            [self.speed_table, self.work_plots, self.score_table, self.quality_plots]
        )
        self._box.add_class("mg-metrics-box")
        self.visibility = Visibility()
        super().__init__("Metrics", [self.visibility, self._box])
        self.add_class("mg-metrics-panel")
        self._polling = Polling(self.visibility, self.refresh, every)
        for table in (self.speed_table, self.score_table):
            table.observe(lambda _: self.refresh(), "log")
        self.listen(self.speed_table, {"csv": lambda _: _csv(self.usage_frame())})
        self.listen(self.score_table, {"csv": lambda _: _csv(self.to_frame())})
        self.add(scores)

    # ------------------------------------------------------------ what it shows

    @property
    def scores(self) -> Scores:
        """The scores it shows, those of run directories after the others."""
        return Scores((*self._scores, *self._run_scores))

    def add(self, scores: Measured | Iterable[Measured]) -> None:
        """Show further scores.

        Raises
        ------
        RequestError
            For anything but `Measured` rows.
        """
        if isinstance(scores, Measured) or not isinstance(scores, Iterable):
            scores = [scores]
        rows = list(scores)
        wrong = [one for one in rows if not isinstance(one, Measured)]
        if wrong:
            raise RequestError(
                f"scores must be Measured rows, as mw.score returns them; got {wrong[0]!r:.80}."
            )
        with self._lock:
            self._scores = [*self._scores, *rows][-KEPT:]
            self._shown = None
            self.refresh()

    def refresh(self) -> None:
        """Look at the engine and the runs now, whether anybody can see the panel or not."""
        with self._lock:
            if self._closed:
                return
            self._read_runs()
            telemetry, asleep = self.engine.telemetry, self._polling.asleep
            logs = (self.speed_table.log, self.score_table.log)
            state = (id(telemetry), telemetry.version, logs, asleep)
            if state == self._shown:
                return
            self._shown = state
            models = drawn_models(telemetry, self.models)
            groups = grouped(self.scores)
            if not asleep:  # a hidden page keeps all that it is sent
                work, quality = self._charts()
                self.work_plots.show(work)
                self.quality_plots.show(quality)
            self.speed_table.rows = [usage_row(telemetry.usage(model)) for model in models]
            with self.score_table.hold_sync():
                self.score_table.rows = [score_row(one) for one in self.scores.rows[-LISTED:]]
                self.score_table.more = self._left_out(len(groups))
            self.status = self._status(len(models))

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

    def _charts(self) -> tuple[dict[str, Chart], dict[Any, Chart]]:
        """Return what is drawn of the engine's work and of quality."""
        telemetry = self.engine.telemetry
        models = drawn_models(telemetry, self.models)
        work = work_charts(telemetry, models, log=self.speed_table.log)
        groups = list(grouped(self.scores).items())[:PLOTTED]
        log = self.score_table.log
        return work, {group: quality_chart(group, rows, log=log) for group, rows in groups}

    def _read_runs(self) -> None:
        snapshots = [reader.read() for reader in self._readers]
        scores = [row for run in snapshots for row in run_scores(run, unique_name(run, snapshots))]
        if snapshots:
            self.error = " ".join(filter(None, (run.problem for run in snapshots)))
        if scores != self._run_scores:
            self._run_scores, self._shown = scores, None

    def _left_out(self, groups: int) -> str:
        parts = []
        if len(self.scores) > LISTED:
            parts.append(f"the last {LISTED} of {len(self.scores)} scores are listed")
        if groups > PLOTTED:
            parts.append(f"{PLOTTED} of {groups} groups are drawn")
        return "; ".join(parts)

    def _status(self, models: int) -> str:
        if not models and not len(self.scores):
            return "Nothing generated and nothing scored yet: press Generate, or call mw.score."
        known = len(self.engine.telemetry.models)
        count = f"{models} of {known}" if models < known else f"{known}"
        scores = f"{len(self.scores)} score{'s' if len(self.scores) != 1 else ''}."
        if not models:
            return scores
        return f"{count} model{'s' if known != 1 else ''} on {self.engine.device}, {scores}"

    def _facts(self) -> Mapping[str, object]:
        return {
            "models": len(self.engine.telemetry.models),
            "scores": len(self.scores),
            "plots": len(grouped(self.scores)),
        }

    def _picture(self) -> Image.Image | None:
        self.refresh()
        work, quality = self._charts()
        charts = [*work.values(), *quality.values()]
        return paper(charts) if charts else None

    def _release(self) -> None:
        self._polling.close()
        for widget in (self.speed_table, self.work_plots, self.score_table, self.quality_plots):
            widget.close()
        self._box.close()


def _csv(frame: pd.DataFrame) -> dict[str, str]:
    return {"kind": "csv", "text": frame.to_csv(index=False)}
