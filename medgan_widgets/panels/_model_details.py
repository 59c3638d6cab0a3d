"""Models in words: rows of the table, counts beside it, and all that the detail card says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.cards import UNKNOWN, ModelCard, ScoreCard, Weights
from medgan_widgets.catalogue import Catalogue, Metric, RunsHere, size_text
from medgan_widgets.catalogue.figures import value_of

MODALITIES = {
    "MR": "magnetic resonance",
    "MG": "mammography",
    "DX": "X-ray",
    "ES": "endoscopy",
    "CT": "computed tomography",
    "US": "ultrasound",
    "PT": "positron emission tomography",
    "XA": "angiography",
    "OT": "another modality",
}
RUNS = {
    "now": "runs now",
    "consent": "needs your yes",
    "download": "after a download",
    "image": "needs your image",
    "packages": "needs packages",
    "interpreter": "needs its own Python",
    "damaged": "damaged",
}
_RUNS_SHORT = {
    "now": "now",
    "consent": "your yes",
    "download": "download",
    "image": "your image",
    "packages": "packages",
    "interpreter": "own Python",
    "damaged": "damaged",
}
_OWN_LINES = frozenset(
    {"kimg", "run", "fingerprint", "group", "groups", "checkpoint"}
    | {"parent", "parent_run", "parent_sha256"}
)
_STATED = {"deidentification": "de-identification"}
LICENCE_MISSING = "not stated: ask its authors before any use but looking"


def short_name(card: ModelCard) -> str:
    """Return what the table calls a model: medigan's by number."""
    return card.id.split("_")[0] if card.origin == "medigan" else card.id


def short_licence(card: ModelCard) -> str:
    return card.licence.split(" (")[0] if card.licence else "none"


def short_runs(card: ModelCard, runs: RunsHere) -> str:
    if runs.kind == "download" and card.needs.download_mb:
        return f"{card.needs.download_mb:g} MB"
    return _RUNS_SHORT[runs.kind]


def row(card: ModelCard, runs: RunsHere) -> dict[str, Any]:
    """Return the cells of a model's row, as plain text."""
    return {
        "id": card.id,
        "name": short_name(card),
        "title": card.title,
        "modality": card.modality,
        "organ": card.organ,
        "makes": card.makes,
        "size": size_text(card),
        "licence": short_licence(card),
        "stated": card.licence is not None,
        "runs": short_runs(card, runs),
        "now": runs.kind == "now",
        "why": runs.text,
    }


def score_cell(card: ModelCard, metric: Metric | None) -> str:
    """Return the figure that the table ranks by, else the card's first one with its name."""
    if metric is not None:
        key = (metric.name, metric.extractor)
        found = [score for score in card.scores if (score.name, score.extractor) == key]
        return number(found[0].value) if found else "–"
    first = card.scores[0] if card.scores else None
    return f"{first.name} {number(first.value)}" if first else "–"


def number(value: float | None) -> str:
    """Return four digits, never in the form 1e+03.

    Examples
    --------
    >>> number(80.51), number(0.43333), number(12345.6), number(None)
    ('80.51', '0.433', '12,346', 'not reported')
    """
    if value is None:
        return "not reported"
    digits = ".3g" if abs(value) < 10 else ".4g" if abs(value) < 1000 else ",.0f"
    return format(value, digits)


def detail(card: ModelCard, runs: RunsHere) -> dict[str, Any]:
    """Return the detail card as lines of plain text: terms, what they say, and quiet notes."""
    return {
        "id": card.id,
        "title": card.title,
        "about": _about(card),
        "lines": [line for line in (*_what(card), *_figures(card), *_terms(card, runs)) if line],
        "corrections": [correction.model_dump() for correction in card.corrections],
        "source": card.source or "",
        "runs": runs.kind == "now",
        "why": "" if runs.kind == "now" else runs.text,
        "marks": _marks(card),
    }


def labels() -> dict[str, dict[str, str]]:
    """Return the words for facet values: {facet: {value: words}}."""
    return {
        "modality": MODALITIES,
        "outputs": {"mask": "with mask", "label": "with label"},
        "runs_here": RUNS,
        "origin": {"local": "on this machine", "medigan": "medigan's"},
    }


def label(metric: Metric) -> str:
    """Return what a figure is called in the list to rank by."""
    return metric.name if metric.extractor is None else f"{metric.name} · {metric.extractor}"


