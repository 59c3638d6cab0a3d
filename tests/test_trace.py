"""From an image back to its data, as far as it goes; and who learned from a file or a patient."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import stat
import zipfile
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
KNEE: dict[str, Any] = {"modality": "DX", "organ": "knee", "region": "frontal view"}


class Place:
    """Two runs, the second started from the first, a model of the second, an image of that."""

    def __init__(self, root: Path) -> None:
        self.runs, self.models, self.out = root / "runs", root / "models", root / "out"
        self.out.mkdir()
        self.scan = root / "scan.dcm"
        self.scan.write_bytes(b"the scan of one patient")
        files = [row(b"another scan", "test"), row(self.scan.read_bytes(), "train")]
        first = write_run(self.runs / "first", FIRST, files=files, fingerprint="e" * 64)
        sha256 = hashlib.sha256((first / WEIGHTS).read_bytes()).hexdigest()
        parent = {"what": str(first), "file": "", "sha256": sha256, "run_id": FIRST}
        self.run = write_run(self.runs / "deep" / "second", SECOND, start_from=parent)
        self.card = make_model(self.run, "knee", **KNEE, models=self.models, statement=STATED)
        self.engine = Engine(device="cpu", catalogue=Catalogue(self.models))
        self.image = self.saved(17)

    def recipe(self, seed: int) -> dict[str, Any]:
        return image_recipe(self.engine.recipe(GenerateRequest("knee", seeds=seed)), seed)

    def pixels(self, seed: int) -> np.ndarray:
        return self.engine.images(GenerateRequest("knee", seeds=seed))[0]

    def saved(self, seed: int) -> Path:
        return save_png(self.pixels(seed), self.recipe(seed), self.out)

    def trace(self, image: Path | None = None) -> Any:
        return trace(image or self.image, models=self.models, runs=self.runs)

    def who(self, *args: Any, **kwargs: Any) -> list[Any]:
        return models_trained_on(*args, models=self.models, runs=self.runs, **kwargs)


def written(recipes: list[dict[str, Any]], images: list[np.ndarray], out: Path) -> Path:
    pairs = zip(images, recipes, strict=True)
    *_, last = write([SyntheticImage(*pair) for pair in pairs], out, gate=None)
    return last.exported.path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path)


# --- the whole way, and every place where it can break ------------------------------------


def test_an_image_leads_back_to_the_data_and_to_what_came_before(place: Place) -> None:
    found = place.trace()
    kinds = [step.kind for step in found.all_steps]
    assert kinds == [
        "image", "request", "model", "weights", "run", "data", "statement",
        "parent", "run", "data", "statement",
    ]  # fmt: skip
    missing = [step.text for step in found.all_steps if not step.found]
    assert len(missing) == 1, "the parent run has no model, so nobody made a statement for it"
    assert found.step("data").facts["fingerprint"] == "f" * 64
    assert found.step("data").facts["train"] == 96
    assert found.step("statement").facts["approval"] == "EK 12/2019"
    assert found.request == GenerateRequest("knee", seeds=(17,))
    again = place.engine.images(found.request)
    assert np.array_equal(again[0, ..., 0], np.asarray(Image.open(place.image)))


def test_it_reads_as_a_tree_and_as_json(place: Place) -> None:
    lines = str(place.trace()).splitlines()
    assert lines[0].startswith("image: knee_seed17_synthetic.png")
    assert lines[1].startswith("  request: model knee, seed 17")
    assert lines[-1].startswith("            statement: MISSING. source UNKNOWN")
    plain = json.loads(json.dumps(place.trace().to_dict()))
    assert plain["file"] == "knee_seed17_synthetic.png"
    assert plain["complete"] is False
    assert plain["steps"][0]["below"][0]["facts"]["seeds"] == [17]


def test_with_a_statement_for_the_parent_nothing_is_missing(place: Place) -> None:
    make_model(place.runs / "first", "older", **KNEE, models=place.models, statement=STATED)
    assert place.trace().complete


def test_an_image_of_somebody_else_is_said_to_be_none_of_ours(place: Place) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(place.out / "photo.png")
    (place.out / "text.png").write_text("no image")
    for name, said in (("photo.png", "holds no recipe"), ("text.png", "cannot be read as a PNG")):
        found = place.trace(place.out / name)
        assert [step.found for step in found.all_steps] == [False]
        assert said in str(found)
        assert "not made here, or its text was stripped" in str(found)
    with pytest.raises(DataError, match="is not a file"):
        place.trace(place.out / "none.png")


def test_stripped_metadata_leaves_the_name_which_proves_nothing(place: Place) -> None:
    Image.fromarray(place.pixels(17)[..., 0]).save(place.image)
    found = place.trace()
    assert not found.step("image").found
    assert not found.step("request").found
    assert "proves nothing" in found.step("request").text
    assert "does not say which it was made with" in found.step("weights").text
    assert found.step("run").found, "the walk goes on"


def test_changed_weights_are_seen_in_the_file_and_in_the_recipe(
    place: Place, tmp_path: Path
) -> None:
    weights = place.models / "knee" / "generator.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + b"\x07")
    assert "it was changed" in place.trace().step("weights").text
    weights.unlink()
    assert "is gone" in place.trace().step("weights").text
    other = write_run(tmp_path / "runs" / "third", THIRD, seed=5)
    make_model(other, "knee", **KNEE, models=place.models, overwrite=True)
    found = place.trace()
    assert "replaced since" in found.step("weights").text
    assert not found.complete
    assert found.step("run").facts["run_id"] == THIRD


def test_a_renamed_model_is_found_by_its_weights(place: Place) -> None:
    folder = place.models / "knee"
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, "id": "knee-renamed"}))
    folder.rename(place.models / "knee-renamed")
    found = place.trace()
    assert not found.step("model").found
    assert "knee-renamed has the same weights" in found.step("model").text
    assert found.step("run").found


def test_a_missing_model_ends_the_walk_with_what_to_do(place: Place) -> None:
    shutil.rmtree(place.models / "knee")
    found = place.trace()
    assert [step.kind for step in found.all_steps] == ["image", "request", "model"]
    assert "Put its folder back" in str(found)


def test_a_missing_run_leaves_what_the_card_knows(place: Place) -> None:
    shutil.rmtree(place.run)
    found = place.trace()
    assert not found.step("run").found
    assert found.step("data").facts["fingerprint"] == "f" * 64
    assert found.step("statement").facts["source"] == "our clinic"
    assert found.step("parent").below[0].facts["run_id"] == FIRST, "and goes on to the parent"
    assert found.step("parent").below[0].found


def test_a_run_that_was_moved_is_found_where_it_was_begun(place: Place, tmp_path: Path) -> None:
    place.run.rename(tmp_path / "elsewhere")
    assert not place.trace().step("run").found
    register(tmp_path / "elsewhere", SECOND)
    assert place.trace().step("run").found
    config = json.loads((tmp_path / "elsewhere" / "config.json").read_text())
    (tmp_path / "elsewhere" / "config.json").write_text(json.dumps({**config, "run_id": THIRD}))
    assert not place.trace().step("run").found, "another run lies there now"


def test_a_run_that_went_on_is_said(place: Place) -> None:
    write_run(place.run, SECOND, seed=9)
    assert "trained on after the model was made" in place.trace().step("run").text


def test_other_data_than_the_card_says_is_said(place: Place) -> None:
    config = json.loads((place.run / "config.json").read_text())
    (place.run / "config.json").write_text(json.dumps({**config, "fingerprint": "0" * 64}))
    assert "it is of other data" in place.trace().step("data").text
    (place.run / "data.json").write_text("{")
    assert "cannot be read" in place.trace().step("data").text


def test_runs_that_name_each_other_do_not_turn_for_ever(place: Place) -> None:
    first = place.runs / "first"
    config = json.loads((first / "config.json").read_text())
    back = {"what": "second", "sha256": "", "run_id": SECOND}
    (first / "config.json").write_text(json.dumps({**config, "start_from": back}))
    assert "name each other" in str(place.trace())


def test_a_zip_has_a_branch_for_each_model_and_each_odd_image(place: Place) -> None:
    recipes = [place.recipe(seed) for seed in (1, 2, 3)]
    other = {**recipes[0], "model_id": "lost", "weights_sha256": "0" * 64}
    images = [place.pixels(1)] * 4
    path = written([*recipes, other], images, place.out / "some")
    found = place.trace(path)
    assert found.steps[0].facts == {"images": 4}
    ours, lost = found.steps[0].below
    assert ours.facts == {"images": 3}
    assert ours.below[0].facts["seeds"] == [1, 2, 3]
    assert not lost.below[0].below[0].found
    assert found.request is None
    path.write_bytes(path.read_bytes()[:200])
    assert "MISSING" in str(place.trace(path))


def test_damaged_recipes_in_a_zip_hide_nothing_else(place: Place) -> None:
    recipe = place.recipe(1)
    recipes = [recipe, {**recipe, "seeds": ["x"]}]
    path = written(recipes, [place.pixels(1)] * 2, place.out / "z")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("odd.png", png_with_recipe(place.pixels(1), {**recipe, "seeds": 5}))
        archive.writestr("foreign.png", b"no picture")
        archive.writestr("../../out.png", png_with_recipe(place.pixels(1), {"model_id": [1]}))
    found = place.trace(path)
    assert found.steps[0].facts == {"images": 5}
    assert found.steps[0].below[0].found
    assert "foreign.png: it cannot be read as a PNG image" in str(found)
    assert not (place.out.parent.parent / "out.png").exists()


@pytest.mark.parametrize("recipe", [{}, {"model_id": 5}, {"model_id": ""}, {"model_id": ["x"]}])
def test_a_damaged_recipe_is_said(place: Place, recipe: dict[str, Any]) -> None:
    path = place.out / "x.png"
    path.write_bytes(png_with_recipe(place.pixels(1), recipe))
    assert "the recipe is damaged" in str(place.trace(path))


def test_a_model_of_medigans_was_trained_elsewhere(place: Place) -> None:
    recipe = {"model_id": "00001_DCGAN_MMG_CALC_ROI", "seeds": [1], "inputs": [{"name": "a"}]}
    found = place.trace(save_png(place.pixels(1), recipe, place.out))
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
