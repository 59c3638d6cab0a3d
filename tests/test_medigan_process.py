"""Strangers' code in a process of its own: whatever it does, one sentence, and life goes on.

Packages here are written by the tests; medigan's own executor runs them. After
each bad one, the same good one answers, and no process is left.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from medgan_widgets import download, trust
from medgan_widgets.errors import (
    ConsentError,
    DataError,
    JobCancelled,
    MedganError,
    NotRunnableError,
    RequestError,
    WorkerError,
)
from medgan_widgets.jobs import submit, submit_background
from medgan_widgets.medigan.client import Worker, end_workers, shared_workers
from medgan_widgets.requests import GenerateRequest
from tests.medigan_bench import GOOD, NET, command_of, generating, lives, wait_for, weights

# ---------------------------------------------------------------- what is promised


def test_image_seventeen_is_image_seventeen_alone_in_any_batch_and_in_a_new_process(bench):
    together = bench.images(seeds=range(10, 20))
    assert (bench.images(seeds=[17])[0] == together[7]).all()
    assert (bench.images(seeds=[17, 3, 17])[[0, 2]] == together[7]).all()
    end_workers()
    assert (bench.images(seeds=[17])[0] == together[7]).all()


def test_a_cached_call_gives_what_the_real_library_gives_for_the_same_latents(bench):
    from medgan_widgets.seeds import latents_from_seeds

    code = """
        import json, sys, types, numpy as np, torch
        stub = types.ModuleType("pkg_resources"); stub.require = lambda *a: []
        sys.modules["pkg_resources"] = stub
        sys.path.insert(0, ".")
        from medigan.execute_model.model_executor import ModelExecutor
        entry = json.load(open(sys.argv[1]))["90100_GOOD"]["execution"]
        entry["package_link"], entry["dependencies"] = sys.argv[2], []
        z = torch.from_numpy(np.load("z.npy")).reshape(-1, 8, 1, 1)
        made = ModelExecutor("90100_GOOD", entry).generate(
            4, save_images=False, input_latent_vector=z)
        np.save("made.npy", np.stack(made))
    """
    place = bench.mirror.parent / "oracle"
    place.mkdir()
    np.save(place / "z.npy", latents_from_seeds(range(4), 8))
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(bench.mirror / "global.json"),
         str(bench.mirror / f"{GOOD}.zip")],
        cwd=place, check=True, timeout=120, capture_output=True,
    )  # fmt: skip
    expected = np.load(place / "made.npy")
    for _ in range(2):
        assert (bench.images(count=4)[..., 0] == expected).all()


def test_one_without_a_latent_of_its_own_is_seeded_for_each_image(bench):
    noisy = NET.replace("255 * image", "200 * image + 50 * np.random.rand(32, 32)")
    draws = "return [np.uint8(255 * torch.rand(32, 32).numpy()) for _ in range(num_samples)]"
    for model in (bench.add("90105_DROPOUT", noisy, latent=8, weights=weights()),
                  bench.add("90106_NO_LATENT", generating(draws))):  # fmt: skip
        together = bench.images(model, seeds=range(4))
        assert (bench.images(model, seeds=[3, 1])[[1, 0]] == together[[1, 3]]).all()
        assert (together[0] != together[1]).any()


def test_it_is_imported_read_and_built_once(bench):
    counting = NET.replace("class Net", "BUILT = []\nclass Net")
    counting = counting.replace("super().__init__()", "super().__init__(); BUILT.append(1)")
    counting = counting.replace("np.uint8(255 * image)", "np.uint8(0 * image + len(BUILT))")
    model = bench.add("90101_COUNTS", counting, latent=8, weights=weights())
    first = bench.images(model)
    for _ in range(3):
        assert (bench.images(model) == first).all()
    assert int(first.max()) == 1, "one construction, however often it is asked"


def test_the_kernel_stays_as_it_was(bench, capfd):
    def state():
        return list(sys.path), Path.cwd(), dict(os.environ), list(logging.getLogger().handlers)

    before = state()
    loud = NET + "\nprint('x' * 100)\nimport logging\nlogging.error('hm')\n"
    bench.images(bench.add("90102_LOUD", loud, latent=8, weights=weights()))
    assert state() == before
    assert not {"medigan", "models", "pkg_resources"} & {m.split(".")[0] for m in sys.modules}
    assert "xxx" not in capfd.readouterr().out


@pytest.mark.slow
def test_one_whose_cached_answer_differs_runs_uncached_and_says_so(bench, caplog):
    counts = (
        NET.replace("import time", "CALLS = []\nimport time")
        .replace("    net = Net()", "    CALLS.append(1)\n    net = Net()")
        .replace("np.uint8(255 * image)", "np.uint8(255 * image) // len(CALLS)")
    )
    model = bench.add("90104_DRIFTS", counts, latent=8, weights=weights())
    first = bench.images(model, seeds=range(3))
    assert "runs uncached" in caplog.text
    assert (bench.images(model, seeds=[2, 0])[[1, 0]] == first[[0, 2]]).all(), "a process a call"
    assert "at every call" in bench.engine().remark(model)
    assert bench.engine().remark(GOOD) == ""


def test_fast_images_are_the_same_to_within_a_grey_level(bench):
    exact = bench.images(count=40).astype(int)
    fast = bench.images(count=40, mode="fast").astype(int)
    assert np.abs(exact - fast).max() <= 1
    assert (bench.images(count=40) == exact).all(), "and exact ones stay exact"


# ---------------------------------------------------------------- what strangers' code may do


BAD = {
    "import_fails": ("raise RuntimeError('no luck')", "no luck"),
    "lacks_a_module": ("import no_such_module_xyz", "no_such_module_xyz"),
    "no_function": ("x = 1", "generate"),
    "sys_exit": (generating("sys.exit(3)"), "sys.exit: 3"),
    "os_exit": (generating("os._exit(4)"), "exit code 4"),
    "segfault": (generating("import ctypes; ctypes.string_at(0)"), "SIGSEGV"),
    "no_images": (generating("return None"), "no usable images"),
    "not_images": (generating("return [np.full((32, 32), np.nan)] * num_samples"), "not finite"),
    "closes_everything": (generating("os.closerange(0, 200)\nreturn []"), "failed"),
    "interrupt": (generating("raise KeyboardInterrupt"), "KeyboardInterrupt"),
    "memory_error": (generating("raise MemoryError"), "out of memory"),
    "garbage": (
        generating("""
            for number in range(3, 64):
                try: os.write(number, b"garbage" * 100)
                except OSError: pass
            return [np.zeros((32, 32), np.uint8)] * num_samples
        """),
        "no proper answer",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_packages_become_a_sentence_and_the_next_request_works(bench, name):
    source, said = BAD[name]
    bench.images()  # a good one is warm meanwhile
    model = bench.add(f"90200_{name.upper()}", source)
    with pytest.raises(MedganError, match=r".") as caught:
        bench.images(model)
    assert said in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)
    assert model in str(caught.value)
    assert len(bench.images()) == 2
    assert shared_workers().pid(model) is None


def test_what_it_forks_goes_with_it(bench):
    model = bench.add("90202_FORKS", generating("""
        import subprocess
        command = [sys.executable, "-c", "import time; time.sleep(600) # medgan-left-over"]
        subprocess.Popen(command)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execv(sys.executable, command)
            os._exit(0)
        time.sleep(0.5)
        return [np.zeros((32, 32), np.uint8)] * num_samples
    """))  # fmt: skip
    bench.images(model)
    end_workers(model)
    deadline = time.monotonic() + 5
    while left := [
        p for p in psutil.process_iter() if "medgan-left-over" in " ".join(command_of(p))
    ]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_one_that_takes_memory_without_end_is_ended(bench, monkeypatch):
    monkeypatch.setenv("MEDGAN_WORKER_MB", "1500")
    model = bench.add("90203_GROWS", generating("""
        kept = []
        while True: kept.append(np.ones(4_000_000)); time.sleep(0.01)
    """))  # fmt: skip
    with pytest.raises(WorkerError, match=r"more than the 1\.5 GB"):
        bench.images(model)
    assert len(bench.images()) == 2


def test_one_that_never_answers_is_ended_after_a_while(bench, monkeypatch):
    monkeypatch.setattr("medgan_widgets.medigan.client.PATIENCE", 0.5)
    model = bench.add("90204_SLEEPS", generating("time.sleep(600)"))
    with pytest.raises(WorkerError, match=r"no answer for 0\.5 s"):
        bench.images(model)
    monkeypatch.undo()


SLOW = generating("""
    a = torch.rand(600, 600)
    while True: a = (a @ a).clamp(-1, 1)  # a forward that does not end
