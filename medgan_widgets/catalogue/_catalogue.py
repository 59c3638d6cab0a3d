"""Every model known here, ours and medigan's: search, filter, rank, compare.

Each step gives a catalogue again. Cards are read from the folder a person
names, then ``./models``, then the models that come with the package; the
first id wins. What cannot be read is listed as broken and hides nothing else.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import model_folders, words
from medgan_widgets.catalogue.figures import Metric, metrics_of, row_of, size_text
from medgan_widgets.catalogue.model_folders import Broken, RunsHere, Shadowed, Shelf
from medgan_widgets.catalogue.values import How, Value, asked, matching, nearest, ranked
from medgan_widgets.errors import ModelNotFoundError
from medgan_widgets.medigan.behaviour import promised
from medgan_widgets.medigan.packages import PackageSpec

if TYPE_CHECKING:
    import pandas as pd

P = ParamSpec("P")
T = TypeVar("T")

FACETS = ("modality", "organ", "outputs", "function", "licence", "size", "origin", "runs_here")


class Nearest(NamedTuple):
    """What to look at when nothing fits: a search that has hits, and a sentence about it."""

    search: str
    ids: tuple[str, ...]
    sentence: str


def _at_one_moment(
    method: Callable[Concatenate[Catalogue, P], T],
) -> Callable[Concatenate[Catalogue, P], T]:
    """Let a method see the folders as they were when it began, whoever refreshes meanwhile."""

    @wraps(method)
    def still(self: Catalogue, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if self._asked is not None:
            return method(self, *args, **kwargs)
        found = method(self.still(), *args, **kwargs)
        if isinstance(found, Catalogue):
            found._asked = None
        return found

    return still


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
        models = model_folders.load(folder, self.mirror)
        self._state: tuple[Shelf, tuple[str, ...]] = models, tuple(models.cards)
        self._asked: dict[tuple[str, str], Any] | None = None  # answers of one that stands still
        self._whole = True
        self.nearest: Nearest | None = None

    def __len__(self) -> int:
        return len(self._ids)

    @_at_one_moment
    def __iter__(self) -> Iterator[ModelCard]:
        return iter([self._card(name) for name in self._ids])

    def __contains__(self, model_id: object) -> bool:
        return model_id in self._ids

    def __repr__(self) -> str:
        return f"Catalogue({len(self)} of {len(self._models.cards)} models)"

    @_at_one_moment
    def __getitem__(self, model_id: str | int) -> ModelCard:
        """Return a card by its id, by the beginning of it, or by medigan's number.

        Raises
        ------
        ModelNotFoundError
            When no model has that id, naming the nearest, or when several begin so.
        """
        return self._card(self._find(model_id))

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids, in the order of this catalogue."""
        return self._ids

    @property
    def broken(self) -> tuple[Broken, ...]:
        """The cards and folders that could not be read: (path, reason)."""
        return self._models.broken

    @property
    def shadowed(self) -> tuple[Shadowed, ...]:
        """The models hidden by one of the same id found earlier: (id, path, used)."""
        return self._models.shadowed

    @property
    def folder(self) -> Path | None:
        """The folder that was named to look in first, or None."""
        return None if self._folder is None else Path(self._folder)

    def refresh(self) -> Catalogue:
        """Read all folders again and return this catalogue; models gone meanwhile are left out."""
        models = model_folders.load(self._folder, self.mirror)
        known = models.cards
        kept = known if self._whole else (name for name in self._ids if name in known)
        self._state = models, tuple(kept)  # in one step: other threads are reading
        return self

    def still(self) -> Catalogue:
        """Return these models as they are now: nothing that happens later shows in it.

        What a model needs to run is looked up once, so whoever asks often asks this one.
        """
        part = self._some(())
        part._state, part._asked, part.nearest = self._state, {}, self.nearest
        return part

    @_at_one_moment
    def folder_of(self, model_id: str | int) -> Path:
        """Return the folder of a local model.

        Raises
        ------
        ModelNotFoundError
            When there is no such model, it has no folder here, or the folder is gone.
        """
        name = self._find(model_id)
        folder = self._models.folders.get(name)
        if folder is None:
            raise ModelNotFoundError(f"{name} is known by its facts alone; it has no folder here.")
        if not folder.is_dir():
            raise ModelNotFoundError(
                f"the folder of {name}, {folder}, is gone; put it back, or call refresh()."
            )
        return folder

    @_at_one_moment
    def package_of(self, model_id: str | int) -> PackageSpec:
        """Return how the package of one of medigan's models is found and called.

        Raises
        ------
        ModelNotFoundError
            When there is no such model, or it is no package of medigan's.
        """
        name = self._find(model_id)
        if self._models.cards[name].origin != "medigan":
            raise ModelNotFoundError(f"{name} is a model of this machine, no package of medigan's.")
        return self._models.specs[name]

    @_at_one_moment
    def runs_here(self, model: str | int | ModelCard) -> RunsHere:
        """Return whether a model can generate on this machine now, and if not, what it needs."""
        name = model.id if isinstance(model, ModelCard) else self._find(model)
        card = self._models.cards.get(name)
        if card is None:
            raise ModelNotFoundError(f"there is no model {name!r} in this catalogue.")
        found: RunsHere = self._once(
            "runs", name, lambda: model_folders.runs_here(card, self._models)
        )
        return found

    @_at_one_moment
    def search(self, text: str) -> Catalogue:
        """Return the models that fit every word, as people type them; best hits first.

        Synonyms count as the same word (``MRI``, ``magnetic resonance``), words
        may be begun only, and ``128`` or ``224x192`` look for a size. Without a
        hit, ``nearest`` of the result says what is near.
        """
        wanted = words.words(str(text))
        if not wanted:
            return self._some(self._ids)
        fits = {name: self._fit(name, wanted) for name in self._ids}
        found = [name for name in sorted(fits, key=fits.__getitem__, reverse=True) if fits[name]]
        apart = re.sub(r"(?<=\w)[-_](?=\w)", " ", str(text))  # breast-mri, which is no id
        if not found and apart != str(text):
            return self.search(apart)
        return self._some(found, None if found else self._near(str(text), wanted))

    @_at_one_moment
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

        Values are those of :meth:`facets`; ``licence="not stated"`` finds the
        models without one. Without a hit, ``nearest`` says which values there are.
        """
        given = (modality, organ, outputs, function, licence, size, origin, runs_here)
        pairs = zip(FACETS, given, strict=True)
        wanted = {facet: _several(value) for facet, value in pairs if value is not None}
        found = [
            name for name in self._ids if all(self._has(name, *want) for want in wanted.items())
        ]
        return self._some(found, None if found else self._without(wanted))

    @_at_one_moment
    def matching(self, values: Iterable[Value], *, how: How = "all") -> Catalogue:
        """Return the models that have all (or any) of some exact values, whatever their case.

        Values are words and numbers of the cards, and those that medigan publishes.

        Raises
        ------
        RequestError
            When no value is given, or ``how`` is neither ``"all"`` nor ``"any"``.

        Examples
        --------
        >>> [card.id for card in Catalogue().matching(["MRI", "Duke Hospital"])]
        ['00023_PIX2PIXHD_BREAST_DCEMRI']
        """
        wanted = asked(values)
        found = matching(self, wanted, how)
        return self._some(found, None if found else Nearest("", *nearest(list(self), wanted)))

    @_at_one_moment
    def facets(self) -> dict[str, dict[str, int]]:
        """Return how many models of this catalogue have each value: {facet: {value: count}}."""
        counts: dict[str, dict[str, int]] = {}
        for facet in FACETS:
            counter = Counter(value for name in self._ids for value in self._values(name, facet))
            counts[facet] = dict(sorted(counter.items(), key=lambda item: (-item[1], item[0])))
        return counts

    @_at_one_moment
    def metrics(self) -> list[Metric]:
        """Return what these models can be ranked by, most reported first."""
        return metrics_of(self)

    @_at_one_moment
    def rank(self, name: str, *, extractor: str | None = None) -> Catalogue:
        """Return the same models, best first by a figure; those without it come last.

        medigan's metric paths will do too: ``"SEG.trained_on_fake.dice"``, as published.

        Raises
        ------
        RequestError
            When no model here has that figure, when it tells nothing of quality,
            or when several extractors measured it: those do not compare, so name one.
        """
        return self._some(ranked(list(self), name, extractor))

    @_at_one_moment
    def compare(self, ids: Iterable[str | int]) -> pd.DataFrame:
        """Return some models side by side: a row for each fact or figure, a column each model."""
        import pandas as pd

        names = list(dict.fromkeys(self._find(one) for one in ids))
        columns = {name: row_of(self._models.cards[name], self.runs_here(name)) for name in names}
        rows = dict.fromkeys(key for column in columns.values() for key in column)
        table = {name: [column.get(row) for row in rows] for name, column in columns.items()}
        return pd.DataFrame(table, index=pd.Index(list(rows), name="fact"), dtype=object)

    @_at_one_moment
    def to_frame(self) -> pd.DataFrame:
        """Return these models as a table, a row each; figures of two extractors in two columns."""
        import pandas as pd

        rows = [row_of(card, self.runs_here(card)) for card in self]
        index = pd.Index(self._ids, name="id", dtype=object)
        return pd.DataFrame(rows, index=index) if rows else pd.DataFrame(index=index)

    def _some(self, names: Iterable[str], nearest: Nearest | None = None) -> Catalogue:
        part = object.__new__(Catalogue)
        part._folder, part.mirror, part._whole = self._folder, self.mirror, False
        part._state, part._asked = (self._models, tuple(names)), self._asked
        part.nearest = nearest
        return part

    @property
    def _models(self) -> Shelf:
        return self._state[0]

    @property
    def _ids(self) -> tuple[str, ...]:
        return self._state[1]

    def _card(self, name: str) -> ModelCard:
        card: ModelCard = self._once("card", name, lambda: promised(self._models.cards[name]))
        return card

    def _once(self, what: str, name: str, look: Callable[[], Any]) -> Any:
        """Look something up; one that stands still remembers the answer."""
        if self._asked is None:
            return look()
        if (what, name) not in self._asked:
            self._asked[what, name] = look()
        return self._asked[what, name]

    def _find(self, model_id: str | int) -> str:
        name = _as_id(model_id)
        if name in self._ids:
            return name
        begins = [one for one in self._ids if one.lower().startswith(name.lower())]
        exact = [one for one in begins if one.lower() == name.lower()]
        if len(begins) == 1 or exact:
            return (exact or begins)[0]
        if begins:
            raise ModelNotFoundError(
                f"{name!r} fits {len(begins)} models: {_list(begins)}; say more."
            )
        raise ModelNotFoundError(f"there is no model {name[:100]!r}{self._did_you_mean(name)}.")

    def _did_you_mean(self, name: str) -> str:
        inside = [one for one in self._ids if name.lower() in one.lower()] if len(name) > 2 else []
        near = inside or words.near(name.lower(), [one.lower() for one in self._ids])
        found = [one for one in self._ids if one in near or one.lower() in near]
        if found:
            return f"; nearest: {_list(found)}"
        first = f"; there are {len(self)}, the first of them {_list(self._ids[:3])}"
        return first if len(self) else ""

    def _values(self, name: str, facet: str) -> tuple[str, ...]:
        card = self._models.cards[name]
        if facet == "runs_here":
            return (self.runs_here(card).kind,)
        if facet == "outputs":
            return card.outputs
        if facet == "size":
            return (size_text(card),)
        if facet == "licence":
            return (card.licence or "not stated",)
        return (str(getattr(card, facet)),)

    def _has(self, name: str, facet: str, wanted: Sequence[str]) -> bool:
        have = {words.canonical(value) for value in self._values(name, facet)}
        return any(words.canonical(value) in have for value in wanted)

    def _without(self, wanted: dict[str, Sequence[str]]) -> Nearest:
        """Say which facet is in the way, and what there is instead."""
        for facet, values in wanted.items():
            if not any(self._has(name, facet, values) for name in self._ids):
                there = ", ".join(self.facets()[facet]) or "nothing"
                sentence = f"No model here has {facet} {', '.join(values)}; there is: {there}."
                return Nearest("", self._ids, sentence)
        for facet in wanted:
            rest = {key: value for key, value in wanted.items() if key != facet}
            ids = [n for n in self._ids if all(self._has(n, *want) for want in rest.items())]
            if ids:
                sentence = f"No model has all of these; without {facet}: {_models(len(ids))}."
                return Nearest("", tuple(ids), sentence)
        return Nearest("", (), "No model has all of these; take some filters away.")

    def _fit(self, name: str, wanted: Sequence[str]) -> float:
        return words.fit(wanted, self._models.words[name])

    def _near(self, text: str, wanted: Sequence[str]) -> Nearest:
        """Mend mistyped words, then leave out the fewest words until something fits."""
        text = text if len(text) <= 60 else text[:57] + "..."
        known = {word for name in self._ids for word in self._models.words[name]}
        mended = [words.mend(word, known) for word in wanted]
        for kept in words.fewer([word for word in mended if word]):
            ids = tuple(name for name in self._ids if self._fit(name, kept))
            if ids:
                search = " ".join(kept)
                sentence = f"No model fits {text!r}; nearest: {search!r}, {_models(len(ids))}."
                return Nearest(search, ids, sentence)
        there = ", ".join(f"{value} {n}" for value, n in self.facets()["organ"].items())
        return Nearest("", self._ids, f"No model fits {text!r}; there is: {there}.")


def _several(value: object) -> Sequence[str]:
    given = value if isinstance(value, (list, tuple, set, frozenset)) else [value]
    return [str(one) for one in given]


def _models(number: int) -> str:
    return f"{number} model{'s' * (number != 1)}"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _short(value: object) -> str:
    return "a huge number" if isinstance(value, int) and abs(value) >= 10**9 else repr(value)[:100]


def _as_id(model_id: object) -> str:
    """Accept 1, "1" and "00001" for medigan's first."""
    if (
        isinstance(model_id, bool)
        or not isinstance(model_id, (str, int))
        or (not model_id.strip() if isinstance(model_id, str) else model_id >= 10**9)
    ):
        raise ModelNotFoundError(f"a model id is a name or a short number, got {_short(model_id)}.")
    name = str(model_id).strip()
    return name.zfill(5) if name.isascii() and name.isdigit() else name
