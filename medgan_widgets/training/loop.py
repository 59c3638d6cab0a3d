"""The training loop: `train` from the first step to the last, and what happens in one step."""

from __future__ import annotations

import inspect
import logging
import os
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import psutil
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medgan_widgets import networks
from medgan_widgets.datasets import TrainingImages
from medgan_widgets.devices import used_bytes
from medgan_widgets.errors import TrainingError, WeightsError
from medgan_widgets.presets import SIDED, Preset, TrainConfig, preset_from
from medgan_widgets.runs import (
    RunState,
    Tick,
    clear_command,
    cut_back,
    lock_run,
    read_command,
    run_config,
    write_state,
)
from medgan_widgets.training.alarms import AlarmRules, diverged
from medgan_widgets.training.augment import augmented
from medgan_widgets.training.evaluate import (
    TrainingEvaluator,
    recalibrate_batchnorm,
    to_tensor,
)
from medgan_widgets.training.finetune import start_weights
from medgan_widgets.training.prepare import new_run, resumed_run, with_settings
from medgan_widgets.training.run_writer import RunWriter
from medgan_widgets.training.state import SUMS, TrainingState, first_state, read_checkpoint

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 30.0  # between two checkpoints, at least
COMMAND_SECONDS = 0.3  # between two looks at what somebody asks for
SCORE_SECONDS = 60.0  # between two quality scores, at least
GROUP = 4  # images whose difference the discriminator looks at together
RAMP = 10  # steps over which the average of the weights grows long
LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}

# The loops of this process that are not over yet: a notebook that left one with break keeps
# it, and its lock, for as long as the variable lives.
_open_loops: WeakValueDictionary[Path, Generator[Tick, None, None]] = WeakValueDictionary()


