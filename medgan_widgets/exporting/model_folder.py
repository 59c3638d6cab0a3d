"""A model's folder, written whole or not at all: weights, card, README, pictures."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from medgan_widgets.cards import ModelCard, SafeName, Weights
from medgan_widgets.errors import RequestError, SaveError, WeightsError
from medgan_widgets.exporting.model_readme import model_readme
from medgan_widgets.files import write_whole
from medgan_widgets.images import contact_sheet, mosaic, png_bytes
from medgan_widgets.requests import GenerateRequest

if TYPE_CHECKING:
    from medgan_widgets.networks import Generator

log = logging.getLogger(__name__)

WEIGHTS_FILE = "generator.safetensors"
TRIED = 64  # seeds by which fp16 is judged
MOST_GREY = 1  # levels of 255 that a pixel may change
_NAME: TypeAdapter[str] = TypeAdapter(SafeName)
_MARKS = {"Synthetic": "true", "Comment": "SYNTHETIC images of a generative model; no patient."}


def free_place(models: str | Path, model_id: str, overwrite: bool) -> Path:
    """Return where a new model goes, or say why it cannot go there."""
    try:
        _NAME.validate_python(model_id)
    except ValueError as error:
        raise RequestError(f"model_id {fault(error)}.") from None
    if model_id.isdigit():
        raise RequestError(
            f"model_id {model_id!r} is a number, and those are medigan's; add a word."
        )
    place = Path(models).expanduser() / model_id
    if place.exists() and not overwrite:
        raise RequestError(f"{place} exists already; choose another model_id, or overwrite=True.")
    if place.exists() and not (place / "card.json").is_file():
        raise RequestError(f"{place} is not a model's folder, so it is not replaced.")
    try:  # the nearest folder that is there must take a new one
        with tempfile.TemporaryDirectory(
            dir=next(p for p in place.absolute().parents if p.exists())
        ):
            return place
    except OSError as error:
        raise _not_saved(place, error) from error


def write_model_folder(
    place: Path, facts: dict[str, Any], generator: Generator, *, half: bool | None = None
) -> ModelCard:
    """Write a model beside its place, try it through the engine, then move it there.

    ``facts`` are the card's fields but ``weights``. ``half`` says whether to store fp16; None
    lets 64 seeds decide: fp16 if no pixel changes by more than one grey level. The card's
    ``training`` tells the precision, and by how many grey levels fp16 differs.
    """
    with _aside(place) as desk:
        card = _put(desk / "fp32", facts, generator, half=False)
        images = _made(desk / "fp32", card.id)
        told: dict[str, str | int] = {"precision": "fp32"}
        rounded = None if half is False else _rounded(desk / "fp16", facts, generator)
        if rounded is not None:
            # By how many grey levels a pixel differs at most.
            change = int(np.abs(images.astype(np.int16) - rounded[1]).max())
            told["fp16_grey_levels"] = change
            if half or change <= MOST_GREY:
                told["precision"], (card, images) = "fp16", rounded
        chosen = desk / str(told["precision"])
        card = card.model_copy(update={"training": {**card.training, **told}})
        _finish(chosen / card.id, card, images)
        _move(chosen / card.id, place)
    return card


def _put(root: Path, facts: dict[str, Any], generator: Generator, *, half: bool) -> ModelCard:
    from medgan_widgets.checkpoints import write_weights  # torch, only when it is needed

    folder = root / str(facts["id"])
    sha256, size = write_weights(folder / WEIGHTS_FILE, generator, half)
    weights = Weights(file=WEIGHTS_FILE, sha256=sha256, bytes=size)
    try:
        card = ModelCard(**facts, weights=weights)
    except ValueError as error:
        raise RequestError(f"these facts make no model card: {fault(error)}.") from None
    card.write(folder)
    return card


def _made(root: Path, model_id: str) -> NDArray[np.uint8]:
    """Return the images of the first seeds, as the engine makes them from the file."""
    from medgan_widgets.catalogue import Catalogue
    from medgan_widgets.engine import Engine

    engine = Engine(device="cpu", catalogue=Catalogue(root))
    images: NDArray[np.uint8] = engine.images(GenerateRequest(model_id, seeds=range(TRIED)))
    return images


def _rounded(
    root: Path, facts: dict[str, Any], generator: Generator
) -> tuple[ModelCard, NDArray[np.uint8]] | None:
    """Return the model as fp16 with its images, or None when fp16 cannot hold its weights."""
    card = _put(root, facts, generator, half=True)
    try:
        return card, _made(root, card.id)
    except WeightsError as error:
        log.info("fp16 is too small for %s: %s", card.id, error)
        return None


def _finish(folder: Path, card: ModelCard, images: NDArray[np.uint8]) -> None:
    card.write(folder)
    write_whole(folder / "README.md", model_readme(card).encode())
    write_whole(folder / "preview.png", png_bytes(mosaic(images[:8], columns=8), _MARKS))
    grid = contact_sheet(images[:16], range(16), columns=8, tile=128)
    write_whole(folder / "grid.png", png_bytes(np.asarray(grid), _MARKS))


@contextlib.contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """Give a hidden folder beside a place, and take it away whatever happens."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        desk = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
    except OSError as error:
        raise _not_saved(place, error) from error
    try:
        yield desk
    finally:
        shutil.rmtree(desk, ignore_errors=True)


def _move(folder: Path, place: Path) -> None:
    """Put a whole folder in its place; an older one there goes only when the new one stands."""
    older = folder.parent / ".older"
    try:
        if place.exists():
            place.rename(older)
        folder.rename(place)
    except OSError as error:
        if older.exists() and not place.exists():
            older.rename(place)
        raise _not_saved(place, error) from error


def _not_saved(place: Path, error: OSError) -> SaveError:
    return SaveError(
        f"{place.name} was not saved in {place.parent}: {error.strerror or error}; choose another "
        "folder or make room, then try again."
    )


def fault(error: ValueError) -> str:
    """Return the first fault that pydantic found, as words."""
    first = error.errors()[0]  # type: ignore[attr-defined]
    where = ".".join(str(part) for part in first["loc"])
    text = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
