"""Packages that tests write, in a mirror, a home and an engine of their own."""

from __future__ import annotations

import io
import itertools
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from medgan_widgets import download, trust
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.medigan.client import end_workers, shared_workers
from medgan_widgets.requests import GenerateRequest
from tests.forked import STARTED
from tests.mirror import build_package

GOOD = "90100_GOOD"
NET = """
import time, numpy as np, torch
from torch import nn

class Net(nn.Module):
    def __init__(self, nz=8):
        super().__init__()
        self.decode = nn.Linear(nz, 32 * 32)

    def forward(self, z):
        return torch.sigmoid(self.decode(z.flatten(1))).reshape(-1, 32, 32)

def generate(model_file, num_samples, output_path, save_images, input_latent_vector=None, **kwargs):
    net = Net()
    net.load_state_dict(torch.load(model_file, map_location="cpu"))
    z = torch.randn(num_samples, 8, 1, 1) if input_latent_vector is None else input_latent_vector
    made = net.eval().to(z.device)(z)
    return [np.uint8(255 * image) for image in made.detach().cpu().numpy()]
"""


def weights() -> bytes:
    torch.manual_seed(1)
    stream = io.BytesIO()
    state = {"decode.weight": torch.randn(1024, 8), "decode.bias": torch.randn(1024)}
    torch.save(state, stream)
    return stream.getvalue()


def generating(body: str) -> str:
    """The source of a package whose generate method has this body."""
    head = "import os, sys, time, threading, numpy as np, torch\n"
    arguments = "model_file, num_samples, output_path, save_images, **kwargs"
    return f"{head}def generate({arguments}):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"


class Bench:
    """A mirror, a home and an engine of a test's own."""

    def __init__(self, root: Path) -> None:
        self._names = itertools.count()
        self.mirror = root / "mirror ü with space"
        self.mirror.mkdir()
        self.add(GOOD, NET, latent=8, weights=weights())

    def add(self, model_id: str, source: str, **more) -> str:
        """Publish a package, and return its id; tests of a file share the mirror and the home."""
        model_id = model_id if model_id == GOOD else f"{model_id}_{next(self._names)}"
        more = {"image_size": (32, 32), **more}
        build_package(self.mirror, model_id, source, **{"weights": b"w", **more})
        return model_id

    def engine(self) -> Engine:
        return self.engine_on("cpu")

    def engine_on(self, device: str) -> Engine:
        return Engine(device=device, catalogue=Catalogue(mirror=self.mirror))

    def ready(self, model_id: str, **consent) -> Engine:
        engine = self.engine()
        download(model_id, catalogue=engine.catalogue)
        trust(model_id, catalogue=engine.catalogue, **consent)
        return engine

    def images(self, model_id: str = GOOD, count: int = 2, **request) -> np.ndarray:
        seeds = request.pop("seeds", range(count))
        return self.ready(model_id).images(GenerateRequest(model_id, seeds=seeds, **request))


def workers_left() -> list[int]:
    """Package processes that were started here and live, but spare ones."""
    spare = {worker.pid for worker in shared_workers()._spare.values()}
    return [pid for pid in STARTED if pid not in spare and lives(pid)]


def new_kernel() -> None:
    """End what runs and forget what was found out, as a new kernel has it."""
    end_workers()
    shared_workers().known.clear()


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() if process.status() != psutil.STATUS_ZOMBIE else []
    except psutil.Error:
        return []


def lives(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def wait_for(what: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)
