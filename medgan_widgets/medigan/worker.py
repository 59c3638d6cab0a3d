"""The process in which a stranger's package runs: medigan's own executor, and a wire to the kernel.

Started by path, also by another Python: nothing of this project is imported but
its two neighbours ``warm.py`` and ``answers.py``, loaded by path as well. As a
*zygote* it imports torch and medigan once and forks a worker in a moment
whenever the kernel asks; when the kernel's end of its socket closes, it ends
all of them, however the kernel ended.

A message is four bytes of length, JSON, then the bytes of the arrays that the
JSON announces. Nothing is ever unpickled: the worker is not to be trusted.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import importlib.util
import json
import logging
import os
import select
import shutil
import signal
import socket
import struct
import sys
import time
import traceback
import types
from pathlib import Path
from typing import Any

HEADER = struct.Struct(">I")
SMALL = 4 * 2**20  # bytes; larger files of a package are linked, not copied
HERE = Path(__file__).resolve().parent


class Wire:
    """Messages over two file descriptors, which may be the same socket.

    ``wait`` is called before each piece, and returns once there is something to do.
    """

    def __init__(self, reads: int, writes: int, wait: Any = None) -> None:
        self._reads, self._writes = reads, writes
        self._wait = wait or (lambda: None)

    def receive(self) -> tuple[dict[str, Any], list[Any]]:
        """Return the next message and its arrays; EOFError when the other end is gone."""
        import numpy as np

        (size,) = HEADER.unpack(self.read(HEADER.size))
        message = json.loads(bytes(self.read(size)))
        arrays = []
        for dtype, shape in message.pop("arrays", []):
            count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            arrays.append(np.frombuffer(self.read(count), dtype).reshape(shape))
        return message, arrays

    def send(self, message: dict[str, Any], arrays: list[Any] | tuple[Any, ...] = ()) -> None:
        """Send a message with its arrays."""
        message = {**message, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
        text = json.dumps(message).encode()
        self._write(HEADER.pack(len(text)) + text)
        for array in arrays:
            self._write(array.tobytes())

    def read(self, count: int) -> bytearray:
        """Return so many bytes; EOFError when the other end is gone."""
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            self._wait()
            part = os.read(self._reads, min(count - done, 2**20))
            if not part:
                raise EOFError
            view[done : done + len(part)] = part
            done += len(part)
        return data

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            self._wait()
            view = view[os.write(self._writes, view[: 2**16]) :]


# ---------------------------------------------------------------- medigan on the Python of today


def mend_imports() -> None:
    """Give medigan 1.0.0 what newer setuptools and Pythons lack; only in this process."""
    try:
        importlib.import_module("pkg_resources")
    except ImportError:
        stub: Any = types.ModuleType("pkg_resources")
        stub.require = lambda *_: []
        stub.DistributionNotFound = type("DistributionNotFound", (Exception,), {})
        stub.VersionConflict = type("VersionConflict", (Exception,), {})
        stub.parse_version = _version
        stub.get_distribution = _distribution
        sys.modules["pkg_resources"] = stub
    try:
        importlib.import_module("distutils.dir_util")
    except ImportError:
        outer, inner = types.ModuleType("distutils"), types.ModuleType("distutils.dir_util")
        inner.copy_tree = _copy_tree  # type: ignore[attr-defined]
        outer.dir_util = inner  # type: ignore[attr-defined]
        sys.modules.update({"distutils": outer, "distutils.dir_util": inner})


def mend_medigan() -> None:
    """Import medigan's executor, and let its data loaders work with torch 2."""
    importlib.import_module("medigan.execute_model.model_executor")
    generators: Any = importlib.import_module("medigan.generators")
    loader = generators.DataLoader

    def mended(*args: Any, prefetch_factor: Any = None, **kwargs: Any) -> Any:
        if kwargs.get("num_workers"):
            kwargs["prefetch_factor"] = prefetch_factor
        return loader(*args, **kwargs)

    generators.DataLoader = mended


def _version(text: str) -> Any:
    version: Any = importlib.import_module("packaging.version")
    return version.parse(text)


def _distribution(name: str) -> Any:
    metadata: Any = importlib.import_module("importlib.metadata")
    return types.SimpleNamespace(project_name=name, version=metadata.version(name))


