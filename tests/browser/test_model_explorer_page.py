"""The explorer's page in an empty browser page; the real Python half plays the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ipywidgets import DOMWidget
from PIL import Image

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.panels._panel import joined
from medgan_widgets.panels.model_explorer import SCRIPT, ModelExplorer
from tests.browser.bare import BareWidget
from tests.test_catalogue import model
from tests.test_downloads import Site
from tests.test_explorer_packages import MODEL, packed, trickles

NASTY = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'


class Session:
    """A page and the kernel's half; `answer` carries over what the page asked, and the reply."""

    def __init__(self, bare: Callable[..., BareWidget], explorer: ModelExplorer, **kind: Any):
        self.explorer, self.used = explorer, explorer.on_use
        self.saved = self.sent = 0
        self.known = self.state()
        css = joined("_panel.css", "model_explorer.css")
        self.widget = bare(SCRIPT, self.state(), css=css, **kind)
        self.page = self.widget.page
        explorer.view.send = lambda content, buffers=None: self.widget.receive(content)

    def state(self) -> dict[str, Any]:
        view = self.explorer.view
        names = set(view.keys) - set(DOMWidget.class_trait_names(sync=True))
        return {name: getattr(view, name) for name in names if name[0] != "_"}

    def messages(self) -> list[dict[str, Any]]:
        return [message["content"] for message in self.widget.sent()]

    def answer(self) -> None:
        self.page.wait_for_timeout(20)
        saved, sent = self.widget.saved(), self.messages()
        for changes in saved[self.saved :]:
            self.explorer.view.set_state(changes)
        for content in sent[self.sent :]:
            self.explorer.view._handle_custom_msg(content, [])
        self.saved, self.sent = len(saved), len(sent)
        now = self.state()
        for name, value in now.items():
            if value != self.known[name]:
                self.widget.set(name, value)
        self.known = now

    def until(self, true: Callable[[], object]) -> None:
        """Answer until something has come true that takes its time beside the kernel."""
        end = time.monotonic() + 20
        while not true():
            assert time.monotonic() < end, "it never came true"
            self.answer()

    def names(self) -> list[str]:
        found: list[str] = self.page.locator("button.mg-name").all_text_contents()
        return found


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("medgan_widgets.model_folders.bundled", lambda: tmp_path / "bundled")
    folder = tmp_path / "mine"
    brain = model(folder, "phantom-brain-mri", size=[16, 16])
    grey = np.repeat(np.arange(8, dtype=np.uint8) * 30, 16)[None].repeat(16, 0)
    Image.fromarray(grey).save(brain / "preview.png")
    model(folder, "phantom-mammogram", modality="MG", organ="breast", makes="mammogram patch")
    return folder


@pytest.fixture
def session(bare: Callable[..., BareWidget], root: Path) -> Iterator[Session]:
    used: list[str] = []
    one = Session(bare, ModelExplorer(Catalogue(root), on_use=used.append))
    one.used = used
    yield one
    assert one.widget.errors() == []


def test_it_opens_with_every_model_and_one_card(session: Session) -> None:
    assert len(session.names()) == 25
    assert session.page.locator(".mg-total").text_content() == "25 of 25"
    assert session.page.locator(".mg-detail h4").text_content() == "phantom-brain-mri"
    figure = session.page.locator("dd", has_text="floor 0.43").text_content()
    assert "11.8 [11.2, 12.5]" in figure
    assert "n 3,000 phantoms / 3,000 synthetic" in figure


def test_typing_narrows_the_table_and_costs_no_message(session: Session) -> None:
    box = session.page.get_by_role("searchbox", name="search models")
    box.press_sequentially("polyp mask")
    assert session.names() == ["00009", "00010", "00011"]
    assert session.page.locator(".mg-total").text_content() == "3 of 25"
    assert session.widget.saved() == session.messages() == []
    box.press("Enter")
    session.answer()
    assert len(session.messages()) == 1, "the card follows the first hit"
    assert session.explorer.selected.startswith("00009")
    assert session.explorer.search_text == "polyp mask"


def test_a_search_without_hits_is_taken_back_with_one_click(session: Session) -> None:
    session.page.get_by_role("button", name="endoscopy, 3 models").click()
    session.page.get_by_role("searchbox").fill("brain")
    assert session.names() == []
    session.page.get_by_role("button", name="Clear search and filters").click()
    assert len(session.names()) == 25
    assert session.page.get_by_role("searchbox").input_value() == ""


