"""The monitor's Python half: what it reads, sends, asks and starts, and what it survives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medgan_widgets.errors import DataError, MedganError, RequestError
from medgan_widgets.jobs import submit
from medgan_widgets.panels import Studio, TrainingMonitor
from medgan_widgets.panels._run_snapshot import known_runs
from medgan_widgets.runs import (
    Alarm,
    RunState,
    lock_run,
    read_command,
    record_alarm,
    record_picture,
    record_tick,
    send_command,
    write_state,
)
from tests.runs_written import score, tick, write_run


def caught(monitor: TrainingMonitor) -> list[dict[str, Any]]:
    """Return a list of what the monitor's widgets send from now on."""
    updates: list[dict[str, Any]] = []

    def catch(message: dict[str, Any], buffers: Any = None) -> None:
        if message.get("method") == "update":
            updates.append(message["state"])

    for widget in (monitor.controls, monitor.head, monitor.plots):
        widget._send = catch
    for plot in monitor.plots.children:
        for widget in (plot.caption, *plot._marks.values()):
            widget._send = catch
    return updates


def losses(monitor: TrainingMonitor) -> Any:
    return monitor.plots.charts["losses"].curves


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Path:
    return write_run(Path("runs/knee"))


@pytest.fixture
def monitor(run: Path) -> Iterator[TrainingMonitor]:
    made = TrainingMonitor(run, every=0.02)
    yield made
    made.close()


@pytest.fixture
def live(run: Path) -> Iterator[Path]:
    """The run while somebody holds it: this process, in place of a training."""
    lock = lock_run(run)
    write_state(run, RunState("running", 4711, 40.0, 80.0, 3840.0, 36.0, time.time() - 12))
    yield run
    lock.release()


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The training package's place, empty: loading torch is not what is tested here."""
    module = types.ModuleType("medgan_widgets.training")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def press(monitor: TrainingMonitor, kind: str, **content: Any) -> None:
    monitor.controls._handle_custom_msg({"kind": kind, **content}, [])


def button(monitor: TrainingMonitor, do: str) -> dict[str, Any]:
    return next(one for one in monitor.controls.shown["buttons"] if one["do"] == do)


# ------------------------------------------------------------ what it shows


def test_a_finished_run_is_shown_whole(monitor: TrainingMonitor) -> None:
    shown = monitor.controls.shown
    assert shown["data"] == "500 images (phantoms)"
    assert shown["preset"] == "residual"
    assert (shown["share"], shown["progress"]) == (1.0, "40.0 of 40 kimg")
    assert losses(monitor)[0].name == "generator"
    judged = monitor.plots.charts["score"]
    assert judged.title == "FD (phantom-cnn-1, n 500, floor 0.3)"
    assert len(judged.curves) == 3, "the score, its intervals and the floor"
    assert monitor.controls.kimgs == pytest.approx([40 / 3, 80 / 3, 40], abs=0.001)
    assert monitor.controls.picture.startswith(b"\x89PNG")
    assert monitor.controls.alarms[0]["advice"].startswith("augment=")
    assert monitor.controls.state_line == "finished at 40.0 kimg"
    assert monitor.error == ""
    wanted = "run='runs/knee', state='finished', kimg=40.0, pictures=3, alarms=1"
    assert repr(monitor) == f"TrainingMonitor({wanted})"


def test_a_live_run_says_who_and_how_long(live: Path) -> None:
    monitor = TrainingMonitor(live)
    assert monitor.state.alive
    line = monitor.controls.state_line
    assert line == "running, pid 4711, checkpoint 10 s ago, 1 h 04 left"
    assert monitor.controls.shown["progress"] == "40.0 of 80 kimg · 1 h 04 left"
    monitor.close()


