"""Images of one's own, of every kind: read as meant, refused in words, split by patient."""

from __future__ import annotations

import csv
import json

import nibabel
import numpy as np
import pydicom
import pytest
from medgan_widgets.datasets.folder import images_of_folder, read_image
from medgan_widgets.datasets.found import Found, Refused, read_all
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless

from medgan_widgets.datasets.dicom import images_of_dicom, read_frame
from medgan_widgets.datasets.nifti import images_of_nifti
from medgan_widgets.datasets.npz import images_of_npz
from medgan_widgets.datasets.preprocessing import Preprocessing
from medgan_widgets.datasets.split import drawn_split, read_split, write_split
from medgan_widgets.errors import DataError
from tests.made_data import RAMP, save, save_dicom

# ---------------------------------------------------------------- folders


def test_grey_colour_and_sixteen_bits_are_read_as_they_are(tmp_path):
    save(tmp_path / "a.png")
    save(tmp_path / "b.tif", (RAMP.astype(np.uint16) * 1000))
    save(tmp_path / "c.jpg", np.dstack([RAMP, RAMP, RAMP]))
    save(tmp_path / "d.png", np.dstack([RAMP, RAMP, RAMP, RAMP]))
    values = {one.name: array for one, array in read_all(images_of_folder(tmp_path))}
    assert (values["a.png"] == RAMP).all()
    assert values["b.tif"].max() == 63_000
    assert values["c.jpg"].shape == values["d.png"].shape == (8, 8, 3)


def test_classes_come_from_folders_or_tables_and_patients_from_tables(tmp_path):
    for kind in ("benign", "malignant"):
        save(tmp_path / kind / "1.png")
    assert [one.labels["class"] for one in images_of_folder(tmp_path, labels="folder")] == [
        "benign", "malignant",
    ]  # fmt: skip
    rows = [
        {"file_name": "benign/1.png", "grade": "2", "patient": "A"},
        {"file_name": "malignant/1.png", "grade": "3", "patient": "B"},
    ]
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    found = list(images_of_folder(tmp_path, labels="grade", group="patient"))
    assert [(one.labels, one.group) for one in found] == [
        ({"grade": "2"}, "A"),
        ({"grade": "3"}, "B"),
    ]
    (tmp_path / "metadata.csv").unlink()
    lines = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "metadata.jsonl").write_text(lines)
    assert [one.group for one in images_of_folder(tmp_path, group="patient")] == ["A", "B"]
    with pytest.raises(DataError, match="no column 'age'"):
        list(images_of_folder(tmp_path, group="age"))


