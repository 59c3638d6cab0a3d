"""What medigan's own selector searches: the selection values of its 23 models, as published.

``published.json`` names what several models share once; a model lists the shares it is
made of (``from``, later ones win) and its own values, by medigan's dotted paths. ``wrong``
lists what a correction on its card contradicts: nobody is to find the model by it.
"""

from __future__ import annotations

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any


def published_selection() -> dict[str, dict[str, Any]]:
    """Return what medigan publishes to choose a model by, nested as published, by model id.

    Examples
    --------
    >>> selection = published_selection()["00007_INPAINT_BRAIN_MRI"]
    >>> selection["organ"], selection["performance"]["SEG"]["trained_on_real_and_fake"]
    (['brain', 'cranial', 'head'], {'dice': 0.814})
    """
    content = json.loads(_text())  # read anew, so that a caller may change what he is given
    return {
        name: _selection(own, content["shared"], content["fid"])
        for name, own in content["models"].items()
    }


def wrong_values() -> dict[str, tuple[str, ...]]:
    """Return the published values that are wrong of a model, by its id; its card says why.

    Examples
    --------
    >>> wrong_values()["00019_PGGAN_CHEST_XRAY"]
    ('Node21',)
    """
    return {name: tuple(values) for name, values in json.loads(_text())["wrong"].items()}


@cache
def _text() -> str:
    return Path(__file__).with_name("published.json").read_text(encoding="utf-8")


def _selection(
    own: dict[str, Any], shared: dict[str, dict[str, Any]], fid: list[str]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in own.pop("from").split():
        values |= shared[name]
    values |= zip(fid, own.pop("fid", ()), strict=False)  # all five figures, or none of them
    values |= own
    selection: dict[str, Any] = {}
    for path, value in values.items():
        *above, last = path.split(".")
        place = selection
        for key in above:
            place = place.setdefault(key, {})
        place[last] = deepcopy(value)  # models share it, and a metric below may come into it
    return selection
