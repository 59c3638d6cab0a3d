"""Make the shipped extractor again, or print the spreads that canonical-1 divides by.

::

    python tests/benchmarks/make_extractor.py
    python tests/benchmarks/make_extractor.py --spreads
"""

from __future__ import annotations

import argparse
import logging
import sys

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from medgan_widgets.features import canonical
from medgan_widgets.features.extraction import to_planes
from medgan_widgets.features.phantom_cnn import FILE, SIDE, WEIGHTS, PhantomCNN
from medgan_widgets.files import write_whole
from medgan_widgets.phantoms import KINDS, Phantoms, draw_phantoms

log = logging.getLogger(__name__)

FIRST, COUNT = 2**36, 1000


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
        total.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 0:
            log.info("step %d of %d: %s", step, steps, [f"{float(x.detach()):.3f}" for x in losses])
    return network.eval()


def _seen(images: NDArray[np.uint8]) -> Tensor:
    return to_planes(images[..., None], "grey", SIDE) * 2 - 1


def main() -> None:
    """Read the command line and do what it asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spreads", action="store_true")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if not parser.parse_args().spreads:
        tensors = {k: v.half().contiguous() for k, v in train_phantom_cnn().state_dict().items()}
        write_whole(WEIGHTS / FILE, save(tensors), parents=True)
        return
    side = canonical.SIDE
    drawn = [draw_phantoms(kind, range(FIRST, FIRST + COUNT), size=side) for kind in KINDS]
    rows = np.concatenate(
        [
            canonical.unscaled_features(to_planes(one.images[..., None], "grey", side))
            for one in drawn
        ]
    )
    for found in (rows.mean(axis=0), rows.std(axis=0)):
        sys.stdout.write(", ".join(f"{value:.4g}" for value in found) + "\n")


if __name__ == "__main__":
    main()
