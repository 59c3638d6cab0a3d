"""Alarms, each provoked: a training that goes wrong says so in plain words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medgan_widgets.datasets import phantom_images
from medgan_widgets.errors import TrainingError
from medgan_widgets.presets import PRESETS
from medgan_widgets.runs import Tick, alarms, run_state
from medgan_widgets.training import loop, train
from medgan_widgets.training.alarms import AlarmRules
from medgan_widgets.training.evaluate import TrainingEvaluator

STEADY = replace(PRESETS["residual"], decay_from=1.0)


def raised(run: Path) -> dict[str, str]:
    return {alarm.name: alarm.evidence for alarm in alarms(run)}


@pytest.mark.slow
def test_an_ordinary_training_raises_none(tmp_path: Path) -> None:
    list(train(tmp_path, data="brain_mri", size=32, pool=300, kimg=1, tick_kimg=0.1))
    assert raised(tmp_path) == {}


@pytest.mark.slow
def test_twenty_images_are_learned_by_heart_and_then_repeated(tmp_path: Path) -> None:
    ticks = train(
        tmp_path, data="brain_mri", size=32, pool=20, kimg=3.5, tick_kimg=0.5, seed=3,
        preset=replace(STEADY, r1_gamma=0.01),
    )  # fmt: skip
    last = list(ticks)[-1]
    assert set(raised(tmp_path)) >= {"discriminator overfitting", "mode collapse"}
    assert "held-out reals" in raised(tmp_path)["discriminator overfitting"]
    assert last.diversity < 0.4


@pytest.mark.slow
def test_a_training_that_does_not_learn(tmp_path: Path) -> None:
    still = replace(STEADY, learning_rate=1e-7)
    list(
        train(tmp_path, data="brain_mri", size=32, pool=100, preset=still, kimg=0.9, tick_kimg=0.1)
    )
    assert list(raised(tmp_path)) == ["no learning"]


def test_numbers_that_are_none_stop_it_and_the_good_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = train(tmp_path, data="brain_mri", size=32, pool=100, kimg=1, tick_kimg=0.064)
    next(ticks)
    ticks.close()
    good = (tmp_path / "checkpoint" / "generator.safetensors").read_bytes()
    real = loop.one_step

    def hurt(state, *rest):
        with torch.no_grad():
            next(state.discriminator.parameters()).fill_(float("inf"))
        real(state, *rest)

    monkeypatch.setattr(loop, "one_step", hurt)
    with pytest.raises(TrainingError, match=r"diverged.*the one of 0.064 kimg is kept"):
        list(train(tmp_path, resume=True))
    (alarm,) = alarms(tmp_path)
    assert alarm.stops
    assert run_state(tmp_path).state == "failed"
    assert (tmp_path / "checkpoint" / "generator.safetensors").read_bytes() == good
    monkeypatch.undo()
    assert next(train(tmp_path, resume=True)).kimg == 0.128


def test_losses_that_run_away() -> None:
    rules = AlarmRules()
    found = [a.name for n in range(3) for a in rules.alarms(Tick(n, 50.0 * n, 900.0 * n))]
    assert found == ["divergence"]


@pytest.mark.slow
def test_a_flip_that_leaks_into_the_images(tmp_path: Path) -> None:
    flipped = replace(STEADY, augment="fixed", augment_p=1.0, augmentations=("flip",))
    ticks = train(
        tmp_path, data="chest_xray", size=32, pool=300, kimg=1.6, tick_kimg=0.4, seed=3,
        preset=flipped,
    )  # fmt: skip
    list(ticks)
    assert "augmentation leak" in raised(tmp_path)


class OneDeadClass(nn.Module):
    """Makes phantoms it has seen, but one single image of the last class."""

    classes, z_dim, noise_shapes = 5, 8, ()

    def __init__(self, images: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, z, y, noise, psi=1.0):
        chosen = (z[:, 0] * 1e4).long().abs() % len(self.images)
        return self.images[torch.where(y[:, -1] > 0.5, torch.zeros_like(chosen), chosen)]


class Indifferent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, images, y):
        return images.mean(dim=(1, 2, 3))


def test_a_class_whose_images_are_all_alike() -> None:
    learned = phantom_images("brain_mri", 32, 400)
    evaluator = TrainingEvaluator(learned, None, conditional=True)
    looked = evaluator.evaluate(OneDeadClass(learned.images), Indifferent())
    rules = AlarmRules()
    found = [a for n in range(4) for a in rules.alarms(Tick(n, 1.0, 1.0, **looked))]
    assert "dead class" in {alarm.name for alarm in found}
    assert any("tumour=True" in alarm.text for alarm in found)
    assert not any("tumour=False" in alarm.text for alarm in found)
    assert looked["class_diversity"]["tumour=False"] > 0.5


def test_an_alarm_is_not_repeated_at_every_tick() -> None:
    rules = AlarmRules()
    values = [0.9, 0.9, *[0.2] * 30]
    ticks = [Tick(n, 1.0, 1.0, diversity=value) for n, value in enumerate(values)]
    assert len([a for tick in ticks for a in rules.alarms(tick)]) == 1


@pytest.mark.parametrize(
    ("phantom", "extractor"), [(True, "phantom-cnn-1"), (False, "canonical-1")]
)
def test_the_network_that_knows_phantoms_scores_phantoms_only(
    phantom: bool, extractor: str
) -> None:
    drawn = phantom_images("brain_mri", 32, 256)
    whose = tuple(f"patient {n % 128 // 16 if n < 128 else 100 + n}" for n in range(256))
    sides = ("test",) * 128 + ("train",) * 128
    learned = replace(drawn, phantom=phantom, groups=whose, sides=sides, note=None)
    evaluator = TrainingEvaluator(learned.training, learned.held_out, conditional=True)
    score = evaluator.score(OneDeadClass(drawn.images))
    assert score is not None
    assert (score["name"], score["extractor"], score["n_real"]) == ("FD", extractor, 128)
    assert "only 8 patients" in score["warning"], "those held out"
    assert score["interval"] is None
    assert bool(score["why"]) != phantom
    few = replace(learned, sides=("test",) * 109 + ("train",) * 147)
    assert (
        TrainingEvaluator(few.training, few.held_out, conditional=True).score(Indifferent()) is None
    )


@pytest.mark.parametrize(("augment_p", "sign"), [(0.0, 0.8), (0.4, 0.55)])
def test_held_out_reals_taken_for_synthetic_are_told_also_while_augmentation_adapts(
    augment_p: float, sign: float
) -> None:
    rules = AlarmRules()
    ticks = [
        Tick(n, 1.0, 1.0, real_sign=sign, held_out=held, augment_p=augment_p)
        for n, held in enumerate([0.1, 0.9, 0.92, 0.98])
    ]
    names = [alarm.name for tick in ticks for alarm in rules.alarms(tick)]
    assert names == ["discriminator overfitting"]


def test_the_discriminator_is_asked_in_whole_groups_of_four() -> None:
    """It compares images within groups: an odd rest would be judged by other rules."""
    asked: list[int] = []

    class Counts(Indifferent):
        def __call__(self, images: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
            asked.append(len(images))
            assert len(images) == len(classes)
            return super().__call__(images, classes)

    learned = phantom_images("brain_mri", 32, 103)
    TrainingEvaluator(learned, learned, conditional=True).evaluate(
        OneDeadClass(learned.images),
        Counts(),
    )
    assert set(asked) == {32, 4}
