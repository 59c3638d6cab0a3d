"""The style-based network: truncation, styles of another seed, and the same pixels in any batch."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan_widgets.cards import ModelCard, Network, Weights
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import write_weights
from medgan_widgets.engine import Engine
from medgan_widgets.errors import RequestError
from medgan_widgets.exporting import image_recipe, restore, save_png
from medgan_widgets.networks import DISCRIMINATORS, GENERATORS, stylegan2
from medgan_widgets.panels import GeneratorGrid
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.training.evaluate import recalibrate_batchnorm

SETTINGS = {"size": 32, "channels": 1, "z_dim": 16, "classes": 2, "width": 4}


def drawn(network, count: int = 4, seed: int = 0):
    torch.manual_seed(seed)
    y = torch.eye(max(1, network.classes))[torch.arange(count) % max(1, network.classes)]
    noise = [torch.randn(count, *shape) for shape in network.noise_shapes]
    return torch.randn(count, network.z_dim), y[:, : network.classes], noise


@pytest.mark.parametrize("size", [16, 32, 64, 128, 256])
@pytest.mark.parametrize(("channels", "classes"), [(1, 0), (3, 4)])
def test_every_size_gives_images_and_every_weight_learns(size, channels, classes) -> None:
    torch.manual_seed(1)
    network = stylegan2.Generator(size, channels, 16, classes, 4)
    judge = DISCRIMINATORS["stylegan2"](size, channels, classes, 4)
    z, y, noise = drawn(network)
    images = network(z, y, noise)
    assert images.shape == (4, channels, size, size)
    assert float(images.detach().abs().max()) <= 1
    judge(images, y).sum().backward()
    lacking = [name for name, w in network.named_parameters() if w.grad is None]
    assert lacking == []
    assert all(torch.isfinite(w.grad).all() for w in network.parameters())


def test_a_size_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        stylegan2.Generator(size=48)


def test_half_precision_stays_near() -> None:
    torch.manual_seed(1)
    network = stylegan2.Generator(**SETTINGS)
    z, y, noise = drawn(network)
    whole = network(z, y, noise)
    with torch.autocast("cpu", torch.bfloat16):
        low = network(z, y, noise)
    assert low.isfinite().all()
    assert float((whole - low).detach().abs().mean()) < 0.05


@pytest.mark.parametrize("name", list(GENERATORS))
def test_inference_is_the_same_network(name: str) -> None:
    """Batch norm folded in and weights laid out once change nothing but the last bits."""
    torch.manual_seed(1)
    network = GENERATORS[name](**SETTINGS | {"classes": 0 if name == "dcgan" else 2})
    inputs = drawn(network)
    network(*inputs)  # gives batch norm statistics of its own
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(
            network.for_inference()(*inputs), network(*inputs), atol=1e-5, rtol=1e-4
        )


@pytest.mark.parametrize("name", ["stylegan2", "residual"])
def test_styles_are_taken_layer_by_layer(name: str) -> None:
    torch.manual_seed(1)
    network = GENERATORS[name](**SETTINGS).eval()
    (z, y, noise), (other, _, _) = drawn(network), drawn(network, seed=5)
    count = network.style_layers

    def mixed(*layers: int, by: float = 1.0) -> torch.Tensor:
        share = torch.zeros(4, count)
        share[:, list(layers)] = by
        return network(z, y, noise, 1.0, (other, share))

    alone, others = network(z, y, noise), network(other, y, noise)
    assert torch.equal(mixed(by=0.0), alone)
    torch.testing.assert_close(mixed(*range(count)), others, atol=1e-5, rtol=1e-3)
    between = mixed(*range(count), by=0.5)
    assert not torch.equal(between, alone)
    assert not torch.equal(between, others)
    # Coarse layers move the whole of an image, the finest one changes it least.
    moved = [float((mixed(layer) - alone).abs().mean()) for layer in range(count)]
    assert min(moved) > 0


# ------------------------------------------------------------ through the engine


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A model with random weights: what styles do to it is as real as with learned ones."""
    folder = tmp_path_factory.mktemp("models") / "styled"
    folder.mkdir()
    torch.manual_seed(3)
    network = stylegan2.Generator(**SETTINGS)
    for name, weights in network.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.normal_(weights, std=0.05)
    network = recalibrate_batchnorm(network, np.eye(2, dtype=np.float32), True)
    sha256, size = write_weights(folder / "generator.safetensors", network)
    ModelCard(
        id="styled", title="Styled", modality="MR", organ="brain", region="axial slice",
        makes="slices", function="class to image", condition={"tumour": (False, True)},
        truncation=True, style_layers=network.style_layers, size=(32, 32), licence="MIT",
        dataset="random weights", year=2026, phantom=True, architecture="style-based GAN",
        network=Network(name="stylegan2", settings=SETTINGS),
        weights=Weights(file="generator.safetensors", sha256=sha256, bytes=size),
    ).write(folder)  # fmt: skip
    return folder.parent


@pytest.fixture(scope="module")
def engine(models) -> Engine:
    return Engine(device="cpu", catalogue=Catalogue(models))


def ask(seeds, **more) -> GenerateRequest:
    return GenerateRequest("styled", seeds=seeds, **more)


MIXES = (None, {"seed": 9}, {"seed": 2**63, "layers": [0, 1]}, {"seed": 9, "share": 0.3})