def test_what_cannot_be_read_is_listed_and_left_out_only_when_told(tmp_path):
    save(tmp_path / "good.png")
    whole = save(tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "photo.heic").write_bytes(b"of a telephone")
    (tmp_path / "README.txt").write_text("what lies beside images is no image, and no trouble")
    frames = [Image.fromarray(RAMP + n) for n in (0, 90)]
    frames[0].save(tmp_path / "moves.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="4 files cannot be used") as caught:
        list(read_all(images_of_folder(tmp_path)))
    for name in ("cut.png", "text.png", "photo.heic", "moves.tif", "skip_unreadable=True"):
        assert name in str(caught.value)
    kept = list(read_all(images_of_folder(tmp_path), skip_unreadable=True))
    assert [one.name for one, _ in kept] == ["good.png"]


def test_empty_places_and_loops_are_told(tmp_path):
    with pytest.raises(DataError, match="nothing to learn from"):
        list(read_all(images_of_folder(tmp_path)))
    with pytest.raises(DataError, match="neither a folder nor a file"):
        list(images_of_folder(tmp_path / "nowhere"))
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    assert [one.name for one in images_of_folder(tmp_path)] == ["in/a.png"]


# ---------------------------------------------------------------- DICOM


def test_rescaling_and_turned_greys_are_undone(tmp_path):
    signed = RAMP.astype(np.int16) - 30
    file = save_dicom(tmp_path / "a", signed, RescaleSlope="2", RescaleIntercept="-1000")
    assert (read_frame(file) == signed * 2.0 - 1000).all()
    turned = save_dicom(tmp_path / "b", photometric="MONOCHROME1")
    assert (read_frame(turned) == 63 - RAMP).all()


def test_every_frame_of_an_enhanced_file_has_its_own_scale(tmp_path):
    def scale(slope: float) -> Dataset:
        inner, outer = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept, inner.RescaleType = slope, 5, "US"
        outer.PixelValueTransformationSequence = [inner]
        return outer

    frames = np.stack([RAMP, RAMP])
    save_dicom(tmp_path / "a", frames, PerFrameFunctionalGroupsSequence=[scale(2.0), scale(3.0)])
    assert (read_frame(tmp_path / "a", 0) == RAMP * 2.0 + 5).all()
    assert (read_frame(tmp_path / "a", 1) == RAMP * 3.0 + 5).all()


def test_frames_are_images_and_patients_are_groups_nobody_can_look_up(tmp_path):
    save_dicom(tmp_path / "one.dcm", np.stack([RAMP, RAMP + 1, RAMP + 2]), patient="secret-7")
    save_dicom(tmp_path / "two", patient="secret-8")
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    found = list(images_of_dicom(tmp_path, labels="Modality"))
    assert [one.name for one in found] == ["one.dcm#0", "one.dcm#1", "one.dcm#2", "two"]
    assert found[0].group == found[2].group != found[3].group
    assert "secret" not in repr(found)
    assert "Doe" not in repr(found)
    assert found[0].labels == {"Modality": "CT"}
    assert (found[2].read() == RAMP + 2).all()


def test_bad_dicom_is_told(tmp_path):
    (tmp_path / "no.dcm").write_bytes(b"not dicom")
    save_dicom(tmp_path / "compressed", syntax=JPEGLSLossless)
    save_dicom(tmp_path / "short")
    file = pydicom.dcmread(tmp_path / "short")
    file.PixelData = file.PixelData[:10]
    file.save_as(tmp_path / "short")
    with pytest.raises(DataError) as caught:
        list(read_all(images_of_dicom(tmp_path)))
    for name in ("no.dcm", "compressed", "short"):
        assert name in str(caught.value)
    assert isinstance(next(iter(images_of_dicom(tmp_path / "no.dcm"))), Refused)


# ---------------------------------------------------------------- volumes and arrays


def test_a_volume_is_its_slices_turned_one_way(tmp_path):
    volume = np.zeros((6, 8, 10), np.float32)
    volume[:, 7, :] = 9  # the patient's front
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    flipped = nibabel.Nifti1Image(volume[:, ::-1], np.diag([1.0, -1.0, 1.0, 1.0]))
    nibabel.save(flipped, tmp_path / "b.nii")
    found = list(images_of_nifti(tmp_path))
    assert {one.group for one in found} == {"a.nii.gz", "b.nii"}
    assert len(found) == 12
    for one in found:
        assert one.read().shape == (8, 6)
        assert (one.read()[0] == 9).all(), "front is up, however it was stored"


def test_bad_volumes_are_told(tmp_path):
    nan = np.full((4, 4, 4), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(nan, np.eye(4)), tmp_path / "nan.nii")
    four = np.zeros((4, 4, 4, 2), np.float32)
    nibabel.save(nibabel.Nifti1Image(four, np.eye(4)), tmp_path / "four.nii")
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError) as caught:
        list(read_all(images_of_nifti(tmp_path)))
    for said in ("nan.nii#", "not finite", "four.nii is no volume", "broken.nii.gz"):
        assert said in str(caught.value)
    with pytest.raises(DataError, match="plane must be"):
        list(images_of_nifti(tmp_path, plane="oblique"))


