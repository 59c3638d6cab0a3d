"""Images to feature vectors, by a named and versioned extractor.

``phantom-cnn-1`` is a small network taught to read the phantoms' own
parameters (ventricle area, lesion radius, texture …). It is shipped, needs no
download, and is made again by ``python -m medgan_widgets.features``. It knows
phantoms only: distances in its features say nothing about patient images.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.errors import DataError, WeightsError
from medgan_widgets.files import write_whole
from medgan_widgets.phantoms import KINDS, Phantoms, draw_phantoms

log = logging.getLogger(__name__)

PHANTOM_CNN = "phantom-cnn-1"
SIDE = 128  # every image is resized to this, with antialias, before it is looked at
WEIGHTS = Path(__file__).parent / "extractors"


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


@torch.inference_mode()
def features_from_images(
    images: Iterable[NDArray[np.uint8]], extractor: str = PHANTOM_CNN
) -> NDArray[np.float64]:
    """Return one feature vector an image, float64 [N, 64].

    Parameters
    ----------
    images
        uint8 [N, H, W] or [N, H, W, 1], or batches of them: memory does not
        grow with N.
    extractor
        ``"phantom-cnn-1"``.

    Raises
    ------
    DataError
        For other shapes or types, or no image at all.
    WeightsError
        For an unknown extractor.

    Examples
    --------
    >>> features_from_images(np.zeros((2, 64, 64), np.uint8)).shape
    (2, 64)
    """
    if extractor != PHANTOM_CNN:
        raise WeightsError(f"extractor must be {PHANTOM_CNN!r}, got {extractor!r}.")
    if not isinstance(images, Iterable) or getattr(images, "ndim", 1) == 0:
        raise DataError(f"images must be uint8 arrays [N, H, W(, 1)], got {images!r}.")
    network = _read_phantom_cnn()
    batches = images
    if isinstance(images, np.ndarray):
        batches = (images[i : i + 64] for i in range(0, len(images), 64))
    found = [network(_prepared(batch)).double().numpy() for batch in batches]
    if not found:
        raise DataError("there are no images to turn into features.")
    return np.concatenate(found)


def _prepared(images: NDArray[np.uint8]) -> Tensor:
    if not isinstance(images, np.ndarray):
        raise DataError(f"images must be uint8 arrays [N, H, W(, 1)], got {type(images).__name__}.")
    if 0 in images.shape:
        raise DataError(f"there are no pixels in images of shape {images.shape}.")
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(f"images must be uint8 [N, H, W(, 1)], got {images.dtype} {images.shape}.")
    if images.ndim == 4:
        if images.shape[-1] != 1:
            raise DataError(f"{PHANTOM_CNN} reads grey images, got {images.shape[-1]} channels.")
        images = images[..., 0]
    grey = torch.from_numpy(np.ascontiguousarray(images))[:, None].float() / 127.5 - 1
    if grey.shape[-2:] == (SIDE, SIDE):
        return grey
    return F.interpolate(grey, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)


def _read_phantom_cnn() -> PhantomCNN:
    path = WEIGHTS / f"{PHANTOM_CNN}.safetensors"
    if not path.exists():
        raise WeightsError(f"{path.name} is missing; make it: python -m medgan_widgets.features")
    tensors = load_file(path)
    targets = {kind: len(tensors[f"heads.{kind}.bias"]) for kind in KINDS}
    network = PhantomCNN(targets)
    network.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return network.eval()


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
            F.mse_loss(network.heads[kind](network(_prepared(images[rows]))), wanted[rows])
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


def main() -> None:
    """Make the shipped extractor again."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    tensors = {k: v.half().contiguous() for k, v in train_phantom_cnn().state_dict().items()}
    write_whole(WEIGHTS / f"{PHANTOM_CNN}.safetensors", save(tensors), parents=True)


if __name__ == "__main__":
    main()
