"""Images on their way out of the notebook, each with its recipe; and back to the recipe."""

from medgan_widgets.export.png import (
    file_name,
    image_recipe,
    png_with_recipe,
    recipe_of,
    restore,
    save_png,
)
from medgan_widgets.export.zip import save_zip, zip_bytes

__all__ = [
    "file_name",
    "image_recipe",
    "png_with_recipe",
    "recipe_of",
    "restore",
    "save_png",
    "save_zip",
    "zip_bytes",
]
