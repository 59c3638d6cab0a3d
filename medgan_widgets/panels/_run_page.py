"""The monitor's two halves on the page, and what each is told; the plots stand between them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import traitlets
from PIL import Image

from medgan_widgets.errors import DataError
from medgan_widgets.panels._metrics_lines import sheet
from medgan_widgets.panels._panel import Page, joined
from medgan_widgets.panels._run_forms import model_defaults
from medgan_widgets.panels._run_lines import shown
from medgan_widgets.panels._run_looks import (
    SHOWN_ALARMS,
    Look,
    data_line,
    picture_bytes,
    progress,
    state_line,
)

FOLDER = Path(__file__).parent
SCRIPT = joined("_dom.js", "_monitor_forms.js", "training_monitor.js")
BELOW = joined("_dom.js", "_monitor_timeline.js")
NEWEST = -1.0


class RunControls(Page):
    """The page's upper half: run, buttons, progress and forms."""

    _esm = SCRIPT
    _css = joined("_panel.css", "training_monitor.css")
    choices = traitlets.Dict().tag(sync=True)  # what the forms offer
    shown = traitlets.Dict().tag(sync=True)  # the run, its facts and its buttons
    runs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # what can be attached
    busy = traitlets.Unicode("").tag(sync=True)  # the long action under way
    estimate = traitlets.Unicode("").tag(sync=True)
    made = traitlets.Unicode("").tag(sync=True)  # the model made last


class Timeline(Page):
    """The page's lower half: pictures through time, alarms, and who trains."""

    _esm = BELOW
    kimgs: traitlets.List[Any] = traitlets.List().tag(sync=True)  # of the pictures there are
    asked = traitlets.Float(NEWEST).tag(sync=True)  # which one the page wants
    at = traitlets.Float(NEWEST).tag(sync=True)  # which one it has
    picture = traitlets.Bytes().tag(sync=True)
    alarms: traitlets.List[Any] = traitlets.List().tag(sync=True)  # newest first
    run = traitlets.Unicode("").tag(sync=True)
    state = traitlets.Unicode("").tag(sync=True)
    state_line = traitlets.Unicode("").tag(sync=True)

    problem = ""
    _source: tuple[object, ...] = ()

    def show(self, look: Look | None) -> None:
        """Show what a look found; one picture travels, and only when it is another one."""
        look = Look(Path()) if look is None else look
        with self.hold_sync():
            self.run = str(look.run)
            self.kimgs = list(look.pictures)
            self.alarms = [asdict(one) for one in reversed(look.alarms[-SHOWN_ALARMS:])]
            self.state, self.state_line = look.state.state, state_line(look)
            if look.config or not look.problem:
                self._show_picture(look)

    def _show_picture(self, look: Look) -> None:
        self.problem = ""
        if not look.pictures:
            self.at, self.picture, self._source = NEWEST, b"", ()
            return
        kimg = max(look.pictures)
        if self.asked >= 0:
            kimg = min(look.pictures, key=lambda one: abs(one - self.asked))
        path = look.pictures[kimg]
        try:
            source = (path, path.stat().st_mtime_ns)
            if source != self._source:
                self.picture, self.at, self._source = picture_bytes(path), kimg, source
        except (OSError, DataError) as error:
            self.problem = str(error) if isinstance(error, DataError) else f"{path} is gone."


def show_controls(
    controls: RunControls, looks: Sequence[Look], known: Mapping[Path, str], runs: Path
) -> None:
    """Tell the upper half which runs there are and what can be done with the first one."""
    states = {**known, **{look.run: look.state.state for look in looks}}
    with controls.hold_sync():
        controls.runs = [
            [str(run), str(run.relative_to(runs)) if run.is_relative_to(runs) else str(run), state]
            for run, state in states.items()
        ]
        controls.shown = _shown(looks, runs)


def _shown(looks: Sequence[Look], runs: Path) -> dict[str, Any]:
    if not looks:
        return {"run": "", "with": [], "folder": str(runs), "buttons": []}
    look = looks[0]
    share, words = progress(look)
    return {
        "run": str(look.run),
        "with": [str(one.run) for one in looks[1:]],
        "folder": str(runs),
        "data": data_line(look.data) or str(look.config.get("data", "")),
        "about": "\n".join(_about(look)),
        "preset": str(look.config.get("preset", "")),
        "state": look.state.state,
        "share": round(share, 4),
        "progress": words if look.config else "",
        "buttons": buttons(look),
        "model": model_defaults(look.name, look.config),
    }


def _about(look: Look) -> list[str]:
    """Return what else is known of the images, a line each."""
    data, config = look.data, look.config
    lines = [f"data: {config['data']}"] if config.get("data") else []
    if isinstance(data.get("train"), int) and isinstance(data.get("test"), int):
        lines.append(f"{data['train']:,} train, {data['test']:,} judge")
    for factor, values in (data.get("classes") or {}).items():
        if isinstance(values, Mapping):
            lines.append(f"{factor}: " + ", ".join(f"{v} {n}" for v, n in values.items()))
    return [*lines, str(data.get("group_note") or "")][:8]


def buttons(look: Look) -> list[dict[str, Any]]:
    """Return the buttons: what each asks for, its words, and why it cannot be pressed.

    Examples
    --------
    >>> [one["label"] for one in buttons(Look(Path("a")))]
    ['Start', 'Pause', 'Stop', 'Make it a model']
    """
    state, known = look.state, bool(look.config)
    waits = state.alive and (state.state == "paused" or look.wish == "pause")
    stopping = state.alive and look.wish == "stop"
    nobody = "" if state.alive else "nobody trains it now"
    begins = "it is being trained" if state.alive else ""
    if state.state == "finished":
        begins = "it is finished"
    if not known:
        begins = "no run is shown"
    return [
        _button("resume", "Start" if state.checkpoint_kimg is None else "Resume", begins),
        _button("go on" if waits else "pause", "Go on" if waits else "Pause", nobody),
        _button("stop", "Stopping…" if stopping else "Stop", nobody),
        _button("model", "Make it a model", "" if look.ready else "it has no checkpoint yet"),
    ]


def _button(do: str, label: str, why: str) -> dict[str, Any]:
    return {"do": do, "label": label, "on": not why, "why": why}


def paper(looks: Sequence[Look], picture: bytes) -> Image.Image:
    """Return losses and score beside each other, the newest picture below, for a snapshot."""
    curves = shown(looks)
    page = sheet([(curves["losses"], False), (curves["score"], False)])
    if not picture:
        return page
    with Image.open(io.BytesIO(picture)) as opened:
        newest = opened.convert("RGB")
    newest.thumbnail((page.width, 4 * page.width))
    whole = Image.new("RGB", (page.width, page.height + newest.height), (255, 255, 255))
    whole.paste(page, (0, 0))
    whole.paste(newest, (0, page.height))
    return whole