def _copy_tree(src: str, dst: str, **_: Any) -> list[str]:
    shutil.copytree(src, dst, dirs_exist_ok=True)
    return [str(path) for path in Path(dst).rglob("*") if path.is_file()]


def _neighbour(name: str) -> Any:
    """Load a file beside this one under a name that no package uses."""
    known = f"_medgan_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[known] = module
        spec.loader.exec_module(module)
    return sys.modules[known]


# ---------------------------------------------------------------- one package


class Runner:
    """A package in this process: imported once, called again and again."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.spec, self.order = order["spec"], order
        self.warm, self.answers = _neighbour("warm"), _neighbour("answers")
        self._calls = 0
        work = Path(order["work"])
        os.environ["CUDA_VISIBLE_DEVICES"] = str(order["visible"])
        for name in ("TMPDIR", "XDG_CACHE_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
            (work / "tmp").mkdir(exist_ok=True)
            os.environ[name] = str(work / "tmp")
        lay_out(Path(order["package"]), work / "models" / self.spec["model_id"])
        os.chdir(work)
        sys.path[:] = [str(work), *(p for p in sys.path if p not in ("", str(HERE)))]
        self._threads()
        self.memo = self.warm.Memo(str(work / "models"), pickle=bool(order["pickle"]))
        self.executor = self._imported()
        self.known: dict[str, Any] = {"warm": False, "alone": True, "scale": None, "latent": None}

    def _threads(self) -> None:
        import torch

        torch.set_num_threads(int(self.order["threads"]))

    def _imported(self) -> Any:
        model_id, entry = self.spec["model_id"], self.spec["entry"]
        executors: Any = importlib.import_module("medigan.execute_model.model_executor")
        try:
            return executors.ModelExecutor(model_id, entry, download_package=False)
        except (ImportError, AttributeError):
            # medigan hides what is missing inside the package behind its own fallback.
            name = f"models.{model_id}.{entry['package_name']}"
            if (Path("models") / model_id / entry["package_name"] / "__init__.py").exists():
                importlib.import_module(name)
            raise

    # ------------------------------------------------------------ answers

    def probe(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Call it cold and warm with the same fixed seeds; note what may be relied upon.

        A package whose warm answer differs from the cold one runs cold; one whose
        cold answers differ gets a new process for each call. One that
        draws random numbers beyond its latent, or whose images depend on their
        place or company in a call, makes one image a call.
        """
        known = self.known
        known["latent"] = self._latent_name()
        cold, draws = self._call(message, latents, reuse=False)
        known["scale"] = self.answers.scale_of([row["image"] for row in cold])
        known["alone"] = draws or known["latent"] is None
        warm, _ = self._tried(message, latents)
        known["warm"] = warm is not None and _same(cold, warm)
        if not known["warm"]:  # does it even agree with itself?
            again, _ = self._call(message, latents, reuse=False)
            known["fresh"] = not _same(cold, again)
            known["alone"] = known["alone"] or known["fresh"]
        if not known["alone"] and len(cold) > 1:
            turned = latents[::-1].copy()
            turned[len(turned) // 2] = latents[0] / 2  # other company
            seen, _ = self._tried(message, turned)
            last = None if seen is None else seen[-1:]
            known["alone"] = last is None or not _same(cold[:1], last)
        return known

    def probe_fast(self, message: dict[str, Any], latents: Any) -> dict[str, Any]:
        """Find the quickest way of computing the same to within one grey level."""
        found = {}
        for ask in (1, int(message["ask"])):
            asked = {**message, "count": ask, "ask": ask}
            z = None if latents is None else latents[:ask]
            seconds = {}
            for how in ("as it is", "plain", "channels_last"):
                try:
                    self._call(asked, z, reuse=True, how=how)
                    begun = time.process_time()
                    rows, _ = self._call(asked, z, reuse=True, how=how)
                    taken = time.process_time() - begun
                except Exception:
                    continue
                if how == "as it is":
                    plain = rows
                if self._near(plain, rows):
                    seconds[how] = taken
            found[str(ask)] = min(seconds, key=lambda how: seconds[how])
        self.known["fast"] = found
        return self.known

    def _near(self, one: list[dict[str, Any]], two: list[dict[str, Any]]) -> bool:
        import numpy as np

        scale = self.known["scale"] or "byte"
        levels = [
            [self.answers.to_pixels(row["image"], scale).astype(np.int32) for row in rows]
            for rows in (one, two)
        ]
        return all(np.abs(a - b).max() <= 1 for a, b in zip(*levels))  # noqa: B905

    def _how(self, message: dict[str, Any]) -> str:
        ways = self.known.get("fast") or {}
        if not message.get("fast") or not self.known["warm"]:
            return "as it is"
        return str(
            ways.get("1" if message["ask"] == 1 else max(ways, key=int, default="1"), "as it is")
        )

    def _tried(
        self, message: dict[str, Any], latents: Any
    ) -> tuple[list[dict[str, Any]] | None, bool]:
        try:
            return self._call(message, latents, reuse=True)
        except Exception:  # it runs cold, then, and its card says so
            traceback.print_exc()
            return None, False

    def make(self, message: dict[str, Any], latents: Any) -> tuple[dict[str, Any], list[Any]]:
        """Return one row for each seed, and the arrays they point to."""
        rows, _ = self._call(message, latents, reuse=self.known["warm"], how=self._how(message))
        arrays: list[Any] = []
        scale = self.known["scale"] or "byte"

        def sent(array: Any) -> int:
            arrays.append(array)
            return len(arrays) - 1

        plain = [
            {
                "image": sent(self.answers.to_pixels(row["image"], scale)),
                "mask": None if row["mask"] is None else sent(self.answers.to_mask(row["mask"])),
                "others": {
                    name: sent(self.answers.to_pixels(other, self.answers.scale_of([other])))
                    for name, other in row["others"].items()
                },
                "label": row["label"],
            }
            for row in rows
        ]
        return {"kind": "rows", "rows": plain}, arrays

    def _call(
        self, message: dict[str, Any], latents: Any, *, reuse: bool, how: str = "as it is"
    ) -> tuple[list[dict[str, Any]], bool]:
        import torch

        self.memo.lay_out(how)
        library = torch.backends.mkldnn.flags(enabled=False) if how == "plain" else None

        count, ask = int(message["count"]), int(message["ask"])
        arguments = dict(message["arguments"])
        if latents is not None and self.known["latent"]:
            z = torch.from_numpy(latents.copy()).reshape(*latents.shape, 1, 1)
            if self.order["device"] != "cpu":
                z = z.to("cuda:0")
            arguments[self.known["latent"]] = z
        self._calls += 1
        folder = Path("output") / str(self._calls)
        self.warm.seed_everything(int(message["seed"]))
        before = self.warm.random_state()
        grad = torch.no_grad() if reuse else contextlib.nullcontext()
        with self.memo.call(reuse=reuse), grad, library or contextlib.nullcontext():
            answer = self.executor.generate(
                num_samples=ask, output_path=f"{folder}/", save_images=False, **arguments
            )
        draws = self.warm.random_state() != before
        outputs, gives = tuple(self.spec["outputs"]), tuple(self.spec["gives"])
        try:
            if answer is None:
                rows = self.answers.rows_in_files(folder, count, outputs)
            else:
                rows = self.answers.rows_of(answer, count, outputs, gives)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return rows, draws

    def _latent_name(self) -> str | None:
        """Which argument takes a latent: medigan's usual one, or ``z``."""
        import inspect

        if not self.spec["latent"]:
            return None
        call = getattr(self.executor.deserialized_model_as_lib, self.executor.generate_method_name)
        names = inspect.signature(call).parameters
        for name in ("input_latent_vector", "z"):
            if name in names:
                return name
        free = any(p.kind is p.VAR_KEYWORD for p in names.values())
        return "input_latent_vector" if free else None


def lay_out(package: Path, place: Path) -> None:
    """Put a package where medigan looks for it; code is copied, weights are linked."""
    for path in sorted(package.rglob("*")):
        target = place / path.relative_to(package)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.name != ".complete":
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size > SMALL:
                try:
                    target.symlink_to(path)
                    continue
                except OSError:  # Windows without the right to link
                    pass
            shutil.copyfile(path, target)


def _same(cold: list[dict[str, Any]], warm: list[dict[str, Any]]) -> bool:
    import numpy as np

    def arrays(row: dict[str, Any]) -> list[Any]:
        mask = [] if row["mask"] is None else [row["mask"]]
        return [row["image"], *mask, *row["others"].values()]

    if [row["label"] for row in cold] != [row["label"] for row in warm]:
        return False
    return all(
        len(arrays(one)) == len(arrays(two))
        and all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(two)))  # noqa: B905
        for one, two in zip(cold, warm)  # noqa: B905
    )


