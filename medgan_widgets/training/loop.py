"""The training loop: one visible function a step, for every network."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets.datasets import TrainingImages
from medgan_widgets.presets import SIDED, Preset
from medgan_widgets.runs import Tick
from medgan_widgets.training.augment import augmented
from medgan_widgets.training.probe import Probe, to_tensor
from medgan_widgets.training.run_writer import RunWriter
from medgan_widgets.training.start import start_weights
from medgan_widgets.training.state import TrainingState, first_state, read_checkpoint

log = logging.getLogger(__name__)

GROUP = 4  # images whose difference the discriminator looks at together
RAMP = 10  # steps over which the average of the weights grows long
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}


def steps(
    folder: Path,
    learned: TrainingImages,
    preset: Preset,
    config: dict[str, Any],
    since: float,
) -> Generator[Tick, None, None]:
    """Train from the last checkpoint, or from the start, and yield a tick now and then.

    ``since`` is when it was begun (seconds since 1970): older wishes do not count.
    """
    device, training = config["device"], learned.training
    state = first_state(preset, config["network"], config["seed"], device)
    frozen = start_weights(state, config["start_from"], config["freeze_d"])
    marks = {"run_id": config["run_id"], "fingerprint": config["fingerprint"]}
    if read_checkpoint(folder, state, marks):
        log.info("going on from %.3f kimg", state.shown / 1000)
    leaks = [kind for kind in config["augmentations"] if kind in SIDED]
    probe = Probe(training, learned.held_out, conditional=preset.conditional, leaks=leaks)
    writer = RunWriter(folder, state, config, marks, probe, training, since)
    try:
        while writer.goes_on():
            one_step(state, training, preset, device, writer.done, frozen)
            tick = writer.tick()
            if tick is not None:
                yield tick
    except GeneratorExit:  # whoever stepped it has enough, between two steps
        writer.stopped = True
        writer.finish()
        raise
    except KeyboardInterrupt:  # in the middle of a step: what that left is not kept
        writer.interrupted()
        raise
    except BaseException as error:
        writer.fail(error)
        raise
    else:
        writer.finish()


def one_step(
    state: TrainingState,
    training: TrainingImages,
    preset: Preset,
    device: str,
    done: float,  # how much of the run is over, 0 … 1
    frozen: tuple[nn.Parameter, ...],  # weights of the discriminator that stay
) -> None:
    """Teach both networks with one batch, and count what happened."""
    generator, discriminator, draws = state.generator, state.discriminator, state.draws
    cast = torch.autocast(
        device.split(":")[0], LOW.get(preset.precision), enabled=preset.precision in LOW
    )
    for optimiser in state.optimisers.values():
        optimiser.param_groups[0]["lr"] = preset.learning_rate * _decay(done, preset)

    # The next images and their classes.
    rows = state.rows.integers(len(training.images), size=preset.batch)
    real = to_tensor(training.images[rows], device)
    y = torch.from_numpy(training.classes[rows]).to(device)
    y = y if preset.conditional else y[:, :0]

    # Synthetic ones of the same classes.
    z, noise = draws.normal(generator.z_dim), [draws.normal(*s) for s in generator.noise_shapes]
    mix = _crossover(state, preset.mixing)
    with cast:
        fake = generator(z, y, noise) if mix is None else generator(z, y, noise, 1.0, mix)

    # Discriminator: reals up, synthetic ones down, both seen through the augmentation.
    seen = augmented(real, state.augment_p, preset.augmentations, draws)
    seen_fake = augmented(fake.float(), state.augment_p, preset.augmentations, draws)
    with cast:
        real_logits, fake_logits = _judged(discriminator, seen, seen_fake.detach(), y)
    d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    d_total, slope = d_loss, None
    if preset.r1_gamma and state.step % preset.r1_every == 0:  # lazy (Karras 2020)
        slope = _r1(discriminator, seen, y, cast if preset.precision == "bf16" else None)
        d_total = d_total + slope * (preset.r1_gamma / 2 * preset.r1_every)
    _update(state, "discriminator", d_total, frozen)

    # Generator: its images up, through the discriminator just taught.
    discriminator.requires_grad_(False)
    with cast:
        g_loss = F.softplus(-discriminator(seen_fake, y).float()).mean()
    _update(state, "generator", g_loss, ())
    discriminator.requires_grad_(True)
    for weight in frozen:
        weight.requires_grad_(False)
    state.scaler.update()
    _average(state, preset.ema)

    # Adaptive augmentation: more of it while the discriminator is too sure of the reals.
    sign = real_logits.detach().sign().mean()
    state.sign.lerp_(sign, 1.0 if state.step == 0 else 0.05)
    if preset.augment == "adaptive" and state.step % 4 == 0:
        way = 1 if float(state.sign) > preset.augment_target else -1
        change = way * 4 * preset.batch / (preset.augment_kimg * 1000)
        state.augment_p = min(0.85, max(0.0, state.augment_p + change))

    # Count.
    penalty = torch.zeros(2, device=device) if slope is None else torch.stack(
        [slope.detach(), torch.ones_like(slope)]
    )  # fmt: skip
    figures = (g_loss.detach(), d_loss.detach(), sign, fake_logits.detach().sign().mean())
    state.sums += torch.cat([torch.stack(figures), penalty])
    state.shown, state.step = state.shown + preset.batch, state.step + 1
    state.since += preset.batch


def _judged(
    discriminator: nn.Module, real: Tensor, fake: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits of reals and synthetic images, float32 [N] each, in one pass where it can be.

    A larger batch is quicker; batch norm would mix both sides, so such a network gets two. The
    groups of the minibatch deviation take every (N / 4)th image, so both sides are laid
    beside each other within each quarter and never meet in a group.
    """
    if len(real) % GROUP or any(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules()):
        return discriminator(real, y).float(), discriminator(fake, y).float()
    sides = [torch.unflatten(side, 0, (GROUP, -1)) for side in (real, fake)]
    classes = torch.unflatten(y, 0, (GROUP, -1)).repeat(1, 2, 1).flatten(0, 1)
    logits = discriminator(torch.cat(sides, dim=1).flatten(0, 1), classes).float()
    of_reals, of_fakes = torch.unflatten(logits, 0, (GROUP, -1)).chunk(2, dim=1)
    return of_reals.flatten(), of_fakes.flatten()


