"""From an image back to the data behind it: request, model, weights, run, data, parents.

Each step is found or missing, and says so in a sentence; the walk goes on as far as it can,
since half an answer is better than none.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from medgan_widgets.cards import DataStatement, ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import DataError, MedganError, ModelNotFoundError
from medgan_widgets.exporting.known_runs import known_runs
from medgan_widgets.exporting.recipe import read_recipe, request_of
from medgan_widgets.files import file_sha256
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.runs import WEIGHTS, run_config

_NAMED = re.compile(r"(?P<model>.+)_seed(?P<seed>\d+)_synthetic(_\d+)?")
MOST_BYTES = 100_000_000  # of a file in a zip


@dataclass(frozen=True)
class TraceStep:
    """One step of a trace: a sentence, and the same as plain JSON values."""

    depth: int  # it follows from the last step before it that has a smaller one
    kind: str  # zip, image, request, model, weights, run, data, statement or parent
    found: bool  # whether it is at hand and is what it should be
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """Where an image comes from, step by step; ``print`` shows it as a tree."""

    path: Path
    steps: tuple[TraceStep, ...]
    request: GenerateRequest | None = field(default=None, compare=False)  # None for a zip

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return all(step.found for step in self.steps)

    def step(self, kind: str) -> TraceStep | None:
        """Return the first step of a kind, e.g. ``"model"``, ``"run"`` or ``"data"``."""
        return next((step for step in self.steps if step.kind == kind), None)

    def __str__(self) -> str:
        """Return the steps as an indented tree, a line each."""
        return "\n".join(
            f"{'  ' * step.depth}{step.kind}: {'' if step.found else 'MISSING. '}{step.text}"
            for step in self.steps
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain JSON values; of the file only its name."""
        steps = [asdict(step) for step in self.steps]
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
    >>> import numpy as np, tempfile
    >>> from medgan_widgets.exporting import save_png
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = save_png(np.zeros((4, 4), np.uint8), {"model_id": "m", "seeds": [17]}, folder)
    ...     [(step.kind, step.found) for step in trace(made, runs=folder).steps]
    [('image', True), ('request', True), ('model', False)]
    """
    path = Path(image).expanduser()
    if not path.is_file():
        raise DataError(f"{path} is not a file; name an image, or a zip of images.")
    lineage = _Lineage(Catalogue(models), known_runs(runs))
    if path.suffix.lower() == ".zip" or zipfile.is_zipfile(path):
        return Trace(path, tuple(_of_zip(path, lineage)))
    recipe, fault = _recipe_in(path.read_bytes())
    if recipe is None:
        return Trace(path, tuple(_without_recipe(path.name, fault, lineage, 0)))
    first = TraceStep(0, "image", True, f"{path.name} holds its recipe")
    steps = (first, *_from_recipe(recipe, lineage, 1))
    try:
        return Trace(path, steps, request_of(recipe, path))
    except MedganError:  # damaged, or made from images that are not at hand
        return Trace(path, steps)


def _recipe_in(content: bytes) -> tuple[dict[str, Any] | None, str]:
    """Return the recipe in an image, or None and what is wrong with the file."""
    try:
        return read_recipe(io.BytesIO(content)), "it holds no recipe"
    except (OSError, SyntaxError, ValueError):
        return None, "it cannot be read as a PNG image"


def _from_recipe(recipe: Mapping[str, Any], lineage: _Lineage, depth: int) -> Iterator[TraceStep]:
    model_id, seeds = recipe.get("model_id"), recipe.get("seeds")
    if not isinstance(model_id, str) or not model_id:
        yield TraceStep(depth, "request", False, "the recipe is damaged: it names no model")
        return
    names = ("condition", "labels", "truncation_psi", "mix", "options", "mode")
    facts = {name: recipe[name] for name in names if recipe.get(name)}
    numbers = seeds if isinstance(seeds, list) else [seeds]
    more = f" … ({len(numbers)})" if len(numbers) > 4 else ""
    text = f"model {model_id[:100]}, seed {', '.join(str(n)[:60] for n in numbers[:4])}{more}"
    text += "".join(f", {name} {str(value)[:80]}" for name, value in facts.items())
    facts |= {"model_id": model_id, "seeds": seeds}
    yield TraceStep(depth, "request", True, text, facts)
    weights = recipe.get("weights_sha256")
    yield from lineage.model(model_id, weights if isinstance(weights, str) else None, depth + 1)


def _without_recipe(name: str, fault: str, lineage: _Lineage, depth: int) -> Iterator[TraceStep]:
    """Go by the file's name where there is no recipe; a name proves nothing."""
    named = _NAMED.fullmatch(PurePosixPath(name).stem)
    elsewhere = "" if named else " It was not made here, or its text was stripped."
    yield TraceStep(depth, "image", False, f"{name}: {fault}.{elsewhere}")
    if named:
        model, seed = named["model"], named["seed"]
        text = (
            f"the recipe was stripped; the file's name says model {model}, seed {seed}, which "
            "proves nothing"
        )
        facts = {"model_id": model, "seeds": [int(seed)]}
        yield TraceStep(depth + 1, "request", False, text, facts)
        yield from lineage.model(model, None, depth + 2)


