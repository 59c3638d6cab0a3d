"""The monitor's two forms: what they offer, what somebody wrote in them, and what then happens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medgan_widgets.cards import MODALITIES, ORGANS, ModelCard
from medgan_widgets.errors import RequestError
from medgan_widgets.exporting.about import PHANTOMS
from medgan_widgets.phantoms import KINDS
from medgan_widgets.presets import PRESETS
from medgan_widgets.runs import start_process

MOST_COMPARED = 8  # runs at once; there are as many colours
SIZES = (32, 64, 128, 256)
STATEMENT = ("source", "licence", "approval", "deidentification")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def choices() -> dict[str, list[Any]]:
    """Return what the forms offer."""
    return {
        "data": list(KINDS),
        "preset": list(PRESETS),
        "size": list(SIZES),
        "modality": list(MODALITIES),
        "organ": list(ORGANS),
    }


def training_form(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training is asked for, as `prepare_run` takes it; blank is left out."""
    asked: dict[str, Any] = {"data": _text(form, "data"), "preset": _text(form, "preset")}
    if not asked["data"]:
        raise RequestError(f"data must be a path or one of {', '.join(KINDS)}; the field is empty.")
    size, kimg = _number(form, "size"), _number(form, "kimg")
    if size is None or size != int(size):
        raise RequestError(f"size must be a whole number of pixels; got {form.get('size')!r}.")
    if kimg is None or kimg <= 0:
        raise RequestError(f"kimg must be a number above 0; got {form.get('kimg')!r}.")
    asked.update(size=int(size), kimg=kimg)
    optional = {name: _text(form, name) for name in ("labels", "group", "start_from")}
    return asked | {name: value for name, value in optional.items() if value}


def run_folder(runs: Path, name: object) -> Path:
    """Return the directory of a new run by its name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name.strip()):
        raise RequestError(
            "a run's name must be 1 to 100 letters, digits, '.', '_' or '-', and begin with a "
            f"letter or digit; got {str(name)[:40]!r}."
        )
    folder = runs / name.strip()
    if (folder / "config.json").exists():
        raise RequestError(f"{folder} holds a run already; choose another name, or resume that.")
    return folder


def begin(folder: Path, asked: Mapping[str, Any]) -> Path:
    """Check a training, write it down and start its process; takes seconds, so it is a job."""
    from medgan_widgets.training import prepare_run  # torch is slow to load

    prepare_run(folder, **asked)
    start_process(folder)
    return folder


def estimate(asked: Mapping[str, Any]) -> str:
    """Return what a training would take, in a sentence; measures it, so it is a job."""
    from medgan_widgets.training import estimate_training

    names = ("preset", "size", "kimg", "labels", "group")
    given = {name: asked[name] for name in names if name in asked}
    return str(estimate_training(asked["data"], **given).text)


def model_form(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model is to be called, as `make_model` takes it; blank is left out."""
    model_id = _text(form, "model_id")
    if not _NAME.fullmatch(model_id):
        raise RequestError(
            "a model's id must be 1 to 100 letters, digits, '.', '_' or '-', and begin with a "
            f"letter or digit; got {model_id[:40]!r}."
        )
    names = ("title", "modality", "organ", "region", "licence")
    known = {name: value for name in names if (value := _text(form, name))}
    statement = {name: _text(form, f"statement_{name}") for name in STATEMENT}
    return {"model_id": model_id, **known, "statement": statement}


def make(run: Path, asked: Mapping[str, Any], models: str | Path | None) -> ModelCard:
    """Write a model's folder from a run; a job, for it reads weights and draws previews."""
    from medgan_widgets.cards import DataStatement
    from medgan_widgets.exporting.model import make_model  # torch is slow to load

    said = {name: text for name, text in asked["statement"].items() if text}
    given = {**asked, "statement": DataStatement(**said) if said else None}
    if models is not None:
        given["models"] = models
    card: ModelCard = make_model(run, **given)
    return card


def model_defaults(name: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return what the form holds at first, as far as the run itself tells.

    Examples
    --------
    >>> model_defaults("knee", {"data": "chest_xray"})["model_id"]
    'phantom-knee'
    """
    kind = str(config.get("data", ""))
    about = PHANTOMS.get(kind)
    own = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "model"
    phantom = "phantom-" if about and not own.startswith("phantom") else ""
    known = {"modality": about.modality or "", "organ": about.organ or ""} if about else {}
    return {"model_id": (phantom + own)[:100], "modality": "", "organ": "", **known}


def runs_of(content: Mapping[str, Any]) -> list[str]:
    """Return the run directories that a page's message names, 1 to 8."""
    runs = content.get("runs")
    if not isinstance(runs, list) or not runs or not all(isinstance(one, str) for one in runs):
        raise RequestError("choose a run first; none was named.")
    if len(runs) > MOST_COMPARED:
        raise RequestError(f"at most {MOST_COMPARED} runs can be told apart; got {len(runs)}.")
    return runs


def form_of(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the form that a page's message holds, or an empty one."""
    form = content.get("form")
    return form if isinstance(form, Mapping) else {}


def _text(form: Mapping[str, Any], name: str) -> str:
    value = form.get(name)
    return "" if value is None else str(value).strip()


def _number(form: Mapping[str, Any], name: str) -> float | None:
    try:
        return float(_text(form, name))
    except ValueError:
        return None
