"""A blinded reading: what is shown, what is kept, and what may be said about it."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.stats import binomtest

from medgan_widgets.datasets import read_images
from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.studies.reader_study import (
    fleiss_kappa,
    open_study,
    prepare,
)
from medgan_widgets.studies.reader_study.answers import file_of
from medgan_widgets.studies.reader_study.statistics import (
    agreement,
    interval_by_trial,
    p_by_trial,
    share_of,
)
from tests.simulated import simulate_reader

# The worked example of Fleiss 1971 as it is usually taught: 10 subjects, 14 raters, 5 categories.
WORKED = [
    *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]),
    *([7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
]


def noise(seed: int, count: int = 40, shape: tuple[int, ...] = (16, 16)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


@pytest.fixture
def study(tmp_path):
    return prepare(tmp_path / "study", real=noise(1), synthetic=noise(2), trials=20, ratings=6)


def answer_all(study, reader: str, right: int) -> None:
    """Answer everything, so many choices right; ratings 4 for reals and 2 for the others."""
    for asked in study.asked(reader):
        if asked.kind == "rating":
            study.record(reader, asked, 2 if study.plan.synthetic[asked.rows[0]] else 4, 1.0)
            continue
        target = asked.rows.index(study.plan.trials[asked.trial][study.plan.target(asked.trial)])
        study.record(reader, asked, target if right > 0 else (target + 1) % len(asked.rows), 2.0)
        right -= 1


# ---------------------------------------------------------------- the plan


def test_each_pair_holds_one_of_each_and_no_image_is_used_twice(study):
    plan = study.plan
    used = sum(plan.trials, ())
    assert len(used) == len(set(used)) == 40
    assert all(sum(plan.synthetic[row] for row in trial) == 1 for trial in plan.trials)
    assert sum(plan.synthetic[row] for row in plan.ratings) == 3
    assert not set(plan.ratings) & set(used), "there were enough images to rate others"
    for row, (synthetic, taken) in enumerate(zip(plan.synthetic, plan.taken, strict=True)):
        source = noise(2 if synthetic else 1)[taken]
        assert np.array_equal(study.pixels((row,))[0, ..., 0], source)


@pytest.mark.parametrize(("find", "synthetic"), [(None, 3), ("real", 3), ("synthetic", 1)])
def test_one_of_four_is_another(tmp_path, find, synthetic):
    study = prepare(
        tmp_path, real=noise(1), synthetic=noise(2), trials=5, ratings=0, design="four", find=find
    )
    plan = study.plan
    assert {sum(plan.synthetic[row] for row in trial) for trial in plan.trials} == {synthetic}
    assert plan.chance == 0.25
    assert all(
        plan.synthetic[t[plan.target(n)]] == (synthetic == 1) for n, t in enumerate(plan.trials)
    )


def test_readers_get_the_same_trials_in_an_order_and_on_sides_of_their_own(study):
    first, second = study.asked("A"), study.asked("B")
    assert first == open_study(study.folder).asked("A"), "the same again after a restart"
    assert [one.trial for one in first] != [one.trial for one in second]
    assert {frozenset(one.rows) for one in first} == {frozenset(one.rows) for one in second}
    assert [one.kind for one in first] == ["rating"] * 6 + ["choice"] * 20
    sides = Counter(
        one.rows.index(study.plan.trials[one.trial][study.plan.target(one.trial)])
        for one in first
        if one.kind == "choice"
    )
    assert sides == {0: 10, 1: 10}


def test_the_rows_on_the_disk_do_not_say_which_are_synthetic(study):
    """Neither their place nor a run of them: the two sides lie mixed."""
    runs = np.count_nonzero(np.diff(np.array(study.plan.synthetic, int)))
    assert 12 < runs < 34  # 46 rows, about 23 changes expected


def test_another_seed_takes_other_images_and_the_same_one_goes_on(study, tmp_path):
    simulate_reader(study, most=4)
    again = prepare(study.folder, real=noise(1), synthetic=noise(2), trials=20, ratings=6)
    assert len(again.answers("simulated 1").given) == 4, "running the cell again loses nothing"
    other = prepare(tmp_path / "b", real=noise(1), synthetic=noise(2), ratings=6, seed=1)
    assert other.plan.id != study.plan.id
    assert other.plan.taken != study.plan.taken
    with pytest.raises(DataError, match="holds another study"):
        prepare(study.folder, real=noise(1), synthetic=noise(2), ratings=6, seed=1)
    assert len(study.answers("simulated 1").given) == 4


def test_sources_are_folders_training_images_and_phantoms(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(noise(5, 8, (32, 32))):
        Image.fromarray(image).save(folder / f"{number}.png")
    plan = prepare(tmp_path / "a", real=folder, synthetic="mammogram", trials=6, ratings=4).plan
    assert plan.shape == (32, 32, 1)
    assert "folder" in plan.real.words
    assert "phantoms mammogram" in plan.fake.words
    assert (plan.real.phantom, plan.fake.phantom) == (False, True)

    data = read_images(folder, test=0.5)
    held = prepare(tmp_path / "b", real=data, synthetic=noise(2, 8, (32, 32)), trials=2, ratings=0)
    assert held.plan.notes == ()
    assert held.plan.real.images == len(data.held_out) == 3, "those that trained are left alone"
    assert "held out" in held.plan.real.words
    with pytest.raises(DataError, match="needs 5 real images and got 3"):
        prepare(tmp_path / "c", real=data, synthetic=noise(2), trials=4)


def test_images_that_were_enlarged_or_resampled_on_one_side_are_noted(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(noise(5, 8, (20, 20))):
        Image.fromarray(image).save(folder / f"{number}.png")
    study = prepare(
        tmp_path / "a", real=folder, synthetic="mammogram", trials=4, size=32, ratings=0
    )
    assert any("real images were enlarged" in note for note in study.plan.notes)
    assert any("Only one side was brought to another size" in note for note in study.plan.notes)
    assert any("at 32 × 32 pixels; their files have up to 20 × 20" in n for n in study.plan.notes)
    with pytest.raises(DataError, match=r"give size=16 .* files have up to 20 × 20\. Give arrays"):
        prepare(tmp_path / "b", real=folder, synthetic=noise(6, 8, (20, 20)), trials=4, ratings=0)
    with pytest.raises(DataError, match=r"at most size=16\. .* files have up to 20 × 20\. Give"):
        prepare(tmp_path / "b", real=folder, synthetic=noise(6), trials=4, ratings=0, size=20)


def test_phantoms_in_place_of_reals_are_said_to_be_phantoms(tmp_path):
    study = prepare(
        tmp_path, real="mammogram", synthetic=noise(2, 8, (32, 32)), trials=4, ratings=2
    )
    assert study.plan.phantom
    assert "nothing about images of patients" in study.results().sentences[0]


# ---------------------------------------------------------------- what would give it away


def test_size_depth_and_colour_cannot_give_an_image_away(tmp_path):
    colour = noise(2, 20, (16, 16, 3))
    with pytest.raises(DataError, match="colour alone would tell them apart; give grey=True"):
        prepare(tmp_path / "a", real=noise(1), synthetic=colour, trials=4, ratings=0)
    study = prepare(tmp_path / "a", real=noise(1), synthetic=colour, trials=4, ratings=0, grey=True)
    assert study.plan.shape == (16, 16, 1)
    same = np.repeat(noise(2)[..., None], 3, axis=3)  # colour in name alone
    assert prepare(tmp_path / "b", real=noise(1), synthetic=same, ratings=0).plan.shape[2] == 1

    large = noise(2, 20, (32, 32))
    with pytest.raises(DataError, match="size alone would tell them apart; give size=16"):
        prepare(tmp_path / "c", real=noise(1), synthetic=large, trials=4, ratings=0)
    made = prepare(tmp_path / "c", real=noise(1), synthetic=large, trials=4, ratings=0, size=16)
    assert made.plan.shape == (16, 16, 1)
    assert any("sharpness" in note for note in made.plan.notes)
    with pytest.raises(DataError, match="blur tells them apart"):
        prepare(tmp_path / "d", real=noise(1), synthetic=large, trials=4, ratings=0, size=32)
    with pytest.raises(DataError, match="differ in shape"):
        prepare(tmp_path / "d", real=noise(1), synthetic=noise(2, 40, (16, 20)), size=12)
    with pytest.raises(DataError, match="window would tell them apart"):
        prepare(tmp_path / "d", real=noise(1).astype(np.uint16), synthetic=noise(2))


def test_what_a_plain_number_tells_is_noted_and_never_shown(tmp_path):
    bright = noise(2) // 4 + 180
    study = prepare(tmp_path, real=noise(1), synthetic=bright, trials=10)
    assert any("mean brightness alone tells 100% of pairs" in note for note in study.plan.notes)
    soft = np.stack([ndimage.gaussian_filter(one.astype(float), 0.6) for one in noise(2)])
    soft = np.rint((soft - soft.mean()) * noise(1).std() / soft.std() + noise(1).mean())
    blurred = np.clip(soft, 0, 255).astype(np.uint8)
    study = prepare(tmp_path / "soft", real=noise(1), synthetic=blurred, trials=10)
    assert any(note.startswith("The sharpness") for note in study.plan.notes)
    fair = prepare(tmp_path / "fair", real=noise(1), synthetic=noise(2), trials=10)
    assert fair.plan.notes == ()


@pytest.mark.parametrize(
    ("real", "synthetic", "message"),
    [
        (noise(1, 3), noise(2), "needs 20 real images and got 3"),
        (noise(1), noise(2, 0), "there are no pixels in the synthetic images"),
        (np.zeros((40, 16, 16), np.uint8), noise(2), "40 of 40 real images are of one value"),
        (noise(1), noise(2).astype(float), "got float64"),
        (noise(1), GenerateRequest("phantom-brain-mri", seeds=range(4)), "engine.images"),
        (noise(1), noise(1), "40 images are among the real and among the synthetic"),
        (noise(1), noise(2, 40, (16, 16, 2)), r"got uint8 \(40, 16, 16, 2\)"),
        ("no/such/folder", noise(2), "neither a folder nor a file|there is no"),
    ],
)
def test_images_that_make_no_study_are_refused(tmp_path, real, synthetic, message):
    with pytest.raises(DataError, match=message):
        prepare(tmp_path / "study", real=real, synthetic=synthetic)
    assert not (tmp_path / "study").exists(), "nothing half made is left"


def test_a_copy_of_an_image_is_not_shown_again(tmp_path):
    once = noise(1, 25)
    study = prepare(tmp_path, real=np.repeat(once, 2, axis=0), synthetic=noise(2), trials=20)
    shown = [study.pixels((row,)).tobytes() for trial in study.plan.trials for row in trial]
    assert len(set(shown)) == 40
    assert "25 copies among the real images are left out." in study.plan.notes
    same = np.repeat(once[:1], 60, axis=0)
    with pytest.raises(DataError, match="needs 20 real images and got 60, 1 of them different"):
        prepare(tmp_path / "same", real=same, synthetic=noise(2), trials=20)


def test_an_empty_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        prepare(tmp_path / "study", real=tmp_path / "empty", synthetic=noise(2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"trials": 0}, {"trials": 2.5}, {"ratings": 3}, {"ratings": -2}, {"design": "three"},
        {"find": "fake"}, {"seed": -1}, {"size": 2},
    ],
)  # fmt: skip
def test_numbers_that_no_study_can_have_are_refused(tmp_path, wrong):
    with pytest.raises(RequestError):
        prepare(tmp_path, real=noise(1), synthetic=noise(2), **wrong)


# ---------------------------------------------------------------- answers


def test_an_answer_is_on_the_disk_before_the_next_is_asked(study):
    first = study.next("A")
    assert study.record("A", first, 3, 2.5)
    assert open_study(study.folder).next("A").number == 2
    (line,) = file_of(study.folder, "A").read_text("utf-8").splitlines()
    told = json.loads(line)
    assert (told["reader"], told["kind"], told["chosen"], told["seconds"]) == (
        "A",
        "rating",
        3,
        2.5,
    )
    assert not study.record("A", first, 5, 1.0), "a second answer to the same is not kept"
    assert [one.chosen for one in study.answers("A").given] == [3]


def test_a_choice_is_kept_by_image_not_by_side(study):
    choice = next(one for one in study.asked("A") if one.kind == "choice")
    study.record("A", choice, 1, 1.0)
    (answer,) = study.answers("A").given
    assert study.plan.trials[choice.trial][answer.chosen] == choice.rows[1]


def test_a_line_cut_off_is_left_as_it_is_and_its_trial_is_asked_again(study):
    simulate_reader(study, "simulated A", most=3)
    path = file_of(study.folder, "simulated A")
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])  # the machine went down in the middle of a line
    kept = study.answers("simulated A")
    assert len(kept.given) == 2
    assert "line 3 of simulated A is left out: it is damaged or was cut off." in kept.notes
    asked = study.next("simulated A")
    assert asked.number == 3
    study.record("simulated A", asked, 4, 1.0)
    assert len(study.answers("simulated A").given) == 3
    assert path.read_bytes().startswith(whole[:-30] + b"\n"), "nothing of the file is rewritten"
    assert "line 3" in repr(study.results())


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"nonsense", b"\xff\xfe", b'{"study": 1}', b"null",
        b'{"study":"ID","reader":"A","kind":"choice","trial":999,"chosen":0,"place":0,'
        b'"seconds":1.0,"at":""}',
        b'{"study":"ID","reader":"A","kind":"choice","trial":0,"chosen":7,"place":0,'
        b'"seconds":1.0,"at":""}',
        b'{"study":"ID","reader":"A","kind":"choice","trial":0,"chosen":0,"place":0,'
        b'"seconds":NaN,"at":""}',
        b'{"study":"other","reader":"A","kind":"choice","trial":0,"chosen":0,"place":0,'
        b'"seconds":1.0,"at":""}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_answer_counts_for_nothing(study, line):
    file_of(study.folder, "A").write_bytes(line.replace(b"ID", study.plan.id.encode()) + b"\n")
    answers = study.answers("A")
    assert answers.given == ()
    assert len(answers.notes) == 1
    assert study.results().pooled.share.n == 0


def test_a_full_disk_is_said_and_leaves_no_half_line(study, monkeypatch):
    first = study.next("A")
    study.record("A", first, 3, 1.0)
    before = file_of(study.folder, "A").read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SaveError, match="the disk is full; it is kept here"):
            study.record("A", study.next("A"), 3, 1.0)
    assert file_of(study.folder, "A").read_bytes() == before
    assert study.record("A", study.next("A"), 3, 1.0)


@pytest.mark.parametrize(
    "name", ["../A", "a/b", "<b>A</b>", "", " A", "A ", "a\\b", "..", "é" * 41]
)
def test_a_name_that_is_no_pseudonym_is_refused(study, name):
    with pytest.raises(RequestError, match="a reader is a pseudonym"):
        study.next(name)
    with pytest.raises(RequestError):
        study.record(name, study.asked("A")[0], 1, 1.0)
    assert study.readers == ()


def test_names_that_some_disks_take_for_one_are_refused(study):
    study.record("Anna", study.next("Anna"), 1, 1.0)
    with pytest.raises(RequestError, match="capitals alone"):
        study.next("anna")
    assert study.known("Zoë-2") == "Zoë-2"


def test_nobody_is_called_as_all_of_them_are(study):
    with pytest.raises(RequestError, match="choose another name"):
        study.next("All readers")


def test_what_was_not_asked_is_not_answered(study):
    first = study.next("A")
    for wrong in (replace(first, trial=99), replace(first, kind="choice"), None):
        with pytest.raises(RequestError, match=r"answer what next\('A'\) returns"):
            study.record("A", wrong, 1, 1.0)
    assert study.answers("A").given == ()


@pytest.mark.parametrize(
    ("place", "seconds"),
    [(9, 1.0), (0, 1.0), (True, 1.0), (1.5, 1.0), (3, -1), (3, 1e9), (3, "1"), (3, None)],
)
def test_an_answer_that_cannot_be_is_refused(study, place, seconds):
    with pytest.raises(RequestError):
        study.record("A", study.next("A"), place, seconds)  # a rating: 1 to 5
    with pytest.raises(RequestError):
        study.record("A", study.next("A"), 3, float("nan"))
    assert study.answers("A").given == ()


def test_a_folder_changed_under_a_reading_takes_no_more_answers(study, tmp_path):
    first = study.next("A")
    plan = study.folder / "study.json"
    text = plan.read_text("utf-8")
    shutil.copytree(study.folder, tmp_path / "copy")

    told = json.loads(text)
    told["plan"]["synthetic"][0] = not told["plan"]["synthetic"][0]
    plan.write_text(json.dumps(told), "utf-8")
    with pytest.raises(DataError):
        study.record("A", first, 3, 1.0)
    plan.write_text(text, "utf-8")
    assert study.record("A", first, 3, 1.0), "the first file put back is the first file"

    images = study.folder / "images.npy"
    pixels = bytearray(images.read_bytes())
    pixels[-1] ^= 1
    images.write_bytes(pixels)
    with pytest.raises(DataError, match="not the one that this study was made with"):
        study.record("A", study.next("A"), 3, 1.0)
    images.write_bytes(pixels[:200])
    with pytest.raises(DataError, match="not the one"):
        study.pixels((40,))
    images.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        study.record("A", study.next("A"), 3, 1.0)
    assert open_study(tmp_path / "copy").plan.id == study.plan.id, (
        "a study may be carried elsewhere"
    )


@pytest.mark.parametrize("text", ["", "{}", "[]", "[" * 5000, '{"id": "x", "plan": {"seed": 1}}'])
def test_a_file_that_is_no_plan_is_refused_in_one_sentence(study, text):
    (study.folder / "study.json").write_text(text, "utf-8")
    with pytest.raises(DataError, match="is no plan of a reader study"):
        open_study(study.folder)
    with pytest.raises(DataError, match="is no reader study"):
        open_study(study.folder / "elsewhere")


# ---------------------------------------------------------------- statistics


def test_fleiss_kappa_of_worked_examples():
    assert fleiss_kappa(WORKED) == pytest.approx(0.210, abs=5e-4)
    # By hand: 3 raters, 2 subjects; P = (1/3 + 1) / 2 = 2/3, shares 5/6 and 1/6, Pe = 26/36,
    # so kappa = (24/36 - 26/36) / (10/36) = -0.2.
    assert fleiss_kappa([[2, 1], [3, 0]]) == pytest.approx(-0.2)
    assert fleiss_kappa([[4, 0, 0], [0, 4, 0], [0, 0, 4]]) == 1
    assert fleiss_kappa([[1, 1], [1, 1]]) == -1


@pytest.mark.parametrize(
    "bad", [[[1, 0]], [[2, 0], [1, 0]], [[3, 0], [3, 0]], [], [[1.5, 0.5]], [[-1, 3]], [["a"]]]
)
def test_tables_without_a_kappa_are_refused(bad):
    with pytest.raises(DataError):
        fleiss_kappa(bad)


def test_readers_who_guess_agree_by_chance_and_readers_who_look_agree():
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 2, 400)
    guess = draw.integers(0, 2, (400, 3)).astype(float)
    chance = agreement(guess, 2)
    assert chance.interval[0] < 0 < chance.interval[1]
    seen = agreement(np.where(draw.random((400, 3)) < 0.8, truth[:, None], guess), 2)
    assert seen.interval[0] < seen.value < seen.interval[1]
    assert seen.interval[0] > 0.4
    one = agreement(guess[:, :1], 2)
    assert one.value is None
    assert "not defined for 1 reader" in one.note


def test_kappa_is_over_the_trials_that_all_readers_answered():
    chosen = np.array([[0, 0], [1, 1], [0, np.nan], [np.nan, 1]])
    assert (agreement(chosen, 2).n_trials, agreement(chosen, 2).value) == (2, 1.0)
    same = agreement(np.zeros((5, 2)), 2)
    assert same.value is None
    assert "one category" in same.note


def test_an_interval_with_trials_kept_together_is_wider_where_readers_see_the_same():
    truth = np.random.default_rng(1).random(40) < 0.7
    together = interval_by_trial(np.repeat(truth[:, None], 5, axis=1).astype(float))
    alone = share_of(int(truth.sum() * 5), 200, 0.5).interval
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])
    assert interval_by_trial([[1.0, 0.0]]) is None


def test_readers_who_answer_alike_are_better_by_chance_as_rarely_as_one_is():
    """At a level of 5 %, with 5 readers who all guess the same in each of 20 trials."""
    random = np.random.default_rng(2)
    called = 0
    for _ in range(400):
        guess = (random.random(20) < 0.5).astype(float)
        wavering = np.where(random.random((20, 5)) < 0.9, guess[:, None], 1 - guess[:, None])
        called += p_by_trial(wavering, 0.5) < 0.05
    assert called / 400 <= 0.085
    assert p_by_trial(np.ones((8, 5)), 0.5) == binomtest(8, 8, 0.5).pvalue


# ---------------------------------------------------------------- results


def test_results_are_what_was_answered(study):
    answer_all(study, "A", right=15)
    answer_all(study, "B", right=9)
    results = study.results()
    first, second = results.readers
    assert (first.share.right, first.share.n, first.share.value) == (15, 20, 0.75)
    assert first.share.p_value == binomtest(15, 20, 0.5).pvalue
    assert first.share.interval == pytest.approx((0.531, 0.888), abs=1e-3)
    assert second.share.right == 9
    assert (results.pooled.share.right, results.pooled.share.n) == (24, 40)
    assert (first.real.mean, first.synthetic.mean, first.real.n) == (4, 2, 3)
    assert first.seconds == 2.0
    assert results.kappa.n_trials == 20
    text = repr(results)
    assert "Reader A chose right in 15 of 20 (75%; 95 % interval 53% to 89%; chance 50%" in text
    assert "better than chance (p = 0.041)" in text
    assert "could not be told from chance at this n" in text
    assert "indistinguishable" not in text
    assert "real images 4.0 on average" in text


def test_kappa_of_two_readers_is_fleiss_by_hand(study):
    answer_all(study, "A", right=20)
    answer_all(study, "B", right=20)
    assert study.results().kappa.value == 1.0


def test_worse_than_chance_is_said_as_it_is(study):
    answer_all(study, "A", right=2)
    assert "worse than chance" in repr(study.results())
    assert "not defined for 1 reader" in repr(study.results())


def test_results_as_files(study):
    answer_all(study, "A", right=15)
    numbers, table = study.results().save()
    told = json.loads(numbers.read_text("utf-8"))
    assert told["pooled"]["share"]["right"] == 15
    assert told["study"] == study.plan.id
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    assert len(rows) == 26
    assert [int(row["number"]) for row in rows] == list(range(1, 27))
    assert sum(row["right"] == "True" for row in rows) == 15
    assert [r["rating"] for r in rows if r["rated_synthetic"] == "True"] == ["2"] * 3
    assert len(study.results().to_frame()) == 26


def test_no_answers_and_half_a_reading(study):
    nothing = study.results()
    assert nothing.sentences == ("No answers yet.",)
    assert nothing.pooled.share.value is None
    assert nothing.save()[1].read_text("utf-8").count("\n") == 1
    study.record("A", study.next("A"), 2, 1.0)
    text = repr(study.results())
    assert "Reader A has made no choice yet." in text
    assert "Reader A still has 25 to answer." in text


def test_simulated_readers_are_never_taken_for_persons(study):
    simulate_reader(study, "simulated 1")
    assert "drawn by a program" in repr(study.results())
    answer_all(study, "A", right=20)
    results = study.results()
    assert results.pooled.share.right == 20, "the person alone"
    assert any("Simulated readers are not among" in note for note in results.notes)


def test_a_skilled_simulated_reader_is_found_to_be_one(tmp_path):
    study = prepare(
        tmp_path, real=noise(1, 80), synthetic=noise(2, 240), trials=80, ratings=0, design="four"
    )
    simulate_reader(study, "simulated skilled", skill=0.8)
    simulate_reader(study, "simulated guess", skill=0.0)
    guess, skilled = study.results().readers
    assert guess.share.interval[0] < 0.25 < guess.share.interval[1]
    assert skilled.share.interval[0] > 0.6
