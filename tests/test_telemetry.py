"""What an engine tells of itself, and that telling costs nothing that grows."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest

import medgan_widgets as mw
from medgan_widgets.errors import ModelNotFoundError
from medgan_widgets.telemetry import KEPT, MODELS, Telemetry


@pytest.fixture
def engine():
    return mw.Engine(device="cpu")


def test_a_first_request_reads_the_model_and_a_second_finds_it(engine):
    request = mw.GenerateRequest("phantom-styles", seeds=range(10))
    engine.images(request)
    first = engine.telemetry.usage("phantom-styles")
    assert (first.images, first.requests, first.loads, first.hits) == (10, 1, 1, 0)
    assert first.load_seconds > 0
    assert first.first_seconds >= first.load_seconds
    engine.images(request)
    second = engine.telemetry.usage("phantom-styles")
    assert (second.images, second.requests, second.loads, second.hits) == (20, 2, 1, 1)
    engine.release()
    engine.images(request)
    assert engine.telemetry.usage("phantom-styles").loads == 2


def test_the_figures_are_those_of_the_batches(engine):
    request = mw.GenerateRequest("phantom-styles", seeds=range(30))
    batches = list(engine.generate(request))
    usage = engine.telemetry.usage("phantom-styles")
    seconds = np.array([batch.seconds for batch in batches])
    assert [one.seconds for one in engine.telemetry.records("phantom-styles")] == list(seconds)
    assert usage.p50 == pytest.approx(np.percentile(seconds, 50))
    assert usage.p95 == pytest.approx(np.percentile(seconds, 95))
    each = seconds / [len(batch.seeds) for batch in batches]
    assert usage.image_p50 == pytest.approx(np.percentile(each, 50))
    assert usage.first_p95 == usage.first_seconds > seconds[0], "one request, and its load"
    assert usage.per_second == pytest.approx(30 / seconds.sum())
    assert usage.host_bytes > 50_000_000
    assert usage.device_bytes is None, "a CPU has no memory of its own"
    assert usage.device == "cpu"


def test_a_request_that_is_refused_leaves_no_trace(engine):
    with pytest.raises(ModelNotFoundError):
        engine.images(mw.GenerateRequest("no-such-model", seeds=range(2)))
    assert engine.telemetry.models == ()
    assert engine.telemetry.to_rows() == []


def test_the_model_asked_last_stands_at_the_end_and_the_first_leaves():
    telemetry = Telemetry()
    for number in range(MODELS + 3):
        telemetry.note_request(f"m{number}", device="cpu", load_seconds=0.1)
    telemetry.note_request("m10", device="cpu")
    assert len(telemetry.models) == MODELS
    assert telemetry.models[0] == "m3"
    assert telemetry.models[-1] == "m10"
    assert telemetry.usage("m0").requests == 0


def test_an_hour_of_records_takes_no_more_memory_than_a_minute():
    telemetry = Telemetry()

    def stream(count):
        for number in range(count):
            telemetry.note_batch("m", images=4, seconds=1e-3 * (number % 7), host_bytes=number)

    tracemalloc.start()
    stream(KEPT + 1010)
    before, _ = tracemalloc.get_traced_memory()
    stream(60_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 50_000
    assert len(telemetry.records("m")) == KEPT
    assert telemetry.usage("m").images == 4 * (KEPT + 61_010)


def test_several_threads_tell_at_once_and_nothing_is_lost():
    telemetry = Telemetry()

    def work(name):
        for _ in range(500):
            telemetry.note_request(name, device="cpu")
            telemetry.note_batch(name, images=1, seconds=0.01, host_bytes=1)
            telemetry.usage(name)

    threads = [threading.Thread(target=work, args=(f"m{n % 2}",)) for n in range(4)]
    [one.start() for one in threads]
    [one.join() for one in threads]
    assert [telemetry.usage(name).images for name in ("m0", "m1")] == [1000, 1000]


def test_no_time_at_all_is_no_division_by_nothing():
    telemetry = Telemetry()
    telemetry.note_batch("m", images=1, seconds=0.0, host_bytes=1)
    assert telemetry.usage("m").per_second is None
