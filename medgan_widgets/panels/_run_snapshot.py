"""A run directory at one moment, and what it says in words. No widgets, no torch."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
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
from medgan_widgets.words import duration

MAX_RUNS = 200  # in the list; a folder with more is somebody's archive


@dataclass(frozen=True)
class RunSnapshot:
    """What a run directory said at one moment."""

    run: Path
    state: RunState = field(default_factory=RunState)
    command: Command = "go on"  # what somebody asked of those who train it
    config: Mapping[str, Any] = field(default_factory=dict)  # empty while unknown, as data
    data: Mapping[str, Any] = field(default_factory=dict)
    ticks: tuple[Tick, ...] = ()  # at most about 1,000, oldest first, as alarms and pictures
    alarms: tuple[Alarm, ...] = ()
    pictures: Mapping[float, Path] = field(default_factory=dict)
    has_weights: bool = False  # to make a model of
    problem: str = ""  # one sentence on what could not be read

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.run.name or str(self.run)

    @property
    def kimg(self) -> float:
        """Where it is, by its state or its newest tick."""
        return max(self.state.kimg, self.ticks[-1].kimg if self.ticks else 0.0)


def unique_name(run: RunSnapshot, runs: Sequence[RunSnapshot]) -> str:
    """Return a run's name, or its path where another one of these has the same name."""
    return run.name if [one.name for one in runs].count(run.name) == 1 else str(run.run)


class RunReader:
    """Reads one run again and again, each file only when it has changed."""

    def __init__(self, run: str | Path) -> None:
        self.run = Path(run)
        self._read: dict[str, tuple[object, Any]] = {}  # file -> its state when read, its content
        self._problems: list[str] = []
        self._ticks = TickReader(run)

    def read(self) -> RunSnapshot:
        """Return what the directory says now; never raises, a problem is in its words."""
        run, self._problems = self.run, []
        config = self._content("config.json", lambda: run_config(run), {})
        if not (run / "config.json").is_file():
            config, self._problems = {}, [self._what_is_missing()]
        ticks, damaged = self._content("stats.jsonl", self._ticks.read, ([], 0))
        if damaged:
            lines = "1 line" if damaged == 1 else f"{damaged} lines"
            self._problems.append(f"{lines} of {run}/stats.jsonl cannot be read, left out.")
        state = run_state(run) if config else RunState()
        return RunSnapshot(
            run,
            state,
            read_command(run) if state.alive else "go on",
            config,
            self._content("data.json", lambda: _json_object(run / "data.json"), {}),
            tuple(ticks),
            tuple(self._content("alarms.jsonl", lambda: alarms(run), [])),
            self._content("images", lambda: pictures(run), {}),
            (run / WEIGHTS).is_file(),
            " ".join(self._problems),
        )

    def _content(self, name: str, read: Callable[[], Any], nothing: Any) -> Any:
        """Read a file when it has changed; what was there before stays when it cannot be read."""
        state_then, content = self._read.get(name, (None, nothing))
        try:
            stat = (self.run / name).stat()
            state = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if state != state_then:
                content = read()
                self._read[name] = (state, content)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except MedganError as error:
            self._problems.append(str(error))
        except OSError as error:
            self._problems.append(f"{self.run / name} cannot be read: {error.strerror}.")
        return content

    def _what_is_missing(self) -> str:
        if "config.json" in self._read:
            return f"{self.run} is gone; what it said last is still shown."
        why = "there is no config.json in it" if self.run.is_dir() else "there is no such folder"
        if self.run.is_file():
            why = "it is a file"
        return f"{self.run} is not a run directory: {why}; choose another one, or start a training."


def _json_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DataError(f"{path} is damaged: {error}.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is damaged: it holds no object.")
    return content


def known_runs(runs: Path) -> list[Path]:
    """Return the run directories in a folder and one level below, newest first."""
    found: list[tuple[float, str]] = []
    for folder in [*_folders(runs), *(below for one in _folders(runs) for below in _folders(one))]:
        try:
            found.append((-(folder / "config.json").stat().st_mtime, str(folder)))
        except OSError:
            continue
    return [Path(folder) for _, folder in sorted(found)[:MAX_RUNS]]


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [one.name for one in entries if one.is_dir() and not one.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names)[: 10 * MAX_RUNS]]


# ------------------------------------------------------------ in words


def state_line(run: RunSnapshot, now: float | None = None) -> str:
    """Return who trains the run and how far it is.

    Examples
    --------
    >>> live = RunState("running", 4711, 9, 20, 3840, 8, 988)
    >>> state_line(RunSnapshot(Path("a"), live, "stop"), 1000.0)
    'running, pid 4711, checkpoint 10 s ago, 1 h 04 left; asked to stop'
    >>> state_line(RunSnapshot(Path("a"), RunState("killed", 4711, 12.5, 20, None, 12, 0)))
    'killed: nobody holds the run; Resume goes on from 12.0 kimg'
    """
    state = run.state
    if state.alive:
        parts = [state.state, *([f"pid {state.pid}"] if state.pid else [])]
        if state.checkpoint_time:
            ago = max(0.0, (time.time() if now is None else now) - state.checkpoint_time)
            # In steps, so that the line does not change each second.
            parts.append(f"checkpoint {duration(ago // 10 * 10 if ago >= 10 else ago)} ago")
        if state.seconds_left is not None and state.state == "running":
            parts.append(f"{duration(state.seconds_left)} left")
        line = ", ".join(parts)
        if state.state == "paused" and run.command != "stop":
            return f"{line}; Go on continues"
        return line if run.command == "go on" else f"{line}; asked to {run.command}"
    again = "Start begins it again"
    if state.checkpoint_kimg is not None:
        again = f"Resume goes on from {state.checkpoint_kimg:.1f} kimg"
    return {
        "new": "not started yet; Start trains it in a process of its own",
        "stopped": f"stopped at {state.kimg:.1f} kimg; {again}",
        "finished": f"finished at {state.kimg:.1f} kimg",
        "failed": f"failed: {state.message.rstrip('.') or 'no reason given'}; see log.txt; {again}",
        "killed": f"killed: nobody holds the run; {again}",
    }.get(state.state, state.state)


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
    phantoms = " (phantoms)" if "phantom" in str(data.get("kind")) else ""
    patients = f", {groups:,} patients" if isinstance(groups, int) and groups else ""
    return f"{count:,} images{patients}{phantoms}"


def progress(run: RunSnapshot) -> tuple[float, str]:
    """Return the share of the run that is done, 0 … 1, and words for it.

    Examples
    --------
    >>> progress(RunSnapshot(Path("a"), RunState("running", 1, 50, 200, 60)))
    (0.25, '50.0 of 200 kimg · 1 min left')
    """
    of_kimg = run.state.of_kimg or run.config.get("kimg")
    left = run.state.seconds_left if run.state.state == "running" else None
    rest = f" · {duration(left)} left" if left is not None else ""
    if isinstance(of_kimg, (int, float)) and of_kimg > 0:
        return min(1.0, run.kimg / of_kimg), f"{run.kimg:.1f} of {of_kimg:g} kimg{rest}"
    # Limited by processor time.
    spent = run.ticks[-1].cpu_seconds if run.ticks else 0.0
    limit = run.config.get("cpu_seconds") or float("inf")
    done = 1.0 if run.state.state == "finished" else min(1.0, spent / limit)
    return done, f"{run.kimg:.1f} kimg{rest}"
