"""A run directory tells what was trained and how it went, while it is written and after."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgan_widgets import files, runs
from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.runs import (
    Alarm,
    RunState,
    Tick,
    TickReader,
    alarms,
    clear_command,
    cut_back,
    lock_run,
    pictures,
    read_command,
    read_run,
    record_alarm,
    record_picture,
    record_tick,
    register,
    registered,
    run_config,
    run_state,
    send_command,
    start_process,
    start_run,
    write_state,
)

TICK = Tick(2.0, 0.7, 1.4, 0.1, class_diversity={"tumour=True": 0.5}, score={"name": "FD"})
ALARM = Alarm("mode collapse", 2.0, "Alike.", "0.2", "try less")
IMAGES = np.zeros((16, 32, 32, 1), np.uint8)


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    start_run(tmp_path, {"data": "brain_mri", "size": 32})
    record_tick(tmp_path, TICK)
    record_alarm(tmp_path, ALARM)
    record_picture(tmp_path, 2.0, IMAGES)
    assert read_run(tmp_path) == ({"format": 2, "data": "brain_mri", "size": 32}, [TICK])
    assert alarms(tmp_path) == [ALARM]
    (picture,) = pictures(tmp_path).values()
    with Image.open(picture) as image:
        image.load()
        assert image.size[0] >= 8 * 64
        assert "not real" in image.text["Comment"]


def test_a_line_still_being_written_waits(tmp_path: Path) -> None:
    start_run(tmp_path, {})
    record_tick(tmp_path, TICK)
    with (tmp_path / "stats.jsonl").open("a") as lines:
        lines.write('{"kimg": 4.0, "gener')
    assert read_run(tmp_path)[1] == [TICK]
    assert TickReader(tmp_path).read()[0] == [TICK]


def test_a_run_started_again_forgets_the_old_ticks(tmp_path: Path) -> None:
    start_run(tmp_path, {"seed": 1})
    record_tick(tmp_path, TICK)
    record_picture(tmp_path, 2.0, IMAGES)
    start_run(tmp_path, {"seed": 2})
    assert read_run(tmp_path)[1] == []
    assert pictures(tmp_path) == {}


def test_what_came_after_a_checkpoint_is_cut_back(tmp_path: Path) -> None:
    start_run(tmp_path, {})
    for kimg in (1.0, 2.0, 3.0):
        record_tick(tmp_path, replace(TICK, kimg=kimg))
        record_alarm(tmp_path, replace(ALARM, kimg=kimg))
        record_picture(tmp_path, kimg, IMAGES)
    cut_back(tmp_path, 2.0)
    assert [tick.kimg for tick in read_run(tmp_path)[1]] == [1.0, 2.0]
    assert [alarm.kimg for alarm in alarms(tmp_path)] == [1.0, 2.0]
    assert list(pictures(tmp_path)) == [1.0, 2.0]


def test_a_long_run_keeps_few_pictures_first_and_newest_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MOST_PICTURES", 10)
    for kimg in range(60):
        record_picture(tmp_path, float(kimg), IMAGES[:1])
    kept = list(pictures(tmp_path))
    assert len(kept) <= 10
    assert kept[0] == 0.0
    assert kept[-1] == 59.0


def test_of_a_long_run_some_ticks_are_read_the_same_ones_while_it_grows(tmp_path: Path) -> None:
    start_run(tmp_path, {})
    path = tmp_path / "stats.jsonl"
    line = json.dumps(
        {"kimg": 0, "generator_loss": 1.0, "discriminator_loss": 1.0, "pad": "x" * 200}
    )

    def grow(first: int, last: int) -> None:
        with path.open("a") as lines:
            lines.writelines(
                line.replace('"kimg": 0', f'"kimg": {n}') + "\n" for n in range(first, last)
            )

    grow(0, 20_000)
    reader = TickReader(tmp_path, most=200)
    before = reader.read()[0]
    assert 50 < len(before) < 500
    assert before[-1].kimg == 19_999
    grow(20_000, 20_400)
    after = {tick.kimg for tick in reader.read()[0]}
    assert after == {tick.kimg for tick in TickReader(tmp_path, most=200).read()[0]}
    assert after >= {tick.kimg for tick in before[:-20]}
    assert max(after) == 20_399


def test_what_is_no_run_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run directory"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(DataError, match="is not a run directory"):
        run_config(tmp_path)
    start_run(tmp_path, {"format": 3})
    with pytest.raises(DataError, match="newer version"):
        run_config(tmp_path)


def test_who_trains_is_known_by_the_lock_not_by_what_is_written(tmp_path: Path) -> None:
    assert run_state(tmp_path).state == "new"
    lock = lock_run(tmp_path)
    write_state(tmp_path, RunState("running", os.getpid(), 1.0))
    assert run_state(tmp_path).state == "running"
    lock.release()  # as when the process is killed
    assert run_state(tmp_path).state == "killed"
    write_state(tmp_path, RunState("finished", os.getpid(), 1.0))
    assert run_state(tmp_path).state == "finished"
    (tmp_path / "state.json").write_text("{")
    assert run_state(tmp_path).state == "failed"


def test_what_is_asked_counts_from_when_it_was_begun(tmp_path: Path) -> None:
    assert read_command(tmp_path) == "go on"
    send_command(tmp_path, "pause")
    assert read_command(tmp_path) == "pause"
    assert read_command(tmp_path, since=4e9) == "go on"
    clear_command(tmp_path, before=0.0)
    assert read_command(tmp_path) == "pause", "what was asked since then stays"
    clear_command(tmp_path, before=4e9)
    clear_command(tmp_path, before=4e9)
    assert read_command(tmp_path) == "go on"
    send_command(tmp_path, "pause")
    (tmp_path / "control.json").write_text("{nonsense")
    assert read_command(tmp_path) == "go on"
    with pytest.raises(RequestError, match="can be asked to"):
        send_command(tmp_path, "explode")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_run(tmp_path, {})
    record_tick(tmp_path, TICK)
    before = (tmp_path / "stats.jsonl").read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SaveError, match="disk is full"):
        record_picture(tmp_path, 2.0, IMAGES)
    assert (tmp_path / "stats.jsonl").read_bytes() == before
    assert list((tmp_path / "images").iterdir()) == []


def test_a_folder_that_is_no_run_starts_no_process(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run directory"):
        start_process(tmp_path)


def test_runs_are_remembered_in_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    register(tmp_path / "a", "0" * 32)
    assert registered() == {"0" * 32: tmp_path / "a"}


def test_a_home_folder_named_by_a_tilde_is_the_persons_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEDGAN_HOME", "~/mg")
    register(tmp_path / "a", "0" * 32)
    assert (tmp_path / "mg" / "runs" / ("0" * 32)).is_file()


def test_lines_longer_than_a_window_are_read_as_well(tmp_path: Path) -> None:
    """A hundred classes make a line of five kilobytes."""
    start_run(tmp_path, {})
    classes = {f"kind={number:032}": 0.5 for number in range(120)}
    lines = [
        json.dumps(asdict(replace(TICK, kimg=float(n), class_diversity=classes, score=None)))
        for n in range(400)
    ]
    (tmp_path / "stats.jsonl").write_text("\n".join(lines) + "\n")
    ticks, damaged = TickReader(tmp_path).read()
    assert damaged == 0
    assert len(ticks) > 350
    assert (ticks[0].kimg, ticks[-1].kimg) == (0.0, 399.0)
    last = json.dumps(asdict(replace(TICK, kimg=400.0, score={"name": "F" * 30_000})))
    with (tmp_path / "stats.jsonl").open("a") as file:
        file.write(last + "\n")
    assert TickReader(tmp_path).read()[0][-1].kimg == 400.0


def test_a_training_that_is_quick_to_run_is_not_called_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_run(tmp_path, {"data": "brain_mri"})
    trained = threading.Event()

    class Child:
        pid = os.getpid()

        def __init__(self, *_: object, **__: object) -> None:
            self.thread = threading.Thread(target=self.train)
            self.thread.start()

        def train(self) -> None:
            lock = lock_run(tmp_path)
            write_state(tmp_path, RunState("running", self.pid))
            trained.set()
            lock.release()

    def late(folder: Path, state: RunState) -> None:
        if state.state == "starting":  # whoever starts it takes a nap before saying so
            trained.wait(0.5)
        write_state(folder, state)

    monkeypatch.setattr(runs, "write_state", late)
    monkeypatch.setattr(runs.subprocess, "Popen", Child)
    start_process(tmp_path)
    assert trained.wait(5)
    assert json.loads((tmp_path / "state.json").read_text())["state"] == "running"
