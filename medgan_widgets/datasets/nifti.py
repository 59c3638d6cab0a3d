"""NIfTI volumes as slices, turned to one orientation first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.found import Found, Refused, checked_values, files_below
from medgan_widgets.errors import DataError

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}


def images_of_nifti(
    root: str | Path, *, plane: str = "axial", keep: tuple[float, float] = (0.2, 0.8)
) -> Iterator[Found | Refused]:
    """Yield the slices of volumes below a folder; a volume is a group of its own.

    Parameters
    ----------
    root
        A folder, or one ``.nii`` or ``.nii.gz`` file.
    plane
        ``"axial"``, ``"coronal"`` or ``"sagittal"``.
    keep
        Which part of the slices along that axis, 0 to 1: the ends show little.

    Raises
    ------
    DataError
        For an unknown plane or part.
    """
    if plane not in AXES:
        raise DataError(f"plane must be one of {', '.join(AXES)}; got {plane!r}.")
    if not 0 <= keep[0] < keep[1] <= 1:
        raise DataError(f"keep must be two numbers of 0 … 1 in order, got {keep}.")
    place = Path(root).expanduser()
    for path in files_below(place):
        name = path.name if place.is_file() else path.relative_to(place).as_posix()
        if not name.lower().endswith((".nii", ".nii.gz")):
            continue
        try:
            volume = _turned(path)
        except Exception as error:  # damaged headers fail in many ways
            yield Refused(name, f"{name} cannot be read as NIfTI ({error}).")
            continue
        if len(volume.shape) != 3:
            said = " × ".join(map(str, volume.shape))
            yield Refused(name, f"{name} is no volume: its shape is {said}.")
            continue
        count = volume.shape[AXES[plane]]
        for place_of in range(round(keep[0] * count), max(1, round(keep[1] * count))):
            yield Found(f"{name}#{place_of}", partial(read_slice, path, plane, place_of), {}, name)


def read_slice(path: Path, plane: str, place: int) -> NDArray[np.float32]:
    """Return one slice as a person looks at it: patient's front or head up, float32 [H, W].

    Raises
    ------
    DataError
        When the file is damaged or its values are not finite.
    """
    try:
        volume = _turned(path)
        index: list[Any] = [slice(None)] * 3
        index[AXES[plane]] = place
        values = np.asarray(volume.dataobj[tuple(index)], np.float32)
    except Exception as error:
        raise DataError(f"{path.name} cannot be read ({error}).") from error
    return checked_values(np.ascontiguousarray(np.rot90(values)), f"{path.name}#{place}")


def _turned(path: Path) -> Any:
    """Return a volume with its axes to the patient's right, front and head."""
    import nibabel

    turn: Any = nibabel.as_closest_canonical  # nibabel has no types for it
    return turn(nibabel.load(path))
