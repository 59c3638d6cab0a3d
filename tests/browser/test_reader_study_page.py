"""One reader's page alone: keys, time, pixels, and what it says when something is wrong."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
import pytest

from medgan_widgets.panels._panel import joined
from medgan_widgets.panels.reader_study import _Page
from medgan_widgets.studies.reader_study.plan import RATING_WORDS

CSS = joined("_panel.css", "reader_study.css")
START = {
    "kind": "start",
    "told": {
        "banner": "Research: half of these images are SYNTHETIC.",
        "lines": ["You read as A.", "Choose 20 times."],
        "answered": 0,
        "of": 20,
    },
}
PIXELS = """() => [...document.querySelectorAll('.mg-reader-choice canvas')].map((canvas) => {
  const { width, height } = canvas;
  const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  let text = '';
  for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i]);
  return btoa(text);
})"""


def images(count: int, side: int = 24) -> list[bytes]:
    draw = np.random.default_rng(count)
    return [draw.integers(0, 256, (side, side), np.uint8).tobytes() for _ in range(count)]


def trial(number: int = 1, part: str = "choice", **other: object) -> dict[str, object]:
    return {
        "kind": "trial",
        "token": f"t{number}",
        "number": number,
        "part": part,
        "question": "Which image is synthetic?" if part == "choice" else "How real is it?",
        "words": list(RATING_WORDS) if part == "rating" else [],
        "shape": [24, 24, 1],
        "kept": None,
        "spent": 0,
        "note": "",
        **other,
    }


@pytest.fixture
def reader(bare):
    widget = bare(str(_Page._esm), {}, css=CSS)
    reply(widget, START)
    return widget


def reply(reader, answer: dict[str, object], buffers: Sequence[bytes] = ()) -> None:
    """Answer the newest question of the page."""
    question = reader.sent()[-1]["content"]["id"]
    reader.receive({"id": question, **answer}, list(buffers))


def asked(reader) -> dict[str, object]:
    """The newest question, without its id."""
    content = reader.sent()[-1]["content"]
    return {name: value for name, value in content.items() if name != "id"}


def show(reader, count: int = 2, **other: object) -> list[bytes]:
    """Show a trial and wait until it is painted."""
    pictures = images(count)
    if not {"begin", "answer", "next"} & {asked(reader)["kind"]}:
        begin(reader)
    reply(reader, trial(**other), pictures)
    reader.page.evaluate("() => new Promise((r) => setTimeout(r, 80))")
    return pictures


def answers(reader) -> list[dict[str, object]]:
    return [m["content"] for m in reader.sent() if m["content"]["kind"] == "answer"]


def begin(reader) -> None:
    reader.page.keyboard.press("Tab")
    reader.page.keyboard.press("Enter")


def test_it_says_hello_and_shows_pictures_when_the_reader_is_ready(reader):
    assert asked(reader) == {"kind": "hello"}
    assert reader.page.get_by_text("You read as A.").is_visible()
    assert reader.page.get_by_text("half of these images are SYNTHETIC").is_visible()
    assert reader.page.locator("canvas").count() == 0
    begin(reader)
    assert asked(reader) == {"kind": "begin"}
    pictures = show(reader)
    assert [base64.b64decode(one) for one in reader.page.evaluate(PIXELS)] == pictures
    assert reader.page.get_by_text("1 of 20").is_visible()
    assert reader.errors() == []


def test_digits_and_arrows_choose_and_enter_goes_on(reader):
    begin(reader)
    told = (
        *(
            (2, ["1"], 0),
            (2, ["2"], 1),
            (2, ["ArrowRight"], 1),
            (2, ["ArrowRight", "ArrowLeft"], 0),
        ),
        *((2, ["3", "9", "1"], 0), (2, ["1", "2"], 1), (4, ["4"], 3), (4, ["1", "ArrowDown"], 2)),
        *((4, ["1", "ArrowRight", "ArrowDown"], 3), (4, ["2", "ArrowUp", "ArrowUp"], 1)),
    )
    for number, (count, keys, place) in enumerate(told, 1):
        show(reader, count, number=number)
        assert reader.page.get_by_role("radio", checked=True).count() == 0
        for key in keys:
            reader.page.keyboard.press(key)
        checked = reader.page.get_by_role("radio", checked=True)
        assert checked.get_attribute("aria-label") == f"image {place + 1}"
        assert len(answers(reader)) == number - 1, "a choice may be changed until Enter"
        reader.page.keyboard.press("Enter")
        answer = answers(reader)[-1]
        assert (answer["place"], answer["token"]) == (place, f"t{number}")


def test_a_rating_is_a_digit(reader):
    begin(reader)
    show(reader, 1, part="rating")
    reader.page.keyboard.press("ArrowRight")
    assert (
        reader.page.get_by_role("radio", checked=True).get_attribute("aria-label").startswith("3")
    )
    reader.page.keyboard.press("5")
    reader.page.keyboard.press("Enter")
    assert answers(reader)[0]["place"] == 5


def test_enter_without_a_choice_and_a_key_held_down_answer_nothing(reader):
    begin(reader)
    show(reader)
    reader.page.keyboard.press("Enter")
    assert reader.page.get_by_text("Choose first.").is_visible()
    reader.page.keyboard.press("1")
    reader.page.keyboard.down("Enter")
    show(reader, number=2)
    reader.page.keyboard.press("1")
    reader.page.keyboard.down("Enter")  # repeats, as the key was never let go
    assert len(answers(reader)) == 1


def test_enter_pressed_twice_answers_once(reader):
    begin(reader)
    show(reader)
    for key in ("1", "Enter", "Enter", "2", "Enter"):
        reader.page.keyboard.press(key)
    assert [one["place"] for one in answers(reader)] == [0], "until the kernel has replied"


def test_time_runs_from_the_painting_and_stands_still_while_hidden(reader):
    page = reader.page
    begin(reader)
    show(reader)
    hide = """(hidden) => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.wait_for_timeout(300)
    page.evaluate(hide, True)
    page.wait_for_timeout(1500)
    page.evaluate(hide, False)
    page.wait_for_timeout(200)
    page.keyboard.press("1")
    clock = page.evaluate("() => performance.now()")
    page.keyboard.press("Enter")
    (answer,) = answers(reader)
    assert 0.5 <= answer["seconds"] < clock / 1000 - 1.5
    show(reader, number=2, kept=1, spent=100.0)
    page.keyboard.press("Enter")
    assert answers(reader)[1]["place"] == 1
    assert answers(reader)[1]["seconds"] > 100, "what was spent before is not forgotten"


