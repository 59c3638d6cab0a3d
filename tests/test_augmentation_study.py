"""Does augmentation help? Counts that match, intervals that hold, and words made from numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets import read_images
from medgan_widgets.engine import Engine
from medgan_widgets.errors import (
    DataError,
    ModelNotFoundError,
    RequestError,
    SaveError,
    TrainingError,
    WeightsError,
)
from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.studies.augmentation import ARMS, AugmentationStudy, SmallCNN, StudyOutcome
from medgan_widgets.studies.augmentation.arms import (
    CLASSICAL,
    DUPLICATED,
    MIXED,
    REAL,
    SYNTHETIC,
    spread_classes,
    training_set,
)
from medgan_widgets.studies.augmentation.outcome import row_metrics
from medgan_widgets.studies.augmentation.synthetic import provenance
from tests.tiny import write_model

RANDOM = np.random.default_rng(7)
BRIGHT = np.arange(120) % 3 == 0  # a third of the images has a bright square
PIXELS = RANDOM.integers(0, 120, (120, 32, 32), np.uint8)
PIXELS[BRIGHT, 8:20, 8:20] += 90
CONTROLS_ONLY = {"arms": (REAL, DUPLICATED, CLASSICAL)}
QUICK = {"labels": lambda index: bool(BRIGHT[index]), "passes": 2, "device": "cpu"}


def study(**changes: Any) -> AugmentationStudy:
    """A study of bright squares, four images a patient."""
    data = changes.pop("data", PIXELS)
    wanted = {**QUICK, "group": lambda index: index // 4, "seeds": 2, **CONTROLS_ONLY, **changes}
    return AugmentationStudy(data, **wanted)


# ------------------------------------------------------------ what each arm learns from


def test_every_arm_but_the_reals_has_as_many_images_and_the_same_share_of_classes():
    classes = BRIGHT.astype(np.int64)
    images = PIXELS[..., None]
    asked = []

    def make(wanted):
        asked.append(wanted)
        return np.full((len(wanted), 32, 32, 1), 255, np.uint8)

    for ratio in (0.25, 1.0, 2.0):
        sets = {arm: training_set(arm, ratio, images, classes, make, seed=3) for arm in ARMS}
        counts = {arm: len(one.images) for arm, one in sets.items()}
        assert counts.pop(REAL) == 120
        assert set(counts.values()) == {round(120 * (1 + ratio))}
        for one in sets.values():
            assert abs(one.classes.mean() - classes.mean()) < 0.01
            assert one.real + one.synthetic == len(one.images)
        made = (sets[MIXED].images == 255).all(axis=(1, 2, 3))
        assert made.sum() == sets[MIXED].synthetic == round(120 * ratio)
        assert (sets[SYNTHETIC].images == 255).all()
        assert not sets[DUPLICATED].changed.any()
        assert sets[CLASSICAL].changed.sum() == round(120 * ratio)
    assert all(set(one) == {0, 1} for one in asked)


def test_copies_are_of_the_right_class_and_none_is_copied_twice_before_all_are_once():
    images = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)
    classes = np.array([0] * 7 + [1] * 3)
    copied = training_set(DUPLICATED, 1.0, images, classes, None, seed=0)
    assert sorted(copied.images[10:, 0, 0, 0]) == list(range(10))
    assert ((copied.images[:, 0, 0, 0] >= 7) == copied.classes).all()
    other = training_set(DUPLICATED, 0.5, images, classes, None, seed=1)
    assert set(other.images[10:, 0, 0, 0]) != set(copied.images[10:15, 0, 0, 0])


def test_a_longer_list_of_classes_begins_like_a_shorter():
    classes = np.array([0, 0, 0, 1, 1, 2])
    assert spread_classes(classes, 30)[:11].tolist() == spread_classes(classes, 11).tolist()
    assert np.bincount(spread_classes(classes, 60)).tolist() == [30, 20, 10]


# ------------------------------------------------------------ figures and intervals


def test_figures_by_hand():
    found = row_metrics(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 2]), 3)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["recall"] == pytest.approx([2 / 3, 1 / 2, 1])
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    # F1: 2 * 2 / (3 + 3), 2 * 1 / (2 + 2), 1
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_a_class_without_a_test_image_counts_in_no_mean():
    found = row_metrics(np.array([0, 0, 1]), np.array([0, 2, 1]), 3)
    assert np.isnan(found["recall"][2])
    assert found["balanced_accuracy"] == pytest.approx(0.75)


def planted(
    rights: dict[tuple[str, float], float], *, tested: int = 400, seeds: int = 5, group: int = 1
) -> StudyOutcome:
    """An outcome whose arms are right with these chances; whole groups are right or wrong."""
    random = np.random.default_rng(0)
    truth = np.arange(tested // group).repeat(group) % 2 if group > 1 else np.arange(tested) % 2
    rows = []
    for (arm, ratio), chance in rights.items():
        for seed in range(seeds):
            right = (random.random(tested // group) < chance).repeat(group)
            said = np.where(right, truth, 1 - truth)
            rows.append({"arm": arm, "ratio": ratio, "seed": seed, "n_train": 200,
                         "n_synthetic": 100, **row_metrics(truth, said, 2),
                         "predicted": said.tolist()})  # fmt: skip
    groups = tuple(int(one) for one in np.arange(tested) // group)
    return StudyOutcome(tuple(rows), tuple(truth), groups, ("no", "yes"))


ALL = {(REAL, 0.0): 0.7, (MIXED, 1.0): 0.7, (DUPLICATED, 1.0): 0.7, (CLASSICAL, 1.0): 0.7}


@pytest.mark.parametrize(
    ("rights", "says", "not_"),
    [
        (ALL, "No gain by synthetic images is shown.", "helped"),
        ({**ALL, (MIXED, 1.0): 0.85}, "Synthetic images helped: at ratio 1", "not shown"),
        (
            {**ALL, (MIXED, 1.0): 0.8, (DUPLICATED, 1.0): 0.8, (CLASSICAL, 1.0): 0.7},
            "but not better than as many duplicated reals",
            "classically",
        ),
        (
            {**ALL, (MIXED, 1.0): 0.8, (DUPLICATED, 1.0): 0.8, (CLASSICAL, 1.0): 0.9},
            "They did worse than as many classically changed reals.",
            "helped: ",
        ),
        ({**ALL, (MIXED, 1.0): 0.55}, "made it worse, at ratio 1.", "helped"),
        ({(REAL, 0.0): 0.7, (MIXED, 1.0): 0.85}, "Not trained: as many duplicated", "helped: "),
        ({(REAL, 0.0): 0.7, (DUPLICATED, 1.0): 0.85}, "nothing is said", "helped"),
    ],
)
def test_the_conclusion_is_what_the_numbers_say(rights, says, not_):
    text = planted(rights).conclusion
    last = text.splitlines()[-1]
    assert says in last
    assert not_ not in last


def test_a_gain_that_a_control_has_too_is_no_gain_and_both_are_told():
    outcome = planted({**ALL, (MIXED, 1.0): 0.8, (DUPLICATED, 1.0): 0.8, (CLASSICAL, 1.0): 0.7})
    last = outcome.conclusion.splitlines()[-1]
    told = outcome.differences().set_index("against")
    assert last.startswith("No gain by synthetic images is shown beyond more training steps: ")
    for control, words in ((REAL, "the reals alone"), (DUPLICATED, "as many duplicated reals")):
        value, low, high = told.loc[control, ["difference", "low", "high"]]
        assert f"better than {words} ({value:+.3f} [{low:+.3f}, {high:+.3f}])" in last


def test_two_controls_beaten_at_two_ratios_are_no_gain():
    rights = {
        **ALL, (MIXED, 1.0): 0.82, (CLASSICAL, 1.0): 0.82,
        (MIXED, 0.5): 0.82, (DUPLICATED, 0.5): 0.82, (CLASSICAL, 0.5): 0.7,
    }  # fmt: skip
    last = planted(rights).conclusion.splitlines()[-1]
    assert last.startswith("No gain by synthetic images is shown beyond")
    assert "but at no ratio better than both controls" in last


def test_a_sweep_names_the_ratio_and_asks_for_more():
    rights = {**ALL, (MIXED, 0.5): 0.7, (DUPLICATED, 0.5): 0.7, (CLASSICAL, 0.5): 0.7}
    one, two = planted({**ALL, (MIXED, 1.0): 0.85}), planted({**rights, (MIXED, 1.0): 0.85})
    assert "at ratio 1 more" in two.conclusion
    width = [
        (frame["high"] - frame["low"])[frame["ratio"] == 1.0].iloc[0]
        for frame in (one.differences(), two.differences())
    ]
    assert width[1] > 1.05 * width[0], "the best of two is better by chance"


def test_intervals_hold_for_other_test_patients():
    alone = planted({(REAL, 0.0): 0.8}, seeds=1)
    row = alone.summary().iloc[0]
    half = (row["accuracy high"] - row["accuracy low"]) / 2
    assert half == pytest.approx(1.96 * np.sqrt(0.8 * 0.2 / 400), rel=0.15)
    together = planted({(REAL, 0.0): 0.8}, seeds=1, group=8).summary().iloc[0]
    wide = (together["accuracy high"] - together["accuracy low"]) / 2
    assert wide == pytest.approx(half * np.sqrt(8), rel=0.3), "eight images of a patient are one"


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_single_test_patient_gives_no_verdict(seeds):
    better = {**ALL, (REAL, 0.0): 0.0, (MIXED, 1.0): 1.0}
    outcome = planted(better, tested=8, seeds=seeds, group=8)
    assert "helped" not in outcome.conclusion
    assert set(outcome.differences()["verdict"]) == {"no difference shown"}
    assert "Only 1 test group, too few" in repr(outcome)


def test_intervals_hold_for_other_seeds():
    """Four seeds right on all, one on none: nobody should be sure of that."""
    truth = np.arange(400) % 2
    rows = [
        {"arm": REAL, "ratio": 0.0, "seed": seed, "n_train": 9, "n_synthetic": 0,
         "predicted": (truth if seed else 1 - truth).tolist(), "recall": [1.0, 1.0]}
        for seed in range(5)
    ]  # fmt: skip
    outcome = StudyOutcome(tuple(rows), tuple(truth), tuple(range(400)), ("no", "yes"))
    row = outcome.summary().iloc[0]
    assert row["accuracy"] == pytest.approx(0.8)
    assert row["accuracy low"] < 0.5


def test_intervals_of_five_seeds_hold_as_often_as_they_say():
    """Seeds that differ by 0.04 around 0.75, on 200 test images: 95 % of intervals hold 0.75."""
    random, held = np.random.default_rng(11), 0
    truth = np.arange(200) % 2
    for _ in range(120):
        right = random.random((5, 200)) < random.normal(0.75, 0.04, (5, 1))
        said = np.where(right, truth, 1 - truth)
        rows = [
            {"arm": REAL, "ratio": 0.0, "seed": seed, "n_train": 9, "n_synthetic": 0,
             "predicted": said[seed], "recall": [1.0, 1.0]}
            for seed in range(5)
        ]  # fmt: skip
        outcome = StudyOutcome(tuple(rows), tuple(truth), tuple(range(200)), ("no", "yes"))
        row = outcome.summary().iloc[0]
        held += row["accuracy low"] <= 0.75 <= row["accuracy high"]
    assert held / 120 >= 0.9


def test_a_few_test_images_prove_nothing_however_clear_they_are():
    always = {(REAL, 0.0): 0.0, (MIXED, 1.0): 1.0, (DUPLICATED, 1.0): 0.0, (CLASSICAL, 1.0): 0.0}
    few = planted(always, tested=4)
    assert "No gain by synthetic images is shown" in few.conclusion
    assert "Only 4 test groups, too few for an interval" in " ".join(few.all_notes)
    assert few.summary().iloc[0][["accuracy low", "accuracy high"]].tolist() == [0, 1]
    more = planted(always, tested=40).summary().iloc[1]
    assert (more["accuracy"], more["accuracy high"]) == (1, 1)
    assert more["accuracy low"] == pytest.approx(1 - 0.0876, abs=1e-3), "Wilson: 0 of 40 wrong"
    assert more["recall yes low"] == pytest.approx(1 - 0.1611, abs=1e-3), "20 of them are yes"


def test_a_class_that_nobody_tests_has_no_recall_and_no_warning(recwarn):
    rows = [{"arm": REAL, "ratio": 0.0, "seed": seed, "n_train": 9, "n_synthetic": 0,
             **row_metrics(np.zeros(8, int), np.zeros(8, int), 2), "predicted": [0] * 8}
            for seed in range(5)]  # fmt: skip
    row = StudyOutcome(tuple(rows), (0,) * 8, tuple(range(8)), ("no", "yes")).summary().iloc[0]
    assert np.isnan(row["recall yes"])
    assert np.isnan(row["recall yes low"])
    assert not [one for one in recwarn if one.category is RuntimeWarning]


def test_what_limits_a_study_is_said():
    notes = " ".join(planted({(REAL, 0.0): 0.5}, tested=40, seeds=2, group=4).all_notes)
    assert "Only 2 seeds" in notes
    assert "Only 40 test images" in notes
    assert "Only 10 test groups" in notes
    assert "about chance" in notes
    assert "hardly room" in " ".join(planted({(REAL, 0.0): 0.99}).all_notes)
    assert planted(ALL).all_notes == ()


# ------------------------------------------------------------ trainings


def test_a_study_that_was_left_goes_on_to_the_very_same_rows(tmp_path):
    quick = {"passes": 1, "size": 16}
    whole = list(study(folder=tmp_path / "whole", **quick))
    n = len(study().images)
    assert [row["n_train"] for row in whole] == [n, 2 * n, 2 * n] * 2
    for row in study(folder=tmp_path / "parts", **quick):
        if row["arm"] == DUPLICATED:
            break  # cancelled
    again = study(folder=tmp_path / "parts", **quick)
    assert "2 of 6" in repr(again)
    rest = list(again)
    assert len(rest) == 4
    assert list(again.rows) == whole
    assert list(study(folder=tmp_path / "parts", **quick)) == [], "nothing is trained twice"
    assert json.loads(json.dumps(whole[0])) == whole[0], "rows are plain"


def test_what_can_be_learned_is_learned_and_what_cannot_is_not():
    easy = study(seeds=1, passes=8, arms=(REAL,))
    assert next(iter(easy))["balanced_accuracy"] > 0.9
    told = study(labels=lambda index: int(index * 7919 % 2), seeds=1, passes=8, arms=(REAL,))
    assert next(iter(told))["balanced_accuracy"] < 0.85


def test_patients_stay_on_one_side_and_judge_together():
    some = study()
    train = {
        some.data.groups[row] for row in range(len(some.data)) if some.data.sides[row] == "train"
    }
    assert not train & set(some.data.held_out.groups)
    assert len(set(some.outcome.groups)) == len(some.data.held_out) // 4
    alone = study(group=None)
    assert "images of one patient may stand on both sides" in repr(alone.outcome)


def test_any_classifier_may_be_asked_for():
    class Mean(nn.Module):
        def __init__(self, channels: int, classes: int, size: int) -> None:
            super().__init__()
            self.linear = nn.Linear(channels, classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.linear(images.mean(dim=(2, 3)))

    rows = list(study(classifier=Mean, seeds=1, batch=7))
    assert [row["arm"] for row in rows] == [REAL, DUPLICATED, CLASSICAL]


def test_a_colour_image_of_another_size_is_classified():
    assert SmallCNN(3, 5, 128)(torch.zeros(2, 3, 128, 128)).shape == (2, 5)


@pytest.mark.parametrize(
    ("classifier", "says"),
    [
        (lambda channels, classes, size: nn.Flatten(), "must return logits"),
        (lambda: None, "function of \\(channels, classes, size\\)"),
        (lambda channels, classes, size: nn.Linear(3, classes), "failed with RuntimeError"),
        ("resnet", "failed with TypeError"),
        (lambda channels, classes, size: {}["resnet"], "failed with KeyError: 'resnet'"),
    ],
)
def test_a_classifier_that_does_not_fit_is_refused_before_anything_is_trained(classifier, says):
    with pytest.raises(RequestError, match=says):
        study(classifier=classifier)


def test_a_loss_that_is_no_number_ends_in_a_sentence():
    class Broken(SmallCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images) * (float("nan") if self.training else 1)

    with pytest.raises(TrainingError, match="loss is nan"):
        list(study(classifier=Broken, seeds=1))


def test_a_classifier_that_fails_while_it_learns_is_named():
    class Odd(SmallCNN):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            assert not self.training, "only to look at"
            return super().forward(images)

    with pytest.raises(TrainingError, match=r"classifier Odd failed .* only to look at"):
        list(study(classifier=Odd, seeds=1))


# ------------------------------------------------------------ synthetic images


@pytest.fixture
def engine(tmp_path):
    write_model(tmp_path / "models", "tiny")
    return Engine(device="cpu", catalogue=Catalogue(tmp_path / "models"))


def test_a_model_is_asked_for_the_classes_and_no_image_comes_twice(engine, tmp_path):
    some = AugmentationStudy(
        "brain_mri", model="tiny", engine=engine, reals=24, passes=1, seeds=2, ratios=(0.5, 1),
        size=32, device="cpu", folder=tmp_path / "study",
    )  # fmt: skip
    assert some.target == "tumour"
    rows = list(some)
    assert len(rows) == len(some) == 2 * (1 + 4 * 2)
    mixed = [row for row in rows if row["arm"] == MIXED]
    assert [(row["ratio"], row["n_synthetic"]) for row in mixed] == [(0.5, 12), (1.0, 24)] * 2
    classes = np.zeros(40, np.int64)
    made = [some._source.make(one, seed) for seed in (0, 1) for one in (classes, classes + 1)]
    flat = np.concatenate(made).reshape(160, -1)
    assert len(np.unique(flat, axis=0)) == 160
    assert "it has seen images that its card does not count" in some.provenance
    assert "against as many duplicated reals" in some.outcome.conclusion
    frame = some.outcome.to_frame()
    assert {"recall True", "recall False", "macro_f1"} <= set(frame)
    assert "predicted" not in frame


def test_a_generator_of_the_studys_own_sees_its_training_images_alone(tmp_path):
    some = AugmentationStudy(
        "brain_mri", train_generator=True, generator_kimg=0.064, reals=20, size=32, seeds=1,
        passes=1, arms=(REAL, MIXED), device="cpu", folder=tmp_path,
    )  # fmt: skip
    ticks = list(some.prepare())
    assert ticks
    told = json.loads((tmp_path / "generator" / "data.json").read_text())
    assert (told["train"], told["test"]) == (20, 0)
    assert told["classes"].keys() == {"tumour"}
    rows = list(some)
    assert rows[1]["n_synthetic"] == 20
    assert "on the study's 20 training images alone" in some.provenance
    weights = (tmp_path / "models" / "own-split" / "generator.safetensors").read_bytes()
    again = AugmentationStudy(
        "brain_mri", train_generator=True, generator_kimg=0.064, reals=20, size=32, seeds=2,
        passes=1, arms=(REAL, MIXED), device="cpu", folder=tmp_path,
    )  # fmt: skip
    assert len(list(again)) == 2, "one more seed, no second generator"
    assert (tmp_path / "models" / "own-split" / "generator.safetensors").read_bytes() == weights


def test_what_the_generator_has_seen_is_said():
    card = Catalogue()["phantom-mammogram"]
    phantoms = read_images("mammogram", size=32, most=20)
    assert "20000 phantoms, seeds 0 to 19999" in provenance(card, phantoms, 20)
    assert "no promise" in provenance(card, phantoms, 20)
    mine = read_images(PIXELS, labels=lambda index: index % 2)
    assert "no image of yours" in provenance(card, mine, 90)
    stranger = card.model_copy(update={"phantom": False, "dataset": "KneeX"})
    assert "a gain may be a leak" in provenance(stranger, mine, 90)
    same = stranger.model_copy(update={"training": {"fingerprint": mine.fingerprint}})
    assert "it has seen no test image" in provenance(same, mine, 90)


def test_synthetic_images_of_another_size_are_resized_and_it_is_said(tmp_path):
    write_model(tmp_path, "large", size=64)
    engine = Engine(device="cpu", catalogue=Catalogue(tmp_path))
    some = AugmentationStudy(
        "brain_mri", model="large", engine=engine, reals=16, size=32, seeds=1, passes=1,
        arms=(REAL, MIXED), device="cpu",
    )  # fmt: skip
    assert some._source.make(np.array([0, 1]), 0).shape == (2, 32, 32, 1)
    assert "resized from 64 to 32 pixels" in repr(some.outcome)


# ------------------------------------------------------------ what cannot be


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"arms": (REAL, MIXED)}, "synthetic images need a source"),
        ({"arms": ("reel",)}, "arms must be some of"),
        ({"arms": ()}, "arms must be some of"),
        ({"ratios": (0,)}, "ratios must be numbers above 0"),
        ({"ratios": ("1",)}, "ratios must be numbers above 0"),
        ({"ratios": ()}, "ratios must be numbers above 0"),
        ({"ratios": (float("nan"),)}, "ratios must be numbers above 0"),
        ({"ratios": None}, "ratios must be numbers above 0"),
        ({"arms": 5}, "arms must be some of"),
        ({"folder": 3}, "folder must be a path or None, got 3"),
        ({"seeds": 0}, "seeds must be from 1"),
        ({"seeds": 1.5}, "seeds must be a whole number, got 1.5"),
        ({"seeds": None}, "seeds must be a whole number"),
        ({"seeds": ()}, "seeds is empty"),
        ({"passes": 0}, "passes must be from 1"),
        ({"learning_rate": -1}, "learning_rate must be above 0"),
        ({"learning_rate": "x"}, "learning_rate must be above 0"),
        ({"classical": None}, "classical augmentations are"),
        ({"classical": ("sharpen",)}, "classical augmentations are"),
        ({"reals": 2}, "reals must be from 4"),
        ({"target": "tumour"}, "target must say which factor"),
        ({"model": "phantom-mammogram", "arms": ARMS}, "cannot be asked for the classes of"),
        ({"model": "phantom-mammogram", "train_generator": True}, "not both"),
        ({"read": {"windows": 3}}, "cannot be read that way"),
    ],
)
def test_a_request_that_cannot_be_is_refused_in_one_sentence(changes, says):
    with pytest.raises(RequestError, match=says):
        study(**changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"labels": None, "group": None}, "no classes to tell apart"),
        ({"read": {"test": 0}}, "no image is held back"),
        ({"labels": lambda index: "one"}, "a single class"),
        ({"reals": 5000}, "5000 were asked for"),
        ({"data": PIXELS[:0]}, "image"),
        ({"train_generator": True, "arms": ARMS, "reals": 8}, "at least 16 square"),
    ],
)
def test_data_that_cannot_be_learned_from_is_refused_in_one_sentence(changes, says):
    with pytest.raises(DataError, match=says):
        study(**changes)


def test_an_unknown_model_is_named():
    with pytest.raises(ModelNotFoundError, match="phantom-mammogram"):
        AugmentationStudy("mammogram", model="phantom-mamogram", reals=20)


def test_a_model_that_cannot_run_says_so_before_anything_is_trained(engine, tmp_path):
    (tmp_path / "models" / "tiny" / "generator.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="not the ones of the card"):
        AugmentationStudy("brain_mri", model="tiny", engine=engine, reals=16, size=32)
    with pytest.raises(RequestError, match="no factor 'organ'"):
        AugmentationStudy(
            "mammogram", model="phantom-mammogram", condition={"organ": "knee"}, reals=16
        )


def test_two_studies_do_not_share_a_folder(tmp_path):
    list(study(folder=tmp_path, seeds=1, arms=(REAL,)))
    with pytest.raises(DataError, match=r"another study \(its lesson differ\)"):
        study(folder=tmp_path, passes=3)
    (tmp_path / "rows.jsonl").write_text("{}\nno row\n")
    with pytest.raises(DataError, match="is damaged"):
        list(study(folder=tmp_path))


def test_two_unnamed_classifiers_are_told_apart(tmp_path):
    def linear(width):
        return lambda channels, classes, size: nn.Sequential(
            nn.Flatten(), nn.LazyLinear(width), nn.Linear(width, classes)
        )

    list(study(folder=tmp_path, seeds=1, arms=(REAL,), classifier=linear(4)))
    assert len(study(folder=tmp_path, seeds=1, arms=(REAL,), classifier=linear(4)).rows) == 1
    with pytest.raises(DataError, match=r"another study \(its classifier differ\)"):
        study(folder=tmp_path, seeds=1, arms=(REAL,), classifier=linear(5))


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SaveError, match=r"notes\.txt is a file; a study needs a folder"):
        study(folder=tmp_path / "notes.txt")


def test_before_the_first_training_nothing_is_said():
    assert "Nothing was trained yet" in repr(study().outcome)


def test_phantoms_of_any_kind_have_a_target():
    for kind, target in (("chest_xray", "nodule"), ("mammogram", "mass")):
        some = AugmentationStudy(kind, reals=8, size=32, arms=(REAL,), device="cpu")
        assert some.target == target
    assert draw_phantoms("mammogram", [2**42], size=32).images.shape == (1, 32, 32)
