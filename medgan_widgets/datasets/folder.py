"""A folder of PNG, JPEG or TIFF files, 8 or 16 bit; classes by sub-folder or by a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence, UnidentifiedImageError

from medgan_widgets.datasets.found import Found, Refused, checked_values, files_below
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
TABLES = {".csv", ".jsonl"}
_BROKEN = (
    *(OSError, SyntaxError, ValueError, EOFError),
    *(UnidentifiedImageError, Image.DecompressionBombError),
)


def images_of_folder(
    root: str | Path,
    *,
    labels: str | None = None,
    group: str | None = None,
    table: str | Path | None = None,
) -> Iterator[Found | Refused]:
    """Yield the images below a folder.

    Parameters
    ----------
    root
        The folder, or one file.
    labels
        ``"folder"`` for the name of the sub-folder, or a column of the table.
    group
        A column of the table that says what belongs together.
    table
        A CSV or JSONL file with a column ``file_name``; by default the one
        named ``metadata`` in the folder.

    Raises
    ------
    DataError
        When the place or the table cannot be read, or lacks a column.
    """
    place = Path(root).expanduser()
    rows = _rows(place, table, [one for one in (labels, group) if one and one != "folder"])
    for path in files_below(place):
        name = path.name if place.is_file() else path.relative_to(place).as_posix()
        if path.suffix.lower() not in SUFFIXES:
            if path.suffix.lower() not in TABLES:
                yield Refused(name, f"{name} is no PNG, JPEG or TIFF image.")
            continue
        row = rows.get(name, rows.get(path.name, {}))
        classes: dict[str, Value] = {}
        if labels == "folder":
            classes = {"class": path.parent.name if "/" in name else "none"}
        elif labels is not None:
            if labels not in row:
                yield Refused(name, f"{name} has no {labels!r} in the table.")
                continue
            classes = {labels: row[labels]}
        together = row.get(group) if group else None
        if group and together in (None, ""):
            yield Refused(name, f"{name} has no {group!r} in the table.")
            continue
        yield Found(name, partial(read_image, path), classes, str(together) if group else None)


def read_image(path: Path) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return an image file's values: float32 [H, W] where it is grey, else uint8 [H, W, 3].

    Raises
    ------
    DataError
        When it cannot be read, moves, or is cut short.
    """
    try:
        with Image.open(path) as image:
            if sum(1 for _ in ImageSequence.Iterator(image)) > 1:
                raise DataError(f"{path.name} holds several pictures; save them one by one.")
            image.seek(0)
            image.load()
            if image.mode.startswith("I") or image.mode == "F":
                return checked_values(np.asarray(image), path.name)
            if image.mode in ("1", "L", "LA"):
                return checked_values(np.asarray(image.convert("L")), path.name)
            return np.asarray(image.convert("RGB"), np.uint8)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{path.name} cannot be read as an image ({error}).") from error


def _rows(
    root: Path, table: str | Path | None, columns: list[str]
) -> Mapping[str, Mapping[str, Any]]:
    """Return the table's rows by file name."""
    if table is None:
        known = [root / f"metadata{suffix}" for suffix in TABLES] if root.is_dir() else []
        table = next((path for path in known if path.exists()), None)
    if table is None:
        if columns:
            raise DataError(f"{root} has no metadata.csv or metadata.jsonl with {columns[0]!r}.")
        return {}
    path = Path(table)
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if path.suffix.lower() == ".jsonl"
            else list(csv.DictReader(text.splitlines()))
        )
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}).") from error
    for column in ["file_name", *columns]:
        if not rows or any(not isinstance(row, dict) or column not in row for row in rows[:1]):
            raise DataError(f"{path} has no column {column!r}.")
    return {str(row["file_name"]): row for row in rows}
