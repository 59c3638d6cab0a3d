"""A model card to read: what the model is, whose data it saw, how good and for what."""

from __future__ import annotations

import textwrap

from medgan_widgets.cards import UNKNOWN, DataStatement, ModelCard, ScoreCard

_NAMES = {
    "source": "source of the images",
    "licence": "licence of the data",
    "approval": "ethics approval",
    "deidentification": "de-identification",
}


def model_readme(card: ModelCard) -> str:
    """Return the README of a model's folder, Markdown; what nobody stated says ``UNKNOWN``."""
    parts = [
        f"# {plain(card.title)}",
        _wrapped(f"{card.description} {_kind(card)}".strip()),
        "Synthetic, seeds 0 to 15:\n\n![Synthetic images, each marked with its seed](grid.png)",
        _table(_facts(card)),
        "## Data\n\n" + _table(_data(card)),
        "## Training\n\n" + _table(_training(card)),
        "## Figures\n\n" + _figures(card.scores),
        "## Limits\n\n" + _wrapped(card.limits or f"{UNKNOWN}: nobody stated any."),
        "## Make images\n\n" + _usage(card),
    ]
    return "\n\n".join(parts) + "\n"


def plain(text: object) -> str:
    r"""Return text that stays text in Markdown: no markup, no new column, one line."""
    return " ".join(str(text).split()).replace("<", "&lt;").replace("|", "\\|")


def _kind(card: ModelCard) -> str:
    if card.phantom:
        return (
            "Synthetic images: not real, and nobody's: the generator was trained on procedural "
            "phantoms whose shapes are known, not on patients."
        )
    return "Synthetic images: not real, and they show no patient; the training images may have."


def _facts(card: ModelCard) -> list[tuple[str, object]]:
    factors = "; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in card.condition.items())
    rows: list[tuple[str, object]] = [
        ("makes", f"{card.makes}; {card.modality}, {card.organ}, {card.region}"),
        ("size", f"{card.size[0]} x {card.size[1]} pixels, {card.channels} channel(s)"),
        ("condition", factors or "none"),
        ("network", card.architecture),
        ("licence", card.licence or f"{UNKNOWN}: not stated"),
    ]
    if card.weights is not None:
        rows.append(("weights", f"{card.weights.bytes / 1024:,.0f} KiB, safetensors"))
        rows.append(("SHA-256", f"`{card.weights.sha256}`"))
    return rows


def _data(card: ModelCard) -> list[tuple[str, object]]:
    statement = (card.statement or DataStatement()).model_dump()
    rows: list[tuple[str, object]] = [(_NAMES[name], said) for name, said in statement.items()]
    told = card.training
    rows.append(("fingerprint", f"`{told['fingerprint']}`" if "fingerprint" in told else UNKNOWN))
    for name, words in (("data", "images"), ("group", "patients")):
        if name in told:
            rows.append((words, told[name]))
    return rows


def _training(card: ModelCard) -> list[tuple[str, object]]:
    told = card.training
    names = (
        "run", "preset", "kimg", "seed", "augmentations", "cpu_seconds", "parent", "parent_run",
        "parent_sha256", "imported_sha256", "precision",
    )  # fmt: skip
    rows: list[tuple[str, object]] = [
        (name.replace("_", " "), told[name]) for name in names if name in told
    ]
    if "fp16_grey_levels" in told:
        text = f"at most {told['fp16_grey_levels']} of 255 grey levels, over 64 seeds"
        rows.append(("change by fp16", text))
    elif told.get("precision") == "fp32" and "run" in told:
        rows.append(("change by fp16", "fp16 is too small for these weights"))
    return rows or [("how", UNKNOWN)]


def _figures(scores: tuple[ScoreCard, ...]) -> str:
    if not scores:
        return "None were measured."
    lines = [
        "| metric | value | 95 % interval | n real / synthetic | extractor | floor |",
        "|---|---|---|---|---|---|",
    ]
    for one in scores:
        interval = f"{one.interval[0]:.4g} to {one.interval[1]:.4g}" if one.interval else UNKNOWN
        floor = _number(one.floor)
        if one.value_at_floor_n is not None:
            floor += f" at n {one.floor_n} (value there {_number(one.value_at_floor_n)})"
        cells = (
            one.name, _number(one.value), interval, f"{_known(one.n_real)} / {_known(one.n_fake)}",
            _known(one.extractor), floor,
        )  # fmt: skip
        lines.append("| " + " | ".join(plain(cell) for cell in cells) + " |")
    note = (
        "The floor is real images against other real images, at the same n unless it names "
        "its own. Values of another extractor, another n or other data do not compare."
    )
    return "\n".join(lines) + "\n\n" + _wrapped(note)


def _usage(card: ModelCard) -> str:
    return (
        "```python\nimport medgan_widgets as mw\n\n"
        f'request = mw.GenerateRequest("{card.id}", seeds=range(16))\n'
        'engine = mw.Engine(catalogue=mw.Catalogue("models"))  # the folder that holds this one\n'
        "images = engine.images(request)  # uint8 [N, H, W, C]\n```"
    )


def _table(rows: list[tuple[str, object]]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {plain(text)} |" for name, text in rows)]
    )


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.4g}"


def _known(value: object) -> str:
    return UNKNOWN if value is None else str(value)


def _wrapped(text: str) -> str:
    return textwrap.fill(plain(text), 98, break_long_words=False, break_on_hyphens=False)
