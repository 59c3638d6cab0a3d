"""Phantoms: drawn from seeds, with a truth that can be measured back from the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medgan_widgets.errors import RequestError
from medgan_widgets.phantoms import KINDS, draw_phantoms

LESION = {"brain_mri": "tumour", "chest_xray": "nodule", "mammogram": "mass"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [32, 100, 512])
def test_any_size_is_drawn_whole(kind: str, size: int) -> None:
    drawn = draw_phantoms(kind, [5, 6], size=size)
    assert drawn.images.shape == drawn.masks.shape == (2, size, size)
    assert drawn.images.dtype == np.uint8
    assert (drawn.images.std(axis=(1, 2)) > 8).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_alone_or_among_others(kind: str) -> None:
    many = draw_phantoms(kind, range(40), size=64)
    alone = draw_phantoms(kind, [33], size=64)
    np.testing.assert_array_equal(many.images[33], alone.images[0])
    np.testing.assert_array_equal(many.masks[33], alone.masks[0])
    assert all(many.parameters[name][33] == alone.parameters[name][0] for name in alone.parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_lies_where_the_parameters_say(kind: str) -> None:
    drawn = draw_phantoms(kind, range(30), size=128, condition={LESION[kind]: True})
    axis = (np.arange(128) + 0.5) * 2 / 128 - 1
    for mask, x, y, radius in zip(
        drawn.masks, *(drawn.parameters[name] for name in ("x", "y", "radius")), strict=True
    ):
        rows, columns = np.nonzero(mask)
        assert axis[columns].mean() == pytest.approx(x, abs=0.03)
        assert axis[rows].mean() == pytest.approx(y, abs=0.03)
        assert np.sqrt(mask.mean() * 4 / np.pi) == pytest.approx(radius, rel=0.12)


@pytest.mark.parametrize("kind", KINDS)
def test_no_lesion_no_mask(kind: str) -> None:
    drawn = draw_phantoms(kind, range(20), size=64, condition={LESION[kind]: False})
    assert not drawn.masks.any()
    assert not drawn.parameters["radius"].any()
    assert set(drawn.labels[LESION[kind]]) == {False}


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_can_be_seen(kind: str) -> None:
    """With and without the lesion the same seed differs inside the mask, and there most."""
    with_it, without = (
        draw_phantoms(kind, range(24), size=128, condition={LESION[kind]: has}).images.astype(int)
        for has in (True, False)
    )
    masks = draw_phantoms(kind, range(24), size=128, condition={LESION[kind]: True}).masks
    change = np.abs(with_it - without)
    inside = np.array([c[m].mean() for c, m in zip(change, masks, strict=True)])
    outside = np.array([c[~m].mean() for c, m in zip(change, masks, strict=True)])
    assert (inside > 8).mean() > 0.9
    assert (inside > 2 * outside).mean() > 0.9


def test_fluid_is_dark_in_t1_bright_in_t2_and_nulled_in_flair() -> None:
    drawn = {
        c: draw_phantoms("brain_mri", range(8), condition={"contrast": c, "tumour": False}).images
        for c in ("T1", "T2", "FLAIR")
    }
    brain = drawn["T2"].mean(axis=0) > 60
    fluid = brain[None] & (drawn["T2"] > 215)  # ventricles and sulci, by their T2
    tissue = brain[None] & (drawn["T2"] < 120) & (drawn["T2"] > 40)
    assert drawn["T2"][fluid].mean() > 2 * drawn["T2"][tissue].mean()
    assert drawn["T1"][fluid].mean() < 0.75 * drawn["T1"][tissue].mean()
    assert drawn["FLAIR"][fluid].mean() < 0.75 * drawn["FLAIR"][tissue].mean()


def test_air_shows_rician_noise_never_below_zero() -> None:
    drawn = draw_phantoms("brain_mri", range(40), size=128)
    corner = drawn.images[:, :8, :8].reshape(40, -1).astype(float) / 255
    rayleigh = np.sqrt(np.pi / 2) * drawn.parameters["noise"]
    assert np.corrcoef(corner.mean(axis=1), rayleigh)[0, 1] > 0.95
    assert corner.mean() == pytest.approx(rayleigh.mean(), rel=0.1)


def test_fewer_photons_more_noise() -> None:
    drawn = draw_phantoms("chest_xray", range(60), size=128)
    photons = drawn.parameters["photons"]
    patch = drawn.images[:, 100:120, 20:40].astype(float)  # belly, nearly flat
    grain = np.diff(patch, axis=2).std(axis=(1, 2))
    few, many = photons < np.median(photons), photons >= np.median(photons)
    assert grain[few].mean() > grain[many].mean()


def test_breast_texture_has_the_power_law_it_was_drawn_with() -> None:
    drawn = draw_phantoms("mammogram", range(60), size=128, condition={"mass": False})
    window = np.hanning(128)[:, None] * np.hanning(128)
    images = drawn.images - drawn.images.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(images * window)) ** 2).reshape(60, -1)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(128) * 128, np.fft.fftfreq(128) * 128)).ravel()
    band = (f > 3) & (f < 20)
    slopes = [np.polyfit(np.log(f[band]), np.log(p[band]), 1)[0] for p in power]
    assert np.corrcoef(-np.array(slopes), drawn.parameters["beta"])[0, 1] > 0.5
    assert -np.mean(slopes) == pytest.approx(drawn.parameters["beta"].mean(), abs=0.5)


@pytest.mark.parametrize(
    ("kind", "seeds", "size", "condition"),
    [
        ("knee", [0], 128, {}),
        ("brain_mri", [0], 31, {}),
        ("brain_mri", [0], 513, {}),
        ("brain_mri", [0], 64.0, {}),
        ("brain_mri", [-1], 64, {}),
        ("brain_mri", [], 64, {}),
        ("brain_mri", [0], 64, {"contrast": "PD"}),
        ("brain_mri", [0], 64, {"nodule": True}),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind, seeds, size, condition) -> None:
    with pytest.raises(RequestError):
        draw_phantoms(kind, seeds, size=size, condition=condition)


@pytest.mark.parametrize(
    ("kind", "seeds", "condition"),
    [([], [1], None), ("brain_mri", 3, None), ("brain_mri", None, None), ("brain_mri", [1], [1])],
)
def test_what_is_no_kind_no_seeds_or_no_condition_is_told(
    kind: Any, seeds: Any, condition: Any
) -> None:
    with pytest.raises(RequestError):
        draw_phantoms(kind, seeds, size=32, condition=condition)
