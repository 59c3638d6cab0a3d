"""Images as arrays: ``.npz`` as MedMNIST has them, ``.npy``, one array, or a torch Dataset."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.pictures import pixels_of_pillow
from medgan_widgets.datasets.records import ImageFile, ImageRecord, Pixels, grey_or_colour
from medgan_widgets.datasets.table import class_of_item
from medgan_widgets.errors import DataError
from medgan_widgets.files import file_sha256
from medgan_widgets.images import checked_pixels
from medgan_widgets.seeds import Value

SIDES = {"train": "train", "val": "test", "test": "test"}
_BROKEN = (OSError, ValueError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError)


# ---------------------------------------------------------------- in files


def images_of_arrays(path: Path, labels: Any, group: Any) -> list[ImageFile]:
    """Return the images of an ``.npz`` or ``.npy`` file; they stay on disk until they are read.

    The arrays are ``<part>_images`` [N, H, W] or [N, H, W, 3], where a part is train, val or
    test, or one plain ``images``. Where a file has parts, ``train`` is learned from, the others
    judge. Classes are in ``<part>_<labels>``, by default ``labels``; a number takes that column
    alone, False none.
    """
    if path.suffix.lower() == ".npy":
        if labels not in (None, False) or group is not None:
            raise DataError(f"{path.name} has no classes; save an .npz file of images and labels.")
        names, parts = set(), []
    else:
        with _loaded(path, lambda: zipfile.ZipFile(path)) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
        parts = [part for part in SIDES if f"{part}_images" in names]
        if not parts and "images" not in names:
            raise DataError(f"{path.name} has no array train_images or images.")
    sha256 = file_sha256(path)
    own_sides = "train" in parts and len(parts) > 1
    files = []
    for part in parts or ["images" if names else "image"]:
        prefix = f"{part}_" if parts else ""
        images = _unpacked(path, f"{prefix}images")
        _check_shape(path.name, images)
        classes = _classes(path, prefix, names, labels, len(images))
        groups = [None] * len(images)
        if group is not None:
            groups = _column(path, f"{prefix}{group}", names, len(images)).ravel().tolist()
        for row, together in enumerate(groups):
            name = f"{part}#{row}"
            known = {key: class_of_item(values[row], name) for key, values in classes.items()}
            record = ImageRecord(
                name,
                labels={key: "none" if value is None else value for key, value in known.items()},
                group=None if together is None else str(together),
                file=path,
                sha256=sha256,
                side=SIDES[part] if own_sides else None,
            )
            files.append(_image_file(images, row, record))
    return files


def _image_file(images: NDArray[Any], row: int, record: ImageRecord) -> ImageFile:
    def read(_: set[int] | None) -> Iterator[ImageRecord]:
        yield replace(record, pixels=grey_or_colour(np.asarray(images[row]), record.name))

    return ImageFile(record.name, read)


def _loaded(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except _BROKEN as error:
        raise DataError(f"{path.name} cannot be read as arrays ({error}).") from error


def _unpacked(path: Path, name: str) -> NDArray[Any]:
    """Return an array that may exceed memory: unpacked into a file that goes when it does."""

    def load() -> NDArray[Any]:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, "r"))
        folder = tempfile.TemporaryDirectory(prefix="medgan_array_")
        with zipfile.ZipFile(path) as archive:
            array: NDArray[Any] = np.load(archive.extract(f"{name}.npy", folder.name), "r")
        finalize(array, folder.cleanup)
        return array

    array: NDArray[Any] = _loaded(path, load)
    return array


def _check_shape(name: str, images: NDArray[Any]) -> None:
    shape, dtype = images.shape, images.dtype
    what = f"{name} must hold [N, H, W] or [N, H, W, 3], got {dtype} {shape}"
    if len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{what}; volumes are not images: take slices.")
    if len(shape) == 3 and (shape[2] <= 4 or shape[0] == shape[1] > 2 * shape[2]):
        raise DataError(f"{what}; if images lie along the last axis, np.moveaxis(array, -1, 0).")
    if dtype.kind not in "buif":
        raise DataError(f"{what}, which are no numbers.")
    if len(shape) == 4 and shape[3] == 3 and dtype not in (np.uint8, np.uint16):
        raise DataError(f"{what}; colours must be uint8 or uint16, scale them first.")


def _classes(
    path: Path, prefix: str, names: set[str], labels: Any, count: int
) -> dict[str, NDArray[Any]]:
    """Return the array of classes under the name of their factor, if there is one."""
    array = labels if isinstance(labels, str) else "labels"
    if labels is False or (labels is None and f"{prefix}{array}" not in names):
        return {}
    every = _column(path, f"{prefix}{array}", names, count)
    if isinstance(labels, int) and not isinstance(labels, bool):
        every = every.reshape(count, -1)
        if not 0 <= labels < every.shape[1]:
            raise DataError(f"labels={labels} is none of the {every.shape[1]} columns of {array}.")
        every = every[:, labels : labels + 1]
    return {"class" if array == "labels" else array: every}


def _column(path: Path, name: str, names: set[str], count: int) -> NDArray[Any]:
    if name not in names:
        raise DataError(f"{path.name} has no array {name}; it has: {', '.join(sorted(names))}.")
    with _loaded(path, lambda: np.load(path)) as arrays:
        every = np.atleast_1d(_loaded(path, lambda: arrays[name]))
    if len(every) != count:
        raise DataError(f"{path.name} has {count} images and {len(every)} {name}.")
    return every


# ---------------------------------------------------------------- in memory


def images_of_array(array: NDArray[Any], labels: Any, group: Any) -> list[ImageFile]:
    """Return the images of one array; labels and groups are values, or functions of the index."""
    images = checked_pixels(array, "an array of images")

    def image_of(row: int) -> tuple[Pixels, None]:
        return grey_or_colour(images[row], f"image {row}"), None

    return _in_memory(len(images), image_of, labels, group)


def images_of_dataset(dataset: Any, labels: Any, group: Any, raw: bool) -> list[ImageFile]:
    """Return the images of a Dataset: whatever has a length and gives items by number.

    Items are an image, a tuple of an image and its label, or a dictionary with ``image`` and
    ``label``. An image is a Pillow image, an array [H, W] or [H, W, 3], or a tensor [C, H, W];
    floats go from 0 to 1, whole numbers from 0 to 255, or over more than eight bits in all items
    alike. ``labels`` is the place or key of the label in an item, a function of the index, one
    value an item, or False; ``raw`` takes values as they are, for a window to be laid on them.
    """
    try:
        count = len(dataset)
    except TypeError:
        raise DataError("a Dataset must say how many images it has, by __len__.") from None
    in_items = labels is None or isinstance(labels, (int, str))
    key = 1 if labels is None or not in_items else labels

    def item_of(row: int) -> tuple[Pixels, Value | None]:
        try:
            item = dataset[row]
        except DataError:
            raise
        except Exception as error:  # it is the person's own code
            why = f"{type(error).__name__}: {error}"
            raise DataError(f"item {row} of the Dataset cannot be read ({why}).") from error
        image, label = _parts(item, row, key)
        if not in_items or labels is False:
            label = None
        elif label is not None:
            label = _known(class_of_item(label, f"item {row}"), f"item {row}")
        elif labels is not None:
            raise DataError(f"item {row} of the Dataset has no label at {key!r}.")
        return _pixels_of(image, f"item {row} of the Dataset", raw), label

    return _in_memory(count, item_of, None if in_items else labels, group)


def _in_memory(
    count: int, image_of: Callable[[int], tuple[Pixels, Value | None]], labels: Any, group: Any
) -> list[ImageFile]:
    label_of, group_of = _by_row("labels", labels, count), _by_row("group", group, count)

    def file_of(row: int) -> ImageFile:
        def read(_: set[int] | None) -> Iterator[ImageRecord]:
            pixels, label = image_of(row)
            label = label_of(row) if label_of else label
            known = {} if label is None else {"class": label}
            yield ImageRecord(str(row), pixels, known, str(group_of(row)) if group_of else None)

        return ImageFile(str(row), read)

    return [file_of(row) for row in range(count)]


def _by_row(what: str, values: Any, count: int) -> Callable[[int], Value] | None:
    """Return what gives the class or group of each image, or None where nobody says."""
    if values is None or values is False:
        return None
    if not callable(values):
        if isinstance(values, str) or not hasattr(values, "__len__"):
            raise DataError(
                f"{what}= must be one value an image, or a function of the index; got {values!r}."
            )
        if len(values) != count:
            raise DataError(f"{what}= has {len(values)} values for {count} images.")

    def value_of(row: int) -> Value:
        try:
            value = values(row) if callable(values) else values[row]
        except Exception as error:  # it is the person's own code
            why = f"{type(error).__name__}: {error}"
            raise DataError(f"{what}= fails for image {row} ({why}).") from error
        return _known(class_of_item(value, f"image {row}"), f"image {row}")

    return value_of


def _known(value: Value | None, name: str) -> Value:
    if value is None:
        raise DataError(f"{name} has no class or group; expected text or a number.")
    return value


def _parts(item: Any, row: int, key: int | str) -> tuple[Any, Any]:
    """Return an item's image and its label, or None: of a tuple, a dictionary, or itself."""
    if isinstance(item, Mapping):
        if "image" not in item:
            raise DataError(f"item {row} of the Dataset has no 'image'; it has: {', '.join(item)}.")
        return item["image"], item.get("label" if key == 1 else key)
    if isinstance(item, (tuple, list)):
        if not item:
            raise DataError(f"item {row} of the Dataset is empty; expected an image.")
        return item[0], item[key] if isinstance(key, int) and 0 < key < len(item) else None
    return item, None


