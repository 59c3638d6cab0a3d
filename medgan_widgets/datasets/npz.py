"""Arrays in a file: ``.npz`` as MedMNIST has them, ``train_images`` and ``train_labels``; ``.npy``.

Images are read one after another, so an archive larger than memory can be
learned from at a small size.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medgan_widgets.datasets.classes import check_class_value
from medgan_widgets.datasets.pixels import Pixels, grey_or_colour
from medgan_widgets.datasets.records import ImageFile, ImageRecord
from medgan_widgets.errors import DataError
from medgan_widgets.files import file_sha256

SIDES = {"train": "train", "val": "test", "test": "test"}
_BROKEN = (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError)


def images_of_npz(
    path: str | Path,
    *,
    labels: str | int | bool | None = None,
    group: str | None = None,
) -> Iterator[ImageFile]:
    """Yield the images of a file, not read yet, its parts one after another.

    The arrays are ``<part>_images`` [N, H, W] or [N, H, W, 3], where a part is train, val or
    test, or one plain ``images``; or an ``.npy`` file of those. Where a file has parts,
    ``train`` is learned from, the others judge. Classes are in ``<part>_<labels>``, by default
    ``labels``; a number takes that column alone, False none.
    """
    file = Path(path).expanduser()
    if file.suffix.lower() == ".npy":
        yield from _of_one_array(file, labels, group)
        return
    try:
        with zipfile.ZipFile(file) as archive:
            names = {one.removesuffix(".npy") for one in archive.namelist()}
    except _BROKEN as error:
        raise DataError(f"{file.name} cannot be read as arrays ({error}).") from error
    parts = [part for part in SIDES if f"{part}_images" in names]
    if not parts and "images" not in names:
        raise DataError(f"{file.name} has no array train_images or images.")
    own_sides = "train" in parts and len(parts) > 1
    sha256 = file_sha256(file)
    for part in parts or ["images"]:
        rows = _Rows(file, f"{part}_images" if parts else "images")
        prefix = f"{part}_" if parts else ""
        classes = _classes(file, prefix, names, labels, len(rows))
        groups = _groups(file, prefix, names, group, len(rows))
        side = SIDES[part] if own_sides else None
        for place in range(len(rows)):
            known = {}
            for key, every in classes.items():
                value = check_class_value(every[place], f"{part}#{place}")
                known[key] = "none" if value is None else value
            together = None if groups is None else groups[place]
            pixels = partial(rows.image, place)
            yield _image(pixels, f"{part}#{place}", known, together, file, sha256, side)


class _Rows:
    """The images of one array, read forwards; going back begins again."""

    def __init__(self, file: Path, name: str) -> None:
        self._file, self._name = file, name
        self._whole: NDArray[Any] | None = None
        try:
            self._begin()
        except _BROKEN as error:
            raise DataError(f"{file.name} cannot be read as arrays ({error}).") from error
        _check_shape(file.name, self.shape, self._dtype)

    def __len__(self) -> int:
        return int(self.shape[0])

    def image(self, place: int) -> Pixels:
        """Return one image."""
        try:
            return grey_or_colour(self._row(place), f"{self._name}#{place}")
        except _BROKEN as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"{self._file.name} cannot be read at image {place} of {self._name} ({error})."
            ) from error

    def _row(self, place: int) -> NDArray[Any]:
        if self._fortran:  # the last axis first: no image lies in one piece
            if self._whole is None:
                with np.load(self._file, allow_pickle=False) as arrays:
                    self._whole = np.asarray(arrays[self._name])
            return np.asarray(self._whole[place])
        size = int(np.prod(self.shape[1:])) * self._dtype.itemsize
        if place < self._next:
            self._begin()
        while True:
            data = self._stream.read(size)
            if len(data) < size:
                raise EOFError("it ends too early")
            self._next += 1
            if self._next > place:
                return np.frombuffer(data, self._dtype).reshape(self.shape[1:])

    def _begin(self) -> None:
        archive = zipfile.ZipFile(self._file)
        self._stream, self._next = archive.open(f"{self._name}.npy"), 0
        version = npy.read_magic(self._stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        self.shape, self._fortran, self._dtype = read(self._stream)


def _image(pixels: Callable[[], Pixels], name: str, *about: Any) -> ImageFile:
    """Return an image that is read when it is asked for; ``about`` ends its record."""

    def read(_: set[int] | None) -> Iterator[ImageRecord]:
        yield ImageRecord(name, pixels(), *about)

    return ImageFile(name, read)


def _of_one_array(file: Path, labels: object, group: object) -> Iterator[ImageFile]:
    if labels not in (None, False) or group is not None:
        raise DataError(
            f"{file.name} holds one array and no classes; save them beside it as an .npz file "
            "with images and labels."
        )
    try:
        images = np.load(file, mmap_mode="r", allow_pickle=False)
    except _BROKEN as error:
        raise DataError(f"{file.name} cannot be read as an array ({error}).") from error
    _check_shape(file.name, images.shape, images.dtype)
    sha256 = file_sha256(file)
    for place, image in enumerate(images):  # which stay on disk
        name = f"image#{place}"
        yield _image(partial(grey_or_colour, np.asarray(image), name), name, {}, None, file, sha256)


def _check_shape(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(
            f"{name} must hold [N, H, W] or [N, H, W, 3], got {shape}; "
            "volumes are not images: take slices."
        )
    if len(shape) == 3 and (shape[2] <= 4 or shape[0] == shape[1] > 2 * shape[2]):
        raise DataError(
            f"{name} of shape {shape} has its images along the last axis, or is one colour image; "
            "expected [N, H, W] or [1, H, W, 3]: np.moveaxis(array, -1, 0) turns it."
        )
    if dtype.kind not in "buif":
        raise DataError(f"{name} must hold numbers, got {dtype}.")
    if len(shape) == 4 and shape[3] == 3 and dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"{name} holds colour images of {dtype}; expected uint8 or uint16, scale them first."
        )


def _classes(
    file: Path, prefix: str, names: set[str], labels: str | int | bool | None, count: int
) -> dict[str, NDArray[Any]]:
    if labels is False:
        return {}
    column = labels if isinstance(labels, int) and not isinstance(labels, bool) else None
    asked = labels if isinstance(labels, str) else "labels"
    if f"{prefix}{asked}" not in names:
        if labels is None:
            return {}
        raise DataError(f"{file.name} has no array {prefix}{asked} to take classes from.")
    every = _array(file, f"{prefix}{asked}")
    if every.ndim == 0 or len(every) != count:
        got = len(every) if every.ndim else 0
        raise DataError(f"{file.name} has {count} images and {got} labels.")
    if column is not None:
        every = every.reshape(count, -1)
        if not 0 <= column < every.shape[1]:
            raise DataError(
                f"labels={column} is no column of {prefix}{asked}, which has {every.shape[1]}."
            )
        every = every[:, column : column + 1]
    return {"class" if asked == "labels" else asked: every}


def _groups(
    file: Path, prefix: str, names: set[str], group: str | None, count: int
) -> list[str] | None:
    if group is None:
        return None
    if f"{prefix}{group}" not in names:
        raise DataError(f"{file.name} has no array {prefix}{group} to say what belongs together.")
    every = _array(file, f"{prefix}{group}").reshape(-1)
    if len(every) != count:
        raise DataError(f"{file.name} has {count} images and {len(every)} of {prefix}{group}.")
    return [str(one) for one in every.tolist()]


def _array(file: Path, name: str) -> NDArray[Any]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except _BROKEN as error:
        raise DataError(f"{file.name} cannot be read as arrays ({name}: {error}).") from error