def _of_zip(path: Path, lineage: _Lineage) -> Iterator[TraceStep]:
    """Yield a branch for each model of a zip, and one for each image without a recipe."""
    recipes: dict[tuple[str, str], list[dict[str, Any]]] = {}
    odd: list[TraceStep] = []
    count = 0
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                if not entry.filename.lower().endswith(".png"):
                    continue
                count += 1
                recipe, fault = None, f"{entry.file_size:,} bytes are too many for an image"
                if entry.file_size <= MOST_BYTES:
                    recipe, fault = _recipe_in(archive.read(entry))
                if recipe is None:
                    odd += _without_recipe(PurePosixPath(entry.filename).name, fault, lineage, 1)
                else:
                    key = str(recipe.get("model_id")), str(recipe.get("weights_sha256"))
                    recipes.setdefault(key, []).append(recipe)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        odd.append(TraceStep(1, "image", False, f"{path.name} is damaged: {error}."))
    if not count and not odd:
        yield TraceStep(0, "zip", False, f"{path.name} holds no PNG images.")
        return
    yield TraceStep(0, "zip", True, f"{path.name}: {count} images", {"images": count})
    for alike in recipes.values():
        text = f"{len(alike)} of them hold the recipe of one model"
        yield TraceStep(1, "image", True, text, {"images": len(alike)})
        lists = [one["seeds"] for one in alike if isinstance(one.get("seeds"), list)]
        seeds = [seed for several in lists for seed in several]
        yield from _from_recipe({**alike[0], "seeds": seeds}, lineage, 2)
    yield from odd


@dataclass(frozen=True)
class _Lineage:
    """The models and runs that are known here, to be walked through."""

    catalogue: Catalogue
    runs: Mapping[str, Path]

    def model(self, model_id: str, sha256: str | None, depth: int) -> Iterator[TraceStep]:
        """Yield a model and what is below; ``sha256`` is that of the weights of an image."""
        try:
            card, missing = self.catalogue[model_id], ""
            if card.id != model_id:  # found by the beginning of its name: not the same
                missing = f"there is no model {model_id!r}; {card.id} is the nearest."
        except ModelNotFoundError as error:
            missing = str(error)
        facts = {"model_id": model_id}
        if missing:
            same = self._with_weights(sha256)
            text = f"{same.id} has the same weights." if same else "Put its folder back to go on."
            yield TraceStep(depth, "model", False, f"{missing} {text}", facts)
            if same:
                yield from self.model(same.id, sha256, depth + 1)
        elif card.origin == "medigan":
            text = f"{card.id}, one of medigan's; it was trained elsewhere"
            yield TraceStep(depth, "model", True, text, facts)
            text = f"as published: {card.dataset or 'not stated'}"
            data = {"dataset": card.dataset}
            yield TraceStep(depth + 1, "data", card.dataset is not None, text, data)
        else:
            facts["title"] = card.title
            yield TraceStep(depth, "model", True, f"{card.id}, {card.title}", facts)
            yield self._weights(card, sha256, depth + 1)
            yield from self._run_of(card, depth + 1)

    def _with_weights(self, sha256: object) -> ModelCard | None:
        cards = (card for card in self.catalogue if card.weights and card.weights.sha256 == sha256)
        return next(cards, None)

    def _weights(self, card: ModelCard, sha256: str | None, depth: int) -> TraceStep:
        own = card.weights.sha256 if card.weights else ""
        facts = {"recipe": sha256, "card": own}
        try:
            file = card.weights.file if card.weights else ""
            now = facts["file"] = file_sha256(self.catalogue.folder_of(card.id) / file)
        except (OSError, ModelNotFoundError):
            return TraceStep(depth, "weights", False, "the weights file of the card is gone", facts)
        if now != own:
            text = f"the file is {now[:12]}…, its card says {own[:12]}…: it was changed"
        elif sha256 is None:
            text = f"the card's are {own[:12]}…; the image does not say which it was made with"
        elif sha256 != own:
            text = (
                f"the image was made with {sha256[:12]}…, the model here has {own[:12]}…: it was "
                "replaced since, and what follows is told of the new one"
            )
        else:
            text = f"SHA-256 {own[:12]}…, the same in image, card and file"
        return TraceStep(depth, "weights", own == now == sha256, text, facts)

    def _run_of(self, card: ModelCard, depth: int) -> Iterator[TraceStep]:
        if "run" in card.training:
            yield from self._run(str(card.training["run"]), card, depth)
            return
        text = "the card names no run"
        if "imported_sha256" in card.training:
            sha256 = str(card.training["imported_sha256"])[:12]
            text = f"imported, SHA-256 {sha256}…; who trained it on what is not known here"
        yield TraceStep(depth, "run", False, text)
        yield from self._from_card(card, depth + 1)

    def _run(self, run_id: str, card: ModelCard | None, depth: int) -> Iterator[TraceStep]:
        """Yield a run, with its data and what it was started from."""
        folder = self.runs.get(run_id)
        if folder is None:
            text = f"{run_id[:12]}… is not below the runs folder nor where it was begun"
            yield TraceStep(depth, "run", False, text, {"run_id": run_id})
            if card is not None:
                yield from self._from_card(card, depth + 1)
            return
        config = run_config(folder)
        if card is None:  # a parent: a model of it may tell more
            cards = (one for one in self.catalogue if one.training.get("run") == run_id)
            card = next(cards, None)
        facts = {"run_id": run_id, **{k: config.get(k) for k in ("preset", "seed", "kimg")}}
        text = f"{folder} ({run_id[:12]}…), preset {config.get('preset')}{_since(folder, card)}"
        yield TraceStep(depth, "run", True, text, facts)
        yield _data(folder, config, card, depth + 1)
        yield _statement(card, config, depth + 1)
        if config.get("start_from"):
            yield from self._parent(config["start_from"], depth + 1)

    def _from_card(self, card: ModelCard, depth: int) -> Iterator[TraceStep]:
        """Yield what the card alone tells of data and parent."""
        training = card.training
        names = ("fingerprint", "count", "group")
        facts = {name: training[name] for name in names if name in training}
        texts = [str(training[name]) for name in ("data", "group") if name in training]
        if "fingerprint" in training:
            texts.append(f"fingerprint {str(training['fingerprint'])[:12]}…")
        text = f"as the card says: {', '.join(texts) or card.dataset or 'nothing'}"
        yield TraceStep(depth, "data", "fingerprint" in training, text, facts)
        yield _statement(card, {}, depth)
        keys = {"model": "parent", "run_id": "parent_run", "sha256": "parent_sha256"}
        if parent := {name: training[key] for name, key in keys.items() if key in training}:
            yield from self._parent(parent, depth)

    def _parent(self, parent: Mapping[str, Any], depth: int) -> Iterator[TraceStep]:
        """Yield what a run was started from, and where that came from in turn."""
        run_id, sha256 = parent.get("run_id"), parent.get("sha256")
        model = self._with_weights(sha256)
        name = parent.get("model") or (model.id if model else None)
        text = f"started from {name or f'a run, {str(run_id)[:12]}…'}"
        found = bool(run_id or model)
        text += "" if found else ", which names no run and is no model here"
        facts = {"model": name, "run_id": run_id, "sha256": sha256}
        yield TraceStep(depth, "parent", found, text, facts)
        if run_id:
            yield from self._run(run_id, model, depth + 1)
        elif model:
            yield from self._run_of(model, depth + 1)