def _crossover(state: TrainingState, mixing: float) -> tuple[Tensor, Tensor] | None:
    """Return a second latent and which layers take their style from it."""
    layers = state.generator.style_layers
    if not mixing or not layers:
        return None
    other = state.draws.normal(state.generator.z_dim)
    start = (state.draws.uniform(0, 1) * (layers - 1)).floor() + 1
    start = torch.where(state.draws.uniform(0, 1) < mixing, start, torch.full_like(start, layers))
    places = torch.arange(layers, device=other.device)
    return other, (places[None] >= start[:, None]).float()


def _r1(discriminator: nn.Module, real: Tensor, y: Tensor, cast: torch.autocast | None) -> Tensor:
    """Return the mean squared slope on what the discriminator saw of the reals."""
    real = real.detach().requires_grad_()
    with cast or nullcontext():
        logits = discriminator(real, y)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    return slope.float().square().sum(dim=(1, 2, 3)).mean()


def _update(
    state: TrainingState, name: str, loss: Tensor, frozen: tuple[nn.Parameter, ...]
) -> None:
    optimiser = state.optimisers[name]
    optimiser.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    for weight in frozen:
        weight.grad = None
    state.scaler.step(optimiser)


def _decay(done: float, preset: Preset) -> float:
    if preset.decay_from >= 1:
        return 1.0
    return min(1.0, max(0.02, (1 - done) / (1 - preset.decay_from)))


@torch.no_grad()
def _average(state: TrainingState, ema: float) -> None:
    past = min(ema, 1 - 1 / (state.step / RAMP + 1))
    averaged, now = state.averaged, state.generator
    torch._foreach_lerp_(list(averaged.parameters()), list(now.parameters()), 1 - past)
    for mean, buffer in zip(averaged.buffers(), now.buffers(), strict=True):
        mean.copy_(buffer)
