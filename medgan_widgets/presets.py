"""Presets: named ways of training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medgan_widgets.errors import RequestError

# Kinds of augmentation. The first ones leave anatomy as it is; flips and quarter-turns do
# not (the heart is on the left), so no preset has them and whoever asks for them is watched.
GENTLE = ("translation", "scale", "rotation", "brightness", "contrast", "cutout")
SIDED = ("flip", "quarter-turn")
AUGMENTATIONS = (*GENTLE, *SIDED)


@dataclass(frozen=True)
class Preset:
    """A named way of training: which networks, and how they are taught.

    Raises
    ------
    RequestError
        For an augmentation, a schedule or a precision that there is not, and numbers out of range.
    """

    network: str = "residual"
    width: int = 12  # channels of the widest maps
    z_dim: int = 64
    conditional: bool = True
    batch: int = 16
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.0, 0.99)
    r1_gamma: float = 1.0  # gradient penalty on real images (Mescheder 2018)
    r1_every: int = 8  # steps between penalties; each then counts as often (Karras 2020)
    ema: float = 0.998  # weight of the past in the averaged generator, a step
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    decay_from: float = 0.5  # share of the run after which the learning rate falls to 0
    noise_start: float = 0.1  # first strength of the generator's noise, standard deviation
    he_start: bool = True  # He's first weights in the discriminator, so that faint detail counts
    mixing: float = 0.0  # share of images made with two styles, cut at a random layer (Karras 2019)
    augmentations: tuple[str, ...] = ()  # what the discriminator sees changed, see AUGMENTATIONS
    augment: Literal["off", "fixed", "adaptive"] = "off"  # DiffAugment (Zhao 2020), ADA (Karras)
    augment_p: float = 0.0  # the fixed probability, or the first one
    augment_target: float = 0.6  # real_sign at which the adaptive probability rests
    augment_kimg: float = 50.0  # thousands of images in which it can go from 0 to 1

    def __post_init__(self) -> None:
        unknown = [name for name in self.augmentations if name not in AUGMENTATIONS]
        if unknown:
            have = ", ".join(AUGMENTATIONS)
            raise RequestError(f"augmentations are {have}; got {unknown[0]!r}.")
        if self.augment not in ("off", "fixed", "adaptive"):
            raise RequestError(f"augment must be off, fixed or adaptive; got {self.augment!r}.")
        if self.precision not in ("bf16", "fp16", "fp32"):
            raise RequestError(f"precision must be bf16, fp16 or fp32; got {self.precision!r}.")
        if not (0 <= self.augment_p <= 1 and 0 <= self.mixing <= 1 and self.batch >= 2):
            raise RequestError("augment_p and mixing must be 0 … 1, and batch at least 2.")


PRESETS = {
    "residual": Preset(),
    # More noise from the first step on and a lighter penalty, for images that are mostly texture.
    "texture": Preset(noise_start=0.2, r1_gamma=0.1),
    # A few hundred images: what the discriminator sees is moved and shaded, as much as it needs.
    "small-data": Preset(augmentations=GENTLE, augment="adaptive"),
    # Style-based: truncation, style mixing (Karras 2020), with plain operations only.
    "stylegan2": Preset("stylegan2", width=8, r1_gamma=5.0, mixing=0.5),
    # PyTorch's tutorial: BCE on logits, Adam 2e-4 (0.5, 0.999), 128 a batch, fp32, no average.
    "dcgan": Preset(
        "dcgan", 64, 100, False, 128, 2e-4, (0.5, 0.999), 0.0, 8, 0.0, "fp32", 1.0, 0.0, False
    ),
}


def preset_of(preset: str | Preset) -> tuple[str, Preset]:
    """Return a preset's name and itself; one of your own is called ``"own"``.

    Raises
    ------
    RequestError
        For a name that there is not.

    Examples
    --------
    >>> preset_of("residual")[1].network
    'residual'
    """
    if isinstance(preset, Preset):
        names = [name for name, known in PRESETS.items() if known == preset]
        return (names or ["own"])[0], preset
    if preset not in PRESETS:
        raise RequestError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    return preset, PRESETS[preset]
