"""``open_images``: the one door to images, whatever they come from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.classes import one_kind
from medgan_widgets.datasets.entry import like_of
from medgan_widgets.datasets.files_below import FilesBelow, files_of
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.datasets.preprocessing import Preprocessing
from medgan_widgets.datasets.reading import ALL_VALUES, percentiles_of
from medgan_widgets.datasets.records import ImageRecord, Refused, Waiting, in_words, read_all
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
JPEG = (".jpg", ".jpeg")

Labels = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True, eq=False)
class ImageSource:
    """Images from one place, in batches.

    Attributes
    ----------
    what
        In a few words, for tables.
    count
        How many.
    batches
        Gives them anew at each call: uint8 [n, H, W, C] a batch, all of one size in a batch.
    prepared
        How their pixels came about, in words: ``"generated"``, ``"drawn"``, ``"as given"``,
        ``"pixel by pixel"``, or how files were windowed and resized.
    preprocessing
        The same as it is computed; None where nobody knows, or nothing was done.
    names
        One an image, where they have any; they may name a person.
    labels
        Factor -> the value of each image, where known.
    groups
        What belongs together, one an image, where known.
    phantom
        Whether they are phantoms.
    jpeg
        How many were JPEG files, whose compression shows in texture and spectrum.
    top
        What counts as white in images of 16 bits.
    left_out
        Files that were not used, and why.
    notes
        What is to be said on how they were read.
    pixel_notes
        What was changed in all pixels; nothing to say beside others that were prepared alike.
    others
        Further reals of the same kind for a floor, or None where these are all.
    """

    what: str
    count: int
    batches: Callable[[], Iterator[NDArray[np.uint8]]]
    prepared: str
    preprocessing: Preprocessing | None = None
    names: tuple[str, ...] = ()
    labels: Labels = field(default_factory=dict)
    groups: tuple[str | None, ...] = ()
    phantom: bool = False
    jpeg: int = 0
    top: float = 255.0
    left_out: tuple[Refused, ...] = ()
    notes: tuple[str, ...] = ()
    pixel_notes: tuple[str, ...] = ()
    others: ImageSource | None = None

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
    ready: Callable[[], Engine] = engine if callable(engine) else (lambda: engine)
    if isinstance(source, ModelCard):
        source = GenerateRequest(source.id, seeds=range(n or COUNT))
    if isinstance(source, GenerateRequest):
        return _of_request(source, ready, n, top)
    if kind := phantom_named(source):
        known = {k: v for k, v in (condition or {}).items() if k in KINDS[kind].factors}
        side = min(max(size or 128, SMALLEST), LARGEST)
        return _of_phantoms(kind, n or COUNT, side, known, first)
    if isinstance(source, TrainingImages):
        return _of_training_images(source, source.source, n, seed)
    if isinstance(source, np.ndarray):
        return _of_array(source, n, seed, top)
    if isinstance(source, Path) or (isinstance(source, str) and source.strip()):
        place = Path(source).expanduser()
        if not _is_there(place):
            raise DataError(
                f"{str(place)[:80]!r} is no phantom ({', '.join(KINDS)}) and there is no such "
                "folder or file; for a model give GenerateRequest(model_id, seeds=range(1000))."
            )
        if (place / "config.json").is_file() and read is None:
            return _of_training_images(images_of_run(place), place.name, n, seed)
        return _of_path(place, preparation_of(like, ready), read, labels, group, n, seed)
    if (
        not isinstance(source, str)
        and hasattr(source, "__getitem__")
        and hasattr(source, "__len__")
    ):
        chosen = _chosen(preparation_of(like, ready), read, labels=labels, group=group)
        images = read_images(source, **chosen)
        return _of_training_images(images, "Dataset", n, seed)
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
        ready = engine() if callable(engine) else engine
        return like_of(ready.catalogue[source.model_id])
    if isinstance(source, (str, Path)) and not phantom_named(source):
        place = Path(source).expanduser()
        if _is_there(place) and (place / "data.json").is_file():
            return like_of(json.loads((place / "data.json").read_text("utf-8"))["preprocessing"])
        return None
    if isinstance(source, (ModelCard, TrainingImages, Preprocessing)):
        return like_of(source)
    return None


def phantom_kind(card: ModelCard) -> str | None:
    """Return the kind of phantom that a model was trained on, or None for any other model.

    Examples
    --------
    >>> from medgan_widgets import Catalogue
    >>> phantom_kind(Catalogue()["phantom-styles"])
    'brain_mri'
    """
    told = f"{card.dataset} {card.training.get('command', '')}"
    return next((kind for kind in KINDS if kind in told), None) if card.phantom else None


def in_batches(array: NDArray[Any], rows: int = 256) -> Iterator[NDArray[Any]]:
    """Yield an array in parts."""
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _of_request(
    request: GenerateRequest, engine: Callable[[], Engine], n: int | None, top: float | None
) -> ImageSource:
    if n is not None and n < len(request.seeds):
        request = replace(request, seeds=request.seeds[:n])
    card = engine().catalogue[request.model_id]
    said = "".join(f", {k} {v}" for k, v in request.condition.items())
    mode = "" if request.mode == "exact" else f", {request.mode}"
    labels = labels_from_seeds(request.seeds, card.condition, request.condition)
    return ImageSource(
        f"{request.model_id}{said}{mode}",
        len(request.seeds),
        partial(_generated, request, engine, top),
        "generated",
        like_of(card),
        labels=labels,
        phantom=card.phantom,
    )


def _generated(
    request: GenerateRequest, engine: Callable[[], Engine], top: float | None
) -> Iterator[NDArray[np.uint8]]:
    for batch in engine().generate(request):
        if batch.images.dtype == np.uint16 and top is None:
            # White is what the whole request says it is, so all of it is waited for.
            whole = engine().images(request)
            yield from in_batches(to_levels(whole, top_of(whole)), PART)
            return
        yield to_levels(batch.images, top or 255.0)


def _of_phantoms(
    kind: str, count: int, size: int, condition: Mapping[str, Value], first: int
) -> ImageSource:
    def drawn(start: int) -> Iterator[NDArray[np.uint8]]:
        for at in range(start, start + count, PART):
            seeds = range(at, min(at + PART, start + count))
            yield draw_phantoms(kind, seeds, size=size, condition=dict(condition)).images[..., None]

    said = "".join(f", {k} {v}" for k, v in condition.items())
    what = f"{kind} phantoms{said}"
    labels = phantom_labels(kind, range(first, first + count), condition)
    others = ImageSource(what, count, partial(drawn, OTHERS), "drawn", phantom=True)
    return ImageSource(
        what, count, partial(drawn, first), "drawn", labels=labels, phantom=True, others=others
    )


def _of_training_images(images: TrainingImages, what: str, n: int | None, seed: int) -> ImageSource:
    rows = _drawn_rows(len(images), n, seed)
    factors = {
        name: tuple(values[int(place)] for place in images.one_hot(name)[rows].argmax(axis=1))
        for name, values in images.factors.items()
    }
    pixels = images.images if len(rows) == len(images) else images.images[rows]
    known = images.preprocessing
    return ImageSource(
        what,
        len(rows),
        partial(in_batches, checked_pixels(pixels)),
        "drawn" if images.phantom else "as given" if known is None else known.in_words(),
        known,
        tuple(images.names[row] for row in rows),
        factors,
        tuple(images.groups[row] for row in rows),
        images.phantom,
        sum(images.names[row].lower().endswith(JPEG) for row in rows),
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

    notes = [] if images.dtype == np.uint8 else [f"16 bits: white is {white:g} in the array."]
    return ImageSource("array", len(images), levels, "as given", top=white, notes=tuple(notes))


def _of_path(
    place: Path,
    like: Preprocessing | None,
    read: Mapping[str, Any] | None,
    labels: Any,
    group: Any,
    n: int | None,
    seed: int,
) -> ImageSource:
    chosen = _chosen(like, read, labels=False if labels is None else labels, group=group)
    if PREPARES & set(chosen):
        return _of_training_images(read_images(place, **chosen), place.name, n, seed)
    folder = files_of(place, **{k: v for k, v in chosen.items() if k in FILES})
    if folder.source != "folder":
        return _of_training_images(read_images(place, **chosen), place.name, n, seed)
    refused: list[Refused] = []
    waiting, records = Waiting(), []
    for record in read_all(folder.files(), refused):
        waiting.add(record.pixels)
        records.append(record)
    if refused and not chosen.get("skip_unreadable"):
        raise DataError(
            f"{in_words(refused)}; mend or remove them, or pass "
            "read={'skip_unreadable': True} to go on with the rest."
        )
    if not records:
        raise DataError(f"there are no images in {place}.")
    return _pixel_by_pixel(place.name, waiting, records, refused, folder, n, seed)


FILES = ("labels", "group", "table", "kind")
PREPARES = {"size", "window", "percentiles", "fit", "channels", "plane", "like"}


def _chosen(
    like: Preprocessing | None, read: Mapping[str, Any] | None, **chosen: Any
) -> dict[str, Any]:
    """Return the arguments of `read_images`: what somebody says wins over ``like``."""
    chosen = {"test": 0, **chosen, **(read or {})}
    wrong = sorted(set(chosen) - set(list(signature(read_images).parameters)[1:]))
    if wrong:
        raise RequestError(f"read_images has no argument {wrong[0]!r}; look at its help.")
    if like is not None and not PREPARES & set(chosen):
        chosen["like"] = like
    return chosen


def _pixel_by_pixel(
    what: str,
    waiting: Waiting,
    records: Sequence[ImageRecord],
    refused: Sequence[Refused],
    folder: FilesBelow,
    n: int | None,
    seed: int,
) -> ImageSource:
    """Return pictures in their own size; all of 16 bits through one range."""
    deep = [row for row in range(len(waiting)) if waiting[row].values.dtype != np.uint8]
    top, notes = 255.0, list(folder.notes)
    if deep:
        if min(float(waiting[row].inside.min()) for row in deep) < 0:
            raise DataError(
                f"{what} holds values below 0, which are no grey levels; say how they are read "
                "with read={'window': (center, width)}."
            )
        top = percentiles_of(waiting, deep, ALL_VALUES)[1] or 1.0
        over = sum(int((waiting[row].inside > top).sum()) for row in deep)
        notes.append(
            f"{what}: {len(deep):,} images of more than 8 bits; white is {top:g}, the 99.99th "
            f"percentile of all of them, and {over:,} pixels are cut off there."
        )
    rows = _drawn_rows(len(records), n, seed)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        together: list[NDArray[np.uint8]] = []
        for row in rows.tolist():
            pixels = _levels(waiting[row].values, waiting[row].background, top)
            if together and (pixels.shape != together[0].shape or len(together) == PART):
                yield np.stack(together)
                together = []
            together.append(pixels)
        if together:
            yield np.stack(together)

    kept = [records[row] for row in rows]
    factors = list(records[0].labels) if all(one.labels for one in records) else []
    values = {name: one_kind([one.labels[name] for one in records]) for name in factors}
    return ImageSource(
        what,
        len(kept),
        pictures,
        "pixel by pixel",
        None,
        tuple(one.name for one in kept),
        {name: tuple(every[row] for row in rows) for name, every in values.items()},
        tuple(one.group for one in kept),
        jpeg=sum(one.name.lower().endswith(JPEG) for one in kept),
        top=top,
        left_out=(*refused, *folder.left_out),
        notes=tuple(notes),
    )


def _levels(
    values: NDArray[Any], background: NDArray[np.bool_] | None, top: float
) -> NDArray[np.uint8]:
    shaped = values if values.ndim == 3 else values[..., None]
    if shaped.shape[2] == 3 and (shaped == shaped[..., :1]).all():
        shaped = shaped[..., :1]  # some formats know colour only
    levels = shaped if shaped.dtype == np.uint8 else to_levels(shaped, top)
    return levels if background is None else np.where(background[..., None], np.uint8(0), levels)


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # no name of a file at all, as one of 5,000 letters
        return False


def _drawn_rows(count: int, n: int | None, seed: int) -> NDArray[np.intp]:
    if n is None or n >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, n, replace=False))
