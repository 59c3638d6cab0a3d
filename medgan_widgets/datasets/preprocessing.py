"""One way from values to pixels, kept with the run and the model, and applied to reals again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.pixels import Pixels
from medgan_widgets.errors import DataError

FAINT = 0.1  # an image whose own spread is a smaller part of the source's is not stretched
FILE = "file"  # the window that each file asks to be shown with


@dataclass(frozen=True)
class Preprocessing:
    """How the values of an image become uint8 pixels of one size.

    It is frozen when a data set is read, so that one image, a subset or the same folder read
    again give the same pixels.

    Attributes
    ----------
    size
        Pixels along each side, 8 … 1024.
    window
        (center, width) in the values' own unit, or ``"file"`` for what each file asks for;
        wins over percentiles.
    percentiles
        What becomes 0 and 255, of each image by itself.
    fit
        ``"pad"`` keeps all of an image, on black; ``"crop"`` its middle square.
    channels
        1 for grey, 3 for colour.
    range
        Lowest and highest value that count in the whole source: what becomes 0 and 255 in
        colour images of 16 bits, and in images whose own percentiles span less than a tenth
        of it, which are too sparse or too empty to be stretched by themselves.
    unit
        The unit of the window, ``"HU"`` or ``"SUV"``, where it has one.
    plane
        How volumes are cut; None across their thickest axis.
    mm_per_pixel
        Millimetres from pixel to pixel after resizing, where all images agree within 1 %.

    Raises
    ------
    DataError
        For values that no image can be made with.

    Examples
    --------
    >>> Preprocessing(size=8).pixels(np.arange(24, dtype=np.float32).reshape(4, 6)).shape
    (8, 8, 1)
    """

    size: int = 128
    window: tuple[float, float] | Literal["file"] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    fit: Literal["pad", "crop"] = "pad"
    channels: Literal[1, 3] = 1
    range: tuple[float, float] | None = None
    unit: str = ""
    plane: str | None = None
    mm_per_pixel: float | None = None

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 8 <= self.size <= 1024:
            raise DataError(f"size must be 8 … 1024 pixels, got {self.size}.")
        if self.fit not in ("pad", "crop") or self.channels not in (1, 3):
            raise DataError("fit must be 'pad' or 'crop', and channels 1 or 3.")
        if not 0 <= low < high <= 100:
            raise DataError(f"percentiles must be two of 0 … 100 in order, got {self.percentiles}.")
        if isinstance(self.window, tuple) and not self.window[1] > 0:
            raise DataError(f"a window needs a width above 0, got {self.window}.")

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Preprocessing:
        """Return what `to_dict` gave, read back from JSON; unknown fields are left out."""
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in kept.items()
            if name in cls.__dataclass_fields__
        }
        return cls(**known)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, to be stored with a run and a model."""
        return asdict(self)

    def in_words(self) -> str:
        """Return it as a few words, for summaries and scores."""
        if self.window == FILE:
            said = "each file's own window"
        elif self.window is not None:
            low, high = self._window_ends()
            said = f"window {low:g} … {high:g} {self.unit}".rstrip()
        else:
            said = f"percentiles {self.percentiles[0]:g} … {self.percentiles[1]:g} of each image"
        if self.range is not None:
            said += f", all values {self.range[0]:g} … {self.range[1]:g}"
        fit = {"pad": "padded", "crop": "cropped"}[self.fit]
        said += f"; {fit} to a square of {self.size} pixels"
        return said + (f", {self.mm_per_pixel:.3g} mm each" if self.mm_per_pixel else "")

    def pixels(self, image: Pixels | NDArray[Any]) -> NDArray[np.uint8]:
        """Return one image as uint8 [size, size, channels].

        Parameters
        ----------
        image
            `Pixels`, or bare values [H, W] or [H, W, 3].
        """
        if not isinstance(image, Pixels):
            image = Pixels(image, stored=(0, 255) if image.dtype == np.uint8 else None)
        values = image.values
        colour = values.ndim == 3
        # Whole numbers of a Dataset are dark where they fit 8 bits and others do not.
        if values.ndim == 3 and (values.dtype != np.uint8 or (self.range and not image.stored)):
            values = self._scaled(values.astype(np.float32), *(self.range or (0, 65535)))
        if values.ndim == 3 and self.channels == 1:  # ITU-R BT.601, as Pillow's own grey
            values = np.asarray(values, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
            image = Pixels(values, image.background, (0, 255), aspect=image.aspect)
        if values.ndim == 2 and not image.prepared:
            values = self._levels(image, (0.0, 255.0) if colour else self.range)
        if image.background is not None:
            values = np.where(image.background[(...,) + (None,) * (values.ndim - 2)], 0, values)
        made = self._resized(values, image.aspect, Image.Resampling.BICUBIC)
        pixels: NDArray[np.uint8] = np.clip(np.rint(made), 0, 255).astype(np.uint8)
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] < self.channels else pixels

    def mask_pixels(self, mask: NDArray[Any], aspect: float = 1.0) -> NDArray[np.uint8]:
        """Return a mask [H, W] in the geometry of its image, uint8 [size, size], values kept."""
        made = self._resized(mask.astype(np.float32), aspect, Image.Resampling.NEAREST)
        return made[..., 0].astype(np.uint8)

    def clipped(self, image: Pixels) -> int:
        """Return how many pixels of an image lie outside the window or range, cut off there."""
        if isinstance(self.window, tuple):
            low, high = self._window_ends(image.turned)
        elif self.range is not None and image.values.ndim == 3:
            low, high = self.range
        else:
            return 0
        if image.prepared or (image.values.dtype == np.uint8 and low <= 0 and high >= 255):
            return 0
        outside = (image.values < low) | (image.values > high)
        if image.background is not None:
            outside &= ~image.background[(...,) + (None,) * (outside.ndim - 2)]
        return int(outside.sum())

    def _levels(self, image: Pixels, source: tuple[float, float] | None) -> NDArray[Any]:
        """Return grey values as 0 … 255; ``source`` is what counts in all images."""
        values = image.values
        if self.window == FILE:
            if values.dtype != np.uint8 and image.stored != (0, 255):
                raise DataError(
                    "images are to be shown through each DICOM file's own window, and those of "
                    "more than 8 bits that are no DICOM have none; leave out like=, or give DICOM."
                )
            return values
        if isinstance(self.window, tuple):
            low, high = self._window_ends(image.turned)
        else:
            low, high = image.percentiles(*self.percentiles)
            whole = source or (low, high)
            if high - low < FAINT * (whole[1] - whole[0]):  # sparse, or empty: noise stays noise
                low, high = whole
        if values.dtype == np.uint8:  # 256 values are scaled once, not a quarter of a million
            table = self._scaled(np.arange(256, dtype=np.float32), low, high)
            levels: NDArray[np.float32] = table[values]
            return levels
        return self._scaled(values, low, high)

    @staticmethod
    def _scaled(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = (values - low) * np.float32(255 / ((high - low) or 1.0))
        return np.clip(scaled, 0, 255)

    @property
    def ends(self) -> tuple[float, float] | None:
        """What becomes 0 and 255 by a window of numbers; None where there is none."""
        return self._window_ends() if isinstance(self.window, tuple) else None

    def _window_ends(self, turned: float | None = None) -> tuple[float, float]:
        assert isinstance(self.window, tuple)
        center, width = self.window
        if turned is not None:  # of MONOCHROME1 the window is meant in the file's own values
            center = turned - center
        return center - width / 2, center + width / 2

    def _resized(
        self, values: NDArray[Any], aspect: float, resample: Image.Resampling
    ) -> NDArray[np.float32]:
        """Return values [H, W] or [H, W, C] as float32 [size, size, C], pixels made square."""
        planes = values[..., None] if values.ndim == 2 else values
        height, width = planes.shape[:2]
        if aspect > 1:
            planes = _plane_by_plane(planes, (width, round(height * aspect)), resample)
        elif aspect < 1:
            planes = _plane_by_plane(planes, (round(width / aspect), height), resample)
        planes = _square(planes, self.fit)
        return _plane_by_plane(planes, (self.size, self.size), resample)


def _plane_by_plane(
    planes: NDArray[Any], size: tuple[int, int], resample: Image.Resampling
) -> NDArray[Any]:
    """Return planes [H, W, C] resized to (width, height); bicubic reduces with antialias."""
    if planes.shape[1::-1] == size:
        return planes
    made = [
        Image.fromarray(np.ascontiguousarray(planes[..., k], np.float32)).resize(size, resample)
        for k in range(planes.shape[2])
    ]
    return np.stack([np.asarray(one) for one in made], axis=2)


def _square(planes: NDArray[Any], fit: str) -> NDArray[Any]:
    height, width = planes.shape[:2]
    if height == width:
        return planes
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return planes[top : top + side, left : left + side]
    side = max(height, width)
    full = np.zeros((side, side, planes.shape[2]), planes.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    full[top : top + height, left : left + width] = planes
    return full
