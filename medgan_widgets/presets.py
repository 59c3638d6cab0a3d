"""Presets: named ways of training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A named way of training: which networks, and how they are taught."""

    network: str = "residual"
    width: int = 12  # channels of the widest maps
    z_dim: int = 64
    conditional: bool = True
    batch: int = 16
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.99)
    r1_gamma: float = 1.0  # gradient penalty on real images (Mescheder 2018)
    r1_every: int = 8  # steps between penalties; each then counts as often
    ema: float = 0.998  # weight of the past in the averaged generator, a step
    bf16: bool = True
    decay_from: float = 0.5  # share of the run after which the learning rate falls to 0
    noise_start: float = 0.1  # first strength of the generator's noise, standard deviation
    he_start: bool = True  # He's first weights in the discriminator, so that faint detail counts


PRESETS = {
    "residual": Preset(),
    # More noise from the first step on and a lighter penalty, for images that are mostly texture.
    "texture": Preset(noise_start=0.2, r1_gamma=0.1),
    # PyTorch's tutorial: BCE on logits, Adam 2e-4 (0.5, 0.999), 128 a batch, fp32, no average.
    "dcgan": Preset(
        "dcgan", 64, 100, False, 128, 2e-4, (0.5, 0.999), 0.0, 8, 0.0, False, 1.0, 0.0, False
    ),
}
