"""From a click on Generate to pixels on the screen, in a real JupyterLab and a real browser.

    python tests/benchmarks/click_to_tile.py

Clicks the grid's own button, each time with another seed, and prints medians. A
tile counts as painted in the first animation frame that has it, stamped in the
task right after that frame; its canvas is then read back and must hold the very
pixels that the kernel has. After each click the same images are made once more
in the kernel by the engine alone, so both figures see the same busy machine.
Page and kernel are compared by the wall clock of the one machine they run on.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # the script alone would see only its own folder

from medgan_widgets.catalogue import Catalogue
from tests.browser.conftest import ARGUMENTS, find_browser
from tests.browser.jupyterlab import Lab, LabPage

ROOT = Path(__file__).parents[2]
PREFERRED = "phantom-brain-mri"
AIM_MS = 60  # from the end of the forward to the last tile

SET_UP = """
import json, time, zlib
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.panels.generator_grid import GeneratorGrid

engine = Engine(catalogue=Catalogue({folder!r}))
times = []

class Watched:
    "The engine, with a look at the clock around every click's work."
    def __getattr__(self, name):
        return getattr(engine, name)
    def generate(self, request):
        times[:] = [time.time()]
        batches = engine.generate(request)
        def noting():
            for batch in batches:
                times.append(time.time())
                yield batch
        return noting()

grid = GeneratorGrid({model!r}, images={images}, engine=Watched())
grid
"""

BARE = """
before = time.perf_counter()
engine.images(grid.request)
bare = time.perf_counter() - before
print(json.dumps({"times": times, "bare": bare, "seeds": [grid.seed, grid.images],
    "pixels": [zlib.crc32(image.tobytes()) for image in grid.images_array],
    "shape": grid.images_array.shape, "device": engine.device_name}))
"""

# Stamps of the click and of every tile, in ms of the wall clock; `Date.now` cuts to whole ones.
WATCH = """(seeds) => {
  const clock = () => Date.now() + 0.5;
  const seen = { click: 0, painted: new Array(seeds.length).fill(0), pixels: [] };
  const button = document.querySelector('.mg-generate');
  button.addEventListener('click', (event) => {
    seen.click = clock() - (performance.now() - event.timeStamp);
    requestAnimationFrame(frame);
  }, { capture: true, once: true });
  const { port1, port2 } = new MessageChannel();
  let fresh = [];
  const made = (n) => document.querySelector(`[data-place="${n}"].mg-made`)?.textContent;
  const frame = () => {
    fresh = seeds.map((_, n) => n).filter((n) => !seen.painted[n]
      && made(n)?.endsWith(`seed ${seeds[n]}`));
    port2.postMessage(null);
  };
  port1.onmessage = () => { // the frame is out
    const now = clock();
    fresh.forEach((n) => { seen.painted[n] = now; });
    if (seen.painted.every(Boolean)) seen.done = true;
    else requestAnimationFrame(frame);
  };
  window.seenTiles = seen;
}"""

READ = """(channels) => [...document.querySelectorAll('.mg-grid .mg-made canvas')].map((canvas) => {
  const rgba = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  return [...rgba.filter((_, i) => i % 4 < channels)];
})"""


def main() -> None:
    """Click, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=15)
    parser.add_argument("--warm-up", type=int, default=2, help="clicks before those that count")
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--model", help=f"a model that runs here; default {PREFERRED} or another")
    given = parser.parse_args()
    if given.clicks < 1 or given.warm_up < 0:
        parser.error("at least one click has to count, and no fewer than none be left out")
    with tempfile.TemporaryDirectory() as place:
        model, folder = _choose(Path(place), given.model)
        with _notebook(Path(place), model, folder, given.images) as opened:
            total = given.warm_up + given.clicks
            clicks = [_click(opened, 1000 * (n + 1), given.images) for n in range(total)]
    _print(model, clicks[given.warm_up :], clicks[: given.warm_up])


def _choose(place: Path, wanted: str | None) -> tuple[str, str | None]:
    """Return a model that runs here and the folder of its catalogue (None: the usual ones)."""
    catalogue = Catalogue()
    local = [
        card.id
        for card in catalogue
        if card.origin == "local" and catalogue.runs_here(card).kind == "now"
    ]
    if wanted is not None or local:
        return wanted or (PREFERRED if PREFERRED in local else local[0]), None
    from tests.small_models import make_model

    return make_model(place / "models").name, str(place / "models")


