"""DICOM files and series: pixel values as the scanner meant them, nothing that names a person.

Rescale slope and intercept are applied, MONOCHROME1 is turned round, a
multi-frame file gives its frames. A patient's number groups images, as a keyed
hash that cannot be turned back; no tag is copied anywhere else.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.found import Found, Refused, checked_values, files_below
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

_DAMAGED = (OSError, ValueError, KeyError, AttributeError, EOFError)


def images_of_dicom(
    root: str | Path, *, labels: str | None = None, group: str = "PatientID", key: bytes = b""
) -> Iterator[Found | Refused]:
    """Yield the images of DICOM files below a folder, whatever their names.

    Parameters
    ----------
    root
        A folder, or one file.
    labels
        A DICOM keyword whose value is the class, e.g. ``"Modality"``.
    group
        A DICOM keyword whose value says what belongs together.
    key
        What the group's value is hashed with, so that equal patients stay equal
        and nobody can look up who they are.
    """
    import pydicom
    from pydicom.errors import InvalidDicomError

    place = Path(root).expanduser()
    for path in files_below(place):
        name = path.name if place.is_file() else path.relative_to(place).as_posix()
        if path.name.upper() == "DICOMDIR":
            continue
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            frames = int(header.get("NumberOfFrames", 1) or 1)
            together = str(header.get(group, "") or "")
            classes = _classes(header, labels)
        except (
            InvalidDicomError,
            OSError,
            ValueError,
            KeyError,
            AttributeError,
            EOFError,
        ) as error:
            yield Refused(name, f"{name} cannot be read as DICOM ({error}).")
            continue
        if classes is None:
            yield Refused(name, f"{name} has no {labels} to take its class from.")
            continue
        hashed = hmac.new(key, together.encode(), hashlib.sha256).hexdigest()[:16]
        for frame in range(frames):
            part = f"{name}#{frame}" if frames > 1 else name
            yield Found(
                part, partial(read_frame, path, frame), classes, hashed if together else None
            )


def read_frame(path: Path, frame: int = 0) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return the values of one frame, float32 [H, W] in the unit that the file states.

    Raises
    ------
    DataError
        When pixels are missing, compressed in a way nothing here can open, or not finite.
    """
    import pydicom
    from pydicom.pixels.processing import apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    try:
        file: Any = pydicom.dcmread(path)
        frames = int(file.get("NumberOfFrames", 1) or 1)
        stored = pixel_array(file, index=frame) if frames > 1 else pixel_array(file)
        if int(file.get("SamplesPerPixel", 1)) == 3:
            return np.asarray(stored, np.uint8)
        values = np.asarray(apply_modality_lut(stored, file), np.float32)
    except (RuntimeError, NotImplementedError) as error:
        syntax = getattr(getattr(file, "file_meta", None), "TransferSyntaxUID", None)
        said = getattr(syntax, "name", "unknown")
        raise DataError(
            f"{path.name} is compressed ({said}) and nothing here can open it; "
            "install pylibjpeg with its plugins, or save it uncompressed."
        ) from error
    except Exception as error:  # damaged files fail in many ways
        raise DataError(f"{path.name} has no pixels that can be read ({error}).") from error
    if str(file.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        values = values.max() + values.min() - values
    return checked_values(values, path.name)


def _classes(header: Any, labels: str | None) -> dict[str, Value] | None:
    if labels is None:
        return {}
    value = header.get(labels)
    return None if value in (None, "") else {labels: str(value)}
