"""Does adding synthetic images help a classifier? Trained and judged fairly, with controls.

::

    study.py       AugmentationStudy: an iterator, one row a training; cancelled, it goes on later
    arms.py        what each training set is made of
    classifier.py  a small CNN, and how any classifier is trained and asked
    synthetic.py   where synthetic images come from, and what their generator has seen
    outcome.py     rows to intervals, differences and a conclusion in words

More images mean more steps, so a gain over the reals alone says nothing yet:
duplicated reals and reals changed by classical augmentation, of the same count,
are trained beside the synthetic ones.
"""

from medgan_widgets.studies.augmentation.arms import ARMS
from medgan_widgets.studies.augmentation.classifier import SmallCNN
from medgan_widgets.studies.augmentation.outcome import StudyOutcome
from medgan_widgets.studies.augmentation.study import AugmentationStudy

__all__ = ["ARMS", "AugmentationStudy", "SmallCNN", "StudyOutcome"]
