"""Package processes from the kernel's side: started, asked, watched, and never left behind.

One process runs one package with one set of options, and keeps it resident. While an answer
is awaited, somebody may cancel, it may grow too large, or never answer: then it ends with all
it started. A new process takes seconds to import torch, so once packages are used a spare one
is started ahead.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import psutil
from numpy.typing import NDArray

from medgan_widgets.errors import JobCancelled, NotRunnableError, WorkerError
from medgan_widgets.jobs import call_later, start_thread
from medgan_widgets.medigan import worker as child

if TYPE_CHECKING:
    from medgan_widgets.medigan.behaviour import Behaviour

log = logging.getLogger(__name__)

PATIENCE = 900.0  # seconds without an answer; the slowest published model needs some for an image
START_SECONDS = 120.0
LOOK = 0.05  # seconds between two looks at cancel, memory and time
PRINTED = 64 * 1024  # bytes kept of what a package prints
IDLE_SECONDS = 300.0  # after which an unused process ends
SPARE_BYTES = 3 * 2**30  # free memory from which on a spare process is started ahead
PICTURES = {"|u1", "<u2"}
_SECRETS = ("token", "secret", "password", "passwd", "api_key", "apikey", "credential")
_NO_ANSWER = (
    *(EOFError, ValueError, KeyError, TypeError, OSError, AttributeError),
    *(RecursionError, OverflowError, MemoryError),
)


class PackageError(WorkerError):
    """What a package raised; ``answer`` has its type and text, ``trace`` where it happened."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.answer = {name: plain_text(answer.get(name)) for name in ("type", "text", "missing")}
        self.trace = str(answer.get("trace"))[:8000]
        super().__init__(f"{self.answer['type']}: {self.answer['text']}")


class WorkerGone(WorkerError):
    """Somebody else of this process ended the worker meanwhile."""


