"""One training in a process of its own, as the command line begins it."""

from __future__ import annotations

import json
import logging
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import torch

from medgan_widgets.errors import MedganError
from medgan_widgets.presets import TrainConfig
from medgan_widgets.runs import RunState, run_config, run_state, send_command, write_state
from medgan_widgets.training.loop import training_loop
from medgan_widgets.training.prepare import prepare_run

log = logging.getLogger(__name__)


def train_here(run_dir: Path, threads: int | None, **settings: Any) -> None:
    """Prepare a run where ``data`` is given, train it, and log a line a tick."""
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        if settings["data"] is not None:
            prepare_run(run_dir, **settings)
        content = run_config(run_dir)
        if threads is None and content.get("device") == "cpu":  # their number decides the last bits
            torch.set_num_threads(content.get("threads", torch.get_num_threads()))
        signal.signal(signal.SIGTERM, lambda *_: send_command(run_dir, "stop"))
        start = psutil.Process().create_time()
        for tick in training_loop(run_dir, TrainConfig(), resume=True, process_start=start):
            figures = {k: round(v, 3) for k, v in asdict(tick).items() if isinstance(v, float)}
            log.info("%s", json.dumps(figures))
    except MedganError as error:
        state = run_state(run_dir)
        if state.pid == os.getpid() and state.state != "failed":
            message = " ".join(str(error).split())
            write_state(run_dir, RunState("failed", os.getpid(), message=message))
        raise
