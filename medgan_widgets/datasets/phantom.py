"""Phantoms to learn from: drawn for training, and others for judging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.errors import DataError
from medgan_widgets.phantoms import KINDS, LARGEST, SMALLEST, draw_phantoms
from medgan_widgets.seeds import Value, one_hot, whole_number

PREFIX = "phantom:"
N_PHANTOMS = 20_000
HELD_OUT = 512
HELD_OUT_SEED = 2**42  # far from any pool, so that no phantom is on both sides
CHUNK = 256  # drawn at a time: masks and truth are let go soon
SIZE = 128


def phantom_named(data: object) -> str | None:
    """Return the phantom's kind that a text names, or None.

    A path that exists wins over the bare name of a kind; ``"phantom:chest_xray"`` is always
    the phantom.

    Raises
    ------
    DataError
        When ``phantom:`` is followed by no kind.

    Examples
    --------
    >>> phantom_named("phantom:chest_xray"), phantom_named("brain_mri"), phantom_named("a/b")
    ('chest_xray', 'brain_mri', None)
    """
    if not isinstance(data, str):
        return None
    if data.startswith(PREFIX):
        kind = data.removeprefix(PREFIX)
        if kind not in KINDS:
            raise DataError(f"there is no phantom {kind!r}; there are {', '.join(KINDS)}.")
        return kind
    return data if data in KINDS and not Path(data).exists() else None


def phantom_images(kind: str, size: int, count: int) -> TrainingImages:
    """Draw ``count`` phantoms to train on: seeds 0 … count - 1, kept apart from evaluation.

    Examples
    --------
    >>> phantom_images("mammogram", 32, 4).images.shape
    (4, 32, 32, 1)
    """
    return _drawn(kind, size, range(count), ("train",) * count, None)


def read_phantoms(
    kind: str, *, size: int | None, most: int | None, held_out: int, labels: Any
) -> TrainingImages:
    """Draw phantoms for a training, and held-out ones of seeds of their own.

    ``labels`` is one factor to learn alone, False for none; by default all of them.
    """
    count = N_PHANTOMS if most is None else most
    seeds = [*range(count), *range(HELD_OUT_SEED, HELD_OUT_SEED + held_out)]
    sides = ("train",) * count + ("test",) * held_out
    return _drawn(kind, SIZE if size is None else size, seeds, sides, labels)


def _drawn(
    kind: str, size: int, seeds: Sequence[int], sides: tuple[str, ...], labels: Any
) -> TrainingImages:
    factors = dict(KINDS[kind].factors)
    if labels not in (None, False, *factors):
        raise DataError(f"labels must be one of {', '.join(factors)} for {kind}; got {labels!r}.")
    if labels is not None:
        factors = {labels: factors[labels]} if labels else {}
    size = whole_number(size, "size", SMALLEST, LARGEST)
    images: NDArray[np.uint8] = np.empty((len(seeds), size, size, 1), np.uint8)
    known: dict[str, list[Value]] = {name: [] for name in factors}
    for start in range(0, len(seeds), CHUNK):
        drawn = draw_phantoms(kind, seeds[start : start + CHUNK], size=size)
        images[start : start + CHUNK] = drawn.images[..., None]
        for name, values in known.items():
            values += drawn.labels[name]
    return TrainingImages(
        images,
        one_hot(known, factors, len(seeds)),
        factors,
        names=tuple(f"phantom {seed}" for seed in seeds),
        sides=sides,
        source="phantom",
        phantom=True,
        sizes=((size, size, len(seeds)),),
    )
