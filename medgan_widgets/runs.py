"""A run directory: what a training was started with, what came of it, and who trains. No torch.

::

    RUN_DIR/config.json      everything the run was started with; a resume may move its limit
    RUN_DIR/data.json        fingerprint, counts, classes and preprocessing of its images
    RUN_DIR/files.jsonl      one line a file: SHA-256, keyed hash of the patient, side, images
    RUN_DIR/split.csv        which images train and which judge
    RUN_DIR/environment.json versions, machine, threads
    RUN_DIR/stats.jsonl      one line a tick
    RUN_DIR/alarms.jsonl     one line an alarm
    RUN_DIR/images/*.png     the same latents through time, named by kimg
    RUN_DIR/checkpoint/      all that a resume needs, and the averaged generator
    RUN_DIR/state.json       who trains, and how far it is
    RUN_DIR/control.json     the last command: pause, go on, stop
    RUN_DIR/log.txt          what a process of its own printed

Every file is written aside and renamed, or grows by whole lines, so whoever
reads it meanwhile sees no half of anything.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import filelock
import numpy as np
import psutil
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.files import (
    append_row,
    home_folder,
    lines_after,
    rows_of,
    write_json,
    write_whole,
)
from medgan_widgets.images import contact_sheet, png_bytes

log = logging.getLogger(__name__)

FORMAT = 2  # of a run directory; 1 had a config, stats and a generator alone
MOST_PICTURES = 240
WEIGHTS = Path("checkpoint") / "generator.safetensors"
Command = Literal["go on", "pause", "stop"]
COMMANDS: tuple[Command, ...] = ("go on", "pause", "stop")
T = TypeVar("T")


@dataclass(frozen=True)
class Tick:
    """What training yields, and one line of ``stats.jsonl``.

    Rates and means count from the tick before; what was not measured is None.
    """

    kimg: float  # thousands of real images shown so far
    generator_loss: float
    discriminator_loss: float
    real_sign: float = 0.0  # mean sign of the discriminator's logits, -1 … 1
    fake_sign: float = 0.0
    r1: float | None = None  # mean squared slope of the discriminator on reals, before gamma
    augment_p: float = 0.0  # probability of each augmentation, 0 … 1
    images_per_second: float = 0.0  # by the clock
    cpu_seconds: float = 0.0  # of the run so far
    seconds: float = 0.0  # of the run so far, by the clock
    memory_mb: float = 0.0  # of the process, and of the device where that is a GPU
    # How far synthetic images are from the one most like them, by the same figure of as many
    # reals: 1 is as different as the reals.
    diversity: float | None = None
    distance: float | None = None  # of the mean images, in spreads of the reals
    class_diversity: Mapping[str, float] = field(default_factory=dict)  # "factor=value" -> ratio
    # How many more synthetic than real images look flipped or turned, a share of 0 … 1.
    leaks: Mapping[str, float] = field(default_factory=dict)
    # How far the discriminator takes held-out reals for synthetic: 0 like the training
    # images, 1 like synthetic ones (Karras 2020).
    held_out: float | None = None
    score: Mapping[str, Any] | None = None  # as plain JSON, see ``requests.Score``


@dataclass(frozen=True)
class Alarm:
    """Something that went wrong, in words, and one line of ``alarms.jsonl``."""

    name: str  # e.g. "mode collapse"
    kimg: float
    text: str  # one sentence that says what happened
    evidence: str  # the figures it was seen by
    advice: str  # what to try
    stops: bool = False  # whether it ended the training


@dataclass(frozen=True)
class RunState:
    """Who trains a run, and how far it is: ``state.json`` and the lock beside it.

    ``state`` is ``"new"``, ``"starting"``, ``"running"``, ``"paused"``, ``"stopped"`` (with a
    checkpoint, on request), ``"finished"``, ``"failed"`` or ``"killed"`` (nobody holds the
    run any more, though nobody said so).
    """

    state: str = "new"
    pid: int | None = None  # of the process that trains, or trained last
    kimg: float = 0.0
    of_kimg: float | None = None  # where it ends; None when only time limits it
    seconds_left: float | None = None  # as the last ticks went; None while unknown
    checkpoint_kimg: float | None = None  # of the last good one
    checkpoint_time: float | None = None  # seconds since 1970
    message: str = ""  # why it failed, or another sentence worth reading

    @property
    def alive(self) -> bool:
        """Whether a process works on it now."""
        return self.state in ("starting", "running", "paused")


# ------------------------------------------------------------ written by the training


def start_run(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Write what a run is started with, and forget the ticks of an older one."""
    write_json(run_dir / "config.json", {"format": FORMAT, **config})
    for name in ("stats.jsonl", "alarms.jsonl"):
        write_whole(run_dir / name, b"", parents=True)
    for picture in pictures(run_dir).values():
        picture.unlink(missing_ok=True)


