"""The grid's page: pixels, keyboard, window and level, a second view, and a lost kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medgan_widgets.panels import _frames
from medgan_widgets.panels._frames import Pictures
from medgan_widgets.panels._panel import joined
from medgan_widgets.panels.generator_grid import _Canvas
from medgan_widgets.requests import Batch, GenerateRequest
from tests.browser.bare import BareWidget, _plain

CSS = joined("_panel.css", "generator_grid.css")
BIG = 2**64 - 1
STATE: dict[str, Any] = {
    "models": [
        {
            "id": "phantom-brain-mri",
            "title": "<img src=x onerror=alert(1)>",
            "condition": {"contrast": ["T1", "T2"], "tumour": [False, True]},
            "truncation": False,
        },
        {"id": "chest", "title": "Chest", "condition": {}, "truncation": True},
    ],
    "controls": {
        "model": "phantom-brain-mri",
        "images": 4,
        "seed": str(BIG - 3),
        "condition": {"tumour": True},
        "psi": None,
    },
    "columns": 2,
    "picture": {},
}
IMAGES = np.random.default_rng(3).integers(0, 256, (4, 12, 12, 1), np.uint8)
LABELS = ("T1", "T2", "T1", "T2")


def frame(places: list[int], **changes: Any) -> tuple[dict[str, Any], list[bytes]]:
    tiles = [
        {
            "place": place,
            "seed": str(BIG - 3 + place),
            "labels": {"contrast": LABELS[place], "tumour": True},
            "shape": [12, 12, 1],
        }
        for place in places
    ]
    content = {
        "kind": "frame",
        "frame": 1,
        "id": 1,
        "total": 4,
        "drawn": ["contrast"],
        "tiles": tiles,
        "state": "running",
        "question": "q",
        "done": len(places),
        "of": 4,
        "rate": 400.0,
        "seconds": 0.01,
    }
    return {**content, **changes}, [IMAGES[place].tobytes() for place in places]


def pixels(widget: BareWidget, place: int, view: int = 0) -> Any:
    found = widget.page.evaluate(
        """([place, view]) => {
        const canvas = document.querySelectorAll('.view')[view].querySelector(
          `[data-place="${place}"] canvas`);
        const image = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return [image.width, image.height, [...image.data]];
        }""",
        [place, view],
    )
    return np.array(found[2], np.uint8).reshape(found[1], found[0], 4)


def sent(widget: BareWidget, kind: str) -> list[dict[str, Any]]:
    return [m["content"] for m in widget.sent() if m["content"]["kind"] == kind]


def asked_for(widget: BareWidget) -> list[dict[str, Any]]:
    """What the controls showed at each click on Generate."""
    return [message["controls"] for message in sent(widget, "generate")]


@pytest.fixture
def widget(bare: Callable[..., BareWidget]) -> BareWidget:
    return bare(str(_Canvas._esm), STATE, css=CSS)


@pytest.fixture
def full(widget: BareWidget) -> BareWidget:
    widget.receive(*frame([0, 1, 2, 3], state="done", frame=5))
    return widget


def test_tiles_show_the_very_pixels_as_they_come(widget):
    widget.receive(*frame([2, 0]))
    assert np.array_equal(pixels(widget, 2)[..., 0], IMAGES[2, ..., 0])
    assert np.array_equal(pixels(widget, 0)[..., 1], IMAGES[0, ..., 0])
    assert (pixels(widget, 0)[..., 3] == 255).all()
    assert widget.page.locator(".mg-made").count() == 2
    assert "2 / 4 · 400 images/s" in widget.page.locator(".mg-progress").inner_text()
    widget.page.wait_for_function("model.sent.some((m) => m.content.kind === 'painted')")
    assert widget.errors() == []


def test_colour_images_keep_their_channels(widget):
    rgb = np.random.default_rng(4).integers(0, 256, (12, 12, 3), np.uint8)
    content, _ = frame([1])
    content["tiles"][0]["shape"] = [12, 12, 3]
    widget.receive(content, [rgb.tobytes()])
    assert np.array_equal(pixels(widget, 1)[..., :3], rgb)


def test_every_tile_says_synthetic_its_seed_and_its_labels(full):
    cells = full.page.get_by_role("gridcell")
    assert cells.count() == 4
    for place, cell in enumerate(cells.all()):
        assert cell.inner_text().split() == ["SYNTHETIC", "seed", str(BIG - 3 + place)]
        assert cell.get_attribute("aria-label") == (
            f"synthetic image, seed {BIG - 3 + place}, contrast {LABELS[place]} (drawn), tumour yes"
        )
    assert full.page.get_by_role("row").count() == 2


def test_generate_sends_all_wishes_in_one_message_with_the_seed_as_text(widget):
    page = widget.page
    page.get_by_label("contrast").select_option(label="T2")
    page.get_by_label("images", exact=True).fill("9")
    page.get_by_role("button", name="Generate").click()
    (asked,) = asked_for(widget)
    assert asked["seed"] == str(BIG - 3)
    assert asked["images"] == "9"
    assert asked["condition"] == {"contrast": "T2", "tumour": True}
    assert asked["psi"] is None
    page.get_by_label("tumour").select_option(label="any")
    page.get_by_label("seed", exact=True).fill("ten")
    page.get_by_label("seed", exact=True).press("Enter")
    assert asked_for(widget)[1]["seed"] == "ten", "the kernel says what is wrong with it"
    assert "tumour" not in asked_for(widget)[1]["condition"]


def test_truncation_is_offered_only_where_the_model_has_it(widget):
    page = widget.page
    assert not page.get_by_label("truncation").is_visible()
    page.get_by_label("model").select_option("chest")
    page.get_by_label("truncation").fill("0.7")
    page.get_by_role("button", name="Generate").click()
    assert asked_for(widget)[0]["psi"] == 0.7
    assert page.get_by_label("contrast").count() == 0


def test_the_dice_draws_a_seed_and_cancel_only_speaks_while_something_runs(widget):
    page = widget.page
    page.get_by_role("button", name="draw a new seed").click()
    assert page.get_by_label("seed", exact=True).input_value() != str(BIG - 3)
    page.get_by_role("button", name="Cancel").click(force=True)
    assert sent(widget, "cancel") == []
    widget.receive(*frame([0]))
    page.get_by_role("button", name="Cancel").click()
    assert sent(widget, "cancel") == [{"kind": "cancel", "id": "q"}]


def test_the_keyboard_moves_selects_opens_and_closes(full):
    page = full.page
    page.locator('[data-place="0"]').focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.place") == "3"
    page.keyboard.press("Space")
    assert page.locator('[data-place="3"]').get_attribute("aria-selected") == "true"
    assert "1 selected" in page.locator(".mg-foot").inner_text()
    page.keyboard.press("Enter")
    side = page.get_by_role("complementary")
    assert str(BIG) in side.inner_text()
    assert "T2 (drawn)" in side.inner_text()
    page.keyboard.press("ArrowLeft")
    assert str(BIG - 1) in side.inner_text(), "the large view follows"
    page.keyboard.press("Escape")
    assert not page.locator(".mg-large").is_visible()
    assert page.evaluate("document.activeElement.dataset.place") == "2", "focus is not lost"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.place") == "0"


def test_window_and_level_change_the_view_and_reset_gives_the_pixels_back(full):
    page = full.page
    page.locator('[data-place="0"]').click()
    page.get_by_label("window").fill("100")
    page.get_by_label("level").fill("50")
    expected = np.clip((IMAGES[1, ..., 0] - 0.0) * 2.55, 0, 255)
    assert np.abs(pixels(full, 1)[..., 0] - expected).max() <= 1
    page.get_by_role("button", name="Reset W/L").click()
    assert np.array_equal(pixels(full, 1)[..., 0], IMAGES[1, ..., 0])


def test_right_drag_sets_the_window_and_double_click_resets(full):
    page = full.page
    box = page.locator('[data-place="1"]').bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 20, box["y"] + 90, steps=5)
    page.mouse.up(button="right")
    assert not np.array_equal(pixels(full, 0)[..., 0], IMAGES[0, ..., 0])
    assert not page.locator(".mg-large").is_visible(), "a drag is no click"
    page.locator('[data-place="1"]').dblclick()
    assert np.array_equal(pixels(full, 0)[..., 0], IMAGES[0, ..., 0])


def test_the_wheel_zooms_with_ctrl_only_on_the_grid_and_freely_on_the_large_view(full):
    page = full.page
    zoom = (
        "getComputedStyle(document.querySelector('.mg-grid')).getPropertyValue('--mg-zoom').trim()"
    )
    page.locator('[data-place="0"]').hover()
    page.mouse.wheel(0, -200)
    assert page.evaluate(zoom) == "1"
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_function(f"{zoom} > 1.2")
    page.locator('[data-place="0"]').dblclick()
    assert page.evaluate(zoom) == "1"
    page.locator(".mg-large").hover()
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"{zoom} > 1.5")
    before = page.evaluate("document.querySelector('.mg-grid').style.getPropertyValue('--mg-x')")
    box = page.locator(".mg-large").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 60, box["y"] + 100, steps=4)
    page.mouse.up()
    after = page.evaluate("document.querySelector('.mg-grid').style.getPropertyValue('--mg-x')")
    assert float(after) < float(before), "dragging pans"


def test_a_second_view_shows_the_same_tiles_and_has_its_own_selection(full):
    full.page.locator('[data-place="0"]').click(modifiers=["Control"])
    full.add_view()
    for place in range(4):
        assert np.array_equal(pixels(full, place, view=1)[..., 0], IMAGES[place, ..., 0])
    assert full.page.locator(".view").nth(1).locator("[aria-selected=true]").count() == 0
    full.close_view(0)
    full.receive(*frame([0], id=2, total=1))
    assert full.page.get_by_role("gridcell").count() == 1, "the other view lives on"
    assert full.errors() == []


def test_the_page_says_hello_and_asks_again_for_what_got_lost(widget):
    assert sent(widget, "hello") == [{"kind": "hello", "request": 0, "have": []}]
    widget.receive(*frame([0, 3], state="done", done=4))
    assert sent(widget, "hello")[1] == {"kind": "hello", "request": 1, "have": [0, 3]}
    widget.receive(*frame([1, 2], state="done", done=4, frame=2))
    assert np.array_equal(pixels(widget, 1)[..., 0], IMAGES[1, ..., 0])
    assert len(sent(widget, "hello")) == 2


def saved_picture() -> dict[str, Any]:
    request = GenerateRequest("phantom-brain-mri", seeds=range(BIG - 3, BIG + 1))
    pictures = Pictures(1, request)
    pictures.add(Batch(IMAGES, tuple(request.seeds), {"contrast": LABELS, "tumour": (True,) * 4}))
    picture = _frames.picture_of(pictures)
    return {**picture, "png": _plain(picture["png"])}


def test_a_saved_notebook_shows_its_images_without_a_kernel(widget):
    widget.page.evaluate(
        "(p) => model.set('picture', { ...p, png: revive(p.png) })", saved_picture()
    )
    widget.page.wait_for_function("document.querySelectorAll('.mg-made').length === 4")
    for place in range(4):
        assert np.array_equal(pixels(widget, place)[..., 0], IMAGES[place, ..., 0])
    assert f"seed {BIG}" in widget.page.locator('[data-place="3"]').inner_text()


def test_a_newer_request_replaces_the_tiles_only_with_its_first_image(full):
    full.receive(*frame([], id=1, state="queued", done=0, of=9))
    assert full.page.locator(".mg-made").count() == 4, "the last picture stays"
    full.receive(*frame([0], id=2, total=3))
    assert full.page.get_by_role("gridcell").count() == 3
    assert full.page.locator(".mg-made").count() == 1


def test_a_lost_kernel_is_said_and_the_images_stay(full):
    full.page.evaluate(
        "document.querySelector('.view').classList.add('jupyter-widgets-disconnected');"
        "model.emit('comm_live_update')"
    )
    full.page.wait_for_function(
        "document.querySelector('.mg-note').textContent.includes('No kernel')"
    )
    full.page.get_by_role("button", name="Generate").click()
    assert sent(full, "generate") == []
    assert "run the cells above" in full.page.locator(".mg-note").inner_text()
    assert full.page.locator(".mg-made").count() == 4


def test_png_and_zip_are_downloads_of_the_kernels_bytes(full):
    page = full.page
    page.locator('[data-place="2"]').click(modifiers=["Control"])
    page.locator('[data-place="0"]').click(modifiers=["Control"])
    page.get_by_role("button", name="Zip").click()
    asked = sent(full, "save")[-1]
    assert (asked["what"], asked["tiles"], asked["request"]) == ("zip", [0, 2], 1)
    full.receive({"kind": "accepted", "id": asked["id"]})
    cancel = page.get_by_role("button", name="Cancel")
    assert cancel.get_attribute("aria-disabled") == "false", "looking for copies may take long"
    cancel.click()
    assert sent(full, "cancel") == [{"kind": "cancel", "id": asked["id"]}]
    answer = {"kind": "file", "id": asked["id"], "mime": "application/zip"}
    with page.expect_download() as download:
        full.receive({**answer, "name": "x_synthetic.zip"}, [b"PK123"])
    assert download.value.suggested_filename == "x_synthetic.zip"
    assert Path(download.value.path()).read_bytes() == b"PK123"
    assert cancel.get_attribute("aria-disabled") == "true"
    page.get_by_role("button", name="PNG").click()
    assert len(sent(full, "save")[-1]["tiles"]) == 1


def test_copy_recipe_puts_the_kernels_text_on_the_clipboard(full):
    page = full.page
    page.locator('[data-place="1"]').click()
    page.evaluate("navigator.clipboard ??= {}")
    page.evaluate("document.execCommand = () => { window.copied = document.activeElement.value; }")
    page.get_by_role("button", name="Copy recipe").click()
    (asked,) = sent(full, "recipe")
    assert asked["tiles"] == [1]
    full.receive({"kind": "text", "id": asked["id"], "text": '{"seeds": [1]}'})
    page.wait_for_function("document.querySelector('.mg-side .mg-copied').textContent === 'copied'")
    assert page.evaluate("window.copied") == '{"seeds": [1]}'


def test_html_in_names_stays_text(widget):
    assert widget.page.locator(".mg-grid img").count() == 0
    assert widget.errors() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [420, 700, 1000, 1600])
def test_nothing_is_wider_than_its_cell_and_the_theme_is_followed(bare, width, dark):
    widget = bare(str(_Canvas._esm), STATE, css=CSS, dark=dark, width=width)
    widget.receive(*frame([0, 1, 2, 3], state="done"))
    widget.page.locator('[data-place="0"]').click()
    assert widget.page.evaluate("document.documentElement.scrollWidth") <= width
    cut = widget.page.evaluate(
        """() => [...document.querySelectorAll('.mg-grid button, .mg-grid label, .mg-grid dd')]
        .filter((n) => n.offsetParent && n.scrollWidth > n.clientWidth + 1)
        .map((n) => n.outerHTML)"""
    )
    assert cut == []
    paper = widget.page.evaluate(
        "getComputedStyle(document.querySelector('.mg-grid')).backgroundColor"
    )
    assert paper == ("rgb(28, 28, 31)" if dark else "rgb(255, 255, 255)")
