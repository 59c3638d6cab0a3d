"""One door to images: whatever they come from, they are the same images to every figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

import medgan_widgets as mw
from medgan_widgets.datasets import Preprocessing, TrainingImages, read_images
from medgan_widgets.errors import DataError, MedganError, RequestError
from medgan_widgets.image_sources import ImageSource, open_images, preparation_of
from medgan_widgets.studies.reader_study import prepare
from tests.made_data import noise, save, save_dicom

N = 24


def organ(seed: int, shape: tuple[int, int] = (40, 36), top: int = 255) -> np.ndarray:
    """A smooth picture with black around it, as patients' images are; 0 … top, no two alike."""
    random = np.random.default_rng(seed)
    y, x = (np.linspace(-1, 1, side) for side in shape)
    middle = random.uniform(-0.2, 0.2, 2)
    inside = (y[:, None] - middle[0]) ** 2 + (x - middle[1]) ** 2 < random.uniform(0.4, 0.7)
    tissue = gaussian_filter(random.normal(size=shape), 2)
    grey = 0.5 + 0.4 * tissue / np.abs(tissue).max()
    return np.rint(top * grey * inside * random.uniform(0.7, 1)).astype(np.uint16)


def png(folder: Path, **more) -> None:
    for number in range(N):
        save(folder / f"{number}.png", organ(number, **more).astype(np.uint8))


def rgb(folder: Path) -> None:
    for number in range(N):
        three = [organ(1000 * channel + number) for channel in range(3)]
        save(folder / f"{number}.png", np.dstack(three).astype(np.uint8))


def dicom(folder: Path, **tags) -> None:
    for number in range(N):
        common = {
            "BitsStored": 12, "HighBit": 11, "Modality": "MR", "WindowCenter": 1500,
            "WindowWidth": 2000 + 10 * number,
        }  # fmt: skip
        save_dicom(
            folder / f"IM{number}", organ(number, top=4095), patient=f"P{number // 2}",
            **common | tags,
        )  # fmt: skip


def hounsfield(folder: Path) -> None:
    dicom(
        folder, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU",
        WindowCenter=400,
    )  # fmt: skip


def nifti(folder: Path) -> None:
    folder.mkdir()
    for volume in range(4):  # ten slices, of which six are kept
        slices = [organ(10 * volume + k, (36, 30), top=900) for k in range(10)]
        image = nibabel.Nifti1Image(
            np.stack(slices, axis=2).astype(np.int16), np.diag([1.5, 1, 6, 1])
        )
        nibabel.save(image, folder / f"v{volume}.nii.gz")


SOURCES: list[tuple[str, Callable[[Path], None], dict]] = [
    ("grey PNG", png, {}),
    ("grey PNG, window", png, {"window": (90, 120)}),
    ("colour PNG", rgb, {}),
    ("colour PNG in grey", rgb, {"channels": 1, "fit": "crop"}),
    ("not square, cropped", lambda folder: png(folder, shape=(56, 32)), {"fit": "crop"}),
    ("12-bit DICOM, its window", dicom, {"window": "file"}),
    ("DICOM in HU", hounsfield, {}),
    ("DICOM in HU, its window", hounsfield, {"window": "file", "fit": "crop"}),
    ("NIfTI, cut sagittally", nifti, {"plane": "sagittal", "percentiles": (1, 99)}),
]


def is_the_same(scores: mw.Scores) -> bool:
    assert not scores.notes, "both sides are prepared alike, so nothing is to be said"
    assert scores.prepared["real"].preprocessing == scores.prepared["synthetic"].preprocessing
    return scores["FD"].value < 1e-6


@pytest.mark.parametrize(
    ("make", "read"), [one[1:] for one in SOURCES], ids=[s[0] for s in SOURCES]
)
def test_training_images_against_the_folder_they_came_from_are_no_distance_away(
    tmp_path, make, read
):
    folder = tmp_path / "data"
    make(folder)
    images = read_images(folder, seed=1, **read)  # a split puts them into another order
    assert is_the_same(mw.score(images, real=folder, metrics=["fd"], cache=False))
    again = open_images(folder, like=images.preprocessing)
    rows = [again.names.index(name) for name in images.names]
    assert (again.array()[rows] == images.images).all()


