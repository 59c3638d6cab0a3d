"""Feature matrices to scores that carry what makes them comparable.

Arrays in, numbers out: no torch, and of images only pairs of pixels. A value of one
extractor never compares with a value of another.

``score_of`` gives a `Score` with its n, interval, floor and warning; the functions beside
it give the bare number.
"""

from medgan_widgets.metrics.balls import density_coverage, precision_recall
from medgan_widgets.metrics.columns import ColumnDistances, distribution_distances
from medgan_widgets.metrics.gaussians import Gaussian, frechet_distance, frechet_infinity
from medgan_widgets.metrics.kernels import kernel_distance
from medgan_widgets.metrics.scores import FEWEST, METRICS, score_of
from medgan_widgets.metrics.similarity import (
    ms_ssim_diversity,
    ms_ssim_pairs,
    rows_to_compare,
)

__all__ = [
    "FEWEST",
    "METRICS",
    "ColumnDistances",
    "Gaussian",
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
