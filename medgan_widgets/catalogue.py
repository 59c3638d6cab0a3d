"""Every model known here, ours and medigan's, as one table: search, filter, rank, compare.

Each step gives a catalogue again. Cards are read from the folder a person
names, then ``./models``, then the models that come with the package; the
first id wins. What cannot be read is listed as broken and hides nothing else.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from medgan_widgets import model_folders, vocabulary
from medgan_widgets.cards import ModelCard, ScoreCard
from medgan_widgets.errors import ModelNotFoundError, RequestError
from medgan_widgets.medigan.behaviour import promised
from medgan_widgets.medigan.packages import PackageSpec
from medgan_widgets.model_folders import Broken, Models, RunsHere, Shadowed

if TYPE_CHECKING:
    import pandas as pd

FACETS = ("modality", "organ", "outputs", "function", "licence", "size", "origin", "runs_here")
_FACTS = ("title", "modality", "organ", "region", "makes", "function")

# Which way is better; a figure of neither list tells nothing of a model's quality.
_LOWER = ("fd", "fid", "fid_radimagenet", "kid", "mse", "dice loss")
_HIGHER = (
    *("precision", "recall", "density", "coverage", "auc", "auprc", "f1", "iou", "ssim", "psnr"),
    *("dice", "dice of the tumour", "dice of the cochlea"),
)


class Metric(NamedTuple):
    """A figure models can be ranked by: values of another extractor never join it."""

    name: str
    extractor: str | None
    higher_is_better: bool
    models: int


class Catalogue:
    """The models known here, or some of them.

    Parameters
    ----------
    folder
        Where to look first for models; then ``./models``, then the bundled ones.
    mirror
        A folder or address that holds medigan's archives, for machines without
        the internet; by default what ``MEDGAN_MIRROR`` names.

    Examples
    --------
    >>> catalogue = Catalogue()
    >>> [card.id for card in catalogue.search("breast mri")]
    ['00023_PIX2PIXHD_BREAST_DCEMRI']
    >>> catalogue[1].organ
    'breast'
    """

    def __init__(
        self, folder: str | Path | None = None, *, mirror: str | Path | None = None
    ) -> None:
        self._folder = folder
        self.mirror = mirror or os.environ.get("MEDGAN_MIRROR") or None
        self._whole = True
        models = model_folders.load(folder, self.mirror)
        # refresh() replaces it in one step, and each method reads it once: threads may do both.
        self._state: tuple[Models, tuple[str, ...]] = models, tuple(models.cards)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[ModelCard]:
        models, ids = self._state
        return iter([promised(models.cards[name]) for name in ids])

    def __contains__(self, model_id: object) -> bool:
        return model_id in self.ids

    def __repr__(self) -> str:
        models, ids = self._state
        return f"Catalogue({len(ids)} of {len(models.cards)} models)"

    def __getitem__(self, model_id: str | int) -> ModelCard:
        """Return a card by its id, by the beginning of it, or by medigan's number.

        Raises
        ------
        ModelNotFoundError
            When no model has that id, naming the nearest, or when several begin so.
        """
        models, ids = self._state
        return promised(models.cards[_find(model_id, ids)])

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in the order of this catalogue."""
        return self._state[1]

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The cards and folders that could not be read: (path, reason)."""
        return self._state[0].broken

    @property
    def shadowed(self) -> tuple[Shadowed, ...]:
        """The models hidden by one of the same id found earlier: (id, path, used)."""
        return self._state[0].shadowed

    @property
    def folder(self) -> Path | None:
        """The folder that was named to look in first, or None."""
        return None if self._folder is None else Path(self._folder)

    def refresh(self) -> Catalogue:
        """Read all folders again and return this catalogue; models gone meanwhile are left out."""
        models = model_folders.load(self._folder, self.mirror)
        names = models.cards if self._whole else self.ids
        self._state = models, tuple(name for name in names if name in models.cards)
        return self

    def folder_of(self, model_id: str | int) -> Path:
        """Return the folder of a local model.

        Raises
        ------
        ModelNotFoundError
            When there is no such model, it has no folder here, or the folder is gone.
        """
        models, ids = self._state
        name = _find(model_id, ids)
        folder = models.folders.get(name)
        if folder is None:
            raise ModelNotFoundError(f"{name} is known by its facts alone; it has no folder here.")
        if not folder.is_dir():
            raise ModelNotFoundError(
                f"the folder of {name}, {folder}, is gone; put it back, or call refresh()."
            )
        return folder

    def package_of(self, model_id: str | int) -> PackageSpec:
        """Return how the package of one of medigan's models is found and called.

        Raises
        ------
        ModelNotFoundError
            When there is no such model, or it is no package of medigan's.
        """
        models, ids = self._state
        name = _find(model_id, ids)
        if models.cards[name].origin != "medigan":
            raise ModelNotFoundError(f"{name} is a model of this machine, no package of medigan's.")
        return models.specs[name]

    def runs_here(self, model: str | int | ModelCard) -> RunsHere:
        """Return whether a model can generate on this machine now, and if not, what it needs."""
        models, ids = self._state
        name = model.id if isinstance(model, ModelCard) else _find(model, ids)
        if name not in models.cards:
            raise ModelNotFoundError(f"there is no model {name!r} in this catalogue.")
        return model_folders.runs_here(models.cards[name], models)

    def search(self, text: str) -> Catalogue:
        """Return the models that fit every word, as people type them; best hits first.

        Synonyms count as the same word (``MRI``, ``magnetic resonance``), words
        may be begun only, and ``128`` or ``224x192`` look for a size.
        """
        models, ids = self._state
        words = vocabulary.searched(str(text), models.known)
        if not words:
            return self._part(models, ids)
        fits = {name: vocabulary.fit(words, models.words[name], models.known) for name in ids}
        return self._part(models, sorted(filter(fits.get, ids), key=fits.__getitem__, reverse=True))

    def filter(
        self,
        *,
        modality: str | Sequence[str] | None = None,
        organ: str | Sequence[str] | None = None,
        outputs: str | Sequence[str] | None = None,
        function: str | Sequence[str] | None = None,
        licence: str | Sequence[str] | None = None,
        size: str | int | Sequence[str | int] | None = None,
        origin: str | Sequence[str] | None = None,
        runs_here: str | Sequence[str] | None = None,
    ) -> Catalogue:
        """Return the models that have, for each facet given, one of the values given.

        Values are those of :meth:`facets`, or their synonyms; ``licence="not stated"``
        finds the models without one.
        """
        models, ids = self._state
        given = (modality, organ, outputs, function, licence, size, origin, runs_here)
        for facet, value in zip(FACETS, given, strict=True):
            if value is not None:
                values = [value] if isinstance(value, (str, int)) else value
                wanted = {vocabulary.canonical(str(each)) for each in values}
                ids = tuple(
                    name for name in ids
                    if wanted & {vocabulary.canonical(v) for v in _values(models, name, facet)}
                )  # fmt: skip
        return self._part(models, ids)

    def facets(self) -> dict[str, dict[str, int]]:
        """Return how many models of this catalogue have each value: {facet: {value: count}}."""
        models, ids = self._state
        counts: dict[str, dict[str, int]] = {}
        for facet in FACETS:
            counter = Counter(value for name in ids for value in _values(models, name, facet))
            counts[facet] = dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
        return counts

    def values(self, facet: str, given: Iterable[str | int]) -> list[str]:
        """Return the values of a facet as they are written here: ``MRI`` is ``MR``."""
        known = {vocabulary.canonical(value): value for value in self.facets()[facet]}
        return [known.get(vocabulary.canonical(str(each)), str(each)) for each in given]

    def metrics(self) -> list[Metric]:
        """Return what these models can be ranked by, most reported first.

        A figure of a network trained on real images alone is a yardstick, not a
        quality of the model, so it is not among them.
        """
        counts = Counter((s.name, s.extractor) for card in self for s in card.scores if _tells(s))
        order = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or ""))
        return [Metric(name, kind, _base(name) in _HIGHER, n) for (name, kind), n in order]

    def rank(self, name: str, *, extractor: str | None = None) -> Catalogue:
        """Return the same models, best first by a figure; those without it come last.

        Raises
        ------
        RequestError
            When no model here has that figure, or when several extractors
            measured it: those do not compare, so name one.
        """
        models, ids = self._state
        metric = _metric_named(self.metrics(), name, extractor)
        value_of = {key: value_by(models.cards[key], metric) for key in ids}
        having = [key for key in ids if value_of[key] is not None]
        having.sort(key=value_of.__getitem__, reverse=metric.higher_is_better)  # type: ignore[arg-type]
        return self._part(models, [*having, *(key for key in ids if value_of[key] is None)])

    def compare(self, ids: Iterable[str | int]) -> pd.DataFrame:
        """Return some models side by side: a row for each fact or figure, a column each model."""
        import pandas as pd

        models, known = self._state
        columns = {name: _row(models, name) for name in (_find(each, known) for each in ids)}
        facts = dict.fromkeys(fact for column in columns.values() for fact in column)
        table = {name: [column.get(fact) for fact in facts] for name, column in columns.items()}
        return pd.DataFrame(table, index=pd.Index(list(facts), name="fact"), dtype=object)

    def to_frame(self) -> pd.DataFrame:
        """Return these models as a table, a row each; figures of two extractors in two columns."""
        import pandas as pd

        models, ids = self._state
        rows = [_row(models, name) for name in ids]
        return pd.DataFrame(rows, index=pd.Index(ids, name="id", dtype=object))

    def _part(self, models: Models, ids: Iterable[str]) -> Catalogue:
        part = object.__new__(Catalogue)
        part._folder, part.mirror, part._whole = self._folder, self.mirror, False
        part._state = models, tuple(ids)
        return part


def size_text(card: ModelCard) -> str:
    """Return a size as people write it: ``"128"`` for a square, else ``"224×192"``."""
    height, width = card.size
    return str(height) if height == width else f"{height}×{width}"


def facet_values(card: ModelCard) -> dict[str, tuple[str, ...]]:
    """Return the values that a card has of each facet but ``runs_here``, which no card knows."""
    values = {facet: (str(getattr(card, facet)),) for facet in FACETS[:-1]}
    licence = card.licence or "not stated"
    return {**values, "outputs": card.outputs, "licence": (licence,), "size": (size_text(card),)}


def value_by(card: ModelCard, metric: Metric) -> float | None:
    """Return a card's figure of just that metric and extractor, or None."""
    key = (metric.name, metric.extractor)
    return next((s.value for s in card.scores if (s.name, s.extractor) == key), None)