def test_a_refused_answer_stays_chosen_and_is_sent_again(reader):
    begin(reader)
    show(reader)
    reader.page.keyboard.press("2")
    reader.page.keyboard.press("Enter")
    reply(reader, {"kind": "refused", "note": "the disk is full; press Enter again"})
    assert reader.page.get_by_text("the disk is full").is_visible()
    assert reader.page.get_by_role("radio", checked=True).get_attribute("aria-label") == "image 2"
    reader.page.keyboard.press("Enter")
    assert [one["place"] for one in answers(reader)] == [1, 1]


def test_without_a_kernel_it_says_so_and_sends_nothing(reader):
    begin(reader)
    show(reader)
    reader.page.evaluate("() => document.body.classList.add('jupyter-widgets-disconnected')")
    reader.page.keyboard.press("1")
    reader.page.keyboard.press("Enter")
    assert reader.page.get_by_text("The kernel is gone").is_visible()
    assert answers(reader) == []


def test_the_truth_comes_with_feedback_and_in_the_review_alone(reader):
    begin(reader)
    show(reader)
    html = reader.page.evaluate("() => document.body.innerHTML")
    assert "REAL" not in html
    assert html.count("SYNTHETIC") == 1, "the banner"
    attributes = reader.page.evaluate(
        "() => [...document.querySelectorAll('.mg-reader-choice')].map((node) =>"
        " node.outerHTML.replace(/image \\d|<b>\\d<.b>/g, ''))"
    )
    assert attributes[0] == attributes[1], "no mark of any kind on either"
    reader.page.keyboard.press("1")
    reader.page.keyboard.press("Enter")
    marks = ["REAL", "SYNTHETIC"]
    reply(reader, {"kind": "feedback", "token": "t1", "text": "Wrong.", "marks": marks})
    assert reader.page.get_by_text("Wrong.").is_visible()
    assert reader.page.get_by_text("SYNTHETIC", exact=True).is_visible()
    reader.page.keyboard.press("Enter")
    assert asked(reader) == {"kind": "next", "token": "t1"}

    rows = [{"number": 1, "text": "wrong, 2.0 s", "marks": marks, "chosen": 0}]
    review = {"kind": "review", "page": 0, "pages": 2, "lines": ["Done <b>x</b>"], "rows": rows}
    reply(reader, {**review, "shape": [24, 24, 1]}, images(2))
    assert reader.page.get_by_text("Done <b>x</b>").is_visible(), "text stays text"
    assert reader.page.locator("figcaption").all_inner_texts()[1] == "SYNTHETIC"
    assert "your choice" in reader.page.locator("figcaption").first.inner_text()
    reader.page.keyboard.press("ArrowRight")
    assert asked(reader) == {"kind": "review", "page": 1}
    reply(reader, {**review, "page": 1, "shape": [24, 24, 1]}, images(2))
    reader.page.keyboard.press("s")
    assert asked(reader) == {"kind": "save"}
    assert reader.errors() == []


def test_nothing_is_wider_than_its_cell(reader):
    reader.page.set_viewport_size({"width": 420, "height": 800})
    for count in (2, 4):
        show(reader, count)
        assert reader.page.evaluate("() => document.documentElement.scrollWidth") <= 420


def test_a_second_view_shows_the_same_and_a_closed_one_listens_no_more(reader):
    begin(reader)
    show(reader)
    reader.add_view()
    assert reader.page.locator(".mg-reader-choice canvas").count() == 4
    reader.page.keyboard.press("2")
    assert reader.page.get_by_role("radio", checked=True).count() == 2
    reader.close_view(1)
    show(reader, number=2)
    assert reader.errors() == []
