"""The metrics plot's Python half: what stands on one axis, what is sent, and what it survives."""

from __future__ import annotations

import io
import shutil
import time
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from medgan_widgets.errors import RequestError, SaveError
from medgan_widgets.panels import MetricsPlot
from medgan_widgets.panels._metrics_charts import POINTS
from medgan_widgets.panels.metrics_plot import KEPT, LISTED, PLOTTED
from medgan_widgets.requests import Measured, Score
from medgan_widgets.runs import Tick, record_tick
from medgan_widgets.telemetry import Telemetry
from tests.run_dirs import write_run

HTML = "<img src=x onerror=alert(1)>"


def scored(value=0.2, *, name="FD", of="m", extractor="e-1", against="reals", **about):
    axis = {key: about.pop(key) for key in ("kimg", "truncation_psi") if key in about}
    given = {"n_real": 100, "n_fake": 90, "interval": (0.1, 0.3), "floor": 0.05, **about}
    return Measured(Score(name, value, extractor=extractor, **given), of, against, **axis)


@pytest.fixture
def engine():
    return SimpleNamespace(telemetry=Telemetry(), device="cpu")


@pytest.fixture
def plot(engine):
    made = MetricsPlot(engine)
    yield made
    made.close()


def work(engine, model="m", batches=20, seconds=0.01, device=None):
    engine.telemetry.note_request(model, device="cpu", load_seconds=0.5)
    for number in range(batches):
        engine.telemetry.note_batch(
            model, images=2, seconds=seconds * (1 + number % 3), host_bytes=10**8,
            device_bytes=device,
        )  # fmt: skip


def quality(plot):
    """The charts of quality, by the quantity that they are against."""
    return {group[-1]: chart for group, chart in plot.quality_plots.charts.items()}


def latency(plot):
    return plot.work_plots.charts["latency"].curves


# ---------------------------------------------------------------- what stands on one axis


def test_two_extractors_never_share_a_plot(plot):
    plot.add([scored(), scored(9.0, extractor="e-2"), scored(0.1, against="others")])
    plot.add(scored(0.4, name="KID"))
    assert repr(plot) == "MetricsPlot(models=0, scores=4, plots=4)"
    titles = [chart.title for chart in plot.quality_plots.charts.values()]
    assert titles == [
        "FD (e-1) against reals", "FD (e-2) against reals", "FD (e-1) against others",
        "KID (e-1) against reals",
    ]  # fmt: skip


def test_models_of_one_kind_stand_beside_each_other_with_interval_and_floor(plot):
    plot.add([scored(0.2, of="a"), scored(0.5, of="b", interval=(0.4, 0.7))])
    curves = quality(plot)["model"].curves
    named = {curve.name: curve for curve in curves if curve.name}
    assert list(named) == ["1 a", "2 b", "floor"]
    assert (named["2 b"].x[0], named["2 b"].y[0]) == (2, 0.5)
    assert named["2 b"].notes == (
        "b: FD 0.5 [0.4, 0.7], n 100 / 90, e-1, floor 0.05, 10 times the floor",
    )
    bars = [curve for curve in curves if not curve.name]
    assert [bars[1].y[0], bars[1].y[1]] == [0.4, 0.7]
    assert set(named["floor"].y) == {0.05}


def test_truncation_is_an_axis_in_its_order_whatever_came_first(plot):
    plot.add([scored(0.1 * psi, of="s", truncation_psi=psi) for psi in (1.0, 0.4, 0.7)])
    assert quality(plot)["psi"].curves[0].x.tolist() == [0.4, 0.7, 1.0]
    plot.add(scored(0.3, of="t", truncation_psi=0.5))
    plot.add(scored(0.2, of="never truncated"))
    named = {curve.name: curve for curve in quality(plot)["psi"].curves if curve.name}
    assert list(named) == ["s", "t", "never truncated", "floor"]
    assert named["never truncated"].x.tolist() == [1.0]


def test_a_training_and_a_finished_model_share_no_axis(plot):
    plot.add([scored(of="run", kimg=20.0), scored(of="run", kimg=40.0), scored(of="done")])
    assert set(quality(plot)) == {"kimg", "model"}
    assert quality(plot)["kimg"].curves[0].x.tolist() == [20.0, 40.0]
    plot.add([scored(of="run", kimg=20.0, truncation_psi=0.5)])
    assert "run, psi 0.5" in [curve.name for curve in quality(plot)["kimg"].curves]


def test_a_runs_scores_are_drawn_against_kimg_and_grow_with_it(engine, tmp_path):
    run = write_run(tmp_path / "knee", size=16)
    score = Score("FD", 5.0, 128, 128, "phantom-cnn-1", (4.0, 6.0), 0.5).to_dict()
    record_tick(run, Tick(1.0, 0.7, 1.4, score=score))
    plot = MetricsPlot(engine, runs=run)
    assert plot.scores[0].kimg == 1.0
    assert plot.scores[0].against == "held-out reals at 16 pixels, data ffffffff"
    record_tick(run, Tick(3.0, 0.7, 1.4, score={**score, "value": 4.2}))
    record_tick(run, Tick(4.0, 0.7, 1.4, score={"name": "FD", "value": "damaged", "interval": 3}))
    plot.refresh()
    assert quality(plot)["kimg"].curves[0].x.tolist() == [1.0, 3.0]
    assert plot.scores[1].of == "knee"
    shutil.rmtree(run)
    plot.refresh()
    assert "what it said last is still shown" in plot.error
    assert len(plot.scores) == 2
    plot.close()


