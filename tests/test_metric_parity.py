"""Our figures beside those of torch-fidelity, torchmetrics, scipy and closed forms.

The table in benchmarks/RESULTS.md is written by this file::

    python tests/test_metric_parity.py

and the test fails when the one that stands there is another.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from medgan_widgets.metrics import (
    density_coverage,
    distribution_distances,
    frechet_distance,
    kernel_distance,
    ms_ssim_pairs,
    precision_recall,
)
from medgan_widgets.metrics.distances import kernel_distances

RESULTS = Path(__file__).parent / "benchmarks" / "RESULTS.md"
OPEN, CLOSE = "<!-- parity -->", "<!-- /parity -->"
CLOSE_ENOUGH = 1e-6
GOLDEN_FD = 0.3980639942506946
GOLDEN_KID = 0.7427425034014412
GOLDEN_DENSITY_COVERAGE = (0.9, 0.9666666666666667)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    metric: str
    against: str
    ours: float
    theirs: float

    @property
    def difference(self) -> float:
        return abs(self.ours - self.theirs) / max(abs(self.theirs), 1e-12)

    def __str__(self) -> str:
        apart = next(
            (f"< {bound}" for bound in ("1e-7", "1e-6") if self.difference < float(bound)),
            f"{self.difference:.0e}",
        )
        cells = self.metric, self.against, f"{self.ours:.6g}", f"{self.theirs:.6g}", apart
        return f"| {' | '.join(cells)} |"


def two_sets(real: int = 600, fake: int = 600, columns: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Features like a network's: never negative, of differing scale, leaning on one another."""
    random = np.random.default_rng(5)
    mixing = random.standard_normal((columns, columns)) / np.arange(1, columns + 1)[:, None] ** 0.5
    first = np.maximum(random.standard_normal((real, columns)) @ mixing + 0.4, 0)
    second = np.maximum(random.standard_normal((fake, columns)) @ mixing * 1.1 + 0.6, 0)
    return first, second


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(one)) for one in arrays]


class _Given(torch.nn.Module):
    """An extractor for torchmetrics whose images are the features already."""

    num_features = 24

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features.flatten(1)


def fidelity_fd(real: np.ndarray, fake: np.ndarray) -> float:
    statistics = [fid_features_to_statistics(side) for side in tensors(real, fake)]
    return float(fid_statistics_to_metric(*statistics, False)["frechet_inception_distance"])


def torchmetrics_fd(real: np.ndarray, fake: np.ndarray) -> float:
    metric = FrechetInceptionDistance(feature=_Given(), input_img_size=(1, 1, 24))
    metric.set_dtype(torch.float64)
    for side, is_real in zip(tensors(real, fake), (True, False), strict=True):
        metric.update(side[:, None, None], real=is_real)
    return float(metric.compute())


def fidelity_kid(real: np.ndarray, fake: np.ndarray, size: int, subsets: int) -> float:
    found = kid_features_to_metric(
        *tensors(real, fake), kid_subsets=subsets, kid_subset_size=size, rng_seed=11, verbose=False
    )
    return float(found["kernel_inception_distance_mean"])


def torchmetrics_kid(real: np.ndarray, fake: np.ndarray) -> float:
    metric = KernelInceptionDistance(feature=_Given(), subsets=1, subset_size=len(real))
    metric.set_dtype(torch.float64)
    for side, is_real in zip(tensors(real, fake), (True, False), strict=True):
        metric.update(side[:, None, None], real=is_real)
    return float(metric.compute()[0])


def fidelity_subsets(n: int, size: int, subsets: int) -> list[np.ndarray]:
    """The very rows that torch-fidelity draws: it takes one side and then the other."""
    random = np.random.RandomState(11)
    rows = [random.choice(n, size, replace=False) for _ in range(2 * subsets)]
    return [np.stack(rows[::2]), np.stack(rows[1::2])]


def by_the_book(real: np.ndarray, fake: np.ndarray) -> float:
    """The distance as it is written, by scipy's general root of a matrix."""
    first, second = np.cov(real.T), np.cov(fake.T)
    root = linalg.sqrtm(first @ second).real
    shift = real.mean(0) - fake.mean(0)
    return float(shift @ shift + np.trace(first + second - 2 * root))


def neighbours_one_by_one(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float]:
    """Density and coverage by two plain loops."""
    inside = np.zeros((len(real), len(fake)), bool)
    for i, centre in enumerate(real):
        radius = sorted(np.linalg.norm(real - centre, axis=1))[k]
        for j, point in enumerate(fake):
            inside[i, j] = np.linalg.norm(point - centre) <= radius
    return float(inside.sum() / (k * len(fake))), float(inside.any(axis=1).mean())


