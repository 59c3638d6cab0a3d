"""Our warm worker beside the real medigan: the same package, the same weights, one run.

    python tests/benchmarks/medigan_speed.py [--quick] [--repeats 15]

The package is a DCGAN of 128 pixels with random weights (``tests/packages/dcgan.py``).
medigan 1.0.0 runs in a process of its own as its users run it: one executor,
``generate`` again and again, images returned as a list. Both sides get one
thread. Ours is asked in unpadded chunks (``mode="fast"``: within one grey level), then
in exact ones of four, padded, bit for bit what medigan makes of these latents. Processor time is
that of medigan's process on one side, and of our worker and this process
together on the other. Peak memory is that of a fresh process each; on our side that
of the worker, since this process hands images on and keeps none.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psutil
import torch

from medgan_widgets import download, trust
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.jobs import submit
from medgan_widgets.medigan.client import end_workers
from medgan_widgets.requests import GenerateRequest
from tests.mirror import build_package, dcgan_source, dcgan_weights

MODEL = "90000_DCGAN_128"
REAL = """
    import json, os, resource, sys, time, types
    stub = types.ModuleType("pkg_resources")  # gone from setuptools, asked for by medigan
    stub.require = lambda *_: []
    sys.modules["pkg_resources"] = stub
    sys.path.insert(0, os.getcwd())
    import torch
    torch.set_num_threads(1)
    from medigan.execute_model.model_executor import ModelExecutor
    entry = json.load(open(sys.argv[1]))[sys.argv[3]]["execution"]
    entry.update(package_link=sys.argv[2], dependencies=[])
    executor = ModelExecutor(sys.argv[3], entry)
    print("ready", flush=True)
    for line in sys.stdin:
        count = int(line)
        wall, cpu = time.perf_counter(), time.process_time()
        images = executor.generate(num_samples=count, save_images=False)
        assert len(images) == count
        del images
        try:  # ru_maxrss would start from the peak of whoever started us
            lines = open("/proc/self/status").read().splitlines()
            peak = int(next(one for one in lines if "VmHWM" in one).split()[1]) * 1024
        except OSError:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall, peak]), flush=True)
"""


class Real:
    """The real medigan in a process of its own."""

    def __init__(self, mirror: Path, place: Path) -> None:
        place.mkdir()
        files = [str(mirror / "global.json"), str(mirror / f"{MODEL}.zip"), MODEL]
        self._process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(REAL), *files],
            cwd=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self._read() == "ready"

    def run(self, count: int) -> tuple[float, float, int]:
        """Return processor seconds, wall seconds and peak bytes of one call."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        cpu, wall, peak = json.loads(self._read())
        return cpu, wall, peak

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Ours:
    """The same package behind our engine."""

    def __init__(self, mirror: Path) -> None:
        self.engine = Engine(device="cpu", catalogue=Catalogue(mirror=mirror))
        if self.engine.catalogue.runs_here(MODEL).kind != "now":
            download(MODEL, catalogue=self.engine.catalogue)
            trust(MODEL, catalogue=self.engine.catalogue)

    def run(self, count: int, mode: str = "fast") -> tuple[float, float, int]:
        """Return processor seconds, wall seconds and the worker's peak bytes of one request."""
        before, wall = self._cpu(), time.perf_counter()
        made = 0
        for batch in self.engine.generate(GenerateRequest(MODEL, seeds=range(count), mode=mode)):
            made += len(batch.images)
        assert made == count
        return self._cpu() - before, time.perf_counter() - wall, self._peak()

    def _cpu(self) -> float:
        pid = self.engine.worker_pid(MODEL)
        if pid is None:
            return time.process_time()
        return time.process_time() + _spent(pid)

    def _peak(self) -> int:
        pid = self.engine.worker_pid(MODEL)
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            line = next(one for one in status.read_text().splitlines() if "VmHWM" in one)
            return int(line.split()[1]) * 1024
        return int(psutil.Process(pid).memory_info().rss)


