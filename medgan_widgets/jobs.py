"""The one way to run a long thing: an iterator of small results, stepped on another thread.

`submit` is for what makes images. One worker serves the device, and the newest job of an
owner wins. `submit_background` is for the rest: downloads, hashing, reading folders,
estimates, export encoding; each has a thread of its own and starts at once. Both return a
`Job`: watch it, cancel it, wait for it. An error ends its job, never the worker.

Threads of this package are started here and nowhere else.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Hashable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from medgan_widgets.errors import JobCancelled

log = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["queued", "running", "done", "cancelled", "failed"]

_here = threading.local()  # .job: the job that runs on this thread


@dataclass(frozen=True)
class Step:
    """How far a job is: ``done`` of ``total`` (0 where unknown), and what it does now."""

    done: float = 0
    total: float = 0
    what: str = ""


class Job(Generic[T]):
    """One piece of work: watch it, cancel it, wait for it.

    ``job.wait()`` serves scripts and papermill; ``await job`` serves notebooks,
    where it keeps every button alive, also on front ends whose kernel answers on
    the main thread only.

    Attributes
    ----------
    owner
        Whose job it is; a newer job of the same owner replaces it.
    items
        The results so far; a `Step` is none.
    progress
        The last `Step`.
    error
        The exception that ended it, or None.
    state
        ``queued``, ``running``, ``done``, ``cancelled`` or ``failed``.
    """

    def __init__(
        self,
        factory: Callable[[], Iterable[T | Step]],
        owner: Hashable,
        on_item: Callable[[Any], object] | None,
        on_done: Callable[[Job[T]], object] | None,
    ) -> None:
        self.owner = owner
        self.items: list[T] = []
        self.progress = Step()
        self.error: BaseException | None = None
        self.state: State = "queued"
        self._factory, self._on_item, self._on_done = factory, on_item, on_done
        self._iterator: Any = None
        self._stop = threading.Event()
        self._over = threading.Event()

    @property
    def done(self) -> bool:
        """Whether it is over, in whatever way."""
        return self._over.is_set()

    @property
    def stopping(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask it to stop; a finished job stays as it is.

        It stops after the result in the making, at the next `report`, or at once where its
        iterator has an ``interrupt`` method, as models have that run in another process.
        """
        self._stop.set()
        interrupt = getattr(self._iterator, "interrupt", None)
        if interrupt is not None:
            interrupt()
        _worker().drop(self)

    def result(self) -> list[T]:
        """Return all results of a finished job, or raise what ended it; see `wait`."""
        if not self.done:
            raise RuntimeError("the job is not over; call job.wait() or await it first.")
        if self.error is not None:
            raise self.error
        if self.state == "cancelled":
            raise JobCancelled("the job was cancelled, or a newer request replaced it.")
        return self.items

    def wait(self, timeout: float | None = None) -> list[T]:
        """Block until it is over and return its results; an interrupt cancels it.

        Raises
        ------
        TimeoutError
            When ``timeout`` seconds pass first; the job goes on.
        JobCancelled
            When it was cancelled or replaced.
        """
        if threading.current_thread() is _worker().thread:
            raise RuntimeError("a job cannot be waited for on the thread that runs jobs.")
        end = math.inf if timeout is None else time.monotonic() + timeout
        try:
            # In short waits: a longer one would hold up Ctrl-C on some systems.
            while not self._over.wait(max(0.0, min(0.05, end - time.monotonic()))):
                if time.monotonic() >= end:
                    raise TimeoutError(f"the job is still {self.state} after {timeout} s.")
        except KeyboardInterrupt:  # reaches the main thread only, so it is handed on here
            self.cancel()
            self._over.wait()
            raise
        return self.result()

    def __await__(self) -> Generator[Any, None, list[T]]:
        try:
            while not self.done:
                yield from asyncio.sleep(0.02).__await__()
        except (asyncio.CancelledError, KeyboardInterrupt):
            self.cancel()
            raise
        return self.result()

    def _run(self) -> None:
        """Step the iterator to its end, or until somebody cancels."""
        iterator: Any = ()
        _here.job = self
        try:
            if not self.stopping:
                self.state = "running"
                iterator = self._iterator = iter(self._factory())
            # A cancel while the factory ran found no iterator to interrupt.
            for item in () if self.stopping else iterator:
                if not self.stopping:
                    self._receive(item)
                if self.stopping:
                    break
            if hasattr(iterator, "close"):
                iterator.close()  # a generator frees its lock and memory now, not some day
            state: State = "cancelled" if self.stopping else "done"
        except BaseException as error:  # one job's error must not end the worker
            state = "failed"
            if self.stopping and isinstance(error, JobCancelled):
                state = "cancelled"
            else:
                self.error = error
                log.exception("a job of %r failed", self.owner)
            _quietly(getattr(iterator, "close", lambda: None))
        _here.job = None
        self._finish(state)

    def _receive(self, item: T | Step) -> None:
        if isinstance(item, Step):
            self.progress = item
        else:
            self.items.append(item)
        if self._on_item is not None:
            self._on_item(item)

    def _finish(self, state: State) -> None:
        self.state = state
        if self._on_done is not None:
            _quietly(self._on_done, self)
        self._iterator = self._on_item = self._on_done = None  # what they hold can go
        self._factory = tuple
        self._over.set()

    def __repr__(self) -> str:
        return f"Job(state={self.state!r}, items={len(self.items)})"


