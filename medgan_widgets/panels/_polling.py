"""What moves by itself moves only while somebody can see its panel.

A page in the background keeps every drawing it is sent until it is shown again,
and a plot that nobody sees is not worth drawing. So the page says whether its tab
is in front and the panel is scrolled into view.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from functools import partial

import traitlets

from medgan_widgets.jobs import start_thread
from medgan_widgets.panels._panel import Page, joined

log = logging.getLogger(__name__)

SHARE = 5  # a slow refresh comes less often: at most a fifth of the time goes into it


class Visibility(Page):
    """Tells the kernel whether its panel can be seen: ``visible``, False until a page says so."""

    _esm = joined("_visibility.js")
    _css = ".mg-visibility { position: absolute; width: 0; height: 0; overflow: hidden; }"
    visible = traitlets.Bool(False).tag(sync=True)


class Polling:
    """Calls ``refresh`` at once and then every ``every`` seconds, while the panel can be seen."""

    def __init__(self, visibility: Visibility, refresh: Callable[[], object], every: float) -> None:
        self._visibility, self._refresh, self._every = visibility, refresh, every
        self._seen = False
        self._hidden = threading.Event()  # ends the thread of this showing
        self._thread: threading.Thread | None = None
        visibility.observe(self._on_visible, "visible")
        atexit.register(self.close)

    @property
    def asleep(self) -> bool:
        """A page has shown the panel and does not now; before the first one all is prepared."""
        return self._seen and not self._visibility.visible

    def close(self) -> None:
        """End the thread, waiting at most some seconds for a refresh to finish."""
        self._visibility.unobserve_all("visible")
        atexit.unregister(self.close)
        self._hidden.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)

    def _on_visible(self, _: object) -> None:
        self._seen = True
        self._hidden.set()
        if self._visibility.visible:
            self._hidden = threading.Event()
            self._thread = start_thread(partial(self._poll, self._hidden), "medgan-poll")

    def _poll(self, hidden: threading.Event) -> None:
        pause = 0.0
        while not hidden.wait(pause):
            began = time.monotonic()
            try:
                self._refresh()
            except Exception:  # one refresh that failed must not end the watching
                log.exception("a refresh failed")
            pause = max(self._every, SHARE * (time.monotonic() - began))
