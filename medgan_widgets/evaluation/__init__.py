"""Images against images: from a request, a folder or a phantom to a table of scores.

::

    sources.py    what a person names -> images in batches, and how to say what they are
    scoring.py    images on both sides -> features -> scores
    scores.py     the table
"""

from medgan_widgets.evaluation.scores import Scores
from medgan_widgets.evaluation.scoring import EXTRA, Progress, score
from medgan_widgets.evaluation.sources import Images, images_of, phantom_kind

__all__ = [
    "EXTRA",
    "Images",
    "Progress",
    "Scores",
    "images_of",
    "phantom_kind",
    "score",
]
