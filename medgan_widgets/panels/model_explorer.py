"""The model explorer: every known model, searched, filtered, ranked, and one looked at closely."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import traitlets
from PIL import Image

from medgan_widgets.catalogue import FACETS, Catalogue, Metric
from medgan_widgets.errors import MedganError, NotRunnableError, RequestError
from medgan_widgets.panels import _model_details as details
from medgan_widgets.panels._downloads import Download
from medgan_widgets.panels._packages import Packages, listing, step
from medgan_widgets.panels._panel import Page, Panel, joined

MOST_COMPARED = 6
PREVIEW_LIMIT = 4_000_000  # bytes; a row of eight tiles has some hundred thousand
SCRIPT = joined("_dom.js", "_explorer_packages.js", "model_explorer.js")
_RUNS_ORDER = tuple(details.RUNS)


class _View(Page):
    """The page's half: what was asked, and the answer."""

    _esm = SCRIPT
    _css = joined("_panel.css", "model_explorer.css")
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
    transfers = traitlets.Dict().tag(sync=True)  # id -> what is going on with its package
    packages: traitlets.List[Any] = traitlets.List().tag(sync=True)  # what lies in the cache
    lock_note = traitlets.Unicode("").tag(sync=True)


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
        self.view = _View(labels=details.labels())
        super().__init__("Models", [self.view])
        self.add_class("mg-explorer-panel")
        self._packages = Packages(self.catalogue, self.view, self._lock, self._package_changed)
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

    def download(self) -> Download:
        """Start fetching the selected model's package, as the button does; see `Download`.

        ``explorer.download().wait()`` blocks until it is there, or raises why not.
        """
        return self._packages.downloads.start(self.selected)

    def trust(self, *, pickle: bool = False, python: str | None = None) -> None:
        """Say yes to running the selected model's code; see `medgan_widgets.trust`."""
        said = self._packages.trust(self.selected, pickle=pickle, python=python)
        self._package_changed(self.selected, said)

    def withdraw(self) -> None:
        """Take that yes back; what runs on it ends."""
        self._package_changed(self.selected, self._packages.withdraw(self.selected))

    def remove(self) -> None:
        """Delete the selected model's package from the cache; what runs on it ends."""
        self._package_changed(self.selected, self._packages.remove(self.selected))

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
        self._known = known = self.catalogue.still()
        view = self.view
        view.rows = {card.id: details.row(card, known.runs_here(card)) for card in known}
        self._metrics = {details.label(metric): metric for metric in known.metrics()}
        view.metrics = list(self._metrics)
        view.broken = [{"path": str(one.path), "reason": one.reason} for one in known.broken]
        view.ticked = [name for name in view.ticked if name in known]
        view.comparison, view.packages = {}, listing()
        if view.rank_by not in self._metrics:
            view.rank_by = ""
        if view.selected not in known:
            now = (card.id for card in known if known.runs_here(card).kind == "now")
            view.selected = next(now, next(iter(known.ids), ""))
        self._update()
        self._show()

    def _update(self, *, keep: bool = False) -> None:
        """Answer the page: which models fit, in which order, and how many each facet has."""
        with self._lock:
            searched = self._known.search(self.search_text)
            chosen = {f: v for f, v in self.filters.items() if f in FACETS and v}
            hits = searched.filter(**chosen)
            metric = self._metrics.get(self.rank_by)
            ids = self._ordered(hits, metric)
            self.view.found = {
                "ids": ids,
                "facets": details.counts(self._known, searched, chosen),
                "nearest": details.nearest(searched, hits),
                "scores": {n: details.score_cell(self._known[n], metric) for n in ids},
                "higher": bool(metric and metric.higher_is_better),
                "note": details.note(metric),
                "answer": self.view.asked,
            }
            if ids and self.selected not in ids and not keep:
                self.view.selected = ids[0]
            self._say(ids)

    def _say(self, ids: list[str]) -> None:
        count = f"{len(ids)} of {len(self._known)} models"
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
            return details.by_score(hits, ids, metric, direction)
        if column in ("id", "modality", "organ", "makes", "size", "licence", "runs"):
            ids.sort(key=lambda name: self._cell(name, column), reverse=direction == "descending")
        return ids

    def _cell(self, name: str, column: str) -> Any:
        card = self._known[name]
        if column == "size":
            return card.size[0] * card.size[1]
        if column == "runs":
            return _RUNS_ORDER.index(self._known.runs_here(card).kind)
        return str(self.view.rows[name]["name" if column == "id" else column]).lower()

    def _asked(self, _: object) -> None:
        with self.guard():
            self._update()

    def _chosen(self, _: object) -> None:
        with self.guard():
            self._show()

    def _show(self) -> None:
        """Send the card of the selected model, read anew: its folder may be gone by now."""
        with self._lock:
            name = self.selected
            if name not in self.catalogue:
                self.view.detail, self.view.preview = {}, b""
                return
            card = self.catalogue[name]
            runs = self.catalogue.runs_here(card)
            told = details.detail(card, runs)
            self.view.detail = {**told, "step": step(card, runs, self.catalogue)}
            self.view.preview = self._preview(name) if card.origin == "local" else b""

    def _package_changed(self, name: str, said: str, problem: BaseException | None = None) -> None:
        """Show anew what a download, a yes or a removal changes: a row, the counts, the card."""
        with self._lock:
            if self._closed:
                return
            self._known = self.catalogue.still()
            if name in self._known:
                card = self._known[name]
                cells = details.row(card, self._known.runs_here(card))
                self.view.rows = {**self.view.rows, card.id: cells}
                self._update(keep=True)  # a model that leaves a filter is still looked at
                if card.id == self.selected:
                    self._show()
                self.view.lock_note = ""  # it spoke of what was agreed to until now
            self.view.packages = listing()
            self.error = ""
            if problem is not None:
                self._fail(problem)
            elif said:
                self.status = said

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
            with self.guard():
                self.use()
        elif kind == "refresh":
            with self.guard():
                self.refresh()
        elif kind == "compare":
            with self.guard():
                self.compare(content.get("ids", []))
        else:
            with self.guard():
                self._packages.heard(content)

    def _facts(self) -> Mapping[str, object]:
        shown = f"{len(self.shown)} of {len(self.catalogue)}"
        return {"search": self.search_text, "selected": self.selected, "shown": shown}

    def _release(self) -> None:
        self._packages.downloads.close()

    def _picture(self) -> Image.Image | None:
        rows = [self.view.rows[name] for name in self.shown]
        return details.picture(rows, self.view.found["scores"], self.selected) if rows else None
