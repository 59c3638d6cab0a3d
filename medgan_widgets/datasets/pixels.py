"""One image as its file holds it: values, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pixels:
    """One image before any preprocessing: upright, bright where a viewer shows it bright.

    Attributes
    ----------
    values
        Grey: float32 [H, W], all finite. Colour: uint8 or uint16 [H, W, 3].
    background
        bool [H, W], True where nothing was imaged (padding values, NaN): left out of every
        statistic and shown black. None where there is no such place.
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
    """

    values: NDArray[Any]
    background: NDArray[np.bool_] | None = None
    stored: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    aspect: float = 1.0
    unit: str = ""
