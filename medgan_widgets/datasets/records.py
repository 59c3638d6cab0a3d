"""Images as their files hold them, files that are opened once, and what was left out."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

MAX_LISTED = 5
IN_MEMORY = 2**29  # bytes of decoded images that are kept in memory; more go to a file


@dataclass(frozen=True)
class Pixels:
    """One image before any preprocessing: upright, bright where a viewer shows it bright.

    Examples
    --------
    >>> Pixels(np.arange(12, dtype=np.float32).reshape(3, 4), aspect=2.0).shape
    (6, 4)
    """

    values: NDArray[Any]  # float32 or uint8 [H, W], all finite; uint8 or uint16 [H, W, 3]
    # bool [H, W], True where nothing was imaged (padding, NaN): in no statistic, shown black
    background: NDArray[np.bool_] | None = None
    # lowest and highest value that the file says it can hold: (0, 4095) for 12 bits; None for
    # floats, and for 16 bits of which nobody says how many are in use
    stored: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None  # mm from row to row, from column to column
    aspect: float = 1.0  # height of a pixel over its width
    unit: str = ""  # HU or SUV, where a value means the same in every file
    # of grey values that were turned upright, as of MONOCHROME1: what they and the file's own
    # sum up to; a window given in the file's values has its center at turned - center here
    turned: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width once pixels are square."""
        height, width = self.values.shape[:2]
        if self.aspect >= 1:
            return round(height * self.aspect), width
        return height, round(width / self.aspect)

    @property
    def inside(self) -> NDArray[Any]:
        """The values that were imaged, without background, in one row."""
        values = self.values if self.background is None else self.values[~self.background]
        return values.reshape(-1)

    @property
    def deep(self) -> bool:
        """Whether values go beyond 0 … 255."""
        return self.values.dtype != np.uint8

    def outline(self) -> Pixels:
        """Return all but the values and background: views of one number, which take no room."""
        values = np.broadcast_to(np.zeros((), self.values.dtype), self.values.shape)
        background = None if self.background is None else np.broadcast_to(True, values.shape[:2])
        return replace(self, values=values, background=background)

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Return two percentiles of what was imaged, as `numpy.percentile` interpolates them."""
        inside = self.inside
        if self.deep:
            first, last = np.percentile(inside, (low, high))
            return float(first), float(last)
        # For 256 values a histogram gives the same, many times faster than sorting.
        below = np.cumsum(np.bincount(inside, minlength=256))
        ranks = np.array([low, high]) / 100 * (len(inside) - 1)
        lower = np.searchsorted(below, np.floor(ranks), side="right")
        upper = np.searchsorted(below, np.ceil(ranks), side="right")
        first, last = lower + (upper - lower) * (ranks - np.floor(ranks))
        return float(first), float(last)


def grey_pixels(
    values: NDArray[Any], name: str, background: NDArray[np.bool_] | None = None, **facts: Any
) -> Pixels:
    """Return numbers [H, W] as a grey image; what is not finite becomes background."""
    if values.ndim != 2 or min(values.shape) < 2:
        raise DataError(f"{name} is not one image: its shape is {values.shape}, expected [H, W].")
    if values.dtype != np.uint8:
        with np.errstate(over="ignore"):  # beyond float32 is infinite
            values = np.array(values, np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            background = ~finite if background is None else background | ~finite
    if background is not None and not background.any():
        background = None
    if background is not None:
        if background.all():
            raise DataError(f"{name} holds nothing but padding or values that are not finite.")
        values = np.where(background, values[~background].min(), values)
    return Pixels(values, background, **facts)


def grey_or_colour(values: NDArray[Any], name: str, **facts: Any) -> Pixels:
    """Return an array [H, W], [H, W, 1] or [H, W, 3] as one image; eight bits stay as they are."""
    if values.dtype == np.uint8:
        facts["stored"] = (0.0, 255.0)
    if values.ndim != 3 or values.shape[2] != 3:
        return grey_pixels(values[..., 0] if values.shape[2:] == (1,) else values, name, **facts)
    if min(values.shape) < 2:
        raise DataError(f"{name} is not one image: its shape is {values.shape}.")
    if values.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{name} has colours of {values.dtype}; save it with 8 or 16 bits.")
    return Pixels(np.ascontiguousarray(values), **facts)


NO_PIXELS = Pixels(np.zeros((2, 2), np.uint8))


@dataclass(frozen=True)
class ImageRecord:
    """One image that was read."""

    name: str  # the path of its file below the data's own, and the frame or slice of it
    pixels: Pixels = field(default=NO_PIXELS, repr=False)  # an outline once they are kept
    labels: Mapping[str, Value] = field(default_factory=dict)  # factor -> class
    group: str | None = field(default=None, repr=False)  # may name a person: never shown
    file: Path | None = field(default=None, repr=False)
    sha256: str | None = None  # of the file; None for what is in memory
    side: str | None = None  # "train" or "test" where the data itself says so
    # reads the mask that lies beside it, prepared by a Preprocessing
    mask: Callable[[Any], NDArray[np.uint8]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Refused:
    """One file that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageFile:
    """One file, or one item in memory, before it is opened.

    ``read`` opens it once and yields its images, of a volume or series only the rows that are
    given; it raises a DataError where the whole file cannot be used. ``count`` returns how many
    images it holds; None where it holds one.
    """

    name: str
    read: Callable[[set[int] | None], Iterable[ImageRecord | Refused]]
    count: Callable[[], int] | None = None


