"""The shipped networks: small, quick on a CPU, conditional on several factors.

Generator: mapping of ``z`` to ``w``, then nearest-neighbour up-sampling and
3x3 convolutions with batch norm, learned noise at every resolution and
scale-and-shift by ``w`` and class; the last step is a pixel shuffle.
Discriminator: pixel unshuffle, residual blocks without norm, minibatch
standard deviation, projection of the class (Miyato and Koyama 2018).
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval


def widths_of(size: int, width: int) -> list[int]:
    """Return the channels at 4, 8, … size / 2 pixels: narrow where the maps are large."""
    if size < 16 or size & (size - 1):
        raise ValueError(f"size must be a power of two of at least 16, got {size}.")
    stages = int(math.log2(size)) - 3  # how often 4 pixels double until half of ``size``
    return [min(width * 2**stage, width * 8) for stage in range(stages, -1, -1)]


class StyledGenerator(nn.Module):
    """What generators share whose layers take styles made of ``w``."""

    z_dim: int
    classes: int
    size: int
    channels: int
    style_layers: int
    noise_shapes: list[tuple[int, int, int]]
    mapping: nn.Sequential
    w_mean: Tensor

    def styles(self, z: Tensor, y: Tensor) -> Tensor:
        """Return ``w`` before truncation, [N, z_dim]; the class joins it at each layer."""
        w: Tensor = self.mapping(F.normalize(z, dim=1) * self.z_dim**0.5)
        return w

    def layer_styles(
        self, z: Tensor, y: Tensor, psi: float, mix: tuple[Tensor, Tensor] | None
    ) -> list[Tensor]:
        """Return the style of each layer, coarse to fine, [N, z_dim + classes] each.

        ``psi`` < 1 pulls ``w`` to its mean. ``mix`` is another latent [N, z_dim] and a share
        [N, layers] of 0 … 1: what each layer takes of the other's ``w``. Shares of 0 and 1
        mix styles (Karras 2019), one share for all layers interpolates.
        """
        w = self._truncated(self.styles(z, y), psi)
        if mix is None:
            return [torch.cat([w, y], dim=1)] * self.style_layers
        other, share = mix
        way = self._truncated(self.styles(other, y), psi) - w
        return [
            torch.cat([w + share[:, layer, None] * way, y], dim=1)
            for layer in range(self.style_layers)
        ]

    def _truncated(self, w: Tensor, psi: float) -> Tensor:
        return w if psi == 1.0 else self.w_mean + psi * (w - self.w_mean)


@torch.no_grad()
def start_even(layer: nn.Conv2d) -> None:
    """Let the four pixels that a shuffle makes of each start equal: no chequers (Aitken 2017)."""
    for weights in layer.parameters():
        four = weights.view(-1, 4, *weights.shape[1:])
        four.copy_(four[:, :1].expand_as(four).clone())


class Aligned(nn.Module):
    """A linear layer whose inputs are filled with zeros to a multiple of 16.

    Otherwise the second row of a chunk starts at an odd address, the matrix
    library sums it in another order, and a seed's last bit depends on its place.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.fill = -layer.in_features % 16
        self.register_buffer("weight", F.pad(layer.weight.detach(), (0, self.fill)))
        self.register_buffer("bias", layer.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer returns, [N, out]."""
        return F.linear(F.pad(x, (0, self.fill)), self.weight, self.bias)


class Stage(nn.Module):
    """One resolution of the generator: up, convolve, norm, noise, scale and shift."""

    def __init__(self, before: int, after: int, style: int, noise: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(after)
        self.noise_strength = nn.Parameter(torch.zeros(after, noise, 1, 1))
        self.style: nn.Module = nn.Linear(style, 2 * after)
        nn.init.zeros_(self.style.bias)

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Return the next map, [N, after, H, W]."""
        if self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.norm(self.conv(x)) + F.conv2d(noise, self.noise_strength)
        scale, shift = self.style(style)[:, :, None, None].chunk(2, dim=1)
        bent: Tensor = F.relu(torch.addcmul(shift, x, 1 + scale))
        return bent


class Generator(StyledGenerator):
    """Latents, classes and noise to images of ``size`` pixels, -1 … 1."""

    def __init__(
        self, size: int = 128, channels: int = 1, z_dim: int = 64, classes: int = 0, width: int = 16
    ) -> None:
        super().__init__()
        widths = widths_of(size, width)
        style = z_dim + classes
        self.z_dim, self.classes, self.size, self.channels = z_dim, classes, size, channels
        self.mapping = nn.Sequential(
            nn.Linear(z_dim, z_dim), nn.LeakyReLU(0.2), nn.Linear(z_dim, z_dim)
        )
        self.register_buffer("w_mean", torch.zeros(z_dim))
        self.start: nn.Module = nn.Linear(style, widths[0] * 16)
        # At the finest stage noise has a channel for each of the four pixels to come.
        sides = [4 * 2**i for i in range(len(widths))]
        self.noise_shapes = [*((1, side, side) for side in sides), (4, size // 2, size // 2)]
        pairs = [(widths[0], widths[0]), *pairwise(widths), (widths[-1], widths[-1])]
        self.stages = nn.ModuleList(
            Stage(a, b, style, noise[0], up=0 < i < len(widths))
            for i, ((a, b), noise) in enumerate(zip(pairs, self.noise_shapes, strict=True))
        )
        self.style_layers = len(self.stages) + 1  # the start has a style as well
        self.last = nn.Conv2d(widths[-1], 4 * channels, 3, padding=1)
        start_even(self.last)

    def forward(
        self,
        z: Tensor,
        y: Tensor,
        noise: list[Tensor],
        truncation_psi: float = 1.0,
        mix: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return images [N, C, size, size]; see `layer_styles` for psi and mix."""
        first, *styles = self.layer_styles(z, y, truncation_psi, mix)
        x = self.start(first).view(len(z), -1, 4, 4)
        x = x.contiguous(memory_format=torch.channels_last)
        for stage, style, grain in zip(self.stages, styles, noise, strict=True):
            x = stage(x, style, grain)
        return torch.tanh(F.pixel_shuffle(self.last(x), 2))

    def for_inference(self) -> Generator:
        """Return a copy with batch norm folded into the convolutions, channels last."""
        network = copy.deepcopy(self).eval()
        for stage in network.stages:
            assert isinstance(stage, Stage)
            assert isinstance(stage.norm, nn.BatchNorm2d)
            stage.conv = fuse_conv_bn_eval(stage.conv, stage.norm)
            stage.norm = nn.Identity()
            assert isinstance(stage.style, nn.Linear)
            stage.style = Aligned(stage.style)
        assert isinstance(network.start, nn.Linear)
        network.start = Aligned(network.start)
        return network.to(memory_format=torch.channels_last).requires_grad_(False)


class Block(nn.Module):
    """Two convolutions and a shortcut, then half the resolution."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, before, 3, padding=1)
        self.second = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.shortcut = nn.Conv2d(before, after, 2, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map at half the resolution, [N, after, H / 2, W / 2]."""
        inner = F.relu(self.second(F.relu(self.first(x))))
        halved: Tensor = (inner + self.shortcut(x)) * 0.7071
        return halved


class Discriminator(nn.Module):
    """Images and classes to one logit each: how real they look."""

    def __init__(
        self, size: int = 128, channels: int = 1, classes: int = 0, width: int = 16
    ) -> None:
        super().__init__()
        widths = widths_of(size, width)[::-1]
        self.first = nn.Conv2d(4 * channels, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairwise(widths)))
        self.last = nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1)
        self.feature = nn.Linear(widths[-1] * 16, widths[-1])
        self.logit = nn.Linear(widths[-1], 1)
        self.project = nn.Linear(classes, widths[-1], bias=False) if classes else None

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Return logits [N]."""
        x = F.pixel_unshuffle(images, 2).contiguous(memory_format=torch.channels_last)
        x = self.blocks(F.relu(self.first(x)))
        x = torch.cat([x, _minibatch_deviation(x)], dim=1)
        x = F.relu(self.last(x))
        x = F.relu(self.feature(x.flatten(1)))
        logit: Tensor = self.logit(x)[:, 0]
        if self.project is not None:
            logit = logit + (self.project(y) * x).sum(dim=1) / x.shape[1] ** 0.5
        return logit


def _minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Return one map that tells how different the images of a group are (Karras 2018)."""
    n, c, h, w = x.shape
    size = group if n % group == 0 else n
    grouped = x.float().reshape(size, -1, c, h, w)
    deviation = (grouped.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(size)[:, None, None, None].expand(n, 1, h, w).to(x.dtype)
