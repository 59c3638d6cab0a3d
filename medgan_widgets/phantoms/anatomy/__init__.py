"""Anatomy measured back from images of phantoms, and compared with fresh phantoms.

::

    measuring.py   measure_anatomy: a kind and images -> numbers, one row an image
    comparing.py   compare_anatomy: are the statistics of generated images those of phantoms?
    brain.py chest.py breast.py    how each kind is measured

No network and no learned features: shapes, matched filters and a linear
regression, each checked on phantoms whose truth is known. These are
measurements of *phantoms*; on an image of a patient they mean nothing.
"""

from medgan_widgets.phantoms.anatomy.comparing import AnatomyReport, Compared, compare_anatomy
from medgan_widgets.phantoms.anatomy.measuring import QUANTITIES, Quantity, measure_anatomy

__all__ = [
    "QUANTITIES",
    "AnatomyReport",
    "Compared",
    "Quantity",
    "compare_anatomy",
    "measure_anatomy",
]
