"""Copies of training images are found, whatever was done to them; images of their own are not."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

import medgan_widgets as mw
from medgan_widgets.errors import DataError
from medgan_widgets.memorisation import CopyDetector, tuning
from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.presets import PRESETS

KINDS = ("brain_mri", "chest_xray", "mammogram", "colour")
TRAINING, FRESH, PLANTED = 400, 100, 40
CHANGES = ("exact", "flipped", "noisy", "cropped", "contrast", "shifted", "turned")
FULL = tuning.REALS, tuning.CONTROLS
BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_WRAP)


def planted(images: np.ndarray, change: str, seed: int = 0) -> np.ndarray:
    """Copies of images [N, H, W] or [N, H, W, C], changed as far as they must still be found."""
    random, side = np.random.default_rng(seed), images.shape[1]
    made = []
    for number, image in enumerate(images.astype(np.float32)):
        if change == "flipped":
            image = image[:, ::-1] if number % 2 else image[::-1]
        if change == "noisy":
            image = image + random.normal(0, 5, image.shape)
        if change == "cropped":
            kept = int(np.ceil(side * random.uniform(0.8, 1.0)))
            top, left = random.integers(0, side - kept + 1, 2)
            part = np.ascontiguousarray(image[top : top + kept, left : left + kept])
            image = cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR)
        if change == "contrast":
            image = 255 * (np.clip(image, 0, 255) / 255) ** random.choice([0.8, 0.9, 1.1, 1.25])
        if change == "shifted":  # half pixels too
            across, down = np.trunc(2 * side * random.uniform(-0.06, 0.06, 2)) / 2
            image = warped(image, np.array([[1, 0, across], [0, 1, down]]), number)
        if change == "turned":
            middle = ((side - 1) / 2, (side - 1) / 2)
            turn = cv2.getRotationMatrix2D(middle, random.uniform(-3, 3), 1)
            image = warped(image, turn, number)
        made.append(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    return np.stack(made)


def warped(image: np.ndarray, matrix: np.ndarray, number: int) -> np.ndarray:
    return cv2.warpAffine(
        image, matrix, image.shape[1::-1], borderMode=BORDERS[number % len(BORDERS)]
    )


def drawn(kind: str, seeds: range, size: int = 64) -> np.ndarray:
    """Phantoms; in colour, brains under lights of different colours."""
    if kind != "colour":
        return draw_phantoms(kind, seeds, size=size).images
    grey = draw_phantoms("brain_mri", seeds, size=size).images.reshape(len(seeds), size, size, 1)
    light = np.stack([np.random.default_rng(seed).uniform(0.4, 1, 3) for seed in seeds])
    return np.rint(grey * light[:, None, None]).astype(np.uint8)


def clouds(seeds: range, side: int = 32) -> np.ndarray:
    """Noise with the spectrum of natural images, uint8 [N, H, W]."""
    across = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None])
    across[0, 0] = 1
    made = []
    for seed in seeds:
        noise = np.fft.fft2(np.random.default_rng(seed).standard_normal((side, side)))
        cloud = np.fft.ifft2(noise / across**1.5).real
        made.append(128 + 40 * (cloud - cloud.mean()) / cloud.std())
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def _few():
    """A threshold found from fewer images: enough where nothing is said of rates."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "REALS", 80)
        patch.setattr(tuning, "CONTROLS", 72)
        yield


@pytest.fixture(
    scope="module",
    params=["brain_mri", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])],
)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def known(kind):
    return drawn(kind, range(TRAINING))


