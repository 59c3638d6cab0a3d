"""The bare numbers: exact where the answer is known, calm where the input is odd."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medgan_widgets.errors import DataError
from medgan_widgets.metrics import (
    density_coverage,
    distribution_distances,
    frechet_distance,
    frechet_infinity,
    kernel_distance,
    ms_ssim_diversity,
    ms_ssim_pairs,
    precision_recall,
    rows_to_compare,
)
from medgan_widgets.metrics.distances import in_balls, kernel_distances

EVERY = (
    frechet_distance, frechet_infinity, kernel_distance, precision_recall, density_coverage,
    distribution_distances,
)  # fmt: skip


def points(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# Fréchet distance


def test_closed_forms() -> None:
    a = points(300, 4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(16)
    spread = a.var(axis=0, ddof=1).sum()
    assert frechet_distance(a, 3 * a) == pytest.approx(
        4 * spread + 4 * (a.mean(0) ** 2).sum(), rel=1e-9
    )


@pytest.mark.parametrize(("n", "m"), [(5, 7), (5, 500), (500, 5), (2, 2), (20, 21)])
def test_fewer_rows_than_columns_are_exact(n: int, m: int) -> None:
    a, b = points(n, 20), points(m, 20, seed=1) * 1.5 + 0.2
    first, second = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(first)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    root = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ second @ half), 0)).sum()
    shift = a.mean(0) - b.mean(0)
    want = shift @ shift + np.trace(first + second) - 2 * root
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)


def test_a_column_that_stands_still_on_one_side_is_exact_too() -> None:
    a, b = points(200, 3), points(200, 3, seed=1)
    b[:, 1] = 4.0
    others = [0, 2]
    want = frechet_distance(a[:, others], b[:, others])
    want += (a[:, 1].mean() - 4) ** 2 + a[:, 1].var(ddof=1)
    assert frechet_distance(a, b) == pytest.approx(want, rel=1e-9)
    still = np.ones((9, 3))
    assert frechet_distance(still, still) == 0
    assert frechet_distance(still, still + 1) == 3


@pytest.mark.parametrize("scale", [1e-60, 1e-9, 1.0, 1e9, 1e60, 1e99])
def test_the_unit_does_not_matter(scale: float) -> None:
    a, b = points(2, 100, 5)
    found = frechet_distance(a * scale, b * scale)
    assert found == pytest.approx(frechet_distance(a, b) * scale**2, rel=1e-9)


def test_endless_images_have_the_distance_of_the_distributions() -> None:
    """At n = 400 the distance is half as large again; the line takes it back."""
    found = [
        (frechet_distance(a, b + 0.2), frechet_infinity(a, b + 0.2, seed=seed))
        for seed in range(6)
        for a, b in [points(2, 400, 20, seed=seed)]
    ]
    small, endless = np.mean(found, axis=0)
    assert small > 1.4 * 20 * 0.2**2
    assert endless == pytest.approx(20 * 0.2**2, rel=0.12)
    a, b = points(2, 60, 5)
    assert frechet_infinity(a, b, seed=1) == frechet_infinity(a, b, seed=1)
    with pytest.raises(DataError, match="at least 30 rows"):
        frechet_infinity(a[:29], b)
    with pytest.raises(DataError, match="2 subset sizes"):
        frechet_infinity(a, b, points=1)


# Kernel distance


def test_the_kernel_distance_is_the_same_whichever_way_its_subsets_are_summed() -> None:
    a, b = points(300, 7), points(240, 7, seed=1) + 0.2
    random = np.random.default_rng(0)
    some = np.stack([random.choice(300, 50, replace=False) for _ in range(200)])
    others = np.stack([random.choice(240, 50, replace=False) for _ in range(200)])
    together = kernel_distances(a, b, some, others)  # each pair once
    few = kernel_distances(a, b, some[:3], others[:3])  # subset by subset
    np.testing.assert_allclose(together[:3], few, rtol=1e-9)


def test_the_kernel_distance_does_not_depend_on_n() -> None:
    def mean(n: int) -> float:
        pairs = [points(2, n, 3, seed=seed) for seed in range(60)]
        return float(np.mean([kernel_distance(a, b + 1, subsets=5) for a, b in pairs]))

    far = kernel_distance(*(points(2, 4000, 3) + np.array([0, 1])[:, None, None]), subsets=20)
    assert mean(40) == pytest.approx(far, rel=0.15)


@pytest.mark.parametrize(("size", "subsets"), [(1, 5), (11, 5), (4, 0)])
def test_subsets_that_cannot_be_drawn_are_refused(size: int, subsets: int) -> None:
    with pytest.raises(DataError, match="2 to 10 rows"):
        kernel_distance(points(10, 2), points(12, 2), size=size, subsets=subsets)
    with pytest.raises(DataError, match="at least 4 rows"):
        kernel_distance(points(3, 2), points(9, 2))
    with pytest.raises(DataError, match="above 1e\\+48"):
        kernel_distance(points(10, 2) * 1e60, points(10, 2))


# Neighbourhoods


def test_a_worked_example_of_neighbourhoods() -> None:
    """Reals at 0, 1, 2, 10: with k = 1 their balls reach 1, 1, 1 and 8."""
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    fake = np.array([[0.5], [2.5], [3.5], [30.0]])
    precision, recall = precision_recall(real, fake, k=1)
    # 0.5 lies with 0 and 1; 2.5 with 2 and 10; 3.5 with 10; 30 with none. Fakes reach 2, 1,
    # 1 and 26.5: 0, 1 and 2 lie with 0.5 or 2.5, and 10 with 30.
    assert (precision, recall) == (0.75, 1.0)
    assert density_coverage(real, fake, k=1) == (5 / 4, 1.0)


def test_equal_distributions_have_the_density_and_coverage_that_theory_says() -> None:
    """Density 1 and coverage 1 - 1/2^k (Naeem 2020), here with 1,200 points in 60 dimensions."""
    density, coverage = density_coverage(*points(2, 1200, 60))
    assert density == pytest.approx(1.0, abs=0.1)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_fakes_of_one_kind_are_precise_and_recall_little() -> None:
    real = np.concatenate([points(300, 5), points(300, 5, seed=1) + 8])
    precision, recall = precision_recall(real, points(600, 5, seed=2))
    assert precision > 0.9
    assert 0.4 < recall < 0.6
    density, coverage = density_coverage(real, np.zeros((600, 5)))
    assert density > 1.5, "all in the middle of one heap"
    assert coverage < 0.3


def test_the_same_images_and_copies_are_inside_whatever_rounding_does() -> None:
    real = points(80, 6) * 1e3 + 1e6
    assert precision_recall(real, real[::-1]) == (1.0, 1.0)
    assert density_coverage(real, real)[0] == pytest.approx(6 / 5), "itself and k others"
    still = np.full((30, 4), 7.3)
    assert precision_recall(still, still) == (1.0, 1.0)
    assert precision_recall(still, still + 1) == (0.0, 0.0)


def test_balls_of_a_half_are_those_of_the_half_alone() -> None:
    real, fake = points(2, 200, 4)
    random = np.random.default_rng(1)
    some, others = (np.sort(random.choice(200, 100, replace=False)) for _ in range(2))
    half = in_balls(real, fake, 3, [None, (some, others)])[1]
    alone = in_balls(real[some], fake[others], 3, [None])[0]
    assert half.tolist() == alone.tolist()


def test_neighbours_need_one_more_row_than_k() -> None:
    with pytest.raises(DataError, match="at least 4 rows, got \\(3, 2\\)"):
        precision_recall(points(3, 2), points(9, 2))
    with pytest.raises(DataError, match="k must be"):
        density_coverage(points(9, 2), points(9, 2), k=0)


# One column at a time


def test_columns_are_what_scipy_says_also_with_ties_and_differing_n() -> None:
    random = np.random.default_rng(0)
    real = np.stack([random.standard_normal(90), random.integers(0, 4, 90)], axis=1)
    fake = np.stack([random.standard_normal(70) + 1, random.integers(1, 5, 70)], axis=1)
    found = distribution_distances(real, fake)
    for column in range(2):
        a, b = real[:, column], fake[:, column]
        assert found.ks[column] == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)
        assert found.wasserstein[column] == pytest.approx(
            stats.wasserstein_distance(a, b) / a.std(ddof=1)
        )


def test_a_constant_column_has_no_unit_to_measure_in() -> None:
    found = distribution_distances(np.ones((5, 1)), np.zeros((6, 1)))
    assert found.ks[0] == pytest.approx(1.0)
    assert np.isnan(found.wasserstein[0])


# Diversity


def test_copies_are_less_diverse_than_noise_and_only_a_class_counts() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (8, 48, 48, 1), dtype=np.uint8)
    twins = np.concatenate([noise[:4], noise[:4]])
    pairs = ms_ssim_pairs(twins)
    np.testing.assert_allclose(pairs, pairs.T)
    np.testing.assert_allclose(np.diag(pairs), 1.0)
    score = ms_ssim_diversity(noise, twins)[0]
    assert score.value > score.floor
    assert score.interval[0] <= score.value <= score.interval[1]
    within = ms_ssim_diversity(noise, twins, fake_labels=[0, 1, 2, 3] * 2)[0]
    assert within.value == pytest.approx(1.0), "each class is one image twice"
    assert (score.n_real, score.n_fake, score.extractor) == (8, 8, "pixels-3-scales")


def test_pairs_are_drawn_by_chance_so_that_the_order_of_files_says_nothing() -> None:
    """Twenty patients whose slices look alike, first in the order of their files."""
    random = np.random.default_rng(0)
    heads = random.integers(0, 256, (20, 1, 44, 44))
    slices = (heads + random.integers(0, 200, (20, 8, 44, 44))).clip(0, 255).astype(np.uint8)
    files = slices.reshape(-1, 44, 44)
    shuffled = files[random.permutation(160)]
    one, other = (ms_ssim_diversity(files, each)[0] for each in (files, shuffled))
    assert one.interval[0] <= other.value <= one.interval[1]
    first = ms_ssim_diversity(files, files[:64])[0]
    assert first.value > one.interval[1], "the first eight patients are more alike"
    whose = np.repeat(np.arange(20), 8).tolist()
    apart = ms_ssim_diversity(files, files, fake_groups=whose, real_groups=whose)[0]
    assert apart.value < one.value, "slices of one patient are no pair"


def test_rows_to_compare_come_in_twos_of_a_class_from_everywhere() -> None:
    labels = ["T1"] * 900 + ["T2"] * 100 + list(range(50))
    rows = rows_to_compare(1050, 64, seed=3, labels=labels)
    assert len(rows) == len(set(rows.tolist())) == 64
    chosen = [labels[row] for row in rows]
    assert all(chosen.count(one) > 1 for one in chosen)
    assert 0 < chosen.count("T2") < chosen.count("T1")
    assert rows.tolist() == sorted(rows.tolist())
    assert rows.max() > 500
    assert len(rows_to_compare(90, 64, seed=0, labels=range(90))) == 64, "nobody has a partner"
    assert rows_to_compare(1000, 64, seed=0).tolist() != rows_to_compare(1000, 64, 1).tolist()


@pytest.mark.parametrize(("side", "scales"), [(11, 1), (22, 2), (87, 3), (88, 4), (176, 5)])
def test_so_many_scales_as_the_window_fits_are_named(side: int, scales: int) -> None:
    pair = np.random.default_rng(0).integers(0, 256, (2, side, side), dtype=np.uint8)
    assert ms_ssim_diversity(pair, pair)[0].extractor == f"pixels-{scales}-scales"


def test_colours_and_sixteen_bits_are_read() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 200, (48, 50, 3)) + random.integers(0, 50, (3, 48, 50, 3))
    noise = noise.astype(np.uint8)
    single = np.stack([ms_ssim_pairs(noise[..., c], scales=1) for c in range(3)])
    np.testing.assert_allclose(ms_ssim_pairs(noise, scales=1), single.mean(axis=0))
    deep = noise.astype(np.uint16) * 257
    np.testing.assert_allclose(ms_ssim_pairs(deep), ms_ssim_pairs(noise))


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (np.zeros((4, 10, 40), np.uint8), "at least 11 pixels"),
        (np.zeros((4, 40, 40)), "uint8 or uint16"),
        (np.zeros((1, 40, 40), np.uint8), "at least 2"),
        (np.zeros((4, 40), np.uint8), "at least 2"),
        (None, "at least 2"),
    ],
)
def test_images_that_cannot_be_paired_are_refused(bad: object, why: str) -> None:
    with pytest.raises(DataError, match=why):
        ms_ssim_diversity(bad, bad)


def test_labels_must_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    with pytest.raises(DataError, match="2 labels for 3"):
        ms_ssim_diversity(noise, noise, fake_labels=[0, 1])
    with pytest.raises(DataError, match="no class has two images"):
        ms_ssim_diversity(noise, noise, fake_labels=[0, 1, 2])
    with pytest.raises(DataError, match="1 to 3 scales"):
        ms_ssim_pairs(noise, scales=4)


# What comes in


@pytest.mark.parametrize("measure", EVERY)
def test_lists_float32_integers_and_files_give_the_same(measure, tmp_path) -> None:
    whole = np.random.default_rng(0).integers(-40, 40, (2, 40, 3))
    want = repr(measure(*whole.astype(np.float64)))
    np.save(tmp_path / "features.npy", whole.astype(np.float32))
    filed = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert repr(measure(*whole)) == want
    assert repr(measure(*whole.tolist())) == want
    assert repr(measure(*filed)) == want


@pytest.mark.parametrize("measure", EVERY)
@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (np.zeros((0, 3)), "rows, got"),
        (np.zeros((1, 3)), "rows, got"),
        (np.zeros((40, 0)), "rows, got"),
        (np.zeros(40), "as a column"),
        (np.zeros((40, 3), complex), "rows of numbers"),
        ([["a", "b", "c"]] * 40, "rows of numbers"),
        ([[1], [2, 3]], "rows of numbers"),
        (np.full((40, 3), np.nan), "40 of 40 rows"),
        (np.array([[1.0, 2.0, np.inf]] + [[1.0, 2.0, 3.0]] * 39), "1 of 40 rows"),
        (np.zeros((40, 2)), "differ in length"),
        (np.full((40, 3), 1e150), "too large to square"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(measure, bad, why) -> None:
    good = points(40, 3)
    for sides in ((good, bad), (bad, good)):
        with pytest.raises(DataError, match=why):
            measure(*sides)


def test_a_column_of_equal_reals_has_no_unit_to_measure_in():
    """Its deviation need not come out as 0: a tenth is no binary number."""
    real = np.full((30, 2), 0.1)
    real[:, 1] = np.random.default_rng(0).normal(size=30)
    found = distribution_distances(real, real + 0.01)
    assert np.isnan(found.wasserstein[0])
    assert 0 < found.wasserstein[1] < 1
    assert found.ks[0] == pytest.approx(1)
