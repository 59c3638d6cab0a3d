"""Scores: closed forms, planted shifts, and what a number must carry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import linalg

from medgan_widgets.errors import DataError
from medgan_widgets.metrics import frechet_distance, score_of

RANDOM = np.random.default_rng(0)


def by_the_book(a: np.ndarray, b: np.ndarray) -> float:
    c1, c2 = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(c1 @ c2).real
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(c1 + c2 - 2 * root))


def test_the_distance_is_the_one_of_the_definition() -> None:
    a = RANDOM.standard_normal((500, 12)) @ RANDOM.standard_normal((12, 12))
    b = RANDOM.standard_normal((400, 12)) @ RANDOM.standard_normal((12, 12)) + 0.3
    assert frechet_distance(a, b) == pytest.approx(by_the_book(a, b), rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)


def test_closed_forms() -> None:
    a = RANDOM.standard_normal((300, 4))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(16)
    spread = a.var(axis=0, ddof=1).sum()
    assert frechet_distance(a, 3 * a) == pytest.approx(
        4 * spread + 4 * (a.mean(0) ** 2).sum(), rel=1e-9
    )


def test_a_larger_planted_shift_scores_worse_and_the_interval_holds_the_truth() -> None:
    real, other, fake = RANDOM.standard_normal((3, 1000, 5))
    scores = [
        score_of("fd", real, fake + shift, extractor="none", other=other)[0]
        for shift in (0.0, 0.2, 0.6)
    ]
    values = [score.value for score in scores]
    assert values == sorted(values)
    assert scores[2].interval[0] < 5 * 0.6**2 < scores[2].interval[1]
    assert scores[0].floor == scores[2].floor
    assert (scores[0].n_real, scores[0].n_fake, scores[0].extractor) == (1000, 1000, "none")


@pytest.mark.parametrize(
    "bad", [np.zeros((1, 3)), np.zeros(3), np.full((4, 3), np.nan), np.zeros((0, 3))]
)
def test_features_that_cannot_be_compared_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DataError):
        frechet_distance(np.zeros((4, 3)), bad)
    with pytest.raises(DataError, match="differ in length"):
        frechet_distance(np.zeros((4, 3)), np.zeros((4, 2)))


@pytest.mark.parametrize("bad", [[["a", "b"]] * 3, [[1], [2, 3]]])
def test_rows_that_are_no_numbers_are_refused(bad: list[object]) -> None:
    with pytest.raises(DataError, match="rows of numbers"):
        frechet_distance(bad, bad)


def test_values_too_large_to_square_are_refused_not_turned_into_nan() -> None:
    huge = RANDOM.standard_normal((8, 3)) * 1e200
    with pytest.raises(DataError, match="too large to square"):
        frechet_distance(huge, huge)
