"""On the way out images are held against the training images; what is found, and what is kept."""

from __future__ import annotations

import csv
import io
import json
import logging
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import medgan_widgets as mw
from medgan_widgets.errors import DataError, MemorisationError, RequestError, SaveError
from medgan_widgets.exporting import recipe_of
from medgan_widgets.exporting.gate import copy_detector_for
from medgan_widgets.files import write_whole
from medgan_widgets.memorisation import CopyDetector, tuning

REQUEST = mw.GenerateRequest("phantom-styles", seeds=range(20, 32))


class Copying(mw.Engine):
    """An engine whose model repeats two of its training images, turned over and noisy."""

    def generate(self, request):
        known = mw.draw_phantoms("brain_mri", range(40), size=64).images
        for batch in super().generate(request):
            images = batch.images.copy()
            for row, seed in enumerate(batch.seeds):
                if seed in (21, 30):
                    noise = np.random.default_rng(seed).normal(0, 4, (64, 64))
                    copy = np.clip(known[seed][:, ::-1] + noise, 0, 255)
                    images[row, ..., 0] = np.rint(copy).astype(np.uint8)
            yield replace(batch, images=images)


@pytest.fixture(scope="module", autouse=True)
def _few():
    """A threshold found from fewer images: this is about what the gate does with the answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "REALS", 60)
        patch.setattr(tuning, "CONTROLS", 72)
        yield


@pytest.fixture(scope="module")
def detector():
    return CopyDetector(mw.draw_phantoms("brain_mri", range(40), size=64).images)


@pytest.fixture(scope="module")
def copying():
    return Copying(device="cpu")


@pytest.fixture(scope="module")
def honest():
    return mw.Engine(device="cpu")


def test_copies_are_told_in_the_report_the_log_and_the_manifest(
    copying, detector, tmp_path, caplog
):
    with caplog.at_level(logging.WARNING):
        done = mw.export(REQUEST, tmp_path / "out", training=detector, engine=copying)
    assert "2 of 12 generated images are copies" in done.report.text
    assert "Whether phantom-styles was trained on these images is not known" in done.report.text
    assert "2 of 12 generated images are copies" in caplog.text
    assert sorted((p.seed, p.training) for p in done.report.copies) == [(21, 21), (30, 30)]
    told = json.loads(done.report_path.read_text())
    assert (told["copies"], told["n_generated"], told["n_training"]) == (2, 12, 40)
    with zipfile.ZipFile(done.path) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("manifest.csv"))))
        assert not [name for name in archive.namelist() if "private" in name]
    marks = {int(row["seed"]): row["memorisation"] for row in rows}
    assert {seed for seed, mark in marks.items() if mark.startswith("a copy")} == {21, 30}
    private = tmp_path / "out_synthetic_pairs_private.png"
    assert len(np.unique(np.asarray(Image.open(private)))) > 20, "the pairs, beside the zip"
    with pytest.raises(MemorisationError, match=r"Leave out seeds 21, 30\..*earlier export still"):
        mw.export(REQUEST, tmp_path / "out", training=detector, gate="stop", engine=copying)
    mw.export(REQUEST, tmp_path / "out", gate=None, engine=copying)
    assert not private.exists(), "no pairs belong to the export that lies there now"


def test_at_a_closed_gate_nothing_leaves_but_the_report_is_kept(copying, detector, tmp_path):
    with pytest.raises(MemorisationError, match="nothing was exported: 2 of 12"):
        mw.export(REQUEST, tmp_path / "out", training=detector, gate="stop", engine=copying)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out_synthetic_memorisation.json", "out_synthetic_pairs_private.png"]
    assert json.loads((tmp_path / names[0]).read_text())["copies"] == 2


def test_two_exports_never_mix_and_half_a_folder_has_no_name(honest, tmp_path, monkeypatch):
    done = mw.export(REQUEST, tmp_path / "out", format="png", gate=None, engine=honest)
    before = sorted(done.path.iterdir())
    with pytest.raises(SaveError, match="has files already"):
        mw.export(REQUEST, tmp_path / "out", format="png", gate=None, engine=honest)
    assert sorted(done.path.iterdir()) == before
    count = iter(range(100))

    def full_disk(path, data, **about):
        if next(count) == 5:
            raise OSError(28, "No space left on device")
        return write_whole(path, data, **about)

    monkeypatch.setattr("medgan_widgets.exporting.writer.write_whole", full_disk)
    with pytest.raises(SaveError, match="No space left"):
        mw.export(REQUEST, tmp_path / "half", format="png", gate=None, engine=honest)
    assert sorted(path.name for path in tmp_path.glob("*half*")) == [
        "half_synthetic_memorisation.json"
    ]


def test_images_that_are_none_pass_it(honest, detector, tmp_path):
    done = mw.export(
        REQUEST, tmp_path / "out", format="png", training=detector, gate="stop", engine=honest
    )
    assert done.report.assessed
    assert done.report.copy_rate == 0
    files = sorted(done.path.glob("*.png"))
    assert len(files) == done.count == 12
    assert recipe_of(files[0])["memorisation"] == "not found to be a copy"
    assert mw.restore(files[0]).seeds == (20,)
    assert "clean" not in done.report.text


def test_without_the_training_images_nobody_says_clean(honest, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        done = mw.export(REQUEST, tmp_path / "a", engine=honest, runs=tmp_path)
    assert done.report.text.startswith("Memorisation: not assessed")
    assert "not assessed" in caplog.text
    assert done.report.copy_rate is None
    with pytest.raises(MemorisationError, match="not assessed"):
        mw.export(REQUEST, tmp_path / "b", gate="stop", engine=honest, runs=tmp_path)
    assert not (tmp_path / "b_synthetic.zip").exists()


def test_a_run_that_is_here_gives_its_images_and_a_changed_one_does_not(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, image in enumerate(mw.draw_phantoms("mammogram", range(60), size=32).images):
        Image.fromarray(image).save(folder / f"{number}.png")
    run = tmp_path / "runs" / "mine"
    list(mw.train(run, data=str(folder), size=32, kimg=0.1, tick_kimg=0.1))
    mw.make_model(
        run, "mine", modality="MG", organ="breast", licence=None, models=tmp_path / "models"
    )
    engine = mw.Engine(device="cpu", catalogue=mw.Catalogue(tmp_path / "models"))
    asked = {"engine": engine, "runs": tmp_path / "runs"}
    request = mw.GenerateRequest("mine", seeds=range(4))
    done = mw.export(request, tmp_path / "out", **asked)
    assert done.report.assessed
    assert done.report.n_training + done.report.n_held_out == 60
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(folder / "0.png")
    again = mw.export(request, tmp_path / "again", **asked)
    assert "cannot be read again as they were" in again.report.text


def test_phantoms_that_were_held_out_are_not_taken_for_training_images(honest):
    card = honest.catalogue["phantom-mammogram"]
    card = card.model_copy(update={"training": {"count": 60 + 512}, "size": (32, 32)})
    detector, note = copy_detector_for(card, "mammogram", "nowhere")
    assert (len(detector), note) == (60, "")


def test_a_folder_is_cut_to_size_as_the_model_was_taught(honest, tmp_path):
    """Filled up instead, a picture of 3 to 2 holds two thirds of what was learned: no copy."""
    for number, image in enumerate(mw.draw_phantoms("brain_mri", range(9), size=96).images):
        Image.fromarray(image[16:80]).save(tmp_path / f"{number}.png")
    known = mw.read_images(tmp_path, size=64, fit="crop")
    card = honest.catalogue["phantom-styles"]
    card = card.model_copy(update={"preprocessing": known.preprocessing.to_dict()})
    detector, note = copy_detector_for(card, tmp_path, "nowhere")
    assert len(detector.check(known.images).copies) == 9, "the same, pixel by pixel"
    assert "is not known" in note


@pytest.mark.parametrize(
    ("about", "error", "message"),
    [
        ({"gate": "maybe"}, RequestError, "gate must be"),
        ({"format": "dicom"}, RequestError, "format must be"),
        ({"training": "no/such/folder"}, DataError, "no/such/folder"),
        ({"training": np.zeros((3, 8, 8))}, DataError, "training images"),
        ({"out": "."}, RequestError, "end in a name"),
        ({"request": "phantom-styles"}, RequestError, "takes a GenerateRequest"),
    ],
)
def test_what_cannot_be_asked_is_told_before_anything_is_written(
    honest, tmp_path, about, error, message
):
    asked = {"request": REQUEST, "out": tmp_path / "out", **about}
    with pytest.raises(error, match=message):
        mw.export(engine=honest, **asked)
    assert list(tmp_path.iterdir()) == []


def test_too_few_training_images_and_a_place_that_cannot_be_written(honest, detector, tmp_path):
    one = mw.draw_phantoms("brain_mri", [0], size=64).images
    done = mw.export(REQUEST, tmp_path / "out", training=one, engine=honest)
    assert "too few" in done.report.text
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SaveError):
        mw.export(REQUEST, tmp_path / "file" / "out", gate=None, engine=honest)


def test_an_unattended_run_ends_with_an_error(tmp_path):
    command = [
        *(
            sys.executable,
            "-m",
            "medgan_widgets.export",
            "phantom-styles",
            str(tmp_path / "out"),
        ),
        *("--seeds", "0:3", "--gate", "stop", "--runs", str(tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 1
    assert "nothing was exported" in done.stderr
    assert (tmp_path / "out_synthetic_memorisation.json").exists()
    done = subprocess.run(
        [*command[:-4], "--gate", "none"], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out_synthetic.zip").exists()