def record_tick(run_dir: Path, tick: Tick) -> None:
    """Append the tick's line."""
    append_row(run_dir / "stats.jsonl", asdict(tick))


def record_alarm(run_dir: Path, alarm: Alarm) -> None:
    """Append the alarm's line."""
    append_row(run_dir / "alarms.jsonl", asdict(alarm))


def record_picture(run_dir: Path, kimg: float, images: NDArray[np.uint8]) -> None:
    """Write what the fixed latents show by now; ``images`` are uint8 [N, H, W, C].

    A long run keeps at most 240 pictures: every other one of the older ones goes.
    """
    tile = max(64, images.shape[1])
    sheet = contact_sheet(images, range(len(images)), columns=8, tile=tile, clear=True)
    marked = {"Synthetic": "true", "Comment": f"synthetic images after {kimg:g} kimg, not real"}
    content = png_bytes(np.asarray(sheet), marked)
    write_whole(run_dir / "images" / f"{kimg:010.3f}.png", content, parents=True)
    have = list(pictures(run_dir).values())
    if len(have) > MOST_PICTURES:
        for picture in have[1 : len(have) // 2 : 2]:
            picture.unlink(missing_ok=True)


def cut_back(run_dir: Path, kimg: float) -> None:
    """Forget what came after a checkpoint, before the training goes on from it."""
    for name in ("stats.jsonl", "alarms.jsonl"):
        kept = [row for row in rows_of(run_dir / name) if row.get("kimg", 0.0) <= kimg + 1e-9]
        write_whole(run_dir / name, "".join(json.dumps(row) + "\n" for row in kept).encode())
    for when, picture in pictures(run_dir).items():
        if when > kimg + 1e-9:
            picture.unlink(missing_ok=True)


def write_state(run_dir: Path, state: RunState) -> None:
    """Say who trains, and how far it is."""
    write_json(run_dir / "state.json", asdict(state))


def lock_run(run_dir: str | Path) -> filelock.FileLock:
    """Take a run directory for oneself; it is let go when the process ends, however it ends."""
    folder = Path(run_dir)
    lock = filelock.FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=2)  # who only looks holds it for a moment
    except filelock.Timeout:
        pid = run_state(folder).pid
        if pid == os.getpid():
            raise RequestError(
                f"{folder} is held by a loop of this kernel; close() its iterator, or let it end."
            ) from None
        raise RequestError(
            f"{folder} is being trained by another process ({pid}); stop that one first, or "
            "choose another folder."
        ) from None
    except OSError as error:
        raise SaveError(
            f"{folder} cannot be written to ({error.strerror or error}); choose another folder."
        ) from error
    return lock


# ------------------------------------------------------------ read by whoever looks


