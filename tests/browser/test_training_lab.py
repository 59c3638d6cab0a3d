"""A training from the monitor's form to a model in the grid: a real JupyterLab, a real process."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import numpy as np
import pytest

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.runs import pictures, read_run, run_state, send_command

SETUP = """import os
os.environ.update(OMP_NUM_THREADS="1", MEDGAN_HOME={home!r})
import medgan_widgets as mw
studio = mw.Studio(images=4, columns=4)
studio"""
CURVE = """() => [...document.querySelectorAll('.mg-monitor-box path.line')]
  .map((path) => path.getAttribute('d') || '').join('|')"""
SHOWN = "() => document.querySelector('.mg-fixed img')?.src || ''"
CANVAS = """(selector) => [...document.querySelectorAll(selector)].map((canvas) => {
  const { width, height } = canvas;
  const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  let text = '';
  for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i]);
  return [height, width, btoa(text)];
})"""


def shoot(page, name: str) -> None:
    """Keep a picture to look at, where somebody asked for it."""
    if folder := os.environ.get("MEDGAN_SHOTS"):
        page.screenshot(path=f"{folder}/training_{name}.png")


def wait_for(happened, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def fill(page, form: str, values: dict[str, str]) -> None:
    for label, value in values.items():
        field = page.get_by_role("form", name=form).get_by_label(label, exact=True)
        if field.evaluate("(node) => node.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def press(page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


@pytest.mark.slow
def test_from_start_to_a_model_through_a_kernel_restart(lab, tmp_path):
    run = lab.notebooks / "runs" / "tiny"
    name = lab.write("training.ipynb", SETUP.format(home=str(tmp_path / "home")))
    notebook = lab.open(name, width=1200, height=1100)
    page = notebook.page
    notebook.run(0)
    open_tab(page, "Train")

    # Start it from the form.
    fill(page, "new training", {"name": "tiny", "data": "brain_mri", "size": "32", "kimg": "400"})
    press(page, "Start training")
    wait_for(lambda: run_state(run).state == "running", 240)
    pid = run_state(run).pid

    # Curves and pictures move.
    page.wait_for_function(f"() => ({CURVE})().includes('L')", timeout=240_000)
    curve, shown = page.evaluate(CURVE), page.evaluate(SHOWN)
    page.wait_for_function(f"(before) => ({CURVE})() !== before", arg=curve, timeout=240_000)
    page.wait_for_function(f"(before) => ({SHOWN})() !== before", arg=shown, timeout=240_000)
    shoot(page, "running")

    # Pause; the kernel goes, the training stays; attach again.
    press(page, "Pause")
    wait_for(lambda: run_state(run).state == "paused")
    page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )
    notebook.wait_for_kernel()
    assert run_state(run).state == "paused"
    assert run_state(run).pid == pid
    notebook.run(0)
    open_tab(page, "Train")
    paused_at = run_state(run).kimg
    press(page, "Go on")
    wait_for(lambda: run_state(run).state == "running" and run_state(run).kimg > paused_at)
    page.wait_for_function(f"() => ({CURVE})().includes('L')", timeout=240_000)

    # Stop, twice; then make it a model.
    press(page, "Stop")
    wait_for(lambda: run_state(run).state == "stopped")
    assert len(pictures(run)) >= 2
    assert read_run(run)[1][-1].kimg <= run_state(run).kimg
    press(page, "Make it a model")
    fill(page, "make it a model", {"model id": "tiny-brain"})
    shoot(page, "form")
    press(page, "Make the model")
    card = lab.notebooks / "models" / "tiny-brain" / "card.json"
    wait_for(card.exists, 60)
    page.get_by_text("tiny-brain is among the models now").first.wait_for()

    # Generate from it: the page shows what the engine makes.
    open_tab(page, "Generate")
    page.locator("select:has(> option[value='tiny-brain'])").first.select_option("tiny-brain")
    press(page, "Generate")
    page.get_by_text("4 synthetic images of tiny-brain").first.wait_for(timeout=240_000)
    found = [
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width)
        for height, width, text in page.evaluate(CANVAS, ".mg-result > canvas")
    ]
    engine = Engine(device="cpu", catalogue=Catalogue(lab.notebooks / "models"))
    expected = engine.images(GenerateRequest("tiny-brain", seeds=range(4)))[..., 0]
    assert np.abs(np.stack(found).astype(int) - expected).max() <= 1
    shoot(page, "model")
    assert not [e for e in notebook.console_errors if "negative value" not in e]


def test_a_run_that_is_left_alone_ends(lab):
    """Whatever the test above left behind is stopped."""
    for folder in (lab.notebooks / "runs").glob("*"):
        if run_state(folder).alive:
            send_command(Path(folder), "stop")
            wait_for(lambda folder=folder: not run_state(folder).alive)