def test_runs_on_other_data_are_not_compared_and_runs_of_one_name_are_told_apart(engine, tmp_path):
    other = {"fingerprint": "0" * 64}
    runs = [
        write_run(tmp_path / "a" / "knee"), write_run(tmp_path / "b" / "knee"),
        write_run(tmp_path / "hip", data=other),
    ]  # fmt: skip
    score = Score("FD", 5.0, 128, 128, "phantom-cnn-1").to_dict()
    for run in runs:
        record_tick(run, Tick(3.0, 0.7, 1.4, score=score))
    plot = MetricsPlot(engine, runs=runs)
    knees, hips = plot.quality_plots.charts.values()
    assert [curve.name for curve in knees.curves] == [str(runs[0]), str(runs[1])]
    assert [curve.name for curve in hips.curves] == ["hip"]
    plot.close()


def test_a_run_that_is_none_is_said_until_it_begins_and_the_rest_is_shown(engine, tmp_path):
    plot = MetricsPlot(engine, [scored()], runs=[tmp_path / "later"])
    assert "later is not a run directory" in plot.error
    assert len(plot.scores) == 1
    write_run(tmp_path / "later")
    plot.refresh()
    assert plot.error == ""
    plot.close()


# ---------------------------------------------------------------- the engine's work


def test_the_curves_say_what_the_telemetry_says(plot, engine):
    work(engine, "a", batches=9)
    plot.refresh()
    p50, p95 = latency(plot)
    assert (p50.name, p95.name) == ("a", "")
    seconds = [0.01 * (1 + n % 3) * 1e3 for n in range(9)]
    assert p50.y.tolist() == pytest.approx(seconds)
    assert p50.x.tolist() == list(range(2, 20, 2)), "images made by then"
    (row,) = plot.speed_table.rows
    usage = engine.telemetry.usage("a")
    assert row[3] == f"{usage.p50 * 1e3:.3g}"
    assert row[9] == "0 of 1"
    assert plot.usage_frame().loc[0, "images"] == 18
    assert plot.status == "1 model on cpu, 0 scores."


def test_memory_of_a_device_is_drawn_where_there_is_one(plot, engine):
    work(engine, "a")
    plot.refresh()
    assert list(plot.work_plots.charts) == ["latency", "speed", "host"]
    work(engine, "b", device=2 * 10**9)
    plot.refresh()
    assert plot.work_plots.charts["device"].curves[0].y[-1] == 2000


def test_of_thirty_models_the_last_eight_are_drawn_or_those_chosen(engine):
    for number in range(30):
        work(engine, f"m{number}", batches=2)
    plot = MetricsPlot(engine)
    assert [row[0] for row in plot.speed_table.rows] == [f"m{n}" for n in range(22, 30)]
    assert plot.status == "8 of 30 models on cpu, 0 scores."
    chosen = MetricsPlot(engine, models=["m3", "never"])
    assert [row[0] for row in chosen.speed_table.rows] == ["m3"]
    for one in (plot, chosen):
        one.close()


# ---------------------------------------------------------------- seen and unseen


def test_nothing_is_sent_to_a_page_that_nobody_sees(plot, engine):
    work(engine, "a")
    plot.refresh()
    plot.visibility.visible = True
    plot.visibility.visible = False
    for _ in range(4):
        work(engine, "a")
        plot.refresh()
    assert latency(plot)[0].x[-1] == 40
    plot.visibility.visible = True
    deadline = time.monotonic() + 5
    while latency(plot)[0].x[-1] == 40 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert latency(plot)[0].x[-1] == 200, "what came meanwhile comes at once"


def test_the_same_again_is_not_sent_again(plot, engine):
    work(engine)
    plot.refresh()
    chart, rows = plot.work_plots.charts["latency"], []
    plot.speed_table.observe(rows.append, "rows")
    for _ in range(5):
        plot.refresh()
    assert plot.work_plots.charts["latency"] is chart
    assert rows == []


