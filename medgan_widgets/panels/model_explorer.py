"""The model explorer: every known model, searched, filtered, ranked, and one looked at closely."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from PIL import Image

from medgan_widgets.catalogue import FACETS, Catalogue, Metric
from medgan_widgets.errors import MedganError, NotRunnableError, RequestError
from medgan_widgets.panels import _model_details as details
from medgan_widgets.panels._panel import Panel

log = logging.getLogger(__name__)

MOST_COMPARED = 6
PREVIEW_LIMIT = 4_000_000  # bytes; a row of eight tiles has some hundred thousand
_RUNS_ORDER = tuple(details.RUNS)


class _View(anywidget.AnyWidget):
    """The page's half: what was asked, and the answer."""

    _esm = Path(__file__).with_name("model_explorer.js")
    _css = Path(__file__).with_name("model_explorer.css")
    search_text = traitlets.Unicode("").tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)  # facet -> values
    rank_by = traitlets.Unicode("").tag(sync=True)  # a label of `metrics`
    sort: traitlets.List[Any] = traitlets.List().tag(
        sync=True
    )  # [column, "ascending" or "descending"]
    selected = traitlets.Unicode("").tag(sync=True)
    ticked: traitlets.List[Any] = traitlets.List().tag(sync=True)
    asked = traitlets.Int(0).tag(sync=True)  # the page counts its questions ...
    rows = traitlets.Dict().tag(sync=True)  # id -> cells
    metrics: traitlets.List[Any] = traitlets.List().tag(sync=True)
    labels = traitlets.Dict().tag(sync=True)  # facet -> value -> words
    found = traitlets.Dict().tag(sync=True)  # ... and this says which one it answers
    detail = traitlets.Dict().tag(sync=True)
    preview = traitlets.Bytes().tag(sync=True)
    comparison = traitlets.Dict().tag(sync=True)
    broken: traitlets.List[Any] = traitlets.List().tag(sync=True)


