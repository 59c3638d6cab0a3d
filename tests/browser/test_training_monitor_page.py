"""The monitor's page in an empty browser page; the real Python half plays the kernel."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medgan_widgets.panels import TrainingMonitor
from medgan_widgets.panels._panel import FOLDER
from medgan_widgets.panels._plots import Caption
from medgan_widgets.panels._polling import Visibility
from medgan_widgets.panels._run_page import RunControls
from medgan_widgets.runs import (
    Alarm,
    RunState,
    lock_run,
    read_command,
    record_alarm,
    record_picture,
    write_state,
)
from tests.browser.bare import BareWidget
from tests.runs_written import write_run

NASTY = '<img src=x onerror="window.hacked=1">'
TRAITS = (
    "forms", "shown", "runs", "busy", "estimate", "made", "kimgs", "asked", "at", "picture",
    "alarms", "state_line",
)  # fmt: skip
WIDER = "document.documentElement.scrollWidth"


class Session:
    """The monitor's page; `answer` carries over what the page asked, and the reply."""

    def __init__(self, bare: Callable[..., BareWidget], monitor: TrainingMonitor, **k: Any):
        self.controls = monitor.controls
        self.read = self.told = 0
        self.known = self.state()
        self.widget = bare(RunControls._esm, self.known, css=RunControls._css, **k)
        self.page = self.widget.page

    def state(self) -> dict[str, Any]:
        return {name: getattr(self.controls, name) for name in TRAITS}

    def answer(self) -> None:
        saved, sent = self.widget.saved(), self.widget.sent()
        for changes in saved[self.read :]:
            self.controls.set_state(changes)
        for message in sent[self.told :]:
            self.controls._handle_custom_msg(message["content"], [])
        self.read, self.told = len(saved), len(sent)
        now = self.state()
        for name, value in now.items():
            if value != self.known[name]:
                self.widget.set(name, value)
        self.known = now

    def until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + 20
        while not true():
            assert time.monotonic() < end, "it never came true"
            self.answer()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run() -> Iterator[Path]:
    """A run that somebody trains."""
    folder = write_run(Path("runs/knee"), ticks=6)
    lock = lock_run(folder)
    write_state(folder, RunState("running", 4711, 12.0, 24.0, 3840.0, 8.0, time.time() - 12))
    yield folder
    lock.release()


@pytest.fixture
def monitor(run: Path) -> Iterator[TrainingMonitor]:
    write_run(Path("runs/hip"), ticks=2, pictures=1, alarms=0)
    made = TrainingMonitor(run)
    yield made
    made.close()


@pytest.fixture
def session(bare: Callable[..., BareWidget], monitor: TrainingMonitor) -> Iterator[Session]:
    one = Session(bare, monitor)
    yield one
    assert one.widget.errors() == []


def test_it_says_which_run_and_how_far(session: Session) -> None:
    page = session.page
    assert page.get_by_label("run", exact=True).input_value() == "runs/knee"
    assert page.get_by_text("500 images (phantoms)").is_visible()
    assert page.get_by_text("12.0 of 24 kimg · 1 h 04 left").is_visible()
    assert page.get_by_role("progressbar", name="training").evaluate("(bar) => bar.value") == 0.5
    labels = page.get_by_role("group", name="training").get_by_role("button").all_text_contents()
    assert labels == ["Resume", "Pause", "Stop", "Make it a model"]
    assert page.get_by_role("button", name="Resume").get_attribute("aria-disabled") == "true"
    assert page.get_by_role("form", name="new training").is_hidden(), "folded while a run is shown"


def test_pause_and_stop_are_asked_with_the_keyboard_alone(session: Session, run: Path) -> None:
    page = session.page
    page.get_by_role("button", name="Pause").focus()
    page.keyboard.press("Enter")
    session.answer()
    assert read_command(run) == "pause"
    assert page.evaluate("document.activeElement.textContent") == "Go on"
    page.keyboard.press("Enter")
    session.answer()
    assert read_command(run) == "go on"
    page.get_by_role("button", name="Stop").dblclick()
    session.answer()
    assert read_command(run) == "stop"
    assert page.get_by_role("button", name="Stopping…").is_visible()
    sent = len(session.widget.sent())
    page.get_by_role("button", name="Resume").click(force=True)
    assert len(session.widget.sent()) == sent, "what cannot be pressed asks nothing"


