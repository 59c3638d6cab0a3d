"""Rows that a worker sent, checked and put together as batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.medigan.process import plain_text
from medgan_widgets.requests import Batch
from medgan_widgets.seeds import Value


def batches_of(
    rows: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    labels: Mapping[str, Sequence[Value]],
    seconds: float,
) -> Iterator[Batch]:
    """Yield rows as batches: those that follow each other and are alike go together."""
    start = 0
    for end in range(1, len(rows) + 1):
        if end < len(rows) and _shape(rows[end]) == _shape(rows[start]):
            continue
        part = rows[start:end]
        first = part[0]
        own = {name: tuple(values[start:end]) for name, values in labels.items()}
        if first["label"] is not None:
            own["label"] = tuple(row["label"] for row in part)
        yield Batch(
            images=np.stack([row["image"] for row in part]),
            seeds=tuple(seeds[start:end]),
            labels=own,
            masks=None if first["mask"] is None else np.stack([row["mask"] for row in part]),
            others={n: np.stack([row["others"][n] for row in part]) for n in first["others"]},
            notes=first["notes"],
            seconds=seconds * len(part) / len(rows),
        )
        start = end


def _shape(row: Mapping[str, Any]) -> tuple[Any, ...]:
    mask = None if row["mask"] is None else row["mask"].shape
    others = {name: (other.shape, other.dtype) for name, other in row["others"].items()}
    image = row["image"]
    alike = image.shape, image.dtype, mask, sorted(others.items()), row["label"] is None
    return *alike, row["notes"]


def with_arrays(row: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """Put arrays in their places, and check what they are: an image, a mask, other pictures."""
    image = arrays[row["image"]]
    mask = None if row["mask"] is None else arrays[row["mask"]]
    label, clipped = row["label"], int(row["clipped"])
    if image.ndim != 3 or image.shape[2] not in (1, 3) or (mask is not None and mask.ndim != 2):
        raise TypeError("a picture of another shape")
    return {
        "image": image,
        "mask": mask,
        "others": {str(name)[:40]: arrays[place] for name, place in row["others"].items()},
        "label": None if label is None else plain_text(label)[:200],
        "clipped": clipped,
    }
