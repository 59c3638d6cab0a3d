"""The process in which a stranger's package runs, by medigan's own executor.

Started by path, also by another Python: nothing of this project is imported but its two
neighbours ``resident.py`` and ``answers.py``, loaded by path as well. The kernel asks over a
pipe; a message is JSON, followed by the bytes of the arrays that it announces. Nothing is
ever unpickled: neither end trusts the other.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import types
from multiprocessing import connection as pipes
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
MESSAGE_BYTES = 2**20
ARRAY_BYTES = 2**31


def send(connection: Any, message: dict[str, Any], arrays: Any = ()) -> None:
    """Send a message with its arrays."""
    announced = [[array.dtype.str, array.shape] for array in arrays]
    connection.send_bytes(json.dumps({**message, "arrays": announced}).encode())
    for array in arrays:
        connection.send_bytes(array.tobytes())


def receive(connection: Any, dtypes: Any = None) -> tuple[dict[str, Any], list[Any]]:
    """Return the next message and its arrays, whose dtypes may be limited."""
    message = json.loads(connection.recv_bytes(MESSAGE_BYTES))
    arrays = []
    for dtype, shape in message.pop("arrays"):
        if dtypes is not None and dtype not in dtypes:
            raise ValueError(f"an array of {dtype!r}")
        data = connection.recv_bytes(ARRAY_BYTES)
        arrays.append(np.frombuffer(data, dtype).reshape(shape))
    return message, arrays


class Package:
    """A package in this process: imported once by medigan, called again and again."""

    def __init__(self, order: dict[str, Any]) -> None:
        import torch

        self.torch, self.spec, self.order = torch, order["spec"], order
        self.resident, self.answers = _neighbour("resident"), _neighbour("answers")
        work = Path(order["work"])
        os.environ["CUDA_VISIBLE_DEVICES"] = str(order["visible"])
        (work / "tmp").mkdir(exist_ok=True)
        for name in ("TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
            os.environ[name] = str(work / "tmp")
        os.chdir(work)
        sys.path.insert(0, str(work))
        torch.set_num_threads(int(order["threads"]))
        self.resident.guard_loading(bool(order["pickle"]))
        self.resident.seed_everything(0)  # some draw when they are imported
        self.executor = self._imported()
        self.latent = self._latent_name()
        self._kept: dict[str, Any] = {}  # class -> what its calls left
        self._calls = 0
        self._ways: dict[int, str] = {}  # images in a call -> the quickest way

    def _imported(self) -> Any:
        model_id, entry = self.spec["model_id"], self.spec["entry"]
        try:
            return _executor()(model_id, entry, download_package=False)
        except (ImportError, AttributeError):
            # medigan hides what is missing inside the package behind its own fallback.
            name = f"models.{model_id}.{entry['package_name']}"
            if (Path("models") / model_id / entry["package_name"] / "__init__.py").exists():
                importlib.import_module(name)
            raise

    def _latent_name(self) -> str | None:
        """Which argument takes a latent: medigan's usual one, or ``z``."""
        if not self.spec["latent"]:
            return None
        call = getattr(self.executor.deserialized_model_as_lib, self.executor.generate_method_name)
        names = inspect.signature(call).parameters
        for name in ("input_latent_vector", "z"):
            if name in names:
                return name
        free = any(p.kind is p.VAR_KEYWORD for p in names.values())
        return "input_latent_vector" if free else None

    def look(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Call it once for each class; return a digest of each image, and the spans of values.

        A class that raised has no digests, unless ``must`` lets the error through.
        """
        found: dict[str, Any] = {"rows": {}, "draws": False, "spans": {}, "size": None}
        found["latent"] = self.latent is not None
        for kind in message["kinds"]:
            name = kind["class"]
            found["rows"][name] = None
            try:
                rows, draws = self._call({**message, **kind}, latents, cached=message["cached"])
            except Exception:  # a stranger's code raises anything
                if message["must"]:
                    raise
                traceback.print_exc()
                continue
            found["rows"][name] = [_digest(row) for row in rows]
            found["draws"] = found["draws"] or draws
            found["size"] = found["size"] or rows[0]["image"].shape
            for name, picture in (item for row in rows for item in _pictures(row).items()):
                found["spans"].setdefault(name, []).append(self.answers.span_of(picture))
        return found

    def make(self, message: dict[str, Any], latents: Any) -> tuple[dict[str, Any], list[Any]]:
        """Return one row for each seed, and the arrays they point to."""
        how, scales = self._quickest(message, latents), message["known"]["scales"]
        rows, _ = self._call(message, latents, cached=message["known"]["cached"], how=how)
        arrays: list[Any] = []
        plain = []
        for row in rows:
            index, clipped = {}, 0
            for name, picture in _pictures(row).items():
                # A further picture that no fixed call gave has only itself to go by.
                scale = scales.get(name) or self.answers.scale_of(
                    [self.answers.span_of(picture)], mask=name == "mask"
                )
                pixels, outside = self.answers.to_pixels(picture, scale)
                index[name] = len(arrays)
                arrays.append(pixels)
                clipped += outside
            plain.append({
                "image": index.pop("image"), "mask": index.pop("mask", None),
                "others": {name[1:]: at for name, at in index.items()},
                "label": row["label"], "clipped": clipped,
            })  # fmt: skip
        return {"rows": plain}, arrays

    def _quickest(self, message: dict[str, Any], latents: Any) -> str:
        """Return the quickest way of computing the same to within one grey level."""
        known = message["known"]
        cpu = self.order["device"] == "cpu"
        if not (message["fast"] and known["cached"] and cpu) or known["alone"]:
            return "as it is"
        ask = min(int(message["ask"]), 4)
        if ask not in self._ways:
            asked = {**message, "count": ask, "ask": ask}
            z = None if latents is None else latents[:ask]
            seconds, exact = {}, None
            for how in ("as it is", "plain", "channels_last"):
                try:
                    self._call(asked, z, cached=True, how=how)
                    began = time.process_time()
                    rows, _ = self._call(asked, z, cached=True, how=how)
                    taken = time.process_time() - began
                except Exception:  # a way that this package cannot go
                    continue
                pixels = [self.answers.to_pixels(row["image"], known["scales"]["image"])[0]
                          .astype(np.int32) for row in rows]  # fmt: skip
                exact = exact or pixels
                if all(np.abs(a - b).max() <= 1 for a, b in zip(exact, pixels)):  # noqa: B905, new in 3.10
                    seconds[how] = taken
            self._ways[ask] = min(seconds, key=lambda how: seconds[how])
        return self._ways[ask]

    def _call(
        self, message: dict[str, Any], latents: Any, *, cached: bool, how: str = "as it is"
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return the rows of one call, and whether it drew random numbers beyond its latents."""
        torch, name = self.torch, message["class"]
        kept = self._kept.setdefault(name, self.resident.Resident(self.order["work"]))
        kept.use_format(how)
        count, arguments = int(message["count"]), dict(message["arguments"])
        if latents is not None and self.latent:
            z = torch.from_numpy(latents.copy()).reshape(*latents.shape, 1, 1)
            z = z.to(torch.get_default_dtype())  # as torch.randn would give it here
            arguments[self.latent] = z if self.order["device"] == "cpu" else z.to("cuda:0")
        self._calls += 1
        folder = Path("output") / str(self._calls)
        self.resident.seed_everything(int(message["seed"]))
        before = self.resident.random_state()
        with contextlib.ExitStack() as during:
            during.enter_context(kept.call(cached=cached))
            if cached:
                during.enter_context(torch.no_grad())
            if how == "plain":
                during.enter_context(torch.backends.mkldnn.flags(enabled=False))
            answer = self.executor.generate(
                num_samples=int(message["ask"]), output_path=f"{folder}/", save_images=False,
                **arguments,
            )  # fmt: skip
        draws = self.resident.random_state() != before
        outputs, gives = tuple(self.spec["outputs"]), tuple(self.spec["gives"])
        try:
            if answer is None:
                rows = self.answers.rows_in_files(folder, count, outputs)
            else:
                rows = self.answers.rows_of(answer, count, outputs, gives)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return rows, draws


def _pictures(row: dict[str, Any]) -> dict[str, Any]:
    """Return all arrays of a row by name; those besides image and mask begin with a plus."""
    mask = {} if row["mask"] is None else {"mask": row["mask"]}
    return {"image": row["image"], **mask, **{f"+{n}": other for n, other in row["others"].items()}}


def _digest(row: dict[str, Any]) -> str:
    whole = hashlib.sha256(repr(row["label"]).encode())
    for name, picture in _pictures(row).items():
        whole.update(f"{name} {picture.dtype.str} {picture.shape}".encode())
        whole.update(picture.tobytes())
    return whole.hexdigest()


# ---------------------------------------------------------------- medigan on the Python of today


def _executor() -> Any:
    """Return medigan's executor, with what newer setuptools and Pythons lack."""
    if "medigan" in sys.modules:
        return importlib.import_module("medigan.execute_model.model_executor").ModelExecutor
    if importlib.util.find_spec("pkg_resources") is None:
        stub: Any = types.ModuleType("pkg_resources")
        stub.require = lambda *_: []
        stub.parse_version = lambda text: importlib.import_module("packaging.version").parse(text)
        sys.modules["pkg_resources"] = stub
    if importlib.util.find_spec("distutils") is None:
        tools: Any = types.ModuleType("distutils.dir_util")
        tools.copy_tree = lambda src, dst, **_: shutil.copytree(src, dst, dirs_exist_ok=True)
        sys.modules.update({"distutils": types.ModuleType("distutils"), tools.__name__: tools})
    # Its __init__ would also import a plotting library and a GitHub client, for a second.
    spec = importlib.util.find_spec("medigan")
    if spec is None:
        raise ModuleNotFoundError("No module named 'medigan'")
    package: Any = types.ModuleType("medigan")
    package.__path__ = spec.submodule_search_locations
    sys.modules["medigan"] = package
    return importlib.import_module("medigan.execute_model.model_executor").ModelExecutor


def _neighbour(name: str) -> Any:
    """Load a file beside this one under a name that no package uses."""
    known = f"_medgan_{name}"
    if known not in sys.modules:
        spec: Any = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


# ---------------------------------------------------------------- answering the kernel


def serve(connection: Any) -> None:
    """Answer the kernel until it hangs up."""
    package: Any = None
    while True:
        try:
            message, arrays = receive(connection)
        except (EOFError, OSError):
            return
        latents = arrays[0] if arrays else None
        answer: dict[str, Any] = {}
        made: list[Any] = []
        try:
            if message["do"] == "open":
                package = Package(message)
            elif message["do"] == "look":
                answer = package.look(message, latents)
            else:
                answer, made = package.make(message, latents)
            send(connection, {"kind": "answer", "answer": answer}, made)
        except BaseException as error:  # a package may also raise SystemExit
            send(connection, _failure(error))
            gc.collect()


def _failure(error: BaseException) -> dict[str, Any]:
    try:
        text = " ".join(str(error).split())[:500]
    except Exception:  # even that may fail
        text = "no text"
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    return {
        "kind": "error", "type": type(error).__name__, "text": text,
        "trace": traceback.format_exc()[-8000:],
        "missing": missing if isinstance(missing, str) else None,
    }  # fmt: skip


def _leave(folder: str) -> None:
    """End with all that the package started, and leave no files behind."""
    with contextlib.suppress(Exception):  # psutil may lack here, and the folder goes all the same
        psutil: Any = importlib.import_module("psutil")
        for process in psutil.Process().children(recursive=True):
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError, AttributeError):
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _leave_with(parent: int, folder: str) -> None:
    """Leave once the kernel is gone, however it ended, also in the middle of a forward."""
    while os.getppid() == parent:
        time.sleep(0.3)
    _leave(folder)


def main(handle: int, parent: int, folder: str) -> None:
    """Import what every package needs, say so, then answer."""
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]
    threading.Thread(target=_leave_with, args=(parent, folder), daemon=True).start()
    with contextlib.suppress(OSError):  # if memory runs out, this is what should go
        Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            # PR_SET_CHILD_SUBREAPER: a package's daemons stay below this process.
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    kind: Any = getattr(pipes, "PipeConnection", None) or pipes.Connection
    connection = kind(handle)
    _executor()
    for name in ("resident", "answers"):
        _neighbour(name)
    import torch

    versions = {"python": sys.version.split()[0], "torch": torch.__version__}
    versions |= {name: importlib.metadata.version(name) for name in ("numpy", "medigan")}
    send(connection, {"kind": "answer", "answer": versions})
    try:
        serve(connection)
    finally:
        _leave(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
