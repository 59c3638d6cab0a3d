"""From a run to a model: a card, weights and pictures that the catalogue finds at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgan_widgets.cards import MODALITIES, ORGANS, UNKNOWN, DataStatement, ModelCard, ScoreCard
from medgan_widgets.errors import DataError, RequestError, WeightsError
from medgan_widgets.export.model_folder import free_place, write_model_folder
from medgan_widgets.requests import Score
from medgan_widgets.runs import WEIGHTS, read_run, run_state

if TYPE_CHECKING:
    from medgan_widgets.networks import Generator

ARCHITECTURES = {"residual": "residual GAN", "dcgan": "DCGAN", "stylegan2": "StyleGAN2"}
NOT_FOR_DIAGNOSIS = (
    "For research and teaching, never for diagnosis. Whether the generator repeats training "
    "images was not assessed here."
)


@dataclass(frozen=True)
class About:
    """What no run knows and a person has to say; see :func:`checked_about`."""

    title: str | None
    modality: str | None
    organ: str | None
    region: str | None
    makes: str | None


PHANTOMS = {
    "brain_mri": About(
        "Brain MRI phantom", "MR", "brain", "axial slice", "slice with/without tumour"
    ),
    "chest_xray": About(
        "Chest X-ray phantom", "DX", "chest", "PA view", "chest with/without nodule"
    ),
    "mammogram": About("Mammogram phantom", "MG", "breast", "mass ROI", "tissue with/without mass"),
}


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
    licence
        Of the weights; None stays "not stated".
    statement
        Where the data comes from; what is left out says UNKNOWN.
    models
        The folder of models to write into.
    limits
        What it is not good for.
    score
        Figures; by default that of the run's last tick, if there is one.
    overwrite
        Whether a model of that name is replaced, folder and all.

    Raises
    ------
    RequestError
        When a fact is missing or outside the vocabulary, or the name is taken.
    DataError
        When the folder is no run, is damaged, or was written by a newer version.
    WeightsError
        When the run has no checkpoint, or its generator is damaged.
    SaveError
        When it cannot be written; nothing half written is left.

    Examples
    --------
    >>> try:
    ...     make_model("runs/none", "mine")
    ... except DataError as error:
    ...     str(error)[:52]
    'runs/none is not a run directory that can be read: ['
    """
    from medgan_widgets.checkpoints import read_generator

    place, said = free_place(models, model_id, overwrite), checked_statement(statement)
    run = _read_run(Path(run_dir))
    about = _about_run(run, About(title, modality, organ, region, makes))
    name, settings = run.config["settings"]["network"], dict(run.config["network"])
    sha256 = _checkpoint(run.folder)
    generator = read_generator(run.folder / WEIGHTS, name, settings, sha256)
    facts = {
        **card_facts(model_id, about, name, settings, generator, run.factors),
        "licence": licence or None,
        "dataset": _dataset(run, said),
        "statement": _statement(run, said),
        "phantom": run.phantom,
        "scores": _scores(score, run),
        "training": {**_training(run), "checkpoint": sha256},
        "limits": " ".join(filter(None, [limits, _limits(run)])),
    }
    return write_model_folder(place, facts, generator)


