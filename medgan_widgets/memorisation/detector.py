"""Training images made ready, and generated images compared with them."""

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
from medgan_widgets.memorisation.calibration import Calibration, iter_calibrate
from medgan_widgets.memorisation.matching import Matcher, Nearest
from medgan_widgets.memorisation.pixels import Floats, flipped, is_flat, small_greys
from medgan_widgets.memorisation.report import Pair, Report
from medgan_widgets.memorisation.tuning import ALARMS, AT_ONCE, FEWEST, LARGEST, SHOWN, USABLE

_FLIPS = ("", "flipped left-right", "flipped top-bottom", "turned upside down")
_TOO_FEW = (
    "{} different training images that show anything are too few to say what is alike by chance, "
    "{} are needed"
)
_MISSED = (
    "only {sensitivity:.0%} of {planted} copies made on purpose were found among these training "
    "images"
)
_FALSE_ALARMS = (
    "{false_alarm_rate:.0%} of {asked} real images that are no copies were taken for one"
)


@dataclass(frozen=True)
class CheckStep:
    """What a few more images gave."""

    done: int  # generated images that were looked at; 0 while the threshold is being found
    pairs: tuple[Pair, ...] = ()  # the nearest training image of each of the last few
    report: Report | None = None  # what was found among all; only in the last step


