"""One way from values to pixels, written down: training, evaluation and metrics share it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.errors import DataError


@dataclass(frozen=True)
class Preprocessing:
    """How the values of an image become uint8 pixels of one size.

    Attributes
    ----------
    size
        Pixels along each side, 8 … 1024.
    window
        (center, width) in the values' own unit; wins over percentiles.
    percentiles
        What becomes 0 and 255, of each image by itself.
    fit
        ``"pad"`` keeps all of an image, on black; ``"crop"`` its middle square.
    channels
        1 for grey, 3 for colour.

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
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (0.5, 99.5)
    fit: Literal["pad", "crop"] = "pad"
    channels: Literal[1, 3] = 1

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 8 <= self.size <= 1024:
            raise DataError(f"size must be 8 … 1024 pixels, got {self.size}.")
        if self.fit not in ("pad", "crop") or self.channels not in (1, 3):
            raise DataError("fit must be 'pad' or 'crop', and channels 1 or 3.")
        if not 0 <= low < high <= 100:
            raise DataError(f"percentiles must be two of 0 … 100 in order, got {self.percentiles}.")
        if self.window is not None and not self.window[1] > 0:
            raise DataError(f"a window needs a width above 0, got {self.window}.")

    def pixels(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Return values [H, W] or [H, W, 3] as uint8 [size, size, channels]."""
        colour = values.ndim == 3
        if colour and self.channels == 1:  # ITU-R BT.601, as Pillow's own grey
            values = np.asarray(values, np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        if not (colour and self.channels == 3):
            values = self._levels(np.asarray(values, np.float32))
        square = _square(np.asarray(values, np.float32), self.fit)
        planes = square[..., None] if square.ndim == 2 else square
        resized = [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(planes[..., k])).resize(
                    (self.size, self.size),
                    Image.Resampling.BICUBIC,  # reduces with antialias
                )
            )
            for k in range(planes.shape[2])
        ]
        made = np.stack(resized, axis=2)
        if self.channels == 3 and made.shape[2] == 1:
            made = np.repeat(made, 3, axis=2)
        pixels: NDArray[np.uint8] = np.clip(np.rint(made), 0, 255).astype(np.uint8)
        return pixels

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values, to be stored with a run and a model."""
        return asdict(self)

    def _levels(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.window is not None:
            center, width = self.window
            low, high = center - width / 2, center + width / 2
        else:
            low, high = (float(one) for one in np.percentile(values, self.percentiles))
        scaled: NDArray[np.float32] = (values - low) * np.float32(255 / ((high - low) or 1.0))
        return np.clip(scaled, 0, 255)


def _square(values: NDArray[np.float32], fit: str) -> NDArray[np.float32]:
    height, width = values.shape[:2]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return values[top : top + side, left : left + side]
    side = max(height, width)
    full = np.zeros((side, side, *values.shape[2:]), np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    full[top : top + height, left : left + width] = values
    return full
