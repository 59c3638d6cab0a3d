"""Our evaluation against torch-fidelity's, side by side in one run.

    OMP_NUM_THREADS=2 python tests/benchmarks/evaluation_speed.py            # some eight minutes
    OMP_NUM_THREADS=2 python tests/benchmarks/evaluation_speed.py --quick    # one or two

Two tables. **One FD**: features that are there already, like a network's (never negative,
a falling spectrum), without interval and floor. **From images to FD and KID**: the same
torch module (torch-fidelity's own Inception with random weights, and a small network of
2,048 outputs) and the same images on both sides, which must give the same FD.
Times are wall clock, medians of interleaved repeats.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
import torch_fidelity
from torch import nn
from torch_fidelity import feature_extractor_inceptionv3 as inception
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from medgan_widgets.features import features_from_images
from medgan_widgets.metrics import frechet_distance, kernel_distance

D = 2048
BATCH = 64
SIDE = 64


class SmallNet(FeatureExtractorBase):
    """A quick network of 2,048 outputs, so that what surrounds a network can be seen."""

    def __init__(
        self, name: str = "small-net", features_list: tuple[str, ...] = ("2048",), **_: object
    ) -> None:
        super().__init__(name, list(features_list))
        torch.manual_seed(0)
        self.look = nn.Sequential(nn.Conv2d(3, 32, 8, stride=8), nn.ReLU(), nn.Flatten())
        self.requires_grad_(False)
        self.eval()

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("2048",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "2048"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, levels: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.look(levels.float() / 128 - 1),)


class Whole(nn.Module):
    """The same module as a module of the user's: our floats 0 to 1 become its whole levels."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.module((planes * 255).round().to(torch.uint8))[0]


class Streamed(torch.utils.data.Dataset):
    """Images that are made when they are asked for: noise about a side's own picture."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.picture = np.random.default_rng(seed).integers(0, 160, (SIDE, SIDE), dtype=np.uint8)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> torch.Tensor:
        return torch.from_numpy(self.image(place)).expand(3, -1, -1)

    def image(self, place: int) -> np.ndarray:
        noise = np.random.Generator(np.random.SFC64([self.seed, place]))
        return self.picture + noise.integers(0, 96, (SIDE, SIDE), dtype=np.uint8)

    def batches(self) -> Iterator[np.ndarray]:
        for start in range(0, self.count, BATCH):
            end = min(start + BATCH, self.count)
            grey = np.stack([self.image(place) for place in range(start, end)])
            yield np.repeat(grey[..., None], 3, axis=-1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images, no large ones")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch_fidelity.register_feature_extractor("small-net", SmallNet)
    print(f"torch {torch.get_num_threads()} threads, torch-fidelity {torch_fidelity.__version__}\n")
    _print_one_fd(2000 if given.quick else 10_000, 512 if given.quick else D, given.repeats)
    _print_from_images(given.quick, given.repeats)


def _print_one_fd(n: int, columns: int, repeats: int) -> None:
    real, fake = _like_a_network(n, columns, 0), _like_a_network(n, columns, 1) * 1.05
    ours, theirs = _in_turns(
        repeats,
        lambda: frechet_distance(real, fake),
        lambda: _their_fd(real, fake),
    )
    print(f"### One FD, {columns:,} features, n {n:,} / {n:,}\n")
    print("| | seconds | FD |\n|---|---|---|")
    print(f"| ours | {ours[0]:.2f} | {ours[1]:.6g} |")
    print(f"| torch-fidelity | {theirs[0]:.2f} | {theirs[1]:.6g} |\n")


def _like_a_network(n: int, columns: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    shared = np.random.default_rng(9).standard_normal((columns, columns), np.float32)
    shared *= (np.arange(1, columns + 1, dtype=np.float32) ** -0.7)[:, None]
    values = random.standard_normal((n, columns), np.float32) @ shared + 0.3
    return np.maximum(values, 0)


def _their_fd(real: np.ndarray, fake: np.ndarray) -> float:
    both = [fid_features_to_statistics(torch.from_numpy(side)) for side in (real, fake)]
    return float(fid_statistics_to_metric(*both, False)["frechet_inception_distance"])


def _in_turns(repeats: int, *ways: Callable[[], object]) -> list[tuple[float, object]]:
    """Return the median seconds and the answer of each way, taken in turns."""
    times: list[list[float]] = [[] for _ in ways]
    answers: list[object] = [None] * len(ways)
    for _ in range(repeats):
        for place, way in enumerate(ways):
            start = time.perf_counter()
            answers[place] = way()
            times[place].append(time.perf_counter() - start)
    return list(zip(map(statistics.median, times), answers, strict=True))


def _print_from_images(quick: bool, repeats: int) -> None:
    print("### From images to FD and KID, the same module and images\n")
    print("| module | images | ours, s | torch-fidelity, s | ratio | FD, both |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        weights = _random_inception(Path(place))
        with_weights = {"feature_extractor_weights_path": str(weights)}
        network = inception.FeatureExtractorInceptionV3("inception", ["2048"], str(weights))
        for module, name, n, options in (
            (SmallNet(), "small-net", 500 if quick else 4000, {}),
            (network, "inception-v3-compat", 32 if quick else 96, with_weights),
        ):
            sides = Streamed(n, 1), Streamed(n, 2)
            size = min(1000, n // 2)
            ours, theirs = _in_turns(
                repeats,
                lambda module=module, sides=sides, size=size: _ours(module, sides, size),
                lambda name=name, sides=sides, size=size, options=options: _theirs(
                    name, sides, size, options
                ),
            )
            assert abs(ours[1] / theirs[1] - 1) < 1e-3, (ours, theirs)
            row = f"{ours[0]:.1f} | {theirs[0]:.1f} | {theirs[0] / ours[0]:.1f} | {ours[1]:.5g}"
            print(f"| {name} | {n:,} / {n:,} | {row} |")
    print()


def _random_inception(place: Path) -> Path:
    """Write weights of Inception's layout by chance, and let none be fetched."""
    torch.manual_seed(0)
    with (
        patch.object(inception, "load_state_dict_from_url", return_value={}),
        patch.object(inception.FeatureExtractorInceptionV3, "load_state_dict"),
    ):
        network = inception.FeatureExtractorInceptionV3("random", ["2048"])
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # else the values fade from layer to layer
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    path = place / "random-inception.pth"
    torch.save(network.state_dict(), path)
    return path


def _ours(module: nn.Module, sides: tuple[Streamed, Streamed], size: int) -> float:
    real, fake = (
        features_from_images(side.batches(), Whole(module), cache=False) for side in sides
    )
    kernel_distance(real, fake, size=size)
    return frechet_distance(real, fake)


def _theirs(
    name: str, sides: tuple[Streamed, Streamed], size: int, options: dict[str, str]
) -> float:
    found = torch_fidelity.calculate_metrics(
        input1=sides[1], input2=sides[0], fid=True, kid=True, kid_subset_size=size,
        feature_extractor=name, batch_size=BATCH, cuda=False, cache=False, verbose=False,
        save_cpu_ram=True, **options,
    )  # fmt: skip
    return float(found["frechet_inception_distance"])


if __name__ == "__main__":
    main()
