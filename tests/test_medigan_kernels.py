"""Ctrl-C, kills and two kernels at once: whatever happens to the kernel, the next one works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from medgan_widgets.downloads import cached_packages
from medgan_widgets.medigan.client import end_workers
from tests.medigan_bench import GOOD, Bench, generating

HEAD = """
import hashlib, os, sys, time
from medgan_widgets import download, trust
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.engine import Engine
from medgan_widgets.requests import GenerateRequest
engine = Engine(device="cpu", catalogue=Catalogue(mirror=MIRROR))
def images(model, count=8):
    made = engine.images(GenerateRequest(model, seeds=range(count)))
    return hashlib.sha256(made.tobytes()).hexdigest()[:12]
def ready(model):
    download(model, catalogue=engine.catalogue, progress=lambda done, total: None)
    trust(model, catalogue=engine.catalogue)
"""


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDGAN_UNATTENDED", "0")
    monkeypatch.chdir(tmp_path)
    yield Bench(tmp_path)
    end_workers()


def kernel(bench: Bench, code: str) -> subprocess.Popen:
    """A process that plays a kernel; Ctrl-C reaches it alone, as Jupyter's interrupt does."""
    head = HEAD.replace("MIRROR", repr(str(bench.mirror)))
    return subprocess.Popen(
        [sys.executable, "-c", head + textwrap.dedent(code)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_two_kernels_at_once_make_the_same_images(bench):
    kernels = [kernel(bench, f"ready({GOOD!r}); print(images({GOOD!r}))") for _ in range(2)]
    said = [one.communicate(timeout=120) for one in kernels]
    assert [one.returncode for one in kernels] == [0, 0], said
    assert said[0][0] == said[1][0] != ""


def test_ctrl_c_in_a_forward_ends_it_and_the_next_request_works(bench):
    slow = bench.add("90600_SLOW", generating("""
        a = torch.rand(500, 500)
        while True: a = (a @ a).clamp(-1, 1)
    """))  # fmt: skip
    one = kernel(bench, f"""
        ready({slow!r}); ready({GOOD!r}); first = images({GOOD!r})
        print("go", flush=True)
        begun = time.monotonic()
        try: images({slow!r})
        except KeyboardInterrupt: print("interrupted", flush=True)
        assert engine.worker_pid({slow!r}) is None
        print(images({GOOD!r}) == first)
    """)  # fmt: skip
    assert one.stdout.readline() == "go\n"
    time.sleep(1.0)
    one.send_signal(signal.SIGINT)
    out, err = one.communicate(timeout=60)
    assert out == "interrupted\nTrue\n", err


STAGES = {
    "download": "download(MODEL, catalogue=engine.catalogue, progress=stop)",
    "unpacking": "download(MODEL, catalogue=engine.catalogue, progress=lambda *_: None)",
    "consent": "ready(MODEL); stop()",
    "process": "ready(MODEL); __import__('threading').Timer(0.2, stop).start(); images(MODEL)",
    "first image": "ready(MODEL); next(iter(engine.generate(REQUEST))); stop()",
}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_kernel_that_stops_at_any_stage_poisons_nothing(bench, stage, how):
    if stage == "unpacking":  # stops when half of the files are there
        hook = """
            import zipfile
            whole = zipfile.ZipFile.extractall
            def half(self, path=None, **kwargs):
                self.extract(self.namelist()[0], path); stop()
            zipfile.ZipFile.extractall = half
        """
    else:
        hook = ""
    one = kernel(bench, f"""
        def stop(*_):
            os.kill(os.getpid(), {int(getattr(signal, how))}); time.sleep(5)
        REQUEST = GenerateRequest({GOOD!r}, seeds=range(500))
        MODEL = {GOOD!r}
        {textwrap.indent(textwrap.dedent(hook), "        ").strip()}
        {STAGES[stage]}
    """)  # fmt: skip
    one.communicate(timeout=60)
    assert one.returncode != 0
    assert len(bench.images(count=3)) == 3
    assert [package.model_id for package in cached_packages()] == [GOOD]
    folder = Path(os.environ["MEDGAN_HOME"]) / "cache" / "packages"
    assert {p.name for p in folder.iterdir() if p.is_dir()} == {GOOD}, "nothing broken remains"
