"""From an image back to its data, as far as it goes; and who learned from a file or a patient."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.cards import DataStatement
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.engine import Engine
from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.exporting import (
    SyntheticImage,
    image_recipe,
    make_model,
    models_trained_on,
    png_with_recipe,
    save_png,
    trace,
    write,
)
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.runs import WEIGHTS, register
from tests.run_dirs import row, write_run

FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
STATED = DataStatement(
    source="our clinic", licence="internal", approval="EK 12/2019", deidentification="by tag"
)
BLACK = np.zeros((4, 4), np.uint8)
KNEE: dict[str, Any] = {"modality": "DX", "organ": "knee", "region": "frontal view"}


class Place:
    """Two runs, the second started from the first, a model of the second, an image of that."""

    def __init__(self, root: Path) -> None:
        self.runs, self.models, self.out = root / "runs", root / "models", root / "out"
        self.weights = self.models / "knee" / "generator.safetensors"
        self.scan, self.run = root / "scan.dcm", self.runs / "deep" / "second"
        self.image = self.out / "knee_seed17_synthetic.png"
        self.engine = Engine(device="cpu", catalogue=Catalogue(self.models))

    def recipe(self, seed: int) -> dict[str, Any]:
        return image_recipe(self.engine.recipe(GenerateRequest("knee", seeds=seed)), seed)

    def trace(self, image: Path | None = None) -> Any:
        return trace(image or self.image, models=self.models, runs=self.runs)

    def who(self, *args: Any, **kwargs: Any) -> list[Any]:
        return models_trained_on(*args, models=self.models, runs=self.runs, **kwargs)


def written(recipes: list[dict[str, Any]], out: Path) -> Path:
    *_, last = write([SyntheticImage(BLACK, recipe) for recipe in recipes], out, gate=None)
    return last.exported.path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    place = Place(root)
    place.out.mkdir()
    place.scan.write_bytes(b"the scan of one patient")
    files = [row(b"another scan", "test"), row(place.scan.read_bytes(), "train")]
    first = write_run(place.runs / "first", FIRST, files=files, fingerprint="e" * 64)
    sha256 = hashlib.sha256((first / WEIGHTS).read_bytes()).hexdigest()
    parent = {"what": str(first), "file": "", "sha256": sha256, "run_id": FIRST}
    write_run(place.run, SECOND, start_from=parent)
    make_model(place.run, "knee", **KNEE, models=place.models, statement=STATED)
    place.engine.catalogue.refresh()
    pixels = place.engine.images(GenerateRequest("knee", seeds=17))[0]
    save_png(pixels, place.recipe(17), place.out)
    return root


@pytest.fixture
def place(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Place(tmp_path)


# --- the whole way, and every place where it can break ------------------------------------


def test_an_image_leads_back_to_the_data_and_to_what_came_before(place: Place) -> None:
    found = place.trace()
    kinds = [step.kind for step in found.steps]
    assert kinds == [
        "image", "request", "model", "weights", "run", "data", "statement",
        "parent", "run", "data", "statement",
    ]  # fmt: skip
    missing = [step.text for step in found.steps if not step.found]
    assert len(missing) == 1, "the parent run has no model, so nobody made a statement for it"
    assert found.step("data").facts["fingerprint"] == "f" * 64
    assert found.step("data").facts["train"] == 96
    assert found.step("statement").facts["approval"] == "EK 12/2019"
    assert found.request == GenerateRequest("knee", seeds=(17,))
    again = place.engine.images(found.request)
    assert np.array_equal(again[0, ..., 0], np.asarray(Image.open(place.image)))
    lines = str(found).splitlines()
    assert lines[0].startswith("image: knee_seed17_synthetic.png")
    assert lines[1].startswith("  request: model knee, seed 17")
    assert lines[-1].startswith("            statement: MISSING. source UNKNOWN")
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["file"] == "knee_seed17_synthetic.png"
    assert plain["complete"] is False
    assert plain["steps"][1]["facts"]["seeds"] == [17]
    make_model(place.runs / "first", "older", **KNEE, models=place.models, statement=STATED)
    assert place.trace().complete, "with a statement for the parent"


def changed(path: Path, **fields: Any) -> None:
    """Change some fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def renamed(place: Place) -> None:
    changed(place.models / "knee" / "card.json", id="other")
    (place.models / "knee").rename(place.models / "other")


