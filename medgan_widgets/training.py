"""Training as one visible loop: an iterator of ticks; a run is a directory (see ``runs``).

Step it in a notebook (``for tick in train(...)``) or run it by itself:
``python -m medgan_widgets.training RUN_DIR --data brain_mri --cpu-seconds 600``.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.checkpoints import write_weights
from medgan_widgets.datasets import TrainingImages, checked_images, phantom_images
from medgan_widgets.errors import RequestError
from medgan_widgets.networks import DISCRIMINATORS, GENERATORS, Discriminator, Generator, residual
from medgan_widgets.phantoms import KINDS
from medgan_widgets.presets import PRESETS, Preset
from medgan_widgets.runs import Tick, record_tick, start_run
from medgan_widgets.seeds import whole_number

log = logging.getLogger(__name__)


def train(
    run_dir: str | Path,
    *,
    data: str | TrainingImages,  # a phantom's kind, or images of your own
    preset: str = "residual",  # a key of PRESETS
    kimg: float | None = None,  # stop after so many thousand images …
    cpu_seconds: float | None = None,  # … or so much processor time
    size: int = 128,  # pixels, when the data are phantoms
    pool: int = 20_000,  # how many phantoms to draw
    seed: int = 0,
    tick_kimg: float = 2.0,  # how often to report
) -> Iterator[Tick]:
    """Train a GAN and yield a ``Tick`` now and then; stopping the loop stops the run.

    Raises
    ------
    RequestError
        For an unknown preset or phantom, or when neither limit is given.
    DataError
        For images that are not uint8 [N, H, W, C] or fewer than a batch.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run_dir:
    ...     ticks = list(
    ...         train(run_dir, data="brain_mri", size=32, pool=32, kimg=0.032, tick_kimg=0.016)
    ...     )
    >>> len(ticks)
    2
    """
    if preset not in PRESETS:
        raise RequestError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}.")
    if kimg is None and cpu_seconds is None:
        raise RequestError("give kimg or cpu_seconds, else the training would never end.")
    recipe = PRESETS[preset]
    if isinstance(data, str):
        if data not in KINDS:
            raise RequestError(f"data must be one of {', '.join(KINDS)}; got {data!r}.")
        pool = whole_number(pool, "pool", recipe.batch, 10**6)
        learned = phantom_images(data, size, pool)
    else:
        learned = checked_images(data, recipe.batch)
    limits = {"kimg": kimg, "cpu_seconds": cpu_seconds}
    config = {
        "data": data if isinstance(data, str) else "images",
        "size": learned.images.shape[1],
        "pool": len(learned.images),
        "preset": preset,
        "seed": seed,
        **limits,
        "settings": asdict(recipe),
        "network": _network_settings(recipe, learned),
        "factors": {name: list(values) for name, values in learned.factors.items()},
        "torch": torch.__version__,
    }
    folder = Path(run_dir)
    start_run(folder, config)
    yield from _loop(folder, learned, recipe, config, limits, seed, tick_kimg)


def _loop(
    folder: Path,
    learned: TrainingImages,
    preset: Preset,
    config: dict[str, Any],
    limits: dict[str, float | None],
    seed: int,
    tick_kimg: float,
) -> Iterator[Tick]:
    # Networks, their average, and optimisers.
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    settings = config["network"]
    generator = GENERATORS[preset.network](**settings)
    discriminator = DISCRIMINATORS[preset.network](**_without_z(settings))
    _first_weights(generator, discriminator, preset)
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(generator).requires_grad_(False)
    steps = {
        network: torch.optim.Adam(network.parameters(), lr=preset.learning_rate, betas=preset.betas)
        for network in (generator, discriminator)
    }
    fixed = _draw_inputs(generator, learned.classes[:16])

    shown, step, since, started = 0, 0, Sums(), time.process_time()
    while (done := _share(shown, time.process_time() - started, limits)) < 1:
        for optimiser in steps.values():
            optimiser.param_groups[0]["lr"] = preset.learning_rate * _decay(done, preset)
        rows = random.integers(len(learned.images), size=preset.batch)
        real = _to_tensor(learned.images[rows])
        y = torch.from_numpy(
            learned.classes[rows] if preset.conditional else learned.classes[rows, :0]
        )

        # Discriminator: real images up, synthetic ones down.
        with torch.autocast("cpu", torch.bfloat16, enabled=preset.bf16):
            fake = generator(*_draw_inputs(generator, y.numpy()))
            real_logits, fake_logits = discriminator(real, y), discriminator(fake.detach(), y)
            d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
        d_total = d_loss
        if preset.r1_gamma and step % preset.r1_every == 0:
            d_total = d_loss + _r1(discriminator, real, y, preset)
        _update(steps[discriminator], d_total)

        # Generator: its images up, through the discriminator just taught.
        with torch.autocast("cpu", torch.bfloat16, enabled=preset.bf16):
            g_loss = F.softplus(-discriminator(fake, y)).mean()
        _update(steps[generator], g_loss)
        _average(averaged, generator, min(preset.ema, 1 - 1 / (step / 10 + 1)))

        # Report.
        shown, step = shown + len(rows), step + 1
        since.add(g_loss, d_loss, real_logits, len(rows))
        if since.images >= tick_kimg * 1000:
            tick = since.tick(shown / 1000, time.process_time() - started)
            since = Sums()
            _record(folder, tick, averaged, fixed)
            yield tick
    final_average(averaged, learned, preset)
    write_weights(folder / "checkpoint" / "generator.safetensors", averaged, half=False)


def _first_weights(generator: Generator, discriminator: Discriminator, preset: Preset) -> None:
    for name, weights in generator.named_parameters():
        if preset.noise_start and name.endswith("noise_strength"):
            nn.init.normal_(weights, std=preset.noise_start)
    for layer in discriminator.modules():
        if preset.he_start and isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class Sums:
    """What happened since the last tick."""

    def __init__(self) -> None:
        self.images, self.steps, self.started = 0, 0, time.perf_counter()
        self.totals = np.zeros(3)

    def add(self, g_loss: Tensor, d_loss: Tensor, real_logits: Tensor, images: int) -> None:
        """Count one step in."""
        self.totals += [
            float(loss.detach()) for loss in (g_loss, d_loss, real_logits.sign().mean())
        ]
        self.images, self.steps = self.images + images, self.steps + 1

    def tick(self, kimg: float, cpu_seconds: float) -> Tick:
        """Return the means."""
        seconds = time.perf_counter() - self.started
        g_loss, d_loss, sign = (float(value) for value in self.totals / self.steps)
        return Tick(kimg, g_loss, d_loss, sign, self.images / seconds, cpu_seconds)


def _share(shown: int, seconds: float, limits: dict[str, float | None]) -> float:
    """Return how much of the run is done, 0 … 1."""
    shares = []
    if limits["kimg"] is not None:
        shares.append(shown / 1000 / limits["kimg"])
    if limits["cpu_seconds"] is not None:
        shares.append(seconds / limits["cpu_seconds"])
    return max(shares)


def _decay(done: float, preset: Preset) -> float:
    if preset.decay_from >= 1:
        return 1.0
    return min(1.0, max(0.02, (1 - done) / (1 - preset.decay_from)))


def _r1(discriminator: nn.Module, real: Tensor, y: Tensor, preset: Preset) -> Tensor:
    """Return the lazy gradient penalty on real images."""
    real = real.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=preset.bf16):
        logits = discriminator(real, y)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return slope.square().sum(dim=(1, 2, 3)).mean() * (preset.r1_gamma / 2 * preset.r1_every)


def _update(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


@torch.no_grad()
def _average(averaged: Generator, generator: Generator, past: float) -> None:
    torch._foreach_lerp_(list(averaged.parameters()), list(generator.parameters()), 1 - past)
    for mean, now in zip(averaged.buffers(), generator.buffers(), strict=True):
        mean.copy_(now)


@torch.no_grad()
def final_average(averaged: Generator, learned: TrainingImages, preset: Preset) -> None:
    """Fit what the averaged weights need but gradient steps do not give them.

    Batch norm's statistics belong to the weights that saw them, so they are
    measured again with the averaged ones; and truncation needs the mean of ``w``.
    """
    norms = [m for m in averaged.modules() if isinstance(m, nn.BatchNorm2d)]
    if preset.ema:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over the batches below
        averaged.train()
        for start in range(0, 64 * preset.batch, preset.batch):
            classes = np.take(
                learned.classes, range(start, start + preset.batch), axis=0, mode="wrap"
            )
            averaged(*_draw_inputs(averaged, classes if preset.conditional else classes[:, :0]))
        averaged.eval()
    if isinstance(averaged, residual.Generator):
        z = F.normalize(torch.randn(4096, preset.z_dim), dim=1) * preset.z_dim**0.5
        averaged.w_mean.copy_(averaged.mapping(z).mean(dim=0))


def _draw_inputs(
    generator: Generator, classes: NDArray[np.float32]
) -> tuple[Tensor, Tensor, list[Tensor]]:
    count = len(classes)
    y = torch.from_numpy(np.ascontiguousarray(classes))[:, : generator.classes]
    noise = [torch.randn(count, *shape) for shape in generator.noise_shapes]
    return torch.randn(count, generator.z_dim), y, noise


def _to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 [N, H, W, C] into floats -1 … 1, [N, C, H, W]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1


def _network_settings(preset: Preset, learned: TrainingImages) -> dict[str, int]:
    _, height, _, channels = learned.images.shape
    classes = learned.classes.shape[1] if preset.conditional else 0
    return {
        "size": height, "channels": channels, "z_dim": preset.z_dim,
        "classes": classes, "width": preset.width,
    }  # fmt: skip


def _without_z(settings: dict[str, int]) -> dict[str, int]:
    return {name: value for name, value in settings.items() if name != "z_dim"}


@torch.no_grad()
def _record(
    folder: Path, tick: Tick, averaged: Generator, fixed: tuple[Tensor, Tensor, list[Tensor]]
) -> None:
    """Write the tick, what the averaged generator makes by now, and the checkpoint."""
    averaged.eval()
    shown = averaged(*fixed)
    averaged.train()
    pixels = ((shown.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    record_tick(folder, tick, pixels)
    write_weights(folder / "checkpoint" / "generator.safetensors", averaged, half=False)


def main(arguments: list[str] | None = None) -> None:
    """Run a training from the command line, logging one line a tick."""
    parser = argparse.ArgumentParser(prog="python -m medgan_widgets.training", description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--data", required=True, choices=sorted(KINDS))
    parser.add_argument("--preset", default="residual", choices=sorted(PRESETS))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--pool", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kimg", type=float)
    parser.add_argument("--cpu-seconds", type=float)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(given.threads)
    settings = {k: v for k, v in vars(given).items() if k not in ("run_dir", "threads")}
    for tick in train(given.run_dir, **settings):
        log.info("%s", json.dumps({k: round(v, 3) for k, v in asdict(tick).items()}))


if __name__ == "__main__":
    main()
