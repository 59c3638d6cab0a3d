"""Notebooks are programs: they run, with other parameters too, and what they leave is real.

A panel that shows nothing would pass nbval, which compares text only. So the saved widget state is
decoded, and its pixels are compared with what the engine makes of the same seeds.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import papermill
import pytest
from nbformat.v4 import new_code_cell
from PIL import Image

import medgan_widgets
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.medigan.client import end_workers
from medgan_widgets.requests import GenerateRequest
from tests.mirror import BRAIN_MASKS, BRAIN_T1_T2, CHEST, MAMMOGRAM, build_mirror

STAND_INS = (MAMMOGRAM, CHEST, BRAIN_MASKS, BRAIN_T1_T2)
STATE = "application/vnd.jupyter.widget-state+json"
NOISE = """
import numpy as np
import medgan_widgets.engine
from medgan_widgets.requests import Batch

def noise(self, request):
    draw = np.random.default_rng(0)
    for seed in request.seeds:
        pixels = draw.integers(0, 256, (1, 128, 128, 1), np.uint8)
        yield Batch(images=pixels, seeds=(seed,), labels={"contrast": ("T1",)})

medgan_widgets.engine.Engine.generate = noise
"""


@pytest.fixture(scope="module")
def notebook(root) -> Path:
    return root / "notebooks" / "01_studio.ipynb"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu")


def run(notebook: Path, out: Path, parameters: dict[str, Any], *, before: str = "") -> Any:
    """Run a notebook with papermill; refuse parameters it does not have, which papermill would not.

    ``before`` is code that runs first, in a cell of its own.
    """
    known = set(papermill.inspect_notebook(str(notebook)))
    if unknown := set(parameters) - known:
        raise ValueError(f"{notebook.name} has no parameter {sorted(unknown)}; it has {known}.")
    source = nbformat.read(notebook, as_version=4)
    if before:
        source.cells.insert(0, new_code_cell(before))
    copied = out.with_name("source.ipynb")
    nbformat.write(source, copied)
    return papermill.execute_notebook(
        str(copied),
        str(out),
        parameters=parameters,
        progress_bar=False,
        cwd=str(notebook.parent),
        execution_timeout=240,
    )


def saved_pictures(notebook: Any) -> dict[int, np.ndarray]:
    """Every image in the saved state of a notebook's grids, by seed, uint8 [H, W, C]."""
    found: dict[int, np.ndarray] = {}
    for widget in notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {}).values():
        picture = widget["state"].get("picture")
        if not picture:
            continue
        (png,) = [part for part in widget["buffers"] if part["path"] == ["picture", "png"]]
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(png["data"]))))
        height, width, channels = picture["shape"]
        sheet = sheet.reshape(*sheet.shape[:2], -1)[:, :, :channels]
        for place, tile in enumerate(picture["tiles"]):
            row, column = divmod(place, picture["columns"])
            top, left = row * height, column * width
            found[int(tile["seed"])] = sheet[top : top + height, left : left + width]
    return found


def printed_hashes(notebook: Any) -> dict[int, str]:
    """The first digits of SHA-256 that the notebook printed for each seed."""
    text = "".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])
    )
    lines = re.findall(r"^(\d+) .* ([0-9a-f]{12})$", text, re.M)
    return {int(seed): digits for seed, digits in lines}


