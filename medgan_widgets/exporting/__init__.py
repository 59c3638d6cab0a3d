"""Out of the notebook and back: images with their recipe, models with what they came from."""

from medgan_widgets.exporting.about import check_model
from medgan_widgets.exporting.checkpoint_import import import_checkpoint
from medgan_widgets.exporting.model import make_model
from medgan_widgets.exporting.provenance import Trace, TraceStep, trace
from medgan_widgets.exporting.recipe import (
    SyntheticImage,
    file_name,
    image_recipe,
    png_with_recipe,
    recipe_of,
    restore,
    save_png,
)
from medgan_widgets.exporting.withdrawal import Match, models_trained_on
from medgan_widgets.exporting.writer import FORMATS, Exported, Step, export, write

__all__ = [
    "FORMATS",
    "Exported",
    "Match",
    "Step",
    "SyntheticImage",
    "Trace",
    "TraceStep",
    "check_model",
    "export",
    "file_name",
    "image_recipe",
    "import_checkpoint",
    "make_model",
    "models_trained_on",
    "png_with_recipe",
    "recipe_of",
    "restore",
    "save_png",
    "trace",
    "write",
]
