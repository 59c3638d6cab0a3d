"""A widget's JavaScript in a page with nothing else: no kernel, no Jupyter, a fake model.

Quick (a few tenths of a second), so most of what a widget's page does is tested here.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

ADDRESS = "http://widget.test/"

LIGHT = {
    "layout-color0": "#ffffff",
    "layout-color1": "#ffffff",
    "layout-color2": "#f3f4f6",
    "layout-color3": "#e0e3e7",
    "border-color1": "#bdbdbd",
    "border-color2": "#e0e0e0",
    "ui-font-color0": "#000000",
    "ui-font-color1": "#212121",
    "ui-font-color2": "#5f6368",
    "ui-font-color3": "#9e9e9e",
    "brand-color1": "#1976d2",
    "brand-color2": "#64b5f6",
    "error-color1": "#d32f2f",
    "warn-color1": "#e65100",
    "success-color1": "#388e3c",
}
DARK = {
    "layout-color0": "#111111",
    "layout-color1": "#1c1c1f",
    "layout-color2": "#212428",
    "layout-color3": "#33373d",
    "border-color1": "#616161",
    "border-color2": "#424242",
    "ui-font-color0": "#ffffff",
    "ui-font-color1": "#e8e8e8",
    "ui-font-color2": "#a6a9ad",
    "ui-font-color3": "#707070",
    "brand-color1": "#64b5f6",
    "brand-color2": "#1976d2",
    "error-color1": "#ef5350",
    "warn-color1": "#ffb74d",
    "success-color1": "#81c784",
}
FONTS = {
    "ui-font-family": "system-ui, sans-serif",
    "ui-font-size1": "13px",
    "code-font-family": "monospace",
    "content-font-size1": "14px",
}

HARNESS = """
class FakeModel {
  constructor(state) {
    this.state = state; this.handlers = {}; this.sent = []; this.saved = []; this.dirty = {};
    this.widget_manager = {};
  }
  get(name) { return this.state[name]; }
  set(name, value) {
    if (typeof name === 'object') {
      Object.entries(name).forEach(([key, each]) => this.set(key, each)); return;
    }
    const was = this.state[name];
    this.state[name] = value; this.dirty[name] = value;
    if (was !== value) { this.emit(`change:${name}`, this, value); this.emit('change', this); }
  }
  save_changes() { this.saved.push(this.dirty); this.dirty = {}; }
  send(content, callbacks, buffers) {
    const bytes = (buffers || []).map((b) => b.byteLength ?? b.length);
    this.sent.push({ content: JSON.parse(JSON.stringify(content)), bytes });
  }
  on(names, handler) {
    names.split(' ').forEach((n) => (this.handlers[n] ||= []).push(handler));
  }
  off(names, handler) {
    if (names == null) { this.handlers = {}; return; }
    names.split(' ').forEach((n) => {
      this.handlers[n] = (this.handlers[n] || []).filter((h) => handler && h !== handler);
    });
  }
  emit(name, ...rest) { (this.handlers[name] || []).slice().forEach((h) => h(...rest)); }
}
function bytesOf(text) {
  const raw = atob(text); const out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) out[i] = raw.charCodeAt(i);
  return new DataView(out.buffer);
}
function revive(value) {
  if (value && typeof value === 'object' && '$bytes' in value) return bytesOf(value.$bytes);
  return value;
}
window.errors = [];
window.addEventListener('error', (e) => window.errors.push(String(e.message)));
window.addEventListener('unhandledrejection', (e) => window.errors.push(String(e.reason)));
window.start = async (source, state) => {
  const url = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  const loaded = (await import(url)).default;
  const revived = Object.fromEntries(Object.entries(state).map(([k, v]) => [k, revive(v)]));
  window.model = new FakeModel(revived);
  window.signal = new AbortController().signal;
  window.widget = typeof loaded === 'function' ? await loaded() : loaded;
  const common = { model: window.model, signal: window.signal, experimental: {} };
  await window.widget.initialize?.(common);
  await window.addView();
};
window.views = [];
window.addView = async () => {
  const el = document.createElement('div');
  el.className = 'view';
  document.body.append(el);
  const stop = await window.widget.render(
    { model: window.model, el, signal: window.signal, experimental: {} });
  window.views.push({ el, stop });
};
window.closeView = async (index) => {
  const [view] = window.views.splice(index, 1);
  await view.stop?.(); view.el.remove();
};
"""


def _plain(value: Any) -> Any:
    """Bytes travel to the page as base64 and arrive there as a DataView, as in Jupyter."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"$bytes": base64.b64encode(bytes(value)).decode()}
    return value


class BareWidget:
    """One widget file, mounted; the test plays the kernel.

    ``page`` is Playwright's page, with everything it can do.
    """

    def __init__(
        self,
        page: Any,
        script: str | Path,
        state: dict[str, Any],
        *,
        css: str = "",
        dark: bool = False,
    ) -> None:
        self.page = page
        colours = {**(DARK if dark else LIGHT), **FONTS}
        variables = "".join(f"--jp-{name}:{value};" for name, value in colours.items())
        html = (
            "<!doctype html><html lang=en><meta charset=utf-8><title>widget</title>"
            f"<style>:root{{{variables}}}body{{margin:8px;background:var(--jp-layout-color0);"
            f"color:var(--jp-ui-font-color1);font:13px system-ui}}</style><style>{css}</style>"
            f"<body data-jp-theme-light={'false' if dark else 'true'}>"
        )
        page.route(f"{ADDRESS}**", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(ADDRESS)
        page.add_script_tag(content=HARNESS)
        source = script.read_text("utf-8") if isinstance(script, Path) else script
        page.evaluate(
            "([source, state]) => window.start(source, state)",
            [source, {name: _plain(value) for name, value in state.items()}],
        )

    def get(self, name: str) -> Any:
        """A trait as the page has it now."""
        return self.page.evaluate("(name) => window.model.get(name)", name)

    def set(self, name: str, value: Any) -> None:
        """Change a trait from the kernel's side."""
        self.page.evaluate(
            "([name, value]) => { model.set(name, revive(value)); delete model.dirty[name]; }",
            [name, _plain(value)],
        )

    def receive(self, content: Any, buffers: list[bytes] | None = None) -> None:
        """Deliver a custom message with binary buffers from the kernel."""
        self.page.evaluate(
            "([content, buffers]) => window.model.emit('msg:custom', content, buffers.map(revive))",
            [json.loads(json.dumps(content)), [_plain(part) for part in buffers or []]],
        )

    def sent(self) -> list[dict[str, Any]]:
        """Custom messages of the page so far, each ``{"content": ..., "bytes": [lengths]}``."""
        messages: list[dict[str, Any]] = self.page.evaluate("() => window.model.sent")
        return messages

    def saved(self) -> list[dict[str, Any]]:
        """What each ``save_changes()`` sent."""
        changes: list[dict[str, Any]] = self.page.evaluate("() => window.model.saved")
        return changes

    def add_view(self) -> None:
        """Show the same model a second time, as 'Create New View for Output' does."""
        self.page.evaluate("() => window.addView()")

    def close_view(self, index: int = 0) -> None:
        self.page.evaluate("(index) => window.closeView(index)", index)

    def errors(self) -> list[str]:
        """Uncaught errors of the page."""
        found: list[str] = self.page.evaluate("() => window.errors")
        return found
