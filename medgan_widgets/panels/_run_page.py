"""The monitor's page: what it is sent of the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import traitlets

from medgan_widgets.panels._panel import Page, joined
from medgan_widgets.panels._run_forms import MODEL, TRAINING, model_defaults
from medgan_widgets.panels._run_snapshot import RunSnapshot, data_line, progress, state_line

NEWEST = -1.0
MAX_ALARMS = 30


class RunControls(Page):
    """Run, buttons, progress and forms; below them pictures through time, and alarms."""

    _esm = joined("_dom.js", "training_monitor.js")
    _css = joined("_panel.css", "training_monitor.css")
    forms = traitlets.Dict({"training": TRAINING, "model": MODEL}).tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)  # the run, its facts and its buttons
    runs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # path, name and state of each
    busy = traitlets.Unicode("").tag(sync=True)  # the long action under way
    estimate = traitlets.Unicode("").tag(sync=True)
    made = traitlets.Unicode("").tag(sync=True)  # the model made last
    kimgs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # of the pictures there are
    asked = traitlets.Float(NEWEST).tag(sync=True)  # which one the page wants
    at = traitlets.Float(NEWEST).tag(sync=True)  # which one it has
    picture = traitlets.Bytes().tag(sync=True)
    alarms: traitlets.List[Any] = traitlets.List().tag(sync=True)  # newest first
    state_line = traitlets.Unicode("").tag(sync=True)

    problem = ""  # with the picture
    _source: tuple[object, ...] = ()  # file and time of the picture

    def show(
        self, snapshots: Sequence[RunSnapshot], states: Mapping[Path, str], runs: Path
    ) -> None:
        """Show the first of these runs, and which others there are in the folder ``runs``."""
        states = {**states, **{run.run: run.state.state for run in snapshots}}
        with self.hold_sync():
            self.runs = [
                [str(run), str(run.relative_to(runs) if run.is_relative_to(runs) else run), state]
                for run, state in states.items()
            ]
            if not snapshots:
                self.shown = {"run": "", "with": [], "buttons": []}
                return
            run = snapshots[0]
            self.shown = {**_facts(run), "with": [str(other.run) for other in snapshots[1:]]}
            self.kimgs = list(run.pictures)
            self.alarms = [asdict(one) for one in reversed(run.alarms[-MAX_ALARMS:])]
            self.state_line = state_line(run)
            if run.config or not run.problem:  # a run that is gone keeps its picture
                self._show_picture(run)

    def _show_picture(self, run: RunSnapshot) -> None:
        """Show the picture asked for; one travels, and only when it is another one."""
        self.problem = ""
        if not run.pictures:
            self.at, self.picture, self._source = NEWEST, b"", ()
            return
        kimg = max(run.pictures)
        if self.asked >= 0:
            kimg = min(run.pictures, key=lambda one: abs(one - self.asked))
        path = run.pictures[kimg]
        try:
            source = (path, path.stat().st_mtime_ns)
            if source == self._source:
                return
            content = path.read_bytes()
        except OSError as error:
            self.problem = f"{path} cannot be read: {error.strerror}."
            return
        if content.startswith(b"\x89PNG\r\n\x1a\n"):
            self.picture, self.at, self._source = content, kimg, source
        else:
            self.problem = f"{path} is no PNG; the picture before it stays."


def _facts(run: RunSnapshot) -> dict[str, Any]:
    share, words = progress(run)
    return {
        "run": str(run.run),
        "data": data_line(run.data) or str(run.config.get("data", "")),
        "about": "\n".join(_about_data(run)),
        "preset": str(run.config.get("preset", "")),
        "state": run.state.state,
        "share": round(share, 4),
        "progress": words if run.config else "",
        "buttons": buttons(run),
        "model": model_defaults(run.name, run.config),
    }


def _about_data(run: RunSnapshot) -> list[str]:
    """Return what else is known of the images, a line each."""
    data = run.data
    lines = [f"data: {run.config['data']}"] if run.config.get("data") else []
    if isinstance(data.get("train"), int) and isinstance(data.get("test"), int):
        lines.append(f"{data['train']:,} train, {data['test']:,} judge")
    for factor, values in (data.get("classes") or {}).items():
        if isinstance(values, Mapping):
            lines.append(f"{factor}: " + ", ".join(f"{v} {n}" for v, n in values.items()))
    return [*lines, str(data.get("group_note") or "")][:8]


def buttons(run: RunSnapshot) -> list[dict[str, Any]]:
    """Return the buttons: what each asks for, its words, and why it cannot be pressed.

    Examples
    --------
    >>> [one["label"] for one in buttons(RunSnapshot(Path("a")))]
    ['Start', 'Pause', 'Stop', 'Make it a model']
    """
    state = run.state
    waits = state.alive and (state.state == "paused" or run.command == "pause")
    nobody = "" if state.alive else "nobody trains it now"
    begins = "it is being trained" if state.alive else ""
    if state.state == "finished":
        begins = "it is finished"
    rows = (
        ("resume", "Start" if state.checkpoint_kimg is None else "Resume",
         begins if run.config else "no run is shown"),
        ("go on" if waits else "pause", "Go on" if waits else "Pause", nobody),
        ("stop", "Stopping…" if state.alive and run.command == "stop" else "Stop", nobody),
        ("model", "Make it a model", "" if run.has_weights else "it has no checkpoint yet"),
    )  # fmt: skip
    return [{"do": do, "label": label, "on": not why, "why": why} for do, label, why in rows]
