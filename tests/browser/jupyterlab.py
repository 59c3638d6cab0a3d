"""A real JupyterLab for tests: started once, its own settings, driven through its own commands."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat

QUIET = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}
KERNEL = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Lab:
    """JupyterLab on a free port of this machine, in a folder of its own."""

    new_page: Callable[..., Any]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notebooks = folder / "notebooks"
        self.notebooks.mkdir()
        self.token = secrets.token_hex(16)
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "lab.log"
        self._process = self._start()
        self._wait_until_up()

    def _start(self) -> subprocess.Popen[bytes]:
        places = {
            name: str(self.folder / name.lower())
            for name in (
                "JUPYTER_CONFIG_DIR",
                "JUPYTER_DATA_DIR",
                "JUPYTER_RUNTIME_DIR",
                "JUPYTERLAB_SETTINGS_DIR",
                "JUPYTERLAB_WORKSPACES_DIR",
                "IPYTHONDIR",
            )
        }
        for place in places.values():
            Path(place).mkdir()
        settings = Path(places["JUPYTERLAB_SETTINGS_DIR"])
        for plugin, values in QUIET.items():
            package, name = plugin.split(":")
            target = settings / package / f"{name}.jupyterlab-settings"
            target.parent.mkdir(parents=True)
            target.write_text(json.dumps(values), "utf-8")
        arguments = [
            *("--no-browser", "--allow-root", "--ip=127.0.0.1"),
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--ServerApp.root_dir={self.notebooks}",
            f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True",
            "--LabApp.extension_manager=readonly",
            "--ServerApp.answer_yes=True",
        ]
        self._environment = {**os.environ, **places}
        return subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )

    def _request(self, path: str, method: str = "GET") -> Any:
        request = urllib.request.Request(
            f"{self.url}/{path}", headers={"Authorization": f"token {self.token}"}, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _wait_until_up(self, seconds: float = 90.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")
            try:
                self._request("api/status")
                return
            except OSError:
                time.sleep(0.2)
        self.close()
        raise TimeoutError(f"JupyterLab was not up in {seconds:g} s:\n{self.log.read_text()}")

    def copy(self, notebook: Path, name: str | None = None) -> str:
        """Copy a notebook into Lab's folder; return its name there."""
        target = self.notebooks / (name or notebook.name)
        shutil.copyfile(notebook, target)
        return target.name

    def trust(self, name: str) -> None:
        """Trust a notebook, as the README's first command does."""
        command = [sys.executable, "-m", "jupyter", "trust", str(self.notebooks / name)]
        subprocess.run(command, env=self._environment, check=True, stdout=subprocess.DEVNULL)

    def write(self, name: str, *cells: str) -> str:
        """Write a notebook of code cells; return its name."""
        notebook = nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell(source) for source in cells],
            metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        )
        nbformat.write(notebook, self.notebooks / name)
        return name

    def open(
        self, name: str, *, width: int = 1280, height: int = 1000, dark: bool = False
    ) -> LabPage:
        """Open a notebook in a page of its own and wait until its kernel is idle."""
        page = self.new_page(width=width, height=height, dark=dark)
        opened = LabPage(page, f"{self.url}/lab/tree/{name}?reset&token={self.token}")
        opened.set_theme(dark=dark)
        return opened

    def shut_down_kernels(self) -> None:
        for session in self._request("api/sessions"):
            self._request(f"api/sessions/{session['id']}", "DELETE")

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(15)


class LabPage:
    """A notebook open in JupyterLab; ``page`` is Playwright's page."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address
        self.console_errors: list[str] = []
        page.on("pageerror", lambda error: self.console_errors.append(str(error)))
        page.goto(address)
        self.wait_for_kernel()

    def wait_for_kernel(self) -> None:
        """Wait for kernel connected and idle: a key pressed earlier would be lost."""
        self.page.wait_for_function(
            f"() => {{ const k = {KERNEL};"
            " return k && k.connectionStatus === 'connected' && k.status === 'idle'; }",
            timeout=90_000,
        )

    def set_theme(self, *, dark: bool) -> None:
        name = "JupyterLab Dark" if dark else "JupyterLab Light"
        self.command("apputils:change-theme", {"theme": name})
        self.page.wait_for_function(
            "(light) => document.body.dataset.jpThemeLight === light", arg=str(not dark).lower()
        )

    def command(self, name: str, arguments: dict[str, Any] | None = None) -> None:
        """Run one of JupyterLab's commands and wait for it."""
        self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args); }",
            [name, arguments or {}],
        )

    def cells(self) -> int:
        return int(
            self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
        )

    def start(self, index: int) -> None:
        """Start one cell and do not wait for it."""
        self.page.evaluate(
            "(i) => { const app = window.jupyterapp;"
            " app.shell.currentWidget.content.activeCellIndex = i;"
            " app.commands.execute('notebook:run-cell'); }",
            index,
        )

    def finished(self, index: int, *, seconds: float = 120.0) -> None:
        """Wait until a started cell has an execution count and is no longer running."""
        self.page.wait_for_function(
            "(i) => { const m = window.jupyterapp.shell.currentWidget.content.widgets[i].model;"
            " return m.type !== 'code'"
            " || (m.executionCount != null && m.executionState !== 'running'); }",
            arg=index,
            timeout=seconds * 1000,
        )

    def run(self, index: int, *, seconds: float = 120.0) -> None:
        """Run one cell to its end."""
        self.page.evaluate(
            "(i) => { const c = window.jupyterapp.shell.currentWidget.content.widgets[i];"
            " if (c.model.type === 'code') c.model.executionCount = null; }",
            index,
        )
        self.start(index)
        self.finished(index, seconds=seconds)

    def run_all(self, *, seconds: float = 240.0) -> None:
        for index in range(self.cells()):
            self.run(index, seconds=seconds)

    def output(self, index: int) -> str:
        """The text that a cell printed or returned."""
        return str(
            self.page.evaluate(
                "(i) => { const m = window.jupyterapp.shell.currentWidget.content.widgets[i].model;"
                " const parts = [];"
                " for (let k = 0; k < m.outputs.length; k += 1) {"
                " const o = m.outputs.get(k).toJSON();"
                " const t = o.text ?? o.data?.['text/plain'] ?? o.evalue ?? '';"
                " parts.push(Array.isArray(t) ? t.join('') : t); }"
                " return parts.join('\\n'); }",
                index,
            )
        )

    def save(self) -> None:
        self.command("docmanager:save")

    def reload(self) -> None:
        """Reload the page as F5 does; the kernel lives on."""
        self.page.goto(self.address.replace("?reset&", "?"))
        self.wait_for_kernel()
