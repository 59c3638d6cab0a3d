"""Training: an iterator of ticks that leaves a run directory, and learns."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medgan_widgets import files
from medgan_widgets.checkpoints import read_generator
from medgan_widgets.datasets import TrainingImages, phantom_images
from medgan_widgets.errors import DataError, RequestError, WeightsError
from medgan_widgets.presets import PRESETS, Preset
from medgan_widgets.runs import lock_run, pictures, read_command, read_run, run_state, send_command
from medgan_widgets.training import estimate_training, loop, prepare_run, train
from medgan_widgets.training.state import checkpoints

SMALL = {"data": "brain_mri", "size": 32, "pool": 64}
WEIGHTS = Path("checkpoint") / "generator.safetensors"


def weights_of(run: Path) -> bytes:
    return (run / WEIGHTS).read_bytes()


def test_a_run_is_a_directory_and_its_weights_fit_the_network(tmp_path: Path) -> None:
    ticks = list(train(tmp_path, **SMALL, kimg=0.128, tick_kimg=0.064))
    config, told = read_run(tmp_path)
    assert told == ticks
    assert [tick.kimg for tick in ticks] == [0.064, 0.128]
    assert list(pictures(tmp_path)) == [0.064, 0.128]
    assert run_state(tmp_path).state == "finished"
    assert run_state(tmp_path).checkpoint_kimg == 0.128
    for name in ("data.json", "files.jsonl", "environment.json"):
        assert (tmp_path / name).exists(), name
    generator = read_generator(tmp_path / WEIGHTS, "residual", config["network"])
    assert generator.classes == 5
    assert generator.w_mean.abs().sum() > 0


def test_the_seed_alone_decides_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    list(train(tmp_path / "a", **SMALL, kimg=0.048, seed=1, tick_kimg=0.048))
    assert torch.equal(torch.rand(4), expected), "a person's own random numbers are left alone"
    for name, seed in (("b", 1), ("c", 2)):
        list(train(tmp_path / name, **SMALL, kimg=0.048, seed=seed, tick_kimg=0.048))
    assert weights_of(tmp_path / "a") == weights_of(tmp_path / "b")
    assert weights_of(tmp_path / "a") != weights_of(tmp_path / "c")


def test_the_discriminator_learns_to_tell(tmp_path: Path) -> None:
    ticks = list(train(tmp_path, **SMALL, preset="texture", kimg=1.0, tick_kimg=0.25))
    assert ticks[-1].discriminator_loss < 1.35  # chance is 2 ln 2 = 1.386
    assert ticks[-1].distance < ticks[0].distance
    assert all(np.isfinite([tick.generator_loss, tick.discriminator_loss]).all() for tick in ticks)


def test_the_baseline_trains_without_classes(tmp_path: Path) -> None:
    images = phantom_images("mammogram", 32, 256)
    (tick,) = train(tmp_path, data=images, preset="dcgan", kimg=0.128, tick_kimg=0.128)
    assert tick.kimg == 0.128
    assert tick.r1 is None
    config, _ = read_run(tmp_path)
    assert config["factors"] == {}
    read_generator(tmp_path / WEIGHTS, "dcgan", config["network"])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_every_precision_trains(tmp_path: Path, precision: str) -> None:
    preset = replace(PRESETS["residual"], precision=precision)
    ticks = list(train(tmp_path, **SMALL, preset=preset, kimg=0.064, tick_kimg=0.032))
    assert all(np.isfinite(tick.generator_loss) for tick in ticks)


# ------------------------------------------------------------ what cannot be trained


def test_a_limit_a_preset_and_data_are_needed(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="never end"):
        next(train(tmp_path, data="brain_mri"))
    with pytest.raises(RequestError, match="preset must be one of"):
        next(train(tmp_path, data="brain_mri", preset="best", kimg=1))
    with pytest.raises(RequestError, match="data must be one of"):
        next(train(tmp_path, data="knee", kimg=1))
    with pytest.raises(RequestError, match="data is needed"):
        next(train(tmp_path, kimg=1))
    for kimg in (0, -1, float("nan"), True, "1"):
        with pytest.raises(RequestError, match="kimg must be a number above 0"):
            next(train(tmp_path, data="brain_mri", kimg=kimg))
    images = phantom_images("mammogram", 32, 20)
    few = TrainingImages(images.images[:15], images.classes[:15], images.factors)
    with pytest.raises(DataError, match="at least 16 images"):
        next(train(tmp_path, data=few, kimg=1))
    floats = TrainingImages(images.images.astype(np.float32), images.classes, images.factors)
    with pytest.raises(DataError, match="must be uint8"):
        next(train(tmp_path, data=floats, kimg=1))
    odd = TrainingImages(np.zeros((32, 48, 48, 1), np.uint8), np.zeros((32, 0), np.float32), {})
    with pytest.raises(RequestError, match="power of two"):
        next(train(tmp_path, data=odd, kimg=1))
    assert not (tmp_path / "config.json").exists()
    with pytest.raises(RequestError, match="augmentations are"):
        Preset(augmentations=("swirl",))
    with pytest.raises(RequestError, match="precision"):
        Preset(precision="fp8")


def test_a_folder_with_a_run_in_it_is_not_overwritten(tmp_path: Path) -> None:
    list(train(tmp_path, **SMALL, kimg=0.032, tick_kimg=0.032))
    before = weights_of(tmp_path)
    with pytest.raises(RequestError, match="holds a run already"):
        next(train(tmp_path, **SMALL, kimg=0.032))
    assert weights_of(tmp_path) == before


def test_two_trainings_into_one_folder(tmp_path: Path) -> None:
    with lock_run(tmp_path), pytest.raises(RequestError, match="being trained by another process"):
        next(train(tmp_path, **SMALL, kimg=0.032))


def test_a_run_of_a_newer_version_or_half_written_is_refused(tmp_path: Path) -> None:
    config = prepare_run(tmp_path, **SMALL, kimg=0.032)
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(DataError, match="newer version"):
        next(train(tmp_path, resume=True))
    (tmp_path / "config.json").write_text('{"format": 2, "da')
    with pytest.raises(DataError, match="not a run directory"):
        next(train(tmp_path, resume=True))
    with pytest.raises(DataError, match="not a run directory"):
        next(train(tmp_path / "none", resume=True))


# ------------------------------------------------------------ stopping, going on


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    wanted = {**SMALL, "preset": replace(PRESETS["small-data"], augment_p=0.3), "seed": 3}
    whole = list(train(tmp_path / "whole", **wanted, kimg=0.16, tick_kimg=0.032))
    for tick in train(tmp_path / "parts", **wanted, kimg=0.16, tick_kimg=0.032):
        if tick.kimg > 0.06:
            break
    assert run_state(tmp_path / "parts").state == "stopped"
    rest = list(train(tmp_path / "parts", resume=True))
    assert [tick.kimg for tick in rest] == [0.096, 0.128, 0.16]
    assert weights_of(tmp_path / "parts") == weights_of(tmp_path / "whole")
    _, told = read_run(tmp_path / "parts")
    assert [t.generator_loss for t in told] == [t.generator_loss for t in whole]


def test_a_loop_left_by_break_is_let_go_when_the_run_goes_on(tmp_path: Path) -> None:
    ticks = train(tmp_path, **SMALL, kimg=0.096, tick_kimg=0.032)
    for _ in ticks:  # a notebook keeps such a loop alive, and its lock
        break
    assert [tick.kimg for tick in train(tmp_path, resume=True)] == [0.064, 0.096]
    assert next(ticks, None) is None


def test_a_damaged_newest_checkpoint_costs_little(tmp_path: Path) -> None:
    for name in ("whole", "hurt"):
        list(train(tmp_path / name, **SMALL, kimg=0.064, tick_kimg=0.032))
    newest = checkpoints(tmp_path / "hurt")[-1]
    copy = newest.with_name("state-999999999.safetensors")
    copy.write_bytes(newest.read_bytes()[:1000])
    list(train(tmp_path / "hurt", resume=True, kimg=0.128))
    list(train(tmp_path / "whole", resume=True, kimg=0.128))
    assert weights_of(tmp_path / "hurt") == weights_of(tmp_path / "whole")
    for path in checkpoints(tmp_path / "hurt"):
        path.write_bytes(b"")
    with pytest.raises(WeightsError, match=r"no checkpoint in .* can be read"):
        next(train(tmp_path / "hurt", resume=True, kimg=0.2))


def test_other_images_are_refused_with_their_fingerprint(tmp_path: Path) -> None:
    images = phantom_images("mammogram", 32, 64)
    for _ in train(tmp_path, data=images, kimg=0.064, tick_kimg=0.032):
        break
    with pytest.raises(RequestError, match="in memory"):
        next(train(tmp_path, resume=True))
    changed = images.images.copy()
    changed[3, 5, 5] ^= 1
    other = TrainingImages(changed, images.classes, images.factors)
    with pytest.raises(DataError, match="fingerprint"):
        next(train(tmp_path, data=other, resume=True))
    assert [tick.kimg for tick in train(tmp_path, data=images, resume=True)] == [0.064]


def test_stop_and_pause_are_heard_and_a_second_stop_does_no_harm(tmp_path: Path) -> None:
    ticks = train(tmp_path, **SMALL, kimg=50, tick_kimg=0.032)
    next(ticks)
    send_command(tmp_path, "pause")
    thread = threading.Thread(target=lambda: list(ticks), daemon=True)
    thread.start()
    wait_for(lambda: run_state(tmp_path).state == "paused")
    paused = run_state(tmp_path)
    assert paused.checkpoint_kimg == paused.kimg
    time.sleep(0.3)
    assert run_state(tmp_path).kimg == paused.kimg
    send_command(tmp_path, "go on")
    wait_for(lambda: run_state(tmp_path).kimg > paused.kimg)
    send_command(tmp_path, "stop")
    send_command(tmp_path, "stop")
    thread.join(20)
    stopped = run_state(tmp_path)
    assert stopped.state == "stopped"
    assert stopped.checkpoint_kimg == stopped.kimg
    # An old wish does not stop a new beginning.
    assert read_command(tmp_path) == "stop"
    assert next(train(tmp_path, resume=True)).kimg > stopped.kimg
    assert read_command(tmp_path) == "go on", "nor does anybody who looks still see it"


def wait_for(happened, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_an_interrupt_in_the_middle_of_a_step_costs_only_what_was_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(train(tmp_path / "whole", **SMALL, kimg=0.096, tick_kimg=0.032))
    ticks = train(tmp_path / "hurt", **SMALL, kimg=0.096, tick_kimg=0.032)
    next(ticks)
    real = loop._average

    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_average", pressed)
    with pytest.raises(KeyboardInterrupt):
        next(ticks)
    monkeypatch.setattr(loop, "_average", real)
    state = run_state(tmp_path / "hurt")
    assert state.state == "stopped"
    assert "resume goes on from" in state.message
    list(train(tmp_path / "hurt", resume=True))
    assert weights_of(tmp_path / "hurt") == weights_of(tmp_path / "whole")


def test_a_table_and_functions_for_labels_are_there_again_at_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.made_data import noise, save, save_table

    monkeypatch.chdir(tmp_path)
    rows = [{"file_name": f"{n}.png", "grade": n % 2} for n in range(40)]
    for n in range(40):
        save(tmp_path / "data" / f"{n}.png", noise(n))
    save_table(tmp_path / "labels.csv", rows)
    wanted = {"size": 32, "batch": 8, "kimg": 0.032, "tick_kimg": 0.016}
    told = {"data": "data", "table": Path("labels.csv"), "labels": "grade"}
    next(train("run", **told, **wanted)).kimg  # noqa: B018
    monkeypatch.chdir(tmp_path / "data")
    assert [tick.kimg for tick in train(tmp_path / "run", resume=True)] == [0.032]

    class Own:
        def __len__(self) -> int:
            return 40

        def __getitem__(self, n: int):
            return noise(n), n % 2

    more = {"data": Own(), "group": lambda n: str(n // 2)}
    next(train(tmp_path / "own", **more, **wanted)).kimg  # noqa: B018
    assert [t.kimg for t in train(tmp_path / "own", **more, resume=True)] == [0.032]


def test_a_full_disk_stops_nothing_and_the_last_good_checkpoint_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    ticks = train(tmp_path, **SMALL, kimg=0.16, tick_kimg=0.032)
    next(ticks)
    good = checkpoints(tmp_path)[-1].read_bytes()
    real = files.os.fsync

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    next(ticks)
    next(ticks)
    assert checkpoints(tmp_path)[-1].read_bytes() == good
    monkeypatch.setattr(files.os, "fsync", real)
    rest = list(ticks)
    assert rest[-1].kimg == 0.16
    assert len(read_run(tmp_path)[1]) == 5
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]


# ------------------------------------------------------------ from what another learned


def test_a_run_starts_from_another_ones_weights(tmp_path: Path) -> None:
    list(train(tmp_path / "parent", **SMALL, kimg=0.064, tick_kimg=0.032))
    other = phantom_images("mammogram", 32, 64)
    ticks = train(
        tmp_path / "child", data=other, kimg=0.032, tick_kimg=0.016,
        start_from=tmp_path / "parent", freeze_d=2,
    )  # fmt: skip
    list(ticks)
    config, _ = read_run(tmp_path / "child")
    parent, _ = read_run(tmp_path / "parent")
    assert config["start_from"]["run_id"] == parent["run_id"]
    from safetensors.torch import load_file

    before, after = (load_file(checkpoints(tmp_path / n)[-1]) for n in ("parent", "child"))
    same = "discriminator.first.weight"
    moved = "discriminator.feature.weight"
    assert torch.equal(before[same], after[same])  # frozen
    assert not torch.equal(before[moved], after[moved])
    assert (
        after["generator.stages.0.conv.weight"].shape
        == before["generator.stages.0.conv.weight"].shape
    )
    drift = (after["generator.last.weight"] - before["averaged.last.weight"]).abs().max()
    assert drift < 0.05  # two steps away from where the parent was, not from the start


def test_a_shipped_model_can_be_started_from_and_another_network_not(tmp_path: Path) -> None:
    data = {"data": "mammogram", "pool": 32}
    config = prepare_run(tmp_path / "a", **data, size=64, kimg=1, start_from="phantom-mammogram")
    assert len(config["start_from"]["sha256"]) == 64
    with pytest.raises(RequestError, match="size 64"):
        prepare_run(tmp_path / "b", **data, size=32, kimg=1, start_from="phantom-mammogram")
    with pytest.raises(RequestError, match="must be a run or a model"):
        prepare_run(tmp_path / "c", **data, size=32, kimg=1, start_from="nobody")


# ------------------------------------------------------------ before it begins


def test_an_estimate_is_measured_and_says_what_fits() -> None:
    estimate = estimate_training("mammogram", size=32, kimg=10, read={"most": 64})
    assert estimate.batch == estimate.asked_batch == 16
    assert estimate.seconds == pytest.approx(10_000 / estimate.images_per_second)
    assert 0.5 < estimate.checkpoint_mb < 50
    assert "images/s" in estimate.text


def test_a_batch_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    from medgan_widgets.training import estimate as module

    tried = []

    def measured(preset, learned, place):
        tried.append(preset.batch)
        return 100.0, 500.0, 1e9 if preset.batch > 8 else 1.0, 5.0

    monkeypatch.setattr(module, "_measured", measured)
    found = estimate_training("mammogram", size=32, kimg=10, read={"most": 64})
    assert tried == [16, 8]
    assert found.batch == 8
    assert "would not fit" in found.text
