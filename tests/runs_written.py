"""Run directories written as a training writes them, for tests of whoever looks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from medgan_widgets.files import write_json
from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.runs import (
    WEIGHTS,
    Alarm,
    RunState,
    Tick,
    record_alarm,
    record_picture,
    record_tick,
    start_run,
    write_state,
)

ALARM = Alarm(
    "overfitting",
    12.0,
    "The discriminator knows its images by heart.",
    "held-out 0.71, ordinary is below 0.3",
    "augment='adaptive', or more images",
)


def tick(kimg: float, **other: Any) -> Tick:
    """A tick as an ordinary training has it."""
    known = {
        "generator_loss": 0.7 + 0.1 * np.sin(kimg),
        "discriminator_loss": 1.3 - 0.004 * kimg,
        "real_sign": min(0.6, 0.1 + 0.01 * kimg),
        "fake_sign": -0.4,
        "r1": 0.02 + 1 / (1 + kimg),
        "augment_p": min(0.24, 0.004 * kimg),
        "images_per_second": 410.0,
        "cpu_seconds": kimg * 3,
        "seconds": kimg * 2.4,
        "memory_mb": 812.0,
        "diversity": 0.9,
        "held_out": 0.1 + 0.002 * kimg,
    }
    return Tick(kimg, **{name: _plain(value) for name, value in {**known, **other}.items()})


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, np.floating) else value


def score(value: float, extractor: str = "phantom-cnn-1") -> dict[str, Any]:
    """A score as a tick carries it."""
    return {
        "name": "FD", "value": value, "n_real": 500, "n_fake": 500, "extractor": extractor,
        "interval": [value - 0.4, value + 0.5], "floor": 0.3,
    }  # fmt: skip


def write_run(
    folder: Path,
    *,
    ticks: int = 20,
    pictures: int = 3,
    state: str = "finished",
    scored_every: int = 5,
    alarms: int = 1,
    weights: bool = True,
    data: str = "brain_mri",
    **config: Any,
) -> Path:
    """Write a run of ``ticks`` ticks of 2 kimg each; nobody holds it."""
    settings = {
        "data": data,
        "size": 32,
        "preset": "residual",
        "kimg": 2.0 * ticks,
        "phantom": True,
    }
    start_run(folder, {"run_id": "0" * 32, "seed": 0, **settings, **config})
    classes = {"contrast": {"T1": 160, "T2": 170, "FLAIR": 170}}
    counts = {"count": 500, "train": 450, "test": 50, "groups": None, "classes": classes}
    write_json(folder / "data.json", {"fingerprint": "f" * 64, "kind": "phantom", **counts})
    for n in range(1, ticks + 1):
        judged = score(20 * 0.85**n + 1) if scored_every and n % scored_every == 0 else None
        record_tick(folder, tick(2.0 * n, score=judged))
    for n in range(1, pictures + 1):
        kimg = 2.0 * ticks * n / pictures
        images = draw_phantoms("brain_mri", range(16), size=32).images[..., None]
        noise = np.random.default_rng(n).normal(0, 60 / n, images.shape)
        record_picture(folder, kimg, np.clip(images + noise, 0, 255).astype(np.uint8))
    for _ in range(alarms):
        record_alarm(folder, ALARM)
    if weights:
        (folder / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_bytes(b"weights")
    write_state(folder, RunState(
        state, 4711, 2.0 * ticks, 2.0 * ticks, 3840.0, 2.0 * ticks, time.time() - 12
    ))  # fmt: skip
    return folder
