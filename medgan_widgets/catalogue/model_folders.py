"""The model folders of this machine, read once: cards, where they lie, what is broken."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue.words import words_of
from medgan_widgets.downloads import cached_package
from medgan_widgets.errors import CardError, MedganError
from medgan_widgets.medigan import dependencies
from medgan_widgets.medigan.facts import medigan_cards
from medgan_widgets.medigan.metadata import METADATA, read_metadata
from medgan_widgets.medigan.packages import PackageSpec, medigan_packages
from medgan_widgets.medigan.trust import consent_to

log = logging.getLogger(__name__)

Kind = Literal["now", "consent", "download", "packages", "interpreter", "image", "damaged"]


class Broken(NamedTuple):
    """A model that cannot be listed, and why."""

    path: Path
    reason: str


class Shadowed(NamedTuple):
    """A model that is not listed because one found earlier has the same id."""

    id: str
    path: str
    used: str


class RunsHere(NamedTuple):
    """Whether a model can generate here: what stands in the way, in a word and a sentence."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Shelf:
    """What was found at one moment; never changed, only replaced by a newer one."""

    cards: Mapping[str, ModelCard]
    folders: Mapping[str, Path]
    broken: tuple[Broken, ...]
    shadowed: tuple[Shadowed, ...]
    words: Mapping[str, Mapping[str, float]]
    missing: frozenset[str] = field(default_factory=frozenset)
    specs: Mapping[str, PackageSpec] = field(default_factory=dict)


def load(folder: str | Path | None, mirror: str | Path | None = None) -> Shelf:
    """Read the cards of the named folder, ``./models`` and the bundled ones, then medigan's.

    A mirror that is a folder may list further models of medigan's form.
    """
    cards: dict[str, ModelCard] = {}
    folders: dict[str, Path] = {}
    broken: list[Broken] = []
    shadowed: list[Shadowed] = []
    for place in _places(folder, broken):
        try:
            card = _read(place)
        except CardError as error:
            broken.append(Broken(place, str(error)))
            continue
        if card.id in cards:
            shadowed.append(Shadowed(card.id, str(place), str(folders[card.id])))
            continue
        cards[card.id], folders[card.id] = card, place
    further, specs, left_out = _mirrored(mirror)
    broken += left_out
    for card in (*medigan_cards(), *further):
        if card.id in cards:
            shadowed.append(Shadowed(card.id, "medigan", str(folders.get(card.id, "medigan"))))
        cards.setdefault(card.id, card)
    dependencies.forget()  # packages installed a moment ago count as well
    packages = {package for card in cards.values() for package in card.needs.packages}
    return Shelf(
        cards=MappingProxyType(cards),
        folders=MappingProxyType(folders),
        broken=tuple(broken),
        shadowed=tuple(shadowed),
        words={name: words_of(card) for name, card in cards.items()},
        missing=frozenset(package for package in packages if not dependencies.importable(package)),
        specs=MappingProxyType({**medigan_packages(), **specs}),
    )


def _mirrored(
    mirror: str | Path | None,
) -> tuple[tuple[ModelCard, ...], Mapping[str, PackageSpec], list[Broken]]:
    """Read what a mirror lists besides medigan's own; an address lists nothing."""
    if mirror is None or str(mirror).startswith(("http://", "https://")):
        return (), {}, []
    root = Path(mirror).expanduser()
    if not root.is_dir():
        return (), {}, [Broken(root, f"{root} is not a folder; no packages can come from it.")]
    listed = root / METADATA
    if not listed.exists():
        return (), {}, []
    cards, specs, broken = read_metadata(listed)
    return cards, specs, [Broken(listed, f"{name}: {reason}") for name, reason in broken]


def bundled() -> Path:
    """Return the folder of the models that come with the package."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def runs_here(card: ModelCard, known: Shelf) -> RunsHere:
    """Return what stands between a card and its images on this machine."""
    if card.origin == "local":
        missing = [package for package in card.needs.packages if package in known.missing]
        return _local_runs(card, known.folders.get(card.id), missing)
    return _medigan_runs(card, known.specs[card.id])


def _medigan_runs(card: ModelCard, spec: PackageSpec) -> RunsHere:
    package = cached_package(card.id)
    try:
        consent = consent_to(card.id, package.sha256 if package else None)
        python = consent.python if consent else None
        found = dependencies.check_dependencies(spec.requires, spec.ignored, python)
    except MedganError as error:  # a damaged lock, an interpreter that is gone
        return RunsHere("damaged", str(error))
    if found.missing:
        needs = f"Needs packages: {', '.join(found.missing)}. Type: {found.pip}"
        if not card.needs.python:
            return RunsHere("packages", needs)
        return RunsHere("interpreter", f"Needs {card.needs.python}. {needs}")
    if package is None:
        size = card.needs.download_mb
        text = f"a download of {size:g} MB" if size else "a download (size not known before it)"
        return RunsHere("download", f"Needs {text}, then your yes to its code.")
    if consent is None:
        return RunsHere("consent", "Downloaded; needs your yes to run its authors' code.")
    return RunsHere("now", "Runs here now, in a process of its own.")


def _local_runs(card: ModelCard, folder: Path | None, missing: list[str]) -> RunsHere:
    if card.needs.python:
        return RunsHere("interpreter", f"Needs {card.needs.python}.")
    if missing:
        return RunsHere("packages", f"Needs packages: {', '.join(missing)}.")
    if card.weights is None or folder is None:
        return RunsHere("damaged", "Its card names no weights, so there is nothing to run.")
    weights = folder / card.weights.file
    try:
        size = weights.stat().st_size
    except OSError:
        return RunsHere("damaged", f"Its weights {weights} are gone; put them back.")
    if size != card.weights.bytes:
        expected = f"{card.weights.bytes:,} bytes"
        return RunsHere("damaged", f"Its weights {weights} have {size:,} bytes, not {expected}.")
    if card.needs.image:
        return RunsHere("image", "Needs an image of yours.")
    return RunsHere("now", "Runs here now.")


def _places(folder: str | Path | None, broken: list[Broken]) -> Iterator[Path]:
    """Yield each model folder once, in the order in which ids win."""
    named = [] if folder is None else [Path(folder)]
    try:
        named = [place.expanduser() for place in named]
    except RuntimeError:  # "~somebody", whom this machine does not know
        log.debug("no such home: %s", named)
    if named and not named[0].is_dir():
        broken.append(Broken(named[0], f"{named[0]} is not a folder; no models were read from it."))
    seen: set[Path] = set()
    for root in (*named, Path("models"), bundled()):
        try:
            root = root.resolve()
            if root in seen or not root.is_dir():
                continue
            seen.add(root)
            places = [root] if (root / "card.json").exists() else sorted(root.iterdir())
        except (OSError, RuntimeError, ValueError) as error:
            broken.append(Broken(root, f"{root} cannot be read: {error}."))
            continue
        yield from (place for place in places if _looks_like_a_model(place))


def _looks_like_a_model(place: Path) -> bool:
    try:
        if place.name.startswith(".") or not place.is_dir():
            return False
        # A link that leads nowhere is a model too: a broken one.
        return any(os.path.lexists(place / name) for name in ("card.json", "generator.safetensors"))
    except OSError:
        log.debug("passed over %s", place, exc_info=True)
        return False


def _read(place: Path) -> ModelCard:
    card = ModelCard.read(place / "card.json")
    if card.origin != "local":
        raise CardError(f"{place / 'card.json'}: origin must be 'local' for a model in a folder.")
    return card
