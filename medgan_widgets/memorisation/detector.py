"""Training images made ready, and generated images held against them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets import TrainingImages
from medgan_widgets.errors import DataError
from medgan_widgets.images import checked_pixels, to_levels, top_of
from medgan_widgets.memorisation.alignment import warped
from medgan_widgets.memorisation.calibration import FEWEST, Calibration, iter_calibrate
from medgan_widgets.memorisation.individual import is_flat
from medgan_widgets.memorisation.matching import AT_ONCE, Matcher, Nearest
from medgan_widgets.memorisation.pixels import (
    Floats,
    flipped,
    small_greys,
)
from medgan_widgets.memorisation.report import ALARMS, USABLE, Pair, Report

SHOWN = 16  # pairs in the picture
LARGEST = 256  # pixels a side of a picture that is kept
_FLIPS = ("", "flipped left-right", "flipped top-bottom", "turned upside down")


@dataclass(frozen=True)
class CheckStep:
    """What a few more images gave.

    Attributes
    ----------
    done
        Generated images that were looked at; 0 while the threshold is being found.
    pairs
        The nearest training image of each of the last few.
    report
        What was found among all; only in the last step.
    """

    done: int
    pairs: tuple[Pair, ...] = ()
    report: Report | None = None


@dataclass
class _Seen:
    """What is kept of the images so far: all copies and the nearest of the others."""

    done: int = 0
    flat: int = 0
    copies: list[Pair] = field(default_factory=list)
    others: list[Pair] = field(default_factory=list)
    shown: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = field(default_factory=dict)


class CopyDetector:
    """Training images, made ready for finding copies of them.

    Found are images that are the same pixel by pixel, flipped, noisy (5 grey levels), cropped
    to 80 % of the side or more and enlarged again, of other contrast (gamma 0.8 to 1.25, gain
    and offset), shifted by up to 6 % of the side, turned by up to 3 degrees, and most mixtures
    of these. What is not looked for is said in `report.NOT_LOOKED_FOR`, and in each report.

    Parameters
    ----------
    training_images
        uint8 or uint16 [N, H, W] or [N, H, W, C]; or `TrainingImages`, whose held-out images and
        groups are used, too.
    held_out
        Real images that no model was trained on: they say best what is alike by chance.
    groups
        One value a training image; images of one group, a patient, are not compared with
        each other while the threshold is found.
    seed
        Draws which images are looked up for the threshold.

    Raises
    ------
    DataError
        When these are no images.

    Examples
    --------
    >>> from medgan_widgets.phantoms import draw_phantoms
    >>> known = draw_phantoms("mammogram", range(40), size=32).images
    >>> fresh = draw_phantoms("mammogram", range(1000, 1008), size=32).images
    >>> report = CopyDetector(known).check(np.concatenate([known[:2, :, ::-1], fresh]))
    >>> [(pair.index, pair.training, pair.change) for pair in report.copies]
    [(0, 0, 'flipped left-right'), (1, 1, 'flipped left-right')]
    """

    def __init__(
        self,
        training_images: Any,
        *,
        held_out: Any = None,
        groups: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> None:
        held_groups: Sequence[Any] | None = None
        if isinstance(training_images, TrainingImages):
            others = training_images.held_out
            if held_out is None and others is not None:
                held_out, held_groups = others.images, others.groups
            training_images = training_images.training
            known = training_images.groups
            groups = known if groups is None and None not in known else groups
            training_images = training_images.images
        self._originals = checked_pixels(training_images, "training images")
        self._held = None if held_out is None else checked_pixels(held_out, "held-out images")
        self._white = top_of(self._originals)
        self._groups = _numbered(groups, len(self._originals))
        self._held_groups = None
        if held_groups is not None and None not in held_groups:
            self._held_groups = _numbered(held_groups, len(held_groups))
        self._seed = seed
        self._calibration: Calibration | None = None
        self._unable = ""  # why there is none

    def __len__(self) -> int:
        return len(self._originals)

    def check(self, generated: Any, seeds: Iterable[int] | None = None) -> Report:
        """Return which generated images are copies of training images.

        Parameters
        ----------
        generated
            uint8 or uint16 [N, H, W] or [N, H, W, C], of any size and colour, or batches of them.
        seeds
            Their seeds, for the report.

        Raises
        ------
        DataError
            When there are none, or these are no images.
        """
        for step in self.iter_check(generated, seeds):
            if step.report is not None:
                return step.report
        raise AssertionError("the last step has the report")

    def iter_check(self, generated: Any, seeds: Iterable[int] | None = None) -> Iterator[CheckStep]:
        """Yield the same in small steps, a few dozen images each; the last one has the report."""
        generated = _batches(generated)
        seen = _Seen()
        numbers = iter(seeds) if seeds is not None else None
        if self._telling >= FEWEST:
            for _ in self._calibrating():
                yield CheckStep(0)
        for images in _in_parts(generated):
            some = [next(numbers, None) if numbers is not None else None for _ in images]
            yield CheckStep(seen.done + len(images), self._look(images, some, seen))
            seen.done += len(images)
        if not seen.done:
            raise DataError("there are no generated images to look at.")
        yield CheckStep(seen.done, (), self._report(seen))

    @cached_property
    def _greys(self) -> NDArray[np.uint8]:
        return np.rint(small_greys(self._shown)).astype(np.uint8)

    @cached_property
    def _shown(self) -> NDArray[np.uint8]:
        return to_levels(self._originals, self._white)

    @cached_property
    def _telling(self) -> int:
        """How many training images show anything and differ from each other."""
        return len({_digest(grey) for grey in self._greys if not is_flat(grey[None])[0]})

    @cached_property
    def _matcher(self) -> Matcher:
        return Matcher.of(self._greys, self._originals.shape[2] / self._originals.shape[1])

    @cached_property
    def _identical(self) -> dict[bytes, int]:
        """Digest of each training image that shows anything -> its place."""
        places = range(len(self) - 1, -1, -1)
        shown = (place for place in places if self._originals[place].std() > 0)
        return {_digest(self._originals[place]): place for place in shown}

    def _calibrating(self) -> Iterator[None]:
        if self._calibration is not None:
            return
        held = None
        if self._held is not None and len(self._held):
            held = small_greys(to_levels(self._held, self._white))
        steps = iter_calibrate(
            self._matcher, self._shown, held, self._groups, self._held_groups, self._seed
        )
        try:
            for found in steps:
                self._calibration = found
                yield None
        except DataError as error:
            self._unable = str(error)

    def _look(
        self, images: NDArray[Any], seeds: Sequence[int | None], seen: _Seen
    ) -> tuple[Pair, ...]:
        shown = to_levels(images, self._white)
        greys = small_greys(shown)
        flat = is_flat(greys)
        seen.flat += int(flat.sum())
        pairs = []
        nearest = self._matcher.nearest(greys) if self._telling >= FEWEST else None
        for place in np.flatnonzero(~flat).tolist():
            pair = self._pair(place, images, greys, nearest, seen.done, seeds[place])
            if pair is not None:
                pairs.append(pair)
                self._keep(pair, shown[place], seen)
        return tuple(pairs)

    def _pair(
        self,
        place: int,
        images: NDArray[Any],
        greys: Floats,
        nearest: Nearest | None,
        before: int,
        seed: int | None,
    ) -> Pair | None:
        index = before + place
        same = self._identical.get(_digest(images[place]))
        if same is not None:
            return Pair(index, same, 1.0, True, "the same, pixel by pixel", seed)
        if nearest is None or self._calibration is None:
            return None
        likeness = float(nearest.likeness[place])
        copy = likeness > self._calibration.threshold
        change = self._change(greys[place], nearest, place)
        return Pair(index, int(nearest.rows[place]), likeness, copy, change, seed)

    def _change(self, grey: Floats, nearest: Nearest, place: int) -> str:
        """Say in words what makes the training image most like the generated one."""
        flip, pose = int(nearest.flips[place]), nearest.poses[place]
        top, height, left, width, turn = pose.tolist()
        said = [_FLIPS[flip]] if flip else []
        if min(height, width) < 0.98:
            said.append(f"cropped to {min(width, 1):.0%} by {min(height, 1):.0%}")
        elif max(abs(top), abs(left)) > 0.005:
            said.append(f"shifted by {-left:.1%} across and {-top:.1%} down")
        if abs(turn) > 0.006:
            said.append(f"turned by {abs(np.rad2deg(turn)):.1f} degrees")
        training = self._matcher.images[nearest.rows[place]][None].astype(np.float32)
        shown = warped(training, pose[None], self._matcher.aspect)[0].ravel()
        wanted = flipped(grey[None], flip)[0].ravel()
        gain, offset = np.polyfit(shown, wanted, 1) if shown.std() > 0 else (1.0, 0.0)
        before = float(np.sqrt(np.mean((wanted - shown) ** 2)))
        after = float(np.sqrt(np.mean((wanted - gain * shown - offset) ** 2)))
        if before > 2 and after < 0.7 * before:
            said.append(f"contrast {gain:.0%}")
        return ", ".join(said) or "as it is"

    def _keep(self, pair: Pair, image: NDArray[np.uint8], seen: _Seen) -> None:
        """Keep copies, the nearest of the others, and pictures of the first of both."""
        where = seen.copies if pair.copy else seen.others
        where.append(pair)
        if not pair.copy:
            where.sort(key=lambda one: -one.likeness)
            del where[SHOWN:]
        first = sorted([*seen.copies, *seen.others], key=_order)[:SHOWN]
        if pair in first:
            seen.shown[pair.index] = (_picture(image), _picture(self._shown[pair.training]))
            kept = {one.index for one in first}
            for index in set(seen.shown) - kept:
                del seen.shown[index]

    def _report(self, seen: _Seen) -> Report:
        reason = self._unable
        known = self._calibration
        if self._telling < FEWEST:
            reason = (
                f"{self._telling} different training images that show anything are too few to say "
                f"what is alike by chance, {FEWEST} are needed"
            )
        elif known is not None and known.sensitivity < USABLE:
            reason = (
                f"only {known.sensitivity:.0%} of {known.planted} copies made on purpose were "
                "found among these training images"
            )
        elif known is not None and known.false_alarm_rate > ALARMS:
            reason = (
                f"{known.false_alarm_rate:.0%} of {known.asked} real images that are no copies "
                "were taken for one"
            )
        return Report(
            n_generated=seen.done,
            n_training=len(self),
            n_held_out=0 if self._held is None else len(self._held),
            calibration=self._calibration,
            pairs=tuple(sorted([*seen.copies, *seen.others], key=_order)),
            reason=reason,
            n_flat=seen.flat,
            shown=dict(seen.shown),
        )


def _order(pair: Pair) -> tuple[bool, float, int]:
    return not pair.copy, -pair.likeness, pair.index


def _batches(generated: Any) -> Iterable[Any]:
    """Return batches of what was given; what is none is told before anything is looked for."""
    if isinstance(generated, TrainingImages):
        generated = generated.images
    if isinstance(generated, np.ndarray):
        return [checked_pixels(generated, "generated images")]
    if isinstance(generated, (str, bytes)) or not isinstance(generated, Iterable):
        raise DataError(
            "generated images must be an array or batches of arrays, got "
            f"{type(generated).__name__}; read files by read_images(folder, test=0)."
        )
    return generated


def _in_parts(batches: Iterable[Any]) -> Iterator[NDArray[Any]]:
    """Yield a few images at a time."""
    for batch in batches:
        images = checked_pixels(batch, "generated images")
        for start in range(0, len(images), AT_ONCE):
            yield images[start : start + AT_ONCE]


def _numbered(groups: Sequence[Any] | None, count: int) -> NDArray[np.intp] | None:
    if groups is None:
        return None
    if len(groups) != count:
        raise DataError(f"{count} training images came with {len(groups)} groups.")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(one, len(numbers)) for one in groups], np.intp)


def _digest(image: NDArray[Any]) -> bytes:
    told = f"{image.shape} {image.dtype}".encode()
    return hashlib.blake2b(told + np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def _picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image for the sheet: grey or RGB, not too large."""
    step = max(1, max(image.shape[:2]) // LARGEST)
    small = image[::step, ::step]
    channels = small.shape[2]
    return np.array(small[..., : {2: 1, 4: 3}.get(channels, channels)])
