"""What the discriminator sees, changed at random: for small data (Zhao 2020, Karras 2020).

Real and synthetic images pass through the same changes, each with probability
``p``, so the generator is not taught to make them as long as ``p`` stays below
about 0.8. All of it can be differentiated, on any device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MOVES = ("translation", "scale", "rotation", "flip", "quarter-turn")


class BatchRNG:
    """Random numbers for each image of a batch, from a seed of their own."""

    def __init__(self, batch: int, *, seed: int, device: str = "cpu") -> None:
        self.batch, self.device = batch, device
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Return normal numbers [batch, *shape]."""
        return torch.randn(self.batch, *shape, generator=self.generator, device=self.device)

    def uniform(self, low: float, high: float) -> Tensor:
        """Return numbers from low to high, [batch]."""
        drawn = torch.rand(self.batch, generator=self.generator, device=self.device)
        return drawn * (high - low) + low


def augmented(images: Tensor, p: float, kinds: Sequence[str], rng: BatchRNG) -> Tensor:
    """Return images [N, C, H, W] in -1 … 1, each changed in each way with probability ``p``.

    Translation by up to an eighth, scale by 2^(+-0.2), rotation by up to 10 degrees,
    brightness by up to 0.2, contrast by 2^(+-0.3), a square of half the side cut out;
    flips and quarter-turns where asked for. Outside an image lies its mirror image.
    """
    if p <= 0 or not kinds:
        return images
    if any(kind in MOVES for kind in kinds):
        images = _moved(images, p, kinds, rng)
    if "brightness" in kinds:
        images = images + _chosen_images(p, rng) * rng.uniform(-0.2, 0.2)[:, None, None, None]
    if "contrast" in kinds:
        factor = torch.exp2(_chosen_images(p, rng)[:, 0, 0, 0] * rng.uniform(-0.3, 0.3))
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (images - mean) * factor[:, None, None, None] + mean
    if "cutout" in kinds:
        images = images * _holes(images, p, rng)
    return images


def _moved(images: Tensor, p: float, kinds: Sequence[str], rng: BatchRNG) -> Tensor:
    """Shift, scale, turn and mirror in one resampling."""
    n = len(images)
    zero, one = images.new_zeros(n), images.new_ones(n)
    angle, size, x, y, side = zero, one, zero, zero, one
    if "translation" in kinds:
        x = rng.uniform(-0.25, 0.25) * _chosen_rows(p, rng)
        y = rng.uniform(-0.25, 0.25) * _chosen_rows(p, rng)
    if "scale" in kinds:
        size = torch.exp2(rng.uniform(-0.2, 0.2) * _chosen_rows(p, rng))
    if "rotation" in kinds:
        angle = rng.uniform(-math.pi / 18, math.pi / 18) * _chosen_rows(p, rng)
    if "flip" in kinds:  # half of the chosen ones
        side = 1 - 2 * _chosen_rows(p, rng) * (rng.uniform(0, 1) < 0.5).float()
    if "quarter-turn" in kinds:
        turns = (rng.uniform(0, 4).floor() * _chosen_rows(p, rng)) % 4
        angle = angle + turns * (math.pi / 2)
    cos, sin = torch.cos(angle) * size, torch.sin(angle) * size
    rows = [torch.stack([cos * side, -sin, x], dim=1), torch.stack([sin * side, cos, y], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    moved = F.grid_sample(
        images.contiguous(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    # What was not chosen keeps its pixels exactly: resampling would blur it a little.
    straight = torch.eye(2, 3, device=images.device, dtype=images.dtype).expand(n, 2, 3)
    still = (grid - F.affine_grid(straight, list(images.shape), align_corners=False)).abs()
    same = (still.amax(dim=(1, 2, 3)) < 1e-5)[:, None, None, None]
    return torch.where(same, images, moved)


def _holes(images: Tensor, p: float, rng: BatchRNG) -> Tensor:
    """Return 0 in a square of half the side, anywhere, and 1 elsewhere."""
    height, width = images.shape[2:]
    top = rng.uniform(0, 1) * height
    left = rng.uniform(0, 1) * width
    down = torch.arange(height, device=images.device)[None, :] - top[:, None]
    across = torch.arange(width, device=images.device)[None, :] - left[:, None]
    inside = (down.abs() < height / 4)[:, None, :, None] & (across.abs() < width / 4)[
        :, None, None, :
    ]
    return 1 - inside.float() * _chosen_images(p, rng)


def _chosen_rows(p: float, rng: BatchRNG) -> Tensor:
    return (rng.uniform(0, 1) < p).float()


def _chosen_images(p: float, rng: BatchRNG) -> Tensor:
    return _chosen_rows(p, rng)[:, None, None, None]
