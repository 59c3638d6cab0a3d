"""A small CNN, and how any classifier is trained and asked: the same way in every arm."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.devices import is_out_of_memory
from medgan_widgets.errors import RequestError, TrainingError
from medgan_widgets.studies.augmentation.arms import Images, TrainingSet
from medgan_widgets.training.augment import BatchRNG, augmented

# Anatomy has sides, so flips are not among them.
CLASSICAL_KINDS = ("translation", "scale", "rotation", "brightness", "contrast")
CHANCE_OF_CHANGE = 0.8

ClassifierFactory = Callable[[int, int, int], nn.Module]  # channels, classes, pixels a side


@dataclass(frozen=True)
class ClassifierTraining:
    """How every classifier is trained."""

    passes: int = 10  # how often each image is shown; more images, more steps
    batch: int = 16  # images a step
    learning_rate: float = 3e-3  # of Adam, falling to a twentieth along a cosine
    kinds: tuple[str, ...] = CLASSICAL_KINDS  # of presets.AUGMENTATIONS, for the classical arm
    device: str = "cpu"


class SmallCNN(nn.Module):
    """Four convolutions, mean and maximum of their maps, one linear layer; about 20,000 weights.

    Parameters
    ----------
    channels, classes, size
        Of the images [N, channels, size, size], -1 … 1, and how many classes.

    Examples
    --------
    >>> SmallCNN(1, 2, 32)(torch.zeros(3, 1, 32, 32)).shape
    torch.Size([3, 2])
    """

    def __init__(self, channels: int, classes: int, size: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = channels
        for step, out in enumerate((8, 16, 32, 48)):
            stride = 2 if size // 2 ** (step + 1) >= 4 else 1
            layers += [
                nn.Conv2d(width, out, 3, stride, 1, bias=False),
                nn.BatchNorm2d(out, momentum=0.3),
                nn.ReLU(),
            ]
            width = out
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(2 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [N, classes]."""
        maps = self.features(images)
        pooled = torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(pooled)
        return logits


def trained(
    factory: ClassifierFactory,
    learned: TrainingSet,
    classes: int,
    training: ClassifierTraining,
    seed: int,
) -> nn.Module:
    """Return a classifier that has learned a training set; a seed gives the same one again."""
    network = new_classifier(factory, learned.images, classes, seed).to(training.device)
    weights = [one for one in network.parameters() if one.requires_grad]
    if not weights:
        raise RequestError("the classifier has no weights that can learn; give another factory.")
    optimiser = torch.optim.Adam(weights, lr=training.learning_rate)
    total = training.passes * sum(1 for _ in _batches(len(learned.images), training.batch, None))
    random = np.random.default_rng([seed, 1])
    network.train()
    step = 0
    with torch.random.fork_rng(devices=[]):  # dropout and the like
        torch.manual_seed(seed)
        for _ in range(training.passes):
            for rows in _batches(len(learned.images), training.batch, random):
                rate = 0.05 + 0.95 * (1 + np.cos(np.pi * step / total)) / 2
                optimiser.param_groups[0]["lr"] = training.learning_rate * rate
                images = _augmented(learned, rows, training, seed * 1_000_003 + step)
                wanted = torch.from_numpy(learned.classes[rows]).to(training.device)
                loss = F.cross_entropy(_logits(network, images).float(), wanted)
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the classifier's loss is {loss.item()} after {step} steps; give a lower "
                        "learning_rate."
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                step += 1
    return network.eval()


@torch.inference_mode()
def predicted(
    network: nn.Module, images: Images, training: ClassifierTraining
) -> NDArray[np.int64]:
    """Return the class a classifier gives each image, [N]."""
    found = [
        _logits(network, as_tensor(images[rows], training.device)).argmax(dim=1).cpu().numpy()
        for rows in _batches(len(images), 256, None)
    ]
    return np.concatenate(found).astype(np.int64)


def new_classifier(
    factory: ClassifierFactory, images: Images, classes: int, seed: int
) -> nn.Module:
    """Return a new classifier whose first weights come from the seed, tried on two images."""
    size, channels = images.shape[1], images.shape[3]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            network = factory(channels, classes, size)
            with torch.no_grad():
                made = network.eval()(as_tensor(np.resize(images, (2, *images.shape[1:])), "cpu"))
        except Exception as error:  # somebody's own code: an assertion, a key, anything
            if is_out_of_memory(error):
                raise
            raise RequestError(
                "classifier must be a function of (channels, classes, size) that returns a torch "
                f"module for images [N, {channels}, {size}, {size}]; it failed with "
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}."
            ) from error
    shape = tuple(getattr(made, "shape", ()))
    if shape != (2, classes):
        raise RequestError(
            f"the classifier must return logits [N, {classes}]; for 2 images it returned "
            f"{list(shape) or type(made).__name__}."
        )
    return network


def classifier_digest(network: nn.Module) -> str:
    """Return a classifier's name with a digest of its layers and first weights.

    A name alone does not tell two ``lambda`` from each other.
    """
    digest = hashlib.sha256(re.sub(r" at 0x\w+", "", repr(network)).encode())
    for name, values in network.state_dict().items():
        if isinstance(values, Tensor):
            digest.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
            digest.update(values.cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"{type(network).__name__} {digest.hexdigest()[:16]}"


def _logits(network: nn.Module, images: Tensor) -> Tensor:
    try:
        logits: Tensor = network(images)
    except Exception as error:  # tried before, but not on these images, nor while learning
        if is_out_of_memory(error):
            raise
        raise TrainingError(
            f"the classifier {type(network).__name__} failed on images {list(images.shape)} with "
            f"{type(error).__name__}: {error}; the rows so far are kept, so mend it and go on."
        ) from error
    return logits


def as_tensor(images: Images, device: str) -> Tensor:
    """Turn uint8 [N, H, W, C] into floats -1 … 1, [N, C, H, W]."""
    tensor = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return tensor.permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def _augmented(
    learned: TrainingSet, rows: NDArray[np.int64], training: ClassifierTraining, seed: int
) -> Tensor:
    images = as_tensor(learned.images[rows], training.device)
    changed = torch.from_numpy(learned.changed[rows]).to(training.device)
    if changed.any():
        draws = BatchRNG(len(rows), seed=seed % 2**63, device=training.device)
        other = augmented(images, CHANCE_OF_CHANGE, training.kinds, draws)
        images = torch.where(changed[:, None, None, None], other, images)
    return images


def _batches(
    count: int, batch: int, random: np.random.Generator | None
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each step; a last single image joins the step before (batch norm)."""
    order = np.arange(count) if random is None else random.permutation(count)
    cuts = list(range(batch, count - 1, batch))
    yield from (part.astype(np.int64) for part in np.split(order, cuts))
