"""A whole reading in a real JupyterLab: 20 trials with the keyboard alone, closed half way."""

from __future__ import annotations

import base64
import os

import numpy as np
import pytest

from medgan_widgets.studies.reader_study import open_study

SETUP = """import numpy as np
import medgan_widgets.studies.reader_study as readings
from medgan_widgets.panels import ReaderStudy
draw = np.random.default_rng(0)
real, fake = draw.integers(0, 256, (2, 24, 48, 48), np.uint8)
study = readings.prepare("study", real=real, synthetic=fake, trials=20, ratings=4)
panel = ReaderStudy(study, reader="A")
panel"""
PIXELS = """() => [...document.querySelectorAll('.mg-reader-trial canvas')].map((canvas) => {
  const rgba = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let text = '';
  for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i]);
  return btoa(text);
})"""
COUNT = "() => document.querySelector('.mg-reader-count')?.textContent || ''"
FOCUSED = "() => document.activeElement?.closest('.mg-reader') && document.activeElement.className"


def shoot(page, name: str) -> None:
    """Keep a picture to look at, where somebody asked for it."""
    if folder := os.environ.get("MEDGAN_SHOTS"):
        page.screenshot(path=f"{folder}/reader_{name}.png")


def shown(page) -> list[bytes]:
    return [base64.b64decode(one) for one in page.evaluate(PIXELS)]


def tab_to_begin(page) -> None:
    """Reach the panel from the notebook with Tab alone."""
    for _ in range(80):
        if "mg-reader-begin" in (page.evaluate(FOCUSED) or ""):
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab does not reach the panel")


def read(page, study, numbers: range, right: set[int]) -> None:
    """Answer some trials by key; those in ``right`` rightly, which only the test can know."""
    asked = study.asked("A")
    for number in numbers:
        page.wait_for_function(f"() => ({COUNT})() === '{number} of 24'")
        one = asked[number - 1]
        assert shown(page) == [image.tobytes() for image in study.pixels(one.rows)]
        page.wait_for_timeout(40)
        if one.kind == "rating":
            page.keyboard.press("2" if study.plan.synthetic[one.rows[0]] else "5")
        else:
            truth = [study.plan.synthetic[row] for row in one.rows].index(True)
            place = truth if number in right else 1 - truth
            page.keyboard.press(
                ["ArrowLeft", "ArrowRight"][place] if number % 2 else str(place + 1)
            )
        page.keyboard.press("Enter")


@pytest.mark.slow
def test_twenty_trials_with_the_keyboard_alone_closed_half_way(lab):
    name = lab.write("reading.ipynb", SETUP)
    notebook = lab.open(name, width=1000, height=1000)
    page = notebook.page
    notebook.run(0)
    page.locator(".mg-reader-begin").wait_for()
    study = open_study(lab.notebooks / "study")
    right = {5, 6, 7, 9, 10, 11, 13, 14, 16, 17, 19, 20, 22, 23, 24}  # 15 of the 20 choices

    tab_to_begin(page)
    page.keyboard.press("Enter")
    read(page, study, range(1, 13), right)
    page.wait_for_function(f"() => ({COUNT})() === '13 of 24'")
    shoot(page, "choice")
    before = shown(page)
    assert len(study.answers("A").given) == 12
    assert notebook.cells() == 1, "no key reached the notebook"

    # Closed half way: the page goes, the kernel too, and another one starts.
    page.close()
    lab.shut_down_kernels()
    notebook = lab.open(name, width=1000, height=1000)
    page = notebook.page
    notebook.run(0)
    page.get_by_text("12 of 24 answered").first.wait_for()
    tab_to_begin(page)
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => ({COUNT})() === '13 of 24'")
    assert shown(page) == before, "the same pictures on the same sides"
    read(page, study, range(13, 25), right)

    # The review comes, and only now the truth.
    page.get_by_text("Reader A chose right in 15 of 20").first.wait_for()
    assert page.locator(".mg-reader-row figcaption").count() >= 4
    shoot(page, "review")
    page.keyboard.press("s")
    page.get_by_text("Saved: results.json and results.csv.").wait_for()

    given = study.answers("A").given
    assert len(given) == 24
    assert len({(one.kind, one.trial) for one in given}) == 24, "nothing was asked twice"
    assert sum(one.resumed for one in given) == 1
    assert all(0 < one.seconds < 60 for one in given)
    results = study.results()
    (reader,) = results.readers
    assert (reader.share.right, reader.share.n) == (15, 20)
    assert (reader.real.mean, reader.synthetic.mean) == (5, 2)
    assert (lab.notebooks / "study" / "results.csv").exists()
    assert np.isclose(results.pooled.share.value, 0.75)
    assert notebook.cells() == 1
    assert notebook.console_errors == []
