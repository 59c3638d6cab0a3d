"""From an image back to the data behind it: request, model, weights, run, data, parents.

Each step is found or missing, and says so in a sentence; the walk goes on as
far as it can, since half an answer is better than none.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import DataError, MedganError
from medgan_widgets.exporting.lineage import Lineage, TraceStep
from medgan_widgets.exporting.recipe import recipe_of, restore
from medgan_widgets.requests import GenerateRequest

_NAMED = re.compile(r"(?P<model>.+)_seed(?P<seed>\d+)_synthetic(_\d+)?")
MOST_FILES = 5000  # of a zip
MOST_BYTES = 100_000_000  # of one of them


@dataclass(frozen=True)
class Trace:
    """Where an image comes from, step by step; ``print`` shows it as a tree.

    Attributes
    ----------
    path
        The file.
    steps
        The first steps; each holds those that follow from it.
    request
        What makes the image again; None where that is not known, and for a zip.
    """

    path: Path
    steps: tuple[TraceStep, ...]
    request: GenerateRequest | None = field(default=None, compare=False)

    @property
    def all_steps(self) -> tuple[TraceStep, ...]:
        """Every step, in the order in which they are printed."""
        return tuple(step for first in self.steps for step, _ in first.walk())

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(step.found for step in self.all_steps)

    def step(self, kind: str) -> TraceStep | None:
        """Return the first step of a kind, e.g. ``"model"``, ``"run"`` or ``"data"``."""
        return next((step for step in self.all_steps if step.kind == kind), None)

    def __str__(self) -> str:
        """Return the steps as an indented tree, a line each."""
        return "\n".join(
            f"{'  ' * depth}{step.kind}: {'' if step.found else 'MISSING. '}{step.text}"
            for first in self.steps
            for step, depth in first.walk()
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain JSON values; of the file only its name."""
        steps = [step.to_dict() for step in self.steps]
        return {"file": self.path.name, "complete": self.complete, "steps": steps}


def trace(
    image: str | Path, *, models: str | Path | None = None, runs: str | Path = "runs"
) -> Trace:
    """Return where an image comes from: its request, model, run, and the data it learned from.

    Parameters
    ----------
    image
        A PNG, or a zip of them, saved by this package. A zip gives a branch for each model.
    models
        The folder of models to look in first, as for a catalogue.
    runs
        Where run directories lie; runs begun by you are found elsewhere, too.

    Raises
    ------
    DataError
        When there is no such file.

    Examples
    --------
    >>> import numpy as np
    >>> from medgan_widgets.exporting import save_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = save_png(np.zeros((4, 4), np.uint8), {"model_id": "m", "seeds": [17]}, folder)
    ...     [(step.kind, step.found) for step in trace(made, runs=folder).all_steps]
    [('image', True), ('request', True), ('model', False)]
    """
    path = Path(image).expanduser()
    if not path.is_file():
        raise DataError(f"{path} is not a file; name an image, or a zip of images.")
    lineage = Lineage.of(Catalogue(models), runs)
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return Trace(path, _zip_steps(path, lineage))
    try:
        recipe = recipe_of(path)
    except DataError as error:
        return Trace(path, (_without_recipe(path.name, error, lineage),))
    first = TraceStep(
        "image", True, f"{path.name} holds its recipe", {}, _from_recipe(recipe, lineage)
    )
    try:
        return Trace(path, (first,), restore(path))
    except MedganError:  # damaged, or made from images that are not at hand: said below
        return Trace(path, (first,))


