"""Curves: few points with every peak, few messages, round ticks, and the same on paper."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from medgan_widgets.panels._curves import COLOURS, Chart, Curve, paper, thinned
from medgan_widgets.panels._plots import Plot, Plots, ticks


def curve(values: Any, name: str = "loss", **kind: Any) -> Curve:
    y = np.asarray(values, float)
    return Curve(name, np.arange(len(y), dtype=float), y, **kind)


def chart(*curves: Curve, **about: Any) -> Chart:
    return Chart("losses", curves, **about)


def legend(plot: Plot) -> list[tuple[str, str]]:
    return [(name, value) for name, _, _, value in plot.caption.legend]


def lines(plot: Plot, dash: str = "solid") -> Any:
    return plot._marks[dash]


@pytest.fixture
def plot() -> Iterator[Plot]:
    made = Plot(chart())
    yield made
    made.close()


@pytest.fixture
def sent(plot: Plot) -> list[dict[str, Any]]:
    """What every widget of the plot sends from now on."""
    states: list[dict[str, Any]] = []

    def catch(message: dict[str, Any], buffers: Any = None) -> None:
        if message.get("method") == "update":
            states.append(message["state"])

    axes = plot._axes.values()
    parts = (plot.caption, plot._figure, *axes, *(axis.scale for axis in axes))
    for widget in (*parts, *plot._marks.values(), plot._dots):
        widget._send = catch
    return states


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
    y[:50_000] = np.nan
    _, few = thinned(np.arange(100_000.0), y, 100)
    assert np.isfinite(few).sum() > 20
    assert np.isnan(few[0]), "the gap stays a gap"


@pytest.mark.parametrize("y", [[0.0, 0.0], [-3.0, 1e9], [1e-12, 2e-12], [5.0]])
def test_axes_hold_all_points_between_round_ends(y: list[float]) -> None:
    found = ticks(np.array(y))
    assert found[0] <= min(y) <= max(y) <= found[-1]
    assert 3 <= len(found) <= 8
    assert np.allclose(np.diff(found), found[1] - found[0])


@pytest.mark.parametrize("most", [1, 3, 8, 9, 100, 30_000])
def test_a_count_has_whole_ticks(most: int) -> None:
    assert all(tick.is_integer() for tick in ticks(np.array([1.0, most]), whole=True))


@pytest.mark.parametrize(
    ("about", "x", "y", "ends"),
    [
        ({}, [0, 1], [852, 855], (852, 855)),
        ({"zero": True}, [0, 1], [852, 855], (0, 1000)),
        ({"log": True}, [0, 1], [0.03, 0.04], (0.01, 0.1)),
        ({"log": True}, [0, 1, 2, 3], [0, -1, np.inf, 0.02], (0.01, 0.1)),
        ({"log": True}, [0, 1], [-1, 1e-60], (1, 10)),
    ],
)
def test_an_axis_begins_where_its_chart_says(about: Any, x: Any, y: Any, ends: Any) -> None:
    plot = Plot(Chart("", (Curve("a", np.array(x, float), np.array(y, float)),), **about))
    scale = plot._axes["y"].scale
    assert scale.min <= ends[0] < ends[1] <= scale.max
    assert ends == (852, 855) or (scale.min, scale.max) == ends
    plot.close()


def test_things_beside_each_other_have_room_whatever_crosses_them() -> None:
    three = Curve("a", np.arange(1.0, 4.0), np.ones(3), notes=("a", "b", "c"))
    floor = Curve("floor", np.array([0.0, 4.0]), np.zeros(2))
    plot = Plot(Chart("", (three, floor), x_is="place"))
    assert list(plot._axes["x"].tick_values) == [0, 1, 2, 3, 4]
    assert list(plot._dots.names) == ["a", "b", "c"]
    plot.close()


def test_a_curve_goes_to_the_page_as_one_message_of_few_points(plot: Plot, sent: Any) -> None:
    plot.show(chart(curve(range(5000)), curve(range(4000), "other")))
    (mark,) = [state for state in sent if "y" in state]
    assert set(mark) >= {"x", "y", "colors"}, "x and y travel together"
    count, points = np.asarray(lines(plot).y).shape
    assert (count, points <= 500) == (2, True)
    assert legend(plot) == [("loss", "4,999"), ("other", "3,999")]


def test_the_same_again_sends_nothing(plot: Plot, sent: Any) -> None:
    for _ in range(2):
        sent.clear()
        plot.show(chart(curve([1, 2, np.nan]), curve([3, 4], "short", notes=("a", "b"))))
    assert sent == []


def test_one_point_and_no_point_are_curves_too(plot: Plot) -> None:
    plot.show(chart(curve([3])))
    assert legend(plot) == [("loss", "3")]
    plot.show(chart(note="nothing measured yet"))
    assert (legend(plot), plot.caption.note) == ([], "nothing measured yet")
    assert not lines(plot).visible
    plot.show(chart(curve([])))
    assert legend(plot) == [("loss", "")]


def test_a_click_in_the_legend_takes_a_curve_away_with_its_interval(plot: Plot) -> None:
    plot.show(chart(curve([1, 2]), curve([2, 3], "", dash="dotted"), curve([5, 6], "other")))
    assert lines(plot, "dotted").visible
    plot.caption.hidden = ["loss"]
    assert not lines(plot, "dotted").visible
    assert np.ravel(lines(plot).y).tolist() == [5, 6]
    plot.caption.hidden = []
    assert lines(plot, "dotted").visible


def test_a_row_of_plots_follows_its_charts() -> None:
    row = Plots()
    row.show({"a": chart(curve([1, 2])), "b": chart()})
    first = row["a"]
    row.show({"b": chart(log=True), "a": chart(curve([3, 4]))})
    assert row["a"] is first
    assert list(row.charts) == ["b", "a"]
    assert row.children == (row["b"], row["a"])
    row.show({})
    assert row.children == ()
    row.close()


def test_paper_shows_each_curve_in_its_colour_and_text_as_it_is() -> None:
    one = Chart("$x_{$", (curve([1, 2, 3], "a $b$ _c", colour="#ff0000"),), log=True)
    two = Chart("b", (curve([3], colour="#0000ff"), curve([], "none")), zero=True)
    pixels = np.asarray(paper([one, two, Chart("empty")]))
    for colour in ((255, 0, 0), (0, 0, 255)):
        assert (pixels == colour).all(-1).sum() > 10
    eight = Chart("many", tuple(curve([n], f"model {n}", colour=COLOURS[n]) for n in range(8)))
    assert paper([eight]).height > paper([two]).height, "eight names have room"
