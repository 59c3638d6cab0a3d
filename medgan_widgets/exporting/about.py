"""What a person says of a model, checked; and the card's fields that follow from its network."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from medgan_widgets.cards import MODALITIES, ORGANS, UNKNOWN, DataStatement, ModelCard
from medgan_widgets.errors import RequestError
from medgan_widgets.exporting.model_folder import fault, free_folder
from medgan_widgets.vocabulary import known_as

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
    folder = free_folder(models, model_id, overwrite)
    about = About(title, modality, organ, region, makes)
    if known := PHANTOMS.get((phantom or "").removeprefix("phantom:")):
        given = {name: text for name, text in asdict(about).items() if text}
        about = replace(known, **{"title": f"{known.title}, {known.region}", **given})
    about = _completed(about, tuple(factors))
    try:
        stated = (
            statement
            if isinstance(statement, DataStatement)
            else DataStatement(**(statement or {}))
        )
    except (ValidationError, TypeError) as error:
        have = ", ".join(DataStatement.model_fields)
        text = f"statement must be texts for {have}; got {statement!r:.80}."
        raise RequestError(text) from error
    try:  # the fields that a network will tell are made up here
        ModelCard(
            id=model_id, **asdict(about), licence=licence or None, statement=stated, limits=limits,
            function="noise to image", size=(1, 1), dataset=None, year=None, architecture=UNKNOWN,
        )  # fmt: skip
    except ValidationError as error:
        raise RequestError(f"these facts make no model card: {fault(error)}.") from None
    return folder, about, stated


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
        **asdict(about),
        "id": model_id,
        "description": f"Makes synthetic images: {about.makes}.",
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


def _completed(about: About, factors: Sequence[str]) -> About:
    """Return it with known words for modality and organ, and with nothing left open."""
    modality = _word("modality", about.modality, MODALITIES)
    organ = _word("organ", about.organ, ORGANS)
    region = (about.region or "").strip()
    steered = f", by {', '.join(factors)}" if factors else ""
    title = about.title or f"{modality} {organ}" + (f", {region}" if region else "")
    makes = about.makes or f"{organ} image{steered}"
    return About(title, modality, organ, region or UNKNOWN, makes)


def _word(name: str, value: object, known: tuple[str, ...]) -> str:
    if not isinstance(value, str) or not value.strip():
        got = "it was not given" if value in (None, "") else f"got {value!r:.60}"
        raise RequestError(f"{name} must be one of {', '.join(known)}, or a word of yours; {got}.")
    word, note = known_as(value.strip(), known)
    if note:
        log.warning("%s %s", name, note)
    return word
