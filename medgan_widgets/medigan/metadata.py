"""Somebody's metadata in medigan's form, read as cards: a mirror's ``global.json``.

medigan's own 23 entries are not taken from there (their corrected facts come
with this package). Further models are, in the cleaned vocabulary; what cannot
be is said in one sentence and left out, and hides nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from medgan_widgets.cards import FUNCTIONS, ModelCard
from medgan_widgets.errors import CardError
from medgan_widgets.medigan.facts import promise_of
from medgan_widgets.medigan.packages import PackageSpec, medigan_packages, spec_from_entry

METADATA = "global.json"
LIMIT = 20_000_000  # bytes; the published file has some 200 kB
_MODALITIES = {
    "MG": ("mmg", "mg", "mammogra"),
    "MR": ("mri", "mr", "magnetic"),
    "ES": ("endoscop", "es"),
    "DX": ("x-ray", "xray", "dx", "cr", "radiograph"),
}


class Entries(NamedTuple):
    """What a metadata file gave: cards, how their packages run, and (id, reason) of the rest."""

    cards: tuple[ModelCard, ...]
    specs: Mapping[str, PackageSpec]
    broken: tuple[tuple[str, str], ...]


def read_metadata(path: Path) -> Entries:
    """Return the models of a metadata file that medigan's 23 are not among."""
    try:
        if path.stat().st_size > LIMIT:
            raise ValueError(f"has more than {LIMIT:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("must hold one JSON object")
    except (OSError, ValueError, RecursionError) as error:
        return Entries((), {}, ((METADATA, f"{path} cannot be read: {error}."),))
    cards, specs, broken = [], {}, []
    for model_id, entry in content.items():
        if model_id in medigan_packages():
            continue
        try:
            card, spec = _card_and_spec(model_id, entry)
        except CardError as error:
            broken.append((model_id, str(error)))
            continue
        cards.append(card)
        specs[card.id] = spec
    return Entries(tuple(cards), specs, tuple(broken))


def _card_and_spec(model_id: str, entry: object) -> tuple[ModelCard, PackageSpec]:
    parts: list[Mapping[str, Any]] = []
    for name in ("execution", "selection", "description"):
        part = entry.get(name) if isinstance(entry, Mapping) else None
        if not isinstance(part, Mapping):
            raise CardError(f"the metadata of {model_id} lacks its {name} part.")
        parts.append(part)
    execution, selection, about = parts
    spec = spec_from_entry(model_id, execution)
    words = _words(selection)
    outputs = ["image"]
    if "mask" in words:
        outputs.append("mask")
    if spec.condition:
        outputs.append("label")
    function = next((one for one in _texts(selection.get("function")) if one in FUNCTIONS), None)
    year = str(selection.get("year") or "")
    content = {
        "id": model_id,
        "title": str(about.get("title") or model_id)[:500],
        "description": str(about.get("comment") or "")[:10_000],
        "origin": "medigan",
        "modality": _modality(selection),
        "organ": next(iter(_texts(selection.get("organ"))), None),
        "region": next(iter(_texts(selection.get("generates"))), "not stated"),
        "makes": next(iter(_texts(selection.get("generates"))), "image"),
        "outputs": outputs,
        "function": function or ("image to image" if spec.input else "noise to image"),
        "condition": {factor: list(values) for factor, values in spec.condition.items()},
        "options": [{"name": name, "default": value} for name, value in spec.options.items()],
        "size": list(spec.image_size[:2]),
        "channels": spec.image_size[2] if len(spec.image_size) > 2 else 1,
        "licence": selection.get("license") or None,
        "dataset": next(iter(_texts(selection.get("dataset"), lower=False)), None),
        "year": int(year) if year.isdecimal() else None,
        "phantom": "phantom" in words,
        "architecture": str(selection.get("type") or "not stated"),
        "promise": promise_of(spec.latent, spec.alone),
        "needs": {"image": spec.input is not None},
    }
    try:
        card = ModelCard.model_validate_json(json.dumps(content))
    except (ValidationError, TypeError, ValueError) as error:
        where = error.errors()[0]["loc"][0] if isinstance(error, ValidationError) else "it"
        value = content.get(str(where))
        raise CardError(
            f"the metadata of {model_id} has no usable {where}: {value!r:.60}."
        ) from None
    return card, replace(spec, outputs=card.outputs)


def _texts(value: object, *, lower: bool = True) -> list[str]:
    given: Iterable[object] = value if isinstance(value, list | tuple) else [value]
    texts = [str(one).strip() for one in given if one not in (None, "")]
    return [text.lower() for text in texts] if lower else texts


def _words(selection: Mapping[str, Any]) -> str:
    keys = ("generates", "tags", "function", "dataset")
    return " ".join(text for key in keys for text in _texts(selection.get(key)))


def _modality(selection: Mapping[str, Any]) -> str | None:
    given = _texts(selection.get("modality"))
    for code, names in _MODALITIES.items():
        exact = any(text in names for text in given)
        if exact or any(n in text for text in given for n in names if len(n) > 2):
            return code
    return given[0][:100] if given else None
