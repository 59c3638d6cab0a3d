"""The reader's panel through a fake wire: what it sends, keeps, hides and goes on with."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.panels import ReaderStudy
from medgan_widgets.studies.reader_study import Study, prepare
from medgan_widgets.studies.reader_study.answers import file_of
from tests.simulated import simulate_reader


class Page:
    """Plays the browser: catches what is sent, and answers with keys that a reader would press."""

    def __init__(self, panel: ReaderStudy) -> None:
        self.panel = panel
        self.messages: list[dict[str, Any]] = []
        self.buffers: list[list[bytes]] = []
        panel.page.send = self._catch
        self.say(kind="hello")

    def _catch(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        json.dumps(content, allow_nan=False)
        self.messages.append(content)
        self.buffers.append(list(buffers or []))

    def say(self, **content: Any) -> dict[str, Any]:
        self.panel.page._handle_custom_msg({"id": "q", **content}, [])
        return self.last

    @property
    def last(self) -> dict[str, Any]:
        return self.messages[-1]

    def begin(self) -> dict[str, Any]:
        return self.say(kind="begin")

    def answer(self, place: int, seconds: float = 1.5, **other: Any) -> dict[str, Any]:
        return self.say(
            **{"kind": "answer", "token": self.last["token"], "place": place, "seconds": seconds},
            **other,
        )


def noise(seed: int, count: int = 30) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 16), np.uint8)


@pytest.fixture
def study(tmp_path) -> Study:
    return prepare(tmp_path / "study", real=noise(1), synthetic=noise(2), trials=6, ratings=4)


@pytest.fixture
def panel(study) -> Iterator[ReaderStudy]:
    made = ReaderStudy(study.folder, "A")
    yield made
    made.close()


def answer_all(page: Page, panel: ReaderStudy, right: int) -> None:
    plan = panel.study.plan
    page.begin()
    for asked in panel.study.asked("A"):
        if asked.kind == "rating":
            page.answer(3)
            continue
        target = asked.rows.index(plan.trials[asked.trial][plan.target(asked.trial)])
        page.answer(target if right > 0 else 1 - target)
        right -= 1


def test_pictures_come_when_the_reader_is_ready_and_one_after_the_other(study, panel):
    page = Page(panel)
    assert page.last["kind"] == "start"
    assert "SYNTHETIC" in page.last["told"]["banner"]
    assert page.buffers[-1] == [], "nothing is shown before"
    page.begin()
    assert (page.last["kind"], page.last["number"], page.last["part"]) == ("trial", 1, "rating")
    for place in (1, 5, 3, 2):
        page.answer(place)
    assert (page.last["number"], page.last["part"]) == (5, "choice")
    assert page.last["question"] == "Which image is synthetic?"
    expected = [image.tobytes() for image in study.pixels(study.asked("A")[4].rows)]
    assert page.buffers[-1] == expected
    page.answer(0, seconds=2.25)
    assert panel.status == "Reader A: 5 of 10 answered."
    assert study.answers("A").given[-1].seconds == 2.25
    assert repr(panel) == "ReaderStudy(reader='A', answered=5, of=10)"


def test_the_page_learns_nothing_but_pixels_until_the_end(study, panel):
    """Every message of a trial has the same keys, and all pictures of it the same length."""
    page = Page(panel)
    page.begin()
    for _ in range(9):
        page.answer(1)
    trials = [(m, b) for m, b in zip(page.messages, page.buffers, strict=True) if b]
    assert len(trials) == 10
    told = {
        "id",
        "kind",
        "token",
        "number",
        "part",
        "question",
        "words",
        "shape",
        "kept",
        "spent",
        "note",
    }
    for message, buffers in trials:
        assert set(message) == told
        assert {len(data) for data in buffers} == {256}
    everything = json.dumps(page.messages).lower()
    for secret in (
        '"taken"',
        '"target"',
        '"right"',
        '"marks"',
        study.plan.id,
        ".npy",
        str(study.folder),
    ):
        assert secret not in everything, secret
    assert not {name for name in panel.page.keys if not name.startswith("_")} - {
        *("layout", "tabbable", "tooltip")
    }, "no trait that a saved notebook would keep"
    assert panel._picture() is None, "and no picture without a mark"
    assert len({message["token"] for message, _ in trials}) == 10


def test_another_panel_goes_on_at_the_same_trial(study, panel):
    page = Page(panel)
    page.begin()
    for _ in range(6):
        page.answer(1)
    shown, pictures = page.last, page.buffers[-1]
    panel.close()

    again = ReaderStudy(study.folder, "A")
    there = Page(again)
    assert (there.last["told"]["answered"], there.last["told"]["of"]) == (6, 10)
    there.begin()
    assert there.last["number"] == shown["number"] == 7
    assert there.buffers[-1] == pictures, "the same pictures on the same sides"
    there.answer(0)
    there.answer(0)
    given = study.answers("A").given
    assert len(given) == 8
    assert [one.resumed for one in given[6:]] == [True, False], "its pictures had been seen"
    again.close()


def test_an_answer_sent_twice_counts_once(study, panel):
    page = Page(panel)
    token = page.begin()["token"]
    page.answer(2)
    page.say(kind="answer", token=token, place=5, seconds=1.0)
    assert page.last["number"] == 2, "what is open now is shown again"
    assert [one.chosen for one in study.answers("A").given] == [2]


def test_two_panels_on_one_reader_ask_nothing_twice(study, panel):
    other = ReaderStudy(study.folder, "A")
    first, second = Page(panel), Page(other)
    first.begin()
    second.begin()
    first.answer(2)
    second.answer(5)
    assert "answered in another panel" in second.last["note"]
    assert second.last["number"] == 2
    second.answer(4)
    first.answer(1)
    assert first.last["number"] == 3
    assert [one.chosen for one in study.answers("A").given] == [2, 4]
    other.close()


def test_a_full_disk_loses_no_answer(study, panel, monkeypatch):
    page = Page(panel)
    trial = page.begin()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        page.answer(4, 2.5)
    assert page.last["kind"] == "refused"
    assert "the disk is full" in page.last["note"]
    assert "the disk is full" in panel.error
    assert study.answers("A").given == ()

    page.say(kind="hello")  # the page is loaded again meanwhile
    page.begin()
    assert (page.last["kept"], page.last["spent"]) == (4, 2.5), "it is still chosen"
    page.answer(page.last["kept"], 2.75)
    assert panel.error == ""
    assert study.answers("A").given[0].chosen == 4
    assert page.last["number"] == 2
    assert trial["kept"] is None


def test_a_folder_changed_under_it_takes_no_answer(study, panel):
    page = Page(panel)
    page.begin()
    plan = study.folder / "study.json"
    text = plan.read_bytes()
    plan.write_bytes(text.replace(b'"seed": 0', b'"seed": 1'))
    page.answer(3)
    assert page.last["kind"] == "refused"
    assert "was changed after it was made" in panel.error
    plan.write_bytes(text)
    page.say(kind="begin")
    page.answer(3)
    assert len(study.answers("A").given) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"place": "1", "seconds": 1}, {"place": 1, "seconds": None}, {"place": 99, "seconds": 1},
        {"place": 1, "seconds": -1}, {"place": None, "seconds": 1}, {"place": 1, "seconds": 1e300},
        {"place": 2.5, "seconds": 1}, {"place": True, "seconds": 1}, {},
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_is_refused(study, panel, content):
    page = Page(panel)
    token = page.begin()["token"]
    page.say(kind="answer", token=token, **content)
    assert page.last["kind"] == "refused"
    assert study.answers("A").given == ()
    page.say(kind="answer", token=token, place=3, seconds=1)
    assert panel.error == ""
    assert len(study.answers("A").given) == 1


@pytest.mark.parametrize("content", [None, "x", [], {}, {"kind": "?"}, {"kind": []}])
def test_a_message_that_is_none_is_passed_over(panel, content):
    page = Page(panel)
    before = len(page.messages)
    panel.page._handle_custom_msg(content, [])
    assert len(page.messages) == before


def test_nobody_gets_the_truth_early(panel):
    page = Page(panel)
    page.begin()
    for ask in (
        {"kind": "review", "page": 0},
        {"kind": "save"},
        {"kind": "next", "token": page.last["token"]},
    ):
        page.say(**ask)
        assert page.last["kind"] in ("refused", "trial")
        assert "rows" not in page.last
    assert not (panel.study.folder / "results.csv").exists()


def test_the_review_marks_every_image(study, panel):
    page = Page(panel)
    answer_all(page, panel, right=4)
    review = page.last
    assert (review["kind"], review["page"], review["pages"]) == ("review", 0, 2)
    assert "Reader A chose right in 4 of 6" in review["lines"][1]
    rows = review["rows"] + page.say(kind="review", page=1)["rows"]
    assert len(rows) == 10
    for row, asked in zip(rows, study.asked("A"), strict=True):
        marks = ["SYNTHETIC" if study.plan.synthetic[one] else "REAL" for one in asked.rows]
        assert row["marks"] == marks
    assert [row["text"].split(",")[0] for row in rows[4:]] == ["right"] * 4 + ["wrong"] * 2
    assert page.say(kind="review", page=99)["page"] == 1
    assert "results.csv" in page.say(kind="save")["note"]
    assert (study.folder / "results.json").exists()
    assert panel.done
    assert panel.snapshot().image.height > 200


def test_a_study_without_a_review_ends_without_the_truth(study):
    panel = ReaderStudy(study, "A", review=False)
    page = Page(panel)
    answer_all(page, panel, right=6)
    assert (page.last["pages"], page.last["rows"]) == (0, [])
    assert page.last["lines"] == ["Done: 10 of 10 answered. Thank you."]
    assert page.say(kind="save")["kind"] == "refused"
    assert panel._picture() is None
    panel.close()


def test_feedback_only_where_it_was_asked_for(study):
    panel = ReaderStudy(study, "A", feedback=True)
    page = Page(panel)
    page.begin()
    for _ in range(4):
        page.answer(3)
    assert page.last["part"] == "choice", "a rating has no right or wrong"
    asked = study.asked("A")[4]
    target = asked.rows.index(study.plan.trials[asked.trial][study.plan.target(asked.trial)])
    page.answer(target)
    assert page.last["kind"] == "feedback"
    assert page.last["text"] == "Right."
    assert page.last["marks"][target] == "SYNTHETIC"
    page.say(kind="next", token=page.last["token"])
    assert page.last["number"] == 6
    panel.close()


def test_a_damaged_line_is_told_and_asked_again(study):
    simulate_reader(study, "simulated A", most=2)
    path = file_of(study.folder, "simulated A")
    path.write_bytes(path.read_bytes()[:-20])
    panel = ReaderStudy(study, "simulated A")
    assert "line 2 of simulated A is left out" in panel.status
    assert Page(panel).begin()["number"] == 2
    panel.close()


@pytest.mark.parametrize("name", ["../x", "<img src=x onerror=alert(1)>", "a/b", "", None, 7])
def test_a_name_that_cannot_be_one_is_refused(study, name):
    with pytest.raises(RequestError, match="a reader is a pseudonym"):
        ReaderStudy(study, name)


def test_a_folder_that_is_no_study_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no reader study"):
        ReaderStudy(tmp_path, "A")


def test_a_closed_panel_takes_no_answers(study, panel):
    page = Page(panel)
    page.begin()
    panel.close()
    before = len(page.messages)
    page.answer(3)
    assert len(page.messages) == before
    assert study.answers("A").given == ()
