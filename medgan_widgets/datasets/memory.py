"""Images that are in memory: one array, or a map-style Dataset as torch has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.folder import pixels_of
from medgan_widgets.datasets.found import Found, Values, checked_values
from medgan_widgets.datasets.table import plain_value
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

Told = Callable[[int], Any] | Sequence[Any] | NDArray[Any]


def images_of_array(
    array: NDArray[Any], *, labels: Told | None = None, group: Told | None = None
) -> Iterator[Found]:
    """Yield the images of one array.

    Parameters
    ----------
    array
        uint8 [N, H, W] or [N, H, W, C], C of 1 or 3.
    labels, group
        One value an image, or a function of the image's index; None for none.

    Raises
    ------
    DataError
        For another array, and values of another number.

    Examples
    --------
    >>> [one.name for one in images_of_array(np.zeros((2, 8, 8), np.uint8))]
    ['0', '1']
    """
    colour = array.ndim == 4 and array.shape[3] == 3
    if array.dtype != np.uint8 or not (array.ndim == 3 or colour or array.shape[3:] == (1,)):
        raise DataError(
            f"an array of images must be uint8 [N, H, W] or [N, H, W, 1 or 3], got {array.dtype} "
            f"{array.shape}; scale or slice it first, or save it as .npz."
        )
    said = _told("labels", labels, len(array)), _told("group", group, len(array))
    for place in range(len(array)):
        name = str(place)
        yield Found(
            name, partial(_row, array, place), _labels(said[0], place), _group(said[1], place),
            array.shape[1:3], colour,
        )  # fmt: skip


def images_of_dataset(
    dataset: Any, *, labels: Any = None, group: Told | None = None, raw: bool = False
) -> Iterator[Found]:
    """Yield the images of a Dataset: whatever has a length and gives items by number.

    Parameters
    ----------
    dataset
        Items are an image, a tuple of an image and its label, or a dictionary with
        ``image`` and ``label``. An image is a Pillow image, an array [H, W] or
        [H, W, 3], or a tensor [C, H, W]; floats go from 0 to 1, whole numbers from
        0 to 255.
    labels
        Which place or key of an item is the label (1 or ``label`` by default, False
        for none), a function of the item's index, or one value an item.
    group
        A function of the index, or one value an item: what belongs together.
    raw
        Take values as they are, for a window to be laid on them.

    Raises
    ------
    DataError
        When the length cannot be told, or values are of another number.

    Examples
    --------
    >>> found = list(images_of_dataset([(np.ones((8, 8)), "T1")]))
    >>> found[0].read().max(), found[0].labels
    (np.float32(255.0), {'class': 'T1'})
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
        known: dict[str, Value] = _labels(said[0], place)
        read = partial(
            _item, dataset, place, known if from_item else None, at, labels is not None, raw
        )
        yield Found(str(place), read, known, _group(said[1], place))


def _item(
    dataset: Any,
    place: int,
    labels: dict[str, Value] | None,
    at: int | str,
    must: bool,
    raw: bool,
) -> Values:
    """Return an item's image and note its label; a Dataset tells both at once."""
    try:
        item = dataset[place]
    except DataError:
        raise
    except Exception as error:  # it is the person's own code
        raise DataError(
            f"item {place} of the Dataset cannot be read ({type(error).__name__}: {error})."
        ) from error
    image, label = _parts(item, place, at)
    if labels is not None:
        if label is not None:
            labels["class"] = _value(label, f"item {place}")
        elif must:
            raise DataError(f"item {place} of the Dataset has no label at {at!r}.")
    return _image(image, f"item {place} of the Dataset", raw)


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


def _image(item: Any, name: str, raw: bool) -> Values:
    if isinstance(item, Image.Image):
        return pixels_of(item, name)
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
        item = item[..., 0] if item.shape[2] == 1 else item
    if item.ndim not in (2, 3):
        raise DataError(f"{name} has the shape {item.shape}; expected [H, W] or [C, H, W].")
    plain = item if raw and item.ndim == 2 else _levels(item, name)
    if plain.ndim == 2:
        return checked_values(plain, name)
    pixels: NDArray[np.uint8] = np.rint(plain).astype(np.uint8)
    return pixels


def _levels(item: NDArray[Any], name: str) -> NDArray[Any]:
    """Return values as 0 … 255, when they are clearly meant so."""
    if item.dtype == np.uint8:
        return item
    whole = item.dtype.kind in "ui"
    low, high = float(item.min()), float(item.max())
    if not (-1e-3 <= low <= high <= (255 if whole else 1 + 1e-3)):  # also for NaN
        raise DataError(
            f"{name} holds {low:g} … {high:g}; expected whole numbers 0 … 255 or floats 0 … 1: "
            "scale them, or pass window=(center, width)."
        )
    plain: NDArray[Any] = (
        item if whole else np.clip(item.astype(np.float32), 0, 1) * np.float32(255)
    )
    return plain


def _row(array: NDArray[np.uint8], place: int) -> Values:
    image = array[place]
    if image.ndim == 3 and image.shape[2] == 3:
        return np.asarray(image, np.uint8)
    return checked_values(image[..., 0] if image.ndim == 3 else image, f"image {place}")


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
    if hasattr(value, "tolist"):  # an array or tensor
        value = value.tolist()
        if isinstance(value, list):
            flat = np.asarray(value).reshape(-1)
            if flat.size > 1:
                return "+".join(map(str, np.flatnonzero(flat))) or "none"
            value = flat[0].item() if flat.size else None
    plain = plain_value(value)
    if plain is None:
        raise DataError(f"{name} has no class or group; expected text or a number.")
    return plain
