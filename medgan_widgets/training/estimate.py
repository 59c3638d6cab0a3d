"""What a training will take, measured on a few steps of it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medgan_widgets.datasets import TrainingImages
from medgan_widgets.devices import checked_device, free_bytes
from medgan_widgets.presets import Preset, TrainConfig
from medgan_widgets.training.loop import memory_mb, one_step
from medgan_widgets.training.prepare import (
    check_enough,
    network_settings,
    read_data,
    with_settings,
)
from medgan_widgets.training.state import first_state, write_checkpoint

WARM, MEASURED = 2, 8  # steps before and while the time is taken
SHARE = 0.7  # of the free memory that a training may take
IMAGES = 256  # to measure with; speed does not depend on how many there are


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Attributes
    ----------
    images_per_second
        Measured on a few steps.
    seconds
        For the whole run; None when it is limited by time.
    memory_mb
        What the process holds while it trains.
    checkpoint_mb
        Of one checkpoint on disk; two are kept.
    batch
        A batch that fits, the preset's where it does.
    asked_batch
        The preset's batch.
    """

    images_per_second: float
    seconds: float | None
    memory_mb: float
    checkpoint_mb: float
    batch: int
    asked_batch: int

    @property
    def text(self) -> str:
        """One sentence for the screen."""
        time_needed = "" if self.seconds is None else f"about {_duration(self.seconds)}, "
        text = (
            f"{time_needed}{self.images_per_second:.0f} images/s, {self.memory_mb:,.0f} MB of "
            f"memory, {2 * self.checkpoint_mb:,.0f} MB on disk for checkpoints"
        )
        if self.batch != self.asked_batch:
            text += f"; a batch of {self.asked_batch} would not fit, {self.batch} does"
        return text


@with_settings
def estimate_training(data: Any, **settings: Any) -> Estimate:
    """Run a few steps on the images and say what the whole training would take.

    Parameters
    ----------
    data
        As for `train`.
    settings
        Further fields of `TrainConfig`, as for `train`.

    Raises
    ------
    RequestError, DataError
        As `train` does. Where memory is short a smaller batch is tried, down to 4.

    Examples
    --------
    >>> estimate_training("mammogram", size=32, kimg=10, read={"most": 64}).batch
    16
    """
    config = TrainConfig(data=data, **settings)
    _, preset = config.chosen_preset
    learned = read_data(replace(config, pool=config.pool or IMAGES))
    check_enough(learned, 2)
    device = checked_device(config.device)
    free = free_bytes(device) / 1e6
    batch = preset.batch
    while True:
        try:
            tried = replace(preset, batch=batch)
            speed, memory, grown, checkpoint = _measured(tried, learned, device)
            if grown <= SHARE * free or batch <= 4:
                break
        except (MemoryError, RuntimeError) as error:
            if batch <= 4 or "memory" not in str(error).lower():
                raise
        batch //= 2
    seconds = None if config.kimg is None else config.kimg * 1000 / speed
    return Estimate(speed, seconds, memory, checkpoint, batch, preset.batch)


def _measured(
    preset: Preset, learned: TrainingImages, device: torch.device
) -> tuple[float, float, float, float]:
    """Return images/s, memory, growth of it, and the size of a checkpoint, all in MB."""
    before = memory_mb(device)
    state = first_state(preset, network_settings(preset, learned), 0, str(device))
    peak, start = before, 0.0
    # A lazy penalty falls into some steps only: whole rounds are measured.
    steps = max(MEASURED, preset.r1_every)
    for step in range(WARM + steps):
        if step == WARM:
            _wait(device)
            start = time.perf_counter()
        one_step(state, learned.training, preset, str(device), 0.0, ())
        peak = max(peak, memory_mb(device))
    _wait(device)
    speed = steps * preset.batch / (time.perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder), state, {}).stat().st_size / 1e6
    return speed, peak, peak - before, checkpoint


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
