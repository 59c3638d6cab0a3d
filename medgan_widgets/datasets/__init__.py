"""Images to learn from, with their classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.phantoms import KINDS, draw_phantoms
from medgan_widgets.seeds import Value, one_hot


@dataclass(frozen=True)
class TrainingImages:
    """Images to learn from: uint8 [N, H, W, C], their one-hot classes, and what those mean."""

    images: NDArray[np.uint8]
    classes: NDArray[np.float32]
    factors: dict[str, tuple[Value, ...]]


def phantom_images(kind: str, size: int, count: int) -> TrainingImages:
    """Draw ``count`` phantoms to train on: seeds 0 … count - 1, kept apart from evaluation."""
    drawn = draw_phantoms(kind, range(count), size=size)
    factors = KINDS[kind].factors
    return TrainingImages(
        drawn.images[..., None], one_hot(drawn.labels, factors, count), dict(factors)
    )


def checked_images(data: TrainingImages, batch: int) -> TrainingImages:
    """Return the images, or say why a batch of them cannot be trained on."""
    images = data.images
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != images.shape[2]:
        raise DataError(
            f"images must be uint8 [N, H, W, C] with H = W, got {images.dtype} {images.shape}."
        )
    if len(images) < batch:
        raise DataError(f"at least {batch} images are needed to train, got {len(images)}.")
    return data
