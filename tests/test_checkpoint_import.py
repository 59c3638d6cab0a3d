"""A checkpoint of another program becomes a model, bit for bit; what is none is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.engine import Engine
from medgan_widgets.errors import RequestError, WeightsError
from medgan_widgets.export import import_checkpoint
from medgan_widgets.export.settings_guess import settings_by_trial
from medgan_widgets.networks import DISCRIMINATORS, GENERATORS
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import latents_from_seeds

WIDTH, Z_DIM = 4, 10
KNEE: dict[str, Any] = {
    "network": "dcgan", "modality": "DX", "organ": "knee", "region": "frontal view",
}  # fmt: skip


class TutorialGenerator(nn.Module):
    """The generator of PyTorch's DCGAN tutorial, 64 pixels, as people have it in their files."""

    def __init__(self, width: int = WIDTH, bias: bool = False) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(Z_DIM, width * 8, 4, 1, 0, bias=bias),
            nn.BatchNorm2d(width * 8), nn.ReLU(True),
            nn.ConvTranspose2d(width * 8, width * 4, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 4), nn.ReLU(True),
            nn.ConvTranspose2d(width * 4, width * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width * 2), nn.ReLU(True),
            nn.ConvTranspose2d(width * 2, width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(width), nn.ReLU(True),
            nn.ConvTranspose2d(width, 1, 4, 2, 1, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.main(z)


def tutorial_discriminator() -> dict[str, torch.Tensor]:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
        nn.Conv2d(4, 8, 4, 2, 1, bias=False), nn.BatchNorm2d(8), nn.LeakyReLU(0.2),
        nn.Conv2d(8, 1, 4, 1, 0, bias=False),
    )  # fmt: skip
    return {f"main.{name}": tensor for name, tensor in network.state_dict().items()}


@pytest.fixture
def generator() -> TutorialGenerator:
    """As after a training: every norm has seen images of its own."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = TutorialGenerator()
        for _ in range(10):
            network(torch.randn(8, Z_DIM, 1, 1))
        network.main[12].weight.mul_(40)  # something to see
    return network.eval()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netG.pth"


def taken(file: Path, models: Path, **changes: Any) -> Any:
    return import_checkpoint(file, "mine", **{**KNEE, **changes}, models=models)


def test_the_tutorials_generator_makes_the_same_images_here(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    torch.save(generator.state_dict(), file)
    card = taken(file, tmp_path / "models", statement={"source": "a friend"})
    assert card.size == (64, 64)
    assert card.network.settings == {"size": 64, "channels": 1, "z_dim": Z_DIM, "width": WIDTH}
    assert card.training["precision"] == "fp32"
    assert card.training["imported_from"] == "netG.pth"
    weights = tmp_path / "models" / "mine" / card.weights.file
    ours = read_generator(weights, "dcgan", card.network.settings, card.weights.sha256)
    z = torch.from_numpy(latents_from_seeds(range(4), Z_DIM))
    with torch.inference_mode():
        theirs = generator(z[:, :, None, None])
        assert torch.equal(ours(z, z[:, :0], []), theirs), "bit for bit"
    engine = Engine(device="cpu", catalogue=Catalogue(tmp_path / "models"))
    made = engine.images(GenerateRequest("mine", seeds=range(4)))[..., 0]
    expected = ((theirs[:, 0] + 1) * 127.5).round().numpy()
    assert np.abs(made - expected).max() <= 1, "batch norm is folded in the engine"
    assert made.std() > 2


WRAPS = {
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "netG": lambda state: {"netG": state, "netD": tutorial_discriminator(), "loss": 0.1},
    "nested": lambda state: {"model": {"G_ema": state, "G": {"x": torch.zeros(1)}}},
    "parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "lightning": lambda state: {
        "state_dict": {
            **{f"generator.{name}": tensor for name, tensor in state.items()},
            **{f"discriminator.{k}": v for k, v in tutorial_discriminator().items()},
        }
    },
    "other sequence": lambda state: {k.replace("main.", "gen."): v for k, v in state.items()},
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_the_generator_is_found_where_programs_put_it(
    generator: TutorialGenerator, file: Path, tmp_path: Path, wrap: Any
) -> None:
    torch.save(wrap(generator.state_dict()), file)
    assert taken(file, tmp_path / "models").network.settings["z_dim"] == Z_DIM


def test_an_unusual_place_is_named(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    torch.save({"nets": {"first": generator.state_dict()}, "epoch": 3}, file)
    with pytest.raises(WeightsError, match=r"dictionary of nets, epoch; say where .* key="):
        taken(file, tmp_path / "models")
    with pytest.raises(WeightsError, match=r"nothing under 'nets.second'; there is: first"):
        taken(file, tmp_path / "models", key="nets.second")
    assert taken(file, tmp_path / "models", key="nets.first").size == (64, 64)


def test_weights_that_were_fp16_stay_fp16(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    torch.save(generator.half().state_dict(), file)
    card = taken(file, tmp_path / "models")
    assert card.training["precision"] == "fp16"
    assert card.training["fp16_grey_levels"] == 0


def test_a_residual_network_with_classes_wants_their_names(file: Path, tmp_path: Path) -> None:
    settings = {"size": 32, "channels": 3, "z_dim": 12, "classes": 5, "width": 4}
    torch.save(GENERATORS["residual"](**settings).state_dict(), file)
    with pytest.raises(RequestError, match="5 classes and condition names 0"):
        taken(file, tmp_path / "models", network="residual")
    condition = {"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)}
    card = taken(file, tmp_path / "models", network="residual", condition=condition)
    assert card.network.settings == settings
    assert (card.channels, card.truncation, card.function) == (3, True, "class to image")


@pytest.mark.parametrize("network", ["residual", "stylegan2"])
@pytest.mark.parametrize("odd", [{}, {"size": 64, "channels": 3, "classes": 3, "z_dim": 24}])
def test_settings_are_found_by_trial_where_nobody_wrote_down_how(
    network: str, odd: dict[str, int]
) -> None:
    if network not in GENERATORS:
        pytest.skip(f"no {network} network here yet")
    settings = {"size": 32, "channels": 1, "z_dim": 12, "classes": 0, "width": 4, **odd}
    with torch.device("meta"):
        state = GENERATORS[network](**settings).state_dict()
    shapes = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert settings_by_trial(shapes, network) == settings


def refused(file: Path, tmp_path: Path, **changes: Any) -> str:
    with pytest.raises(WeightsError) as caught:
        taken(file, tmp_path / "models", **changes)
    assert not (tmp_path / "models" / "mine").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_code_in_a_pickle_is_not_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"generator": Bomb()}, file)
    message = refused(file, tmp_path)
    assert "pickled code, which is not run here" in message
    assert "torch.save(generator.state_dict(), path)" in message
    assert not (tmp_path / "exploded").exists()


def test_a_whole_module_is_refused_with_what_to_do(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    torch.save(generator, file)
    assert "state_dict()" in refused(file, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_files_that_are_none_are_refused(file: Path, tmp_path: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert "netG.pth" in refused(file, tmp_path)
    file.unlink()
    assert "is not a file" in refused(file, tmp_path)


def test_a_cut_file_is_refused(generator: TutorialGenerator, file: Path, tmp_path: Path) -> None:
    torch.save(generator.state_dict(), file)
    file.write_bytes(file.read_bytes()[:-500])
    assert "copy it again" in refused(file, tmp_path)


@pytest.mark.parametrize("network", ["dcgan", "residual"])
def test_a_discriminator_is_told_from_a_generator(file: Path, tmp_path: Path, network: str) -> None:
    torch.save(DISCRIMINATORS[network](size=32).state_dict(), file)
    assert "holds a discriminator" in refused(file, tmp_path, network=network)
    torch.save(tutorial_discriminator(), file)
    assert "holds a discriminator" in refused(file, tmp_path)


def test_a_missing_tensor_an_unknown_one_and_a_wrong_shape_are_named(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    state = generator.state_dict()
    torch.save({k: v for k, v in state.items() if k != "main.4.bias"}, file)
    assert "layers.4.bias" in refused(file, tmp_path)
    torch.save(TutorialGenerator(bias=True).state_dict(), file)
    assert "1 are unknown, e.g. 'layers.0.bias'" in refused(file, tmp_path)
    torch.save({**state, "main.3.weight": torch.zeros(2, 2, 4, 4)}, file)
    assert "layers.3.weight has shape (2, 2, 4, 4)" in refused(file, tmp_path)
    torch.save(state, file)
    assert "has shape" in refused(file, tmp_path, settings={"size": 64, "width": 8})
    assert "not those of a residual generator" in refused(file, tmp_path, network="residual")
    assert "network must be one of" in refused(file, tmp_path, network="biggan")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(
    generator: TutorialGenerator, file: Path, tmp_path: Path, value: float
) -> None:
    state = generator.state_dict()
    state["main.6.weight"][0, 0, 0, 0] = value
    torch.save(state, file)
    assert "not finite, first in layers.6.weight" in refused(file, tmp_path)


def test_odd_contents_are_refused(file: Path, tmp_path: Path) -> None:
    for content in (
        [1, 2],
        torch.zeros(3),
        {},
        {"a": 1},
        {"main.0.weight": torch.zeros(3)},
        {"main.0.weight": torch.zeros(3, 2, 4, 4)},
        {"layers.0.weight": torch.zeros(3, 2, 4, 4), "x": torch.zeros(1)},
    ):
        torch.save(content, file)
        assert refused(file, tmp_path)
