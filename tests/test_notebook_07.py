"""The notebook of the reader study: with other data and another design, to results on the disk."""

from __future__ import annotations

import json
import re

import nbformat
import numpy as np
import papermill
import pytest
from PIL import Image

from medgan_widgets.studies.reader_study import open_study
from tests.simulated import simulate_reader
from tests.test_notebooks import run


def printed(done):
    return "".join(o.get("text", "") for c in done.cells for o in c.get("outputs", []))


def listed(done):
    """Whose answers a table shows."""
    tables = [
        o for c in done.cells for o in c.get("outputs", []) if "text/html" in o.get("data", {})
    ]
    return {
        name for one in tables for name in re.findall(r"simulated (\w+)", one["data"]["text/html"])
    }


@pytest.fixture(scope="module")
def notebook(root):
    return root / "notebooks" / "07_reader_study.ipynb"


@pytest.mark.slow
def test_somebodys_folders_read_one_of_four(notebook, tmp_path):
    for number in range(60):
        side = tmp_path / ("real" if number < 15 else "fake")
        side.mkdir(exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (32, 32), np.uint8)
        Image.fromarray(pixels).save(side / f"{number}.png")
    parameters = {
        "real": str(tmp_path / "real"), "synthetic": str(tmp_path / "fake"), "design": "four",
        "trials": 10, "ratings": 4, "seed": 3, "reader": "Zoë", "simulated": 2,
        "study_dir": str(tmp_path / "study"),
    }  # fmt: skip
    done = run(notebook, tmp_path / "out.ipynb", parameters)
    study = open_study(tmp_path / "study")
    assert (study.plan.design, study.plan.find, len(study.plan.trials)) == ("four", "real", 10)
    assert study.readers == (), "nobody simulated reads the study itself"
    text = printed(done)
    assert "say nothing about the images" in text
    assert "Reader simulated 2 chose right" in text
    assert "0 of 0 readers who began are done" in text
    assert "Reader Zoë is not done" in text
    assert "take some that were held out" in text
    saved = json.dumps(done.metadata["widgets"])
    assert study.plan.id not in saved, "no truth and no pixels in what a reader may open"

    simulate_reader(study, "simulated Zoë", skill=0.5)
    simulate_reader(study, "simulated Yan", skill=0.5)
    own = {**parameters, "simulated": 0, "reader": "simulated Zoë"}
    done = run(notebook, tmp_path / "again.ipynb", own)
    told = json.loads((tmp_path / "study" / "results.json").read_text("utf-8"))
    assert [one["share"]["n"] for one in told["readers"]] == [10, 10]
    assert told["readers"][0]["share"]["right"] == study.results().readers[0].share.right
    assert "chance 25%" in printed(done)
    assert "This trial run" not in printed(done)
    assert listed(done) == {"Zoë"}, "a reader's rows are that reader's own"


def test_the_next_reader_sees_nothing_of_what_others_answered(notebook, tmp_path):
    parameters = {"trials": 10, "ratings": 4, "study_dir": str(tmp_path / "study")}
    run(notebook, tmp_path / "out.ipynb", {**parameters, "simulated": 0})
    study = open_study(tmp_path / "study")
    simulate_reader(study, "simulated Yan", skill=1.0)
    done = run(notebook, tmp_path / "ben.ipynb", {**parameters, "reader": "Ben", "simulated": 0})
    assert "1 of 1 readers who began are done.\nReader Ben is not done" in printed(done)
    assert "Yan" not in printed(done)
    assert "The marks come when the reading is done" in printed(done)
    assert listed(done) == set()
    assert study.plan.id not in json.dumps(done)
    assert not (tmp_path / "study" / "results.csv").exists()


def test_a_real_study_needs_a_place_to_keep_answers(notebook, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError, match="give study_dir"):
        run(notebook, tmp_path / "out.ipynb", {"full": True})


def test_it_explains_its_parameters(notebook):
    parameters = papermill.inspect_notebook(str(notebook))
    assert {"real", "model_id", "design", "trials", "reader", "study_dir", "full"} <= set(
        parameters
    )
    for name, about in parameters.items():
        assert about["help"], name
        assert about["inferred_type_name"] not in ("", "None"), name


def test_as_saved_it_shows_a_marked_review_and_says_who_was_simulated(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    text = "".join(output.get("text", "") for output in outputs)
    assert "Simulated readers: their answers are drawn by a program" in text
    assert "Phantoms stand in for real images" in text
