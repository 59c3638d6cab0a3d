"""From which likeness on a pair counts as a copy: found in the very images at hand.

Two sets of likenesses say it. Real images against the training images, none of them a copy:
held-out ones, or each training image against all others. And controls: copies made on purpose,
changed as copies may be. The threshold lies between the two. One half of the images sets
it; how often it is wrong on either side is measured on the other half, and reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.memorisation import tuning
from medgan_widgets.memorisation.alignment import matrices
from medgan_widgets.memorisation.matching import Matcher
from medgan_widgets.memorisation.pixels import Floats, flipped, is_flat, small_greys
from medgan_widgets.memorisation.tuning import ENOUGH_HELD_OUT, FEWEST, SHIFT, TURN

CHANGES = ("noisy", "cropped", "of other contrast", "flipped", "shifted", "turned")
KERNELS = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_WRAP)


@dataclass(frozen=True)
class Calibration:
    """A threshold, and what it is worth: all but ``source`` is measured on the second half."""

    threshold: float  # likeness above which a pair counts as a copy, -1 … 1
    source: str  # what it was found with, in words
    asked: int  # real images that were looked up and are no near duplicates
    false_alarm_rate: float  # share of those above the threshold, 0 … 1
    # How many more there were, as like another training image as copies are: they are not
    # counted as false alarms. Held-out images are never left out like that.
    near_duplicates: int
    planted: int  # copies made on purpose
    sensitivity: float  # share of those above it that led to their training image or its double
    found: dict[str, tuple[int, int]]  # kind of change -> how many were found, and of how many
    doubled: float  # share of training images as like another one as copies are
    apart: bool  # whether real images and copies can be told apart well

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Reals:
    """Likenesses of real images to their nearest training image, as Fisher's z."""

    z: NDArray[np.float64]
    late: NDArray[np.bool_]  # which are of the half that judges the threshold