# Words of every kind: names, synonyms, plurals, sizes, numbers, halves and nonsense.
QUERIES = [
    *("breast mri", "breast-mri", "Chest X-rays", "chest x ray", "magnetic resonance imaging"),
    *("computed tomography", "224 x 192", "224×192", "512", "128 px", "128px", "00012", "12", "1"),
    *("polyps with masks", "tumors", "brain tumour", "cardiac aging", "MLO", "masses", "roi"),
    *("phantom-brain-mri", "phantom", "wgan-gp", "wgan", "not stated", "MIT", "cc by", "t1w"),
    *("t2 weighted", "dce-mri", "b", "br", "bre", "ma", "mammogr", "seg", "us", "cr", "qwertz"),
    *("<b>", "a picture of", "2021", "class to image", "ü", "İ", "_", "-", "x" * 3000, "  "),
]
CHOICES: list[dict[str, list[str]]] = [
    *({}, {"modality": ["MG", "MR"]}, {"organ": ["breast"], "outputs": ["label"]}),
    *({"runs_here": ["now"], "licence": ["MIT"]}, {"size": ["128"], "organ": ["brain"]}),
]
FIND = """(queries) => queries.map(([search_text, filters, rank_by, sort]) => {
  model.set({ search_text, filters, rank_by, sort });
  return [...document.querySelectorAll('tr[data-id]')].map((row) => row.dataset.id);
})"""


def test_the_page_finds_and_orders_what_the_catalogue_does(session: Session) -> None:
    explorer = session.explorer
    fid, fd = (
        next(m["label"] for m in explorer.view.metrics if m["label"].startswith(name))
        for name in ("FID ·", "FD ·")
    )
    asked = [(text, {}, "", []) for text in QUERIES]
    asked += [(t, kind, by, []) for t in ("", "mri") for kind in CHOICES for by in ("", fid, fd)]
    found = session.page.evaluate(FIND, asked)
    for query, ids in zip(asked, found, strict=True):
        explorer.view.search_text, explorer.view.filters, explorer.view.rank_by, _ = query
        assert tuple(ids) == explorer.shown, query


def test_each_column_sorts_both_ways(session: Session) -> None:
    cards = {card.id: card for card in session.explorer.catalogue}
    keys: dict[str, Callable[[str], Any]] = {
        "id": lambda name: name[:5] if cards[name].origin == "medigan" else name,
        "size": lambda name: cards[name].size[0] * cards[name].size[1],
        "makes": lambda name: cards[name].makes.lower(),
    }
    for column, key in keys.items():
        ways = [["", {}, "", [column, way]] for way in ("ascending", "descending")]
        up, down = session.page.evaluate(FIND, ways)
        assert up == sorted(cards, key=key)
        assert down == sorted(cards, key=key, reverse=True)


def test_counts_beside_the_filters_are_what_they_would_give(session: Session) -> None:
    page, catalogue = session.page, session.explorer.catalogue
    page.get_by_role("button", name="magnetic resonance, 5 models").click()
    page.get_by_role("button", name="more filters").click()
    pills = page.locator(".mg-pill[data-key^='organ/'], .mg-pill[data-key^='size/']")
    counts = {pill.get_attribute("data-key"): pill.inner_text().split()[-1] for pill in pills.all()}
    assert counts["organ/colon"] == "0", "other values of the same facet stay reachable"
    for key, count in counts.items():
        facet, value = key.split("/")
        assert len(catalogue.filter(modality="MR", **{facet: value})) == int(count), key
    assert page.get_by_role("button", name="mammography, 13 models").is_visible()


def test_pills_filter_and_keep_the_focus(session: Session) -> None:
    pill = session.page.get_by_role("button", name="endoscopy, 3 models")
    pill.focus()
    session.page.keyboard.press("Enter")
    session.answer()
    assert session.names() == ["00009", "00010", "00011"]
    assert pill.get_attribute("aria-pressed") == "true"
    assert session.page.evaluate("document.activeElement.dataset.key") == "modality/ES"
    session.page.get_by_role("button", name="clear filters").click()
    session.answer()
    assert len(session.names()) == 25


