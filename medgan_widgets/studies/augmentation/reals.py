"""The reals of a study: read, one factor told apart, and some drawn to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.engine import Engine
from medgan_widgets.errors import DataError, RequestError

LESIONS = ("tumour", "nodule", "mass")  # what phantoms are told apart by, unless another is said
PHANTOMS = 200  # to learn from
_PREPARES = {"size", "window", "percentiles", "fit", "channels", "plane"}


def classes_of(data: TrainingImages, target: str) -> NDArray[np.int64]:
    """Return each image's class as its place in the factor's values, int64 [N]."""
    return np.asarray(data.one_hot(target).argmax(axis=1), np.int64)


def read_reals(
    data: Any,
    labels: Any,
    group: Any,
    size: int | None,
    read: Mapping[str, Any] | None,
    reals: int | None,
    model: str | None,
    engine: Engine | None,
) -> TrainingImages:
    """Return the data of a study, with classes and a test side; phantoms in the model's size."""
    options: dict[str, Any] = {"labels": labels, "group": group, "size": size, **(read or {})}
    if phantom_named(data):
        options.setdefault("most", PHANTOMS if reals is None else reals)
        if size is None:  # as the model makes them, so that nothing is resized
            catalogue = engine.catalogue if engine else Catalogue()
            options["size"] = 64 if model is None else catalogue[model].size[0]
    elif model is not None and "like" not in options and not isinstance(data, TrainingImages):
        card = (engine.catalogue if engine else Catalogue())[model]
        if card.preprocessing and not _PREPARES & {k for k, v in options.items() if v is not None}:
            options["like"] = card  # as the model's own data were
    try:
        images = read_images(data, **options)
    except TypeError as error:
        raise RequestError(f"the images cannot be read that way: {error}.") from error
    if not images.factors:
        raise DataError("the images have no classes to tell apart; say where they are by labels=.")
    if images.held_out is None:
        raise DataError(
            "no image is held back to judge by; read the data with a test side (test=)."
        )
    return images


def checked_target(data: TrainingImages, target: str | None) -> str:
    """Return which factor is to be told apart, or an error that says which there are."""
    have = list(data.factors)
    if target is None:
        lesions = [name for name in have if data.phantom and name in LESIONS]
        target = have[0] if len(have) == 1 else (lesions[0] if lesions else None)
    if target is None or target not in have:
        raise RequestError(
            f"target must say which factor is to be told apart, one of {', '.join(have)}; "
            f"got {target!r}."
        )
    if len(data.factors[target]) < 2:
        raise DataError(
            f"{target} has a single class, {data.factors[target][0]!r}; nothing to learn."
        )
    return target


def drawn_reals(data: TrainingImages, target: str, reals: int | None) -> NDArray[np.int64]:
    """Return which training images are learned from, each class in its share, at least one."""
    places = np.flatnonzero(np.array(data.sides) == "train")
    if reals is not None and reals > len(places):
        raise DataError(f"there are {len(places)} images to learn from, {reals} were asked for.")
    if reals is None or reals == len(places):
        return places.astype(np.int64)
    random = np.random.default_rng(0)
    classes = classes_of(data, target)[places]
    order = random.permutation(len(places))
    first = [int(order[classes[order] == one][0]) for one in np.unique(classes)]
    chosen = list(dict.fromkeys([*first, *(int(one) for one in order)]))[:reals]
    return np.sort(places[chosen]).astype(np.int64)