class ModelExplorer(Panel):
    """Find a model: search, facets, a table to sort and rank, and a card with its details.

    Parameters
    ----------
    catalogue
        The models to show; else all that are known here.
    on_use
        Called with the model's id when somebody presses *Use this model*.

    Examples
    --------
    >>> explorer = ModelExplorer()
    >>> explorer.search_text = "breast mri"
    >>> explorer.shown
    ('00023_PIX2PIXHD_BREAST_DCEMRI',)
    >>> explorer.close()
    """

    def __init__(
        self, catalogue: Catalogue | None = None, on_use: Callable[[str], None] | None = None
    ) -> None:
        self.catalogue = Catalogue() if catalogue is None else catalogue
        self.on_use = on_use
        self._lock = threading.RLock()  # clicks may come on any thread
        self._metrics: dict[str, Metric] = {}
        self.view = _View(labels=_labels())
        super().__init__("Models", [self.view])
        self.add_class("mg-explorer-panel")
        self._read()
        self.view.observe(self._asked, "asked")
        self.view.observe(self._chosen, "selected")
        self.view.on_msg(self._message)

    @property
    def search_text(self) -> str:
        """What is searched for."""
        return str(self.view.search_text)

    @search_text.setter
    def search_text(self, text: str) -> None:
        self.view.search_text = str(text)
        self._update()

    @property
    def filters(self) -> dict[str, list[str]]:
        """The facet values chosen: {facet: [value, …]}."""
        return {facet: list(values) for facet, values in self.view.filters.items()}

    @filters.setter
    def filters(self, chosen: Mapping[str, str | Iterable[str]]) -> None:
        unknown = [facet for facet in chosen if facet not in FACETS]
        if unknown:
            raise RequestError(f"there is no facet {unknown[0]!r}; there are: {', '.join(FACETS)}.")
        self.view.filters = {
            facet: [values] if isinstance(values, str) else list(values)
            for facet, values in chosen.items()
        }
        self._update()

    @property
    def rank_by(self) -> str:
        """The figure models are ranked by, with its extractor; empty for none."""
        return str(self.view.rank_by)

    @rank_by.setter
    def rank_by(self, label: str) -> None:
        if label and label not in self._metrics:
            raise RequestError(f"no figure {label!r}; there are: {', '.join(self._metrics)}.")
        self.view.sort = []
        self.view.rank_by = label
        self._update()

    @property
    def selected(self) -> str:
        """The id of the model whose card is shown; empty when there is none."""
        return str(self.view.selected)

    @selected.setter
    def selected(self, model_id: str | int) -> None:
        self.view.selected = self.catalogue[model_id].id

    @property
    def shown(self) -> tuple[str, ...]:
        """The ids in the table, in its order."""
        return tuple(self.view.found.get("ids", ()))

    def use(self) -> None:
        """Hand the selected model on, as the button does.

        Raises
        ------
        NotRunnableError
            When it cannot run here now; the sentence says what it needs.
        """
        card = self.catalogue[self.selected]
        runs = self.catalogue.runs_here(card)
        if runs.kind != "now":
            raise NotRunnableError(f"{card.id} does not run here now. {runs.text}")
        self.error = ""
        if self.on_use is not None:
            self.on_use(card.id)

    def compare(self, ids: Iterable[str | int]) -> None:
        """Show up to six models side by side under the table; none closes that table."""
        names = [self.catalogue[one].id for one in ids][:MOST_COMPARED]
        self.view.ticked = names
        self.view.comparison = details.comparison(self.catalogue, names) if names else {}

    def refresh(self) -> None:
        """Read the model folders again."""
        with self._lock:
            self.catalogue.refresh()
            self._read()

    def _read(self) -> None:
        """Tell the page of every model; keep the selection if it is still there."""
        known, view = self.catalogue, self.view
        view.rows = {card.id: details.row(card, known.runs_here(card)) for card in known}
        self._metrics = {_label(metric): metric for metric in known.metrics()}
        view.metrics = list(self._metrics)
        view.broken = [{"path": str(one.path), "reason": one.reason} for one in known.broken]
        view.ticked = [name for name in view.ticked if name in known]
        view.comparison = {}
        if view.rank_by not in self._metrics:
            view.rank_by = ""
        if view.selected not in known:
            now = (card.id for card in known if known.runs_here(card).kind == "now")
            view.selected = next(now, next(iter(known.ids), ""))
        self._update()
        self._show()

    def _update(self) -> None:
        """Answer the page: which models fit, in which order, and how many each facet has."""
        with self._lock:
            searched = self.catalogue.search(self.search_text)
            chosen = {f: v for f, v in self.filters.items() if f in FACETS and v}
            hits = searched.filter(**chosen)
            metric = self._metrics.get(self.rank_by)
            ids = self._ordered(hits, metric)
            self.view.found = {
                "ids": ids,
                "facets": _counts(self.catalogue, searched, chosen),
                "nearest": _nearest(searched, hits),
                "scores": {n: details.score_cell(self.catalogue[n], metric) for n in ids},
                "higher": bool(metric and metric.higher_is_better),
                "note": _note(metric),
                "answer": self.view.asked,
            }
            if ids and self.selected not in ids:
                self.view.selected = ids[0]
            self._say(ids)

    def _say(self, ids: list[str]) -> None:
        count = f"{len(ids)} of {len(self.catalogue)} models"
        now = sum(bool(self.view.rows[name]["now"]) for name in ids)
        run = {0: "none of them runs here now", 1: "1 runs here now"}.get(
            now, f"{now} run here now"
        )
        nearest = self.view.found["nearest"].get("sentence", "")
        self.status = f"{count}; {run}." if ids else f"{count}. {nearest}"

    def _ordered(self, hits: Catalogue, metric: Metric | None) -> list[str]:
        """Rank first, then sort by the column asked for; equal cells keep their order."""
        if metric is not None and metric[:2] in {one[:2] for one in hits.metrics()}:
            hits = hits.rank(metric.name, extractor=metric.extractor)
        ids = list(hits.ids)
        column, direction = [*self.view.sort, "", ""][:2]
        if column == "score" and metric is not None:
            return _by_score(hits, ids, metric, direction)
        if column in ("id", "modality", "organ", "makes", "size", "licence", "runs"):
            ids.sort(key=lambda name: self._cell(name, column), reverse=direction == "descending")
        return ids

    def _cell(self, name: str, column: str) -> Any:
        card = self.catalogue[name]
        if column == "size":
            return card.size[0] * card.size[1]
        if column == "runs":
            return _RUNS_ORDER.index(self.catalogue.runs_here(card).kind)
        return str(self.view.rows[name]["name" if column == "id" else column]).lower()

    def _asked(self, _: object) -> None:
        self._guard(self._update)

    def _chosen(self, _: object) -> None:
        self._guard(self._show)

    def _show(self) -> None:
        """Send the card of the selected model, read anew: its folder may be gone by now."""
        with self._lock:
            name = self.selected
            if name not in self.catalogue:
                self.view.detail, self.view.preview = {}, b""
                return
            card = self.catalogue[name]
            self.view.detail = details.detail(card, self.catalogue.runs_here(card))
            self.view.preview = self._preview(name) if card.origin == "local" else b""

    def _preview(self, name: str) -> bytes:
        try:
            path = self.catalogue.folder_of(name) / "preview.png"
            if not path.is_file() or path.stat().st_size > PREVIEW_LIMIT:
                return b""
            content = path.read_bytes()
        except (OSError, MedganError):
            return b""  # a card without a picture is still a card
        return content if content.startswith(b"\x89PNG\r\n\x1a\n") else b""

    def _message(self, _: object, content: Mapping[str, Any], __: object) -> None:
        kind = content.get("kind")
        if kind == "use":
            self._guard(self.use)
        elif kind == "refresh":
            self._guard(self.refresh)
        elif kind == "compare":
            self._guard(lambda: self.compare(content.get("ids", [])))

    def _guard(self, act: Callable[[], None]) -> None:
        """Run what a click asks for; a failure becomes one sentence and the panel lives on."""
        try:
            act()
        except MedganError as problem:
            self.error = problem
        except Exception as problem:
            log.exception("the model explorer failed")
            self.error = f"{type(problem).__name__}: {problem}"

    def _facts(self) -> Mapping[str, object]:
        shown = f"{len(self.shown)} of {len(self.catalogue)}"
        return {"search": self.search_text, "selected": self.selected, "shown": shown}

    def _picture(self) -> Image.Image | None:
        rows = [self.view.rows[name] for name in self.shown]
        return details.picture(rows, self.view.found["scores"], self.selected) if rows else None


