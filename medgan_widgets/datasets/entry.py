"""``read_images``: one door for phantoms, folders, DICOM, NIfTI, arrays and Datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medgan_widgets.datasets.dicom import images_of_dicom
from medgan_widgets.datasets.folder import images_of_folder
from medgan_widgets.datasets.found import Found, Refused
from medgan_widgets.datasets.kinds import kind_of, kind_of_file, only_array
from medgan_widgets.datasets.memory import images_of_array, images_of_dataset
from medgan_widgets.datasets.nifti import NO_TABLE, images_of_nifti
from medgan_widgets.datasets.npz import images_of_npz
from medgan_widgets.datasets.phantom import HELD_OUT, read_phantoms
from medgan_widgets.datasets.reading import Reading, images_from
from medgan_widgets.datasets.table import FOLDER, Rows, Table, read_table
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.errors import DataError
from medgan_widgets.phantoms import KINDS as PHANTOMS

PIXELS = (127.5, 255.0)  # the window through which pixels stay what they are


def read_images(
    data: Any,
    *,
    labels: Any = None,
    group: Any = None,
    table: str | Path | Rows | None = None,
    kind: str | None = None,
    plane: str = "axial",
    size: int | None = None,
    window: Sequence[float] | None = None,
    percentiles: Sequence[float] = (0.5, 99.5),
    fit: Literal["pad", "crop"] = "pad",
    channels: Literal[1, 3] | None = None,
    test: float = 0.2,
    split: str | Path | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    most: int | None = None,
) -> TrainingImages:
    """Read images to train on, with their classes, some of them held back by patient.

    One image is read at a time; what stays in memory is the uint8 result. File
    names are kept in the run directory, so that a split can be shared, and go
    into no model; patients are kept as hashes with a key of your own; no DICOM
    tag but the one asked for as class is copied.

    Parameters
    ----------
    data
        A phantom's kind (``"brain_mri"``); a path: a folder of PNG, JPEG, TIFF,
        DICOM or NIfTI files, or one ``.npz`` or ``.npy`` file; a map-style
        Dataset; an array uint8 [N, H, W] or [N, H, W, C]; or what this returns.
    labels
        Where classes come from. ``"folder"``: the sub-folder; a column of the
        table; a DICOM keyword; an array of the npz file (``labels`` by default,
        a number for one of several findings); for what is in memory a function
        of the index or one value an image, for a Dataset also which place of an
        item. False for none.
    group
        What belongs together, a patient: as for labels. By default DICOM's
        PatientID, and each NIfTI volume.
    table
        A CSV or JSONL file with a column ``file_name``, by default ``metadata``
        in the folder; or its rows, and then only the files they name are read.
    kind
        ``"folder"``, ``"dicom"``, ``"nifti"`` or ``"npz"`` where a folder holds several.
    plane
        How NIfTI volumes are sliced: ``"axial"``, ``"coronal"`` or ``"sagittal"``.
    size
        Pixels along each side, a power of two of at least 16; by default the one
        next below the median of the shorter sides, at most 256.
    window
        (center, width) in the values' own unit; wins over percentiles. Arrays and
        Datasets are pixels already and stay so without it.
    percentiles
        What becomes black and white, of each image by itself.
    fit
        ``"pad"`` keeps all of an image, on black; ``"crop"`` its middle square.
    channels
        1 or 3; by default 3 only where most files show colour.
    test
        The share of groups that is held back; 0 for none. A file that has parts
        of its own keeps those.
    split
        Another run, or its ``split.csv``: the sides are those.
    seed
        Draws the split, and which images, with ``most``.
    skip_unreadable
        Go on without files that cannot be read; they are kept in ``refused``.
    most
        So many images at most; how many phantoms to draw (20,000).

    Returns
    -------
    TrainingImages
        Those that train come first.

    Raises
    ------
    DataError
        For whatever cannot be learned from, in a sentence that says what to do.
    RequestError
        For a size that no phantom can have.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).integers(0, 255, (10, 16, 16), dtype=np.uint8)
    >>> data = read_images(pixels, labels=lambda index: index % 2, group=lambda index: index // 2)
    >>> data
    TrainingImages(10 images of 16 × 16 × 1, 2 held out, array)
    >>> data.factors
    {'class': (0, 1)}
    """
    if isinstance(data, TrainingImages):
        return data
    reading = Reading(
        size, _two(window, "window"), _two(percentiles, "percentiles") or (0.5, 99.5), fit,
        channels, test, split, seed, skip_unreadable, most,
    )  # fmt: skip
    if isinstance(data, str) and data in PHANTOMS:
        if group is not None or split is not None or table is not None:
            raise DataError("phantoms are no patients: leave out group=, split= and table=.")
        held = HELD_OUT if test else 0
        return read_phantoms(data, size=size, most=most, held_out=held, labels=labels)
    if isinstance(data, (str, Path)):
        return _of_path(Path(data).expanduser(), reading, kind, labels, group, table, plane)
    if table is not None or kind is not None:
        raise DataError("table= and kind= are for files; leave them out for images in memory.")
    return _of_memory(data, reading, labels, group)


def _of_path(
    place: Path,
    reading: Reading,
    kind: str | None,
    labels: Any,
    group: Any,
    table: str | Path | Rows | None,
    plane: str,
) -> TrainingImages:
    source = kind_of(place, kind)
    if source == "npz":
        if table is not None:
            raise DataError("table= is for folders; an npz file holds its own classes and groups.")
        file = place if place.is_file() else only_array(place)
        return images_from(images_of_npz(file, labels=labels, group=group), reading, source=source)
    labels = None if labels is False else labels
    for what, said in (("labels", labels), ("group", group)):
        if said is not None and not isinstance(said, str):
            raise DataError(f"{what}= must be a name for files, got {said!r}.")
    known = read_table(place, table, (labels, group))
    found: Iterable[Found | Refused]
    note = None
    if source == "dicom":
        about = reading.window[0] if reading.window else None
        found = images_of_dicom(place, labels=labels, group=group, table=known, about=about)
    elif source == "nifti":
        found = images_of_nifti(place, plane=plane, labels=labels, group=group, table=known)
        note = NO_TABLE if group is None else None
    else:
        found = images_of_folder(place, labels=labels, group=group, table=known)
    if kind is not None:  # the person chose: other kinds beside it are left alone
        found = _of_kind(found, place, source)
    said_classes = set() if reading.most is not None else _told(known, labels)
    return images_from(found, reading, source=source, told_classes=said_classes, note=note)


def _of_memory(data: Any, reading: Reading, labels: Any, group: Any) -> TrainingImages:
    own = reading.window is not None
    if not own:
        reading = replace(reading, window=PIXELS)
    if isinstance(data, np.ndarray):
        found: Iterable[Found] = images_of_array(data, labels=labels, group=group)
        return images_from(found, reading, source="array")
    if not hasattr(data, "__getitem__"):
        raise DataError(
            "data must be a phantom's kind, a path, an array, a Dataset or TrainingImages, got "
            f"{type(data).__name__}."
        )
    found = images_of_dataset(data, labels=labels, group=group, raw=own)
    return images_from(found, reading, source="dataset")


def _of_kind(
    found: Iterable[Found | Refused], place: Path, source: str
) -> Iterable[Found | Refused]:
    for one in found:
        path = place if place.is_file() else place / one.name
        if isinstance(one, Found) or kind_of_file(path) in (None, source):
            yield one


def _told(table: Table, labels: str | None) -> set[str]:
    """Return the classes a table speaks of; rows given by hand are a choice of files anyway."""
    if labels is None or labels == FOLDER or not table.has(labels):
        return set()
    return table.values(labels)


def _two(values: Sequence[float] | None, name: str) -> tuple[float, float] | None:
    if values is None:
        return None
    try:
        first, second = (float(one) for one in values)
    except (TypeError, ValueError):
        raise DataError(f"{name} must be two numbers, got {values!r}.") from None
    return first, second
