"""phantom-cnn-1: a network that reads the phantoms' own parameters.

It is a small network taught to read the phantoms' own
parameters (ventricle area, lesion radius, texture …). It is shipped, needs no
download, and is made again by ``python -m medgan_widgets.features``. It knows
phantoms only: distances in its features say nothing about patient images.
"""

from __future__ import annotations

import logging
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.errors import WeightsError
from medgan_widgets.features.pixels import to_planes
from medgan_widgets.files import write_whole
from medgan_widgets.phantoms import KINDS, Phantoms, draw_phantoms

log = logging.getLogger(__name__)

SIDE = 128  # every image is resized to this, with antialias, before it is looked at
FILE = "phantom-cnn-1.safetensors"
WEIGHTS = Path(__file__).parents[1] / "extractors"


class PhantomCNN(nn.Module):
    """Grey images [N, 1, 128, 128] to 64 features; a head for each kind of phantom."""

    def __init__(self, targets: dict[str, int]) -> None:
        super().__init__()
        widths = [1, 12, 24, 32, 32]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * 64, 64))
        self.heads = nn.ModuleDict({kind: nn.Linear(64, n) for kind, n in targets.items()})

    def forward(self, images: Tensor) -> Tensor:
        """Return the features, [N, 64]."""
        features: Tensor = self.look(images)
        return features


def read_phantom_cnn() -> PhantomCNN:
    """Return the shipped network, ready to look at images.

    Raises
    ------
    WeightsError
        When its file is missing.
    """
    path = WEIGHTS / FILE
    if not path.exists():
        raise WeightsError(f"{path.name} is missing; make it: python -m medgan_widgets.features")
    tensors = load_file(path)
    targets = {kind: len(tensors[f"heads.{kind}.bias"]) for kind in KINDS}
    network = PhantomCNN(targets)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    # Colours last is a third faster on a CPU, and the same within rounding.
    return network.eval().to(memory_format=torch.channels_last)


def targets_of(drawn: Phantoms) -> NDArray[np.float32]:
    """Return what the extractor must read off: parameters and classes, float32 [N, T]."""
    columns = [drawn.parameters[name] for name in sorted(drawn.parameters)]
    for values in drawn.labels.values():
        kinds = sorted({str(value) for value in values})
        columns += [np.array([str(value) == kind for value in values]) for kind in kinds[1:]]
    return np.stack(columns, axis=1).astype(np.float32)


def train_phantom_cnn(count: int = 4000, epochs: int = 8, seed: int = 0) -> PhantomCNN:
    """Teach the extractor: ``count`` phantoms of each kind, seeds from 2^32 upwards."""
    torch.manual_seed(seed)
    data = {}
    for number, kind in enumerate(KINDS):
        first = 2**32 + number * count  # apart from training and evaluation
        drawn = draw_phantoms(kind, range(first, first + count), size=SIDE)
        wanted = targets_of(drawn)
        wanted = (wanted - wanted.mean(0)) / (wanted.std(0) + 1e-6)
        data[kind] = drawn.images, torch.from_numpy(wanted)
    network = PhantomCNN({kind: wanted.shape[1] for kind, (_, wanted) in data.items()})
    steps = epochs * count // 32
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    random = np.random.default_rng(seed)
    for step in range(steps):
        rows = random.integers(count, size=32)
        losses = [
            F.mse_loss(network.heads[kind](network(_seen(images[rows]))), wanted[rows])
            for kind, (images, wanted) in data.items()
        ]
        total = torch.stack(losses).sum()
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            log.info("step %d of %d: %s", step, steps, [f"{float(x.detach()):.3f}" for x in losses])
    return network.eval()


def write_phantom_cnn() -> None:
    """Teach the extractor and write its weights where they are shipped."""
    tensors = {k: v.half().contiguous() for k, v in train_phantom_cnn().state_dict().items()}
    write_whole(WEIGHTS / FILE, save(tensors), parents=True)


def _seen(images: NDArray[np.uint8]) -> Tensor:
    return to_planes(images[..., None], "grey", SIDE) * 2 - 1
