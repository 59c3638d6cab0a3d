"""What a training will take, measured on a few steps of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from medgan_widgets.devices import checked_device, free_bytes
from medgan_widgets.presets import Preset, preset_of
from medgan_widgets.training._train import check_enough, network_settings, read_from
from medgan_widgets.training.loop import one_step
from medgan_widgets.training.run_writer import memory_mb
from medgan_widgets.training.state import first_state, write_checkpoint

WARM, MEASURED = 2, 8
SHARE = 0.7  # of the free memory that a training may take


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
        long = "" if self.seconds is None else f"about {_duration(self.seconds)}, "
        fits = f"; a batch of {self.asked_batch} would not fit, {self.batch} does"
        return (
            f"{long}{self.images_per_second:.0f} images/s, {self.memory_mb:,.0f} MB of memory, "
            f"{2 * self.checkpoint_mb:,.0f} MB on disk for checkpoints"
            + fits
            * (self.batch != self.asked_batch)
        )


def estimate_training(
    data: Any,
    *,
    preset: str | Preset = "residual",
    kimg: float | None = None,
    size: int | None = None,
    labels: Any = None,
    group: Any = None,
    table: str | Path | None = None,
    read: Mapping[str, Any] | None = None,
    device: str = "auto",
) -> Estimate:
    """Run a few steps on the images and say what the whole training would take.

    Raises
    ------
    RequestError, DataError
        As `train` does. Where memory is short a smaller batch is tried, down to 4.

    Examples
    --------
    >>> estimate_training("mammogram", size=32, kimg=10, read={"most": 64}).batch
    16
    """
    _, recipe = preset_of(preset)
    options = {"labels": labels, "group": group, "table": table, "size": size, "most": 256,
               **(read or {})}  # fmt: skip
    learned = read_from(data, options)
    check_enough(learned, 2)
    place = checked_device(device)
    free = free_bytes(place) / 1e6
    batch = recipe.batch
    while True:
        try:
            tried = replace(recipe, batch=batch)
            speed, memory, grown, checkpoint = _measured(tried, learned, place)
            if grown <= SHARE * free or batch <= 4:
                break
        except (MemoryError, RuntimeError) as error:
            if batch <= 4 or "memory" not in str(error).lower():
                raise
        batch //= 2
    seconds = None if kimg is None else kimg * 1000 / speed
    return Estimate(speed, seconds, memory, checkpoint, batch, recipe.batch)


def _measured(
    preset: Preset, learned: Any, place: torch.device
) -> tuple[float, float, float, float]:
    """Return images/s, memory, growth of it, and the size of a checkpoint, all in MB."""
    before = memory_mb(place)
    settings = network_settings(preset, learned)
    state = first_state(preset, settings, 0, str(place))
    most, began = before, 0.0
    # A lazy penalty falls into some steps only: whole rounds are measured.
    rounds = max(MEASURED, preset.r1_every)
    for step in range(WARM + rounds):
        if step == WARM:
            _wait(place)
            began = time.perf_counter()
        one_step(state, learned.training, preset, str(place), 0.0, ())
        most = max(most, memory_mb(place))
    _wait(place)
    speed = rounds * preset.batch / (time.perf_counter() - began)
    with tempfile.TemporaryDirectory() as folder:
        path = write_checkpoint(Path(folder), state, {})
        checkpoint = path.stat().st_size / 1e6
    return speed, max(most, memory_mb(place)), most - before, checkpoint


def _wait(place: torch.device) -> None:
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
