"""Images to features: arrays or streams, a part at a time, kept on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from medgan_widgets.errors import DataError, WeightsError
from medgan_widgets.features.cache import Cache
from medgan_widgets.features.extractor import CANONICAL, Extractor, Ready
from medgan_widgets.images import checked_pixels, to_levels, top_of

PART = 64  # images looked at together, and kept on disk together


def features_from_images(
    images: Any,
    extractor: str | Extractor | nn.Module = CANONICAL,
    *,
    weights: str | Path | None = None,
    cache: str | Path | bool | None = None,
    device: str = "cpu",
    top: float | None = None,
) -> NDArray[Any]:
    """Return one feature vector an image, float32 or float64 [N, D].

    Parameters
    ----------
    images
        uint8 or uint16 [N, H, W] or [N, H, W, C], or batches of them, which may differ in
        size. A fourth channel is transparency and left out.
    extractor
        A name of `extractors`, an `Extractor`, or a torch module that turns floats
        0 … 1, [N, C, H, W], into [N, D].
    weights
        A file, for extractors that need one; without it the one that
        `fetch_weights` has fetched.
    cache
        A folder; by default the user's cache folder, False for none. Features are kept by
        what the pixels, the extractor, its weights and the libraries are. Those of a bare
        module are kept only where a folder or True says so, as its code may change and
        its weights not; in an `Extractor` its name vouches for it.
    device
        ``"cpu"``, ``"cuda"``, …
    top
        What counts as white in images of 16 bits; by default the 99.99th percentile of an
        array. Batches of 16 bits need it: the first ones do not know the others.

    Raises
    ------
    DataError
        For other images, none at all, or features that are not finite.
    WeightsError
        For an unknown extractor, weights that are missing or others, or a module
        that answers something else.

    Examples
    --------
    >>> features_from_images(np.zeros((2, 64, 64), np.uint8), "phantom-cnn-1").shape
    (2, 64)
    """
    options: dict[str, Any] = {"weights": weights, "cache": cache, "device": device, "top": top}
    found = list(feature_batches(images, extractor, **options))
    if not found:
        raise DataError("there are no images to turn into features.")
    return np.concatenate(found)


def feature_batches(
    images: Any,
    extractor: str | Extractor | nn.Module = CANONICAL,
    *,
    weights: str | Path | None = None,
    cache: str | Path | bool | None = None,
    device: str = "cpu",
    top: float | None = None,
) -> Iterator[NDArray[Any]]:
    """Yield the features of at most 64 images at a time: memory does not grow with their number.

    Everything is as for `features_from_images`. Left at any point, what was made is kept.

    Examples
    --------
    >>> stream = (np.zeros((40, 32, 32), np.uint8) for _ in range(3))
    >>> [len(part) for part in feature_batches(stream, "phantom-cnn-1")]
    [40, 40, 40]
    """
    ready = Ready(extractor, weights, device)
    kept = Cache.of(False if cache is None and not ready.named else cache)
    width: int | None = None
    for checked in _parts(images, top):
        features = kept.features(checked, ready) if kept else ready(checked)
        if width not in (None, features.shape[1]):
            raise WeightsError(
                f"{ready.about.name} gives {width} features for some images and "
                f"{features.shape[1]} for others; wrap it in an Extractor with the size it takes."
            )
        width = features.shape[1]
        yield features


def _parts(images: Any, top: float | None) -> Iterator[NDArray[np.uint8]]:
    """Yield images in eight bits, grey or RGB, few at a time."""
    if isinstance(images, np.ndarray):
        images = [checked_pixels(images)]
        top = top_of(images[0]) if top is None else top
    elif isinstance(images, (str, bytes)) or not isinstance(images, Iterable):
        raise DataError(
            "images must be uint8 or uint16 [N, H, W] or [N, H, W, C], or batches of them, got "
            f"{images!r:.60}."
        )
    for batch in images:
        pixels = checked_pixels(batch)
        if pixels.dtype == np.uint16 and top is None:
            raise DataError(
                "batches of uint16 need top=, the value that is white: the first batch does not "
                "know the others."
            )
        for start in range(0, len(pixels), PART):
            yield to_levels(pixels[start : start + PART, ..., :3], top or 255.0)
