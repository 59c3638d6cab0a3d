"""Explore, generate, judge and trace synthetic medical images in JupyterLab.

The table of contents. Names load when first used, so ``import medgan_widgets``
is quick, and a script that never asks for a panel never imports a widget.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medgan_widgets.augmentation_study import AugmentationStudy as AugmentationStudy
    from medgan_widgets.cards import DataStatement as DataStatement
    from medgan_widgets.cards import ModelCard as ModelCard
    from medgan_widgets.catalogue import Catalogue as Catalogue
    from medgan_widgets.datasets import read_images as read_images
    from medgan_widgets.engine import Engine as Engine
    from medgan_widgets.engine import shared_engine as shared_engine
    from medgan_widgets.exporting import check_model as check_model
    from medgan_widgets.exporting import export as export
    from medgan_widgets.exporting import import_checkpoint as import_checkpoint
    from medgan_widgets.exporting import make_model as make_model
    from medgan_widgets.exporting import models_trained_on as models_trained_on
    from medgan_widgets.exporting import restore as restore
    from medgan_widgets.exporting import trace as trace
    from medgan_widgets.image_sources import open_images as open_images
    from medgan_widgets.medigan.actions import consent_text as consent_text
    from medgan_widgets.medigan.actions import download as download
    from medgan_widgets.medigan.actions import dry_run as dry_run
    from medgan_widgets.medigan.actions import trust as trust
    from medgan_widgets.medigan.trust import write_lock as write_lock
    from medgan_widgets.metrics.score import score as score
    from medgan_widgets.metrics.table import Scores as Scores
    from medgan_widgets.panels import GeneratorGrid as GeneratorGrid
    from medgan_widgets.panels import MetricsPlot as MetricsPlot
    from medgan_widgets.panels import ModelExplorer as ModelExplorer
    from medgan_widgets.panels import ReaderStudy as ReaderStudy
    from medgan_widgets.panels import Studio as Studio
    from medgan_widgets.panels import TrainingMonitor as TrainingMonitor
    from medgan_widgets.phantoms import draw_phantoms as draw_phantoms
    from medgan_widgets.phantoms.anatomy import compare_anatomy as compare_anatomy
    from medgan_widgets.phantoms.anatomy import measure_anatomy as measure_anatomy
    from medgan_widgets.presets import Preset as Preset
    from medgan_widgets.requests import Batch as Batch
    from medgan_widgets.requests import GenerateRequest as GenerateRequest
    from medgan_widgets.requests import Measured as Measured
    from medgan_widgets.requests import Score as Score
    from medgan_widgets.runs import start_process as start_process
    from medgan_widgets.training import estimate_training as estimate_training
    from medgan_widgets.training import prepare_run as prepare_run
    from medgan_widgets.training import train as train

_HOMES = {
    # in a notebook
    "Studio": "panels",
    "ModelExplorer": "panels",
    "GeneratorGrid": "panels",
    "MetricsPlot": "panels",
    "TrainingMonitor": "panels",
    "ReaderStudy": "panels",
    # what is known, and what is asked
    "Catalogue": "catalogue",
    "ModelCard": "cards",
    "DataStatement": "cards",
    "GenerateRequest": "requests",
    "Batch": "requests",
    "Score": "requests",
    "Measured": "requests",
    # medigan's packages
    "download": "medigan.actions",
    "consent_text": "medigan.actions",
    "trust": "medigan.actions",
    "write_lock": "medigan.trust",
    "dry_run": "medigan.actions",
    # what works
    "Engine": "engine",
    "shared_engine": "engine",
    # training: images, a look ahead, the loop, a process of its own
    "read_images": "datasets",
    "open_images": "image_sources",
    "Preset": "presets",
    "estimate_training": "training",
    "train": "training",
    "prepare_run": "training",
    "start_process": "runs",
    "draw_phantoms": "phantoms",
    "export": "exporting",
    "restore": "exporting",
    # how good: figures, anatomy, use
    "score": "metrics.score",
    "Scores": "metrics.table",
    "measure_anatomy": "phantoms.anatomy",
    "compare_anatomy": "phantoms.anatomy",
    "AugmentationStudy": "augmentation_study",
    # from a run to a model, and from an image or a file back
    "check_model": "exporting",
    "make_model": "exporting",
    "import_checkpoint": "exporting",
    "trace": "exporting",
    "models_trained_on": "exporting",
}

# Parts with more to ask for, as mw.features.fetch_weights(…).
_PARTS = ("datasets", "exporting", "features", "memorisation", "reader_study")

__all__ = sorted(_HOMES)
__version__ = "0.4.0"


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_PARTS])
