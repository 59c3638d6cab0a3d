"""The summary: what a person looks at before training, and how the pictures are marked."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.duplicates import near_duplicates
from tests.made_data import noise, save


@pytest.fixture
def lungs(tmp_path):
    for number in range(30):
        kind = ("<b>clear</b>", "opaque")[number % 2]
        save(tmp_path / kind.replace("/", "") / f"{number}.png", noise(number, (40, 32)))
    save(tmp_path / "opaque" / "twin.png", noise(1, (40, 32)))
    (tmp_path / "opaque" / "bad.png").write_text("no image")
    return read_images(tmp_path, labels="folder", skip_unreadable=True)


def test_the_text_tells_all_that_is_to_be_known(lungs):
    text = str(lungs.summary())
    for said in (
        f"31 images ({len(lungs.training)} to train on", "32 × 40 (31)", "opaque (16)",
        "0 … 254", "no group was given", "1 pair", "opaque/1.png", "opaque/twin.png",
        "bad.png cannot be read",
    ):  # fmt: skip
        assert said in text
    assert text.startswith("folder "), "first of all where they come from"
    assert lungs.summary().duplicate_names() in (
        [("opaque/1.png", "opaque/twin.png")],
        [("opaque/twin.png", "opaque/1.png")],
    )
    assert lungs.to_dict()["near_duplicates"] == 1


def test_in_a_notebook_it_is_a_table_and_a_sheet_and_text_is_text(lungs):
    shown = lungs.summary()._repr_html_()
    assert "<b>" not in shown
    assert "&lt;b&gt;clear" in shown
    assert "REAL DATA - do not share" in shown
    picture = re.search(r"base64,([^\"]+)", shown)[1]
    assert Image.open(io.BytesIO(base64.b64decode(picture))).width > 600


def test_real_images_and_phantoms_are_marked_differently():
    phantom = read_images("mammogram", size=32, most=30, test=0)
    real = TrainingImages(phantom.images, phantom.classes, phantom.factors)
    sheets = [np.asarray(one.summary().contact_sheet()) for one in (phantom, real)]
    assert sheets[0].shape == sheets[1].shape
    head = sheets[0].shape[0] - sheets[1].shape[0] + 30
    assert (sheets[0][:head] != sheets[1][:head]).any(), "the words above differ"
    assert "PHANTOM" in phantom.summary()._repr_html_()


def test_the_sheet_shows_each_class_and_any_number_of_images():
    pixels = np.stack([np.full((16, 16), 255 if n == 40 else 0, np.uint8) for n in range(41)])
    data = read_images(pixels, labels=lambda index: int(index == 40), test=0)
    assert (np.asarray(data.summary().contact_sheet())[40:120] == 255).any(axis=2).any()
    few = read_images(pixels[:3], test=0)
    assert few.summary().contact_sheet().width >= 3 * 128


def test_near_duplicates_are_found_among_many_and_across_the_split():
    random = np.random.default_rng(1)
    images = random.integers(0, 255, (1500, 32, 32, 1), dtype=np.uint8)
    images[1400] = images[3]
    images[700] = np.clip(images[20].astype(int) + random.integers(-3, 4, (32, 32, 1)), 0, 255)
    sides = ["train"] * 1000 + ["test"] * 500
    found = near_duplicates(images, sides)
    assert found.some == ((3, 1400), (20, 700))
    assert (found.count, found.across) == (2, 1)


def test_many_equal_images_are_counted_and_only_some_listed():
    found = near_duplicates(np.zeros((600, 16, 16, 3), np.uint8))
    assert found.count == 600 * 599 // 2
    assert len(found.some) == 1000


@pytest.mark.parametrize("side", [8, 20, 100])
def test_any_size_is_compared(side):
    images = np.stack([noise(n, (side, side, 1)) for n in (1, 2, 1)])
    assert near_duplicates(images).some == ((0, 2),)
