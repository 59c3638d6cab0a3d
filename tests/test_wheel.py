"""The wheel works outside the clone: it carries the demo models and the notebooks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = """
import json
import medgan_widgets as mw
from medgan_widgets.requests import GenerateRequest

catalogue = mw.Catalogue()
local = [card.id for card in catalogue if card.origin == "local"]
images = mw.Engine(device="cpu").images(GenerateRequest(local[0], seeds=[7]))
print(json.dumps({
    "file": mw.__file__,
    "local": local,
    "medigan": sum(card.origin == "medigan" for card in catalogue),
    "shape": images.shape,
    "spread": float(images.std()),
}))
"""


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    # Built from a copy of what git would carry, so that a build leaves nothing in the clone.
    source = tmp_path_factory.mktemp("source")
    for name in ("medgan_widgets", "models", "notebooks"):
        shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, source)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=120)
    (built,) = out.glob("*.whl")
    return built


def test_it_carries_models_notebooks_and_javascript(wheel, root):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for path in (root / "medgan_widgets").rglob("*"):
        if path.suffix in {".py", ".js", ".css", ".json"}:
            assert path.relative_to(root).as_posix() in names
    for folder in ("models", "notebooks"):
        for path in (root / folder).rglob("*"):
            if path.is_file() and not path.name.startswith("."):
                assert f"medgan_widgets/{path.relative_to(root).as_posix()}" in names
    assert {name.split("/")[0] for name in names} == {
        "medgan_widgets",
        "medgan_widgets-0.4.0.dist-info",
    }


def test_it_works_from_an_empty_folder(wheel, root, tmp_path):
    place, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = ["pip", "install", "-q", "--no-deps", "--no-index", "--target", str(place)]
    subprocess.run(
        [sys.executable, "-m", *install, str(wheel)], check=True, timeout=120, capture_output=True
    )
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(place)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)

    assert Path(facts["file"]).is_relative_to(place)
    shipped = {path.parent.name for path in (root / "models").glob("*/card.json")}
    assert set(facts["local"]) == shipped
    assert shipped
    assert facts["medigan"] == 23
    assert facts["shape"][0] == 1
    assert facts["spread"] > 5
