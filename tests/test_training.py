"""Training: an iterator of ticks that leaves a run directory, and learns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan_widgets.checkpoints import read_generator
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.networks import GENERATORS
from medgan_widgets.training import PRESETS, TrainingImages, phantom_images, train

SMALL = {"data": "brain_mri", "size": 32, "pool": 64}


def test_a_run_is_a_directory_and_its_weights_fit_the_network(tmp_path: Path) -> None:
    ticks = list(train(tmp_path, **SMALL, kimg=0.128, tick_kimg=0.064))
    config = json.loads((tmp_path / "config.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [line["kimg"] for line in lines] == [tick.kimg for tick in ticks] == [0.064, 0.128]
    assert len(list((tmp_path / "images").glob("*.png"))) == 2
    generator = read_generator(
        tmp_path / "checkpoint" / "generator.safetensors", "residual", config["network"]
    )
    assert generator.classes == 5
    assert generator.w_mean.abs().sum() > 0


def test_the_same_seed_trains_the_same_weights(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        list(train(tmp_path / name, **SMALL, kimg=0.048, seed=seed, tick_kimg=0.048))
    first, same, other = (
        (tmp_path / name / "checkpoint" / "generator.safetensors").read_bytes() for name in "abc"
    )
    assert first == same
    assert first != other


def test_the_discriminator_learns_to_tell(tmp_path: Path) -> None:
    ticks = list(train(tmp_path, **SMALL, preset="texture", kimg=1.0, tick_kimg=0.25))
    assert ticks[-1].discriminator_loss < 1.3  # chance is 2 ln 2 = 1.386
    assert all(np.isfinite([tick.generator_loss, tick.discriminator_loss]).all() for tick in ticks)


def test_the_baseline_trains_without_classes(tmp_path: Path) -> None:
    images = phantom_images("mammogram", 32, 128)
    (tick,) = train(tmp_path, data=images, preset="dcgan", kimg=0.128, tick_kimg=0.128)
    assert tick.kimg == 0.128
    network = json.loads((tmp_path / "config.json").read_text())["network"]
    read_generator(tmp_path / "checkpoint" / "generator.safetensors", "dcgan", network)


def test_batch_norm_folded_in_changes_nothing_but_the_last_bits() -> None:
    torch.manual_seed(0)
    for name, settings in (("residual", {"classes": 2}), ("dcgan", {"width": 16})):
        network = GENERATORS[name](size=64, **settings)
        z, y = torch.randn(8, network.z_dim), torch.eye(2).repeat(4, 1)[:, : network.classes]
        noise = [torch.randn(8, *shape) for shape in network.noise_shapes]
        network.train()
        network(z, y, noise)  # gives batch norm statistics of its own
        network.eval()
        with torch.inference_mode():
            torch.testing.assert_close(
                network.for_inference()(z, y, noise), network(z, y, noise), atol=1e-5, rtol=1e-4
            )


def test_a_limit_a_preset_and_data_are_needed(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="never end"):
        next(train(tmp_path, data="brain_mri"))
    with pytest.raises(RequestError, match="preset must be one of"):
        next(train(tmp_path, data="brain_mri", preset="best", kimg=1))
    with pytest.raises(RequestError, match="data must be one of"):
        next(train(tmp_path, data="knee", kimg=1))
    images = phantom_images("mammogram", 32, PRESETS["residual"].batch - 1)
    with pytest.raises(DataError, match="at least 16 images"):
        next(train(tmp_path, data=images, kimg=1))
    floats = TrainingImages(images.images.astype(np.float32), images.classes, images.factors)
    with pytest.raises(DataError, match="must be uint8"):
        next(train(tmp_path, data=floats, kimg=1))
