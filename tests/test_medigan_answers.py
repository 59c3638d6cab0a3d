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
    span_of,
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


def rule(*pictures, mask=False):
    return scale_of([span_of(np.asarray(one)) for one in pictures], mask=mask)


def pixels(picture, scale):
    return to_pixels(np.asarray(picture), scale)[0].tolist()


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        ([[[0.0, 0.4]], [[0.2, 1.0]]], [[0.0, 0.5, 1.0]], [[0, 128, 255]]),
        ([[[0.0, 0.4]], [[-1.0, 0.2]]], [[-1.0, 0.0, 1.0]], [[0, 128, 255]]),
        ([[[0.0, 0.9]], [[0.0, 250.5]]], [[0.0, 0.4, 255.0]], [[0, 0, 255]]),
        ([[[-1000.0, 0.0]], [[5.0, 3000.0]]], [[-1000.0, 1000.0, 3000.0]], [[0, 128, 255]]),
        ([[[0, 200]], [[0, 4000]]], [[0, 200, 4095]], [[0, 200, 4095]]),
        ([[[0.0, 200.0]], [[0.0, 4000.0]]], [[0.0, 4095.0]], [[0, 4095]]),
        ([[[0, 200]]], [[0, 255]], [[0, 255]]),
        ([[[False, True]]], [[True, False]], [[255, 0]]),
    ],
)
def test_one_rule_for_a_package_from_several_images(first, later, expected):
    assert pixels(later, rule(*first)) == expected


def test_one_depth_for_a_package():
    scale = rule([[0, 200]], [[0, 4000]])
    for image in ([[0, 200]], np.array([[7, 9]], np.uint8), [[True, False]]):
        assert to_pixels(np.asarray(image), scale)[0].dtype == np.uint16
    assert to_pixels(GREY, rule(GREY))[0] is GREY
    with pytest.raises(AnswerError, match="-5 to 3"):
        rule([[-5, 3]])


def test_what_leaves_the_rule_is_clipped_and_counted():
    made, clipped = to_pixels(np.array([[0.5, 1.5, -2.0, 1.0005]]), rule([[0.0, 1.0]]))
    assert made.tolist() == [[128, 255, 0, 255]]
    assert clipped == 2
    made, clipped = to_pixels(np.array([[200, 4000]], np.int32), rule([[0, 200]]))
    assert (made.dtype, made.tolist(), clipped) == (np.uint8, [[200, 255]], 1)


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_zero_and_one_are_inside_and_outside_full_or_empty(kind):
    zero, one = np.zeros((1, 2), kind), np.ones((1, 2), kind)
    scale = rule(zero, one, mask=True)
    assert pixels(zero, scale) == [[0, 0]]
    assert pixels(one, scale) == [[255, 255]]
    assert pixels(one, rule(zero, mask=True)) == [[255, 255]], "though the first ones were empty"


def test_soft_masks_and_class_numbers_stay_what_they_are():
    soft = rule([[0.0, 0.3]], [[0.1, 0.9]], mask=True)
    assert pixels([[0.0, 0.3, 0.9]], soft) == [[0, 77, 230]]
    grey = np.array([[0, 90, 255]], np.uint8)
    assert pixels(grey, rule(grey, mask=True)) == grey.tolist()
    classes = rule([[0, 1]], [[0, 3]], mask=True)
    assert pixels([[0, 1]], classes) == [[0, 1]], "no mask is stretched by itself"
    assert rows_of([(GREY, np.dstack([MASK, MASK, MASK]))], 1)[0]["mask"].shape == (64, 64)


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
