"""One PNG that says what it is: synthetic in its name, its whole recipe inside."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.errors import DataError
from medgan_widgets.files import file_sha256, write_whole
from medgan_widgets.images import png_bytes
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import Value, whole_number

RECIPE_KEY = "medgan_widgets.recipe"
_COMMENT = "SYNTHETIC image made by a generative model; it shows no patient."


def image_recipe(
    recipe: Mapping[str, Any],
    seed: int,
    labels: Mapping[str, Value] | None = None,
    place: int | None = None,
) -> dict[str, Any]:
    """Return the recipe of one image of a request; ``place`` tells which source it came from.

    Factors that were drawn stay out of ``condition``, so that they are drawn the
    same way again; what they came to stands in ``labels``.

    Examples
    --------
    >>> image_recipe({"model_id": "m", "seeds": [1, 2]}, 2)["seeds"]
    [2]
    """
    sources = recipe.get("inputs") or []
    if sources and place is not None:
        recipe = {**recipe, "inputs": [sources[place % len(sources)]]}
    return {
        **recipe,
        "seeds": [int(seed)],
        "labels": dict(labels or {}),
        "synthetic": True,
        "source_type": "trainedAlgorithmicMedia",
    }


def outputs_of(extras: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return what may leave beside an image: not its source, which is somebody's own."""
    return {name: picture for name, picture in extras.items() if name != "source"}


def file_name(recipe: Mapping[str, Any], suffix: str = ".png") -> str:
    """Return a file name with the model, the seed and the word synthetic in it.

    Examples
    --------
    >>> file_name({"model_id": "phantom-brain-mri", "seeds": [17]})
    'phantom-brain-mri_seed17_synthetic.png'
    """
    if not recipe.get("model_id") or not recipe.get("seeds"):
        raise DataError("a recipe needs a model_id and seeds; take the one of Engine.recipe.")
    model = re.sub(r"[^A-Za-z0-9.-]+", "-", str(recipe["model_id"])).strip(".-")[:80] or "model"
    return f"{model}_seed{recipe['seeds'][0]}_synthetic{suffix}"


def png_with_recipe(image: NDArray[Any], recipe: Mapping[str, Any]) -> bytes:
    """Return an image [H, W] or [H, W, C] as PNG, with the recipe as JSON in it.

    Examples
    --------
    >>> import numpy as np
    >>> data = png_with_recipe(np.zeros((4, 4), np.uint8), {"model_id": "m", "seeds": [1]})
    >>> b"SYNTHETIC" in data
    True
    """
    text = {
        RECIPE_KEY: json.dumps(recipe, ensure_ascii=False, sort_keys=True, default=plain),
        "Comment": _COMMENT,
    }
    return png_bytes(image, text)


def save_png(image: NDArray[Any], recipe: Mapping[str, Any], folder: str | Path = ".") -> Path:
    """Write one image with its recipe into a folder and return its path.

    Raises
    ------
    SaveError
        When the folder cannot be written; nothing half written is left.
    """
    return write_whole(Path(folder) / file_name(recipe), png_with_recipe(image, recipe))


def recipe_of(path: str | Path) -> dict[str, Any]:
    """Return the recipe stored in a PNG.

    Raises
    ------
    DataError
        When the file is no PNG, or holds no recipe.
    """
    try:
        with Image.open(path) as image:
            image.load()
            text = image.text if isinstance(image, PngImagePlugin.PngImageFile) else {}
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a PNG image ({error}).") from error
    try:
        recipe = json.loads(text[RECIPE_KEY])
    except (KeyError, ValueError, RecursionError):
        recipe = None
    if not isinstance(recipe, dict):
        raise DataError(
            f"{path} holds no recipe; only images saved by this package can be made again."
        )
    return recipe


def restore(path: str | Path, *, inputs: Sequence[str | Path] = ()) -> GenerateRequest:
    """Return the request that made the image in a file; running it makes it again.

    Parameters
    ----------
    path
        A PNG saved by this package.
    inputs
        The source images, or folders that hold them, for one that was made from images:
        a recipe holds no name of them, only a hash by the key of whoever made it.

    Raises
    ------
    DataError
        When the file is no PNG, holds no recipe, or a damaged one; when it was
        made from source images and these are not given, or others.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = save_png(np.zeros((4, 4), np.uint8), {"model_id": "m", "seeds": [17]}, folder)
    ...     restore(made).seeds
    (17,)
    """
    recipe = recipe_of(path)
    fields = {
        name: recipe[name]
        for name in ("condition", "truncation_psi", "mix", "options", "mode")
        if name in recipe
    }
    sources = _same_sources(path, recipe.get("inputs") or [], inputs)
    try:
        seeds = tuple(whole_number(seed, "seed", 0, 2**64 - 1) for seed in recipe["seeds"])
        return GenerateRequest(recipe["model_id"], seeds=seeds, inputs=sources, **fields)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"the recipe in {path} is damaged: {error}") from error


def _same_sources(
    path: str | Path, wanted: Sequence[Mapping[str, Any]], given: Sequence[str | Path]
) -> tuple[str, ...]:
    """Return the given files in the order of the recipe, or say which one is missing."""
    try:  # recipes of older versions hold a name and the plain hash
        told = [(str(one.get("keyed_sha256") or one["sha256"]), one.get("name")) for one in wanted]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"the recipe in {path} is damaged: {error!r} in its inputs") from error
    found: dict[str, str] = {}
    key = patient_key() if told and given else b""
    for one in given:
        try:
            place = Path(one).expanduser()
            for file in filter(Path.is_file, place.iterdir()) if place.is_dir() else [place]:
                sha256 = file_sha256(file)
                found |= dict.fromkeys((sha256, patient_hash(sha256, key)), str(file))
        except OSError as error:
            raise DataError(f"{one} cannot be read: {error.strerror}.") from error
    missing = [f"{name or 'image'} ({hashed:.12}…)" for hashed, name in told if hashed not in found]
    if missing:
        raise DataError(
            f"{path} was made from source images, and {len(missing)} of {len(told)} were not "
            f"given: {', '.join(missing)}; give these with inputs=, or a folder that holds them. "
            "Their hashes are made with the key of the person who made the image; with another "
            "key no file is known again."
        )
    return tuple(found[hashed] for hashed, _ in told)


def plain(value: object) -> Any:
    """Numpy scalars and tuples of labels, as JSON knows them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