def _spent(pid: int) -> float:
    """Return a process's seconds on a processor; Linux tells them to the nanosecond."""
    threads = list(Path(f"/proc/{pid}/task").glob("*/schedstat"))
    if threads:
        return sum(int(one.read_text().split()[0]) for one in threads) / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def compared(real: Real, ours: Ours, counts: list[int], repeats: int) -> None:
    """Print medians of calls in shuffled order; the exact ones in a second round of their own."""
    found: dict[tuple[str, int], list[tuple[float, float, int]]] = {}
    for mode in ("fast", "exact"):
        sides = {"medigan": real.run, mode: partial(ours.run, mode=mode)}
        for count in counts:
            rounds = [side for side in sides for _ in range(repeats if count < 100 else 5)]
            random.Random(count).shuffle(rounds)
            sides[mode](count)  # the first call of each is another matter, see below
            for side in rounds:
                found.setdefault((side + mode, count), []).append(sides[side](count))

    def median(side: str, count: int, what: int) -> float:
        return 1000 * statistics.median(one[what] for one in found[side, count])

    heads = ["images", "medigan CPU ms", "ours CPU ms", "ratio", "medigan wall ms", "ours wall ms"]
    print(f"| {' | '.join([*heads, 'exact CPU ms', 'ratio'])} |\n|{'---|' * 8}")
    for count in counts:
        theirs, fast = median("mediganfast", count, 0), median("fastfast", count, 0)
        exact = median("exactexact", count, 0)
        walls = [median(side, count, 1) for side in ("mediganfast", "fastfast")]
        cells = [
            f"{theirs:.0f}",
            f"{fast:.0f}",
            f"{theirs / fast:.1f}",
            *(f"{w:.0f}" for w in walls),
        ]
        ratio = median("mediganexact", count, 0) / exact
        print(f"| {' | '.join([str(count), *cells, f'{exact:.0f}', f'{ratio:.1f}'])} |")


def started(ours: Ours) -> None:
    """Print how long a worker takes to its first image, and how soon Cancel is felt."""
    fresh = []
    for _ in range(5):
        end_workers()
        fresh.append(ours.run(1)[1])
    print(f"\nA new worker's first image: {statistics.median(fresh):.2f} s (a spare one is there).")
    felt = []
    for _ in range(5):
        request = GenerateRequest(MODEL, seeds=range(2000), mode="fast")
        ours.run(1)
        job = submit(lambda request=request: ours.engine.generate(request), owner="benchmark")
        while not job.items:
            time.sleep(0.005)
        time.sleep(0.1)  # in the middle of the next forward
        begun = time.perf_counter()
        job.cancel()
        while not job.done:
            time.sleep(0.001)
        felt.append(time.perf_counter() - begun)
    print(f"Cancel in the middle of a forward: {1000 * statistics.median(felt):.0f} ms.")


def memory(mirror: Path, place: Path, counts: list[int]) -> None:
    """Print the peak of a fresh process for each number of images."""
    print("\n| images | medigan peak MB | ours peak MB |\n|---|---|---|")
    for count in counts:
        real = Real(mirror, place / f"memory-{count}")
        theirs = real.run(count)[2]
        real.close()
        end_workers()
        mine = Ours(mirror).run(count)[2]
        print(f"| {count} | {theirs / 1e6:,.0f} | {mine / 1e6:,.0f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="few repeats, no large ones")
    asked = parser.parse_args()
    torch.set_num_threads(1)  # the worker gets as many as we have
    repeats = 3 if asked.quick else asked.repeats
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        os.environ.update(MEDGAN_HOME=str(place / "home"), MEDGAN_UNATTENDED="0")
        os.chdir(place)
        mirror = place / "mirror"
        mirror.mkdir()
        build_package(
            mirror, MODEL, dcgan_source(), weights=dcgan_weights(), latent=100,
            image_size=(128, 128),
        )  # fmt: skip
        ours, real = Ours(mirror), Real(mirror, place / "real")
        compared(real, ours, [1, 16] if asked.quick else [1, 16, 256], repeats)
        real.close()
        started(ours)
        memory(mirror, place, [64] if asked.quick else [256, 2000])
        end_workers()


if __name__ == "__main__":
    main()
