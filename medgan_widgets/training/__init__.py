"""Training: an iterator of ticks; a run is a directory (see ``runs``).

Step it in a notebook (``for tick in train(...)``), or let it run by itself, in a
process that outlives the kernel: ``python -m medgan_widgets train RUN_DIR``.
"""

from medgan_widgets.training.estimate import Estimate, estimate_training
from medgan_widgets.training.loop import train
from medgan_widgets.training.prepare import images_of_run, prepare_run

__all__ = ["Estimate", "estimate_training", "images_of_run", "prepare_run", "train"]
