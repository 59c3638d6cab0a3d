"""Images out of the notebook: looked at for copies of training images, then written.

Formats are small modules: `files` yields the files of an export, and ``SUFFIX`` is that of the
one file it consists of, empty where it is a folder. A further one is a line in `FORMATS`.
"""

from __future__ import annotations

import logging
import secrets
import shutil
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.engine import Engine, shared_engine
from medgan_widgets.errors import MemorisationError, RequestError, SaveError
from medgan_widgets.exporting import png, zip
from medgan_widgets.exporting.gate import copy_detector_for, keep_report, to_do
from medgan_widgets.exporting.recipe import SyntheticImage, image_recipe
from medgan_widgets.files import write_whole
from medgan_widgets.memorisation import CopyDetector, Report, not_assessed
from medgan_widgets.requests import GenerateRequest

log = logging.getLogger(__name__)

Gate = Literal["warn", "stop"]
AT_ONCE = 64  # images in a batch that is checked
COPY = "a copy of a training image"
NOT_REQUESTED = "nobody asked for it (gate=None)"


class Format(Protocol):
    """How images are laid out on disk."""

    SUFFIX: str

    def files(
        self, images: Sequence[SyntheticImage], report: Report, /
    ) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of each file."""


FORMATS: dict[str, Format] = {"zip": zip, "png": png}


@dataclass(frozen=True)
class Exported:
    """What left the notebook, and what was found before."""

    path: Path  # the zip, or the folder of files
    count: int  # images in it
    report: Report = field(repr=False)  # on copies of training images, hundreds of pairs
    # The same as JSON, beside the images. Pictures of pairs lie beside it as
    # …_pairs_private.png: they show training images, so they are not to be shared.
    report_path: Path


@dataclass(frozen=True)
class Step:
    """How far a `write` is; what was found and written stands in the last step."""

    what: str  # made, checked or written
    done: int  # images, of all
    report: Report | None = None
    exported: Exported | None = None
    file: tuple[str, bytes] | None = None  # name and content, where nothing was written


def export(
    request: GenerateRequest,
    out: str | Path,
    *,
    format: str = "zip",
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
        What the model was trained on: a folder, a phantom's kind, an array, `TrainingImages`
        or a `CopyDetector` of them. Without it the run that made the model is looked for below
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
    if gate is not None and gate not in get_args(Gate):
        raise RequestError(f"gate must be 'warn', 'stop' or None, got {gate!r}.")
    if not isinstance(request, GenerateRequest):
        raise RequestError(
            f"export makes its images itself and takes a GenerateRequest, got {request!r:.60}; "
            "memorisation.CopyDetector(training).check(images) looks at images that are there "
            "already."
        )
    out = _named_synthetic(Path(out).expanduser(), _format(format).SUFFIX)
    engine = shared_engine() if engine is None else engine
    card = engine.catalogue[request.model_id]
    detector: CopyDetector | str = NOT_REQUESTED
    note = ""
    if gate is not None:
        detector, note = copy_detector_for(card, training, runs)
    images = _generated(request, engine)
    *_, last = write(images, out, format=format, detector=detector, gate=gate, note=note)
    assert last.exported is not None
    return last.exported


def write(
    images: Iterable[SyntheticImage],
    out: str | Path | None,
    *,
    format: str = "zip",
    detector: CopyDetector | str = NOT_REQUESTED,
    gate: Gate | None = "warn",
    note: str = "",
) -> Iterator[Step]:
    """Yield a step after each few images; they are checked for copies, then written.

    Parameters
    ----------
    images
        What to write, each with its recipe.
    out
        As for `export`; None writes nothing: the last step has the content of the first file.
    format
        One of `FORMATS`.
    detector
        The training images made ready, or why they cannot be compared.
    gate
        As for `export`.
    note
        What else is to be known of the training images; goes into the report.

    Raises
    ------
    MemorisationError, RequestError, SaveError
        As for `export`.
    """
    layout = _format(format)
    path = None if out is None else _named_synthetic(Path(out).expanduser(), layout.SUFFIX)
    made: list[SyntheticImage] = []
    for image in images:
        made.append(image)
        yield Step("made", len(made))
    report, marked = yield from _checked(detector, made, note)
    files = layout.files(marked, report)
    if path is None:
        yield Step("written", len(made), report, file=next(files))
        return
    report_path = keep_report(report, path)
    if gate is not None and (report.copies or not report.assessed):
        if gate == "stop":
            raise MemorisationError(
                f"nothing was exported: {report.text} {to_do(report)} The report is in "
                f"{report_path}."
                + (f" An earlier export still lies in {path}." if path.exists() else "")
            )
        log.warning("%s", report.text)
    if layout.SUFFIX:
        write_whole(path, next(files)[1])
    else:
        _write_folder(path, files)
    yield Step("written", len(made), report, Exported(path, len(made), report, report_path))


def _checked(
    detector: CopyDetector | str, images: list[SyntheticImage], note: str
) -> Generator[Step, None, tuple[Report, list[SyntheticImage]]]:
    """Compare images with the training images; each gets into its recipe what was found."""
    report = not_assessed(detector if isinstance(detector, str) else "", len(images))
    if isinstance(detector, CopyDetector):
        seeds = [image.recipe["seeds"][0] for image in images]
        for step in detector.iter_check(_in_batches([image.pixels for image in images]), seeds):
            yield Step("checked", step.done)
            report = replace(step.report, note=note) if step.report else report
    otherwise = "not found to be a copy" if report.assessed else "not assessed"
    copies = {pair.index for pair in report.copies}
    marked = [
        replace(image, recipe={**image.recipe, "memorisation": COPY if n in copies else otherwise})
        for n, image in enumerate(images)
    ]
    return report, marked


def _in_batches(images: Sequence[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Yield images as arrays; a model may make images of several sizes."""
    for _, alike in groupby(images, np.shape):
        while batch := list(islice(alike, AT_ONCE)):
            yield np.stack(batch)


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise RequestError(f"format must be {' or '.join(map(repr, FORMATS))}, got {name!r}.")
    return FORMATS[name]


