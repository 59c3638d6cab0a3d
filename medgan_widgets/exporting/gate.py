"""The gate on the way out: generated images are compared with the training images first."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.phantom import HELD_OUT, phantom_named
from medgan_widgets.errors import MedganError
from medgan_widgets.exporting.known_runs import known_runs
from medgan_widgets.exporting.recipe import json_value
from medgan_widgets.files import write_whole
from medgan_widgets.image_sources import phantom_kind
from medgan_widgets.images import png_bytes
from medgan_widgets.memorisation import CopyDetector, Report
from medgan_widgets.training import images_of_run

log = logging.getLogger(__name__)

NAMED = 12  # seeds in a message


def copy_detector_for(
    card: ModelCard, training: Any, runs: str | Path
) -> tuple[CopyDetector | str, str]:
    """Return a model's training images made ready, or why they cannot be compared.

    With them comes a sentence where nobody can know that these are the images it was
    trained on; it is empty for the data of its own run, and for the phantoms it names.
    """
    if training is None:
        return _of_its_run(card, runs), ""
    if kind := phantom_named(training):
        count = card.training.get("count")  # those held out are in it
        most = max(2, int(count) - HELD_OUT) if count else None
        detector = CopyDetector(read_images(f"phantom:{kind}", size=card.size[0], most=most))
        return detector, "" if kind == phantom_kind(card) else _unproved(card)
    if isinstance(training, (str, Path)):
        if (Path(training) / "config.json").is_file():
            training = images_of_run(training)
        else:  # prepared as the model's own images were
            like = card if card.preprocessing else None
            training = read_images(training, like=like, labels=False, test=0)
    same = isinstance(training, TrainingImages) and (
        training.fingerprint == card.training.get("fingerprint")
    )
    detector = training if isinstance(training, CopyDetector) else CopyDetector(training)
    return detector, "" if same else _unproved(card)


def keep_report(report: Report, target: Path) -> Path:
    """Write the report beside where images go, and the private pictures of pairs."""
    stem = target.with_name(target.name.removesuffix(".zip"))
    path = stem.with_name(f"{stem.name}_memorisation.json")
    text = json.dumps(report.to_dict(), indent=1, default=json_value)
    write_whole(path, text.encode(), parents=True)
    pairs = stem.with_name(f"{stem.name}_pairs_private.png")
    if report.shown:
        write_whole(pairs, png_bytes(np.asarray(report.sheet())))
    else:
        pairs.unlink(missing_ok=True)  # of an earlier export of this name
    return path


def to_do(report: Report) -> str:
    """Say what lets the images through the gate."""
    if not report.copies:
        return "Give the training images as training=, or choose gate='warn' to export unassessed."
    seeds = sorted({pair.seed for pair in report.copies if pair.seed is not None})
    more = f" and {len(seeds) - NAMED:,} more" if len(seeds) > NAMED else ""
    return f"Leave out seeds {', '.join(map(str, seeds[:NAMED]))}{more}."


def _unproved(card: ModelCard) -> str:
    data = card.training.get("data") or card.dataset or "nobody says what"
    return f"Whether {card.id} was trained on these images is not known; its card says: {data}."


def _of_its_run(card: ModelCard, runs: str | Path) -> CopyDetector | str:
    run_id = card.training.get("run")
    folder = known_runs(runs).get(str(run_id)) if run_id else None
    if folder is None:
        return "the training images were not given, and the run that made the model is not here"
    try:
        return CopyDetector(images_of_run(folder))
    except (MedganError, OSError) as error:
        log.info("the data of %s cannot be read again: %s", folder, error)
        # Without their place: the sentence goes into reports, and a folder may name somebody.
        return "the training images of its run cannot be read again as they were"