def run_config(run_dir: str | Path) -> dict[str, Any]:
    """Return what a run was started with; refuse a folder that is none, or a newer format."""
    folder = Path(run_dir)
    try:
        config = json.loads((folder / "config.json").read_text())
        if not isinstance(config, dict):
            raise ValueError("config.json holds no object")
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a run directory that can be read: {error}.") from None
    given = config.get("format", 1)
    if not isinstance(given, int):
        raise DataError(f"{folder} is not a run directory that can be read: format is {given!r}.")
    if given > FORMAT:
        raise DataError(
            f"{folder} was written by a newer version (format {given}, this one knows "
            f"{FORMAT}); update medgan_widgets."
        )
    return config


def read_run(run_dir: str | Path) -> tuple[dict[str, Any], list[Tick]]:
    """Return what a run was started with, and its ticks so far.

    A line that is still being written is left out.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     start_run(Path(folder), {"data": "brain_mri"})
    ...     read_run(folder)
    ({'format': 2, 'data': 'brain_mri'}, [])
    """
    return run_config(run_dir), _rows(Path(run_dir) / "stats.jsonl", Tick)


def alarms(run_dir: str | Path) -> list[Alarm]:
    """Return the alarms of a run so far, oldest first."""
    return _rows(Path(run_dir) / "alarms.jsonl", Alarm)