def test_more_filters_open_and_close(session: Session) -> None:
    more = session.page.get_by_role("button", name="more filters")
    assert session.page.get_by_role("button", name="not stated, 3 models").is_hidden()
    more.click()
    assert more.get_attribute("aria-expanded") == "true"
    session.page.get_by_role("button", name="not stated, 3 models").click()
    session.answer()
    assert session.names() == ["00007", "00021", "00022"]
    assert "not stated" in (session.page.locator("dd .mg-warn").first.text_content() or "")


def test_headers_sort_and_say_so(session: Session) -> None:
    head = session.page.get_by_role("columnheader", name="size")
    button = head.get_by_role("button")
    button.focus()
    for way in ("ascending", "descending", "none"):
        session.page.keyboard.press("Enter")
        session.answer()
        assert head.get_attribute("aria-sort") == way
    button.click()
    button.click()
    assert session.names()[0] in {"00003", "00013", "00014", "00015", "00016"}


def test_a_click_on_score_ranks_best_first(session: Session) -> None:
    head = session.page.get_by_role("columnheader", name="score")
    head.get_by_role("button").click()
    session.answer()
    assert session.names()[0] == "00023"
    assert session.page.get_by_label("rank by").input_value().startswith("FID ·")
    assert "Lower is better" in (session.page.locator(".mg-note").text_content() or "")
    session.page.get_by_label("rank by").select_option("")
    session.answer()
    assert session.names()[0] == "phantom-brain-mri"


def test_arrow_keys_walk_through_the_models(session: Session) -> None:
    session.page.get_by_role("searchbox").focus()
    session.page.keyboard.press("ArrowDown")
    for _ in range(2):
        session.page.keyboard.press("ArrowDown")
        session.answer()
    assert session.page.locator(".mg-detail h4").text_content() == "00001_DCGAN_MMG_CALC_ROI"
    assert session.page.evaluate("document.activeElement.textContent") == "00001"
    session.page.keyboard.press("End")
    session.answer()
    assert session.page.locator(".mg-detail h4").text_content().startswith("00023")
    chosen = session.page.locator("tr.mg-on")
    assert chosen.get_attribute("aria-selected") == "true"
    inside = """(row) => { const list = row.closest('.mg-list').getBoundingClientRect();
      const box = row.getBoundingClientRect(); return box.bottom <= list.bottom + 1; }"""
    assert chosen.evaluate(inside), "the selected row is scrolled into the list"


def test_a_model_that_runs_is_used_and_another_says_why_not(session: Session) -> None:
    use = session.page.get_by_role("button", name="Use this model")
    use.click()
    session.answer()
    assert session.used == ["phantom-brain-mri"]
    session.page.locator("tr", has_text="00022").click()
    session.answer()
    assert use.get_attribute("aria-disabled") == "true"
    assert "an interpreter of its own" in (session.page.locator(".mg-why").text_content() or "")
    sent = len(session.widget.sent())
    use.click(force=True)
    assert len(session.widget.sent()) == sent


def test_ticked_models_stand_side_by_side(session: Session) -> None:
    compare = session.page.get_by_role("button", name="Compare")
    assert compare.get_attribute("aria-disabled") == "true"
    session.page.get_by_role("checkbox", name="compare 00001").check()
    session.page.get_by_role("checkbox", name="compare 00010").check()
    session.answer()
    session.page.get_by_role("button", name="Compare 2…").click()
    session.answer()
    table = session.page.locator(".mg-comparison table")
    assert table.locator("thead th").all_text_contents() == ["", "00001", "00010"]
    session.page.get_by_role("button", name="Close").click()
    session.answer()
    assert session.page.locator(".mg-comparison").is_hidden()
    assert session.page.get_by_role("checkbox", name="compare 00001").is_checked() is False


def test_previews_are_cut_into_tiles_and_marked(session: Session) -> None:
    canvases = session.page.locator(".mg-thumb canvas")
    canvases.first.wait_for()
    assert canvases.count() == 8
    grey = canvases.nth(5).evaluate("(c) => c.getContext('2d').getImageData(3, 3, 1, 1).data[0]")
    assert grey == 150
    assert session.page.locator(".mg-thumb span").all_text_contents() == ["SYNTHETIC"] * 8
    session.page.locator("tr", has_text="00001").click()
    session.answer()
    assert canvases.count() == 0