@dataclass(frozen=True, eq=False)
class _Controls:
    """Likenesses of copies made on purpose; the first half sets the threshold."""

    z: NDArray[np.float64]
    doubles: Floats  # how alike the image it was made of and the one it led to are; 1 for itself
    changes: NDArray[np.intp]  # in `CHANGES`


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
    groups, held_groups
        A number for each training and held-out image; those of one number belong together, a
        patient for instance: they are not compared with each other, nor are equal images, and
        all are in the same half.
    seed
        Draws which images are looked up, and the changes of the controls.

    Raises
    ------
    DataError
        When these images cannot say what is alike by chance: none shows anything, or too
        few have others to be compared with and there are too few held-out ones.
    """
    random = np.random.default_rng(seed)
    telling = np.flatnonzero(~is_flat(matcher.images.astype(np.float32)))
    if not len(telling):
        raise DataError("no training image shows anything: each is of one grey level")
    _, equal = np.unique(
        matcher.images.reshape(len(matcher.images), -1), axis=0, return_inverse=True
    )
    equal = equal.ravel()
    related = [equal] if groups is None else [equal, groups]
    compared = _n_unrelated(related)[telling]
    useful = telling[compared >= tuning.OTHERS * len(matcher.images)]
    enough = len(useful) >= FEWEST
    if not enough and (held_out is None or len(held_out) < ENOUGH_HELD_OUT):
        raise DataError(
            f"too few training images ({len(useful)}) have images enough of other groups to be "
            f"compared with: {FEWEST} are needed, or {ENOUGH_HELD_OUT} held-out images"
        )
    usable = useful if enough else telling
    late = np.zeros(len(matcher.images), np.bool_)
    late[usable] = _second_half(related[-1][usable], random)

    # Training images against all that are not related to them.
    rows = np.sort(random.choice(useful, min(len(useful), tuning.REALS), replace=False))
    likeness = np.zeros(len(rows), np.float32)
    for part in _parts(rows):
        some = rows[part]
        without = np.logical_or.reduce([one == one[some][:, None] for one in related])
        images = matcher.images[some].astype(np.float32)
        likeness[part] = matcher.nearest(images, without).likeness
        yield None
    own = _Reals(_z(likeness), late[rows])
    equals = np.bincount(equal)[equal][rows] > 1

    # Held-out images against the training images.
    n_held = 0 if held_out is None else len(held_out)
    held_late = _second_half(np.arange(n_held) if held_groups is None else held_groups, random)
    chosen = np.sort(random.choice(np.arange(n_held), min(n_held, tuning.REALS), replace=False))
    likeness = np.zeros(len(chosen), np.float32)
    for part in _parts(chosen):
        assert held_out is not None
        likeness[part] = matcher.nearest(held_out[chosen[part]]).likeness
        yield None
    held = _Reals(_z(likeness), held_late[chosen])

    # Controls of either half.
    halves = (usable[~late[usable]], usable[late[usable]])
    sources = np.concatenate([random.choice(half, tuning.CONTROLS // 2) for half in halves])
    changes = np.resize(np.arange(len(CHANGES)), tuning.CONTROLS)
    likeness, doubles = np.zeros((2, len(sources)), np.float32)
    for part in _parts(sources):
        some = sources[part]
        copies = small_greys(_changed(originals[some], changes[part], random))
        nearest = matcher.nearest(copies)
        likeness[part] = nearest.likeness
        alike = matcher.pairs(some, nearest.rows)
        doubles[part] = np.where(nearest.rows == some, 1, alike)
        yield None
    yield _calibration(own, held, _Controls(_z(likeness), doubles, changes), equals)


def _parts(rows: NDArray[np.intp]) -> Iterator[slice]:
    for start in range(0, len(rows), tuning.AT_ONCE):
        yield slice(start, start + tuning.AT_ONCE)


def _n_unrelated(related: list[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return how many images each is compared with: those that share neither number, [N]."""
    count = len(related[0])
    sizes = [np.bincount(numbers)[numbers] for numbers in related]
    if len(related) == 1:
        return np.asarray(count - sizes[0])
    _, both = np.unique(np.stack(related), axis=1, return_inverse=True)
    return np.asarray(count - (sizes[0] + sizes[1] - np.bincount(both.ravel())[both.ravel()]))


