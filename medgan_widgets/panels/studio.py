"""The Studio: every panel in one, under tabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from PIL import Image

from medgan_widgets.cards import ModelCard
from medgan_widgets.panels._panel import Panel, joined
from medgan_widgets.panels.generator_grid import GeneratorGrid
from medgan_widgets.panels.metrics_plot import MetricsPlot
from medgan_widgets.panels.model_explorer import ModelExplorer
from medgan_widgets.panels.training_monitor import TrainingMonitor
from medgan_widgets.seeds import Value

TABS = ("Explore", "Generate", "Metrics", "Train")
EXPLORE, GENERATE, METRICS, TRAIN = range(4)


class _Top(anywidget.AnyWidget):
    """Title, device line and tabs."""

    _esm = joined("_dom.js", "studio.js")
    _css = joined("_panel.css", "studio.css")
    title = traitlets.Unicode("MedGAN Studio").tag(sync=True)
    about = traitlets.Unicode("synthetic medical images, for research and teaching only").tag(
        sync=True
    )
    device = traitlets.Unicode("").tag(sync=True)
    tabs = traitlets.List(traitlets.Unicode(), list(TABS)).tag(sync=True)
    hints = traitlets.List(traitlets.Unicode()).tag(sync=True)
    selected = traitlets.Int(0, min=0, max=len(TABS) - 1).tag(sync=True)


class Studio(Panel):
    """Explore the models, generate with one of them, measure, and train new ones.

    Parameters
    ----------
    model
        The model that Generate starts with.
    images, seed, columns, condition, truncation_psi, options, inputs, mix
        As for `GeneratorGrid`.
    engine, catalogue
        Other ones than the shared engine and its catalogue.
    runs
        Where trainings are found and new ones are made.

    Attributes
    ----------
    explorer
        The `ModelExplorer`; *Use this model* there opens Generate with that model.
    grid
        The `GeneratorGrid`.
    metrics
        The `MetricsPlot` of the engine's work; `metrics.add` shows scores in it.
    monitor
        The `TrainingMonitor`; a model made there is among the others at once.
    """

    def __init__(
        self,
        model: str = "phantom-brain-mri",
        images: int = 16,
        seed: int = 0,
        columns: int = 4,
        condition: Mapping[str, Value] | None = None,
        truncation_psi: float | None = None,
        engine: Any = None,
        catalogue: Any = None,
        options: Mapping[str, Any] | None = None,
        inputs: Sequence[str | Path] = (),
        runs: str | Path = "runs",
        mix: Mapping[str, Any] | None = None,
    ) -> None:
        if engine is None:
            from medgan_widgets.engine import shared_engine  # torch is slow to load

            engine = shared_engine()
        self._engine = engine
        catalogue = engine.catalogue if catalogue is None else catalogue
        self.grid = GeneratorGrid(
            model, images, seed, columns, condition, truncation_psi, engine, catalogue, options,
            inputs, mix,
        )  # fmt: skip
        self.explorer = ModelExplorer(catalogue, on_use=self.use)
        self.monitor = TrainingMonitor(runs=runs, catalogue=catalogue, on_model=self._made)
        self.metrics = MetricsPlot(engine)
        self.top = _Top()
        pages = (self.explorer, self.grid, self.metrics, self.monitor)
        for index, page in enumerate(pages):
            page.add_class("mg-page")
            page.add_class(f"mg-page-{index}")
        super().__init__("MedGAN Studio", [self.top, *pages])
        self.add_class("mg-studio")
        self._show()
        self.grid.head.observe(self._show, "status")

    @property
    def tab(self) -> str:
        """The tab in front: ``"Explore"``, ``"Generate"``, ``"Metrics"`` or ``"Train"``."""
        return TABS[self.top.selected]

    def use(self, model_id: str) -> None:
        """Carry a model to Generate and open that tab.

        Raises
        ------
        ModelNotFoundError, NotRunnableError
            For a model that is not there, or does not run here; the tab stays as it is.
        """
        self.grid.use(model_id)
        self._show()
        self.top.selected = GENERATE

    def _made(self, card: ModelCard) -> None:
        """Let the other panels know a model that has just been trained."""
        if self._engine.catalogue is not self.explorer.catalogue:
            self._engine.catalogue.refresh()
        self.explorer.refresh()
        self.grid.refresh()
        self.explorer.selected = card.id

    def _show(self, _: object = None) -> None:
        """Say where images are made, and what to press first."""
        resident = len(self._engine.resident)
        models = "no model" if not resident else f"{resident} model" + "s" * (resident > 1)
        self.top.device = f"{self._engine.device_name} · {models} resident"
        self.top.hints = [
            "Start here: choose a model and press Use this model; "
            f"or open Generate, where {self.grid.model} is ready.",
            "",
            "",
            "",
        ]

    def _facts(self) -> Mapping[str, object]:
        return self.grid._facts()

    def _picture(self) -> Image.Image | None:
        picture = self.grid._picture()
        return self.explorer._picture() if picture is None else picture
