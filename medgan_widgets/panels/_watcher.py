"""A thread that calls again and again, while it is wanted, and ends with the interpreter."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

SHARE = 5  # a look that takes long is taken less often: at most a fifth of the time


class Watcher:
    """Calls ``look`` at once and then every ``every`` seconds, between `wake` and `rest`.

    Examples
    --------
    >>> looked = threading.Event()
    >>> watcher = Watcher(looked.set, every=0.01)
    >>> watcher.wake()
    >>> looked.wait(5)
    True
    >>> watcher.close()
    >>> watcher.alive
    False
    """

    def __init__(self, look: Callable[[], object], every: float) -> None:
        self._look, self._every = look, every
        self._change = threading.Condition()
        self._awake = self._closed = False
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether the thread is there; it begins with the first `wake`."""
        return self._thread is not None and self._thread.is_alive()

    def wake(self) -> None:
        """Look at once, and go on looking."""
        with self._change:
            if self._closed:
                return
            self._awake = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="medgan-watch", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            self._change.notify_all()

    def rest(self) -> None:
        """Look no more until somebody wakes it."""
        with self._change:
            self._awake = False
            self._change.notify_all()

    def close(self) -> None:
        """End the thread, waiting at most some seconds for a look to finish."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        atexit.unregister(self.close)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _work(self) -> None:
        pause = 0.0
        while True:
            with self._change:
                if self._awake and pause:
                    self._change.wait(pause)
                while not self._awake and not self._closed:
                    self._change.wait()
                if self._closed:
                    return
            began = time.monotonic()
            try:
                self._look()
            except Exception:  # one look that failed must not end the watching
                log.exception("a look failed")
            pause = max(self._every, SHARE * (time.monotonic() - began))
