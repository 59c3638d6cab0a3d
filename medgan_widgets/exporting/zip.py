"""A zip of images, each with its recipe inside, and a manifest of all of them."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.exporting.png import file_name, plain, png_with_recipe
from medgan_widgets.files import write_whole

_README = (
    "SYNTHETIC images made by a generative model, for research and teaching.\n"
    "They show no patient. Each PNG holds the recipe that makes it again; the\n"
    "manifest lists file, seed and labels of every image.\n"
)
_NOON = (1980, 1, 1, 12, 0, 0)  # the same images give the same bytes, whatever the clock says


def zip_bytes(
    images: Sequence[NDArray[Any]],
    recipes: Sequence[Mapping[str, Any]],
    outputs: Sequence[Mapping[str, NDArray[Any]]] = (),
    report: Mapping[str, Any] | None = None,
) -> bytes:
    """Return images [H, W, C] with their recipes as the bytes of a zip archive.

    The files are stored as they are, since PNG is compressed already. Images of
    the same model and seed get a running number. ``outputs`` are what a model
    gave besides each image, a mask for instance: files of their own, named in
    the manifest, never mixed up with images. ``report`` says what was found when
    they were held against the training images.

    Raises
    ------
    DataError
        When images and recipes differ in number, or there are none.

    Examples
    --------
    >>> import numpy as np
    >>> data = zip_bytes([np.zeros((4, 4), np.uint8)], [{"model_id": "m", "seeds": [1]}])
    >>> zipfile.ZipFile(io.BytesIO(data)).namelist()
    ['m_seed1_synthetic.png', 'manifest.jsonl', 'manifest.csv', 'README_synthetic.txt']
    """
    if len(images) != len(recipes) or not len(images):
        raise DataError(f"each image needs its recipe: got {len(images)} and {len(recipes)}.")
    outputs = outputs or [{}] * len(images)
    if len(outputs) != len(images):
        raise DataError(f"got outputs for {len(outputs)} of {len(images)} images.")
    names = distinct([file_name(recipe) for recipe in recipes])
    files = [_named(name, further) for name, further in zip(names, outputs, strict=True)]
    rows = [
        {**_row(name, recipe), **{column: file for column, (file, _) in further.items()}}
        for name, recipe, further in zip(names, recipes, files, strict=True)
    ]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, image, recipe, further in zip(names, images, recipes, files, strict=True):
            _add(archive, name, png_with_recipe(image, recipe))
            for column, (file, picture) in further.items():
                _add(archive, file, png_with_recipe(picture, {**recipe, "output": column}))
        _add(
            archive,
            "manifest.jsonl",
            "".join(json.dumps(row, default=plain) + "\n" for row in rows).encode(),
        )
        _add(archive, "manifest.csv", _table(rows).encode())
        if report is not None:
            text = json.dumps(report, indent=1, default=plain)
            _add(archive, "memorisation.json", text.encode())
        _add(archive, "README_synthetic.txt", _README.encode())
    return stream.getvalue()


def save_zip(
    images: Sequence[NDArray[Any]],
    recipes: Sequence[Mapping[str, Any]],
    path: str | Path,
    outputs: Sequence[Mapping[str, NDArray[Any]]] = (),
    report: Mapping[str, Any] | None = None,
) -> Path:
    """Write the zip, its name completed by ``_synthetic`` where it does not say so.

    Raises
    ------
    DataError
        When images and recipes differ in number, or there are none.
    SaveError
        When it cannot be written; nothing half written is left.
    """
    target = Path(path)
    if not target.name:
        raise DataError(f"a zip needs a file name, got {str(path)!r}.")
    if target.suffix.lower() != ".zip":  # a dot may be part of the name: v1.2
        target = target.with_name(f"{target.name}.zip")
    if "synthetic" not in target.name.lower():
        target = target.with_name(f"{target.stem}_synthetic.zip")
    return write_whole(target, zip_bytes(images, recipes, outputs, report))


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _NOON), data)


def _named(image: str, outputs: Mapping[str, NDArray[Any]]) -> dict[str, tuple[str, NDArray[Any]]]:
    """Return manifest column -> (file, picture) of what came with an image."""
    stem = image.removesuffix(".png")
    found: dict[str, tuple[str, NDArray[Any]]] = {}
    for name, picture in outputs.items():
        plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-") or "other"
        while plain in found or plain in ("synthetic", "seed"):  # columns of every image
            plain += "-again"
        found[plain] = (f"{stem}_{plain}.png", picture)
    return found


def distinct(names: Sequence[str]) -> list[str]:
    """Return file names that differ: a running number goes to those that were there before."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = number = seen.get(name, 0) + 1
        distinct.append(name if number == 1 else f"{name.removesuffix('.png')}_{number}.png")
    return distinct


def _row(name: str, recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "file_name": name,
        "synthetic": True,
        "model_id": recipe["model_id"],
        "seed": recipe["seeds"][0],
        **({"memorisation": recipe["memorisation"]} if "memorisation" in recipe else {}),
        **{f"label_{factor}": value for factor, value in recipe.get("labels", {}).items()},
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO(newline="")
    columns = list(dict.fromkeys(column for row in rows for column in row))
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