def _rows(path: Path, kind: type[T]) -> list[T]:
    try:
        return [_parsed(kind, line) for line in lines_after(path)[0]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.") from None


def _parsed(kind: type[T], line: bytes) -> T:
    """Return a line of JSON as a Tick, Alarm or RunState; fields of a newer version are left out.

    Types must be right: a text of digits is no number.
    """
    try:
        row: T = _ADAPTERS[kind].validate_json(line, strict=True)
        return row
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(str(name) for name in problem["loc"])
        name = "state" if kind is RunState else kind.__name__.lower()
        raise ValueError(f"a line is no {name}: {where} {problem['msg']}") from None


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {
    kind: TypeAdapter(kind) for kind in (Tick, Alarm, RunState)
}


def pictures(run_dir: str | Path) -> dict[float, Path]:
    """Return the pictures of the fixed latents by kimg, oldest first."""
    found: dict[float, Path] = {}
    for path in sorted((Path(run_dir) / "images").glob("*.png")):
        try:
            found[float(path.stem)] = path
        except ValueError:  # somebody else's picture
            continue
    return found


class TickReader:
    """Reads the ticks of a run again and again, each time only the lines that were added.

    Of a long run about ``most`` ticks are kept, evenly spread, with the newest and those that
    hold a score among them: these are few, and each has cost seconds.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     start_run(Path(folder), {})
    ...     reader = TickReader(folder)
    ...     record_tick(Path(folder), Tick(1.0, 0.7, 1.4))
    ...     ticks, damaged_lines = reader.read()
    >>> len(ticks), damaged_lines
    (1, 0)
    """

    def __init__(self, run_dir: str | Path, most: int = 1000) -> None:
        self.path, self.most = Path(run_dir) / "stats.jsonl", most
        self._file: int | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._offset = self._lines = self._damaged = 0
        self._stride = 1  # every so many-th line is kept; doubled when there are too many
        self._ticks: dict[int, Tick] = {}  # by number of their line
        self._newest: list[Tick] = []  # the last one, where it is not among them

    def read(self) -> tuple[list[Tick], int]:
        """Return the ticks, oldest first, and how many lines could not be read.

        Raises
        ------
        OSError
            When the file cannot be read.
        """
        try:
            stat = self.path.stat()
            # Another file lies there when a resume has cut it back to its checkpoint.
            if stat.st_ino != self._file or stat.st_size < self._offset:
                self._start_over()
                self._file = stat.st_ino
            lines, self._offset = lines_after(self.path, self._offset)
        except FileNotFoundError:
            return [], 0
        for line in lines:
            number, self._lines = self._lines, self._lines + 1
            keep = number % self._stride == 0 or b'"score": {' in line
            if not keep and line is not lines[-1]:
                continue
            try:
                tick = _parsed(Tick, line)
            except ValueError:
                self._damaged += 1
                continue
            self._newest = [] if keep else [tick]
            if keep:
                self._ticks[number] = tick
            if len(self._ticks) > 2 * self.most:
                self._stride *= 2
                self._ticks = {
                    n: t for n, t in self._ticks.items() if t.score or n % self._stride == 0
                }
        return [*self._ticks.values(), *self._newest], self._damaged


def run_state(run_dir: str | Path) -> RunState:
    """Return who trains a run and how far it is; never raises for a folder that is there.

    Examples
    --------
    >>> import tempfile
    >>> run_state(tempfile.mkdtemp()).state
    'new'
    """
    folder = Path(run_dir)
    try:
        state = _parsed(RunState, (folder / "state.json").read_bytes())
    except FileNotFoundError:
        return RunState()
    except (OSError, ValueError):
        return RunState("failed", message=f"{folder / 'state.json'} is damaged.")
    if state.state == "starting" and _lives(state.pid):
        return state
    if state.alive and not _is_lock_run(folder):
        return replace(state, state="killed")
    return state


def send_command(run_dir: str | Path, command: Command) -> None:
    """Tell whoever trains a run to pause, to go on, or to stop with a checkpoint."""
    if command not in COMMANDS:
        raise RequestError(f"a training can be asked to {', '.join(COMMANDS)}; got {command!r}.")
    write_json(Path(run_dir) / "control.json", {"ask": command, "time": time.time()})


def read_command(run_dir: Path, since: float = 0.0) -> Command:
    """Return the last command for a run; one from before ``since`` does not count any more."""
    try:
        content = json.loads((run_dir / "control.json").read_text())
        command = content["ask"] if content["time"] >= since else "go on"
    except FileNotFoundError:
        return "go on"
    except (OSError, ValueError, TypeError, KeyError):
        log.warning("%s cannot be read; the training goes on.", run_dir / "control.json")
        return "go on"
    return command if command in COMMANDS else "go on"


def clear_command(run_dir: Path, before: float) -> None:
    """Delete a command from before a time: it was meant for whoever trained the run then."""
    if read_command(run_dir, before) == "go on":
        (run_dir / "control.json").unlink(missing_ok=True)


def start_process(run_dir: str | Path) -> int:
    """Train a run that has been written down, in a process that outlives this one.

    It goes on from the run's last checkpoint where there is one. Returns its pid;
    what it prints is in ``log.txt``.

    Raises
    ------
    DataError
        When the folder is no run directory.
    RequestError
        When it is being trained already.
    """
    folder = Path(run_dir).absolute()
    run_config(folder)
    lock = lock_run(folder)  # until "starting" is written: whoever trains needs it to say "running"
    try:
        clear_command(folder, time.time())
        with (folder / "log.txt").open("ab") as printed:
            process = subprocess.Popen(
                [sys.executable, "-m", "medgan_widgets", "train", str(folder)],
                stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=Path.cwd(),
            )  # fmt: skip
        write_state(folder, replace(run_state(folder), state="starting", pid=process.pid))
    finally:
        lock.release()
    return process.pid


def _lives(pid: int | None) -> bool:
    try:
        return pid is not None and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _is_lock_run(folder: Path) -> bool:
    lock = filelock.FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except OSError:  # a folder of somebody else's: take the file's word
        return True
    lock.release()
    return False


# ------------------------------------------------------------ known in the home folder


def register(run_dir: str | Path, run_id: str) -> None:
    """Remember where a run lies, so that an image can be traced back to it.

    A home folder that cannot be written to is no reason to stop a training.
    """
    try:
        write_whole(_registry() / run_id, str(Path(run_dir).absolute()).encode(), parents=True)
    except SaveError as error:
        log.warning("%s", error)


def registered() -> dict[str, Path]:
    """Return the runs that were begun by this person on this machine, by run id."""
    found = {}
    for path in sorted(_registry().glob("*")):
        try:
            found[path.name] = Path(path.read_text())
        except (OSError, ValueError):
            continue
    return found


def _registry() -> Path:
    return home_folder() / "runs"
