"""A checkpoint of another program becomes a model, bit for bit; what is none is refused."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.engine import Engine
from medgan_widgets.errors import RequestError, WeightsError
from medgan_widgets.exporting import import_checkpoint
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
    folder = tmp_path / "models" / "mine"
    assert card.training["imported_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert not any("netG" in (folder / name).read_text() for name in ("card.json", "README.md"))
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
    "bare sequence": lambda state: {k.removeprefix("main."): v for k, v in state.items()},
    "compiled": lambda state: {f"_orig_mod.module.{name}": v for name, v in state.items()},
    "compiled within": lambda state: {
        k.replace("main", "main._orig_mod"): v for k, v in state.items()
    },
    "flat, with its rival": lambda state: {
        **{f"netG.module.{name}": tensor for name, tensor in state.items()},
        **{f"netD.module.{k}": v for k, v in tutorial_discriminator().items()},
    },
    "an odd place": lambda state: {"nets": {"first": state}, "epoch": 3},
    "medigan's template": lambda state: {
        **state,
        "embed_nn.0.weight": torch.zeros(6, 50),
        "embed_nn.1.weight": torch.zeros(Z_DIM, 50),
        "embed_nn.1.bias": torch.zeros(Z_DIM),
    },
    "half of another": lambda state: {
        **state, **{k.replace("main", "best"): v for k, v in list(state.items())[:9]},
    },
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_the_generator_is_found_where_programs_put_it(
    generator: TutorialGenerator, file: Path, tmp_path: Path, wrap: Any
) -> None:
    torch.save(wrap(generator.state_dict()), file)
    card = taken(file, tmp_path / "models")
    assert (weights_of(card, tmp_path)["layers.12.weight"] == generator.main[12].weight).all()


def weights_of(card: Any, tmp_path: Path) -> dict[str, torch.Tensor]:
    return load_file(tmp_path / "models" / "mine" / card.weights.file)


@pytest.mark.parametrize("names", [("main", "best_so_far"), ("netG.main", "netG_ema.main")])
def test_of_two_generators_none_is_taken_unasked_and_never_a_mixture(
    generator: TutorialGenerator, file: Path, tmp_path: Path, names: tuple[str, str]
) -> None:
    state = {k.removeprefix("main."): v for k, v in generator.state_dict().items()}
    other = {name: tensor + 1 for name, tensor in state.items()}
    nested: dict[str, Any] = dict(zip(names, (state, other), strict=True))
    flat = {f"{name}.{k}": v for name, one in nested.items() for k, v in one.items()}
    for content in (flat, dict(reversed(flat.items())), {"model": flat}, nested):
        torch.save(content, file)
        said = refused(file, tmp_path)
        assert "holds 2 generators that fit: " in said
        assert all(name in said for name in names)
        assert "key=" in said
    torch.save(flat, file)
    for name, one in nested.items():
        card = import_checkpoint(
            file, "mine", **KNEE, key=name, models=tmp_path / "models", overwrite=True
        )
        saved = weights_of(card, tmp_path)
        assert all((saved[f"layers.{k}"] == v).all() for k, v in one.items() if "tracked" not in k)
        assert f"Taken was {name} of the file" in card.limits
        assert next(n for n in names if n != name) in card.limits


def test_key_is_a_key_of_the_file_or_how_names_begin(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    state = generator.state_dict()
    torch.save({"nets": {"first": state}, "epoch": 3, "embed_nn": torch.zeros(2)}, file)
    assert "nothing under 'nets.second'; there is: nets, nets.f" in refused(
        file, tmp_path, key="nets.second"
    )
    card = taken(file, tmp_path / "models", key="nets", limits="For teaching.")
    assert card.limits.startswith("For teaching. Imported: ")
    for said in ("ReLU", "tanh", "-1 (black) to 1 (white)", "of the file, not embed_nn"):
        assert said in card.limits, "what was assumed, and what else was in it"


def test_weights_that_were_fp16_stay_fp16(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    torch.save(generator.half().state_dict(), file)
    card = taken(file, tmp_path / "models")
    assert card.training["precision"] == "fp16"
    assert card.training["fp16_grey_levels"] == 0


def test_this_packages_networks_need_their_settings_and_the_names_of_classes(
    file: Path, tmp_path: Path
) -> None:
    settings = {"size": 32, "channels": 3, "z_dim": 12, "classes": 5, "width": 4}
    torch.save({"module": {"G": GENERATORS["residual"](**settings).state_dict()}}, file)
    with pytest.raises(RequestError, match="settings must be the arguments of the residual"):
        taken(file, tmp_path / "models", network="residual")
    ours: dict[str, Any] = {"network": "residual", "settings": settings}
    with pytest.raises(RequestError, match="5 classes and condition names 0"):
        taken(file, tmp_path / "models", **ours)
    condition = {"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)}
    card = taken(file, tmp_path / "models", **ours, condition=condition)
    assert card.network.settings == settings
    assert (card.channels, card.truncation, card.function) == (3, True, "class to image")


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
    for content in ({"generator": Bomb()}, TutorialGenerator()):
        torch.save(content, file)
        message = refused(file, tmp_path)
        assert "pickled code, which is not run here" in message
        assert "torch.save(generator.state_dict(), path)" in message
    assert not (tmp_path / "exploded").exists()


def zipped(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?><Error>AccessDenied</Error>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        (b'{"error": "not found"}', "JSON that begins with"),
        (b"not a checkpoint", "text that begins with 'not a checkpoint'"),
        (zipped("netG/weights.pth"), "a zip of netG/weights.pth"),
        (zipped("model/code/x.py"), "TorchScript"),
        (b"PK\x03\x04 cut", "copy it again"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_none_are_refused_as_what_they_are(
    file: Path, tmp_path: Path, content: bytes, said: str, suffix: str
) -> None:
    file = file.with_suffix(suffix)
    file.write_bytes(content)
    message = refused(file, tmp_path)
    assert file.name in message
    assert said in message
    file.unlink()
    assert "is not a file" in refused(file, tmp_path)


def test_archives_pictures_and_cut_files_are_refused(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    for content in (b"\x1f\x8b\x08\x00 gzip", b"\x89HDF\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\x00"):
        file.write_bytes(content)
        assert "of no kind that torch.save writes" in refused(file, tmp_path)
    torch.save(generator.state_dict(), file)
    file.write_bytes(file.read_bytes()[:-500])
    assert "copy it again" in refused(file, tmp_path)


def test_a_discriminator_is_told_from_a_generator(file: Path, tmp_path: Path) -> None:
    for state in (DISCRIMINATORS["dcgan"](size=32).state_dict(), tutorial_discriminator()):
        torch.save(state, file)
        assert "holds a discriminator" in refused(file, tmp_path)


def test_a_missing_tensor_an_unknown_one_and_a_wrong_shape_are_named(
    generator: TutorialGenerator, file: Path, tmp_path: Path
) -> None:
    state = generator.state_dict()
    torch.save({k: v for k, v in state.items() if k != "main.4.bias"}, file)
    assert "main.4.bias" in refused(file, tmp_path)
    torch.save(TutorialGenerator(bias=True).state_dict(), file)
    assert "1 are unknown, e.g. 'main.0.bias'" in refused(file, tmp_path)
    torch.save({**state, "main.3.weight": torch.zeros(2, 2, 4, 4)}, file)
    assert "main.3.weight has shape (2, 2, 4, 4)" in refused(file, tmp_path)
    torch.save(state, file)
    assert "has shape" in refused(file, tmp_path, settings={"size": 64, "width": 8})
    assert "not those of a residual generator" in refused(
        file, tmp_path, network="residual", settings={"size": 64}
    )
    with pytest.raises(RequestError, match="network must be one of dcgan, residual, stylegan2"):
        taken(file, tmp_path / "models", network="biggan")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(
    generator: TutorialGenerator, file: Path, tmp_path: Path, value: float
) -> None:
    state = generator.state_dict()
    state["main.6.weight"][0, 0, 0, 0] = value
    torch.save(state, file)
    assert "not finite, first in main.6.weight" in refused(file, tmp_path)


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
