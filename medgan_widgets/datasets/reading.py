"""From whatever a person has to images to learn from: ``read_images`` and its middle part."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.classes import classes_of
from medgan_widgets.datasets.found import Found, Refused, Values, read_all, told
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.datasets.preprocessing import Preprocessing
from medgan_widgets.datasets.split import check_apart, drawn_split, shared_split
from medgan_widgets.datasets.training_images import FileUsed, TrainingImages
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import whole_number

SMALLEST, LARGEST, LARGEST_FOUND = 16, 1024, 256
PROBED = 32  # images read to learn their size, where no header tells it
LOOKED_AT = 16  # colour files looked at, whether they are grey after all
SIZES_KEPT = 8


@dataclass(frozen=True)
class Reading:
    """How images are to be read; the arguments of `read_images` of the same names."""

    size: int | None = None
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    fit: Literal["pad", "crop"] = "pad"
    channels: Literal[1, 3] | None = None
    test: float = 0.2
    split: str | Path | None = None
    seed: int = 0
    skip_unreadable: bool = False
    most: int | None = None

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
        # What cannot be is told before a hundred thousand headers are read.
        Preprocessing(SMALLEST, self.window, self.percentiles, self.fit, self.channels or 1)


def images_from(
    found: Iterable[Found | Refused],
    reading: Reading,
    *,
    source: str,
    told_classes: Iterable[str] = (),
    note: str | None = None,
) -> TrainingImages:
    """Read what was found, one image at a time, into one array: training images first.

    Parameters
    ----------
    found
        What a kind of data yields.
    reading
        How to read it.
    source
        The kind's name.
    told_classes
        Classes that a table speaks of: each needs an image.
    note
        What is to be said about groups, where that is not plain.

    Raises
    ------
    DataError
        When something cannot be read and nobody said to go on, when too little is
        left, or when a class has nothing to learn from.
    """
    refused: list[Refused] = []
    listed = _some_of(_sorted_out(found, refused), reading)
    if not listed:
        raise DataError(f"there is nothing to learn from: {told(refused) or 'no images found'}.")
    try:
        sides = _sides(listed, reading)
    except DataError as error:
        if not refused:
            raise
        raise DataError(f"{error} Besides, {told(refused)}.") from None  # perhaps the reason
    # In this order the training images are a slice of the array, not a copy of it.
    ordered = sorted(listed, key=lambda one: sides[one.name] == "test")
    preprocessing = _preprocessing(listed, reading)
    images = _room(len(ordered), preprocessing)
    kept: list[Found] = []
    sizes: Counter[tuple[int, int]] = Counter()
    low, high = np.inf, -np.inf
    for one, values in read_all(ordered, skip_unreadable=reading.skip_unreadable, refused=refused):
        images[len(kept)] = preprocessing.pixels(values)
        kept.append(one)
        sizes[values.shape[1], values.shape[0]] += 1
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    if len(kept) < 2:
        raise DataError("1 image is not enough to learn from; give at least 2.")
    kept_sides = tuple(sides[one.name] for one in kept)
    factors, classes = classes_of(kept, kept_sides, told_classes)
    groups = _hashed(kept)
    return TrainingImages(
        images[: len(kept)],
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
        note=note,
    )


def _sorted_out(found: Iterable[Found | Refused], refused: list[Refused]) -> list[Found]:
    listed = []
    for one in found:
        if isinstance(one, Refused):
            refused.append(one)
        else:
            listed.append(one)
    return listed


def _some_of(listed: list[Found], reading: Reading) -> list[Found]:
    """Return at most so many images, drawn by the seed, in their order."""
    if reading.most is None or len(listed) <= reading.most:
        return listed
    drawn = np.random.default_rng(reading.seed).permutation(len(listed))[: reading.most]
    return [listed[place] for place in sorted(drawn)]


def _sides(listed: Sequence[Found], reading: Reading) -> dict[str, str]:
    if reading.split is not None:
        sides = shared_split(listed, reading.split)
        check_apart(listed, sides)
    elif all(one.side for one in listed):
        sides = {one.name: str(one.side) for one in listed}
        check_apart(listed, sides)
    elif reading.test == 0:
        sides = {one.name: "train" for one in listed}
    elif len(listed) < 2:
        raise DataError("1 image is not enough to learn from; give at least 2.")
    else:
        sides = drawn_split(listed, test=reading.test, seed=reading.seed)
    if "train" not in sides.values():
        raise DataError("all images are held out, none is left to learn from; draw another split.")
    return sides


def _preprocessing(listed: Sequence[Found], reading: Reading) -> Preprocessing:
    size, channels = reading.size, reading.channels
    if size is None or channels is None:
        shapes, colours = _looked_at(listed)
        if size is None:
            short = float(np.median([min(shape) for shape in shapes])) if shapes else SMALLEST
            size = 2 ** int(np.log2(max(short, 1)))
            size = min(max(size, SMALLEST), LARGEST_FOUND)
        if channels is None:
            channels = 3 if 2 * sum(colours) > len(colours) and _really(listed) else 1
    return Preprocessing(size, reading.window, reading.percentiles, reading.fit, channels)


def _looked_at(listed: Sequence[Found]) -> tuple[list[tuple[int, int]], list[bool]]:
    """Return heights and widths, and what is colour: from headers, else from some images."""
    told_by_header = [one for one in listed if one.shape is not None]
    if told_by_header:
        return [s for one in told_by_header if (s := one.shape)], [o.colour for o in told_by_header]
    some = [values for one in _evenly(listed, PROBED) if (values := _try(one)) is not None]
    return [(v.shape[0], v.shape[1]) for v in some], [v.ndim == 3 for v in some]


def _really(listed: Sequence[Found]) -> bool:
    """Return whether colour files show colour: greys are often saved as RGB."""
    some = [one for one in listed if one.colour or one.shape is None]
    for one in _evenly(some, LOOKED_AT):
        values = _try(one)
        if values is not None and values.ndim == 3 and int(np.ptp(values, axis=2).max()) > 8:
            return True
    return False


def _evenly(listed: Sequence[Found], most: int) -> list[Found]:
    step = max(1, len(listed) // most)
    return list(listed[::step][:most])


def _try(one: Found) -> Values | None:
    try:
        return one.read()
    except DataError:  # it is told of when all are read
        return None


def _room(count: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    shape = (count, preprocessing.size, preprocessing.size, preprocessing.channels)
    try:
        return np.empty(shape, np.uint8)
    except MemoryError:
        raise DataError(
            f"{count:,} images of {preprocessing.size} pixels need "
            f"{np.prod(shape, dtype=float) / 2**30:.1f} GB, more than there is; choose a smaller "
            "size, or most=."
        ) from None


def _hashed(kept: Sequence[Found]) -> tuple[str | None, ...]:
    groups = {one.group for one in kept if one.group is not None}
    if not groups:
        return (None,) * len(kept)
    key = patient_key()
    hashes = {group: patient_hash(group, key) for group in groups}
    return tuple(None if one.group is None else hashes[one.group] for one in kept)


def _files(
    kept: Sequence[Found], groups: Sequence[str | None], sides: Sequence[str]
) -> tuple[FileUsed, ...]:
    """Return one row for each file, patient and side; images in memory count by patient."""
    counted: Counter[tuple[Path | None, str | None, str]] = Counter(
        (one.file, group, side)
        for one, group, side in zip(kept, groups, sides, strict=True)
        if one.file is not None or group is not None
    )
    sums = {path: _sha256(path) for path in {path for path, _, _ in counted if path is not None}}
    return tuple(
        FileUsed(None if path is None else sums[path], group, side, count)
        for (path, group, side), count in counted.items()
    )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path.name} cannot be read again ({error.strerror}).") from error
