"""The metrics plot's tables alone in a page: text, keyboard, narrow cells, what is asked for."""

from __future__ import annotations

import pytest

from medgan_widgets.panels._metrics_charts import SCORES, SPEED, score_row, usage_row
from medgan_widgets.panels.metrics_plot import Table
from medgan_widgets.requests import Measured, Score
from medgan_widgets.telemetry import Usage

HTML = "<img src=x onerror=window.errors.push('run')>"
FEW = Score("FID", 21.4, 199, 199, "inception-v3-compat", (18.0, 25.0), 12.0, 99, "n is small.")
SPEED_TABLE = {
    "title": "speed and memory",
    "what": "speed",
    "columns": list(SPEED),
    "numbers": list(range(2, len(SPEED))),
    "rows": [
        usage_row(Usage("phantom-styles", "cpu", 1280, 20, 19, 1, 0.42, 0.05, p50=0.1234)),
        usage_row(Usage("x" * 200, "cuda:0", device_bytes=2 * 10**9)),
        usage_row(Usage(HTML, "cpu")),
    ],
    "more": "",
    "log": False,
}
SCORE_TABLE = {
    "title": "quality",
    "what": "scores",
    "columns": list(SCORES),
    "numbers": [3, 4, 6],
    "rows": [
        score_row(Measured(FEW, "phantom-styles", HTML, truncation_psi=0.7)),
        score_row(Measured(Score("FD", 1.0, 999, 999, "e"), "y" * 200, "phantoms", kimg=40)),
    ],
    "more": "the last 100 of 300 scores are listed",
    "log": False,
}
WIDER = """() => [...document.querySelectorAll('.mg-board *')]
  .filter((node) => !node.closest('.mg-metrics-table')
    && node.getBoundingClientRect().right > document.documentElement.clientWidth)
  .map((node) => node.className || node.tagName)"""


@pytest.fixture
def table(bare):
    def mount(state, width=1000, dark=False, **changes):
        return bare(Table._esm, {**state, **changes}, css=Table._css, width=width, dark=dark)

    return mount


def test_what_is_measured_stands_in_named_tables_and_text_stays_text(table):
    page = table(SPEED_TABLE).page
    speed = page.get_by_role("region", name="speed and memory")
    assert speed.get_by_role("rowheader").nth(2).inner_text() == HTML
    assert "123" in speed.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts()
    assert page.evaluate("() => window.errors") == []

    page = table(SCORE_TABLE).page
    quality = page.get_by_role("region", name="quality")
    cells = quality.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts()
    assert cells[:6] == ["psi 0.7", "FID", "21.4", "18 to 25", "12 at n 99", "199 / 199"]
    assert cells[-2:] == [HTML, "n is small."]
    ink = "(row) => getComputedStyle(row.lastElementChild).color"
    faint, plain = (quality.locator("tbody tr").nth(n).evaluate(ink) for n in (0, 1))
    assert faint != plain, "a figure not to be leaned on is drawn fainter"
    assert page.get_by_text("the last 100 of 300 scores").is_visible()
    assert page.evaluate("() => window.errors") == []


@pytest.mark.parametrize("state", [SPEED_TABLE, SCORE_TABLE], ids=["speed", "quality"])
@pytest.mark.parametrize("width", [320, 1000, 1600])
def test_nothing_is_wider_than_its_cell(table, width, state):
    page = table(state, width).page
    assert page.evaluate(WIDER) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_every_control_and_the_table(table):
    page = table(SCORE_TABLE).page
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.getAttribute('aria-label')"))
    assert reached == [
        "logarithmic: quality", "Copy as CSV: quality", "Save as CSV: quality", "quality",
    ]  # fmt: skip
    page.get_by_label("logarithmic: quality").focus()
    page.keyboard.press("Space")
    assert page.evaluate("() => window.model.saved") == [{"log": True}]


def test_what_is_focused_stays_so_while_the_numbers_move(table):
    widget = table(SPEED_TABLE)
    button = widget.page.get_by_role("button", name="Save as CSV: speed and memory")
    button.focus()
    widget.set("rows", [usage_row(Usage("phantom-styles", "cpu", images=9999))])
    assert button.evaluate("(one) => one === document.activeElement")
    region = widget.page.get_by_role("region", name="speed and memory")
    assert "9,999" in region.inner_text()
    widget.page.keyboard.press("Enter")
    (sent,) = widget.sent()
    assert sent["content"]["kind"] == "csv"
    with widget.page.expect_download() as download:
        widget.receive({**sent["content"], "text": "a,b\n1,2\n"})
    assert download.value.suggested_filename == "speed.csv"
    assert download.value.path().read_text() == "a,b\n1,2\n"


def test_without_anything_measured_there_is_no_empty_table(table):
    page = table(SCORE_TABLE, dark=True, rows=[], more="").page
    assert page.get_by_role("table").count() == 0
    assert page.get_by_role("button").count() == 0
