"""Make the shipped extractor again, or print the spreads that canonical-1 divides by."""

from __future__ import annotations

import argparse
import logging
import sys

import numpy as np
import torch

from medgan_widgets.features.canonical import SIDE, unscaled_features
from medgan_widgets.features.phantom_cnn import write_phantom_cnn
from medgan_widgets.features.pixels import to_planes
from medgan_widgets.phantoms import KINDS, draw_phantoms

FIRST, COUNT = 2**36, 1000


def main() -> None:
    """Read the command line and do what it asks for."""
    parser = argparse.ArgumentParser(prog="medgan_widgets.features", description=__doc__)
    parser.add_argument("--spreads", action="store_true")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    if not parser.parse_args().spreads:
        write_phantom_cnn()
        return
    drawn = [draw_phantoms(kind, range(FIRST, FIRST + COUNT), size=SIDE) for kind in KINDS]
    rows = np.concatenate(
        [unscaled_features(to_planes(one.images[..., None], "grey", SIDE)) for one in drawn]
    )
    for found in (rows.mean(axis=0), rows.std(axis=0)):
        sys.stdout.write(", ".join(f"{value:.4g}" for value in found) + "\n")


if __name__ == "__main__":
    main()
