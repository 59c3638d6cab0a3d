"""Every shape of answer that medigan's packages give, and what may not pass as an image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgan_widgets.medigan.answers import (
    AnswerError,
    rows_in_files,
    rows_of,
    scale_of,
    to_mask,
    to_pixels,
)

GREY = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)
COLOUR = np.stack([GREY, GREY.T, GREY], axis=2)
MASK = np.where(GREY > 128, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (GREY, 1),
        (GREY[..., None], 1),
        (COLOUR, 3),
        (GREY[None], 1),
        (np.moveaxis(COLOUR, 2, 0), 3),
        (GREY.astype(np.float32) / 255, 1),
    ],
)
def test_an_image_is_height_width_channels_however_it_comes(image, channels):
    row = rows_of([image], 1)[0]
    assert row["image"].shape == (64, 64, channels)
    assert row["mask"] is None
    assert row["label"] is None


def test_a_fourth_channel_is_the_mask_where_the_card_promises_one():
    both = np.dstack([COLOUR, MASK])
    row = rows_of([both], 1, ("image", "mask"))[0]
    assert row["image"].shape == (64, 64, 3)
    assert (row["mask"] == MASK).all()
    without = rows_of([both], 1, ("image",))[0]
    assert without["image"].shape == (64, 64, 3)
    assert list(without["others"]) == ["channel 4"]


def test_a_tuple_is_image_mask_other_and_label():
    row = rows_of([(GREY, MASK, COLOUR, "benign")], 1)[0]
    assert (row["mask"] == MASK).all()
    assert row["others"]["other 1"].shape == (64, 64, 3)
    assert row["label"] == "benign"
    label_only = rows_of([(GREY, "malignant")], 1)[0]
    assert (label_only["mask"], label_only["label"]) == (None, "malignant")


def test_one_more_than_asked_is_left_out_and_fewer_is_an_error():
    assert len(rows_of([GREY, GREY, GREY], 2)) == 2
    with pytest.raises(AnswerError, match="1 for the 2"):
        rows_of([GREY], 2)


def test_twice_as_many_are_images_each_followed_by_its_mask():
    rows = rows_of([GREY, MASK, GREY, MASK], 2, ("image", "mask"))
    assert all((row["image"][..., 0] == GREY).all() for row in rows)
    assert all((row["mask"] == MASK).all() for row in rows)


@pytest.mark.parametrize(
    "answer", [[[GREY, GREY]], [[GREY], [GREY]], [np.stack([GREY, GREY])[..., None]]]
)
def test_lists_in_lists_are_opened(answer):
    rows = rows_of(answer, 2)
    assert all(row["image"].shape == (64, 64, 1) for row in rows)


def test_a_bare_array_is_one_image_and_a_stack_is_many():
    assert rows_of(GREY, 1)[0]["image"].shape == (64, 64, 1)
    assert len(rows_of(np.stack([GREY] * 5), 5)) == 5
    assert len(rows_of(np.stack([COLOUR] * 5), 5)) == 5
    assert rows_of((GREY, MASK), 1)[0]["mask"] is not None


def test_flat_pictures_get_the_names_their_package_gives_them():
    names = ("FLAIR", "T1", "mask", "grade mask")
    row = rows_of([GREY, GREY.T, MASK, MASK], 1, ("image", "mask"), names)[0]
    assert (row["mask"] == MASK).all()
    assert list(row["others"]) == ["T1", "grade mask"]


@pytest.mark.parametrize(
    "answer",
    [
        None, "done", {"images": [GREY]}, 3, [None], ["only a label"], [object()],
        [np.zeros((3,))], [np.zeros((2, 3, 4, 5))], [np.zeros((64, 64, 7))], [np.zeros((0, 4))],
        [np.full((8, 8), np.nan)], [np.array([["a", "b"], ["c", "d"]])], [np.zeros((9000, 4))],
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(answer):
    with pytest.raises(AnswerError):
        rows_of(answer, 1)


def test_grey_levels_follow_one_rule_for_a_package():
    probe = [np.array([[-1.0, 1.0]])]
    assert scale_of(probe) == "signed"
    assert to_pixels(np.array([[-1.0, 0.0, 1.0]]), "signed").tolist() == [[0, 128, 255]]
    dark = np.array([[0.0, 0.4]])  # the same rule, also for an image that is dark all over
    assert to_pixels(dark, scale_of([np.array([[0.0, 250.0]])])).tolist() == [[0, 0]]
    assert to_pixels(np.array([[0.0, 1.0]]), "unit").tolist() == [[0, 255]]
    wide = scale_of([np.array([[-1000.0, 3000.0]])])
    assert to_pixels(np.array([[-1000.0, 1000.0, 9000.0]]), wide).tolist() == [[0, 128, 255]]


def test_whole_numbers_stay_what_they_are():
    assert to_pixels(GREY, "unit") is GREY
    assert to_pixels(np.array([[0, 4095]]), "unit").dtype == np.uint16
    assert to_pixels(np.array([[True, False]]), "unit").tolist() == [[255, 0]]
    with pytest.raises(AnswerError):
        to_pixels(np.array([[-5, 3]]), "unit")


def test_masks_are_inside_or_outside_or_labels():
    assert to_mask(np.array([[0.1, 0.9]])).tolist() == [[0, 255]]
    assert to_mask(np.array([[0, 1]])).tolist() == [[0, 255]]
    assert to_mask(np.zeros((2, 2))).max() == 0
    assert to_mask(np.array([[0, 1, 3]])).tolist() == [[0, 1, 3]]
    assert to_mask(np.dstack([MASK, MASK, MASK])).shape == (64, 64)


def test_files_alone_are_read_back_with_their_masks(tmp_path: Path):
    for n in (1, 2, 10):
        Image.fromarray(GREY + np.uint8(n)).save(tmp_path / f"{n}_img.png")
        Image.fromarray(MASK).save(tmp_path / f"{n}_mask.png")
    (tmp_path / "notes.txt").write_text("not a picture")
    rows = rows_in_files(tmp_path, 3, ("image", "mask"))
    assert [int(row["image"][0, 0, 0]) for row in rows] == [1, 2, 10], "in their natural order"
    assert all((row["mask"] == MASK).all() for row in rows)
    with pytest.raises(AnswerError, match="wrote 3 pictures for the 4"):
        rows_in_files(tmp_path, 4)
