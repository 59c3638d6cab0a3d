"""Old name of ``medgan_widgets.metrics``, kept for one version."""

import warnings

from medgan_widgets.metrics.score import EXTRA, Progress, score
from medgan_widgets.metrics.table import Prepared, Scores

__all__ = ["EXTRA", "Prepared", "Progress", "Scores", "score"]

warnings.warn(
    "medgan_widgets.evaluation is now medgan_widgets.metrics: score() and Scores as mw.score and "
    "mw.Scores, the rest in metrics.score and metrics.table.",
    DeprecationWarning,
    stacklevel=2,
)
