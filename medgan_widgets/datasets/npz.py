"""Arrays in one ``.npz`` file, as MedMNIST has them: ``train_images`` and ``train_labels``."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.found import Found, checked_values
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

PARTS = ("train", "val", "test")


def images_of_npz(path: str | Path, *, part: str = "train", labels: bool = True) -> Iterator[Found]:
    """Yield the images of one part of a file.

    Parameters
    ----------
    path
        The file; arrays ``<part>_images`` [N, H, W] or [N, H, W, 3], and
        ``<part>_labels`` [N] or [N, 1].
    part
        ``"train"``, ``"val"`` or ``"test"``; a plain ``images`` array serves too.
    labels
        Whether to take the classes.

    Raises
    ------
    DataError
        When the file is damaged, an array is missing, 3-D, or they differ in length.
    """
    file = Path(path).expanduser()
    try:
        with np.load(file, allow_pickle=False) as arrays:
            name = f"{part}_images" if f"{part}_images" in arrays else "images"
            images = np.asarray(arrays[name])
            kinds = f"{part}_labels" if f"{part}_labels" in arrays else "labels"
            classes = np.asarray(arrays[kinds]) if labels and kinds in arrays else None
    except KeyError as error:
        raise DataError(f"{file.name} has no array {part}_images or images.") from error
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{file.name} cannot be read as arrays ({error}).") from error
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise DataError(
            f"{file.name} must hold [N, H, W] or [N, H, W, 3], got {images.shape}; "
            "volumes are not images: take slices."
        )
    if classes is not None and len(classes) != len(images):
        raise DataError(f"{file.name} has {len(images)} images and {len(classes)} labels.")
    for place in range(len(images)):
        known = {} if classes is None else {"class": _class(classes[place])}
        yield Found(f"{part}#{place}", partial(_values, images[place], place), known)


def _class(label: NDArray[np.generic]) -> Value:
    """Return one number, or which of several findings there are: ``"2+5"``."""
    if label.size > 1:
        return "+".join(map(str, np.flatnonzero(label))) or "none"
    return int(label.reshape(-1)[0].item())


def _values(image: NDArray[np.generic], place: int) -> NDArray[np.float32] | NDArray[np.uint8]:
    if image.ndim == 3:
        return np.asarray(image, np.uint8)
    return checked_values(image, f"image {place}")
