"""``export``: a request's images out of the notebook, looked at for copies before they leave."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from medgan_widgets.engine import Engine, shared_engine
from medgan_widgets.errors import RequestError, SaveError
from medgan_widgets.exporting.gate import Gate, keep_report, looked_through, memory_of
from medgan_widgets.exporting.png import file_name, image_recipe, outputs_of, png_with_recipe
from medgan_widgets.exporting.zip import distinct, save_zip
from medgan_widgets.files import write_whole
from medgan_widgets.memorisation import Memory, Report
from medgan_widgets.requests import GenerateRequest

Format = Literal["zip", "png"]


@dataclass(frozen=True)
class Exported:
    """What left the notebook, and what was found before.

    Attributes
    ----------
    path
        The zip, or the folder of PNG files.
    count
        How many images are in it.
    report
        On copies of training images; its ``text`` is a sentence.
    report_path
        The same as JSON, beside the images; pictures of pairs lie beside it as
        ``…_pairs_private.png``: they show training images, so they are not to be shared.
    """

    path: Path
    count: int
    report: Report = field(repr=False)  # hundreds of pairs
    report_path: Path


def export(
    request: GenerateRequest,
    out: str | Path,
    *,
    format: Format = "zip",
    training: Any = None,
    gate: Gate | None = "warn",
    engine: Engine | None = None,
    runs: str | Path = "runs",
) -> Exported:
    """Write the images of a request with their recipes, unless they are copies.

    Parameters
    ----------
    request
        What to make.
    out
        A zip, or a folder for ``format="png"``; *synthetic* is put into the names.
    training
        What the model was trained on: a folder, a phantom's kind, an array or
        `TrainingImages`. Without it the run that made the model is looked for below
        ``runs``, and its data are read again when they are still the same.
    gate
        ``"warn"`` logs what was found; ``"stop"`` writes no image when there are copies
        among them, or when nobody could look; None does not look.
    engine
        Another one than the shared engine.

    Returns
    -------
    Exported
        Where the images and the report are.

    Raises
    ------
    MemorisationError
        With ``gate="stop"``; the report is kept.
    RequestError, DataError
        When the request or the training images cannot be used.
    SaveError
        When something cannot be written; nothing half written is left.

    Examples
    --------
    >>> import tempfile
    >>> request = GenerateRequest("phantom-styles", seeds=range(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     done = export(request, Path(folder) / "two", gate=None)
    ...     done.path.name, done.count, done.report.assessed
    ('two_synthetic.zip', 2, False)
    """
    if format not in get_args(Format):
        raise RequestError(f"format must be 'zip' or 'png', got {format!r}.")
    if gate is not None and gate not in get_args(Gate):
        raise RequestError(f"gate must be 'warn', 'stop' or None, got {gate!r}.")
    if not isinstance(request, GenerateRequest):
        raise RequestError(
            f"export makes its images itself and takes a GenerateRequest, got {request!r:.60}; "
            "memorisation.Memory(training).check(images) looks at images that are there already."
        )
    engine = shared_engine() if engine is None else engine
    target = _target(Path(out).expanduser(), format)
    card = engine.catalogue[request.model_id]
    memory: Memory | str = "nobody asked for it (gate=None)"
    note = ""
    if gate is not None:
        memory, note = memory_of(card, training, runs)
    images, recipes, outputs = _made(request, engine)
    ((report, marked),) = filter(None, looked_through(memory, images, recipes, note))
    report_path = keep_report(report, target, gate)
    if format == "zip":
        save_zip(images, marked, target, outputs, report.to_dict())
    else:
        _save_pngs(images, marked, target, outputs)
    return Exported(target, len(images), report, report_path)


def _target(out: Path, format: Format) -> Path:
    """Return the final place, *synthetic* in its name."""
    if out.name in ("", ".."):
        raise RequestError(f"out must end in a name, such as 'images', got {str(out)!r}.")
    stem = out.stem if format == "zip" and out.suffix.lower() == ".zip" else out.name
    stem = stem if "synthetic" in stem.lower() else f"{stem}_synthetic"
    if format == "zip":
        return out.with_name(f"{stem}.zip")
    folder = out.with_name(stem)
    if folder.is_dir() and any(folder.iterdir()):
        raise SaveError(f"{folder} has files already; choose another name, or empty it first.")
    return folder


def _made(
    request: GenerateRequest, engine: Engine
) -> tuple[list[NDArray[Any]], list[dict[str, Any]], list[Mapping[str, NDArray[Any]]]]:
    recipe: dict[str, Any] = {}
    images: list[NDArray[Any]] = []
    recipes: list[dict[str, Any]] = []
    outputs: list[Mapping[str, NDArray[Any]]] = []
    for batch in engine.generate(request):
        recipe = recipe or engine.recipe(request)  # a package's seeds are known once it has run
        masks = {} if batch.masks is None else {"mask": batch.masks}
        further = outputs_of({**masks, **batch.others})
        for row, seed in enumerate(batch.seeds):
            labels = {name: values[row] for name, values in batch.labels.items()}
            recipes.append(image_recipe(recipe, seed, labels, len(images)))
            images.append(batch.images[row])
            outputs.append({name: rows[row] for name, rows in further.items()})
    return images, recipes, outputs


def _save_pngs(
    images: list[NDArray[Any]],
    recipes: list[dict[str, Any]],
    folder: Path,
    outputs: list[Mapping[str, NDArray[Any]]],
) -> None:
    """Write all files into a new folder beside, and give it its name when it is whole."""
    names = distinct([file_name(recipe) for recipe in recipes])
    half = folder.with_name(f".half_{secrets.token_hex(4)}")
    try:
        half.mkdir(parents=True)
        for name, image, recipe, further in zip(names, images, recipes, outputs, strict=True):
            write_whole(half / name, png_with_recipe(image, recipe))
            for what, picture in further.items():
                path = half / f"{name.removesuffix('.png')}_{what}.png"
                write_whole(path, png_with_recipe(picture, {**recipe, "output": what}))
        half.replace(folder)
    except OSError as error:
        raise SaveError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