def note(metric: Metric | None) -> str:
    """Return what to mind when models are compared by a figure."""
    if metric is None:
        return "Scores of different extractors (FD, FID) do not compare."
    way = "higher" if metric.higher_is_better else "lower"
    return (
        f"{way.capitalize()} is better. Other extractors do not compare; "
        "with other data or another n, compare with care."
    )


def counts(
    whole: Catalogue, searched: Catalogue, chosen: Mapping[str, Any]
) -> dict[str, list[list[Any]]]:
    """Count a facet among the models that fit everything but that facet; none is left out."""
    found = {}
    for facet, values in whole.facets().items():
        others = {name: value for name, value in chosen.items() if name != facet}
        there = searched.filter(**others).facets()[facet]
        found[facet] = [[value, there.get(value, 0)] for value in values]
    return found


def nearest(searched: Catalogue, hits: Catalogue) -> dict[str, str]:
    """Return what to look for instead, when nothing was found."""
    near = searched.nearest or hits.nearest
    if len(hits) or near is None:
        return {}
    return {"sentence": near.sentence, "search": near.search}


def by_score(hits: Catalogue, ids: list[str], metric: Metric, direction: str) -> list[str]:
    """Turn a ranking round if asked; models without the figure stay last."""
    best_first = direction == ("descending" if metric.higher_is_better else "ascending")
    having = [name for name in ids if value_of(hits[name], metric) is not None]
    without = [name for name in ids if name not in having]
    return (having if best_first else having[::-1]) + without


def comparison(catalogue: Catalogue, ids: list[str]) -> dict[str, Any]:
    """Return models side by side: rows in which they differ are marked."""
    table = catalogue.compare(ids)
    rows = []
    for fact, cells in table.iterrows():
        values = ["–" if _empty(value) else _cell(value) for value in cells]
        rows.append(
            {"fact": str(fact).replace("_", " "), "values": values, "differ": len(set(values)) > 1}
        )
    names = [short_name(catalogue[name]) for name in table.columns]
    return {"names": names, "ids": list(table.columns), "rows": rows}


