"""Models in words: rows of the explorer's table, and all that the detail card says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from medgan_widgets.cards import UNKNOWN, ModelCard, ScoreCard
from medgan_widgets.catalogue import Catalogue, Metric, facet_values, size_text
from medgan_widgets.model_folders import RunsHere
from medgan_widgets.vocabulary import words_of

_RUNS_SHORT = {
    "now": "now", "consent": "your yes", "image": "your image", "interpreter": "own Python"
}  # fmt: skip
_COLUMNS = {  # of the snapshot: where each begins
    "model": 8, "modality": 158, "organ": 228, "makes": 288, "size": 618, "licence": 693,
    "score": 753, "runs here": 858,
}  # fmt: skip
# Of a training, what has a line of its own or is of no use here.
_OWN_LINES = {
    "kimg", "run", "fingerprint", "group", "groups", "checkpoint", "parent", "parent_run",
    "parent_sha256",
}  # fmt: skip


def row(card: ModelCard) -> dict[str, Any]:
    """Return what the page's table shows, filters, sorts and finds of a model, as plain text."""
    words = sorted(words_of(card).items(), key=lambda item: item[1])
    scores = {label(score): [score.value, number(score.value)] for score in card.scores}
    first = next(iter(card.scores), None)
    return {
        "id": card.id,
        "name": short_name(card),
        "title": card.title,
        "modality": card.modality,
        "organ": card.organ,
        "makes": card.makes,
        "size": size_text(card),
        "area": card.size[0] * card.size[1],
        "licence": card.licence.split(" (")[0] if card.licence else "none",
        "stated": card.licence is not None,
        "score": f"{first.name} {number(first.value)}" if first else "–",
        "scores": scores,
        "facets": {facet: list(values) for facet, values in facet_values(card).items()},
        # What each group of words is worth in a search, as `vocabulary.fit` counts it.
        "words": {
            str(weight): " ".join(word for word, _ in group)
            for weight, group in groupby(words, key=lambda item: item[1])
        },
    }


def runs(card: ModelCard, runs: RunsHere) -> dict[str, str]:
    """Return whether a model runs here: in a word, in the cell of its row, in a sentence."""
    short = _RUNS_SHORT.get(runs.kind, runs.kind)
    if runs.kind == "download" and card.needs.download_mb:
        short = f"{card.needs.download_mb:g} MB"
    return {"kind": runs.kind, "short": short, "why": runs.text}


def label(figure: Metric | ScoreCard) -> str:
    """Return what a figure is called in the list to rank by."""
    return f"{figure.name} · {figure.extractor}" if figure.extractor else figure.name


def metric(metric: Metric) -> dict[str, Any]:
    """Return a figure to rank by, and what to mind when models are compared by it."""
    way = "Higher" if metric.higher_is_better else "Lower"
    return {
        "label": label(metric),
        "higher": metric.higher_is_better,
        "note": f"{way} is better. Other extractors do not compare; "
        "with other data or another n, compare with care.",
    }


def short_name(card: ModelCard) -> str:
    """Return what the table calls a model: medigan's by number."""
    return card.id.split("_")[0] if card.origin == "medigan" else card.id


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
    phantom = ["phantom: no patient behind it"] * card.phantom
    reproducible = ["reproducible: same seed, same pixels"] * bool(card.network)
    return {
        "id": card.id,
        "title": card.title,
        "about": card.description or f"{card.makes[0].upper()}{card.makes[1:]}, {card.region}.",
        "lines": [*_contents(card), *_scores(card), *_terms(card, runs), *_origins(card)],
        "corrections": [correction.model_dump() for correction in card.corrections],
        "source": card.source or "",
        "runs": runs.kind == "now",
        "why": "" if runs.kind == "now" else runs.text,
        "marks": phantom + reproducible,
    }


def comparison(catalogue: Catalogue, ids: Sequence[str]) -> dict[str, Any]:
    """Return models side by side: rows in which they differ are marked."""
    table = catalogue.compare(ids)
    rows = []
    for fact, cells in table.iterrows():
        # pandas may turn None into NaN, which is not even equal to itself
        values = ["–" if cell in (None, "") or cell != cell else _text(cell) for cell in cells]
        differ = len(set(values)) > 1
        rows.append({"fact": str(fact).replace("_", " "), "values": values, "differ": differ})
    return {"names": [short_name(catalogue[name]) for name in ids], "ids": list(ids), "rows": rows}


