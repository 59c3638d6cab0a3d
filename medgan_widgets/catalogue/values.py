"""Exact values: what medigan's own selector finds and ranks by, found and ranked here too.

A value is compared as a whole, as text, whatever its case (``3`` is not ``3.0``). Other than
there, a missing figure is no value, nor is one that a correction calls wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from numbers import Real
from typing import Any, Literal, get_args

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import words
from medgan_widgets.catalogue.figures import metric_named, metrics_of, size_text, value_of
from medgan_widgets.errors import RequestError
from medgan_widgets.medigan.published import published_selection, wrong_values

How = Literal["all", "any"]
Value = str | int | float

# The last part of medigan's metric paths, in small letters.
_LOWER = frozenset({"fid", "fid_radimagenet", "mse", "nsme", "dice_loss"})
_HIGHER_TEXT = """
    ssim psnr is fid_ratio fid_radimagenet_ratio clf_delta seg_delta det_delta
    accuracy auc auprc auroc f1 precision recall specificity
    dice dice_tumor dice_cochlea iou jaccard
"""
_HIGHER = frozenset(_HIGHER_TEXT.split())
# Of readers or of networks that saw real images alone: yardsticks, no quality of the model.
_YARDSTICKS = frozenset({"turing_test", "trained_on_real"})


def values_of(card: ModelCard) -> frozenset[str]:
    """Return everything a card is found by, in small letters: its own words and the published.

    Examples
    --------
    >>> from medgan_widgets.medigan.facts import medigan_cards
    >>> have = values_of(medigan_cards()[18])
    >>> "cxr" in have, "chestx-ray14" in have, "node21" in have  # published, ours, wrong
    (True, True, False)
    """
    own = frozenset(_as_text(value) for value in _own(card) if value is not None)
    if card.origin != "medigan":  # a local model of the same id is another one
        return own
    return own | _published_values().get(card.id, frozenset())


def matching(cards: Iterable[ModelCard], values: Collection[str], how: How = "all") -> list[str]:
    """Return the ids of the cards that have all, or any, of some values as `asked` gives them."""
    if how not in get_args(How):
        raise RequestError(f"how must be 'all' or 'any', got {how!r}.")
    enough = all if how == "all" else any
    owned = ((card.id, values_of(card)) for card in cards)
    return [name for name, have in owned if enough(value in have for value in values)]


def asked(values: Iterable[Value]) -> tuple[str, ...]:
    """Return values as they are compared, each once; a single one stands for itself.

    Examples
    --------
    >>> asked(["MRI", 128, "mri"]), asked("Breast mass")
    (('mri', '128'), ('breast mass',))
    """
    alone = isinstance(values, str) or not isinstance(values, Iterable)
    several: list[object] = [values] if alone else list(values)
    for value in several:
        if not isinstance(value, (str, Real)):
            raise RequestError(f"a value is a word or a number, got {value!r:.60}.")
    if not several:
        raise RequestError('name at least one value to look for, such as "MRI".')
    return tuple(dict.fromkeys(_as_text(value) for value in several))


def nearest(cards: Collection[ModelCard], values: Collection[str]) -> tuple[tuple[str, ...], str]:
    """Return, when nothing has all values, the models to look at instead, and a sentence."""
    have = {card.id: values_of(card) for card in cards}
    known = frozenset().union(*have.values())
    for value in (value for value in values if value not in known):
        near = words.near(value[:100], known)
        there = f"; near it: {', '.join(near)}" if near else ""
        ids = tuple(name for name, own in have.items() if own.intersection(near))
        return ids or tuple(have), f"No model here has the value {value[:60]!r}{there}."
    ids = tuple(matching(cards, values, "any"))
    return ids, f"No model has all of these; {len(ids)} have some of them."


def ranked(cards: Sequence[ModelCard], name: str, extractor: str | None = None) -> list[str]:
    """Return the ids, best first by a figure of the cards or by a metric path of medigan's."""
    higher_is_better, figures = _measured(cards, name, extractor)
    with_it = [card.id for card in cards if card.id in figures]
    with_it.sort(key=lambda one: figures[one], reverse=higher_is_better)
    return with_it + [card.id for card in cards if card.id not in figures]


def _measured(
    cards: Sequence[ModelCard], name: str, extractor: str | None
) -> tuple[bool, dict[str, float]]:
    """Return whether more is better, and who has how much; names of the cards come first."""
    metrics = metrics_of(cards)
    path = _path(str(name))
    known = any(metric.name.lower() == str(name).lower() for metric in metrics)
    if not known and extractor is None:
        published = _published_figures()
        mine = [c.id for c in cards if c.origin == "medigan" and c.id in published]
        figures = {one: published[one][path] for one in mine if path in published[one]}
        if figures:
            return _higher(path, name), figures
    metric = metric_named(metrics, name, extractor)
    found = {card.id: value_of(card, metric) for card in cards}
    kept = {one: value for one, value in found.items() if value is not None}
    return metric.higher_is_better, kept


def _higher(path: str, name: str) -> bool:
    *above, last = path.split(".")
    if _YARDSTICKS.isdisjoint(above) and last in _LOWER | _HIGHER:
        return last in _HIGHER
    raise RequestError(f"{name!r} tells nothing of a model's quality, so no model is best by it.")


def _own(card: ModelCard) -> Iterator[object]:
    yield words.canonical(card.modality)  # MR is MRI for everybody else
    yield from (card.modality, card.organ, card.region, card.makes, *card.outputs, card.function)
    yield from (*card.size, size_text(card), card.channels, card.licence or "not stated")
    yield from (card.dataset, card.year, card.architecture, card.origin)
    for factor, values in card.condition.items():
        yield from (factor, *values)
    for score in card.scores:
        yield from (score.value, score.n_real, score.n_fake)
    if card.phantom:
        yield "phantom"


def _as_text(value: object) -> str:
    return str(value).strip().lower()


@cache
def _published_values() -> Mapping[str, frozenset[str]]:
    wrong = {name: set(map(_as_text, values)) for name, values in wrong_values().items()}
    found = {}
    for name, selection in published_selection().items():
        values = {_as_text(value) for _, value in _leaves(selection) if value not in (None, "")}
        found[name] = frozenset(values - wrong.get(name, set()))
    return found


@cache
def _published_figures() -> Mapping[str, Mapping[str, float]]:
    """Return all figures by path; medigan writes some as text, some paths one level deeper."""
    return {
        name: {
            _path(path): float(value)
            for path, value in _leaves(selection["performance"])
            if value not in (None, "")
        }
        for name, selection in published_selection().items()
    }


def _path(text: str) -> str:
    """Return a metric path as compared: ``Dice`` is ``dice``, wherever the task lies."""
    text = text.strip().lower().removeprefix("performance.")
    return text.removeprefix("downstream_task.")


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value with its dotted path; of a list each."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            several = value if isinstance(value, list) else [value]
            yield from ((above + key, one) for one in several)
