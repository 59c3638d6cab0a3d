"""Everything that needs a CUDA device, in one run of at most six minutes.

    python tests/gpu/check.py [--out gpu_check.json] [--minutes 6]

The parts: the card and its limits; the engine for every shipped model; one of medigan's packages
(a stand-in) in its process; features and scores against the processor; a training of each preset;
the tests marked ``gpu``. The file is written after each part, so that a run that is cut keeps
what it had. Exit code 1: something is not as it should be, or a part failed; 0 without a CUDA
device, having run nothing. A machine without a network: see ``gather.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import medgan_widgets as mw
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.engine import Engine
from medgan_widgets.features import PHANTOM_CNN, features_from_images
from medgan_widgets.metrics import frechet_distance, kernel_distance
from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.presets import PRESETS
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.training import train

ROOT = Path(__file__).resolve().parents[2]
Found = dict[str, Any]
SEEDS = [3, 1, 4, 1, 5, 9, 2, 6, 2**64 - 1]
COUNTS = (1, 16, 256)


class Card:
    """The CUDA calls of this file."""

    device = "cuda"

    def name(self) -> str:
        """Return what the card is called."""
        return torch.cuda.get_device_name()

    def wait(self) -> None:
        """Return when all that was asked of the card is done."""
        torch.cuda.synchronize()

    def held(self) -> int:
        """Return the bytes of the tensors that are on the card now."""
        return torch.cuda.memory_allocated()

    def most(self, *, anew: bool = False) -> int:
        """Return the most bytes that were ever on the card; begin anew if asked."""
        if anew:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated()


class Check:
    """The parts, and what each found; ``wrong`` holds what is not as it should be."""

    def __init__(self, card: Card, seconds: float, models: Iterable[str] | None = None) -> None:
        self.card, self.end = card, time.monotonic() + seconds
        local = [one.id for one in Catalogue() if one.origin == "local"]
        self.models = list(models or local)
        self.wrong: list[str] = []
        self.flops = self.bytes_a_second = float("inf")

    def expect(self, true: bool, what: str) -> bool:
        """Note something that should be true."""
        if not true:
            self.wrong.append(what)
        return bool(true)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.end - time.monotonic()

    def seconds(self, work: Callable[[], object], least: float = 0.3) -> float:
        """Return how long something takes, warm: the median of as many repeats as fit."""
        taken: list[float] = []
        work()
        while not taken or (sum(taken) < least and len(taken) < 50):
            self.card.wait()
            began = time.perf_counter()
            work()
            self.card.wait()
            taken.append(time.perf_counter() - began)
        return float(np.median(taken))

    # ------------------------------------------------------------ the parts

    def machine(self, side: int = 8192) -> Found:
        """Name the card, and measure what it can do at best."""
        device = self.card.device
        a = torch.randn(side, side, device=device)
        one = self.seconds(lambda: a @ a)
        b = a.to(torch.bfloat16)
        two = self.seconds(lambda: b @ b)
        copied = self.seconds(lambda: a.clone())
        self.flops, self.bytes_a_second = 2 * side**3 / one, 2 * a.nbytes / copied
        return {
            "card": self.card.name(),
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "float32_tflops": self.flops / 1e12,
            "bfloat16_tflops": 2 * side**3 / two / 1e12,
            "copy_gb_per_s": self.bytes_a_second / 1e9,
        }

    def engine(self) -> Found:
        """Ask each shipped model for the same images in every way, and time it."""
        return {name: self._one_model(name) for name in self.models}

    def _one_model(self, name: str) -> Found:
        device = self.card.device
        engine = Engine(device=device)

        def images(seeds: Iterable[int], mode: Any = "exact") -> Any:
            return engine.images(GenerateRequest(name, seeds=list(seeds), mode=mode))

        together = images(SEEDS)
        alone = np.concatenate([images([seed]) for seed in SEEDS])
        backwards = images(SEEDS[::-1])[::-1]
        other = Engine(device=device).images(GenerateRequest(name, seeds=SEEDS))
        same = [(one == together).all() for one in (alone, backwards, other)]
        self.expect(all(same), f"{name}: exact images differ (alone, backwards, anew: {same})")
        apart = np.abs(together.astype(int) - images(SEEDS, "fast"))
        on_cpu = Engine(device="cpu").images(GenerateRequest(name, seeds=SEEDS))
        from_cpu = np.abs(together.astype(int) - on_cpu)
        self.expect(apart.mean() < 2, f"{name}: fast is {apart.mean():.2f} levels from exact")
        self.expect(from_cpu.max() <= 8, f"{name}: {from_cpu.max()} levels from the processor")
        plain, per_image = self._plain(name)
        rates = {count: self._rates(count, images, plain) for count in COUNTS}
        weights = engine.resident_bytes
        with patch("medgan_widgets.generators.IDLE_SECONDS", 0.1):
            images([1])
        time.sleep(0.5)
        left = self.expect(not engine.resident, f"{name} did not leave an idle card")
        return {
            "exact_is_exact": all(same),
            "fast_from_exact": {"most_levels": int(apart.max()), "mean_levels": apart.mean()},
            "from_processor": {"most_levels": int(from_cpu.max()), "mean_levels": from_cpu.mean()},
            "images_per_s": rates,
            "at_best_per_s": min(
                self.flops / per_image["flops"], self.bytes_a_second / per_image["bytes"]
            ),
            **per_image,
            "weights_bytes": weights,
            "leaves_when_idle": left,
        }

    def _rates(
        self,
        count: int,
        images: Callable[[Iterable[int], str], object],
        plain: Callable[[int], object],
    ) -> Found:
        """Return images a second of one request, and the most memory it took."""
        self.card.most(anew=True)
        before = self.card.held()
        exact = self.seconds(lambda: images(range(count), "exact"))
        fast = self.seconds(lambda: images(range(count), "fast"))
        most = self.card.most() - before
        loop = self.seconds(lambda: plain(count))
        return {"exact": count / exact, "fast": count / fast, "plain": count / loop, "bytes": most}

    def _plain(self, name: str) -> tuple[Callable[[int], object], Found]:
        """Return an eager loop without us: one forward of all images, and its cost an image."""
        model, device = Catalogue()[name], self.card.device
        assert model.network is not None
        assert model.weights is not None
        network = read_generator(
            Catalogue().folder_of(name) / model.weights.file,
            model.network.name,
            dict(model.network.settings),
            model.weights.sha256,
        )
        network = network.eval().requires_grad_(False).to(device)

        @torch.no_grad()
        def forward(count: int) -> torch.Tensor:
            z = torch.randn(count, network.z_dim, device=device)
            y = torch.zeros(count, network.classes, device=device)
            noise = [torch.randn(count, *shape, device=device) for shape in network.noise_shapes]
            return network(z, y, noise)

        def plain(count: int) -> object:
            return ((forward(count).clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()

        moved = [sum(one.nbytes for one in network.parameters())]

        def note(_: object, __: object, out: object) -> None:
            if isinstance(out, torch.Tensor):
                moved.append(2 * out.nbytes)  # written once, and read once

        hooks = [one.register_forward_hook(note) for one in network.modules()
                 if not list(one.children())]  # fmt: skip
        with FlopCounterMode(display=False) as counter:
            forward(1)
        for hook in hooks:
            hook.remove()
        return plain, {"flops": counter.get_total_flops(), "bytes": sum(moved)}

    def room(self) -> Found:
        """Two models where one has room, and a card that is full."""
        first, second = self.models[:2]
        asked = [GenerateRequest(name, seeds=SEEDS) for name in (first, second)]
        right = [Engine(device=self.card.device).images(one) for one in asked]
        tight = Engine(device=self.card.device, memory_bytes=1)
        same = [(tight.images(one) == image).all() for one, image in zip(asked, right, strict=True)]
        self.expect(all(same), "other images where memory is short")
        self.expect(tight.resident == (second,), f"{tight.resident} stay where one has room")
        full = Engine(device=self.card.device)
        full.images(asked[0])
        told = ""
        full_card = torch.OutOfMemoryError("out of memory")
        with patch("medgan_widgets.generators.LocalGenerators._forward", side_effect=full_card):
            try:
                full.images(asked[1])
            except mw.errors.DeviceMemoryError as error:
                told = str(error)
        self.expect("no room for" in told, "a full card is not told")
        after = (full.images(asked[1]) == right[1]).all()
        self.expect(bool(after), "other images after the card was full")
        return {"same_where_short": all(same), "told": told, "same_after": bool(after)}

    def medigan(self) -> Found:
        """One package in its process on the card: a seed is its image, alone and in a batch."""
        if find_spec("medigan") is None:
            return {"skipped": "medigan is not installed here"}
        from medgan_widgets.medigan.client import end_workers
        from tests.medigan_bench import GOOD, Bench

        with tempfile.TemporaryDirectory() as folder, patch.dict(
            os.environ, {"MEDGAN_HOME": folder, "MEDGAN_UNATTENDED": "0"}
        ):  # fmt: skip
            bench = Bench(Path(folder))
            here = bench.ready(GOOD).images(GenerateRequest(GOOD, seeds=range(6)))
            engine = bench.engine_on(self.card.device)
            there = engine.images(GenerateRequest(GOOD, seeds=range(6)))
            alone = engine.images(GenerateRequest(GOOD, seeds=[4]))
            apart = int(np.abs(here.astype(int) - there).max())
            seconds = self.seconds(lambda: engine.images(GenerateRequest(GOOD, seeds=range(64))))
            end_workers()
        self.expect(bool((alone[0] == there[4]).all()), "medigan: a seed has another image alone")
        self.expect(apart <= 2, f"medigan: {apart} levels from the processor")
        return {"from_processor_levels": apart, "images_per_s": 64 / seconds}

    def features(self, count: int = 512) -> Found:
        """Features and scores on the card against those of the processor."""
        sets = [draw_phantoms("brain_mri", range(start, start + count), size=64).images
                for start in (0, 5000)]  # fmt: skip
        made = {device: [features_from_images(one, PHANTOM_CNN, device=device, cache=False)
                         for one in sets] for device in ("cpu", self.card.device)}  # fmt: skip
        here, there = made["cpu"], made[self.card.device]
        found = {
            "features": float(max(np.abs(a - b).max() / np.abs(a).max()
                                  for a, b in zip(here, there, strict=True))),
            "FD": _relative(frechet_distance(*here), frechet_distance(*there)),
            "KID": _relative(kernel_distance(*here), kernel_distance(*there)),
        }  # fmt: skip
        for name, apart in found.items():
            self.expect(apart < 1e-4, f"{name}: {apart:.2g} from the processor")
        return found

    def training(self, reserve: float = 30.0, most: float = 60.0) -> Found:
        """Train each preset, at most a minute; a stopped run must end with the same weights."""
        found = {}
        for number, preset in enumerate(PRESETS):
            share = (self.left() - reserve) / (len(PRESETS) - number)
            found[preset] = self._one_preset(preset, max(2.0, min(most, share)))
        return found

    def _one_preset(self, preset: str, seconds: float) -> Found:
        began = time.monotonic()
        about: Found = {"data": "brain_mri", "size": 64, "pool": 512, "preset": preset,
                        "device": self.card.device}  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            batch = PRESETS[preset].batch
            kimg, tick = 8 * batch / 1000, 2 * batch / 1000
            whole, half = root / "whole", root / "half"
            for _ in train(whole, **about, kimg=kimg, tick_kimg=tick):
                pass
            for step in train(half, **about, kimg=kimg, tick_kimg=tick):
                if step.kimg >= kimg / 2:
                    break
            for _ in train(half, resume=True):
                pass
            apart = _weights_apart(whole, half)
            self.expect(apart < 1e-3, f"{preset}: a resumed run is {apart:.2g} away")
            self.card.most(anew=True)
            rates = []
            for step in train(root / "long", **about, kimg=1e6, tick_kimg=16 * batch / 1000):
                rates.append(step.images_per_second)
                if time.monotonic() - began > seconds:
                    break
        return {
            "images_per_s": float(np.median(rates[1:] or rates)),
            "kimg": step.kimg,
            "most_bytes": self.card.most(),
            "resume_equal": apart == 0,
            "resume_weights_apart": apart,
        }

    def tests(self) -> Found:
        """The tests marked gpu."""
        files = ["tests/test_engine.py"]
        files += ["tests/test_features.py"] if find_spec("torchvision") else []
        options = ("-q", "-m", "gpu", "-o", "addopts=", "-p", "no:cacheprovider")
        command = [sys.executable, "-m", "pytest", *options, *files]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=max(20.0, self.left())
        )
        last = (done.stdout.strip() or done.stderr.strip()).splitlines()[-1:]
        self.expect(done.returncode == 0, f"the tests marked gpu: {last}")
        return {"pytest": last}


PARTS = ("machine", "engine", "room", "medigan", "features", "training", "tests")


def run(check: Check, out: Path, parts: Iterable[str] = PARTS) -> Found:
    """Run the parts, one that fails never in the way of the next; write the file after each."""
    found: Found = {}
    for part in parts:
        began = time.monotonic()
        try:
            found[part] = (
                getattr(check, part)() if check.left() > 0 else {"skipped": "no time left"}
            )
        except Exception as error:
            check.wrong.append(f"{part}: {type(error).__name__}: {error}")
            found[part] = {"error": traceback.format_exc()[-3000:]}
        found[part]["seconds"] = round(time.monotonic() - began, 1)
        found["wrong"] = check.wrong
        out.write_text(json.dumps(found, indent=1, default=float) + "\n")
        print(f"{part}: {found[part]['seconds']} s", flush=True)
    return found


def _relative(one: float, two: float) -> float:
    return abs(one - two) / max(abs(one), 1e-9)


def _weights_apart(one: Path, two: Path) -> float:
    from safetensors.torch import load_file

    a, b = (load_file(run / "checkpoint" / "generator.safetensors") for run in (one, two))
    return float(max((a[name].float() - b[name].float()).abs().max() for name in a))


def main(arguments: list[str] | None = None) -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_check.json"))
    parser.add_argument("--minutes", type=float, default=6.0)
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("There is no CUDA device here; nothing was run.")
        return 0
    sys.path.insert(0, str(ROOT))  # a part takes what it runs from the tests
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, {"MEDGAN_HOME": home}):
        found = run(Check(Card(), 60 * asked.minutes), asked.out)
    print(*(found["wrong"] or ["All is as it should be."]), sep="\n")
    return bool(found["wrong"])


if __name__ == "__main__":
    sys.exit(main())
