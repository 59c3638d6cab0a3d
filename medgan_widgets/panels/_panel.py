"""What all panels share: the head, talk with the page, snapshots, and a clean close.

A message from the page is ``{id, kind, …}``; what answers it carries the same id, and
``{kind: "cancel", id}`` takes a question back. The page's half of this is _dom.js.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import traitlets
from PIL import Image

from medgan_widgets.errors import MedganError
from medgan_widgets.images import captioned

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
Act = Callable[[dict[str, Any]], Mapping[str, Any] | None]


def joined(*names: str) -> str:
    """Return plain JavaScript or CSS files of this folder as one: there is nothing to build.

    Scripts share one scope, so a name declared in two of them is a syntax error in the page.
    """
    return "\n".join((FOLDER / name).read_text("utf-8") for name in names)


class Page(anywidget.AnyWidget):
    """The page's half of a panel, heard by the kernel also while a cell runs.

    JupyterLab sends its messages by a thread beside the running cell (a subshell). ipykernel 7.4
    sends them on to where the widget spoke last instead: to the main thread, after a cell or a
    thread of ours, where a click would wait for the cell. Here the page's own way counts.
    """

    def open(self) -> None:
        """Tell the page of the widget."""
        super().open()
        self._forget_thread()

    def _send(self, message: dict[str, Any], buffers: Any = None) -> None:
        super()._send(message, buffers)
        self._forget_thread()

    def _forget_thread(self) -> None:
        if self.comm is not None:
            self.comm.__dict__.pop("_reply_subshell_id", None)


class Head(anywidget.AnyWidget):
    """The lines at the top of a panel, as plain text.

    A widget of its own: screen readers announce a live region only when it stays in the page
    while its text changes. Its script also keeps Jupyter's shortcuts away and the panel in the
    saved file, and says when the kernel is gone; its style holds what all panels look like.
    """

    _esm = joined("_panel.js")
    _css = joined("_panel.css")
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

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn the failure of a click or a job into one sentence here; the panel lives on."""
        try:
            yield
        except Exception as problem:
            self._fail(problem)

    def listen(self, page: Page, acts: Mapping[str, Act]) -> None:
        """Do what a page asks for: ``acts`` has a function for each kind of message.

        It gets the message, with ``buffers`` in it. What it returns, perhaps with buffers too,
        goes back under the message's id: ``{"kind": "accepted"}`` when it returns nothing,
        ``{"kind": "refused", "note": …}`` when it failed.
        """

        def on_message(_: object, content: Any, buffers: Sequence[Any]) -> None:
            act = acts.get(str(content.get("kind"))) if isinstance(content, Mapping) else None
            if act is None:
                log.warning("a message was not understood: %.200r", content)
            if act is None or self._closed:
                return
            answer: dict[str, Any] = {}
            with self.guard():
                answer = {"kind": "accepted", **(act({**content, "buffers": buffers}) or {})}
            answer = answer or {"kind": "refused", "note": self.error}
            if content.get("id") is not None and content["kind"] != "cancel":
                pixels = answer.pop("buffers", [])
                page.send({"id": content["id"], **answer}, pixels)

        page.on_msg(on_message)

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
