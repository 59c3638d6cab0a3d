"""Explore, generate, judge and trace synthetic medical images in JupyterLab.

The table of contents is ``__init__.pyi``. Names load when first used, so ``import
medgan_widgets`` is quick, and a script that never asks for a panel never imports a widget.
"""

import warnings
from importlib import import_module
from typing import Any

import lazy_loader

__version__ = "0.4.0"

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    if name == "reader_study":
        warnings.warn(
            "mw.reader_study is now mw.studies.reader_study", DeprecationWarning, stacklevel=2
        )
        return import_module(f"{__name__}.studies.reader_study")
    return _load(name)
