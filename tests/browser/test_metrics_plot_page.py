"""The metrics plot's tables alone in a page: text, keyboard, narrow cells, what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from medgan_widgets.panels._metrics_lines import COLUMNS, score_row, usage_row
from medgan_widgets.panels._scripts import joined
from medgan_widgets.requests import Measured, Score
from medgan_widgets.telemetry import Usage

FOLDER = Path(__file__).parents[2] / "medgan_widgets" / "panels"
HTML = "<img src=x onerror=window.errors.push('run')>"
FEW = Score("FID", 21.4, 199, 199, "inception-v3-compat", (18.0, 25.0), 12.0, 99, "n is small.")
STATE = {
    "columns": list(COLUMNS),
    "rows": [
        usage_row(Usage("phantom-styles", "cpu", 1280, 20, 19, 1, 0.42, 0.05, p50=0.1234)),
        usage_row(Usage("x" * 200, "cuda:0", device_bytes=2 * 10**9)),
        usage_row(Usage(HTML, "cpu")),
    ],
    "scores": [
        score_row(Measured(FEW, "phantom-styles", HTML, truncation_psi=0.7)),
        score_row(Measured(Score("FD", 1.0, 999, 999, "e"), "y" * 200, "phantoms", kimg=40)),
    ],
    "more": "",
    "log": False,
}
WIDER = """() => [...document.querySelectorAll('.mg-board *')]
  .filter((node) => !node.closest('.mg-metrics-table')
    && node.getBoundingClientRect().right > document.documentElement.clientWidth)
  .map((node) => node.className || node.tagName)"""


@pytest.fixture
def board(bare):
    def mount(width=1000, dark=False, **state):
        css = (FOLDER / "metrics_plot.css").read_text("utf-8")
        script = joined("_monitor_base.js", "_clipboard.js", "metrics_plot.js")
        return bare(script, {**STATE, **state}, css=css, width=width, dark=dark)

    return mount


def test_what_is_measured_stands_in_two_named_tables_and_text_stays_text(board):
    page = board().page
    speed = page.get_by_role("region", name="speed and memory")
    quality = page.get_by_role("region", name="quality")
    assert speed.get_by_role("rowheader").nth(2).inner_text() == HTML
    assert "123" in speed.get_by_role("row").nth(1).inner_text().split("\t")
    cells = quality.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts()
    assert cells[:6] == ["psi 0.7", "FID", "21.4", "18 to 25", "12 at n 99", "199 / 199"]
    assert cells[-1] == "n is small."
    ink = "(row) => getComputedStyle(row.lastElementChild).color"
    faint, plain = (quality.locator("tbody tr").nth(n).evaluate(ink) for n in (0, 1))
    assert faint != plain, "a figure not to be leaned on is drawn fainter"
    assert page.evaluate("() => window.errors") == []


@pytest.mark.parametrize("width", [320, 1000, 1600])
def test_nothing_is_wider_than_its_cell(board, width):
    page = board(width).page
    assert page.evaluate(WIDER) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_every_button_and_both_tables(board):
    page = board().page
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("""() => { const one = document.activeElement;
              return one.getAttribute('aria-label') || one.closest('label')?.textContent }""")
        )
    assert reached == [
        "Copy as CSV: speed and memory", "Save as CSV: speed and memory", "speed and memory",
        "Copy as CSV: quality", "Save as CSV: quality", "quality", "logarithmic axes",
    ]  # fmt: skip
    page.keyboard.press("Space")
    assert page.evaluate("() => window.model.saved") == [{"log": True}]


def test_what_is_focused_stays_so_while_the_numbers_move(board):
    widget = board()
    button = widget.page.get_by_role("button", name="Save as CSV: speed and memory")
    button.focus()
    widget.set("rows", [usage_row(Usage("phantom-styles", "cpu", images=9999))])
    assert button.evaluate("(one) => one === document.activeElement")
    region = widget.page.get_by_role("region", name="speed and memory")
    assert "9,999" in region.inner_text()
    widget.page.keyboard.press("Enter")
    (sent,) = widget.sent()
    assert sent["content"] == {"kind": "csv", "what": "speed", "how": "file"}
    with widget.page.expect_download() as download:
        widget.receive({"kind": "csv", "what": "speed", "how": "file", "text": "a,b\n1,2\n"})
    assert download.value.suggested_filename == "speed.csv"
    assert download.value.path().read_text() == "a,b\n1,2\n"


def test_without_anything_measured_there_is_no_empty_table(board):
    page = board(rows=[], scores=[], dark=True).page
    assert page.get_by_role("table").count() == 0
    assert page.get_by_role("button").count() == 0
