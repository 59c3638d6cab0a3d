"""Curves: few points with every peak, few messages, none while nobody looks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from medgan_widgets.panels._lines import Line, axes_of, drawn, log_ticks, nice_ticks, thinned
from medgan_widgets.panels._plots import Curves, side_by_side


def line(values: Any, name: str = "loss", **kind: Any) -> Line:
    y = np.asarray(values, float)
    return Line(name, np.arange(len(y), dtype=float), y, **kind)


class Wire:
    """Counts what every widget of a plot sends."""

    def __init__(self, curves: Curves) -> None:
        self.states: list[dict[str, Any]] = []
        parts = [curves._caption, curves._x, curves._y, curves._figure, *curves._axes]
        for widget in (*parts, *curves._marks.values()):
            widget._send = self._catch

    def _catch(self, message: dict[str, Any], buffers: Any = None) -> None:
        if message.get("method") == "update":
            self.states.append(message["state"])

    def of(self, name: str) -> list[Any]:
        return [state[name] for state in self.states if name in state]


@pytest.fixture
def curves() -> Iterator[Curves]:
    made = Curves("losses", least=0.0)
    yield made
    made.close()


def test_a_long_curve_keeps_its_ends_and_every_peak() -> None:
    y = np.random.default_rng(0).normal(size=100_000)
    y[61_803] = 99.0
    y[31_415] = -99.0
    x, few = thinned(np.arange(100_000.0), y, 500)
    assert len(x) <= 500
    assert (few.max(), few.min()) == (99.0, -99.0)
    assert (x[0], x[-1]) == (0, 99_999)
    assert np.array_equal(few, y[x.astype(int)]), "points are picked, never made up"
    assert np.all(np.diff(x) > 0)


def test_gaps_do_not_swallow_points() -> None:
    y = np.full(10_000, np.nan)
    y[5_000:] = 1.0
    _, few = thinned(np.arange(10_000.0), y, 100)
    assert np.isfinite(few).sum() > 20
    assert np.isnan(few[0]), "the gap stays a gap"


@pytest.mark.parametrize("y", [[0.0, 0.0], [-3.0, 1e9], [1e-12, 2e-12], [5.0]])
def test_axes_hold_all_points_between_round_ends(y: list[float]) -> None:
    _, ticks = axes_of([line(y)], log=False)
    assert ticks[0] <= min(y) <= max(y) <= ticks[-1]
    assert 3 <= len(ticks) <= 8
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


@pytest.mark.parametrize("most", [1, 3, 8, 9, 100, 30_000])
def test_a_count_has_whole_ticks(most: int) -> None:
    ticks, _ = axes_of([Line("a", np.array([1.0, most]), np.ones(2))], log=False, x_is="count")
    assert all(tick.is_integer() for tick in ticks)
    assert ticks[0] <= 1 <= most <= ticks[-1]


def test_things_beside_each_other_have_room_whatever_crosses_them() -> None:
    three = Line("a", np.arange(1.0, 4.0), np.ones(3), notes=("a", "b", "c"))
    floor = Line("floor", np.array([0.0, 4.0]), np.zeros(2))
    assert axes_of([three, floor], log=False, x_is="place")[0] == [0, 1, 2, 3, 4]


def test_paper_tells_every_place() -> None:
    three = Line("a", np.arange(1.0, 4.0), np.ones(3), notes=("a", "b", "c"))
    labels = np.asarray(drawn("", [three], x_is="place").convert("L"))[-17:, 60:-20]
    inked = np.flatnonzero((labels < 128).any(0))
    assert len(np.flatnonzero(np.diff(inked) > 30)) == 2, "1, 2 and 3 between the ends"


def test_amounts_begin_at_nothing() -> None:
    assert axes_of([line([852, 855])], log=False)[1][0] > 800
    assert axes_of([line([852, 855])], log=False, zero=True)[1][0] == 0


def test_ticks_of_a_logarithm_are_powers_of_ten() -> None:
    assert log_ticks(0.03, 0.04) == [0.01, 0.1]
    assert len(log_ticks(1e-9, 1e9)) <= 7
    assert nice_ticks(0, 300)[-1] == 300


def test_a_curve_goes_to_the_page_as_one_message_of_few_points(curves: Curves) -> None:
    wire = Wire(curves)
    curves.show([line(range(5000)), line(range(4000), "other")])
    (mark,) = [state for state in wire.states if "y" in state]
    assert set(mark) >= {"x", "y", "colors"}, "x and y travel together"
    assert np.asarray(curves._marks["solid"].y).shape[0] == 2
    assert np.asarray(curves._marks["solid"].y).shape[1] <= 500
    assert curves.legend == ("loss 4,999", "other 3,999")


def test_the_same_again_sends_nothing(curves: Curves) -> None:
    curves.show([line([1, 2, np.nan]), line([3, 4], "short")])
    wire = Wire(curves)
    curves.show([line([1, 2, np.nan]), line([3, 4], "short")])
    assert wire.states == []
    assert curves.sent == 1


def test_paused_it_sends_nothing_and_then_only_the_newest(curves: Curves) -> None:
    wire = Wire(curves)
    curves.paused = True
    for n in range(100):
        curves.show([line(np.arange(n + 2.0))])
    assert wire.states == []
    curves.paused = False
    assert curves.sent == 1
    assert curves.legend == ("loss 100",)


def test_many_updates_become_few_messages_and_the_last_arrives() -> None:
    curves = Curves("busy", least=0.05)
    for n in range(200):
        curves.show([line([0, n])])
    assert curves.sent < 20
    end = time.monotonic() + 5
    while curves.legend != ("loss 199",) and time.monotonic() < end:
        time.sleep(0.01)
    assert curves.legend == ("loss 199",)
    curves.close()


def test_a_logarithm_leaves_out_what_it_cannot_show() -> None:
    curves = Curves("R1", log=True, least=0.0)
    curves.show([line([0, -1, np.inf, 0.02, 5])])
    (shown,) = np.atleast_2d(curves._marks["solid"].y)
    assert np.allclose(shown[np.isfinite(shown)], [0.02, 5])
    assert (curves._y.min, curves._y.max) == (0.01, 10.0)
    curves.show([line([-1, -2])])
    assert not curves._marks["solid"].visible
    curves.close()


def test_one_point_and_no_point_are_curves_too(curves: Curves) -> None:
    curves.show([line([3])])
    assert curves.legend == ("loss 3",)
    curves.show([], note="nothing measured yet")
    assert curves.legend == ()
    assert not curves._marks["solid"].visible
    curves.show([line([])])
    assert curves.legend == ("loss",)


def test_dashes_are_kept_apart(curves: Curves) -> None:
    curves.show([line([1, 2]), line([2, 3], "end", dash="dotted", colour="#123456")])
    assert curves._marks["solid"].visible
    assert curves._marks["dotted"].colors == ["#123456"]
    assert not curves._marks["dashed"].visible


def test_a_picture_shows_each_curve_in_its_colour(curves: Curves) -> None:
    curves.show([line([1, 2, 3], colour="#ff0000"), line([3, 2, 1], "b", colour="#0000ff")])
    pixels = np.asarray(curves.picture())
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert (pixels == colour).all(-1).sum() > 100
    assert drawn("empty", []).size == (420, 220)


def test_a_closed_plot_hears_no_more_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # timers of other things are not ours
    curves = Curves("late", least=30.0)
    box = side_by_side({"late": curves})
    curves.show([line([1, 2])])
    curves.show([line([1, 3])])
    curves.close()
    curves.close()
    curves.show([line([1, 4])])
    assert curves.sent == 1
    timers = [
        one
        for one in threading.enumerate()
        if isinstance(one, threading.Timer) and one not in before
    ]
    for timer in timers:
        timer.join(5)
        assert not timer.is_alive(), "it does not wait its thirty seconds"
    box.close()