def test_another_run_is_chosen_and_runs_are_compared(
    session: Session, monitor: TrainingMonitor
) -> None:
    page = session.page
    page.get_by_label("run", exact=True).select_option("runs/hip")
    session.answer()
    assert monitor.run == Path("runs/hip")
    page.get_by_text("compare", exact=True).click()
    page.get_by_role("checkbox", name="knee").check()
    session.answer()
    assert [str(one.run) for one in monitor.snapshots] == ["runs/hip", "runs/knee"]
    page.get_by_role("checkbox", name="knee").uncheck()
    session.answer()
    assert len(monitor.snapshots) == 1
    page.keyboard.press("Escape")
    assert page.get_by_role("checkbox", name="knee").is_hidden()
    page.get_by_text("compare", exact=True).click()
    page.locator(".mg-track").click()
    assert page.get_by_role("checkbox", name="knee").is_hidden(), "a click elsewhere closes it"


def test_the_form_sends_what_was_written(session: Session) -> None:
    page = session.page
    page.get_by_text("New training").click()
    form = page.get_by_role("form", name="new training")
    form.get_by_label("name", exact=True).fill("hip-2")
    form.get_by_label("data", exact=True).fill("chest_xray")
    form.get_by_label("preset").select_option("small-data")
    form.get_by_label("kimg").fill("20")
    form.get_by_label("group").fill("PatientID")
    form.get_by_role("button", name="Estimate").click()
    form.get_by_label("kimg").press("Enter")
    first, second = (message["content"] for message in session.widget.sent())
    assert (first["kind"], second["kind"]) == ("estimate", "start")
    wanted = {"run": "hip-2", "data": "chest_xray", "preset": "small-data", "size": "64"}
    rest = {"kimg": "20", "labels": "", "group": "PatientID", "start_from": ""}
    assert first["form"] == second["form"] == {**wanted, **rest}
    session.widget.set("busy", "start")
    assert form.get_by_role("button", name="Checking…").get_attribute("aria-disabled") == "true"
    form.get_by_label("kimg").press("Enter")
    assert len(session.widget.sent()) == 2
    session.widget.set("busy", "")
    session.widget.set("estimate", "about 3 min")
    assert form.get_by_role("status").text_content() == "about 3 min"
    assert form.locator("datalist option").evaluate_all("(all) => all.map((one) => one.value)") == [
        "brain_mri", "chest_xray", "mammogram",
    ]  # fmt: skip


def test_a_name_that_is_taken_now_is_not_offered_again(
    session: Session, monitor: TrainingMonitor
) -> None:
    page = session.page
    page.get_by_text("New training").click()
    name = page.get_by_role("form", name="new training").get_by_label("name", exact=True)
    name.fill("hip")
    session.widget.set("estimate", "about 3 min")
    monitor.attach("runs/hip")  # as a training of that name does once it has begun
    session.answer()
    assert name.input_value() == ""
    assert page.locator(".mg-estimate").text_content() == ""
    name.fill("hip-2")
    monitor.attach("runs/knee")
    session.answer()
    assert name.input_value() == "hip-2", "what somebody is writing stays"


def test_buttons_stay_where_they_are_whatever_they_say(session: Session, run: Path) -> None:
    page = session.page
    group = page.get_by_role("group", name="training")
    places = "(all) => all.map((one) => one.offsetLeft)"
    before = group.get_by_role("button").evaluate_all(places)
    said = group.get_by_role("button").all_text_contents()
    for kind in ("pause", "stop"):
        session.controls._handle_custom_msg({"kind": kind}, [])
        session.answer()
    write_state(run, RunState("running", 4711, 12.0, 24.0, 3840.0))
    session.controls._handle_custom_msg({"kind": "refresh"}, [])
    session.answer()
    now = group.get_by_role("button").all_text_contents()
    assert (said[0], said[2]) == ("Resume", "Stop")
    assert (now[0], now[2]) == ("Start", "Stopping…")
    assert group.get_by_role("button").evaluate_all(places) == before


