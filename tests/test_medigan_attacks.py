"""What packages keep, change and hide between calls, and how they try to get round consent."""

from __future__ import annotations

import hashlib
import os
import pickle
import signal
import textwrap
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from medgan_widgets import trust
from medgan_widgets.errors import ConsentError, DataError, JobCancelled, MedganError
from medgan_widgets.exporting import export, restore, save_png
from medgan_widgets.jobs import submit
from medgan_widgets.medigan.client import end_workers, shared_workers
from medgan_widgets.requests import GenerateRequest
from tests.medigan_bench import GOOD, NET, generating, lives, new_kernel, wait_for, weights


def package(body: str, before: str = "", arguments: str = "") -> str:
    """A package around the bench's network, with ``body`` after its weights are in."""
    head, _ = NET.split("def generate(")
    return f"""{head}
{textwrap.dedent(before)}
def generate(model_file, num_samples, output_path, save_images, input_latent_vector=None,
             {arguments}**kwargs):
    z = input_latent_vector
    net = Net()
    net.load_state_dict(torch.load(model_file, map_location="cpu"))
{textwrap.indent(textwrap.dedent(body), "    ")}
    return [np.uint8(np.clip(255 * image, 0, 255)) for image in x.detach().numpy()]
"""


KEEPS = {
    "random first weights": package(
        "extra = Extra(); x = net(z) * 0.5 + 0.3 * extra.w",
        """
        class Extra(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.rand(32, 32))
        """,
    ),
    "noise kept in a global": package(
        "global KEPT\nKEPT = torch.rand(32, 32) if KEPT is None else KEPT\nx = (net(z) + KEPT) / 2",
        "KEPT = None",
    ),
    "mean of the first latents": package(
        "global KEPT\nKEPT = z.mean() if KEPT is None else KEPT\nx = net(z) + KEPT", "KEPT = None"
    ),
    "noise at import": package("x = (net(z) + NOISE) / 2", "NOISE = torch.rand(32, 32)"),
    "numpy noise at import": package(
        "x = (net(z) + torch.from_numpy(NOISE).float()) / 2", "NOISE = np.random.rand(32, 32)"
    ),
    "order of a set": package("x = net(z) * (1 + list({'a', 'b', 'c', 'd'}).index('a')) / 4"),
    "levels of the whole call": package("x = net(z); x = (x - x.min()) / (x.max() - x.min())"),
    "batch norm that trains": package(
        "net.train(); x = net(z); x = x - x.mean(0, keepdim=True) * (len(x) > 1)"
    ),
    "two of one class": package(
        "b = Net(); b.load_state_dict({k: -v for k, v in net.state_dict().items()})\n"
        "x = (net(z) + b(z) * 0.5) / 1.5"
    ),
    "hooks": package("net.register_forward_hook(lambda m, i, o: o * 0.9); x = net(z)"),
    "data behind its back": package("net.decode.bias.data += 0.1; x = net(z)"),
    "another folder": package("os.chdir('/'); x = net(z)", "import os"),
}  # fmt: skip


# These run always; the rest, which need a process for each call or two, beside.
ALWAYS = {"two of one class", "levels of the whole call"}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in KEEPS],
)
def test_a_seed_is_its_image_whatever_a_package_keeps(bench, name):
    model = bench.add("95000_KEEPS", KEEPS[name], latent=8, weights=weights())
    first = bench.images(model, seeds=range(6))
    for seeds in ([5], [9, 2], [4, 0, 1]):
        made = bench.images(model, seeds=seeds)
        for place, seed in enumerate(seeds):
            if seed < 6:
                assert (made[place] == first[seed]).all(), (seeds, seed)
    end_workers()  # a new process, with what was found out before
    assert (bench.images(model, seeds=[3])[0] == first[3]).all()
    new_kernel()
    assert (bench.images(model, seeds=[1, 4]) == first[[1, 4]]).all()


CLASSES = {
    "bias": "net.decode.bias.data.add_(0.3)",
    "hook": "net.register_forward_hook(lambda m, i, o: o * 0.5)",
    "draws": "torch.rand(1); z = z * torch.rand(len(z), 1, 1, 1)",
}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name", [pytest.param("bias"), *(pytest.param(n, marks=SLOW) for n in ("hook", "draws"))]
)
def test_no_class_leaves_traces_in_another(bench, name):
    body = f"if condition:\n    {CLASSES[name]}\nx = net(z)"
    model = bench.add(
        "95001_CLASSES", package(body, arguments="condition=None, "), latent=8, weights=weights(),
        condition={"lesion": {"no": 0, "yes": 1}},
    )  # fmt: skip

    def asked(value: str, seeds=(0, 1, 2)) -> np.ndarray:
        return bench.images(model, seeds=seeds, condition={"lesion": value})

    no, yes = asked("no"), asked("yes")
    assert (no != yes).any()
    for _ in range(2):
        assert (asked("yes", [2, 0])[[1, 0]] == yes[[0, 2]]).all()
        assert (asked("no", [1])[0] == no[1]).all()