def drawn_files(files: Sequence[ImageFile], most: int | None, seed: int) -> list[ImageFile]:
    """Return files that hold ``most`` images together, drawn by the seed, in their order."""
    if most is None or (len(files) <= most and all(file.count is None for file in files)):
        return list(files)
    counts = []
    for file in files:
        try:
            counts.append(1 if file.count is None else file.count())
        except DataError:
            counts.append(1)  # reading it says what is wrong
    owners = np.repeat(np.arange(len(files)), counts)
    if len(owners) <= most:
        return list(files)
    first = np.cumsum([0, *counts])
    chosen: dict[int, set[int]] = {}
    for row in np.sort(np.random.default_rng(seed).permutation(len(owners))[:most]).tolist():
        chosen.setdefault(int(owners[row]), set()).add(row - int(first[owners[row]]))
    return [_only(files[owner], rows) for owner, rows in chosen.items()]


def _only(file: ImageFile, rows: set[int]) -> ImageFile:
    return file if file.count is None else replace(file, read=lambda _: file.read(rows))


class DecodedImages(Sequence[Pixels]):
    """Decoded images, kept until all are seen: in memory, and in a file when they are many.

    The file has no name on any disk that others could open, and ends with the process.
    """

    def __init__(self) -> None:
        self._images: list[Pixels | int] = []  # or where an image begins in the file
        self._bytes = 0
        self._file: Any = None

    def append(self, pixels: Pixels) -> None:
        """Keep one image."""
        self._bytes += pixels.values.nbytes
        if self._bytes <= IN_MEMORY:
            self._images.append(pixels)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115, closed when this object goes
            finalize(self, self._file.close)
        self._images.append(self._file.seek(0, 2))
        pickle.dump(pixels, self._file, protocol=5)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, row: Any) -> Any:
        image = self._images[row]
        if isinstance(image, Pixels):
            return image
        self._file.seek(image)
        return pickle.load(self._file)


def read_all(
    files: Iterable[ImageFile], *, skip_unreadable: bool
) -> tuple[list[ImageRecord], DecodedImages, list[Refused]]:
    """Open each file once; return the images in them, their pixels, and what cannot be read."""
    records: list[ImageRecord] = []
    decoded, refused = DecodedImages(), []
    for file in files:
        try:
            for image in file.read(None):
                if isinstance(image, Refused):
                    refused.append(image)
                else:
                    decoded.append(image.pixels)
                    records.append(replace(image, pixels=image.pixels.outline()))
        except DataError as error:
            refused.append(Refused(file.name, str(error)))
    shown = "; ".join(file.reason.rstrip(".") for file in refused[:MAX_LISTED])
    shown += f"; and {len(refused) - MAX_LISTED} more" if len(refused) > MAX_LISTED else ""
    words = f"{len(refused)} file{'s' * (len(refused) != 1)} cannot be used: {shown}"
    if not records:
        raise DataError(
            f"there is nothing to learn from: {words if refused else 'no images found'}."
        )
    if refused and not skip_unreadable:
        raise DataError(
            f"{words}; mend or remove them, or go on with the rest by skip_unreadable=True (for "
            "score and open_images within read=)."
        )
    return records, decoded, refused


def first_names(names: Sequence[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more