def test_the_model_form_opens_is_filled_and_closes(session: Session) -> None:
    page = session.page
    button = page.get_by_role("button", name="Make it a model")
    button.click()
    form = page.get_by_role("form", name="make it a model")
    assert button.get_attribute("aria-expanded") == "true"
    assert page.evaluate("document.activeElement.name") == "model_id"
    assert form.get_by_label("model id").input_value() == "phantom-knee"
    form.get_by_label("data: approval reference").fill("EK 12/2026")
    assert form.get_by_label("data: source").get_attribute("placeholder") == "UNKNOWN"
    session.widget.set("shown", {**session.controls.shown, "share": 0.6})
    assert form.get_by_label("data: approval reference").input_value() == "EK 12/2026"
    form.get_by_role("button", name="Make the model").click()
    (message,) = session.widget.sent()
    assert message["content"]["form"]["approval"] == "EK 12/2026"
    session.widget.set("made", "phantom-knee")
    assert form.is_hidden()
    button.click()
    page.keyboard.press("Escape")
    assert form.is_hidden()
    assert page.evaluate("document.activeElement.textContent") == "Make it a model"


def test_the_slider_walks_through_the_pictures(
    session: Session, monitor: TrainingMonitor, run: Path
) -> None:
    page = session.page
    slider = page.get_by_role("slider", name="fixed seeds through time")
    caption = page.locator("figcaption")
    assert caption.text_content() == "SYNTHETIC, fixed seeds, 12 kimg"
    slider.focus()
    page.keyboard.press("Home")
    session.answer()
    assert caption.text_content() == "SYNTHETIC, fixed seeds, 4 kimg"
    assert slider.get_attribute("aria-valuetext") == "4 kimg"
    shown = page.get_by_role("img", name="synthetic images of fixed seeds after 4 kimg")
    page.wait_for_function("() => document.querySelector('img').naturalWidth > 400")
    assert shown.is_visible()
    record_picture(run, 20.0, np.zeros((4, 32, 32, 1), np.uint8))
    monitor.refresh()
    session.answer()
    assert caption.text_content() == "SYNTHETIC, fixed seeds, 4 kimg", "what is looked at stays"
    newest = page.get_by_role("button", name="Newest")
    assert newest.get_attribute("aria-pressed") == "false"
    newest.click()
    session.answer()
    assert caption.text_content() == "SYNTHETIC, fixed seeds, 20 kimg"
    assert page.locator("output").text_content() == "20 kimg"


def test_only_a_new_alarm_is_announced(
    session: Session, monitor: TrainingMonitor, run: Path
) -> None:
    page = session.page
    assert page.get_by_role("alert").count() == 0
    assert "Try augment='adaptive'" in (page.locator(".mg-alarms li").text_content() or "")
    record_alarm(run, Alarm("divergence", 14.0, NASTY, "losses up to 40", "a lower rate", True))
    monitor.refresh()
    session.answer()
    assert page.get_by_role("alert").count() == 1
    first = page.locator(".mg-alarms li").first
    assert NASTY in (first.text_content() or "")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".mg-state-line").text_content() == (
        "running, pid 4711, checkpoint 10 s ago, 1 h 04 left"
    )


def test_names_from_a_disk_stay_text(bare: Callable[..., BareWidget]) -> None:
    folder = write_run(Path(f"runs/{NASTY.replace('/', '')}"), ticks=1, data=NASTY, preset=NASTY)
    (folder / "data.json").unlink()
    monitor = TrainingMonitor(folder)
    session = Session(bare, monitor)
    caption = bare(
        Caption._esm,
        {"title": NASTY, "legend": [[NASTY, "#f00", "solid", NASTY]], "note": NASTY, "hidden": []},
    )
    for widget in (session.widget, caption):
        assert widget.page.evaluate("window.hacked") is None
        assert widget.page.locator(".view img:not(.mg-fixed img), .view script").count() == 0
        assert NASTY in (widget.page.locator(".view").text_content() or "")
        assert widget.errors() == []
    monitor.close()


