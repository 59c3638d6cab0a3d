"""``open_images``: the one door to images, whatever they come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets import (
    Preprocessing,
    Refused,
    TrainingImages,
    phantom_named,
    read_images,
)
from medgan_widgets.datasets.folder import Folder
from medgan_widgets.datasets.prepare import ALL_VALUES, ReadOptions, percentiles_of
from medgan_widgets.datasets.records import Pixels, read_all
from medgan_widgets.datasets.table import one_kind
from medgan_widgets.engine import Engine, shared_engine
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.images import checked_pixels, to_levels, top_of
from medgan_widgets.phantoms import KINDS, LARGEST, SMALLEST, draw_phantoms, phantom_labels
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import SEED_LIMIT, Value, labels_from_seeds, whole_number
from medgan_widgets.training import images_of_run

# Seeds of phantoms that nothing was trained on: reals, others for the floor, and to be judged.
REALS, OTHERS, JUDGED = 2**40, 2**41, 2**44
PART = 64  # images in a batch
COUNT = 1000  # images of a model or phantom where nobody says how many
# Arguments of read_images that say how pixels are prepared
PREPARES = {"size", "window", "percentiles", "fit", "channels", "plane", "like"}


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images from one source, in batches, and all that is known of them.

    Examples
    --------
    >>> source = open_images("phantom:mammogram", n=4, size=32)
    >>> source.what, source.array().shape, source.mix()["mass"]
    ('mammogram phantoms', (4, 32, 32, 1), {True: 0.5, False: 0.5})
    """

    what: str  # in a few words, for tables
    count: int
    # gives them anew at each call: uint8 [n, H, W, C] a batch, all of one size in a batch
    batches: Callable[[], Iterator[NDArray[np.uint8]]]
    # how their pixels came about: "generated", "drawn", "as given", "pixel by pixel", or in words
    prepared: str
    preprocessing: Preprocessing | None = None  # the same as it is computed, where it was
    names: tuple[str, ...] = ()  # one an image, where they have any; may name a person
    labels: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)  # factor -> classes
    groups: tuple[str | None, ...] = ()  # what belongs together, one an image, where known
    phantom: bool = False
    jpeg: int = 0  # how many were JPEG files, which shows in texture and spectrum
    top: float = 255.0  # what counts as white in images of 16 bits
    left_out: tuple[Refused, ...] = ()  # files that were not used, and why
    notes: tuple[str, ...] = ()  # what is to be said on how they were read
    # what was changed in all pixels: nothing to say beside others that were prepared alike
    pixel_notes: tuple[str, ...] = ()
    others: ImageSource | None = None  # further reals of the same kind, for a floor

    def mix(self) -> dict[str, dict[Value, float]]:
        """Return for each factor the share of each of its values."""
        return {
            name: {value: count / self.count for value, count in Counter(values).items()}
            for name, values in self.labels.items()
        }

    def array(self) -> NDArray[np.uint8]:
        """Return all of them at once, uint8 [N, H, W, C].

        Raises
        ------
        DataError
            When they are of several sizes.
        """
        parts = list(self.batches())
        sizes = {part.shape[1:] for part in parts}
        if len(sizes) > 1:
            raise DataError(
                f"{self.what} holds images of {len(sizes)} sizes; read them at one with "
                "read={'size': …}."
            )
        return np.concatenate(parts)


