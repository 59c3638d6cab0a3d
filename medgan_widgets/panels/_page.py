"""The widgets that talk with a page, heard by the kernel also while a cell runs."""

from __future__ import annotations

import contextvars
from typing import Any

import anywidget


class Page(anywidget.AnyWidget):
    """The page's half of a panel.

    JupyterLab offers each widget's messages a thread beside the running cell, and the kernel
    takes the offer for a widget that last spoke in answer to such a message. So a page greets
    and is answered at once; and whatever we send later, from whatever thread, goes out
    as an answer to the page's last word. Else the next click would wait for the cell.
    """

    _heard: contextvars.Context | None = None

    def _handle_msg(self, message: dict[str, Any]) -> None:
        self._heard = contextvars.copy_context()
        said = message["content"]["data"].get("content")
        if isinstance(said, dict) and said.get("kind") == "greet":
            self.send({"kind": "welcome"})
        super()._handle_msg(message)

    def _send(self, message: dict[str, Any], buffers: Any = None) -> None:
        answer = contextvars.copy_context() if self._heard is None else self._heard.copy()
        answer.run(super()._send, message, buffers)