@with_settings
def train(run_dir: str | Path, *, resume: bool = False, **settings: Any) -> Iterator[Tick]:
    """Train a GAN and yield a ``Tick`` now and then; stopping the loop stops the run.

    A run that was stopped or killed goes on with ``resume=True``: by kimg alone it
    ends with the very weights that it would have had without the break (on the
    same machine, libraries and number of threads; with ``cpu_seconds`` the
    learning rate follows the clock, so the last bits differ). Nothing else needs
    to be given again, except images that were no path; a new ``kimg`` moves the end.

    Parameters
    ----------
    run_dir
        The folder of the run.
    resume
        Go on from the run's last checkpoint.
    settings
        The fields of `TrainConfig`: ``data``, ``preset``, ``kimg``, ``size``, ``labels``, …

    Raises
    ------
    RequestError
        For an unknown preset or phantom, no limit, a folder that holds a run
        already, or one that another process trains.
    DataError
        For images that cannot be learned from, and a resume with other images.
    TrainingError
        When the losses are no numbers any more; the last good checkpoint is kept.

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
    path = Path(run_dir).absolute()
    left = _open_loops.get(path)
    config = TrainConfig(**settings)
    ticks = training_loop(Path(run_dir), config, resume=resume, left=left)
    _open_loops[path] = ticks
    return ticks


def training_loop(
    folder: Path,
    config: TrainConfig,
    *,
    resume: bool,
    left: Generator[Tick, None, None] | None = None,  # an older loop of this run and process
    process_start: float | None = None,  # of a process that only trains, seconds since 1970
) -> Generator[Tick, None, None]:
    """Train a run from its start or its last checkpoint, and yield its ticks."""
    since = process_start or time.time()  # older commands do not count
    if left is not None and inspect.getgeneratorstate(left) == inspect.GEN_SUSPENDED:
        left.close()  # writes its checkpoint and gives the lock back
    del left
    lock = lock_run(folder)
    try:
        # What to train and on which images: read and checked.
        if process_start is not None:
            limit = run_config(folder).get("kimg")
            write_state(folder, RunState("starting", os.getpid(), of_kimg=limit))
        run, learned = resumed_run(folder, config) if resume else new_run(folder, config)
        preset, device, training = preset_from(run), run["device"], learned.training

        # Networks, optimisers and random numbers: from the seed, then from the last checkpoint.
        state = first_state(preset, run["network"], run["seed"], device)
        frozen = start_weights(state, run["start_from"], run["freeze_d"])
        identity = {"run_id": run["run_id"], "fingerprint": run["fingerprint"]}
        if read_checkpoint(folder, state, identity):
            log.info("going on from %.3f kimg", state.kimg)
        clear_command(folder, since)
        cut_back(folder, state.kimg)

        # What judges it, and what writes it down.
        leaks = [kind for kind in run["augmentations"] if kind in SIDED]
        evaluator = TrainingEvaluator(
            training, learned.held_out, conditional=preset.conditional, leaks=leaks
        )
        rules = AlarmRules()
        writer = RunWriter(folder, run["kimg"], state, identity)
        writer.write_state("running")

        def ready(images: int) -> networks.Generator:  # the averaged generator, fit to be used
            classes = training.classes
            return recalibrate_batchnorm(state.averaged, classes, preset.conditional, images)

        tick_steps = max(1, round(run["tick_kimg"] * 1000 / preset.batch))
        tick_start = scored_at = time.perf_counter()
        tick_from = state.since  # images of this tick that an earlier process showed
        score_seconds = 0.0  # that the last score took
        command_read = float("-inf")
        clock_zero = tick_start - state.seconds  # moves on while the training is paused
        cpu_zero = time.process_time() - state.cpu_seconds
        stopped = False
        try:
            while True:
                # Time spent so far, and the share of the run that is done: of kimg or of time.
                now = time.perf_counter()
                state.seconds, state.cpu_seconds = now - clock_zero, time.process_time() - cpu_zero
                done = max(
                    0.0 if run["kimg"] is None else state.kimg / run["kimg"],
                    0.0 if run["cpu_seconds"] is None else state.cpu_seconds / run["cpu_seconds"],
                )

                # Stop or pause, when somebody asks for it; a pause waits here.
                if now - command_read >= COMMAND_SECONDS:
                    command, command_read = read_command(folder, since), now
                    if command == "pause":
                        writer.save(ready(256))
                        writer.write_state("paused")
                        while (command := read_command(folder, since)) == "pause":
                            time.sleep(0.1)
                        paused = time.perf_counter() - now
                        clock_zero, tick_start = clock_zero + paused, tick_start + paused
                        writer.write_state("running")
                    stopped = command == "stop"
                if stopped or done >= 1:
                    break

                # One batch for both networks.
                one_step(state, training, preset, device, done, frozen)

                # Losses that are no numbers end it. To look at them makes a GPU wait.
                at_end = run["kimg"] is not None and state.kimg >= run["kimg"]
                due = at_end or state.step % tick_steps == 0
                looks = due or state.step % 32 == 0 or state.sums.device.type == "cpu"
                if looks and not bool(torch.isfinite(state.sums).all()):
                    raise WeightsError("a loss is not a number")

                # A tick: what happened since the last one, and how good the images are.
                tick = None
                if due:
                    now = time.perf_counter()
                    state.seconds, state.cpu_seconds = (
                        now - clock_zero,
                        time.process_time() - cpu_zero,
                    )
                    speed = (state.since - tick_from) / max(1e-9, now - tick_start)
                    figures = evaluator.evaluate(state.averaged, state.discriminator)
                    # A quality score once a minute and at the end; rarer where it takes over 2 %.
                    if at_end or now - scored_at >= max(SCORE_SECONDS, 50 * score_seconds):
                        figures["score"] = evaluator.score(ready(512))
                        scored_at = time.perf_counter()
                        score_seconds = scored_at - now
                    tick = _tick_of(state, preset.batch, speed, figures)
                    alarms = rules.alarms(tick)
                    writer.write_tick(tick, alarms, evaluator.pictures(state.averaged))
                    tick_start, tick_from = time.perf_counter(), 0

                # A checkpoint, at most twice a minute.
                if time.monotonic() - writer.saved_at >= CHECKPOINT_SECONDS:
                    writer.save(ready(256))

                if tick is not None:
                    try:
                        yield tick
                    except GeneratorExit:  # whoever stepped it has enough
                        stopped = True
                        break

            # The end, with a checkpoint.
            saved = writer.save(ready(1024))
            note = "" if saved else "the last checkpoint could not be written: no room"
            writer.write_state("stopped" if stopped else "finished", note)
        except KeyboardInterrupt:  # in the middle of a step: what that left is not kept
            writer.write_interrupted()
            raise
        except WeightsError as error:  # losses or weights are no numbers any more
            alarm = diverged(state.kimg, writer.saved_kimg)
            writer.write_alarm(alarm)
            failure = TrainingError(f"{alarm.text} {alarm.evidence}; try {alarm.advice}.")
            writer.write_failure(failure)
            raise failure from error
        except BaseException as error:
            writer.write_failure(error)
            raise
    finally:
        lock.release()


def _tick_of(state: TrainingState, batch: int, speed: float, figures: dict[str, Any]) -> Tick:
    """Return the means since the last tick, and begin to count anew."""
    sums = dict(zip(SUMS, state.sums.tolist(), strict=True))
    steps, penalties = state.since // batch, sums.pop("penalties")
    r1 = sums.pop("r1")
    state.sums.zero_()
    state.since = 0
    return Tick(
        kimg=state.kimg,
        **{name: value / steps for name, value in sums.items()},
        r1=r1 / penalties if penalties else None,
        augment_p=state.augment_p,
        images_per_second=speed,
        cpu_seconds=state.cpu_seconds,
        seconds=state.seconds,
        memory_mb=memory_mb(state.sums.device),
        **figures,
    )


def memory_mb(device: torch.device) -> float:
    """Return what this process holds, in megabytes; on a GPU what torch reserved there."""
    used = used_bytes(device) if device.type == "cuda" else None
    return float(used or psutil.Process().memory_info().rss) / 1e6


def one_step(
    state: TrainingState,
    training: TrainingImages,
    preset: Preset,
    device: str,
    done: float,  # how much of the run is over, 0 … 1
    frozen: tuple[nn.Parameter, ...],  # weights of the discriminator that stay
) -> None:
    """Teach both networks with one batch, and count what happened."""
    generator, discriminator, rng = state.generator, state.discriminator, state.rng
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
    z, noise = rng.normal(generator.z_dim), [rng.normal(*s) for s in generator.noise_shapes]
    mix = _crossover(state, preset.mixing)
    with cast:
        fake = generator(z, y, noise) if mix is None else generator(z, y, noise, 1.0, mix)

    # Discriminator: reals up, synthetic ones down, both seen through the augmentation.
    seen = augmented(real, state.augment_p, preset.augmentations, rng)
    fake_seen = augmented(fake.float(), state.augment_p, preset.augmentations, rng)
    with cast:
        real_logits, fake_logits = _logits(discriminator, seen, fake_seen.detach(), y)
    d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
    d_total, slope = d_loss, None
    if preset.r1_gamma and state.step % preset.r1_every == 0:  # lazy (Karras 2020)
        slope = _r1(discriminator, seen, y, cast if preset.precision == "bf16" else None)
        d_total = d_total + slope * (preset.r1_gamma / 2 * preset.r1_every)
    _update(state, "discriminator", d_total, frozen)

    # Generator: its images up, through the discriminator just taught.
    discriminator.requires_grad_(False)
    with cast:
        g_loss = F.softplus(-discriminator(fake_seen, y).float()).mean()
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


def _logits(
    discriminator: nn.Module, real: Tensor, fake: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """Return logits of reals and synthetic images, float32 [N] each, in one pass where it can be.

    A larger batch is quicker; batch norm would mix reals and synthetic ones, so such a network
    gets two. The groups of the minibatch deviation take every (N / 4)th image, so both kinds
    are laid beside each other within each quarter and never meet in a group.
    """
    if len(real) % GROUP or any(isinstance(m, nn.BatchNorm2d) for m in discriminator.modules()):
        return discriminator(real, y).float(), discriminator(fake, y).float()
    pair = [torch.unflatten(images, 0, (GROUP, -1)) for images in (real, fake)]
    classes = torch.unflatten(y, 0, (GROUP, -1)).repeat(1, 2, 1).flatten(0, 1)
    logits = discriminator(torch.cat(pair, dim=1).flatten(0, 1), classes).float()
    of_reals, of_fakes = torch.unflatten(logits, 0, (GROUP, -1)).chunk(2, dim=1)
    return of_reals.flatten(), of_fakes.flatten()


def _crossover(state: TrainingState, mixing: float) -> tuple[Tensor, Tensor] | None:
    """Return a second latent and which layers take their style from it."""
    layers = state.generator.style_layers
    if not mixing or not layers:
        return None
    other = state.rng.normal(state.generator.z_dim)
    start = (state.rng.uniform(0, 1) * (layers - 1)).floor() + 1
    start = torch.where(state.rng.uniform(0, 1) < mixing, start, torch.full_like(start, layers))
    numbers = torch.arange(layers, device=other.device)
    return other, (numbers[None] >= start[:, None]).float()


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
