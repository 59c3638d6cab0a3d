"""DICOM files and series: pixel values as the scanner meant them, nothing that names a person.

Rescale slope and intercept are applied, MONOCHROME1 is turned round, a
multi-frame file gives its frames. A patient's number says which images stay
together and is hashed before anything is kept; no other tag is copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.found import (
    Found,
    Refused,
    Values,
    checked_values,
    eight_bits,
    named_files,
)
from medgan_widgets.datasets.table import (
    FOLDER,
    Annotations,
    Rows,
    Said,
    Table,
    plain_value,
    read_table,
)
from medgan_widgets.errors import DataError

PATIENT = "PatientID"
SAMPLES = "SamplesPerPixel"
# Value representations that tell who, when or which one; and numbers of people in plain text.
_TELLING = frozenset({"PN", "UI", "DA", "DT", "TM"})
_WHO = frozenset({
    PATIENT, "OtherPatientIDs", "AccessionNumber", "StudyID", "PatientAddress",
    "PatientTelephoneNumbers", "DeviceSerialNumber", "PatientComments",
})  # fmt: skip


def images_of_dicom(
    root: str | Path,
    *,
    labels: str | None = None,
    group: str | None = None,
    table: str | Path | Rows | Table | None = None,
    about: float | None = None,
) -> Iterator[Found | Refused]:
    """Yield the images of DICOM files below a folder, whatever their names.

    Parameters
    ----------
    root
        A folder, or one file.
    labels
        A column of the table, ``"folder"``, or a DICOM keyword whose value is
        the class, e.g. ``"Modality"``.
    group
        The same, for what belongs together; by default the ``PatientID``.
    table
        A CSV or JSONL file with a column ``file_name``, or such rows.
    about
        The grey that MONOCHROME1 images are turned about, a window's center;
        by default the middle of each image's own values.

    Raises
    ------
    DataError
        When the place or table cannot be read, or labels and group are neither a
        column nor a keyword, or would tell who somebody is.
    """
    place = Path(root).expanduser()
    files = named_files(place)
    known = table if isinstance(table, Table) else read_table(place, table, (labels, group))
    keywords = {"labels": _keyword(labels, known), "group": _keyword(group or PATIENT, known)}
    if keywords["labels"] is not None:
        _check_tells_nobody(keywords["labels"])
    annotations = Annotations(
        files,
        known,
        None if keywords["labels"] else labels,
        None if keywords["group"] else group,
    )
    for name, path in files.items():
        said = annotations.of(name)
        if isinstance(said, Refused):
            yield said
        elif said is not None:
            yield from _frames(name, path, said, keywords, group is not None, about)


def read_frame(path: Path, frame: int = 0, about: float | None = None) -> Values:
    """Return the values of one frame, float32 [H, W] in the unit that the file states.

    Colour is uint8 [H, W, 3]. A MONOCHROME1 image, whose low values are bright,
    is turned about ``about``, so that one window gives every file of a series the
    same greys; without it, about the middle of its own values, which percentiles
    of the image undo.

    Raises
    ------
    DataError
        When pixels are missing, compressed in a way nothing here can open, or not finite.
    """
    import pydicom
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    file: Any = None
    try:
        file = pydicom.dcmread(path, stop_before_pixels=True)
        frames = int(file.get("NumberOfFrames", 1) or 1)
        stored = pixel_array(path, index=frame) if frames > 1 else pixel_array(path)
        kind = str(file.get("PhotometricInterpretation", ""))
        if kind == "PALETTE COLOR":
            coloured = np.asarray(apply_color_lut(stored, file))[..., :3]
            return eight_bits(coloured, 8 * coloured.dtype.itemsize)
        if int(file.get(SAMPLES, 1)) == 3:
            return eight_bits(stored, int(file.BitsStored))
        values = np.asarray(apply_modality_lut(stored, _rescaling(file, frame)), np.float32)
    except (RuntimeError, NotImplementedError) as error:
        syntax = getattr(getattr(file, "file_meta", None), "TransferSyntaxUID", None)
        said = getattr(syntax, "name", "unknown")
        raise DataError(
            f"{path.name} is compressed ({said}) and nothing here can open it; "
            "install pylibjpeg with its plugins, or save it uncompressed."
        ) from error
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{path.name} has no pixels that can be read ({error}).") from error
    grey = checked_values(values, path.name)
    return _turned(grey, about) if kind == "MONOCHROME1" else grey


def _frames(
    name: str,
    path: Path,
    said: Said,
    keywords: dict[str, str | None],
    must: bool,
    about: float | None,
) -> Iterator[Found | Refused]:
    """Yield the frames of one file; ``must`` says that the group was asked for by name."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header: Any = pydicom.dcmread(path, stop_before_pixels=True)
        frames = int(header.get("NumberOfFrames", 1) or 1)
        labels, group = dict(said.labels), said.group
        for what, keyword in keywords.items():
            value = plain_value(str(header.get(keyword) or "")) if keyword else None
            if keyword and what == "labels":
                if value is None:
                    yield Refused(name, f"{name} has no {keyword} to take its class from.")
                    return
                labels = {keyword: value}
            elif keyword:
                if value is None and must:
                    yield Refused(name, f"{name} has no {keyword} to say what belongs together.")
                    return
                # Frames of one file are of one patient, also where nobody says which.
                group = str(value) if value is not None else name if frames > 1 else None
        if "Rows" not in header or "Columns" not in header:
            yield Refused(name, f"{name} is a DICOM file without an image.")
            return
        shape = (int(header.Rows), int(header.Columns))
        colour = int(header.get(SAMPLES, 1) or 1) == 3
    except (InvalidDicomError, OSError, ValueError, KeyError, AttributeError, EOFError) as error:
        yield Refused(name, f"{name} cannot be read as DICOM ({error}).")
        return
    for frame in range(frames):
        part = f"{name}#{frame}" if frames > 1 else name
        yield Found(
            part, partial(read_frame, path, frame, about), labels, group, shape, colour, path
        )


def _keyword(said: str | None, table: Table) -> str | None:
    """Return a DICOM keyword, or None where the table or the folder is meant."""
    from pydicom.datadict import tag_for_keyword

    if said is None or said == FOLDER or table.has(said):
        return None
    if tag_for_keyword(said) is None:
        raise DataError(
            f"{said!r} is neither a DICOM keyword nor a column of {table.name}; write a keyword "
            "as in 'Modality', or give a table."
        )
    return said


def _check_tells_nobody(keyword: str) -> None:
    from pydicom.datadict import dictionary_VR

    if keyword in _WHO or dictionary_VR(keyword) in _TELLING:
        raise DataError(
            f"labels={keyword!r} would write into the model who or when it was; choose a keyword "
            "that tells a kind, or give classes in a table."
        )


def _turned(values: NDArray[np.float32], about: float | None) -> NDArray[np.float32]:
    twice = values.max() + values.min() if about is None else np.float32(2 * about)
    turned: NDArray[np.float32] = twice - values
    return turned


def _rescaling(file: Any, frame: int) -> Any:
    """Return what holds a frame's slope and intercept: the file, or its functional groups."""
    for groups in (
        list(file.get("PerFrameFunctionalGroupsSequence", []))[frame : frame + 1],
        list(file.get("SharedFunctionalGroupsSequence", []))[:1],
    ):
        for one in groups:
            found = one.get("PixelValueTransformationSequence")
            if found:
                return found[0]
    return file