def open_images(
    source: Any,
    *,
    like: Any = None,
    read: Mapping[str, Any] | None = None,
    labels: Any = None,
    group: Any = None,
    n: int | None = None,
    seed: int = 0,
    engine: Engine | Callable[[], Engine] = shared_engine,
    size: int | None = None,
    condition: Mapping[str, Value] | None = None,
    first: int = JUDGED,
    top: float | None = None,
) -> ImageSource:
    """Return images in batches, with their classes, patients, and all that is to be said of them.

    Parameters
    ----------
    source
        A `GenerateRequest`; a model's card; the directory of a run, for what it was trained
        on; a folder or file; a phantom, ``"phantom:brain_mri"``; an array uint8 or uint16
        [N, H, W] or [N, H, W, C]; a Dataset; `TrainingImages`, all of them.
    like
        A card, request, run, `TrainingImages` or `Preprocessing` whose preparation files and
        Datasets go through. What is generated, drawn or an array went through one already.
    read
        Further arguments of `read_images` for files. Without them, and without ``like``,
        pictures are taken pixel by pixel in their own size; DICOM, NIfTI and arrays in
        files are read as for training.
    labels, group
        Where files have their classes and patients, as for `read_images`.
    n
        At most so many, drawn by ``seed``; of a request the first ones; so many phantoms.
    engine
        The engine that answers requests, or what gives it when it is needed.
    size, condition, first
        For phantoms: pixels a side, as near to it as they can be drawn, classes that are
        held fixed, and the first seed.
    top
        What counts as white in arrays of 16 bits; by default the 99.99th percentile of all.

    Raises
    ------
    DataError
        When there are no images, or they cannot be read.
    RequestError
        When ``source`` is nothing of all that.

    Examples
    --------
    >>> images = open_images(np.zeros((3, 8, 8), np.uint8))
    >>> images.count, images.prepared, [part.shape for part in images.batches()]
    (3, 'as given', [(3, 8, 8, 1)])
    """
    if read is not None and not isinstance(read, Mapping):
        raise RequestError(f"read must be a dict of arguments of read_images, got {read!r:.60}.")
    n = None if n is None else whole_number(n, "n", 1, SEED_LIMIT)
    if isinstance(source, ModelCard):
        source = GenerateRequest(source.id, seeds=range(n or COUNT))
    if isinstance(source, GenerateRequest):
        return _of_request(source, _ready(engine), n, top)
    if kind := phantom_named(source):
        return _of_phantoms(kind, n or COUNT, size or 128, condition or {}, first)
    if isinstance(source, TrainingImages):
        return _of_training_images(source, source.source, n, seed)
    if isinstance(source, np.ndarray):
        return _of_array(source, n, seed, top)
    options = partial(_options, like, read, engine)
    if isinstance(source, Path) or (isinstance(source, str) and source.strip()):
        path = Path(source).expanduser()
        if not _is_there(path):
            raise DataError(
                f"{str(path)[:80]!r} is no phantom ({', '.join(KINDS)}) and there is no such "
                "folder or file; for a model give GenerateRequest(model_id, seeds=range(1000))."
            )
        if (path / "config.json").is_file() and read is None:
            return _of_training_images(images_of_run(path), path.name, n, seed)
        return _of_path(path, options(False if labels is None else labels, group), n, seed)
    if (
        not isinstance(source, str)
        and hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
    ):
        return _of_training_images(
            read_images(source, **options(labels, group)), "Dataset", n, seed
        )
    raise RequestError(
        "images must be a GenerateRequest, a card, a phantom, a folder, a run, an array, a "
        f"Dataset or TrainingImages, got {source!r:.40}."
    )


def preparation_of(
    source: Any, engine: Engine | Callable[[], Engine] = shared_engine
) -> Preprocessing | None:
    """Return how a source's own training images were prepared, where it says so.

    Examples
    --------
    >>> preparation_of(np.zeros((2, 8, 8), np.uint8)) is None
    True
    """
    if isinstance(source, GenerateRequest):
        return Preprocessing.of(_ready(engine).catalogue[source.model_id])
    if isinstance(source, (str, Path)) and not phantom_named(source):
        data = Path(source).expanduser() / "data.json"
        if _is_there(data):
            return Preprocessing.of(json.loads(data.read_text("utf-8"))["preprocessing"])
    if isinstance(source, (ModelCard, TrainingImages, Preprocessing)):
        return Preprocessing.of(source)
    return None


def phantom_kind(card: ModelCard) -> str | None:
    """Return the kind of phantom that a model was trained on, or None for any other model.

    Examples
    --------
    >>> from medgan_widgets import Catalogue
    >>> phantom_kind(Catalogue()["phantom-styles"])
    'brain_mri'
    """
    facts = f"{card.dataset} {card.training.get('command', '')}"
    return next((kind for kind in KINDS if kind in facts), None) if card.phantom else None


def in_batches(array: NDArray[Any], rows: int = 256) -> Iterator[NDArray[Any]]:
    """Yield an array in parts."""
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _ready(engine: Engine | Callable[[], Engine]) -> Engine:
    return engine() if callable(engine) else engine


def _of_request(
    request: GenerateRequest, engine: Engine, n: int | None, top: float | None
) -> ImageSource:
    request = replace(request, seeds=request.seeds[:n])
    card = engine.catalogue[request.model_id]
    condition = "".join(f", {name} {value}" for name, value in request.condition.items())
    mode = "" if request.mode == "exact" else f", {request.mode}"

    def generated() -> Iterator[NDArray[np.uint8]]:
        for batch in engine.generate(request):
            if batch.images.dtype == np.uint16 and top is None:
                # White is what the whole request says it is, so all of it is waited for.
                whole = engine.images(request)
                yield from in_batches(to_levels(whole, top_of(whole)), PART)
                return
            yield to_levels(batch.images, top or 255.0)

    return ImageSource(
        f"{request.model_id}{condition}{mode}",
        len(request.seeds),
        generated,
        "generated",
        Preprocessing.of(card),
        labels=labels_from_seeds(request.seeds, card.condition, request.condition),
        phantom=card.phantom,
    )


def _of_phantoms(
    kind: str, count: int, size: int, condition: Mapping[str, Value], first: int
) -> ImageSource:
    size = min(max(size, SMALLEST), LARGEST)
    known = {name: value for name, value in condition.items() if name in KINDS[kind].factors}

    def drawn(start: int) -> Iterator[NDArray[np.uint8]]:
        for at in range(start, start + count, PART):
            seeds = range(at, min(at + PART, start + count))
            yield draw_phantoms(kind, seeds, size=size, condition=known).images[..., None]

    what = f"{kind} phantoms" + "".join(f", {name} {value}" for name, value in known.items())
    others = ImageSource(what, count, partial(drawn, OTHERS), "drawn", phantom=True)
    labels = phantom_labels(kind, range(first, first + count), known)
    return replace(others, batches=partial(drawn, first), labels=labels, others=others)


