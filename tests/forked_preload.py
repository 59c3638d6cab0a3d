"""What the process imports from which package processes of tests are forked."""

import torch

import tests.forked
from medgan_widgets.medigan import worker

torch.set_num_threads(1)
tests.forked.worker._executor()
for name in ("resident", "answers"):
    worker._neighbour(name)