def with_moments(mean: np.ndarray, covariance: np.ndarray, n: int = 200) -> np.ndarray:
    """Points whose own mean and covariance are exactly these."""
    points = np.random.default_rng(3).standard_normal((n, len(mean)))
    points -= points.mean(0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def closed_forms() -> list[Row]:
    zero, one = np.zeros(3), np.eye(3)
    spread = np.diag([4.0, 1.0, 0.25])
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    start = with_moments(zero, one)
    forms = (
        ("FD, moved by (1, 2, 2)", with_moments(np.array([1.0, 2.0, 2.0]), one), start, 9.0),
        ("FD, three times as wide", with_moments(zero, 9 * one), start, 12.0),
        # Both share their axes, so the root is the one of each axis: 2 (2 - 1)^2.
        (
            "FD, turned by 90 degrees",
            with_moments(zero, turn @ spread @ turn.T),
            with_moments(zero, spread),
            2.0,
        ),
    )
    return [Row(name, "closed form", frechet_distance(a, b), value) for name, a, b, value in forms]


def torchmetrics_ms_ssim(first: np.ndarray, second: np.ndarray, scales: int) -> float:
    weights = np.array((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)[:scales])
    found = multiscale_structural_similarity_index_measure(
        *(one[None, None].double() for one in tensors(first, second)),
        data_range=255.0,
        betas=tuple((weights / weights.sum()).tolist()),
    )
    return float(found)


def blotches(size: int) -> np.ndarray:
    """Two images alike but for noise, made of whole numbers only: the same on every machine."""
    random = np.random.default_rng(7)
    coarse = random.integers(30, 220, (size // 8, size // 8))
    noise = random.integers(-30, 31, (2, size, size))
    return (np.kron(coarse, np.ones((8, 8), int)) + noise).astype(np.uint8)


def similarity() -> list[Row]:
    rows = []
    for size, scales in ((64, 3), (176, 5)):
        pair = blotches(size)
        theirs = torchmetrics_ms_ssim(*pair, scales)
        name = f"MS-SSIM, {size} pixels, {scales} scales"
        rows.append(Row(name, "torchmetrics", float(ms_ssim_pairs(pair)[0, 1]), theirs))
    return rows


def table() -> list[Row]:
    """Every comparison; float64 on both sides but for torch-fidelity's 0 or 1 counts."""
    real, fake = two_sets()
    few, more = two_sets(20, 600)  # fewer rows than columns
    precision, recall = precision_recall(real, fake)
    theirs = prc_features_to_metric(*tensors(fake, real), verbose=False)
    density, coverage = density_coverage(real[:150], fake[:150])
    slow = neighbours_one_by_one(real[:150], fake[:150], 5)
    drawn = kernel_distances(real, fake, *fidelity_subsets(600, 250, 20)).mean()
    columns = distribution_distances(real, fake)
    scale = real[:, 3].std(ddof=1)
    distance, book = frechet_distance(real, fake), by_the_book(real, fake)
    whole = kernel_distance(real, fake, subsets=1, size=600)
    return [
        Row("FD", "torch-fidelity", distance, fidelity_fd(real, fake)),
        Row("FD", "torchmetrics", distance, torchmetrics_fd(real, fake)),
        Row("FD", "definition, scipy's `sqrtm`", distance, book),
        Row("FD, fewer images than features", "torchmetrics",
            frechet_distance(few, more), torchmetrics_fd(few, more)),
        *closed_forms(),
        Row("KID, its 20 subsets of 250", "torch-fidelity",
            float(drawn), fidelity_kid(real, fake, 250, 20)),
        Row("KID, one subset of all", "torchmetrics", whole, torchmetrics_kid(real, fake)),
        Row("precision, k = 3", "torch-fidelity", precision, theirs["precision"]),
        Row("recall, k = 3", "torch-fidelity", recall, theirs["recall"]),
        Row("density, k = 5", "definition, two loops", density, slow[0]),
        Row("coverage, k = 5", "definition, two loops", coverage, slow[1]),
        *similarity(),
        Row("KS, one column", "scipy", columns.ks[3],
            stats.ks_2samp(real[:, 3], fake[:, 3], method="asymp").statistic),
        Row("Wasserstein, one column", "scipy", columns.wasserstein[3],
            stats.wasserstein_distance(real[:, 3], fake[:, 3]) / scale),
    ]  # fmt: skip


def as_markdown(rows: list[Row]) -> str:
    head = ["| metric | against | ours | theirs | relative difference |", "|---|---|---|---|---|"]
    return "\n".join([*head, *map(str, rows)])


def in_results(text: str, inside: str) -> str:
    before, rest = text.split(OPEN)
    return f"{before}{OPEN}\n{inside}\n{CLOSE}{rest.split(CLOSE)[1]}"


@pytest.mark.filterwarnings("ignore:Metric `Kernel")
def test_the_table_of_the_results_is_what_comes_out_today() -> None:
    rows = table()
    far = {str(row) for row in rows if row.difference > CLOSE_ENOUGH}
    assert far == set(), "these differ by more than a millionth"
    text = RESULTS.read_text("utf-8")
    assert in_results(text, as_markdown(rows)) == text, "run python tests/test_metric_parity.py"


def test_figures_that_were_worked_out_once_by_slow_formulas_stay() -> None:
    """From `by_the_book`, a kernel in three Python loops, and `neighbours_one_by_one`."""
    real, fake = two_sets(60, 50, 4)
    assert frechet_distance(real, fake) == pytest.approx(GOLDEN_FD, rel=1e-9)
    assert kernel_distance(real[:50], fake, subsets=1, size=50) == pytest.approx(
        GOLDEN_KID, rel=1e-9
    )
    assert density_coverage(real, fake) == pytest.approx(GOLDEN_DENSITY_COVERAGE, rel=1e-9)


if __name__ == "__main__":
    found = as_markdown(table())
    RESULTS.write_text(in_results(RESULTS.read_text("utf-8"), found), "utf-8")
    sys.stdout.write(found + "\n")
