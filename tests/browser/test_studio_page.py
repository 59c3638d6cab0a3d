"""The Studio's head alone in a page: tabs, device line, keyboard, narrow and dark."""

from __future__ import annotations

import pytest

from medgan_widgets.panels._panel import joined

STATE = {
    "title": "MedGAN Studio",
    "about": "synthetic medical images",
    "device": "cpu · 2 threads · no model resident",
    "tabs": ["Explore", "Generate"],
    "hints": ["Start here", ""],
    "selected": 0,
}
# What Jupyter puts around it: the Studio's box, and the two pages drawn a little later.
HOUSE = """() => {
  document.body.classList.add('mg-studio', 'mg-panel');
  for (const index of [0, 1]) {
    const page = document.createElement('section');
    page.className = `mg-page mg-page-${index}`;
    page.textContent = `page ${index}`;
    document.body.append(page);
  }
}"""


@pytest.fixture
def studio(bare):
    widget = bare(
        joined("_dom.js", "studio.js"), STATE, css=joined("_panel.css", "studio.css"), width=700
    )
    widget.page.evaluate(HOUSE)
    widget.page.locator("section[role=tabpanel]").nth(1).wait_for(state="attached")
    return widget


def test_a_tab_shows_its_page_without_the_kernel(studio):
    page = studio.page
    assert page.get_by_text("page 0").is_visible()
    assert page.get_by_text("Start here").is_visible()

    page.get_by_role("tab", name="Generate").click()

    assert page.get_by_text("page 1").is_visible()
    assert not page.get_by_text("page 0").is_visible()
    assert not page.get_by_text("Start here").is_visible()
    assert studio.saved() == [{"selected": 1}]
    assert page.get_by_role("tabpanel", name="Generate").is_visible()


def test_the_kernel_can_change_tab_and_device_line(studio):
    studio.set("selected", 1)
    studio.set("device", "cuda:0 (name) · 1 model resident")
    assert studio.page.get_by_text("page 1").is_visible()
    assert studio.page.get_by_text("cuda:0 (name) · 1 model resident").is_visible()


def test_arrows_move_between_tabs(studio):
    tabs = studio.page.get_by_role("tab")
    tabs.first.focus()
    studio.page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert studio.page.evaluate("() => document.activeElement.textContent") == "Generate"
    studio.page.keyboard.press("ArrowRight")
    assert tabs.first.get_attribute("aria-selected") == "true"


def test_text_from_outside_stays_text(studio):
    studio.set("hints", ["<img src=x onerror=alert(1)>", ""])
    assert studio.page.get_by_text("<img src=x").is_visible()
    assert studio.page.locator("img").count() == 0


def test_a_closed_view_listens_no_more(studio):
    studio.close_view()
    studio.set("selected", 1)
    assert studio.errors() == []
