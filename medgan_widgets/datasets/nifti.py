"""NIfTI volumes as slices, all in the radiological convention, as DICOM files are.

The patient's right is on the viewer's left, front (in sagittal slices: head) is up, and a
sagittal slice looks to the left. Nothing that was not imaged (NaN) counts.
"""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.pixels import Pixels
from medgan_widgets.errors import DataError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
SUFFIXES = (".nii", ".nii.gz")


class Volume:
    """One volume that was opened with `open_nifti`, its axes to the right, front and head.

    Attributes
    ----------
    name
        What it is called in an error.
    thickest
        The plane across the longest side of a voxel, in which slices are sharp.
    looks_like_labels
        Whether it holds few whole numbers, as a map of labels does.
    """

    def __init__(
        self,
        name: str,
        values: NDArray[Any],
        zooms: tuple[float, ...],
        stored: tuple[float, float] | None,
    ) -> None:
        self.name = name
        self._values, self._zooms, self._stored = values, zooms, stored
        finite = np.isfinite(values) if values.dtype.kind == "f" else None
        self._finite = None if finite is None or finite.all() else finite
        # One slice alone is cut as it is; of sides that are equal to 1 %, the axial one.
        thick = np.where(np.array(values.shape) == 1, np.inf, zooms)
        at = max(np.flatnonzero(thick >= 0.99 * thick.max()))
        self.thickest = next(plane for plane, axis in PLANES.items() if axis == at)
        self.looks_like_labels = _few_whole_numbers(values, self._finite)

    @property
    def note(self) -> str:
        """What to know of slices in the `thickest` plane; empty where there is nothing."""
        return self.note_on(self.thickest)

    def note_on(self, plane: str | None = None) -> str:
        """Return what to know of slices in a plane: thick slices that were cut across."""
        down, across = self._spacing(plane)
        ratio = max(down, across) / min(down, across)
        if ratio <= 2:
            return ""
        return (
            f"pixels of {plane or self.thickest} slices are {across:.3g} × {down:.3g} mm: "
            f"stretching them {ratio:.2g} times teaches blur"
            + f"; plane={self.thickest!r} is sharper"
            * (plane not in (None, self.thickest))
        )

    def slices(self, plane: str | None = None) -> int:
        """Return how many slices there are in a plane, by default the `thickest`.

        Raises
        ------
        DataError
            For another name, and where the volume is one slice of another plane.
        """
        count, *sides = np.roll(self._values.shape, -_axis(plane or self.thickest))
        if min(sides) < 2:
            raise DataError(f"{self.name} is one {self.thickest} slice and has no {plane} ones.")
        return int(count)

    def slice(self, index: int, plane: str | None = None) -> Pixels:
        """Return one slice.

        Raises
        ------
        DataError
            Where nothing at all was imaged in it.
        """
        axis = _axis(plane or self.thickest)

        def cut(volume: NDArray[Any]) -> Any:
            return np.take(volume, index, axis).T[::-1, ::-1]

        values = cut(self._values)
        background = None if self._finite is None else ~cut(self._finite)
        if background is not None:
            if background.all():
                raise DataError(f"{self.name}#{index} holds only values that are not finite.")
            values = np.where(background, values[~background].min(), values)
            background = background if background.any() else None
        down, across = self._spacing(plane)
        return Pixels(
            np.ascontiguousarray(values, values.dtype if values.dtype == np.uint8 else np.float32),
            background,
            stored=self._stored,
            spacing=(down, across),
            aspect=down / across,
        )

    def _spacing(self, plane: str | None) -> tuple[float, float]:
        across, down = np.delete(self._zooms, _axis(plane or self.thickest))
        return float(down), float(across)


def open_nifti(data: bytes, name: str) -> Volume:
    """Open a NIfTI file, compressed or not, whatever its name says.

    Parameters
    ----------
    data
        The whole file.
    name
        What it is called in an error.

    Raises
    ------
    DataError
        When it is damaged, has colours, more than three axes or nothing finite in it.
    """
    import nibabel

    try:
        plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        # A file begins with its header's length, in either byte order.
        length = min(int.from_bytes(plain[:4], order) for order in ("little", "big"))
        kinds: Any = {348: nibabel.Nifti1Image, 540: nibabel.Nifti2Image}
        if length not in kinds:
            raise DataError(f"{name} cannot be read as NIfTI (damaged, or of another kind).")
        image = kinds[length].from_bytes(plain)
        shape, numbers = tuple(int(one) for one in image.shape), image.get_data_dtype()
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        shape += (1,) * (3 - len(shape))
        if len(shape) != 3 or sorted(shape)[1] < 2:
            said = " × ".join(map(str, image.shape))
            raise DataError(f"{name} is no volume: its shape is {said}, expected three axes.")
        if numbers.kind not in "iuf":
            what = "complex numbers" if numbers.kind == "c" else "colours"
            raise DataError(f"{name} holds {what}; expected one grey value a voxel.")
        values = np.asanyarray(image.dataobj).reshape(shape)
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                values = values.astype(np.float32, copy=False)
            if not np.isfinite(values).any():
                raise DataError(f"{name} holds nothing but values that are not finite.")
        turn: Any = nibabel.io_orientation
        axes = turn(_affine(image))
        turned: Any = nibabel.apply_orientation
        zooms = [abs(float(one)) or 1.0 for one in (*image.header.get_zooms()[:3], 1.0, 1.0)[:3]]
        order = np.argsort(axes[:, 0])
        stored = (0.0, 255.0) if values.dtype == np.uint8 else None
        return Volume(name, turned(values, axes), tuple(zooms[at] for at in order), stored)
    except DataError:
        raise
    except Exception as error:  # damaged files fail in many ways
        why = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{name} cannot be read as NIfTI ({why}).") from error


def _affine(image: Any) -> NDArray[np.float64]:
    """Return where voxels lie: by sform, else qform, else as Analyze has it, to the left."""
    for affine in (image.get_sform(coded=True)[0], image.get_qform(coded=True)[0]):
        if affine is not None and np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]):
            return np.asarray(affine)
    return np.diag([-1.0, 1.0, 1.0, 1.0])


def _axis(plane: str) -> int:
    if plane not in PLANES:
        raise DataError(f"plane must be one of {', '.join(PLANES)}; got {plane!r}.")
    return PLANES[plane]


def _few_whole_numbers(
    values: NDArray[Any], finite: NDArray[np.bool_] | None, most: int = 64
) -> bool:
    """Return whether there are at most so many different values, all of them whole."""
    every = values.ravel() if finite is None else values[finite]
    for part in (every[:: max(1, len(every) // 10_000)], every):  # most images fail at once
        different = np.unique(part)
        if len(different) > most or (different != np.rint(different)).any():
            return False
    return True
