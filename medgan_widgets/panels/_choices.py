"""What the grid's controls offer, and what somebody chose with them, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from medgan_widgets.cards import ModelCard
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import SEED_LIMIT, seeds_from, whole_number

MOST_IMAGES = 64
MOST_COLUMNS = 16


def runnable(catalogue: Any) -> dict[str, ModelCard]:
    """Return the models that run now, by id."""
    return {card.id: card for card in catalogue if catalogue.runs_here(card).kind == "now"}


def choice(card: ModelCard) -> dict[str, Any]:
    """Return what the page needs to offer a model and its factors."""
    return {
        "id": card.id,
        "title": card.title,
        "condition": {name: list(values) for name, values in card.condition.items()},
        "truncation": card.truncation,
        "styles": card.style_layers,
        "options": [option.model_dump(mode="json") for option in card.options],
        "image": card.needs.image,
    }


def request_of(wanted: Mapping[str, Any]) -> GenerateRequest:
    """Return the request for what the controls show; whether the model fits is others' to say."""
    images = whole_number(_number(wanted["images"]), "images", 1, MOST_IMAGES)
    seed = whole_number(_number(wanted["seed"]), "seed", 0, SEED_LIMIT - 1)
    mix = wanted.get("mix")
    if isinstance(mix, Mapping):
        mix = {**mix, "seed": _number(mix.get("seed"))}
    return GenerateRequest(
        wanted["model"],
        seeds=seeds_from(seed, images),
        condition=wanted.get("condition") or {},
        truncation_psi=wanted.get("psi"),
        mix=mix,
        options=wanted.get("options") or {},
        inputs=wanted.get("inputs") or (),
    )


def _number(value: object) -> object:
    """Return digits typed as text as a number; anything else as it is, for the error to quote."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,40}", text) else text[:40]