def test_one_image_in_a_hundred_that_differs_is_seen(tmp_path):
    for number in range(100):
        save(tmp_path / f"{number}.png", organ(number, (32, 32)).astype(np.uint8))
    images = read_images(tmp_path, test=0)
    other = images.images.copy()
    other[17] = np.clip(other[17].astype(int) + 30, 0, 255)
    found = mw.score(replace(images, images=other), real=tmp_path, metrics=["fd"], cache=False)
    assert found["FD"].value > 1e-4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder of DICOM, a run that learned from it in its own way, and its model."""
    home = tmp_path_factory.mktemp("clinic")
    hounsfield(home / "data")
    read = {"fit": "crop", "percentiles": (1, 99)}
    for _ in mw.train(home / "run", data=str(home / "data"), size=16, read=read, kimg=0.01):
        pass
    card = mw.make_model(
        home / "run", "clinic", modality="CT", organ="lung", models=home / "models"
    )
    return home, card


def test_a_run_and_a_card_say_how_reals_are_read(trained):
    home, card = trained
    run = open_images(home / "run")
    assert run.preprocessing == Preprocessing.from_dict(card.preprocessing)
    assert (run.preprocessing.fit, run.preprocessing.percentiles) == ("crop", (1, 99))
    for like in (None, home / "run", str(home / "run"), card):
        judged = home / "run" if like is None else run.array()
        scores = mw.score(judged, real=home / "data", like=like, metrics=["fd"], cache=False)
        assert is_the_same(scores)


def test_generated_images_are_held_against_reals_read_as_its_training_did(trained):
    home, card = trained
    engine = mw.Engine(device="cpu", catalogue=mw.Catalogue(home / "models"))
    request = mw.GenerateRequest("clinic", seeds=range(8))
    for judged in (request, card):
        scores = mw.score(
            judged, real=home / "data", metrics=["kid"], engine=engine, cache=False
        )  # fmt: skip
        assert scores.prepared["real"].preprocessing == open_images(home / "run").preprocessing
        assert not [note for note in scores.notes if "prepared" in note]
    assert scores["KID"].n_fake == N, "of a card as many as there are reals"


class Repeating(mw.Engine):
    """An engine whose model gives back what it was trained on."""

    known: np.ndarray

    def generate(self, request):
        for batch in super().generate(request):
            yield replace(batch, images=self.known[np.array(batch.seeds)])


def test_the_gate_finds_every_training_image_however_its_folder_is_read(trained, tmp_path):
    home, card = trained
    few = tmp_path / "few"
    few.mkdir()
    for number in range(8):
        (few / f"IM{number}").write_bytes((home / "data" / f"IM{number}").read_bytes())
    engine = Repeating(device="cpu", catalogue=mw.Catalogue(home / "models"))
    engine.known = read_images(few, like=card, test=0).images
    request = mw.GenerateRequest("clinic", seeds=range(8))
    report = mw.export(
        request, tmp_path / "out", format="png", training=few, engine=engine
    ).report  # fmt: skip
    assert len(report.copies) == 8


WIDE = [organ(number, (32, 56)).astype(np.uint8) for number in range(N)]
DATASETS: dict[str, tuple[list, dict]] = {
    "pictures": ([Image.fromarray(one) for one in WIDE], {"fit": "crop"}),
    "tensors": ([torch.from_numpy(one / 255)[None] for one in WIDE], {"size": 16}),
    "12 bits": ([organ(number, top=4000) for number in range(N)], {"fit": "crop"}),
    "12 bits, window": ([organ(number, top=4000) for number in range(N)], {"window": (900, 600)}),
    "floats, window": ([organ(number) - 80.0 for number in range(N)], {"window": (0, 100)}),
}


@pytest.mark.parametrize("kind", DATASETS)
def test_a_dataset_is_read_as_the_training_images_were(kind):
    dataset, read = DATASETS[kind]
    images = read_images(dataset, **read)
    assert is_the_same(mw.score(images, real=dataset, metrics=["fd"], cache=False))
    assert images.images.std() > 20


def test_a_window_of_each_file_is_not_guessed_where_files_have_none(tmp_path):
    dicom(tmp_path / "dicom")
    images = read_images(tmp_path / "dicom", window="file", test=0)
    png(tmp_path / "eight")
    assert read_images(tmp_path / "eight", like=images, test=0).preprocessing.window == "file"
    for number in range(3):
        save(tmp_path / "deep" / f"{number}.png", organ(number, top=4095))
    nifti(tmp_path / "nifti")
    for source in (tmp_path / "deep", tmp_path / "nifti", [organ(n, top=4095) for n in range(3)]):
        with pytest.raises(DataError, match=r"DICOM.*own"):
            read_images(source, like=images, test=0)


@pytest.mark.parametrize("kind", ["brain_mri", "chest_xray", "mammogram"])
def test_the_classes_of_phantoms_are_those_they_were_drawn_by(kind):
    source = open_images(f"phantom:{kind}", n=80, size=32, first=500)
    drawn = mw.draw_phantoms(kind, range(500, 580), size=32)
    assert (source.array()[..., 0] == drawn.images.reshape(80, 32, 32)).all()
    assert source.labels == drawn.labels


@pytest.mark.parametrize(
    ("model", "reals"),
    [
        ({"window": (40, 400)}, [organ(n, top=4000) / 4000 for n in range(N)]),
        ({"window": (2000, 4000)}, [organ(n).astype(np.uint8) for n in range(N)]),
        ({}, [organ(n, top=4000) / 4000 for n in range(N)]),
    ],
)
def test_reals_in_other_units_than_the_models_images_are_told(model, reals):
    known = [organ(n, top=4000) for n in range(N)]
    images = read_images(known, **model, test=0)
    scores = mw.score(images, real=reals, metrics=["kid"], cache=False)
    assert any("other units" in note for note in scores.notes)
    assert not read_images(known, like=images, test=0).notes
    assert not read_images(known[:3], like=images, test=0).notes


def test_an_array_of_which_nobody_says_how_it_came_about_is_told(tmp_path):
    png(tmp_path)
    images = read_images(tmp_path, test=0)
    scores = mw.score(images.images, real=tmp_path, metrics=["kid"], cache=False)
    assert scores.prepared["synthetic"].how == "as given"
    assert scores.prepared["real"].how == "pixel by pixel"
    read = mw.score(images.images, real=tmp_path, metrics=["kid"], read={"size": 32}, cache=False)
    assert any("say by like= how both were prepared" in note for note in read.notes)


# ---------------------------------------------------------------- 16 bits


def deep(number: int) -> np.ndarray:
    shown = organ(number, (32, 32), top=4000)
    shown[1, 1 + number % 8] = 60_000 if number < 2 else 0  # two hot pixels of 24 x 1024
    return shown


KINDS = ["png", "tif", "npz", "npy", "array", "pillow", "wide pillow"]


def deep_source(kind: str, folder: Path) -> tuple[np.ndarray, object]:
    """The values of 24 images of 16 bits, and what they are read from."""
    values = np.stack([deep(number) for number in range(N)])
    if kind in ("png", "tif"):
        for number, image in enumerate(values):
            save(folder / f"{number:02}.{kind}", image)
        return values, folder
    if kind == "npz":
        np.savez(folder / "a.npz", images=values)
    if kind == "npy":
        np.save(folder / "a.npy", values)
    made = {
        "array": values,
        "pillow": [Image.fromarray(image) for image in values],
        "wide pillow": [Image.fromarray(image.astype(np.int32)) for image in values],
    }
    return values, made.get(kind, folder / f"a.{kind}")


@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_bits_mean_the_same_wherever_they_come_from(tmp_path, kind):
    """White is the 99.99th percentile of all, or what a window says, for every kind alike."""
    values, source = deep_source(kind, tmp_path)
    if kind not in ("npz", "npy"):  # arrays in files are read as for training
        top = np.percentile(values, 99.99)
        shown = open_images(source).array()[..., 0]
        assert np.abs(shown - np.minimum(values / top * 255, 255)).max() <= 1
    images = read_images(source, window=(2000, 4000), test=0)
    assert np.abs(images.images[..., 0] - np.minimum(values / 4000 * 255, 255)).max() <= 1
    assert images.clipped == 2
    assert "2 pixels cut off" in str(images.summary())


@pytest.mark.parametrize("kind", ["tif", "npz", "pillow"])
def test_sixteen_bits_are_judged_the_same_wherever_they_come_from(tmp_path, kind):
    values, source = deep_source(kind, tmp_path)
    shown = np.rint(np.minimum(values / 4000 * 255, 255)).astype(np.uint8)
    read = {"window": (2000, 4000)} if kind == "npz" else None
    scores = mw.score(shown, real=source, read=read, metrics=["fd"], cache=False)
    assert scores["FD"].value < scores["FD"].floor


def test_white_in_an_array_is_told(tmp_path):
    values, _ = deep_source("array", tmp_path)
    source = open_images(values)
    assert 3000 < source.top < 4001
    assert "white is" in source.notes[0]
    images = read_images(values, test=0)
    assert images.clipped >= 2
    part = read_images(values[:4], like=images, test=0)
    assert (part.images == images.images[:4]).all(), "a subset means the same"


# ---------------------------------------------------------------- the door


def test_a_source_says_all_that_is_known_of_its_images(tmp_path):
    for number in range(12):
        kind = ("clear", "opaque")[number % 2]
        save(tmp_path / kind / f"P{number // 4}_{number}.png", noise(number))
    save(tmp_path / "clear" / "P0_0_mask.png", noise(0))
    (tmp_path / "film.mp4").write_bytes(b"moves")
    source = open_images(tmp_path, labels="folder")
    assert isinstance(source, ImageSource)
    assert (source.count, source.prepared, source.phantom) == (12, "pixel by pixel", False)
    assert source.mix() == {"class": {"clear": 0.5, "opaque": 0.5}}
    assert [one.name for one in source.left_out] == ["film.mp4"]
    assert any("look like masks" in note for note in source.notes)
    first, again = source.array(), source.array()
    assert (first == again).all(), "batches begin anew"
    few = open_images(tmp_path, labels="folder", n=5, seed=3)
    assert (few.count, len(few.names), len(few.labels["class"])) == (5, 5, 5)
    assert few.names == open_images(tmp_path, labels="folder", n=5, seed=3).names
    assert (few.array() == first[[source.names.index(name) for name in few.names]]).all()


def test_whatever_images_come_from_there_is_one_way_to_them(tmp_path):
    pixels = np.stack([noise(n) for n in range(10)])
    png_folder = tmp_path / "png"
    for number, one in enumerate(pixels):
        save(png_folder / f"{number}.png", one)
    shown = [
        open_images(source).array()[..., 0]
        for source in (
            pixels, png_folder, str(png_folder), list(pixels), read_images(pixels, test=0)
        )
    ]  # fmt: skip
    for one in shown:
        assert (one == pixels).all()
    request = mw.GenerateRequest("phantom-styles", seeds=range(4))
    source = open_images(request)
    assert (source.count, source.prepared, source.phantom) == (4, "generated", True)
    assert (source.array() == mw.shared_engine().images(request)).all()
    assert open_images(mw.Catalogue()["phantom-styles"], n=3).count == 3
    drawn = open_images("phantom:mammogram", n=3, size=32, first=0)
    assert (drawn.array()[..., 0] == mw.draw_phantoms("mammogram", range(3), size=32).images).all()


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (None, RequestError),
        (3.0, RequestError),
        ("", RequestError),
        ("  ", RequestError),
        ("no/such/folder", DataError),
        ("phantom:knee", MedganError),
        (np.zeros((4, 8, 8)), DataError),
        (np.zeros((0, 8, 8), np.uint8), DataError),
        ([], DataError),
    ],
)
def test_what_is_no_source_is_told(source, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    png(tmp_path)
    with pytest.raises(error) as caught:
        open_images(source)
    assert str(caught.value).endswith(".")


def test_only_what_carries_a_preparation_tells_one(trained, tmp_path):
    home, card = trained
    known = preparation_of(home / "run")
    assert known == preparation_of(card) == preparation_of(known)
    for nothing in (home / "data", np.zeros((2, 8, 8), np.uint8), "phantom:mammogram"):
        assert preparation_of(nothing) is None
    with pytest.raises(RequestError, match="leave out size= or like="):
        read_images(home / "data", like=card, size=32)
    with pytest.raises(RequestError, match="like must be"):
        read_images(home / "data", like=3)


# ---------------------------------------------------------------- a name that means two things


def read_it(name: str) -> TrainingImages:
    return read_images(name, test=0, most=20, size=32)


def scored(name: str) -> int:
    judged = np.stack([noise(100 + number) for number in range(20)])
    return mw.score(judged, real=name, n=20, metrics=["kid"], cache=False)["KID"].n_real


DOORS: dict[str, Callable[[str], int]] = {
    "read_images": lambda name: len(read_it(name)),
    "open_images": lambda name: open_images(name, n=20).count,
    "score": scored,
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["chest_xray"])
def test_a_folder_that_is_called_like_a_phantom_is_read(name, door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    enter = DOORS[door]
    assert enter(name) == 20, "where no such folder is, the bare name is the phantom"
    for number in range(8):
        save(tmp_path / name / f"{number}.png", noise(number))
    assert enter(name) == 8
    assert enter(f"./{name}") == 8
    assert enter(f"phantom:{name}") == 20


def test_the_first_word_of_the_summary_says_which_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(read_it("brain_mri").summary()).startswith("phantom ")
    save_dicom(tmp_path / "brain_mri" / "a.dcm", np.stack([noise(n) for n in range(4)]))
    assert str(read_it("brain_mri").summary()).startswith("dicom ")
    assert str(read_it("phantom:brain_mri").summary()).startswith("phantom ")


def test_a_reader_study_shows_the_folder_and_not_the_phantom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fakes = mw.draw_phantoms("mammogram", range(60, 100), size=64).images
    asked = {"synthetic": fakes, "trials": 4, "ratings": 4, "phantom": None}
    assert prepare("one", real="mammogram", **asked).plan.real.phantom
    for number in range(20):
        save(tmp_path / "mammogram" / f"{number}.png", noise(number, (64, 64)))
    assert not prepare("two", real="mammogram", **asked).plan.real.phantom
    assert prepare("three", real="phantom:mammogram", **asked).plan.real.phantom


@pytest.mark.parametrize("size", [None, 32])
def test_a_side_that_was_jpeg_is_told(tmp_path, size):
    for number in range(20):
        for kind in ("png", "jpg"):
            picture = organ(number, (32, 32)).astype(np.uint8)
            save(tmp_path / kind / f"{number}.{kind}", picture, quality=60)
    read = None if size is None else {"size": size}
    judged = tmp_path / "png" if read is None else read_images(tmp_path / "png", **read)
    scores = mw.score(
        judged, real=tmp_path / "jpg", read=read, metrics=["kid"], cache=False
    )  # fmt: skip
    assert any("the real images come from JPEG files" in note for note in scores.notes)
    assert (scores.prepared["real"].jpeg, scores.prepared["synthetic"].jpeg) == (20, 0)
    alike = mw.score(
        tmp_path / "jpg", real=tmp_path / "jpg", read=read, metrics=["kid"], cache=False
    )  # fmt: skip
    assert not [note for note in alike.notes if "JPEG" in note]
