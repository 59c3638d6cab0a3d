"""Worker processes from the kernel's side: started in a moment, watched, and never left behind.

One zygote for each interpreter forks the workers, one for each package and
device. A worker that is asked watches nothing itself; here, while an answer is
awaited, somebody may cancel, it may grow too large, or never answer: then its
whole process group ends. What a worker prints is kept to its last lines.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from medgan_widgets.errors import JobCancelled, NotRunnableError, WorkerError
from medgan_widgets.medigan import worker as child

log = logging.getLogger(__name__)

PATIENCE = 900.0  # seconds without an answer; the slowest published model needs some for an image
START_SECONDS = 120.0
MESSAGE_BYTES = 2**20
ARRAY_BYTES = 2**31
LOOK = 0.05  # seconds between two looks at cancel, memory and time
PRINTED = 64 * 1024  # bytes kept of what a package prints
DTYPES = {"|u1", "<u2"}
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
    """One package in a process of its own."""

    def __init__(
        self, pid: int, end: Any, printed: int | Any, folder: Path, status: Callable[[], int | None]
    ) -> None:
        self.pid, self.folder = pid, folder
        self.opened, self.versions = False, ""  # whether a package is in it, on which libraries
        self.lock = threading.Lock()  # one call at a time
        self.used = time.monotonic()
        self.dead = False
        self._process = psutil.Process(pid)
        self._end, self._status = end, status
        self._printed: deque[bytes] = deque()
        self._log = threading.Thread(target=self._listen, args=(printed,), daemon=True)
        self._log.start()

    def call(
        self,
        message: Mapping[str, Any],
        arrays: Iterable[NDArray[Any]] = (),
        *,
        stop: threading.Event,
        limit: Callable[[int], int],
        expect: str = "rows",
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send a message and return the answer; whatever goes wrong ends the process.

        That is an error of the package, its death, more bytes than ``limit`` allows a
        process that holds so many, a long silence, or ``stop``.
        """
        self.used = began = time.monotonic()
        most = limit(_rss(self._process))

        def wait(*, writing: bool = False) -> None:
            """Come back once the wire is ready; look at cancel, memory and time meanwhile."""
            looks = 0
            while not _ready(self._end, LOOK, writing=writing):
                looks += 1  # to look for its children means to look at every process there is
                if (self.rss if looks % 20 == 0 else _rss(self._process)) > most:
                    raise WorkerError(
                        f"it took more than the {most / 1e9:.1f} GB its process may have and was "
                        "ended; ask for fewer images, or set MEDGAN_WORKER_MB"
                    )
                if time.monotonic() - began > PATIENCE:
                    raise WorkerError(f"it gave no answer for {PATIENCE:g} s and was ended")
                if stop.is_set():
                    raise JobCancelled("the job was cancelled.")

        try:
            with contextlib.suppress(BrokenPipeError):  # its death is told below, with its cause
                child.Wire(-1, self._end.fileno(), lambda: wait(writing=True)).send(
                    dict(message), list(arrays)
                )
            answer, data = self._receive(child.Wire(self._end.fileno(), -1, wait))
            if answer["kind"] not in (expect, "error"):
                raise ValueError("an answer to another question")
        except (WorkerError, JobCancelled):
            self.end()
            raise
        except _NO_ANSWER as error:
            if self.dead and not stop.is_set():
                raise WorkerGone("it was ended from elsewhere") from error
            said = "" if self.dead else self._farewell(error)
            self.end()
            if stop.is_set():
                raise JobCancelled("the job was cancelled.") from None
            raise WorkerError(said) from error
        except BaseException:  # Ctrl-C between two looks
            self.end()
            raise
        self.used = time.monotonic()
        if answer["kind"] == "error":
            raise PackageError(answer)
        return answer, data

    def _receive(self, wire: child.Wire) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Read an answer; a stranger's process writes it, so sizes and kinds are checked first."""
        (size,) = child.HEADER.unpack(wire.read(child.HEADER.size))
        if size > MESSAGE_BYTES:
            raise ValueError(f"a message of {size} bytes")
        message = json.loads(bytes(wire.read(size)))
        arrays = []
        for dtype, shape in message.pop("arrays"):
            sides = [int(side) for side in shape]
            if dtype not in DTYPES or len(sides) not in (2, 3) or min(sides) < 1:
                raise ValueError(f"an array of {dtype!r} {sides}")
            count = int(np.prod(sides, dtype=object)) * np.dtype(dtype).itemsize
            if count > ARRAY_BYTES:
                raise ValueError(f"an array of {sides}")
            arrays.append(np.frombuffer(wire.read(count), dtype).reshape(sides))
        if message.get("kind") not in ("ready", "known", "rows", "error"):
            raise ValueError("a message of no known kind")
        return message, arrays

    def _farewell(self, error: BaseException) -> str:
        """Say how the process ended."""
        status: int | None = None
        end = time.monotonic() + 1.0
        while status is None and time.monotonic() < end:
            status = self._status()
            time.sleep(0.01)
        if status is None and isinstance(error, (EOFError, OSError)):
            return "its process ended without an answer"
        if status is None:
            return f"its process gave no proper answer ({type(error).__name__}: {error})"
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
            words = {"SIGSEGV": "crashed", "SIGKILL": "was killed (out of memory?)"}
            return f"its process {words.get(name, 'was ended')} ({name})"
        return f"its process ended itself with exit code {os.WEXITSTATUS(status)}"

    @property
    def broken(self) -> bool:
        """Whether it died, or speaks, while nobody asks it anything."""
        return not (self.dead or self.lock.locked()) and _ready(self._end, 0, writing=False)

    @property
    def rss(self) -> int:
        """What the process and its children hold, in bytes."""
        try:
            family = [self._process, *self._process.children(recursive=True)]
            return sum(_rss(one) for one in family)
        except psutil.Error:
            return 0

    @property
    def printed(self) -> str:
        """The last of what the package printed."""
        if self.dead:
            self._log.join(timeout=1.0)  # until the last of it is read
        return b"".join(list(self._printed)).decode(errors="replace")[-PRINTED:]

    def let_go(self) -> None:
        """Close this end only, in a process that does not own it."""
        self.dead = True
        self._end.close()

    def end(self) -> None:
        """End the process with all it started; twice does no harm."""
        if self.dead:
            return
        self.dead = True
        family: list[psutil.Process] = []
        with contextlib.suppress(psutil.Error):
            family = psutil.Process(self.pid).children(recursive=True)
        with contextlib.suppress(OSError, AttributeError):
            os.killpg(self.pid, signal.SIGKILL)
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(psutil.Error):
            psutil.Process(self.pid).wait(timeout=2)
        self._end.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listen(self, printed: int) -> None:
        """Keep the last lines of what it prints, and let it print as much as it likes."""
        kept = 0
        while True:
            try:
                part = os.read(printed, 65536)
            except OSError:
                break
            if not part:
                break
            self._printed.append(part)
            kept += len(part)
            while kept - len(self._printed[0]) > PRINTED:
                kept -= len(self._printed.popleft())
        with contextlib.suppress(OSError):
            os.close(printed)


