"""Package processes of tests: forked from one that has imported torch and medigan already.

A real one imports them for seconds; with hundreds of them tests would take hours. What runs in
it is the same ``worker.py``. Tests of how processes start and die use real ones.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from typing import Any

from medgan_widgets.medigan import worker

STARTED: list[int] = []  # every package process of this test process
CONTEXT = multiprocessing.get_context("forkserver")


class Forked:
    """What `client.Worker` uses of ``subprocess.Popen``."""

    def __init__(self, command: list[str], *, cwd: str, env: dict[str, str], **_: Any) -> None:
        reads, writes = os.pipe()
        printed, pipe = Connection(writes), Connection(os.dup(int(command[2])))
        self._process = CONTEXT.Process(target=_run, args=(pipe, printed, cwd, env), daemon=True)
        # The order of a set of names is part of some packages.
        before = os.environ.get("PYTHONHASHSEED")
        os.environ["PYTHONHASHSEED"] = "0"
        CONTEXT.set_forkserver_preload(["tests.forked_preload"])
        try:
            self._process.start()
        finally:
            os.environ.pop("PYTHONHASHSEED")
            os.environ.update({} if before is None else {"PYTHONHASHSEED": before})
            printed.close()
            pipe.close()
        self.pid = self._process.pid
        STARTED.append(self.pid)
        self.stdout = os.fdopen(reads, "rb")

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a package", timeout or 0)
        return self._process.exitcode


# As the client sees the module ``subprocess``.
DEVNULL, PIPE, STDOUT = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
TimeoutExpired = subprocess.TimeoutExpired


def Popen(command: list[str], **options: Any) -> Any:
    """Start a package process: forked, unless another interpreter is to run it."""
    start = Forked if command[0] == sys.executable else subprocess.Popen
    return start(command, **options)


def _run(pipe: Connection, printed: Connection, folder: str, env: dict[str, str]) -> None:
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    for stream in (1, 2):
        os.dup2(printed.fileno(), stream)
    printed.close()
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    worker.main(pipe.fileno(), os.getppid(), folder)
