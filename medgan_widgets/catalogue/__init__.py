"""Every model known here: where cards lie, how they are found, how they compare."""

from medgan_widgets.catalogue._catalogue import FACETS, Catalogue, Nearest
from medgan_widgets.catalogue.figures import Metric, size_text
from medgan_widgets.catalogue.model_folders import Broken, RunsHere, Shadowed, bundled

__all__ = [
    "FACETS",
    "Broken",
    "Catalogue",
    "Metric",
    "Nearest",
    "RunsHere",
    "Shadowed",
    "bundled",
    "size_text",
]