def test_what_a_training_adds_is_seen_at_the_next_look(monitor: TrainingMonitor, run: Path) -> None:
    record_tick(run, tick(42.0, generator_loss=9.0))
    record_picture(run, 42.0, np.zeros((4, 32, 32, 1), np.uint8))
    record_alarm(run, Alarm("divergence", 42.0, "The losses run away.", "9", "a lower rate", True))
    before = monitor.controls.picture
    monitor.refresh()
    assert losses(monitor)[0].y[-1] == 9.0
    assert monitor.controls.at == 42.0
    assert monitor.controls.picture != before, "live, the newest picture is followed"
    assert [one["name"] for one in monitor.controls.alarms] == ["divergence", "overfitting"]


def test_the_slider_chooses_an_older_picture_and_stays_there(
    monitor: TrainingMonitor, run: Path
) -> None:
    newest, oldest = monitor.controls.picture, monitor.controls.kimgs[0]
    monitor.controls.asked = oldest
    assert monitor.controls.at == oldest
    assert monitor.controls.picture != newest
    kept = monitor.controls.picture
    record_picture(run, 50.0, np.zeros((4, 32, 32, 1), np.uint8))
    monitor.refresh()
    assert monitor.controls.picture == kept
    assert monitor.controls.kimgs[-1] == 50.0
    monitor.controls.asked = -1.0
    assert monitor.controls.at == 50.0


def test_several_runs_lie_over_each_other_in_colours_of_their_own(run: Path) -> None:
    other = write_run(Path("runs/hip"), ticks=8)
    monitor = TrainingMonitor([run, other])
    assert [one.name for one in losses(monitor)] == ["knee", "", "hip", ""]
    assert len({one.colour for one in losses(monitor)}) == 2
    assert [len(one.x) for one in losses(monitor)] == [20, 20, 8, 8]
    assert monitor.controls.shown["with"] == ["runs/hip"]
    press(monitor, "attach", runs=["runs/hip"])
    assert monitor.run == other
    assert [one.name for one in losses(monitor)] == ["generator", "discriminator"]
    monitor.close()


def test_two_extractors_never_share_an_axis(run: Path) -> None:
    other = write_run(Path("runs/hip"), ticks=3, scored_every=0)
    record_tick(other, tick(8.0, score=score(67.6, "inception-v3")))
    monitor = TrainingMonitor([run, other])
    judged = monitor.plots.charts["score"]
    assert {one.name for one in judged.curves} == {"knee", "", "floor"}
    assert "hip" in judged.note
    monitor.attach([other, run])
    judged = monitor.plots.charts["score"]
    assert "inception-v3" in judged.title
    assert max(one.y.max() for one in judged.curves) > 60
    assert "knee" in judged.note
    monitor.close()


def test_without_a_name_the_newest_run_is_found_when_somebody_looks(run: Path) -> None:
    write_run(Path("runs/deep/hip"), ticks=2, state="killed")
    monitor = TrainingMonitor()
    assert monitor.run is None, "a Studio that nobody opens at Train reads nothing"
    monitor.refresh()
    assert monitor.run == Path("runs/deep/hip")
    names = {name: state for _, name, state in monitor.controls.runs}
    assert names == {"deep/hip": "killed", "knee": "finished"}
    monitor.close()


def test_with_no_run_at_all_the_form_is_offered() -> None:
    monitor = TrainingMonitor()
    monitor.refresh()
    assert monitor.controls.shown["run"] == ""
    assert "start a training" in monitor.status
    assert monitor.snapshot().image.width > 0
    with pytest.raises(RequestError, match="no run is attached"):
        monitor.pause()
    monitor.close()


def test_a_snapshot_holds_curves_and_pictures(monitor: TrainingMonitor) -> None:
    image = monitor.snapshot().image
    assert image.height > 300
    pixels = np.asarray(image)
    assert (pixels == (0x2A, 0x7D, 0xE1)).all(-1).sum() > 50, "the generator's curve"
    assert (pixels[-100:] < 30).all(-1).sum() > 100, "the pictures' black background"
    bundle, _ = monitor._repr_mimebundle_()
    assert {"text/plain", "image/png"} <= set(bundle)


