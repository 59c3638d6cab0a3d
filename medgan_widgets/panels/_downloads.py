"""Downloads of model packages on threads of their own: one at a time, to be watched and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import filelock

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.downloads import (
    Package,
    cache_folder,
    cached_package,
    megabytes,
    remove_package,
)
from medgan_widgets.errors import JobCancelled
from medgan_widgets.medigan import actions

Show = Callable[[str, str | None, float | None, bool], None]  # id, text, part, may be cancelled
Ended = Callable[[str, str, BaseException | None], None]  # id, sentence, what went wrong

OFTEN = 0.15  # seconds between two progress messages
SOON = 1.0  # seconds before a silent wait is explained


class Download:
    """One package on its way: watch it, cancel it, wait for it."""

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self.error: BaseException | None = None
        self._package: Package | None = None
        self._stop = threading.Event()
        self._over = threading.Event()

    @property
    def done(self) -> bool:
        """Whether it is over, in whatever way."""
        return self._over.is_set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask it to stop; nothing of it is kept."""
        if not self.done:
            self._stop.set()

    def wait(self, timeout: float | None = None) -> Package:
        """Block until it is over and return the package, or raise what ended it."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"{self.model_id} is still downloading after {timeout:g} s.")
        if self.error is not None:
            raise self.error
        assert self._package is not None
        return self._package

    def check(self) -> None:
        """Raise where somebody asked it to stop."""
        if self.cancelled:
            raise JobCancelled(f"the download of {self.model_id} was cancelled; nothing was kept.")

    def finish(self, package: Package | None, error: BaseException | None) -> None:
        """Let everybody who waits go on."""
        self._package, self.error = package, error
        self._over.set()

    def __repr__(self) -> str:
        return f"Download({self.model_id!r}, done={self.done})"


class Downloads:
    """The downloads of one explorer; generating goes on beside them."""

    def __init__(
        self, catalogue: Catalogue, lock: AbstractContextManager[Any], show: Show, ended: Ended
    ) -> None:
        self._catalogue, self._lock, self._show, self._ended = catalogue, lock, show, ended
        self._known: dict[str, Download] = {}
        self._turn = threading.Lock()

    def start(self, name: str) -> Download:
        """Start fetching a package, unless it is on its way already."""
        name = self._catalogue[name].id
        self._catalogue.package_of(name)  # a model of this machine has none
        with self._lock:
            there = self._known.get(name)
            if there is not None and not there.done and not there.cancelled:
                return there
            one = self._known[name] = Download(name)
            self._tell(one, "Starting the download…")
        threading.Thread(target=self._run, args=(one,), name=f"get {name}", daemon=True).start()
        return one

    def runs(self, name: str) -> bool:
        """Return whether a package is on its way."""
        one = self._known.get(name)
        return one is not None and not one.done

    def cancel(self, name: str) -> None:
        """Stop a download; the page is told at once, the network when it answers next."""
        with self._lock:
            one = self._known.get(name)
            if one is not None and not one.done:
                one.cancel()
                self._show(name, None, None, False)

    def close(self) -> None:
        """Stop whatever is on its way."""
        for one in list(self._known.values()):
            one.cancel()

    def _run(self, one: Download) -> None:
        package: Package | None = None
        problem: BaseException | None = None
        try:
            self._await_turn(one)
            try:
                self._await_others(one)
                package = self._fetched(one)
            finally:
                self._turn.release()
        except Exception as error:
            problem = error
        try:
            with self._lock:
                if self._known.get(one.model_id) is one:  # a newer one speaks for itself
                    self._show(one.model_id, None, None, False)
            if isinstance(problem, JobCancelled):
                self._ended(one.model_id, "Cancelled; nothing of the download was kept.", None)
            else:
                said = f"{one.model_id} is downloaded." if package else ""
                self._ended(one.model_id, said, problem)
        finally:
            one.finish(package, problem)

    def _fetched(self, one: Download) -> Package:
        there, shown = cached_package(one.model_id), 0.0

        def progress(done: int, total: int) -> None:
            nonlocal shown
            one.check()
            now = time.monotonic()
            if done == total:
                self._tell(one, f"{megabytes(done)}: checking and unpacking…", 1.0)
            elif now - shown >= OFTEN:
                shown = now
                self._tell(one, _so_far(done, total), done / total if total else None)

        package = actions.download(one.model_id, catalogue=self._catalogue, progress=progress)
        if one.cancelled and there is None:  # too late for the network, not for the cache
            remove_package(one.model_id)
        one.check()
        return package

    def _await_turn(self, one: Download) -> None:
        began = time.monotonic()
        while not self._turn.acquire(timeout=0.05):
            one.check()
            self._explain(one, began, "Waiting for the download before it to end…")

    def _await_others(self, one: Download) -> None:
        """Wait while another process works on the same; this wait can be cancelled."""
        folder, began = cache_folder() / "packages", time.monotonic()
        while folder.is_dir():
            one.check()
            try:
                with filelock.FileLock(str(folder / f"{one.model_id}.lock"), timeout=0):
                    return
            except filelock.Timeout:
                self._explain(one, began, "Waiting for another process that works on it…")
                time.sleep(0.1)
            except OSError:
                return  # the download itself says why the cache cannot be used

    def _explain(self, one: Download, began: float, text: str) -> None:
        if time.monotonic() - began > SOON:
            self._tell(one, text)

    def _tell(self, one: Download, text: str, part: float | None = None) -> None:
        with self._lock:
            if self._known.get(one.model_id) is one and not one.cancelled:
                self._show(one.model_id, text, part, True)


def _so_far(done: int, total: int) -> str:
    if not total:
        return megabytes(done)
    return f"{megabytes(done)} of {megabytes(total)} · {100 * done // total} %"
