"""One way from values to pixels, kept with the run and the model, and applied to reals again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.records import Pixels
from medgan_widgets.errors import DataError, RequestError

FAINT = 0.1  # an image whose own spread is a smaller part of the source's is not stretched
FILE = "file"  # the window that each file asks to be shown with
BT601 = np.array([0.299, 0.587, 0.114], np.float32)  # colour to grey, as Pillow does it


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
    def of(cls, source: Any) -> Preprocessing | None:
        """Return what a card, images or their stored form carry; None where it is not known.

        Raises
        ------
        RequestError
            For what carries none by its kind.
        """
        if source is None or isinstance(source, Preprocessing):
            return source
        if not isinstance(source, Mapping) and not hasattr(source, "preprocessing"):
            raise RequestError(
                "like must be a model's card, TrainingImages or a Preprocessing, got "
                f"{source!r:.60}."
            )
        kept = source if isinstance(source, Mapping) else source.preprocessing
        return cls.from_dict(kept) if isinstance(kept, Mapping) and kept else kept or None

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
            words = "each file's own window"
        elif ends := self.window_ends():
            words = f"window {ends[0]:g} … {ends[1]:g} {self.unit}".rstrip()
        else:
            words = f"percentiles {self.percentiles[0]:g} … {self.percentiles[1]:g} of each image"
        if self.range is not None:
            words += f", all values {self.range[0]:g} … {self.range[1]:g}"
        fit = {"pad": "padded", "crop": "cropped"}[self.fit]
        words += f"; {fit} to a square of {self.size} pixels"
        return words + (f", {self.mm_per_pixel:.3g} mm each" if self.mm_per_pixel else "")

    def pixels(self, image: Pixels | NDArray[Any]) -> NDArray[np.uint8]:
        """Return `Pixels`, or bare values [H, W] or [H, W, 3], as uint8 [size, size, channels]."""
        if not isinstance(image, Pixels):
            image = Pixels(image, stored=(0, 255) if image.dtype == np.uint8 else None)
        values, source = image.values, self.range
        if values.ndim == 3:
            # Whole numbers of a Dataset are dark where they fit 8 bits and others do not.
            if image.deep or (self.range and not image.stored):
                values = _scaled(values.astype(np.float32), *(self.range or (0, 65535)))
            if self.channels == 1:
                values, source = np.asarray(values, np.float32) @ BT601, (0.0, 255.0)
                image = replace(image, values=values, stored=source, turned=None)
        if values.ndim == 2:
            values = self._levels(image, source)
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
        ends = self.window_ends(image.turned) or (self.range if image.values.ndim == 3 else None)
        if ends is None or (not image.deep and ends[0] <= 0 and ends[1] >= 255):
            return 0
        low, high = ends
        outside = (image.values < low) | (image.values > high)
        if image.background is not None:
            outside &= ~image.background[(...,) + (None,) * (outside.ndim - 2)]
        return int(outside.sum())

    def window_ends(self, turned: float | None = None) -> tuple[float, float] | None:
        """Return what becomes 0 and 255 by a window of numbers; None where there is none."""
        if not isinstance(self.window, tuple):
            return None
        center, width = self.window
        if turned is not None:  # of MONOCHROME1 the window is meant in the file's own values
            center = turned - center
        return center - width / 2, center + width / 2

    def _levels(self, image: Pixels, source: tuple[float, float] | None) -> NDArray[Any]:
        """Return grey values as 0 … 255; ``source`` is what counts in all images."""
        if self.window == FILE:
            if image.deep and image.stored != (0, 255):
                raise DataError(
                    "only DICOM files have an own window, through which images are to be shown; "
                    "leave out like=, or give DICOM."
                )
            return image.values
        low, high = self.window_ends(image.turned) or image.percentiles(*self.percentiles)
        if self.window is None:
            whole = source or (low, high)
            if high - low < FAINT * (whole[1] - whole[0]):  # sparse, or empty: noise stays noise
                low, high = whole
        if image.deep:
            return _scaled(image.values, low, high)
        # 256 values are scaled once, not a quarter of a million
        table = _scaled(np.arange(256, dtype=np.float32), low, high)
        return np.asarray(table[image.values])

    def _resized(
        self, values: NDArray[Any], aspect: float, resample: Image.Resampling
    ) -> NDArray[np.float32]:
        """Return values [H, W] or [H, W, C] as float32 [size, size, C], pixels made square."""
        planes = values[..., None] if values.ndim == 2 else values
        width, height = Pixels(planes, aspect=aspect).shape[::-1]
        planes = _plane_by_plane(planes, (width, height), resample)
        planes = _square(planes, self.fit)
        return _plane_by_plane(planes, (self.size, self.size), resample)


def _scaled(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    scaled: NDArray[np.float32] = (values - low) * np.float32(255 / ((high - low) or 1.0))
    return np.clip(scaled, 0, 255)


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
    return np.stack([np.asarray(plane) for plane in made], axis=2)


def _square(planes: NDArray[Any], fit: str) -> NDArray[Any]:
    height, width = planes.shape[:2]
    if height == width:
        return planes
    side = min(height, width) if fit == "crop" else max(height, width)
    top, left = abs(side - height) // 2, abs(side - width) // 2
    if fit == "crop":
        return planes[top : top + side, left : left + side]
    full = np.zeros((side, side, planes.shape[2]), planes.dtype)
    full[top : top + height, left : left + width] = planes
    return full