# ------------------------------------------------------------ what it asks


def test_pause_go_on_and_stop_go_by_a_file(live: Path) -> None:
    monitor = TrainingMonitor(live)
    press(monitor, "pause")
    assert read_command(live) == "pause"
    assert button(monitor, "go on")["label"] == "Go on"
    press(monitor, "go on")
    assert read_command(live) == "go on"
    press(monitor, "stop")
    assert read_command(live) == "stop"
    assert button(monitor, "stop")["label"] == "Stopping…"
    first = (live / "control.json").read_bytes()
    press(monitor, "stop")
    assert (live / "control.json").read_bytes() == first
    assert "already stopping" in monitor.status
    assert monitor.error == ""
    monitor.close()


def test_a_resumed_run_is_not_asked_to_stop_by_what_stopped_it(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(run, RunState("stopped", 4711, 12.0, 24.0, None, 12.0, time.time()))
    send_command(run, "stop")
    monitor = TrainingMonitor(run)
    child = SimpleNamespace(pid=os.getpid())
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: child)
    press(monitor, "resume")
    lock = lock_run(run)
    assert monitor.error == ""
    assert monitor.state.state == "starting"
    assert button(monitor, "stop")["label"] == "Stop"
    assert "asked to stop" not in monitor.controls.state_line
    press(monitor, "stop")
    assert read_command(run) == "stop", "and it can be stopped again"
    lock.release()
    monitor.close()


def test_nobody_is_asked_where_nobody_trains(monitor: TrainingMonitor, run: Path) -> None:
    for kind in ("pause", "stop", "go on"):
        press(monitor, kind)
        assert "nobody trains runs/knee now (finished)" in monitor.error
    assert not (run / "control.json").exists()
    assert button(monitor, "stop") | {"on": False} == button(monitor, "stop")
    press(monitor, "resume")
    assert "finished" in monitor.error
    press(monitor, "refresh")
    press(monitor, "attach", runs=["runs/knee"])
    assert monitor.error == "", "the next action clears the last one's complaint"


def test_the_end_of_a_training_is_said(live: Path) -> None:
    monitor = TrainingMonitor(live)
    assert monitor.status == "Attached to runs/knee."
    write_state(live, RunState("finished", 4711, 80.0, 80.0, 0.0, 80.0, time.time()))
    monitor.refresh()
    assert monitor.status == "runs/knee: finished."
    assert monitor.controls.shown["share"] == 1.0
    monitor.close()


