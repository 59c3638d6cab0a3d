"""Images of one's own, of every kind: read as meant, refused in words, split by patient."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless

from medgan_widgets.datasets import Preprocessing, TrainingImages, read_images
from medgan_widgets.datasets.records import ImageRecord
from medgan_widgets.datasets.split import drawn_split, read_split, write_split
from medgan_widgets.errors import DataError
from tests.made_data import RAMP, noise, save, save_dicom, save_table

BIG = np.kron(RAMP, np.ones((4, 4), np.uint8))  # 0 … 63 in 32 x 32 pixels


def plain(place, top: float = 255, **more) -> TrainingImages:
    """Read with a window through which values 0 … 255 stay what they are."""
    return read_images(place, **{"window": (top / 2, top), "test": 0, **more})


def by_name(data: TrainingImages) -> dict[str, np.ndarray]:
    return dict(zip(data.names, data.images[..., 0], strict=True))


# ---------------------------------------------------------------- folders


def test_grey_colour_and_sixteen_bits_are_read_as_they_are(tmp_path):
    save(tmp_path / "a.png", BIG)
    save(tmp_path / "b.tif", BIG.astype(np.uint16) * 1000)
    save(tmp_path / "c.png", np.dstack([BIG] * 3))
    save(tmp_path / "d.png", np.dstack([BIG] * 4))  # as transparent as it is dark
    data = plain(tmp_path)
    assert data.intensity == (0, 63_000)
    read = by_name(data)
    assert (read["a.png"] == BIG).all()
    assert (read["c.png"] == BIG).all()
    assert (read["b.tif"] == np.minimum(BIG * 1000.0, 255)).all()
    assert np.abs(read["d.png"] - BIG * (BIG / 255.0)).max() <= 1, "it lies on black"


def test_classes_come_from_folders_or_tables_and_patients_from_tables(tmp_path):
    rows = []
    for number in range(8):
        kind = ("benign", "malignant")[number % 2]
        save(tmp_path / kind / f"{number}.png", noise(number))
        rows.append(
            {"file_name": f"{kind}/{number}.png", "grade": str(2 + number % 2), "patient": number}
        )
    data = read_images(tmp_path, labels="folder", test=0)
    assert data.factors == {"class": ("benign", "malignant")}
    assert data.class_names() == [name.partition("/")[0] for name in data.names]
    table = save_table(tmp_path / "metadata.csv", rows)
    data = read_images(tmp_path, labels="grade", group="patient", test=0)
    assert data.factors == {"grade": (2, 3)}
    assert len(set(data.groups)) == 8
    table.unlink()
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    assert len(set(read_images(tmp_path, group="patient", test=0).groups)) == 8
    with pytest.raises(DataError, match="no column 'age'"):
        read_images(tmp_path, group="age", test=0)


def test_what_cannot_be_read_is_listed_and_left_out_only_when_told(tmp_path):
    for number in range(2):
        save(tmp_path / f"good{number}.png", noise(number))
    whole = save(tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "README.txt").write_text("what lies beside images is no image, and no trouble")
    frames = [Image.fromarray(RAMP + n) for n in (0, 90)]
    frames[0].save(tmp_path / "moves.tif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="3 files cannot be used") as caught:
        read_images(tmp_path, test=0)
    for name in ("cut.png", "text.png", "moves.tif", "skip_unreadable=True"):
        assert name in str(caught.value)
    kept = read_images(tmp_path, test=0, skip_unreadable=True)
    assert kept.names == ("good0.png", "good1.png")


def test_files_of_no_known_kind_are_left_out_and_told(tmp_path):
    for number in range(2):
        save(tmp_path / f"{number}.png", noise(number))
    (tmp_path / "photo.heic").write_bytes(b"of a telephone")
    data = read_images(tmp_path, test=0)
    assert data.names == ("0.png", "1.png")
    assert [one.name for one in data.left_out] == ["photo.heic"]
    assert "1: photo.heic is of no kind known here" in str(data.summary())
    assert data.to_dict()["left_out"] == 1


def test_empty_places_and_loops_are_told(tmp_path):
    with pytest.raises(DataError, match="nothing to learn from"):
        read_images(tmp_path)
    with pytest.raises(DataError, match="neither a folder nor a file"):
        read_images(tmp_path / "nowhere")
    for number in range(2):
        save(tmp_path / "in" / f"{number}.png", noise(number))
    (tmp_path / "in" / "loop").symlink_to(tmp_path)
    data = read_images(tmp_path, test=0)
    assert data.names == ("in/0.png", "in/1.png")
    assert [one.name for one in data.left_out] == ["in/loop"]


# ---------------------------------------------------------------- DICOM


def test_rescaling_and_turned_greys_are_undone(tmp_path):
    signed = BIG.astype(np.int16) - 30
    for patient in "ab":
        save_dicom(
            tmp_path / "ct" / patient, signed, patient=patient, RescaleSlope="2",
            RescaleIntercept="-1000",
        )  # fmt: skip
    data = read_images(tmp_path / "ct", window=(-1000, 255), test=0)
    assert data.intensity == (-1060, -934)
    assert (data.images[0, ..., 0] == np.rint(signed * 2.0 + 127.5)).all()
    for patient in "ab":
        save_dicom(tmp_path / "cr" / patient, BIG, patient=patient, photometric="MONOCHROME1")
    # Eight bits are turned about 0 … 255, whatever is in the image.
    assert (plain(tmp_path / "cr").images[0, ..., 0] == 255 - BIG).all()


def test_every_frame_of_an_enhanced_file_has_its_own_scale(tmp_path):
    def scale(slope: float) -> Dataset:
        inner, outer = Dataset(), Dataset()
        inner.RescaleSlope, inner.RescaleIntercept, inner.RescaleType = slope, 5, "US"
        outer.PixelValueTransformationSequence = [inner]
        return outer

    frames = np.stack([BIG, BIG])
    save_dicom(tmp_path / "a", frames, PerFrameFunctionalGroupsSequence=[scale(2.0), scale(3.0)])
    data = plain(tmp_path)
    assert (data.images[0, ..., 0] == BIG * 2.0 + 5).all()
    assert (data.images[1, ..., 0] == BIG * 3.0 + 5).all()


def test_frames_are_images_and_patients_are_groups_nobody_can_look_up(tmp_path):
    save_dicom(tmp_path / "one.dcm", np.stack([BIG, BIG + 1, BIG + 2]), patient="secret-7")
    save_dicom(tmp_path / "two", BIG, patient="secret-8")
    (tmp_path / "DICOMDIR").write_bytes(b"index")
    data = plain(tmp_path, labels="Modality")
    assert data.names == ("one.dcm#0", "one.dcm#1", "one.dcm#2", "two")
    assert data.groups[0] == data.groups[2] != data.groups[3]
    for word in ("secret", "Doe"):
        assert word not in repr(data.groups) + json.dumps(data.to_dict()) + str(data.summary())
    assert data.factors == {"Modality": ("CT",)}
    assert (data.images[2, ..., 0] == BIG + 2).all()


def test_bad_dicom_is_told(tmp_path):
    (tmp_path / "no.dcm").write_bytes(b"not dicom")
    save_dicom(tmp_path / "compressed", syntax=JPEGLSLossless)
    file = pydicom.dcmread(save_dicom(tmp_path / "short"))
    file.PixelData = file.PixelData[:10]
    file.save_as(tmp_path / "short")
    with pytest.raises(DataError) as caught:
        read_images(tmp_path)
    for name in ("no.dcm", "compressed", "short"):
        assert name in str(caught.value)


# ---------------------------------------------------------------- volumes and arrays


def test_a_volume_is_its_slices_turned_one_way(tmp_path):
    """The patient's front is up and the right is on the viewer's left, however it was stored."""
    volume = np.zeros((16, 24, 10), np.float32)
    volume[:, 20:, :] = 9  # the patient's front
    volume[:4, :20, :] = 5  # the left hand: the first axis grows to the right
    stored = {
        "a.nii.gz": (volume, (1, 1, 1)),
        "b.nii": (volume[:, ::-1], (1, -1, 1)),
        "c.nii": (volume[::-1], (-1, 1, 1)),
    }
    for name, (values, axes) in stored.items():
        nibabel.save(nibabel.Nifti1Image(values, np.diag([*axes, 1.0])), tmp_path / name)
    data = read_images(tmp_path, window=(5, 10), test=0, fit="crop", size=16)
    assert data.sizes == ((16, 24, 18),)
    assert len(set(data.groups)) == 3
    for one in data.images[..., 0]:
        assert (one == data.images[0, ..., 0]).all()
    assert data.images[0, 8, -1, 0] == 128, "the left hand"
    assert data.images[0, 8, 0, 0] == 0
    whole = read_images(tmp_path, window=(5, 10), test=0, size=32).images[0, :, 16, 0]
    assert whole[0] > 200, "the front"
    assert whole[-1] == 0


def test_bad_volumes_are_told(tmp_path):
    nan = np.full((4, 4, 4), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(nan, np.eye(4)), tmp_path / "nan.nii")
    four = np.zeros((4, 4, 4, 2), np.float32)
    nibabel.save(nibabel.Nifti1Image(four, np.eye(4)), tmp_path / "four.nii")
    (tmp_path / "broken.nii.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(DataError) as caught:
        read_images(tmp_path)
    for said in ("nan.nii", "not finite", "four.nii is no volume", "broken.nii.gz"):
        assert said in str(caught.value)
    with pytest.raises(DataError, match="plane must be"):
        read_images(tmp_path, plane="oblique")


def test_arrays_of_medmnist(tmp_path):
    images = np.stack([BIG, BIG + 1])
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.array([[3], [5]]))
    data = plain(tmp_path / "a.npz")
    assert data.factors == {"class": (3, 5)}
    assert (data.images[..., 0] == images).all()
    for name, arrays, said in (
        ("b.npz", {"images": np.zeros((2, 8, 8, 8))}, "take slices"),
        (
            "c.npz",
            {"train_images": images, "train_labels": np.zeros(3)},
            "2 images and 3 train_labels",
        ),
        ("d.npz", {"other": images}, "no array"),
    ):
        np.savez(tmp_path / name, **arrays)
        with pytest.raises(DataError, match=said):
            read_images(tmp_path / name)
    (tmp_path / "e.npz").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match="cannot be read as arrays"):
        read_images(tmp_path / "e.npz")


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


def people(count: int, images: int = 3) -> list[ImageRecord]:
    return [
        ImageRecord(f"{n}_{k}.png", group=f"patient {n}")
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
    with pytest.raises(DataError, match="cannot be read as a split"):
        read_split(tmp_path)
    (tmp_path / "split.csv").write_text("file_name,side\na.png,left\n")
    with pytest.raises(DataError, match="train or test"):
        read_split(tmp_path)


def test_reading_one_file_serves_as_well(tmp_path):
    save_dicom(tmp_path / "a.dcm", np.stack([BIG, BIG]))
    assert plain(tmp_path / "a.dcm").names == ("a.dcm#0", "a.dcm#1")


def test_a_picture_taken_lying_stands_as_its_camera_says(tmp_path):
    upright = np.zeros((48, 64), np.uint8)
    upright[:8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter to the right
    for name in "ab":
        Image.fromarray(np.rot90(upright)).save(tmp_path / f"{name}.png", exif=exif)
    data = plain(tmp_path, size=64)
    assert np.array_equal(data.images[0, 8:56, :, 0], upright)