def picture(ids: Sequence[str], view: Any) -> Image.Image | None:
    """Draw the table, for places that have no browser's widgets."""
    rows = {row["id"]: row for row in view.rows}
    cells: list[list[str]] = []
    for row in (rows[name] for name in ids):
        score = row["scores"].get(view.rank_by, ["", "–"])[1] if view.rank_by else row["score"]
        facts = [row[key] for key in ("name", "modality", "organ", "makes", "size", "licence")]
        cells.append([*facts, score, view.runs[row["id"]]["short"]])
    sheet = Image.new("RGB", (950, 24 * (len(cells) + 1) + 8), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for index, texts in enumerate([list(_COLUMNS), *cells]):
        top = 24 * index + 4
        if index and ids[index - 1] == view.selected:
            pen.rectangle((0, top, sheet.width, top + 23), fill="#e3eefb")
        for text, left in zip(texts, _COLUMNS.values(), strict=True):
            text = text.replace("–", "-").replace("×", "x").replace("↔", "-")  # Pillow's own font
            pen.text((left, top + 4), text, fill="#212121" if index else "#5f6368", font=font)
        pen.line((0, top + 23, sheet.width, top + 23), fill="#e0e0e0")
    return sheet if cells else None


def _line(
    term: str, text: str, note: str = "", *, tone: str = "", whole: str = ""
) -> dict[str, str]:
    return {"term": term, "text": text, "note": note, "tone": tone, "whole": whole}


def _contents(card: ModelCard) -> list[dict[str, str]]:
    height, width = card.size
    channels = "grey" if card.channels == 1 else f"{card.channels} channels"
    data = card.dataset or ("procedural phantoms" if card.phantom else "not stated")
    trained = data + ", no patient behind them" * card.phantom
    if isinstance(kimg := card.training.get("kimg"), (int, float)):
        trained += f"; {kimg:g} kimg"
    how = card.function + ", from an image of yours" * card.needs.image
    lines = [
        _line("makes", ", ".join(card.outputs), f"{height} × {width}, {channels}"),
        _line("how", how, card.architecture),
        _line("trained on", trained, str(card.year or "year not stated")),
    ]
    for factor, values in card.condition.items():
        lines.append(_line("condition", f"{factor}: {' / '.join(map(_text, values))}"))
    return lines


def _scores(card: ModelCard) -> list[dict[str, str]]:
    if not card.scores:
        return [_line("scores", "none published")]
    return [_score(score, "phantoms" if card.phantom else "real") for score in card.scores]


def _score(score: ScoreCard, reals: str) -> dict[str, str]:
    name, _, task = score.name.partition(" (")
    notes = [task.rstrip(")")] if task else []
    if score.interval:
        notes.append(f"[{number(score.interval[0])}, {number(score.interval[1])}]")
    if score.n_real or score.n_fake:
        n_real, n_fake = (f"{n:,}" if n else "?" for n in (score.n_real, score.n_fake))
        notes.append(f"n {n_real} {reals} / {n_fake} synthetic")
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
    missing = "not stated: ask its authors before any use but looking"
    needs = runs.text.split(" Type: ")[0]  # what to type stands below the table, to be copied
    if runs.kind == "interpreter":
        needs = f"{needs.split('. Needs packages')[0].rstrip('.')}."
    lines = [
        _line("licence", card.licence or missing, tone="" if card.licence else "warn"),
        _line("runs here", needs, tone="" if runs.kind == "now" else "warn"),
    ]
    if card.weights is not None:
        kib, digest = card.weights.bytes / 1024, card.weights.sha256
        size = f"{kib:,.0f} KiB" if kib < 2048 else f"{kib / 1024:,.1f} MiB"
        lines.append(_line("weights", size, f"sha256 {digest[:12]}…", whole=digest))
    return lines


def _origins(card: ModelCard) -> list[dict[str, str]]:
    """Return where the training images come from, how it was trained, and what to mind."""
    training: Mapping[str, Any] = card.training
    lines = []
    if card.statement is not None:
        parts = card.statement.model_dump().items()
        text = " · ".join(f"{name}: {said}" for name, said in parts)
        text = text.replace("deidentification:", "de-identification:")
        lines.append(_line("data statement", text, tone="warn" if card.statement.unknown else ""))
    elif card.origin == "local" and not card.phantom:
        text = f"{UNKNOWN}: nobody stated where its training images come from"
        lines.append(_line("data statement", text, tone="warn"))
    if "fingerprint" in training:
        whole = str(training["fingerprint"])
        text = str(training.get("data", "the training images"))
        lines.append(_line("data", text, f"fingerprint {whole[:12]}…", whole=whole))
    if "group" in training:
        tone = "warn" if training.get("groups") is None else ""
        lines.append(_line("patients", str(training["group"]), tone=tone))
    parents = [str(training[key]) for key in ("parent_run", "parent_sha256") if key in training]
    if parents:
        note = f"run {parents[0][:12]}…" if "parent_run" in training else ""
        name = str(training.get("parent", "a run"))
        lines.append(_line("started from", name, note, whole=" ".join(parents)))
    if "run" in training:
        lines.append(_line("run", str(training["run"])))
    own = _OWN_LINES | ({"data"} if "fingerprint" in training else set())
    rest = [f"{name} {_text(value)}" for name, value in training.items() if name not in own]
    further = {"training": " · ".join(rest), "a seed": card.promise, "limits": card.limits}
    return lines + [_line(term, text) for term, text in further.items() if text]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, float) else str(value)
