"""What names and tables say before any image is opened: kinds, masks, sides, classes, patients."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pandas
import pytest

from medgan_widgets.datasets import read_images
from medgan_widgets.datasets.listing import (
    Listing,
    list_files,
)
from medgan_widgets.datasets.naming import FolderLabels, folder_labels, own_split
from medgan_widgets.datasets.table import class_of_item, one_kind, read_table
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.seeds import labels_from_seeds
from tests.made_data import noise


def listed(root: Path, *names: str) -> Listing:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return list_files(root)


# ---------------------------------------------------------------- files


def test_what_systems_leave_behind_is_no_image_and_is_told(tmp_path):
    found = listed(
        tmp_path, "a.png", "._a.png", ".DS_Store", "Thumbs.db", "@eaDir/a.png/SYNO_THUMB_M.jpg",
        ".@__thumb/a.png", "__MACOSX/a.png", "in/.ipynb_checkpoints/a-checkpoint.png", ".old.png",
        "README.md", "photo.heic",
    )  # fmt: skip
    assert found.kinds == {"a.png": "folder", "photo.heic": None}
    assert set(found.left_out) == {
        "._a.png", ".DS_Store", "Thumbs.db", "@eaDir", ".@__thumb", "__MACOSX",
        "in/.ipynb_checkpoints", ".old.png",
    }  # fmt: skip
    assert "Synology" in found.left_out["@eaDir"]


def test_links_are_followed_and_each_folder_is_read_once(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    listed(here, "a.png")
    listed(there, "b.png", "in/c.png")
    links = {"l1": there, "l2": there / "in", "up": tmp_path, "a2.png": here / "a.png"}
    for name, target in {**links, "gone": here / "no", "loop": here / "loop"}.items():
        (here / name).symlink_to(target)
    found = list_files(here)
    assert list(found.files) == ["a.png", "l1/b.png", "l1/in/c.png"]
    assert set(found.left_out) == {"l2", "up", "a2.png", "gone", "loop"}


def test_names_are_composed_unless_two_files_differ_in_nothing_else(tmp_path):
    whole, parts = "é", unicodedata.normalize("NFD", "é")
    assert list(listed(tmp_path, f"{parts}.png").files) == [f"{whole}.png"]
    found = listed(tmp_path, f"{whole}.png")
    assert len(found.files) == 2
    labels = folder_labels([f"{whole}/1.png", f"{parts}/2.png", "o/1.png"])
    assert set(labels.classes.values()) == {whole, "o"}


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (bytes(128) + b"DICM", "dicom"),
        (bytes.fromhex("0200000055 4c0400"), "dicom"),  # written-out types, no preamble
        (bytes.fromhex("0800050043 530a00") + b"ISO_IR 100", "dicom"),
        (bytes.fromhex("0800000004000000 9e010000 08000500"), "dicom"),  # implicit types
        (bytes.fromhex("0008000543 53000a"), "dicom"),  # the other order of bytes
        (b"\x08\x00 no DICOM, but text that begins oddly", None),
        (b"", None),
    ],
)
def test_files_without_a_telling_name_are_looked_at(tmp_path, start, kind):
    (tmp_path / "1.2.840.113").write_bytes(start)
    assert list_files(tmp_path).kinds == {"1.2.840.113": kind}


# ---------------------------------------------------------------- masks

MASKS = {
    "busi": (["b (1).png"], ["b (1)_mask.png", "b (1)_mask_1.png"]),
    "words": (["x.png"], ["x-mask.png", "x_label.gif", "x_segmentation.png", "mask_x.png"]),
    "a volume": (["x.nii.gz"], ["x_seg.nii.gz", "seg_x.nii"]),
    "a modality": (["c0_t1.nii.gz", "c1_t1.nii.gz"], ["c0_seg.nii.gz", "c1_seg.nii.gz"]),
    "brats": (["T_001/BraTS20_T_001_t1ce.nii"], ["T_001/BraTS20_T_001_seg.nii"]),
    "lits": (["volume-0.nii", "volume-1.nii"], ["segmentation-0.nii", "segmentation-1.nii"]),
    "kits": (["case_0/imaging.nii.gz"], ["case_0/segmentation.nii.gz"]),
    "kvasir": (["Kvasir-SEG/images/0.jpg"], ["Kvasir-SEG/masks/0.jpg"]),
    "both": (["t/images/0.png"], ["t/masks/0_mask.png"]),
    "deeper": (["images/a/0.png"], ["labels/a/0.png", "annotations/a/0.png"]),
    "within": (["p/0.png", "p/1.png"], ["p/masks/0.png", "p/masks/1.png"]),
    "decathlon": (["imagesTr/b_001_0000.nii.gz"], ["labelsTr/b_001.nii.gz"]),
    "carvana": (["train/0.jpg", "test/0.jpg"], ["train_masks/0_mask.gif"]),
    "isic": (["Training_Input/I_0.jpg"], ["Training_GroundTruth/I_0_segmentation.png"]),
    "cells": (["a/images/a.png"], ["a/masks/f0.png", "a/masks/f1.png"]),
    "drive": (["images/21_training.tif"], ["1st_manual/21_manual1.gif"]),
}


@pytest.mark.parametrize("layout", MASKS)
def test_masks_are_known_by_the_image_beside_them(tmp_path, layout):
    images, masks = MASKS[layout]
    found = listed(tmp_path, *images, *masks)
    assert set(found.masks) == set(masks)
    assert set(found.masks.values()) <= set(images)
    assert found.notes == [
        f"{len(masks)} files look like masks of images beside them and are left out."
    ]
    assert set(found.files) == {*images, *masks}, "they can still be asked for"


def test_people_with_and_without_face_masks_are_images(tmp_path):
    names = [f"{kind}/{n}.png" for kind in ("mask", "no_mask") for n in range(3)]
    found = listed(tmp_path, *names, "0.png")
    assert (found.masks, len(found.files)) == ({}, 7)
    assert "3 files are called masks" in found.notes[0]
    assert set(folder_labels(names).classes.values()) == {"mask", "no_mask"}


def test_masks_alone_are_images_and_a_mask_that_lost_its_image_is_none(tmp_path):
    alone = listed(tmp_path / "alone", "masks/0.png", "masks/1.png")
    assert (alone.masks, len(alone.files)) == ({}, 2)
    assert "read as images" in alone.notes[0]
    found = listed(tmp_path / "a", "0.png", "1.png", "0_mask.png", "1_mask.png", "2_mask.png")
    assert "2_mask.png" not in found.files
    assert set(found.left_out) == {"2_mask.png"}


# ---------------------------------------------------------------- sides, classes, patients


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train/A/0.png", "val/A/0.png"),
        ("brain/Training/0.png", "brain/Testing/0.png"),
        ("A/TRAIN/0.png", "A/dev/0.png"),
        ("imagesTr/0.nii", "imagesTs/0.nii"),
        ("stage1_train/0.png", "stage1_test/0.png"),
        ("BraTS20_Training_007/0.nii", "BraTS20_Validation_003/0.nii"),
        ("test/train/0.png", "test/valid/0.png"),
    ],
)
def test_a_split_of_its_own_is_kept(train, test):
    assert own_split([train, test, "beside.png"]) == {train: "train", test: "test"}
    assert own_split([train]) is None


def test_patients_called_like_a_side_are_none():
    assert own_split(["TR_01/0.png", "TS_02/0.png"]) is None


def tree(*levels, images: int) -> list[str]:
    names = [""]
    for level in levels:
        names = [f"{name}{folder}/" for name in names for folder in level]
    return [f"{name}{n}.png" for name in names for n in range(images)]


def classes(labels: FolderLabels) -> set[str]:
    return set(labels.classes.values())


@pytest.mark.parametrize(
    ("names", "expected", "patients"),
    [
        (tree(["COVID", "Healthy"], [f"C-Miller-{n}" for n in range(5)], images=4), 2, 10),
        (tree(["ct"], ["COVID", "Healthy"], ["Miller", "Smith"], images=4), 2, None),
        (tree(["A", "B"], [f"x{n}" for n in range(100)], images=4), 2, 200),
        (tree(["train", "test"], ["A", "B"], images=5), 2, None),
        (tree(["train", "test"], ["A", "B"], [1, 2, 3], images=5), 2, 12),
        (tree([f"P{n}" for n in range(5)], ["T1", "T2"], images=3), 2, 5),
        (tree([f"class{n}" for n in range(100)], images=30), 100, None),
        (tree([f"c{n:02}" for n in range(100)], images=30), 100, None),
        (tree(range(5), images=3), 5, None),
        (tree(["COVID", "Normal"], ["images"], images=9), 2, None),
        (tree(["benign", "malignant"], ["SOB"], ["S_14-22549A", "S_14-4015"], images=20), 2, 2),
    ],
)
def test_classes_are_few_folders_with_many_images_and_patients_their_groups(
    names, expected, patients
):
    labels = folder_labels(names)
    assert len(classes(labels)) == expected
    assert set(labels.classes) == set(names)
    assert (labels.groups and len(set(labels.groups.values()))) == patients
    assert "Miller" not in labels.note


@pytest.mark.parametrize(
    "names",
    [
        tree([f"OAS1_{n:04}_MR1" for n in range(5)], images=40),
        tree(["export"], [f"C-Miller-{n}" for n in range(5)], images=4),
        tree([f"{n:03}" for n in range(40)], images=12),
        tree(["train", "valid"], ["patient00001-Miller"], ["study1", "study2"], images=2)
        + tree(["train"], ["patient00002"], ["study1"], images=2),
    ],
)
def test_patients_are_no_classes_and_are_not_named(names):
    with pytest.raises(DataError, match="look like patients") as caught:
        folder_labels(names)
    assert not any(word in str(caught.value) for word in ("Miller", "OAS1", "patient0"))


# ---------------------------------------------------------------- tables

FILES = [f"{n}.png" for n in range(6)]


def test_names_that_could_be_two_files_are_not_guessed():
    rows = [{"path": "/d/a/1.png", "v": 1}, {"path": "/d/b/1.png", "v": 2}]
    table = read_table(Path("x"), rows)
    assert table.fitted(["b/1.png", "a/1.png"]).rows["a/1.png"]["v"] == 1
    assert "1 files are not named by" in table.fitted(["a/1.png", "c/1.png"]).notes[1]
    with pytest.raises(
        DataError, match=r"none of the 2 files that .* names is here, e.g. /d/a/1.png"
    ):
        table.fitted(["7.png"])


def test_what_a_table_and_a_folder_lack_is_counted_both_ways():
    table = read_table(Path("x"), pandas.DataFrame({"Image Index": ["0.png", "7.png"]}))
    missing, unnamed = table.fitted(FILES).notes
    assert missing.endswith("are missing: 7.png.")
    assert unnamed.endswith("and are left out: 1.png, 2.png, 3.png, 4.png, 5.png.")


def test_two_columns_of_names_are_asked_about():
    with pytest.raises(DataError, match=r"several columns that may name the files \(image, path\)"):
        read_table(Path("x"), [{"image": "a", "path": "b"}])


# ---------------------------------------------------------------- numbers and classes


def test_numbers_mean_numbers_and_names_of_digits_stay():
    assert one_kind([0.0, 0, "0", "1.0"]) == [0, 0, 0, 1]
    assert one_kind(["0.5", 1, "1.50"]) == ["0.5", "1", "1.50"]
    assert one_kind(["1.1", "1.10"]) == ["1.1", "1.10"], "sections of a paper are two"
    assert one_kind(["007", "7.0", "8"]) == ["007", "7", "8"]
    long = [f"123456789012345678{digit}.0" for digit in range(3)]
    assert one_kind(long) == [int(one[:-2]) for one in long]


@pytest.mark.parametrize("asked", [7, 7.0, "7", "007"])
@pytest.mark.parametrize("known", [7, "7", "007"])
def test_a_number_finds_its_class_however_it_is_spelled(asked, known):
    assert labels_from_seeds([1], {"g": ("x", known)}, {"g": asked}) == {"g": (known,)}


def test_a_number_that_may_be_two_classes_says_how_they_are_spelled():
    with pytest.raises(RequestError, match="'007', '07'"):
        labels_from_seeds([1], {"g": ("007", "07")}, {"g": 7})
    with pytest.raises(RequestError, match="False, True"):
        labels_from_seeds([1], {"g": (False, True)}, {"g": 1})


def test_a_label_is_one_class_or_its_findings():
    assert class_of_item(np.array([[2.0]]), "item 0") == 2
    assert class_of_item([0, 1, 0, 1], "item 0") == "1+3"


def test_masks_in_a_file_of_arrays_are_no_classes(tmp_path):
    images = np.stack([noise(n) for n in range(4)])
    np.savez(tmp_path / "a.npz", images=images, labels=images > 99)
    with pytest.raises(DataError, match="a mask is no class"):
        read_images(tmp_path / "a.npz", test=0)
    assert len(read_images(tmp_path / "a.npz", labels=False, test=0)) == 4


def test_a_measure_is_no_class_but_half_grades_are():
    pixels = np.stack([noise(n) for n in range(8)])
    with pytest.raises(DataError, match="class is a measure"):
        read_images(pixels, labels=lambda n: 0.1 * n, test=0)
    halves = read_images(pixels, labels=lambda n: n % 3 / 2, test=0)
    assert halves.factors == {"class": ("0", "0.5", "1")}