def _find(model_id: object, ids: Sequence[str]) -> str:
    """Return the id that is meant by 1, "1", "00001" or the beginning of an id."""
    name = "" if isinstance(model_id, bool) or not isinstance(model_id, (str, int)) else model_id
    name = str(name).strip()
    if not name:
        raise ModelNotFoundError(
            f"a model id is a name or a short number, got {repr(model_id)[:100]}."
        )
    if name in ids:
        return name
    name = name.zfill(5) if name.isascii() and name.isdigit() else name
    begins = [each for each in ids if each.lower().startswith(name.lower())]
    exact = [each for each in begins if each.lower() == name.lower()]
    if len(begins) == 1 or exact:
        return (exact or begins)[0]
    if begins:
        raise ModelNotFoundError(f"{name!r} fits {len(begins)} models: {_list(begins)}; say more.")
    near = difflib.get_close_matches(name, ids, cutoff=0.7)
    near = near or [each for each in ids if name.lower() in each.lower()]
    there = f"nearest: {_list(near)}" if near else f"there are {len(ids)}, first {_list(ids[:3])}"
    raise ModelNotFoundError(f"there is no model {name[:100]!r}; {there}.")


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _values(models: Models, name: str, facet: str) -> tuple[str, ...]:
    card = models.cards[name]
    if facet == "runs_here":  # looked up only where it is asked for: it opens files
        return (model_folders.runs_here(card, models).kind,)
    return facet_values(card)[facet]


