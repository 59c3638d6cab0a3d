"""One look at a run directory, and what it says in words. No widgets, no torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgan_widgets.errors import DataError, MedganError
from medgan_widgets.runs import (
    WEIGHTS,
    Alarm,
    Command,
    RunState,
    Tick,
    TickReader,
    alarms,
    pictures,
    read_command,
    run_config,
    run_state,
)

MOST_RUNS = 200  # in the list; a folder with more is somebody's archive
SHOWN_ALARMS = 30


@dataclass(frozen=True)
class Look:
    """What a run directory said at one moment."""

    run: Path
    state: RunState = field(default_factory=RunState)
    wish: Command = "go on"  # what somebody asked of those who train it
    config: Mapping[str, Any] = field(default_factory=dict)  # empty while unknown, as data
    data: Mapping[str, Any] = field(default_factory=dict)
    ticks: tuple[Tick, ...] = ()  # at most about 1,000, oldest first, as alarms and pictures
    alarms: tuple[Alarm, ...] = ()
    pictures: Mapping[float, Path] = field(default_factory=dict)
    ready: bool = False  # whether there are weights to make a model of
    problem: str = ""  # one sentence on what could not be read

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.run.name or str(self.run)

    @property
    def kimg(self) -> float:
        """Where it is, by its state or its newest tick."""
        return max(self.state.kimg, self.ticks[-1].kimg if self.ticks else 0.0)


class Looker:
    """Looks at one run again and again, and reads only what has changed."""

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run)
        self._ticks = TickReader(run)
        self._kept: dict[str, tuple[object, Any]] = {}
        self._seen = False
        self._problems: list[str] = []

    def look(self) -> Look:
        """Return what the directory says now; never raises, a problem is in its words."""
        self._problems = []
        config = self._file("config.json", lambda: run_config(self.run), {})
        if not config:
            self._problems[:] = [self._missing()]
        self._seen = self._seen or bool(config)
        ticks, damaged = self._file("stats.jsonl", self._ticks.read, ([], 0))
        if damaged:
            lines = "1 line" if damaged == 1 else f"{damaged} lines"
            self._problems.append(f"{lines} of {self.run}/stats.jsonl cannot be read, left out.")
        state = run_state(self.run) if config else RunState()
        return Look(
            self.run,
            state,
            read_command(self.run) if state.alive else "go on",
            config,
            self._file("data.json", lambda: _json(self.run / "data.json"), {}),
            tuple(ticks),
            tuple(self._file("alarms.jsonl", lambda: alarms(self.run), [])),
            self._file("images", lambda: pictures(self.run), {}),
            (self.run / WEIGHTS).is_file(),
            " ".join(self._problems),
        )

    def _file(self, name: str, read: Callable[[], Any], nothing: Any) -> Any:
        """Read a file when it has changed; what was there before stays when it cannot be read."""
        stamp_before, value = self._kept.get(name, (None, nothing))
        try:
            stat = (self.run / name).stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp == stamp_before:
                return value
            value = read()
            self._kept[name] = (stamp, value)
        except (FileNotFoundError, NotADirectoryError):
            return {} if name == "config.json" else value
        except (MedganError, OSError) as error:
            self._problems.append(_sentence(error, self.run / name))
        return value

    def _missing(self) -> str:
        if self._problems:
            return self._problems[0]
        if self._seen:
            return f"{self.run} is gone; what it said last is still shown."
        where = "there is no config.json in it" if self.run.is_dir() else "there is no such folder"
        if not self.run.is_dir() and self.run.exists():
            where = "it is a file"
        return (
            f"{self.run} is not a run directory: {where}; choose another one, or start a training."
        )


def known_runs(runs: Path) -> list[Path]:
    """Return the run directories in a folder and one level below, newest first."""
    found: list[tuple[float, Path]] = []
    for folder in [*_folders(runs), *(deep for one in _folders(runs) for deep in _folders(one))]:
        try:
            found.append(((folder / "config.json").stat().st_mtime, folder))
        except OSError:
            continue
    newest = sorted(found, key=lambda one: (-one[0], str(one[1])))
    return [folder for _, folder in newest[:MOST_RUNS]]


def first_run(runs: Iterable[Path]) -> Path | None:
    """Return the newest run that somebody trains, else the newest."""
    known = list(runs)
    return next((run for run in known if run_state(run).alive), known[0] if known else None)


def picture_bytes(path: Path) -> bytes:
    """Return a PNG file's bytes."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise DataError(f"{path} is no PNG; the picture before it stays.")
    return content


