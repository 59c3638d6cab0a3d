"""What 0.4.0 left behind is still read: its runs, cards, PNG files and saved notebooks.

``upgrade/`` was written by 0.4.0 itself: ``run_040`` by its first form, ``run`` after images were
read as a viewer shows them, which changed the fingerprint of the data.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medgan_widgets as mw
from medgan_widgets.errors import DataError

OLD = Path(__file__).parent / "upgrade"


def test_a_run_goes_on_where_it_was_left(tmp_path):
    run = shutil.copytree(OLD / "run", tmp_path / "run")
    shutil.copytree(OLD / "data", tmp_path / "data")
    ticks = list(mw.train(run, resume=True, data=tmp_path / "data"))
    assert [round(tick.kimg, 1) for tick in ticks] == [0.3, 0.4]
    stats = [json.loads(line) for line in (run / "stats.jsonl").read_text("utf-8").splitlines()]
    assert [round(row["kimg"], 1) for row in stats] == [0.1, 0.2, 0.3, 0.4]
    card = mw.make_model(run, "discs", modality="OT", organ="other", licence="MIT",
                         models=tmp_path / "models")  # fmt: skip
    assert card.condition == {"label": (0, 1)}


def test_a_run_whose_images_are_read_otherwise_now_is_refused_in_words(tmp_path):
    run = shutil.copytree(OLD / "run_040", tmp_path / "run")
    with pytest.raises(DataError, match="trained on other data: its fingerprint is 9ef11028c277"):
        list(mw.train(run, resume=True, data=OLD / "data"))


def test_the_monitor_shows_an_old_run(tmp_path):
    run = shutil.copytree(OLD / "run_040", tmp_path / "run")
    assert "0.2" in repr(mw.TrainingMonitor(run))


def test_a_model_makes_the_images_it_made():
    engine = mw.Engine(catalogue=mw.Catalogue(OLD / "models"), device="cpu")
    assert engine.catalogue["tiny-0-4-0"].condition == {"label": (0, 1)}
    old = OLD / "tiny-0-4-0_seed3_synthetic.png"
    request = mw.restore(old)
    assert request.model_id == "tiny-0-4-0"
    assert list(request.seeds) == [3]
    difference = engine.images(request)[0, :, :, 0].astype(int) - np.asarray(Image.open(old))
    assert abs(difference).max() <= 1  # another processor may round otherwise


def test_a_mix_in_a_png_is_still_a_recipe():
    request = mw.restore(OLD / "styles.png")
    assert dict(request.mix) == {"seed": 42, "layers": (0, 2), "share": 1.0}
    made = mw.Engine(device="cpu").images(request)[0, :, :, 0].astype(int)
    assert abs(made - np.asarray(Image.open(OLD / "styles.png"))).max() <= 1
