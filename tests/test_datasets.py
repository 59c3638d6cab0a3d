"""read_images: whatever a person has becomes images with classes, patients kept apart."""

from __future__ import annotations

import gc
import json
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pydicom.dataset import Dataset

from medgan_widgets.datasets import Preprocessing, TrainingImages, phantom_images, read_images
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.datasets.records import ImageRecord
from medgan_widgets.datasets.split import drawn_split, read_split, write_split
from medgan_widgets.datasets.training_images import NO_GROUP
from medgan_widgets.errors import DataError
from medgan_widgets.training import train
from tests.made_data import RAMP, noise, save, save_dicom, save_table, save_volume


@pytest.fixture
def clinic(tmp_path):
    """Twelve patients with two images each, and a table of grades."""
    rows = []
    for number in range(24):
        patient = number // 2
        save(tmp_path / f"{number:02}.png", noise(number, (40, 36)))
        rows.append(
            {"file_name": f"{number:02}.png", "grade": patient % 3, "patient": f"MRN-{patient}"}
        )
    save_table(tmp_path / "metadata.csv", rows)
    return tmp_path


def test_a_folder_becomes_images_with_classes_and_patients_on_one_side(clinic):
    data = read_images(clinic, labels="grade", group="patient")
    assert data.images.shape == (24, 32, 32, 1), "the power of two below the shorter side"
    assert data.factors == {"grade": (0, 1, 2)}, "text that is all whole numbers is numbers"
    assert data.counts() == {"grade": {0: 8, 1: 8, 2: 8}}
    sides = dict(zip(data.names, data.sides, strict=True))
    assert all(sides[f"{n:02}.png"] == sides[f"{n + 1:02}.png"] for n in range(0, 24, 2))
    assert list(data.sides) == sorted(data.sides, reverse=True), "those that train come first"
    assert len(data.training) + len(data.held_out) == 24
    assert np.shares_memory(data.training.images, data.images), "a side is no copy"
    assert set(data.training.sides) == {"train"}
    assert data.training.names == data.names[: len(data.training)]
    assert data.group_note == ""


def test_who_the_patients_are_stands_nowhere(clinic):
    data = read_images(clinic, labels="grade", group="patient")
    kept = json.dumps(data.to_dict()) + data.files_jsonl() + repr(data.groups)
    assert "MRN" not in kept
    assert len(set(data.groups)) == 12
    assert patient_hash("MRN-3", patient_key()) in data.groups, "yet the person can ask"


def test_the_file_of_the_run_says_what_there_is(clinic):
    data = read_images(clinic, labels="grade", group="patient")
    told = data.to_dict()
    assert told["fingerprint"] == data.fingerprint
    assert (told["kind"], told["count"], told["train"] + told["test"]) == ("folder", 24, 24)
    assert (told["groups"], told["group_note"]) == (12, "")
    assert told["classes"] == {"grade": {"0": 8, "1": 8, "2": 8}}
    assert told["preprocessing"]["size"] == 32
    assert told["intensity"] == {"low": 0.0, "high": 254.0}
    assert (told["refused"], told["near_duplicates"]) == (0, 0)
    rows = [json.loads(line) for line in data.files_jsonl().splitlines()]
    assert len(rows) == 24
    assert set(rows[0]) == {"sha256", "group", "side", "images"}
    assert sum(row["side"] == "test" for row in rows) == told["test"]


def test_equal_data_has_an_equal_fingerprint_and_any_change_another(clinic):
    data = read_images(clinic, labels="grade", group="patient")
    again = read_images(clinic, labels="grade", group="patient")
    assert again.fingerprint == data.fingerprint
    pixel = data.images.copy()
    pixel[3, 4, 5] ^= 1
    others = [
        replace(data, images=pixel),
        replace(data, classes=np.roll(data.classes, 1, axis=0)),
        replace(data, sides=tuple(reversed(data.sides))),
        replace(data, names=tuple(reversed(data.names))),
        replace(data, factors={"grade": ("0", "1", "2")}),
        replace(data, preprocessing=replace(data.preprocessing, fit="crop")),
    ]
    found = {one.fingerprint for one in others} | {data.fingerprint}
    assert len(found) == 7


