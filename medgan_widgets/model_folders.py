"""The models of this machine, read once: cards, their folders, what is broken, what runs here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from medgan_widgets.cards import ModelCard
from medgan_widgets.downloads import cached_package
from medgan_widgets.errors import CardError, MedganError
from medgan_widgets.medigan import dependencies
from medgan_widgets.medigan.facts import medigan_cards
from medgan_widgets.medigan.metadata import METADATA, read_metadata
from medgan_widgets.medigan.packages import PackageSpec, medigan_packages
from medgan_widgets.medigan.trust import consent_to
from medgan_widgets.vocabulary import words_of

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
class Models:
    """What was found at one moment; never changed, only replaced by a newer one."""

    cards: Mapping[str, ModelCard]
    folders: Mapping[str, Path]  # of local models
    specs: Mapping[str, PackageSpec]  # of medigan's
    broken: tuple[Broken, ...]
    shadowed: tuple[Shadowed, ...]
    words: Mapping[str, Mapping[str, float]]  # of each card, for the search
    known: frozenset[str]  # the words of all cards


def load(folder: str | Path | None, mirror: str | Path | None = None) -> Models:
    """Read the cards of the named folder, ``./models`` and the bundled ones, then medigan's.

    A mirror that is a folder may list further models of medigan's form.
    """
    cards: dict[str, ModelCard] = {}
    folders: dict[str, Path] = {}
    broken: list[Broken] = []
    shadowed: list[Shadowed] = []
    for path in _folders(folder, broken):
        try:
            card = ModelCard.read(path / "card.json")
            if card.origin != "local":
                raise CardError(f"{path}: the origin of a model in a folder must be 'local'.")
        except CardError as error:
            broken.append(Broken(path, str(error)))
            continue
        if card.id in cards:
            shadowed.append(Shadowed(card.id, str(path), str(folders[card.id])))
        else:
            cards[card.id], folders[card.id] = card, path
    further, specs = _mirrored(mirror, broken)
    for card in (*medigan_cards(), *further):
        if card.id in cards:
            shadowed.append(Shadowed(card.id, "medigan", str(folders.get(card.id, "medigan"))))
        cards.setdefault(card.id, card)
    dependencies.forget()  # packages installed a moment ago count as well
    words = {name: words_of(card) for name, card in cards.items()}
    return Models(
        cards, folders, {**medigan_packages(), **specs}, tuple(broken), tuple(shadowed), words,
        frozenset(word for weights in words.values() for word in weights),
    )  # fmt: skip


def bundled() -> Path:
    """Return the folder of the models that come with the package."""
    package = Path(__file__).resolve().parent
    inside = package / "models"
    return inside if inside.is_dir() else package.parent / "models"


def runs_here(card: ModelCard, models: Models) -> RunsHere:
    """Return what stands between a card and its images on this machine, as it is now."""
    if card.origin == "medigan":
        return _package_runs(card, models.specs[card.id])
    missing = [name for name in card.needs.packages if not dependencies.importable(name)]
    folder = models.folders[card.id]
    if card.needs.python:
        return RunsHere("interpreter", f"Needs {card.needs.python}.")
    if missing:
        return RunsHere("packages", f"Needs packages: {', '.join(missing)}.")
    if card.weights is None:
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


def _package_runs(card: ModelCard, spec: PackageSpec) -> RunsHere:
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


def _mirrored(
    mirror: str | Path | None, broken: list[Broken]
) -> tuple[tuple[ModelCard, ...], Mapping[str, PackageSpec]]:
    """Read what a mirror lists besides medigan's own; an address lists nothing."""
    if mirror is None or str(mirror).startswith(("http://", "https://")):
        return (), {}
    root = Path(mirror).expanduser()
    listed = root / METADATA
    if not root.is_dir():
        broken.append(Broken(root, f"{root} is not a folder; no packages can come from it."))
    if not listed.exists():
        return (), {}
    cards, specs, left_out = read_metadata(listed)
    broken += [Broken(listed, f"{name}: {reason}") for name, reason in left_out]
    return cards, specs


def _folders(folder: str | Path | None, broken: list[Broken]) -> Iterator[Path]:
    """Yield each model folder once, in the order in which ids win."""
    roots = [Path("models"), bundled()]
    if folder is not None:
        named = Path(folder).expanduser()
        roots.insert(0, named)
        if not named.is_dir():
            broken.append(Broken(named, f"{named} is not a folder; no models were read from it."))
    for root in dict.fromkeys(root.resolve() for root in roots if root.is_dir()):
        try:
            inside = [root] if (root / "card.json").exists() else sorted(root.iterdir())
        except OSError as error:
            broken.append(Broken(root, f"{root} cannot be read: {error}."))
            continue
        for path in inside:
            # A link that leads nowhere is a model too: a broken one.
            files = (path / "card.json", path / "generator.safetensors")
            if not path.name.startswith(".") and any(map(os.path.lexists, files)):
                yield path
