"""Scores: what a number must carry, and when it says not to lean on it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.features.canonical import canonical_names
from medgan_widgets.metrics import METRICS, frechet_distance, score_of
from medgan_widgets.metrics.table import Scores
from medgan_widgets.requests import Measured, Score

NAMES = {
    "fd": ["FD"],
    "fd_infinity": ["FD-infinity"],
    "kid": ["KID"],
    "precision": ["precision"],
    "recall": ["recall"],
    "density": ["density"],
    "coverage": ["coverage"],
    "ks": ["KS", "KS largest"],
    "wasserstein": ["Wasserstein", "Wasserstein largest"],
}
BETTER_IS_HIGHER = {"precision", "recall", "density", "coverage"}


def points(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_carries_what_makes_it_comparable(metric: str) -> None:
    real, other, fake = points(3, 160, 4)
    scores = score_of(metric, real, fake + 0.3, extractor="e-1", other=other)
    assert [score.name for score in scores] == NAMES[metric]
    for score in scores:
        assert (score.n_real, score.n_fake, score.extractor) == (160, 160, "e-1")
        assert score.interval[0] <= score.value <= score.interval[1]
        assert score.floor is not None
        assert score.floor_n is None, "the floor stands at the same n"
    assert scores == score_of(metric, real, fake + 0.3, extractor="e-1", other=other)


@pytest.mark.parametrize("metric", METRICS)
def test_a_larger_planted_shift_scores_worse(metric: str) -> None:
    real, fake, other = points(3, 300, 4)
    values = [
        score_of(metric, real, fake + shift, extractor="e", other=other, draws=0)[0].value
        for shift in (0.0, 0.5, 1.5, 4.0)
    ]
    assert values == sorted(values, reverse=metric in BETTER_IS_HIGHER)
    assert values[0] != values[-1]


@pytest.mark.parametrize(
    ("metric", "trials"), [("fd", 80), ("kid", 80), ("recall", 80), ("coverage", 80), ("ks", 80)]
)
def test_the_interval_holds_the_figure_of_other_draws_about_as_often_as_it_says(
    metric: str, trials: int
) -> None:
    """Eighty studies of 100 images each; 95 % intervals hold their mean in most of them.

    Of 150 studies of 200 images: FD 97 %, KID 94, FD-infinity 95, precision 99, recall 99,
    density 98, coverage 95, KS 95, Wasserstein 92.
    """
    found = []
    for trial in range(trials):
        real, fake, other = points(3, 100, 4, seed=trial)
        fake = fake * 1.2 + 0.4
        found.append(score_of(metric, real, fake, extractor="e", seed=trial, other=other)[0])
    mean = np.mean([score.value for score in found])
    held = np.mean([score.interval[0] <= mean <= score.interval[1] for score in found])
    assert 0.88 <= held <= 1.0
    wide = np.mean([score.interval[1] - score.interval[0] for score in found])
    assert wide < 2.2 * 4 * np.std([score.value for score in found]), "and is not simply wide"


def test_only_the_weights_that_everybody_means_make_it_a_fid() -> None:
    real, fake = points(2, 40, 2)
    for metric, name in (("fd", "FID"), ("fd_infinity", "FID-infinity"), ("kid", "KID")):
        assert score_of(metric, real, fake, extractor="inception-v3-compat")[0].name == name


def test_without_other_reals_the_floor_is_half_against_half_and_says_so() -> None:
    real, fake = points(400, 3), points(300, 3, seed=1)
    score = score_of("fd", real, fake, extractor="e")[0]
    assert score.floor_n == 200
    assert 0 < score.floor < 0.3
    assert score_of("fd", real, fake[:90], extractor="e")[0].floor_n == 90
    few = score_of("fd", real, fake, extractor="e", other=points(50, 3, seed=2))[0]
    assert few.floor_n == 50
    assert few.floor > score.floor
    enough = score_of("fd", real, fake, extractor="e", other=points(300, 3, seed=2))[0]
    assert enough.floor_n is None
    assert enough.floor == frechet_distance(real, points(300, 3, seed=2))
    assert score_of("fd", points(3, 2), points(9, 2), extractor="e")[0].floor is None


def test_fewer_images_have_larger_distances_so_the_value_stands_at_the_floors_n_too() -> None:
    real, fake = points(120, 30), points(200, 30, seed=1)
    for metric in ("fd", "wasserstein", "coverage"):
        score = score_of(metric, real, fake, extractor="e")[0]
        assert score.floor_n == 60
        assert score.value_at_floor_n == pytest.approx(score.floor, rel=0.15), "both are noise"
    score = score_of("fd", real, fake, extractor="e")[0]
    assert score.value < 0.7 * score.floor, "not to be held against each other"
    assert (
        score_of("fd", real, fake, extractor="e", other=points(200, 30, seed=2))[0].value_at_floor_n
        is None
    ), "the floor stands at the same n"
    few = score_of("fd", real, fake, extractor="e", other=points(40, 30, seed=2))[0]
    assert few.value_at_floor_n == pytest.approx(few.floor, rel=0.3)
    for unbiased in ("kid", "fd_infinity"):
        assert score_of(unbiased, real, fake, extractor="e")[0].value_at_floor_n is None
    assert Score(**json.loads(json.dumps(score.to_dict()))).value_at_floor_n == pytest.approx(
        score.value_at_floor_n
    )


# Patients


def of_patients(patients: int, each: int, columns: int = 4, seed: int = 0) -> np.ndarray:
    """Images of one patient lie close together, as slices of one head do."""
    random = np.random.default_rng(seed)
    own = random.standard_normal((patients, 1, columns))
    slices = own + 0.4 * random.standard_normal((patients, each, columns))
    return slices.reshape(patients * each, columns)


def test_a_floor_by_patient_is_that_of_halves_of_patients_made_by_hand() -> None:
    real, fake = of_patients(20, 15, 8), points(300, 8, seed=1)
    whose, random, by_hand = np.repeat(np.arange(20), 15), np.random.default_rng(9), []
    for _ in range(50):
        half = np.isin(whose, random.permutation(20)[:10])
        by_hand.append(frechet_distance(real[half], real[~half]))
    names = [f"patient {one}" for one in whose]
    score = score_of("fd", real, fake, extractor="e", real_groups=names)[0]
    assert score.floor == pytest.approx(np.mean(by_hand), rel=0.1)
    assert score.floor_n == 150
    assert score.floor > 5 * score_of("fd", real, fake, extractor="e")[0].floor
    shuffled = np.random.default_rng(3).permutation(300)
    again = score_of(
        "fd", real[shuffled], fake, extractor="e", real_groups=[names[row] for row in shuffled]
    )[0]
    assert again.floor == pytest.approx(score.floor, rel=0.2), "in whatever order they come"
    others = of_patients(40, 15, 8, seed=5)
    apart = score_of(
        "fd", real, fake, extractor="e", real_groups=names, other=others,
        other_groups=np.repeat(np.arange(100, 140), 15).tolist(),
    )[0]  # fmt: skip
    assert apart.floor > 5 * score_of("fd", others[::2], fake, extractor="e")[0].floor


@pytest.mark.parametrize("metric", ["fd", "kid", "recall"])
def test_an_interval_by_patient_is_as_wide_as_other_patients_make_it(metric: str) -> None:
    """Of 60 studies of 20 patients with 15 slices, the true spread and the error agree to 10 %."""
    whose, values, used, by_image = np.repeat(np.arange(20), 15).tolist(), [], [], []
    for trial in range(30):
        real, fake = of_patients(20, 15, seed=trial), points(300, 4, seed=99 + trial) * 1.2 + 0.4
        same = {"extractor": "e", "seed": trial, "other": real}
        score = score_of(metric, real, fake, **same, real_groups=whose)[0]
        values.append(score.value)
        used.append(np.diff(score.interval)[0] / 2 / 2.093)  # t of 19 degrees of freedom
        by_image.append(np.diff(score_of(metric, real, fake, **same)[0].interval)[0] / 2 / 2.02)
    assert np.mean(used) == pytest.approx(np.std(values, ddof=1), rel=0.35)
    assert np.mean(by_image) < 0.85 * np.mean(used)


@pytest.mark.parametrize("side", ["real", "fake"])
def test_under_ten_patients_there_is_a_warning_and_no_interval(side: str) -> None:
    real, fake = points(2, 90, 3)
    few = {f"{side}_groups": [row // 10 for row in range(90)]}
    score = score_of("fd", real, fake, extractor="e", **few)[0]
    assert score.interval is None
    assert "only 9 patients" in score.warning
    assert score.floor is not None
    ten = {f"{side}_groups": [row // 9 for row in range(90)]}
    assert score_of("fd", real, fake, extractor="e", **ten)[0].interval is not None
    one = score_of("fd", real, fake, extractor="e", real_groups=["a"] * 90)[0]
    assert (one.floor, one.floor_n) == (None, None), "one patient has no halves"


def test_who_is_not_known_stands_alone() -> None:
    real, fake = points(2, 60, 3)
    want = score_of("fd", real, fake, extractor="e")
    for unknown in (None, float("nan")):
        assert score_of("fd", real, fake, extractor="e", real_groups=[unknown] * 60) == want
    with pytest.raises(DataError, match="5 groups for 60 real images"):
        score_of("fd", real, fake, extractor="e", real_groups=range(5))


# Why


def test_a_distance_of_named_columns_says_which_differ_and_of_what_kind_they_are() -> None:
    real, fake = points(2, 400, 55)
    names = canonical_names()
    fake[:, names.index("mean")] += 3
    fake[:, names.index("slope")] -= 2
    score = score_of("fd", real, fake, extractor="canonical-1")[0]
    assert [name for name, _ in score.why[:2]] == ["mean", "slope"]
    assert [apart for _, apart in score.why[:2]] == pytest.approx([3, -2], abs=0.2)
    assert len(score.why) == 5
    assert score.families["moments"] == pytest.approx(9 / 13, abs=0.05)
    assert score.families["spectrum"] == pytest.approx(4 / 13, abs=0.05)
    assert sum(score.families.values()) == pytest.approx(1)
    told = str(Scores((Measured(score, "m", "r"), Measured(score, "m", "r"))))
    assert told.count("differs most in mean +") == 1, "once for all figures"
    assert "moments 6" in told
    for metric, extractor in (("recall", "canonical-1"), ("fd", "mine")):
        assert score_of(metric, real, fake, extractor=extractor)[0].why == ()
    assert score_of("fd", real, real, extractor="canonical-1")[0].families == {}


def test_too_few_images_are_said_in_words() -> None:
    def warning(metric: str, n: int, m: int, columns: int = 4) -> str:
        return score_of(
            metric, points(n, columns), points(m, columns, seed=1), extractor="e", draws=0
        )[0].warning

    assert "singular" in warning("fd", 60, 60, 80)
    assert "under 2,000 real images KID" in warning("fd", 60, 60, 80)
    assert warning("fd", 2000, 2000) == ""
    assert warning("kid", 60, 60, 80) == ""
    assert "rough" in warning("kid", 20, 500)
    assert "short" in warning("fd_infinity", 70, 70, 20)
    assert "same number" in warning("recall", 100, 200)


def test_an_interval_that_cannot_be_drawn_is_none_and_the_value_stands() -> None:
    for metric, n in (("fd", 3), ("kid", 4), ("precision", 6), ("fd_infinity", 31), ("ks", 3)):
        score = score_of(metric, points(n, 2), points(n, 2, seed=1), extractor="e")[0]
        assert score.interval is None
        assert score.value is not None
    real, fake = points(2, 60, 2)
    assert score_of("kid", real, fake, extractor="e", draws=0)[0].interval is None
    with pytest.raises(RequestError, match="metric must be one of fd"):
        score_of(["fd"], real, fake, extractor="e")
    with pytest.raises(DataError, match="at least 2 draws"):
        score_of("fd", real, fake, extractor="e", draws=1)


@pytest.mark.parametrize("metric", ["precision", "recall", "coverage", "ks"])
def test_what_every_half_agrees_on_is_not_known_for_certain(metric: str) -> None:
    far = score_of(metric, points(20, 2), points(20, 2, seed=1) + 99, extractor="e")[0]
    low, high = far.interval or (0.0, 0.0)
    far_value = round(far.value or 0.0, 9)
    assert far_value in (0, 1)
    assert (low, high) == pytest.approx((0, 0.161) if far_value == 0 else (0.839, 1), abs=1e-3)
    density = score_of("density", points(20, 2), points(20, 2, seed=1) + 99, extractor="e")[0]
    assert (density.value, density.interval) == (0, None)


def test_tensors_that_still_learn_are_features_too() -> None:
    real, fake = points(2, 60, 2)
    learning = torch.tensor(fake, requires_grad=True)
    assert frechet_distance(real, learning) == frechet_distance(real, fake)


@pytest.mark.parametrize("metric", METRICS)
def test_no_image_and_one_image_are_refused(metric: str) -> None:
    real = points(60, 2)
    for few in (real[:0], real[:1]):
        with pytest.raises(DataError, match="at least"):
            score_of(metric, real, few, extractor="e")
        with pytest.raises(DataError, match="at least"):
            score_of(metric, few, real, extractor="e")


def test_the_same_images_twice_are_their_floor_and_copies_are_counted() -> None:
    real = points(60, 3)
    score = score_of("fd", real, real[::-1], extractor="e")[0]
    assert score.value == pytest.approx(0, abs=1e-9)
    assert "same images on both sides: this is the floor" in score.warning
    fake = np.concatenate([real[:7], points(53, 3, seed=1)])
    assert "7 of 60 synthetic images have a real one's" in (
        score_of("kid", real, fake, extractor="e")[0].warning
    )
    fake[20:30] = fake[20]
    assert "9 of 60 synthetic images repeat" in (
        score_of("kid", real, fake, extractor="e")[0].warning
    )


@pytest.mark.parametrize("metric", [one for one in METRICS if one != "wasserstein"])
def test_constant_images_have_a_figure_and_a_warning(metric: str) -> None:
    still, fake = np.full((60, 3), 2.5), points(60, 3)
    for real, made, who in ((still, fake, "real"), (fake, still, "synthetic"), (still, still, "")):
        score = score_of(metric, real, made, extractor="e", other=real)[0]
        assert np.isfinite(score.value)
        assert f"all 60 {who}" in score.warning
    half = fake.copy()
    half[:, 1] = 0
    assert "1 of 3 features are constant" in score_of(metric, half, fake, extractor="e")[0].warning


def test_a_wasserstein_distance_leaves_constant_columns_out_and_needs_one_that_is_not() -> None:
    real, fake = points(2, 60, 3)
    real[:, 1] = 0
    kept = score_of("wasserstein", real[:, [0, 2]], fake[:, [0, 2]], extractor="e")[0]
    assert score_of("wasserstein", real, fake, extractor="e")[0].value == pytest.approx(kept.value)
    with pytest.raises(DataError, match="every real column is constant"):
        score_of("wasserstein", np.ones((60, 3)), fake, extractor="e")


def test_what_is_asked_wrongly_is_answered_in_a_sentence() -> None:
    real, fake = points(2, 60, 3)
    with pytest.raises(RequestError, match="fd, fd_infinity, kid"):
        score_of("fid", real, fake, extractor="e")
    with pytest.raises(DataError, match="differ in length: 3 and 2"):
        score_of("fd", real, fake, extractor="e", other=points(60, 2))
    for odd in (-1, 0.5, "one"):
        with pytest.raises(RequestError, match="seed"):
            score_of("fd", real, fake, extractor="e", seed=odd)
        with pytest.raises((RequestError, DataError), match="draws"):
            score_of("fd", real, fake, extractor="e", draws=odd)
    fake[5] = np.nan
    with pytest.raises(DataError, match=r"fake features .* in 1 of 60 rows"):
        score_of("fd", real, fake, extractor="e")
    with pytest.raises(DataError, match="other real features"):
        score_of("fd", real, real, extractor="e", other=np.zeros((0, 3)))