@pytest.mark.parametrize(("width", "dark"), [(320, False), (600, True), (1600, False)])
def test_nothing_is_wider_than_its_cell(
    bare: Callable[..., BareWidget], monitor: TrainingMonitor, width: int, dark: bool
) -> None:
    one = Session(bare, monitor, width=width, dark=dark)
    one.page.get_by_text("New training").click()
    one.page.get_by_role("button", name="Make it a model").click()
    assert one.page.evaluate(WIDER) <= width
    unnamed = one.page.evaluate(
        """() => [...document.querySelectorAll('input, select')].filter((node) =>
        !node.labels.length && !node.getAttribute('aria-label')).length"""
    )
    assert unnamed == 0


@pytest.mark.parametrize(("width", "columns"), [(320, 1), (790, 2), (2400, 3)])
def test_curves_stand_in_rows_and_in_line(
    bare: Callable[..., BareWidget], width: int, columns: int
) -> None:
    script = """export default { render({ el }) {
      el.className = 'mg-curves-row';
      for (let n = 0; n < 6; n += 1) {
        const one = document.createElement('div');
        one.className = 'mg-curves';
        one.innerHTML = '<div class="mg-curves-caption"></div><div class="plot"></div>';
        one.firstChild.style.height = `${n === 1 ? 60 : 34}px`;
        one.lastChild.style.height = '130px';
        el.append(one);
      }
    } }"""
    css = (FOLDER / "_plots.css").read_text("utf-8") + "body { margin: 0 !important }"
    page = bare(script, {}, css=css, width=width).page
    tops = page.locator(".plot").evaluate_all("(all) => all.map((one) => one.offsetTop)")
    assert len(set(tops[:columns])) == 1, "plots of a row are in line, however long their words"
    assert len(set(tops)) == 6 // columns
    assert page.evaluate(WIDER) <= width


def test_without_a_run_the_form_is_open(bare: Callable[..., BareWidget]) -> None:
    monitor = TrainingMonitor(runs="none")
    monitor.refresh()
    session = Session(bare, monitor)
    assert session.page.get_by_role("form", name="new training").is_visible()
    assert session.page.get_by_label("run", exact=True).is_hidden()
    assert session.page.get_by_role("button", name="Pause").count() == 0
    write_run(Path("knee"), ticks=1)
    monitor.attach("knee")
    session.answer()
    assert session.page.get_by_role("form", name="new training").is_hidden()
    monitor.close()


def test_the_light_goes_out_when_nobody_looks(bare: Callable[..., BareWidget]) -> None:
    script = str(Visibility._esm).replace("document.visibilityState", "window.state")
    widget = bare(script, {"visible": False}, css=".mg-panel { height: 100px }")
    page = widget.page
    page.evaluate("() => { window.state = 'visible'; document.body.classList.add('mg-panel'); }")
    page.wait_for_function("() => window.model.get('visible')")
    page.evaluate(
        "() => { state = 'hidden'; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    assert widget.get("visible") is False
    page.evaluate(
        "() => { state = 'visible'; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    assert widget.get("visible") is True
    page.evaluate("() => { document.body.style.display = 'none'; }")
    page.wait_for_function("() => !window.model.get('visible')")
    page.evaluate("() => { document.body.style.display = ''; }")
    page.wait_for_function("() => window.model.get('visible')")
    page.evaluate("() => window.dispatchEvent(new Event('pagehide'))")
    assert widget.get("visible") is False
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    widget.close_view()
    assert widget.get("visible") is False
    assert [list(one) for one in widget.saved()] == [["visible"]] * len(widget.saved())
    assert widget.errors() == []


def test_a_closed_view_listens_no_more(session: Session) -> None:
    session.widget.add_view()
    session.widget.close_view()
    session.widget.set("shown", {"run": "", "buttons": []})
    session.widget.set("kimgs", [])
    assert session.page.locator(".mg-through-time").is_hidden()
