"""From a model to its run, to the data, to what the run was started from: steps of a trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medgan_widgets.cards import DataStatement, ModelCard
from medgan_widgets.catalogue import Catalogue
from medgan_widgets.errors import DataError, ModelNotFoundError
from medgan_widgets.exporting.known import known_runs, read_object
from medgan_widgets.files import file_sha256
from medgan_widgets.runs import WEIGHTS, run_config


@dataclass(frozen=True)
class TraceStep:
    """One step of a trace.

    Attributes
    ----------
    kind
        ``"image"``, ``"request"``, ``"model"``, ``"weights"``, ``"run"``, ``"data"``,
        ``"statement"`` or ``"parent"``; ``"zip"`` for an archive.
    found
        Whether it is at hand and is what it should be.
    text
        One sentence.
    facts
        The same as plain JSON values.
    below
        What follows from it.
    """

    kind: str
    found: bool
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    below: tuple[TraceStep, ...] = ()

    def walk(self, depth: int = 0) -> Iterator[tuple[TraceStep, int]]:
        """Yield this step and all below it, each with its depth."""
        yield self, depth
        for step in self.below:
            yield from step.walk(depth + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the step as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Lineage:
    """The models and runs that are known here, to be walked through."""

    catalogue: Catalogue
    runs: Mapping[str, Path]

    @classmethod
    def of(cls, catalogue: Catalogue, runs: str | Path) -> Lineage:
        """Look for runs below a folder and where they were begun."""
        return cls(catalogue, known_runs(runs))

    def model(self, model_id: str, sha256: str | None) -> TraceStep:
        """Return the step of a model; ``sha256`` is that of the weights an image was made with."""
        try:
            card = self.catalogue[model_id]
        except ModelNotFoundError as error:
            return self._model_elsewhere(model_id, sha256, str(error))
        if card.id != model_id:  # found by the beginning of its name: not the same
            text = f"there is no model {model_id!r}; {card.id} is the nearest."
            return self._model_elsewhere(model_id, sha256, text)
        if card.origin == "medigan":
            text = f"{card.id}, one of medigan's; it was trained elsewhere"
            said = f"as published: {card.dataset or 'not stated'}"
            data = TraceStep("data", card.dataset is not None, said, {"dataset": card.dataset})
            return TraceStep("model", True, text, {"model_id": card.id}, (data,))
        facts = {"model_id": card.id, "title": card.title}
        below = (self._weights(card, sha256), self._run_of(card))
        return TraceStep("model", True, f"{card.id}, {card.title}", facts, below)

    def _model_elsewhere(self, model_id: str, sha256: str | None, why: str) -> TraceStep:
        """Look for the same weights under another name."""
        same = next((one for one in self.catalogue if _hash(one) == sha256 is not None), None)
        facts = {"model_id": model_id}
        if same is None:
            return TraceStep("model", False, f"{why} Put its folder back to go on.", facts)
        below = (self.model(same.id, sha256),)
        return TraceStep("model", False, f"{why} {same.id} has the same weights.", facts, below)

    def _weights(self, card: ModelCard, sha256: str | None) -> TraceStep:
        own = _hash(card)
        facts = {"recipe": sha256, "card": own}
        if own is None:
            return TraceStep("weights", False, "the card names no weights", facts)
        try:
            path = self.catalogue.folder_of(card.id) / card.weights.file  # type: ignore[union-attr]
            facts["file"] = file_sha256(path)
        except (OSError, ModelNotFoundError):
            return TraceStep("weights", False, "the weights file of the card is gone", facts)
        text = f"SHA-256 {own[:12]}…, the same in image, card and file"
        if (now := facts["file"]) != own:
            text = f"the file is {str(now)[:12]}…, its card says {own[:12]}…: it was changed"
        elif sha256 is None:
            text = f"the card's are {own[:12]}…; the image does not say which it was made with"
        elif sha256 != own:
            text = (
                f"the image was made with {sha256[:12]}…, the model here has {own[:12]}…: it was "
                "replaced since, and what follows is told of the new one"
            )
        return TraceStep("weights", own == now == sha256, text, facts)

    def _run_of(self, card: ModelCard) -> TraceStep:
        run_id = card.training.get("run")
        if isinstance(run_id, str):
            return self._run("run", run_id, card, ())
        if "imported_sha256" in card.training:
            sha256 = str(card.training["imported_sha256"])[:12]
            text = f"imported, SHA-256 {sha256}…; who trained it on what is not known here"
        else:
            text = "the card names no run"
        return TraceStep("run", False, text, {}, self._from_card(card, ()))

    def _run(
        self, kind: str, run_id: str, card: ModelCard | None, seen: tuple[str, ...]
    ) -> TraceStep:
        """Return the step of a run, with its data and what it was started from."""
        facts: dict[str, Any] = {"run_id": run_id}
        if run_id in seen:
            return TraceStep(kind, False, f"{run_id[:12]}… again: the runs name each other", facts)
        seen = (*seen, run_id)
        folder = self.runs.get(run_id)
        if folder is None:
            text = f"{run_id[:12]}… is not below the runs folder nor where it was begun"
            below = () if card is None else self._from_card(card, seen)
            return TraceStep(kind, False, text, facts, below)
        try:
            config = run_config(folder)
        except DataError as error:
            return TraceStep(kind, False, str(error), facts)
        if card is None:  # a parent: a model of it may tell more
            card = next((one for one in self.catalogue if one.training.get("run") == run_id), None)
        facts |= {name: config.get(name) for name in ("preset", "seed", "kimg")}
        text = (
            f"{folder} ({run_id[:12]}…), preset {config.get('preset')}{_trained_on(folder, card)}"
        )
        below = (_data(folder, config, card), _statement(card, config))
        if isinstance(config.get("start_from"), dict):
            below = (*below, self._parent(config["start_from"], seen))
        return TraceStep(kind, True, text, facts, below)

    def _from_card(self, card: ModelCard, seen: tuple[str, ...]) -> tuple[TraceStep, ...]:
        """Return what the card alone tells of data and parent."""
        told = card.training
        shown = ("fingerprint", "count", "group")
        facts: dict[str, Any] = {name: told[name] for name in shown if name in told}
        said = [str(told[name]) for name in ("data", "group") if name in told]
        if "fingerprint" in told:
            said.append(f"fingerprint {str(told['fingerprint'])[:12]}…")
        text = f"as the card says: {', '.join(said) or card.dataset or 'nothing'}"
        below = (TraceStep("data", "fingerprint" in told, text, facts), _statement(card, {}))
        names = {"model": "parent", "run_id": "parent_run", "sha256": "parent_sha256"}
        parent = {name: told[key] for name, key in names.items() if key in told}
        return (*below, self._parent(parent, seen)) if parent else below

    def _parent(self, parent: Mapping[str, Any], seen: tuple[str, ...]) -> TraceStep:
        """Return what a run was started from, and where that came from in turn."""
        run_id, sha256 = parent.get("run_id"), parent.get("sha256")
        model = next((one for one in self.catalogue if _hash(one) == sha256 is not None), None)
        name = parent.get("model") or (model.id if model else None)
        facts = {"model": name, "run_id": run_id, "sha256": sha256}
        text = f"started from {name or f'a run, {str(run_id)[:12]}…'}"
        if isinstance(run_id, str):
            return TraceStep("parent", True, text, facts, (self._run("run", run_id, model, seen),))
        if model is not None:
            return TraceStep("parent", True, text, facts, (self._run_of(model),))
        return TraceStep("parent", False, f"{text}, which names no run and is no model here", facts)


def _hash(card: ModelCard) -> str | None:
    return card.weights.sha256 if card.weights else None


def _trained_on(folder: Path, card: ModelCard | None) -> str:
    """Say when a run's generator is not the one any more that a model was made of."""
    made_of = card.training.get("checkpoint") if card else None
    try:
        now = file_sha256(folder / WEIGHTS)
    except OSError:
        return ", its checkpoint is gone"
    return "" if made_of in (None, now) else ", it was trained on after the model was made"