def _row(models: Models, name: str) -> dict[str, Any]:
    card = promised(models.cards[name])
    row: dict[str, Any] = {name: getattr(card, name) for name in _FACTS}
    row |= {"outputs": ", ".join(card.outputs), "size": size_text(card), "channels": card.channels}
    row["condition"] = ", ".join(card.condition)
    row |= {"licence": card.licence or "not stated", "dataset": card.dataset, "year": card.year}
    row |= {"origin": card.origin, "runs_here": model_folders.runs_here(card, models).kind}
    for score in card.scores:
        extractor = f" [{score.extractor}]" if score.extractor else ""
        row[score.name + extractor] = score.value
    return row


def _base(name: str) -> str:
    return name.split(" (")[0].lower()


def _tells(score: ScoreCard) -> bool:
    known = score.value is not None and _base(score.name) in (*_LOWER, *_HIGHER)
    return known and not score.name.endswith("trained on real)")


def _metric_named(metrics: Sequence[Metric], name: str, extractor: str | None) -> Metric:
    """Return the metric meant; refuse an unknown one, and extractors that do not compare."""
    named = {m.extractor or "not named": m for m in metrics if m.name.lower() == str(name).lower()}
    if not named:
        have = ", ".join(dict.fromkeys(metric.name for metric in metrics)) or "none"
        raise RequestError(f"no model here has the figure {name!r}; there are: {have}.")
    if extractor is None and len(named) == 1:
        return next(iter(named.values()))
    if extractor in named:
        return named[extractor]
    raise RequestError(
        f"{name} of different extractors does not compare: "
        f"name one, extractor={' or '.join(map(repr, named))}."
    )
