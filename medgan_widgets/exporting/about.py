"""What a person says of a model, checked; and the card's fields that follow from its network."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgan_widgets.cards import MODALITIES, ORGANS, UNKNOWN, DataStatement, ModelCard
from medgan_widgets.catalogue.words import known_as
from medgan_widgets.errors import RequestError
from medgan_widgets.exporting.model_folder import fault, free_place

if TYPE_CHECKING:
    from medgan_widgets.networks import Generator

log = logging.getLogger(__name__)

ARCHITECTURES = {"residual": "residual GAN", "dcgan": "DCGAN", "stylegan2": "style-based GAN"}
NOT_FOR_DIAGNOSIS = (
    "For research and teaching, never for diagnosis. Whether the generator repeats training "
    "images was not assessed here."
)


@dataclass(frozen=True)
class About:
    """What no run knows and a person has to say; see :func:`check_model`."""

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


def check_model(
    model_id: str,
    *,
    phantom: str | None = None,
    factors: Iterable[str] = (),
    title: str | None = None,
    modality: str | None = None,
    organ: str | None = None,
    region: str | None = None,
    makes: str | None = None,
    licence: str | None = None,
    statement: DataStatement | Mapping[str, str] | None = None,
    models: str | Path = "models",
    limits: str = "",
    overwrite: bool = False,
) -> tuple[Path, About, DataStatement]:
    """Check all that a person says of a model, which is worth doing before training it.

    Parameters
    ----------
    phantom
        The kind of phantom that it learns from, which knows what it shows; None for images.
    factors
        What its classes are called.
    model_id, title, modality, organ, region, makes, licence, statement, models, limits, overwrite
        As for :func:`~medgan_widgets.exporting.make_model`, which checks them in the same way.

    Returns
    -------
    tuple
        The folder it goes to, what it shows with nothing left open, and the statement.

    Raises
    ------
    RequestError
        When a fact is missing or no text, or the name is none or taken.
    SaveError
        When the models' folder cannot be written to.

    Examples
    --------
    >>> check_model("knee", modality="MR")
    Traceback (most recent call last):
    ...
    medgan_widgets.errors.RequestError: organ must be one of brain, breast, chest, lung, colon,
    heart, abdomen, knee, hip, spine, skin, eye, prostate, liver, kidney, other, or a word of
    yours; it was not given.
    """
    place = free_place(models, model_id, overwrite)
    said = About(title, modality, organ, region, makes)
    known = PHANTOMS.get((phantom or "").removeprefix("phantom:"))
    if known is not None:
        given = {name: text for name, text in asdict(said).items() if text}
        said = replace(known, **{"title": f"{known.title}, {known.region}", **given})
    about, stated = _checked_about(said, tuple(factors)), _checked_statement(statement)
    try:
        ModelCard(
            id=model_id, **asdict(about), licence=licence or None, statement=stated, limits=limits,
            function="noise to image", size=(1, 1), dataset=None, year=None, architecture=UNKNOWN,
        )  # fmt: skip
    except ValueError as error:
        raise RequestError(f"these facts make no model card: {fault(error)}.") from None
    return place, about, stated


def _checked_about(said: About, factors: Sequence[str]) -> About:
    modality, organ = (
        _word("modality", said.modality, MODALITIES),
        _word("organ", said.organ, ORGANS),
    )
    region = (said.region or "").strip() or UNKNOWN
    steered = f", by {', '.join(factors)}" if factors else ""
    return About(
        said.title or f"{modality} {organ}" + (f", {region}" if region != UNKNOWN else ""),
        modality,
        organ,
        region,
        said.makes or f"{organ} image{steered}",
    )


def _checked_statement(given: DataStatement | Mapping[str, str] | None) -> DataStatement:
    try:
        return given if isinstance(given, DataStatement) else DataStatement(**(given or {}))
    except (ValueError, TypeError) as error:
        have = ", ".join(DataStatement.model_fields)
        raise RequestError(f"statement must be texts for {have}; got {given!r:.80}.") from error


def card_facts(
    model_id: str,
    about: About,
    network: str,
    settings: dict[str, Any],
    generator: Generator,
    factors: Mapping[str, Sequence[Any]],
) -> dict[str, Any]:
    """Return the card's fields that a network and a person tell, whatever it was trained on."""
    return {
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
        "style_layers": generator.style_layers,
    }


def _word(name: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or not value.strip():
        got = "it was not given" if value in (None, "") else f"got {value!r:.60}"
        raise RequestError(f"{name} must be one of {', '.join(known)}, or a word of yours; {got}.")
    word, note = known_as(value.strip(), known)
    if note:
        log.warning("%s %s", name, note)
    return word
