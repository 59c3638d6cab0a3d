"""A model's folder, written whole or not at all: weights, card, README, pictures."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

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
COMPARED = 64  # seeds by which fp16 is judged
MOST_CHANGE = 1  # grey levels of 255 by which fp16 may move a pixel
_PNG_TEXT = {
    "Synthetic": "true",
    "Comment": "SYNTHETIC images of a generative model; no patient.",
}


def free_folder(models: str | Path, model_id: str, overwrite: bool) -> Path:
    """Return where a new model goes, or say why it cannot go there."""
    try:
        TypeAdapter(SafeName).validate_python(model_id)
    except ValidationError as error:
        raise RequestError(f"model_id {fault(error)}.") from None
    if model_id.isdigit():
        raise RequestError(
            f"model_id {model_id!r} is a number, and those are medigan's; add a word."
        )
    folder = Path(models).expanduser() / model_id
    if folder.exists() and not overwrite:
        raise RequestError(f"{folder} exists already; choose another model_id, or overwrite=True.")
    if folder.exists() and not (folder / "card.json").is_file():
        raise RequestError(f"{folder} is not a model's folder, so it is not replaced.")
    nearest = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryDirectory(dir=nearest):  # a new folder must find room there
            return folder
    except OSError as error:
        raise _not_saved(folder, error) from error


def write_model_folder(
    folder: Path, facts: dict[str, Any], generator: Generator, *, half: bool | None = None
) -> ModelCard:
    """Write a model beside its place, try it through the engine, then move it there.

    ``facts`` are the card's fields but ``weights``. ``half`` says whether to store fp16; None
    lets 64 seeds decide: fp16 if no pixel changes by more than one grey level. The card's
    ``training`` tells the precision, and by how many grey levels fp16 differs.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise _not_saved(folder, error) from error
    try:
        precision = "fp32"
        card = _write(aside / precision, facts, generator, half=False)
        images = _images(aside / precision, card.id)
        training: dict[str, Any] = {}
        if half is not False:
            rounded = _write(aside / "fp16", facts, generator, half=True)
            try:
                moved = _images(aside / "fp16", card.id)
            except WeightsError as error:  # some are infinite as fp16
                log.info("fp16 is too small for %s: %s", card.id, error)
            else:
                change = int(np.abs(images.astype(np.int16) - moved).max())
                training["fp16_grey_levels"] = change
                if half or change <= MOST_CHANGE:
                    precision, card, images = "fp16", rounded, moved
        training = {**card.training, "precision": precision, **training}
        card = card.model_copy(update={"training": training})
        whole = aside / precision / card.id
        card.write(whole)
        write_whole(whole / "README.md", model_readme(card).encode())
        write_whole(whole / "preview.png", png_bytes(mosaic(images[:8], columns=8), _PNG_TEXT))
        grid = contact_sheet(images[:16], range(16), columns=8, tile=128)
        write_whole(whole / "grid.png", png_bytes(np.asarray(grid), _PNG_TEXT))
        _move(whole, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return card


def _write(root: Path, facts: dict[str, Any], generator: Generator, *, half: bool) -> ModelCard:
    """Write weights and card as a model of the folder ``root``."""
    from medgan_widgets.checkpoints import write_weights  # torch, only when it is needed

    folder = root / str(facts["id"])
    sha256, size = write_weights(folder / WEIGHTS_FILE, generator, half)
    weights = Weights(file=WEIGHTS_FILE, sha256=sha256, bytes=size)
    try:
        card = ModelCard(**facts, weights=weights)
    except ValidationError as error:
        raise RequestError(f"these facts make no model card: {fault(error)}.") from None
    card.write(folder)
    return card


def _images(root: Path, model_id: str) -> NDArray[np.uint8]:
    """Return the images of the first seeds, as the engine makes them from the file."""
    from medgan_widgets.catalogue import Catalogue
    from medgan_widgets.engine import Engine

    engine = Engine(device="cpu", catalogue=Catalogue(root))
    images: NDArray[np.uint8] = engine.images(GenerateRequest(model_id, seeds=range(COMPARED)))
    return images


def _move(whole: Path, folder: Path) -> None:
    """Give a whole folder its name; an older one there goes only when the new one stands."""
    older = whole.parent / ".older"
    try:
        if folder.exists():
            folder.rename(older)
        whole.rename(folder)
    except OSError as error:
        if older.exists() and not folder.exists():
            older.rename(folder)
        raise _not_saved(folder, error) from error


def _not_saved(folder: Path, error: OSError) -> SaveError:
    return SaveError(
        f"{folder.name} was not saved in {folder.parent}: {error.strerror or error}; choose "
        "another folder or make room, then try again."
    )


def fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, as words."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    text = first["msg"].removeprefix("Value error, ")
    return f"{where}: {text}" if where else text