def check_real(notebook: Any, engine: Engine, request: GenerateRequest) -> None:
    """Prove that the images of a request are what a notebook saved and printed."""
    expected = dict(zip(request.seeds, engine.images(request), strict=True))
    saved, printed = saved_pictures(notebook), printed_hashes(notebook)
    assert set(saved) == set(printed) == set(expected)
    for seed, image in expected.items():
        assert np.array_equal(saved[seed], image), f"seed {seed}: other pixels were saved"
        assert printed[seed] == hashlib.sha256(image.tobytes()).hexdigest()[:12]
    images = np.stack(list(expected.values())).astype(float)
    assert images.std(axis=(1, 2, 3)).min() > 10, "an image is empty"
    assert np.abs(images[1:] - images[:-1]).mean(axis=(1, 2, 3)).min() > 1, "two seeds look alike"


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """Somebody's mirror, home and lock: four packages were fetched and agreed to."""
    root = tmp_path_factory.mktemp("mirrored")
    places = {
        "MEDGAN_MIRROR": str(build_mirror(root / "mirror")),
        "MEDGAN_HOME": str(root / "home"),
        "MEDGAN_LOCK": str(root / "models.lock"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**places, "MEDGAN_UNATTENDED": "0"}.items():
            patch.setenv(name, value)
        for name in STAND_INS:
            medgan_widgets.download(name)
            medgan_widgets.trust(name)
        medgan_widgets.write_lock()
    return places


def test_they_run_again_and_say_the_same(root, tmp_path, mirrored):
    """nbval, in a process of its own: its options would change every other test."""
    command = [
        *(sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q"),
        *("--nbval-sanitize-with", str(root / "tests" / "nbval.cfg")),
        *("--nbval-cell-timeout=240", "--nbval-kernel-startup-timeout=90"),
        *("-p", "no:cacheprovider", "-o", "addopts=", "--rootdir", str(root)),
        str(root / "notebooks"),
    ]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL,
        env={**os.environ, **mirrored},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_the_saved_notebook_holds_its_images(notebook):
    """The file as committed: on another processor a last bit may differ, nothing more."""
    saved = saved_pictures(nbformat.read(notebook, as_version=4))
    images = Engine(device="cpu").images(GenerateRequest("phantom-brain-mri", seeds=range(16)))
    assert sorted(saved) == list(range(16))
    for seed, image in enumerate(images):
        difference = np.abs(saved[seed].astype(int) - image.astype(int))
        assert difference.max() <= 2, f"seed {seed}: run the notebook again and save it"


def test_other_parameters_give_the_images_of_those_seeds(notebook, engine, tmp_path):
    parameters = {"images": 5, "seed": 2**53 + 1, "condition": {"contrast": "T2", "tumour": True}}
    done = run(notebook, tmp_path / "out.ipynb", parameters)
    request = GenerateRequest(
        "phantom-brain-mri",
        seeds=range(2**53 + 1, 2**53 + 6),
        condition={"contrast": "T2", "tumour": True},
    )
    check_real(done, engine, request)

    other = GenerateRequest("phantom-brain-mri", seeds=request.seeds, condition={"contrast": "T1"})
    with pytest.raises(AssertionError):
        check_real(done, engine, other)
    without = copy.deepcopy(done)
    del without.metadata["widgets"]
    with pytest.raises(AssertionError):
        check_real(without, engine, request)


def test_noise_in_place_of_the_engine_is_found_out(notebook, engine, tmp_path):
    done = run(notebook, tmp_path / "noise.ipynb", {"images": 3}, before=NOISE)
    assert len(saved_pictures(done)) == 3, "the notebook itself must have run to its end"
    with pytest.raises(AssertionError, match="other pixels"):
        check_real(done, engine, GenerateRequest("phantom-brain-mri", seeds=range(3)))


def test_an_unknown_parameter_is_refused(notebook, tmp_path):
    with pytest.raises(ValueError, match="has no parameter"):
        run(notebook, tmp_path / "out.ipynb", {"sead": 3})


def test_every_parameter_has_a_type_and_a_help_text(notebook):
    parameters = papermill.inspect_notebook(str(notebook))
    assert set(parameters) == {"model_id", "images", "seed", "condition", "device"}
    for name, about in parameters.items():
        assert about["inferred_type_name"] not in ("", "None"), name
        assert about["help"], name


def test_a_bad_parameter_ends_in_one_sentence(notebook, tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(notebook, tmp_path / "out.ipynb", {"model_id": "phantom-brane-mri"})
    assert caught.value.ename == "ModelNotFoundError"
    assert "phantom-brain-mri" in caught.value.evalue


# ---------------------------------------------------------------- medigan's models


@pytest.fixture
def second(root, mirrored, monkeypatch) -> Path:
    for name, value in mirrored.items():
        monkeypatch.setenv(name, value)
    return root / "notebooks" / "02_medigan.ipynb"


def test_medigans_models_run_unattended_by_the_lock(second, tmp_path, monkeypatch):
    done = run(second, tmp_path / "out.ipynb", {"model_ids": [MAMMOGRAM], "images": 3, "seed": 40})
    saved = saved_pictures(done)
    assert set(saved) == {40, 41, 42}
    monkeypatch.setenv("MEDGAN_UNATTENDED", "0")
    engine = Engine(device="cpu", catalogue=Catalogue())
    expected = engine.images(GenerateRequest(MAMMOGRAM, seeds=range(40, 43)))
    end_workers()
    assert all((saved[40 + n] == image).all() for n, image in enumerate(expected))


def test_without_a_lock_an_unattended_run_stops_with_a_sentence(second, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_LOCK", str(tmp_path / "none.lock"))
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(second, tmp_path / "out.ipynb", {"model_ids": [MAMMOGRAM], "images": 1})
    assert "needs your yes to run its authors' code" in caught.value.evalue
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        run(second, tmp_path / "out.ipynb", {"model_ids": [MAMMOGRAM], "consent": True})
    assert "nobody is here to agree" in caught.value.evalue, "an argument is not a person"


def test_medigans_notebook_explains_its_parameters(second):
    parameters = papermill.inspect_notebook(str(second))
    assert set(parameters) == {"mirror", "model_ids", "images", "seed", "consent"}
    assert all(about["help"] for about in parameters.values())


# ---------------------------------------------------------------- training


def test_training_on_somebodys_folder_ends_with_a_model_of_it(root, tmp_path):
    folder = tmp_path / "mine"
    for number in range(60):
        random = np.random.default_rng(number)
        place = folder / ("bright" if number % 2 else "dark")
        place.mkdir(parents=True, exist_ok=True)
        pixels = (
            random.integers(120, 250, (40, 36)) if number % 2 else random.integers(0, 90, (40, 36))
        )
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number}.png")
    parameters = {
        "data": str(folder), "labels": "folder", "size": 32, "kimg": 0.32, "seed": 5,
        "run_dir": str(tmp_path / "runs" / "mine"), "models": str(tmp_path / "models"),
        "model_id": "mine", "modality": "DX", "organ": "knee", "licence": "CC-BY-4.0",
        "statement": {"source": "made in a test"},
    }  # fmt: skip
    done = run(root / "notebooks" / "03_train.ipynb", tmp_path / "out.ipynb", parameters)
    catalogue = Catalogue(tmp_path / "models")
    card = catalogue["mine"]
    assert card.condition == {"class": ("bright", "dark")}
    assert card.statement.source == "made in a test"
    assert card.statement.approval == "UNKNOWN"
    assert not card.phantom
    request = GenerateRequest("mine", seeds=range(5, 21))
    made = Engine(device="cpu", catalogue=catalogue).images(request)
    saved = saved_pictures(done)
    assert sorted(saved) == list(range(5, 21))
    assert all((saved[5 + n] == image).all() for n, image in enumerate(made))
    text = "".join(o.get("text", "") for c in done.cells for o in c.get("outputs", []))
    assert "0.320 kimg" in text
    assert "no group was given" in text


def test_the_training_notebook_explains_its_parameters(root):
    parameters = papermill.inspect_notebook(str(root / "notebooks" / "03_train.ipynb"))
    assert {"data", "labels", "group", "kimg", "run_dir", "statement"} <= set(parameters)
    assert all(about["help"] for about in parameters.values())


def test_no_notebook_mentions_a_place_on_somebodys_disk(root):
    for path in (root / "notebooks").glob("*.ipynb"):
        text = path.read_text("utf-8")
        assert not re.search(r"/(home|root|Users|tmp|work)/", text), path.name
