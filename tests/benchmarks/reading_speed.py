"""Reading and scoring, side by side with an earlier commit of this project in one run.

    OMP_NUM_THREADS=1 python tests/benchmarks/reading_speed.py             # some ten minutes
    OMP_NUM_THREADS=1 python tests/benchmarks/reading_speed.py --quick     # a tenth of the images

Two rows: reading 5,000 grey PNG of 256 pixels, and FD with KID of 1,000 images of 8 bits and 128
pixels against 1,000 others, both arrays, with the same extractor. Each round runs both sides one
after the other, each in a process and with caches of its own; the ratio is the median over the
rounds. Seconds are wall clock, without the imports.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from medgan_widgets.phantoms import draw_phantoms

ROOT = Path(__file__).parents[2]
COMMIT = "9467761"
READ = """
images = mw.read_images(sys.argv[1], test=0)
assert len(images.images) == int(sys.argv[2])
"""
SCORE = """
fake, real = (np.load(f"{sys.argv[1]}/{side}.npy") for side in ("fake", "real"))
assert mw.score(fake, real=real, metrics=["fd", "kid"], extractor="canonical-1", cache=False)
"""
TIMED = """
import sys, time, warnings
import numpy as np
import medgan_widgets as mw
mw.read_images, mw.score
warnings.simplefilter("ignore")
draw = np.random.default_rng(0)
mw.score(draw.integers(0, 255, (16, 32, 32), np.uint8),
         real=draw.integers(0, 255, (16, 32, 32), np.uint8), metrics=["kid"], cache=False)
begun = time.perf_counter()
{code}
print(time.perf_counter() - begun)
"""


def main() -> None:
    """Read the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default=COMMIT, help="the commit to compare with")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    read, scored = (500, 100) if given.quick else (5000, 1000)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        then = unpacked(given.against, place / "then")
        pictures, arrays = place / "png", place / "arrays"
        pictures.mkdir()
        arrays.mkdir()
        for start in range(0, read, 100):
            some = draw_phantoms("chest_xray", range(start, start + 100), size=256).images
            for seed, image in enumerate(some, start):
                Image.fromarray(image.reshape(256, 256)).save(pictures / f"{seed:05}.png")
        for side, first in (("fake", 0), ("real", 10**6)):
            drawn = draw_phantoms("brain_mri", range(first, first + scored), size=128).images
            np.save(arrays / f"{side}.npy", drawn)
        print(f"| | now | {given.against} | ratio |\n|---|---|---|---|")
        for name, code, about in (
            (f"reading {read:,} PNG of 256 pixels", READ, (str(pictures), str(read))),
            (f"FD and KID, n {scored:,} / {scored:,}, 128 pixels", SCORE, (str(arrays),)),
        ):
            rounds = [
                (seconds(ROOT, code, about), seconds(then, code, about))
                for _ in range(given.rounds)
            ]
            ours, theirs = (statistics.median(side) for side in zip(*rounds, strict=True))
            ratio = statistics.median(a / b for a, b in rounds)
            print(f"| {name} | {ours:.1f} s | {theirs:.1f} s | {ratio:.2f} |", flush=True)


def unpacked(commit: str, place: Path) -> Path:
    """Return a folder with the project as it was."""
    packed = subprocess.run(
        ["git", "-C", str(ROOT), "archive", commit], check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(place, filter="data")
    return place


def seconds(project: Path, code: str, about: tuple[str, ...]) -> float:
    """Return how long the code takes with the package of one folder."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", TIMED.format(code=code), *about],
            check=True, capture_output=True, text=True, cwd=home,
            env={**os.environ, "PYTHONPATH": str(project), "MEDGAN_HOME": home},
        )  # fmt: skip
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    main()
