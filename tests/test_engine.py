"""The engine: the same request gives the same pixels, and a wrong one a clear sentence."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import medgan_widgets as mw
from medgan_widgets import devices
from medgan_widgets.devices import checked_device, device_lock
from medgan_widgets.engine import Engine
from medgan_widgets.errors import (
    DeviceMemoryError,
    ModelNotFoundError,
    NotRunnableError,
    RequestError,
    WeightsError,
)
from medgan_widgets.generators import LocalGenerators
from tests.small_models import make_model

SHIPPED = ("phantom-brain-mri", "phantom-chest-xray", "phantom-mammogram", "phantom-styles")


def ask(model: str, seeds: Any, **more: Any) -> mw.GenerateRequest:
    return mw.GenerateRequest(model, seeds=seeds, **more)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    make_model(tmp_path)
    make_model(tmp_path, "small-dcgan", "dcgan")
    return tmp_path


@pytest.fixture
def engine(models: Path) -> Engine:
    return Engine(device="cpu", catalogue=mw.Catalogue(models))


@pytest.mark.parametrize("model", [*SHIPPED, "small-brain", "small-dcgan"])
def test_a_seed_has_the_same_pixels_alone_batched_and_permuted(engine: Engine, model: str) -> None:
    seeds = [3, 1, 4, 1, 5, 9, 2, 6, 2**64 - 1]
    batched = engine.images(ask(model, seeds))
    alone = np.concatenate([engine.images(ask(model, seed)) for seed in seeds])
    backwards = engine.images(ask(model, seeds[::-1]))[::-1]
    np.testing.assert_array_equal(batched, alone)
    np.testing.assert_array_equal(batched, backwards)
    np.testing.assert_array_equal(batched[1], batched[3])
    assert len({image.tobytes() for image in batched}) == 8


@pytest.mark.parametrize("model", SHIPPED)
def test_the_same_after_cancel_after_release_and_in_a_new_engine(model: str) -> None:
    engine = Engine(device="cpu")
    expected = engine.images(ask(model, range(6)))
    stopped = engine.generate(ask(model, range(64)))
    next(stopped)
    stopped.close()  # what Cancel does
    np.testing.assert_array_equal(engine.images(ask(model, range(6))), expected)
    engine.release()
    np.testing.assert_array_equal(engine.images(ask(model, range(6))), expected)
    np.testing.assert_array_equal(Engine(device="cpu").images(ask(model, range(6))), expected)


def test_the_same_in_a_new_process_with_one_thread_and_with_two() -> None:
    program = (
        "import sys, hashlib, torch, medgan_widgets as mw; torch.set_num_threads(int(sys.argv[1]));"
        f"engine = mw.Engine(device='cpu'); models = {SHIPPED!r};"
        "made = [engine.images(mw.GenerateRequest(m, seeds=range(5))) for m in models];"
        "print(*(hashlib.sha256(images.tobytes()).hexdigest() for images in made))"
    )
    engine = Engine(device="cpu")
    here = [hashlib.sha256(engine.images(ask(m, range(5))).tobytes()).hexdigest() for m in SHIPPED]
    for threads in ("1", "2"):
        there = subprocess.run(
            [sys.executable, "-c", program, threads], capture_output=True, text=True, check=True
        )
        assert there.stdout.split() == here


def test_other_seeds_other_images_and_conditions_matter(engine: Engine) -> None:
    model = "phantom-brain-mri"
    plain = engine.images(ask(model, range(4), condition={"contrast": "T1", "tumour": False}))
    tumour = engine.images(ask(model, range(4), condition={"contrast": "T1", "tumour": True}))
    t2 = engine.images(ask(model, range(4), condition={"contrast": "T2", "tumour": False}))
    assert not np.array_equal(plain, tumour)
    centre = np.s_[:, 40:90, 40:90]
    assert abs(t2[centre].astype(float).std() - plain[centre].astype(float).std()) > 5
    for first, second in itertools.combinations(plain.astype(float), 2):
        assert np.abs(first - second).mean() > 2


def test_drawn_classes_come_back_as_labels(engine: Engine) -> None:
    (batch, *_) = engine.generate(ask("small-brain", [0, 1], condition={"tumour": True}))
    assert batch.labels["tumour"] == (True, True)
    assert set(batch.labels["contrast"]) <= {"T1", "T2", "FLAIR"}
    drawn = engine.images(ask("small-brain", [0], condition={"tumour": True}))
    told = engine.images(
        ask("small-brain", [0], condition={"tumour": True, "contrast": batch.labels["contrast"][0]})
    )
    np.testing.assert_array_equal(drawn, told)


def test_truncation_pulls_towards_the_mean_and_one_changes_nothing(engine: Engine) -> None:
    condition = {"contrast": "T1", "tumour": False}
    spread = []
    for psi in (0.0, 0.5, 1.0):
        request = ask("phantom-brain-mri", range(8), truncation_psi=psi, condition=condition)
        spread.append(engine.images(request).astype(float).std(axis=0).mean())
    assert spread[0] < spread[1] < spread[2]
    full = ask("phantom-brain-mri", range(8), truncation_psi=1.0, condition=condition)
    without = ask("phantom-brain-mri", range(8), condition=condition)
    np.testing.assert_array_equal(engine.images(full), engine.images(without))


def test_fast_mode_is_close_and_says_so_in_the_recipe(engine: Engine) -> None:
    exact = engine.images(ask("phantom-brain-mri", range(4))).astype(int)
    fast = ask("phantom-brain-mri", range(4), mode="fast")
    assert np.abs(engine.images(fast) - exact).mean() < 6
    assert engine.recipe(fast)["dtype"] == "bfloat16"
    assert engine.recipe(ask("phantom-brain-mri", range(4)))["dtype"] == "float32"


def test_a_recipe_is_plain_json_and_names_the_weights(engine: Engine) -> None:
    recipe = json.loads(json.dumps(engine.recipe(ask("small-brain", range(3)))))
    assert recipe["weights_sha256"] == engine.catalogue["small-brain"].weights.sha256
    assert recipe["synthetic"] is True
    assert recipe["seeds"] == {"start": 0, "stop": 3, "step": 1}


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"model_id": "no-such-model"}, ModelNotFoundError, "no-such-model"),
        ({"model_id": "phantom"}, ModelNotFoundError, "phantom"),
        ({"condition": {"contrast": "PD"}}, RequestError, "must be one of 'T1'"),
        ({"condition": {"nodule": True}}, RequestError, "no factor 'nodule'"),
        ({"model_id": "small-dcgan", "truncation_psi": 0.5}, RequestError, "no truncation"),
        ({"options": {"gpu_id": 0}}, RequestError, "takes no options"),
        ({"model_id": "00001"}, NotRunnableError, "00001"),
    ],
)
def test_a_wrong_request_fails_before_the_first_batch(
    engine: Engine, wrong: dict[str, Any], error: type[Exception], words: str
) -> None:
    request = mw.GenerateRequest(**{"model_id": "small-brain", "seeds": [0], **wrong})
    for call in (engine.check, engine.generate, engine.recipe):
        if error is not NotRunnableError or call != engine.check:  # a package may still come
            with pytest.raises(error, match=words):
                call(request)
    assert engine.images(ask("small-brain", [0])).shape == (1, 32, 32, 1)  # nothing broke


def test_more_images_than_memory_are_refused_but_can_be_iterated(engine: Engine) -> None:
    request = ask("small-brain", range(10**9))
    with pytest.raises(RequestError, match=r"iterate over generate"):
        engine.images(request)
    first = next(engine.generate(request))
    np.testing.assert_array_equal(first.images[:1], engine.images(ask("small-brain", 0)))


def test_a_folder_deleted_while_listed_says_so(engine: Engine, models: Path) -> None:
    assert "small-brain" in engine.catalogue.ids
    shutil.rmtree(models / "small-brain")
    with pytest.raises((WeightsError, ModelNotFoundError), match=r"small-brain|cannot be read"):
        engine.generate(ask("small-brain", [0]))
    assert engine.images(ask("small-dcgan", [0])).any()


def test_the_least_recently_used_model_leaves_when_memory_is_short(models: Path) -> None:
    make_model(models, "third")
    engine = Engine(device="cpu", catalogue=mw.Catalogue(models))
    engine.images(ask("small-brain", 0))
    engine = Engine(
        device="cpu",
        catalogue=mw.Catalogue(models),
        memory_bytes=int(engine.resident_bytes * 2.5),
    )
    for model in ("small-brain", "third", "small-brain"):
        engine.images(ask(model, 0))
    engine.images(ask("small-dcgan", 0))
    assert "small-dcgan" in engine.resident
    assert "third" not in engine.resident
    engine.release()
    assert engine.resident == ()
    assert engine.resident_bytes == 0


def test_out_of_memory_lets_others_go_tries_once_more_and_then_tells(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.images(ask("small-dcgan", 0))
    expected = engine.images(ask("small-brain", 0))
    forward, calls = LocalGenerators._forward, []

    def full(self: LocalGenerators, *arguments: Any) -> Any:
        calls.append(self.names)
        if len(calls) <= limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, *arguments)

    monkeypatch.setattr(LocalGenerators, "_forward", full)
    limit = 1
    np.testing.assert_array_equal(engine.images(ask("small-brain", 0)), expected)
    assert calls[1] == ("small-brain",)  # the other model had left
    limit = 10**6
    with pytest.raises(DeviceMemoryError, match="no room for small-brain"):
        engine.images(ask("small-brain", 0))
    limit = 0
    np.testing.assert_array_equal(engine.images(ask("small-brain", 0)), expected)


def test_two_threads_share_the_engine_and_get_their_own_pixels(engine: Engine) -> None:
    expected = engine.images(ask("small-brain", range(40)))
    found: dict[int, Any] = {}

    def work(start: int) -> None:
        found[start] = engine.images(ask("small-brain", range(start, start + 20)))

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(np.concatenate([found[0], found[20]]), expected)
    assert device_lock("cpu") is Engine(device="cpu").lock


def test_a_device_that_is_not_here_is_named() -> None:
    with pytest.raises(RequestError, match="is not here"):
        Engine(device="tpu:7")
    with pytest.raises(RequestError, match="holds no numbers"):
        Engine(device="meta")


def test_a_card_that_promises_another_size_is_not_run(models: Path) -> None:
    make_model(models, "liar", size=(64, 64))
    with pytest.raises(NotRunnableError, match="promises"):
        Engine(device="cpu", catalogue=mw.Catalogue(models)).images(ask("liar", 0))


@pytest.mark.gpu
def test_cuda_repeats_itself_in_any_batch() -> None:
    engine = Engine(device="cuda")
    together = engine.images(ask("phantom-brain-mri", range(9)))
    alone = np.concatenate([engine.images(ask("phantom-brain-mri", s)) for s in range(9)])
    np.testing.assert_array_equal(together, alone)


def test_a_plain_script_imports_no_widget() -> None:
    program = (
        "import sys, medgan_widgets as mw;"
        "mw.shared_engine().images(mw.GenerateRequest('phantom-mammogram', seeds=1));"
        "assert not {'ipywidgets', 'anywidget', 'bqplot', 'medigan'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_memory_that_runs_out_while_a_model_is_read_is_told_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(LocalGenerators, "_network", full)
    with pytest.raises(DeviceMemoryError, match="no room for small-brain"):
        engine.generate(ask("small-brain", [1]))


def test_a_cancelled_request_leaves_a_shared_device_too(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    armed: list[bool] = []
    monkeypatch.setattr(LocalGenerators, "_arm_idle", lambda self: armed.append(True))
    batches = engine.generate(ask("small-brain", range(100)))
    next(batches)
    batches.close()
    assert armed == [True]


def test_values_that_are_not_finite_never_become_black_pixels(engine: Engine) -> None:
    request = ask("small-brain", [1])
    engine.images(request)
    (network,) = engine._local._held.values()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(WeightsError, match="not finite"):
        engine.images(request)


def test_what_a_model_does_not_take_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="has no style layers"):
        engine.generate(ask("small-brain", [1], mix={"seed": 2}))
    with pytest.raises(RequestError, match="mix must be like"):
        ask("small-brain", [1], mix=np.zeros((2, 2)))
    with pytest.raises(RequestError, match="takes no inputs"):
        engine.generate(ask("small-brain", [1], inputs=["scan.png"]))
    with pytest.raises(RequestError, match="inputs must be paths"):
        ask("small-brain", [1], inputs=np.zeros((2, 2)))
    with pytest.raises(RequestError, match="GenerateRequest"):
        engine.generate("small-brain")


def test_one_gpu_has_one_lock_whatever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(devices.torch, "empty", lambda *_, **__: None)
    names = [str(checked_device(name)) for name in ("cuda", "cuda:1", "cuda:0", "cpu:0", "cpu")]
    assert names == ["cuda:1", "cuda:1", "cuda:0", "cpu", "cpu"]
    assert device_lock(names[0]) is device_lock(names[1]) is not device_lock(names[2])
