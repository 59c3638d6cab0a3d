"""What cannot be learned from says so in a sentence, by name, and with what to do."""

from __future__ import annotations

import os

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEGLSLossless

from medgan_widgets.datasets import read_images
from medgan_widgets.errors import MedganError
from tests.made_data import noise, save, save_dicom, save_table, save_volume


@pytest.fixture
def good(tmp_path):
    """Six good pictures; a test adds what is bad."""
    for number in range(6):
        save(tmp_path / f"good{number}.png", noise(number))
    return tmp_path


def refused(data, **more) -> str:
    with pytest.raises(MedganError) as caught:
        read_images(data, **more)
    said = str(caught.value)
    assert said.endswith("."), said
    assert "\n" not in said
    assert "Traceback" not in said
    return said


def test_places_with_nothing_in_them(tmp_path):
    assert "nothing to learn from" in refused(tmp_path)
    assert "neither a folder nor a file" in refused(tmp_path / "nowhere")
    assert "neither a folder nor a file" in refused(tmp_path / "nowhere", kind="dicom")
    (tmp_path / "film.mp4").write_bytes(b"moves")
    assert "1 files are of no kind known here" in refused(tmp_path)
    assert "kind must be one of folder, dicom, nifti, npz" in refused(tmp_path, kind="jpeg")
    assert "give the path" in refused("")
    assert "no pixels" in refused(np.zeros((0, 16, 16), np.uint8))


def test_one_image_is_not_enough(tmp_path):
    save(tmp_path / "a.png", noise(0))
    for test in (0, 0.2):
        assert "1 image is not enough to learn from; give at least 2" in refused(
            tmp_path, test=test
        )


def test_one_patient_cannot_be_split(tmp_path):
    for number in range(4):
        save_dicom(tmp_path / f"{number}.dcm", noise(number), patient="secret")
    said = refused(tmp_path)
    assert "1 group cannot be split" in said
    assert "test=0" in said
    assert "secret" not in said
    assert len(read_images(tmp_path, test=0)) == 4


def test_several_kinds_in_one_place_are_asked_about(good):
    save_dicom(good / "scan" / "IM1", noise(9))
    save_dicom(good / "scan" / "IM2", noise(8), patient="P2")
    said = refused(good)
    assert "DICOM (2) and PNG, JPEG or TIFF (6)" in said
    assert "kind='dicom' or kind='folder'" in said
    assert len(read_images(good, kind="folder")) == 6
    assert len(read_images(good, kind="dicom")) == 2


def test_damaged_files_are_listed_and_left_out_only_when_told(good):
    whole = save(good / "cut.png", noise(9, (64, 64))).read_bytes()
    (good / "cut.png").write_bytes(whole[: len(whole) // 2])
    (good / "text.jpg").write_text("no image")
    moving = [Image.fromarray(noise(n)) for n in (0, 1)]
    moving[0].save(good / "moves.gif", save_all=True, append_images=moving[1:])
    moving[0].save(good / "stack.tif", save_all=True, append_images=moving[1:])
    (good / "gone.png").symlink_to(good / "nothing.png")
    said = refused(good)
    assert "5 files cannot be used" in said
    for name in ("cut.png", "text.jpg", "moves.gif", "stack.tif", "gone.png"):
        assert name in said
    assert str(good) not in said, "names below the folder say enough"
    data = read_images(good, skip_unreadable=True)
    assert len(data) == 6
    assert {one.name for one in data.refused} == {
        "cut.png", "text.jpg", "moves.gif", "stack.tif", "gone.png",
    }  # fmt: skip
    assert data.to_dict()["refused"] == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_files_that_may_not_be_read(good):
    (good / "good0.png").chmod(0)
    assert "Permission denied" in refused(good)


def test_volumes_where_images_are_meant(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8, 8), np.uint8))
    assert "take slices" in refused(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros((3, 8, 8, 8), np.uint8))
    assert "take slices" in refused(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.zeros((8, 8), np.uint8))
    assert "expected" in refused(tmp_path / "c.npy") or "must hold" in refused(tmp_path / "c.npy")
    assert "2 files of arrays" not in refused(tmp_path, kind="npz")
    assert "3 files of arrays; give the path of one" in refused(tmp_path)
    save_volume(tmp_path / "v" / "four.nii.gz", shape=(8, 8, 8, 2))
    assert "8 × 8 × 8 × 2, expected three axes" in refused(tmp_path / "v")
    assert "of a volume take slices" in refused([np.zeros((8, 8, 8))] * 3)
    assert "uint8 or uint16 [N, H, W]" in refused(np.zeros((3, 8, 8, 8, 1), np.uint8))


