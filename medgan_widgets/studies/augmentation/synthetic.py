"""Synthetic images for a study: from a model of the catalogue, or from one trained here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from medgan_widgets.cards import ModelCard, Network, Weights
from medgan_widgets.checkpoints import read_generator, write_weights
from medgan_widgets.datasets import TrainingImages
from medgan_widgets.engine import Engine
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.image_sources import open_images
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.runs import WEIGHTS, Tick, run_config
from medgan_widgets.seeds import SEED_LIMIT, Value
from medgan_widgets.studies.augmentation.arms import Classes, Images
from medgan_widgets.training import train

FIRST_SEED = 2**47
OWN = "own-split"  # what the generator is called that a study trains


@dataclass(frozen=True)
class Source:
    """A generator, and how its images become a study's."""

    engine: Engine
    card: ModelCard
    factor: str  # the card's factor that holds the study's classes
    values: tuple[Value, ...]  # in the order of the study's classes
    shape: tuple[int, int, int]  # (H, W, C) of the study's images
    condition: Mapping[str, Value]  # what else is held fixed

    def make(self, classes: Classes, seed: int) -> Images:
        """Return images of classes [N], uint8 [N, H, W, C]; each seed has images of its own."""
        made: NDArray[np.uint8] = np.empty((len(classes), *self.shape), np.uint8)
        for place, value in enumerate(self.values):
            rows = np.flatnonzero(classes == place)
            if not len(rows):
                continue
            # A million latents for each class of each seed: none is used twice.
            first = (FIRST_SEED + (seed * len(self.values) + place) * 2**20) % (SEED_LIMIT // 2)
            request = GenerateRequest(
                self.card.id,
                seeds=range(first, first + len(rows)),
                condition={**self.condition, self.factor: value},
            )
            done = 0
            for images in open_images(request, engine=self.engine).batches():
                some = rows[done : done + len(images)]
                made[some] = fitted(images, self.shape)
                done += len(some)
        return made


def source_of(
    engine: Engine,
    model_id: str,
    data: TrainingImages,
    factor: str,
    condition: Mapping[str, Value] | None = None,
) -> Source:
    """Return a catalogue's model as the source of a study's synthetic images."""
    card = engine.catalogue[model_id]
    wanted = data.factors[factor]
    have = dict(card.condition)
    same = [name for name, values in have.items() if set(map(str, wanted)) <= set(map(str, values))]
    # Words such as "benign" mean the same under another name; True and 3 may not.
    words = all(isinstance(one, str) for one in wanted)
    name = factor if factor in same else (same[0] if len(same) == 1 and words else None)
    if name is None:
        told = "; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in have.items()) or "none"
        raise RequestError(
            f"{card.id} cannot be asked for the classes of {factor!r} "
            f"({', '.join(map(str, wanted))}); its own are {told}. Choose another model, or "
            "train_generator=True."
        )
    values = {str(one): one for one in have[name]}
    _, height, width, channels = data.images.shape
    own = tuple(values[str(one)] for one in wanted)
    source = Source(engine, card, name, own, (height, width, channels), dict(condition or {}))
    source.make(np.zeros(1, np.int64), seed=0)  # what cannot run says so now, not after an hour
    return source


def fitted(images: Images, shape: Sequence[int]) -> Images:
    """Return generated images in a study's size and channels, uint8 [N, *shape].

    Smaller by an antialiased bilinear resize; grey to colour by repetition, colour
    to grey by the mean.
    """
    if images.shape[3] != shape[2]:
        grey = np.rint(images.mean(axis=3, keepdims=True)).astype(np.uint8)
        images = np.repeat(grey, shape[2], axis=3)
    if images.shape[1:3] != tuple(shape[:2]):
        tensor = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
        resized = F.interpolate(tensor, tuple(shape[:2]), mode="bilinear", antialias=True)
        images = resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return np.asarray(images, np.uint8)


# ------------------------------------------------------------ a generator of the study's own


def split_alone(data: TrainingImages, rows: NDArray[np.int64], factor: str) -> TrainingImages:
    """Return some training images by themselves, with one factor: all that a generator may see."""
    some = [int(row) for row in rows]
    return replace(
        data,
        images=data.images[rows],
        classes=data.one_hot(factor)[rows],
        factors={factor: data.factors[factor]},
        names=tuple(data.names[row] for row in some),
        groups=tuple(data.groups[row] for row in some),
        sides=("train",) * len(some),
        files=(),
    )


def own_generator(
    folder: Path, learned: TrainingImages, *, kimg: float, preset: str, seed: int, device: str
) -> Iterator[Tick]:
    """Train a generator on a study's split in ``folder/generator``; it goes on where it stopped."""
    run, place = folder / "generator", folder / "models" / OWN
    if (place / "card.json").exists():
        return
    if (run / "checkpoint").exists():
        yield from train(run, data=learned, resume=True)
    else:
        yield from train(
            run, data=learned, preset=preset, kimg=kimg, seed=seed, device=device,
            tick_kimg=max(0.1, kimg / 10),
        )  # fmt: skip
    config = run_config(run)
    name, settings = str(config["settings"]["network"]), dict(config["network"])
    if settings["classes"] != sum(len(values) for values in learned.factors.values()):
        raise RequestError(
            f"the preset {preset} makes a generator without classes; choose another, e.g. residual."
        )
    generator = read_generator(run / WEIGHTS, name, settings)
    sha256, size = write_weights(place / "generator.safetensors", generator, half=False)
    side = int(settings["size"])
    card = ModelCard(
        id=OWN, title="Trained on the study's own split", modality="OT", organ="other",
        region="as the data", makes="images of the data's classes", function="class to image",
        condition={
            k: tuple(str(one) if isinstance(one, float) else one for one in v)
            for k, v in learned.factors.items()
        },
        truncation=False, size=(side, side), channels=int(settings["channels"]), licence=None,
        dataset=None, year=None, phantom=learned.phantom, architecture=name,
        network=Network(name=name, settings=settings),
        weights=Weights(file="generator.safetensors", sha256=sha256, bytes=size),
        training={"kimg": kimg, "fingerprint": learned.fingerprint, "data": f"{len(learned)}"},
        limits="For its study alone.",
    )  # fmt: skip
    card.write(place / "card.json")


# ------------------------------------------------------------ what the generator has seen


def provenance(card: ModelCard, data: TrainingImages, reals: int) -> str:
    """Return in words what a generator has seen, compared with the study's training split."""
    told = str(card.training.get("data") or "images that its card does not count")
    if card.id == OWN:
        return (
            f"The generator was trained here, for {card.training.get('kimg')} kimg, on the study's "
            f"{reals} training images alone; it has seen no test image."
        )
    head = f"{card.id} was not trained on the study's training images alone: it has seen "
    if card.training.get("fingerprint") == data.fingerprint:
        return (
            f"{card.id} was trained on the training side of the very data of this study ({told}), "
            f"of which the classifiers learn from {reals}; it has seen no test image."
        )
    if card.phantom and data.phantom:
        return (
            f"{head}{told}, the classifiers see {reals}; phantoms of the test side are drawn from "
            "other seeds. A gain also comes from those other images, and is no promise for a "
            "generator trained on the split alone (train_generator=True)."
        )
    if card.phantom:
        return f"{head}{told}: phantoms, no image of yours."
    return (
        f"{head}other data ({card.dataset or 'not named'}; {told}). Whether test images are among "
        "them cannot be told here: a gain may be a leak."
    )


def checked_own(learned: TrainingImages) -> None:
    """Refuse a split that no generator can be trained on, before anything is written."""
    side = learned.images.shape[1]
    if len(learned) < 16 or side != learned.images.shape[2] or side < 32 or side & (side - 1):
        raise DataError(
            "a generator of the study's own needs at least 16 square training images of 32, 64, "
            f"128, … pixels; got {len(learned)} of {learned.images.shape[2]} × {side}."
        )
