"""The notebooks that judge run with other parameters, and what they leave is what was measured."""

from __future__ import annotations

import re

import nbformat
import numpy as np
import papermill
import pytest
from PIL import Image

import medgan_widgets as mw
from medgan_widgets.phantoms import draw_phantoms
from tests.test_notebooks import run

STATE = "application/vnd.jupyter.widget-state+json"


def texts(notebook) -> str:
    return "".join(
        part
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for part in (output.get("text", ""), output.get("data", {}).get("text/plain", ""))
    )


@pytest.fixture
def folders(tmp_path):
    """Real images, and generated ones of which the last five are copies of reals, flipped."""
    real = draw_phantoms("mammogram", range(80), size=64).images
    fake = draw_phantoms("mammogram", range(5000, 5060), size=64).images.copy()
    fake[-5:] = real[:5, :, ::-1]
    for name, images in (("real", real), ("fake", fake)):
        (tmp_path / name).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{number:03}.png")
    return tmp_path


@pytest.mark.slow
def test_a_folder_is_evaluated_against_a_folder_and_its_copies_are_found(root, folders, tmp_path):
    done = run(
        root / "notebooks" / "04_evaluate.ipynb", tmp_path / "out.ipynb",
        {
            "fake": str(folders / "fake"), "real": str(folders / "real"), "images": 60,
            "extractors": ["phantom-cnn-1"], "metrics": ["kid", "recall"],
            "training": str(folders / "real"), "seed": 3,
        },
    )  # fmt: skip
    text = texts(done)
    expected = mw.score(
        folders / "fake", real=folders / "real", metrics=["kid"], extractor="phantom-cnn-1",
        n=60, seed=3,
    )["KID"]  # fmt: skip
    assert f"KID {expected.value:.4g} [{expected.interval[0]:.4g}" in text
    assert "n 60 / 60, phantom-cnn-1" in text
    assert "5 of 60 generated images are copies" in text
    assert "their anatomy is not known" in text
    state = done.metadata.widgets[STATE]["state"].values()
    (table,) = [one["state"] for one in state if one["state"].get("what") == "scores"]
    assert [row[2] for row in table["rows"]] == ["KID", "recall"]
    assert table["rows"][0][3] == f"{expected.value:.4g}"


@pytest.mark.slow
def test_a_model_is_evaluated_at_its_class_and_truncation(root, tmp_path):
    done = run(
        root / "notebooks" / "04_evaluate.ipynb", tmp_path / "out.ipynb",
        {
            "fake": "phantom-styles", "images": 60, "condition": {"contrast": "T2"},
            "truncation_psi": 0.6, "extractors": ["phantom-cnn-1"], "metrics": ["kid"],
        },
    )  # fmt: skip
    text = texts(done)
    assert "phantom-styles against brain_mri" in text
    assert "Memorisation: not assessed" in text
    assert "The contrast asked for is seen in" in text
    assert '"truncation_psi": 0.6' in text


@pytest.mark.slow
def test_quality_against_truncation_is_a_benchmark(root, tmp_path):
    done = run(
        root / "notebooks" / "05_benchmark.ipynb", tmp_path / "out.ipynb",
        {
            "models": ["phantom-styles", "phantom-mammogram"], "truncation": [0.4, 1.0],
            "images": 60, "batch": 4, "repeats": 2, "metrics": ["recall"],
        },
    )  # fmt: skip
    text = texts(done)
    assert "2 models on cpu, 60 images a side" in text
    assert re.search(r"phantom-styles +8 images in 2 requests, weights read 1 time", text)
    recall = dict(re.findall(r"phantom-styles psi (\S+) +recall +(\S+)", text))
    assert float(recall["0.4"]) < float(recall["1"]), "truncation costs diversity"
    assert "MetricsPlot(models=2, scores=4, plots=2)" in text


def test_a_model_without_reals_is_left_out_in_words(root, tmp_path, monkeypatch):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(root / "notebooks" / "04_evaluate.ipynb", tmp_path / "out.ipynb", {"fake": "00001"})
    assert "say what 00001 is to be compared with" in caught.value.evalue


@pytest.mark.parametrize("name", ["04_evaluate", "05_benchmark"])
def test_every_parameter_is_explained(root, name):
    parameters = papermill.inspect_notebook(str(root / "notebooks" / f"{name}.ipynb"))
    assert {"images", "seed", "full"} <= set(parameters)
    assert all(about["help"] and about["inferred_type_name"] for about in parameters.values())


def test_as_saved_they_explain_what_a_stranger_would_misread(root):
    saved = {
        name: texts(nbformat.read(root / "notebooks" / f"{name}.ipynb", as_version=4))
        for name in ("04_evaluate", "05_benchmark", "06_augmentation_study")
    }
    assert "By phantom-cnn-1, which sees the anatomy of phantoms, FD is" in saved["04_evaluate"]
    benchmark = saved["05_benchmark"]
    warned = int(re.search(r"(\d+) with a warning", benchmark)[1])
    assert warned == benchmark.count("KID is the better figure") > 4, "also that of each class"
    groups = re.split(r"^against (\S+ phantoms)$", benchmark, flags=re.M)[1:]
    assert groups[::2] == ["brain_mri phantoms", "chest_xray phantoms", "mammogram phantoms"]
    assert "phantom-chest-xray" not in groups[1]
    assert "phantom-styles" in groups[1]
    study = saved["06_augmentation_study"]
    assert study.count("the classifiers see 80") == 2, "also beside the conclusion"


def test_what_the_notebooks_leave_on_paper_is_no_empty_sheet(root):
    import base64
    import io
    import json

    for name in ("04_evaluate", "05_benchmark"):
        cells = json.loads((root / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
        pictures = [
            np.asarray(Image.open(io.BytesIO(base64.b64decode(output["data"]["image/png"]))))
            for cell in cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]
        assert pictures
        assert all(len(np.unique(picture)) > 20 for picture in pictures)
