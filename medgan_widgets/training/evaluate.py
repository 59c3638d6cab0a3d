"""How good a training's images are: how different, how like the reals, how well held out.

All of it is made from latents of fixed seeds, apart from the training's own
random numbers, so that evaluating changes nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.datasets import TrainingImages
from medgan_widgets.features import CANONICAL, PHANTOM_CNN, features_from_images
from medgan_widgets.metrics import score_of
from medgan_widgets.networks import Discriminator, Generator, dcgan
from medgan_widgets.seeds import latents_from_seeds, normals_from_seed

COMPARED = 128  # images of each kind, for the figures of a tick
PICTURED = 16  # of them on the picture
SCORED = 500
FEWEST_OF_A_CLASS = 8
# An FD needs more images than features (64 and 55): twice as many at least.
FEWEST_SCORED = {PHANTOM_CNN: 128, CANONICAL: 110}
CHUNK = 32
POOLED = 16  # pixels a side on which images are compared: anatomy, not grain

Images = NDArray[np.uint8]


class TrainingEvaluator:
    """Compares a training with some reals, with held-out reals where there are any.

    ``leaks`` are the augmentations that must not show in the images: flip, quarter-turn.
    """

    def __init__(
        self,
        training: TrainingImages,
        held_out: TrainingImages | None,
        *,
        conditional: bool,
        leaks: Sequence[str] = (),
    ) -> None:
        random = np.random.default_rng(0)
        # One image of each combination of classes first, so that the picture shows them all.
        drawn = random.permutation(len(training.images))[:COMPARED]
        _, first = np.unique(training.classes, axis=0, return_index=True)
        rows = np.array(list(dict.fromkeys([*np.sort(first)[:PICTURED], *drawn]))[:COMPARED])
        self.conditional = conditional
        self.classes = training.classes[rows]
        self.names = [f"{name}={v}" for name, values in training.factors.items() for v in values]

        # What the discriminator is asked about: images it has seen and images it has not.
        few = random.permutation(len(training.images))[:4096]
        self.seen = training.images[few[:COMPARED]], training.classes[few[:COMPARED]]
        self.unseen = None
        if held_out is not None and len(held_out.images) >= 4:
            other = random.permutation(len(held_out.images))[:COMPARED]
            self.unseen = held_out.images[other], held_out.classes[other]

        # The reals' own mean, spread and distances from each other.
        pooled = _pooled(training.images[few])
        self.spread, self.mean = float(np.sqrt(pooled.var(axis=0).sum())), pooled.mean(axis=0)
        reals = _pooled(training.images[rows])
        self.distance = _nearest_distance(reals)
        self.class_distances = self._class_distances(reals)
        self.templates = {kind: _template(training.images[few], kind) for kind in leaks}
        self.real_leaks = {kind: _changed(pooled, t) for kind, t in self.templates.items()}

        # The small network reads the phantoms' own parameters and knows nothing of patients.
        self.extractor = PHANTOM_CNN if training.phantom else CANONICAL
        self._scored: list[tuple[TrainingImages, NDArray[np.intp]]] = []
        count = min(SCORED, len(training), 0 if held_out is None else len(held_out))
        if held_out is not None and count >= FEWEST_SCORED[self.extractor]:
            self._scored = [
                (images, random.permutation(len(images))[:count]) for images in (held_out, training)
            ]

    def pictures(self, generator: Generator) -> Images:
        """Return what the fixed latents show, uint8 [16, H, W, C]."""
        classes = np.take(self.classes, range(PICTURED), axis=0, mode="wrap")
        return images_of(generator, range(PICTURED), classes, self.conditional)

    def evaluate(self, generator: Generator, discriminator: Discriminator) -> dict[str, Any]:
        """Return the figures of a tick: diversity, distance, class_diversity, leaks, held_out."""
        made = images_of(generator, range(len(self.classes)), self.classes, self.conditional)
        pooled = _pooled(made)
        apart = self._class_distances(pooled) if self.conditional else {}
        from_mean = np.linalg.norm(pooled.mean(axis=0) - self.mean)
        return {
            "diversity": _nearest_distance(pooled) / self.distance if self.distance > 0 else None,
            "distance": float(from_mean / self.spread) if self.spread > 0 else None,
            "class_diversity": {
                name: apart[name] / real
                for name, real in self.class_distances.items()
                if real > 0 and name in apart
            },
            "leaks": {
                kind: max(0.0, _changed(pooled, template) - self.real_leaks[kind])
                for kind, template in self.templates.items()
            },
            "held_out": self._held_out(discriminator, made),
        }

    def score(self, generator: Generator) -> dict[str, Any] | None:
        """Return the Fréchet distance to the held-out reals as plain values, or None.

        By ``phantom-cnn-1`` for phantoms, else by ``canonical-1``; halves are drawn by patient.
        None when fewer than 128 phantoms or 110 other images were held out: the figure would
        say nothing.
        """
        if not self._scored:
            return None
        (held_out, rows), (training, others) = self._scored
        made = images_of(generator, range(len(rows)), held_out.classes[rows], self.conditional)
        real, other = self._real_features
        score = score_of(
            "fd", real, self._features(made), extractor=self.extractor, other=other,
            real_groups=[held_out.groups[row] for row in rows],
            other_groups=[training.groups[row] for row in others],
        )[0]  # fmt: skip
        return score.to_dict()

    @cached_property
    def _real_features(self) -> list[NDArray[Any]]:
        """Features of the reals, made when a score first needs them: that may take seconds."""
        return [self._features(images.images[rows]) for images, rows in self._scored]

    def _features(self, images: Images) -> NDArray[Any]:
        return features_from_images(images, self.extractor, cache=False)

    def _held_out(self, discriminator: Discriminator, made: Images) -> float | None:
        """Return how far unseen reals are taken for synthetic; None while it tells nothing."""
        if self.unseen is None:
            return None
        seen, unseen, synthetic = (
            _mean_logit(discriminator, images, classes)
            for images, classes in (self.seen, self.unseen, (made, self.classes))
        )
        apart = seen - synthetic
        return None if apart < 0.2 else float(np.clip((seen - unseen) / apart, -1, 2))

    def _class_distances(self, pooled: NDArray[np.float32]) -> dict[str, float]:
        members = {name: self.classes[:, n] > 0.5 for n, name in enumerate(self.names)}
        return {
            name: _nearest_distance(pooled[rows])
            for name, rows in members.items()
            if rows.sum() >= FEWEST_OF_A_CLASS
        }


@torch.no_grad()
def images_of(
    generator: Generator, seeds: Sequence[int], classes: NDArray[np.float32], conditional: bool
) -> Images:
    """Return what a generator makes of some seeds, uint8 [N, H, W, C]; its mode stays."""
    device = next(generator.parameters()).device
    was = generator.training
    generator.eval()
    parts = []
    for start in range(0, len(seeds), CHUNK):
        part = seeds[start : start + CHUNK]
        made = generator(*inputs_of(generator, part, classes[start:], conditional, device))
        parts.append(((made.float().clamp(-1, 1) + 1) * 127.5).round().byte().cpu())
    generator.train(was)
    return torch.cat(parts).permute(0, 2, 3, 1).contiguous().numpy()


def inputs_of(
    generator: Generator,
    seeds: Sequence[int],
    classes: NDArray[np.float32],
    conditional: bool,
    device: torch.device,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Return latents, classes and noise of some seeds."""
    z = torch.from_numpy(latents_from_seeds(seeds, generator.z_dim)).to(device)
    y = torch.from_numpy(classes[: len(seeds)] if conditional else classes[: len(seeds), :0])
    sizes = [int(np.prod(shape)) for shape in generator.noise_shapes]
    drawn = np.stack([normals_from_seed(seed, "noise", sum(sizes)) for seed in seeds])
    grains = np.split(drawn, np.cumsum(sizes)[:-1], axis=1) if sizes else []
    noise = [
        torch.from_numpy(grain.reshape(len(seeds), *shape)).to(device)
        for grain, shape in zip(grains, generator.noise_shapes, strict=True)
    ]
    return z, y.to(device), noise


