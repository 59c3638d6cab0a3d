"""The runs that can be found here: below a folder, or where they were begun."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

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
        if run_id := _run_id_of(folder):
            found.setdefault(run_id, folder)
    for run_id, folder in registered().items():
        if run_id not in found and _run_id_of(folder) == run_id:
            found[run_id] = folder
    return found


def _run_id_of(folder: Path) -> str | None:
    try:
        run_id = run_config(folder).get("run_id")
    except DataError as error:
        log.debug("%s", error)
        return None
    return run_id if isinstance(run_id, str) else None


def _below(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "config.json").is_file():
        yield folder
    elif depth:
        try:
            inside = sorted(path for path in folder.iterdir() if path.is_dir())
        except OSError:  # missing, or somebody else's
            return
        for path in inside:
            if not path.name.startswith("."):
                yield from _below(path, depth - 1)
