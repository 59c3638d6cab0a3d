"""How good synthetic images are: distances of features, and figures that can be compared.

::

    distances.py    FD, KID, precision and recall, density and coverage, KS, Wasserstein: bare
    similarity.py   MS-SSIM, of the images themselves
    figures.py      score_of: features to a Score with n, interval, floor and warning
    draws.py        what is drawn for interval and floor, by patient
    remarks.py      why a figure is not to be leaned on
    table.py        Scores: what was measured, one row a figure
    score.py        mw.score: images on both sides to Scores; this one reads and generates
    score_notes.py  what to know of the images before leaning on the figures

Arrays in, numbers out, but for ``score``: no torch. Values of two extractors never compare.
"""

from medgan_widgets.metrics.distances import (
    ColumnDistances,
    density_coverage,
    distribution_distances,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    precision_recall,
)
from medgan_widgets.metrics.figures import FEWEST, METRICS, score_of
from medgan_widgets.metrics.similarity import ms_ssim_diversity, ms_ssim_pairs, rows_to_compare

__all__ = [
    "FEWEST",
    "METRICS",
    "ColumnDistances",
    "density_coverage",
    "distribution_distances",
    "frechet_distance",
    "frechet_infinity",
    "kernel_distance",
    "ms_ssim_diversity",
    "ms_ssim_pairs",
    "precision_recall",
    "rows_to_compare",
    "score_of",
]
