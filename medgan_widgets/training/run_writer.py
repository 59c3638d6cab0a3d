"""What happens around the steps of a training: limits, wishes, ticks, checkpoints, files."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from medgan_widgets.checkpoints import write_weights
from medgan_widgets.datasets import TrainingImages
from medgan_widgets.devices import used_bytes
from medgan_widgets.errors import SaveError, TrainingError, WeightsError
from medgan_widgets.runs import (
    WEIGHTS,
    Alarm,
    RunState,
    Tick,
    clear_command,
    cut_back,
    read_command,
    record_alarm,
    record_picture,
    record_tick,
    write_state,
)
from medgan_widgets.training.alarms import Watch, diverged
from medgan_widgets.training.probe import Probe, settled
from medgan_widgets.training.state import SUMS, TrainingState, checkpoints, write_checkpoint

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 30.0  # between two checkpoints, at least
CONTROL_SECONDS = 0.3  # between two looks at what somebody asks for
SCORE_SECONDS = 60.0  # between two quality scores, at least


class RunWriter:
    """What happens around the steps: limits, wishes, ticks, checkpoints and files."""

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        config: dict[str, Any],
        marks: dict[str, str],
        probe: Probe,
        training: TrainingImages,
        since: float,
    ) -> None:
        self.folder, self.state, self.config, self.marks = folder, state, config, marks
        self.probe, self.training = probe, training
        self.since = since
        self.done = 0.0
        self.stopped = False
        self.tick_steps = max(1, round(config["tick_kimg"] * 1000 / config["settings"]["batch"]))
        self._watch = Watch()
        self._unwritten: list[Tick | Alarm] = []
        self._cpu, self._clock = time.process_time(), time.perf_counter()
        self._cpu_before, self._before = state.cpu_seconds, state.seconds
        self._tick_started = self._clock
        self._tick_from = state.since  # images of this tick that an earlier process showed
        self._looked, self._scored = 0.0, self._clock
        self._scoring = 0.0  # seconds that the last score took
        kept = checkpoints(folder)
        self._saved_at = kept[-1].stat().st_mtime if kept else None
        self._saved_kimg = state.shown / 1000 if kept else None
        self._checked = time.monotonic()
        self._speed: float | None = None
        clear_command(folder, since)
        cut_back(folder, state.shown / 1000)
        self._tell("running")

    @property
    def kimg(self) -> float:
        """Thousands of real images shown so far."""
        return self.state.shown / 1000

    # ------------------------------------------------------------ before a step

    def goes_on(self) -> bool:
        """Say whether another step is wanted; waits while the training is paused."""
        self._count_time()
        self.stopped = self._wish() == "stop"
        self.done = self._share()
        return not self.stopped and self.done < 1

    def _wish(self) -> str:
        now = time.monotonic()
        if now - self._looked < CONTROL_SECONDS:
            return ""
        self._looked = now
        wish = read_command(self.folder, self.since)
        if wish == "pause":
            self.save()
            self._tell("paused")
            began = time.perf_counter()
            while (wish := read_command(self.folder, self.since)) == "pause":
                time.sleep(0.1)
            self._clock += time.perf_counter() - began
            self._tick_started += time.perf_counter() - began
            self._tell("running")
        return wish

    def _count_time(self) -> None:
        self.state.cpu_seconds = self._cpu_before + time.process_time() - self._cpu
        self.state.seconds = self._before + time.perf_counter() - self._clock

    def _share(self) -> float:
        kimg, seconds = self.config["kimg"], self.config["cpu_seconds"]
        shares = [self.kimg / kimg] if kimg is not None else []
        if seconds is not None:
            shares.append(self.state.cpu_seconds / seconds)
        return float(max(shares))

    # ------------------------------------------------------------ after a step

    def tick(self) -> Tick | None:
        """Return a tick when one is due; look for damage, and write what is to be kept."""
        state = self.state
        limit = self.config["kimg"]
        due = state.step % self.tick_steps == 0 or (limit is not None and self.kimg >= limit)
        looks = due or state.step % 32 == 0 or state.sums.device.type == "cpu"
        if looks and not bool(torch.isfinite(state.sums).all()):
            self._end_diverged()
        tick = None
        if due:
            tick = self._made_tick()
            state.sums.zero_()
            state.since = 0
            self._record(tick)
        if time.monotonic() - self._checked >= CHECKPOINT_SECONDS:
            self.save()
        return tick

    def _made_tick(self) -> Tick:
        state, now = self.state, time.perf_counter()
        self._count_time()
        sums = dict(zip(SUMS, state.sums.tolist(), strict=True))
        count = state.since // self.config["settings"]["batch"]
        penalties = sums["penalties"]
        self._speed = (state.since - self._tick_from) / max(1e-9, now - self._tick_started)
        self._tick_from = 0
        looked = self.probe.look(state.averaged, state.discriminator)
        score = self._score(now)
        self._tick_started = time.perf_counter()
        return Tick(
            kimg=self.kimg,
            generator_loss=sums["generator_loss"] / count,
            discriminator_loss=sums["discriminator_loss"] / count,
            real_sign=sums["real_sign"] / count,
            fake_sign=sums["fake_sign"] / count,
            r1=sums["r1"] / penalties if penalties else None,
            augment_p=state.augment_p,
            images_per_second=self._speed,
            cpu_seconds=state.cpu_seconds,
            seconds=state.seconds,
            memory_mb=memory_mb(state.sums.device),
            score=score,
            **looked,
        )

    def _score(self, now: float) -> dict[str, Any] | None:
        """Return a quality score once a minute and at the end; rarer where it takes over 2 %."""
        ended = self.config["kimg"] is not None and self.kimg >= self.config["kimg"]
        if now - self._scored < max(SCORE_SECONDS, 50 * self._scoring) and not ended:
            return None
        ready = self._settled()
        score = self.probe.score(ready)
        self._scored = time.perf_counter()
        self._scoring = self._scored - now
        return score

    def _settled(self, count: int = 512) -> Any:
        conditional = self.config["settings"]["conditional"]
        return settled(self.state.averaged, self.training.classes, conditional, count)

    def _record(self, tick: Tick) -> None:
        found = list(self._watch.alarms(tick))
        for alarm in found:
            log.warning("%s %s %s", alarm.text, alarm.evidence, alarm.advice)
        self._unwritten += [tick, *found]
        try:
            while self._unwritten:
                row = self._unwritten[0]
                if isinstance(row, Tick):
                    record_tick(self.folder, row)
                else:
                    record_alarm(self.folder, row)
                self._unwritten.pop(0)
            record_picture(self.folder, tick.kimg, self.probe.pictures(self.state.averaged))
            self._tell("running")
        except SaveError as error:  # the training goes on; the lines wait for room
            log.warning("%s", error)

    # ------------------------------------------------------------ checkpoints and the end

    def save(self, count: int = 256) -> bool:
        """Write a checkpoint and the averaged generator; say so when there is no room."""
        self._checked = time.monotonic()
        self._count_time()
        try:
            write_checkpoint(self.folder, self.state, self.marks)
            write_weights(self.folder / WEIGHTS, self._settled(count), half=False)
        except SaveError as error:
            log.warning("%s The checkpoint before it is kept.", error)
            self._tell("running", str(error))
            return False
        except WeightsError:
            self._end_diverged()
        self._saved_kimg, self._saved_at = self.kimg, time.time()
        return True

    def finish(self) -> None:
        """Write the last checkpoint; say how it ended."""
        saved = self.save(1024)
        ended = "finished" if self.done >= 1 and not self.stopped else "stopped"
        self._tell(ended, "" if saved else "the last checkpoint could not be written: no room")

    def interrupted(self) -> None:
        """Say that somebody pressed Ctrl-C, and where a resume will go on."""
        kept = f"{self._saved_kimg:g} kimg" if self._saved_kimg is not None else "the start"
        self._tell("stopped", f"interrupted; resume goes on from {kept}")

    def fail(self, error: BaseException) -> None:
        """Say that it failed, and why."""
        self._tell("failed", " ".join(str(error).split()) or type(error).__name__)

    def _end_diverged(self) -> None:
        alarm = diverged(self.kimg, self._saved_kimg)
        with contextlib.suppress(SaveError):
            record_alarm(self.folder, alarm)
        raise TrainingError(f"{alarm.text} {alarm.evidence}; try {alarm.advice}.")

    def _tell(self, state: str, message: str = "") -> None:
        of = self.config["kimg"]
        left = None
        if of is not None and self._speed:
            left = max(0.0, (of - self.kimg) * 1000 / self._speed)
        said = RunState(
            state, os.getpid(), self.kimg, of, left, self._saved_kimg, self._saved_at, message
        )
        try:
            write_state(self.folder, said)
        except SaveError as error:
            log.warning("%s", error)


def memory_mb(device: torch.device) -> float:
    """Return what this process holds, in megabytes; on a GPU what torch reserved there."""
    used = used_bytes(device) if device.type == "cuda" else None
    return float(used or psutil.Process().memory_info().rss) / 1e6
