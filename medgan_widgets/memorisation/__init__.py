"""Generated images that are too close to training images: found, counted, shown.

::

    detector.py     CopyDetector: training images, made ready; check, iter_check
    report.py       what was found: copy rate, pairs, and how far to trust it
    calibration.py  from which likeness on a pair counts as a copy
    matching.py     from a generated image to its nearest training image
    search.py       a few candidates out of many thousands
    alignment.py    one image laid over another
    individual.py   what is individual in an image
    pixels.py       images as small grey ones
    tuning.py       each number that this is tuned by, and why
"""

import warnings
from typing import Any

from medgan_widgets.memorisation.calibration import Calibration
from medgan_widgets.memorisation.detector import CheckStep, CopyDetector
from medgan_widgets.memorisation.report import NOT_ASSESSED, Pair, Report, not_assessed
from medgan_widgets.memorisation.tuning import FEWEST

__all__ = [
    "FEWEST",
    "NOT_ASSESSED",
    "Calibration",
    "CheckStep",
    "CopyDetector",
    "Pair",
    "Report",
    "not_assessed",
]


def __getattr__(name: str) -> Any:
    if name == "Memory":  # its name in 0.4.0
        warnings.warn("memorisation.Memory is CopyDetector now.", DeprecationWarning, stacklevel=2)
        return CopyDetector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
