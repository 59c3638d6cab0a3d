"""What the discriminator sees, changed at random."""

from __future__ import annotations

import pytest
import torch

from medgan_widgets.presets import AUGMENTATIONS
from medgan_widgets.training.augment import BatchRNG, augmented


def gradient(n: int = 8) -> torch.Tensor:
    across = torch.linspace(-1, 1, 32).expand(n, 1, 32, 32)
    return (across + across.mT * 0.5).clone()


def test_with_probability_zero_nothing_changes() -> None:
    images = gradient()
    assert augmented(images, 0.0, AUGMENTATIONS, BatchRNG(8, seed=0)) is images


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_each_kind_changes_images_can_be_taught_through_and_is_drawn_by_seed(kind: str) -> None:
    images = gradient(64).requires_grad_()
    seen = augmented(images, 1.0, [kind], BatchRNG(64, seed=1))
    assert seen.shape == images.shape
    changed = (seen != images).flatten(1).any(dim=1).float().mean()
    assert changed > (0.3 if kind in ("flip", "quarter-turn") else 0.9)
    (slope,) = torch.autograd.grad(seen.sum(), images)
    assert torch.isfinite(slope).all()
    assert slope.abs().sum() > 0
    again = augmented(images, 1.0, [kind], BatchRNG(64, seed=1))
    assert torch.equal(seen, again)
    assert not torch.equal(seen, augmented(images, 1.0, [kind], BatchRNG(64, seed=2)))


def test_half_the_probability_changes_half_the_images_and_leaves_the_others_exact() -> None:
    images = gradient(400)
    seen = augmented(images, 0.5, ["rotation"], BatchRNG(400, seed=1))
    same = (seen == images).flatten(1).all(dim=1).float().mean()
    assert 0.4 < same < 0.6


def test_a_flip_mirrors_and_a_quarter_turn_turns_without_blur() -> None:
    images = gradient(40)
    seen = augmented(images, 1.0, ["flip"], BatchRNG(40, seed=3))
    mirrored = (seen - images.flip(3)).abs().amax(dim=(1, 2, 3)) < 1e-4
    same = (seen == images).flatten(1).all(dim=1)
    assert (mirrored | same).all()
    assert mirrored.any()
    turned = augmented(images, 1.0, ["quarter-turn"], BatchRNG(40, seed=3))
    ways = torch.stack(
        [(turned - images.rot90(k, (2, 3))).abs().amax(dim=(1, 2, 3)) < 1e-4 for k in range(4)]
    )
    assert ways.any(dim=0).all()
    assert ways.any(dim=1).all()
