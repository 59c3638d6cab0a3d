"""The widgets that talk with a page, heard by the kernel also while a cell runs."""

from __future__ import annotations

from typing import Any

import anywidget


class Page(anywidget.AnyWidget):
    """The page's half of a panel.

    JupyterLab sends its messages by a thread beside the running cell (a subshell). ipykernel 7.4
    sends them on to where the widget spoke last instead: to the main thread, after a cell or a
    thread of ours, where a click would wait for the cell. Here the page's own way counts.
    """

    def open(self) -> None:
        """Tell the page of the widget."""
        super().open()
        self._forget_where()

    def _send(self, message: dict[str, Any], buffers: Any = None) -> None:
        super()._send(message, buffers)
        self._forget_where()

    def _forget_where(self) -> None:
        if self.comm is not None:
            self.comm.__dict__.pop("_reply_subshell_id", None)
