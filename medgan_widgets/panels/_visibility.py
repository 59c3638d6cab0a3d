"""A light that is on while somebody can see the panel.

A page in the background keeps every drawing it is sent until it is shown again,
and a plot that nobody sees is not worth drawing. So what moves by itself asks
the page first: is the tab in front, and is the panel in it scrolled into view?
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import traitlets

from medgan_widgets.panels._panel import Page
from medgan_widgets.panels._plots import Curves

log = logging.getLogger(__name__)

SHARE = 5  # a look that takes long is taken less often: at most a fifth of the time

_JS = """
export default () => {
  const seen = new Map(); // one entry a view: the same panel may be on the page twice
  const render = ({ model, el }) => {
    let inside = false;
    let stopped = false;
    let tries = 0;
    el.classList.add('mg-visibility');
    const tell = () => {
      seen.set(el, inside && document.visibilityState !== 'hidden');
      const visible = [...seen.values()].some(Boolean);
      if (visible === model.get('visible')) return;
      model.set('visible', visible);
      model.save_changes();
    };
    const leave = () => { inside = false; tell(); };
    const watch = new IntersectionObserver((entries) => {
      inside = entries[entries.length - 1].isIntersecting;
      tell();
    });
    const find = () => {
      if (stopped) return;
      const root = el.closest('.mg-panel');
      if (root) watch.observe(root);
      else if ((tries += 1) < 200) setTimeout(find, 50);
    };
    document.addEventListener('visibilitychange', tell);
    window.addEventListener('pagehide', leave);
    find();
    return () => {
      stopped = true;
      watch.disconnect();
      document.removeEventListener('visibilitychange', tell);
      window.removeEventListener('pagehide', leave);
      leave();
      seen.delete(el);
    };
  };
  return { render };
};
"""


class Visibility(Page):
    """Tells the kernel whether its panel can be seen: ``visible``, False until a page says so."""

    _esm = _JS
    _css = ".mg-visibility { position: absolute; width: 0; height: 0; overflow: hidden; }"
    visible = traitlets.Bool(False).tag(sync=True)


class Poller:
    """Calls ``look`` at once and then every ``every`` seconds, between `wake` and `rest`."""

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


def watched(
    visibility: Visibility,
    look: Callable[[], object],
    every: float,
    curves: Callable[[], Iterable[Curves]],
) -> Poller:
    """Return a poller that looks, and lets these curves be sent, only while the panel is seen."""
    poller = Poller(lambda: visibility.visible and look(), every)

    def seen(change: Mapping[str, Any]) -> None:
        """Stop at once: a hidden page keeps all that it is sent."""
        for one in list(curves()):
            one.paused = not change["new"]
        if change["new"]:
            poller.wake()
        else:
            poller.rest()

    visibility.observe(seen, "visible")
    return poller