def replaced(place: Place) -> None:
    other = write_run(place.runs / "third", THIRD, seed=5)
    make_model(other, "knee", **KNEE, models=place.models, overwrite=True)


@pytest.mark.parametrize(
    ("spoil", "kind", "found", "said"),
    [
        (lambda p: Image.fromarray(BLACK).save(p.image), "image", False, "holds no recipe"),
        (lambda p: Image.fromarray(BLACK).save(p.image), "request", False, "proves nothing"),
        (lambda p: Image.fromarray(BLACK).save(p.image), "weights", False, "does not say which"),
        (lambda p: p.weights.write_bytes(b"x"), "weights", False, "it was changed"),
        (lambda p: p.weights.unlink(), "weights", False, "is gone"),
        (replaced, "weights", False, "replaced since"),
        (renamed, "model", False, "other has the same weights"),
        (lambda p: shutil.rmtree(p.models / "knee"), "model", False, "Put its folder back"),
        (lambda p: shutil.rmtree(p.run), "run", False, "nor where it was begun"),
        (lambda p: shutil.rmtree(p.run), "data", True, "fingerprint ffff"),
        (lambda p: shutil.rmtree(p.run), "statement", True, "our clinic"),
        (lambda p: shutil.rmtree(p.run), "parent", True, "started from a run, 1111"),
        (lambda p: write_run(p.run, SECOND, seed=9), "run", True, "trained on after the model"),
        (lambda p: changed(p.run / "config.json", fingerprint="0"), "data", False, "other data"),
        (lambda p: (p.run / "data.json").write_text("{"), "data", False, "cannot be read"),
    ],
)
def test_what_is_missing_or_changed_is_said_and_the_walk_goes_on(
    place: Place, spoil: Callable[[Place], Any], kind: str, found: bool, said: str
) -> None:
    spoil(place)
    trace = place.trace()
    step = trace.step(kind)
    assert (step.found, said in step.text) == (found, True), step
    assert (trace.step("run") is None) == ("Put its folder back" in str(trace))


def test_an_image_of_somebody_else_is_said_to_be_none_of_ours(place: Place) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(place.out / "photo.png")
    (place.out / "text.png").write_text("no image")
    for name, said in (("photo.png", "holds no recipe"), ("text.png", "cannot be read as a PNG")):
        found = place.trace(place.out / name)
        assert [step.found for step in found.steps] == [False]
        assert said in str(found)
        assert "not made here, or its text was stripped" in str(found)
    with pytest.raises(DataError, match="is not a file"):
        place.trace(place.out / "none.png")


def test_a_run_that_was_moved_is_found_where_it_was_begun(place: Place, tmp_path: Path) -> None:
    place.run.rename(tmp_path / "elsewhere")
    assert not place.trace().step("run").found
    register(tmp_path / "elsewhere", SECOND)
    assert place.trace().step("run").found
    changed(tmp_path / "elsewhere" / "config.json", run_id=THIRD)
    assert not place.trace().step("run").found, "another run lies there now"


def test_a_zip_has_a_branch_for_each_model_and_each_odd_image(place: Place) -> None:
    recipes = [place.recipe(seed) for seed in (1, 2, 3)]
    other = {**recipes[0], "model_id": "lost", "weights_sha256": "0" * 64}
    path = written([*recipes, other, {**recipes[0], "seeds": ["x"]}], place.out / "some")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("foreign.png", b"no picture")
        archive.writestr("../../out.png", png_with_recipe(BLACK, {"model_id": [1]}))
    found = place.trace(path)
    assert found.steps[0].facts == {"images": 7}
    branches = [n for n, step in enumerate(found.steps) if step.kind == "image"]
    assert found.steps[branches[0]].facts == {"images": 4}
    assert found.steps[branches[0] + 1].facts["seeds"] == [1, 2, 3, "x"]
    assert not found.steps[branches[1] + 2].found
    assert "foreign.png: it cannot be read as a PNG image" in str(found)
    assert not (place.out.parent.parent / "out.png").exists()
    assert found.request is None
    path.write_bytes(path.read_bytes()[:200])
    assert "MISSING" in str(place.trace(path))


