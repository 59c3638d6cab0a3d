"""Jobs: the newest wins, cancel is quick, an error ends the job and not the worker."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from medgan_widgets.errors import JobCancelled, RequestError
from medgan_widgets.jobs import Job, Step, call_later, report, submit, submit_background


class Stepper:
    """An iterator whose every step waits for the test's permission."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.made = 0
        self.closed = threading.Event()

    def __call__(self) -> Iterator[int]:
        try:
            while True:
                assert self.go.acquire(timeout=5)
                self.made += 1
                yield self.made
        finally:
            self.closed.set()


def until(condition, seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def test_results_come_in_order_and_callbacks_see_them():
    seen, ended = [], []
    job = submit(lambda: iter("abc"), owner="x", on_item=seen.append, on_done=ended.append)
    assert job.wait(5) == ["a", "b", "c"] == seen == job.items
    assert job.done
    assert job.state == "done"
    assert ended == [job]


def test_fifty_clicks_run_the_last_and_at_most_the_first():
    started, first = [], Stepper()

    def work(number: int):
        def run() -> Iterator[int]:
            started.append(number)
            yield from first() if number == 0 else [number]

        return run

    jobs = [submit(work(0), owner="panel")]
    until(lambda: jobs[0].state == "running")
    jobs += [submit(work(number), owner="panel") for number in range(1, 50)]
    first.go.release()
    assert jobs[-1].wait(5) == [49]
    assert started == [0, 49]
    assert {job.state for job in jobs[:-1]} == {"cancelled"}
    assert first.closed.is_set()


def test_cancel_stops_within_one_result_and_closes_the_generator():
    step = Stepper()
    job = submit(step, owner="x")
    step.go.release()
    until(lambda: len(job.items) == 1)
    job.cancel()
    assert not job.done, "the step in the making goes on"
    step.go.release()
    with pytest.raises(JobCancelled):
        job.wait(5)
    assert step.closed.is_set()
    assert step.made == 2
    assert job.items == [1], "what came after the cancel is not handed out"


@pytest.mark.parametrize("how", ["cancelled", "replaced"])
def test_stopped_while_its_iterator_is_built_it_makes_no_first_result(how):
    building, go, stopped, steps = threading.Event(), threading.Event(), threading.Event(), []

    class Package(Iterator[int]):
        """As one of medigan's models: the first result takes minutes, unless interrupted."""

        def __next__(self) -> int:
            steps.append(1)
            stopped.wait(10)
            raise StopIteration

        def interrupt(self) -> None:
            stopped.set()

    def build() -> Iterator[int]:
        building.set()
        assert go.wait(5)
        return Package()

    job = submit(build, owner="panel")
    assert building.wait(5)
    newer = submit(lambda: [7], owner="panel") if how == "replaced" else None
    if newer is None:
        job.cancel()
    go.set()
    with pytest.raises(JobCancelled):
        job.wait(5)
    assert steps == []
    assert newer is None or newer.wait(5) == [7]


def test_what_runs_beside_holds_up_nobody_and_ends_when_it_is_cancelled():
    step = Stepper()
    beside = submit_background(step, name="reads a folder")
    until(lambda: beside.state == "running")
    assert submit(lambda: [1], owner="generates").wait(5) == [1]
    beside.cancel()
    step.go.release()
    until(lambda: beside.done)
    assert beside.state == "cancelled"


def test_a_library_with_callbacks_reports_progress_and_is_cancelled_at_the_next_report():
    seen, at_two = [], threading.Event()

    def download() -> str:
        for n in range(1000):
            report(n, 1000, "reading")
            at_two.wait(5) if n == 2 else None
        return "package"

    job = submit_background(lambda: [download()], on_item=seen.append)
    until(lambda: job.progress.done == 2)
    job.cancel()
    at_two.set()
    with pytest.raises(JobCancelled):
        job.wait(5)
    assert seen == [Step(n, 1000, "reading") for n in range(3)]
    assert job.items == []
    report(1, 2)  # nobody's job: nothing happens


def test_a_call_comes_later_unless_it_is_cancelled():
    came = []
    call_later(0.01, lambda: came.append("first"))
    call_later(0.01, lambda: came.append("never")).cancel()
    until(lambda: came)
    time.sleep(0.05)
    assert came == ["first"]


def test_a_waiting_job_is_cancelled_at_once():
    step = Stepper()
    running = submit(step, owner="a")
    until(lambda: running.state == "running")
    waiting = submit(lambda: [1], owner="b")
    waiting.cancel()
    assert waiting.done
    assert waiting.state == "cancelled"
    running.cancel()
    step.go.release()


def test_owners_do_not_disturb_each_other():
    one, two = submit(lambda: range(3), owner="one"), submit(lambda: range(4), owner="two")
    assert (len(one.wait(5)), len(two.wait(5))) == (3, 4)


def test_an_error_ends_the_job_with_a_traceback_in_the_log_and_the_worker_goes_on(caplog):
    def bad() -> Iterator[int]:
        yield 1
        raise RequestError("a clear sentence.")

    with caplog.at_level(logging.ERROR, "medgan_widgets.jobs"):
        job = submit(bad, owner="x")
        with pytest.raises(RequestError, match="a clear sentence"):
            job.wait(5)
    assert job.state == "failed"
    assert job.items == [1]
    assert "Traceback" in caplog.text
    assert submit(lambda: [2], owner="x").wait(5) == [2]


@pytest.mark.parametrize("hook", ["on_item", "on_done"])
def test_an_error_in_a_callback_does_not_end_the_worker(hook):
    def fail(_: object) -> None:
        raise ValueError("callback")

    job: Job[int] = submit(lambda: [1], owner="x", **{hook: fail})
    until(lambda: job.done)
    assert job.state == ("failed" if hook == "on_item" else "done")
    assert submit(lambda: [2], owner="x").wait(5) == [2]


def test_await_keeps_the_event_loop_free():
    async def story() -> tuple[list[int], int]:
        step, turns = Stepper(), 0
        job = submit(step, owner="x")
        while not job.items:
            turns += 1
            step.go.release()
            await asyncio.sleep(0.01)
        replaced = submit(lambda: iter([7, 8]), owner="x")
        step.go.release()
        return await replaced, turns

    result, turns = asyncio.run(story())
    assert result == [7, 8]
    assert turns >= 1


def test_a_cancelled_task_cancels_the_job_it_awaits():
    step = Stepper()
    job = submit(step, owner="x")

    async def story() -> None:
        async def waits() -> None:
            await job

        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    step.go.release()
    until(lambda: job.done)
    assert job.state == "cancelled"


def test_an_interrupt_while_waiting_cancels_and_is_raised_again():
    step = Stepper()
    job = submit(step, owner="x")
    calls = []

    def interrupted(timeout: float | None = None) -> bool:
        calls.append(timeout)
        if len(calls) == 1:
            raise KeyboardInterrupt
        step.go.release()
        return threading.Event.wait(job._over, 5)

    job._over.wait = interrupted
    with pytest.raises(KeyboardInterrupt):
        job.wait()
    assert job.state == "cancelled"


def test_wait_with_a_timeout_leaves_the_job_alone():
    step = Stepper()
    job = submit(step, owner="x")
    with pytest.raises(TimeoutError, match=r"still running after 0\.1 s"):
        job.wait(0.1)
    with pytest.raises(RuntimeError, match="not over"):
        job.result()
    job.cancel()
    step.go.release()


@pytest.mark.parametrize("start", ["submit(steps, owner='x')", "submit_background(steps)"])
def test_a_plain_script_ends_while_a_job_runs(start):
    code = (
        "import itertools, time\n"
        "from medgan_widgets.jobs import submit, submit_background\n"
        "steps = lambda: (time.sleep(.01) for _ in itertools.count())\n"
        f"{start}\n"
        "time.sleep(.05)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30, text=True)
    assert (run.returncode, run.stderr) == (0, "")
