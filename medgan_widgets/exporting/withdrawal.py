"""Who learned from this file, or from this patient: the question behind a withdrawal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.exporting.known import known_runs
from medgan_widgets.files import file_sha256
from medgan_widgets.runs import run_config

log = logging.getLogger(__name__)

By = Literal["file", "patient"]


@dataclass(frozen=True)
class Match:
    """A run that had a file or a patient, and a model that came of it.

    Attributes
    ----------
    model_id
        The model; None when none was made of the run.
    run_dir, run_id
        The run; its folder is None when only a model tells of it.
    side
        ``"train"``: learned from. ``"test"``: only judged by.
    by
        Whether the file itself was found, or the patient.
    through
        The run whose data it is, where this one was started from that.
    """

    model_id: str | None
    run_dir: Path | None
    run_id: str
    side: str
    by: By
    through: str | None = None

    @property
    def text(self) -> str:
        """What it means, and what to do about it."""
        name = f"model {self.model_id}" if self.model_id else "no model yet"
        place = self.run_dir if self.run_dir is not None else "folder not found"
        run = f"run {self.run_id[:12]}… ({place}), {name}"
        if self.through:
            run += f", started from run {self.through[:12]}…"
        if self.side == "test":
            return (
                f"{run}: the {self.by} only judged it. Take it out of the data, draw the split "
                "again and measure again."
            )
        return (
            f"{run}: learned from the {self.by}. Take it out of the data, train again from the "
            "beginning without it, and delete this run, its checkpoints and the model; trace() "
            "tells of an image whether the model made it."
        )

    def __str__(self) -> str:
        """Return the sentence."""
        return self.text


def models_trained_on(
    file: str | Path | None = None,
    *,
    patient: str | None = None,
    models: str | Path | None = None,
    runs: str | Path = "runs",
) -> list[Match]:
    """Return the runs and models that had a file or a patient, also through a parent run.

    A run keeps no names: files are found by their SHA-256, so one that was
    saved again, compressed otherwise or cropped is not found; patients by a
    hash with your own key, so only in runs of this home folder. A model whose
    run is not here cannot be answered for; the log names it.

    Parameters
    ----------
    file
        The file as it was given to the training.
    patient
        The patient's number, as it stands in the data.
    models
        The folder of models to look in first, as for a catalogue.
    runs
        Where run directories lie; runs begun by you are found elsewhere, too.

    Raises
    ------
    RequestError
        When neither a file nor a patient is given.
    DataError
        When the file cannot be read.

    Examples
    --------
    >>> models_trained_on(patient="nobody", runs="nowhere")
    []
    """
    wanted = _wanted(file, patient)
    cards = [card for card in Catalogue(models) if card.origin == "local"]
    known = known_runs(runs)
    configs = {run_id: run_config(folder) for run_id, folder in known.items()}
    lost = [one.id for one in cards if not one.phantom and one.training.get("run") not in known]
    if lost:
        shown = ", ".join(lost[:8])
        log.warning("no answer for %s: their runs are not here, so their data is unknown.", shown)
    matches = []
    sides = {run_id: _sides(folder, wanted) for run_id, folder in known.items()}
    for origin in known:
        for side, by in sides[origin]:
            for run_id in (origin, *_children(origin, configs, cards)):
                if run_id != origin and (side, by) in sides.get(run_id, []):
                    continue  # it had it itself
                place = known.get(run_id)
                through = None if run_id == origin else origin
                made = [one.id for one in cards if one.training.get("run") == run_id]
                names: list[str | None] = [*made] if made else [None]
                matches += [Match(name, place, run_id, side, by, through) for name in names]
    return matches


def _wanted(file: str | Path | None, patient: str | None) -> dict[By, set[str]]:
    wanted: dict[By, set[str]] = {}
    if file is not None:
        path = Path(file).expanduser()
        try:
            wanted["file"] = {file_sha256(path)}
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if patient is not None:
        if not isinstance(patient, str) or not patient.strip():
            raise RequestError(f"patient must be a number as text, got {patient!r}.")
        key = patient_key()
        wanted["patient"] = {patient_hash(one, key) for one in (patient, patient.strip())}
    if not wanted:
        raise RequestError("give a file, or patient= with a patient's number.")
    return wanted


def _sides(folder: Path, wanted: Mapping[By, set[str]]) -> list[tuple[str, By]]:
    """Return on which sides of a run the file or patient was, each once; training first."""
    found: dict[tuple[str, By], None] = {}
    column: dict[By, str] = {"file": "sha256", "patient": "group"}
    try:
        for row in _rows(folder / "files.jsonl"):
            for by, values in wanted.items():
                if row.get(column[by]) in values:
                    found[str(row.get("side")), by] = None
    except DataError as error:
        log.warning("%s Whether this run had it is not known.", error)
    return sorted(found, key=lambda one: one[0] != "train")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def _children(
    run_id: str, configs: Mapping[str, dict[str, Any]], cards: Sequence[ModelCard]
) -> list[str]:
    """Return the runs that were started from one, and those started from them."""
    parents: dict[str, str] = {}
    for child, config in configs.items():
        start = config.get("start_from")
        if isinstance(start, dict) and isinstance(start.get("run_id"), str):
            parents[child] = start["run_id"]
    for card in cards:  # their runs may be gone
        own, parent = card.training.get("run"), card.training.get("parent_run")
        if isinstance(own, str) and isinstance(parent, str):
            parents.setdefault(own, parent)
    found = [run_id]
    for one in found:  # grows while it is walked
        found += [
            child for child, parent in parents.items() if parent == one and child not in found
        ]
    return found[1:]
