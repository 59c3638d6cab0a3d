"""All that a training is at one moment: made at the start, written, and read again to the last bit.

A checkpoint is one safetensors file, written aside and renamed; the one before
it stays, so a good one is there at any time.
"""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as bytes_from_tensors
from torch import Tensor, nn

from medgan_widgets.errors import DataError, WeightsError
from medgan_widgets.files import write_whole
from medgan_widgets.networks import DISCRIMINATORS, GENERATORS, Discriminator, Generator
from medgan_widgets.presets import Preset
from medgan_widgets.training.augment import BatchRNG

log = logging.getLogger(__name__)

KEPT = 2  # checkpoints, so that a whole one is there while the newest is written
COUNTERS = ("shown", "step", "since", "augment_p", "cpu_seconds", "seconds")
SUMS = ("generator_loss", "discriminator_loss", "real_sign", "fake_sign", "r1", "penalties")


@dataclass
class TrainingState:
    """Networks, their average, optimisers, random numbers, and how far they are."""

    generator: Generator
    discriminator: Discriminator
    averaged: Generator
    optimisers: dict[str, torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    rows: np.random.Generator  # draws which images come next
    rng: BatchRNG  # latents, noise, augmentation
    sums: Tensor  # since the last tick, see SUMS
    sign: Tensor  # running mean of the discriminator's sign for reals
    shown: int = 0  # real images so far
    step: int = 0
    since: int = 0  # real images since the last tick
    augment_p: float = 0.0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def kimg(self) -> float:
        """Thousands of real images shown so far."""
        return self.shown / 1000

    def networks(self) -> dict[str, nn.Module]:
        """Return the three networks by name."""
        return {
            "generator": self.generator,
            "discriminator": self.discriminator,
            "averaged": self.averaged,
        }


def first_state(preset: Preset, settings: dict[str, int], seed: int, device: str) -> TrainingState:
    """Return the networks as they are before the first step; the seed decides every weight."""
    with torch.random.fork_rng(devices=[]):  # the person's own random numbers stay as they are
        torch.manual_seed(seed)
        generator = GENERATORS[preset.network](**settings)
        without_z = {name: value for name, value in settings.items() if name != "z_dim"}
        discriminator = DISCRIMINATORS[preset.network](**without_z)
        _first_weights(generator, discriminator, preset)
    for network in (generator, discriminator):
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = copy.deepcopy(generator).requires_grad_(False)
    return TrainingState(
        generator,
        discriminator,
        averaged,
        optimisers={
            name: torch.optim.Adam(
                network.parameters(), preset.learning_rate, preset.betas, fused=device != "mps"
            )
            for name, network in (("generator", generator), ("discriminator", discriminator))
        },
        scaler=torch.amp.GradScaler(device.split(":")[0], enabled=preset.precision == "fp16"),
        rows=np.random.default_rng(seed),
        rng=BatchRNG(preset.batch, seed=seed, device=device),
        sums=torch.zeros(len(SUMS), device=device),
        sign=torch.zeros((), device=device),
        augment_p=0.0 if preset.augment == "off" else preset.augment_p,
    )


def _first_weights(generator: Generator, discriminator: Discriminator, preset: Preset) -> None:
    for name, weights in generator.named_parameters():
        if preset.noise_start and name.endswith("noise_strength"):
            nn.init.normal_(weights, std=preset.noise_start)
    for layer in discriminator.modules():
        if preset.he_start and isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def write_checkpoint(run_dir: Path, state: TrainingState, identity: dict[str, str]) -> Path:
    """Write all of a training, then let the oldest checkpoint go.

    ``identity`` is what a resume must find unchanged: run id and the data's fingerprint.

    Raises
    ------
    WeightsError
        For weights that are not finite; nothing is written.
    """
    tensors = {"sums": state.sums, "sign": state.sign, "draws": state.rng.generator.get_state()}
    for name, network in state.networks().items():
        for key, value in network.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise WeightsError(f"{name}.{key} holds values that are not finite.")
            tensors[f"{name}.{key}"] = value
    for name, optimiser in state.optimisers.items():
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}_optimiser.{number}.{key}": v for key, v in moments.items()}
    counters = {
        **{name: getattr(state, name) for name in COUNTERS},
        "rows": state.rows.bit_generator.state, "scaler": state.scaler.state_dict(), **identity,
    }  # fmt: skip
    content = bytes_from_tensors(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {"state": json.dumps(counters)},
    )
    path = run_dir / "checkpoint" / f"state-{state.step:09d}.safetensors"
    write_whole(path, content, parents=True)
    for old in checkpoints(run_dir)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def checkpoints(run_dir: Path) -> list[Path]:
    """Return the checkpoints of a run, oldest first."""
    return sorted((run_dir / "checkpoint").glob("state-*.safetensors"))


def read_checkpoint(run_dir: Path, state: TrainingState, identity: dict[str, str]) -> bool:
    """Fill a fresh state from the newest checkpoint that is whole; False without any.

    Raises
    ------
    DataError
        When the newest checkpoint belongs to another run or other images.
    WeightsError
        When there are checkpoints and none is whole.
    """
    damaged = []
    for path in reversed(checkpoints(run_dir)):
        try:
            with safe_open(path, framework="pt") as file:
                counters = json.loads(file.metadata()["state"])
            for name, value in identity.items():
                if counters[name] != value:
                    raise DataError(
                        f"{run_dir} was trained on other data: {name} was {counters[name][:12]}…, "
                        f"now {value[:12]}…; resume with the same images, or begin a new run with "
                        "start_from=."
                    )
            _fill(state, counters, tensors_from_bytes(path.read_bytes()))
        except DataError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            log.warning("%s cannot be used (%s); trying the one before it.", path, error)
            damaged.append(path.name)
            continue
        return True
    if damaged:
        raise WeightsError(
            f"no checkpoint in {run_dir} can be read ({', '.join(damaged)}); start a new run, "
            "with start_from= if its generator is still whole."
        )
    return False


def tensors_of(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, by the rest of their names."""
    start = f"{prefix}."
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def _fill(state: TrainingState, counters: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    for name, network in state.networks().items():
        # Copied in place, so that the layout in memory stays.
        network.load_state_dict(tensors_of(tensors, name))
    for name, optimiser in state.optimisers.items():
        (group,) = optimiser.param_groups
        for key, tensor in tensors_of(tensors, f"{name}_optimiser").items():
            number, _, moment = key.partition(".")
            weight = group["params"][int(number)]
            if moment == "step":
                ready = tensor.to(weight.device) if group["fused"] else tensor
            else:  # laid out as the weights are: else the last bits may differ
                ready = torch.empty_like(weight, requires_grad=False).copy_(tensor)
            optimiser.state[weight][moment] = ready
    state.sums.copy_(tensors["sums"])
    state.sign.copy_(tensors["sign"])
    state.rng.generator.set_state(tensors["draws"])
    state.rows.bit_generator.state = counters["rows"]
    state.scaler.load_state_dict(counters["scaler"])
    for name in COUNTERS:
        setattr(state, name, counters[name])
