"""One command line: what `train`, `export` and `score` take in Python, as flags."""

from __future__ import annotations

import inspect
import logging
import signal
from dataclasses import fields
from pathlib import Path

import pytest

import medgan_widgets as mw
from medgan_widgets.__main__ import main
from medgan_widgets.panels._run_forms import training_arguments
from medgan_widgets.presets import TrainConfig
from medgan_widgets.runs import read_run, run_state

SMALL = ["--data", "brain_mri", "--size", "32", "--pool", "32"]


@pytest.fixture(autouse=True)
def _quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)


def test_a_run_is_trained_and_gone_on_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "run", *SMALL, "--batch", "8", "--kimg", "0.016", "--seed", "3"]) == 0
    config, ticks = read_run("run")
    assert (config["batch"], config["seed"], ticks[-1].kimg) == (8, 3, 0.016)
    assert run_state("run").state == "finished"
    assert main(["train", "run"]) == 0, "there is nothing left to do"
    assert main(["train", "run", *SMALL, "--kimg", "1"]) == 1
    assert read_run("run")[1] == ticks


@pytest.mark.parametrize("function", [mw.train, mw.prepare_run, mw.estimate_training])
def test_the_settings_of_a_training_are_in_one_place(function, capsys) -> None:
    names = {field.name for field in fields(TrainConfig)}
    assert names <= set(inspect.signature(function).parameters)
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')}" in shown for name in names)
    assert "what keeps a patient together" in shown
    form = {"data": "brain_mri", "preset": "residual", "size": "32", "kimg": "1", "labels": "a"}
    assert set(training_arguments(form)) <= names
    with pytest.raises(TypeError, match="kimgs"):
        mw.train("run", data="brain_mri", kimgs=1)


def test_images_are_written_and_the_gate_decides_the_exit_code(caplog) -> None:
    model = ["export", "phantom-styles", "out", "--condition", '{"tumour": true}', "--psi", "0.7"]
    assert main([*model, "--seeds", "0:3", "--gate", "none"]) == 0
    assert len(list(Path().glob("*.zip"))) == 1
    with caplog.at_level(logging.ERROR):
        assert main([*model, "--seeds", "many"]) == 1
        assert main([*model, "--seeds", "0:3", "--gate", "stop", "--runs", "none"]) == 1
    assert "--seeds must be like" in caplog.text


def test_images_are_scored(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--real", "mammogram", "--metrics", "kid", "--n", "16"]
    assert main(["score", "phantom-mammogram", "--seeds", "0:16", *given]) == 0
    assert "KID" in capsys.readouterr().out
    assert main(["score", "nobody", *given]) == 1
