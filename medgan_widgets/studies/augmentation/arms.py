"""The arms of a study: what each training set is made of, at equal counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

REAL = "real"
MIXED = "real + synthetic"
SYNTHETIC = "synthetic"
DUPLICATED = "real + duplicated real"
CLASSICAL = "real + classical augmentation"
ARMS = (REAL, MIXED, SYNTHETIC, DUPLICATED, CLASSICAL)

Images = NDArray[np.uint8]
Classes = NDArray[np.int64]
Maker = Callable[[Classes], Images]  # so many synthetic images of these classes


@dataclass(frozen=True)
class TrainingSet:
    """What one classifier learns from."""

    images: Images  # [N, H, W, C]
    classes: Classes
    changed: NDArray[np.bool_]  # [N], which are changed anew each time they are shown
    real: int  # how many are reals, copies too
    synthetic: int  # how many are synthetic


def training_set(
    arm: str, ratio: float, images: Images, classes: Classes, make: Maker, seed: int
) -> TrainingSet:
    """Return what an arm learns from: the reals, and ``ratio`` times as many more.

    Every arm but the reals alone has the same number of images, and the classes in
    the shares that the reals have them in. ``make`` gives synthetic images of classes [n].
    """
    more = max(1, round(ratio * len(images)))
    none = np.zeros(len(images), bool)
    if arm == REAL:
        return TrainingSet(images, classes, none, len(images), 0)
    if arm == SYNTHETIC:
        wanted = spread_classes(classes, len(images) + more)
        made = make(wanted)
        return TrainingSet(made, wanted, np.zeros(len(wanted), bool), 0, len(wanted))
    wanted = spread_classes(classes, more)
    if arm == MIXED:
        added, real = make(wanted), len(images)
    else:
        added, real = images[_copied(classes, wanted, seed)], len(images) + more
    changed = np.full(more, arm == CLASSICAL)
    return TrainingSet(
        np.concatenate([images, added]),
        np.concatenate([classes, wanted]),
        np.concatenate([none, changed]),
        real,
        len(images) + more - real,
    )


def spread_classes(classes: Classes, count: int) -> Classes:
    """Return ``count`` classes in the reals' shares, so mixed that each beginning has them too.

    Examples
    --------
    >>> spread_classes(np.array([0, 0, 1]), 6).tolist()
    [0, 1, 0, 0, 1, 0]
    """
    totals = np.bincount(classes)
    # Each class takes the places that its images would have, evenly spaced, on a line.
    places = np.concatenate(
        [(np.arange(n * count) + 0.5) / n for n in totals if n] or [np.zeros(0)]
    )
    own = np.concatenate([np.full(n * count, k) for k, n in enumerate(totals) if n])
    return own[np.argsort(places, kind="stable")][:count].astype(np.int64)


def _copied(classes: Classes, wanted: Classes, seed: int) -> NDArray[np.int64]:
    """Return which reals are copied: of each class all of them in turn, in drawn order."""
    random = np.random.default_rng(seed)
    rows = np.zeros(len(wanted), np.int64)
    for one in np.unique(wanted):
        own = random.permutation(np.flatnonzero(classes == one))
        rows[wanted == one] = np.resize(own, int((wanted == one).sum()))
    return rows
