"""Generated images that are too close to training images: found, counted, shown.

::

    memory.py       Memory: training images, made ready; check, iter_check
    report.py       what was found: copy rate, pairs, and how far to trust it
    sheet.py        pairs side by side, as a picture
    calibration.py  from which likeness on a pair counts as a copy
    matching.py     from a generated image to its nearest training image
    search.py       a few candidates out of many thousands
    alignment.py    one image laid over another
    individual.py   what is individual in an image
    pixels.py       images as small grey ones
"""

from medgan_widgets.memorisation.calibration import FEWEST, Calibration
from medgan_widgets.memorisation.memory import Memory, Step
from medgan_widgets.memorisation.report import NOT_ASSESSED, Pair, Report, not_assessed

__all__ = [
    "FEWEST",
    "NOT_ASSESSED",
    "Calibration",
    "Memory",
    "Pair",
    "Report",
    "Step",
    "not_assessed",
]
