"""A browser, a bare page for one widget file, and a real JupyterLab.

``page``      one browser page; ``new_page(...)`` makes more
``bare``      mounts a plain JavaScript widget with a fake model, no Jupyter at all
``lab``       one JupyterLab for all tests; ``lab.open(notebook)`` gives a `LabPage`

Without a browser these tests are skipped, unless ``MEDGAN_REQUIRE_BROWSER`` is 1.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.bare import BareWidget
from tests.browser.jupyterlab import Lab

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
]


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """One headless Chromium for all browser tests."""
    required = os.environ.get("MEDGAN_REQUIRE_BROWSER") == "1"
    program = find_browser()
    if program is None:
        reason = (
            "browser tests need Chromium or Chrome on the PATH and found none; "
            "install one (Debian: apt-get install chromium) to run them"
        )
        if required:
            pytest.fail(f"MEDGAN_REQUIRE_BROWSER is 1: {reason}", pytrace=False)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, headless=True, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Make pages: ``new_page(width=1000, height=800, dark=False)``."""
    contexts = []

    def make(*, width: int = 1280, height: int = 900, dark: bool = False) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
        )
        context.set_default_timeout(20_000)
        contexts.append(context)
        return context.new_page()

    yield make
    for context in contexts:
        context.close()


@pytest.fixture
def page(new_page: Callable[..., Any]) -> Any:
    return new_page()


@pytest.fixture
def bare(new_page: Callable[..., Any]) -> Callable[..., BareWidget]:
    """Mount a widget's JavaScript in an empty page: ``bare(path, {"name": value}, dark=False)``."""

    def mount(
        script: str | Path,
        state: dict[str, Any] | None = None,
        *,
        css: str = "",
        dark: bool = False,
        width: int = 1000,
        height: int = 800,
    ) -> BareWidget:
        page = new_page(width=width, height=height, dark=dark)
        return BareWidget(page, script, state or {}, css=css, dark=dark)

    return mount


@pytest.fixture(scope="package")
def lab_server(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    server = Lab(tmp_path_factory.mktemp("lab"))
    yield server
    server.close()


@pytest.fixture
def lab(lab_server: Lab, new_page: Callable[..., Any]) -> Iterator[Lab]:
    """JupyterLab on a free port; what a test opens, its kernels included, ends with the test."""
    lab_server.new_page = new_page
    yield lab_server
    lab_server.shut_down_kernels()
