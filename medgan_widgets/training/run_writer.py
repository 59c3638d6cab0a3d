"""The files of a run, written while it trains; a full disk does not stop the training."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.checkpoints import write_weights
from medgan_widgets.errors import SaveError
from medgan_widgets.networks import Generator
from medgan_widgets.runs import (
    WEIGHTS,
    Alarm,
    RunState,
    Tick,
    record_alarm,
    record_picture,
    record_tick,
    write_state,
)
from medgan_widgets.training.state import TrainingState, checkpoints, write_checkpoint

log = logging.getLogger(__name__)


class RunWriter:
    """Writes ticks, alarms, pictures, checkpoints and who trains the run.

    Attributes
    ----------
    saved_at
        When a checkpoint was last tried, by ``time.monotonic``.
    saved_kimg
        Where the newest good checkpoint is, or None.
    """

    def __init__(
        self, folder: Path, of_kimg: float | None, state: TrainingState, identity: dict[str, str]
    ) -> None:
        self.folder, self.of_kimg, self.state, self.identity = folder, of_kimg, state, identity
        kept = checkpoints(folder)
        self.saved_at = time.monotonic()
        self.saved_kimg = state.kimg if kept else None
        self._saved_time = kept[-1].stat().st_mtime if kept else None
        self._speed: float | None = None  # images a second, in the last tick
        self._waiting: list[Tick | Alarm] = []  # lines that found no room on the disk

    def write_tick(self, tick: Tick, alarms: Iterable[Alarm], pictures: NDArray[np.uint8]) -> None:
        """Write a tick's line, its alarms and the picture of the fixed latents."""
        self._speed = tick.images_per_second
        alarms = list(alarms)
        for alarm in alarms:
            log.warning("%s %s %s", alarm.text, alarm.evidence, alarm.advice)
        self._waiting += [tick, *alarms]
        try:
            while self._waiting:
                row = self._waiting[0]
                if isinstance(row, Tick):
                    record_tick(self.folder, row)
                else:
                    record_alarm(self.folder, row)
                self._waiting.pop(0)
            record_picture(self.folder, tick.kimg, pictures)
        except SaveError as error:  # the training goes on; the lines wait for room
            log.warning("%s", error)
        self.write_state("running")

    def write_alarm(self, alarm: Alarm) -> None:
        """Write an alarm by itself."""
        with contextlib.suppress(SaveError):
            record_alarm(self.folder, alarm)

    def save(self, ready: Generator) -> bool:
        """Write a checkpoint and the averaged generator; say so when there is no room.

        Raises
        ------
        WeightsError
            For weights that are not finite; nothing is written.
        """
        self.saved_at = time.monotonic()
        try:
            write_checkpoint(self.folder, self.state, self.identity)
            write_weights(self.folder / WEIGHTS, ready, half=False)
        except SaveError as error:
            log.warning("%s The checkpoint before it is kept.", error)
            self.write_state("running", str(error))
            return False
        self.saved_kimg, self._saved_time = self.state.kimg, time.time()
        return True

    def write_interrupted(self) -> None:
        """Say that somebody pressed Ctrl-C, and where a resume will go on."""
        kept = "the start" if self.saved_kimg is None else f"{self.saved_kimg:g} kimg"
        self.write_state("stopped", f"interrupted; resume goes on from {kept}")

    def write_failure(self, error: BaseException) -> None:
        """Say that it failed, and why."""
        self.write_state("failed", " ".join(str(error).split()) or type(error).__name__)

    def write_state(self, name: str, message: str = "") -> None:
        """Say who trains, how far it is and how long it will take."""
        kimg, left = self.state.kimg, None
        if self.of_kimg is not None and self._speed:
            left = max(0.0, (self.of_kimg - kimg) * 1000 / self._speed)
        content = RunState(
            name, os.getpid(), kimg, self.of_kimg, left, self.saved_kimg, self._saved_time, message
        )
        try:
            write_state(self.folder, content)
        except SaveError as error:
            log.warning("%s", error)