def submit(
    factory: Callable[[], Iterable[T | Step]],
    *,
    owner: Hashable,
    on_item: Callable[[Any], object] | None = None,
    on_done: Callable[[Job[T]], object] | None = None,
) -> Job[T]:
    """Queue work for the device and return at once; older jobs of the owner are dropped.

    Parameters
    ----------
    factory
        Called on the worker; returns the iterator to step.
    owner
        A panel, or any hashable name. A job of the same owner that waits is
        dropped, one that runs is cancelled within one result.
    on_item, on_done
        Called on the worker with each result or `Step`, and with the job once it is over,
        just before those who wait for it go on.

    Examples
    --------
    >>> submit(lambda: (n * n for n in range(4)), owner="squares").wait()
    [0, 1, 4, 9]
    """
    job = Job(factory, owner, on_item, on_done)
    _worker().put(job)
    return job


def submit_background(
    factory: Callable[[], Iterable[T | Step]],
    *,
    name: str = "background",
    on_item: Callable[[Any], object] | None = None,
    on_done: Callable[[Job[T]], object] | None = None,
) -> Job[T]:
    """Run work that makes no images on a thread of its own, and return at once.

    It holds up nobody and replaces no other job. Progress is a `Step`: the iterator yields
    it, or, where a library knows callbacks only, the callback calls `report`.

    Parameters
    ----------
    factory
        Called on the new thread; returns the iterator to step.
    name
        Of the thread and in the log.
    on_item, on_done
        As for `submit`.

    Examples
    --------
    A download with progress; ``job.cancel()`` ends it at the next piece::

        def work():
            yield Step(what="Connecting")
            yield fetch_package(name, url, progress=report)  # calls report(done, total)

        job = submit_background(work, name=f"download {name}", on_item=show, on_done=ended)
        package, = job.wait()

    >>> steps = []
    >>> def work():
    ...     yield Step(0, 2, "reading")
    ...     report(1, 2, "still reading")
    ...     yield "all of it"
    >>> job = submit_background(work, on_item=steps.append)
    >>> job.wait(), job.progress.what, len(steps)
    (['all of it'], 'still reading', 3)
    """
    job = Job(factory, name, on_item, on_done)
    _worker().run_beside(job)
    return job


def report(done: float = 0, total: float = 0, what: str = "") -> None:
    """Note progress of the job that runs on this thread; outside of a job, do nothing.

    Raises
    ------
    JobCancelled
        When somebody asked the job to stop.
    """
    job: Job[Any] | None = getattr(_here, "job", None)
    if job is None:
        return
    if job.stopping:
        raise JobCancelled("the job was cancelled, or a newer request replaced it.")
    job._receive(Step(done, total, what))


def call_later(seconds: float, call: Callable[[], object]) -> threading.Timer:
    """Call something once, later, on another thread; ``cancel()`` what is returned to not."""
    timer = threading.Timer(seconds, _quietly, [call])
    timer.daemon = True
    timer.start()
    return timer


def start_thread(target: Callable[[], object], name: str) -> threading.Thread:
    """Start a loop that nobody waits for: it ends by itself, or with the interpreter."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


class _Worker:
    """The device's thread with a mailbox of one slot for each owner, and the threads beside it."""

    def __init__(self) -> None:
        self._queue: dict[Hashable, Job[Any]] = {}
        self._news = threading.Condition()
        self._running: Job[Any] | None = None
        self._beside: dict[Job[Any], threading.Thread] = {}
        self._closing = False
        self.thread = start_thread(self._work, "medgan-jobs")
        atexit.register(self.stop)

    def put(self, job: Job[Any]) -> None:
        with self._news:
            replaced = self._queue.get(job.owner)
            self._queue[job.owner] = job  # a replaced job's successor keeps its place
            running = self._running
            self._news.notify()
        if running is not None and running.owner == job.owner:
            running.cancel()
        if replaced is not None:
            replaced._stop.set()
            replaced._finish("cancelled")

    def run_beside(self, job: Job[Any]) -> None:
        with self._news:
            self._beside = {job: t for job, t in self._beside.items() if t.is_alive()}
            self._beside[job] = start_thread(job._run, f"medgan-{job.owner}")

    def drop(self, job: Job[Any]) -> None:
        """Take a job out of the queue if it still waits there."""
        with self._news:
            waiting = self._queue.get(job.owner) is job
            if waiting:
                del self._queue[job.owner]
        if waiting:
            job._finish("cancelled")

    def stop(self) -> None:
        """End before the interpreter does: a thread inside torch must not outlive it."""
        with self._news:
            self._closing = True
            jobs = [*self._queue.values(), *self._beside]
            jobs += [self._running] if self._running is not None else []
            self._news.notify()
        for job in jobs:
            job.cancel()
        for thread in (self.thread, *self._beside.values()):
            thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._news:
                self._running = None
                self._news.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                self._running = job = self._queue.pop(next(iter(self._queue)))
            job._run()
            del job  # an idle worker keeps no results alive


@cache
def _worker() -> _Worker:
    return _Worker()


if hasattr(os, "register_at_fork"):  # a fork has no threads: it starts a worker of its own
    os.register_at_fork(after_in_child=_worker.cache_clear)


def _quietly(call: Callable[..., object], *args: object) -> None:
    try:
        call(*args)
    except Exception:  # the work is over, so the log is all there is
        log.exception("a job's last step failed")
