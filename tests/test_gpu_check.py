"""The GPU check without a GPU: it says so; and its parts on the processor, behind a fake card."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from medgan_widgets.presets import PRESETS
from tests.gpu import check as gpu
from tests.gpu import gather


class FakeCard(gpu.Card):
    """The processor, which holds what the test says."""

    device = "cpu"

    def name(self) -> str:
        return "a fake card"

    def wait(self) -> None:
        pass

    def held(self) -> int:
        return 100

    def most(self, *, anew: bool = False) -> int:
        return 1100


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> gpu.Check:
    monkeypatch.setattr(gpu, "COUNTS", (1, 2))
    small = {"residual": replace(PRESETS["residual"], batch=4)}
    monkeypatch.setattr(gpu, "PRESETS", small)
    monkeypatch.setattr("medgan_widgets.presets.PRESETS", small)
    monkeypatch.setattr("medgan_widgets.medigan.behaviour.CLOCK_STEP", 0.0)
    return gpu.Check(FakeCard(), 600.0, ["phantom-mammogram", "phantom-brain-mri"])


def test_without_cuda_it_says_so_and_runs_nothing(root: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    program = [sys.executable, str(root / "tests" / "gpu" / "check.py")]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, list(tmp_path.iterdir())) == (0, [])
    assert "no CUDA device here; nothing was run" in done.stdout


def test_every_part_runs_and_the_file_grows_with_each(
    check: gpu.Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    out = tmp_path / "check.json"

    class Cut(Exception):
        pass

    def pytest_of_a_gpu(*_: object, **__: object) -> SimpleNamespace:
        seen.append(list(json.loads(out.read_text())))
        return SimpleNamespace(returncode=0, stdout="...\n2 passed\n", stderr="")

    monkeypatch.setattr(gpu.subprocess, "run", pytest_of_a_gpu)
    monkeypatch.setattr(check, "machine", lambda: gpu.Check.machine(check, side=64))
    monkeypatch.setattr(check, "features", lambda: gpu.Check.features(check, count=64))
    monkeypatch.setattr(check, "training", lambda: gpu.Check.training(check, 0.0, 3.0))
    parts = [part for part in gpu.PARTS if part != "medigan"]  # it starts processes; see below
    found = gpu.run(check, out, parts)
    assert seen == [["machine", "wrong", "engine", "room", "features", "training"]]
    written = json.loads(out.read_text())
    assert written == json.loads(json.dumps(found, default=float))
    # The processor is nobody else's, so models stay on it.
    assert written["wrong"] == [f"{name} did not leave an idle card" for name in check.models]
    assert written["machine"]["card"] == "a fake card"
    brain = written["engine"]["phantom-brain-mri"]
    assert brain["exact_is_exact"]
    assert brain["from_processor"] == {"most_levels": 0, "mean_levels": 0.0}
    assert set(brain["images_per_s"]["2"]) == {"exact", "fast", "plain", "bytes"}
    assert brain["images_per_s"]["2"]["bytes"] == 1000
    assert 0 < brain["at_best_per_s"] < 1e9
    assert written["room"]["same_where_short"]
    assert written["features"]["FD"] < 1e-9
    assert written["training"]["residual"]["resume_equal"]
    assert written["training"]["residual"]["images_per_s"] > 0
    assert written["tests"]["pytest"] == ["2 passed"]


def test_a_package_of_medigans_runs_behind_the_card(check: gpu.Check) -> None:
    found = check.medigan()
    assert found["from_processor_levels"] == 0
    assert found["images_per_s"] > 0
    assert check.wrong == []


def test_a_part_that_fails_is_noted_and_the_next_one_runs(
    check: gpu.Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> dict[str, object]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(check, "engine", fails)
    monkeypatch.setattr(check, "tests", lambda: {"pytest": ["2 passed"]})
    found = gpu.run(check, tmp_path / "check.json", ["engine", "tests"])
    assert found["wrong"] == [
        "engine: RuntimeError: CUDA error: an illegal memory access was encountered"
    ]
    assert "illegal memory access" in found["engine"]["error"]
    assert found["tests"]["pytest"] == ["2 passed"]


def test_the_real_card_asks_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = {
        "get_device_name": "NVIDIA H100", "synchronize": None, "memory_allocated": 7,
        "max_memory_allocated": 9, "reset_peak_memory_stats": None,
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(
            torch.cuda, name, lambda name=name, answer=answer: asked.append(name) or answer
        )
    card = gpu.Card()
    assert (card.name(), card.held(), card.most(anew=True)) == ("NVIDIA H100", 7, 9)
    card.wait()
    assert sorted(asked) == sorted(answers)


def test_what_a_machine_lacks_is_small_enough_to_carry(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def pip(command: list[str], **_: object) -> SimpleNamespace:
        fetched.append(command[-1])
        return SimpleNamespace(returncode=0)

    assert 5e6 < gather.tree_bytes() < 20e6
    monkeypatch.setattr(gather.subprocess, "run", pip)
    monkeypatch.setattr(gather, "tree_bytes", lambda: 10_000_000)
    monkeypatch.setattr(gather, "_core_of", lambda _: "pydantic-core==2.0")
    assert gather.main(["wheels", "--there", "numpy", "scipy"]) == 0
    assert "pydantic-core==2.0" in fetched
    assert not {"numpy", "scipy"} & set(fetched)
