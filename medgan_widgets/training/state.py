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
from medgan_widgets.training.augment import Draws

log = logging.getLogger(__name__)

KEPT = 2
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
    draws: Draws  # latents, noise, augmentation
    sums: Tensor  # since the last tick, see SUMS
    sign: Tensor  # running mean of the discriminator's sign for reals
    shown: int = 0  # real images so far
    step: int = 0
    since: int = 0  # real images since the last tick
    augment_p: float = 0.0
    cpu_seconds: float = 0.0
    seconds: float = 0.0

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
        draws=Draws(preset.batch, seed=seed, device=device),
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


def write_checkpoint(run_dir: Path, state: TrainingState, marks: dict[str, str]) -> Path:
    """Write all of a training, then let the oldest checkpoint go.

    ``marks`` is what a resume must find unchanged: run id and the data's fingerprint.
    """
    tensors = {"sums": state.sums, "sign": state.sign, "draws": state.draws.generator.get_state()}
    for name, network in state.networks().items():
        for key, value in network.state_dict().items():
            if not bool(torch.isfinite(value).all()):
                raise WeightsError(f"{name}.{key} holds values that are not finite.")
            tensors[f"{name}.{key}"] = value
    for name, optimiser in state.optimisers.items():
        for number, kept in optimiser.state_dict()["state"].items():
            tensors.update({f"{name}_optimiser.{number}.{key}": v for key, v in kept.items()})
    counters = {
        "shown": state.shown, "step": state.step, "since": state.since,
        "augment_p": state.augment_p, "cpu_seconds": state.cpu_seconds, "seconds": state.seconds,
        "rows": state.rows.bit_generator.state, "scaler": state.scaler.state_dict(), **marks,
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


def read_checkpoint(run_dir: Path, state: TrainingState, marks: dict[str, str]) -> bool:
    """Fill a fresh state from the newest checkpoint that is whole; False without any."""
    problems = []
    for path in reversed(checkpoints(run_dir)):
        try:
            counters, tensors = _read(path)
            _same_marks(counters, marks, run_dir)
            _fill(state, counters, tensors)
        except DataError:
            raise
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            log.warning("%s cannot be used (%s); trying the one before it.", path, error)
            problems.append(path.name)
            continue
        return True
    if problems:
        raise WeightsError(
            f"no checkpoint in {run_dir} can be read ({', '.join(problems)}); start a new run, "
            "with start_from= if its generator is still whole."
        )
    return False


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        counters = json.loads(file.metadata()["state"])
    return counters, tensors_from_bytes(path.read_bytes())


def _same_marks(counters: dict[str, Any], marks: dict[str, str], run_dir: Path) -> None:
    for name, value in marks.items():
        if counters[name] != value:
            raise DataError(
                f"{run_dir} was trained on other data: {name} was {counters[name][:12]}…, now "
                f"{value[:12]}…; resume with the same images, or begin a new run with start_from=."
            )


def _fill(state: TrainingState, counters: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    for name, network in state.networks().items():
        start = f"{name}."
        own = {k[len(start) :]: v for k, v in tensors.items() if k.startswith(start)}
        network.load_state_dict(own)  # copied in place, so the layout in memory stays
    for name, optimiser in state.optimisers.items():
        _fill_optimiser(optimiser, f"{name}_optimiser.", tensors)
    state.sums.copy_(tensors["sums"])
    state.sign.copy_(tensors["sign"])
    state.draws.generator.set_state(tensors["draws"])
    state.rows.bit_generator.state = counters["rows"]
    state.scaler.load_state_dict(counters["scaler"])
    for name in ("shown", "step", "since", "augment_p", "cpu_seconds", "seconds"):
        setattr(state, name, counters[name])


def _fill_optimiser(
    optimiser: torch.optim.Optimizer, start: str, tensors: dict[str, Tensor]
) -> None:
    parameters = [one for group in optimiser.param_groups for one in group["params"]]
    for name, tensor in tensors.items():
        if not name.startswith(start):
            continue
        number, key = name[len(start) :].split(".")
        parameter = parameters[int(number)]
        kept = optimiser.state[parameter]
        if key == "step":
            fused = optimiser.param_groups[0]["fused"]
            kept[key] = tensor.to(parameter.device) if fused else tensor
        else:  # laid out as the weights are: else the last bits may differ
            kept[key] = torch.empty_like(parameter).copy_(tensor)
            kept[key].requires_grad_(False)
