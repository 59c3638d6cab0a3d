"""DCGAN (Radford 2015), as PyTorch's tutorial has it, grown to any power of two.

It is the baseline that everything else is compared with, and the layout of
many published checkpoints. No classes, no noise maps.
"""

from __future__ import annotations

import copy
import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Generator(nn.Module):
    """Latents to images of ``size`` pixels, -1 … 1; ``width`` is the tutorial's ngf."""

    classes = 0
    style_layers = 0  # none takes a style, so nothing can be mixed
    noise_shapes: tuple[tuple[int, int, int], ...] = ()
    size: int
    z_dim: int
    channels: int

    def __init__(
        self,
        size: int = 128,
        channels: int = 1,
        z_dim: int = 100,
        classes: int = 0,
        width: int = 64,
    ) -> None:
        super().__init__()
        if classes:
            raise ValueError("dcgan has no classes; use the residual network for them.")
        steps = int(math.log2(size)) - 3
        self.z_dim, self.size, self.channels = z_dim, size, channels
        widths = [width * 2**i for i in range(steps, -1, -1)]
        layers: list[nn.Module] = [*_up(z_dim, widths[0], stride=1, padding=0)]
        for before, after in pairwise(widths):
            layers += _up(before, after)
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_tutorial_weights)

    def forward(
        self,
        z: Tensor,
        y: Tensor,
        noise: list[Tensor],
        truncation_psi: float = 1.0,
        mix: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return images [N, C, size, size]; only ``z`` is used."""
        images: Tensor = self.layers(z[:, :, None, None])
        return images

    def for_inference(self) -> Generator:
        """Return a copy: batch norm folded, the first two deconvolutions as matrix products."""
        network = copy.deepcopy(self).eval()
        layers = list(network.layers)
        ready: list[nn.Module] = []
        while layers:
            layer = layers.pop(0)
            if isinstance(layer, nn.ConvTranspose2d) and isinstance(layers[0], nn.BatchNorm2d):
                layer = _folded(layer, layers.pop(0))  # type: ignore[arg-type]
            if isinstance(layer, nn.ConvTranspose2d) and len(ready) < 4:
                layer = FoldedDeconvolution(layer)
            ready.append(layer)
        network.layers = nn.Sequential(*ready)
        return network.to(memory_format=torch.channels_last).requires_grad_(False)


class FoldedDeconvolution(nn.Module):
    """A deconvolution of a small map, as one matrix product and ``fold``.

    The convolution library lays out such a layer's large weights again at
    every call; a matrix product reads them as they are.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.kernel, self.stride = layer.kernel_size[0], layer.stride[0]
        self.padding = int(layer.padding[0])
        self.register_buffer("weight", layer.weight.detach().flatten(1).t().contiguous())
        bias = layer.bias if layer.bias is not None else torch.zeros(layer.out_channels)
        self.register_buffer("bias", bias.detach()[None, :, None, None].clone())

    def forward(self, x: Tensor) -> Tensor:
        """Return the up-sampled map."""
        side = (x.shape[2] - 1) * self.stride + self.kernel - 2 * self.padding
        # One product for the whole chunk: a batched one would read the weights for each image.
        pixels = x.permute(1, 0, 2, 3).reshape(x.shape[1], -1)
        columns = (self.weight @ pixels).view(len(self.weight), len(x), -1).transpose(0, 1)
        spread = F.fold(columns, side, self.kernel, padding=self.padding, stride=self.stride)
        larger: Tensor = spread + self.bias
        return larger


class Discriminator(nn.Module):
    """Images to one logit each; ``width`` is the tutorial's ndf."""

    def __init__(
        self, size: int = 128, channels: int = 1, classes: int = 0, width: int = 64
    ) -> None:
        super().__init__()
        if classes:
            raise ValueError("dcgan has no classes; use the residual network for them.")
        widths = [width * 2**i for i in range(int(math.log2(size)) - 2)]
        layers: list[nn.Module] = [
            nn.Conv2d(channels, widths[0], 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
        ]
        for before, after in pairwise(widths):
            layers += [
                nn.Conv2d(before, after, 4, 2, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        layers += [nn.Conv2d(widths[-1], 1, 4, 1, 0, bias=False)]
        self.layers = nn.Sequential(*layers)
        self.apply(_tutorial_weights)

    def forward(self, images: Tensor, y: Tensor) -> Tensor:
        """Return logits [N]; ``y`` is not used."""
        logits: Tensor = self.layers(images)
        return logits.flatten()


def _up(before: int, after: int, stride: int = 2, padding: int = 1) -> list[nn.Module]:
    deconvolution = nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False)
    return [deconvolution, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


def _tutorial_weights(layer: nn.Module) -> None:
    if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)


def _folded(layer: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """Return the deconvolution with its batch norm multiplied in."""
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    layer.weight = nn.Parameter(layer.weight * scale[None, :, None, None])
    layer.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
    return layer
