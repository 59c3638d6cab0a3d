"""The monitor's two forms: what they offer, and what somebody wrote in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgan_widgets.cards import MODALITIES, ORGANS
from medgan_widgets.errors import RequestError
from medgan_widgets.exporting.about import PHANTOMS
from medgan_widgets.phantoms import KINDS
from medgan_widgets.presets import PRESETS

MAX_COMPARED = 8  # runs at once; there are as many colours
UNKNOWN = {"placeholder": "UNKNOWN"}
# Of each field: its name, its label, and what the page makes of it.
TRAINING = [
    ["run", "name", {"placeholder": "e.g. knee-64"}],
    ["data", "data", {"list": list(KINDS), "placeholder": "a path, or brain_mri"}],
    ["preset", "preset", {"options": list(PRESETS)}],
    ["size", "size", {"options": [32, 64, 128, 256], "value": 64}],
    ["kimg", "kimg", {"value": "100", "inputmode": "decimal"}],
    ["labels", "labels", {"placeholder": "a column, optional"}],
    ["group", "group", {"placeholder": "e.g. PatientID"}],
    ["start_from", "start from", {"placeholder": "a run or model, optional"}],
]
MODEL = [
    ["model_id", "model id", {}],
    ["title", "title", {"placeholder": "optional"}],
    ["modality", "modality", {"list": list(MODALITIES), "placeholder": "MR, CT, … or any word"}],
    ["organ", "organ", {"list": list(ORGANS), "placeholder": "brain, … or any word"}],
    ["region", "region", {"placeholder": "optional"}],
    ["licence", "licence", {"placeholder": "of the model, e.g. MIT"}],
    ["source", "data: source", UNKNOWN],
    ["statement_licence", "data: licence", UNKNOWN],
    ["approval", "data: approval reference", UNKNOWN],
    ["deidentification", "data: de-identification", UNKNOWN],
]


def written(content: Mapping[str, Any], fields: list[list[Any]]) -> dict[str, str]:
    """Return what a page's message has in these fields; blank is left out."""
    form = content.get("form")
    form = form if isinstance(form, Mapping) else {}
    texts = {name: str(form.get(name) or "").strip() for name, *_ in fields}
    return {name: text for name, text in texts.items() if text}


def training_arguments(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return a filled form as the arguments of `train`."""
    if not form.get("data"):
        raise RequestError(f"data must be a path or one of {', '.join(KINDS)}; the field is empty.")
    kinds = (("size", int, "a whole number of pixels"), ("kimg", float, "a number above 0"))
    numbers: dict[str, float] = {}
    for name, kind, what in kinds:
        try:
            numbers[name] = kind(form.get(name, ""))
        except (TypeError, ValueError):
            raise RequestError(f"{name} must be {what}; got {form.get(name)!r}.") from None
    return {name: value for name, value in {**form, **numbers}.items() if name != "run"}


def new_run(runs: Path, name: str) -> Path:
    """Return the directory of a new run: a page names folders below ``runs``, no others."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise RequestError(
            "a run's name must be 1 to 100 letters, digits, '.', '_' or '-', and begin with a "
            f"letter or digit; got {name[:40]!r}."
        )
    folder = runs / name
    if (folder / "config.json").exists():
        raise RequestError(f"{folder} holds a run already; choose another name, or resume that.")
    return folder


def runs_named(content: Mapping[str, Any]) -> list[str]:
    """Return the run directories that a page's message names, 1 to 8."""
    runs = content.get("runs")
    if not isinstance(runs, list) or not runs or not all(isinstance(one, str) for one in runs):
        raise RequestError("choose a run first; none was named.")
    if len(runs) > MAX_COMPARED:
        raise RequestError(f"at most {MAX_COMPARED} runs can be told apart; got {len(runs)}.")
    return runs


def model_defaults(name: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the model's form holds at first, as far as the run itself tells.

    Examples
    --------
    >>> model_defaults("knee", {"data": "chest_xray"})
    {'model_id': 'phantom-knee', 'modality': 'DX', 'organ': 'chest'}
    """
    about = PHANTOMS.get(str(config.get("data", "")))
    model_id = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    if about is None:
        return {"model_id": model_id[:100], "modality": "", "organ": ""}
    if not model_id.startswith("phantom"):
        model_id = f"phantom-{model_id}"
    return {
        "model_id": model_id[:100], "modality": about.modality or "", "organ": about.organ or ""
    }  # fmt: skip