def serve(wire: Wire) -> None:
    """Answer the kernel until it hangs up."""
    runner: Runner | None = None
    while True:
        try:
            message, arrays = wire.receive()
        except EOFError:
            return
        latents = arrays[0] if arrays else None
        try:
            if message["do"] == "open":
                runner = Runner(message)
                wire.send({"kind": "ready", "pid": os.getpid()})
            elif runner is None:
                raise RuntimeError("nothing is open")
            elif message["do"] == "probe_fast":
                runner.known.update(message["known"])
                wire.send({"kind": "known", "known": runner.probe_fast(message, latents)})
            elif message["do"] == "probe":
                wire.send({"kind": "known", "known": runner.probe(message, latents)})
            else:
                runner.known.update(message["known"])
                wire.send(*runner.make(message, latents))
        except BaseException as error:  # a package may also raise SystemExit
            wire.send(_failure(error))
            gc.collect()


def _failure(error: BaseException) -> dict[str, Any]:
    kind = type(error).__name__
    text = " ".join(str(error).split())[:500]
    trace = traceback.format_exc()[-8000:]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    return {"kind": "error", "type": kind, "text": text, "trace": trace, "missing": missing}


# ---------------------------------------------------------------- processes


def become_worker(reads: int, writes: int, log: int | None) -> None:
    """Give the package an end of its own: group, standard streams, and a way to die with us."""
    _die_with_parent()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    for stream in (1, 2):
        os.dup2(log if log is not None else nothing, stream)
    with contextlib.suppress(OSError):  # if memory runs out, this is what should go
        Path("/proc/self/oom_score_adj").write_text("1000")
    logging.disable(logging.NOTSET)
    serve(Wire(reads, writes))


