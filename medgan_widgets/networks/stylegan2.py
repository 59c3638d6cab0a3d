"""A style-based network after StyleGAN2 (Karras 2020), with plain operations only.

Generator: mapping of ``z`` to ``w``; from a learned constant, two convolutions a
resolution, each with its channels scaled by a style (and its outputs scaled back, so that
a style changes the balance of the maps, not their strength) and with noise of its own;
each resolution adds its part of the image. Scaling the maps instead of the weights is the
same thing, suits a CPU, and makes an image independent of its batch. The last doubling is
a pixel shuffle. Discriminator: the residual one.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.networks.residual import (
    Aligned,
    Discriminator,
    StyledGenerator,
    start_even,
    widths_of,
)

__all__ = ["Discriminator", "Generator"]

GAIN = math.sqrt(2)  # keeps the strength of maps through a leaky ReLU
FAINT = 1e-8  # against a division by zero


class StyledConvolution(nn.Module):
    """A convolution whose inputs are scaled by a style and whose outputs are scaled back."""

    def __init__(self, before: int, after: int, style: int, noise: int, up: bool) -> None:
        super().__init__()
        self.up = up
        self.power: nn.Module | None = None  # ready for inference: how strong outputs become
        self.style: nn.Module = nn.Linear(style, before)
        nn.init.normal_(self.style.weight, std=style**-0.5)
        nn.init.ones_(self.style.bias)
        self.conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
        nn.init.normal_(self.conv.weight, std=(9 * before) ** -0.5)
        self.noise_strength = nn.Parameter(torch.zeros(after, noise, 1, 1))
        self.bias = nn.Parameter(torch.zeros(after))

    def forward(self, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
        """Return the next map, [N, after, H, W]."""
        scale = self.style(style)
        if self.power is None:
            back = torch.rsqrt(F.linear(scale.float().square(), self._powers()) + FAINT)
        else:
            back = torch.rsqrt(self.power(scale.square()))
        if self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = self.conv(x * scale[:, :, None, None].to(x.dtype))
        x = x * back[:, :, None, None].to(x.dtype) + F.conv2d(noise, self.noise_strength)
        styled: Tensor = F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), 0.2) * GAIN
        return styled

    def _powers(self) -> Tensor:
        """Return what each input adds to the strength of each output, [after, before]."""
        return self.conv.weight.float().square().sum(dim=(2, 3))

    def settle(self) -> None:
        """Lay out what no image changes."""
        powers = nn.Linear(self.conv.in_channels, self.conv.out_channels)
        powers.weight.data = self._powers().detach()
        nn.init.constant_(powers.bias, FAINT)
        self.power = Aligned(powers)


class ToImage(nn.Module):
    """A resolution's part of the image: a styled convolution, not scaled back."""

    def __init__(self, before: int, after: int, style: int, kernel: int) -> None:
        super().__init__()
        self.style: nn.Module = nn.Linear(style, before)
        nn.init.normal_(self.style.weight, std=style**-0.5)
        nn.init.ones_(self.style.bias)
        self.conv = nn.Conv2d(before, after, kernel, padding=kernel // 2)
        nn.init.normal_(self.conv.weight, std=(before * kernel**2) ** -0.5)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Return the part, [N, after, H, W]."""
        part: Tensor = self.conv(x * self.style(style)[:, :, None, None].to(x.dtype))
        return part


class Generator(StyledGenerator):
    """Latents, classes and noise to images of ``size`` pixels, -1 … 1."""

    def __init__(
        self, size: int = 128, channels: int = 1, z_dim: int = 64, classes: int = 0, width: int = 12
    ) -> None:
        super().__init__()
        widths = widths_of(size, width)
        style = z_dim + classes
        self.z_dim, self.classes, self.size, self.channels = z_dim, classes, size, channels
        self.mapping = nn.Sequential(
            nn.Linear(z_dim, z_dim), nn.LeakyReLU(0.2), nn.Linear(z_dim, z_dim),
            nn.LeakyReLU(0.2), nn.Linear(z_dim, z_dim),
        )  # fmt: skip
        for layer in self.mapping:
            if isinstance(layer, nn.Linear):  # else w of different z would be all but the same
                nn.init.kaiming_normal_(layer.weight, a=0.2)
                nn.init.zeros_(layer.bias)
        self.register_buffer("w_mean", torch.zeros(z_dim))
        self.start = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        pairs = [(widths[0], widths[0], False)]
        for before, after in pairwise(widths):
            pairs += [(before, after, True), (after, after, False)]
        sides = [4 * 2 ** ((layer + 1) // 2) for layer in range(len(pairs))]
        # At the finest maps noise has a channel for each of the four pixels to come.
        grains = [4 if side == size // 2 else 1 for side in sides]
        self.noise_shapes = [(n, side, side) for n, side in zip(grains, sides, strict=True)]
        self.convolutions = nn.ModuleList(
            StyledConvolution(before, after, style, grain, up)
            for (before, after, up), grain in zip(pairs, grains, strict=True)
        )
        self.style_layers = len(pairs)
        # The last one makes four pixels of one, so it has to see what lies around it.
        parts = [(channels, 1)] * (len(widths) - 1) + [(4 * channels, 3)]
        self.images = nn.ModuleList(
            ToImage(before, after, style, kernel)
            for before, (after, kernel) in zip(widths, parts, strict=True)
        )
        start_even(self.images[-1].conv)  # type: ignore[arg-type]

    def forward(
        self,
        z: Tensor,
        y: Tensor,
        noise: list[Tensor],
        truncation_psi: float = 1.0,
        mix: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return images [N, C, size, size]; see `layer_styles` for psi and mix."""
        styles = self.layer_styles(z, y, truncation_psi, mix)
        x = self.start.expand(len(z), -1, -1, -1)
        x = x.contiguous(memory_format=torch.channels_last)
        image: Tensor | None = None
        for number, (layer, grain) in enumerate(zip(self.convolutions, noise, strict=True)):
            x = layer(x, styles[number], grain)
            if number % 2 == 0:  # the second of a resolution
                part = self.images[number // 2](x, styles[number])
                if number == self.style_layers - 1:
                    part = F.pixel_shuffle(part, 2)
                if image is not None:
                    side = part.shape[2:]
                    part = part + F.interpolate(image, side, mode="bilinear", align_corners=False)
                image = part
        assert image is not None
        return torch.tanh(image)

    def for_inference(self) -> Generator:
        """Return a copy laid out for inference, channels last."""
        network = copy.deepcopy(self).eval()
        for layer in [*network.convolutions, *network.images]:
            assert isinstance(layer, (StyledConvolution, ToImage))
            assert isinstance(layer.style, nn.Linear)
            layer.style = Aligned(layer.style)
            if isinstance(layer, StyledConvolution):
                layer.settle()
        return network.to(memory_format=torch.channels_last).requires_grad_(False)
