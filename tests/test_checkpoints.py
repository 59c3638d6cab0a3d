"""Weights: whole, unaltered, finite and of the right shape, or a sentence that says why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from medgan_widgets.cards import ModelCard
from medgan_widgets.checkpoints import build_generator, read_generator
from medgan_widgets.errors import WeightsError
from tests.small_models import make_model


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, ModelCard]:
    folder = make_model(tmp_path)
    return folder / "generator.safetensors", ModelCard.read(folder / "card.json")


def read(weights: tuple[Path, ModelCard], *, check: bool = False) -> torch.nn.Module:
    path, card = weights
    assert card.network is not None
    assert card.weights is not None
    sha256 = card.weights.sha256 if check else None
    return read_generator(path, card.network.name, dict(card.network.settings), sha256)


def test_what_was_written_is_read(weights: tuple[Path, ModelCard]) -> None:
    network = read(weights, check=True)
    written = load_file(weights[0])
    for name, tensor in network.state_dict().items():
        if name in written:
            torch.testing.assert_close(tensor, written[name].to(tensor.dtype), rtol=0, atol=0)
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


@pytest.mark.parametrize("kept", [0, 7, 0.5, -1])
def test_a_truncated_file_is_refused(weights: tuple[Path, ModelCard], kept: float) -> None:
    whole = weights[0].read_bytes()
    end = int(len(whole) * kept) if isinstance(kept, float) else kept
    weights[0].write_bytes(whole[:end])
    with pytest.raises(WeightsError, match="not a whole safetensors file"):
        read(weights)
    with pytest.raises(WeightsError, match="expected SHA-256"):
        read(weights, check=True)


def test_nan_and_infinity_are_refused(weights: tuple[Path, ModelCard]) -> None:
    for bad in (float("nan"), float("inf")):
        tensors = load_file(weights[0])
        tensors["last.weight"].view(-1)[3] = bad
        save_file(tensors, weights[0])
        with pytest.raises(WeightsError, match=r"not finite, first in last.weight"):
            read(weights)


def test_another_shape_a_missing_and_a_strange_tensor_are_named(
    weights: tuple[Path, ModelCard],
) -> None:
    whole = load_file(weights[0])
    save_file({**whole, "last.weight": torch.zeros(3, 3)}, weights[0])
    with pytest.raises(WeightsError, match=r"last.weight has shape \(3, 3\)"):
        read(weights)
    save_file({k: v for k, v in whole.items() if k != "last.bias"}, weights[0])
    with pytest.raises(WeightsError, match="1 tensors are missing"):
        read(weights)
    save_file({**whole, "extra": torch.zeros(1)}, weights[0])
    with pytest.raises(WeightsError, match=r"1 are unknown, e\.g\. 'extra'"):
        read(weights)


def test_no_file_no_network_no_settings(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_generator(tmp_path / "none.safetensors", "residual", {})
    with pytest.raises(WeightsError, match="must be one of dcgan, residual"):
        build_generator("stylegan9", {})
    with pytest.raises(WeightsError, match="cannot be built"):
        build_generator("residual", {"colour": "red"})
    with pytest.raises(WeightsError, match="power of two"):
        build_generator("residual", {"size": 100})


@pytest.mark.parametrize("kind", [torch.int32, torch.bool, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(
    weights: tuple[Path, ModelCard], kind: torch.dtype
) -> None:
    save_file({name: t.to(kind) for name, t in load_file(weights[0]).items()}, weights[0])
    with pytest.raises(WeightsError, match="expected real numbers"):
        read(weights)


def test_doubles_too_large_and_negative_variances_are_refused(
    weights: tuple[Path, ModelCard],
) -> None:
    good = load_file(weights[0])
    save_file({**good, "last.bias": torch.full((4,), 1e300, dtype=torch.float64)}, weights[0])
    with pytest.raises(WeightsError, match=r"not finite, first in last.bias"):
        read(weights)
    name = next(name for name in good if name.endswith("running_var"))
    save_file({**good, name: -good[name].float()}, weights[0])
    with pytest.raises(WeightsError, match="negative variance"):
        read(weights)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes on disk are a thing of Unix")
def test_a_pipe_in_place_of_the_weights_is_not_waited_for(
    weights: tuple[Path, ModelCard],
) -> None:
    weights[0].unlink()
    os.mkfifo(weights[0])
    with pytest.raises(WeightsError, match="not a file"):
        read(weights)


def test_weights_that_never_came_are_told_as_what_they_are(weights):
    weights[0].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    with pytest.raises(WeightsError, match=r"a Git LFS pointer; run git lfs pull"):
        read(weights)
    with pytest.raises(WeightsError, match=r"the file is a Git LFS pointer"):
        read(weights, check=True)
