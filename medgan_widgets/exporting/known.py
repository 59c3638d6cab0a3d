"""The runs that can be found here: below a folder, or where they were begun."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medgan_widgets.errors import DataError
from medgan_widgets.runs import registered, run_config

log = logging.getLogger(__name__)

DEPTH = 4  # folders below the one that is named


def known_runs(runs: str | Path) -> dict[str, Path]:
    """Return the run directories by run id: those below a folder first, then registered ones.

    A folder that was registered and holds another run by now is not taken for the old one.
    """
    found: dict[str, Path] = {}
    for folder in _below(Path(runs).expanduser(), DEPTH):
        run_id = run_id_of(folder)
        if run_id is not None:
            found.setdefault(run_id, folder)
    for run_id, folder in registered().items():
        if run_id not in found and run_id_of(folder) == run_id:
            found[run_id] = folder
    return found


def run_id_of(folder: Path) -> str | None:
    """Return the id of the run in a folder, or None where there is none to be read."""
    try:
        run_id = run_config(folder).get("run_id")
    except DataError as error:
        log.debug("%s", error)
        return None
    return run_id if isinstance(run_id, str) else None


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None
    return content


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.json").is_file():
        yield folder
    elif depth:
        try:
            inside = sorted(one for one in folder.iterdir() if one.is_dir())
        except OSError:  # missing, or somebody else's
            return
        for one in inside:
            if not one.name.startswith("."):
                yield from _below(one, depth - 1)
