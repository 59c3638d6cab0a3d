"""Facts of medigan's 23 models as model cards, in this package's vocabulary.

From medigan 1.0.0 (Osuala et al., J Med Imaging 10(6):061403, 2023). Every value that
differs in substance from the published one is a ``Correction`` on its card; synonyms,
capitals and years as text are mended silently.

Figures: medigan publishes one number of images for both sides of an FID, and
a ratio, which is the real-against-real distance divided by the FID. The
``floor`` here is that ratio times the FID (models of the same data and n agree
on it: 68.2 for BCDR's masses, 24.3 for NODE21). ``FID`` uses Inception features
of ImageNet, ``FID_RadImageNet`` those of RadImageNet: they never compare.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from medgan_widgets.cards import ModelCard

EXTRACTORS = {"FID": "Inception v3, ImageNet", "FID_RadImageNet": "Inception v3, RadImageNet"}
_COPIED = (
    "id", "title", "description", "architecture", "function", "outputs", "condition", "modality",
    "organ", "region", "makes", "size", "channels", "licence", "dataset", "year", "limits",
)  # fmt: skip


@cache
def medigan_cards() -> tuple[ModelCard, ...]:
    """Return the 23 cards, 00001 first.

    Examples
    --------
    >>> cards = medigan_cards()
    >>> len(cards), cards[0].id
    (23, '00001_DCGAN_MMG_CALC_ROI')
    >>> cards[0].score("FID").floor  # 67.6 x 0.497
    33.6
    """
    facts = json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))
    runs = json.loads(Path(__file__).with_name("packages.json").read_text(encoding="utf-8"))
    return tuple(_card(record, facts["shared"], runs[record["id"]]) for record in facts["models"])


@cache
def zenodo_records() -> dict[str, dict[str, Any]]:
    """Return the facts of each model as they are written, by id."""
    facts = json.loads(Path(__file__).with_name("facts.json").read_text(encoding="utf-8"))
    return {record["id"]: record for record in facts["models"]}


def promise_of(latent: int | None, alone: bool) -> str:
    """Return what a seed promises for a package, by whether it takes a latent.

    Examples
    --------
    >>> promise_of(None, False)
    'all random numbers are seeded for each image, which runs by itself'
    """
    if latent is not None and not alone:
        return "each image comes from the latent of its own seed"
    return "all random numbers are seeded for each image, which runs by itself"


def _card(record: dict[str, Any], shared: dict[str, list[str]], run: dict[str, Any]) -> ModelCard:
    content: dict[str, Any] = {name: record[name] for name in _COPIED if name in record}
    content["origin"] = "medigan"
    content["source"] = f"https://zenodo.org/records/{record['zenodo']}"
    content["options"] = [
        {"name": name, "default": default, "choices": run.get("choices", {}).get(name, [])}
        for name, default in run.get("options", {}).items()
    ]
    content["promise"] = promise_of(run.get("latent"), bool(run.get("alone")))
    content["needs"] = {
        name: record[name]
        for name in ("packages", "image", "python", "download_mb")
        if name in record
    }
    others = record.get("other", {}).items()
    content["scores"] = _distances(record["fid"])
    content["scores"] += [{"name": name, "value": value} for name, value in others]
    notes = [shared[key] for key in record.get("shared", ())] + record.get("corrections", [])
    names = ("field", "published", "corrected", "reason")
    content["corrections"] = [dict(zip(names, note, strict=True)) for note in notes]
    return ModelCard.model_validate_json(json.dumps(content))


def _distances(fid: dict[str, Any]) -> list[dict[str, Any]]:
    """Turn [value, ratio] into scores; the floor keeps three digits, as many as the ratio."""
    n = fid.get("n")
    scores = []
    for name, extractor in EXTRACTORS.items():
        if name in fid:
            value, ratio = fid[name]
            floor = None if ratio is None else float(f"{value * ratio:.3g}")
            scores.append(
                {"name": name, "value": value, "n_real": n, "n_fake": n, "extractor": extractor,
                 "floor": floor}
            )  # fmt: skip
    return scores