def _since(folder: Path, card: ModelCard | None) -> str:
    """Say when a run's generator is not the one any more that a model was made of."""
    try:
        now = file_sha256(folder / WEIGHTS)
    except OSError:
        return ", its checkpoint is gone"
    made_of = card.training.get("checkpoint") if card else None
    return "" if made_of in (None, now) else ", it was trained on after the model was made"


def _data(folder: Path, config: Mapping[str, Any], card: ModelCard | None, depth: int) -> TraceStep:
    fingerprint = config.get("fingerprint")
    facts: dict[str, Any] = {"fingerprint": fingerprint}
    try:
        data = json.loads((folder / "data.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        text = f"{folder / 'data.json'} cannot be read: {error}."
        return TraceStep(depth, "data", False, text, facts)
    names = ("kind", "count", "train", "test", "groups", "group_note")
    facts |= {name: data[name] for name in names if name in data}
    text = (
        f"{data.get('count')} images ({data.get('train')} to train on, {data.get('test')} to "
        f"judge by), fingerprint {str(fingerprint)[:12]}…"
    )
    of_card = card.training.get("fingerprint") if card else None
    if of_card not in (None, fingerprint):
        text += f", but the card says {str(of_card)[:12]}…: it is of other data"
        return TraceStep(depth, "data", False, text, facts)
    note = str(data.get("group_note") or "").rstrip(".")
    return TraceStep(depth, "data", True, text + (f"; {note}" if note else ""), facts)


def _statement(card: ModelCard | None, config: Mapping[str, Any], depth: int) -> TraceStep:
    """Return what was stated of the data; a phantom's run says it by itself."""
    statement = card.statement if card else None
    if statement is None and config.get("phantom"):
        text = f"procedural phantoms ({config.get('data')}): no patients"
        return TraceStep(depth, "statement", True, text, {"phantom": True})
    statement = statement or DataStatement()
    facts = statement.model_dump()
    text = "; ".join(f"{name} {value}" for name, value in facts.items())
    return TraceStep(depth, "statement", not statement.unknown, text, facts)
