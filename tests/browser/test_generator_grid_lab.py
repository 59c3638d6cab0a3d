"""The grid in a real JupyterLab, with an engine that needs no weights: one story a test."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from medgan_widgets.exporting import restore
from tests.fake_engine import FakeEngine

SET_UP = """
from tests.fake_engine import FakeEngine
from medgan_widgets.panels.generator_grid import GeneratorGrid
engine = FakeEngine(size=32)
grid = GeneratorGrid(images=6, seed=5, engine=engine)
"""
PIXELS = """(place) => {
  const canvas = document.querySelector(`[data-place="${place}"] canvas`);
  return [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data];
}"""


def pixels(page: Any, place: int) -> Any:
    return np.array(page.evaluate(PIXELS, place), np.uint8).reshape(32, 32, 4)[..., 0]


def made(page: Any, count: int) -> None:
    page.wait_for_function(
        "(n) => document.querySelectorAll('.mg-grid .mg-made').length === n", arg=count
    )


def expected(seed: int) -> Any:
    return FakeEngine(size=32).pixels(seed)[..., 0]


def test_generate_paints_and_the_buttons_work_while_another_cell_runs(lab):
    opened = lab.open(lab.write("a.ipynb", SET_UP + "grid", "import time; time.sleep(12)"))
    page = opened.page
    opened.run(0)
    page.get_by_role("button", name="Generate").click()
    made(page, 6)
    for place in range(6):
        assert np.array_equal(pixels(page, place), expected(5 + place))
    opened.start(1)
    page.get_by_label("seed", exact=True).fill("100")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_function(
        "() => document.querySelector('[data-place=\"5\"]').innerText.includes('seed 105')",
        timeout=11_000,
    )
    page.wait_for_function(
        "() => document.querySelector('.mg-status').textContent.includes('100 to 105')"
    )
    running = "() => jupyterapp.shell.currentWidget.content.widgets[1].model.executionState"
    assert page.evaluate(running) == "running", "all that happened beside the other cell"
    assert np.array_equal(pixels(page, 0), expected(100))
    assert opened.console_errors == []
    opened.finished(1)


def test_keys_stay_in_the_grid_and_a_reload_or_a_second_view_shows_the_same(lab):
    opened = lab.open(lab.write("b.ipynb", SET_UP + "grid.generate().wait()\ngrid", "1 + 1"))
    page = opened.page
    opened.run(0)
    made(page, 6)
    for target in ('[data-place="1"]', ".mg-generate", ".mg-factors select"):
        page.locator(target).first.focus()
        for key in ("d", "d", "x", "a"):
            page.keyboard.press(key)
        assert opened.cells() == 2, target
    opened.save()
    opened.reload()
    made(page, 6)
    assert np.array_equal(pixels(page, 5), expected(10))
    page.locator(".mg-head").first.wait_for(state="attached")
    opened.command("notebook:create-output-view")
    page.wait_for_function("() => document.querySelectorAll('.mg-grid .mg-made').length === 12")


def test_one_png_and_the_zip_are_downloaded_with_their_recipes(lab):
    opened = lab.open(lab.write("c.ipynb", SET_UP + "grid"))
    page = opened.page
    opened.run(0)
    page.get_by_label("tumour").select_option(label="yes")
    page.get_by_role("button", name="Generate").click()
    made(page, 6)
    page.locator('[data-place="2"]').click(modifiers=["Control"])
    with page.expect_download() as download:
        page.get_by_role("button", name="PNG").click()
    assert download.value.suggested_filename == "phantom-brain-mri_seed7_synthetic.png"
    request = restore(download.value.path())
    assert (request.seeds, dict(request.condition)) == ((7,), {"tumour": True})
    with page.expect_download() as download:
        page.get_by_role("button", name="Zip").click()
    archive = zipfile.ZipFile(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert archive.namelist()[0] == "phantom-brain-mri_seed7_synthetic.png"


def test_a_restarted_kernel_is_said_and_the_images_stay(lab):
    opened = lab.open(lab.write("d.ipynb", SET_UP + "grid"))
    page = opened.page
    opened.run(0)
    page.get_by_role("button", name="Generate").click()
    made(page, 6)
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    page.wait_for_function(
        "() => document.querySelector('.mg-note').textContent.includes('No kernel is behind')"
    )
    assert page.locator(".mg-made").count() == 6
