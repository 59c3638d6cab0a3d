"""What a package gives back, sorted: images, masks, other pictures, labels; nothing else passes.

medigan's contract: a list with one item an image, where an item is an array or
a tuple of (image, mask, other picture) arrays and label texts. Packages also
give one more than asked, twice as many, lists in lists, one bare array, or
nothing but files. This file runs in the worker, which may have another Python:
numpy and the standard library only, and Pillow for files.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 8192  # pixels; nothing published comes near


class AnswerError(ValueError):
    """What came back is not what an image package gives."""


def rows_of(
    answer: Any, count: int, outputs: tuple[str, ...] = ("image",), gives: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Return one row for each image asked for: image, mask, others and label, arrays as returned.

    One image more than asked for, as some packages give, is left out. ``outputs`` is what
    the card promises, ``gives`` names the arrays of an image where a package gives them flat.

    Examples
    --------
    >>> image, mask = np.zeros((4, 4)), np.ones((4, 4), np.uint8)
    >>> row = rows_of([(image, mask, "benign")], 1)[0]
    >>> row["image"].shape, row["mask"].shape, row["label"]
    ((4, 4, 1), (4, 4), 'benign')
    """
    items = _listed(answer)
    for _ in range(2):  # lists in lists, two deep at most, as medigan opens them
        if items and all(isinstance(item, list) for item in items):
            items = [inner for item in items for inner in item]
        elif len(items) == 1 and count > 1 and getattr(items[0], "ndim", 0) == 4:
            items = list(items[0])
    # Flat arrays that belong together: by the names a package has, or a mask after each image.
    size = len(gives) or (2 if len(items) == 2 * count and "mask" in outputs else 1)
    if size > 1 and len(items) >= count * size and not isinstance(items[0], (tuple, list)):
        items = [tuple(items[n * size : (n + 1) * size]) for n in range(count)]
    if len(items) < count:
        raise AnswerError(f"it gave {len(items)} for the {count} images asked for")
    return [_row(item, outputs, gives) for item in items[:count]]


def rows_in_files(
    folder: Path, count: int, outputs: tuple[str, ...] = ("image",)
) -> list[dict[str, Any]]:
    """Return the rows that a package wrote as picture files, in their natural order."""
    from PIL import Image

    images, masks = [], {}
    for path in sorted((p for p in folder.rglob("*") if p.is_file()), key=_natural):
        try:
            with Image.open(path) as picture:
                array = np.asarray(picture)
        except (OSError, ValueError, SyntaxError):
            continue  # packages leave notes and tables there as well
        # ``3_img`` and ``3_mask`` belong together.
        stem = re.sub(r"[_-]?(img|image|mask|sample)$", "", path.stem.lower())
        if "mask" in path.stem.lower():
            masks[stem] = array
        else:
            images.append((stem, array))
    if len(images) < count:
        raise AnswerError(
            f"it returned nothing and wrote {len(images)} pictures for the {count} asked for"
        )
    return [_row((array, masks.get(stem)), outputs, ()) for stem, array in images[:count]]


def span_of(picture: np.ndarray) -> list[Any]:
    """Return a picture's dtype, whether its values are whole, the lowest and the highest."""
    whole = picture.dtype.kind != "f" or bool((picture == np.rint(picture)).all())
    return [picture.dtype.str, whole, float(picture.min()), float(picture.max())]


def scale_of(spans: list[list[Any]], *, mask: bool = False) -> tuple[float, float, int]:
    """Return what becomes 0, what becomes the highest grey level, and that level: 255 or 65535.

    One rule for all pictures of a package, from the spans of several: a dark one alone
    would be taken for another scale. Floats go from 0 to 1, -1 to 1 or 0 to 255, else
    from their lowest to their highest; whole numbers stay what they are, in 8 or 16
    bits. Masks of 0 and 1 alone become 0 and 255.

    Examples
    --------
    >>> scale_of([span_of(np.array([[0.1, 0.9]])), span_of(np.array([[-0.9, 0.2]]))])
    (-1.0, 1.0, 255)
    >>> scale_of([span_of(np.array([[0, 200]])), span_of(np.array([[0, 4000]]))])
    (0.0, 65535.0, 65535)
    """
    low, high = min(span[2] for span in spans), max(span[3] for span in spans)
    floats, whole = any(span[0][1] == "f" for span in spans), all(span[1] for span in spans)
    if not floats and (low < 0 or high > 65535):
        raise AnswerError(f"its whole numbers go from {low:g} to {high:g}, which is no picture")
    if (floats or mask) and low >= -1.001 and high <= 1.001:
        return (0.0 if low >= -0.001 else -1.0), 1.0, 255
    if whole and low >= 0 and 255 < high <= 65535:
        return 0.0, 65535.0, 65535
    # Among several images, a package of bytes has something brighter than 16.
    if not floats or (low >= -0.001 and 16 < high <= 255.5):
        return 0.0, 255.0, 255
    return low, high, 255