def _pixels_of(item: Any, name: str, raw: bool) -> Pixels:
    """Return an item's image; ``raw`` takes floats in their own range."""
    if isinstance(item, Image.Image):
        pixels = pixels_of_pillow(item, name)
        if item.mode != "F" or raw:
            return pixels
        item = pixels.values
    tensor = hasattr(item, "detach")
    if tensor:
        item = item.detach().cpu()
        item = (item.float() if item.is_floating_point() else item).numpy()
    if not isinstance(item, np.ndarray) or item.dtype.kind not in "buif":
        raise DataError(f"{name} is no image but {type(item).__name__}; expected array or tensor.")
    if item.ndim == 3:
        last = item.shape[2] in (1, 3) and not (tensor and item.shape[0] in (1, 3))
        item = item if last else np.moveaxis(item, 0, 2)
        if item.shape[2] not in (1, 3):
            raise DataError(f"{name} has the shape {item.shape}; of a volume take slices.")
    if item.ndim not in (2, 3):
        raise DataError(f"{name} has the shape {item.shape}; expected [H, W] or [C, H, W].")
    if raw and (item.ndim == 2 or item.shape[2] == 1):
        return grey_or_colour(item, name)
    pixels = grey_or_colour(_levels(item, name), name)
    eight = item.dtype == np.uint8 or item.dtype.kind == "f"
    return replace(pixels, stored=(0.0, 255.0) if eight else None)  # others may hold more


def _levels(item: NDArray[Any], name: str) -> NDArray[Any]:
    """Return floats 0 … 1 as 0 … 255, whole numbers as they are, eight bits where they fit."""
    if item.dtype == np.uint8:
        return item
    whole = item.dtype.kind in "ui"
    low, high = float(item.min()), float(item.max())
    if not (-1e-3 <= low <= high <= (65535 if whole else 1 + 1e-3)):  # also for NaN
        raise DataError(
            f"{name} holds {low:g} … {high:g}; expected whole numbers 0 … 65535 or floats 0 … 1: "
            "scale them, or pass window=(center, width)."
        )
    if whole:
        return item.astype(np.uint8 if high <= 255 and item.dtype != np.uint16 else np.uint16)
    scaled = np.clip(item.astype(np.float32), 0, 1) * np.float32(255)
    return np.rint(scaled).astype(np.uint8) if item.ndim == 3 and item.shape[2] == 3 else scaled
