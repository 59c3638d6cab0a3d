"""From images as files hold them to one array of pixels: sizes, ranges, split, classes."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from weakref import finalize

import numpy as np
import psutil
from numpy.typing import NDArray

from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.datasets.preprocessing import FAINT, FILE, Preprocessing
from medgan_widgets.datasets.records import (
    DecodedImages,
    ImageFile,
    ImageRecord,
    Pixels,
    drawn_files,
    read_all,
)
from medgan_widgets.datasets.split import sides_of
from medgan_widgets.datasets.table import classes_of
from medgan_widgets.datasets.training_images import CACHE, FileUsed, TrainingImages
from medgan_widgets.errors import DataError, RequestError
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
class ReadOptions:
    """How images are to be read: the arguments of `read_images`, which explains them, checked."""

    like: Any = None
    labels: Any = None
    group: Any = None
    table: Any = None
    kind: str | None = None
    plane: str | None = None
    size: int | None = None
    window: Any = None
    percentiles: Any = None
    fit: Literal["pad", "crop"] = "pad"
    channels: Literal[1, 3] | None = None
    test: float = 0.2
    split: str | Path | None = None
    seed: int = 0
    skip_unreadable: bool = False
    most: int | None = None
    cache: str | Path | None = None

    def __post_init__(self) -> None:
        # What cannot be is said before a hundred thousand files are read.
        like, window = Preprocessing.of(self.like), self.window
        decided = ("size", "window", "percentiles", "channels", "plane")
        if like and (twice := [name for name in decided if getattr(self, name) is not None]):
            raise RequestError(
                f"like= says how images are prepared; leave out {', '.join(twice)}= or like=."
            )
        if isinstance(window, str) and window != FILE:
            raise DataError(f"window must be (center, width) or 'file', got {window!r}.")
        checked = {
            "like": like,
            "window": window if window == FILE else _two_numbers(window, "window"),
            "percentiles": _two_numbers(self.percentiles, "percentiles"),
            "plane": like.plane if like else self.plane,
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        size = None if self.size is None else whole_number(self.size, "size", 1, 2**20)
        if size is not None and (size & (size - 1) or not SMALLEST <= size <= LARGEST):
            near = 2 ** max(4, min(9, size.bit_length() - 1))
            allowed = f"a power of two from {SMALLEST} to {LARGEST}"
            raise DataError(f"size must be {allowed}, got {size}; choose {near} or {2 * near}.")
        if not 0 <= self.test < 1:
            raise DataError(f"test must be a share from 0 to below 1, got {self.test}.")
        if self.most is not None:
            whole_number(self.most, "most", 2, 10**9)
        Preprocessing(
            SMALLEST, self.window, self.percentiles or PERCENTILES, self.fit, self.channels or 1
        )

    @property
    def own_window(self) -> bool:
        """Whether each file is shown through its own window."""
        return bool((self.like or self).window == FILE)


def images_from(
    files: Sequence[ImageFile],
    options: ReadOptions,
    source: str,
    *,
    as_pixels: bool = False,
    table_classes: Iterable[str] = (),
) -> TrainingImages:
    """Read files, each opened once, into one array: training images first.

    ``as_pixels`` says that values are grey levels already, as those of arrays are; each of
    ``table_classes``, of which a table speaks, needs an image.
    """
    # Read all files.
    records, decoded, refused = read_all(
        drawn_files(files, options.most, options.seed), skip_unreadable=options.skip_unreadable
    )
    if len(records) < 2:
        raise DataError("1 image is not enough to learn from; give at least 2.")

    # Split them; how values become pixels is found from those that train.
    sides = sides_of(records, options.split, options.test, options.seed)
    order = sorted(range(len(records)), key=lambda row: sides[records[row].name] == "test")
    learned = [row for row in order if sides[records[row].name] == "train"]
    outlines = [record.pixels for record in records]
    if options.like is not None:
        preprocessing = options.like
        notes = _notes_on_units(decoded, outlines, preprocessing)
    else:
        preprocessing, notes = _preprocessing(decoded, outlines, learned, options, as_pixels), []
    pixel_notes = _pixel_notes(outlines, preprocessing)

    # Turn values into pixels.
    images = _room(len(order), preprocessing, options.cache)
    clipped = dark = binary = 0
    sizes: Counter[tuple[int, int]] = Counter()
    low, high = np.inf, -np.inf
    for at, row in enumerate(order):
        pixels = decoded[row]
        images[at] = preprocessing.pixels(pixels)
        clipped += preprocessing.clipped(pixels)
        sizes[pixels.values.shape[1], pixels.values.shape[0]] += 1
        inside = pixels.inside
        least, most = float(inside.min()), float(inside.max())
        low, high = min(low, least), max(high, most)
        dark += least < most and images[at].max() < DARK
        parts = (inside[::STEP], inside)  # nearly always the first is enough
        binary += least < most and all(((v == least) | (v == most)).all() for v in parts)
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

    kept = [records[row] for row in order]
    kept_sides = tuple(sides[record.name] for record in kept)
    factors, classes = classes_of(kept, kept_sides, table_classes)
    groups = _hashed([record.group for record in kept])
    masks = tuple(record.mask for record in kept)
    return TrainingImages(
        images,
        classes,
        factors,
        names=tuple(record.name for record in kept),
        groups=groups,
        sides=kept_sides,
        files=_files_used(kept, groups, kept_sides),
        source=source,
        preprocessing=preprocessing,
        refused=tuple(refused),
        sizes=tuple((*size, count) for size, count in sizes.most_common(SIZES_KEPT)),
        intensity=(low, high),
        clipped=clipped,
        notes=tuple(notes),
        pixel_notes=tuple(pixel_notes),
        mask_readers=masks if any(masks) else (),
    )


def percentiles_of(
    decoded: DecodedImages, rows: Sequence[int], wanted: tuple[float, float]
) -> tuple[float, float]:
    """Return percentiles of all values of some images, of every k-th where they are many."""
    total = sum(decoded[row].values.size for row in rows[:64]) / min(len(rows), 64) * len(rows)
    step = int(total // SAMPLED + 1) | 1
    # Each image begins at another pixel, so that no column of pixels is preferred.
    sampled = [decoded[row].inside[at % step :: step] for at, row in enumerate(rows)]
    low, high = np.percentile(np.concatenate(sampled), wanted)
    return float(low), float(high)


def _preprocessing(
    decoded: DecodedImages,
    outlines: Sequence[Pixels],
    learned: Sequence[int],
    options: ReadOptions,
    as_pixels: bool,
) -> Preprocessing:
    """Return the way that suits these images, as far as the options leave it open."""

    def white() -> float:
        return percentiles_of(decoded, learned, (0, ALL_VALUES[1]))[1] or 1.0

    colour = [row for row, image in enumerate(outlines) if image.values.ndim == 3]
    deep = any(image.deep and image.stored != (0, 255) for image in outlines)
    size = options.size
    if size is None:
        shorter = float(np.median([min(image.shape) for image in outlines]))
        size = min(max(2 ** int(np.log2(max(shorter, 1))), SMALLEST), LARGEST_FOUND)
    channels = options.channels
    if channels is None:
        many = 2 * len(colour) > len(outlines)
        channels = 3 if many and any(_colourful(decoded[row]) for row in colour) else 1
    window, unit, values = options.window, "", None
    common_unit = _common_unit(outlines)
    if as_pixels and window is None:
        top = white() if deep else 255.0
        window, values = (top / 2, top), (0.0, top) if deep else None
    elif window is None and common_unit and options.percentiles is None:
        low, high = percentiles_of(decoded, learned, PERCENTILES)
        high = high if high > low else low + 1
        window, unit = ((low + high) / 2, high - low), common_unit
    elif colour and deep:
        # Colour of 8 bits stays as it is, so what it can hold does not count.
        stored = {image.stored for image in outlines if image.values.ndim == 2 or image.deep}
        values = (next(iter(stored)) if len(stored) == 1 else None) or (0.0, white())
    elif window is None and len(colour) < len(outlines):
        values = percentiles_of(decoded, learned, ALL_VALUES)
    return Preprocessing(
        size,
        window,
        options.percentiles or PERCENTILES,
        options.fit,
        channels,
        values,
        unit,
        options.plane,
        _mm_per_pixel(outlines, options.fit, size),
    )


def _colourful(image: Pixels) -> bool:
    return int((image.values.max(axis=2) - image.values.min(axis=2)).max()) > COLOURFUL


def _common_unit(outlines: Sequence[Pixels]) -> str:
    units = {image.unit for image in outlines}
    return units.pop() if len(units) == 1 else ""


def _mm_per_pixel(outlines: Sequence[Pixels], fit: str, size: int) -> float | None:
    """Return millimetres a pixel after resizing, where all images agree within 1 %."""
    longer = max if fit == "pad" else min
    sides = []
    for image in outlines:
        if image.spacing is None:
            return None
        height, width = image.values.shape[:2]
        sides.append(longer(image.spacing[0] * height, image.spacing[1] * width) / size)
    return None if max(sides) > 1.01 * min(sides) else float(np.median(sides))


def _notes_on_units(
    decoded: DecodedImages, outlines: Sequence[Pixels], like: Preprocessing
) -> list[str]:
    """Return in words where a model's window or range hardly fits the values of its reals."""
    shown = like.window_ends() or like.range
    if shown is None:
        return []
    low = min(float(image.values.min()) for image in decoded)
    high = max(float(image.values.max()) for image in decoded)
    unit = _common_unit(outlines)
    covered = min(high, shown[1]) - max(low, shown[0])
    if covered >= FAINT * (shown[1] - shown[0]) and (not like.unit or unit == like.unit):
        return []
    unit = unit or ("several units" if any(image.unit for image in outlines) else "no unit known")
    return [
        f"values run from {low:g} to {high:g} ({unit}), and the model's own images were shown from "
        f"{shown[0]:g} to {shown[1]:g}{' ' + like.unit if like.unit else ''}: if these are other "
        "units, no distance between the two means anything."
    ]


