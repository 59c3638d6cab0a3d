"""All workers of this process: warm while they are used, few enough to fit, ended with it."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections import OrderedDict
from functools import cache
from typing import Any

import psutil

from medgan_widgets.errors import JobCancelled, NotRunnableError
from medgan_widgets.medigan.behaviour import Behaviour
from medgan_widgets.medigan.process import Worker, Zygote

log = logging.getLogger(__name__)

IDLE_SECONDS = 300.0


def memory_limit(held: int = 0) -> int:
    """Return how many bytes workers may hold: ``MEDGAN_WORKER_MB``, else half of what is free.

    What they hold already, ``held``, would be free without them.
    """
    said = os.environ.get("MEDGAN_WORKER_MB", "")
    return int(said) * 10**6 if said.isdigit() else (psutil.virtual_memory().available + held) // 2


class Workers:
    """All workers of this process: the least recently used end when memory runs short."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: OrderedDict[tuple[Any, ...], Worker] = OrderedDict()
        self._zygotes: dict[str | None, Zygote] = {}
        self.known: dict[tuple[Any, ...], Behaviour] = {}  # it outlives its worker
        self._starting: dict[tuple[Any, ...], threading.Lock] = {}
        self._timer: threading.Timer | None = None
        self._owner = os.getpid()
        self.over = False  # whether the interpreter is ending
        atexit.register(self._exit)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._abandon)

    def get(self, key: tuple[Any, ...], python: str | None, stop: threading.Event) -> Worker:
        """Return the worker of a package; a new one has to be opened by who asks.

        Starting one may take seconds, and whoever only asks what is warm must
        not wait for it: so it has a lock of its own.
        """
        with self._lock:
            starting = self._starting.setdefault(key, threading.Lock())
        while not starting.acquire(timeout=0.05):
            if stop.is_set():
                raise JobCancelled("the job was cancelled.")
        try:
            with self._lock:
                worker = self._held.get(key)
                if worker is not None and not (worker.dead or worker.broken):
                    self._held.move_to_end(key)
                    return worker
                if self.over:
                    raise JobCancelled("the interpreter is ending.")
            if worker is not None:
                worker.end()
            self._make_room()
            worker = self.zygote(python).fork(stop)
            with self._lock:
                self._held[key] = worker
                self._arm()
            return worker
        finally:
            starting.release()

    def zygote(self, python: str | None = None) -> Zygote:
        """Return the zygote of an interpreter, started if need be."""
        with self._lock:
            known = self._zygotes.get(python)
            if known is None or not known.alive:
                if not hasattr(os, "fork"):
                    raise NotRunnableError("medigan's models need Linux or macOS for now.")
                known = self._zygotes[python] = Zygote(python)
            return known

    def drop(self, key: tuple[Any, ...]) -> None:
        """End one worker and forget it."""
        with self._lock:
            worker = self._held.pop(key, None)
        if worker is not None:
            worker.end()

    def prepare(self, python: str | None = None) -> None:
        """Start an interpreter's zygote without waiting for it."""
        with self._lock, contextlib.suppress(NotRunnableError):
            self.zygote(python)
            self._arm()

    def pid(self, model_id: str) -> int | None:
        """Return the process of a model that is warm, or None."""
        with self._lock:
            for key, worker in self._held.items():
                if key[0] == model_id and not worker.dead:
                    return worker.pid
        return None

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are warm, least recently used first."""
        with self._lock:
            return tuple(dict.fromkeys(k[0] for k, one in self._held.items() if not one.dead))

    def end(self, model_id: str | None = None) -> None:
        """End the workers of one model, or all; it may take seconds, and holds up nobody."""
        with self._lock:
            keys = [key for key in self._held if model_id in (None, key[0])]
            ending = [self._held.pop(key) for key in keys]
        for worker in ending:
            worker.end()

    def _abandon(self) -> None:
        """Let go, in a fork of the kernel: it owns none of this, and would keep it alive."""
        for worker in self._held.values():
            worker.let_go()
        for zygote in self._zygotes.values():
            zygote.let_go()
        self._held, self._zygotes, self.over = OrderedDict(), {}, True
        shared_workers.cache_clear()

    def _exit(self) -> None:
        self.over = True
        self.close()

    def close(self) -> None:
        """End everything."""
        if os.getpid() != self._owner:  # a fork of the kernel owns none of it
            return
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            zygotes, self._zygotes = list(self._zygotes.values()), {}
        self.end()
        for zygote in zygotes:
            zygote.end()

    def _make_room(self) -> None:
        """End the idle workers used least recently, until the others may hold what they hold."""
        while True:
            with self._lock:
                for key in [key for key, worker in self._held.items() if worker.dead]:
                    del self._held[key]
                held = sum(one.rss for one in self._held.values())
                idle = next((k for k, one in self._held.items() if not one.lock.locked()), None)
                if len(self._held) < 2 or held <= memory_limit(held) or idle is None:
                    return
                leaving = self._held.pop(idle)
            log.info("the worker of %s ended to make room.", idle[0])
            leaving.end()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(IDLE_SECONDS / 5, self._sweep)
        self._timer.daemon = True
        self._timer.start()

    def _sweep(self) -> None:
        """End what nobody has used for a while; with the last worker goes its zygote."""
        with self._lock:
            now = time.monotonic()
            ending: list[Worker | Zygote] = []
            for key, worker in list(self._held.items()):
                idle = now - worker.used > IDLE_SECONDS and not worker.lock.locked()
                if worker.dead or idle:
                    ending.append(self._held.pop(key))
            if self._held:
                self._arm()
            else:
                ending += self._zygotes.values()
                self._zygotes = {}
        for one in ending:
            one.end()


@cache
def shared_workers() -> Workers:
    """Return the workers of this process."""
    return Workers()


def end_workers(model_id: str | None = None) -> None:
    """End the warm processes of one model, or of all."""
    shared_workers().end(model_id)
