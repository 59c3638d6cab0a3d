"""From images as files hold them to one array of pixels: sizes, ranges, split, classes."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from weakref import finalize

import numpy as np
import psutil
from numpy.typing import NDArray

from medgan_widgets.datasets.classes import classes_of
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.datasets.pixels import Pixels
from medgan_widgets.datasets.preprocessing import FAINT, Preprocessing
from medgan_widgets.datasets.records import (
    NOTHING,
    ImageFile,
    ImageRecord,
    Refused,
    Waiting,
    in_words,
    read_all,
    some_of,
)
from medgan_widgets.datasets.split import check_apart, drawn_split, shared_split
from medgan_widgets.datasets.training_images import CACHE, FileUsed, TrainingImages
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import whole_number

SMALLEST, LARGEST, LARGEST_FOUND = 16, 1024, 256
COLOURFUL = 8  # levels between channels; colour files with less are grey
SIZES_KEPT = 8
DARK = 26  # an image without a pixel above this tenth of white shows nothing
STEP = 97  # of the pixels that are looked at first
PERCENTILES = (0.5, 99.5)
AS_PIXELS = (127.5, 255.0)  # the window through which pixels stay what they are
ALL_VALUES = (0.01, 99.99)  # of the whole source: what a few hot pixels cannot move
SAMPLED = 2**24  # values that percentiles of the whole source are found from
STRETCHED = 2.0  # height of a pixel over its width above which stretching teaches blur
SHARE_OF_MEMORY = 0.5  # of what is free; larger arrays lie in a file


@dataclass(frozen=True)
class Reading:
    """How images are to be read; the arguments of `read_images` of the same names."""

    size: int | None = None
    window: tuple[float, float] | Literal["file"] | None = None
    percentiles: tuple[float, float] | None = None
    fit: Literal["pad", "crop"] = "pad"
    channels: Literal[1, 3] | None = None
    plane: str | None = None
    test: float = 0.2
    split: str | Path | None = None
    seed: int = 0
    skip_unreadable: bool = False
    most: int | None = None
    like: Preprocessing | None = None
    cache: Path | None = None
    as_pixels: bool = False  # values are grey levels already, as those of arrays are

    def __post_init__(self) -> None:
        size = None if self.size is None else whole_number(self.size, "size", 1, 2**20)
        if size is not None and (size & (size - 1) or not SMALLEST <= size <= LARGEST):
            near = 2 ** max(4, min(9, size.bit_length() - 1))
            raise DataError(
                f"size must be a power of two from {SMALLEST} to {LARGEST}, got {size}; choose "
                f"{near} or {2 * near}."
            )
        if not 0 <= self.test < 1:
            raise DataError(f"test must be a share from 0 to below 1, got {self.test}.")
        if self.most is not None:
            whole_number(self.most, "most", 2, 10**9)
        # What cannot be is told before a hundred thousand files are read.
        Preprocessing(
            SMALLEST, self.window, self.percentiles or PERCENTILES, self.fit, self.channels or 1
        )


def images_from(
    files: Sequence[ImageFile],
    reading: Reading,
    *,
    source: str,
    told_classes: Iterable[str] = (),
) -> TrainingImages:
    """Read files, each opened once, into one array: training images first.

    Parameters
    ----------
    files
        What a kind of data lists.
    reading
        How to read it.
    source
        The kind's name.
    told_classes
        Classes that a table speaks of: each needs an image.

    Raises
    ------
    DataError
        When something cannot be read and nobody said to go on, when too little is
        left, or when a class has nothing to learn from.
    """
    refused: list[Refused] = []
    waiting = Waiting()
    records: list[ImageRecord] = []
    for one in read_all(some_of(files, reading.most, reading.seed), refused):
        waiting.add(one.pixels)
        records.append(replace(one, pixels=NOTHING))
    if refused and not reading.skip_unreadable and records:
        raise DataError(
            f"{in_words(refused)}; mend or remove them, or pass skip_unreadable=True to go on "
            "with the rest."
        )
    if not records:
        why = in_words(refused) if refused else "no images found"
        raise DataError(f"there is nothing to learn from: {why}.")
    if len(records) < 2:
        raise DataError("1 image is not enough to learn from; give at least 2.")
    sides = _sides(records, reading)
    order = sorted(range(len(records)), key=lambda row: sides[records[row].name] == "test")
    kept = [records[row] for row in order]
    learned = [row for row in order if sides[records[row].name] == "train"]
    preprocessing, said, notes = _preprocessing(waiting, learned, reading)
    images = _room(len(order), preprocessing, reading.cache)
    clipped = dark = binary = 0
    sizes: Counter[tuple[int, int]] = Counter()
    low, high = np.inf, -np.inf
    for place, row in enumerate(order):
        pixels = waiting[row]
        images[place] = preprocessing.pixels(pixels)
        clipped += preprocessing.clipped(pixels)
        sizes[pixels.values.shape[1], pixels.values.shape[0]] += 1
        inside = pixels.inside
        least, most = float(inside.min()), float(inside.max())
        low, high = min(low, least), max(high, most)
        dark += least < most and images[place].max() < DARK
        some = (inside.ravel()[::STEP], inside)  # nearly always the first tells
        binary += least < most and all(((v == least) | (v == most)).all() for v in some)
    if dark and preprocessing.range is not None and preprocessing.window is None:
        notes.append(
            f"{dark:,} of {len(order):,} images stay dark: their values span less than a tenth of "
            f"the source's, {preprocessing.range[0]:g} to {preprocessing.range[1]:g}. Where they "
            "are not empty but of another scale, as of another scanner, read them apart."
        )
    if binary:
        notes.append(
            f"{binary:,} of {len(order):,} images have two grey levels only, as masks have; if "
            "they are masks, take them out."
        )
    kept_sides = tuple(sides[one.name] for one in kept)
    factors, classes = classes_of(kept, kept_sides, told_classes)
    groups = _hashed(kept)
    masks = tuple(one.mask for one in kept)
    return TrainingImages(
        images,
        classes,
        factors,
        names=tuple(one.name for one in kept),
        groups=groups,
        sides=kept_sides,
        files=_files(kept, groups, kept_sides),
        source=source,
        preprocessing=preprocessing,
        refused=tuple(refused),
        sizes=tuple((*size, count) for size, count in sizes.most_common(SIZES_KEPT)),
        intensity=(low, high),
        clipped=clipped,
        notes=tuple(notes),
        pixel_notes=tuple(said),
        mask_readers=masks if any(masks) else (),
    )


def _sides(records: Sequence[ImageRecord], reading: Reading) -> dict[str, str]:
    if reading.split is not None:
        sides = shared_split(records, reading.split)
        check_apart(records, sides)
    elif all(one.side for one in records):
        sides = {one.name: str(one.side) for one in records}
        check_apart(records, sides)
    elif reading.test == 0:
        sides = {one.name: "train" for one in records}
    else:
        sides = drawn_split(records, test=reading.test, seed=reading.seed)
    if "train" not in sides.values():
        raise DataError("all images are held out, none is left to learn from; draw another split.")
    return sides


def _preprocessing(
    waiting: Waiting, learned: Sequence[int], reading: Reading
) -> tuple[Preprocessing, list[str], list[str]]:
    """Return what is frozen for these images, what to say of all pixels, and of these images.

    It is found from those that train.
    """
    seen = _Seen(waiting[row] for row in range(len(waiting)))
    if reading.like is not None:
        return reading.like, seen.notes(reading.like), seen.strange_to(reading.like)
    size = reading.size
    if size is None:
        size = 2 ** int(np.log2(max(float(np.median(seen.short)), 1)))
        size = min(max(size, SMALLEST), LARGEST_FOUND)
    channels = reading.channels
    if channels is None:
        channels = 3 if 2 * seen.colour > len(waiting) and seen.colourful else 1
    window, unit = reading.window, ""
    full: tuple[float, float] | None = None
    if reading.as_pixels and window is None:
        window = AS_PIXELS
        if seen.deep:
            top = percentiles_of(waiting, learned, (0, ALL_VALUES[1]))[1] or 1.0
            window = (top / 2, top)
            full = (0.0, top)
    elif window is None and seen.unit and reading.percentiles is None:
        low, high = percentiles_of(waiting, learned, PERCENTILES)
        high = high if high > low else low + 1
        window, unit = ((low + high) / 2, high - low), seen.unit
    elif seen.colour and seen.deep:
        full = seen.stored or (0.0, percentiles_of(waiting, learned, (0, ALL_VALUES[1]))[1] or 1.0)
    elif window is None and seen.colour < len(waiting):
        full = percentiles_of(waiting, learned, ALL_VALUES)
    made = Preprocessing(
        size, window, reading.percentiles or PERCENTILES, reading.fit, channels, full, unit,
        reading.plane, None,
    )  # fmt: skip
    made = replace(made, mm_per_pixel=seen.mm_per_pixel(made))
    return made, seen.notes(made, stretched=reading.percentiles is not None), []


class _Seen:
    """What all images of a source have in common, and where they differ."""

    def __init__(self, images: Iterable[Pixels]) -> None:
        self.short: list[int] = []
        self.colour = self.background = 0
        self.colourful = self.deep = False
        self._low, self._high = np.inf, -np.inf
        self._units: Counter[str] = Counter()
        self._stored: set[tuple[float, float] | None] = set()
        self._aspects: Counter[float] = Counter()
        self._across: list[tuple[float, float, int, int] | None] = []
        for one in images:
            self.short.append(min(one.shape))
            self._units[one.unit] += 1
            if not one.prepared:
                self._low = min(self._low, float(one.values.min()))
                self._high = max(self._high, float(one.values.max()))
            if one.values.ndim == 2 or one.values.dtype != np.uint8:  # colour of 8 bits stays
                self._stored.add(one.stored)
            self._aspects[round(one.aspect, 3)] += 1
            self.background += one.background is not None
            self._across.append(one.spacing and (*one.spacing, *one.values.shape[:2]))
            if one.values.ndim == 3:
                self.colour += 1
                self.deep |= one.values.dtype != np.uint8
                if not self.colourful:
                    apart = one.values.max(axis=2) - one.values.min(axis=2)
                    self.colourful = int(apart.max()) > COLOURFUL
            elif one.values.dtype != np.uint8 and one.stored != (0, 255):
                self.deep = True

    @property
    def unit(self) -> str:
        """The unit that all values have; empty where some have none or another."""
        return next(iter(self._units)) if len(self._units) == 1 else ""

    @property
    def stored(self) -> tuple[float, float] | None:
        """The range that all files say they can hold; None where they differ or do not say."""
        return next(iter(self._stored)) if len(self._stored) == 1 else None

    def strange_to(self, like: Preprocessing) -> list[str]:
        """Return in words where a model's window or range hardly fits the values of its reals."""
        whole = like.ends or like.range
        if whole is None or self._high < self._low:
            return []
        low, high = whole
        unit = next(iter(self._units)) if len(self._units) == 1 else "several units"
        covered = min(self._high, high) - max(self._low, low)
        if covered >= FAINT * (high - low) and (not like.unit or unit == like.unit):
            return []
        return [
            f"values run from {self._low:g} to {self._high:g} ({unit or 'no unit known'}), and the "
            f"model's own images were shown from {low:g} to {high:g}"
            f"{' ' + like.unit if like.unit else ''}: if these are other units, no distance "
            "between the two means anything."
        ]

    def mm_per_pixel(self, made: Preprocessing) -> float | None:
        """Return millimetres a pixel after resizing, where all images agree within 1 %."""
        pick = max if made.fit == "pad" else min
        sides = [
            None if one is None else pick(one[0] * one[2], one[1] * one[3]) / made.size
            for one in self._across
        ]
        known = [one for one in sides if one is not None]
        if len(known) < len(sides) or max(known) > 1.01 * min(known):
            return None
        return float(np.median(known))

    def notes(self, made: Preprocessing, *, stretched: bool = False) -> list[str]:
        """Return what is to be said of how the pixels came about."""
        said = []
        uneven = {aspect: count for aspect, count in self._aspects.items() if aspect != 1}
        if uneven:
            most = max(max(one, 1 / one) for one in uneven)
            said.append(
                f"{sum(uneven.values()):,} images have pixels that are not square (up to "
                f"{most:.3g} to 1); they were made square."
                + (
                    " Stretching thick slices that far teaches blur; cut volumes across their "
                    "thickest axis (plane=None)."
                    if most > STRETCHED
                    else ""
                )
            )
        if self.unit and made.window is None:
            said.append(
                f"values are in {self.unit}, and each image is stretched by itself as percentiles= "
                f"asks: a value in {self.unit} is another grey in each image."
            )
        if len(self._units) > 1:
            units = ", ".join(f"{u or 'no unit'} ({n:,})" for u, n in self._units.most_common())
            said.append(f"values have different units: {units}; each image is stretched by itself.")
        if self.background:
            said.append(
                f"{self.background:,} images have places where nothing was imaged (padding, NaN); "
                "they are black and count in no statistic."
            )
        return said


