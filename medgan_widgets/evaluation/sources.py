"""What a person names as images to judge, or to judge by: in batches, and in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets import TrainingImages, read_images
from medgan_widgets.datasets.folder import images_of_folder
from medgan_widgets.datasets.found import Found
from medgan_widgets.datasets.kinds import kind_of
from medgan_widgets.engine import Engine
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.phantoms import KINDS, LARGEST, SMALLEST, draw_phantoms
from medgan_widgets.requests import GenerateRequest
from medgan_widgets.seeds import SEED_LIMIT, Value, whole_number

# Seeds of phantoms that nothing was trained on: reals, others for the floor, and to be judged.
REALS, OTHERS, JUDGED = 2**40, 2**41, 2**44
DRAWN = 64
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

Batches = Callable[[], Iterator[NDArray[Any]]]


@dataclass(frozen=True)
class Images:
    """Images on one side of a comparison.

    Attributes
    ----------
    what
        In a few words, for the tables.
    count
        How many.
    batches
        Gives them anew at each call, [n, H, W, C] a batch, all of one size in a batch.
    others
        Further reals of the same kind for the floor, or None where these are all.
    notes
        What is to be said on how they were read.
    way
        ``"pixel by pixel"`` or ``"as for training"``, of files; else empty.
    """

    what: str
    count: int
    batches: Batches
    others: Images | None = None
    notes: tuple[str, ...] = ()
    way: str = ""


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


def images_of(
    source: Any,
    *,
    engine: Callable[[], Engine],
    n: int | None = None,
    seed: int = 0,
    read: Mapping[str, Any] | None = None,
    size: int | None = None,
    condition: Mapping[str, Value] | None = None,
    first: int = JUDGED,
) -> Images:
    """Return what a person named as images in batches.

    Parameters
    ----------
    source
        A `GenerateRequest`; a phantom's kind; a folder or file that `read_images` takes;
        an array uint8 or uint16 [N, H, W] or [N, H, W, C]; `TrainingImages`, all of them.
    engine
        Gives the engine when a request is to be answered.
    n
        At most so many, drawn by ``seed``; of a request the first ones; so many phantoms.
    read
        Arguments of `read_images` for files. Without them pictures of 8 bits are
        taken pixel by pixel in their own size; all else is read as for training.
    size, condition, first
        For phantoms: pixels a side, as near to it as they can be drawn, classes that are
        held fixed, and the first seed.

    Raises
    ------
    DataError
        When there are no images, or they cannot be read.
    RequestError
        When ``source`` is nothing of all that.
    """
    if read is not None and not isinstance(read, Mapping):
        raise RequestError(f"read must be a dict of arguments of read_images, got {read!r:.60}.")
    n = None if n is None else whole_number(n, "n", 1, SEED_LIMIT)
    if isinstance(source, GenerateRequest):
        return _of_request(source, engine, n)
    if isinstance(source, str) and source in KINDS:
        known = {k: v for k, v in (condition or {}).items() if k in KINDS[source].factors}
        side = min(max(size or 128, SMALLEST), LARGEST)
        return _of_phantoms(source, n or 1000, side, known, first)
    if isinstance(source, TrainingImages):
        return _of_array(source.images, source.source, n, seed)
    if isinstance(source, np.ndarray):
        return _of_array(source, "array", n, seed)
    if isinstance(source, Path) or (isinstance(source, str) and source.strip()):
        return _of_path(Path(source).expanduser(), n, seed, read)
    raise RequestError(
        "images must be a GenerateRequest, a phantom's kind, a folder, an array or "
        f"TrainingImages, got {source!r:.40}."
    )


def in_batches(array: NDArray[Any], rows: int = 256) -> Iterator[NDArray[Any]]:
    """Yield an array in parts."""
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _of_request(request: GenerateRequest, engine: Callable[[], Engine], n: int | None) -> Images:
    if n is not None and n < len(request.seeds):
        request = replace(request, seeds=request.seeds[:n])
    told = "".join(f", {k} {v}" for k, v in request.condition.items())
    mode = "" if request.mode == "exact" else f", {request.mode}"
    made = partial(_generated, request, engine)
    return Images(f"{request.model_id}{told}{mode}", len(request.seeds), made)


def _generated(request: GenerateRequest, engine: Callable[[], Engine]) -> Iterator[NDArray[Any]]:
    for batch in engine().generate(request):
        yield batch.images


def _of_phantoms(
    kind: str, count: int, size: int, condition: Mapping[str, Value], first: int
) -> Images:
    def drawn(start: int) -> Iterator[NDArray[Any]]:
        for at in range(start, start + count, DRAWN):
            seeds = range(at, min(at + DRAWN, start + count))
            yield draw_phantoms(kind, seeds, size=size, condition=dict(condition)).images[..., None]

    told = "".join(f", {k} {v}" for k, v in condition.items())
    what = f"{kind} phantoms{told}"
    others = Images(what, count, partial(drawn, OTHERS))
    return Images(what, count, partial(drawn, first), others)


def _of_array(array: NDArray[Any], what: str, n: int | None, seed: int) -> Images:
    if array.ndim == 3 and array.shape[2] in (3, 4):
        raise DataError(f"{array.shape} is one colour image, it seems; give [N, H, W, C].")
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.dtype not in (np.uint8, np.uint16):
        raise DataError(
            "images must be uint8 or uint16 [N, H, W] or [N, H, W, C], got "
            f"{array.dtype} {array.shape}."
        )
    if not len(array):
        raise DataError("there are no images in an array of length 0.")
    if n is not None and n < len(array):
        array = array[_drawn_rows(len(array), n, seed)]
    return Images(what, len(array), partial(in_batches, array))


def _of_path(place: Path, n: int | None, seed: int, read: Mapping[str, Any] | None) -> Images:
    if not _is_there(place):
        raise DataError(
            f"{str(place)[:80]!r} is no phantom's kind ({', '.join(KINDS)}) and there is no such "
            "folder or file; for a model give GenerateRequest(model_id, seeds=range(1000))."
        )
    if read is None and kind_of(place) == "folder":
        found = [one for one in images_of_folder(place) if isinstance(one, Found)]
        if found and all(_is_eight_bits(one) for one in found):
            return _of_pictures(place, found, n, seed)
    chosen = {"test": 0, "labels": False, **(read or {})}
    wrong = sorted(set(chosen) - set(list(signature(read_images).parameters)[1:]))
    if wrong:
        raise RequestError(f"read_images has no argument {wrong[0]!r}; look at its help.")
    images = read_images(place, **chosen)
    told = images.preprocessing
    how = "" if told is None else f"{place.name}: read as for training, {told.size} pixels a side."
    side = _of_array(images.images, place.name, n, seed)
    return replace(side, notes=(how,) if how else (), way="as for training" if how else "")


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # no name of a file at all, as one of 5,000 letters
        return False


def _of_pictures(place: Path, found: list[Found], n: int | None, seed: int) -> Images:
    if n is not None and n < len(found):
        found = [found[row] for row in _drawn_rows(len(found), n, seed)]
    return Images(place.name, len(found), partial(_pictures, found), way="pixel by pixel")


def _pictures(found: Iterable[Found]) -> Iterator[NDArray[Any]]:
    """Yield pictures pixel by pixel; those of one size that follow each other in one batch."""
    waiting: list[NDArray[Any]] = []
    for one in found:
        values = np.asarray(one.read())
        pixels = (values if values.ndim == 3 else values[..., None]).astype(np.uint8)
        if waiting and (pixels.shape != waiting[0].shape or len(waiting) == DRAWN):
            yield np.stack(waiting)
            waiting = []
        waiting.append(pixels)
    if waiting:
        yield np.stack(waiting)


def _is_eight_bits(found: Found) -> bool:
    assert found.file is not None
    try:
        with Image.open(found.file) as image:
            return image.mode in _EIGHT_BITS
    except (OSError, ValueError):
        return True  # reading it says what is wrong


def _drawn_rows(count: int, n: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).choice(count, n, replace=False))
