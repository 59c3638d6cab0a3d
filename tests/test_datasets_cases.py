"""Data as people have them: read right, or refused in words that help; what is left out is told."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest
import tifffile
import torch
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, RLELossless

import medgan_widgets as mw
from medgan_widgets.datasets import read_images
from medgan_widgets.errors import DataError, MedganError
from medgan_widgets.image_sources import open_images
from tests.made_data import noise, png16, save, save_dicom, save_table

SIDE = 64
RISING = np.arange(SIDE, dtype=np.uint16)[None].repeat(SIDE, 0) * 65  # 0 … 4095, to the right
EIGHT = [0, 32, 65, 97, 130, 162, 194, 227]  # of it, as levels
FOUR = range(4)
DOORS = ["read_images", "open_images", "score"]


def shown(source: Any, door: str = "read_images", **read) -> np.ndarray:
    """The first image as a door gives it, int [H, W]."""
    if door == "open_images":
        pixels = open_images(source, read=read or None).array()
    else:
        pixels = read_images(source, test=0, **read).images
    return pixels[0, ..., 0].astype(int)


def told(source: Any, door: str, **more) -> str:
    """All that a door says about a source besides its pixels."""
    if door == "read_images":
        return str(read_images(source, test=0, **more).summary())
    if door == "open_images":
        opened = open_images(source, **more)
        return " ".join([*opened.notes, *(one.reason for one in opened.left_out)])
    fakes = np.stack([noise(100 + n) for n in range(12)])
    return " ".join(mw.score(fakes, real=source, metrics=["kid"], cache=False, **more).notes)


def refused(source: Any, **more) -> str:
    with pytest.raises(MedganError) as caught:
        read_images(source, test=0, **more)
    return str(caught.value)


# ---------------------------------------------------------------- white is zero


SCALES = {"uint8": 1 / 17, "uint16": 15, "uint32": 1_000_000.0}  # nearly all of the range


def white_is_zero(dtype: str, **more) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        values = (RISING * SCALES[dtype]).astype(dtype)
        for k in FOUR:
            tifffile.imwrite(folder / f"{k}.tif", values, photometric="miniswhite", **more)

    return write


def monochrome1(stored: np.ndarray) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        for k in FOUR:
            save_dicom(
                folder / f"{k}.dcm", stored, patient=f"P{k}", photometric="MONOCHROME1",
                BitsStored=12, HighBit=11, Modality="MG",
            )  # fmt: skip

    return write


@pytest.mark.parametrize("door", ["read_images", "open_images"])
@pytest.mark.parametrize(
    "write",
    [
        white_is_zero("uint8"),
        white_is_zero("uint16"),
        white_is_zero("uint32"),
        monochrome1(RISING),
    ],
    ids=["8 bits", "16 bits", "32 bits", "DICOM"],
)
def test_where_zero_is_white_the_small_numbers_are_bright(tmp_path, write, door):
    write(tmp_path)
    row = shown(tmp_path, door)[32]
    assert row[2] > row[20] > row[40] > row[-3]


# ---------------------------------------------------------------- Datasets of more than 8 bits


DEEP_ITEMS = {
    "I;16": Image.fromarray(RISING),
    "I": Image.fromarray(RISING.astype(np.int32)),
    "F": Image.fromarray((RISING / 4095).astype(np.float32)),
    "uint16": RISING,
    "int64": RISING.astype(np.int64),
    "tensor": torch.from_numpy(RISING.astype(np.int32))[None],
    "float tensor": torch.from_numpy(RISING / 4095)[None],
    "dictionary": {"image": Image.fromarray(RISING)},
}


@pytest.mark.parametrize("door", ["read_images", "open_images"])
@pytest.mark.parametrize("kind", DEEP_ITEMS)
def test_items_of_more_than_eight_bits_keep_their_levels(kind, door):
    items = [DEEP_ITEMS[kind]] * 8
    assert np.abs(shown(items, door)[32, ::8] - EIGHT).max() <= 1


@pytest.mark.parametrize("shape", [(32, 32), (32, 32, 3)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_a_dark_item_among_bright_ones_stays_dark(shape, dtype):
    items = [np.random.default_rng(k).integers(0, 4000, shape).astype(dtype) for k in range(8)]
    items[0] //= 100
    images = read_images(items, test=0).images
    assert images[0].max() <= 3
    assert images[1:].max() == 255


# ---------------------------------------------------------------- tables and files that part


ROWS = [{"file_name": f"{k}.png", "label": k % 2} for k in range(20)]


@pytest.mark.parametrize("door", ["read_images", "score", "open_images"])
@pytest.mark.parametrize("way", ["csv", "jsonl", "rows", "frame"])
def test_files_that_a_table_names_and_that_are_missing_are_counted(tmp_path, way, door):
    for k in range(6):
        save(tmp_path / f"{k}.png", noise(k))
    more: dict[str, Any] = {"labels": "label"}
    if way == "csv":
        save_table(tmp_path / "metadata.csv", ROWS)
    elif way == "jsonl":
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    else:
        table = ROWS if way == "rows" else pd.DataFrame(ROWS)
        more |= {"table": table} if door == "read_images" else {"read": {"table": table}}
    said = told(tmp_path, door, **more)
    assert "14 of the 20 files" in said
    assert "6.png, 7.png" in said


@pytest.mark.parametrize("door", ["read_images", "open_images"])
def test_files_that_rows_by_hand_do_not_name_are_counted(tmp_path, door):
    for k in range(8):
        save_dicom(tmp_path / f"{k}.dcm", noise(k), patient=f"P{k}")
    table = [{"file_name": f"{k}.dcm", "grade": k % 2} for k in range(5)]
    more = {"table": table} if door == "read_images" else {"read": {"table": table}}
    said = told(tmp_path, door, labels="grade", **more)
    assert "3 files are not named by the rows given as table= and are left out" in said
    assert "5.dcm, 6.dcm, 7.dcm" in said


# ---------------------------------------------------------------- nothing goes unsaid in a score


def test_pictures_of_another_kind_are_judged_too(tmp_path):
    kinds = ["webp", "bmp", "gif", "pgm", "jpg", "tif", "png"]
    for k in range(21):
        save(tmp_path / f"{k}.{kinds[k % 7]}", noise(k))
    fakes = np.stack([noise(100 + k) for k in range(20)])
    assert mw.score(fakes, real=tmp_path, metrics=["kid"], cache=False)["KID"].n_real == 21
    assert len(read_images(tmp_path, test=0)) == 21


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["photo.heic"])
def test_files_of_no_known_kind_are_told_at_every_door(tmp_path, name, door):
    for k in range(12):
        save(tmp_path / f"{k}.png", noise(k))
    (tmp_path / name).write_bytes(b"\x00something")
    assert name in told(tmp_path, door)


@pytest.mark.parametrize("door", DOORS)
def test_a_damaged_file_stops_every_door_until_somebody_says_to_go_on(tmp_path, door):
    for k in range(12):
        save(tmp_path / f"{k}.png", noise(k))
    (tmp_path / "cut.png").write_bytes((tmp_path / "0.png").read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.png.*skip_unreadable"):
        told(tmp_path, door)
    skip = {"skip_unreadable": True}
    said = told(tmp_path, door, **(skip if door == "read_images" else {"read": skip}))
    assert "cut.png cannot be read" in said


# ---------------------------------------------------------------- bits that are no picture


def overlaid(signed: bool) -> np.ndarray:
    stored = (RISING - 2048 * signed).astype(np.int16).view(np.uint16) & 0x0FFF
    stored[10:14, 10:50] |= 0x8000  # graphics of an overlay in the highest bit
    return stored


def packed(path: Path, stored: np.ndarray, how: str, **tags) -> None:
    file = pydicom.dcmread(save_dicom(path, stored, BitsStored=12, HighBit=11, **tags))
    if how == "RLE":
        file.compress(RLELossless)
    elif how == "JPEG 2000":
        stream = io.BytesIO()
        Image.fromarray(stored).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
        file.PixelData = encapsulate([stream.getvalue()])
        file.file_meta.TransferSyntaxUID = JPEG2000Lossless
        file["PixelData"].VR = "OB"
    file.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("door", ["read_images", "open_images"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("how", ["native", "JPEG 2000", "RLE"])
def test_only_the_bits_that_are_stored_count(tmp_path, how, signed, door):
    for k in FOUR:
        packed(
            tmp_path / f"{k}.dcm", overlaid(signed), how, patient=f"P{k}", Modality="MR",
            PixelRepresentation=int(signed),
        )  # fmt: skip
    image = shown(tmp_path, door)
    assert np.abs(image[32, ::8] - EIGHT).max() <= 1
    assert (image[12] == image[32]).all(), "of the graphics nothing is seen"


# ---------------------------------------------------------------- where nothing was imaged

Y, X = np.mgrid[0:SIDE, 0:SIDE]
BODY = (X - 32) ** 2 + (Y - 32) ** 2 < 400
OUTSIDE = (X - 32) ** 2 + (Y - 32) ** 2 > 961
HU = np.where(BODY, 40 + (X - 32) * 5, -1000).astype(np.int16)

PADDED = {
    "no padding": ({}, None),
    "padding": ({"PixelPaddingValue": -2000}, -2000),
    "range": ({"PixelPaddingValue": -3000, "PixelPaddingRangeLimit": -1900}, -2000),
}


@pytest.mark.parametrize("read", [{}, {"window": (-400, 1500)}, {"percentiles": (0.5, 99.5)}])
@pytest.mark.parametrize("kind", PADDED)
def test_padding_of_ct_moves_no_grey(tmp_path, kind, read):
    tags, value = PADDED[kind]
    stored = HU if value is None else np.where(OUTSIDE, value, HU).astype(np.int16)
    for k in FOUR:
        save_dicom(tmp_path / "ct" / f"{k}.dcm", stored, patient=f"P{k}", **tags)
        save_dicom(tmp_path / "plain" / f"{k}.dcm", HU, patient=f"P{k}")
    image, plain = (shown(tmp_path / one, **read) for one in ("ct", "plain"))
    assert value is None or (image[OUTSIDE] == 0).all()
    if "window" in read:
        assert (image[BODY] == plain[BODY]).all()
    else:
        assert image[32, 8] == 0, "air is black"
        assert image[BODY].min() > 150
    if value is not None:
        assert "nothing was imaged" in str(read_images(tmp_path / "ct", test=0).summary())


@pytest.mark.parametrize("nothing", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("door", ["read_images", "open_images"])
def test_what_is_no_number_in_a_volume_or_picture_is_background(tmp_path, nothing, door):
    values = np.random.default_rng(0).uniform(500, 900, (24, 24, 10)).astype(np.float32)
    values[:, :6] = nothing  # the patient's back
    volume = nibabel.Nifti1Image(values, np.diag([1, 1, 3, 1]))
    (tmp_path / "nii").mkdir()
    (tmp_path / "tif").mkdir()
    nibabel.save(volume, tmp_path / "nii" / "a.nii.gz")
    for k in FOUR:
        tifffile.imwrite(tmp_path / "tif" / f"{k}.tif", values[..., k].T[::-1])
    for place in ("nii", "tif"):
        image = shown(tmp_path / place, door, size=16, fit="crop")
        assert (image[-3:] == 0).all(), place
        assert image[:10].mean() > 60


# ---------------------------------------------------------------- colours of 16 bits


THREE = np.dstack([RISING] * 3)
FOUR_CHANNELS = np.dstack([THREE, np.full_like(RISING, 65535)])
WRITERS: dict[str, Callable[[Path], Any]] = {
    "grey.png": lambda path: Image.fromarray(RISING).save(path),
    "rgb.png": lambda path: cv2.imwrite(str(path), THREE),
    "rgba.png": lambda path: cv2.imwrite(str(path), FOUR_CHANNELS),
    "grey_alpha.png": lambda path: path.write_bytes(
        png16(np.dstack([RISING, np.full_like(RISING, 65535)]), 4)
    ),
    "rgb.tif": lambda path: tifffile.imwrite(path, THREE, photometric="rgb"),
    "planes.tif": lambda path: tifffile.imwrite(
        path, np.moveaxis(THREE, 2, 0), photometric="rgb", planarconfig="separate"
    ),
    "uint32.tif": lambda path: tifffile.imwrite(
        path, RISING.astype(np.uint32) * 1_000_000, photometric="minisblack"
    ),
    "float64.tif": lambda path: tifffile.imwrite(path, RISING / 7.0, photometric="minisblack"),
    "signed.tif": lambda path: tifffile.imwrite(
        path, (RISING - 2048.0).astype(np.int16), photometric="minisblack"
    ),
}  # fmt: skip


@pytest.mark.parametrize("door", ["read_images", "open_images"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_level_of_deep_pictures_is_kept(tmp_path, name, door):
    for k in FOUR:
        WRITERS[name](tmp_path / f"{k}_{name}")
    if name == "signed.tif" and door == "open_images":
        with pytest.raises(DataError, match=r"below 0.*window"):
            shown(tmp_path, door)
        return
    image = shown(tmp_path, door)
    assert len(np.unique(image)) == SIDE
    assert (np.diff(image[32]) > 0).all(), "and rises to the right"


# ---------------------------------------------------------------- what lies among images


@pytest.mark.parametrize("door", DOORS)
def test_segmentations_doses_and_scouts_are_no_images(tmp_path, door):
    segmentation, dose = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.2"
    for k in range(3):
        place, patient = tmp_path / f"P{k}", f"P{k}"
        for s in range(2):
            save_dicom(place / f"ct{s}.dcm", noise(10 * k + s), patient=patient)
        save_dicom(
            place / "scout.dcm", noise(90 + k, (50, 20)), patient=patient,
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )  # fmt: skip
        parts = np.zeros((2, 32, 32), np.uint8)
        parts[:, 9:20, 9:20] = 1
        save_dicom(
            place / "seg.dcm", parts, patient=patient, Modality="SEG", SOPClassUID=segmentation
        )
        save_dicom(
            place / "dose.dcm", parts.astype(np.uint32) * 9, patient=patient, Modality="RTDOSE",
            SOPClassUID=dose,
        )  # fmt: skip
    assert len(read_images(tmp_path, test=0)) == open_images(tmp_path).count == 6
    said = told(tmp_path, door)
    assert len(read_images(tmp_path, test=0).left_out) == 9
    assert any(word in said for word in ("a scout (LOCALIZER)", "a segmentation (SEG)", "RTDOSE"))


MASK_NAMES = {
    "beside": ("benign ({k}).png", "benign ({k})_mask.png"),
    "seg": ("{k}.png", "{k}_seg.png"),
    "label first": ("img_{k}.png", "label_{k}.png"),
    "folders": ("images/{k}.png", "masks/{k}.png"),
    "other suffix": ("images/{k}.jpg", "masks/{k}.png"),
    "both folders named": ("train/{k}.png", "train_masks/{k}.png"),
}


@pytest.mark.parametrize("kind", MASK_NAMES)
def test_masks_beside_their_images_are_told_left_out_and_kept(tmp_path, kind):
    image_name, mask_name = MASK_NAMES[kind]
    for k in range(12):
        save(tmp_path / image_name.format(k=k), noise(k))
        save(tmp_path / mask_name.format(k=k), ((X[:32, :32] > k + 4) * 255).astype(np.uint8))
    images = read_images(tmp_path, test=0)
    assert len(images) == 12
    assert "12 files look like masks" in str(images.summary())
    for name, mask in zip(images.names, images.masks, strict=True):
        k = int("".join(one for one in name if one.isdigit()))
        assert (mask == (X[:32, :32] > k + 4) * 255).all()
    assert open_images(tmp_path).count == 12
    assert "12 files look like masks" in told(tmp_path, "score")


def test_label_maps_beside_volumes_are_left_out_and_kept(tmp_path):
    for k in range(3):
        values = np.random.default_rng(k).random((32, 32, 10)).astype(np.float32)
        axes = np.diag([1, 1, 4, 1])
        nibabel.save(nibabel.Nifti1Image(values, axes), tmp_path / f"case{k}_t1.nii.gz")
        parts = (values > 0.5).astype(np.uint8) * 3
        nibabel.save(nibabel.Nifti1Image(parts, axes), tmp_path / f"case{k}_seg.nii.gz")
    images = read_images(tmp_path, test=0, window=(0.5, 1))
    assert {name.partition("#")[0] for name in images.names} == {
        f"case{k}_t1.nii.gz" for k in range(3)
    }
    assert "3 files look like masks" in str(images.summary())
    assert ((images.masks == 3) == (images.images[..., 0] > 127)).mean() > 0.99


def test_a_folder_of_masks_alone_is_read_and_told(tmp_path):
    for k in range(4):
        save(tmp_path / f"{k}_mask.png", noise(k))
    images = read_images(tmp_path, test=0)
    assert len(images) == 4
    assert "no images of these names lie beside them" in str(images.summary())


def test_what_systems_leave_behind_is_no_image(tmp_path):
    for k in FOUR:
        save(tmp_path / f"{k}.png", noise(k))
    for leftover in (
        "@eaDir/0.png/SYNOPHOTO_THUMB_M.png", "__MACOSX/._0.png", "._0.png",
        ".ipynb_checkpoints/0-checkpoint.png", ".thumbnails/0.png", "#recycle/9.png",
    ):  # fmt: skip
        save(tmp_path / leftover, noise(99))
    images = read_images(tmp_path, test=0)
    assert len(images) == open_images(tmp_path).count == 4
    assert len(images.left_out) == 6


# ---------------------------------------------------------------- splits and classes by folder


@pytest.mark.parametrize(
    ("learn", "judge"),
    [("train", ("val", "test")), ("Training", ("Testing",)), ("set/train", ("set/valid",))],
)
def test_own_train_and_test_folders_are_the_split(tmp_path, learn, judge):
    for side, count in ((learn, 12), *((one, 6) for one in judge)):
        for k in range(count):
            kind = ("NORMAL", "PNEUMONIA")[k % 2]
            save(tmp_path / side / kind / f"{k}.png", noise(k + 100 * len(side)))
    images = read_images(tmp_path, labels="folder")
    assert images.factors == {"class": ("NORMAL", "PNEUMONIA")}
    for name, side in zip(images.names, images.sides, strict=True):
        assert (side == "train") == name.startswith(f"{learn}/")
    assert "the split is the data's own" in str(images.summary())
    assert read_images(tmp_path, labels="folder", test=0).held_out is None


TREES = {
    "class / patient": "{c}/{c[0]}-Miller-{p}/{k}.png",
    "patient / class": "Miller-{p:05}/{c}/{k}.png",
    "side / class / patient": "train/{c}/Miller^{p}/{k}.png",
    "class / patient / study": "{c}/pat{c[0]}{p:03}/study1/{k}.png",
}


@pytest.mark.parametrize("tree", TREES)
def test_folders_of_patients_are_groups_and_never_classes(tmp_path, tree):
    for c in ("COVID", "Healthy"):
        for p in range(5):
            for k in range(4):
                save(tmp_path / TREES[tree].format(c=c, p=p, k=k), noise(hash((c, p, k)) % 2**32))
    images = read_images(tmp_path, labels="folder")
    assert images.factors == {"class": ("COVID", "Healthy")}
    assert len(set(images.groups)) == (5 if tree == "patient / class" else 10)
    kept = json.dumps(images.to_dict()) + images.files_jsonl() + " ".join(images.notes)
    assert "Miller" not in kept
    assert "pat" not in str(images.groups)
    opened = open_images(tmp_path, labels="folder")
    assert set(opened.labels["class"]) == {"COVID", "Healthy"}
    assert len(set(opened.groups)) == len(set(images.groups))


def test_no_name_of_a_patients_folder_leaves_with_a_model(tmp_path):
    for k in range(40):
        c = ("COVID", "Healthy")[k % 2]
        save(tmp_path / "ct" / c / f"{c[0]}-Miller-{k // 8}" / f"{k}.png", noise(k, (16, 16)))
    for _ in mw.train(
        tmp_path / "run", data=str(tmp_path / "ct"), labels="folder", size=16, batch=8, kimg=0.01
    ):
        pass
    models = tmp_path / "models"
    mw.make_model(tmp_path / "run", "ct-1", modality="CT", organ="lung", models=models)
    engine = mw.Engine(device="cpu", catalogue=mw.Catalogue(models))
    request = mw.GenerateRequest("ct-1", seeds=[1])
    done = mw.export(request, tmp_path / "out", format="png", gate=None, engine=engine)
    files = [*models.rglob("*.json"), *models.rglob("*.md"), *done.path.iterdir()]
    assert len(files) >= 3
    assert not [one.name for one in files if b"Miller" in one.read_bytes()]


def test_strays_beside_class_folders_are_told_and_no_class(tmp_path):
    for k in range(24):
        save(tmp_path / ("a", "b")[k % 2] / f"{k}.png", noise(k))
    for k in range(3):
        save(tmp_path / f"stray{k}.png", noise(99 + k))
    images = read_images(tmp_path, labels="folder", test=0)
    assert images.factors == {"class": ("a", "b")}
    assert len(images) == 24
    assert "stray0.png" in str(images.summary())


# ---------------------------------------------------------------- pixels that are not square


def flat_disc(down: float, across: float) -> np.ndarray:
    """A disc of 52 mm on 64 x 64 pixels of so many millimetres."""
    return ((X - 32) * across) ** 2 + ((Y - 32) * down) ** 2 < 26**2


DISCS = {
    "PixelSpacing": {"PixelSpacing": [2.0, 1.0]},
    "ImagerPixelSpacing": {"ImagerPixelSpacing": [2.0, 1.0]},
    "PixelAspectRatio": {"PixelAspectRatio": [2, 1]},
}


def wide_and_tall(image: np.ndarray) -> tuple[int, int]:
    return int((image > 100).any(0).sum()), int((image > 100).any(1).sum())


@pytest.mark.parametrize("door", ["read_images", "open_images"])
@pytest.mark.parametrize("kind", [*DISCS, "TIFF in inch", "TIFF in cm"])
def test_a_disc_is_round_whatever_its_pixels_are(tmp_path, kind, door):
    disc = flat_disc(2, 1)
    for k in range(3):
        if kind in DISCS:
            save_dicom(
                tmp_path / f"{k}.dcm", (disc * 2000).astype(np.uint16), patient=f"P{k}",
                BitsStored=12, HighBit=11, Modality="US", **DISCS[kind],
            )  # fmt: skip
        else:
            unit = "INCH" if kind == "TIFF in inch" else "CENTIMETER"
            tifffile.imwrite(
                tmp_path / f"{k}.tif", (disc * 200).astype(np.uint8), resolution=(100, 50),
                resolutionunit=unit,
            )  # fmt: skip
    wide, tall = wide_and_tall(shown(tmp_path, door, size=64))
    assert abs(wide - tall) <= 2
    assert wide > 15
    assert "not square (up to 2 to 1)" in str(read_images(tmp_path, test=0).summary())


@pytest.mark.parametrize("plane", [None, "sagittal", "coronal", "axial"])
def test_a_ball_is_round_in_every_plane_of_a_volume(tmp_path, plane):
    i, j, k = np.indices((64, 64, 24))
    ball = ((i - 32) ** 2 + (j - 32) ** 2 + ((k - 12) * 5) ** 2 < 625) * np.float32(100)
    for n in range(2):
        nibabel.save(nibabel.Nifti1Image(ball, np.diag([1, 1, 5, 1.0])), tmp_path / f"v{n}.nii.gz")
    images = read_images(tmp_path, plane=plane, size=128, test=0)
    middle = 12 if plane in (None, "axial") else 32
    wide, tall = wide_and_tall(images.images[images.names.index(f"v0.nii.gz#{middle}")][..., 0])
    assert abs(wide - tall) <= 0.15 * wide, "a voxel of 5 mm is that coarse"
    said = str(images.summary())
    assert ("teaches blur" in said) == (plane in ("sagittal", "coronal"))


# ---------------------------------------------------------------- labels that are no classes

MASK = (X % 7 == 0).astype(np.uint8)
NO_CLASSES: dict[str, Any] = {
    "segmentation": MASK[None],
    "mask as tensor": torch.from_numpy(MASK)[None],
    "mask as picture": Image.fromarray(MASK),
    "mask of booleans": MASK.astype(bool),
    "soft label": np.array([0.2, 0.8]),
    "soft tensor": torch.tensor([0.2, 0.8]),
    "list of shares": [0.25, 0.75],
}


@pytest.mark.parametrize("as_dictionary", [True, False])
@pytest.mark.parametrize("kind", NO_CLASSES)
def test_a_segmentation_or_share_is_no_class(kind, as_dictionary):
    label, image = NO_CLASSES[kind], (X * 4).astype(np.uint8)
    items = [{"image": image, "label": label} if as_dictionary else (image, label)] * 8
    said = refused(items)
    assert "class" in said
    assert len(said) < 1000, "and the mask is not written out"
    assert len(read_images(items, labels=False, test=0)) == 8


@pytest.mark.parametrize("measure", [0.1, 1.7])
def test_a_measure_is_no_class(measure):
    items = [((X * 4).astype(np.uint8), measure * k) for k in range(8)]
    assert "class" in refused(items)


# ---------------------------------------------------------------- words that help


@pytest.mark.parametrize("implicit", [True, False])
@pytest.mark.parametrize("name", ["{k}.dcm", "IM{k}"])
def test_dicom_without_its_first_132_bytes_is_read(tmp_path, name, implicit):
    for k in FOUR:
        path = save_dicom(tmp_path / name.format(k=k), noise(k), patient=f"P{k}", Modality="MR")
        bare = pydicom.Dataset()
        bare.update(dict(pydicom.dcmread(path).items()))
        pydicom.dcmwrite(
            path, bare, implicit_vr=implicit, little_endian=True, enforce_file_format=False
        )  # fmt: skip
    assert (shown(tmp_path, window=(127.5, 255)) == noise(0)).all()
    assert open_images(tmp_path).count == 4


def lines(name: str, mark: str = ",", blank: str = "") -> str:
    rows = [f"{name.format(k=k)}{mark}{blank}{k % 2}" for k in range(6)]
    return "\n".join([f"file_name{mark}{blank}label", *rows])


GOOD_TABLES = {
    "absolute Windows path": lines("C:\\data\\{k}.png"),
    "absolute path": lines("/home/somebody/data/{k}.png"),
    "another case": lines("{k}.PNG"),
    "no suffix": lines("{k}"),
    "Excel's first line": "sep=;\n" + lines("{k}.png", ";"),
    "blanks": lines("{k}.png", ",", " "),
    "another mark": lines("{k}.png", "\t"),
}


@pytest.mark.parametrize("kind", GOOD_TABLES)
def test_tables_as_people_write_them_are_read(tmp_path, kind):
    for k in range(6):
        save(tmp_path / f"{k}.png", noise(k))
    (tmp_path / "metadata.csv").write_text(GOOD_TABLES[kind])
    images = read_images(tmp_path, labels="label", test=0)
    assert images.class_names() == [f"label {int(name[0]) % 2}" for name in images.names]
    assert set(open_images(tmp_path, labels="label").labels["label"]) == {0, 1}


@pytest.mark.parametrize("door", DOORS)
def test_a_table_of_other_files_says_so(tmp_path, door):
    for k in range(6):
        save(tmp_path / f"{k}.png", noise(k))
    (tmp_path / "metadata.csv").write_text(lines("scan_{k}.png"))
    with pytest.raises(DataError, match=r"none of the 6 files that metadata\.csv names is here"):
        told(tmp_path, door, labels="label")


@pytest.mark.parametrize("numbers", [[0.0, 1.0], ["0", "1"], [0, 1], ["0.0", "1"]])
def test_numbers_in_a_table_mean_numbers(tmp_path, numbers):
    for k in range(6):
        save(tmp_path / f"{k}.png", noise(k))
    rows = [{"file_name": f"{k}.png", "label": numbers[k % 2]} for k in range(6)]
    save_table(tmp_path / "metadata.csv", rows)
    assert read_images(tmp_path, labels="label", test=0).factors == {"label": (0, 1)}
    assert read_images(tmp_path, labels="label", table=rows, test=0).factors == {"label": (0, 1)}


# ---------------------------------------------------------------- what used to go unsaid


@pytest.mark.parametrize("scale", [1, 1 / 4095])
def test_images_of_another_scale_than_most_are_told(tmp_path, scale):
    for k in range(6):
        values = RISING * np.float32(16 if k < 3 else scale)
        tifffile.imwrite(tmp_path / f"{k}.tif", values, photometric="minisblack")
    notes = mw.read_images(tmp_path, test=0).notes
    assert any("3 of 6 images stay dark" in note for note in notes), notes


@pytest.mark.parametrize("table", ["cells", "columns"])
def test_a_table_whose_cells_slip_is_refused(tmp_path, table):
    for k in range(3):
        Image.fromarray(RISING.astype(np.uint8) + np.uint8(k)).save(tmp_path / f"{k}.png")
    head, row = {"cells": ("site,grade", "Basel, CH,2"), "columns": ("grade,grade", "1,2")}[table]
    lines = [f"file_name,{head}", "0.png,1,1", "1.png,1,1", f"2.png,{row}"]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"more cells in row 3|two columns called grade"):
        mw.read_images(tmp_path, labels="grade", test=0)


@pytest.mark.parametrize("more", [{"imagej": True, "truncate": True}, {"truncate": True}])
def test_a_stack_with_one_page_is_refused_like_one_with_many(tmp_path, more):
    stack = np.stack([RISING + k for k in range(4)]).astype(np.uint16)
    for k in range(2):
        tifffile.imwrite(tmp_path / f"{k}.tif", stack, photometric="minisblack", **more)
    with pytest.raises(DataError, match="several pictures"):
        mw.read_images(tmp_path, test=0)


def test_masks_under_names_that_nobody_knows_are_told(tmp_path):
    for k in range(4):
        Image.fromarray(RISING.astype(np.uint8) + np.uint8(k)).save(tmp_path / f"{k}.png")
        Image.fromarray(np.where(RISING > 20, 255, 0).astype(np.uint8)).save(
            tmp_path / f"{k}_m.png"
        )
    notes = mw.read_images(tmp_path, test=0).notes
    assert any("4 of 8 images have two grey levels" in note for note in notes), notes


@pytest.mark.parametrize("shape", [(40, 40, 3), (40, 40, 12)])
def test_one_colour_image_or_slices_last_are_not_taken_for_many(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match="last axis"):
        mw.read_images(tmp_path / "a.npy", test=0)


def test_which_slices_of_a_volume_are_read_is_told(tmp_path):
    for k in range(2):
        image = nibabel.Nifti1Image(np.random.default_rng(k).normal(size=(9, 9, 10)), np.eye(4))
        nibabel.save(image, tmp_path / f"{k}.nii.gz")
    data = mw.read_images(tmp_path, test=0)
    assert len(data) == 12
    assert "slices from 20% to 80%" in str(data.summary())


@pytest.mark.parametrize("words", [("True", "False"), ("1", "0"), ("yes", "no")])
def test_classes_of_a_table_are_the_models_own(tmp_path, words):
    drawn = mw.draw_phantoms("mammogram", range(20), size=64)
    rows = ["file_name,mass"]
    for k, image in enumerate(drawn.images):
        Image.fromarray(image.reshape(64, 64)).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,{words[k % 10 == 0]}")
    (tmp_path / "metadata.csv").write_text("\n".join(rows))
    asked = mw.GenerateRequest("phantom-mammogram", seeds=range(20))
    scores = mw.score(asked, real=tmp_path, labels="mass", metrics=["kid"], cache=False)
    assert "False 10%, True 90%" in scores.prepared["synthetic"].how


@pytest.mark.parametrize(("size", "slices"), [((8, 16), 10), ((9, 9), 3)])
def test_a_mask_that_does_not_lie_on_its_image_is_refused_in_words(tmp_path, size, slices):
    for k in range(2):
        image = np.random.default_rng(k).normal(size=(9, 9, 10))
        nibabel.save(nibabel.Nifti1Image(image, np.diag([1, 1, 2, 1])), tmp_path / f"{k}.nii")
        mask = nibabel.Nifti1Image(np.ones((*size, slices), np.uint8), np.diag([1, 1, 2, 1]))
        nibabel.save(mask, tmp_path / f"{k}_mask.nii")
    data = mw.read_images(tmp_path, test=0)
    with pytest.raises(DataError, match=r"pixel by pixel|no slice"):
        _ = data.masks


def test_a_patient_whose_folder_is_in_train_and_test_is_one(tmp_path):
    for side, kind, k in ((s, a, k) for s in ("train", "test") for a in "AB" for k in range(2)):
        save(tmp_path / side / kind / "pat0001" / f"{k}.png", noise(k))
        save(tmp_path / side / kind / f"pat{side}" / f"{k}.png", noise(9 + k))
    with pytest.raises(DataError, match="2 groups of the images stand on both sides"):
        mw.read_images(tmp_path, group="folder")
    assert len(set(mw.read_images(tmp_path, group="folder", test=0).groups)) == 6


def test_a_picture_of_a_document_is_left_out_and_told(tmp_path):
    for name in ("a", "b", "README", "license.1"):
        save(tmp_path / f"{name}.png", noise(len(name)))
    data = mw.read_images(tmp_path, test=0)
    assert data.names == ("a.png", "b.png")
    assert [one.reason for one in data.left_out] == [
        f"{name}: a picture of a document, by its name" for name in ("README.png", "license.1.png")
    ]