def percentiles_of(
    waiting: Waiting, rows: Sequence[int], wanted: tuple[float, float]
) -> tuple[float, float]:
    """Return percentiles of all values of the training images, of every k-th where they are many.

    Each image begins at another place, so that no column of pixels is preferred.
    """
    total = sum(waiting[row].values.size for row in rows[:64]) / min(len(rows), 64) * len(rows)
    step = int(total // SAMPLED + 1) | 1
    some = [waiting[row].inside[place % step :: step] for place, row in enumerate(rows)]
    low, high = np.percentile(np.concatenate(some), wanted)
    return float(low), float(high)


def _room(count: int, preprocessing: Preprocessing, cache: Path | None) -> NDArray[np.uint8]:
    """Return room for the pixels: in memory, or in a file where they are larger.

    The file is readable by its owner alone; it lies in the run and is deleted with it, or
    in a temporary folder that goes when the images do.
    """
    shape = (count, preprocessing.size, preprocessing.size, preprocessing.channels)
    if np.prod(shape, dtype=float) <= SHARE_OF_MEMORY * psutil.virtual_memory().available:
        return np.empty(shape, np.uint8)
    folder = cache if cache is not None else Path(tempfile.mkdtemp(prefix="medgan_images_"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CACHE
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        room = np.memmap(path, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{count:,} images of {preprocessing.size} pixels need "
            f"{np.prod(shape, dtype=float) / 2**30:.1f} GB, more than memory or {folder} has "
            f"({error.strerror}); choose a smaller size, or most=."
        ) from None
    if cache is None:
        finalize(room, shutil.rmtree, folder, ignore_errors=True)
    return room


def _hashed(kept: Sequence[ImageRecord]) -> tuple[str | None, ...]:
    groups = {one.group for one in kept if one.group is not None}
    if not groups:
        return (None,) * len(kept)
    key = patient_key()
    hashes = {group: patient_hash(group, key) for group in groups}
    return tuple(None if one.group is None else hashes[one.group] for one in kept)


def _files(
    kept: Sequence[ImageRecord], groups: Sequence[str | None], sides: Sequence[str]
) -> tuple[FileUsed, ...]:
    """Return one row for each file, patient and side; images in memory count by patient."""
    counted: Counter[tuple[str | None, Path | None, str | None, str]] = Counter(
        (one.sha256, one.file, group, side)
        for one, group, side in zip(kept, groups, sides, strict=True)
        if one.file is not None or group is not None
    )
    return tuple(
        FileUsed(sha256, group, side, count) for (sha256, _, group, side), count in counted.items()
    )