def test_arrays_of_medmnist(tmp_path):
    images = np.stack([RAMP, RAMP + 1])
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.array([[3], [5]]))
    found = list(images_of_npz(tmp_path / "a.npz"))
    assert [one.labels["class"] for one in found] == [3, 5]
    assert (found[1].read() == RAMP + 1).all()
    np.savez(tmp_path / "b.npz", images=np.zeros((2, 8, 8, 8)))
    with pytest.raises(DataError, match="take slices"):
        list(images_of_npz(tmp_path / "b.npz"))
    np.savez(tmp_path / "c.npz", train_images=images, train_labels=np.zeros(3))
    with pytest.raises(DataError, match="2 images and 3 labels"):
        list(images_of_npz(tmp_path / "c.npz"))
    np.savez(tmp_path / "d.npz", other=images)
    with pytest.raises(DataError, match="no array"):
        list(images_of_npz(tmp_path / "d.npz"))
    (tmp_path / "e.npz").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="cannot be read as arrays"):
        list(images_of_npz(tmp_path / "e.npz"))


# ---------------------------------------------------------------- pixels and sides


def test_pixels_follow_the_window_or_the_percentiles():
    values = np.linspace(-1000, 1000, 64, dtype=np.float32).reshape(8, 8)
    windowed = Preprocessing(size=8, window=(0, 400)).pixels(values)[..., 0]
    assert windowed[0, 0] == 0
    assert windowed[-1, -1] == 255
    assert 110 < windowed[3, 7] < 128 < windowed[4, 1] < 160
    own = Preprocessing(size=8).pixels(values)
    assert (own.min(), own.max(), own.dtype) == (0, 255, np.uint8)
    assert Preprocessing(size=16, channels=3).pixels(values).shape == (16, 16, 3)
    flat = Preprocessing(size=8).pixels(np.full((8, 8), 7.0, np.float32))
    assert flat.max() == 0, "a constant image has no contrast to invent"


def test_what_is_not_square_is_padded_or_cropped():
    tall = np.full((16, 8), 100.0, np.float32)
    tall[0] = 0
    padded = Preprocessing(size=16, window=(50, 100)).pixels(tall)[..., 0]
    assert padded[8, 0] == 0
    assert padded[8, 8] == 255
    cropped = Preprocessing(size=16, window=(50, 100), fit="crop").pixels(tall)
    assert cropped.min() > 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 4},
        {"percentiles": (50, 50)},
        {"fit": "squash"},
        {"channels": 2},
        {"window": (0, 0)},
    ],
)
def test_a_preprocessing_that_makes_no_image_is_refused(wrong):
    with pytest.raises(DataError):
        Preprocessing(**wrong)


def people(count: int, images: int = 3) -> list[Found]:
    return [
        Found(f"{n}_{k}.png", lambda: RAMP, group=f"patient {n}")
        for n in range(count)
        for k in range(images)
    ]


def test_a_patient_stays_on_one_side_also_when_others_come(tmp_path):
    split = drawn_split(people(50))
    assert 0.08 < np.mean([side == "test" for side in split.values()]) < 0.35
    for n in range(50):
        assert len({split[f"{n}_{k}.png"] for k in range(3)}) == 1
    later = drawn_split(people(80))
    assert all(later[name] == side for name, side in split.items())
    assert drawn_split(people(50), seed=1) != split
    write_split(tmp_path, split)
    assert read_split(tmp_path) == split


def test_splits_that_cannot_be_are_told(tmp_path):
    with pytest.raises(DataError, match="1 group cannot be split"):
        drawn_split(people(1))
    with pytest.raises(DataError, match="share"):
        drawn_split(people(9), test=1.5)
    with pytest.raises(DataError, match="cannot be read as a split"):
        read_split(tmp_path)
    (tmp_path / "split.csv").write_text("file_name,side\na.png,left\n")
    with pytest.raises(DataError, match="train or test"):
        read_split(tmp_path)


def test_reading_one_file_serves_as_well(tmp_path):
    path = save(tmp_path / "a.png")
    assert [one.name for one in images_of_folder(path)] == ["a.png"]
    assert (read_image(path) == RAMP).all()


def test_a_picture_taken_lying_stands_as_its_camera_says(tmp_path):
    upright = np.zeros((48, 64), np.uint8)
    upright[:8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter to the right
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.png", exif=exif)
    (found,) = images_of_folder(tmp_path)
    assert found.shape == (48, 64)
    assert np.array_equal(found.read(), upright)
