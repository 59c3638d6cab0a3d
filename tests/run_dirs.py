"""Run directories made in a moment: a real generator with random weights, and files that fit."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from medgan_widgets.checkpoints import write_weights
from medgan_widgets.files import write_json
from medgan_widgets.networks import GENERATORS
from medgan_widgets.presets import PRESETS
from medgan_widgets.runs import WEIGHTS, Tick, record_tick, start_run

SIZE = 16


def write_run(
    folder: Path,
    run_id: str = "a" * 32,
    *,
    network: str = "residual",
    contrast: float = 1.0,
    seed: int = 0,
    data: dict[str, Any] | None = None,
    files: list[dict[str, Any]] | None = None,
    **config: Any,
) -> Path:
    """Write a finished run on somebody's own images; ``contrast`` multiplies the last layer."""
    factors = {"grade": [0, 1, 2]} if network == "residual" else {}
    settings = {"size": SIZE, "channels": 1, "z_dim": 16, "width": 4}
    settings["classes"] = sum(map(len, config.get("factors", factors).values()))
    known = {
        "run_id": run_id, "data": "/home/doe/jane_doe_knees", "data_options": {}, "size": SIZE,
        "pool": 96, "preset": network, "settings": asdict(PRESETS[network]), "network": settings,
        "factors": factors, "seed": 3, "kimg": 2, "tick_kimg": 1, "start_from": None,
        "device": "cpu", "threads": 1, "augmentations": ["translation", "scale"],
        "phantom": False, "fingerprint": "f" * 64,
    }  # fmt: skip
    start_run(folder, {**known, **config})
    facts = {
        "fingerprint": "f" * 64, "kind": "folder", "count": 120, "train": 96, "test": 24,
        "groups": 30, "group_note": "", "classes": {}, "preprocessing": {}, "refused": 0,
        "intensity": {"low": 0, "high": 255}, "near_duplicates": 0,
    }  # fmt: skip
    write_json(folder / "data.json", {**facts, **(data or {})})
    lines = "".join(json.dumps(row) + "\n" for row in files or [])
    (folder / "files.jsonl").write_text(lines)
    record_tick(folder, Tick(2.0, 0.7, 1.4))
    write_generator(folder, network, settings, contrast, seed)
    return folder


def write_generator(
    folder: Path, network: str, settings: dict[str, int], contrast: float = 1.0, seed: int = 0
) -> None:
    """Write the run's averaged generator, fp32 and not representable in fp16."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        generator = GENERATORS[network](**settings)
        for name, weights in generator.named_parameters():
            if name.startswith("last"):
                weights.mul_(contrast)
    write_weights(folder / WEIGHTS, generator, half=False)


def row(content: bytes, side: str, group: str | None = None) -> dict[str, Any]:
    """A line of ``files.jsonl``."""
    sha256 = hashlib.sha256(content).hexdigest()
    return {"sha256": sha256, "group": group, "side": side, "images": 1}
