"""Out of the notebook and back: images with their recipe, models with what they came from.

The package can be called: ``medgan_widgets.export(request, "out")`` is `export.export`, whether
somebody imported a file of it before or not.
"""

import sys
from types import ModuleType
from typing import Any

from medgan_widgets.export.about import check_model
from medgan_widgets.export.checkpoint_import import import_checkpoint
from medgan_widgets.export.entry import Exported, export
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
    "Exported",
    "Match",
    "Step",
    "Trace",
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
    "save_zip",
    "trace",
    "zip_bytes",
]


class _Callable(ModuleType):
    def __call__(self, *given: Any, **named: Any) -> Exported:
        return export(*given, **named)


sys.modules[__name__].__class__ = _Callable