@torch.no_grad()
def recalibrate_batchnorm(
    averaged: Generator, classes: NDArray[np.float32], conditional: bool, count: int = 512
) -> Generator:
    """Return a copy with what averaged weights need but gradient steps do not give them.

    Batch norm's statistics belong to the weights that saw them, so they are measured
    again with the averaged ones; and truncation needs the mean of ``w``.
    """
    ready = copy.deepcopy(averaged)
    device = next(ready.parameters()).device
    norms = [layer for layer in ready.modules() if isinstance(layer, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the chunks below
    ready.train()
    for start in range(0, count if norms else 0, CHUNK):
        seeds = range(start, start + CHUNK)
        labels = np.take(classes, seeds, axis=0, mode="wrap")
        ready(*inputs_of(ready, seeds, labels, conditional, device))
    ready.eval()
    if not isinstance(ready, dcgan.Generator):
        every = np.take(classes, range(4096), axis=0, mode="wrap")
        z = torch.from_numpy(latents_from_seeds(range(4096), ready.z_dim)).to(device)
        y = torch.from_numpy(every if conditional else every[:, :0]).to(device)
        ready.w_mean.copy_(ready.styles(z, y).float().mean(dim=0))
    return ready


def to_tensor(images: NDArray[np.uint8], device: str | torch.device = "cpu") -> Tensor:
    """Turn uint8 [N, H, W, C] into floats -1 … 1, [N, C, H, W]."""
    on_device = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    return on_device.permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def _mean_logit(
    discriminator: Discriminator, images: Images, classes: NDArray[np.float32]
) -> float:
    device = next(discriminator.parameters()).device
    usable = len(images) // 4 * 4  # whole groups for the minibatch deviation
    images, classes = images[:usable], classes[:usable]
    logits = [
        discriminator(
            to_tensor(images[start : start + CHUNK], device),
            torch.from_numpy(np.ascontiguousarray(classes[start : start + CHUNK])).to(device),
        )
        for start in range(0, usable, CHUNK)
    ]
    return float(torch.cat(logits).float().mean())


def _pooled(images: Images) -> NDArray[np.float32]:
    """Return images as grey means over blocks, float32 [N, 256]: anatomy without grain."""
    grey = images if images.shape[3] == 1 else np.rint(images.mean(axis=3, keepdims=True))
    tensor = torch.from_numpy(np.ascontiguousarray(grey[..., 0])).float()[:, None]
    return F.adaptive_avg_pool2d(tensor, POOLED).flatten(1).numpy()


def _nearest_distance(pooled: NDArray[np.float32]) -> float:
    """Return how far images are from the one most like them, the median over all.

    A generator that makes a few images again and again has small distances here,
    even where those few are as different as can be.
    """
    distances = cdist(pooled, pooled)
    np.fill_diagonal(distances, np.inf)
    return float(np.median(distances.min(axis=1)))


def _template(images: Images, kind: str) -> NDArray[np.float64]:
    """Return how the mean image differs from itself changed that way, [256]."""
    turned = images[:, :, ::-1] if kind == "flip" else np.rot90(images, axes=(1, 2))
    return np.asarray(_pooled(images).mean(axis=0) - _pooled(turned).mean(axis=0), np.float64)


def _changed(pooled: NDArray[np.float32], template: NDArray[np.float64]) -> float:
    """Return the share of images that are more like the changed mean than like the mean."""
    return float((pooled @ template < 0).mean())
