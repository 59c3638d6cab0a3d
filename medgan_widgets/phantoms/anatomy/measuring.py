"""``measure_anatomy``: from images of one kind to numbers, and how well each is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.phantoms import KINDS, check_kind
from medgan_widgets.phantoms.anatomy.brain import measured_brains
from medgan_widgets.phantoms.anatomy.breast import measured_breasts
from medgan_widgets.phantoms.anatomy.chest import measured_chests
from medgan_widgets.phantoms.anatomy.frame import SIDE, Floats
from medgan_widgets.seeds import Value

CHUNK = 128  # measured together, so that memory does not grow with the images
LESIONS = {"brain_mri": "tumour", "chest_xray": "nodule", "mammogram": "mass"}


@dataclass(frozen=True)
class Quantity:
    """One thing that is measured, and how well: on phantoms of known truth.

    Attributes
    ----------
    words, unit
        For sentences and axes.
    correlation
        Of measured and true values; tests hold it. None for what is seen or not.
    bias
        Mean of measured minus true, in the unit.
    accuracy
        Balanced accuracy of what is seen or not; for the contrast, the share told rightly.
    """

    words: str
    unit: str
    correlation: float | None = None
    bias: float | None = None
    accuracy: float | None = None


HALF = "half widths"  # of the image
QUANTITIES: dict[str, dict[str, Quantity]] = {
    "brain_mri": {
        "contrast": Quantity("contrast", "place in T1, T2, FLAIR", accuracy=0.99),
        "head_width": Quantity("head width", HALF, 0.98, 0.000),
        "head_length": Quantity("head length", HALF, 0.98, -0.001),
        "turn": Quantity("turn of the head", "radians", 0.997, 0.000),
        "ventricle_area": Quantity("ventricle area", "share of the image", 0.88, -0.0014),
        "noise": Quantity("noise", "share of white", 0.999, 0.000),
        "lesion": Quantity("tumour rate", "share of the images", accuracy=0.98),
        "radius": Quantity("tumour radius", HALF, 0.87, 0.003),
    },
    "chest_xray": {
        "heart_size": Quantity("heart size", HALF, 0.95, 0.001),
        "lung_width": Quantity("lung width", HALF, 0.98, 0.000),
        "lung_area": Quantity("lung area", "share of the image", 0.98, 0.000),
        "turn": Quantity("turn of the trunk", "radians", 0.997, 0.000),
        "lesion": Quantity("nodule rate", "share of the images", accuracy=0.95),
        "radius": Quantity("nodule radius", HALF, 0.86, -0.003),
    },
    "mammogram": {
        "density": Quantity("density", "share of white", 0.99, 0.003),
        "spread": Quantity("spread of the tissue", "share of white", 0.93, 0.005),
        "lesion": Quantity("mass rate", "share of the images", accuracy=0.90),
        "radius": Quantity("mass radius", HALF, 0.93, 0.006),
    },
}


def measure_anatomy(
    kind: str, images: Any, labels: Mapping[str, Sequence[Value]] | None = None
) -> dict[str, Floats]:
    """Measure the anatomy in images of phantoms, or in images generated after phantoms.

    How well each is measured on phantoms whose truth is known (64 and 128 pixels) stands in
    ``QUANTITIES``: correlation and bias, balanced accuracy for lesions.

    Left out, because it cannot be measured well: the radius of tumours in T1
    (0.6 to 0.7; the core is as grey as cortex), the exponent of a mammogram's
    texture (0.7) and spicules, photon counts, and where a lesion lies.
    Where a tumour covers a ventricle, the ventricle is measured too small.

    Parameters
    ----------
    kind
        ``"brain_mri"``, ``"chest_xray"`` or ``"mammogram"``.
    images
        uint8 [N, H, H] or [N, H, H, 1] with H of at least 64; grey in three channels too.
    labels
        ``{"contrast": [...]}`` to look at each brain as if of that contrast; by
        default the contrast is recognised.

    Returns
    -------
    dict
        Quantity -> float64 [N], NaN where nothing is seen: no such anatomy, or
        for a radius no lesion. ``lesion`` is 1 or 0. Names and units are in ``QUANTITIES``.

    Raises
    ------
    RequestError
        For an unknown kind.
    DataError
        For images that are none, of another type or shape, in colour, or too small.

    Examples
    --------
    >>> from medgan_widgets.phantoms import draw_phantoms
    >>> drawn = draw_phantoms("mammogram", range(4), size=64, condition={"mass": True})
    >>> measured = measure_anatomy("mammogram", drawn.images)
    >>> sorted(measured), measured["density"].shape
    (['density', 'lesion', 'radius', 'spread'], (4,))
    """
    check_kind(kind)
    grey = grey_images(images)
    check_labels(kind, labels, len(grey))
    contrasts = list(labels["contrast"]) if labels and "contrast" in labels else None
    parts = []
    for start in range(0, len(grey), CHUNK):
        chunk = slice(start, start + CHUNK)
        if kind == "brain_mri":
            parts.append(measured_brains(grey[chunk], contrasts and contrasts[chunk]))
        else:
            measure = measured_chests if kind == "chest_xray" else measured_breasts
            parts.append(measure(grey[chunk]))
    return {name: np.concatenate([part[name] for part in parts]) for name in QUANTITIES[kind]}


def grey_images(images: Any) -> NDArray[np.uint8]:
    """Return images as uint8 [N, H, H], or say what is wrong with them."""
    array = np.asarray(images)
    if array.dtype != np.uint8 or array.ndim not in (3, 4):
        raise DataError(
            "images must be uint8 [N, H, W] or [N, H, W, 1] to be measured, got "
            f"{array.dtype} {array.shape}."
        )
    if array.ndim == 4:
        first = array[..., :1]
        if array.shape[3] not in (1, 3) or not (array == first).all():
            raise DataError(
                f"phantoms are grey, these images have {array.shape[3]} channels that differ; "
                "measure images of a phantom model."
            )
        array = first[..., 0]
    if not len(array):
        raise DataError("there are no images to measure: expected at least one, got 0.")
    if array.shape[1] != array.shape[2] or array.shape[1] < SIDE:
        raise DataError(
            f"images must be square and at least {SIDE} pixels a side to be measured, got "
            f"{array.shape[1]} × {array.shape[2]}; smaller ones do not show the anatomy."
        )
    return array


def check_labels(kind: str, labels: Any, count: int) -> None:
    """Refuse labels that are not a list of one value an image for each class of the kind."""
    if labels is not None and not isinstance(labels, Mapping):
        raise DataError(
            "labels must be a dict of class and values, e.g. {'contrast': ['T1', 'T2']} for two "
            f"images; got {labels!r:.40}."
        )
    factors = KINDS[kind].factors
    for name, values in (labels or {}).items():
        if name not in factors:
            raise DataError(f"{kind} phantoms have no class {name!r}; they have {list(factors)}.")
        if isinstance(values, str) or not isinstance(values, (Sequence, np.ndarray)):
            raise DataError(
                f"the values of {name} must be a list of one an image, got {values!r:.40}."
            )
        if len(values) != count:
            raise DataError(f"{count} images came with {len(values)} values of {name}.")
        if any(value not in factors[name] for value in values):
            raise DataError(f"{name} must be one of {', '.join(map(str, factors[name]))}.")