def test_numbers_that_are_none(tmp_path):
    values = np.ones((8, 8, 8), np.float32)
    values[..., 4] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    save_volume(tmp_path / "b.nii", shape=(8, 8, 8))
    kept = read_images(tmp_path)
    assert [one.name for one in kept.left_out] == ["a.nii#4"], "one slice is left out, no more"
    assert "a.nii#5" in kept.names
    assert "a.nii#4 holds nothing but padding or values that are not finite" in str(kept.summary())
    nibabel.save(nibabel.Nifti1Image(values * np.nan, np.eye(4)), tmp_path / "c.nii")
    assert "c.nii holds nothing but values that are not finite" in refused(tmp_path)


def test_damaged_volumes_and_archives(tmp_path):
    whole = save_volume(tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    assert "a.nii.gz cannot be read" in refused(tmp_path, test=0)
    (tmp_path / "b.nii").write_text("no volume")
    assert "b.nii cannot be read as NIfTI" in refused(tmp_path / "b.nii")
    assert "there is nothing to learn from: 2 files cannot be used" in (said := refused(tmp_path))
    assert "b.nii cannot be read" in said, "the reason why there are too few"
    np.savez_compressed(tmp_path / "c.npz", images=np.stack([noise(n) for n in range(9)]))
    whole = (tmp_path / "c.npz").read_bytes()
    damaged = bytearray(whole)
    damaged[2000:2400] = bytes(400)
    (tmp_path / "c.npz").write_bytes(damaged)
    assert "c.npz cannot be read" in refused(tmp_path / "c.npz")
    (tmp_path / "d.npz").write_bytes(whole[:3000])
    assert "d.npz cannot be read as arrays" in refused(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", images=np.array([object()] * 3, dtype=object))
    refused(tmp_path / "e.npz")


def test_dicom_nobody_can_open(tmp_path):
    save_dicom(tmp_path / "a.dcm", noise(0))
    save_dicom(tmp_path / "b.dcm", noise(1), patient="P2")
    save_dicom(tmp_path / "packed.dcm", noise(2), syntax=JPEGLSLossless)
    save_dicom(tmp_path / "report.dcm", noise(3))
    import pydicom

    report = pydicom.dcmread(tmp_path / "report.dcm")
    del report.PixelData, report.Rows, report.Columns
    report.save_as(tmp_path / "report.dcm")
    (tmp_path / "text.dcm").write_text("no DICOM")
    said = refused(tmp_path)
    assert "packed.dcm is compressed (JPEG-LS Lossless" in said
    assert "install pylibjpeg" in said
    assert "text.dcm cannot be read as DICOM" in said
    assert "2 files cannot be used" in said
    data = read_images(tmp_path, skip_unreadable=True)
    assert len(data) == 2
    assert [one.reason for one in data.left_out] == [
        "report.dcm is a DICOM file without an image"
    ], "a report is no damage; it is left out, and told"
    assert "a.dcm has no StudyID" in refused(tmp_path / "a.dcm", group="StudyID")
    assert "neither a DICOM keyword nor a column" in refused(tmp_path, labels="kl_grade")


# ---------------------------------------------------------------- tables and classes


def rows(count: int = 6, **more) -> list[dict]:
    return [
        {"file_name": f"good{n}.png", "grade": str(n % 2), "patient": f"P{n}", **more}
        for n in range(count)
    ]


def test_tables_that_cannot_be_used(good):
    assert "no metadata.csv or metadata.jsonl" in refused(good, labels="grade")
    table = save_table(good / "metadata.csv", rows())
    assert "metadata.csv has no column 'stage'; it has: file_name, grade, patient" in refused(
        good, labels="stage"
    )
    assert "no column 'who'" in refused(good, group="who")
    save_table(table, [*rows(), rows()[2]])
    assert "names good2.png twice" in refused(good, labels="grade")
    table.write_text("scan,grade\ngood0.png,1\n")
    assert "no 'file_name' in row 1" in refused(good, labels="grade")
    assert len(read_images(good)) == 6, "a table that nobody asks for may be of something else"
    table.write_bytes("file_name,grade\ngood0.png,größer\n".encode("latin-1"))
    assert "is not UTF-8 text" in refused(good, labels="grade")
    table.write_text("file_name,grade\n")
    assert "has no rows" in refused(good, labels="grade")
    assert "cannot be read as a table (No such file" in refused(good, table=good / "none.csv")
    (good / "t.jsonl").write_text('{"file_name": "good0.png"\n')
    assert "cannot be read as a table" in refused(good, table=good / "t.jsonl", labels="grade")


def test_a_file_that_the_table_does_not_name_has_no_class(good):
    save_table(good / "metadata.csv", rows(5))
    said = refused(good, labels="grade")
    assert "good5.png has no 'grade' in metadata.csv" in said
    assert len(read_images(good, labels="grade", skip_unreadable=True, test=0)) == 5


def test_one_bare_name_for_two_files_is_not_guessed(tmp_path):
    for folder in "ab":
        save(tmp_path / folder / "1.png", noise(ord(folder)))
    said = refused(tmp_path, labels="grade", table=[{"file_name": "1.png", "grade": 1}])
    assert "one of several files called 1.png; write its folder too" in said


def test_classes_without_images_and_classes_held_back(good, tmp_path_factory):
    said = refused(
        good, labels="grade", table=save_table(good / "t.csv", [*rows(), {
            "file_name": "lost.png", "grade": "9", "patient": "P9",
        }]),
    )  # fmt: skip
    assert "grade '9' is in the table, but none of its images is here" in said
    split = tmp_path_factory.mktemp("run") / "split.csv"
    sides = "\n".join(f"good{n}.png,{'test' if n % 2 else 'train'}" for n in range(6))
    split.write_text(f"file_name,side\n{sides}\n")
    said = refused(good, labels="grade", table=rows(), split=split)
    assert "grade '1' has only held-out images" in said
    split.write_text(sides.replace("train", "test").join(["file_name,side\n", "\n"]))
    assert "none is left to learn from" in refused(good, split=split)


# ---------------------------------------------------------------- arguments and Datasets


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 48}, "size must be a power of two from 16 to 1024, got 48; choose 32 or 64"),
        ({"size": 8}, "got 8; choose 16"),
        ({"size": "64"}, "size must be a whole number"),
        ({"window": (0, 0)}, "width above 0"),
        ({"window": 40}, "window must be two numbers"),
        ({"percentiles": (99, 1)}, "percentiles"),
        ({"test": 1}, "test must be a share"),
        ({"most": 1}, "most must be from 2"),
        ({"fit": "squash"}, "fit must be"),
        ({"channels": 2}, "channels 1 or 3"),
        ({"labels": 3}, "labels= must be a name for files"),
        ({"split": "nowhere"}, "cannot be read as a split"),
        ({"plane": "oblique"}, "plane must be one of"),
    ],
)
def test_arguments_that_make_no_sense(good, wrong, said):
    assert said in refused(good, **wrong)


class Broken:
    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise RuntimeError("the disk is on fire")
        return noise(index)


def test_datasets_that_fail(good):
    assert "item 2 of the Dataset cannot be read (RuntimeError: the disk is on fire)" in refused(
        Broken()
    )
    assert len(read_images(Broken(), skip_unreadable=True)) == 3
    scaled = [(noise(n) / 127.5 - 1).astype(np.float32) for n in range(4)]
    assert "whole numbers 0 … 65535 or floats 0 … 1" in refused(scaled)
    assert len(read_images(scaled, window=(0, 2))) == 4, "a window says what they mean"
    assert "has no label at 1" in refused([(noise(n),) for n in range(4)], labels=1)
    assert "no image but str" in refused(["a.png", "b.png"])
    assert "labels= has 2 values for 4 images" in refused(scaled, labels=[1, 2], window=(0, 2))
    assert "one value an image" in refused(scaled, group="PatientID")
    assert "for files" in refused(scaled, table=good / "t.csv")
    assert "must be a phantom's kind" in refused(None)
    assert "must say how many" in refused(type("Stream", (), {"__getitem__": None})())
