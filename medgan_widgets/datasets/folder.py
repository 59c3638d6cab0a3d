"""A folder of PNG, JPEG or TIFF files, 8 or 16 bit; classes by sub-folder or by a table."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from medgan_widgets.datasets.found import Found, Refused, Values, checked_values, named_files
from medgan_widgets.datasets.table import Annotations, Rows, Table, read_table
from medgan_widgets.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"})
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError),
    *(UnidentifiedImageError, Image.DecompressionBombError),
)
LYING = range(5, 9)  # EXIF orientations that swap height and width
_GREY = ("1", "L", "LA")


def images_of_folder(
    root: str | Path,
    *,
    labels: str | None = None,
    group: str | None = None,
    table: str | Path | Rows | Table | None = None,
) -> Iterator[Found | Refused]:
    """Yield the images below a folder.

    Parameters
    ----------
    root
        The folder, or one file.
    labels
        ``"folder"`` for the name of the sub-folder, or a column of the table.
    group
        A column of the table that says what belongs together, or ``"folder"``.
    table
        A CSV or JSONL file with a column ``file_name``, or such rows; by default
        the file named ``metadata`` in the folder.

    Raises
    ------
    DataError
        When the place or the table cannot be read, or lacks a column.
    """
    place = Path(root).expanduser()
    files = named_files(place)
    known = table if isinstance(table, Table) else read_table(place, table, (labels, group))
    annotations = Annotations(files, known, labels, group)
    for name, path in files.items():
        said = annotations.of(name)
        if said is None:
            continue
        if path.suffix.lower() not in SUFFIXES:
            yield Refused(name, f"{name} is no PNG, JPEG or TIFF image.")
        elif isinstance(said, Refused):
            yield said
        else:
            shape, colour = _header(path)
            read = partial(read_image, path)
            yield Found(name, read, said.labels, said.group, shape, colour, path)


def read_image(path: Path) -> Values:
    """Return an image file's values: float32 [H, W] where it is grey, else uint8 [H, W, 3].

    A picture that its camera took lying is turned as its EXIF says.

    Raises
    ------
    DataError
        When it cannot be read, moves, or is cut short.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, "n_frames", 1) > 1:
                raise DataError(f"{path.name} holds several pictures; save them one by one.")
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return pixels_of(image, path.name)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{path.name} cannot be read as an image ({_why(error)}).") from error


def pixels_of(image: Image.Image, name: str) -> Values:
    """Return a Pillow image's values: float32 [H, W] where it is grey, else uint8 [H, W, 3].

    Examples
    --------
    >>> pixels_of(Image.new("RGBA", (4, 2)), "a.png").shape
    (2, 4, 3)
    """
    if image.mode.startswith("I") or image.mode == "F":
        return checked_values(np.asarray(image), name)
    if image.mode in _GREY:
        return checked_values(np.asarray(image.convert("L")), name)
    return np.asarray(image.convert("RGB"), np.uint8)


def _header(path: Path) -> tuple[tuple[int, int] | None, bool]:
    """Return height, width and whether it is colour; reading says what is wrong with a file."""
    try:
        with Image.open(path) as image:
            grey = image.mode in _GREY or image.mode.startswith("I") or image.mode == "F"
            height, width = image.height, image.width
            lying = image.getexif().get(ExifTags.Base.Orientation, 1) in LYING
            return (width, height) if lying else (height, width), not grey
    except _BROKEN:
        return None, False


def _why(error: BaseException) -> str:
    """Return what Pillow or the system says, without the path: the name is told already."""
    if isinstance(error, UnidentifiedImageError):
        return "damaged, or of another kind"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