def test_a_killed_run_is_resumed_by_a_process(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(run, RunState("running", 1, 18.0, 40.0, 5.0, 12.0, 0.0))
    started: list[Path] = []
    monkeypatch.setattr(
        "medgan_widgets.panels.training_monitor.start_process",
        lambda folder: started.append(folder) or 99,
    )
    monitor = TrainingMonitor(run)
    line = "killed: nobody holds the run; Resume goes on from 12.0 kimg"
    assert monitor.controls.state_line == line
    assert button(monitor, "resume") == {"do": "resume", "label": "Resume", "on": True, "why": ""}
    press(monitor, "resume")
    assert started == [run]
    assert "process 99" in monitor.status
    monitor.close()


# ------------------------------------------------------------ what it starts

FORM = {
    "run": "hip", "data": "brain_mri", "preset": "residual", "size": "32", "kimg": "4",
    "labels": "", "group": " ", "start_from": "",
}  # fmt: skip


@pytest.fixture
def prepared(training: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Training's functions without training: what they were called with."""
    calls: list[dict[str, Any]] = []

    def prepare(run_dir: Path, **asked: Any) -> None:
        given = {name: value for name, value in asked.items() if value is not None}
        calls.append({"run_dir": Path(run_dir), **given})
        write_run(Path(run_dir), ticks=0, pictures=0, state="new", weights=False)

    training.prepare_run = prepare
    monkeypatch.setattr(
        "medgan_widgets.panels.training_monitor.start_process",
        lambda folder: calls.append({"began": folder}),
    )
    return calls


def test_the_form_starts_a_training_and_shows_it(
    monitor: TrainingMonitor, prepared: list[dict[str, Any]]
) -> None:
    press(monitor, "start", form=FORM)
    press(monitor, "start", form=FORM)
    until(lambda: not monitor.controls.busy)
    folder = Path("runs/hip")
    asked = {"data": "brain_mri", "preset": "residual", "size": 32, "kimg": 4.0}
    assert prepared == [{"run_dir": folder, **asked}, {"began": folder}], "two presses, one start"
    assert monitor.run == folder
    assert monitor.error == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": "../other"}, "a run's name"),
        ({"run": ""}, "a run's name"),
        ({"run": "knee"}, "holds a run already"),
        ({"data": ""}, "data must be"),
        ({"size": "big"}, "size must be"),
        ({"kimg": ""}, "kimg must be"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(
    monitor: TrainingMonitor, prepared: list[Any], change: dict[str, str], words: str
) -> None:
    press(monitor, "start", form={**FORM, **change})
    assert words in monitor.error
    assert prepared == []
    assert monitor.run == Path("runs/knee")


def test_what_training_refuses_is_said_in_its_words(
    monitor: TrainingMonitor, training: types.ModuleType
) -> None:
    def refuses(run_dir: Path, **asked: Any) -> None:
        raise DataError("nothing there is an image; name another folder.")

    training.prepare_run = refuses
    with pytest.raises(DataError):
        monitor.start("hip", data="nowhere/").wait(30)
    assert monitor.error == "nothing there is an image; name another folder."
    assert monitor.controls.busy == ""


def test_an_estimate_is_a_sentence(monitor: TrainingMonitor, training: types.ModuleType) -> None:
    class Estimate:
        text = "about 3 min, 410 images/s"

    asked: list[Any] = []

    def estimated(**given: Any) -> Estimate:
        asked.append(given)
        return Estimate()

    training.estimate_training = estimated
    press(monitor, "estimate", form=FORM)
    until(lambda: monitor.controls.estimate)
    assert monitor.controls.estimate == "about 3 min, 410 images/s"
    wanted = {"data": "brain_mri", "preset": "residual", "size": 32, "kimg": 4.0}
    assert asked == [wanted]


def test_make_it_a_model_tells_whoever_wants_to_know(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Card:
        id, modality, organ = "phantom-knee", "MR", "kidny"

    asked: list[Any] = []
    cards: list[Any] = []

    def made(run_dir: Path, model_id: str, **given: Any) -> Card:
        asked.append((run_dir, model_id, given))
        return Card()

    monkeypatch.setattr("medgan_widgets.exporting.make_model", made)
    monitor = TrainingMonitor(run, on_model=cards.append)
    assert monitor.controls.shown["model"]["model_id"] == "phantom-knee"
    form = {**monitor.controls.shown["model"], "licence": "MIT", "source": "drawn"}
    press(monitor, "model", form=form)
    until(lambda: cards)
    ((where, model_id, given),) = asked
    assert (where, model_id) == (run, "phantom-knee")
    assert given["statement"] == {"source": "drawn"}
    assert (given["modality"], given["organ"], given["licence"]) == ("MR", "brain", "MIT")
    assert monitor.status == (
        "phantom-knee is among the models now; open Explore. "
        "'kidny' is kept as it is; did you mean 'kidney'?"
    )
    assert monitor.controls.made == "phantom-knee"
    monitor.close()


@pytest.mark.parametrize("what", ["start", "estimate", "model"])
def test_its_long_actions_hold_up_no_image(
    monitor: TrainingMonitor,
    training: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    begun, go = threading.Event(), threading.Event()

    def slow(*_: Any, **__: Any) -> None:
        begun.set()
        assert go.wait(20)
        raise DataError("enough")

    training.prepare_run = training.estimate_training = slow
    monkeypatch.setattr("medgan_widgets.exporting.make_model", slow)
    press(monitor, what, form={**FORM, "model_id": "knee"})
    assert begun.wait(5)
    try:
        assert submit(lambda: ["an image"], owner="a grid").wait(5) == ["an image"]
        assert monitor.controls.busy == what
    finally:
        go.set()
    until(lambda: not monitor.controls.busy)
    assert monitor.error == "enough"


# ------------------------------------------------------------ when it looks


def test_hidden_it_sends_nothing_and_visible_again_all_of_it(
    monitor: TrainingMonitor, run: Path
) -> None:
    monitor.visibility.visible = True
    record_tick(run, tick(42.0))
    until(lambda: monitor.snapshots[0].kimg == 42.0)
    monitor.visibility.visible = False
    time.sleep(0.1)  # a look that had begun may end
    updates = caught(monitor)
    for n in range(5):
        record_tick(run, tick(44.0 + n))
        record_picture(run, 44.0 + n, np.zeros((4, 32, 32, 1), np.uint8))
        time.sleep(0.05)
    assert updates == []
    monitor.refresh()
    assert not any("y" in state for state in updates), "curves wait even when asked to look"
    monitor.visibility.visible = True
    until(lambda: any("y" in state for state in updates))
    assert losses(monitor)[0].x[-1] == 48.0
    assert monitor.controls.at == 48.0


def test_a_finished_run_is_looked_at_in_silence(monitor: TrainingMonitor) -> None:
    monitor.visibility.visible = True
    until(lambda: monitor.controls.runs)
    time.sleep(0.3)
    updates = caught(monitor)
    time.sleep(0.3)  # fifteen times as long as between two refreshes
    assert updates == []


def test_closing_ends_the_thread(run: Path) -> None:
    before = {one for one in threading.enumerate() if one.name == "medgan-poll"}
    monitor = TrainingMonitor(run, every=0.02)
    monitor.visibility.visible = True
    until(lambda: {o for o in threading.enumerate() if o.name == "medgan-poll"} - before)
    monitor.close()
    monitor.close()
    until(lambda: {o for o in threading.enumerate() if o.name == "medgan-poll"} == before)
    monitor.refresh()


# ------------------------------------------------------------ what it survives


@pytest.mark.parametrize("path", ["nowhere", "runs", "runs/knee/config.json"])
def test_what_is_no_run_is_said_and_may_become_one(run: Path, path: str) -> None:
    monitor = TrainingMonitor(path)
    assert f"{path} is not a run directory" in monitor.error
    assert [one["on"] for one in monitor.controls.shown["buttons"]] == [False] * 4
    if path == "nowhere":
        write_run(Path("nowhere"), ticks=2)
        monitor.refresh()
        assert monitor.error == ""
        assert monitor.snapshots[0].kimg == 4.0
    monitor.close()


def test_a_run_that_has_only_begun_is_shown() -> None:
    run = write_run(Path("runs/new"), ticks=0, pictures=0, alarms=0, state="new", weights=False)
    (run / "data.json").unlink()
    monitor = TrainingMonitor(run)
    assert monitor.error == ""
    assert monitor.controls.shown["data"] == "brain_mri"
    assert monitor.controls.state_line.startswith("not started yet")
    assert not button(monitor, "model")["on"]
    monitor.close()


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.json", '{"format": 99}', "newer version"),
        ("config.json", "not json", "not a run directory"),
        ("data.json", "{", "data.json is damaged"),
        ("alarms.jsonl", '{"name": 3}\n', "no alarm"),
        ("stats.jsonl", 'not json\n{"kimg": "x"}\n[]\n', "3 lines of runs/knee/stats.jsonl"),
        ("images/00050.000.png", "not a picture", "is no PNG"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_shown(
    run: Path, name: str, text: str, words: str
) -> None:
    (run / name).write_text(text)
    monitor = TrainingMonitor(run)
    assert words in monitor.error
    assert monitor.error.count(".") >= 1
    if name not in ("config.json",):
        assert monitor.controls.shown["preset"] == "residual"
    monitor.refresh()
    assert words in monitor.error
    monitor.close()


def test_a_folder_deleted_while_attached_keeps_its_curves(
    monitor: TrainingMonitor, run: Path
) -> None:
    shutil.rmtree(run)
    monitor.refresh()
    assert monitor.error == "runs/knee is gone; what it said last is still shown."
    assert len(losses(monitor)[0].x) == 20
    assert monitor.controls.picture
    assert not run.exists(), "looking makes no folders"
    write_run(run, ticks=2)
    monitor.refresh()
    assert monitor.error == ""


MADE = types.SimpleNamespace(id="phantom-knee", modality="MR", organ="knee")


def test_who_hears_of_a_model_may_fail(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medgan_widgets.exporting.make_model", lambda *_, **__: MADE)
    monitor = TrainingMonitor(run, on_model=lambda card: 1 / 0)
    monitor.make_model("phantom-knee").wait(10)
    assert "ZeroDivisionError" in monitor.error
    assert monitor.controls.busy == ""
    monitor.close()


def test_a_job_that_ends_after_the_panel_is_not_heard(
    monitor: TrainingMonitor, training: types.ModuleType
) -> None:
    go = threading.Event()

    def waits(run_dir: Path, **asked: Any) -> None:
        go.wait(10)
        raise RequestError("too late.")

    training.prepare_run = waits
    job = monitor.start("hip", data="brain_mri", size=32)
    monitor.close()
    go.set()
    with pytest.raises(RequestError):
        job.wait(10)
    assert monitor.error == ""


def test_strange_messages_change_nothing(monitor: TrainingMonitor) -> None:
    for content in ({}, {"kind": "format"}, {"kind": 3}):
        monitor.controls._handle_custom_msg(content, [])
    assert monitor.error == ""
    for runs in (None, [], [3], ["a"] * 9, ""):
        press(monitor, "attach", runs=runs)
        assert monitor.error
    press(monitor, "start", form=None)
    assert "a run's name" in monitor.error
    assert monitor.run == Path("runs/knee")


def test_a_folder_with_hundreds_of_runs_is_listed_to_a_limit() -> None:
    for n in range(230):
        folder = Path(f"runs/r{n:03}")
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"format": 2}')
    assert len(known_runs(Path("runs"))) == 200
    assert known_runs(Path("none")) == []


def test_bad_wishes_are_refused_before_anything_is_shown(monitor: TrainingMonitor) -> None:
    with pytest.raises(RequestError, match="every"):
        TrainingMonitor(every=0)
    with pytest.raises(RequestError, match="none"):
        monitor.attach([])
    with pytest.raises(MedganError, match="holds a run already"):
        monitor.start("knee", data="brain_mri")


def test_the_studio_has_it_and_hears_of_new_models(run: Path) -> None:
    from medgan_widgets.catalogue import Catalogue
    from medgan_widgets.engine import Engine
    from tests.tiny import write_model

    shelf = Path("shelf")
    write_model(shelf, "tiny")
    studio = Studio("tiny", engine=Engine(device="cpu", catalogue=Catalogue(shelf)))
    assert studio.top.tabs == ["Explore", "Generate", "Metrics", "Train"]
    write_model(shelf, "fresh", seed=1)
    studio.monitor._add_model(Catalogue(shelf)["fresh"])
    assert studio.explorer.selected == "fresh"
    assert "fresh" in {one["id"] for one in studio.grid.canvas.models}
    studio.use("fresh")
    assert studio.monitor.catalogue.folder == shelf
    studio.close()