def _labels() -> dict[str, dict[str, str]]:
    return {
        "modality": details.MODALITIES,
        "outputs": {"mask": "with mask", "label": "with label"},
        "runs_here": details.RUNS,
        "origin": {"local": "on this machine", "medigan": "medigan's"},
    }


def _label(metric: Metric) -> str:
    return metric.name if metric.extractor is None else f"{metric.name} · {metric.extractor}"


def _note(metric: Metric | None) -> str:
    if metric is None:
        return "Scores of different extractors (FD, FID) do not compare."
    way = "higher" if metric.higher_is_better else "lower"
    return (
        f"{way.capitalize()} is better. Other extractors do not compare; "
        "with other data or another n, compare with care."
    )


def _counts(
    whole: Catalogue, searched: Catalogue, chosen: Mapping[str, Any]
) -> dict[str, list[list[Any]]]:
    """Count a facet among the models that fit everything but that facet; none is left out."""
    counts = {}
    for facet, values in whole.facets().items():
        others = {name: value for name, value in chosen.items() if name != facet}
        there = searched.filter(**others).facets()[facet]
        counts[facet] = [[value, there.get(value, 0)] for value in values]
    return counts


def _nearest(searched: Catalogue, hits: Catalogue) -> dict[str, str]:
    nearest = searched.nearest or hits.nearest
    if len(hits) or nearest is None:
        return {}
    return {"sentence": nearest.sentence, "search": nearest.search}


def _by_score(hits: Catalogue, ids: list[str], metric: Metric, direction: str) -> list[str]:
    """Turn a ranking round if asked; models without the figure stay last."""
    best_first = direction == ("descending" if metric.higher_is_better else "ascending")
    key = (metric.name, metric.extractor)
    having = [n for n in ids if any((s.name, s.extractor) == key for s in hits[n].scores)]
    without = [name for name in ids if name not in having]
    return (having if best_first else having[::-1]) + without