def picture(rows: list[dict[str, Any]], scores: dict[str, str], selected: str) -> Image.Image:
    """Draw the table, for pages that have no browser's widgets."""
    columns = {"name": 150, "modality": 70, "organ": 60, "makes": 330, "size": 75, "licence": 60}
    names = ["model", "modality", "organ", "makes", "size", "licence", "score", "runs here"]
    font = ImageFont.load_default(12)
    sheet = Image.new("RGB", (sum(columns.values()) + 190, 24 * (len(rows) + 1) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    lines = [names] + [
        [str(one[key]) for key in columns] + [scores.get(one["id"], "–"), one["runs"]]
        for one in rows
    ]
    for index, cells in enumerate(lines):
        top, left = 24 * index + 4, 8
        if index and rows[index - 1]["id"] == selected:
            pen.rectangle((0, top, sheet.width, top + 23), fill="#e3eefb")
        for text, width in zip(cells, [*columns.values(), 105, 85], strict=True):
            text = text.replace("–", "-").replace("×", "x").replace("↔", "-")  # Pillow's own font
            pen.text((left, top + 4), text, fill="#5f6368" if index == 0 else "#212121", font=font)
            left += width
        pen.line((0, top + 23, sheet.width, top + 23), fill="#e0e0e0")
    return sheet


def _line(
    term: str, text: str, note: str = "", *, tone: str = "", whole: str = ""
) -> dict[str, str]:
    return {"term": term, "text": text, "note": note, "tone": tone, "whole": whole}


def _about(card: ModelCard) -> str:
    if card.description:
        return card.description
    return f"{card.makes[0].upper()}{card.makes[1:]}, {card.region}."


def _what(card: ModelCard) -> list[dict[str, str]]:
    height, width = card.size
    channels = "grey" if card.channels == 1 else f"{card.channels} channels"
    made_from = card.function + ("" if not card.needs.image else ", from an image of yours")
    data = card.dataset or ("procedural phantoms" if card.phantom else "not stated")
    note = ", no patient behind them" if card.phantom else ""
    kimg = card.training.get("kimg")
    trained = f"{data}{note}" + (f"; {kimg:g} kimg" if isinstance(kimg, (int, float)) else "")
    lines = [
        _line("makes", ", ".join(card.outputs), f"{height} × {width}, {channels}"),
        _line("how", made_from, card.architecture),
        _line("trained on", trained, str(card.year or "year not stated")),
    ]
    for factor, values in card.condition.items():
        text = " / ".join(_value(value) for value in values)
        lines.append(_line("condition", f"{factor}: {text}"))
    return lines


def _figures(card: ModelCard) -> list[dict[str, str]]:
    return [_figure(score, card.phantom) for score in card.scores] or [
        _line("scores", "none published")
    ]


def _figure(score: ScoreCard, phantom: bool) -> dict[str, str]:
    name, _, task = score.name.partition(" (")
    notes = [task.rstrip(")")] if task else []
    if score.interval:
        notes.append(f"[{number(score.interval[0])}, {number(score.interval[1])}]")
    if score.n_real or score.n_fake:
        sides = [f"{n:,}" if n else "?" for n in (score.n_real, score.n_fake)]
        kind = "phantoms" if phantom else "real"
        notes.append(f"n {sides[0]} {kind} / {sides[1]} synthetic")
    elif score.extractor:
        notes.append("n not reported")
    if score.floor is not None:
        there = score.value_at_floor_n
        at = "" if there is None else f" at n {score.floor_n:,}, value there {number(there)}"
        notes.append(f"floor {number(score.floor)}{at}")
    if score.extractor:
        notes.append(score.extractor)
    return _line(name.replace("_", " "), number(score.value), " · ".join(notes))


def _terms(card: ModelCard, runs: RunsHere) -> list[dict[str, str]]:
    if card.licence is None:
        licence = _line("licence", LICENCE_MISSING, tone="warn")
    else:
        licence = _line("licence", card.licence)
    needs = runs.text.split(" Type: ")[0]  # what to type stands below the table, to be copied
    if runs.kind == "interpreter":
        needs = f"{needs.split('. Needs packages')[0].rstrip('.')}."
    lines = [licence, _line("runs here", needs, tone="" if runs.kind == "now" else "warn")]
    if card.weights is not None:
        digest = card.weights.sha256
        lines.append(
            _line("weights", _weight(card.weights), f"sha256 {digest[:12]}…", whole=digest)
        )
    lines += _origins(card)
    own = _OWN_LINES | ({"data"} if "fingerprint" in card.training else set())
    training = {name: value for name, value in card.training.items() if name not in own}
    if training:
        text = " · ".join(f"{name} {_cell(value)}" for name, value in training.items())
        lines.append(_line("training", text))
    if card.promise:
        lines.append(_line("a seed", card.promise))
    if card.limits:
        lines.append(_line("limits", card.limits))
    return lines


def _origins(card: ModelCard) -> list[dict[str, str]]:
    """Say where the training images come from, what they hash to, and what was there before."""
    told, lines = card.training, []
    if card.statement is not None:
        parts = card.statement.model_dump().items()
        text = " · ".join(f"{_STATED.get(name, name)}: {said}" for name, said in parts)
        lines = [_line("data statement", text, tone="warn" if card.statement.unknown else "")]
    elif card.origin == "local" and not card.phantom:
        text = f"{UNKNOWN}: nobody stated where its training images come from"
        lines = [_line("data statement", text, tone="warn")]
    if "fingerprint" in told:
        whole = str(told["fingerprint"])
        text = str(told.get("data", "the training images"))
        lines.append(_line("data", text, f"fingerprint {whole[:12]}…", whole=whole))
    if "group" in told:
        apart = told.get("groups") is not None
        lines.append(_line("patients", str(told["group"]), tone="" if apart else "warn"))
    known = [str(told[key]) for key in ("parent_run", "parent_sha256") if key in told]
    if known:
        note = f"run {known[0][:12]}…" if "parent_run" in told else ""
        name = str(told.get("parent", "a run"))
        lines.append(_line("started from", name, note, whole=" ".join(known)))
    if "run" in told:
        lines.append(_line("run", str(told["run"])))
    return lines


def _marks(card: ModelCard) -> list[str]:
    marks = ["phantom: no patient behind it"] if card.phantom else []
    return [*marks, "reproducible: same seed, same pixels"] if card.network else marks


def _weight(weights: Weights) -> str:
    kib = weights.bytes / 1024
    return f"{kib:,.0f} KiB" if kib < 2048 else f"{kib / 1024:,.1f} MiB"


def _value(value: str | bool | int) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _empty(value: object) -> bool:
    return value is None or value == "" or value != value  # pandas may turn None into NaN


def _cell(value: object) -> str:
    return number(value) if isinstance(value, float) else str(value)