@pytest.mark.parametrize("mix", MIXES)
def test_alone_in_any_batch_and_in_any_order_the_pixels_are_the_same(engine, mix) -> None:
    more = {"truncation_psi": 0.7, "mix": mix, "condition": {"tumour": True}}
    together = engine.images(ask(range(11), **more))
    for seed in (0, 3, 4, 10):
        assert (engine.images(ask([seed], **more))[0] == together[seed]).all()
    backwards = engine.images(ask(range(10, -1, -1), **more))
    assert (backwards[::-1] == together).all()


def test_truncation_draws_all_to_the_mean_of_their_class(engine) -> None:
    def spread(psi: float) -> float:
        images = engine.images(ask(range(16), truncation_psi=psi, condition={"tumour": True}))
        return float(images.astype(float).std(axis=0).mean())

    assert spread(1.0) > spread(0.5) > spread(0.0)
    no, yes = (
        engine.images(ask([1], truncation_psi=0.0, condition={"tumour": v})) for v in (False, True)
    )
    assert (no != yes).any()


def test_the_style_of_another_seed(engine) -> None:
    condition = {"condition": {"tumour": False}}
    alone, other = engine.images(ask([1, 9], **condition))
    whole = engine.images(ask([1], mix={"seed": 9}, **condition))[0]
    coarse = engine.images(ask([1], mix={"seed": 9, "layers": [0, 1]}, **condition))[0]

    def apart(a, b) -> float:
        return float(np.abs(a.astype(float) - b).mean())

    assert apart(whole, other) < apart(whole, alone)  # all but the noise is the other's
    assert apart(coarse, alone) > 0
    assert apart(coarse, whole) > 0
    same = engine.images(ask([9], mix={"seed": 9}, **condition))[0]
    assert apart(same, other) <= 1


def test_a_mixed_image_is_restored_from_its_file(engine, tmp_path) -> None:
    request = ask([4], mix={"seed": 2**63 + 1, "layers": (2, 4), "share": 0.5}, truncation_psi=0.6)
    image = engine.images(request)[0]
    saved = save_png(image, image_recipe(engine.recipe(request), 4), tmp_path)
    again = restore(saved)
    assert again.mix == {"seed": 2**63 + 1, "layers": (2, 4), "share": 0.5}
    assert (engine.images(again)[0] == image).all()
    assert pickle.loads(pickle.dumps(again)) == again


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({"layers": [0, 1]}, "mix must be like"),
        ({"seed": 1, "laiers": [0, 1]}, "mix must be like"),
        ({"seed": -1}, "seed to mix with must be from 0"),
        ({"seed": 1, "share": 1.5}, "share in mix must be from 0 to 1"),
        ({"seed": 1, "share": float("nan")}, "share in mix must be from 0 to 1"),
        ({"seed": 1, "layers": [3, 1]}, "last layer to mix must be from 3"),
        ({"seed": 1, "layers": 2}, "layers as"),
        ({"seed": 1, "layers": [0, 9]}, "style layers 0 to 4, got 9"),
    ],
)
def test_a_mix_that_cannot_be_is_told_in_a_sentence(engine, mix, message) -> None:
    with pytest.raises(RequestError, match=message):
        engine.generate(ask([1], mix=mix))


def test_the_grid_mixes(engine) -> None:
    mix = {"seed": 9, "layers": [0, 1]}
    grid = GeneratorGrid("styled", images=4, engine=engine, mix=mix)
    grid.generate().wait()
    assert (grid.images_array == engine.images(ask(range(4), mix=mix))).all()
    # The page speaks of seeds as text, since its numbers end at 2^53.
    assert grid.canvas.controls["mix"]["seed"] == "9"
    controls = {
        "model": "styled", "images": "2", "seed": "0", "condition": {},
        "psi": None, "options": {},
        "mix": {"seed": "18446744073709551615", "layers": [2, 4], "share": 0.5},
    }  # fmt: skip
    grid.canvas._handle_custom_msg({"kind": "generate", "id": "g", "controls": controls}, [])
    assert grid.request.mix == {"seed": 2**64 - 1, "layers": (2, 4), "share": 0.5}
    assert not grid.error
    grid.job.wait()
    grid.close()


# ------------------------------------------------------------ the shipped one


def test_the_shipped_model_learned_what_its_card_says() -> None:
    """Trained on a phantom: truncation and mixing move anatomy, not only pixels."""
    engine = Engine(device="cpu")
    card = engine.catalogue["phantom-styles"]
    assert card.truncation
    assert card.style_layers == 7
    assert card.phantom
    assert card.score("FD").floor < card.score("FD").value < 1

    def images(seeds, **more):
        condition = {"contrast": "T2", "tumour": False}
        request = GenerateRequest("phantom-styles", seeds=seeds, condition=condition, **more)
        return engine.images(request).astype(float)[..., 0]

    spread = [images(range(24), truncation_psi=psi).std(axis=0).mean() for psi in (0.2, 0.6, 1.0)]
    assert spread == sorted(spread)

    def area(made) -> np.ndarray:  # of the head, which coarse styles decide
        return (made > 40).mean(axis=(1, 2))

    own = area(images(range(24)))
    (other,) = area(images([42]))
    coarse = area(images(range(24), mix={"seed": 42, "layers": [0, 2]}))
    fine = area(images(range(24), mix={"seed": 42, "layers": [5, 6]}))
    assert np.abs(coarse - other).mean() < 0.6 * np.abs(own - other).mean()
    assert np.abs(fine - own).mean() < 0.5 * np.abs(coarse - own).mean()
