"""The grid's page with every shape of answer: masks, sources, other pictures, sizes, options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from medgan_widgets.panels._frames import Pictures, picture_of
from medgan_widgets.panels.generator_grid import _Canvas
from medgan_widgets.requests import Batch, GenerateRequest
from tests.browser.bare import _plain
from tests.browser.test_generator_grid_page import CSS, asked_for, sent

OPTIONS = [
    {"name": "gpu_id", "default": None, "choices": [], "help": "<b>which</b>"},
    {"name": "device", "default": "0", "choices": [], "help": ""},
    {"name": "step", "default": 6, "choices": [], "help": ""},
    {"name": "flip", "default": True, "choices": [], "help": ""},
    {"name": "save", "default": "both", "choices": ["image", "both"], "help": ""},
    {"name": "view", "default": None, "choices": ["la", "sa"], "help": ""},
    {"name": "size", "default": [32, 32], "choices": [], "help": ""},
]
MODEL = {"id": "90004", "title": "T1 to T2", "condition": {}, "truncation": False}
STATE: dict[str, Any] = {
    "models": [{**MODEL, "options": OPTIONS, "image": True}],
    "controls": {"model": "90004", "images": 2, "seed": "7", "condition": {}, "psi": None},
    "columns": 2,
    "picture": {},
    "sources": {"count": 0, "names": ""},
}
OPAQUE = """([place, selector]) => {
  const canvas = document.querySelector(`[data-place="${place}"] ${selector}`);
  if (!canvas) return null;
  const { width, height } = canvas;
  return [height, width, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]];
}"""


def drawn(widget: Any, selector: str, place: int = 0) -> Any:
    found = widget.page.evaluate(OPAQUE, [place, selector])
    return None if found is None else np.array(found[2], np.uint8).reshape(*found[:2], 4)


def made(*batches: Batch) -> Pictures:
    pictures = Pictures(1, GenerateRequest("90004", seeds=range(7, 9)))
    for batch in batches:
        pictures.add(batch)
    return pictures


def answer(widget: Any, *batches: Batch) -> None:
    """Send what the kernel would send for these batches."""
    pictures = made(*batches)
    places = range(len(pictures.images))
    message = {
        "kind": "frame", "frame": 1, "id": 1, "total": 2, "question": "q", "drawn": [],
        "tiles": [{"place": place, **pictures.tile(place)} for place in places],
        "state": "done", "done": 2, "of": 2, "rate": 3.0, "seconds": 0.1,
    }  # fmt: skip
    widget.receive(message, [data for place in places for data in pictures.pixels(place)])


IMAGES = np.random.default_rng(3).integers(0, 256, (2, 12, 10, 1), np.uint8)
MASKS = np.zeros((2, 12, 10), np.uint8)
MASKS[:, 3:8, 2:7] = 255
SOURCES = np.random.default_rng(4).integers(0, 256, (2, 8, 16, 3), np.uint8)
LABELS = {"label": ("<i>benign</i>", "malignant")}


@pytest.fixture
def widget(bare):
    return bare(str(_Canvas._esm), STATE, css=CSS)


def test_masks_lie_over_the_images_and_never_in_them(widget):
    page = widget.page
    assert not page.get_by_role("button", name="Masks").is_visible(), "there are none yet"
    answer(widget, Batch(IMAGES, (7, 8), masks=MASKS))
    over = drawn(widget, ".mg-mask")
    assert np.array_equal(over[..., 3] > 0, MASKS[0] > 0)
    inner, edge = over[5, 4, 3], over[3, 2, 3]
    assert 0 < inner < 90 < edge, "the image stays readable, the edge is seen"
    assert np.array_equal(drawn(widget, ".mg-result > canvas")[..., 0], IMAGES[0, ..., 0])
    button = page.get_by_role("button", name="Masks")
    assert button.get_attribute("aria-pressed") == "true"
    page.locator('[data-place="0"]').focus()
    page.keyboard.press("m")
    assert button.get_attribute("aria-pressed") == "false"
    assert drawn(widget, ".mg-mask") is None
    page.keyboard.press("Enter")
    assert page.locator(".mg-large .mg-mask").count() == 0
    button.click()
    assert page.locator(".mg-large .mg-mask").count() == 1
    page.get_by_label("window").fill("100")
    assert drawn(widget, ".mg-mask") is not None, "a window leaves the mask where it is"
    assert not np.array_equal(drawn(widget, ".mg-result > canvas")[..., 0], IMAGES[0, ..., 0])
    assert widget.errors() == []


def test_m_without_masks_does_not_hide_the_next_ones(widget):
    answer(widget, Batch(IMAGES, (7, 8)))
    widget.page.locator('[data-place="0"]').focus()
    widget.page.keyboard.press("m")
    assert widget.page.locator(".mg-masks").get_attribute("aria-pressed") == "true"


def test_a_source_stands_beside_its_result_and_is_not_called_synthetic(widget):
    page = widget.page
    others = {"source": SOURCES, "<b>other 1": IMAGES}
    answer(widget, Batch(IMAGES, (7, 8), LABELS, others=others))
    tile = page.locator('[data-place="0"]')
    assert np.array_equal(drawn(widget, ".mg-from > canvas")[..., :3], SOURCES[0])
    assert tile.locator(".mg-from").inner_text() == "SOURCE"
    assert "SYNTHETIC" in tile.inner_text()
    assert "<i>benign</i>" in tile.inner_text(), "a label is text, whatever it says"
    assert "source, which is not synthetic" in tile.get_attribute("aria-label")
    left, right = (tile.locator(part).bounding_box() for part in (".mg-from", ".mg-result"))
    assert left["x"] + left["width"] <= right["x"] + 1
    tile.click()
    shown = {
        figure.locator("figcaption").inner_text(): figure.locator(".mg-mark").inner_text()
        for figure in page.locator(".mg-other").all()
    }
    assert shown == {"source": "SOURCE, not synthetic", "<b>other 1": "SYNTHETIC"}
    assert page.locator(".mg-grid :is(b b, figcaption b, .mg-mark i)").count() == 0
    for figure in page.locator(".mg-other").all():
        mark, name = (
            figure.locator(f"{part}").bounding_box() for part in (".mg-mark", "figcaption")
        )
        assert mark["y"] + mark["height"] <= name["y"] + 1, "a mark hides no name"
    assert "<i>benign</i>" in page.locator(".mg-side dl").inner_text()


@pytest.mark.slow
def test_every_tile_has_its_own_shape_and_a_large_mask_is_no_trouble(widget):
    large = np.zeros((1, 900, 600), np.uint8)
    large[:, 200:400, 100:300] = 255
    answer(
        widget,
        Batch(IMAGES[:1], (7,)),
        Batch(np.full((1, 900, 600, 3), 90, np.uint8), (8,), masks=large),
    )
    assert drawn(widget, ".mg-result > canvas").shape == (12, 10, 4)
    assert drawn(widget, ".mg-result > canvas", 1).shape == (900, 600, 4)
    boxes = [widget.page.locator(f'[data-place="{n}"]').bounding_box() for n in (0, 1)]
    for box, ratio in zip(boxes, (10 / 12, 600 / 900), strict=True):
        assert abs(box["width"] / box["height"] - ratio) < 0.02, "nothing is stretched"
    widget.page.locator('[data-place="1"]').click()
    assert widget.page.locator(".mg-other").count() == 1
    assert widget.errors() == []


def test_a_saved_notebook_shows_masks_and_sources_without_a_kernel(widget):
    picture = picture_of(made(Batch(IMAGES, (7, 8), masks=MASKS, others={"source": SOURCES})))
    sheets = {
        name: {**sheet, "png": _plain(sheet["png"])} for name, sheet in picture["sheets"].items()
    }
    widget.page.evaluate(
        """(p) => {
        const sheets = Object.entries(p.sheets)
          .map(([name, one]) => [name, { ...one, png: revive(one.png) }]);
        model.set('picture', { ...p, png: revive(p.png), sheets: Object.fromEntries(sheets) });
        }""",
        {**picture, "png": _plain(picture["png"]), "sheets": sheets},
    )
    widget.page.wait_for_function("document.querySelectorAll('.mg-made').length === 2")
    for place in range(2):
        shown = drawn(widget, ".mg-result > canvas", place)
        assert np.array_equal(shown[..., 0], IMAGES[place, ..., 0])
        assert np.array_equal(drawn(widget, ".mg-mask", place)[..., 3] > 0, MASKS[place] > 0)
        source = drawn(widget, ".mg-from > canvas", place)
        assert np.array_equal(source[..., :3], SOURCES[place])


def test_options_are_typed_and_only_what_differs_is_sent(widget):
    page = widget.page
    options = page.locator(".mg-options")
    options.locator("summary").press("Enter")
    go = page.get_by_role("button", name="Generate")
    go.click()
    assert asked_for(widget)[-1]["options"] == {}, "untouched means the defaults"
    options.get_by_label("gpu_id", exact=True).fill("0")
    options.get_by_label("device", exact=True).fill("1")
    options.get_by_label("step", exact=True).fill("3")
    options.get_by_label("flip", exact=True).uncheck()
    options.get_by_label("save", exact=True).select_option(label="image")
    options.get_by_label("view", exact=True).select_option(label="sa")
    options.get_by_label("size", exact=True).fill("[64, 32]")
    go.click()
    wanted = {"gpu_id": 0, "device": "1", "step": 3, "flip": False}
    wanted |= {"save": "image", "view": "sa", "size": [64, 32]}
    assert asked_for(widget)[-1]["options"] == wanted
    options.get_by_label("gpu_id", exact=True).fill('"cuda:0"')
    go.click()
    assert asked_for(widget)[-1]["options"]["gpu_id"] == "cuda:0"
    before = len(sent(widget, "generate"))
    options.get_by_label("size", exact=True).fill("[64, ")
    go.click()
    assert len(sent(widget, "generate")) == before
    assert "size must be" in page.locator(".mg-note").inner_text()
    assert options.get_by_label("size", exact=True).input_value() == "[64, ", "nothing is lost"
    assert options.get_by_label("step", exact=True).input_value() == "3"


def test_source_images_go_as_bytes_in_one_message_and_can_be_cleared(widget):
    page = widget.page
    group = page.get_by_role("group", name="source images")
    assert "samples that come with the model" in group.inner_text()
    files = [
        {"name": f"{n}.png", "mimeType": "image/png", "buffer": bytes(10 + n)} for n in range(3)
    ]
    page.set_input_files("input[type=file]", files)
    page.wait_for_function("model.sent.some((m) => m.content.kind === 'sources')")
    (message,) = [m for m in widget.sent() if m["content"]["kind"] == "sources"]
    assert message["content"]["names"] == ["0.png", "1.png", "2.png"]
    assert message["bytes"] == [10, 11, 12]
    widget.set("sources", {"count": 3, "names": "0.png, 1.png, 2.png"})
    assert "3 images of yours" in group.inner_text()
    group.get_by_role("button", name="Clear").click()
    assert set(sent(widget, "sources")[-1]) == {"id", "kind"}
    path = page.get_by_label("folder or image on the kernel's machine")
    path.fill("/data/mine")
    path.press("Enter")
    assert sent(widget, "sources")[-1]["path"] == "/data/mine"
    many = [{**files[0], "name": f"{n}.png"} for n in range(17)]
    page.set_input_files("input[type=file]", many)
    page.wait_for_function("document.querySelector('.mg-note').textContent.includes('At most 16')")
    assert len(sent(widget, "sources")) == 3


@pytest.mark.parametrize("width", [420, 1000, 1600])
def test_nothing_is_cut_or_wider_than_its_cell(bare, width):
    widget = bare(str(_Canvas._esm), STATE, css=CSS, width=width)
    labels = {"label": ("a long label of some package",) * 2}
    answer(widget, Batch(IMAGES, (7, 8), labels, masks=MASKS, others={"source": SOURCES}))
    widget.page.locator(".mg-options summary").click()
    widget.page.locator('[data-place="0"]').click()
    assert widget.page.evaluate("document.documentElement.scrollWidth") <= width
    cut = widget.page.evaluate(
        """() => [...document.querySelectorAll('.mg-grid button, .mg-grid label, .mg-mark b')]
        .filter((n) => n.offsetParent && n.scrollWidth > n.clientWidth + 1 && n.clientWidth)
        .map((n) => n.outerHTML)"""
    )
    assert cut == []