""")


def test_cancel_is_felt_in_the_middle_of_a_forward(bench):
    model = bench.add("90205_SLOW", SLOW)
    engine = bench.ready(model)
    job = submit(lambda: engine.generate(GenerateRequest(model, seeds=[1])), owner="cancel")
    wait_for(lambda: shared_workers().pid(model) is not None)
    time.sleep(0.3)
    job.cancel()
    with pytest.raises(JobCancelled):
        job.wait(timeout=10)
    assert job.state == "cancelled"
    assert len(bench.images()) == 2


def test_a_newer_request_of_the_same_panel_replaces_one_in_a_forward(bench):
    model = bench.add("90206_SLOW", SLOW)
    engine = bench.ready(model)
    good = bench.ready(GOOD)
    old = submit(lambda: engine.generate(GenerateRequest(model, seeds=[1])), owner="panel")
    wait_for(lambda: shared_workers().pid(model) is not None)
    new = submit(lambda: good.generate(GenerateRequest(GOOD, seeds=[1])), owner="panel")
    assert len(new.wait(timeout=60)) == 1
    assert old.state == "cancelled"


def test_two_threads_share_a_worker_and_one_cancels(bench):
    engine = bench.ready(GOOD)
    expected = engine.images(GenerateRequest(GOOD, seeds=range(12)))
    found: list[np.ndarray] = []

    def ask() -> None:
        found.append(engine.images(GenerateRequest(GOOD, seeds=range(12))))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    stream = engine.generate(GenerateRequest(GOOD, seeds=range(100)))
    next(stream)
    end_workers(GOOD)  # as another panel's Cancel would
    for thread in threads:
        thread.join(timeout=60)
    assert len(found) == 3
    assert all((images == expected).all() for images in found)


def test_nothing_outlives_a_kernel_that_is_killed(bench):
    model = bench.add("90207_SLOW", SLOW)
    bench.ready(model)
    code = f"""
        import os, threading, time
        from medgan_widgets.catalogue import Catalogue
        from medgan_widgets.engine import Engine
        from medgan_widgets.medigan.client import shared_workers
        from medgan_widgets.requests import GenerateRequest
        engine = Engine(device="cpu", catalogue=Catalogue(mirror={str(bench.mirror)!r}))
        def report():
            while not shared_workers().pid({model!r}): time.sleep(0.02)
            time.sleep(0.3)
            worker = next(iter(shared_workers()._held.values()))
            print(worker.pid, worker.folder, flush=True)
        threading.Thread(target=report, daemon=True).start()
        engine.images(GenerateRequest({model!r}, seeds=[1]))
    """
    kernel = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "MEDGAN_UNATTENDED": "0"},
    )  # fmt: skip
    pid, folder = kernel.stdout.readline().split()
    left = psutil.Process(kernel.pid).children(recursive=True)
    assert int(pid) in {process.pid for process in left}
    kernel.send_signal(signal.SIGKILL)
    kernel.wait()
    wait_for(lambda: not any(lives(process.pid) for process in left), 20)
    wait_for(lambda: not Path(folder).exists(), 10)


def test_workers_that_do_not_fit_or_idle_end_least_recently_used_first(bench, monkeypatch):
    other = bench.add("90208_OTHER", NET, latent=8, weights=weights())
    slow = "import time\ntime.sleep(3)\n" + NET  # so that it is looked at while it opens
    third = bench.add("90209_THIRD", slow, latent=8, weights=weights())
    for model in (GOOD, other, GOOD):
        bench.images(model)
    monkeypatch.setattr("medgan_widgets.medigan.client.memory_limit", lambda held=0: held - 1)
    monkeypatch.setattr("medgan_widgets.medigan.client.PATIENCE", 0.0)
    with pytest.raises(MedganError):
        bench.images(third)
    monkeypatch.undo()
    assert bench.engine().resident in ((), (GOOD,)), "the one used last stays longest"
    bench.images()
    pid = shared_workers().pid(GOOD)
    monkeypatch.setattr("medgan_widgets.medigan.client.IDLE_SECONDS", 0.0)
    shared_workers()._sweep()
    wait_for(lambda: not lives(pid), 5)
    assert bench.engine().resident == ()


@pytest.mark.slow
def test_a_fork_of_the_kernel_owns_none_of_it_and_can_start_its_own(bench, monkeypatch):
    end_workers()
    monkeypatch.setattr("medgan_widgets.medigan.client.subprocess", subprocess)
    engine = bench.ready(GOOD)
    expected = engine.images(GenerateRequest(GOOD, seeds=[1]))
    pid = shared_workers().pid(GOOD)
    code = os.fork()
    if code == 0:
        try:
            mine = shared_workers().pid(GOOD) is None
            same = (engine.images(GenerateRequest(GOOD, seeds=[1])) == expected).all()
            other = shared_workers().pid(GOOD) != pid
            shared_workers().close()
            os._exit(0 if mine and same and other else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 0
    assert shared_workers().pid(GOOD) == pid
    assert (engine.images(GenerateRequest(GOOD, seeds=[1])) == expected).all()


# ---------------------------------------------------------------- requests that cannot be


def test_requests_are_checked_before_anything_runs(bench):
    model = bench.add("90299_CHECKED", NET, latent=8, weights=weights())
    engine = bench.engine()
    with pytest.raises(NotRunnableError, match="not downloaded yet"):
        engine.generate(GenerateRequest(model, seeds=[1]))
    download(model, catalogue=engine.catalogue)
    with pytest.raises(ConsentError, match="nobody agreed"):
        engine.generate(GenerateRequest(model, seeds=[1]))
    trust(model, catalogue=engine.catalogue)
    for wrong, said in [
        ({"options": {"psi": 1}}, "no option 'psi'"),
        ({"truncation_psi": 0.5}, "no truncation_psi"),
        ({"condition": {"age": 3}}, "no factor 'age'"),
    ]:
        with pytest.raises(RequestError, match=said):
            engine.generate(GenerateRequest(model, seeds=[1], **wrong))
    with pytest.raises(DataError, match="from noise"):
        engine.generate(GenerateRequest(model, seeds=[1], inputs=("a.png",)))
    assert shared_workers().pid(model) is None


def test_missing_packages_are_all_named_with_the_line_to_type(bench):
    needs = ("numpy", "no-such-one>=2", "nor-this", "Path")
    model = bench.add("90300_NEEDS", NET, dependencies=needs)
    with pytest.raises(NotRunnableError) as caught:
        bench.images(model)
    assert "no-such-one>=2, nor-this" in str(caught.value)
    assert "python -m pip install 'no-such-one>=2' nor-this" in str(caught.value)


def test_another_interpreter_that_lacks_medigan_is_told_apart(bench, tmp_path):
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    python = str(tmp_path / "bare" / "bin" / "python")
    model = bench.add("90302_OTHER", NET, latent=8, weights=weights(), dependencies=())
    engine = bench.ready(model, python=python)
    with pytest.raises(NotRunnableError, match="pip install medigan"):
        engine.images(GenerateRequest(model, seeds=[1]))
    engine = bench.ready(model, python=str(tmp_path / "nowhere"))
    with pytest.raises(MedganError, match=r"cannot be started|interpreter"):
        engine.images(GenerateRequest(model, seeds=[1]))
    engine = bench.ready(model, python=sys.executable)
    assert engine.images(GenerateRequest(model, seeds=[1])).shape == (1, 32, 32, 1)


def test_who_asks_what_is_resident_waits_for_nobody(bench, monkeypatch):
    end_workers()
    engine = bench.ready(GOOD)
    release, wait_ready = threading.Event(), Worker.wait_ready
    monkeypatch.setattr(
        Worker, "wait_ready", lambda self, stop: release.wait(20) and wait_ready(self, stop)
    )
    job = submit(lambda: engine.generate(GenerateRequest(GOOD, seeds=[1])), owner="slow start")
    time.sleep(0.2)
    begun = time.monotonic()
    assert engine.resident == ()
    assert engine.worker_pid(GOOD) is None
    assert time.monotonic() - begun < 5, "a start that takes 20 s must not hold the page"
    release.set()
    assert len(job.wait(timeout=60)) == 1


@pytest.mark.slow
def test_a_worker_may_hold_as_much_at_its_second_call_as_at_its_first(bench, monkeypatch):
    body = """
        if "HELD" not in globals():
            globals()["HELD"] = np.ones(50_000_000)  # 400 MB
        time.sleep(0.5)  # long enough to be looked at
        return [np.full((32, 32), 7, np.uint8)] * num_samples
    """
    model = bench.add("90900_LARGE", generating(body))
    engine, request = bench.ready(model), GenerateRequest(model, seeds=[1])
    engine.images(request)
    worker = psutil.Process(engine.worker_pid(model))
    held = worker.memory_info().rss

    def free() -> SimpleNamespace:
        """What is free on a machine on which this worker just fits."""
        return SimpleNamespace(available=int(2.4 * held) - worker.memory_info().rss)

    monkeypatch.setattr("medgan_widgets.medigan.client.psutil.virtual_memory", free)
    for _ in range(2):
        assert engine.images(request).max() == 7


def test_ending_a_worker_that_is_slow_to_die_holds_up_nobody(bench, monkeypatch):
    engine = bench.ready(GOOD)
    engine.images(GenerateRequest(GOOD, seeds=[1]))
    dying, release = threading.Event(), threading.Event()
    end = Worker.end

    def slow(self):
        dying.set()
        assert release.wait(20)
        end(self)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "end", slow)
        killer = threading.Thread(target=engine.release)
        killer.start()
        assert dying.wait(5)
        asked = submit_background(lambda: [engine.resident])
        try:
            assert asked.wait(5) == [()]
        finally:
            release.set()
            killer.join(20)


@pytest.mark.parametrize(
    ("device", "listed", "seen"),
    [("cuda:1", "7,3", 3), pytest.param("mps", None, 99, marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_package_sees_the_very_gpu_that_the_engine_means(
    bench, monkeypatch, device, listed, seen
):
    """Torch counts what a process may see; ``CUDA_VISIBLE_DEVICES`` counts what there is."""
    body = "return [np.full((32, 32), int(os.environ['CUDA_VISIBLE_DEVICES'] or 99), np.uint8)]"
    model = bench.add("90901_SEES", generating(f"{body} * num_samples"))
    bench.ready(model)
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    monkeypatch.setattr("medgan_widgets.engine.checked_device", torch.device)
    monkeypatch.setattr("medgan_widgets.generators.free_bytes", lambda _: 10**9)
    monkeypatch.setattr("medgan_widgets.generators.used_bytes", lambda _: 123)
    engine = bench.engine_on(device)
    request = GenerateRequest(model, seeds=[1])
    assert engine.images(request).max() == seen
    assert engine.recipe(request)["device"] == ("cuda" if seen < 99 else "cpu")
    assert engine.telemetry.usage(model).device_bytes is None, "123 is this process's, not its own"


def test_an_idle_gpu_lets_our_models_go_and_leaves_a_package_at_its_work(bench, monkeypatch):
    engine = bench.ready(GOOD)
    engine.images(GenerateRequest(GOOD, seeds=[1]))
    engine.images(GenerateRequest("phantom-mammogram", seeds=[1]))
    pid = engine.worker_pid(GOOD)
    monkeypatch.setattr("medgan_widgets.generators.IDLE_SECONDS", 0.05)
    monkeypatch.setattr(engine._local, "_device", torch.device("cuda"))
    monkeypatch.setattr(engine._local, "_empty_cache", lambda: None)
    engine._local._arm_idle()
    wait_for(lambda: engine.resident == (GOOD,))
    time.sleep(0.1)
    assert engine.worker_pid(GOOD) == pid


def test_without_forks_our_own_models_run(tmp_path):
    """As on Windows, where nothing of the kind is there."""
    program = (
        "import os, torch, medgan_widgets as mw\n"
        "del os.register_at_fork, os.fork\n"
        "engine = mw.Engine(device='cpu')\n"
        "made = engine.images(mw.GenerateRequest('phantom-mammogram', seeds=range(3)))\n"
        "print(len(made), engine.resident, engine.worker_pid('00001'), engine.release())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "3 ('phantom-mammogram',) None None", run.stderr
