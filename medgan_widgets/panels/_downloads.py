"""What the page's save buttons get: the bytes of a file, or a recipe as text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from medgan_widgets.errors import RequestError
from medgan_widgets.export import file_name, image_recipe, png_with_recipe, zip_bytes
from medgan_widgets.panels._tiles import Pictures


def saved(
    pictures: Pictures, what: str, places: Sequence[int]
) -> tuple[dict[str, Any], list[bytes]]:
    """Return the message and the buffers that answer a page's wish.

    ``what`` is ``"png"`` or ``"recipe"``, of the first place, or ``"zip"`` of all.
    """
    if what not in ("png", "recipe", "zip"):
        raise RequestError(f"what to save must be png, recipe or zip, got {what!r}.")
    known = [place for place in places if 0 <= place < len(pictures.images)]
    if not known:
        raise RequestError("none of these images is made yet; wait for them, then save again.")
    recipes = [
        image_recipe(
            pictures.recipe or {}, pictures.request.seeds[place], pictures.labels[place], place
        )
        for place in known
    ]
    images = [pictures.images[place] for place in known]
    if what == "recipe":
        text = json.dumps(recipes[0], indent=2, ensure_ascii=False, default=str)
        return {"kind": "text", "text": text}, []
    name = file_name(recipes[0])
    if what == "png":
        png = png_with_recipe(images[0], recipes[0])
        return {"kind": "file", "mime": "image/png", "name": name}, [png]
    name = f"{name.split('_seed')[0]}_{len(images)}_images_synthetic.zip"
    return {"kind": "file", "mime": "application/zip", "name": name}, [
        zip_bytes(images, recipes, [_outputs(pictures.extras[place]) for place in known])
    ]


def _outputs(extras: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Leave out the source: it is somebody's own image, and no synthetic one."""
    return {name: picture for name, picture in extras.items() if name != "source"}
