"""How many copies made on purpose are found, and how many images of their own are called copies.

    OMP_NUM_THREADS=1 python tests/benchmarks/copies.py               # some ten minutes
    OMP_NUM_THREADS=1 python tests/benchmarks/copies.py --size 64

400 training images of each kind of phantom, and brains in colour; 200 copies of them for each kind
of change, at the limits that the README names; 200 other phantoms and 200 images of noise.
A copy counts as found when it is called one and its own training image is named.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from medgan_widgets.memorisation import CopyDetector

sys.path.insert(0, str(Path(__file__).parents[2]))  # the script alone would see only its own folder

from tests.test_memorisation import CHANGES, KINDS, drawn, planted

TRAINING, COUNT = 400, 200


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, action="append", help="pixels a side; 64 and 128")
    changes = [change for change in CHANGES if change != "exact"]
    titles = ["images", *changes, "other phantoms", "noise", "the report's own rates"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for size in parser.parse_args().size or (64, 128):
        for kind in KINDS:
            known = drawn(kind, range(TRAINING), size)
            rows = np.random.default_rng(1).permutation(TRAINING)[:COUNT]
            looked = CopyDetector(known)
            found = []
            for change in changes:
                report = looked.check(planted(known[rows], change, seed=5))
                found.append(sum(rows[one.index] == one.training for one in report.copies))
            fresh = looked.check(drawn(kind, range(10**6, 10**6 + COUNT), size))
            noise = np.random.default_rng(3).integers(0, 256, known[:COUNT].shape)
            called = len(looked.check(noise.astype(np.uint8)).copies)
            own = fresh.calibration
            assert own is not None
            rates = f"{own.sensitivity:.0%} found, {own.false_alarm_rate:.1%} false"
            cells = [f"{kind}, {size} px", *found, len(fresh.copies), called, rates]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
