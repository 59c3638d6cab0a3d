"""From which likeness on a pair counts as a copy: found in the very images at hand.

Two sets of likenesses say it. Real images against the training images, none of them a copy:
held-out ones, or each training image against all others. And copies planted on purpose,
changed as copies may be. The threshold lies between the two. One half of the images sets
it; how often it is wrong on either side is measured on the other half, and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.memorisation.alignment import matrices
from medgan_widgets.memorisation.individual import is_flat
from medgan_widgets.memorisation.matching import AT_ONCE, Matcher
from medgan_widgets.memorisation.pixels import Floats, flipped, small_greys
from medgan_widgets.memorisation.search import SHIFT, TURN

ASKED = 320  # real images that are looked up, at most
CHANGES = ("noisy", "cropped", "of other contrast", "flipped", "shifted", "turned")
PLANTED = 48 * len(CHANGES)  # copies made on purpose
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
KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_WRAP)
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
        How many real images of the second half were looked up and are no near duplicates.
    false_alarm_rate
        Share of those above the threshold, 0 … 1.
    near_duplicates
        How many more there were, as like another training image as copies are: they are
        not counted as false alarms. Held-out images are never left out like that.
    planted
        How many copies were made on purpose of images of the second half.
    sensitivity
        Share of those that were above it and led to their training image, or its double.
    found
        For each kind of change: how many of these copies were found, and of how many.
    doubled
        Share of all training images looked up that are as like another one as copies are.
    apart
        Whether real images and copies can be told apart well.
    """

    threshold: float
    source: str
    asked: int
    false_alarm_rate: float
    near_duplicates: int
    planted: int
    sensitivity: float
    found: dict[str, tuple[int, int]]
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
    held_groups: NDArray[np.intp] | None = None,
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
        instance, and are not compared with each other. Nor are equal images. All of one
        number are in the same half.
    held_groups
        The same for the held-out images, which are told into halves by them.
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
    enough = len(useful) >= FEWEST
    if not enough and (held_out is None or len(held_out) < ENOUGH_HELD_OUT):
        raise DataError(
            f"too few training images ({len(useful)}) have images enough of other groups to be "
            f"compared with: {FEWEST} are needed, or {ENOUGH_HELD_OUT} held-out images"
        )
    known = useful if enough else told
    late = np.zeros(len(matcher.images), np.bool_)
    late[known] = _second_half(apart[-1][known], random)
    rows = np.sort(random.choice(useful, min(len(useful), ASKED), replace=False))
    own: list[Floats] = [np.zeros(0, np.float32)]
    for some in _few(rows):
        images = matcher.images[some].astype(np.float32)
        own.append(matcher.nearest(images, _themselves(some, apart)).likeness)
        yield None
    held: list[Floats] = [np.zeros(0, np.float32)]
    chosen = np.arange(0 if held_out is None else len(held_out))
    held_late = _second_half(chosen if held_groups is None else held_groups, random)
    chosen = np.sort(random.choice(chosen, min(len(chosen), ASKED), replace=False))
    for some in _few(chosen):
        assert held_out is not None
        held.append(matcher.nearest(held_out[some]).likeness)
        yield None
    halves = (known[~late[known]], known[late[known]])
    sources = np.concatenate([random.choice(half, PLANTED // 2) for half in halves])
    changes = np.resize(np.arange(len(CHANGES)), PLANTED)
    copies, doubles = [], []
    for places in _few(np.arange(PLANTED)):
        some = sources[places]
        nearest = matcher.nearest(small_greys(_planted(originals[some], changes[places], random)))
        copies.append(nearest.likeness)
        alike = matcher.pairs(some, nearest.rows)
        alike[nearest.rows == some] = 1
        doubles.append(alike)
        yield None
    planted, led = np.concatenate(copies), np.concatenate(doubles)
    twins = np.bincount(apart[0])[apart[0]][rows] > 1
    mine, others = (np.concatenate(own), late[rows]), (np.concatenate(held), held_late[chosen])
    yield _threshold(mine, others, planted, led, changes, twins)


def _second_half(numbers: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which images are of the second half, all of one number together where they are two."""
    _, numbers, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        numbers, sizes = np.arange(len(numbers)), np.ones(len(numbers), np.intp)
    order = random.permutation(len(sizes))
    late = np.empty(len(sizes), np.bool_)
    late[order] = np.cumsum(sizes[order]) - sizes[order] / 2 > len(numbers) / 2
    return late[numbers]


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
    own: tuple[Floats, NDArray[np.bool_]],
    held_out: tuple[Floats, NDArray[np.bool_]],
    copies: Floats,
    doubles: Floats,
    changes: NDArray[np.intp],
    twins: NDArray[np.bool_],
) -> Calibration:
    """Return a threshold between what real images are like and what copies are like.

    Parameters
    ----------
    own, held_out
        Likeness of real images to the nearest other image, and which are of the second half.
    copies
        Likeness of planted copies, the first half first, [p].
    doubles
        How alike the image they were made of and the one they led to are: 1 for itself, [p].
    changes
        Places in `CHANGES`, [p].
    twins
        Which of the training images looked up have an equal one, [n].
    """
    judging = len(held_out[0]) >= ENOUGH_HELD_OUT
    likeness, late = held_out if judging else own
    real, planted, half = _z(likeness), _z(copies), len(copies) // 2
    led = planted[:half][doubles[:half] > TWIN]
    cut, most, apart = _cut(real[~late], float(np.quantile(led, 0.01)) if len(led) else 0.0)
    counted = real[late]
    if not judging and apart:  # as alike as copies are: near duplicates
        counted = counted[counted <= max(cut, most)]
    found = ((planted > cut) & ((doubles == 1) | (_z(doubles) > cut)))[half:]
    words = (
        f"{(~late).sum():,} held-out images against the training images"
        if judging
        else f"{(~late).sum():,} training images, each against all others"
    )
    mine = _z(own[0])
    return Calibration(
        threshold=float(np.tanh(cut)),
        source=f"{words}, and {half:,} copies made on purpose",
        asked=len(counted),
        false_alarm_rate=float((counted > cut).mean()) if len(counted) else 0.0,
        near_duplicates=int(late.sum()) - len(counted),
        planted=len(found),
        sensitivity=float(found.mean()),
        found={
            name: (int(found[changes[half:] == kind].sum()), int((changes[half:] == kind).sum()))
            for kind, name in enumerate(CHANGES)
        },
        doubled=float(((mine > cut) & apart | twins).mean()) if len(twins) else 0.0,
        apart=apart,
    )


def _cut(real: NDArray[np.float64], top: float) -> tuple[float, float, bool]:
    """Return the threshold, the highest it may be, and whether it tells copies from others.

    ``real`` and ``top`` are Fisher's z: of real images, and of nearly the least alike copies.
    """
    # What is nearly as near as a copy is a double; it is no rule for the others.
    nearly = top - 2 * MARGIN * (top - np.median(real))
    usual = real[real < nearly] if (real < nearly).any() else real
    middle, low, high = np.quantile(usual, [0.5, 0.16, 0.99])
    spread = middle - low  # from the lower half: the upper one has a tail of its own
    high = max(middle + TAIL * spread, high)
    most = top - MARGIN * (top - middle)
    cut = min(high + UPWARDS * max(top - high, 0), most)
    if cut >= middle + 2 * spread and cut >= np.quantile(usual, 0.98):
        return float(cut), float(most), True
    # Nor can doubles be told from what is alike.
    return float(np.quantile(real, RARELY)), float(most), False


def _planted(
    images: NDArray[np.uint8], changes: NDArray[np.intp], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return images [n, H, W, C] with one of `CHANGES` each; a flipped one has one more."""
    changed = images.copy()
    for place, image in enumerate(changed.astype(np.float32)):
        kind = CHANGES[changes[place]]
        if kind == "flipped":
            image = flipped(image[None], int(random.integers(1, 4)))[0]
            kind = CHANGES[random.integers(2)]
        if kind == "of other contrast":
            image = 255 * (image / 255) ** random.choice(GAMMAS)
        elif kind == "noisy":
            image = image + random.normal(0, NOISE, image.shape)
        else:
            image = _moved(image, kind, random)
        changed[place] = np.rint(np.clip(image, 0, 255))
    return changed


def _moved(image: Floats, kind: str, random: np.random.Generator) -> Floats:
    """Return a part of an image [H, W, C], enlarged, shifted or turned as programs may do it."""
    height, width = image.shape[:2]
    side, turn, border = 1.0, 0.0, BORDERS[random.integers(len(BORDERS))]
    top, left = random.uniform(-SHIFT, SHIFT, 2)
    top, left = np.trunc(2 * top * height) / 2 / height, np.trunc(2 * left * width) / 2 / width
    if kind == "turned":
        top = left = 0.0
        turn = random.uniform(-TURN, TURN)
    if kind == "cropped":
        side, border = random.uniform(SMALLEST_CROP, 1), cv2.BORDER_REPLICATE
        top, left = random.uniform(0, 1 - side, 2)
    pose = np.array([[top, side, left, side, turn]], np.float32)
    matrix = matrices(pose, (height, width), width / height)[0]
    kernel = KERNELS[random.integers(len(KERNELS))] | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (width, height), flags=kernel, borderMode=border
    )
    return np.asarray(moved, np.float32).reshape(image.shape)


def _z(likeness: Floats) -> NDArray[np.float64]:
    return np.asarray(np.arctanh(np.clip(likeness.astype(np.float64), -MOST, MOST)))
