"""Source images: files of a person's, or the samples that come with a package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medgan_widgets.downloads import Package
from medgan_widgets.errors import DataError
from medgan_widgets.medigan.packages import PackageSpec

_UNREADABLE = (
    *(OSError, UnidentifiedImageError, SyntaxError, ValueError),
    Image.DecompressionBombError,
)


def source_paths(given: Sequence[str | Path]) -> tuple[Path, ...]:
    """Return images, and those inside of folders, as absolute paths; each one was read."""
    found: list[Path] = []
    for one in given:
        path = Path(one).expanduser().absolute()
        inside = [path]
        if path.exists() and not (path.is_dir() or path.is_file()):
            raise DataError(f"{path.name} is no file; give PNG, JPEG or TIFF.")
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
            if not inside:
                raise DataError(f"{path} holds no files; give a folder with images.")
        for each in inside:
            read_source(each)
        found += inside
    return tuple(found)


def sample_images(spec: PackageSpec, package: Package) -> tuple[Path, ...]:
    """Return the images that come with a package to try it on, in their order."""
    start = f"models/{spec.model_id}/"
    if spec.input is None or not isinstance(spec.sample, str) or not spec.sample.startswith(start):
        return ()
    found = []
    for path in sorted((package.folder / spec.sample.removeprefix(start)).glob("*")):
        try:
            read_source(path)
        except DataError:
            continue  # folders of notes and tables
        found.append(path)
    return tuple(found)


def read_source(path: Path) -> NDArray[Any]:
    """Return a source image as uint8 [H, W, 1] or [H, W, 3]."""
    try:
        with Image.open(path) as image:
            grey = image.mode in ("1", "L", "I", "F", "I;16", "LA")
            if image.mode in ("I", "F", "I;16"):
                values = np.asarray(image, np.float64)
                span = float(values.max() - values.min()) or 1.0
                pixels = np.asarray((values - values.min()) * (255 / span), np.uint8)
            else:
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except _UNREADABLE as error:
        raise DataError(
            f"{path.name} cannot be read as an image; give PNG, JPEG or TIFF."
        ) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels
