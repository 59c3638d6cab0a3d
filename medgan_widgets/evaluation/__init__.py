"""Images against images: from a request, a folder or a phantom to a table of scores.

::

    scoring.py    images on both sides -> features -> scores
    remarks.py    what to know before leaning on them
    scores.py     the table
"""

from medgan_widgets.evaluation.scores import Prepared, Scores
from medgan_widgets.evaluation.scoring import EXTRA, Progress, score

__all__ = ["EXTRA", "Prepared", "Progress", "Scores", "score"]
