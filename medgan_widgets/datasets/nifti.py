"""NIfTI volumes as slices, turned to one orientation first."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.found import Found, Refused, checked_values, named_files
from medgan_widgets.datasets.table import Annotations, Rows, Table, read_table
from medgan_widgets.errors import DataError

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
SUFFIXES = (".nii", ".nii.gz")
NO_TABLE = (
    "each volume is a group of its own; pass group= with a table where several are of one patient"
)


def images_of_nifti(
    root: str | Path,
    *,
    plane: str = "axial",
    keep: tuple[float, float] = (0.2, 0.8),
    labels: str | None = None,
    group: str | None = None,
    table: str | Path | Rows | Table | None = None,
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
    labels, group
        A column of the table, whose ``file_name`` is the volume, or ``"folder"``.
    table
        A CSV or JSONL file or rows; by default the file named ``metadata``.

    Raises
    ------
    DataError
        For an unknown plane or part, and a table that cannot be used.
    """
    if plane not in AXES:
        raise DataError(f"plane must be one of {', '.join(AXES)}; got {plane!r}.")
    if not 0 <= keep[0] < keep[1] <= 1:
        raise DataError(f"keep must be two numbers of 0 … 1 in order, got {keep}.")
    place = Path(root).expanduser()
    files = {name: path for name, path in named_files(place).items() if _is_volume(name)}
    known = table if isinstance(table, Table) else read_table(place, table, (labels, group))
    annotations = Annotations(files, known, labels, group)
    last = _Last()
    for name, path in files.items():
        said = annotations.of(name)
        if said is None:
            continue
        if isinstance(said, Refused):
            yield said
            continue
        try:
            shape, count = _shape(path, plane)
        except DataError as error:
            yield Refused(name, str(error).replace(path.name, name, 1))
            continue
        for number in range(round(keep[0] * count), max(1, round(keep[1] * count))):
            read = partial(last.slice, path, plane, number)
            part = f"{name}#{number}"
            yield Found(part, read, said.labels, said.group or name, shape, file=path)


def read_slice(path: Path, plane: str, place: int) -> NDArray[np.float32]:
    """Return one slice as a person looks at it: patient's front or head up, float32 [H, W].

    Raises
    ------
    DataError
        When the file is damaged or its values are not finite.
    """
    return _Last().slice(path, plane, place)


class _Last:
    """The volume that was read last: its slices come one after another, a file is read once."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._values: NDArray[np.float32] | DataError | None = None

    def slice(self, path: Path, plane: str, place: int) -> NDArray[np.float32]:
        if path != self._path:
            self._values = None  # room for the next, before it is read
            self._path = path
            try:
                self._values = _volume(path)
            except DataError as error:
                self._values = error
        if not isinstance(self._values, np.ndarray):
            raise DataError(str(self._values))
        one = np.take(self._values, place, axis=AXES[plane])
        return checked_values(np.ascontiguousarray(np.rot90(one)), f"{path.name}#{place}")


def _volume(path: Path) -> NDArray[np.float32]:
    """Return a volume with its axes to the patient's right, front and head."""
    import nibabel

    try:
        turn: Any = nibabel.as_closest_canonical  # nibabel has no types for it
        return np.asarray(turn(_opened(path)).dataobj, np.float32)
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{path.name} cannot be read ({error}).") from error


def _shape(path: Path, plane: str) -> tuple[tuple[int, int], int]:
    """Return a slice's height and width, and how many there are, from the header alone."""
    import nibabel

    try:
        volume = _opened(path)
        shape = tuple(int(one) for one in volume.shape)
        to_patient: Any = nibabel.io_orientation
        axes = [int(one) for one in to_patient(volume.affine)[:, 0]] if len(shape) == 3 else []
    except Exception as error:  # damaged headers fail in many ways
        raise DataError(f"{path.name} cannot be read as NIfTI ({error}).") from error
    if len(shape) != 3 or min(shape) < 1:
        said = " × ".join(map(str, shape))
        raise DataError(f"{path.name} is no volume: its shape is {said}, expected three axes.")
    turned = {axis: shape[place] for place, axis in enumerate(axes)}
    across, up = (axis for axis in (0, 1, 2) if axis != AXES[plane])
    return (turned[up], turned[across]), turned[AXES[plane]]


def _opened(path: Path) -> Any:
    import nibabel

    load: Any = nibabel.load
    return load(path)


def _is_volume(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
