"""Who learned from this file, or from this patient: the question behind a withdrawal."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.datasets.keys import patient_hash, patient_key
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.exporting.known_runs import known_runs
from medgan_widgets.files import file_sha256
from medgan_widgets.runs import run_config

log = logging.getLogger(__name__)

By = Literal["file", "patient"]


@dataclass(frozen=True)
class Match:
    """A run that had a file or a patient, and a model that came of it."""

    model_id: str | None  # None when no model was made of the run
    run_dir: Path | None  # None when only a model tells of the run
    run_id: str
    side: str  # "train": learned from. "test": only judged by
    by: By  # whether the file itself was found, or the patient
    through: str | None = None  # the run whose data it is, where this one was started from that

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
    hashes = _hashes(file, patient)
    cards = [card for card in Catalogue(models) if card.origin == "local"]
    folders = known_runs(runs)
    lost = [c.id for c in cards if not c.phantom and c.training.get("run") not in folders]
    if lost:
        shown = ", ".join(lost[:8])
        log.warning("no answer for %s: their runs are not here, so their data is unknown.", shown)
    parents = _parents(folders, cards)
    uses = {run_id: _uses(folder, hashes) for run_id, folder in folders.items()}
    matches = []
    for origin, sides in uses.items():
        for side, by in sides:
            for run_id in _with_descendants(origin, parents):
                if run_id != origin and (side, by) in uses.get(run_id, []):
                    continue  # it had it itself
                made = [card for card in cards if card.training.get("run") == run_id]
                names: list[str | None] = [card.id for card in made] or [None]
                through = None if run_id == origin else origin
                matches += [
                    Match(model_id, folders.get(run_id), run_id, side, by, through)
                    for model_id in names
                ]
    return matches


def _hashes(file: str | Path | None, patient: str | None) -> dict[By, set[str]]:
    """Return what stands for the file and the patient in a run."""
    hashes: dict[By, set[str]] = {}
    if file is not None:
        path = Path(file).expanduser()
        try:
            hashes["file"] = {file_sha256(path)}
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    if patient is not None:
        if not isinstance(patient, str) or not patient.strip():
            raise RequestError(f"patient must be a number as text, got {patient!r}.")
        key = patient_key()
        hashes["patient"] = {patient_hash(text, key) for text in (patient, patient.strip())}
    if not hashes:
        raise RequestError("give a file, or patient= with a patient's number.")
    return hashes


def _uses(folder: Path, hashes: Mapping[By, set[str]]) -> list[tuple[str, By]]:
    """Return on which sides of a run the file or patient was, each once; training first."""
    found: set[tuple[str, By]] = set()
    columns: dict[By, str] = {"file": "sha256", "patient": "group"}
    try:
        for line in (folder / "files.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            found |= {(row["side"], by) for by in hashes if row.get(columns[by]) in hashes[by]}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        path = folder / "files.jsonl"
        log.warning("%s cannot be read: %s. Whether this run had it is not known.", path, error)
    return sorted(found, key=lambda use: (use[0] != "train", use))


def _parents(folders: Mapping[str, Path], cards: Sequence[ModelCard]) -> dict[str, str]:
    """Return run -> the run that it was started from; of runs that are gone, cards tell."""
    parents = {
        str(card.training.get("run")): str(card.training["parent_run"])
        for card in cards
        if "parent_run" in card.training
    }
    for run_id, folder in folders.items():
        start = run_config(folder).get("start_from")
        if isinstance(start, dict) and start.get("run_id"):
            parents[run_id] = start["run_id"]
    return parents


def _with_descendants(run_id: str, parents: Mapping[str, str]) -> list[str]:
    """Return a run, those that were started from it, and those started from them."""
    found = [run_id]
    for known in found:  # grows while it is walked
        found += [run for run, parent in parents.items() if parent == known and run not in found]
    return found
