"""What a run's files say of a model that is made of it: data, training, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgan_widgets.cards import UNKNOWN, DataStatement
from medgan_widgets.errors import DataError, WeightsError
from medgan_widgets.exporting.about import NOT_FOR_DIAGNOSIS, PHANTOMS
from medgan_widgets.exporting.known import read_object
from medgan_widgets.files import file_sha256
from medgan_widgets.runs import WEIGHTS, read_run, run_state


@dataclass(frozen=True)
class Run:
    """What a run's files say."""

    folder: Path
    config: dict[str, Any]
    data: dict[str, Any]
    kimg: float
    score: Mapping[str, Any] | None

    @property
    def phantom(self) -> bool:
        """Whether it learned from phantoms; older runs say so by their kind alone."""
        return bool(self.config.get("phantom", self.config.get("data") in PHANTOMS))

    @property
    def factors(self) -> dict[str, Any]:
        """Factor -> values."""
        return dict(self.config.get("factors") or {})


def read_facts(folder: Path) -> Run:
    """Return what a run's files say."""
    config, ticks = read_run(folder)
    missing = [name for name in ("settings", "network", "data") if name not in config]
    if missing or "network" not in config["settings"]:
        raise DataError(f"{folder / 'config.json'} lacks {', '.join(missing) or 'the network'}.")
    first_format = config.get("format", 1) < 2 and not (folder / "data.json").exists()
    data = {} if first_format else read_object(folder / "data.json")
    last = ticks[-1] if ticks else None
    kept = run_state(folder).checkpoint_kimg
    kimg = kept if kept is not None else (last.kimg if last else 0.0)
    # A tick after the checkpoint judged other weights.
    judged = last is not None and abs(last.kimg - kimg) < 1e-6
    return Run(folder, config, data, kimg, last.score if last and judged else None)


def checkpoint_sha256(folder: Path) -> str:
    """Return the SHA-256 of a run's averaged generator."""
    try:
        return file_sha256(folder / WEIGHTS)
    except OSError:
        raise WeightsError(
            f"{folder} has no checkpoint yet (expected {WEIGHTS.as_posix()}); train it until the "
            "first one is written, or stop it, which writes one."
        ) from None


def statement_of(run: Run, said: DataStatement) -> DataStatement:
    """Return what was said of the data; for phantoms blanks are filled in."""
    if not run.phantom:
        return said
    known = DataStatement(
        source=f"procedural phantoms ({run.config['data']})",
        licence="not needed: drawn by this package",
        approval="not needed: no patients",
        deidentification="not needed: no patients",
    )
    blank = {name: getattr(known, name) for name in said.unknown}
    return said.model_copy(update=blank)


def dataset_of(run: Run, said: DataStatement) -> str | None:
    """Return what the data is called, or None."""
    if run.phantom:
        return f"procedural phantoms ({run.config['data']})"
    return None if said.source == UNKNOWN else said.source  # never the folder: it may name somebody


def training_of(run: Run) -> dict[str, str | int | float]:
    """Return what the card tells of the training; no path of a person's folders."""
    config, data = run.config, run.data
    told: dict[str, Any] = {
        "run": config.get("run_id"),
        "preset": config.get("preset"),
        "kimg": round(run.kimg, 3),
        "seed": config.get("seed"),
        "data": _counts(run),
        "count": data.get("count", config.get("pool")),
        "fingerprint": config.get("fingerprint", data.get("fingerprint")),
        "augmentations": ", ".join(config.get("augmentations") or ()) or "none",
    }
    if not run.phantom:  # nobody is behind those, so nobody is kept apart
        told |= {"groups": data.get("groups"), "group": data.get("group_note") or _apart(data)}
    parent = config.get("start_from")
    if isinstance(parent, dict):
        told |= {
            "parent": parent.get("model"),  # a run goes by its number, not by its folder's name
            "parent_run": parent.get("run_id"),
            "parent_sha256": parent.get("sha256"),
        }
    return {name: value for name, value in told.items() if value is not None}


def _apart(data: Mapping[str, Any]) -> str | None:
    groups = data.get("groups")
    return None if groups is None else f"{groups} groups, each on one side of the split"


def _counts(run: Run) -> str:
    data, kind = run.data, "phantoms" if run.phantom else "images"
    if "count" not in data:
        return f"{run.config.get('pool', 'unknown number of')} {kind}"
    parts = [f"{data['train']} to train on"] if "train" in data else []
    parts += [f"{data['test']} to judge by"] if data.get("test") else []
    return f"{data['count']} {kind}" + (f": {', '.join(parts)}" if parts else "")


def limits_of(run: Run) -> str:
    """Return what holds for every model of such a run."""
    if run.phantom:
        return f"A phantom: no patient is behind any image. {NOT_FOR_DIAGNOSIS}"
    note = str(run.data.get("group_note") or "").rstrip(".")
    return NOT_FOR_DIAGNOSIS + (f" {note[0].upper()}{note[1:]}." if note else "")