def _named_synthetic(out: Path, suffix: str) -> Path:
    """Return where an export goes: *synthetic* and the format's ending are in its name."""
    if out.name in ("", ".."):
        raise RequestError(f"out must end in a name, such as 'images', got {str(out)!r}.")
    # A dot may be part of the name: v1.2
    stem = out.stem if suffix and out.suffix.lower() == suffix else out.name
    path = out.with_name(f"{stem if 'synthetic' in stem.lower() else f'{stem}_synthetic'}{suffix}")
    if not suffix and path.is_dir() and any(path.iterdir()):
        raise SaveError(f"{path} has files already; choose another name, or empty it first.")
    return path


def _generated(request: GenerateRequest, engine: Engine) -> Iterator[SyntheticImage]:
    recipe = None
    index = 0  # in the request, by which an image's source is found
    for batch in engine.generate(request):
        recipe = recipe or engine.recipe(request)  # a package's seeds are known once it has run
        masks = {} if batch.masks is None else {"mask": batch.masks}
        for row, seed in enumerate(batch.seeds):
            labels = {name: values[row] for name, values in batch.labels.items()}
            yield SyntheticImage(
                batch.images[row],
                image_recipe(recipe, seed, labels, index),
                {name: rows[row] for name, rows in {**masks, **batch.others}.items()},
            )
            index += 1


def _write_folder(folder: Path, files: Iterator[tuple[str, bytes]]) -> None:
    """Write all files into a new folder beside, which gets its name when it is whole."""
    half = folder.with_name(f".half_{secrets.token_hex(4)}")
    try:
        half.mkdir(parents=True)
        for name, content in files:
            write_whole(half / name, content)
        half.replace(folder)
    except OSError as error:
        raise SaveError(f"{folder} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(half, ignore_errors=True)