def _data(folder: Path, config: Mapping[str, Any], card: ModelCard | None) -> TraceStep:
    fingerprint = config.get("fingerprint")
    facts: dict[str, Any] = {"fingerprint": fingerprint}
    try:
        data = read_object(folder / "data.json")
    except DataError as error:
        return TraceStep("data", False, str(error), facts)
    names = ("kind", "count", "train", "test", "groups", "group_note")
    facts |= {name: data[name] for name in names if name in data}
    sides = f"{data.get('train')} to train on, {data.get('test')} to judge by"
    text = f"{data.get('count')} images ({sides}), fingerprint {str(fingerprint)[:12]}…"
    note = str(data.get("group_note") or "").rstrip(".")
    told = card.training.get("fingerprint") if card else None
    if told not in (None, fingerprint):
        other = f", but the card says {str(told)[:12]}…: it is of other data"
        return TraceStep("data", False, text + other, facts)
    return TraceStep("data", True, text + (f"; {note}" if note else ""), facts)


def _statement(card: ModelCard | None, config: Mapping[str, Any]) -> TraceStep:
    """Return what was said of the data; a phantom's run says it by itself."""
    statement = card.statement if card else None
    if statement is None and config.get("phantom"):
        text = f"procedural phantoms ({config.get('data')}): no patients"
        return TraceStep("statement", True, text, {"phantom": True})
    statement = statement or DataStatement()
    facts = statement.model_dump()
    text = "; ".join(f"{name} {said}" for name, said in facts.items())
    return TraceStep("statement", not statement.unknown, text, facts)
