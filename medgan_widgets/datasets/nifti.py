"""NIfTI volumes as slices, all in the radiological convention, as DICOM files are.

The patient's right is on the viewer's left, front (in sagittal slices: head) is up, and a
sagittal slice looks to the left. Nothing that was not imaged (NaN) counts.
"""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.records import Pixels, grey_or_colour
from medgan_widgets.errors import DataError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
KEPT = (0.2, 0.8)  # which part of a volume's slices is read: the ends show little
FEW = 64  # different whole numbers at most, as a map of labels holds


class Volume:
    """One volume, its axes to the right, front and head, cut in one plane.

    ``count`` says how many slices it has, ``numbers`` which of them are read.
    """

    def __init__(
        self, name: str, values: NDArray[Any], zooms: tuple[float, ...], plane: str | None
    ) -> None:
        # One slice alone is cut as it is; of sides that are equal to 1 %, the axial one.
        thick = np.where(np.array(values.shape) == 1, np.inf, zooms)
        thickest = max(np.flatnonzero(thick >= 0.99 * thick.max()))
        self._axis = PLANES[plane] if plane else int(thickest)
        if min(np.delete(values.shape, self._axis)) < 2:
            own = next(plane for plane, axis in PLANES.items() if axis == thickest)
            raise DataError(f"{name} is one {own} slice and has no {plane} ones.")
        self.name, self._values = name, values
        across, down = np.delete(zooms, self._axis)
        self._spacing = (float(down), float(across))
        self.count = int(values.shape[self._axis])
        self.numbers = range(round(KEPT[0] * self.count), max(1, round(KEPT[1] * self.count)))

    def part_name(self, number: int) -> str:
        """Return what a slice is called."""
        return f"{self.name}#{number}"

    def pixels(self, number: int) -> Pixels:
        """Return one slice; raise a DataError where nothing at all was imaged in it."""
        values = np.take(self._values, number, self._axis).T[::-1, ::-1]
        down, across = self._spacing
        return grey_or_colour(
            values, self.part_name(number), spacing=self._spacing, aspect=down / across
        )

    @property
    def looks_like_labels(self) -> bool:
        """Whether it holds few whole numbers, as a map of labels does."""
        values = self._values[np.isfinite(self._values)]
        if len(np.unique(values[:: max(1, len(values) // 10_000)])) > FEW:
            return False  # as in most images
        different = np.unique(values)
        return len(different) <= FEW and bool((different == np.rint(different)).all())


def open_nifti(data: bytes, name: str, plane: str | None = None) -> Volume:
    """Open a NIfTI file, compressed or not, whatever its name says; by default cut as it was taken.

    That is across its thickest axis, in which slices are sharp.
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
        shape, numbers = tuple(int(side) for side in image.shape), image.get_data_dtype()
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        shape += (1,) * (3 - len(shape))
        if len(shape) != 3 or sorted(shape)[1] < 2:
            sides = " × ".join(map(str, image.shape))
            raise DataError(f"{name} is no volume: its shape is {sides}, expected three axes.")
        if numbers.kind not in "iuf":
            what = "complex numbers" if numbers.kind == "c" else "colours"
            raise DataError(f"{name} holds {what}; expected one grey value a voxel.")
        values = np.asanyarray(image.dataobj).reshape(shape)
        if values.dtype.kind == "f":
            with np.errstate(over="ignore"):
                values = values.astype(np.float32, copy=False)
            if not np.isfinite(values).any():
                raise DataError(f"{name} holds nothing but values that are not finite.")
        nib: Any = nibabel
        axes = nib.io_orientation(_affine(image))
        zooms = [abs(float(zoom)) or 1.0 for zoom in (*image.header.get_zooms()[:3], 1, 1)[:3]]
        turned = tuple(zooms[axis] for axis in np.argsort(axes[:, 0]))
        return Volume(name, nib.apply_orientation(values, axes), turned, plane)
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
