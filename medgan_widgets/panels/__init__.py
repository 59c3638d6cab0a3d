"""The panels: the only place that knows widgets. Each loads when first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgan_widgets.panels.generator_grid import GeneratorGrid as GeneratorGrid
    from medgan_widgets.panels.metrics_plot import MetricsPlot as MetricsPlot
    from medgan_widgets.panels.model_explorer import ModelExplorer as ModelExplorer
    from medgan_widgets.panels.reader_study import ReaderStudy as ReaderStudy
    from medgan_widgets.panels.studio import Studio as Studio
    from medgan_widgets.panels.training_monitor import TrainingMonitor as TrainingMonitor

_HOMES = {
    "GeneratorGrid": "generator_grid",
    "MetricsPlot": "metrics_plot",
    "ModelExplorer": "model_explorer",
    "ReaderStudy": "reader_study",
    "Studio": "studio",
    "TrainingMonitor": "training_monitor",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
