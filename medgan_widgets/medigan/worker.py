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
import traceback
import types
from pathlib import Path
from typing import Any

HEADER = struct.Struct(">I")
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


def neighbour(name: str) -> Any:
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


# ---------------------------------------------------------------- answering the kernel


def serve(wire: Wire) -> None:
    """Answer the kernel until it hangs up."""
    package: Any = None
    while True:
        try:
            message, arrays = wire.receive()
        except EOFError:
            return
        latents = arrays[0] if arrays else None
        try:
            if message["do"] == "open":
                for name in ("warm", "answers"):
                    neighbour(name)
                package = neighbour("hosted").Hosted(message)
                wire.send({"kind": "ready", "versions": _versions()})
            elif package is None:
                raise RuntimeError("nothing is open")
            elif message["do"] == "look":
                wire.send({"kind": "known", "known": package.look(message, latents)})
            else:
                package.known.update(message["known"])
                wire.send(*package.make(message, latents))
        except BaseException as error:  # a package may also raise SystemExit
            wire.send(_failure(error))
            gc.collect()


def _versions() -> dict[str, str]:
    """Return what a package's images depend on besides itself."""
    names = ("torch", "numpy", "medigan")
    versions = {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in names}
    return {"python": sys.version.split()[0], **versions}


def _failure(error: BaseException) -> dict[str, Any]:
    kind = type(error).__name__
    try:
        text = " ".join(str(error).split())[:500]
    except Exception:  # even that may fail
        text = "no text"
    trace = traceback.format_exc()[-8000:]
    missing = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    missing = missing if isinstance(missing, str) else None
    return {"kind": "error", "type": kind, "text": text, "trace": trace, "missing": missing}


# ---------------------------------------------------------------- processes


def become_worker(connection: int, log: int) -> None:
    """Give the package an end of its own: group, standard streams, and a way to die with us."""
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: die with the parent
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    for stream in (1, 2):
        os.dup2(log, stream)
    with contextlib.suppress(OSError):  # if memory runs out, this is what should go
        Path("/proc/self/oom_score_adj").write_text("1000")
    logging.disable(logging.NOTSET)
    serve(Wire(connection, connection))


def zygote(control: socket.socket) -> None:
    """Import what every package needs, then fork a worker for each message."""
    mend_imports()
    mend_medigan()
    for name in ("warm", "answers", "hosted"):
        neighbour(name)
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans of a package come here
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
                become_worker(handles[0], handles[1])
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


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def main(control: int) -> None:
    """Run as a zygote on a socket."""
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != HERE]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    zygote(socket.socket(fileno=control))


if __name__ == "__main__":
    main(int(sys.argv[1]))
