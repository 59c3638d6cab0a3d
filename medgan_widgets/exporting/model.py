"""From a run to a model: a card, weights and pictures that the catalogue finds at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from medgan_widgets.cards import DataStatement, ModelCard, ScoreCard
from medgan_widgets.errors import RequestError
from medgan_widgets.exporting.about import card_facts, check_model
from medgan_widgets.exporting.model_folder import write_model_folder
from medgan_widgets.exporting.run_facts import (
    Run,
    checkpoint_sha256,
    dataset_of,
    limits_of,
    read_facts,
    statement_of,
    training_of,
)
from medgan_widgets.requests import Score
from medgan_widgets.runs import WEIGHTS

log = logging.getLogger(__name__)


def make_model(
    run_dir: str | Path,
    model_id: str,
    *,
    title: str | None = None,
    modality: str | None = None,
    organ: str | None = None,
    region: str | None = None,
    makes: str | None = None,
    licence: str | None = None,
    statement: DataStatement | Mapping[str, str] | None = None,
    models: str | Path = "models",
    limits: str = "",
    score: Score | ScoreCard | Sequence[Score | ScoreCard] | None = None,
    overwrite: bool = False,
) -> ModelCard:
    """Make a model of a run: weights, card, README and pictures in ``models/<model_id>``.

    The weights are stored as fp16 where that changes no pixel of 64 seeds by
    more than one grey level, else as fp32; the card says which. Nothing that
    names a file or folder of yours goes into it.

    Parameters
    ----------
    run_dir
        A run with a checkpoint; it may still be training.
    model_id
        The model's name: letters, digits, ``.``, ``_``, ``-``.
    title, modality, organ, region, makes
        What it shows, as in :class:`~medgan_widgets.cards.ModelCard`; phantoms know theirs.
        Modality and organ are the usual words (MRI is written MR) or any others.
    licence
        Of the weights; None stays "not stated".
    statement
        Where the data comes from; what is left out says UNKNOWN.
    models
        The folder of models to write into.
    limits
        What it is not good for.
    score
        Figures; by default that of the run's last tick, if there is one. None by
        ``"phantom-cnn-1"``, which knows phantoms only, for a model of other images.
    overwrite
        Whether a model of that name is replaced, folder and all.

    Raises
    ------
    RequestError
        When a fact is missing or no text, or the name is taken; ``check_model`` tells before.
    DataError
        When the folder is no run, is damaged, or was written by a newer version.
    WeightsError
        When the run has no checkpoint, or its generator is damaged.
    SaveError
        When it cannot be written; nothing half written is left.

    Examples
    --------
    >>> from medgan_widgets.errors import DataError
    >>> try:
    ...     make_model("runs/none", "mine")
    ... except DataError as error:
    ...     str(error)[:52]
    'runs/none is not a run directory that can be read: ['
    """
    from medgan_widgets.checkpoints import read_generator

    run = read_facts(Path(run_dir))
    place, about, said = check_model(
        model_id, phantom=str(run.config["data"]) if run.phantom else None, factors=run.factors,
        title=title, modality=modality, organ=organ, region=region, makes=makes, licence=licence,
        statement=statement, models=models, limits=limits, overwrite=overwrite,
    )  # fmt: skip
    name, settings = run.config["settings"]["network"], dict(run.config["network"])
    sha256 = checkpoint_sha256(run.folder)
    generator = read_generator(run.folder / WEIGHTS, name, settings, sha256)
    facts = {
        **card_facts(model_id, about, name, settings, generator, run.factors),
        "licence": licence or None,
        "dataset": dataset_of(run, said),
        "statement": statement_of(run, said),
        "phantom": run.phantom,
        "scores": _scores(score, run),
        "training": {**training_of(run), "checkpoint": sha256},
        "class_counts": run.data.get("class_counts") or () if run.factors else (),
        "preprocessing": run.data.get("preprocessing") or {},
        "limits": " ".join(filter(None, [limits, limits_of(run)])),
    }
    return write_model_folder(place, facts, generator)


def _scores(
    given: Score | ScoreCard | Sequence[Score | ScoreCard] | None, run: Run
) -> tuple[ScoreCard, ...]:
    from medgan_widgets.features import CANONICAL, PHANTOM_CNN

    if given is None:
        known = [] if run.score is None else [dict(run.score)]
    else:
        several = [given] if isinstance(given, (Score, ScoreCard)) else list(given)
        known = [one.to_score().to_dict() if isinstance(one, ScoreCard) else one.to_dict()
                 for one in several]  # fmt: skip
    if not run.phantom and any(one.get("extractor") == PHANTOM_CNN for one in known):
        why = f"{PHANTOM_CNN} knows phantoms only; measure with extractor={CANONICAL!r}."
        if given is not None:
            raise RequestError(f"score cannot be used: {why}")
        log.warning("The card has no score, for the run's own says nothing: %s", why)
        known = []
    names = {one.name for one in fields(Score)} & set(ScoreCard.model_fields)
    try:
        return tuple(ScoreCard(**{k: v for k, v in one.items() if k in names}) for one in known)
    except ValueError as error:
        raise RequestError(f"score cannot be used: {str(error).splitlines()[-1].strip()}") from None
