"""One image as its file holds it: values, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError


@dataclass(frozen=True)
class Pixels:
    """One image before any preprocessing: upright, bright where a viewer shows it bright.

    Attributes
    ----------
    values
        Grey: float32 or, of 8 bits, uint8 [H, W], all finite. Colour: uint8 or uint16
        [H, W, 3].
    background
        bool [H, W], True where nothing was imaged (padding values, NaN): left out of every
        statistic and shown black; ``values`` are as dark there as the darkest pixel.
        None where there is no such place.
    stored
        The lowest and the highest value that the file says it can hold, in the unit of
        ``values``: (0, 255) for 8 bits, (0, 4095) for 12 bits. None where it does not say,
        as for floats, and for 16 bits of which nobody tells how many are used.
    spacing
        Millimetres from row to row and from column to column, where known.
    aspect
        Height of a pixel over its width; 1 where pixels are square or nothing is known.
    unit
        ``"HU"`` or ``"SUV"``, where a value means the same in every file; else empty.
    turned
        Where grey values were turned upright, as of MONOCHROME1: what they and the file's own
        values sum up to, the same for all files of a series. A window in the file's own
        unit has its center at ``turned - center`` here. None where nothing was turned.
    prepared
        Whether it is an image of this package's making, which is never stretched again.

    Examples
    --------
    >>> Pixels(np.arange(12, dtype=np.float32).reshape(3, 4), aspect=2.0).shape
    (6, 4)
    """

    values: NDArray[Any]
    background: NDArray[np.bool_] | None = None
    stored: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    aspect: float = 1.0
    unit: str = ""
    turned: float | None = None
    prepared: bool = False

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
        if self.background is None:
            return self.values.reshape(-1)
        inside: NDArray[Any] = self.values[~self.background].reshape(-1)
        return inside

    def percentiles(self, low: float, high: float) -> tuple[float, float]:
        """Return two percentiles of what was imaged, as `numpy.percentile` interpolates them."""
        inside = self.inside
        if inside.dtype != np.uint8:
            first, last = np.percentile(inside, (low, high))
            return float(first), float(last)
        # Of 256 values a histogram tells the same, many times faster than sorting.
        below = np.cumsum(np.bincount(inside, minlength=256))
        ranks = np.array([low, high]) / 100 * (len(inside) - 1)
        lower = np.searchsorted(below, np.floor(ranks), side="right")
        upper = np.searchsorted(below, np.ceil(ranks), side="right")
        first, last = lower + (upper - lower) * (ranks - np.floor(ranks))
        return float(first), float(last)


def grey_pixels(
    values: NDArray[Any], name: str, background: NDArray[np.bool_] | None = None, **facts: Any
) -> Pixels:
    """Return a grey image; what is NaN or infinite in it becomes background.

    Parameters
    ----------
    values
        Numbers of any kind [H, W].
    name
        What the image is called in an error.
    background
        bool [H, W], where nothing was imaged.
    **facts
        Further attributes of `Pixels`.

    Raises
    ------
    DataError
        For other shapes, and images that are background all over.

    Examples
    --------
    >>> grey_pixels(np.array([[np.nan, 1], [2, 3]]), "a.tif").values
    array([[1., 1.], [2., 3.]], dtype=float32)
    """
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


def colour_pixels(values: NDArray[Any], name: str, **facts: Any) -> Pixels:
    """Return a colour image [H, W, 3] of uint8 or uint16; ``facts`` as for `grey_pixels`.

    Raises
    ------
    DataError
        For other shapes, and for colours of other numbers, such as floats.
    """
    if values.ndim != 3 or values.shape[2] != 3 or min(values.shape) < 2:
        raise DataError(
            f"{name} is not one image: its shape is {values.shape}, expected [H, W, 3]."
        )
    if values.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{name} has colours of {values.dtype}; save it with 8 or 16 bits.")
    if values.dtype == np.uint8:
        facts["stored"] = (0.0, 255.0)
    return Pixels(np.ascontiguousarray(values), **facts)


def grey_or_colour(image: NDArray[Any], name: str) -> Pixels:
    """Return an array [H, W], [H, W, 1] or [H, W, 3] as one image; eight bits stay as they are.

    Raises
    ------
    DataError
        For other shapes.

    Examples
    --------
    >>> grey_or_colour(np.ones((4, 6, 1), np.uint16), "a").values.dtype
    dtype('float32')
    """
    if image.ndim == 3 and image.shape[2] == 3:
        return colour_pixels(image, name)
    grey = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    return grey_pixels(grey, name, stored=(0.0, 255.0) if grey.dtype == np.uint8 else None)
