"""A panel among other cells: keys, a busy kernel, a kernel that is gone, a file opened again."""

from __future__ import annotations

import pytest

GRID = "import medgan_widgets as mw\ngrid = mw.GeneratorGrid(images=4)\ngrid"
SLEEP = "import time\ntime.sleep(30)"
ALL = """import medgan_widgets as mw
from tests.runs_written import write_run
from pathlib import Path

studio = mw.Studio(images=4)
studio.monitor.attach(write_run(Path("runs/knee")))
studio.grid.generate().wait()
studio.top.selected = {tab}
studio"""
PLACES = {
    0: [".mg-models tbody tr", ".mg-detail", ".mg-pill", ".mg-list", ".mg-head", ".mg-search"],
    1: [".mg-tile", ".mg-large", ".mg-side dl", ".mg-histogram", ".mg-hint", ".mg-foot",
        ".mg-generate", ".mg-controls", ".mg-progress", ".mg-levels input", ".mg-seed"],
    2: [".mg-metrics-title >> visible=true", ".mg-metrics-table >> visible=true",
        ".mg-metrics-bar button >> visible=true", ".mg-head"],
    3: [".mg-track", ".mg-fixed", ".mg-alarms", ".mg-controls", ".mg-curves-caption", ".bqplot"],
}  # fmt: skip
# What JupyterLab does at these keys: delete, cut, paste, add, join, turn into text, interrupt,
# restart, collapse, run, undo, move.
KEYS = ("m", "y", "r", "d", "d", "x", "v", "a", "b", "c", "z", "o", "l", "0", "0", "i", "i", "1",
        "j", "k", "Shift+M", "Shift+Enter", "Control+Enter", "Delete", "Backspace",
        "Escape")  # fmt: skip
NOTEBOOK = """() => {
  const { model, widgets } = window.jupyterapp.shell.currentWidget.content;
  return JSON.stringify([model.toJSON().cells.map((cell) =>
    [cell.cell_type, cell.source, cell.execution_count, cell.metadata]),
    document.querySelectorAll('.jp-Dialog').length, widgets.length]);
}"""
FOCUS = "() => Boolean(document.activeElement.closest('.mg-panel'))"


def painted(page, count: int) -> None:
    page.wait_for_function(
        "(count) => document.querySelectorAll('.mg-tile.mg-made').length === count",
        arg=count, timeout=60_000,
    )  # fmt: skip


def click(page, node) -> None:
    """Click near a corner, as a hand does."""
    # What lies there may be drawn anew at any moment: its box is asked for until it has one.
    box = None
    while box is None:
        node.evaluate("(node) => node.scrollIntoView({ block: 'nearest' })")
        box = node.bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + 4)


def slow_but(some, kept):
    """One of each runs always, the others beside: half a minute each."""
    return [one if one == kept else pytest.param(one, marks=pytest.mark.slow) for one in some]


@pytest.mark.parametrize("tab", slow_but(PLACES, 1))
def test_no_plain_key_inside_a_panel_reaches_the_notebook(lab, tab):
    opened = lab.open(lab.write(f"keys_{tab}.ipynb", ALL.format(tab=tab), "1 + 1"), height=1600)
    page = opened.page
    opened.run(0)
    if tab == 1:
        painted(page, 4)
    before = page.evaluate(NOTEBOOK)
    for place in PLACES[tab]:
        if tab == 1:
            page.locator(".mg-tile").first.click()  # opens the large image
        node = page.locator(f".mg-page-{tab} {place}").first
        for key in KEYS:
            click(page, node)
            page.keyboard.press(key)
        page.wait_for_timeout(200)
        assert page.evaluate(NOTEBOOK) == before, place
        assert page.evaluate(FOCUS), place
    assert page.locator(".mg-studio").count() == 1


def test_saving_is_still_a_key_and_tab_still_leaves(lab):
    opened = lab.open(lab.write("tab.ipynb", GRID, "1 + 1"))
    page = opened.page
    opened.run(0)
    dirty = "() => window.jupyterapp.shell.currentWidget.context.model.dirty"
    assert page.evaluate(dirty)
    page.locator(".mg-hint").click()
    page.keyboard.press("Control+s")
    page.wait_for_function(f"() => !({dirty})()")
    for _ in range(40):
        page.keyboard.press("Tab")
        if not page.evaluate(FOCUS):
            return
    raise AssertionError("Tab never left the panel")


def test_the_large_image_answers_keys_where_one_has_clicked(lab):
    opened = lab.open(lab.write("large.ipynb", ALL.format(tab=1)), height=1400)
    page = opened.page
    opened.run(0)
    painted(page, 4)
    page.locator(".mg-tile").first.click()
    large = page.locator(".mg-large")
    for place in (large, page.locator(".mg-side dl")):
        seed = large.get_attribute("aria-label")
        place.click(position={"x": 5, "y": 5})
        page.keyboard.press("ArrowRight")
        assert large.get_attribute("aria-label") != seed
    page.keyboard.press("+")
    zoom = (
        "() => getComputedStyle(document.querySelector('.mg-grid')).getPropertyValue('--mg-zoom')"
    )
    assert float(page.evaluate(zoom)) > 1
    page.keyboard.press("0")
    assert float(page.evaluate(zoom)) == 1
    page.keyboard.press("Escape")
    assert not large.is_visible()


