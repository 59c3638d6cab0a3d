"""Images against images, from whatever a person names them by to a table."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import medgan_widgets as mw
from medgan_widgets.errors import DataError, MedganError, RequestError
from medgan_widgets.features import CANONICAL, PHANTOM_CNN
from medgan_widgets.image_sources import open_images, phantom_kind
from medgan_widgets.metrics.score import Progress, score
from medgan_widgets.metrics.table import Scores
from medgan_widgets.requests import GenerateRequest, Measured, Score


@pytest.fixture(scope="module")
def engine():
    return mw.Engine(device="cpu")


@pytest.fixture
def folder(tmp_path):
    """Sixty phantoms as PNG files, of 48 pixels: a size that no model here makes."""
    drawn = mw.draw_phantoms("brain_mri", range(60), size=48)
    for number, image in enumerate(drawn.images):
        place = tmp_path / "scans" / ("a" if number % 2 else "b") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place)
    return tmp_path / "scans"


def test_a_request_against_phantoms_gives_a_table_that_says_everything(engine):
    request = GenerateRequest("phantom-styles", seeds=range(200), truncation_psi=0.7)
    seen = []
    scores = score(
        request, real="brain_mri", metrics=["fd", "kid", "recall"], extractor=PHANTOM_CNN,
        engine=engine, cache=False, progress=seen.append,
    )  # fmt: skip
    assert [row.score.name for row in scores] == ["FD", "KID", "recall"]
    for row in scores:
        one = row.score
        assert (one.n_real, one.n_fake, one.extractor) == (200, 200, PHANTOM_CNN)
        assert one.interval[0] <= one.value <= one.interval[1] or one.name == "KID"
        assert one.floor is not None
        assert (row.of, row.against) == ("phantom-styles", "brain_mri phantoms")
        assert row.truncation_psi == 0.7
    assert scores["FD"].value > scores["FD"].floor, "phantoms are nearer to phantoms"
    assert {one.stage for one in seen} >= {"synthetic images", "real images", "scores"}
    frame = scores.to_frame()
    assert frame.loc[0, "relative"] == pytest.approx(scores["FD"].value / scores["FD"].floor)
    assert "n 200 / 200, phantom-cnn-1" in str(scores)


def test_the_same_request_gives_the_same_figures(engine):
    request = GenerateRequest("phantom-styles", seeds=range(40))
    first, again = (
        score(request, real="brain_mri", metrics=["kid"], engine=engine, cache=False)
        for _ in range(2)
    )
    assert first == again


def test_phantoms_are_drawn_of_the_class_that_was_asked_for(engine):
    request = GenerateRequest("phantom-styles", seeds=range(60), condition={"contrast": "T2"})
    scores = score(
        request, real="brain_mri", metrics=["kid"], extractor=PHANTOM_CNN, engine=engine,
        cache=False,
    )  # fmt: skip
    assert scores[0].against == "brain_mri phantoms, contrast T2"
    others = mw.draw_phantoms("brain_mri", range(60), size=64, condition={"contrast": "T1"})
    wrong = score(
        request, real=others.images, metrics=["kid"], extractor=PHANTOM_CNN, engine=engine,
        cache=False,
    )  # fmt: skip
    assert wrong["KID"].value > 3 * scores["KID"].value


def test_the_same_folder_twice_is_its_own_floor_and_says_so(folder):
    scores = score(folder, real=folder, metrics=["fd"], extractor=PHANTOM_CNN, cache=False)
    assert scores["FD"].value == pytest.approx(0, abs=1e-6)
    assert "same" in scores["FD"].warning
    assert scores["FD"].floor_n == 30, "two halves of the sixty"


def test_pictures_of_eight_bits_are_judged_pixel_by_pixel(folder):
    taken = open_images(folder).array()
    assert taken.shape == (60, 48, 48, 1)
    drawn = mw.draw_phantoms("brain_mri", range(60), size=48).images
    assert {one.tobytes() for one in taken[..., 0]} == {one.tobytes() for one in drawn}


def test_sizes_modes_and_masks_that_differ_are_told(folder):
    rgb = np.repeat(mw.draw_phantoms("brain_mri", range(40), size=64).images[..., None], 3, axis=3)
    rgb[:5] = 255 * (rgb[:5] > 128)
    scores = score(rgb, real=folder, metrics=["kid"], cache=False)
    notes = " ".join(scores.notes)
    assert "64 x 64 pixels and real ones 48 x 48" in notes
    assert "3 channels and real ones 1 channel." in notes
    assert "5 of 40 synthetic images look like masks" in notes


def test_a_folder_of_mixed_sizes_is_one_side(folder):
    Image.fromarray(np.full((20, 70), 99, np.uint8)).save(folder / "odd.png")
    scores = score("brain_mri", real=folder, metrics=["kid"], n=50, cache=False)
    assert scores["KID"].n_real == 50
    every = score("brain_mri", real=folder, metrics=["kid"], n=70, cache=False)
    assert every["KID"].n_real == 61
    assert any("sizes are mixed" in note for note in every.notes)


def test_reading_as_for_a_training_is_a_choice_that_is_told(folder):
    scores = score("brain_mri", real=folder, n=50, read={"size": 32}, metrics=["kid"], cache=False)
    assert scores.prepared["real"].preprocessing.size == 32
    assert "percentiles 0.5 … 99.5 of each image" in scores.prepared["real"].how


def test_ms_ssim_is_measured_on_the_images_themselves(engine):
    drawn = mw.draw_phantoms("chest_xray", range(40), size=64).images
    same = np.repeat(drawn[:1], 40, axis=0)
    scores = score(same, real=drawn, metrics=["ms_ssim"], cache=False)
    assert scores["MS-SSIM"].value > scores["MS-SSIM"].floor, "one image again and again"


def test_the_features_stay_cached_when_somebody_gives_up_half_way(folder, tmp_path):
    def stop(progress: Progress) -> None:
        if progress.stage == "synthetic images":
            raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        score(folder, real="brain_mri", metrics=["kid"], cache=cache, progress=stop)
    assert list(cache.rglob("*")), "what was made is kept"
    first = score(folder, real="brain_mri", metrics=["kid"], cache=cache)
    assert first == score(folder, real="brain_mri", metrics=["kid"], cache=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metrics": ["fdi"]}, "metrics must be some of fd,"),
        ({"n": 0}, "n must be from 1"),
        ({"seed": -1}, "seed must be from 0"),
        ({"metrics": None}, "metrics must be some of fd,"),
        ({"metrics": ["fid"]}, "FID is 'fd' with"),
        ({"real": "no/such/folder"}, "there is no such folder or file"),
        ({"real": 3.0}, "got 3.0"),
        ({"real": np.zeros((96, 96, 3), np.uint8)}, "one colour image"),
        ({"real": "x" * 5000}, "there is no such folder or file"),
        ({"real": ".", "read": {"data": 1}}, "read_images has no argument 'data'"),
        ({"real": ".", "read": 3}, "read must be a dict"),
        ({"real": np.zeros((4, 8, 8))}, "uint8 or uint16"),
        ({"real": np.zeros((0, 8, 8), np.uint8)}, "no pixels"),
        ({"real": np.zeros((1, 8, 8), np.uint8)}, "at least"),
        ({"extractor": "inception"}, "inception"),
        ({"extractor": "inception-v3-compat"}, "weights"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_sentence(change, message, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path))
    asked = {"real": "brain_mri", "metrics": ["kid"], "cache": False, **change}
    drawn = mw.draw_phantoms("brain_mri", range(20), size=32).images
    with pytest.raises(MedganError, match=message):
        score(drawn, **asked)


def test_an_empty_folder_and_a_broken_picture_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nothing to learn from"):
        score("brain_mri", real=tmp_path / "empty", metrics=["kid"])
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "a.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"a\.png"):
        score("brain_mri", real=broken, metrics=["kid"])


def test_phantoms_are_drawn_as_large_as_what_is_judged(tmp_path):
    """Of another size, the same phantoms would lie far away."""
    drawn = mw.draw_phantoms("brain_mri", range(150), size=48).images
    for number, image in enumerate(drawn):
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    for judged in (drawn, tmp_path):
        scores = score(judged, real="brain_mri", metrics=["fd"], cache=False)
        assert scores["FD"].value < 3 * scores["FD"].floor
        assert not [note for note in scores.notes if "pixels" in note]


def test_images_that_no_phantom_is_like_are_told_what_phantoms_are():
    wide = mw.draw_phantoms("brain_mri", range(20), size=48).images[:, :, :40]
    scores = score(wide, real="brain_mri", metrics=["kid"], cache=False)
    assert "48 x 40 pixels and real ones 48 x 48" in scores.notes[0]
    assert "phantoms are square, 32 to 512 pixels a side" in scores.notes[0]


def test_the_same_pictures_of_8_and_16_bits_are_the_same_to_every_figure(folder, tmp_path):
    deep = tmp_path / "deep"
    deep.mkdir()
    for file in folder.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file)).astype(np.uint16) * 257).save(deep / file.name)
    scores = score(deep, real=folder, cache=False)
    assert scores["FD"].value < scores["FD"].floor / 10
    (note,) = [note for note in scores.notes if "more than 8 bits" in note]
    assert "white is" in note
    assert "pixels are cut off there" in note
    asked = score(deep, real=folder, read={"size": 32}, metrics=["kid"], cache=False)
    assert any("taken pixel by pixel and the real ones prepared so" in one for one in asked.notes)


def test_one_figure_that_cannot_be_had_costs_no_other(tmp_path):
    for number in range(12):
        image = mw.draw_phantoms("mammogram", [number], size=32 + number).images[0]
        Image.fromarray(image).save(tmp_path / f"{number:03}.png")
    metrics = ["kid", "fd_infinity", "ms_ssim"]
    scores = score(tmp_path, real="mammogram", metrics=metrics, cache=False)
    assert scores["KID"].value is not None
    assert scores["FD-infinity"].value is None
    assert scores["FD-infinity"].warning == (
        "fd_infinity is not measured: it needs at least 30 images on each side, and there are 12 "
        "real and 12 synthetic ones; give more."
    )
    assert "12 sizes; bring them to one" in scores["MS-SSIM"].warning
    assert "not measured" in str(scores)
    with pytest.raises(DataError, match=r"fd_infinity is not measured.*ms_ssim is not"):
        score(tmp_path, real="mammogram", metrics=metrics[1:], cache=False)


def test_a_floor_at_another_n_is_a_yardstick_for_the_value_there():
    drawn = mw.draw_phantoms("mammogram", range(120), size=32).images
    found = score(drawn[:60], real=drawn[60:], metrics=["fd"], cache=False)
    assert found["FD"].floor_n == 30
    value, floor = found["FD"].value_at_floor_n, found["FD"].floor
    assert found.to_frame()["relative"][0] == pytest.approx(value / floor)
    assert f"at n 30, where the value is {value:.4g}, {value / floor:.2g} times" in str(found)
    known = score(drawn[:60], real="mammogram", metrics=["fd"], cache=False)
    assert "times the floor" in str(known)


def test_a_table_is_read_by_name_and_by_place():
    rows = tuple(
        Measured(Score(name, 1.0, 9, 9, "e"), of="<b>m</b>", against="r") for name in ("FD", "KID")
    )
    table = Scores(rows, ("a <note>",))
    assert table["KID"].name == "KID"
    assert table[1:] == rows[1:]
    with pytest.raises(KeyError, match="there are FD, KID"):
        table["FID"]
    assert "<b>m</b>" not in table._repr_html_()
    assert "<note>" not in table._repr_html_()


def test_a_models_phantom_is_known_from_its_card():
    catalogue = mw.Catalogue()
    assert phantom_kind(catalogue["phantom-chest-xray"]) == "chest_xray"
    assert phantom_kind(catalogue["00001"]) is None
    assert CANONICAL == "canonical-1"
    with pytest.raises(RequestError):
        open_images(None)
