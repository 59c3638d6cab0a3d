"""What all panels share: title, status and error line, snapshot, and a clean close.

The head is a widget of its own: screen readers announce a live region only when it stays
in the page while its text changes, and ``textContent`` can never become markup. It also
keeps Jupyter's shortcuts away, the panel in the saved file, and says when the kernel is gone.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets
from PIL import Image

from medgan_widgets.errors import MedganError
from medgan_widgets.images import captioned

log = logging.getLogger(__name__)

_HEAD_JS = """
// No plain key pressed inside reaches the notebook, where `m` turns the panel's cell into text and
// `d d` deletes it; Ctrl+S and the like do. Jupyter passes over an element with this mark; it asks
// the focused one itself, at the document, first of all: so it is set or taken at the window.
function guard(root) {
  root.tabIndex = -1; // a click anywhere inside keeps the focus inside
  const mark = (event) => {
    if (!root.contains(event.target)) return;
    const passes = (event.ctrlKey || event.metaKey) && event.key !== 'Enter'; // which runs the cell
    event.target.toggleAttribute('data-lm-suppress-shortcuts', !passes);
  };
  window.addEventListener('keydown', mark, true);
  return () => window.removeEventListener('keydown', mark, true);
}

// JupyterLab keeps a panel in the file only where a setting says so, and without it the reopened
// notebook says "model not found" in its place. Other front ends have no such context.
function keep(manager) {
  const { context } = manager;
  if (context.mgKept) return;
  context.mgKept = true;
  context.saveState.connect((_, now) => {
    if (now !== 'started') return;
    const kept = manager.get_state_sync({ drop_defaults: true });
    if (!Object.keys(kept.state).length) return; // without a kernel: what is in the file stays
    context.model.setMetadata?.('widgets', { 'application/vnd.jupyter.widget-state+json': kept });
  });
}

// A kernel that is shut down takes the panel's other half with it; Jupyter marks a restart alone.
function watchKernel(manager, root) {
  const session = manager.context.sessionContext;
  const hear = (_, { newValue }) => {
    if (!newValue) root.classList.add('jupyter-widgets-disconnected');
  };
  session.kernelChanged.connect(hear);
  return () => session.kernelChanged.disconnect(hear);
}