def _pixel_notes(outlines: Sequence[Pixels], made: Preprocessing) -> list[str]:
    """Return what is to be said of how the pixels came about."""
    notes = []
    aspects = [round(image.aspect, 3) for image in outlines]
    if uneven := [max(aspect, 1 / aspect) for aspect in aspects if aspect != 1]:
        notes.append(
            f"{len(uneven):,} images have pixels that are not square (up to {max(uneven):.3g} to "
            "1); they were made square."
        )
        if max(uneven) > STRETCHED:
            notes[-1] += (
                " Stretching thick slices that far teaches blur; cut volumes across their thickest "
                "axis (plane=None)."
            )
    units = Counter(image.unit for image in outlines)
    if (unit := _common_unit(outlines)) and made.window is None:
        notes.append(
            f"values are in {unit}, and each image is stretched by itself as percentiles= asks: a "
            f"value in {unit} is another grey in each image."
        )
    if len(units) > 1:
        counted = ", ".join(f"{unit or 'no unit'} ({n:,})" for unit, n in units.most_common())
        notes.append(f"values have different units: {counted}; each image is stretched by itself.")
    if background := sum(image.background is not None for image in outlines):
        notes.append(
            f"{background:,} images have places where nothing was imaged (padding, NaN); they are "
            "black and count in no statistic."
        )
    return notes


