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


class Draws:
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


def augmented(images: Tensor, p: float, kinds: Sequence[str], draws: Draws) -> Tensor:
    """Return images [N, C, H, W] in -1 … 1, each changed in each way with probability ``p``.

    Translation by up to an eighth, scale by 2^(+-0.2), rotation by up to 10 degrees,
    brightness by up to 0.2, contrast by 2^(+-0.3), a square of half the side cut out;
    flips and quarter-turns where asked for. Outside an image lies its mirror image.
    """
    if p <= 0 or not kinds:
        return images
    if any(kind in MOVES for kind in kinds):
        images = _moved(images, p, kinds, draws)
    if "brightness" in kinds:
        images = images + _chosen(p, draws) * draws.uniform(-0.2, 0.2)[:, None, None, None]
    if "contrast" in kinds:
        factor = torch.exp2(_chosen(p, draws)[:, 0, 0, 0] * draws.uniform(-0.3, 0.3))
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = (images - mean) * factor[:, None, None, None] + mean
    if "cutout" in kinds:
        images = images * _holes(images, p, draws)
    return images


def _moved(images: Tensor, p: float, kinds: Sequence[str], draws: Draws) -> Tensor:
    """Shift, scale, turn and mirror in one resampling."""
    n = len(images)
    zero, one = images.new_zeros(n), images.new_ones(n)
    angle, size, x, y, side = zero, one, zero, zero, one
    if "translation" in kinds:
        x = draws.uniform(-0.25, 0.25) * _picked(p, draws)
        y = draws.uniform(-0.25, 0.25) * _picked(p, draws)
    if "scale" in kinds:
        size = torch.exp2(draws.uniform(-0.2, 0.2) * _picked(p, draws))
    if "rotation" in kinds:
        angle = draws.uniform(-math.pi / 18, math.pi / 18) * _picked(p, draws)
    if "flip" in kinds:  # half of the chosen ones
        side = 1 - 2 * _picked(p, draws) * (draws.uniform(0, 1) < 0.5).float()
    if "quarter-turn" in kinds:
        turns = (draws.uniform(0, 4).floor() * _picked(p, draws)) % 4
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


def _holes(images: Tensor, p: float, draws: Draws) -> Tensor:
    """Return 0 in a square of half the side, anywhere, and 1 elsewhere."""
    height, width = images.shape[2:]
    top = draws.uniform(0, 1) * height
    left = draws.uniform(0, 1) * width
    down = torch.arange(height, device=images.device)[None, :] - top[:, None]
    across = torch.arange(width, device=images.device)[None, :] - left[:, None]
    inside = (down.abs() < height / 4)[:, None, :, None] & (across.abs() < width / 4)[
        :, None, None, :
    ]
    return 1 - inside.float() * _chosen(p, draws)


def _picked(p: float, draws: Draws) -> Tensor:
    return (draws.uniform(0, 1) < p).float()


def _chosen(p: float, draws: Draws) -> Tensor:
    return _picked(p, draws)[:, None, None, None]
