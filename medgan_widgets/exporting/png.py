"""A folder of PNG files, each with its recipe inside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from medgan_widgets.exporting.recipe import SyntheticImage, file_name, png_with_recipe
from medgan_widgets.memorisation import Report

SUFFIX = ""  # a folder


@dataclass(frozen=True, eq=False)
class NamedImage:
    """An image with the names of its files; outputs are column -> (name of the file, [H, W])."""

    name: str
    image: SyntheticImage
    outputs: dict[str, tuple[str, NDArray[Any]]]


def files(images: Sequence[SyntheticImage], report: Report) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each file."""
    for named in with_names(images):
        yield named.name, png_with_recipe(named.image.pixels, named.image.recipe)
        for column, (name, picture) in named.outputs.items():
            yield name, png_with_recipe(picture, {**named.image.recipe, "output": column})


def with_names(images: Sequence[SyntheticImage]) -> Iterator[NamedImage]:
    """Yield images with file names that differ; the same model and seed get a running number."""
    counts: dict[str, int] = {}
    for image in images:
        name = file_name(image.recipe)
        counts[name] = number = counts.get(name, 0) + 1
        stem = name.removesuffix(".png") + (f"_{number}" if number > 1 else "")
        outputs: dict[str, tuple[str, NDArray[Any]]] = {}
        for output, picture in image.outputs.items():
            if output == "source":
                continue
            column = re.sub(r"[^A-Za-z0-9]+", "-", output).strip("-") or "other"
            while column in outputs or column in ("synthetic", "seed"):  # columns of every image
                column += "-again"
            outputs[column] = (f"{stem}_{column}.png", picture)
        yield NamedImage(f"{stem}.png", image, outputs)
