"""Two stacks of images made alike: same size, same depth, same colours.

What a reader could tell apart without looking at the content (a size, a bit depth,
a tint) says nothing about the images, so it is taken away or refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import mannwhitneyu

from medgan_widgets.datasets import Preprocessing, TrainingImages, read_images
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.errors import DataError
from medgan_widgets.images import as_pil, checked_pixels, to_levels, top_of
from medgan_widgets.phantoms import LARGEST, SMALLEST, draw_phantoms

PHANTOM_SIZE = 128
FIRST_PHANTOM = 2**40  # seeds that no training drew from
GIVEAWAY = 0.9  # of pairs told apart by one number of the pixels alone
ENOUGH = 8  # images a side, below which that share means little


@dataclass(frozen=True, eq=False)
class Side:
    """The images of one side, real or synthetic: uint8 or uint16 [N, H, W, C]."""

    name: str
    images: NDArray[Any]
    words: str  # where they come from
    phantom: bool
    resampled: bool = False  # whether any had another size in its file …
    enlarged: bool = False  # … and whether any was smaller there
    read: str = ""  # what files have and were brought to, where that differs

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def depth(self) -> int:
        """Channels."""
        return int(self.images.shape[3])


def side_of(
    given: Any,
    name: str,
    *,
    size: int | None,
    words: str,
    phantom: bool | None,
    like: Preprocessing | None = None,
) -> Side:
    """Return what somebody gave as one side: an array, `TrainingImages`, or the path of data.

    For a path ``like`` is how the other side was prepared, where it says so. ``words`` and
    ``phantom`` are what to say about the images; left out, what the data know of themselves.
    """
    if isinstance(given, (str, Path)):
        power = size is not None and size & (size - 1) == 0 and size >= 16
        way: dict[str, Any] = {"size": size if power else None} if like is None else {"like": like}
        given = read_images(given, test=0.0, **way)
    resampled, enlarged, read = False, False, ""
    if isinstance(given, TrainingImages):
        height, width = given.images.shape[1:3]
        resampled = any((wide, high) != (width, height) for wide, high, _ in given.sizes)
        enlarged = any(max(wide, high) < max(height, width) for wide, high, _ in given.sizes)
        if resampled:
            wide, high = max((wide, high) for wide, high, _ in given.sizes)
            read = (
                f"The {name} images were read as for training, at {height} × {width} pixels; their "
                f"files have up to {high} × {wide}. Give arrays to show these."
            )
        held = given.held_out
        about = f"{given.source}, fingerprint {given.fingerprint[:12]}"
        about += ", held out" if held else ""
        phantom = given.phantom if phantom is None else phantom
        words, given = words or about, (held or given).images
    images = _stack(given, name)
    return Side(name, images, words or "not stated", bool(phantom), resampled, enlarged, read)


def phantom_side(kind: str, name: str, *, size: int, count: int, seed: int, words: str) -> Side:
    """Return ``count`` phantoms drawn for this study, of seeds that no training used."""
    first = FIRST_PHANTOM + seed * 10**6
    drawn = draw_phantoms(kind, range(first, first + count), size=size)
    said = words or f"phantoms {kind}, seeds {first} to {first + count - 1}"
    return Side(name, drawn.images[..., None], said, phantom=True)


def two_sides(
    real: Any,
    synthetic: Any,
    *,
    counts: tuple[int, int],
    size: int | None,
    seed: int,
    words: tuple[str, str],
    phantom: bool | None,
) -> tuple[Side, Side]:
    """Return both sides as they were given; phantoms are drawn at the other side's size."""
    asked = {"real": real, "synthetic": synthetic}
    kinds = {name: phantom_named(one) for name, one in asked.items()}
    drawn = {name for name, kind in kinds.items() if kind}
    carried = next(
        (one.preprocessing for one in asked.values() if isinstance(one, TrainingImages)), None
    )
    made: dict[str, Side] = {}
    for place, (name, one) in enumerate(asked.items()):
        if name not in drawn:
            told = phantom if name == "real" else None
            made[name] = side_of(
                one, name, size=size, words=words[place], phantom=told, like=carried
            )
    other = next((one.size[0] for one in made.values() if SMALLEST <= one.size[0] <= LARGEST), None)
    for place, name in enumerate(asked):
        if name in drawn:
            made[name] = phantom_side(
                str(kinds[name]),
                name,
                size=size or other or PHANTOM_SIZE,
                count=counts[place],
                seed=2 * seed + place,
                words=words[place],
            )
    return made["real"], made["synthetic"]


def alike(real: Side, synthetic: Side, *, size: int | None, grey: bool) -> tuple[Side, Side]:
    """Return both sides as uint8 of one size and one kind of colour, or refuse to.

    Colour images whose channels are equal are grey. Where a size is given, both
    go through the same filter (Lanczos, with antialiasing).
    """
    top = max(top_of(one.images) for one in (real, synthetic))
    sides = [_plain(one, grey, top) for one in (real, synthetic)]
    if real.images.dtype != synthetic.images.dtype:
        raise DataError(
            f"the real images are {real.images.dtype} and the synthetic ones "
            f"{synthetic.images.dtype}, so the window would tell them apart; bring both to uint8 "
            "with medgan_widgets.images.windowed."
        )
    if sides[0].depth != sides[1].depth:
        words = {1: "grey", 3: "in colour"}
        raise DataError(
            f"the real images are {words[sides[0].depth]} and the synthetic ones "
            f"{words[sides[1].depth]}, so colour alone would tell them apart; give grey=True to "
            "show both in grey."
        )
    return _sized(sides[0], size, sides[1]), _sized(sides[1], size, sides[0])


def checked(real: Side, synthetic: Side) -> tuple[str, ...]:
    """Return what may give images away, a note each; refuse flat ones, and those on both sides."""
    found = []
    for side in (real, synthetic):
        flat = side.images.reshape(len(side.images), -1)
        empty = int((flat.min(axis=1) == flat.max(axis=1)).sum())
        if empty:
            raise DataError(
                f"{empty} of {len(flat)} {side.name} images are of one value all over; leave "
                "them out."
            )
        found.append(hashes(side))
    both = len(set(found[0]) & set(found[1]))
    if both:
        raise DataError(
            f"{both} images are among the real and among the synthetic ones, so nobody can tell "
            "them apart; leave them out of one side."
        )
    notes = [
        f"{len(own) - len(set(own))} copies among the {side.name} images are left out."
        for side, own in zip((real, synthetic), found, strict=True)
        if len(set(own)) < len(own)
    ]
    notes += [side.read for side in (real, synthetic) if side.read]
    if real.resampled != synthetic.resampled:
        notes.append("Only one side was brought to another size: its sharpness may give it away.")
    for side in (real, synthetic):
        if side.enlarged:
            notes.append(f"Some {side.name} images were enlarged: their blur may give them away.")
    return (*notes, *_giveaways(real.images, synthetic.images))


def hashes(side: Side) -> list[bytes]:
    """Return a hash of each image's pixels."""
    return [hashlib.sha256(one.tobytes()).digest() for one in side.images]


def _stack(given: Any, name: str) -> NDArray[Any]:
    what = f"the {name} images"
    try:
        images = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{what} are no array of images: {error}.") from None
    if images.dtype == object:
        raise DataError(
            f"{what} must be an array, TrainingImages or a path, got {type(given).__name__}; make "
            "them first, e.g. engine.images(request)."
        )
    return checked_pixels(images, what)


def _plain(side: Side, grey: bool, top: float) -> Side:
    pixels = to_levels(side.images[..., :3], top)
    if pixels.shape[3] == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if pixels.shape[3] == 3 and grey:
        made = [np.asarray(Image.fromarray(one).convert("L")) for one in pixels]
        pixels = np.stack(made)[..., None]
    return replace(side, images=pixels)


def _sized(side: Side, size: int | None, other: Side) -> Side:
    height, width = side.size
    told = "".join(f" {one.read}" for one in (side, other) if one.read)
    if size is None:
        if side.size == other.size:
            return side
        raise DataError(
            f"the {side.name} images are {height} × {width} pixels and the {other.name} ones "
            f"{other.size[0]} × {other.size[1]}, so size alone would tell them apart; give size="
            f"{min(max(side.size), max(other.size))} to show both at the smaller one.{told}"
        )
    if height * other.size[1] != width * other.size[0]:
        raise DataError(
            f"{side.name} images of {height} × {width} pixels and {other.name} ones of "
            f"{other.size[0]} × {other.size[1]} differ in shape; cut both to one shape first.{told}"
        )
    if size > max(height, width):
        raise DataError(
            f"size={size} would enlarge the {side.name} images of {height} × {width} pixels, and "
            f"blur tells them apart; give at most size={max(height, width)}.{told}"
        )
    share = size / max(height, width)
    goal = (max(1, round(width * share)), max(1, round(height * share)))
    if goal == (width, height):
        return side
    made = [as_pil(one).resize(goal, Image.Resampling.LANCZOS) for one in side.images]
    pixels = np.stack([np.asarray(one) for one in made])
    pixels = pixels.reshape(len(made), goal[1], goal[0], side.depth)
    return replace(side, images=pixels, resampled=True)


def _giveaways(real: NDArray[np.uint8], synthetic: NDArray[np.uint8]) -> list[str]:
    """Name each plain number of the pixels that tells most pairs apart by itself."""
    if min(len(real), len(synthetic)) < ENOUGH:
        return []
    found = []
    for name, measure in _MEASURES.items():
        ours, theirs = measure(real), measure(synthetic)
        share = float(mannwhitneyu(ours, theirs).statistic) / (len(ours) * len(theirs))
        if max(share, 1 - share) >= GIVEAWAY:
            found.append(
                f"The {name} alone tells {max(share, 1 - share):.0%} of pairs apart, so readers "
                "may go by that."
            )
    return found


_EACH = (1, 2, 3)
_MEASURES: dict[str, Callable[[NDArray[np.uint8]], NDArray[Any]]] = {
    "mean brightness": lambda images: images.mean(axis=_EACH),
    "contrast (standard deviation)": lambda images: images.std(axis=_EACH),
    "darkest value": lambda images: images.min(axis=_EACH),
    "brightest value": lambda images: images.max(axis=_EACH),
    "sharpness (difference of neighbours)": lambda images: np.abs(
        np.diff(images.astype(np.int16), axis=2)
    ).mean(axis=_EACH),
}
