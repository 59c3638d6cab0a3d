"""Work that can be stopped: one worker steps iterators, the newest job of an owner wins.

Everything long is an iterator of small results. The worker asks for one at a
time and looks between two whether somebody cancelled, so Cancel takes effect
within one result. An error ends its job, never the worker.
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
from functools import cache
from typing import Any, Generic, Literal, TypeVar

from medgan_widgets.errors import JobCancelled

log = logging.getLogger(__name__)

T = TypeVar("T")
State = Literal["queued", "running", "done", "cancelled", "failed"]


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
        What has come so far.
    error
        The exception that ended it, or None.
    """

    def __init__(
        self,
        factory: Callable[[], Iterable[T]],
        *,
        owner: Hashable,
        on_item: Callable[[T], object] | None = None,
        on_done: Callable[[Job[T]], object] | None = None,
    ) -> None:
        self.owner = owner
        self.items: list[T] = []
        self.error: BaseException | None = None
        self._factory: Callable[[], Iterable[T]] | None = factory
        self._on_item = on_item
        self._on_done = on_done
        self._state: State = "queued"
        self._iterator: Any = None
        self._stop = threading.Event()
        self._over = threading.Event()

    @property
    def state(self) -> State:
        """``queued``, ``running``, ``done``, ``cancelled`` or ``failed``."""
        return self._state

    @property
    def done(self) -> bool:
        """Whether it is over, in whatever way."""
        return self._over.is_set()

    def cancel(self) -> None:
        """Ask it to stop; a finished job stays as it is.

        It stops after the result in the making, or at once where its iterator has
        an ``interrupt`` method, as models have that run in a process of their own.
        """
        self._halt()
        _worker().drop(self)

    def _halt(self) -> None:
        self._stop.set()
        interrupt = getattr(self._iterator, "interrupt", None)
        if interrupt is not None:
            interrupt()

    def result(self) -> list[T]:
        """Return all results of a finished job.

        Raises
        ------
        JobCancelled
            When it was cancelled or replaced.
        RuntimeError
            When it is not over yet.
        Exception
            Whatever ended it.
        """
        if not self.done:
            raise RuntimeError("the job is not over; call job.wait() or await it first.")
        if self.error is not None:
            raise self.error
        if self._state == "cancelled":
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
            while not self._over.wait(max(0.0, min(0.05, end - time.monotonic()))):
                if time.monotonic() >= end:
                    raise TimeoutError(f"the job is still {self._state} after {timeout} s.")
        except KeyboardInterrupt:  # reaches the main thread only, so it is handed on here
            self.cancel()
            self._over.wait()
            raise
        return self.result()

    def __await__(self) -> Generator[Any, None, list[T]]:
        return self._awaited().__await__()

    async def _awaited(self) -> list[T]:
        try:
            while not self.done:
                await asyncio.sleep(0.02)
        except (asyncio.CancelledError, KeyboardInterrupt):
            self.cancel()
            raise
        return self.result()

    def _run(self) -> None:
        """Step the iterator to its end, or to a cancel; called by the worker alone."""
        iterator: Any = None
        try:
            if self._stop.is_set() or self._factory is None:
                return self._finish("cancelled")
            self._state = "running"
            iterator = self._iterator = iter(self._factory())
            # A cancel while the factory ran found no iterator to interrupt.
            for item in () if self._stop.is_set() else iterator:
                if self._stop.is_set():
                    break
                self.items.append(item)
                if self._on_item is not None:
                    self._on_item(item)
                if self._stop.is_set():
                    break
            if hasattr(iterator, "close"):
                iterator.close()  # a generator frees its lock and memory now, not some day
            self._finish("cancelled" if self._stop.is_set() else "done")
        except JobCancelled as error:  # its iterator was interrupted
            self.error = None if self._stop.is_set() else error
            _quietly(getattr(iterator, "close", lambda: None))
            self._finish("cancelled" if self._stop.is_set() else "failed")
        except BaseException as error:  # one job's error must not end the worker
            log.exception("a job of %r failed", self.owner)
            self.error = error
            _quietly(getattr(iterator, "close", lambda: None))
            self._finish("failed")

    def _finish(self, state: State) -> None:
        self._state = state
        if self._on_done is not None:
            _quietly(lambda: self._on_done(self))  # type: ignore[misc]
        # What they hold can go.
        self._iterator = self._factory = self._on_item = self._on_done = None
        self._over.set()

    def __repr__(self) -> str:
        return f"Job(state={self._state!r}, items={len(self.items)})"


class _Worker:
    """A thread and a mailbox with one slot for each owner."""

    def __init__(self) -> None:
        self._queue: dict[Hashable, Job[Any]] = {}
        self._news = threading.Condition()
        self._running: Job[Any] | None = None
        self._beside: dict[Job[Any], threading.Thread] = {}
        self._closing = False
        self.thread = threading.Thread(target=self._work, name="medgan-jobs", daemon=True)
        self.thread.start()
        atexit.register(self.stop)

    def put(self, job: Job[Any]) -> None:
        with self._news:
            replaced = self._queue.get(job.owner)
            self._queue[job.owner] = job  # a replaced job's successor keeps its place
            if self._running is not None and self._running.owner == job.owner:
                self._running._halt()
            self._news.notify()
        if replaced is not None:
            replaced._stop.set()
            replaced._finish("cancelled")

    def run_beside(self, job: Job[Any]) -> None:
        """Run a job on a thread of its own."""
        thread = threading.Thread(target=job._run, name="medgan-beside", daemon=True)
        with self._news:
            self._beside = {one: its for one, its in self._beside.items() if its.is_alive()}
            self._beside[job] = thread
            thread.start()

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
            waiting, self._queue = list(self._queue.values()), {}
            beside = dict(self._beside)
            for running in (self._running, *beside):
                if running is not None:
                    running._halt()
            self._news.notify()
        for job in waiting:
            job._finish("cancelled")
        for thread in (self.thread, *beside.values()):
            thread.join(timeout=10)

    def _work(self) -> None:
        while True:
            with self._news:
                self._running = None
                while not self._queue and not self._closing:
                    self._news.wait()
                if self._closing:
                    return
                self._running = job = self._queue.pop(next(iter(self._queue)))
            job._run()
            del job  # an idle worker keeps no results alive


def submit(
    factory: Callable[[], Iterable[T]],
    *,
    owner: Hashable,
    on_item: Callable[[T], object] | None = None,
    on_done: Callable[[Job[T]], object] | None = None,
    aside: bool = False,
) -> Job[T]:
    """Queue work on the one worker and return at once; older jobs of the owner are dropped.

    Parameters
    ----------
    factory
        Called on the worker; returns the iterator to step.
    owner
        A panel, or any hashable name. A job of the same owner that waits is
        dropped, one that runs is cancelled within one result.
    on_item, on_done
        Called on the worker with each result, and with the job once it is over,
        just before those who wait for it go on.
    aside
        Work that makes no images gets a thread of its own: it starts at once, holds up
        nobody, and replaces no other job.

    Examples
    --------
    >>> submit(lambda: (n * n for n in range(4)), owner="squares").wait()
    [0, 1, 4, 9]
    """
    job = Job(factory, owner=owner, on_item=on_item, on_done=on_done)
    if aside:
        _worker().run_beside(job)
    else:
        _worker().put(job)
    return job


@cache
def _worker() -> _Worker:
    return _Worker()


if hasattr(os, "register_at_fork"):  # a fork has no threads: it starts a worker of its own
    os.register_at_fork(after_in_child=_worker.cache_clear)


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:  # the work is over; only the log can still be told
        log.exception("a job's last step failed")