def test_long_streaming_keeps_memory_flat(plot, engine):
    def stream(count):
        for number in range(count):
            engine.telemetry.note_batch("m", images=2, seconds=0.01, host_bytes=number)
            if number % 1000 == 0:
                plot.add(scored(0.001 * number, kimg=number))

    stream(5_000)
    plot.add([scored(kimg=number) for number in range(KEPT)])
    plot.add(scored(kimg=1))
    tracemalloc.start()
    stream(2_000)
    before, _ = tracemalloc.get_traced_memory()
    stream(8_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 2_000_000
    assert len(plot.scores) == KEPT
    assert len(latency(plot)[0].x) <= POINTS
    assert len(plot.score_table.rows) == LISTED
    assert "the last 100 of 2000 scores" in plot.score_table.more


# ---------------------------------------------------------------- out of it


def test_it_is_a_frame_a_csv_and_a_picture(plot, engine, tmp_path):
    work(engine)
    plot.add([scored(warning="few images."), scored(0.5, of="b", truncation_psi=0.7)])
    frame = plot.to_frame()
    assert frame.loc[0, "warning"] == "few images."
    again = pd.read_csv(plot.to_csv(tmp_path / "scores.csv"))
    assert again["value"].tolist() == frame["value"].tolist()
    with pytest.raises(SaveError):
        plot.to_csv(tmp_path / "no" / "scores.csv")
    picture = Image.open(io.BytesIO(plot.snapshot()._repr_png_()))
    assert len(np.unique(np.asarray(picture.convert("L")))) > 10, "curves and words"
    assert "image/png" in plot._repr_mimebundle_()[0]


def test_figures_of_one_model_stand_beside_each_other_and_no_line_joins_them(plot):
    plot.add([scored(4.0, n_fake=60), scored(0.2, n_fake=3000), scored(0.4, of="other")])
    figures = [curve for curve in quality(plot)["model"].curves if curve.notes]
    assert [curve.name for curve in figures] == ["1 m", "", "2 other"]
    assert [curve.x.tolist() for curve in figures] == [[0.8], [1.2], [2.0]]


def test_the_page_asks_for_either_table_as_csv_and_gets_it(plot, engine):
    plot.add(scored())
    work(engine, "a")
    sent = []
    for table in (plot.score_table, plot.speed_table):
        table.send = lambda content, buffers=None: sent.append(content)
        for number, message in enumerate(({"kind": "csv"}, {"kind": "else"}, ["nothing"])):
            if isinstance(message, dict):
                message["id"] = number
            table._handle_custom_msg(message, [])
    scores, speed = sent
    assert (scores["id"], scores["text"]) == (0, plot.to_frame().to_csv(index=False))
    assert pd.read_csv(io.StringIO(speed["text"])).loc[0, "model_id"] == "a"


def test_the_log_axis_is_switched_and_keeps_what_is_shown(plot, engine):
    work(engine)
    plot.add([scored(0.01), scored(10.0, of="b")])
    before = quality(plot)["model"]
    plot.speed_table.log = plot.score_table.log = True
    after = quality(plot)["model"]
    assert (before.log, after.log) == (False, True)
    assert [curve.name for curve in after.curves] == [curve.name for curve in before.curves]
    logs = {name: chart.log for name, chart in plot.work_plots.charts.items()}
    assert logs == {"latency": True, "speed": True, "host": False}


# ---------------------------------------------------------------- what it survives


@pytest.mark.parametrize(
    "odd",
    [
        scored(None), scored(float("nan")), scored(float("inf")), scored(interval=None),
        scored(interval=(float("nan"), 0.3)), scored(floor=None), scored(floor=float("nan")),
        scored(n_real=None, n_fake=None), scored(extractor=None),
        scored(-0.1, interval=(-0.3, 0.1)),
    ],
)  # fmt: skip
def test_odd_scores_are_listed_and_break_nothing(plot, odd):
    plot.add([scored(of="sane"), odd])
    assert len(plot.score_table.rows) == 2
    assert plot.snapshot().image.size[0] > 0
    plot.score_table.log = True
    assert len(plot.score_table.rows) == 2


def test_many_groups_are_drawn_up_to_a_number_and_that_is_said(plot):
    plot.add([scored(against=f"reals {n}") for n in range(PLOTTED + 3)])
    assert len(plot.quality_plots.children) == PLOTTED
    assert f"{PLOTTED} of {PLOTTED + 3} groups" in plot.score_table.more


@pytest.mark.parametrize("wrong", [3, "FD", None, [Score("FD", 1.0)], [None]])
def test_what_is_no_row_is_refused(plot, wrong):
    with pytest.raises(RequestError, match="scores must be Measured rows"):
        plot.add(wrong)
    assert len(plot.scores) == 0


def test_what_is_no_engine_is_refused():
    with pytest.raises(RequestError, match="engine must be an Engine"):
        MetricsPlot("cuda")


def test_nothing_to_show_is_said(plot):
    assert plot.status.startswith("Nothing generated and nothing scored yet")
    assert plot.work_plots.children == (), "no axes of nothing"
    assert plot.snapshot().image.size[0] > 0


def test_two_panels_of_one_engine_and_closing_twice(engine):
    one, two = MetricsPlot(engine), MetricsPlot(engine, [scored()])
    work(engine)
    one.close()
    one.close()
    one.refresh()
    two.refresh()
    assert two.speed_table.rows[0][0] == "m"
    two.close()
    for every in (0, float("nan"), "often"):
        with pytest.raises(RequestError, match="every must be"):
            MetricsPlot(engine, every=every)
