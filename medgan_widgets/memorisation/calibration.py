"""From which likeness on a pair counts as a copy: found in the very images at hand.

Two sets of likenesses say it. Real images against the training images, none of them a copy:
held-out ones, or each training image against all others. And copies planted on purpose,
changed as copies may be. The threshold lies between the two; how often it is wrong on
either side is measured and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.memorisation.matching import AT_ONCE, Matcher
from medgan_widgets.memorisation.pixels import SIDE, Floats, flipped, sampling

ASKED = 320  # real images that are looked up, at most
PLANTED = 192  # copies made on purpose
ENOUGH_HELD_OUT = 50
NOISE = 5.0  # grey levels
SMALLEST_CROP = 0.8  # of the side
GAMMAS = (0.8, 1.25)
TAIL = 3.5  # standard deviations above the middle of what real images are like
UPWARDS = 0.25  # of the way from real images to copies, where there is a gap
RARELY = 0.985  # share of real images below the threshold where there is none
# Likenesses are compared as Fisher's z; this one stands for identical images.
MOST = 0.99999


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it is worth.

    Attributes
    ----------
    threshold
        Likeness above which a pair counts as a copy, -1 … 1.
    source
        What it was found with, in words.
    asked
        How many real images were looked up.
    false_alarm_rate
        Share of those above the threshold: 0 … 1, training images that have a double left out.
    sensitivity
        Share of copies made on purpose that were above it and led to their training image.
    doubled
        Share of the training images looked up that have a near duplicate among the others.
    apart
        Whether real images and copies can be told apart well.
    """

    threshold: float
    source: str
    asked: int
    false_alarm_rate: float
    sensitivity: float
    doubled: float
    apart: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def iter_calibrate(
    matcher: Matcher,
    held_out: Floats | None = None,
    groups: NDArray[np.intp] | None = None,
    seed: int = 0,
) -> Iterator[Calibration | None]:
    """Yield None after each few images that were looked up, and the calibration last.

    Parameters
    ----------
    matcher
        The training images.
    held_out
        Real images of others, [M, 64, 64].
    groups
        A number for each training image; those of one number belong together, a patient for
        instance, and are not compared with each other.
    seed
        Draws which images are looked up, and the changes of the planted copies.
    """
    random = np.random.default_rng(seed)
    known = len(matcher.images)
    rows = np.sort(random.choice(known, min(known, ASKED), replace=False))
    own: list[Floats] = []
    for some in _few(rows):
        images = matcher.images[some].astype(np.float32)
        own.append(matcher.nearest(images, _themselves(some, groups, known)).likeness)
        yield None
    others: list[Floats] = []
    if held_out is not None and len(held_out):
        chosen = random.choice(len(held_out), min(len(held_out), ASKED), replace=False)
        for some in _few(np.sort(chosen)):
            others.append(matcher.nearest(held_out[some]).likeness)
            yield None
    sources = random.choice(known, PLANTED, replace=known < PLANTED)
    copies, found = [], []
    for some in _few(sources):
        nearest = matcher.nearest(_planted(matcher.images[some].astype(np.float32), random))
        copies.append(nearest.likeness)
        found.append(nearest.rows == some)
        yield None
    held = np.concatenate(others) if others else np.zeros(0, np.float32)
    yield _threshold(np.concatenate(own), held, np.concatenate(copies), np.concatenate(found))


def _few(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _themselves(
    rows: NDArray[np.intp], groups: NDArray[np.intp] | None, known: int
) -> NDArray[np.bool_]:
    """Return for each image which training images do not count, [n, N]."""
    if groups is None:
        groups = np.arange(known)
    return np.asarray(groups == groups[rows][:, None], np.bool_)


def _threshold(
    own: Floats, held_out: Floats, copies: Floats, found: NDArray[np.bool_]
) -> Calibration:
    """Return a threshold between what real images are like and what copies are like."""
    judging = len(held_out) >= ENOUGH_HELD_OUT
    real = _z(held_out if judging else own)
    planted = _z(copies[found]) if found.any() else _z(np.full(1, 0.9, np.float32))
    middle, low = np.quantile(real, [0.5, 0.16])
    # From the lower half: doubles among the training images stand above, and are no rule.
    bulk = middle + TAIL * (middle - low)
    top = float(np.quantile(planted, 0.01))
    apart = bool(bulk < top)
    if apart:
        usual = real[real < top]
        high = max(bulk, float(np.quantile(usual, 0.99)))
        cut = min(high + UPWARDS * max(top - high, 0), top)
    else:
        cut = float(np.quantile(real, RARELY))
    threshold = float(np.tanh(cut))
    doubled = 0.0 if not apart else float((_z(own) > cut).mean())
    counted = real if judging or not apart else real[real <= cut]
    words = (
        f"{len(held_out):,} held-out images against the training images"
        if judging
        else f"{len(own):,} training images, each against all others"
    )
    return Calibration(
        threshold=threshold,
        source=f"{words}, and {len(copies):,} copies made on purpose",
        asked=len(real),
        false_alarm_rate=float((counted > cut).mean()) if len(counted) else 0.0,
        sensitivity=float(((_z(copies) > cut) & found).mean()),
        doubled=doubled,
        apart=apart,
    )


def _planted(images: Floats, random: np.random.Generator) -> Floats:
    """Return images with one change each, or two, as copies may have them."""
    changed = images.copy()
    for place, image in enumerate(images):
        kind = place % 6
        if kind in (1, 5):
            image = _cropped(image, random)
        if kind in (2, 3):
            image = 255 * (image / 255) ** GAMMAS[kind - 2]
        if kind in (4, 5):
            image = flipped(image[None], int(random.integers(1, 4)))[0]
        if kind in (0, 4):
            image = image + random.normal(0, NOISE, image.shape)
        changed[place] = np.rint(np.clip(image, 0, 255))
    return changed


def _cropped(image: Floats, random: np.random.Generator) -> Floats:
    side = random.uniform(SMALLEST_CROP, 1)
    top, left = random.uniform(0, 1 - side, 2)
    enlarged = sampling(top, side, SIDE, SIDE) @ image @ sampling(left, side, SIDE, SIDE).T
    return np.asarray(enlarged, np.float32)


def _z(likeness: Floats) -> NDArray[np.float64]:
    return np.asarray(np.arctanh(np.clip(likeness.astype(np.float64), -MOST, MOST)))
