"""From a run to a model: a card, weights and pictures that the catalogue finds at once."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from medgan_widgets.cards import UNKNOWN, DataStatement, ModelCard, ScoreCard
from medgan_widgets.errors import DataError, RequestError, WeightsError
from medgan_widgets.exporting.about import NOT_FOR_DIAGNOSIS, PHANTOMS, card_facts, check_model
from medgan_widgets.exporting.model_folder import write_model_folder
from medgan_widgets.files import file_sha256
from medgan_widgets.requests import Score
from medgan_widgets.runs import WEIGHTS, read_run, run_state

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

    run = _read(Path(run_dir))
    folder, about, stated = check_model(
        model_id, phantom=run.config["data"] if run.phantom else None, factors=run.factors,
        title=title, modality=modality, organ=organ, region=region, makes=makes, licence=licence,
        statement=statement, models=models, limits=limits, overwrite=overwrite,
    )  # fmt: skip
    name, settings = run.config["settings"]["network"], dict(run.config["network"])
    try:
        sha256 = file_sha256(run.folder / WEIGHTS)
    except OSError:
        raise WeightsError(
            f"{run.folder} has no checkpoint yet (expected {WEIGHTS.as_posix()}); train it until "
            "the first one is written, or stop it, which writes one."
        ) from None
    generator = read_generator(run.folder / WEIGHTS, name, settings, sha256)
    dataset = None if stated.source == UNKNOWN else stated.source  # no folder: it may name somebody
    fixed_limits = NOT_FOR_DIAGNOSIS
    if run.phantom:
        dataset = f"procedural phantoms ({run.config['data']})"
        known = {
            "source": dataset,
            "licence": "not needed: drawn by this package",
            "approval": "not needed: no patients",
            "deidentification": "not needed: no patients",
        }
        stated = stated.model_copy(update={blank: known[blank] for blank in stated.unknown})
        fixed_limits = f"A phantom: no patient is behind any image. {NOT_FOR_DIAGNOSIS}"
    elif note := str(run.data.get("group_note") or "").rstrip("."):
        fixed_limits += f" {note[0].upper()}{note[1:]}."
    facts = {
        **card_facts(model_id, about, name, settings, generator, run.factors),
        "licence": licence or None,
        "dataset": dataset,
        "statement": stated,
        "phantom": run.phantom,
        "scores": _scores(score, run),
        "training": {**_training(run), "checkpoint": sha256},
        "class_counts": run.data.get("class_counts") or () if run.factors else (),
        "preprocessing": run.data.get("preprocessing") or {},
        "limits": f"{limits} {fixed_limits}".strip(),
    }
    return write_model_folder(folder, facts, generator)


@dataclass(frozen=True)
class _Run:
    """What a run's files say."""

    folder: Path
    config: dict[str, Any]
    data: dict[str, Any]
    phantom: bool
    factors: dict[str, Any]
    kimg: float  # of the checkpoint
    score: Mapping[str, Any] | None  # of the checkpoint's weights


def _read(folder: Path) -> _Run:
    config, ticks = read_run(folder)
    missing = [name for name in ("settings", "network", "data") if name not in config]
    if missing or "network" not in config["settings"]:
        raise DataError(f"{folder / 'config.json'} lacks {', '.join(missing) or 'the network'}.")
    data: dict[str, Any] = {}
    path = folder / "data.json"
    if config.get("format", 1) > 1 or path.exists():  # the first format had none
        try:
            data = json.loads(path.read_text("utf-8"))
            if not isinstance(data, dict):
                raise ValueError("it holds no object")
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}.") from None
    kimg = run_state(folder).checkpoint_kimg
    if kimg is None:
        kimg = ticks[-1].kimg if ticks else 0.0
    # A tick after the checkpoint judged other weights.
    judged = ticks[-1].score if ticks and abs(ticks[-1].kimg - kimg) < 1e-6 else None
    # Older runs say by their kind alone that they learned from phantoms.
    phantom = bool(config.get("phantom", config["data"] in PHANTOMS))
    return _Run(folder, config, data, phantom, dict(config.get("factors") or {}), kimg, judged)


def _training(run: _Run) -> dict[str, str | int | float]:
    """Return what the card tells of the training; no path of a person's folders."""
    config, data, parent = run.config, run.data, run.config.get("start_from")
    facts: dict[str, Any] = {
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
        groups = facts["groups"] = data.get("groups")
        apart = None if groups is None else f"{groups} groups, each on one side of the split"
        facts["group"] = data.get("group_note") or apart
    if isinstance(parent, dict):  # a run goes by its number, not by its folder's name
        facts |= {
            "parent": parent.get("model"),
            "parent_run": parent.get("run_id"),
            "parent_sha256": parent.get("sha256"),
        }
    return {name: value for name, value in facts.items() if value is not None}


def _counts(run: _Run) -> str:
    data, kind = run.data, "phantoms" if run.phantom else "images"
    if "count" not in data:
        return f"{run.config.get('pool', 'unknown number of')} {kind}"
    parts = [f"{data['train']} to train on"] if "train" in data else []
    parts += [f"{data['test']} to judge by"] if data.get("test") else []
    return f"{data['count']} {kind}" + (f": {', '.join(parts)}" if parts else "")


def _scores(
    given: Score | ScoreCard | Sequence[Score | ScoreCard] | None, run: _Run
) -> tuple[ScoreCard, ...]:
    from medgan_widgets.features import CANONICAL, PHANTOM_CNN

    if given is None:
        scores = [dict(run.score)] if run.score else []
    else:
        several = [given] if isinstance(given, (Score, ScoreCard)) else given
        scores = [
            one.model_dump() if isinstance(one, ScoreCard) else one.to_dict() for one in several
        ]
    if not run.phantom and any(score.get("extractor") == PHANTOM_CNN for score in scores):
        why = f"{PHANTOM_CNN} knows phantoms only; measure with extractor={CANONICAL!r}."
        if given is not None:
            raise RequestError(f"score cannot be used: {why}")
        log.warning("The card has no score, for the run's own says nothing: %s", why)
        return ()
    names = {field.name for field in fields(Score)} & set(ScoreCard.model_fields)
    try:
        return tuple(ScoreCard(**{k: v for k, v in one.items() if k in names}) for one in scores)
    except ValueError as error:
        raise RequestError(f"score cannot be used: {str(error).splitlines()[-1].strip()}") from None
