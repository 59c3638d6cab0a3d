"""The Studio in a real JupyterLab, from the first click to the pixels on screen."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from medgan_widgets.engine import Engine
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import seeds_from

MODEL = "phantom-brain-mri"
STUDIO = "import medgan_widgets as mw\nstudio = mw.Studio()\nstudio"
GENERATE = STUDIO.replace("()", "()\nstudio.top.selected = 1")
SLOW = """import time
import medgan_widgets as mw

class Slow(mw.Engine):
    def generate(self, request):
        for batch in super().generate(request):
            time.sleep(0.4)
            yield batch

studio = mw.Studio(images=64, engine=Slow(device="cpu"))
studio.top.selected = 1
studio"""
PIXELS = """(number) => {
  const grid = document.querySelectorAll('.mg-grid')[number];
  return [...grid.querySelectorAll('.mg-tile.mg-made canvas')].map((canvas) => {
    const { width, height } = canvas;
    const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
    let text = '';
    for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i]);
    return [height, width, btoa(text)];
  });
}"""
WIDER = """() => {
  const box = document.querySelector('.mg-studio');
  const edge = box.getBoundingClientRect().right + 1;
  const wide = [...box.querySelectorAll('*')].filter((n) => n.offsetParent
    && n.getBoundingClientRect().right > edge
    && getComputedStyle(n).position !== 'absolute').map((n) => n.className || n.tagName);
  const cell = box.closest('.jp-OutputArea-output');
  if (cell.scrollWidth > cell.clientWidth + 1) wide.push('the cell scrolls sideways');
  return wide;
}"""


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(device="cpu")


def expected(engine, seed: int = 0, count: int = 16, **condition) -> np.ndarray:
    request = GenerateRequest(MODEL, seeds=seeds_from(seed, count), condition=condition)
    return engine.images(request)[..., 0]


def painted(page, count: int, number: int = 0) -> np.ndarray:
    """Wait for the tiles of one grid; return the pixels on their canvases, [N, H, W]."""
    page.wait_for_function(
        "([number, count]) => document.querySelectorAll('.mg-grid')[number]"
        "?.querySelectorAll('.mg-tile.mg-made canvas').length === count",
        arg=[number, count],
        timeout=60_000,
    )
    tiles = page.evaluate(PIXELS, number)
    return np.stack(
        [
            np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)
            for height, width, text in tiles
        ]
    )


def press_generate(page, number: int = 0) -> None:
    page.locator(".mg-grid").nth(number).get_by_role("button", name="Generate").click()


def status(page) -> str:
    return page.locator(".mg-page-1 .mg-status").text_content()


def wait_for_status(page, text: str) -> None:
    page.locator(".mg-page-1 .mg-status", has_text=text).wait_for(timeout=60_000)


def test_the_notebook_of_the_readme_paints_sixteen_images(lab, root, engine):
    name = lab.copy(root / "notebooks" / "01_studio.ipynb")
    lab.trust(name)
    opened = lab.open(name, width=1000)
    page = opened.page
    opened.run(1)
    opened.run(2)

    rows = page.locator(".mg-page-0").get_by_role("row")
    page.wait_for_function(
        "() => document.querySelectorAll('.mg-page-0 [role=row], .mg-page-0 tr').length >= 27"
    )
    assert rows.filter(has_text=MODEL).count() >= 1
    page.get_by_role("tab", name="Generate").click()
    press_generate(page)

    assert np.array_equal(painted(page, 16), expected(engine))
    assert page.evaluate(WIDER) == []
    marks = page.locator(".mg-grid .mg-tile .mg-mark").all_text_contents()
    assert len(marks) == 16
    assert all("SYNTHETIC" in mark for mark in marks)

    opened.save()
    opened.reload()
    page.locator(".mg-studio").first.wait_for(timeout=60_000)
    assert np.array_equal(painted(page, 16), expected(engine))
    assert opened.console_errors == []


def test_choosing_a_model_carries_it_to_the_grid(lab):
    opened = lab.open(lab.write("choose.ipynb", STUDIO, "print(studio.tab, studio.grid.model)"))
    page = opened.page
    opened.run(0)
    assert page.get_by_role("tab", name="Explore").get_attribute("aria-selected") == "true"
    page.locator(".mg-page-0").get_by_text(MODEL, exact=True).first.click()
    page.get_by_role("button", name="Use this model").click()
    page.locator(".mg-grid").get_by_role("button", name="Generate").wait_for()
    opened.run(1)
    assert opened.output(1).split() == ["Generate", MODEL]


def test_the_kernel_answers_while_it_generates_and_cancel_stops(lab, engine):
    waiting = (
        "from medgan_widgets.errors import JobCancelled\n"
        "try:\n    await studio.grid.generate()\n"
        "except JobCancelled:\n    print('cancelled')"
    )
    opened = lab.open(lab.write("slow.ipynb", SLOW, "print(studio.grid.job.state, 6 * 7)", waiting))
    page = opened.page
    opened.run(0)
    press_generate(page)
    page.locator(".mg-tile.mg-made").first.wait_for()

    opened.run(1, seconds=20)
    assert opened.output(1).split() == ["running", "42"]
    page.get_by_role("button", name="Cancel").click()
    wait_for_status(page, "Cancelled after")
    made = page.locator(".mg-tile.mg-made").count()
    assert 0 < made < 64
    assert np.array_equal(painted(page, made), expected(engine, count=made))
    page.wait_for_timeout(1000)
    assert page.locator(".mg-tile.mg-made").count() == made, "it went on after Cancel"

    opened.start(2)  # a cell that awaits the job leaves Cancel alive too
    wait_for_status(page, "Making 64")
    page.get_by_role("button", name="Cancel").click()
    opened.finished(2, seconds=15)
    assert "cancelled" in opened.output(2)


@pytest.mark.slow
def test_two_studios_do_not_mix(lab, engine):
    other = "second = mw.Studio(seed=100, images=4)\nsecond.top.selected = 1\nsecond"
    opened = lab.open(lab.write("two.ipynb", GENERATE, other), height=2000)
    page = opened.page
    opened.run(0)
    opened.run(1)
    page.locator(".mg-grid").nth(1).wait_for()
    press_generate(page, 0)
    press_generate(page, 1)
    assert np.array_equal(painted(page, 16, 0), expected(engine))
    assert np.array_equal(painted(page, 4, 1), expected(engine, 100, 4))


@pytest.mark.slow
def test_fifty_clicks_and_a_restarted_kernel_lose_nothing(lab, engine):
    opened = lab.open(lab.write("fifty.ipynb", GENERATE, "7 * 6"))
    page = opened.page
    opened.run(0)
    button = page.locator(".mg-grid").get_by_role("button", name="Generate")
    button.evaluate("(b) => { for (let i = 0; i < 50; i += 1) b.click(); }")
    wait_for_status(page, "made on cpu")
    assert np.array_equal(painted(page, 16), expected(engine))
    opened.run(1)
    assert opened.output(1) == "42"

    page.evaluate(
        "async () => {"
        " await window.jupyterapp.shell.currentWidget.sessionContext.restartKernel(); }"
    )
    opened.wait_for_kernel()
    button.click()
    page.locator(".mg-note", has_text="kernel").wait_for(timeout=15_000)
    assert np.array_equal(painted(page, 16), expected(engine))
    said = page.locator(".mg-studio, .mg-studio *").evaluate_all(
        "(nodes) => nodes.map((node) => getComputedStyle(node, '::before').content)"
        ".filter((text) => text.includes('then this one') || text.includes('\uf127'))"
    )
    assert len(said) == 1, "one sentence, not a broken link on every widget"


@pytest.mark.slow
def test_nothing_is_cut_or_overlaps(lab, tmp_path):
    """Beside Lab's file browser too; the pictures stay in pytest's folder for a person to look."""
    opened = lab.open(lab.write("look.ipynb", STUDIO))
    page = opened.page
    opened.run(0)
    page.locator(".mg-page-0").get_by_text(MODEL, exact=True).first.wait_for()
    chip = page.locator(".mg-explorer .mg-mark").first
    assert chip.evaluate("(e) => getComputedStyle(e).position") == "static", "styled as a tile's"
    for tab in ("Explore", "Generate"):
        page.get_by_role("tab", name=tab).click()
        if tab == "Generate":
            press_generate(page)
            painted(page, 16)
            page.locator(".mg-tile").nth(5).click()
        for width, dark in ((1000, False), (1000, True), (1600, False), (1600, True)):
            page.set_viewport_size({"width": width, "height": 1300})
            opened.set_theme(dark=dark)
            page.wait_for_timeout(300)
            page.screenshot(path=tmp_path / f"{tab}_{width}_{'dark' if dark else 'light'}.png")
            assert page.evaluate(WIDER) == []
            paper = page.locator(".mg-studio").evaluate(
                "(e) => getComputedStyle(e).backgroundColor"
            )
            red = int(paper.split("(")[1].split(",")[0])
            assert (red < 80) == dark
