"""The project's own papers agree with each other: README, CI script, pyproject, binder."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

# conda-forge's names for what the registry of Python packages calls otherwise
CONDA_NAMES = {
    "torch": "pytorch-cpu", "lazy-loader": "lazy_loader", "matplotlib": "matplotlib-base",
}  # fmt: skip
# listed on Binder, never run there, so its many dependencies stay out of a small image
NOT_ON_BINDER = {"medigan", "opencv-python-headless"}


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def binder(root):
    written = yaml.safe_load((root / "binder" / "environment.yml").read_text("utf-8"))
    found = map(Requirement, written["dependencies"])
    return {requirement.name: requirement for requirement in found}


def readme_commands(root):
    text = (root / "README.md").read_text("utf-8")
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.S)
    return [line for block in blocks for line in block.splitlines() if "install -e" in line]


def test_the_readme_sets_everything_up_in_two_commands(root):
    opens, tests = readme_commands(root)[:2]
    assert "jupyter lab notebooks/01_studio.ipynb" in opens
    assert '".[test]"' in tests
    assert tests.rstrip().endswith("pytest")


def test_ci_runs_the_second_command_word_for_word(root):
    _, tests = readme_commands(root)[:2]
    script = (root / ".ci" / "run").read_text("utf-8")
    assert tests in script
    assert "MEDGAN_REQUIRE_BROWSER=1" in script
    assert (root / ".ci" / "run").stat().st_mode & 0o100


def test_binder_has_every_dependency_at_the_same_versions(project, binder):
    for line in project["dependencies"]:
        wanted = Requirement(line)
        if wanted.name not in NOT_ON_BINDER:
            there = binder.get(CONDA_NAMES.get(wanted.name, wanted.name))
            assert there is not None, f"binder/environment.yml lacks {wanted.name}"
            assert there.specifier == wanted.specifier, wanted.name


def test_binder_pulls_no_cuda_and_nothing_else(project, binder):
    known = {Requirement(line).name for line in project["dependencies"]}
    extra = set(binder) - {CONDA_NAMES.get(name, name) for name in known}
    assert extra == {"python", "pip", "hatchling"}
    assert not {"torch", "pytorch", "pytorch-gpu"} & set(binder)


def test_binder_trusts_the_notebooks_and_pins_threads(root):
    build = (root / "binder" / "postBuild").read_text("utf-8")
    assert "jupyter trust notebooks/*.ipynb" in build
    assert "OMP_NUM_THREADS=1" in (root / "binder" / "start").read_text("utf-8")
    for name in ("postBuild", "start"):
        assert (root / "binder" / name).stat().st_mode & 0o100, f"{name} must be executable"


def test_no_file_is_over_two_megabytes(root):
    places = ("medgan_widgets", "models", "notebooks", "tests", "binder")
    big = {
        str(path.relative_to(root)): path.stat().st_size
        for place in places
        for path in (root / place).rglob("*")
        if path.is_file() and path.stat().st_size > 2 * 2**20
    }
    assert big == {}
