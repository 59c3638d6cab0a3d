"""NIfTI volumes as slices, turned to one orientation first.

Slices are shown as radiologists show them, and as DICOM files of the same patient are: the
patient's right is on the viewer's left, the front (in sagittal slices the left) or the head up.
"""

from __future__ import annotations

import gzip
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.pixels import Pixels, grey_pixels
from medgan_widgets.errors import DataError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
SUFFIXES = (".nii", ".nii.gz")
THICKER = 1.05  # times the next, from which an axis is the thickest
FEW_LABELS = 64  # a map of labels has no more


def open_nifti(data: bytes, name: str) -> Volume:
    """Return a NIfTI file that was read into memory, compressed or not.

    Raises
    ------
    DataError
        When it is damaged, holds colour, or is no volume of three axes.
    """
    import nibabel

    try:
        plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        header = int.from_bytes(plain[:4], "little"), int.from_bytes(plain[:4], "big")
        kind: Any = nibabel.Nifti2Image if 540 in header else nibabel.Nifti1Image
        image: Any = kind.from_bytes(plain)
        shape = tuple(int(one) for one in image.shape)
        fields = image.get_data_dtype().names
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{name} cannot be read as NIfTI ({error}).") from error
    if fields is not None:
        raise DataError(f"{name} holds colour; only grey volumes are read.")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 1:
        said = " × ".join(map(str, shape))
        raise DataError(f"{name} is no volume: its shape is {said}, expected three axes.")
    return Volume(image, shape, name)


class Volume:
    """One volume; its planes are cut from it when they are asked for."""

    def __init__(self, image: Any, shape: tuple[int, ...], name: str) -> None:
        self._image, self._shape, self._name = image, shape, name

    @property
    def thickest(self) -> str:
        """The plane across the axis whose voxels are longest; axial where all are alike."""
        _, zooms = self._turned
        order = sorted(range(3), key=lambda axis: (zooms[axis], axis))
        thick = order[-1] if zooms[order[-1]] > THICKER * zooms[order[-2]] else PLANES["axial"]
        return next(plane for plane, axis in PLANES.items() if axis == thick)

    @property
    def looks_like_labels(self) -> bool:
        """Whether all values are whole and few, as in a map of labels."""
        values, _ = self._turned
        return self._image.get_data_dtype().kind in "ui" and bool(np.ptp(values) < FEW_LABELS)

    def slices(self, plane: str | None = None) -> int:
        """Return how many slices there are across a plane."""
        return int(self._turned[0].shape[PLANES[plane or self.thickest]])

    def slice(self, index: int, plane: str | None = None) -> Pixels:
        """Return one slice.

        Raises
        ------
        DataError
            When all of it is NaN.
        """
        values, zooms = self._turned
        axis = PLANES[plane or self.thickest]
        across, up = (one for one in (0, 1, 2) if one != axis)
        shown = np.rot90(np.take(values, index, axis=axis))[:, ::-1]
        aspect = zooms[up] / zooms[across]
        return grey_pixels(
            np.ascontiguousarray(shown),
            f"{self._name}#{index}",
            spacing=(zooms[up], zooms[across]),
            aspect=1.0 if abs(aspect - 1) < 1e-3 else aspect,
        )

    @cached_property
    def _turned(self) -> tuple[NDArray[np.float32], tuple[float, float, float]]:
        """The values with axes to the patient's right, front and head, and voxels in mm."""
        import nibabel

        try:
            turn: Any = nibabel.as_closest_canonical  # nibabel has no types for it
            values = np.asarray(self._image.dataobj, np.float32).reshape(self._shape)
            made: Any = nibabel.Nifti1Image
            turned = turn(made(values, self._image.affine))
            first, second, third = (float(one) or 1.0 for one in turned.header.get_zooms()[:3])
            return np.asarray(turned.dataobj), (first, second, third)
        except Exception as error:  # damaged files fail in many ways
            raise DataError(f"{self._name} cannot be read ({error}).") from error
