"""What kind of data lies in a place: found out from names and first bytes, never guessed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from medgan_widgets.datasets.folder import SUFFIXES as PICTURES
from medgan_widgets.datasets.found import named_files
from medgan_widgets.datasets.nifti import SUFFIXES as VOLUMES
from medgan_widgets.errors import DataError

KINDS = {
    "folder": "PNG, JPEG or TIFF",
    "dicom": "DICOM",
    "nifti": "NIfTI",
    "npz": "arrays",
}
_ARRAYS = (".npz", ".npy")


def kind_of(place: Path, kind: str | None = None) -> str:
    """Return the kind of data in a place: ``"folder"``, ``"dicom"``, ``"nifti"`` or ``"npz"``.

    Raises
    ------
    DataError
        When there is no such place, nothing known is in it, or several kinds are.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = Path(place, "a.nii.gz").write_bytes(b"")
    ...     kind_of(Path(place))
    'nifti'
    """
    if kind is not None:
        if kind not in KINDS:
            raise DataError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
        if not place.exists():
            raise DataError(f"{place} is neither a folder nor a file.")
        return kind
    files = named_files(place)
    found = Counter(kind_of_file(path) for path in files.values())
    unknown = found.pop(None, 0)
    known = {one: count for one, count in found.items() if one is not None}
    if not known:
        beside = f"; {unknown} files are of no kind known here" if unknown else ""
        raise DataError(
            f"there is nothing to learn from in {place}: no {', '.join(KINDS.values())}{beside}."
        )
    if len(known) > 1:
        counted = " and ".join(f"{KINDS[one]} ({count})" for one, count in sorted(known.items()))
        choice = " or ".join(f"kind={one!r}" for one in sorted(known))
        raise DataError(f"{place} holds {counted}; say which to learn from with {choice}.")
    return next(iter(known))


def kind_of_file(path: Path) -> str | None:
    """Return the kind of one file; None for an unknown one."""
    name = path.name.lower()
    if name.endswith(VOLUMES):
        return "nifti"
    if name.endswith(_ARRAYS):
        return "npz"
    if path.suffix.lower() in PICTURES:
        return "folder"
    return "dicom" if path.suffix.lower() == ".dcm" or _has_mark(path) else None


def only_array(place: Path) -> Path:
    """Return the one file of arrays in a place.

    Raises
    ------
    DataError
        When there are none or several.
    """
    found = [path for path in named_files(place).values() if path.name.lower().endswith(_ARRAYS)]
    if len(found) != 1:
        raise DataError(f"{place} holds {len(found)} files of arrays; give the path of one.")
    return found[0]


def _has_mark(path: Path) -> bool:
    """Return whether a file begins as DICOM does: 128 bytes for anything, then DICM."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
