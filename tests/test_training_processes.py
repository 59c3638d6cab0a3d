"""Trainings as processes: killed at any moment, started again, watched from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from medgan_widgets.presets import PRESETS
from medgan_widgets.runs import read_run, run_state, send_command, start_process
from medgan_widgets.training import prepare_run
from medgan_widgets.training.state import checkpoints

WEIGHTS = Path("checkpoint") / "generator.safetensors"
PRESET = replace(PRESETS["small-data"], augment_p=0.3)
SMALL = {"data": "brain_mri", "size": 32, "pool": 64, "seed": 3, "preset": PRESET}

# Trains once itself, so that all is loaded, then in forks, so that a start costs little.
FORKER = """
import os, sys, tempfile, torch
torch.set_num_threads(1)
from medgan_widgets.__main__ import main
from medgan_widgets.training import loop, train
loop.CHECKPOINT_SECONDS = 0.15
list(train(tempfile.mkdtemp(), data="brain_mri", size=32, pool=32, kimg=0.016))
print("ready", flush=True)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os._exit(main(["train", line.strip()]))
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(status, flush=True)
"""


@pytest.mark.slow
def test_killed_ten_times_it_ends_with_the_same_weights_byte_for_byte(tmp_path: Path) -> None:
    kimg = {"kimg": 0.96, "tick_kimg": 0.08}
    for name in ("whole", "killed"):
        prepare_run(tmp_path / name, **SMALL, **kimg)
    forker = subprocess.Popen(
        [sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert forker.stdin is not None
    assert forker.stdout is not None
    assert forker.stdout.readline() == "ready\n"

    def begin(run: str) -> int:
        forker.stdin.write(f"{tmp_path / run}\n")
        forker.stdin.flush()
        return int(forker.stdout.readline())

    begin("whole")
    assert forker.stdout.readline() == "0\n"
    random, kills, starts = np.random.default_rng(7), 0, 0
    while run_state(tmp_path / "killed").state != "finished":
        pid = begin("killed")
        starts += 1
        assert starts < 60
        if kills < 10:
            time.sleep(random.uniform(0.1, 0.8))
            os.kill(pid, signal.SIGKILL)
        kills += forker.stdout.readline() == "9\n"
    forker.stdin.close()
    forker.wait(20)
    assert kills >= 10
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert (whole / WEIGHTS).read_bytes() == (killed / WEIGHTS).read_bytes()
    ours, theirs = (load_file(checkpoints(run)[-1]) for run in (whole, killed))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    losses = [
        [(t.kimg, t.generator_loss, t.discriminator_loss, t.augment_p) for t in read_run(run)[1]]
        for run in (whole, killed)
    ]
    assert losses[0] == losses[1]


def test_a_process_of_its_own_is_watched_and_stopped_from_here(tmp_path: Path) -> None:
    prepare_run(tmp_path, **SMALL, kimg=500, tick_kimg=0.064)
    pid = start_process(tmp_path)
    wait_for(lambda: run_state(tmp_path).state == "running" and read_run(tmp_path)[1])
    assert run_state(tmp_path).pid == pid
    send_command(tmp_path, "stop")
    wait_for(lambda: run_state(tmp_path).state == "stopped")
    os.waitpid(pid, 0)
    before = run_state(tmp_path).kimg
    pid = start_process(tmp_path)
    wait_for(lambda: run_state(tmp_path).kimg > before)
    os.kill(pid, signal.SIGTERM)  # as a scheduler does: it stops with a checkpoint
    wait_for(lambda: run_state(tmp_path).state == "stopped")
    os.waitpid(pid, 0)
    assert run_state(tmp_path).checkpoint_kimg == run_state(tmp_path).kimg
    pid = start_process(tmp_path)
    wait_for(lambda: run_state(tmp_path).state == "running")
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert run_state(tmp_path).state == "killed"


def test_what_goes_wrong_in_a_process_is_in_its_state(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    from PIL import Image

    for n in range(24):
        noise = np.random.default_rng(n).integers(0, 255, (32, 32), np.uint8)
        Image.fromarray(noise).save(folder / f"{n}.png")
    prepare_run(tmp_path / "run", data=folder, size=32, kimg=1, batch=8)
    (folder / "3.png").unlink()
    pid = start_process(tmp_path / "run")
    os.waitpid(pid, 0)
    state = run_state(tmp_path / "run")
    assert state.state == "failed"
    assert "fingerprint" in state.message
    assert "fingerprint" in (tmp_path / "run" / "log.txt").read_text()


def wait_for(happened, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("data", [None, 5])
def test_images_in_memory_cannot_be_trained_beside_the_kernel(tmp_path: Path, data) -> None:
    from medgan_widgets.errors import RequestError

    with pytest.raises(RequestError, match="a path or a phantom"):
        prepare_run(tmp_path, data=data, kimg=1)
