"""A request is a recipe: what it accepts, what it refuses, and how seeds become numbers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from medgan_widgets.errors import RequestError
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import (
    SEED_LIMIT,
    labels_from_seeds,
    latents_from_seeds,
    normals_from_seed,
    one_hot,
    seeds_from,
)

FACTORS = {"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)}


@pytest.mark.parametrize("count", [0, -1, 2.5, "ten", True, None, 10**9 + 1, float("nan")])
def test_a_count_that_is_no_count_is_refused_in_one_sentence(count: object) -> None:
    with pytest.raises(RequestError, match="images must be"):
        seeds_from(0, count)


@pytest.mark.parametrize("seed", [-1, 2**64, 0.5, "17", False, None])
def test_a_seed_that_is_no_seed_is_refused(seed: object) -> None:
    with pytest.raises(RequestError, match="seed must be"):
        seeds_from(seed, 1)
    with pytest.raises(RequestError, match="seed"):
        GenerateRequest("m", seeds=[seed])


def test_a_thousand_million_seeds_cost_nothing() -> None:
    request = GenerateRequest("m", seeds=range(10**9))
    assert isinstance(request.seeds, range)
    assert request.to_dict()["seeds"] == {"start": 0, "stop": 10**9, "step": 1}


def test_the_last_seed_is_the_end() -> None:
    assert list(seeds_from(SEED_LIMIT - 1, 1)) == [SEED_LIMIT - 1]
    with pytest.raises(RequestError, match="passes the last seed"):
        seeds_from(SEED_LIMIT - 1, 2)
    with pytest.raises(RequestError, match="seed must be"):
        GenerateRequest("m", seeds=range(SEED_LIMIT - 1, SEED_LIMIT + 1))


def test_repeated_seeds_and_numpy_seeds_are_welcome() -> None:
    assert GenerateRequest("m", seeds=np.array([3, 3])).seeds == (3, 3)
    assert GenerateRequest("m", seeds=5).seeds == (5,)


@pytest.mark.parametrize("psi", [-0.1, 1.1, "half", True, float("nan")])
def test_truncation_out_of_range_is_refused(psi: object) -> None:
    with pytest.raises(RequestError, match="truncation_psi"):
        GenerateRequest("m", seeds=[1], truncation_psi=psi)


@pytest.mark.parametrize(
    "wrong",
    [{"model_id": ""}, {"mode": "quick"}, {"condition": "T1"}, {"seeds": []}, {"seeds": "ten"}],
)
def test_what_fits_no_model_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(RequestError):
        GenerateRequest(**{"model_id": "m", "seeds": [1], **wrong})


def test_a_request_cannot_be_changed_from_outside() -> None:
    condition = {"tumour": True}
    request = GenerateRequest("m", seeds=[1], condition=condition)
    condition["tumour"] = False
    assert request.condition["tumour"] is True
    with pytest.raises(TypeError):
        request.condition["tumour"] = False


def test_a_latent_depends_on_its_seed_alone() -> None:
    together = latents_from_seeds([9, 2, SEED_LIMIT - 1], 64)
    for place, seed in enumerate([9, 2, SEED_LIMIT - 1]):
        np.testing.assert_array_equal(together[place], latents_from_seeds([seed], 64)[0])
    assert len(np.unique(together, axis=0)) == 3


def test_latents_stay_what_they_are() -> None:
    """These very numbers were drawn when the scheme was laid down: recipes rely on them."""
    drawn = normals_from_seed(17, "latent", 4)
    np.testing.assert_allclose(drawn, LATENT_17, rtol=1e-6)


LATENT_17 = np.array([-0.5184982, -1.0966101, 1.1492012, -0.4850516], np.float32)


def test_normals_are_normal_and_streams_differ() -> None:
    drawn = normals_from_seed(1, "noise", 200_000)
    assert abs(drawn.mean()) < 0.01
    assert abs(drawn.std() - 1) < 0.01
    assert abs(np.mean(drawn**4) - 3) < 0.1
    assert not np.array_equal(drawn[:64], normals_from_seed(1, "latent", 64))


def test_labels_are_drawn_from_the_seed_whatever_else_is_fixed() -> None:
    free = labels_from_seeds(range(50), FACTORS, {})
    fixed = labels_from_seeds(range(50), FACTORS, {"contrast": "T2"})
    assert set(free["contrast"]) == {"T1", "T2", "FLAIR"}
    assert fixed["contrast"] == ("T2",) * 50
    assert fixed["tumour"] == free["tumour"]
    assert labels_from_seeds([7], FACTORS, {})["tumour"][0] == free["tumour"][7]


@pytest.mark.parametrize("condition", [{"contrast": "PD"}, {"tumour": 1}, {"nodule": True}])
def test_a_class_the_model_does_not_have_is_named(condition: dict[str, object]) -> None:
    with pytest.raises(RequestError, match=r"must be one of|no factor"):
        labels_from_seeds([0], FACTORS, condition)


def test_classes_become_one_column_each() -> None:
    rows = one_hot({"contrast": ("FLAIR",), "tumour": (True,)}, FACTORS, 1)
    assert rows.tolist() == [[0, 0, 1, 0, 1]]


@pytest.mark.parametrize(
    "seeds", [range(2**64), range(10**30), 10**5000, [-(10**5000)]], ids=["range", "long", "+", "-"]
)
def test_numbers_too_large_for_python_itself_are_refused_too(seeds: object) -> None:
    with pytest.raises(RequestError, match="seed"):
        GenerateRequest("m", seeds=seeds)
    with pytest.raises(RequestError, match="from 0 to 1"):
        GenerateRequest("m", seeds=1, truncation_psi=10**400)


def test_a_numpy_value_is_a_class_and_an_array_is_none() -> None:
    request = GenerateRequest("m", seeds=[1], condition={"tumour": np.True_})
    factors = {"tumour": (False, True)}
    assert labels_from_seeds([1], factors, request.condition) == {"tumour": (True,)}
    with pytest.raises(RequestError, match="tumour must be one of False, True"):
        labels_from_seeds([1], factors, {"tumour": np.array([True, False])})


def test_a_request_travels_to_another_process_whole() -> None:
    request = GenerateRequest("m", seeds=range(10**9), condition={"tumour": True})
    again = pickle.loads(pickle.dumps(request))
    assert again == request
    assert again.seeds == range(10**9)
    with pytest.raises(TypeError):
        again.condition["tumour"] = False