OPTIONS = {
    "turned round": ("if scale == 2: net.decode.weight.data.neg_()\nx = net(z)", ""),
    "a global": ("S[0] = max(S[0], scale)\nx = net(z) / S[0]", "S = [0]"),
    "default dtype": (
        "if scale == 2: torch.set_default_dtype(torch.float64)\nx = net(z) / scale",
        "",
    ),
}


@pytest.mark.parametrize(
    "name", ["a global", *(pytest.param(n, marks=SLOW) for n in ("turned round", "default dtype"))]
)
def test_no_option_leaves_traces_in_another(bench, name):
    body, before = OPTIONS[name]
    model = bench.add(
        "95002_OPTIONS", package(body, before, "scale=1, "), latent=8, weights=weights(),
        options={"scale": 1},
    )  # fmt: skip
    plain = bench.images(model)
    bench.images(model, options={"scale": 2})
    assert (bench.images(model) == plain).all()


# ---------------------------------------------------------------- consent


class Evil:
    """Runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


WAYS = {
    "by name": "from torch import load\n"
    + generating("load(model_file, weights_only=False)\nreturn []"),
    "by module": generating("torch.serialization.load(model_file, weights_only=False)\nreturn []"),
    "at import": "import torch, os\n"
    "torch.load(os.path.join(os.path.dirname(__file__), 'weights.pt'), weights_only=False)\n"
    + generating("return []"),
    "from bytes": generating(
        "import io\ndata = io.BytesIO(open(model_file, 'rb').read())\n"
        "torch.load(data, weights_only=False)\nreturn []"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_of_loading_gets_round_the_second_yes(bench, tmp_path, way):
    marker = tmp_path / "it ran"
    model = bench.add("95100_PICKLE", WAYS[way], weights=pickle.dumps(Evil(marker)))
    with pytest.raises(ConsentError, match="pickle=True"):
        bench.images(model)
    assert not marker.exists()


def test_a_yes_to_pickles_taken_back_counts_at_once(bench):
    whole = generating(
        "torch.load(model_file)\nreturn [np.zeros((32, 32), np.uint8)] * num_samples"
    )
    model = bench.add("95101_BACK", whole, weights=pickle.dumps({"a": object}))
    engine = bench.ready(model, pickle=True)
    with pytest.raises(MedganError):  # agreed to; what is in it is no torch file
        engine.images(GenerateRequest(model, seeds=[1]))
    trust(model, catalogue=engine.catalogue)
    with pytest.raises(ConsentError, match="pickle=True"):
        engine.images(GenerateRequest(model, seeds=[1]))


def test_what_runs_is_the_copy_that_was_checked(bench):
    large = f"# {os.urandom(3 * 2**20).hex()}\nVALUE = 7\n"
    late = generating("""
        time.sleep(float(os.environ.get("NEVER", 0)))
        from .late import VALUE
        return [np.full((32, 32), VALUE, np.uint8)] * num_samples
    """)
    model = bench.add(
        "95102_LATE", late, package="late_code", files={"late_code/late.py": large.encode()}
    )
    engine, request = bench.ready(model), GenerateRequest(model, seeds=[1])
    assert engine.images(request).max() == 7
    inside = next((Path(os.environ["MEDGAN_HOME"]) / "cache").rglob("late.py"))
    worker = next(one for key, one in shared_workers()._held.items() if key[0] == model)
    copy = next(Path(worker.folder).rglob("late.py"))
    assert not copy.is_symlink(), "code is copied, however large"
    inside.write_text(large.replace("VALUE = 7", "VALUE = 77"))
    assert engine.images(request).max() == 7
    end_workers(model)
    with pytest.raises(ConsentError, match="not those that were agreed to"):
        engine.images(request)
    assert shared_workers().pid(model) is None, "no empty worker stays"


# ---------------------------------------------------------------- life and death


def test_a_worker_that_dies_while_nobody_asks_is_replaced(bench):
    expected = bench.images()
    pid = shared_workers().pid(GOOD)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not lives(pid), 5)
    assert (bench.images() == expected).all()


def test_who_waits_for_somebody_elses_forward_can_still_be_cancelled(bench):
    model = bench.add(
        "95200_SLOW", generating("time.sleep(8)\nreturn [np.zeros((32, 32), np.uint8)]")
    )
    engine = bench.ready(model)

    def ask() -> None:
        with suppress(MedganError):
            engine.images(GenerateRequest(model, seeds=[1]))

    threading.Thread(target=ask, daemon=True).start()
    wait_for(lambda: shared_workers().pid(model) is not None)
    time.sleep(0.3)
    job = submit(lambda: engine.generate(GenerateRequest(model, seeds=[2])), owner="waits")
    time.sleep(0.3)
    begun = time.monotonic()
    job.cancel()
    with pytest.raises(JobCancelled):
        job.wait(timeout=10)
    assert time.monotonic() - begun < 3
    end_workers(model)


def test_jobs_work_in_a_fork_too():
    submit(lambda: iter([1]), owner="before").wait()
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if submit(lambda: iter([2]), owner="inside").wait(timeout=20) == [2] else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_pipe_is_no_source_image(bench, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    model = bench.add("95201_INPUT", generating("return []"), options={"input_path": None})
    with pytest.raises(DataError, match="no file"):
        bench.images(model, inputs=[tmp_path / "pipe.png"])


def test_a_model_without_samples_is_probed_with_the_first_source(bench, tmp_path):
    from PIL import Image

    reads = generating("""
        from PIL import Image
        names = sorted(os.listdir(kwargs["input_path"]))
        return [np.asarray(Image.open(os.path.join(kwargs["input_path"], n))) for n in names]
    """)
    model = bench.add("95202_INPUT", reads, options={"input_path": None})
    for n in (40, 90):
        Image.new("L", (32, 32), n).save(tmp_path / f"{n}.png")
    made = bench.images(model, count=3, inputs=[tmp_path / "40.png", tmp_path / "90.png"])
    assert made[:, 0, 0, 0].tolist() == [40, 90, 40]


def test_what_leaves_names_no_source_image_and_is_made_again_from_it(bench, tmp_path):
    from PIL import Image

    reads = generating("""
        from PIL import Image
        names = sorted(os.listdir(kwargs["input_path"]))
        return [np.asarray(Image.open(os.path.join(kwargs["input_path"], n))) for n in names]
    """)
    model = bench.add("95204_INPUT", reads, options={"input_path": None})
    place = tmp_path / "scans"
    place.mkdir()
    sources = [place / "DOE_JANE.png", place / "ROE_RICHARD.png"]
    for n, source in enumerate(sources):
        Image.new("L", (32, 32), 40 + n).save(source)
    request = GenerateRequest(model, seeds=range(3), inputs=sources)
    engine = bench.ready(model)
    zipped = export(request, tmp_path / "all", engine=engine, runs=tmp_path)
    done = export(request, tmp_path / "one", format="png", engine=engine, runs=tmp_path)
    with zipfile.ZipFile(zipped.path) as archive:
        left = [*archive.namelist(), *(archive.read(name) for name in archive.namelist())]
    left += [done.report_path.read_bytes(), *(file.read_bytes() for file in done.path.iterdir())]
    told = [text if isinstance(text, str) else text.decode("latin-1") for text in left]
    for source in sources:
        digest = hashlib.sha256(source.read_bytes()).hexdigest()
        assert not [text for text in told if source.stem in text or digest[:12] in text]
    assert not [name for name in told[:9] if "_source" in name], "a person's own image stays"
    second = sorted(done.path.glob("*.png"))[1]
    assert restore(second, inputs=[place]).inputs == (str(sources[1]),)
    again = engine.images(restore(second, inputs=sources))
    assert again[0, 0, 0, 0] == 41
    for given in ((), sources[:1]):
        with pytest.raises(DataError, match=r"1 of 1 were not given: image .* a folder that holds"):
            restore(second, inputs=given)
    digest = hashlib.sha256(sources[0].read_bytes()).hexdigest()
    recipe = {"model_id": "m", "seeds": [1], "inputs": [{"name": "old.png", "sha256": digest}]}
    before = save_png(np.zeros((4, 4), np.uint8), recipe, tmp_path)
    assert restore(before, inputs=sources).inputs == (str(sources[0]),)
    with pytest.raises(DataError, match=r"old\.png"):
        restore(before)


def test_errors_of_strangers_are_one_plain_line(bench):
    model = bench.add("95203_ODD", generating("""
        raise ModuleNotFoundError("no\\nway \\x1b[31m", name="a\\nb<b>")
    """))  # fmt: skip
    with pytest.raises(MedganError) as caught:
        bench.images(model)
    assert str(caught.value).isprintable()
