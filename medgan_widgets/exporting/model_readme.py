"""A model card to read: what the model is, whose data it saw, how good and for what."""

from __future__ import annotations

import textwrap

from medgan_widgets.cards import UNKNOWN, DataStatement, ModelCard, ScoreCard

_PHANTOM = (
    "Synthetic images: not real, and nobody's: the generator was trained on procedural "
    "phantoms whose shapes are known, not on patients."
)
_PATIENTS = "Synthetic images: not real, and they show no patient; the training images may have."
_STATEMENT = {
    "source": "source of the images",
    "licence": "licence of the data",
    "approval": "ethics approval",
    "deidentification": "de-identification",
}
_TRAINING = (
    "run", "preset", "kimg", "seed", "augmentations", "cpu_seconds", "parent", "parent_run",
    "parent_sha256", "imported_sha256", "precision",
)  # fmt: skip
_SCORES = (
    "| metric | value | 95 % interval | n real / synthetic | extractor | floor |\n"
    "|---|---|---|---|---|---|"
)
_FLOOR = (
    "The floor is real images against other real images, at the same n unless it names "
    "its own. Values of another extractor, another n or other data do not compare."
)
_USAGE = """```python
import medgan_widgets as mw

request = mw.GenerateRequest("{id}", seeds=range(16))
engine = mw.Engine(catalogue=mw.Catalogue("models"))  # the folder that holds this one
images = engine.images(request)  # uint8 [N, H, W, C]
```"""


def model_readme(card: ModelCard) -> str:
    """Return the README of a model's folder, Markdown; what nobody stated says ``UNKNOWN``."""
    factors = "; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in card.condition.items())
    facts = {
        "makes": f"{card.makes}; {card.modality}, {card.organ}, {card.region}",
        "size": f"{card.size[0]} x {card.size[1]} pixels, {card.channels} channel(s)",
        "condition": factors or "none",
        "network": card.architecture,
        "licence": card.licence or f"{UNKNOWN}: not stated",
    }
    if card.weights is not None:
        facts["weights"] = f"{card.weights.bytes / 1024:,.0f} KiB, safetensors"
        facts["SHA-256"] = f"`{card.weights.sha256}`"
    statement = (card.statement or DataStatement()).model_dump()
    training = card.training
    data = {_STATEMENT[name]: text for name, text in statement.items()}
    data["fingerprint"] = f"`{training['fingerprint']}`" if "fingerprint" in training else UNKNOWN
    names = {"data": "images", "group": "patients"}
    data |= {word: training[name] for name, word in names.items() if name in training}
    return "\n\n".join([
        f"# {_plain(card.title)}",
        _wrapped(f"{card.description} {_PHANTOM if card.phantom else _PATIENTS}".strip()),
        "Synthetic, seeds 0 to 15:",
        "![Synthetic images, each marked with its seed](grid.png)",
        _table(facts),
        "## Data",
        _table(data),
        "## Training",
        _table(_training(card)),
        "## Figures",
        _figures(card.scores),
        "## Limits",
        _wrapped(card.limits or f"{UNKNOWN}: nobody stated any."),
        "## Make images",
        _USAGE.format(id=card.id),
    ]) + "\n"  # fmt: skip


def _training(card: ModelCard) -> dict[str, object]:
    training = card.training
    rows: dict[str, object] = {
        name.replace("_", " "): training[name] for name in _TRAINING if name in training
    }
    if "fp16_grey_levels" in training:
        levels = training["fp16_grey_levels"]
        rows["change by fp16"] = f"at most {levels} of 255 grey levels, over 64 seeds"
    elif training.get("precision") == "fp32" and "run" in training:
        rows["change by fp16"] = "fp16 is too small for these weights"
    return rows or {"how": UNKNOWN}


def _figures(scores: tuple[ScoreCard, ...]) -> str:
    if not scores:
        return "None were measured."
    lines = [_SCORES]
    for score in scores:
        low_high = " to ".join(f"{limit:.4g}" for limit in score.interval or ())
        floor = _number(score.floor)
        if score.value_at_floor_n is not None:
            floor += f" at n {score.floor_n} (value there {_number(score.value_at_floor_n)})"
        n = f"{score.n_real or UNKNOWN} / {score.n_fake or UNKNOWN}"
        cells = (score.name, _number(score.value), low_high or UNKNOWN, n,
                 score.extractor or UNKNOWN, floor)  # fmt: skip
        lines.append("| " + " | ".join(map(_plain, cells)) + " |")
    return "\n".join(lines) + "\n\n" + _wrapped(_FLOOR)


def _table(rows: dict[str, object] | dict[str, str]) -> str:
    lines = [f"| {name} | {_plain(text)} |" for name, text in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}"


def _plain(text: object) -> str:
    r"""Return text that stays text in Markdown: no markup, no new column, one line."""
    return " ".join(str(text).split()).replace("<", "&lt;").replace("|", "\\|")


def _wrapped(text: str) -> str:
    return textwrap.fill(_plain(text), 98, break_long_words=False, break_on_hyphens=False)
