"""The gate on the way out: generated images held against the training images first."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.phantom import HELD_OUT, phantom_named
from medgan_widgets.errors import MedganError, MemorisationError
from medgan_widgets.exporting.known import known_runs
from medgan_widgets.exporting.png import plain
from medgan_widgets.files import write_whole
from medgan_widgets.image_sources import phantom_kind
from medgan_widgets.images import png_bytes
from medgan_widgets.memorisation import Memory, Report, not_assessed
from medgan_widgets.training import images_of_run

log = logging.getLogger(__name__)

Gate = Literal["warn", "stop"]
NAMED = 12  # seeds in a message


def memory_of(card: ModelCard, training: Any, runs: str | Path) -> tuple[Memory | str, str]:
    """Return a model's training images made ready, or why they cannot be looked through.

    With them comes a sentence where nobody can know that these are the images it was
    trained on; it is empty for the data of its own run, and for the phantoms it names.
    """
    if training is None:
        return _of_run(card, runs), ""
    kind = phantom_named(training)
    if kind is not None:
        count = card.training.get("count")  # those held out are in it
        most = max(2, int(count) - HELD_OUT) if count else None
        memory = Memory(read_images(f"phantom:{kind}", size=card.size[0], most=most))
        return memory, "" if kind == phantom_kind(card) else _unproved(card)
    if isinstance(training, (str, Path)) and not (Path(training) / "config.json").is_file():
        like = card if card.preprocessing else None
        training = read_images(training, like=like, labels=False, test=0)
    elif isinstance(training, (str, Path)):
        training = images_of_run(training)
    if isinstance(training, TrainingImages):
        same = training.fingerprint == card.training.get("fingerprint")
        return Memory(training), "" if same else _unproved(card)
    return Memory(training), _unproved(card)


def looked_through(
    memory: Memory | str,
    images: Sequence[NDArray[Any]],
    recipes: Sequence[Mapping[str, Any]],
    note: str = "",
) -> Iterator[tuple[Report, list[dict[str, Any]]] | None]:
    """Yield None after each few images; last the report, and recipes that say so of each image.

    A sentence in place of a memory is why nobody looked.
    """
    report = not_assessed(memory if isinstance(memory, str) else "", len(images))
    if isinstance(memory, Memory):
        for step in memory.iter_check(_in_batches(images), [one["seeds"][0] for one in recipes]):
            yield None
            report = replace(step.report, note=note) if step.report else report
    otherwise = "not found to be a copy" if report.assessed else "not assessed"
    marked = [{**one, "memorisation": otherwise} for one in recipes]
    for pair in report.copies:
        marked[pair.index]["memorisation"] = "a copy of a training image"
    yield report, marked


def keep_report(report: Report, target: Path, gate: Gate | None) -> Path:
    """Write the report beside where images go, and stop at the gate if it says so."""
    stem = target.with_suffix("") if target.suffix == ".zip" else target
    place = stem.with_name(f"{stem.name}_memorisation.json")
    text = json.dumps(report.to_dict(), indent=1, default=plain)
    write_whole(place, text.encode(), parents=True)
    pairs = stem.with_name(f"{stem.name}_pairs_private.png")
    if report.shown:
        write_whole(pairs, png_bytes(np.asarray(report.sheet())))
    else:
        pairs.unlink(missing_ok=True)  # of an earlier export of this name
    if gate is None:
        return place
    if report.copies or not report.assessed:
        if gate == "stop":
            todo = _to_do(report)
            raise MemorisationError(
                f"nothing was exported: {report.text} {todo} The report is in {place}."
                + (f" An earlier export still lies in {target}." if target.exists() else "")
            )
        log.warning("%s", report.text)
    return place


def _to_do(report: Report) -> str:
    if not report.copies:
        return "Give the training images as training=, or choose gate='warn' to export unassessed."
    seeds = sorted({pair.seed for pair in report.copies if pair.seed is not None})
    more = f" and {len(seeds) - NAMED:,} more" if len(seeds) > NAMED else ""
    return f"Leave out seeds {', '.join(map(str, seeds[:NAMED]))}{more}."


def _unproved(card: ModelCard) -> str:
    told = card.training.get("data") or card.dataset or "nobody says what"
    return f"Whether {card.id} was trained on these images is not known; its card says: {told}."


def _of_run(card: ModelCard, runs: str | Path) -> Memory | str:
    run_id = card.training.get("run")
    folder = known_runs(runs).get(str(run_id)) if run_id else None
    if folder is None:
        return "the training images were not given, and the run that made the model is not here"
    try:
        images: TrainingImages = images_of_run(folder)
    except (MedganError, OSError) as error:
        log.info("the data of %s cannot be read again: %s", folder, error)
        # Without their place: the sentence goes into reports, and a folder may name somebody.
        return "the training images of its run cannot be read again as they were"
    return Memory(images)


def _in_batches(images: Sequence[NDArray[Any]], rows: int = 64) -> Iterator[NDArray[Any]]:
    """Yield images as arrays; a model may make images of several sizes."""
    for _, alike in groupby(images, np.shape):
        while some := list(islice(alike, rows)):
            yield np.stack(some)