def to_pixels(picture: np.ndarray, scale: tuple[float, float, int]) -> tuple[np.ndarray, int]:
    """Return a picture as uint8 or uint16, as its scale says, and how many values it clipped.

    Examples
    --------
    >>> pixels, clipped = to_pixels(np.array([[-1.0, 0.0, 1.0, 3.0]]), (-1.0, 1.0, 255))
    >>> pixels.tolist(), clipped
    ([[0, 128, 255, 255]], 1)
    """
    low, high, top = scale
    if picture.dtype == np.uint8 and high == top == 255:
        return picture, 0
    if picture.dtype.kind == "b":
        low, high = 0, 1
    values = (picture.astype(np.float64) - low) * (top / ((high - low) or 1.0))
    clipped = int(((values < -0.5) | (values > top + 0.5)).sum())
    pixels = np.floor(np.clip(values, 0, top) + 0.5)
    return pixels.astype(np.uint16 if top > 255 else np.uint8), clipped


def _listed(answer: Any) -> list[Any]:
    if answer is None:
        raise AnswerError("it returned nothing")
    if isinstance(answer, (str, bytes, dict, int, float)):
        raise AnswerError(f"it returned a {type(answer).__name__}, not images")
    if isinstance(answer, tuple) and answer and all(_is_picture(part) for part in answer):
        return [answer]  # one image with its mask, bare
    if isinstance(answer, (list, tuple)):
        return list(answer)
    array = _array(answer)
    if array.ndim == 4 or (array.ndim == 3 and min(array.shape[0], array.shape[-1]) > 4):
        return list(array)
    return [array]


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) or (hasattr(value, "shape") and len(value.shape) in (2, 3))


def _row(item: Any, outputs: tuple[str, ...], gives: tuple[str, ...]) -> dict[str, Any]:
    parts = list(item) if isinstance(item, (tuple, list)) else [item]
    labels = [part[:200] for part in parts if isinstance(part, str)]
    arrays = [_picture(part) for part in parts if part is not None and not isinstance(part, str)]
    if not arrays:
        raise AnswerError("an item of its answer holds no picture")
    image, mask, others = arrays[0], None, {}
    names = list(gives) or ["image", "mask"]
    for index, array in enumerate(arrays[1:], 1):
        name = names[index] if index < len(names) else f"other {index - 1}"
        if name.endswith("mask") and mask is None:
            mask = array[..., :3].max(axis=2)
        else:
            others[name] = array
    if image.shape[2] == 4:  # colour and one more: a mask where the card promises one
        image, fourth = image[..., :3], image[..., 3]
        if "mask" in outputs and mask is None:
            mask = fourth
        else:
            others["channel 4"] = fourth[..., None]
    return {"image": image, "mask": mask, "others": others, "label": labels[-1] if labels else None}


def _picture(part: Any) -> np.ndarray:
    """Return [H, W, C] with 1, 3 or 4 channels, or say why this is no picture."""
    array = _array(part)
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim == 3 and array.shape[2] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = np.moveaxis(array, 0, 2)
    sides = array.shape[:2]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or min(sides) < 2 or max(sides) > SIDE:
        raise AnswerError(f"an array of shape {tuple(array.shape)} is no picture")
    if array.dtype.kind not in "fiub":
        raise AnswerError(f"an array of {array.dtype} is no picture")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise AnswerError("its pictures hold values that are not finite")
    return np.ascontiguousarray(array)


def _array(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):  # a tensor
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise AnswerError(f"a {type(value).__name__} is no picture") from error


def _natural(path: Path) -> list[Any]:
    return [int(t) if t.isdigit() else t.lower() for t in re.split(r"(\d+)", str(path))]