@pytest.mark.parametrize("recipe", [{}, {"model_id": 5}, {"model_id": ""}, {"model_id": ["x"]}])
def test_a_damaged_recipe_is_said(place: Place, recipe: dict[str, Any]) -> None:
    path = place.out / "x.png"
    path.write_bytes(png_with_recipe(BLACK, recipe))
    assert "the recipe is damaged" in str(place.trace(path))


def test_a_model_of_medigans_was_trained_elsewhere(place: Place) -> None:
    recipe = {"model_id": "00001_DCGAN_MMG_CALC_ROI", "seeds": [1], "inputs": [{"name": "a"}]}
    found = place.trace(save_png(BLACK, recipe, place.out))
    assert "trained elsewhere" in found.step("model").text
    assert "INbreast" in found.step("data").text
    assert found.request is None, "its source image is not at hand"


# --- who learned from it --------------------------------------------------------------------


def test_a_withdrawn_file_names_its_run_and_all_that_came_of_it(place: Place) -> None:
    found = place.who(place.scan)
    assert [(one.run_id, one.model_id, one.side, one.by) for one in found] == [
        (FIRST, None, "train", "file"),
        (SECOND, "knee", "train", "file"),
    ]
    assert found[1].through == FIRST
    assert "started from run 1111" in found[1].text
    assert "train again from the beginning without it" in str(found[0])


def test_a_run_that_had_the_file_itself_is_named_once(place: Place) -> None:
    line = json.dumps(row(place.scan.read_bytes(), "train")) + "\n"
    (place.run / "files.jsonl").write_text(line)
    assert [(one.run_id, one.through) for one in place.who(place.scan)] == [
        (SECOND, None),
        (FIRST, None),
    ]


def test_a_file_that_only_judged_is_told_apart(place: Place, tmp_path: Path) -> None:
    (tmp_path / "other.dcm").write_bytes(b"another scan")
    found = place.who(tmp_path / "other.dcm")
    assert {one.side for one in found} == {"test"}
    assert "only judged" in found[0].text
    (tmp_path / "other.dcm").write_bytes(b"another scan, saved again")
    assert place.who(tmp_path / "other.dcm") == []


def test_a_patient_is_found_by_the_hash_with_ones_own_key(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = patient_hash("4711", patient_key())
    assert "4711" not in group
    write_run(place.runs / "third", THIRD, files=[row(b"x", "train", group), row(b"y", "train")])
    (found,) = place.who(patient=" 4711 ")
    assert (found.run_id, found.side, found.by) == (THIRD, "train", "patient")
    assert place.who(patient="4712") == []
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "other"))
    assert place.who(patient="4711") == [], "another key finds nobody"


def test_a_child_whose_run_is_gone_is_still_named_by_its_model(place: Place) -> None:
    shutil.rmtree(place.run)
    assert [(one.model_id, one.run_dir) for one in place.who(place.scan)][1] == ("knee", None)


def test_models_without_an_answer_are_logged(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(place.run)
    (place.runs / "first" / "files.jsonl").write_text("{")
    with caplog.at_level(logging.WARNING):
        assert place.who(place.scan) == []
    assert "no answer for knee" in caplog.text
    assert "files.jsonl cannot be read" in caplog.text


def test_a_question_without_a_file_is_refused(place: Place) -> None:
    with pytest.raises(RequestError, match="give a file, or patient="):
        place.who()
    with pytest.raises(RequestError, match="as text"):
        place.who(patient=4711)
    with pytest.raises(DataError, match="cannot be read"):
        place.who(place.out)


# --- the key ----------------------------------------------------------------------------------


def test_the_key_is_made_once_and_for_oneself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: patient_key(), range(16)))
    assert len(keys) == 1
    path = tmp_path / "home" / "patients.key"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="expected 32 bytes, got 5"):
        patient_key()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "file"))
    with pytest.raises(SaveError, match="MEDGAN_HOME"):
        patient_key()
