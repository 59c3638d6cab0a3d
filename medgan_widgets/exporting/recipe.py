"""The recipe of an image: what makes it again, kept inside its file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.errors import DataError
from medgan_widgets.files import file_sha256, write_whole
from medgan_widgets.images import png_bytes
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import Value, whole_number

RECIPE_KEY = "medgan_widgets.recipe"
_COMMENT = "SYNTHETIC image made by a generative model; it shows no patient."


@dataclass(frozen=True, eq=False)
class SyntheticImage:
    """One image that is to be written, and what makes it again."""

    pixels: NDArray[Any]  # uint8 or uint16 [H, W, C]
    recipe: Mapping[str, Any]
    # What else the model gave with it, such as a mask: name -> [H, W]. A source image is
    # somebody's own: it is never written.
    outputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)


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
    text = json.dumps(recipe, ensure_ascii=False, sort_keys=True, default=json_value)
    return png_bytes(image, {RECIPE_KEY: text, "Comment": _COMMENT})


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
        recipe = read_recipe(path)
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a PNG image ({error}).") from error
    if recipe is None:
        raise DataError(
            f"{path} holds no recipe; only images saved by this package can be made again."
        )
    return recipe


def read_recipe(file: str | Path | IO[bytes]) -> dict[str, Any] | None:
    """Return the recipe in an image file, or None where there is none in it."""
    with Image.open(file) as image:
        image.load()
        text = image.text if isinstance(image, PngImagePlugin.PngImageFile) else {}
    try:
        recipe = json.loads(text[RECIPE_KEY])
    except (KeyError, ValueError, RecursionError):
        return None
    return recipe if isinstance(recipe, dict) else None


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
    return request_of(recipe_of(path), path, inputs)


def request_of(
    recipe: Mapping[str, Any], path: str | Path, inputs: Sequence[str | Path] = ()
) -> GenerateRequest:
    """Return the request of a recipe that stood in ``path``, as for `restore`."""
    names = ("condition", "truncation_psi", "mix", "options", "mode")
    fields = {name: recipe[name] for name in names if name in recipe}
    try:
        sources = [
            # Recipes of older versions hold a name and the plain hash.
            (str(source.get("keyed_sha256") or source["sha256"]), source.get("name") or "image")
            for source in recipe.get("inputs") or []
        ]
        seeds = tuple(whole_number(seed, "seed", 0, 2**64 - 1) for seed in recipe["seeds"])
        request = GenerateRequest(recipe["model_id"], seeds=seeds, **fields)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"the recipe in {path} is damaged: {error}") from error
    if not sources:
        return request
    files = _by_hash(inputs)
    missing = [f"{name} ({hashed:.12}…)" for hashed, name in sources if hashed not in files]
    if missing:
        raise DataError(
            f"{path} was made from source images, and {len(missing)} of {len(sources)} were not "
            f"given: {', '.join(missing)}; give these with inputs=, or a folder that holds them. "
            "Their hashes are made with the key of the person who made the image; with another "
            "key no file is known again."
        )
    return replace(request, inputs=tuple(files[hashed] for hashed, _ in sources))


def _by_hash(inputs: Sequence[str | Path]) -> dict[str, str]:
    """Return the files, and those in the folders, by their plain and their keyed hash."""
    files: dict[str, str] = {}
    key = patient_key() if inputs else b""
    for given in inputs:
        path = Path(given).expanduser()
        try:
            for file in filter(Path.is_file, path.iterdir()) if path.is_dir() else [path]:
                sha256 = file_sha256(file)
                files |= dict.fromkeys((sha256, patient_hash(sha256, key)), str(file))
        except OSError as error:
            raise DataError(f"{given} cannot be read: {error.strerror}.") from error
    return files


def json_value(value: object) -> Any:
    """Return Numpy scalars and mappings of labels as JSON knows them."""
    if isinstance(value, np.generic):
        return value.item()
    return dict(value) if isinstance(value, Mapping) else str(value)