def test_markup_in_a_card_is_shown_as_text(bare: Callable[..., BareWidget], root: Path) -> None:
    nasty = {
        "title": NASTY,
        "description": NASTY,
        "limits": NASTY,
        "makes": NASTY,
        "licence": NASTY,
    }
    model(root, "nasty", **nasty, condition={NASTY: [NASTY]}, dataset=NASTY)
    (model(root, "worse") / "card.json").write_text(f'{{"modality": "{NASTY[:4]}"')
    explorer = ModelExplorer(Catalogue(root))
    explorer.selected = "nasty"
    explorer.compare(["nasty", 1])
    session = Session(bare, explorer)
    session.page.wait_for_timeout(200)
    assert session.page.evaluate("window.hacked") is None
    assert session.page.locator(".mg-explorer img, .mg-explorer script").count() == 0
    assert session.page.locator(".mg-detail p", has_text=NASTY).count() >= 1
    assert session.page.locator("td.mg-c-makes", has_text=NASTY).count() == 1


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalogue]:
    """A catalogue whose packages come slowly."""
    monkeypatch.setenv("MEDGAN_UNATTENDED", "0")
    site = Site()
    site.reply = trickles(packed(tmp_path / "mirror").read_bytes(), 20_000, 0.1)
    yield Catalogue(tmp_path / "mine", mirror=site.url)
    site.server.shutdown()
    site.server.server_close()


