"""The layers of the house: imports point downwards only, and each library has its place."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "medgan_widgets"

# From the top; a file may import what stands under it, or beside it on its own line. A file with
# an entry of its own stands apart from its folder, which must not import it.
LAYERS = (
    ("panels",),
    ("scale",),
    ("export",),  # the old name of exporting
    ("exporting",),
    ("studies",),
    ("evaluation", "metrics.score", "metrics.score_notes"),
    ("image_sources",),
    ("engine", "training"),
    ("generators",),
    ("catalogue", "model_folders", "medigan", "runs", "memorisation"),
    ("metrics", "features", "checkpoints", "datasets", "devices"),
    ("parameters", "vocabulary"),
    ("networks", "phantoms", "images"),
    ("cards", "requests", "downloads", "presets"),
    ("files", "jobs", "seeds", "telemetry", "words"),
    ("errors",),
)
HEIGHT = {name: -depth for depth, names in enumerate(LAYERS) for name in names}
WIDGETS = {"ipywidgets", "anywidget", "bqplot", "traitlets", "IPython"}
# These run in a process of their own, medigan beside them.
WORKER_FILES = {f"{PACKAGE}.medigan.{name}" for name in ("worker", "resident")}
TORCH = {"torch", "torchvision"}
TORCH_HOMES = {
    "networks",
    "checkpoints",
    "features",
    "devices",
    "generators",
    "engine",
    "training",
    "datasets",
    "studies",
}


def files(root: Path) -> list[Path]:
    return sorted((root / PACKAGE).rglob("*.py"))


def imports(source: str, package: str) -> Iterator[str]:
    """Every module that some source imports, by full name, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = [*parent, node.module] if node.level else [node.module]
            module = ".".join(part for part in base if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def part(module: str) -> str:
    """``medgan_widgets.panels.studio`` is a thing of ``panels``; the table of contents is ''.

    ``medgan_widgets.metrics.score`` has a layer of its own.
    """
    names = [*module.split("."), ""]
    file = ".".join(names[1:3])
    return file if file in HEIGHT else names[1]


def problems(name: str, source: str, *, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module, one sentence each."""
    own, found = part(name), []
    package = name if is_package else name.rpartition(".")[0]
    for target in imports(source, package):
        library = target.split(".")[0]
        if library in WIDGETS and own != "panels":
            found.append(f"{name} imports {library}: only panels/ knows widgets")
        if library in TORCH and own not in TORCH_HOMES and name not in WORKER_FILES:
            found.append(f"{name} imports {library}: torch lives in {sorted(TORCH_HOMES)}")
        if library == "medigan":
            found.append(f"{name} imports medigan: it runs in a process of its own")
        if library != PACKAGE or own == "" or part(target) in ("", own):
            continue  # the table of contents names everything
        if part(target) not in HEIGHT or own not in HEIGHT:
            continue  # names of the table of contents itself
        if HEIGHT[part(target)] > HEIGHT[own]:
            found.append(f"{name} imports {part(target)}, which lies above it")
    return found


def name_of(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_imports_point_downwards_and_every_library_has_its_place(root):
    found = [
        problem
        for path in files(root)
        for problem in problems(
            name_of(path, root), path.read_text("utf-8"), is_package=path.name == "__init__.py"
        )
    ]
    assert found == []


def test_every_module_has_a_layer(root):
    known = {*HEIGHT, "__init__", "__main__"}
    here = {path.relative_to(root / PACKAGE).parts[0].removesuffix(".py") for path in files(root)}
    assert here - known == set()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("medgan_widgets.jobs", "from medgan_widgets.engine import Engine"),
        ("medgan_widgets.cards", "def f():\n    from . import catalogue"),
        ("medgan_widgets.exporting.png", "from ..panels import Studio"),
        ("medgan_widgets.images", "import medgan_widgets.engine"),
        ("medgan_widgets.jobs", "import ipywidgets as widgets"),
        ("medgan_widgets.metrics", "from torch import nn"),
        ("medgan_widgets.metrics", "from medgan_widgets.metrics.score import score"),
        ("medgan_widgets.metrics.table", "from medgan_widgets.metrics import score"),
        ("medgan_widgets.metrics.score", "import medgan_widgets.panels.studio"),
        ("medgan_widgets.catalogue", "import medigan"),
    ],
)
def test_a_wrong_import_is_seen(name, source):
    assert len(problems(name, source)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("medgan_widgets.engine", "from .requests import Batch"),
        ("medgan_widgets.panels.studio", "import ipywidgets"),
        ("medgan_widgets.networks.dcgan", "from torch import nn"),
        ("medgan_widgets.metrics.score", "from medgan_widgets.metrics.table import Scores"),
        ("medgan_widgets.exporting.zip", "from medgan_widgets.exporting.png import encode"),
    ],
)
def test_a_right_import_passes(name, source):
    assert problems(name, source) == []


def test_a_plain_script_needs_no_widget_and_no_medigan():
    code = (
        "import sys, medgan_widgets, medgan_widgets.requests, medgan_widgets.jobs\n"
        "found = {'ipywidgets', 'anywidget', 'bqplot', 'medigan'} & set(sys.modules)\n"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_files_stay_readable(root):
    long = {
        str(path.relative_to(root)): lines
        for path in sorted((root / PACKAGE).rglob("*"))
        if path.suffix in {".py", ".js"}
        and (lines := len(path.read_text("utf-8").splitlines())) > 550
    }
    assert long == {}, "split these; about 300 lines is enough for one thing"