def _room(count: int, preprocessing: Preprocessing, cache: str | Path | None) -> NDArray[np.uint8]:
    """Return room for the pixels: in memory, or in a file where they are larger.

    The file is readable by its owner alone; it lies in the run and is deleted with it, or
    in a temporary folder that goes when the images do.
    """
    shape = (count, preprocessing.size, preprocessing.size, preprocessing.channels)
    size = np.prod(shape, dtype=float)
    if size <= SHARE_OF_MEMORY * psutil.virtual_memory().available:
        return np.empty(shape, np.uint8)
    folder = Path(tempfile.mkdtemp(prefix="medgan_images_") if cache is None else cache)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / CACHE
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        room = np.memmap(path, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise DataError(
            f"{count:,} images of {preprocessing.size} pixels need {size / 2**30:.1f} GB, more "
            f"than memory or {folder} has ({error.strerror}); choose a smaller size, or most=."
        ) from None
    if cache is None:
        finalize(room, shutil.rmtree, folder, ignore_errors=True)
    return room


def _hashed(groups: Sequence[str | None]) -> tuple[str | None, ...]:
    names = {group for group in groups if group is not None}
    key = patient_key() if names else b""
    hashes = {name: patient_hash(name, key) for name in names}
    return tuple(None if group is None else hashes[group] for group in groups)


def _files_used(
    kept: Sequence[ImageRecord], groups: Sequence[str | None], sides: Sequence[str]
) -> tuple[FileUsed, ...]:
    """Return one row for each file, patient and side; images in memory count by patient."""
    counted = Counter(
        (record.sha256, record.file, group, side)
        for record, group, side in zip(kept, groups, sides, strict=True)
        if record.file is not None or group is not None
    )
    return tuple(
        FileUsed(sha256, group, side, count) for (sha256, _, group, side), count in counted.items()
    )


def _two_numbers(values: Any, name: str) -> tuple[float, float] | None:
    if values is None:
        return None
    try:
        first, second = (float(value) for value in values)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be two numbers, got {values!r}.") from None
    return first, second
