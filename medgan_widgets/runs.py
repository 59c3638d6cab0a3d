"""A run directory: what a training was started with, and a line for every tick. No torch.

::

    RUN_DIR/config.json      everything the run was started with
    RUN_DIR/stats.jsonl      one line a tick
    RUN_DIR/images/*.png     the same latents through time
    RUN_DIR/checkpoint/      the averaged generator, written aside and renamed
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.files import write_whole
from medgan_widgets.images import mosaic, png_bytes


@dataclass(frozen=True)
class Tick:
    """What training yields, and one line of ``stats.jsonl``.

    Attributes
    ----------
    kimg
        Thousands of real images shown so far.
    generator_loss, discriminator_loss
        Means since the last tick.
    real_sign
        Mean sign of the discriminator's logits for real images, -1 … 1.
    images_per_second
        Since the last tick, by the clock.
    cpu_seconds
        Processor time of the run so far.
    """

    kimg: float
    generator_loss: float
    discriminator_loss: float
    real_sign: float
    images_per_second: float
    cpu_seconds: float


def start_run(run_dir: Path, config: dict[str, Any]) -> None:
    """Write what a run is started with, and forget the ticks of an older one."""
    write_whole(run_dir / "config.json", json.dumps(config, indent=2).encode(), parents=True)
    write_whole(run_dir / "stats.jsonl", b"", parents=True)


def record_tick(run_dir: Path, tick: Tick, images: NDArray[np.uint8]) -> None:
    """Append the tick's line and write its picture; ``images`` are uint8 [N, H, W, C]."""
    with (run_dir / "stats.jsonl").open("a") as lines:
        lines.write(json.dumps(asdict(tick)) + "\n")
    picture = run_dir / "images" / f"{tick.kimg:09.3f}.png"
    write_whole(picture, png_bytes(mosaic(images, columns=8)), parents=True)


def read_run(run_dir: str | Path) -> tuple[dict[str, Any], list[Tick]]:
    """Return what a run was started with, and its ticks so far.

    A line that is still being written is left for the next look.

    Raises
    ------
    DataError
        When the folder is no run directory, or its files are damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     start_run(Path(folder), {"data": "brain_mri"})
    ...     read_run(folder)
    ({'data': 'brain_mri'}, [])
    """
    folder = Path(run_dir)
    try:
        config = json.loads((folder / "config.json").read_text())
        lines = (folder / "stats.jsonl").read_text().splitlines(keepends=True)
        ticks = [Tick(**json.loads(line)) for line in lines if line.endswith("\n")]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{folder} is not a run directory that can be read: {error}.") from None
    return config, ticks
