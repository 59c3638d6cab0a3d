"""The augmentation notebook on somebody's pictures: patients in a table, a generator of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import papermill
import pytest
from PIL import Image

from tests.test_notebooks import run

NETWORK = """
from torch import nn

def linear(channels, classes, size):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, classes))
"""


@pytest.fixture
def notebook(root) -> Path:
    return root / "notebooks" / "06_augmentation_study.ipynb"


def pictures(folder: Path) -> Path:
    """Two classes in two folders, three pictures a patient, told by a table."""
    rows = ["file_name,patient"]
    for number in range(90):
        random = np.random.default_rng(number)
        name = f"{'bright' if number % 2 else 'dark'}/{number}.png"
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(100, 200, (40, 36)) - (0 if number % 2 else 60)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
        rows.append(f"{name},{number // 6}-{number % 2}")
    (folder / "metadata.csv").write_text("\n".join(rows))
    return folder


def printed(done) -> str:
    return "".join(o.get("text", "") for c in done.cells for o in c.get("outputs", []))


def test_a_study_of_somebodys_folder(notebook, tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(NETWORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    parameters = {
        "data": str(pictures(tmp_path / "mine")), "labels": "folder", "group": "patient",
        "model_id": "", "size": 32, "reals": 0, "ratios": [0.5, 1.0], "seeds": 2, "passes": 2,
        "classifier": "my_networks:linear", "generator_kimg": 0.064, "device": "cpu",
        "folder": str(tmp_path / "study"),
    }  # fmt: skip
    done = run(notebook, tmp_path / "out.ipynb", parameters)
    text = printed(done)
    assert "told apart: class, by linear" in text
    assert "18 trainings" in text
    assert "The generator was trained here, for 0.064 kimg" in text
    assert "synthetic images added (ratio 0.5)" in text
    assert "Only 2 seeds" in text
    assert "images of one patient may stand" not in text
    rows = pd.read_csv(tmp_path / "study" / "trainings.csv")
    assert len(rows) == 18
    assert {"recall bright", "recall dark", "balanced_accuracy"} <= set(rows)
    assert (rows["n_train"] == rows["n_real"] + rows["n_synthetic"]).all()


def test_it_explains_its_parameters(notebook):
    parameters = papermill.inspect_notebook(str(notebook))
    assert {"data", "labels", "group", "model_id", "train_generator", "ratios", "full"} <= set(
        parameters
    )
    assert all(about["help"] for about in parameters.values())
