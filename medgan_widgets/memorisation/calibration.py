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
from PIL import Image

from medgan_widgets.errors import DataError
from medgan_widgets.memorisation.individual import is_flat
from medgan_widgets.memorisation.matching import AT_ONCE, Matcher
from medgan_widgets.memorisation.pixels import Floats, flipped, small_greys

ASKED = 320  # real images that are looked up, at most
PLANTED = 192  # copies made on purpose
ENOUGH_HELD_OUT = 50
FEWEST = 10  # training images: with fewer, nobody can say what is alike by chance
OTHERS = 0.25  # of all: an image is compared with that many at least, or not looked up
NOISE = 5.0  # grey levels
SMALLEST_CROP = 0.8  # of the side
GAMMAS = (0.8, 1.25)
TAIL = 3.0  # standard deviations above the middle of what real images are like
UPWARDS = 0.25  # of the way from real images to copies, where there is a gap
MARGIN = 0.1  # of the way from copies to the middle of real images: some will be less alike
TWIN = 0.9  # likeness of two training images either of which a copy may lead to
RARELY = 0.985  # share of real images below the threshold where there is none
KERNELS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
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
        How many real images were looked up; without held-out ones those that are as like
        another one as copies are do not count here.
    false_alarm_rate
        Share of those above the threshold, 0 … 1.
    planted
        How many copies were made on purpose.
    sensitivity
        Share of those that were above it and led to their training image, or its double.
    doubled
        Share of the training images looked up that are as like another one as copies are.
    apart
        Whether real images and copies can be told apart well.
    """

    threshold: float
    source: str
    asked: int
    false_alarm_rate: float
    planted: int
    sensitivity: float
    doubled: float
    apart: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


def iter_calibrate(
    matcher: Matcher,
    originals: NDArray[np.uint8],
    held_out: Floats | None = None,
    groups: NDArray[np.intp] | None = None,
    seed: int = 0,
) -> Iterator[Calibration | None]:
    """Yield None after each few images that were looked up, and the calibration last.

    Parameters
    ----------
    matcher
        The training images.
    originals
        The same in full size and colour, which copies are made from: uint8 [N, H, W, C].
    held_out
        Real images of others, [M, 64, 64].
    groups
        A number for each training image; those of one number belong together, a patient for
        instance, and are not compared with each other. Nor are equal images.
    seed
        Draws which images are looked up, and the changes of the planted copies.

    Raises
    ------
    DataError
        When these images cannot say what is alike by chance: none shows anything, or too
        few have others to be compared with and there are too few held-out ones.
    """
    random = np.random.default_rng(seed)
    told = np.flatnonzero(~is_flat(matcher.images.astype(np.float32)))
    if not len(told):
        raise DataError("no training image shows anything: each is of one grey level")
    apart = _apart(matcher.images, groups)
    useful = told[_others(apart)[told] >= OTHERS * len(matcher.images)]
    if len(useful) < FEWEST and (held_out is None or len(held_out) < ENOUGH_HELD_OUT):
        raise DataError(
            f"too few training images ({len(useful)}) have images enough of other groups to be "
            f"compared with: {FEWEST} are needed, or {ENOUGH_HELD_OUT} held-out images"
        )
    rows = np.sort(random.choice(useful, min(len(useful), ASKED), replace=False))
    own: list[Floats] = [np.zeros(0, np.float32)]
    for some in _few(rows):
        images = matcher.images[some].astype(np.float32)
        own.append(matcher.nearest(images, _themselves(some, apart)).likeness)
        yield None
    others: list[Floats] = []
    if held_out is not None and len(held_out):
        chosen = random.choice(len(held_out), min(len(held_out), ASKED), replace=False)
        for some in _few(np.sort(chosen)):
            others.append(matcher.nearest(held_out[some]).likeness)
            yield None
    sources = random.choice(told, PLANTED, replace=len(told) < PLANTED)
    copies, doubles = [], []
    for some in _few(sources):
        nearest = matcher.nearest(small_greys(_planted(originals[some], random)))
        copies.append(nearest.likeness)
        alike = matcher.pairs(some, nearest.rows)
        alike[nearest.rows == some] = 1
        doubles.append(alike)
        yield None
    held = np.concatenate(others) if others else np.zeros(0, np.float32)
    twins = np.bincount(apart[0])[apart[0]][rows] > 1
    yield _threshold(
        np.concatenate(own), held, np.concatenate(copies), np.concatenate(doubles), twins
    )


def _few(rows: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(rows), AT_ONCE):
        yield rows[start : start + AT_ONCE]


def _apart(
    images: NDArray[np.uint8], groups: NDArray[np.intp] | None
) -> tuple[NDArray[np.intp], ...]:
    """Return numbers for the images, [N] each: those that share one are not compared."""
    _, equal = np.unique(images.reshape(len(images), -1), axis=0, return_inverse=True)
    return (equal.ravel(),) if groups is None else (equal.ravel(), groups)


def _others(apart: tuple[NDArray[np.intp], ...]) -> NDArray[np.intp]:
    """Return how many images each is compared with, [N]."""
    both = np.stack(apart)
    _, pairs = np.unique(both, axis=1, return_inverse=True)
    sizes = [np.bincount(numbers)[numbers] for numbers in (*apart, pairs.ravel())]
    shared = sizes[0] if len(apart) == 1 else sizes[0] + sizes[1] - sizes[2]
    return np.asarray(both.shape[1] - shared)


def _themselves(rows: NDArray[np.intp], apart: tuple[NDArray[np.intp], ...]) -> NDArray[np.bool_]:
    """Return for each image which training images do not count, [n, N]."""
    same = [numbers == numbers[rows][:, None] for numbers in apart]
    return np.asarray(np.logical_or.reduce(same), np.bool_)


def _threshold(
    own: Floats, held_out: Floats, copies: Floats, doubles: Floats, twins: NDArray[np.bool_]
) -> Calibration:
    """Return a threshold between what real images are like and what copies are like.

    Parameters
    ----------
    own, held_out
        Likeness of real images to the nearest other image, [n] and [m].
    copies
        The same of planted copies, [p].
    doubles
        How alike the image they were made of and the one they led to are: 1 for itself, [p].
    twins
        Which of the training images looked up have an equal one, [n].
    """
    judging = len(held_out) >= ENOUGH_HELD_OUT
    real, planted = _z(held_out if judging else own), _z(copies)
    led = planted[doubles > TWIN]
    top = float(np.quantile(led, 0.01)) if len(led) else 0.0
    # What is nearly as near as a copy is a double; it is no rule for the others.
    nearly = top - 2 * MARGIN * (top - np.median(real))
    usual = real[real < nearly] if (real < nearly).any() else real
    middle, low, high = np.quantile(usual, [0.5, 0.16, 0.99])
    spread = middle - low  # from the lower half: the upper one has a tail of its own
    high = max(middle + TAIL * spread, high)
    most = top - MARGIN * (top - middle)
    cut = min(high + UPWARDS * max(top - high, 0), most)
    apart = bool(cut >= middle + 2 * spread and cut >= np.quantile(usual, 0.98))
    if not apart:
        cut = float(np.quantile(real, RARELY))  # nor can doubles be told from what is alike
    counted = real if judging or not apart else real[real <= max(cut, most)]
    words = (
        f"{len(held_out):,} held-out images against the training images"
        if judging
        else f"{len(own):,} training images, each against all others"
    )
    return Calibration(
        threshold=float(np.tanh(cut)),
        source=f"{words}, and {len(copies):,} copies made on purpose",
        asked=len(counted),
        false_alarm_rate=float((counted > cut).mean()) if len(counted) else 0.0,
        planted=len(copies),
        sensitivity=float(((planted > cut) & ((doubles == 1) | (_z(doubles) > cut))).mean()),
        doubled=float(((_z(own) > cut) & apart | twins).mean()) if len(twins) else 0.0,
        apart=apart,
    )


def _planted(images: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return images [n, H, W, C] with one change each, or two, as copies may have them."""
    changed = images.copy()
    for place, image in enumerate(changed.astype(np.float32)):
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
    """Return a part of an image [H, W, C], enlarged as somebody's program may do it."""
    height, width, channels = image.shape
    side = random.uniform(SMALLEST_CROP, 1)
    top, left = random.uniform(0, 1 - side, 2) * (height, width)
    box = (left, top, left + side * width, top + side * height)
    kernel = KERNELS[random.integers(len(KERNELS))]
    parts = [Image.fromarray(image[..., one]) for one in range(channels)]
    enlarged = [np.asarray(part.resize((width, height), kernel, box)) for part in parts]
    return np.stack(enlarged, axis=-1)


def _z(likeness: Floats) -> NDArray[np.float64]:
    return np.asarray(np.arctanh(np.clip(likeness.astype(np.float64), -MOST, MOST)))
