"""Figures of model cards: which way is better, which compare, and cards as rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from medgan_widgets.cards import ModelCard, ScoreCard
from medgan_widgets.catalogue.model_folders import RunsHere
from medgan_widgets.errors import RequestError

_LOWER = ("FD", "FID", "FID_RadImageNet", "KID", "MSE", "Dice loss")
_HIGHER = (
    *("precision", "recall", "density", "coverage", "AUC", "AUPRC", "F1", "IoU", "SSIM", "PSNR"),
    *("Dice", "Dice of the tumour", "Dice of the cochlea"),
)
_HIGHER_IS_BETTER = {name.lower(): False for name in _LOWER}
_HIGHER_IS_BETTER |= {name.lower(): True for name in _HIGHER}


class Metric(NamedTuple):
    """A figure models can be ranked by: values of another extractor never join it."""

    name: str
    extractor: str | None
    higher_is_better: bool
    models: int


def metrics_of(cards: Iterable[ModelCard]) -> list[Metric]:
    """Return what some models can be ranked by, most reported first.

    A figure of a network trained on real images alone is a yardstick, not a
    quality of the model, so it is not among them.
    """
    counts = Counter((s.name, s.extractor) for card in cards for s in card.scores if _tells(s))
    order = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
    return [Metric(name, kind, _higher(name), models) for (name, kind), models in order]


def metric_named(metrics: Sequence[Metric], name: str, extractor: str | None) -> Metric:
    """Return the one metric meant; refuse none, and several extractors that do not compare."""
    found = [metric for metric in metrics if metric.name.lower() == str(name).lower()]
    if not found:
        have = ", ".join(dict.fromkeys(metric.name for metric in metrics)) or "none"
        raise RequestError(f"no model here has the figure {name!r}; there are: {have}.")
    named = {metric.extractor or "not named": metric for metric in found}
    if extractor is None and len(named) == 1:
        return found[0]
    if extractor in named:
        return named[extractor]
    extractors = " or ".join(repr(one) for one in named)
    raise RequestError(
        f"{found[0].name} of different extractors does not compare: "
        f"name one, extractor={extractors}."
    )


def size_text(card: ModelCard) -> str:
    """Return a size as people write it: ``"128"`` for a square, else ``"224×192"``."""
    height, width = card.size
    return str(height) if height == width else f"{height}×{width}"


def _higher(name: str) -> bool:
    return _HIGHER_IS_BETTER[_base(name)]


def _base(name: str) -> str:
    return name.split(" (")[0].lower()


def _tells(score: ScoreCard) -> bool:
    known = score.value is not None and _base(score.name) in _HIGHER_IS_BETTER
    return known and not score.name.endswith("trained on real)")


def value_of(card: ModelCard, metric: Metric) -> float | None:
    """Return a card's figure of just that metric and extractor, or None."""
    key = (metric.name, metric.extractor)
    return next((s.value for s in card.scores if (s.name, s.extractor) == key), None)


def row_of(card: ModelCard, runs: RunsHere) -> dict[str, Any]:
    """Return a card as a row; figures of two extractors lie in two columns."""
    names = ("title", "modality", "organ", "region", "makes", "function")
    row: dict[str, Any] = {name: getattr(card, name) for name in names}
    row |= {"outputs": ", ".join(card.outputs), "size": size_text(card), "channels": card.channels}
    row["condition"] = ", ".join(card.condition)
    row |= {"licence": card.licence or "not stated", "dataset": card.dataset, "year": card.year}
    row |= {"origin": card.origin, "runs_here": runs.kind}
    for score in card.scores:
        key = score.name if score.extractor is None else f"{score.name} [{score.extractor}]"
        row[key] = score.value
    return row