function render({ model, el }) {
  el.classList.add('mg-head');
  const line = (tag, name, attributes) => {
    const node = document.createElement(tag);
    node.className = `mg-${name}`;
    Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
    const show = () => {
      node.textContent = model.get(name);
      node.classList.toggle('mg-empty', !model.get(name));
    };
    model.on(`change:${name}`, show);
    show();
    el.append(node);
    return () => model.off(`change:${name}`, show);
  };
  const stop = [
    line('div', 'title', { role: 'heading', 'aria-level': '3' }),
    line('div', 'status', { role: 'status', 'aria-live': 'polite' }),
    line('div', 'error', { role: 'alert', 'aria-live': 'assertive' }),
  ];
  let tries = 0;
  const find = () => {
    const root = el.closest('.mg-panel');
    if (!root) {
      if (tries++ < 100) setTimeout(find, 50);
      return;
    }
    stop.push(guard(root));
    const manager = model.widget_manager;
    if (!manager?.context?.sessionContext) return;
    keep(manager);
    stop.push(watchKernel(manager, root));
  };
  find();
  return () => stop.forEach((end) => end());
}
export default { render };
"""

_HEAD_CSS = """
.mg-panel { color: var(--jp-ui-font-color1, var(--vscode-foreground, #212121));
  font-family: var(--jp-ui-font-family, system-ui, sans-serif);
  font-size: var(--jp-ui-font-size1, 13px); max-width: 100%; overflow: visible; outline: none; }
.mg-head { display: flex; flex-wrap: wrap; gap: 2px 12px; align-items: baseline; width: 100%;
  padding: 6px 2px; box-sizing: border-box; }
.mg-title { font-weight: 600; font-size: 1.1em; }
.mg-status { color: var(--jp-ui-font-color2, var(--vscode-descriptionForeground, #616161)); }
.mg-error { flex-basis: 100%; padding: 4px 8px; border-left: 3px solid
  var(--jp-error-color1, #d32f2f); background: var(--jp-layout-color2, transparent);
  overflow-wrap: anywhere; }
.mg-error.mg-empty { position: absolute; width: 0; height: 0; padding: 0; border: 0;
  overflow: hidden; }
.mg-panel .mg-panel .mg-title { display: none; }
/* Without a kernel ipywidgets marks every widget with a broken link; a sentence says it better. */
.mg-panel.jupyter-widgets-disconnected::before,
.mg-panel .jupyter-widgets-disconnected::before { content: none; }
.mg-panel.jupyter-widgets-disconnected > .mg-head::before { flex-basis: 100%; padding: 4px 14px;
  box-sizing: border-box; font: inherit; line-height: inherit; color: inherit;
  content: 'A saved view, without a kernel: run the cells above, then this one, to use it.';
  border-left: 3px solid var(--jp-warn-color1, #b26a00);
  background: var(--jp-layout-color2, transparent); }
.mg-panel .mg-panel.jupyter-widgets-disconnected > .mg-head::before { content: none; }
"""


class Head(anywidget.AnyWidget):
    """The lines at the top of a panel, as plain text."""

    _esm = _HEAD_JS
    _css = _HEAD_CSS
    title = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)


class Snapshot:
    """A static picture of a panel, with its words in it; displays without a browser."""

    def __init__(self, image: Image.Image, text: str) -> None:
        self.image = image
        self.text = text

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.image.save(stream, format="PNG")
        return stream.getvalue()

    def save(self, path: str | Path) -> None:
        """Write the picture as PNG."""
        self.image.save(path, format="PNG")

    def __repr__(self) -> str:
        return self.text


class Panel(ipywidgets.VBox):
    """A column of widgets under a title, a one-sentence status and an error line.

    A panel of one's own sets ``self.body``, may override `_facts` (what its
    ``repr`` says), `_picture` (what a snapshot shows) and `_release` (what to let
    go when it is closed).

    Examples
    --------
    >>> panel = Panel("Notes", status="Nothing yet.")
    >>> panel
    Panel()
    >>> panel.error = "No such model."
    >>> panel.close()
    """

    def __init__(
        self, title: str, body: Sequence[ipywidgets.Widget] = (), status: str = ""
    ) -> None:
        self.head = Head(title=title, status=status)
        self._closed = False
        super().__init__(children=[self.head, *body])
        self.layout.width = "100%"
        self.add_class("mg-panel")

    @property
    def body(self) -> tuple[ipywidgets.Widget, ...]:
        """The widgets under the head."""
        return tuple(self.children[1:])

    @body.setter
    def body(self, widgets: Sequence[ipywidgets.Widget]) -> None:
        self.children = (self.head, *widgets)

    @property
    def title(self) -> str:
        """The heading."""
        return str(self.head.title)

    @property
    def status(self) -> str:
        """One sentence on what the panel shows or does; screen readers hear it change."""
        return str(self.head.status)

    @status.setter
    def status(self, text: str) -> None:
        self.head.status = str(text)

    @property
    def error(self) -> str:
        """One sentence on what went wrong, or an empty string."""
        return str(self.head.error)

    @error.setter
    def error(self, problem: str | BaseException) -> None:
        self.head.error = " ".join(str(problem).split())

    def snapshot(self) -> Snapshot:
        """Return a static picture of the panel as it is now, words included.

        Saved in a notebook it is what GitHub, nbviewer and ``nbconvert`` show.
        """
        lines = [line for line in (self.title, self.status, self.error) if line]
        return Snapshot(captioned(self._picture(), lines), repr(self))

    def close(self) -> None:
        """Take the panel off the page and let go of what it holds; twice does no harm."""
        if getattr(self, "_closed", True):
            return
        self._closed = True
        self._release()
        for widget in (*self.children, self.layout):
            widget.close()
        super().close()

    def _guard(self, act: Callable[[], object]) -> None:
        """Run what a click or a job asks for; a failure becomes a sentence, the panel lives on."""
        try:
            act()
        except Exception as problem:
            self._fail(problem)

    def _fail(self, problem: BaseException) -> None:
        if not isinstance(problem, MedganError):
            log.error("%s failed", type(self).__name__, exc_info=problem)
        self.error = self._in_words(problem)

    @staticmethod
    def _in_words(problem: BaseException | None) -> str:
        if isinstance(problem, MedganError):
            return str(problem)
        kind = type(problem).__name__
        return f"Something went wrong ({kind}: {problem}); the log has the details."

    def _facts(self) -> Mapping[str, object]:
        return {}

    def _picture(self) -> Image.Image | None:
        return None

    def _release(self) -> None:
        pass

    def __repr__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self._facts().items())
        return f"{type(self).__name__}({facts})"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        png = base64.b64encode(self.snapshot()._repr_png_()).decode()
        return {**(data or {}), "text/plain": repr(self), "image/png": png}, metadata