def test_without_a_group_it_says_so(clinic):
    data = read_images(clinic, labels="grade")
    assert data.group_note == NO_GROUP
    assert data.to_dict()["groups"] is None


def test_a_split_is_shared_with_another_run(clinic, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    data = read_images(clinic, group="patient", seed=5)
    write_split(run, dict(zip(data.names, data.sides, strict=True)))
    for place in (run, run / "split.csv"):
        again = read_images(clinic, group="patient", split=place, size=16, seed=1)
        assert (again.names, again.sides) == (data.names, data.sides)
    save(clinic / "new.png", noise(99))
    with pytest.raises(DataError, match=r"1 of 25 images are not in the split.*new\.png"):
        read_images(clinic, split=run)


def test_a_split_that_tears_patients_apart_is_refused(clinic, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    write_split(run, {f"{n:02}.png": "test" if n == 1 else "train" for n in range(24)})
    assert len(read_images(clinic, split=run).held_out) == 1
    with pytest.raises(DataError, match="1 group of the images stand on both sides") as caught:
        read_images(clinic, group="patient", split=run)
    assert "MRN" not in str(caught.value)


def test_rows_given_by_hand_choose_the_files(clinic):
    rows = [{"file_name": f"{n:02}.png", "side": "left" if n < 4 else "right"} for n in range(8)]
    data = read_images(clinic, labels="side", table=rows, test=0)
    assert len(data) == 8
    assert data.counts() == {"side": {"left": 4, "right": 4}}
    assert len(read_images(clinic, most=5, test=0)) == 5


def test_sizes_modes_and_depths_may_differ(tmp_path):
    save(tmp_path / "a.png", noise(1, (70, 90)))
    save(tmp_path / "b.tif", noise(2, (64, 64)).astype(np.uint16) * 200)
    save(tmp_path / "c.jpg", noise(3, (128, 80, 3)))
    save(tmp_path / "d.png", noise(4, (66, 66, 4)))
    Image.fromarray(noise(5)).convert("1").save(tmp_path / "e.png")
    Image.fromarray(noise(6)).save(tmp_path / "f.gif")
    data = read_images(tmp_path, test=0)
    assert data.images.shape == (6, 64, 64, 1)
    assert data.sizes[0][2] == 2, "32 × 32 came twice"
    assert data.intensity[1] == 254 * 200
    assert read_images(tmp_path, test=0, channels=3).images.shape[3] == 3


def test_colour_is_kept_where_it_shows_and_greys_saved_as_rgb_are_grey(tmp_path):
    for number in range(4):
        save(tmp_path / "eyes" / f"{number}.png", noise(number, (32, 32, 3)))
        save(tmp_path / "lungs" / f"{number}.png", np.dstack([noise(number)] * 3))
    assert read_images(tmp_path / "eyes").images.shape[3] == 3
    assert read_images(tmp_path / "lungs").images.shape[3] == 1


@pytest.fixture(params=["images_{:03}/images", "images"])
def chests(request, tmp_path):
    rows = []
    for number in range(24):
        name = f"{number // 2:08}_{number % 2:03}.png"
        rows.append({
            "Image Index": name, "Follow-up #": number % 2, "Patient ID": number // 2,
            "Finding Labels": ("No Finding", "Effusion|Mass", "Mass")[number // 2 % 3],
        })  # fmt: skip
        if number < 22:  # the rest is not unpacked yet; some files have four channels and are grey
            picture = noise(number) if number % 5 else noise(number, (32, 32, 4))
            save(tmp_path / request.param.format(1 + number % 2) / name, picture)
    save_table(tmp_path / "Data_Entry_2017.csv", rows)
    (tmp_path / "BBox_List_2017.csv").write_text("Image Index,Finding Label\n")
    return tmp_path


def test_chestxray14_by_its_own_table(chests):
    table = chests / "Data_Entry_2017.csv"
    data = read_images(chests, table=table, labels="Finding Labels", group="Patient ID")
    assert data.factors == {"Finding Labels": ("Effusion|Mass", "Mass", "No Finding")}
    assert data.images.shape == (22, 32, 32, 1)
    assert len(set(data.groups)) == 11
    assert any("2 of the 24 files" in note for note in data.notes)
    rows = pd.read_csv(table)
    rows["Mass"] = rows["Finding Labels"].str.contains("Mass")
    one = read_images(chests, table=rows, labels="Mass", group="Patient ID")
    assert one.counts() == {"Mass": {False: 8, True: 14}}


# ---------------------------------------------------------------- DICOM


def test_dicom_keeps_patients_apart_by_itself_and_takes_classes_from_a_tag(tmp_path):
    for number in range(12):
        save_dicom(
            tmp_path / f"IM{number:04}", noise(number), patient=f"secret-{number // 2}",
            BodyPartExamined="KNEE" if number % 4 < 2 else "HIP",
        )  # fmt: skip
    data = read_images(tmp_path, labels="BodyPartExamined")
    assert data.source == "dicom"
    assert data.factors == {"BodyPartExamined": ("HIP", "KNEE")}
    assert len(set(data.groups)) == 6
    assert data.group_note == ""
    kept = json.dumps(data.to_dict()) + data.files_jsonl() + repr(data.groups) + repr(data.names)
    assert "secret" not in kept
    assert "Doe" not in kept
    by_sex = [{"file_name": f"IM{n:04}", "kind": "ab"[n // 2 % 2], "who": n} for n in range(12)]
    tabled = read_images(tmp_path, labels="kind", group="who", table=by_sex)
    assert tabled.factors == {"kind": ("a", "b")}
    assert len(set(tabled.groups)) == 12


@pytest.mark.parametrize("tag", ["PatientID", "PatientName", "StudyDate", "SOPInstanceUID"])
def test_a_tag_that_tells_who_is_no_class(tmp_path, tag):
    save_dicom(tmp_path / "a.dcm", noise(0))
    with pytest.raises(DataError, match="who or when"):
        read_images(tmp_path, labels=tag)


def test_one_window_gives_turned_and_plain_files_the_same_greys(tmp_path):
    ramp = np.linspace(0, 400, 256).reshape(16, 16).astype(np.int16)
    save_dicom(tmp_path / "plain.dcm", ramp, patient="a")
    save_dicom(tmp_path / "turned.dcm", 200 - ramp + 200, patient="b", photometric="MONOCHROME1")
    narrow = np.full((16, 16), 150, np.int16)  # all of one value: its own middle says nothing
    save_dicom(tmp_path / "z_flat.dcm", narrow, patient="c", photometric="MONOCHROME1")
    data = read_images(tmp_path, window=(200, 400), test=0)
    plain, turned, flat = data.images[..., 0]
    assert (plain == turned).all()
    assert flat[0, 0] == round(250 / 400 * 255), "turned about the window's center, 150 is 250"


def test_colour_and_deep_colour_dicom_are_eight_bits(tmp_path):
    save_dicom(tmp_path / "a.dcm", noise(1, (32, 32, 3)))
    save_dicom(tmp_path / "b.dcm", noise(2, (32, 32, 3)).astype(np.uint16) * 257, patient="P2")
    data = read_images(tmp_path, test=0)
    assert (data.images[0] == noise(1, (32, 32, 3))).all()
    assert (data.images[1] == noise(2, (32, 32, 3))).all()


def test_frames_of_a_file_stay_together_also_when_nobody_says_whose(tmp_path):
    for number in range(6):
        frames = np.stack([noise(10 * number + k) for k in range(3)])
        save_dicom(tmp_path / f"{number}.dcm", frames, patient="")
    data = read_images(tmp_path)
    sides = dict(zip(data.names, data.sides, strict=True))
    for number in range(6):
        assert len({sides[f"{number}.dcm#{k}"] for k in range(3)}) == 1
    assert [one.images for one in data.files] == [3] * 6


# ---------------------------------------------------------------- volumes and arrays


def test_volumes_are_slices_with_labels_from_a_table(tmp_path):
    for number in range(6):
        save_volume(tmp_path / f"v{number}.nii.gz", number)
    rows = [
        {"file_name": f"v{n}.nii.gz", "field": "3T" if n < 3 else "7T", "who": f"p{n // 2}"}
        for n in range(6)
    ]
    save_table(tmp_path / "metadata.csv", rows)
    data = read_images(tmp_path, labels="field", test=0)
    assert data.images.shape == (36, 16, 16, 1)
    assert data.factors == {"field": ("3T", "7T")}
    assert len(set(data.groups)) == 6
    assert "each volume is a group" in data.group_note
    by_patient = read_images(tmp_path, group="who")
    assert len(set(by_patient.groups)) == 3
    assert by_patient.group_note == ""
    seen = read_images(tmp_path, plane="sagittal", test=0).sizes
    assert seen == ((24, 10, 72),)


def test_an_npz_brings_its_own_sides_classes_and_patients(tmp_path):
    parts = {}
    for part, count in (("train", 6), ("val", 2), ("test", 4)):
        parts[f"{part}_images"] = np.stack([noise(count * 100 + k) for k in range(count)])
        parts[f"{part}_labels"] = np.arange(count)[:, None] % 2
        parts[f"{part}_patient"] = np.array([f"{part}-{k // 2}" for k in range(count)])
    np.savez_compressed(tmp_path / "set.npz", **parts)
    data = read_images(tmp_path / "set.npz", group="patient")
    assert data.sides == ("train",) * 6 + ("test",) * 6
    assert data.factors == {"class": (0, 1)}
    assert len(set(data.groups)) == 6
    assert len(data.files) == 6, "one row a patient, all of one file"
    assert len({one.sha256 for one in data.files}) == 1
    assert read_images(tmp_path, labels=False).factors == {}
    torn = {**parts, "test_patient": np.array(["train-0"] * 4)}
    np.savez(tmp_path / "torn.npz", **torn)
    with pytest.raises(DataError, match="both sides"):
        read_images(tmp_path / "torn.npz", group="patient")


def test_of_several_findings_one_is_chosen(tmp_path):
    findings = np.array([[0, 1], [1, 1], [0, 0], [1, 0]] * 2)
    np.savez(tmp_path / "a.npz", images=np.stack([noise(k) for k in range(8)]), labels=findings)
    every = read_images(tmp_path / "a.npz", test=0)
    assert every.factors == {"class": ("0", "0+1", "1", "none")}
    one = read_images(tmp_path / "a.npz", labels=1, test=0)
    assert one.counts() == {"class": {0: 4, 1: 4}}


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_one_image_after_another(tmp_path, order):
    images = np.asarray(np.stack([noise(k) for k in range(6)]), order=order)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    np.save(tmp_path / "b.npy", images)
    for name in ("a.npz", "b.npy"):
        data = read_images(tmp_path / name, seed=2, window=(127.5, 255))
        for place, pixels in zip(data.names, data.images, strict=True):
            assert (pixels[..., 0] == images[int(place.partition("#")[2])]).all()


# ---------------------------------------------------------------- in memory


class Knees(torch.utils.data.Dataset):
    """A Dataset as people write them; items are read once each."""

    def __init__(self, kind: str) -> None:
        self.kind, self.reads = kind, 0

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index):
        self.reads += 1
        pixels = noise(index)
        image = {
            "numpy": pixels,
            "pillow": Image.fromarray(pixels),
            "tensor": torch.from_numpy(pixels)[None],
            "float": torch.from_numpy(pixels)[None].float() / 255,
        }[self.kind]
        return image, torch.tensor(index % 2)


@pytest.mark.parametrize("kind", ["numpy", "pillow", "tensor", "float"])
def test_a_dataset_keeps_its_pixels(kind):
    dataset = Knees(kind)
    data = read_images(dataset, group=lambda index: f"p{index // 2}", size=32, channels=1)
    assert dataset.reads == 10
    for name, pixels in zip(data.names, data.images, strict=True):
        assert (pixels[..., 0] == noise(int(name))).all()
    assert data.counts() == {"class": {0: 5, 1: 5}}
    assert len(set(data.groups)) == 5
    assert all(one.sha256 is None and one.group for one in data.files)


def test_a_dataset_says_its_labels_in_many_ways():
    dataset = Knees("tensor")
    assert read_images(dataset, labels=False).factors == {}
    named = read_images(dataset, labels=lambda index: "left" if index % 2 else "right")
    assert named.factors == {"class": ("left", "right")}
    third = [(noise(n), None, n % 2) for n in range(6)]
    assert read_images(third, labels=2, test=0).factors == {"class": (0, 1)}
    mapped = [{"image": noise(n, (32, 32, 3)), "label": "ab"[n % 2]} for n in range(6)]
    data = read_images(mapped, test=0)
    assert (data.factors, data.images.shape[3]) == ({"class": ("a", "b")}, 3)


def test_arrays_and_images_read_before_go_through():
    pixels = np.stack([noise(n) for n in range(10)])
    data = read_images(pixels, labels=[n % 2 == 0 for n in range(10)], test=0)
    assert (data.images[..., 0] == pixels).all()
    assert data.factors == {"class": (False, True)}
    assert read_images(data, size=64) is data


def test_phantoms_have_others_to_be_judged_by():
    data = read_images("chest_xray", size=32, most=20)
    assert (len(data.training), len(data.held_out)) == (20, 512)
    assert (data.phantom, data.group_note) == (True, "")
    assert (data.training.images == phantom_images("chest_xray", 32, 20).images).all()
    assert data.factors == {"nodule": (False, True)}
    assert 200 < data.held_out.counts()["nodule"][True] < 312
    assert data.to_dict()["near_duplicates"] == 0
    assert read_images("chest_xray", size=32, most=4, test=0).held_out is None
    with pytest.raises(DataError, match="no patients"):
        read_images("chest_xray", group="PatientID")


# ---------------------------------------------------------------- the key


def test_the_key_is_made_once_and_is_its_owners(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(patient_key())) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(keys)) == 1
    file = tmp_path / "home" / "patients.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"short")
    with pytest.raises(DataError, match="damaged: expected 32 bytes, got 5"):
        patient_key()


def test_images_made_by_hand_are_numbered_and_all_train():
    data = TrainingImages(np.zeros((3, 16, 16, 1), np.uint8), np.zeros((3, 0), np.float32), {})
    assert data.names == ("0", "1", "2")
    assert data.training is data
    with pytest.raises(DataError, match="3 images came with 2 names"):
        replace(data, names=("a", "b"))


def test_images_larger_than_memory_lie_in_the_run_readable_by_their_owner_alone(
    tmp_path, monkeypatch
):
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 255, (32, 32), dtype=np.uint8)
        (tmp_path / "set").mkdir(exist_ok=True)
        Image.fromarray(noise).save(tmp_path / "set" / f"{number}.png")
    small = read_images(tmp_path / "set")
    monkeypatch.setattr("medgan_widgets.datasets.prepare.SHARE_OF_MEMORY", 0)
    monkeypatch.setattr("medgan_widgets.datasets.records.IN_MEMORY", 1)
    large = read_images(tmp_path / "set")
    assert isinstance(large.images, np.memmap)
    assert (large.images == small.images).all()
    assert large.fingerprint == small.fingerprint
    held = Path(large.images.filename)
    assert held.exists()
    assert oct(held.parent.stat().st_mode)[-3:] == "700"
    del large
    gc.collect()
    assert not held.exists(), "a temporary file goes when the images do"

    run = tmp_path / "run"
    for _ in train(run, data=str(tmp_path / "set"), kimg=0.016, batch=8):
        pass
    kept = run / json.loads((run / "data.json").read_text())["cache"]
    assert oct(kept.stat().st_mode)[-3:] == "600"


BIG = np.kron(RAMP, np.ones((4, 4), np.uint8))  # 0 … 63 in 32 x 32 pixels


def plain(place, top: float = 255, **more) -> TrainingImages:
    """Read with a window through which values 0 … 255 stay what they are."""
    return read_images(place, **{"window": (top / 2, top), "test": 0, **more})


# ---------------------------------------------------------------- DICOM


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


# ---------------------------------------------------------------- volumes and arrays


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
