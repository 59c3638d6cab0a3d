"""Somebody's metadata in medigan's form, read as cards: a mirror's ``global.json``.

medigan's own 23 entries are not taken from there (their corrected facts come
with this package). Further models are, in the cleaned vocabulary; what cannot
be is said in one sentence and left out, and hides nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    found, broken = {}, []
    for model_id, entry in content.items():
        if model_id not in medigan_packages():
            try:
                found[model_id] = _card_and_spec(model_id, entry)
            except CardError as error:
                broken.append((model_id, str(error)))
    cards = tuple(card for card, _ in found.values())
    return Entries(cards, {card.id: spec for card, spec in found.values()}, tuple(broken))


def _card_and_spec(model_id: str, entry: Any) -> tuple[ModelCard, PackageSpec]:
    parts: list[Any] = []
    for name in ("execution", "selection", "description"):
        parts.append(entry.get(name) if isinstance(entry, dict) else None)
        if not isinstance(parts[-1], dict):
            raise CardError(f"the metadata of {model_id} lacks its {name} part.")
    execution, selection, about = parts
    spec = spec_from_entry(model_id, execution)
    texts = {name: _texts(value) for name, value in selection.items()}

    def first(name: str, default: str | None = None) -> str | None:
        return next(iter(texts.get(name, ())), default)

    named = [text.lower() for key in ("generates", "tags", "function", "dataset")
             for text in texts.get(key, ())]  # fmt: skip
    functions = [name.lower() for name in texts.get("function", ()) if name.lower() in FUNCTIONS]
    functions.append("image to image" if spec.input else "noise to image")
    year = str(selection.get("year") or "")
    organ, makes = first("organ"), first("generates")
    content = {
        "id": model_id,
        "title": str(about.get("title") or model_id)[:500],
        "description": str(about.get("comment") or "")[:10_000],
        "origin": "medigan",
        "modality": _modality([text.lower() for text in texts.get("modality", ())]),
        "organ": organ.lower() if organ else None,
        "region": makes.lower() if makes else "not stated",
        "makes": makes.lower() if makes else "image",
        "outputs": ["image", *["mask"] * any("mask" in text for text in named),
                    *["label"] * bool(spec.condition)],
        "function": functions[0],
        "condition": {factor: list(values) for factor, values in spec.condition.items()},
        "options": [{"name": name, "default": value} for name, value in spec.options.items()],
        "size": list(spec.image_size[:2]),
        "channels": spec.image_size[2] if len(spec.image_size) > 2 else 1,
        "licence": selection.get("license") or None,
        "dataset": first("dataset"),
        "year": int(year) if year.isdecimal() else None,
        "phantom": any("phantom" in text for text in named),
        "architecture": str(selection.get("type") or "not stated"),
        "promise": promise_of(spec.latent, spec.alone),
        "needs": {"image": spec.input is not None},
    }  # fmt: skip
    try:
        card = ModelCard.model_validate_json(json.dumps(content))
    except (ValidationError, TypeError, ValueError) as error:
        where = str(error.errors()[0]["loc"][0]) if isinstance(error, ValidationError) else "it"
        raise CardError(
            f"the metadata of {model_id} has no usable {where}: {content.get(where)!r:.60}."
        ) from None
    return card, replace(spec, outputs=card.outputs)


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [str(text).strip() for text in values if text not in (None, "")]


def _modality(names: list[str]) -> str | None:
    for code, known in _MODALITIES.items():
        longer = [name for name in known if len(name) > 2]
        if any(text in known or any(name in text for name in longer) for text in names):
            return code
    return names[0][:100] if names else None