@contextmanager
def _notebook(place: Path, model: str, folder: str | None, images: int) -> Iterator[LabPage]:
    """Open the grid in JupyterLab, in a browser window of its own."""
    from playwright.sync_api import sync_playwright

    program = find_browser()
    if program is None:
        raise SystemExit("no Chromium or Chrome on the PATH; install one to measure clicks.")
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *known]))
    (place / "lab").mkdir()
    lab = Lab(place / "lab")
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, headless=True, args=ARGUMENTS
            )
            lab.new_page = _pages(browser)
            set_up = SET_UP.format(folder=folder, model=model, images=images)
            opened = lab.open(lab.write("clicks.ipynb", set_up, BARE))
            opened.run(0, seconds=300)
            opened.page.locator(".mg-generate").wait_for(timeout=60_000)
            yield opened
            lab.shut_down_kernels()
            browser.close()
    finally:
        lab.close()


def _pages(browser: Any) -> Callable[..., Any]:
    def new_page(*, width: int, height: int, dark: bool) -> Any:
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page.set_default_timeout(120_000)
        return page

    return new_page


def _click(opened: LabPage, seed: int, images: int) -> dict[str, Any]:
    """Click Generate once; return milliseconds, after a check of all pixels."""
    page = opened.page
    seeds = [str(seed + n) for n in range(images)]
    page.get_by_label("seed", exact=True).fill(str(seed))
    page.evaluate(WATCH, seeds)
    page.locator(".mg-generate").click()
    page.wait_for_function("() => window.seenTiles.done", polling=200)
    page.locator('.mg-cancel[aria-disabled="true"]').wait_for()  # the job has ended too
    opened.run(1)
    seen = page.evaluate("() => window.seenTiles")
    kernel = json.loads(opened.output(1))
    _check(page, kernel, [seed, images])
    start, *ends = (1000 * at for at in kernel["times"])
    painted = sorted(seen["painted"])
    return {
        "click to first tile painted": painted[0] - seen["click"],
        f"click to {images} tiles painted": painted[-1] - seen["click"],
        "  click to the engine's start": start - seen["click"],
        "  the engine's work in the click": ends[-1] - start,
        "  end of the forward to the last tile painted": painted[-1] - ends[-1],
        f"bare forward of the same {images} images": 1000 * kernel["bare"],
        "facts": (kernel["shape"], kernel["device"], len(ends)),
    }


def _check(page: Any, kernel: dict[str, Any], asked: list[int]) -> None:
    """See to it that the screen holds what the kernel made, and what was asked for."""
    channels = kernel["shape"][-1]
    shown = [zlib.crc32(bytes(pixels)) for pixels in page.evaluate(READ, channels)]
    if shown != kernel["pixels"] or kernel["seeds"] != asked:
        raise SystemExit(f"the page does not show what the kernel made of seeds {asked}.")


def _print(model: str, clicks: Sequence[dict[str, Any]], warm_up: Sequence[dict[str, Any]]) -> None:
    (count, height, width, channels), device, chunks = clicks[0]["facts"]
    print(
        f"{model}: {count} images of {height} x {width} x {channels} in {chunks} chunks, {device}, "
        f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}\n"
        f"n = {len(clicks)} clicks, each with its own seed, after {len(warm_up)} not counted; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n\n"
        f"{'milliseconds':<50}{'median':>8}{'least':>8}{'most':>8}"
    )
    for name in [name for name in clicks[0] if name != "facts"]:
        values = [click[name] for click in clicks]
        print(f"{name:<50}{statistics.median(values):8.0f}{min(values):8.0f}{max(values):8.0f}")
    last = statistics.median(
        click["  end of the forward to the last tile painted"] for click in clicks
    )
    verdict = "met" if last <= AIM_MS else "missed"
    print(f"\nThe aim, the last tile within {AIM_MS} ms of the forward's end (median): {verdict}.")


if __name__ == "__main__":
    main()
