"""``read_images``: one door for phantoms, folders, DICOM, NIfTI, arrays and Datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medgan_widgets.datasets.arrays import images_of_array, images_of_dataset
from medgan_widgets.datasets.folder import Folder
from medgan_widgets.datasets.phantom import HELD_OUT, phantom_named, read_phantoms
from medgan_widgets.datasets.prepare import AS_PIXELS, ReadOptions, images_from
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.errors import DataError


def read_images(
    data: Any,
    *,
    like: Any = None,
    labels: Any = None,
    group: Any = None,
    table: Any = None,
    kind: str | None = None,
    plane: str | None = None,
    size: int | None = None,
    window: Sequence[float] | Literal["file"] | None = None,
    percentiles: Sequence[float] | None = None,
    fit: Literal["pad", "crop"] = "pad",
    channels: Literal[1, 3] | None = None,
    test: float = 0.2,
    split: str | Path | None = None,
    seed: int = 0,
    skip_unreadable: bool = False,
    most: int | None = None,
    cache: str | Path | None = None,
) -> TrainingImages:
    """Read images to train on, with their classes, some of them held back by patient.

    Each file is opened once. What is left out, guessed or changed stands in the summary.
    File names are kept in the run directory, so that a split can be shared, and go
    into no model; patients are kept as hashes with a key of your own; no DICOM
    tag but the one asked for as class is copied.

    Parameters
    ----------
    data
        A path: a folder of PNG, JPEG, TIFF, DICOM or NIfTI files, or one ``.npz`` or
        ``.npy`` file; a phantom's kind, ``"phantom:brain_mri"``, or ``"brain_mri"`` where
        no such path is; a map-style Dataset; an array uint8 or uint16 [N, H, W] or
        [N, H, W, C]; or what this returns.
    like
        A model's card, a `TrainingImages` or a `Preprocessing`: the images are prepared
        just as those were. Leave out size, window, percentiles, fit, channels and plane then.
    labels
        Where classes come from. ``"folder"``: the level of folders that has few names with
        many images; a column of the table; a DICOM keyword; an array of the npz file
        (``labels`` by default, a number for one of several findings); for what is in
        memory a function of the index or one value an image, for a Dataset also which
        place of an item. False for none.
    group
        What belongs together, a patient: as for labels. By default DICOM's
        PatientID, and each NIfTI volume.
    table
        A CSV or JSONL file with a column ``file_name``, by default ``metadata``
        in the folder; or its rows or a DataFrame, and then only the files they name are read.
    kind
        ``"folder"``, ``"dicom"``, ``"nifti"`` or ``"npz"`` where a folder holds several.
    plane
        How NIfTI volumes are sliced: ``"axial"``, ``"coronal"`` or ``"sagittal"``; by
        default across their thickest axis.
    size
        Pixels along each side, a power of two of at least 16; by default the one
        next below the median of the shorter sides, at most 256.
    window
        (center, width) in the values' own unit, or ``"file"`` for the window or VOI LUT of
        each DICOM file; wins over percentiles. Arrays and Datasets are pixels already and
        stay so without it. Values in HU or SUV get one window for all images by default.
    percentiles
        What becomes black and white, of each image by itself; 0.5 and 99.5 by default, for
        values without a unit.
    fit
        ``"pad"`` keeps all of an image, on black; ``"crop"`` its middle square.
    channels
        1 or 3; by default 3 only where most files show colour.
    test
        The share of groups that is held back; 0 for none. Data that have parts of their own,
        as ``train`` and ``test`` folders, keep those.
    split
        Another run, or its ``split.csv``: the sides are those.
    seed
        Draws the split, and which images, with ``most``.
    skip_unreadable
        Go on without files that cannot be read; they are kept in ``refused``.
    most
        So many images at most; how many phantoms to draw (20,000).
    cache
        A folder for pixels that are larger together than half of the free memory; by
        default a temporary one that goes with the images.

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
    options = ReadOptions(**{name: value for name, value in locals().items() if name != "data"})
    if isinstance(data, TrainingImages):
        return data
    if phantom := phantom_named(data):
        if group is not None or split is not None or table is not None:
            raise DataError("phantoms are no patients: leave out group=, split= and table=.")
        side = options.like.size if options.like else size
        held_out = HELD_OUT if test else 0
        return read_phantoms(phantom, size=side, most=most, held_out=held_out, labels=labels)
    if isinstance(data, str) and not data.strip():
        raise DataError("data is empty; give the path of a folder or file.")
    if isinstance(data, (str, Path)):
        return Folder(Path(data).expanduser(), options).read()
    if table is not None or kind is not None:
        raise DataError("table= and kind= are for files; leave them out for images in memory.")
    if options.own_window:
        raise DataError("window='file' is for DICOM; images in memory have no window of their own.")
    known_window = options.like.window if options.like else options.window
    raw = known_window not in (None, AS_PIXELS)  # values that a window is to be laid on
    if isinstance(data, np.ndarray):
        files = images_of_array(data, labels, group)
        return images_from(files, options, "array", as_pixels=not raw)
    if not hasattr(data, "__getitem__"):
        raise DataError(
            "data must be a phantom's kind, a path, an array, a Dataset or TrainingImages, got "
            f"{type(data).__name__}."
        )
    files = images_of_dataset(data, labels, group, raw)
    return images_from(files, options, "dataset", as_pixels=not raw)
