"""phantom-cnn-1: a network that reads the phantoms' own parameters.

It is shipped; ``tests/benchmarks/make_extractor.py`` made it. It knows phantoms only:
distances in its features say nothing about patient images.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from medgan_widgets.errors import WeightsError
from medgan_widgets.phantoms import KINDS

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


def load(_: Path | None, device: torch.device) -> Callable[[Tensor], Tensor]:
    """Return the shipped network: grey images 0 … 1 to features."""
    path = WEIGHTS / FILE
    if not path.exists():
        raise WeightsError(f"{path.name} is missing; install medgan_widgets again.")
    tensors = load_file(path)
    targets = {kind: len(tensors[f"heads.{kind}.bias"]) for kind in KINDS}
    network = PhantomCNN(targets)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    # Colours last is a third faster on a CPU, and the same within rounding.
    network = network.eval().to(device).to(memory_format=torch.channels_last)
    return lambda planes: network(planes * 2 - 1)
