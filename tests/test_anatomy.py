"""Anatomy measured back: right on phantoms whose truth is known, and frank about generators."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.phantoms import Phantoms, draw_phantoms
from medgan_widgets.phantoms.anatomy import QUANTITIES, compare_anatomy, measure_anatomy

LESION = {"brain_mri": "tumour", "chest_xray": "nodule", "mammogram": "mass"}
SIZES = [("brain_mri", 64), ("brain_mri", 128), ("chest_xray", 128), ("mammogram", 64)]
N = 150


@cache
def drawn(kind: str, size: int) -> tuple[Phantoms, dict[str, np.ndarray]]:
    """Phantoms that no measurement was taught on, and what is measured in them."""
    phantoms = draw_phantoms(kind, range(9_000_000, 9_000_000 + N), size=size)
    return phantoms, measure_anatomy(kind, phantoms.images)


@pytest.mark.parametrize(("kind", "size"), SIZES)
def test_what_is_measured_is_what_was_drawn(kind, size):
    phantoms, measured = drawn(kind, size)
    assert set(measured) == set(QUANTITIES[kind])
    for name, about in QUANTITIES[kind].items():
        if about.correlation is None:
            continue
        truth = phantoms.parameters[name]
        seen = np.isfinite(measured[name]) & ((name != "radius") | (truth > 0))
        found, truth = measured[name][seen], truth[seen]
        # The stated figures, less what 150 images may lose by chance.
        right = np.corrcoef(found, truth)[0, 1]
        assert right > np.tanh(np.arctanh(about.correlation) - 3 / np.sqrt(len(truth))), name
        assert right > 0.75, name
        error = found - truth
        assert abs(error.mean() - about.bias) < 4 * error.std() / np.sqrt(len(error)) + 6e-4, name


@pytest.mark.parametrize(("kind", "size"), SIZES)
def test_lesions_are_seen_where_they_are_and_not_elsewhere(kind, size):
    phantoms, measured = drawn(kind, size)
    has, seen = np.array(phantoms.labels[LESION[kind]]), measured["lesion"]
    balanced = (np.nanmean(seen[has]) + 1 - np.nanmean(seen[~has])) / 2
    assert balanced > QUANTITIES[kind]["lesion"].accuracy - 0.04
    assert np.isnan(measured["radius"][seen == 0]).all(), "no lesion, no radius"
    if kind == "brain_mri":
        t1 = np.array(phantoms.labels["contrast"]) == "T1"
        assert np.isnan(measured["radius"][t1]).all(), "not told apart from cortex, so not told"


def test_the_contrast_is_recognised():
    phantoms, measured = drawn("brain_mri", 64)
    names = np.array(["T1", "T2", "FLAIR"])
    told = measured["contrast"]
    right = names[told[np.isfinite(told)].astype(int)]
    truth = np.array(phantoms.labels["contrast"])[np.isfinite(told)]
    assert (right == truth).mean() > 0.97


def test_fresh_phantoms_have_the_statistics_of_phantoms():
    phantoms, _ = drawn("mammogram", 64)
    report = compare_anatomy("mammogram", phantoms.images, labels=phantoms.labels)
    assert report.unmet == ()
    assert "Not met" not in report.text
    assert all(row.ks < 0.25 and row.floor < 0.25 for row in report.rows)
    assert all(row.interval[0] <= row.ks <= row.interval[1] for row in report.rows)


def test_a_few_phantoms_are_not_blamed_for_being_few():
    phantoms, _ = drawn("mammogram", 64)
    every = [phantoms.images[start : start + 3] for start in range(0, 60, 3)]
    found = [compare_anatomy("mammogram", few, n=3, seed=seed) for seed, few in enumerate(every)]
    assert any(row.ks == 1 for report in found for row in report.rows)  # as large as it can be
    assert sum(bool(report.unmet) for report in found) <= 2  # of 20, at 5 %


def test_heads_that_are_too_large_and_tumours_that_are_missing_are_said():
    asked = draw_phantoms("brain_mri", range(500, 600), size=64, condition={"tumour": False})
    large = np.stack([_enlarged(image) for image in asked.images])
    lying = {"tumour": (True,) * 50 + (False,) * 50}
    report = compare_anatomy("brain_mri", large, labels=lying, n=80)
    assert {"head_width", "head_length", "lesion"} <= set(report.unmet)
    assert "Not met: head width" in report.text
    assert "a tumour is seen in" in report.text
    width = next(row for row in report.rows if row.quantity == "head_width")
    assert width.mean / width.phantom_mean == pytest.approx(1.06, abs=0.03)
    assert width.ks > 2 * width.floor
    share, of_phantoms = report.classes["Asked for a tumour, it is seen in"]
    assert share < 0.1
    assert of_phantoms > 0.9
    frame = report.to_frame().set_index("quantity")
    assert not frame.loc["head_width", "met"]
    assert frame.loc["head_width", "n"] == 100


def _enlarged(image: np.ndarray) -> np.ndarray:
    """An image made 6 % larger around its middle."""
    places = (np.arange(64) - 31.5) / 1.06 + 31.5
    nearest = np.rint(places).astype(int)
    return image[np.ix_(nearest, nearest)]


def test_a_rate_that_is_right_by_two_wrongs_is_not_met():
    with_mass = draw_phantoms("mammogram", range(60), size=64, condition={"mass": True})
    without = draw_phantoms("mammogram", range(60), size=64, condition={"mass": False})
    images = np.concatenate([with_mass.images, without.images])
    swapped = {"mass": (False,) * 60 + (True,) * 60}
    report = compare_anatomy("mammogram", images, labels=swapped)
    assert "lesion" in report.unmet


def test_scores_carry_what_makes_them_comparable():
    phantoms, _ = drawn("mammogram", 64)
    score = compare_anatomy("mammogram", phantoms.images[:40], n=40).scores[0]
    assert (score.name, score.extractor) == ("KS density", "anatomy-1 (mammogram)")
    assert (score.n_real, score.n_fake) == (40, 40)
    assert score.interval is not None
    assert score.floor is not None
    assert "50" in score.warning


def test_the_same_seed_gives_the_same_report():
    phantoms, _ = drawn("mammogram", 64)
    one, two = (compare_anatomy("mammogram", phantoms.images[:30], seed=3) for _ in "ab")
    assert one.to_frame().equals(two.to_frame())
    other = compare_anatomy("mammogram", phantoms.images[:30], seed=4)
    assert not one.to_frame().equals(other.to_frame())


@pytest.mark.parametrize("kind", QUANTITIES)
@pytest.mark.parametrize("grey", [0, 90, 255])
def test_constant_images_show_nothing(kind, grey):
    measured = measure_anatomy(kind, np.full((3, 64, 64), grey, np.uint8))
    assert all(np.isnan(values).all() for values in measured.values())


def test_a_generator_of_noise_is_said_to_show_no_brain():
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 1), np.uint8)
    report = compare_anatomy("brain_mri", noise, n=8)
    assert "20 of 20 images show no brain_mri at all" in report.text
    assert "Nothing to measure" in report.text
    assert report.unmet == ()
    assert report.to_frame()["ks"].isna().all()


def test_one_kind_is_not_taken_for_another():
    breasts = drawn("mammogram", 64)[0].images[:20]
    assert np.isnan(measure_anatomy("brain_mri", breasts)["head_width"]).all()


def test_grey_in_three_channels_is_grey():
    images = drawn("mammogram", 64)[0].images[:4]
    once, thrice = (
        measure_anatomy("mammogram", np.repeat(images[..., None], channels, axis=3))
        for channels in (1, 3)
    )
    assert np.array_equal(once["density"], thrice["density"])


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros((0, 64, 64), np.uint8), "expected at least one, got 0"),
        (np.zeros((2, 32, 32), np.uint8), "at least 64 pixels"),
        (np.zeros((2, 64, 96), np.uint8), "square"),
        (np.zeros((2, 64, 64), np.float32), "must be uint8"),
        (np.zeros((64, 64), np.uint8), "must be uint8"),
        (np.zeros((2, 64, 64, 2), np.uint8), "phantoms are grey"),
        (np.arange(2 * 64 * 64 * 3).reshape(2, 64, 64, 3).astype(np.uint8), "phantoms are grey"),
    ],
)
def test_images_that_cannot_be_measured_are_refused(images, says):
    with pytest.raises(DataError, match=says):
        measure_anatomy("mammogram", images)
    with pytest.raises(DataError, match=says):
        compare_anatomy("mammogram", images)


def test_one_image_is_told_how_many_are_needed():
    text = compare_anatomy("mammogram", drawn("mammogram", 64)[0].images[:1]).text
    assert "Not compared, which needs at least 2 images on each side: density" in text


def test_kinds_and_labels_that_do_not_fit_are_refused():
    images = drawn("mammogram", 64)[0].images[:3]
    with pytest.raises(RequestError, match="brain_mri, chest_xray, mammogram"):
        measure_anatomy("brane", images)
    with pytest.raises(RequestError, match="kind must be"):
        compare_anatomy(None, images)
    with pytest.raises(DataError, match="no class 'tumour'"):
        compare_anatomy("mammogram", images, labels={"tumour": (True,) * 3})
    with pytest.raises(DataError, match="3 images came with 2"):
        compare_anatomy("mammogram", images, labels={"mass": (True,) * 2})
    with pytest.raises(DataError, match="must be one of False, True"):
        compare_anatomy("mammogram", images, labels={"mass": ("yes",) * 3})
    for labels in ("T1", ["T1"] * 3):
        with pytest.raises(DataError, match="labels must be a dict"):
            compare_anatomy("brain_mri", images, labels=labels)
    for values in (None, "T1", 3):
        with pytest.raises(DataError, match="values of contrast must be a list"):
            compare_anatomy("brain_mri", images, labels={"contrast": values})
    with pytest.raises(RequestError, match="n must be from 2"):
        compare_anatomy("mammogram", images, n=0)
    with pytest.raises(DataError, match="T1, T2, FLAIR"):
        measure_anatomy("brain_mri", images, {"contrast": ("T3",) * 3})