@dataclass
class _Found:
    """What is kept of the images so far."""

    n: int = 0
    n_flat: int = 0
    pairs: list[Pair] = field(default_factory=list)  # all copies, and the nearest of the others
    pictures: dict[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = field(default_factory=dict)


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
            others, known = training_images.held_out, training_images.training
            if held_out is None and others is not None:
                held_out = others.images
                held_groups = None if None in others.groups else others.groups
            if groups is None and None not in known.groups:
                groups = known.groups
            training_images = known.images
        self._originals = checked_pixels(training_images, "training images")
        self._held = None if held_out is None else checked_pixels(held_out, "held-out images")
        self._white = top_of(self._originals)
        self._groups = _numbered(groups, len(self._originals))
        self._held_groups = _numbered(held_groups, len(held_groups or ()))
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
        *_, last = self.iter_check(generated, seeds)
        assert last.report is not None
        return last.report

    def iter_check(self, generated: Any, seeds: Iterable[int] | None = None) -> Iterator[CheckStep]:
        """Yield the same in small steps, a few dozen images each; the last one has the report."""
        batches = _batches(generated)
        numbers = iter(seeds) if seeds is not None else iter(())
        if self._n_telling >= FEWEST and self._calibration is None:
            for _ in self._calibrate():
                yield CheckStep(0)
        found = _Found()
        for batch in batches:
            whole = checked_pixels(batch, "generated images")
            for start in range(0, len(whole), AT_ONCE):
                images = whole[start : start + AT_ONCE]
                pairs = self._compare(images, [next(numbers, None) for _ in images], found)
                found.n += len(images)
                yield CheckStep(found.n, pairs)
        if not found.n:
            raise DataError("there are no generated images to look at.")
        yield CheckStep(found.n, (), self._report(found))

    @cached_property
    def _levels(self) -> NDArray[np.uint8]:
        return to_levels(self._originals, self._white)

    @cached_property
    def _matcher(self) -> Matcher:
        greys = np.rint(small_greys(self._levels)).astype(np.uint8)
        return Matcher.of(greys, self._originals.shape[2] / self._originals.shape[1])

    @cached_property
    def _n_telling(self) -> int:
        """How many training images show anything and differ from each other."""
        greys = np.rint(small_greys(self._levels)).astype(np.uint8)
        return len({_digest(grey) for grey in greys[~is_flat(greys)]})

    @cached_property
    def _identical(self) -> dict[bytes, int]:
        """Digest of each training image that shows anything -> its index."""
        indices = range(len(self) - 1, -1, -1)  # so that the first of equal ones stays
        return {_digest(self._originals[n]): n for n in indices if self._originals[n].std() > 0}

    def _calibrate(self) -> Iterator[None]:
        held = None
        if self._held is not None:
            held = small_greys(to_levels(self._held, self._white))
        steps = iter_calibrate(
            self._matcher, self._levels, held, self._groups, self._held_groups, self._seed
        )
        try:
            for calibration in steps:
                self._calibration = calibration
                yield None
        except DataError as error:
            self._unable = str(error)

    def _compare(
        self, images: NDArray[Any], seeds: Sequence[int | None], found: _Found
    ) -> tuple[Pair, ...]:
        """Return the pairs of a few images, and keep the first ones with their pictures."""
        levels = to_levels(images, self._white)
        greys = small_greys(levels)
        flat = is_flat(greys)
        found.n_flat += int(flat.sum())
        known = self._calibration
        nearest = self._matcher.nearest(greys) if known is not None else None
        pairs = []
        for row in np.flatnonzero(~flat).tolist():
            index = found.n + row
            same = self._identical.get(_digest(images[row]))
            if same is not None:
                change = "the same, pixel by pixel"
                pairs.append(Pair(index, same, 1.0, True, change, seeds[row]))
            elif nearest is not None and known is not None:
                likeness, training = float(nearest.likeness[row]), int(nearest.rows[row])
                change = self._change(greys[row], nearest, row)
                copy = likeness > known.threshold
                pairs.append(Pair(index, training, likeness, copy, change, seeds[row]))
        ranked = sorted([*found.pairs, *pairs], key=lambda p: (not p.copy, -p.likeness, p.index))
        n_copies = sum(pair.copy for pair in ranked)
        found.pairs = ranked[: n_copies + SHOWN]
        found.pictures = {
            pair.index: found.pictures.get(pair.index)
            or (_picture(levels[pair.index - found.n]), _picture(self._levels[pair.training]))
            for pair in ranked[:SHOWN]
        }
        return tuple(pairs)

    def _change(self, grey: Floats, nearest: Nearest, row: int) -> str:
        """Say in words what makes the training image most like the generated one."""
        flip, pose = int(nearest.flips[row]), nearest.poses[row]
        top, height, left, width, turn = pose.tolist()
        words = [_FLIPS[flip]] if flip else []
        if min(height, width) < 0.98:
            words.append(f"cropped to {min(width, 1):.0%} by {min(height, 1):.0%}")
        elif max(abs(top), abs(left)) > 0.005:
            words.append(f"shifted by {-left:.1%} across and {-top:.1%} down")
        if abs(turn) > 0.006:
            words.append(f"turned by {abs(np.rad2deg(turn)):.1f} degrees")
        training = self._matcher.images[nearest.rows[row]][None].astype(np.float32)
        laid = warped(training, pose[None], self._matcher.aspect)[0].ravel()
        target = flipped(grey[None], flip)[0].ravel()
        gain, offset = np.polyfit(laid, target, 1) if laid.std() > 0 else (1.0, 0.0)
        before = float(np.sqrt(np.mean((target - laid) ** 2)))
        after = float(np.sqrt(np.mean((target - gain * laid - offset) ** 2)))
        if before > 2 and after < 0.7 * before:
            words.append(f"contrast {gain:.0%}")
        return ", ".join(words) or "as it is"

    def _report(self, found: _Found) -> Report:
        reason, known = self._unable, self._calibration
        if self._n_telling < FEWEST:
            reason = _TOO_FEW.format(self._n_telling, FEWEST)
        elif known and known.sensitivity < USABLE:
            reason = _MISSED.format(**vars(known))
        elif known and known.false_alarm_rate > ALARMS:
            reason = _FALSE_ALARMS.format(**vars(known))
        return Report(
            n_generated=found.n,
            n_training=len(self),
            n_held_out=0 if self._held is None else len(self._held),
            calibration=known,
            pairs=tuple(found.pairs),
            reason=reason,
            n_flat=found.n_flat,
            shown=found.pictures,
        )


def _batches(generated: Any) -> Iterable[Any]:
    """Return batches of what was given; what is none is refused before anything is looked for."""
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


def _numbered(groups: Sequence[Any] | None, count: int) -> NDArray[np.intp] | None:
    if groups is None:
        return None
    if len(groups) != count:
        raise DataError(f"{count} training images came with {len(groups)} groups.")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.intp)


def _digest(image: NDArray[Any]) -> bytes:
    about = f"{image.shape} {image.dtype}".encode()
    return hashlib.blake2b(about + np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def _picture(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image for the sheet, grey or RGB, not too large."""
    step = max(1, max(image.shape[:2]) // LARGEST)
    return image[::step, ::step, :3].copy()
