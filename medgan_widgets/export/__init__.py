"""Out of the notebook and back: images with their recipe, models with what they came from."""

from medgan_widgets.export.checkpoint_import import import_checkpoint
from medgan_widgets.export.lineage import Step
from medgan_widgets.export.model import make_model
from medgan_widgets.export.png import (
    file_name,
    image_recipe,
    png_with_recipe,
    recipe_of,
    restore,
    save_png,
)
from medgan_widgets.export.trace import Trace, trace
from medgan_widgets.export.withdrawal import Match, models_trained_on
from medgan_widgets.export.zip import save_zip, zip_bytes

__all__ = [
    "Match",
    "Step",
    "Trace",
    "file_name",
    "image_recipe",
    "import_checkpoint",
    "make_model",
    "models_trained_on",
    "png_with_recipe",
    "recipe_of",
    "restore",
    "save_png",
    "save_zip",
    "trace",
    "zip_bytes",
]