def _of_training_images(images: TrainingImages, what: str, n: int | None, seed: int) -> ImageSource:
    rows = _drawn_rows(len(images), n, seed)
    names = tuple(images.names[row] for row in rows)
    factors = {name: images.values_of(name) for name in images.factors}
    pixels = checked_pixels(images.images if len(rows) == len(images) else images.images[rows])
    known = images.preprocessing
    return ImageSource(
        what,
        len(rows),
        partial(in_batches, pixels),
        "drawn" if images.phantom else "as given" if known is None else known.in_words(),
        known,
        names,
        {name: tuple(values[row] for row in rows) for name, values in factors.items()},
        tuple(images.groups[row] for row in rows),
        images.phantom,
        _jpegs(names),
        left_out=(*images.refused, *images.left_out),
        notes=images.notes,
        pixel_notes=images.pixel_notes,
    )


def _of_array(array: NDArray[Any], n: int | None, seed: int, top: float | None) -> ImageSource:
    images = checked_pixels(array)
    white = top_of(images) if top is None else top
    if n is not None and n < len(images):
        images = images[_drawn_rows(len(images), n, seed)]

    def levels() -> Iterator[NDArray[np.uint8]]:
        for part in in_batches(images):
            yield to_levels(part, white)

    notes = () if images.dtype == np.uint8 else (f"16 bits: white is {white:g} in the array.",)
    return ImageSource("array", len(images), levels, "as given", top=white, notes=notes)


def _options(
    like: Any, read: Mapping[str, Any] | None, engine: Any, labels: Any, group: Any
) -> dict[str, Any]:
    """Return the arguments of `read_images`: what ``read`` says wins over ``like``."""
    chosen = {"test": 0, "labels": labels, "group": group, **(read or {})}
    if wrong := sorted(set(chosen) - {field.name for field in fields(ReadOptions)}):
        raise RequestError(f"read_images has no argument {wrong[0]!r}; look at its help.")
    like = preparation_of(like, engine)
    return chosen if like is None or PREPARES & set(chosen) else {**chosen, "like": like}


def _of_path(path: Path, options: Mapping[str, Any], n: int | None, seed: int) -> ImageSource:
    folder = Folder(path, ReadOptions(**options))
    if folder.source != "folder" or PREPARES & set(options):
        return _of_training_images(folder.read(), path.name, n, seed)
    records, decoded, refused = read_all(
        folder.files(), skip_unreadable=folder.options.skip_unreadable
    )

    # Pictures stay in their own size; all of 16 bits go through one range.
    deep = [row for row, record in enumerate(records) if record.pixels.deep]
    top, notes = 255.0, list(folder.notes)
    if deep:
        if min(float(decoded[row].inside.min()) for row in deep) < 0:
            raise DataError(
                f"{path.name} holds values below 0, which are no grey levels; say how they are "
                "read with read={'window': (center, width)}."
            )
        top = percentiles_of(decoded, deep, ALL_VALUES)[1] or 1.0
        over = sum(int((decoded[row].inside > top).sum()) for row in deep)
        notes.append(
            f"{path.name}: {len(deep):,} images of more than 8 bits; white is {top:g}, the 99.99th "
            f"percentile of all of them, and {over:,} pixels are cut off there."
        )
    rows = _drawn_rows(len(records), n, seed)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        together: list[NDArray[np.uint8]] = []
        for row in rows.tolist():
            pixels = _levels(decoded[row], top)
            if together and (pixels.shape != together[0].shape or len(together) == PART):
                yield np.stack(together)
                together = []
            together.append(pixels)
        if together:
            yield np.stack(together)

    factors = list(records[0].labels) if all(record.labels for record in records) else []
    values = {name: one_kind([record.labels[name] for record in records]) for name in factors}
    names = tuple(records[row].name for row in rows)
    return ImageSource(
        path.name,
        len(rows),
        pictures,
        "pixel by pixel",
        None,
        names,
        {name: tuple(every[row] for row in rows) for name, every in values.items()},
        tuple(records[row].group for row in rows),
        jpeg=_jpegs(names),
        top=top,
        left_out=(*refused, *folder.left_out),
        notes=tuple(notes),
    )


def _levels(image: Pixels, top: float) -> NDArray[np.uint8]:
    values = image.values if image.values.ndim == 3 else image.values[..., None]
    if values.shape[2] == 3 and (values == values[..., :1]).all():
        values = values[..., :1]  # some formats know colour only
    levels = to_levels(values, top)
    if image.background is None:
        return levels
    return np.where(image.background[..., None], np.uint8(0), levels)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no name of a file at all, as one of 5,000 letters
        return False


def _drawn_rows(count: int, n: int | None, seed: int) -> NDArray[np.intp]:
    if n is None or n >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, n, replace=False))


def _jpegs(names: tuple[str, ...]) -> int:
    return sum(name.lower().endswith((".jpg", ".jpeg")) for name in names)
