"""medigan's packages from the explorer to the pixels: a real JupyterLab, no network, a mirror."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgan_widgets import download, trust
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.medigan.client import end_workers
from medgan_widgets.requests import GenerateRequest
from tests.mirror import BRAIN_MASKS, BRAIN_T1_T2, CHEST, build_mirror

# No network: whatever asks for one is sent to a port where nobody is.
SETUP = """import os
os.environ.update(MEDGAN_HOME={home!r}, MEDGAN_MIRROR={mirror!r}, OMP_NUM_THREADS="1",
                  http_proxy="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9")
import medgan_widgets as mw
studio = mw.Studio(images=4, columns=4)
studio"""
CHECK = """import sys
names = {name.split(".")[0] for name in sys.modules}
print(sorted(names & {"medigan", "models", "pkg_resources"}))"""
CANVAS = """(selector) => [...document.querySelectorAll(selector)].map((canvas) => {
  const { width, height } = canvas;
  const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  let text = '';
  for (let i = 0; i < rgba.length; i += 4) text += String.fromCharCode(rgba[i], rgba[i + 3]);
  return [height, width, btoa(text)];
})"""


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    return build_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def engine(mirror, tmp_path_factory):
    """The same models run here, to compare with what the page shows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_HOME", str(tmp_path_factory.mktemp("mine")))
        patch.setenv("MEDGAN_UNATTENDED", "0")
        engine = Engine(device="cpu", catalogue=Catalogue(mirror=mirror))
        for name in (CHEST, BRAIN_MASKS, BRAIN_T1_T2):
            download(name, catalogue=engine.catalogue)
            trust(name, catalogue=engine.catalogue)
        yield engine
        end_workers()


def canvases(page, selector: str) -> tuple[np.ndarray, np.ndarray]:
    """The red and the opaque part of canvases, [N, H, W] each."""
    found = [
        np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 2)
        for height, width, text in page.evaluate(CANVAS, selector)
    ]
    both = np.stack(found)
    return both[..., 0], both[..., 1]


def shoot(page, name: str) -> None:
    """Keep a picture to look at, where somebody asked for it."""
    if folder := os.environ.get("MEDGAN_SHOTS"):
        page.screenshot(path=f"{folder}/medigan_{name}.png")


def use(page, model: str) -> None:
    """Find it, download it, read what is asked, say yes, use it."""
    page.get_by_role("tab", name="Explore").click()
    page.get_by_role("searchbox", name="search models").fill(
        model.split("_", 1)[1].replace("_", " ")
    )
    page.locator(f"tr[data-id='{model}'] button.mg-name").click()
    page.get_by_role("button", name="Download").click()
    asks = page.get_by_role("group", name="do you agree to run its code?")
    asks.wait_for()
    assert "no sandbox" in asks.inner_text()
    this = page.get_by_role("button", name="Use this model")
    assert this.get_attribute("aria-disabled") == "true"
    asks.get_by_role("button", name="Yes, run its code").click()
    page.wait_for_selector("button.mg-use[aria-disabled='false']:has-text('Use this model')")
    this.click()
    page.get_by_role("tab", name="Generate", selected=True).wait_for()


def generate(page, model: str) -> None:
    page.get_by_role("button", name="Generate").click()
    page.get_by_text(f"4 synthetic images of {model}").first.wait_for(timeout=90_000)


@pytest.mark.slow
def test_from_the_explorer_to_masks_labels_and_sources(lab, mirror, engine, tmp_path):
    home = tmp_path / "home ü"
    name = lab.write("medigan.ipynb", SETUP.format(home=str(home), mirror=str(mirror)), CHECK)
    notebook = lab.open(name, width=1200, height=1100)
    page = notebook.page
    notebook.run(0)

    use(page, BRAIN_MASKS)
    generate(page, BRAIN_MASKS)
    batch = next(iter(engine.generate(GenerateRequest(BRAIN_MASKS, seeds=range(4)))))
    shown, _ = canvases(page, ".mg-result > canvas:not(.mg-mask)")
    assert (shown == batch.images[..., 0]).all()
    _, over = canvases(page, ".mg-result > .mg-mask")
    assert ((over > 0) == (batch.masks > 0)).all(), "the mask lies where it belongs"
    shoot(page, "masks")
    page.get_by_role("button", name="Masks").click()
    assert page.locator(".mg-mask").count() == 0
    shown, _ = canvases(page, ".mg-result > canvas")
    assert (shown == batch.images[..., 0]).all()

    use(page, CHEST)
    page.locator("select[data-factor='nodule']").select_option(label="yes")
    generate(page, CHEST)
    wanted = GenerateRequest(CHEST, seeds=range(4), condition={"nodule": "yes"})
    shown, _ = canvases(page, ".mg-result > canvas")
    assert (shown == engine.images(wanted)[..., 0]).all()
    assert page.locator(".mg-tile").first.inner_text().endswith("· nodule")

    use(page, BRAIN_T1_T2)
    source = Image.fromarray(np.full((64, 64), 60, np.uint8))
    stream = io.BytesIO()
    source.save(stream, "PNG")
    page.set_input_files(
        "input[type=file]",
        {"name": "mine ü.png", "mimeType": "image/png", "buffer": stream.getvalue()},
    )
    page.get_by_text("1 image of yours").wait_for()
    generate(page, BRAIN_T1_T2)
    mine = tmp_path / "mine ü.png"
    source.save(mine)
    wanted = GenerateRequest(BRAIN_T1_T2, seeds=range(4), inputs=[mine])
    shown, _ = canvases(page, ".mg-result > canvas")
    assert (shown == engine.images(wanted)[..., 0]).all()
    shoot(page, "sources")
    beside, _ = canvases(page, ".mg-from > canvas")
    assert (beside == 60).all()
    assert "SYNTHETIC" not in page.locator(".mg-from").first.inner_text()

    notebook.run(1)
    assert notebook.output(1).strip() == "[]", "the kernel never saw medigan"
    assert not notebook.console_errors