def test_from_download_to_consent_to_use(
    bare: Callable[..., BareWidget], root: Path, slow: Catalogue
) -> None:
    used: list[str] = []
    session = Session(bare, ModelExplorer(slow, on_use=used.append))
    page = session.page
    step, use = page.locator(".mg-step"), page.get_by_role("button", name="Use this model")
    button = {
        name: step.get_by_role("button", name=name, exact=True)
        for name in ("Download", "Cancel", "Yes, run its code", "No", "Read it again")
    }
    assert step.is_hidden(), "a model of this machine needs nothing"
    page.locator("tr", has_text="00005").click()
    session.answer()
    button["Download"].dblclick()
    bar = page.get_by_role("progressbar")
    session.until(lambda: bar.count() and "%" in (step.text_content() or ""))
    assert "of 0.3 MB" in (step.text_content() or "")
    assert page.evaluate("document.activeElement.className") == "mg-row mg-transfer"
    button["Cancel"].click()
    session.until(lambda: button["Download"].is_visible())
    button["Download"].press("Enter")
    session.until(lambda: button["Yes, run its code"].is_visible())

    asks = step.get_by_role("group", name="do you agree to run its code?")
    assert "written by its authors" in (asks.text_content() or "")
    assert use.get_attribute("aria-disabled") == "true"
    assert asks.get_by_role("checkbox").count() == 0, "its weights are no whole pickles"
    assert asks.evaluate("(node) => node === document.activeElement")
    sent = len(session.widget.sent())
    button["No"].click()
    assert asks.count() == 0
    assert len(session.widget.sent()) == sent, "a no changes nothing"
    button["Read it again"].click()
    button["Yes, run its code"].click()
    session.until(lambda: use.get_attribute("aria-disabled") == "false")
    use.click()
    session.answer()
    assert used == [MODEL]

    shelf = page.locator(".mg-cache")
    assert shelf.locator("summary").text_content() == "Downloaded: 1 package, 0.3 MB"
    shelf.locator("summary").click()
    assert shelf.locator("tbody td").nth(3).text_content() == "yes"
    for width in (320, 560, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        table = shelf.locator(".mg-scroll").evaluate(
            "(node) => node.scrollWidth - node.clientWidth"
        )
        assert table <= 0
    page.get_by_role("button", name="Write models.lock").click()
    session.until(lambda: "1 package pinned" in (shelf.text_content() or ""))
    page.get_by_role("button", name=f"remove {MODEL}").click()
    session.until(lambda: button["Download"].is_visible())
    assert shelf.is_hidden()
    assert session.widget.errors() == []


def test_whole_pickles_have_a_box_of_their_own(bare: Callable[..., BareWidget], root: Path) -> None:
    session = Session(bare, ModelExplorer(Catalogue(root)))
    detail = {**session.explorer.view.detail, "runs": False, "why": "Downloaded; needs your yes."}
    asked = {"kind": "consent", "cached": "1 MB", "sha256": "a" * 64, "pickle": True}
    session.widget.set("detail", {**detail, "step": {**asked, "text": f"one\n{NASTY}"}})
    yes = session.page.get_by_role("button", name="Yes, run its code")
    box = session.page.get_by_role("checkbox", name="whole pickles")
    assert not box.is_checked()
    yes.click()
    box.check()
    yes.click()
    sent = session.messages()
    assert [one["pickle"] for one in sent] == [False, True]
    assert {one["sha256"] for one in sent} == {"a" * 64}
    assert session.page.evaluate("window.hacked") is None
    assert session.page.locator(".mg-asks", has_text=NASTY).count() == 1


def test_lines_to_type_can_be_copied(bare: Callable[..., BareWidget], root: Path) -> None:
    explorer = ModelExplorer(Catalogue(root))
    explorer.selected = "00022"
    session = Session(bare, explorer, width=320)
    page = session.page
    lines = page.locator(".mg-code code")
    assert "python3 -m venv ~/medgan-00022" in (lines.text_content() or "")
    page.evaluate(
        """() => Object.defineProperty(navigator, 'clipboard',
        { value: { writeText: async (text) => { window.copied = text; } } })"""
    )
    page.get_by_role("button", name="Copy", exact=True).click()
    page.locator(".mg-code-side", has_text="copied").wait_for()
    assert page.evaluate("window.copied") == lines.text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert page.get_by_role("button", name="Download").is_visible()


def test_a_second_view_shows_and_follows_the_same(session: Session) -> None:
    session.widget.add_view()
    session.page.locator("input[type=search]").first.fill("polyp")
    session.answer()
    assert session.names() == ["00009", "00010", "00011"] * 2
    session.widget.close_view(0)
    assert session.names() == ["00009", "00010", "00011"]


def test_a_silent_kernel_is_said(session: Session) -> None:
    session.page.clock.install()
    session.page.locator("tr", has_text="00001").click()
    session.page.clock.run_for(7000)
    message = session.page.locator(".mg-message")
    assert "No answer from the kernel" in (message.text_content() or "")
    session.page.clock.resume()
    session.answer()
    assert message.is_hidden()


@pytest.mark.parametrize(
    ("width", "dark"), [(1000, False), (1000, True), (1600, True), (700, False)]
)
def test_nothing_is_cut_or_overlaps(
    bare: Callable[..., BareWidget], root: Path, width: int, dark: bool
) -> None:
    session = Session(bare, ModelExplorer(Catalogue(root)), width=width, dark=dark)
    page = session.page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.locator(".mg-list").evaluate("(node) => node.scrollWidth - node.clientWidth")
    assert wide == 0, "the table fits its place"
    cut = page.evaluate(
        """() => [...document.querySelectorAll('.mg-explorer :is(td, th, button, dd, dt, h4)')]
        .filter((node) => node.offsetParent && getComputedStyle(node).overflow !== 'hidden'
          && node.scrollWidth > node.clientWidth + 1).map((node) => node.textContent)"""
    )
    assert cut == []
    table, card = (page.locator(name).bounding_box() for name in (".mg-left", ".mg-detail"))
    beside = card["x"] >= table["x"] + table["width"] - 1
    under = card["y"] >= table["y"] + table["height"] - 1
    assert beside if width >= 1000 else under
    paper = page.locator(".mg-explorer").evaluate(
        "(node) => getComputedStyle(node).backgroundColor"
    )
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_the_table_fits_its_place_at_every_width(
    bare: Callable[..., BareWidget], root: Path
) -> None:
    page = Session(bare, ModelExplorer(Catalogue(root)), width=1000).page
    cut = []
    for width in range(560, 1700, 20):
        page.set_viewport_size({"width": width, "height": 900})
        if page.locator(".mg-list").evaluate("(node) => node.scrollWidth > node.clientWidth"):
            cut.append(width)
    assert cut == []


def test_a_model_of_ones_own_says_what_is_unknown_of_its_data(
    bare: Callable[..., BareWidget], root: Path
) -> None:
    told = {"fingerprint": "f" * 64, "data": "120 images", "group": "no group was given"}
    stated = {"source": NASTY}
    model(root, "knee", modality="DX", organ="knee", phantom=False, training=told, statement=stated)
    explorer = ModelExplorer(Catalogue(root))
    explorer.selected = "knee"
    session = Session(bare, explorer)
    statement = session.page.locator("dd", has_text="approval: UNKNOWN")
    assert NASTY in (statement.text_content() or "")
    assert statement.locator(".mg-warn").count() == 1, "what nobody stated is seen at once"
    fingerprint = session.page.locator("dd span", has_text="fingerprint ffffffffffff…")
    assert fingerprint.last.get_attribute("title") == "f" * 64
    assert session.widget.errors() == []
