"""The warm engine against the naive way, side by side in one run.

    python tests/benchmarks/engine_speed.py

The model is a DCGAN of 128 pixels (ngf 64, 12.8 M parameters, random weights).
Naive is what a notebook does by hand: read the weights, build the network, one
forward of all images under grad, write PNG with Pillow. Ours hands out arrays;
with ``+ PNG`` they are encoded too, by our own encoder. Times are processor
time of one thread, medians of interleaved repeats, so ratios hold on a busy
machine. ``exact`` is the engine's fixed, padded chunk; ``free`` is the same
arithmetic in chunks as large as the request (at most 16); ``fast`` is bf16.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil
import torch
from PIL import Image
from torch.nn import functional as F

from medgan_widgets.cards import ModelCard, Network, Weights
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import write_weights
from medgan_widgets.engine import Engine
from medgan_widgets.images import png_bytes
from medgan_widgets.networks import GENERATORS
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import latents_from_seeds

GFLOP_AN_IMAGE = 1.085  # multiply and add counted apart, deconvolutions only
SETTINGS = {"size": 128, "channels": 1, "z_dim": 100, "classes": 0, "width": 64}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        engine, weights = _prepare(Path(place))
        _print_speed(engine, weights, given.repeats)
        _print_memory(engine)


def _prepare(place: Path) -> tuple[Engine, Path]:
    """Write the model twice: a card for the engine, a plain state dict for the naive way."""
    torch.manual_seed(0)
    network = GENERATORS["dcgan"](**SETTINGS)
    folder = place / "dcgan-128"
    sha256, size = write_weights(folder / "generator.safetensors", network)
    ModelCard(
        id="dcgan-128", title="DCGAN 128", modality="MG", organ="breast", region="mass ROI",
        makes="noise", function="noise to image", size=(128, 128), licence="MIT",
        dataset="none", year=2026, architecture="DCGAN",
        network=Network(name="dcgan", settings=SETTINGS),
        weights=Weights(file="generator.safetensors", sha256=sha256, bytes=size),
    ).write(folder / "card.json")  # fmt: skip
    torch.save(network.state_dict(), place / "weights.pt")
    return Engine(device="cpu", catalogue=Catalogue(place)), place / "weights.pt"


def _naive(weights: Path, count: int) -> None:
    network = GENERATORS["dcgan"](**SETTINGS)
    network.load_state_dict(torch.load(weights))
    network.eval()
    made = network(
        torch.from_numpy(latents_from_seeds(range(count), 100)), torch.zeros(count, 0), []
    )
    for image in ((made[:, 0] + 1) * 127.5).detach().numpy().astype("uint8"):
        Image.fromarray(image).save(io.BytesIO(), "PNG")


def _ours(engine: Engine, count: int, mode: str = "exact", png: bool = False) -> None:
    images = engine.images(GenerateRequest("dcgan-128", seeds=range(count), mode=mode))
    if png:
        for image in images:
            png_bytes(image)


def _free(engine: Engine, count: int) -> None:
    with patch.object(Engine, "_chunk", lambda *_: min(count, 16)):
        _ours(engine, count)


def _print_speed(engine: Engine, weights: Path, repeats: int) -> None:
    peak = _convolution_peak()
    print(f"device {engine.device_name}, torch {torch.__version__}")
    print(f"measured peak of a 3x3 convolution, fp32, one thread: {peak:.0f} GFLOP/s\n")
    print("images  naive ms   exact  exact + PNG    free    fast   (naive / ours)  share of peak")
    for count in (1, 4, 16, 64):
        ways: dict[str, Callable[[], None]] = {
            "naive": lambda n=count: _naive(weights, n),
            "exact": lambda n=count: _ours(engine, n),
            "png": lambda n=count: _ours(engine, n, png=True),
            "free": lambda n=count: _free(engine, n),
            "fast": lambda n=count: _ours(engine, n, mode="fast"),
        }
        took = _medians(ways, repeats)
        ratios = {name: took["naive"] / took[name] for name in ways}
        share = GFLOP_AN_IMAGE * count / took["free"] / peak
        print(
            f"{count:6d} {1e3 * took['naive']:9.0f} {ratios['exact']:7.2f} {ratios['png']:12.2f} "
            f"{ratios['free']:7.2f} {ratios['fast']:7.2f} {'':17} {share:10.0%}"
        )


def _medians(ways: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            started = time.thread_time()
            way()
            if repeat:  # the first one warms up
                times[name].append(time.thread_time() - started)
    return {name: statistics.median(values) for name, values in times.items()}


@torch.inference_mode()
def _convolution_peak() -> float:
    """Return GFLOP/s of a convolution that suits the machine well."""
    image = torch.randn(8, 128, 64, 64).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3).to(memory_format=torch.channels_last)
    work = 2 * 8 * 128 * 128 * 9 * 64 * 64 / 1e9
    best = min(_timed(lambda: F.conv2d(image, weight, padding=1)) for _ in range(8))
    return work / best


def _timed(call: Callable[[], object]) -> float:
    started = time.thread_time()
    call()
    return time.thread_time() - started


def _print_memory(engine: Engine) -> None:
    """Print how far the process grows above the resident model while it generates."""
    print("\nimages  MB above the resident model (highest of a look every millisecond)")
    engine.release()
    engine.images(GenerateRequest("dcgan-128", seeds=[0]))
    process = psutil.Process(os.getpid())
    for count in (1, 16, 256, 1024):
        before = process.memory_info().rss
        with _watched(process) as seen:
            for _ in engine.generate(GenerateRequest("dcgan-128", seeds=range(count))):
                pass
        print(f"{count:6d} {(max(seen) - before) / 1e6:9.1f}")


@contextmanager
def _watched(process: psutil.Process) -> Iterator[list[int]]:
    """Yield the process's resident bytes, looked at every millisecond by a thread."""
    seen, over = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            seen.append(process.memory_info().rss)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


if __name__ == "__main__":
    main()
