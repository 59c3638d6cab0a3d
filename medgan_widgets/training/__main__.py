"""``python -m medgan_widgets.training RUN_DIR``: one run, in a process of its own.

Without ``--data`` it trains a run that has been prepared, or goes on from its last
checkpoint; with it, a new one.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import psutil
import torch

from medgan_widgets.errors import MedganError
from medgan_widgets.presets import PRESETS
from medgan_widgets.runs import RunState, lock_run, run_config, run_state, send_command, write_state
from medgan_widgets.training._train import _resumed, prepare_run, preset_from
from medgan_widgets.training.loop import steps

log = logging.getLogger("medgan_widgets.training")


def main(arguments: list[str] | None = None) -> int:
    """Train one run and log a line a tick; 0 when it ended as it should."""
    given = vars(_parsed(arguments))
    threads, run_dir = given.pop("threads"), given["run_dir"]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if given["data"] is not None:
            prepare_run(**given)
        _go(run_dir, threads is None)
    except MedganError as error:
        log.error("%s", error)
        state = run_state(run_dir)
        if state.pid == os.getpid() and state.state != "failed":
            message = " ".join(str(error).split())
            write_state(run_dir, RunState("failed", os.getpid(), message=message))
        return 1
    return 0


def _go(run_dir: Path, keep_threads: bool) -> None:
    lock = lock_run(run_dir)
    try:
        config = run_config(run_dir)
        if keep_threads and config["device"] == "cpu":  # their number decides the last bits
            torch.set_num_threads(config.get("threads", torch.get_num_threads()))
        since = psutil.Process().create_time()
        write_state(run_dir, RunState("starting", os.getpid(), of_kimg=config.get("kimg")))
        signal.signal(signal.SIGTERM, lambda *_: send_command(run_dir, "stop"))
        config, learned = _resumed(run_dir)
        for tick in steps(run_dir, learned, preset_from(config), config, since):
            figures = {k: v for k, v in asdict(tick).items() if isinstance(v, float)}
            log.info("%s", json.dumps({k: round(v, 3) for k, v in figures.items()}))
    finally:
        lock.release()


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m medgan_widgets.training",
        description=__doc__.splitlines()[0],
    )
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--data", help="a phantom's kind or a path: begins a new run")
    parser.add_argument("--preset", default="residual", choices=sorted(PRESETS))
    parser.add_argument("--size", type=int)
    parser.add_argument("--pool", type=int)
    parser.add_argument("--labels")
    parser.add_argument("--group")
    parser.add_argument("--table")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--start-from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kimg", type=float)
    parser.add_argument("--cpu-seconds", type=float)
    parser.add_argument("--tick-kimg", type=float, default=2.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--skip-unreadable", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
