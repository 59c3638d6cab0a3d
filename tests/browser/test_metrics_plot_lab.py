"""The metrics plot in a real JupyterLab: it moves while images are made, and says what it cost."""

from __future__ import annotations

import csv
import io

import pytest

STUDIO = """import medgan_widgets as mw
from medgan_widgets.requests import Measured, Score

studio = mw.Studio(model="phantom-styles", images=64)
studio.top.selected = 1
studio"""
SCORES = """for psi, value in ((0.5, 5.2), (0.75, 3.1), (1.0, 2.4)):
    score = Score("FD", value, 200, 200, "phantom-cnn-1", (value - 1, value + 1), 1.2)
    studio.metrics.add(Measured(score, "phantom-styles", "phantoms", truncation_psi=psi))
told = studio.grid._engine.telemetry.usage("phantom-styles")
print(f"{told.p50 * 1e3:.3g} {told.images} {told.hits}")"""
CURVE = "() => document.querySelector('.mg-metrics-box .mg-curves .line')?.getAttribute('d') || ''"
WIDER = """() => {
  const box = document.querySelector('.mg-metrics-box');
  const edge = box.getBoundingClientRect().right + 1;
  return [...box.querySelectorAll('*')].filter((n) => n.getClientRects().length
    && !n.closest('.mg-metrics-table, svg, .bqplot')
    && n.getBoundingClientRect().right > edge).map((n) => n.className || n.tagName);
}"""


@pytest.mark.parametrize("width", [1000])
@pytest.mark.slow
def test_it_moves_while_images_are_made_and_says_what_the_engine_measured(lab, width):
    notebook = lab.open(lab.write("judged.ipynb", STUDIO, SCORES), width=width)
    page = notebook.page
    notebook.run(0)
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function(
        "() => document.querySelectorAll('.mg-tile.mg-made').length === 64", timeout=60_000
    )
    page.get_by_role("tab", name="Metrics").click()
    table = page.get_by_role("region", name="speed and memory")
    table.wait_for()
    assert table.get_by_role("row").nth(1).get_by_role("cell").nth(1).inner_text() == "64"
    page.wait_for_function(f"({CURVE})().length > 20")
    before = page.evaluate(CURVE)

    page.get_by_role("tab", name="Generate").click()
    page.get_by_role("button", name="Generate", exact=True).click()
    page.wait_for_function(
        "() => document.querySelectorAll('.mg-tile.mg-made').length === 64", timeout=60_000
    )
    assert page.evaluate(CURVE) == before, "hidden, it is sent nothing"
    page.get_by_role("tab", name="Metrics").click()
    page.wait_for_function(f"(before) => ({CURVE})() !== before", arg=before)
    page.wait_for_function(
        "() => document.querySelector('.mg-metrics-table td:nth-child(3)').textContent === '128'"
    )

    notebook.run(1)
    p50, images, hits = notebook.output(1).split()
    cells = table.get_by_role("row").nth(1).get_by_role("cell").all_inner_texts()
    assert (cells[1], cells[2]) == (images, p50)
    assert cells[8] == f"{hits} of 2" == "1 of 2"

    quality = page.get_by_role("region", name="quality")
    quality.wait_for()
    assert quality.get_by_role("row").count() == 4
    plot = page.locator(".mg-curves").filter(has_text="FD (phantom-cnn-1) against phantoms")
    plot.wait_for()
    entry = plot.get_by_role("button", name="phantom-styles")
    entry.focus()
    page.keyboard.press("Enter")  # the legend takes a curve away, and brings it back
    page.wait_for_function(
        "(one) => one.getAttribute('aria-pressed') === 'false'", arg=entry.element_handle()
    )
    plot.locator(".dot").first.wait_for(state="hidden")
    entry.click()
    plot.locator(".dot").first.wait_for()
    plot.locator(".dot").nth(1).hover(force=True)
    tip = page.locator(".tooltiptext", has_text="phantom-styles: FD 3.1 [2.1, 4.1], n 200 / 200")
    tip.wait_for()

    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV: quality").click()
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [(row["truncation_psi"], row["value"]) for row in rows][1] == ("0.75", "3.1")
    for cell in ("100%", "320px", "1600px"):
        page.evaluate(
            "(cell) => { document.querySelector('.mg-studio').style.width = cell; }", cell
        )
        assert page.evaluate(WIDER) == [], cell
    assert notebook.console_errors == []