def _second_half(numbers: NDArray[np.intp], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return which images are of the second half, all of one number together where they are two."""
    _, numbers, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        numbers, sizes = np.arange(len(numbers)), np.ones(len(numbers), np.intp)
    order = random.permutation(len(sizes))
    late = np.empty(len(sizes), np.bool_)
    late[order] = np.cumsum(sizes[order]) - sizes[order] / 2 > len(numbers) / 2
    return late[numbers]


def _calibration(
    own: _Reals, held: _Reals, controls: _Controls, equals: NDArray[np.bool_]
) -> Calibration:
    """Return a threshold between what real images are like and what copies are like.

    ``equals`` are those of the training images looked up that have an equal one.
    """
    by_held_out = len(held.z) >= ENOUGH_HELD_OUT
    reals = held if by_held_out else own
    half = len(controls.z) // 2
    # The least alike of the copies that led to their image, or to a near duplicate of it.
    right = controls.z[:half][controls.doubles[:half] > tuning.NEAR_DUPLICATE]
    top = float(np.quantile(right, 0.01)) if len(right) else 0.0
    cut, most, apart = _cut(reals.z[~reals.late], top)
    counted = reals.z[reals.late]
    if not by_held_out and apart:  # as alike as copies are: near duplicates
        counted = counted[counted <= max(cut, most)]
    to_itself_or_double = (controls.doubles == 1) | (_z(controls.doubles) > cut)
    found = ((controls.z > cut) & to_itself_or_double)[half:]
    changes = controls.changes[half:]
    n_setting = (~reals.late).sum()
    source = (
        f"{n_setting:,} held-out images against the training images"
        if by_held_out
        else f"{n_setting:,} training images, each against all others"
    )
    return Calibration(
        threshold=float(np.tanh(cut)),
        source=f"{source}, and {half:,} copies made on purpose",
        asked=len(counted),
        false_alarm_rate=float((counted > cut).mean()) if len(counted) else 0.0,
        near_duplicates=int(reals.late.sum()) - len(counted),
        planted=len(found),
        sensitivity=float(found.mean()),
        found={
            name: (int(found[changes == kind].sum()), int((changes == kind).sum()))
            for kind, name in enumerate(CHANGES)
        },
        doubled=float(((own.z > cut) & apart | equals).mean()) if len(equals) else 0.0,
        apart=apart,
    )


def _cut(reals: NDArray[np.float64], top: float) -> tuple[float, float, bool]:
    """Return the threshold, the highest it may be, and whether it tells copies from others.

    ``reals`` and ``top`` are Fisher's z: of real images, and of nearly the least alike copies.
    """
    # What is nearly as near as a copy is a near duplicate; it is no rule for the others.
    nearly = top - 2 * tuning.MARGIN * (top - np.median(reals))
    usual = reals[reals < nearly] if (reals < nearly).any() else reals
    middle, low, high = np.quantile(usual, [0.5, 0.16, 0.99])
    spread = middle - low  # from the lower half: the upper one has a tail of its own
    high = max(middle + tuning.TAIL * spread, high)
    most = top - tuning.MARGIN * (top - middle)
    cut = min(high + tuning.UPWARDS * max(top - high, 0), most)
    if cut >= middle + 2 * spread and cut >= np.quantile(usual, 0.98):
        return float(cut), float(most), True
    # Nor can near duplicates be told from what is alike.
    return float(np.quantile(reals, tuning.RARELY)), float(most), False


def _changed(
    images: NDArray[np.uint8], changes: NDArray[np.intp], random: np.random.Generator
) -> NDArray[np.uint8]:
    """Return images [n, H, W, C] with one of `CHANGES` each; a flipped one has one more."""
    changed = images.copy()
    for index, image in enumerate(changed.astype(np.float32)):
        kind = CHANGES[changes[index]]
        if kind == "flipped":
            image = flipped(image[None], int(random.integers(1, 4)))[0]
            kind = CHANGES[random.integers(2)]
        if kind == "of other contrast":
            image = 255 * (image / 255) ** random.choice(tuning.GAMMAS)
        elif kind == "noisy":
            image = image + random.normal(0, tuning.NOISE, image.shape)
        else:
            image = _moved(image, kind, random)
        changed[index] = np.rint(np.clip(image, 0, 255))
    return changed


def _moved(image: Floats, kind: str, random: np.random.Generator) -> Floats:
    """Return a part of an image [H, W, C], enlarged, shifted or turned as programs may do it."""
    height, width = image.shape[:2]
    side, turn, border = 1.0, 0.0, BORDERS[random.integers(len(BORDERS))]
    top, left = random.uniform(-SHIFT, SHIFT, 2)
    # By half pixels, too.
    top, left = np.trunc(2 * top * height) / 2 / height, np.trunc(2 * left * width) / 2 / width
    if kind == "turned":
        top = left = 0.0
        turn = random.uniform(-TURN, TURN)
    if kind == "cropped":
        side, border = random.uniform(tuning.SMALLEST_CROP, 1), cv2.BORDER_REPLICATE
        top, left = random.uniform(0, 1 - side, 2)
    pose = np.array([[top, side, left, side, turn]], np.float32)
    matrix = matrices(pose, (height, width), width / height)[0]
    kernel = KERNELS[random.integers(len(KERNELS))] | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (width, height), flags=kernel, borderMode=border
    )
    return np.asarray(moved, np.float32).reshape(image.shape)


def _z(likeness: Floats) -> NDArray[np.float64]:
    """Return Fisher's z, in which likenesses near 1 stand apart."""
    most = tuning.MOST_LIKE
    return np.asarray(np.arctanh(np.clip(likeness.astype(np.float64), -most, most)))
