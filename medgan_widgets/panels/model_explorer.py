"""The model explorer: every known model, searched, filtered, ranked, and one looked at closely.

The page gets all rows once and searches, filters, sorts and counts by itself; only what
changes something (choosing, comparing, packages, use) is a message to the kernel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import traitlets
from PIL import Image

from medgan_widgets import vocabulary
from medgan_widgets.catalogue import FACETS, Catalogue, Metric
from medgan_widgets.downloads import Package
from medgan_widgets.errors import MedganError, NotRunnableError, RequestError
from medgan_widgets.jobs import Job
from medgan_widgets.model_folders import RunsHere
from medgan_widgets.panels import _model_details as details
from medgan_widgets.panels._packages import ACTIONS, Packages, listing, next_step
from medgan_widgets.panels._panel import Page, Panel, joined

MOST_COMPARED = 6
PREVIEW_LIMIT = 4_000_000  # bytes; a row of eight tiles has some hundred thousand
SCRIPT = joined("_dom.js", "_explorer_packages.js", "model_explorer.js")


class _View(Page):
    """The page's half. It keeps the first four as it likes: they travel with the next message."""

    _esm = SCRIPT
    _css = joined("_panel.css", "model_explorer.css")
    search_text = traitlets.Unicode("").tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)  # facet -> values
    rank_by = traitlets.Unicode("").tag(sync=True)  # a label of `metrics`
    sort: traitlets.List[Any] = traitlets.List().tag(
        sync=True
    )  # [column, "ascending" or "descending"]
    ticked: traitlets.List[Any] = traitlets.List().tag(sync=True)  # ids to compare
    rows: traitlets.List[Any] = traitlets.List().tag(sync=True)  # what never changes of each model
    runs = traitlets.Dict().tag(sync=True)  # id -> whether it runs here
    metrics: traitlets.List[Any] = traitlets.List().tag(sync=True)
    idle: traitlets.List[Any] = traitlets.List(default_value=sorted(vocabulary.IDLE)).tag(
        sync=True
    )  # words that find nothing
    selected = traitlets.Unicode("").tag(sync=True)
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
        self._metrics: dict[str, Metric] = {}  # by what the page calls them
        self._lock = threading.RLock()  # clicks and downloads come on any thread
        self.view = _View()
        super().__init__("Models", [self.view])
        self.add_class("mg-explorer-panel")
        self._packages = Packages(self.catalogue, self.view, self._lock, self._package_changed)
        self._read()
        self.listen(
            self.view,
            {
                "select": lambda message: self._select(str(message.get("model"))),
                "compare": lambda message: self.compare(message.get("ids", [])),
                "use": lambda _: self.use(),
                "refresh": lambda _: self.refresh(),
                **dict.fromkeys(ACTIONS, self._packages.on_message),
            },
        )

    @property
    def search_text(self) -> str:
        """What is searched for."""
        return str(self.view.search_text)

    @search_text.setter
    def search_text(self, text: str) -> None:
        self.view.search_text = str(text)
        self._follow()

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
            facet: self.catalogue.values(facet, [values] if isinstance(values, str) else values)
            for facet, values in chosen.items()
        }
        self._follow()

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
        self._follow()

    @property
    def selected(self) -> str:
        """The id of the model whose card is shown; empty when there is none."""
        return str(self.view.selected)

    @selected.setter
    def selected(self, model_id: str | int) -> None:
        self._select(self.catalogue[model_id].id)

    @property
    def shown(self) -> tuple[str, ...]:
        """The ids of the models that fit, best first."""
        chosen = {facet: values for facet, values in self.view.filters.items() if values}
        found = self.catalogue.search(self.search_text).filter(**chosen)
        metric = self._metrics.get(self.rank_by)
        if metric and metric[:2] in [each[:2] for each in found.metrics()]:
            found = found.rank(metric.name, extractor=metric.extractor)
        return found.ids

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

    def download(self) -> Job[Package]:
        """Start fetching the selected model's package, as the button does.

        ``explorer.download().wait()`` blocks until it is there, or raises why not.
        """
        return self._packages.download(self.selected)

    def trust(self, *, pickle: bool = False, python: str | None = None) -> None:
        """Say yes to running the selected model's code; see `medgan_widgets.trust`."""
        note = self._packages.trust(self.selected, pickle=pickle, python=python)
        self._package_changed(self.selected, note)

    def withdraw(self) -> None:
        """Take that yes back; what runs on it ends."""
        self._package_changed(self.selected, self._packages.withdraw(self.selected))

    def remove(self) -> None:
        """Delete the selected model's package from the cache; what runs on it ends."""
        self._package_changed(self.selected, self._packages.remove(self.selected))

    def compare(self, ids: Iterable[str | int]) -> None:
        """Show up to six models side by side under the table; none closes that table."""
        names = [self.catalogue[name].id for name in ids][:MOST_COMPARED]
        self.view.ticked = names
        self.view.comparison = details.comparison(self.catalogue, names) if names else {}

    def refresh(self) -> None:
        """Read the model folders again."""
        with self._lock:
            self.catalogue.refresh()
            self._read()

    def _read(self) -> None:
        """Send the page every model; keep the selection if it is still there."""
        models, view = self.catalogue, self.view
        runs = {card.id: models.runs_here(card) for card in models}
        now = [name for name, each in runs.items() if each.kind == "now"]
        with view.hold_sync():
            view.rows = [details.row(card) for card in models]
            view.runs = {name: details.runs(models[name], each) for name, each in runs.items()}
            self._metrics = {details.label(each): each for each in models.metrics()}
            view.metrics = [details.metric(each) for each in self._metrics.values()]
            view.broken = [{"path": str(path), "reason": reason} for path, reason in models.broken]
            view.ticked = [name for name in view.ticked if name in models]
            view.comparison, view.packages = {}, listing()
            if view.rank_by not in self._metrics:
                view.rank_by = ""
            name = view.selected if view.selected in models else next(iter((*now, *models.ids)), "")
            self._select(name, runs.get(name))
        self.status = f"{len(models)} models; {len(now)} run{'s' * (len(now) == 1)} here now."

    def _follow(self) -> None:
        """Look at the first hit when the model looked at is not among the hits."""
        shown = self.shown
        if shown and self.selected not in shown:
            self._select(shown[0])

    def _select(self, name: str, runs: RunsHere | None = None) -> None:
        """Send a model's card, looked at anew: its folder may be gone by now."""
        with self._lock, self.view.hold_sync():
            self.view.selected = name
            if name not in self.catalogue:
                self.view.detail, self.view.preview = {}, b""
                return
            card = self.catalogue[name]
            runs = self.catalogue.runs_here(card) if runs is None else runs
            self.view.runs = {**self.view.runs, name: details.runs(card, runs)}
            step = next_step(card, runs, self.catalogue)
            self.view.detail = {**details.detail(card, runs), "step": step}
            self.view.preview = self._preview(name) if card.origin == "local" else b""

    def _package_changed(self, name: str, note: str, problem: BaseException | None = None) -> None:
        """Show anew what a download, a yes or a removal changes: whether it runs, the card."""
        with self._lock:
            if self._closed:
                return
            if name == self.selected:
                self._select(name)
            elif name in self.catalogue:
                card = self.catalogue[name]
                runs = details.runs(card, self.catalogue.runs_here(card))
                self.view.runs = {**self.view.runs, name: runs}
            if name:
                self.view.lock_note = ""  # it spoke of what was agreed to until now
            self.view.packages = listing()
            self.error = ""
            with self.guard():
                if problem is not None:
                    raise problem
            if note:
                self.status = note

    def _preview(self, name: str) -> bytes:
        try:
            path = self.catalogue.folder_of(name) / "preview.png"
            if path.stat().st_size > PREVIEW_LIMIT:
                return b""
            content = path.read_bytes()
        except (OSError, MedganError):
            return b""  # a card without a picture is still a card
        return content if content.startswith(b"\x89PNG\r\n\x1a\n") else b""

    def _facts(self) -> Mapping[str, object]:
        shown = f"{len(self.shown)} of {len(self.catalogue)}"
        return {"search": self.search_text, "selected": self.selected, "shown": shown}

    def _release(self) -> None:
        self._packages.stop()

    def _picture(self) -> Image.Image | None:
        return details.picture(self.shown, self.view)