class Zygote:
    """The process that forks workers for one interpreter."""

    def __init__(self, python: str | None) -> None:
        self.python = python or sys.executable
        self._ended: dict[int, int] = {}
        self._lines: deque[dict[str, Any]] = deque()
        self._news = threading.Condition()
        self._one = threading.Lock()  # messages with handles go one at a time
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it goes with us
        ours, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [self.python, child.__file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=self._errors, cwd=tempfile.gettempdir(),
                env=clean_environment(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise NotRunnableError(
                f"{self.python} cannot be started ({error.strerror}); give the path of a Python "
                "interpreter that has medigan."
            ) from error
        finally:
            theirs.close()
        self._control = ours
        threading.Thread(target=self._hear, daemon=True).start()

    def fork(self, stop: threading.Event) -> Worker:
        """Return a new worker; only the first one of a zygote takes seconds."""
        self._await("ready", stop)
        folder = Path(tempfile.mkdtemp(prefix="medgan-"))
        ours, theirs = socket.socketpair()
        reads, writes = os.pipe()
        try:
            with self._one:
                fds = [theirs.fileno(), writes]
                socket.send_fds(self._control, [str(folder).encode()], fds)
            pid = self._await(str(folder), stop)
        except BaseException as error:
            ours.close()
            os.close(reads)
            if isinstance(error, OSError):
                raise WorkerError("the process that starts workers is gone; try again") from error
            raise
        finally:
            theirs.close()
            os.close(writes)
        return Worker(pid, ours, reads, folder, lambda: self._ended.get(pid))

    def let_go(self) -> None:
        """Close this end only, in a process that does not own it."""
        self._control.close()

    @property
    def alive(self) -> bool:
        """Whether it can still fork."""
        return self._process.poll() is None

    def end(self) -> None:
        """End it and all of its workers."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=3)

    def _await(self, key: str, stop: threading.Event) -> int:
        end = time.monotonic() + START_SECONDS
        while True:
            with self._news:
                for line in self._lines:
                    if key in line:
                        if key != "ready":
                            self._lines.remove(line)
                        return int(line[key])
                self._news.wait(0.02)
            if stop.is_set():
                raise JobCancelled("the job was cancelled.")
            if not self.alive:
                raise NotRunnableError(self._why())
            if time.monotonic() > end:
                raise NotRunnableError(f"{self.python} did not start within {START_SECONDS:g} s.")

    def _why(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        log.info("the worker's interpreter failed:\n%s", said[-4000:])
        last = said.strip().splitlines()[-1] if said.strip() else "it ended at once"
        return (
            f"{self.python} cannot run medigan: {last[:200]}; it needs medigan, torch and numpy: "
            f"{self.python} -m pip install medigan==1.0.0"
        )

    def _hear(self) -> None:
        text = b""
        while True:
            try:
                part = self._control.recv(4096)
            except OSError:
                return
            if not part:
                return
            *lines, text = (text + part).split(b"\n")
            with self._news:
                for line in map(json.loads, lines):
                    if "ended" in line:
                        self._ended[int(line["ended"])] = int(line["status"])
                    else:
                        self._lines.append(line)
                self._news.notify_all()


def clean_environment() -> dict[str, str]:
    """Return what a stranger's code may see: no tokens, one thread a library until told."""
    secret = ("token", "secret", "password", "passwd", "api_key", "apikey", "credential")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not any(word in name.lower() for word in secret) and name != "PYTHONPATH"
    }
    return {
        **kept,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MPLBACKEND": "Agg",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONHASHSEED": "0",  # the order of a set of names is part of some packages
    }


def plain_text(text: object) -> str:
    """Return what a stranger wrote as one short line that any screen can show."""
    plain = str(text or "").encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in plain).split())[:500]


def _ready(end: Any, seconds: float, *, writing: bool) -> bool:
    reads, writes = ([], [end]) if writing else ([end], [])
    return any(select.select(reads, writes, [], seconds))


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
