"""How to train: presets, which are named ways of it, and all settings of one training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from medgan_widgets.errors import RequestError
from medgan_widgets.seeds import whole_number

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


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of one training.

    Its fields are the keyword arguments of `train`, the flags of ``python -m medgan_widgets
    train``, the fields of the monitor's form and the keys of ``config.json``.

    Raises
    ------
    RequestError
        For an unknown preset and numbers out of range.

    Examples
    --------
    >>> TrainConfig(data="brain_mri", kimg=10, batch=8).chosen_preset[1].batch
    8
    """

    data: Any = None  # a phantom's kind, a path, a torch Dataset, or TrainingImages
    preset: str | Preset = "residual"  # a key of PRESETS, or one of your own
    kimg: float | None = None  # stop after so many thousand images …
    cpu_seconds: float | None = None  # … or so much processor time
    size: int | None = None  # pixels a side; found from the images when left out
    labels: Any = None  # where classes come from: "folder", a column, a DICOM keyword
    group: Any = None  # what keeps a patient together: a column, a DICOM keyword
    table: Any = None  # a CSV or JSONL file with a column file_name
    split: str | Path | None = None  # another run whose split is shared
    read: Mapping[str, Any] | None = None  # further arguments of read_images: window, plane, …
    skip_unreadable: bool = False  # go on without files that cannot be read
    pool: int | None = None  # how many phantoms to draw, or images to read at most
    batch: int | None = None  # images a step, when another number than the preset's
    start_from: str | Path | None = None  # a run or model whose weights are the first ones
    freeze_d: int = 0  # so many first layers of the discriminator keep their weights
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    seed: int = 0  # decides first weights, order of the images, latents and split
    tick_kimg: float = 2.0  # how often to report, in thousands of images

    def __post_init__(self) -> None:
        for name in ("kimg", "cpu_seconds", "tick_kimg"):
            value = getattr(self, name)
            optional = value is None and name != "tick_kimg"
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not optional and not (number and 0 < value < 1e9):
                raise RequestError(f"{name} must be a number above 0, got {value!r}.")
        for name, least, most in (
            ("seed", 0, 2**63 - 1), ("freeze_d", 0, 1000), ("batch", 2, 4096)
        ):  # fmt: skip
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(value, name, least, most))
        if not isinstance(self.preset, Preset):
            preset_of(self.preset)

    @property
    def chosen_preset(self) -> tuple[str, Preset]:
        """The preset's name and itself, with the batch of these settings."""
        name, preset = preset_of(self.preset)
        return name, preset if self.batch is None else replace(preset, batch=self.batch)

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments of ``read_images`` that are given."""
        given = {
            "labels": self.labels, "group": self.group, "table": self.table, "split": self.split,
            "size": self.size, "skip_unreadable": self.skip_unreadable, "most": self.pool,
            "seed": self.seed, **(self.read or {}),
        }  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TrainConfig:
        """Return the settings that a run's ``config.json`` holds, also one of an older version."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in content.items() if name in known}
        if "data_options" in content:  # until 0.4.0: the arguments of read_images by themselves
            read = dict(content["data_options"])
            given["pool"] = read.pop("most", None)
            given |= {name: read.pop(name) for name in list(read) if name in known}
            given["read"] = read
        if "settings" in content:
            given["preset"] = preset_from(content)
        given["start_from"] = (content.get("start_from") or {}).get("what")
        return cls(**given)


def preset_from(content: Mapping[str, Any]) -> Preset:
    """Return the preset that a run's ``config.json`` holds."""
    known = {field.name for field in fields(Preset)}
    settings: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in content["settings"].items()
        if name in known
    }
    return Preset(**settings)


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
