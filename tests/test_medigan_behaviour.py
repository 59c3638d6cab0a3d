"""What a package does with seeds, numbers and channels: found out once, kept, and said."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from medgan_widgets import export
from medgan_widgets.errors import WorkerError
from medgan_widgets.exporting import recipe_of
from medgan_widgets.medigan.trust import withdraw_consent
from medgan_widgets.panels.generator_grid import GeneratorGrid
from medgan_widgets.requests import GenerateRequest
from tests.medigan_bench import NET, generating, new_kernel, weights

DRAWN = "np.uint8(255 * np.random.rand(32, 32))"
TORCH = "np.uint8(255 * torch.rand(32, 32).numpy())"


def each(value: str) -> str:
    return f"return [{value} for _ in range(num_samples)]"


def distinct(images) -> int:
    return len({image.tobytes() for image in images})


# ---------------------------------------------------------------- depth, scale, channels


@pytest.mark.parametrize("kind", ["np.int32", "np.float64"])
def test_one_depth_for_a_model_whatever_one_image_reaches(bench, kind):
    reaches = (
        f"(torch.rand(32, 32) < 2).numpy().astype({kind}) * (4000 if torch.rand(1) < .5 else 200)"
    )
    model = bench.add("96000_DEPTH", generating(each(reaches)))
    engine, request = bench.ready(model), GenerateRequest(model, seeds=range(8))
    images = engine.images(request)
    assert sorted(set(images.max(axis=(1, 2, 3)).tolist())) == [200, 4000]
    batches = list(engine.generate(request))
    assert {batch.images.dtype for batch in batches} == {np.dtype(np.uint16)}
    assert engine.recipe(request)["scale"] == [0.0, 65535.0, 65535]


def test_what_leaves_the_scale_of_the_first_images_is_clipped_counted_and_told(bench, caplog):
    rare = "torch.rand(32, 32).numpy() * (200 if torch.rand(1) < .04 else 1)"
    model = bench.add("96001_RARE", generating(each(rare)))
    noted = list(bench.ready(model).generate(GenerateRequest(model, seeds=range(60))))
    loud = [batch for batch in noted if batch.notes]
    assert 0 < len(loud) < 12
    assert all("values clipped" in batch.notes[0] for batch in loud)
    assert all(batch.images.mean() > 250 for batch in loud), "clipped, not scaled"
    assert all(100 < batch.images.mean() < 155 for batch in noted if not batch.notes)
    assert f"{len(loud)} of the images of {model}" in caplog.text
    assert "(images: 0 to 1)" in caplog.text


def test_full_empty_and_soft_masks_stay_so(bench):
    body = """
        kinds = [np.zeros((32, 32)), np.ones((32, 32)), np.full((32, 32), 0.4)]
        image = np.full((32, 32), 9, np.uint8)
        return [(image, kinds[np.random.randint(3)].astype(np.float32)) for _ in range(num_samples)]
    """
    model = bench.add("96002_MASKS", generating(body), selection={"tags": ["mask"]})
    batches = bench.ready(model).generate(GenerateRequest(model, seeds=range(20)))
    assert {int(value) for batch in batches for value in np.unique(batch.masks)} == {0, 102, 255}


def test_channels_come_from_the_first_answer(bench):
    colour = each("np.uint8(255 * np.random.rand(64, 64, 3))")
    model = bench.add("96003_COLOUR", generating(colour), image_size=(64, 64))
    assert bench.images(model, count=3).shape == (3, 64, 64, 3)
    assert bench.engine().catalogue[model].channels == 3


# ---------------------------------------------------------------- seeds

UNSEEDED = {
    "system": generating(each("np.frombuffer(os.urandom(1024), np.uint8).reshape(32, 32)")),
    "whole seconds": generating(f"np.random.seed(int(time.time()))\n{each(DRAWN)}"),
    "process": generating(f"np.random.seed(os.getpid())\n{each(DRAWN)}"),
    "clock at import": "import time\nSEED = int(time.time())\n"
    + generating(f"np.random.seed(SEED)\n{each(DRAWN)}"),
    "beside a latent": NET.replace(
        "255 * image", "200 * image + 50 * np.random.default_rng().random((32, 32))"
    ),
}


SLOW = pytest.mark.slow  # two to four processes each


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "whole seconds" else SLOW) for name in UNSEEDED],
)
def test_what_cannot_be_reproduced_says_so_everywhere(bench, name, monkeypatch, caplog):
    monkeypatch.setattr("medgan_widgets.medigan.behaviour.CLOCK_STEP", 1.1)
    latent = {"latent": 8, "weights": weights()} if "latent" in name else {}
    model = bench.add("96100_UNSEEDED", UNSEEDED[name], **latent)
    engine = bench.ready(model)
    request = GenerateRequest(model, seeds=range(3))
    batches = list(engine.generate(request))
    assert distinct([image for batch in batches for image in batch.images]) == 3
    assert all(batch.notes == ("not reproducible",) for batch in batches)
    assert engine.recipe(request)["reproducible"] is False
    for said in (engine.catalogue[model].promise, engine.recipe(request)["promise"],
                 engine.remark(model).lower(), caplog.text):  # fmt: skip
        assert "not reproducible" in said
    assert "process" in name or "a process" not in engine.remark(model)


def test_the_tile_and_the_export_say_it_too(bench, tmp_path):
    model = bench.add("96101_UNSEEDED", UNSEEDED["system"])
    engine = bench.ready(model)
    done = export(
        GenerateRequest(model, seeds=[4]), tmp_path / "out", format="png", gate=None, engine=engine
    )
    recipe = recipe_of(next(done.path.glob("*.png")))
    assert recipe["reproducible"] is False, "though it was not known before the first image"
    grid = GeneratorGrid(catalogue=engine.catalogue, engine=engine)
    grid.use(model)
    grid.generate().wait(timeout=60)
    tile = grid.canvas.picture["tiles"][0]
    assert tile["note"] == "not reproducible"
    assert "Not reproducible" in grid.status


SELF = {
    "torch": generating(f"torch.manual_seed(0)\n{each(TORCH)}"),
    "numpy": generating(f"np.random.seed(42)\n{each(DRAWN)}"),
    "a latent left out": NET.replace("    net =", "    torch.manual_seed(0)\n"
                                     "    input_latent_vector = None\n    net ="),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "torch" else SLOW) for name in SELF]
)
def test_one_that_seeds_itself_gives_another_image_for_each_seed(bench, name, caplog):
    latent = {"latent": 8, "weights": weights()} if "latent" in name else {}
    model = bench.add("96102_SELF", SELF[name], **latent)
    together = bench.images(model, seeds=range(10))
    assert distinct(together) == 10
    assert (bench.images(model, seeds=[9, 2])[[1, 0]] == together[[2, 9]]).all()
    new_kernel()
    assert (bench.images(model, seeds=[3, 256 + 9, 3]) == together[[3, 9, 3]]).all()
    engine = bench.engine()
    assert "seeds itself" in engine.catalogue[model].promise
    assert "256 apart" in engine.remark(model)
    assert "seeds itself" in caplog.text
    assert engine.recipe(GenerateRequest(model, seeds=[1]))["reproducible"] is True


def test_one_image_for_every_seed_is_told(bench, caplog):
    body = f"""
        images = []
        for _ in range(num_samples): torch.manual_seed(0); images.append({TORCH})
        return images
    """
    model = bench.add("96103_ONE", generating(body))
    assert distinct(bench.images(model, count=5)) == 1
    assert "every seed gives the same image" in caplog.text
    assert "every seed" in bench.engine().catalogue[model].promise


def test_an_ordinary_package_keeps_its_promise(bench, caplog):
    model = bench.add("96104_PLAIN", generating(each(DRAWN)))
    before = bench.engine().catalogue[model].promise
    bench.images(model)
    assert bench.engine().catalogue[model].promise == before
    assert bench.engine().remark(model) == ""
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


# ---------------------------------------------------------------- kept, and what it prints


def test_what_was_found_is_kept_with_the_consent(bench, tmp_path):
    calls = tmp_path / "calls"
    body = f"open({str(calls)!r}, 'a').write('x')\n{each(DRAWN)}"
    model = bench.add("96200_COUNTS", generating(body))
    first = bench.images(model, seeds=[5])
    assert len(calls.read_text()) == 4, "three to find out, one for the image"
    new_kernel()
    assert (bench.images(model, seeds=[5]) == first).all()
    assert len(calls.read_text()) == 5, "a new kernel makes the image alone"
    withdraw_consent(model)
    new_kernel()
    bench.images(model, seeds=[5])
    assert len(calls.read_text()) == 9, "another yes, found out again"
    for file in (Path(os.environ["MEDGAN_HOME"]) / "behaviour").rglob("*.json"):
        file.write_text("{damaged")
    new_kernel()
    assert (bench.images(model, seeds=[5]) == first).all()


def test_other_libraries_are_found_out_anew(bench, tmp_path, monkeypatch):
    calls = tmp_path / "calls"
    body = f"open({str(calls)!r}, 'a').write('x')\n{each(DRAWN)}"
    model = bench.add("96201_COUNTS", generating(body))
    bench.images(model, seeds=[5])
    new_kernel()
    monkeypatch.setattr("medgan_widgets.medigan.client.Worker.versions", property(
        lambda _: "torch 99", lambda *_: None), raising=False)  # fmt: skip
    bench.images(model, seeds=[5])
    assert len(calls.read_text()) == 8


def test_ten_megabytes_before_an_error_are_one_sentence_and_a_log(bench, caplog, capfd):
    body = "for n in range(100_000): print('chatter ' * 12, n)\nraise ValueError('bad weather')"
    model = bench.add("96202_FLOOD", generating(body))
    with pytest.raises(WorkerError, match="bad weather") as caught:
        bench.images(model)
    assert len(str(caught.value)) < 500
    out, err = capfd.readouterr()
    assert "chatter" not in caplog.text + out + err
    told = (Path(os.environ["MEDGAN_HOME"]) / "logs" / f"{model}.log").read_text()
    assert "ValueError: bad weather" in told
    assert "chatter chatter" in told
    assert "99999" in told
    assert len(told) < 80_000
    crash = bench.add("96203_CRASH", generating("print('last words')\nos.abort()"))
    with pytest.raises(WorkerError, match="SIGABRT"):
        bench.images(crash)
    logs = Path(os.environ["MEDGAN_HOME"]) / "logs"
    assert "last words" in (logs / f"{crash}.log").read_text()