def _from_recipe(recipe: Mapping[str, Any], lineage: Lineage) -> tuple[TraceStep, ...]:
    model_id, seeds = recipe.get("model_id"), recipe.get("seeds")
    if not isinstance(model_id, str) or not model_id:
        return (TraceStep("request", False, "the recipe is damaged: it names no model"),)
    known = ("condition", "labels", "truncation_psi", "mix", "options", "mode")
    facts = {name: recipe[name] for name in known if recipe.get(name)}
    said = ", ".join(f"{name} {_short(value)}" for name, value in facts.items())
    text = f"model {model_id[:100]}, seed {_seed_text(seeds)}" + (f", {said}" if said else "")
    facts |= {"model_id": model_id, "seeds": seeds}
    weights = recipe.get("weights_sha256")
    below = lineage.model(model_id, weights if isinstance(weights, str) else None)
    return (TraceStep("request", True, text, facts, (below,)),)


def _without_recipe(name: str, error: DataError, lineage: Lineage) -> TraceStep:
    """Go by the file's name where there is no recipe; a name proves nothing."""
    text = f"{name}: {_reason(error)}"
    named = _NAMED.fullmatch(PurePosixPath(name).stem)
    if named is None:
        return TraceStep("image", False, f"{text} It was not made here, or its text was stripped.")
    guess = TraceStep(
        "request", False,
        f"the recipe was stripped; the file's name says model {named['model']}, seed "
        f"{named['seed']}, which proves nothing",
        {"model_id": named["model"], "seeds": [int(named["seed"])]},
        (lineage.model(named["model"], None),),
    )  # fmt: skip
    return TraceStep("image", False, text, {}, (guess,))


def _zip_steps(path: Path, lineage: Lineage) -> tuple[TraceStep, ...]:
    """Return a branch for each model of a zip, and one for each image without a recipe."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    odd: list[TraceStep] = []
    count = 0
    try:
        for name, found in _recipes_in(path):
            count += 1
            if isinstance(found, DataError):
                odd.append(_without_recipe(name, found, lineage))
            else:
                key = str(found.get("model_id")), str(found.get("weights_sha256"))
                groups.setdefault(key, []).append(found)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        odd.append(TraceStep("image", False, f"{path.name} is damaged: {error}."))
    below = [_from_several(recipes, lineage) for recipes in groups.values()]
    text = f"{path.name}: {count} images"
    if not count and not odd:
        return (TraceStep("zip", False, f"{path.name} holds no PNG images."),)
    return (TraceStep("zip", True, text, {"images": count}, (*below, *odd)),)


def _from_several(recipes: list[Mapping[str, Any]], lineage: Lineage) -> TraceStep:
    given = [one.get("seeds") for one in recipes]
    seeds = [seed for some in given if isinstance(some, list) for seed in some]
    (request,) = _from_recipe({**recipes[0], "seeds": seeds}, lineage)
    text = f"{len(recipes)} of them hold the recipe of one model"
    return TraceStep("image", True, text, {"images": len(recipes)}, (request,))


def _recipes_in(path: Path) -> Iterator[tuple[str, dict[str, Any] | DataError]]:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        inside = [one for one in archive.infolist() if one.filename.lower().endswith(".png")]
        for entry in inside[:MOST_FILES]:
            name = PurePosixPath(entry.filename).name
            if entry.file_size > MOST_BYTES:
                yield name, DataError(f"{entry.file_size:,} bytes are too many for an image.")
                continue
            unpacked = Path(folder) / "image.png"
            unpacked.write_bytes(archive.read(entry))
            try:
                yield name, recipe_of(unpacked)
            except DataError as error:
                yield name, error
        if len(inside) > MOST_FILES:
            more = len(inside) - MOST_FILES
            yield path.name, DataError(f"{more} further images were not read.")


def _reason(error: DataError) -> str:
    text = str(error)
    for known in ("holds no recipe", "cannot be read as a PNG image"):
        if known in text:
            return f"it {known}."
    return text


def _seed_text(seeds: object) -> str:
    if not isinstance(seeds, list) or not seeds:
        return f"{seeds}"[:60]
    return ", ".join(map(str, seeds[:4])) + (f" … ({len(seeds)})" if len(seeds) > 4 else "")


def _short(value: object) -> str:
    return str(value) if len(str(value)) <= 80 else f"{str(value)[:77]}…"