def test_the_saved_studio_says_what_to_do_and_doing_it_is_enough(lab, root):
    name = lab.copy(root / "notebooks" / "01_studio.ipynb", "saved.ipynb")
    lab.trust(name)
    opened = lab.open(name)
    page = opened.page
    page.locator(".mg-studio.jupyter-widgets-disconnected").wait_for()
    said = "(node) => getComputedStyle(node.querySelector('.mg-head'), '::before').content"
    assert "run the cells above, then this one" in page.locator(".mg-studio").evaluate(said)
    opened.run(2)
    page.locator(".mg-studio:not(.jupyter-widgets-disconnected)").wait_for()
    page.get_by_role("tab", name="Generate").click()
    page.locator(".mg-grid").get_by_role("button", name="Generate").click()
    painted(page, 16)


def test_a_file_saved_as_jupyterlab_saves_it_shows_its_images_again(lab):
    """Its setting that keeps widgets is off unless somebody turns it on."""
    name = lab.write("again.ipynb", ALL.format(tab=1))
    opened = lab.open(name)
    opened.run(0)
    painted(opened.page, 4)
    opened.save()
    opened.page.close()
    lab.shut_down_kernels()
    again = lab.open(name)
    painted(again.page, 4)
    assert "not found" not in again.page.locator(".jp-Notebook").inner_text()
    again.save()  # now without a kernel behind the images: they stay in the file
    again.page.close()
    painted(lab.open(name).page, 4)


def test_the_file_keeps_our_panels_alone_and_no_name_of_a_source(lab):
    other = "import ipywidgets\nipywidgets.Text('somebody else wrote this')"
    named = "grid.canvas.sources = {'count': 1, 'names': 'smith.png'}"
    name = lab.write("kept.ipynb", GRID, other, named, GRID.replace("grid", "second"))
    opened = lab.open(name)
    for cell in range(4):
        opened.run(cell)
    opened.page.locator(".mg-grid").nth(1).wait_for()
    opened.save()
    text = (lab.notebooks / name).read_text("utf-8")
    assert text.count('"mg-panel"') == 2
    assert text.count("somebody else wrote this") == 2, "in its cell and as its output's text"
    assert "smith" not in text.replace(named, "")
    opened.page.close()
    lab.shut_down_kernels()
    again = lab.open(name)  # one panel run anew leaves the other's saved view in the file
    again.run(3)
    again.page.locator(".mg-grid").nth(1).wait_for()
    again.save()
    assert (lab.notebooks / name).read_text("utf-8").count('"mg-panel"') == 2


SILENT = {
    "explore": (
        "studio = mw.Studio()\nstudio",
        lambda page: page.locator(".mg-search").fill("breast mri"),
        lambda page: page.locator(".mg-total", has_text="1 of").wait_for(timeout=10_000),
    ),
    "generate": (
        "mw.GeneratorGrid(images=4)",
        lambda page: page.get_by_role("button", name="Generate").click(),
        lambda page: painted(page, 4),
    ),
    "train": (
        "mw.TrainingMonitor(runs='nowhere')",
        lambda page: page.get_by_role("button", name="Start training").click(),
        lambda page: page.locator(".mg-error", has_text="a run's name").wait_for(timeout=10_000),
    ),
    "metrics": (
        "engine = mw.Engine(device='cpu')\n"
        "engine.images(mw.GenerateRequest('phantom-mammogram', seeds=range(4)))\n"
        "plot = mw.MetricsPlot(engine=engine)\nplot",
        lambda page: page.get_by_role("button", name="Copy as CSV").first.click(),
        lambda page: page.locator(".mg-said", has_text="copied").first.wait_for(timeout=10_000),
    ),
}


@pytest.mark.parametrize("what", slow_but(SILENT, "generate"))
def test_the_first_click_while_a_cell_runs_is_answered(lab, what):
    source, act, answered = SILENT[what]
    opened = lab.open(
        lab.write(f"busy_{what}.ipynb", f"import medgan_widgets as mw\n{source}", SLEEP)
    )
    page = opened.page
    opened.run(0)
    page.locator(".mg-panel").first.wait_for()
    page.wait_for_timeout(1000)  # the page and the kernel have met
    opened.start(1)
    page.wait_for_timeout(500)
    act(page)
    answered(page)
    state = "() => window.jupyterapp.shell.currentWidget.content.widgets[1].model.executionState"
    assert page.evaluate(state) == "running"


def test_a_kernel_that_is_shut_down_is_told(lab):
    opened = lab.open(lab.write("shut.ipynb", ALL.format(tab=1)))
    page = opened.page
    opened.run(0)
    painted(page, 4)
    page.evaluate(
        "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.shutdown(); }"
    )
    page.locator(".mg-studio.jupyter-widgets-disconnected").wait_for(timeout=10_000)
    said = "(node) => getComputedStyle(node.querySelector('.mg-head'), '::before').content"
    assert "without a kernel" in page.locator(".mg-studio").evaluate(said)
    page.locator(".mg-grid").get_by_role("button", name="Generate").click()
    page.locator(".mg-note", has_text="No kernel is behind these images").wait_for()
    painted(page, 4)


def test_enter_sends_a_form(lab):
    opened = lab.open(lab.write("enter.ipynb", ALL.format(tab=3)))
    page = opened.page
    opened.run(0)
    page.get_by_text("New training").click()
    page.get_by_label("name", exact=True).fill("hip")
    page.get_by_label("kimg").fill("none")
    page.get_by_label("data", exact=True).fill("brain_mri")
    page.keyboard.press("Enter")
    page.locator(".mg-error", has_text="kimg must be a number").wait_for(timeout=10_000)
    page.get_by_role("button", name="Make it a model").click()
    page.get_by_label("model id").fill("knee")
    page.keyboard.press("Enter")  # the run is a stand-in without a network
    page.locator(".mg-error", has_text="lacks settings").wait_for(timeout=10_000)