# ------------------------------------------------------------ words


def duration(seconds: float) -> str:
    """Return a time in short.

    Examples
    --------
    >>> [duration(s) for s in (7, 75, 3840, 200_000)]
    ['7 s', '1 min', '1 h 04', '2 d 07 h']
    """
    minutes, hours = int(seconds // 60), int(seconds // 3600)
    if minutes < 1:
        return f"{max(0, int(seconds))} s"
    if hours < 1:
        return f"{minutes} min"
    if hours < 48:
        return f"{hours} h {minutes % 60:02}"
    return f"{hours // 24} d {hours % 24:02} h"


def state_line(look: Look, now: float | None = None) -> str:
    """Return who trains the run and how far it is.

    Examples
    --------
    >>> state_line(Look(Path("a"), RunState("running", 4711, 9, 20, 3840, 8, 988), "stop"), 1000.0)
    'running, pid 4711, checkpoint 10 s ago, 1 h 04 left; asked to stop'
    >>> state_line(Look(Path("a"), RunState("killed", 4711, 12.5, 20, None, 12, 0)))
    'killed: nobody holds the run; Resume goes on from 12.0 kimg'
    """
    state, again = look.state, _again(look.state)
    if state.alive:
        parts = [state.state, *([f"pid {state.pid}"] if state.pid else [])]
        if state.checkpoint_time:
            ago = max(0.0, (time.time() if now is None else now) - state.checkpoint_time)
            parts.append(f"checkpoint {duration(ago // 10 * 10 if ago >= 10 else ago)} ago")
        if state.seconds_left is not None and state.state == "running":
            parts.append(f"{duration(state.seconds_left)} left")
        asks = {"pause": "; asked to pause", "stop": "; asked to stop"}.get(look.wish, "")
        if state.state == "paused":
            asks = "; asked to stop" if look.wish == "stop" else "; Go on continues"
        return ", ".join(parts) + asks
    return {
        "new": "not started yet; Start trains it in a process of its own",
        "stopped": f"stopped at {state.kimg:.1f} kimg; {again}",
        "finished": f"finished at {state.kimg:.1f} kimg",
        "failed": f"failed: {state.message.rstrip('.') or 'no reason given'}; see log.txt; {again}",
        "killed": f"killed: nobody holds the run; {again}",
    }.get(state.state, state.state)


def _again(state: RunState) -> str:
    if state.checkpoint_kimg is None:
        return "Start begins it again"
    return f"Resume goes on from {state.checkpoint_kimg:.1f} kimg"


def data_line(data: Mapping[str, Any]) -> str:
    """Return how many images and patients a run learns from.

    Examples
    --------
    >>> data_line({"count": 4812, "groups": 612})
    '4,812 images, 612 patients'
    >>> data_line({"count": 500, "groups": None, "kind": "phantom"})
    '500 images (phantoms)'
    """
    count, groups = data.get("count"), data.get("groups")
    if not isinstance(count, int):
        return ""
    drawn = " (phantoms)" if "phantom" in str(data.get("kind")) else ""
    patients = f", {groups:,} patients" if isinstance(groups, int) and groups else ""
    return f"{count:,} images{patients}{drawn}"


def progress(look: Look) -> tuple[float, str]:
    """Return the share of the run that is done, 0 … 1, and words for it.

    Examples
    --------
    >>> progress(Look(Path("a"), RunState("running", 1, 50, 200, 60)))
    (0.25, '50.0 of 200 kimg · 1 min left')
    """
    of = look.state.of_kimg or look.config.get("kimg")
    left = look.state.seconds_left if look.state.state == "running" else None
    rest = f" · {duration(left)} left" if left is not None else ""
    if not isinstance(of, (int, float)) or of <= 0:  # limited by processor time
        spent = look.ticks[-1].cpu_seconds if look.ticks else 0.0
        limit = look.config.get("cpu_seconds") or float("inf")
        done = 1.0 if look.state.state == "finished" else min(1.0, spent / limit)
        return done, f"{look.kimg:.1f} kimg{rest}"
    return min(1.0, look.kimg / of), f"{look.kimg:.1f} of {of:g} kimg{rest}"


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged: it holds no object.")
    return content


def _folders(folder: Path) -> Sequence[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names)[: 10 * MOST_RUNS]]


def _sentence(error: Exception, path: Path) -> str:
    if isinstance(error, MedganError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return f"{path} cannot be read: {reason}."
