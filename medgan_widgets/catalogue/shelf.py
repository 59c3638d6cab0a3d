"""The model folders of this machine, read once: cards, where they lie, what is broken."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from medgan_widgets.cards import ModelCard
from medgan_widgets.catalogue.words import words_of
from medgan_widgets.errors import CardError
from medgan_widgets.medigan.facts import medigan_cards

log = logging.getLogger(__name__)

Kind = Literal["now", "download", "packages", "interpreter", "image", "damaged"]
NOT_YET = "Generating with medigan's models is not built yet in this version."


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


def load(folder: str | Path | None) -> Shelf:
    """Read every card of the named folder, ``./models`` and the bundled models, then medigan's."""
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
    for card in medigan_cards():
        if card.id in cards:
            shadowed.append(Shadowed(card.id, "medigan", str(folders[card.id])))
        cards.setdefault(card.id, card)
    importlib.invalidate_caches()  # packages installed a moment ago count as well
    packages = {package for card in cards.values() for package in card.needs.packages}
    return Shelf(
        cards=MappingProxyType(cards),
        folders=MappingProxyType(folders),
        broken=tuple(broken),
        shadowed=tuple(shadowed),
        words={name: words_of(card) for name, card in cards.items()},
        missing=frozenset(package for package in packages if not importable(package)),
    )


def bundled() -> Path:
    """Return the folder of the models that come with the package."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def importable(package: str) -> bool:
    """Return whether ``import package`` would find a module, without importing it.

    Examples
    --------
    >>> importable("json"), importable("no_such_package")
    (True, False)
    """
    try:
        spec = importlib.util.find_spec(package.split(".")[0])
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # a bare folder of that name is no package


def runs_here(card: ModelCard, shelf: Shelf) -> RunsHere:
    """Return what stands between a card and its images on this machine."""
    missing = [package for package in card.needs.packages if package in shelf.missing]
    if card.origin == "local":
        return _local_runs(card, shelf.folders.get(card.id), missing)
    size = card.needs.download_mb
    download = f"a download of {size:g} MB" if size else "a download (size not known before it)"
    needs = [download]
    if missing:
        needs.append(f"packages: {', '.join(missing)}")
    if card.needs.python:
        needs.append(card.needs.python)
    if card.needs.image:
        needs.append("an image of yours")
    kind: Kind = "download"
    if card.needs.python:
        kind = "interpreter"
    elif missing:
        kind = "packages"
    elif card.needs.image:
        kind = "image"
    return RunsHere(kind, f"{NOT_YET} It needs {'; '.join(needs)}.")


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
