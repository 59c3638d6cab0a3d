"""What a person says of a model, checked; and the card's fields that follow from its network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from medgan_widgets.cards import MODALITIES, ORGANS, UNKNOWN, DataStatement
from medgan_widgets.errors import RequestError

if TYPE_CHECKING:
    from medgan_widgets.networks import Generator

ARCHITECTURES = {"residual": "residual GAN", "dcgan": "DCGAN", "stylegan2": "style-based GAN"}
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
    facts["style_layers"] = generator.style_layers
    return facts


def _chosen(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        got = f"got {value!r}" if value else "it was not given"
        raise RequestError(f"{name} must be one of {', '.join(choices)}; {got}.")
    return value
