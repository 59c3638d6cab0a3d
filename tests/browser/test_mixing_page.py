"""Style mixing on the grid's page: offered where a model has styles, off until a seed is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medgan_widgets.panels.generator_grid import _Canvas
from tests.browser.bare import BareWidget
from tests.browser.test_generator_grid_page import CSS, STATE, asked_for

STYLED = {"title": "Styled", "condition": {}, "truncation": True}
MODELS = [
    {"id": "plain", "title": "Plain", "condition": {}, "truncation": False, "styles": 0},
    {"id": "nine", "styles": 9, **STYLED},
    {"id": "seven", "styles": 7, **STYLED},
]
CONTROLS = {"model": "nine", "images": 4, "seed": "1", "condition": {}, "psi": 1, "mix": None}
GROUP = "style mixing"
SEED = "mix with seed"
PART = "styles to take from that seed"
SHARE = "how much of those styles"


@pytest.fixture
def page_of(bare: Callable[..., BareWidget]) -> Callable[..., BareWidget]:
    def mounted(**controls: Any) -> BareWidget:
        state = {**STATE, "models": MODELS, "controls": {**CONTROLS, **controls}}
        return bare(str(_Canvas._esm), state, css=CSS)

    return mounted


def asked(widget: BareWidget) -> Any:
    widget.page.get_by_role("button", name="Generate").click()
    return asked_for(widget)[-1]["mix"]


def test_it_is_offered_only_where_the_model_has_styles(page_of):
    widget = page_of(model="plain")
    page = widget.page
    assert not page.get_by_role("group", name=GROUP).is_visible()
    assert asked(widget) is None
    page.get_by_label("model").select_option("nine")
    assert page.get_by_role("group", name=GROUP).is_visible()
    page.get_by_label(SEED).fill("42")
    page.get_by_label("model").select_option("plain")
    assert asked(widget) is None, "what is hidden asks for nothing"


def test_empty_is_off_and_a_seed_brings_the_rest(page_of):
    widget = page_of()
    page = widget.page
    assert not page.get_by_label(PART).is_visible()
    assert asked(widget) is None
    page.get_by_label(SEED).fill("18446744073709551615")
    assert page.get_by_label(PART).is_visible()
    assert asked(widget) == {"seed": "18446744073709551615", "share": 1, "layers": [0, 2]}
    page.get_by_label(SEED).fill("  ")
    assert not page.get_by_label(SHARE).is_visible()
    assert asked(widget) is None


def test_coarse_middle_and_fine_are_thirds_of_the_models_own_layers(page_of):
    widget = page_of()
    page = widget.page
    page.get_by_label(SEED).fill("42")
    page.get_by_label(SHARE).fill("0.5")
    found = {}
    for model in ("nine", "seven"):
        page.get_by_label("model").select_option(model)
        for part in ("coarse", "middle", "fine"):
            page.get_by_label(PART).select_option(label=f"{part} styles")
            found[model, part] = asked(widget)["layers"]
    assert asked(widget)["share"] == 0.5
    assert [found["nine", part] for part in ("coarse", "middle", "fine")] == [
        [0, 2],
        [3, 5],
        [6, 8],
    ]
    assert [found["seven", part] for part in ("coarse", "middle", "fine")] == [
        [0, 1],
        [2, 4],
        [5, 6],
    ]


@pytest.mark.parametrize(
    "mix",
    [
        {"seed": "42", "share": 0.33},
        {"seed": "42", "share": 0.5, "layers": [3, 5]},
        {"seed": "42", "share": 1, "layers": [1, 4]},
        {"seed": "42", "share": 1, "layers": [2, 2]},
    ],
)
def test_what_python_asked_for_is_shown_and_asked_for_again_as_it_was(page_of, mix):
    widget = page_of(mix=mix)
    assert widget.page.get_by_label(SEED).input_value() == "42"
    assert asked(widget) == mix


def test_what_python_sets_later_comes_back_and_goes_again(page_of):
    widget = page_of()
    page = widget.page
    page.get_by_label(SEED).fill("7")
    page.get_by_label(PART).select_option(label="fine styles")
    mix = {"seed": "18446744073709551615", "share": 0.25, "layers": [3, 5]}
    widget.set("controls", {**CONTROLS, "mix": mix})
    assert page.get_by_label(SEED).input_value() == mix["seed"]
    assert page.get_by_label(PART).locator("option:checked").inner_text() == "middle styles"
    assert asked(widget) == mix
    widget.set("controls", {**CONTROLS, "mix": None})
    assert page.get_by_label(SEED).input_value() == ""
    assert asked(widget) is None
    page.get_by_label(SEED).fill("7")
    assert asked(widget) == {"seed": "7", "share": 1, "layers": [0, 2]}, "as at the beginning"


def test_every_control_is_named_and_the_word_on_screen_leads_to_it(page_of):
    widget = page_of(mix={"seed": "42", "share": 0.5})
    page = widget.page
    group = page.get_by_role("group", name=GROUP)
    group.get_by_text("mix with seed").click()
    assert page.evaluate("document.activeElement.value") == "42"
    assert group.get_by_role("textbox", name=SEED, exact=True).is_visible()
    assert group.get_by_role("combobox", name=PART, exact=True).is_visible()
    assert group.get_by_role("slider", name=SHARE, exact=True).is_visible()
    for name in (PART, SHARE):  # one frame holds them all: each shows that it is in use
        page.keyboard.press("Tab")
        control = page.get_by_label(name)
        assert control.evaluate("(node) => node === document.activeElement")
        assert control.evaluate("(node) => getComputedStyle(node).outlineStyle") == "solid"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1000, 1600])
def test_nothing_of_it_is_wider_than_its_cell(
    bare: Callable[..., BareWidget], width: int, dark: bool
) -> None:
    mix = {"seed": "18446744073709551615", "share": 0.33, "layers": [1, 4]}
    state = {**STATE, "models": MODELS, "controls": {**CONTROLS, "mix": mix}}
    page = bare(str(_Canvas._esm), state, css=CSS, width=width, dark=dark).page
    box = page.get_by_role("group", name=GROUP).bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_layers_named_in_python_are_an_entry_of_the_list_while_the_model_has_them(page_of):
    widget = page_of(mix={"seed": "42", "share": 1, "layers": [4, 7]})
    page = widget.page
    part = page.get_by_label(PART)
    assert part.locator("option:checked").inner_text() == "layers 4–7"
    page.get_by_label("model").select_option("seven")
    assert part.locator("option:checked").inner_text() == "coarse styles"
    assert asked(widget) == {"seed": "42", "share": 1, "layers": [0, 1]}
    assert widget.errors() == []


def test_the_keyboard_reaches_it_after_the_truncation_and_enter_generates(page_of):
    widget = page_of()
    page = widget.page
    page.get_by_label("truncation").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    assert asked_for(widget)[0]["mix"] == {"seed": "7", "share": 1, "layers": [0, 2]}
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowLeft")
    assert asked(widget) == {"seed": "7", "share": 0.95, "layers": [3, 5]}
