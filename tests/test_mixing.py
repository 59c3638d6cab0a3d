"""Styles of another seed, from what is asked to the grid: what fits, what is told, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan_widgets.cards import ModelCard, Network, Weights
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.checkpoints import write_weights
from medgan_widgets.engine import Engine
from medgan_widgets.errors import RequestError
from medgan_widgets.networks import stylegan2
from medgan_widgets.panels import GeneratorGrid
from medgan_widgets.panels.generator_grid import offer
from medgan_widgets.requests import GenerateRequest


def write_styled(root: Path, name: str, size: int, width: int) -> None:
    """Write a model without classes, with random weights."""
    settings = {"size": size, "channels": 1, "z_dim": 16, "classes": 0, "width": width}
    torch.manual_seed(3)
    network = stylegan2.Generator(**settings)
    for key, weights in network.named_parameters():
        if key.endswith("noise_strength"):
            torch.nn.init.normal_(weights, std=0.05)
    sha256, count = write_weights(root / name / "generator.safetensors", network)
    ModelCard(
        id=name, title=name, modality="MR", organ="brain", region="axial slice", makes="slices",
        function="noise to image", truncation=True, style_layers=network.style_layers,
        size=(size, size), licence="MIT", dataset="random weights", year=2026, phantom=True,
        architecture="style-based GAN", network=Network(name="stylegan2", settings=settings),
        weights=Weights(file="generator.safetensors", sha256=sha256, bytes=count),
    ).write(root / name / "card.json")  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("models")
    write_styled(root, "seven", 64, 4)  # layers 0 to 6
    write_styled(root, "five", 32, 4)  # layers 0 to 4
    write_styled(root, "odd", 32, 5)  # widths that no matrix library likes: 20, 10, 5
    return Engine(device="cpu", catalogue=Catalogue(root))


@pytest.fixture
def grid(engine: Engine) -> Iterator[GeneratorGrid]:
    mix = {"seed": 9, "layers": [5, 6]}
    made = GeneratorGrid("seven", images=4, engine=engine, mix=mix)
    yield made
    made.close()


@pytest.mark.parametrize("mix", [None, {"seed": 9, "layers": [0, 1]}])
def test_maps_of_any_width_leave_an_image_alone_in_its_batch(engine, mix) -> None:
    together = engine.images(GenerateRequest("odd", seeds=range(40), mix=mix))
    for shift in (1, 2, 3):
        moved = engine.images(GenerateRequest("odd", seeds=range(shift, 40), mix=mix))
        assert (moved == together[shift:]).all()


def test_a_share_of_nothing_is_the_image_itself(engine) -> None:
    alone = engine.images(GenerateRequest("seven", seeds=range(4)))
    nothing = {"seed": 9, "share": 0.0}
    assert (engine.images(GenerateRequest("seven", seeds=range(4), mix=nothing)) == alone).all()


def test_with_every_step_an_image_comes_nearer_to_the_other(engine) -> None:
    other = engine.images(GenerateRequest("seven", seeds=[9])).astype(float)
    away = [
        np.abs(
            engine.images(GenerateRequest("seven", seeds=[1], mix={"seed": 9, "share": share}))
            - other
        ).mean()
        for share in (0.0, 0.5, 1.0)
    ]
    assert away[0] > away[1] > away[2]


def test_the_recipe_of_a_mixed_image_is_plain_json_and_a_plain_one_says_nothing_of_it(
    engine,
) -> None:
    mix = {"seed": np.uint64(2**63 + 1), "layers": (np.int64(2), 4), "share": np.float32(0.5)}
    recipe = json.loads(json.dumps(engine.recipe(GenerateRequest("seven", seeds=[1], mix=mix))))
    assert recipe["mix"] == {"seed": 2**63 + 1, "layers": [2, 4], "share": 0.5}
    assert "mix" not in engine.recipe(GenerateRequest("seven", seeds=[1]))


def test_a_request_keeps_its_mix_whatever_its_maker_does_later() -> None:
    given = {"seed": 9, "share": 0.5}
    request = GenerateRequest("seven", seeds=[1], mix=given)
    given["seed"] = 10
    assert request.mix["seed"] == 9
    with pytest.raises(TypeError):
        request.mix["seed"] = 10


@pytest.mark.parametrize("share", [10**400, -0.1, "half", True, None])
def test_a_share_that_is_none_is_told_in_one_sentence(share: object) -> None:
    with pytest.raises(RequestError, match=r"share in mix must be (a number )?from"):
        GenerateRequest("seven", seeds=[1], mix={"seed": 9, "share": share})


def test_layers_that_a_model_lacks_are_told_by_engine_and_grid_alike(engine) -> None:
    mix = {"seed": 9, "layers": [2, 5]}
    message = "five has style layers 0 to 4, got 5 in mix."
    with pytest.raises(RequestError, match=message):
        engine.generate(GenerateRequest("five", seeds=[1], mix=mix))
    with pytest.raises(RequestError, match=message):
        GeneratorGrid("five", engine=engine, mix=mix)
    with pytest.raises(RequestError, match="phantom-brain-mri has no style layers"):
        GeneratorGrid("phantom-brain-mri", mix={"seed": 9})


def test_the_page_hears_how_many_layers_there_are(engine) -> None:
    assert offer(engine.catalogue["seven"])["styles"] == 7
    assert offer(Catalogue()["phantom-brain-mri"])["styles"] == 0


def test_another_model_keeps_a_mix_that_it_can_have_and_drops_another(grid) -> None:
    grid.use("five")
    assert grid.request.mix is None, "it has no layers 5 and 6"
    grid.use("seven")
    controls = {"model": "seven", "images": "1", "seed": "0", "condition": {},
            "psi": 1, "mix": {"seed": "9", "share": 0.5}, "options": {}}  # fmt: skip
    grid.canvas._handle_custom_msg({"kind": "generate", "id": "g", "controls": controls}, [])
    grid.job.wait(20)
    grid.use("five")
    assert grid.request.mix == {"seed": 9, "share": 0.5}


def test_a_seed_typed_wrong_is_told_and_the_picture_stays(grid, engine) -> None:
    grid.generate().wait(20)
    before = grid.images_array
    controls = {"model": "seven", "images": "1", "seed": "0", "condition": {},
            "psi": 1, "mix": {"seed": "nine", "share": 1}, "options": {}}  # fmt: skip
    grid.canvas._handle_custom_msg({"kind": "generate", "id": "g", "controls": controls}, [])
    assert "the seed to mix with must be" in grid.error
    assert (grid.images_array == before).all()
    assert grid.request.mix == {"seed": 9, "layers": (5, 6), "share": 1.0}
