"""What leaves the notebook says it is synthetic, and can be made again."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.errors import DataError, SaveError
from medgan_widgets.exporting import (
    SyntheticImage,
    file_name,
    image_recipe,
    recipe_of,
    restore,
    save_png,
    write,
)
from medgan_widgets.exporting.recipe import RECIPE_KEY
from medgan_widgets.images import png_bytes
from medgan_widgets.requests import GenerateRequest

BIG = 2**64 - 1
REQUEST = GenerateRequest(
    "phantom-brain-mri", seeds=(5, BIG), condition={"tumour": True}, truncation_psi=0.5
)
RECIPE = image_recipe(REQUEST.to_dict(), BIG, {"tumour": True, "contrast": "T2"})
IMAGE = np.random.default_rng(2).integers(0, 256, (16, 16, 1), np.uint8)


def test_a_saved_png_gives_back_its_request_and_its_pixels(tmp_path):
    path = save_png(IMAGE, RECIPE, tmp_path)
    assert path.name == f"phantom-brain-mri_seed{BIG}_synthetic.png"
    again = restore(path)
    assert again == GenerateRequest(
        "phantom-brain-mri", seeds=(BIG,), condition={"tumour": True}, truncation_psi=0.5
    )
    assert np.array_equal(np.asarray(Image.open(path)), IMAGE[..., 0])
    assert recipe_of(path)["synthetic"] is True
    assert recipe_of(path)["labels"]["contrast"] == "T2", "drawn, so not in the condition"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a b/c", "..", "名"])
def test_a_model_id_cannot_lead_out_of_the_folder(tmp_path, name):
    recipe = {**RECIPE, "model_id": name}
    assert Path(file_name(recipe)).name == file_name(recipe)
    assert save_png(IMAGE, recipe, tmp_path).parent == tmp_path


def test_other_files_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(IMAGE[..., 0]).save(tmp_path / "foreign.png")
    damaged = save_png(IMAGE, {**RECIPE, "seeds": ["ten"]}, tmp_path)
    for path, words in [
        (tmp_path / "text.png", "cannot be read as a PNG"),
        (tmp_path / "foreign.png", "holds no recipe"),
        (damaged, "is damaged: seed must be a whole number"),
        (tmp_path / "absent.png", "cannot be read"),
    ]:
        with pytest.raises(DataError, match=words):
            restore(path)


def test_a_truncated_png_is_refused(tmp_path):
    path = save_png(IMAGE, RECIPE, tmp_path)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="cannot be read"):
        restore(path)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permitted")],
)
def test_a_full_or_read_only_disk_is_one_sentence_and_leaves_nothing(
    tmp_path, monkeypatch, number, words
):
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    before = save_png(IMAGE, RECIPE, tmp_path).read_bytes()
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(SaveError, match=words) as caught:
        save_png(255 - IMAGE, RECIPE, tmp_path)
    assert str(caught.value).count(".") <= 3
    assert [item.read_bytes() for item in tmp_path.iterdir()] == [before], "the old file stays"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(SaveError, match="the folder does not exist"):
        save_png(IMAGE, RECIPE, tmp_path / "absent")


def written(images: list[np.ndarray], recipes: list[dict], out: Path) -> Path:
    """The file that a call of `write` leaves, where nobody looks for copies."""
    pairs = zip(images, recipes, strict=True)
    *_, last = write([SyntheticImage(*pair) for pair in pairs], out, gate=None)
    return last.exported.path


def test_the_zip_is_stored_and_its_manifest_fits_its_files(tmp_path):
    recipes = [RECIPE, RECIPE, image_recipe(REQUEST.to_dict(), 5, {"tumour": np.True_})]
    images = [IMAGE, IMAGE, 255 - IMAGE]
    path = written(images, recipes, tmp_path / "selection")
    assert path.name == "selection_synthetic.zip"
    assert path.read_bytes() == written(images, recipes, tmp_path / "again").read_bytes()
    archive = zipfile.ZipFile(path)
    assert {item.compress_type for item in archive.infolist()} == {zipfile.ZIP_STORED}
    rows = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
    assert [row["seed"] for row in rows] == [BIG, BIG, 5]
    assert rows[2]["label_tumour"] is True
    assert len({row["file_name"] for row in rows}) == 3
    for row in rows:
        assert "synthetic" in row["file_name"]
        assert row["file_name"] in archive.namelist()
    assert archive.read("manifest.csv").decode().splitlines()[0].startswith("file_name,synthetic")
    inside = np.asarray(Image.open(io.BytesIO(archive.read(rows[2]["file_name"]))))
    assert np.array_equal(inside, 255 - IMAGE[..., 0])


def test_a_dot_in_the_name_of_a_zip_is_part_of_it(tmp_path: Path) -> None:
    names = [written([IMAGE], [RECIPE], tmp_path / name).name for name in ("v1.2", "v1.3.ZIP")]
    assert names == ["v1.2_synthetic.zip", "v1.3_synthetic.zip"]


@pytest.mark.parametrize("lacking", [{}, {"model_id": "m"}, {"model_id": "m", "seeds": []}])
def test_recipes_that_lack_their_parts_are_refused(tmp_path: Path, lacking: dict) -> None:
    with pytest.raises(DataError, match="a recipe needs"):
        save_png(IMAGE, lacking, tmp_path)


def test_a_recipe_nested_too_deep_is_no_recipe(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(np.zeros((4, 4), np.uint8), {RECIPE_KEY: "[" * 100_000}))
    with pytest.raises(DataError, match="holds no recipe"):
        restore(path)


def test_the_package_s_old_name_still_works_and_leaves_the_function_alone():
    code = (
        "import warnings, medgan_widgets as mw\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    from medgan_widgets.export import restore\n"
        "assert any(one.category is DeprecationWarning for one in caught), caught\n"
        "assert restore is mw.restore\n"
        "assert mw.export.__name__ == 'export' and mw.export is mw.exporting.export"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