def card_facts(
    model_id: str,
    about: About,
    network: str,
    settings: dict[str, Any],
    generator: Generator,
    factors: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """Return the card's fields that a network and a person tell, whatever it was trained on."""
    facts = {
        "id": model_id,
        "title": about.title,
        "description": f"Makes synthetic images: {about.makes}.",
        "modality": about.modality,
        "organ": about.organ,
        "region": about.region,
        "makes": about.makes,
        "function": "class to image" if factors else "noise to image",
        "condition": {name: tuple(values) for name, values in factors.items()},
        "truncation": hasattr(generator, "w_mean"),
        "size": (generator.size, generator.size),
        "channels": generator.channels,
        "year": datetime.now(UTC).year,
        "architecture": ARCHITECTURES.get(network, network),
        "network": {"name": network, "settings": settings},
    }
    layers = getattr(generator, "layers", None)
    if "style_layers" in ModelCard.model_fields and isinstance(layers, int):  # dcgan's are modules
        facts["style_layers"] = layers
    return facts


def checked_about(said: About, factors: Mapping[str, Sequence[Any]]) -> About:
    """Return what a person said of their images with nothing left open, or ask for it.

    Raises
    ------
    RequestError
        Naming the choices.
    """
    modality = _chosen("modality", (said.modality or "").upper(), MODALITIES)
    organ = _chosen("organ", (said.organ or "").lower(), ORGANS)
    region = (said.region or "").strip() or UNKNOWN
    steered = f", by {', '.join(factors)}" if factors else ""
    return About(
        said.title or f"{modality} {organ}" + (f", {region}" if region != UNKNOWN else ""),
        modality,
        organ,
        region,
        said.makes or f"{organ} image{steered}",
    )


def checked_statement(given: DataStatement | Mapping[str, str] | None) -> DataStatement:
    """Return what was said of the data; blanks become UNKNOWN.

    Raises
    ------
    RequestError
        For a field that a statement does not have, or one that is no text.
    """
    try:
        return given if isinstance(given, DataStatement) else DataStatement(**(given or {}))
    except (ValueError, TypeError) as error:
        have = ", ".join(DataStatement.model_fields)
        raise RequestError(f"statement must be texts for {have}; got {given!r:.80}.") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class _Run:
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


def _read_run(folder: Path) -> _Run:
    config, ticks = read_run(folder)
    missing = [name for name in ("settings", "network", "data") if name not in config]
    if missing or "network" not in config["settings"]:
        raise DataError(f"{folder / 'config.json'} lacks {', '.join(missing) or 'the network'}.")
    try:
        data = json.loads((folder / "data.json").read_text("utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no object")
    except FileNotFoundError:
        data = {}  # a run of the first format, or one that was given on without it
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'data.json'} is damaged: {error}.") from None
    last = ticks[-1] if ticks else None
    kept = run_state(folder).checkpoint_kimg
    kimg = kept if kept is not None else (last.kimg if last else 0.0)
    # A tick after the checkpoint judged other weights.
    judged = last is not None and abs(last.kimg - kimg) < 1e-6
    return _Run(folder, config, data, kimg, last.score if last and judged else None)


def _checkpoint(folder: Path) -> str:
    try:
        return file_sha256(folder / WEIGHTS)
    except OSError:
        raise WeightsError(
            f"{folder} has no checkpoint yet (expected {WEIGHTS.as_posix()}); train it until the "
            "first one is written, or stop it, which writes one."
        ) from None


def _about_run(run: _Run, said: About) -> About:
    known = PHANTOMS.get(str(run.config["data"])) if run.phantom else None
    if known is not None:
        given = {name: text for name, text in asdict(said).items() if text}
        said = replace(known, **{"title": f"{known.title}, {known.region}", **given})
    return checked_about(said, run.factors)


def _chosen(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        got = f"got {value!r}" if value else "it was not given"
        raise RequestError(f"{name} must be one of {', '.join(choices)}; {got}.")
    return value


def _statement(run: _Run, said: DataStatement) -> DataStatement:
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


def _dataset(run: _Run, said: DataStatement) -> str | None:
    if run.phantom:
        return f"procedural phantoms ({run.config['data']})"
    return None if said.source == UNKNOWN else said.source  # never the folder: it may name somebody


def _training(run: _Run) -> dict[str, str | int | float]:
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
            "parent": Path(str(parent.get("what"))).name,  # not where it lies
            "parent_run": parent.get("run_id"),
            "parent_sha256": parent.get("sha256"),
        }
    return {name: value for name, value in told.items() if value is not None}


def _apart(data: Mapping[str, Any]) -> str | None:
    groups = data.get("groups")
    return None if groups is None else f"{groups} groups, each on one side of the split"


def _counts(run: _Run) -> str:
    data, kind = run.data, "phantoms" if run.phantom else "images"
    if "count" not in data:
        return f"{run.config.get('pool', 'unknown number of')} {kind}"
    parts = [f"{data['train']} to train on"] if "train" in data else []
    parts += [f"{data['test']} to judge by"] if data.get("test") else []
    return f"{data['count']} {kind}" + (f": {', '.join(parts)}" if parts else "")


def _limits(run: _Run) -> str:
    if run.phantom:
        return f"A phantom: no patient is behind any image. {NOT_FOR_DIAGNOSIS}"
    note = str(run.data.get("group_note") or "").rstrip(".")
    return NOT_FOR_DIAGNOSIS + (f" {note[0].upper()}{note[1:]}." if note else "")


def _scores(
    given: Score | ScoreCard | Sequence[Score | ScoreCard] | None, run: _Run
) -> tuple[ScoreCard, ...]:
    if given is None:
        known = [] if run.score is None else [dict(run.score)]
    else:
        several = [given] if isinstance(given, (Score, ScoreCard)) else list(given)
        known = [one.to_score().to_dict() if isinstance(one, ScoreCard) else one.to_dict()
                 for one in several]  # fmt: skip
    names = {one.name for one in fields(Score)} & set(ScoreCard.model_fields)
    try:
        return tuple(ScoreCard(**{k: v for k, v in one.items() if k in names}) for one in known)
    except ValueError as error:
        raise RequestError(f"score cannot be used: {str(error).splitlines()[-1].strip()}") from None
