"""A light that is on while somebody can see the panel.

A page in the background keeps every drawing it is sent until it is shown again,
and a plot that nobody sees is not worth drawing. So what moves by itself asks
the page first: is the tab in front, and is the panel in it scrolled into view?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import anywidget
import traitlets

from medgan_widgets.panels._plots import Curves
from medgan_widgets.panels._watcher import Watcher

_JS = """
export default () => {
  const seen = new Map(); // one entry a view: the same panel may be on the page twice
  const render = ({ model, el }) => {
    let inside = false;
    let stopped = false;
    let tries = 0;
    el.classList.add('mg-beacon');
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


class Beacon(anywidget.AnyWidget):
    """Tells the kernel whether its panel can be seen: ``visible``, False until a page says so."""

    _esm = _JS
    _css = ".mg-beacon { position: absolute; width: 0; height: 0; overflow: hidden; }"
    visible = traitlets.Bool(False).tag(sync=True)


def watched(
    beacon: Beacon, look: Callable[[], object], every: float, curves: Callable[[], Iterable[Curves]]
) -> Watcher:
    """Return a watcher that looks, and lets these curves be sent, only while the light is on."""
    watcher = Watcher(lambda: beacon.visible and look(), every)

    def seen(change: Mapping[str, Any]) -> None:
        """Stop at once: a hidden page keeps all that it is sent."""
        for one in list(curves()):
            one.paused = not change["new"]
        if change["new"]:
            watcher.wake()
        else:
            watcher.rest()

    beacon.observe(seen, "visible")
    return watcher