def zygote(control: socket.socket) -> None:
    """Import what every package needs, then fork a worker for each message."""
    mend_imports()
    mend_medigan()
    for name in ("warm", "answers"):
        _neighbour(name)
    _adopt_orphans()
    gc.collect()
    gc.freeze()  # so that workers share these pages
    workers: dict[int, str] = {}  # process -> its folder
    control.sendall(b'{"ready": true}\n')
    while True:
        ready, _, _ = select.select([control], [], [], 0.1 if workers else 1.0)
        _reap(workers, control)
        if not ready:
            continue
        data, handles, _, _ = socket.recv_fds(control, 4096, 2)
        if not data:
            break
        pid = os.fork()
        if pid == 0:
            control.close()
            os.setsid()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            try:
                become_worker(handles[0], handles[0], handles[1])
            finally:
                os._exit(0)
        workers[pid] = data.decode()
        for handle in handles:
            os.close(handle)
        control.sendall(json.dumps({workers[pid]: pid}).encode() + b"\n")
    for pid, folder in workers.items():
        _end_group(pid)
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _reap(workers: dict[int, str], control: socket.socket) -> None:
    """Tell which workers ended; end what they left behind."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            break
        if pid == 0:
            break
        if pid in workers:
            _end_group(pid)
            shutil.rmtree(workers.pop(pid), ignore_errors=True)
            with contextlib.suppress(OSError):
                control.sendall(json.dumps({"ended": pid, "status": status}).encode() + b"\n")
    for orphan in _children() - set(workers):  # a package's daemon, whose parent is gone
        with contextlib.suppress(OSError):
            os.kill(orphan, signal.SIGKILL)


def _end_group(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)


def _children() -> set[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return set()
    return {int(word) for word in text.split()}


def _adopt_orphans() -> None:
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER


def _die_with_parent() -> None:
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main(arguments: list[str]) -> None:
    """Run as a zygote on a socket, or as a single worker on the standard streams."""
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]
    if arguments[0] == "zygote":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        zygote(socket.socket(fileno=int(arguments[1])))
    else:
        reads, writes = os.dup(0), os.dup(1)
        mend_imports()
        mend_medigan()
        become_worker(reads, writes, 2)


if __name__ == "__main__":
    main(sys.argv[1:])
