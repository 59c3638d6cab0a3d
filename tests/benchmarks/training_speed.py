"""Our presets beside the DCGAN of PyTorch's tutorial: images a second, and how good.

Every training gets the same processor time, one thread and the same phantoms; two
run side by side at a time, each on a core, so both see the same machine::

    python tests/benchmarks/training_speed.py --seconds 300
    python tests/benchmarks/training_speed.py --small --seconds 300
    python tests/benchmarks/training_speed.py --monitor

The distance is FD on features of phantom-cnn-1 against 3,000 phantoms that no
training has seen; the floor is 3,000 others against them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from medgan_widgets.checkpoints import read_generator
from medgan_widgets.features import PHANTOM_CNN, features_from_images
from medgan_widgets.metrics import score_of
from medgan_widgets.phantoms import KINDS, draw_phantoms
from medgan_widgets.runs import read_run
from medgan_widgets.seeds import labels_from_seeds, one_hot
from medgan_widgets.training.evaluate import images_of

COUNT = 3000
REAL, OTHER = 2**40, 2**41  # seeds of phantoms kept for evaluation


@dataclass(frozen=True)
class Entry:
    """One training of the comparison."""

    name: str
    arguments: tuple[str, ...]


def entries(given: argparse.Namespace) -> list[Entry]:
    if given.small:
        pool = ("--pool", str(given.images))
        names = ("residual", "small-data")
    else:
        pool = ("--pool", "20000")
        names = tuple(given.presets)
    return [Entry(name, ("--preset", name, *pool)) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="brain_mri", choices=sorted(KINDS))
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300, help="processor time of each")
    parser.add_argument("--presets", nargs="+", default=["residual", "dcgan"])
    parser.add_argument("--small", action="store_true", help="few images: without and with ADA")
    parser.add_argument("--images", type=int, default=200, help="how many those few are")
    parser.add_argument("--monitor", action="store_true", help="what watching costs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=Path, help="keep the runs here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        place = given.runs or Path(folder)
        if given.monitor:
            monitor_cost(place)
        else:
            compare(entries(given), given, place)


def compare(chosen: list[Entry], given: argparse.Namespace, place: Path) -> None:
    for start in range(0, len(chosen), 2):
        processes = [begin(entry, given, place) for entry in chosen[start : start + 2]]
        for process in processes:
            assert process.wait() == 0, "a training failed; see its lines above"
    real, other = (phantom_features(given, first) for first in (REAL, OTHER))
    print(
        f"{given.data}, {given.size} px, {given.seconds:g} CPU s, one thread, "
        f"{PHANTOM_CNN}, n {COUNT} / {COUNT}"
    )
    first = None
    for entry in chosen:
        ticks = read_run(place / entry.name)[1]
        speed = ticks[-1].kimg * 1000 / ticks[-1].cpu_seconds
        (score,) = score_of(
            "fd",
            real,
            features_from_images(made(place / entry.name, given), PHANTOM_CNN),
            extractor=PHANTOM_CNN,
            other=other,
        )
        first = first or (speed, score.value)
        assert score.interval is not None
        print(
            f"{entry.name:12} {speed:6.0f} images/s of CPU  {ticks[-1].kimg:6.0f} kimg  "
            f"FD {score.value:8.2f} [{score.interval[0]:.2f} to {score.interval[1]:.2f}] floor "
            f"{score.floor:.2f}  speed x{first[0] / speed:.2f} of this  "
            f"FD x{score.value / first[1]:.2f} of the first"
        )


def begin(entry: Entry, given: argparse.Namespace, place: Path) -> subprocess.Popen:
    command = [
        sys.executable, "-m", "medgan_widgets", "train", str(place / entry.name),
        "--data", given.data, "--size", str(given.size), "--cpu-seconds", str(given.seconds),
        "--seed", str(given.seed), "--threads", "1", "--device", "cpu", *entry.arguments,
    ]  # fmt: skip
    print("$", *command[1:], flush=True)
    log = (place / f"{entry.name}.log").open("w")
    return subprocess.Popen(
        command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def phantom_features(given: argparse.Namespace, first: int) -> np.ndarray:
    drawn = draw_phantoms(given.data, range(first, first + COUNT), size=given.size)
    return features_from_images(drawn.images, PHANTOM_CNN)


def made(run: Path, given: argparse.Namespace) -> np.ndarray:
    """Return what the run's averaged generator makes, classes drawn as evenly as the phantoms'."""
    config, _ = read_run(run)
    generator = read_generator(
        run / "checkpoint" / "generator.safetensors",
        config["settings"]["network"],
        config["network"],
    )
    factors = {name: tuple(values) for name, values in config["factors"].items()}
    classes = one_hot(labels_from_seeds(range(COUNT), factors, {}), factors, COUNT)
    return images_of(generator, range(COUNT), classes, bool(factors))


def monitor_cost(place: Path, rounds: int = 6, seconds: float = 20) -> None:
    """Train in turns with and without a monitor that looks every second."""
    from medgan_widgets.panels import TrainingMonitor
    from medgan_widgets.training import train

    run = place / "watched"
    ticks = train(run, data="brain_mri", size=64, pool=2000, kimg=1e6, tick_kimg=0.5)
    next(ticks)
    monitor = TrainingMonitor(run)
    speeds: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * rounds):
        watched = turn % 2 == 0
        stop = threading.Event()
        watcher = threading.Thread(target=look, args=(monitor, stop if watched else None))
        watcher.start()
        shown, began = 0.0, time.perf_counter()
        first = next(ticks).kimg
        while time.perf_counter() - began < seconds:
            shown = next(ticks).kimg
        speeds[watched].append((shown - first) * 1000 / (time.perf_counter() - began))
        stop.set()
        watcher.join()
    ticks.close()
    monitor.close()
    ratios = [w / n for w, n in zip(speeds[True], speeds[False], strict=True)]
    print(json.dumps({"watched": speeds[True], "not watched": speeds[False]}))
    print(f"watched / not watched: {statistics.median(ratios):.3f} (median of {rounds} pairs)")


def look(monitor, stop: threading.Event | None) -> None:
    """Look once a second, as the panel does."""
    while stop is not None and not stop.wait(1.0):
        monitor.refresh()


if __name__ == "__main__":
    main()