@pytest.fixture(scope="module")
def detector(known):
    """With the threshold that everybody gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "REALS", FULL[0])
        patch.setattr(tuning, "CONTROLS", FULL[1])
        made = CopyDetector(known)
        made.check(known[:1])
    return made


@pytest.fixture(scope="module")
def mammograms():
    return draw_phantoms("mammogram", range(60), size=32).images


@pytest.fixture(scope="module")
def fresh():
    return draw_phantoms("mammogram", range(900, 912), size=32).images


def test_planted_copies_are_found_and_fresh_images_are_not(kind, known, detector):
    rows = np.random.default_rng(1).permutation(TRAINING)[:PLANTED]
    copies = np.concatenate([planted(known[rows], change) for change in CHANGES])
    report = detector.check(copies)
    right = dict.fromkeys(CHANGES, 0)
    for pair in report.copies:
        right[CHANGES[pair.index // PLANTED]] += rows[pair.index % PLANTED] == pair.training
    moved = [right.pop("shifted"), right.pop("turned")]
    assert min(moved) >= 0.95 * PLANTED, moved
    assert sum(right.values()) >= 0.99 * PLANTED * len(right), right
    report = detector.check(drawn(kind, range(10**6, 10**6 + FRESH)))
    assert report.copy_rate <= 0.02, f"{kind}: {report.text}"
    told = report.calibration.found
    assert all(told[name][0] >= 0.9 * told[name][1] for name in ("shifted", "turned")), told
    noise = np.random.default_rng(3).integers(0, 256, (FRESH, *known.shape[1:])).astype(np.uint8)
    assert not detector.check(noise).copies, "noise is a copy of nothing"


def test_the_report_says_how_far_to_trust_it_and_shows_pairs(known, detector):
    mixed = np.concatenate([planted(known[:3], "flipped"), known[3:4]])
    report = detector.check(mixed, seeds=range(70, 74))
    assert report.assessed
    assert {(pair.index, pair.training, pair.seed) for pair in report.copies} == {
        (n, n, 70 + n) for n in range(4)
    }
    low, high = report.interval
    assert low < report.copy_rate == 1.0 <= high + 1e-9
    assert "4 of 4 generated images are copies" in report.text
    assert "copies made on purpose" in report.text
    assert len(np.unique(np.asarray(report.sheet().convert("L")))) > 20
    assert report.to_dict()["copies"] == 4


def test_flat_images_other_sizes_and_colours_are_taken(known, detector):
    large = np.stack([cv2.resize(image, (96, 96)) for image in known[:3]])
    rgb = large if large.ndim == 4 else np.repeat(large[..., None], 3, axis=3)
    report = detector.check([np.zeros((2, 64, 64), np.uint8), rgb])
    assert report.n_flat == 2
    found = [pair for pair in report.copies if pair.training == pair.index - 2]
    assert len(found) == len(report.copies) >= 2, "enlarging costs detail"
    assert "2 images without any contrast" in report.text


def test_it_can_be_left_half_way_and_asked_again(known):
    detector = CopyDetector(known[:40])
    steps = detector.iter_check(known)
    next(steps)
    steps.close()
    assert detector.check(known[:2]).copy_rate == 1.0


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (np.zeros((0, 8, 8), np.uint8), "no pixels"),
        (np.zeros((2, 8, 8)), "must be uint8 or uint16"),
        ("abc", "read files by read_images"),
        (None, "an array or batches"),
        (np.zeros((96, 96, 3), np.uint8), r"one colour image; give \[1, H, W, C\]"),
    ],
)
def test_what_is_no_image_is_refused(mammograms, bad, words):
    with pytest.raises(DataError, match=words):
        CopyDetector(mammograms).check(bad)
    if isinstance(bad, str):
        with pytest.raises(DataError, match=words):
            CopyDetector(bad)


@pytest.mark.slow
def test_a_generator_trained_on_twenty_images_is_caught_repeating_them(tmp_path):
    """Weak regularisation and twenty images: the pairs show what it knows by heart."""
    known = draw_phantoms("mammogram", range(20), size=32).images
    careless = replace(PRESETS["residual"], r1_gamma=0.1, decay_from=1.0)
    run = tmp_path / "run"
    list(mw.train(run, data=known, size=32, preset=careless, kimg=20, tick_kimg=10, seed=1))
    mw.make_model(
        run, "few", modality="MG", organ="breast", licence=None, models=tmp_path / "models"
    )
    engine = mw.Engine(device="cpu", catalogue=mw.Catalogue(tmp_path / "models"))
    detector, request = CopyDetector(known), mw.GenerateRequest("few", seeds=range(100))
    report = detector.check(engine.images(request), request.seeds)
    assert report.interval[0] > 0.02, report.text
    for pair in report.copies:
        assert known[pair.training].std() > 5
        assert pair.likeness > report.calibration.threshold
    assert report.sheet().size[0] > 100
    fresh = draw_phantoms("mammogram", range(5000, 5200), size=32).images
    assert detector.check(fresh).copy_rate <= 0.02, "phantoms of their own are no copies"


@pytest.mark.parametrize("double", ["the same", "noisy"])
def test_training_images_with_doubles_hide_no_copy(double):
    known = drawn("brain_mri", range(80), size=64)
    more = planted(known[:20], "noisy", seed=9) if double == "noisy" else known[:20]
    report = CopyDetector(np.concatenate([known, more])).check(planted(known[:40], "noisy"))
    assert len(report.copies) == 40, report.text
    assert 0.2 < report.calibration.doubled < 0.6
    assert "near duplicates, or so plain" in report.text


def test_crops_of_large_images_are_found_whatever_enlarged_them():
    known = draw_phantoms("brain_mri", range(5000, 5030), size=160).images
    detector = CopyDetector(known)
    kernels = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
    crops = [
        cv2.resize(image[9:137, 20:148], (160, 160), interpolation=kernels[number % 3])
        for number, image in enumerate(known)
    ]
    report = detector.check(np.stack(crops))
    assert sum(pair.index == pair.training for pair in report.copies) >= 28, report.text


def test_training_images_that_show_nothing_prove_nothing(mammograms, fresh):
    report = CopyDetector(np.full((30, 32, 32), 5, np.uint8)).check(fresh)
    assert not report.assessed
    assert "0 different training images" in report.text
    some = np.concatenate([mammograms[:40], np.zeros((20, 32, 32), np.uint8)])
    assert CopyDetector(some).check(mammograms[:40, :, ::-1]).copy_rate == 1.0


def test_where_copies_made_on_purpose_are_missed_nothing_is_assessed():
    """Four grey levels next to each other: noise of five, and nobody knows them again."""
    known = np.random.default_rng(0).integers(100, 104, (40, 24, 24)).astype(np.uint8)
    report = CopyDetector(known).check(known[:, ::-1].copy())
    assert not report.assessed
    assert "copies made on purpose were found" in report.text


def test_without_enough_to_compare_nothing_is_said_to_be_clean(mammograms, fresh):
    detector = CopyDetector(mammograms[:5])
    report = detector.check(fresh)
    assert not report.assessed
    assert report.copy_rate is None
    assert report.text.startswith("Memorisation: not assessed")
    assert "5 of 5 are copies all the same" in detector.check(mammograms[:5]).text


def test_images_of_one_patient_do_not_say_what_is_alike_by_chance(mammograms, fresh):
    known = mammograms[:40]
    for groups in (["p"] * 40, ["p"] * 39 + ["q"]):
        report = CopyDetector(known, groups=groups).check(fresh)
        assert report.text.startswith("Memorisation: not assessed: too few training images")
        assert not report.pairs
    halves = CopyDetector(known, groups=["p"] * 20 + ["q"] * 20).check(fresh)
    assert (halves.assessed, halves.copies) == (True, ())
    others = draw_phantoms("mammogram", range(1000, 1060), size=32).images
    held = CopyDetector(known, groups=["p"] * 40, held_out=others)
    report = held.check(np.concatenate([known[:12], fresh]))
    assert len(report.copies) == 12, "held-out images say it as well"
    assert "60 held-out images helped to find the threshold" in report.text


def test_held_out_images_of_training_images_are_not_looked_through(mammograms):
    data = mw.read_images(mammograms, labels=False)
    report = CopyDetector(data).check(data)
    assert len(report.copies) == len(data.training)
    assert report.n_held_out == len(data.held_out)


def test_images_of_twelve_bits_are_seen_in_all_their_greys():
    known = clouds(range(60)).astype(np.uint16) * 16 + 7
    fresh = clouds(range(500, 520)).astype(np.uint16) * 16 + 7
    copies = np.concatenate([known[:10, ::-1], np.clip(known[10:20], 300, 3900)])
    report = CopyDetector(known).check(np.concatenate([copies, fresh]))
    assert sorted(pair.training for pair in report.copies) == [*range(20)]
    (generated, _), *_ = report.shown.values()
    assert generated.max() > 150, "and pictures that can be looked at"


def test_images_so_plain_that_all_look_alike_are_not_assessed():
    rows, columns = np.mgrid[:32, :32]
    turns = np.random.default_rng(0).uniform(0, np.pi, 90)
    waves = [np.sin((np.cos(t) * rows + np.sin(t) * columns) / 1.5) for t in turns]
    stripes = np.rint(127 + 100 * np.stack(waves)).astype(np.uint8)
    report = CopyDetector(stripes[:70]).check(stripes[70:])
    assert not report.assessed
    assert report.copy_rate is None


def test_its_old_name_still_works():
    with pytest.deprecated_call():
        assert mw.memorisation.Memory is CopyDetector
