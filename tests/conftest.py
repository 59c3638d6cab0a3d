"""What all tests share: one thread, a home of their own, and honest skips."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: small tests on a busy machine are quicker with one thread,
# and every process that a test starts inherits these.
ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])
)

import pytest  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def _own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test reads or writes the caches and consents of the person who runs it."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="module")
def _bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests import forked
    from tests.medigan_bench import Bench, new_kernel

    root = tmp_path_factory.mktemp("medigan")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGAN_HOME", str(root / "home ü"))
        patch.setenv("MEDGAN_UNATTENDED", "0")
        patch.delenv("MEDGAN_MIRROR", raising=False)
        patch.setattr("medgan_widgets.medigan.behaviour.CLOCK_STEP", 0.0)  # none looks at a clock
        patch.setattr("medgan_widgets.medigan.client.subprocess", forked)
        yield Bench(root)
        new_kernel()


@pytest.fixture
def bench(_bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Packages that tests write: a mirror, a home and an engine, of which one package stays."""
    from medgan_widgets.medigan.client import end_workers, shared_workers
    from tests.medigan_bench import GOOD, wait_for, workers_left

    monkeypatch.chdir(tmp_path)
    yield _bench
    for model_id in {key[0] for key in shared_workers()._held} - {GOOD}:
        end_workers(model_id)
    wait_for(lambda: len(workers_left()) <= 1, 5)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The longest file first, else all but one process would wait for it at the end.
    items.sort(key=lambda item: item.path.name != "test_notebooks.py")
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not _has_cuda():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none here"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