class Worker:
    """One package in a process of its own, run by some Python interpreter."""

    def __init__(self, python: str | None) -> None:
        self.python = python or sys.executable
        self.folder = tempfile.mkdtemp(prefix="medgan-")
        self.opened, self.versions = False, ""  # whether a package is in it, on which libraries
        self.lock = threading.Lock()  # one call at a time
        self.used = time.monotonic()
        self.dead = self._ready = False
        self._tail = b""
        self._connection, theirs = multiprocessing.Pipe()
        handle = theirs.fileno()
        inherited: dict[str, Any] = {"pass_fds": [handle], "start_new_session": True}
        if sys.platform == "win32":
            os.set_handle_inheritable(handle, True)
            inherited = {"close_fds": False}
        try:
            self._process = subprocess.Popen(
                [self.python, child.__file__, str(handle), str(os.getpid()), self.folder],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                cwd=self.folder, env=_clean_environment(), **inherited,
            )  # fmt: skip
        except OSError as error:
            self._connection.close()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise NotRunnableError(
                f"{self.python} cannot be started ({error.strerror}); give the path of a Python "
                "interpreter that has medigan."
            ) from error
        finally:
            theirs.close()
        self.pid = self._process.pid
        self._listener = start_thread(self._listen, "medgan-printed")

    def wait_ready(self, stop: threading.Event) -> None:
        """Wait until it has imported what every package needs."""
        if self._ready:
            return
        end = time.monotonic() + START_SECONDS
        while not self._connection.poll(LOOK):
            if stop.is_set():
                raise JobCancelled("the job was cancelled.")
            if time.monotonic() > end:
                self.end()
                raise NotRunnableError(f"{self.python} did not start within {START_SECONDS:g} s.")
        try:
            message, _ = child.receive(self._connection)
        except _NO_ANSWER:
            self.end()
            log.info("the worker's interpreter failed:\n%s", self.printed[-4000:])
            last = (self.printed.strip().splitlines() or ["it ended at once"])[-1]
            raise NotRunnableError(
                f"{self.python} cannot run medigan: {last[:200]}; it needs medigan, torch and "
                f"numpy: {self.python} -m pip install medigan==1.0.0"
            ) from None
        self.versions, self._ready = repr(message["answer"]), True

    def call(
        self,
        message: Mapping[str, Any],
        arrays: Iterable[NDArray[Any]] = (),
        *,
        stop: threading.Event,
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send a message and return the answer; whatever goes wrong ends the process.

        That is its death, more bytes than it may have, a long silence, or ``stop``. An error
        that the package raised is a `PackageError`.
        """
        self.used = began = time.monotonic()
        limit = memory_limit(_rss(self.pid))
        try:
            with contextlib.suppress(BrokenPipeError):  # its death shows below, with its cause
                child.send(self._connection, dict(message), list(arrays))
            looks = 0
            while not self._connection.poll(LOOK):
                looks += 1  # to look for its children means to look at every process there is
                if (self.rss if looks % 20 == 0 else _rss(self.pid)) > limit:
                    raise WorkerError(
                        f"it took more than the {limit / 1e9:.1f} GB its process may have and was "
                        "ended; ask for fewer images, or set MEDGAN_WORKER_MB"
                    )
                if time.monotonic() - began > PATIENCE:
                    raise WorkerError(f"it gave no answer for {PATIENCE:g} s and was ended")
                if stop.is_set():
                    raise JobCancelled("the job was cancelled.")
            answer, data = child.receive(self._connection, PICTURES)
            if answer["kind"] == "error":
                raise PackageError(answer)
            self.used = time.monotonic()
            return dict(answer["answer"]), data
        except PackageError:
            raise
        except _NO_ANSWER as error:
            if self.dead and not stop.is_set():
                raise WorkerGone("it was ended from elsewhere") from error
            cause = self._cause_of_death(error)
            self.end()
            if stop.is_set():
                raise JobCancelled("the job was cancelled.") from None
            raise WorkerError(cause) from error
        except BaseException:  # one of the above, or Ctrl-C between two looks
            self.end()
            raise

    def _cause_of_death(self, error: BaseException) -> str:
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            if isinstance(error, EOFError):
                return "its process ended without an answer"
            return f"its process gave no proper answer ({type(error).__name__}: {error})"
        if status < 0:
            names = {number.value: number.name for number in signal.Signals}
            name = names.get(-status, str(-status))
            words = {"SIGSEGV": "crashed", "SIGKILL": "was killed (out of memory?)"}
            return f"its process {words.get(name, 'was ended')} ({name})"
        return f"its process ended itself with exit code {status}"

    @property
    def broken(self) -> bool:
        """Whether it died, or speaks, while nobody asks it anything."""
        if self.dead or self._process.poll() is not None:
            return True
        return self.opened and not self.lock.locked() and self._connection.poll()

    @property
    def rss(self) -> int:
        """What the process and its children hold, in bytes."""
        return sum(map(_rss, [self.pid, *_children(self.pid)]))

    @property
    def printed(self) -> str:
        """The last of what the package printed."""
        if self.dead:
            self._listener.join(timeout=1.0)  # until the last of it is read
        return self._tail.decode(errors="replace")

    def end(self) -> None:
        """End the process with all it started; twice does no harm."""
        if self.dead:
            return
        self.dead = True
        children = _children(self.pid)
        with contextlib.suppress(OSError, AttributeError):  # there are no groups on Windows
            os.killpg(self.pid, signal.SIGKILL)
        for pid in (self.pid, *children):
            with contextlib.suppress(psutil.Error):
                psutil.Process(pid).kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def let_go(self) -> None:
        """Close this end only, in a process that does not own it."""
        self.dead = True
        self._connection.close()

    def _listen(self) -> None:
        """Keep the end of what it prints, and let it print as much as it likes."""
        stream: Any = self._process.stdout
        with stream:
            while part := stream.read1(2**16):
                self._tail = (self._tail + part)[-PRINTED:]


class Workers:
    """All workers of this process: the least recently used end when memory runs short."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: OrderedDict[tuple[Any, ...], Worker] = OrderedDict()
        self._spare: dict[str | None, Worker] = {}  # interpreter -> a process with no package
        self.known: dict[tuple[Any, ...], Behaviour] = {}  # it outlives its worker
        self._sweeping = False
        self.over = False  # whether the interpreter is ending
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._abandon)

    def get(self, key: tuple[Any, ...], python: str | None) -> Worker:
        """Return the worker of a package; a new one has to be opened by who asks."""
        with self._lock:
            worker = self._held.get(key)
            if worker is not None and not worker.broken:
                self._held.move_to_end(key)
                return worker
            if self.over:
                raise JobCancelled("the interpreter is ending.")
            leaving = [] if worker is None else [worker]
            leaving += self._leaving()
            worker = self._spare.pop(python, None)
            if worker is None or worker.broken:
                worker = Worker(python)
            self._held[key] = worker
            self._sweep_later()
        for other in leaving:
            other.end()
        return worker

    def prepare(self, python: str | None = None) -> None:
        """Start a spare process of an interpreter ahead, where memory allows."""
        with self._lock, contextlib.suppress(NotRunnableError):
            roomy = psutil.virtual_memory().available > SPARE_BYTES
            if roomy and not self.over and python not in self._spare:
                self._spare[python] = Worker(python)
                self._sweep_later()

    def drop(self, key: tuple[Any, ...]) -> None:
        """End one worker and forget it."""
        with self._lock:
            worker = self._held.pop(key, None)
        if worker is not None:
            worker.end()

    def pid(self, model_id: str) -> int | None:
        """Return the process that keeps a model resident, or None."""
        with self._lock:
            held = [w.pid for key, w in self._held.items() if key[0] == model_id and _lives(w)]
        return held[0] if held else None

    @property
    def names(self) -> tuple[str, ...]:
        """The models that are resident, least recently used first."""
        with self._lock:
            return tuple(dict.fromkeys(key[0] for key, w in self._held.items() if _lives(w)))

    def end(self, model_id: str | None = None) -> None:
        """End the workers of one model, or all; it may take seconds, and holds up nobody."""
        with self._lock:
            keys = [key for key in self._held if model_id in (None, key[0])]
            ending = [self._held.pop(key) for key in keys]
        for worker in ending:
            worker.end()

    def close(self) -> None:
        """End everything, with the interpreter."""
        self.over = True
        with self._lock:
            spare, self._spare = list(self._spare.values()), {}
        self.end()
        for worker in spare:
            worker.end()

    def _leaving(self) -> list[Worker]:
        """Take out the idle workers used least recently, until the others may hold what they do."""
        leaving = []
        for key, worker in list(self._held.items()):
            held = sum(other.rss for other in self._held.values())
            if worker.dead:
                del self._held[key]
            elif len(self._held) > 1 and held > memory_limit(held) and not worker.lock.locked():
                log.info("the worker of %s ended to make room.", key[0])
                leaving.append(self._held.pop(key))
        return leaving

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            call_later(IDLE_SECONDS / 5, self._sweep)

    def _sweep(self) -> None:
        """End what nobody has used for a while."""
        with self._lock:
            self._sweeping = False
            ending = []
            late = time.monotonic() - IDLE_SECONDS
            for key, worker in list(self._held.items()):
                if worker.dead or (worker.used < late and not worker.lock.locked()):
                    ending.append(self._held.pop(key))
            for python, worker in list(self._spare.items()):
                if worker.used < late:
                    ending.append(self._spare.pop(python))
            if self._held or self._spare:
                self._sweep_later()
        for worker in ending:
            worker.end()

    def _abandon(self) -> None:
        """Let go, in a fork of the kernel: it owns none of this, and would keep it alive."""
        for worker in (*self._held.values(), *self._spare.values()):
            worker.let_go()
        self._lock = threading.RLock()
        self._held, self._spare, self.over = OrderedDict(), {}, True
        shared_workers.cache_clear()


@cache
def shared_workers() -> Workers:
    """Return the workers of this process."""
    return Workers()


def end_workers(model_id: str | None = None) -> None:
    """End the processes of one model, or of all."""
    shared_workers().end(model_id)


def memory_limit(held: int = 0) -> int:
    """Return how many bytes workers may hold: ``MEDGAN_WORKER_MB``, else half of what is free.

    What they hold already, ``held``, would be free without them.
    """
    limit = os.environ.get("MEDGAN_WORKER_MB", "")
    if limit.isdigit():
        return int(limit) * 10**6
    return (psutil.virtual_memory().available + held) // 2


def plain_text(text: object) -> str:
    """Return what a stranger wrote as one short line that any screen can show."""
    plain = str(text or "").encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())[:500]


def _clean_environment() -> dict[str, str]:
    """Return what a stranger's code may see: no tokens, one thread a library until told."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not any(word in name.lower() for word in _SECRETS) and name != "PYTHONPATH"
    }
    return {
        **kept,
        **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",  # the order of a set of names is part of some packages
    }


def _lives(worker: Worker) -> bool:
    return worker.opened and not worker.dead


def _children(pid: int) -> list[int]:
    try:
        return [process.pid for process in psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return []


def _rss(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return 0
