"""Images that are in memory: one array, or a map-style Dataset as torch has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.classes import check_class_value
from medgan_widgets.datasets.pictures import pixels_of_pillow
from medgan_widgets.datasets.pixels import Pixels, grey_or_colour
from medgan_widgets.datasets.records import ImageFile, ImageRecord
from medgan_widgets.errors import DataError
from medgan_widgets.images import checked_pixels
from medgan_widgets.seeds import Value

Told = Callable[[int], Any] | Sequence[Any] | NDArray[Any]


def images_of_array(
    array: NDArray[Any], *, labels: Told | None = None, group: Told | None = None
) -> Iterator[ImageFile]:
    """Yield the images of one array; labels and groups are values, or functions of the index."""
    images = checked_pixels(array, "an array of images")
    said = _told("labels", labels, len(images)), _told("group", group, len(images))
    for place in range(len(images)):
        yield _in_memory(str(place), partial(_row, images, place, *said))


def _row(
    images: NDArray[Any],
    place: int,
    labels: Callable[[int], Any] | None,
    group: Callable[[int], Any] | None,
) -> ImageRecord:
    pixels = grey_or_colour(images[place], f"image {place}")
    return ImageRecord(str(place), pixels, _labels(labels, place), _group(group, place))


def _in_memory(name: str, make: Callable[[], ImageRecord]) -> ImageFile:
    def read(_: set[int] | None) -> Iterator[ImageRecord]:
        yield make()

    return ImageFile(name, read)


def images_of_dataset(
    dataset: Any, *, labels: Any = None, group: Told | None = None, raw: bool = False
) -> Iterator[ImageFile]:
    """Yield the images of a Dataset: whatever has a length and gives items by number.

    Items are an image, a tuple of an image and its label, or a dictionary with
    ``image`` and ``label``. An image is a Pillow image, an array [H, W] or
    [H, W, 3], or a tensor [C, H, W]; floats go from 0 to 1, whole numbers from
    0 to 255, or over more than eight bits in all items alike. ``labels`` is the place or key
    of the label in an item, a function of the index, one value an item, or False; ``raw``
    takes values as they are, for a window to be laid on them.
    """
    try:
        count = len(dataset)
    except TypeError:
        raise DataError(
            "a Dataset must say how many images it has (__len__); a stream cannot be split."
        ) from None
    at: int | str = 1 if labels is None or not isinstance(labels, (int, str)) else labels
    given = None if labels is None or isinstance(labels, (int, str)) else labels
    said = _told("labels", given, count), _told("group", group, count)
    from_item = labels is not False and given is None
    for place in range(count):
        make = partial(_item, dataset, place, *said, at if from_item else None, labels, raw)
        yield _in_memory(str(place), make)


def _item(
    dataset: Any,
    place: int,
    labels: Callable[[int], Any] | None,
    group: Callable[[int], Any] | None,
    at: int | str | None,
    asked: Any,
    raw: bool,
) -> ImageRecord:
    """Return an item's image and class; ``at`` is where an item itself has its class."""
    try:
        item = dataset[place]
    except DataError:
        raise
    except Exception as error:  # it is the person's own code
        raise DataError(
            f"item {place} of the Dataset cannot be read ({type(error).__name__}: {error})."
        ) from error
    image, label = _parts(item, place, 1 if at is None else at)
    known = _labels(labels, place)
    if at is not None:
        if label is not None:
            known = {"class": _value(label, f"item {place}")}
        elif asked is not None:
            raise DataError(f"item {place} of the Dataset has no label at {at!r}.")
    pixels = _image(image, f"item {place} of the Dataset", raw)
    return ImageRecord(str(place), pixels, known, _group(group, place))


def _parts(item: Any, place: int, at: int | str) -> tuple[Any, Any]:
    """Return an item's image and its label, or None: of a tuple, a dictionary, or itself."""
    if isinstance(item, Mapping):
        if "image" not in item:
            raise DataError(
                f"item {place} of the Dataset has no 'image'; it has: {', '.join(item)}."
            )
        return item["image"], item.get("label" if at == 1 else at)
    if isinstance(item, (tuple, list)):
        if not item:
            raise DataError(f"item {place} of the Dataset is empty; expected an image.")
        return item[0], item[at] if isinstance(at, int) and 0 < at < len(item) else None
    return item, None


def _image(item: Any, name: str, raw: bool) -> Pixels:
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
            raise DataError(
                f"{name} has the shape {item.shape}; expected [H, W], or 1 or 3 channels: of a "
                "volume take slices."
            )
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


def _told(what: str, said: Any, count: int) -> Callable[[int], Any] | None:
    if said is None or said is False:
        return None
    if callable(said):
        return _asked(what, said)
    if isinstance(said, str) or not hasattr(said, "__len__"):
        raise DataError(
            f"{what}= of images in memory must be a function of the index or one value an image, "
            f"got {said!r}."
        )
    if len(said) != count:
        raise DataError(f"{what}= has {len(said)} values for {count} images.")
    return lambda place: said[place]


def _asked(what: str, said: Callable[[int], Any]) -> Callable[[int], Any]:
    def ask(place: int) -> Any:
        try:
            return said(place)
        except Exception as error:  # it is the person's own code
            raise DataError(
                f"{what}= fails for image {place} ({type(error).__name__}: {error})."
            ) from error

    return ask


def _labels(said: Callable[[int], Any] | None, place: int) -> dict[str, Value]:
    return {} if said is None else {"class": _value(said(place), f"image {place}")}


def _group(said: Callable[[int], Any] | None, place: int) -> str | None:
    return None if said is None else str(_value(said(place), f"image {place}"))


def _value(value: Any, name: str) -> Value:
    plain = check_class_value(value, name)
    if plain is None:
        raise DataError(f"{name} has no class or group; expected text or a number.")
    return plain
