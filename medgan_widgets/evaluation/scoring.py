"""Images on both sides to scores: features by the part, figures one after the other."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.engine import Engine, shared_engine
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.evaluation.scores import Scores
from medgan_widgets.evaluation.sources import REALS, Images, images_of
from medgan_widgets.features import CANONICAL, extractor_name, feature_batches, masks_among
from medgan_widgets.metrics import FEWEST, METRICS, ms_ssim_diversity, score_of
from medgan_widgets.phantoms import KINDS, LARGEST, SMALLEST
from medgan_widgets.requests import GenerateRequest, Measured, Score
from medgan_widgets.seeds import SEED_LIMIT, whole_number

CHUNK = 256  # images whose features are made, and cached, together
IN_MEMORY = 2**28  # bytes of features; more lie in a file while they are needed
PAIR = 2
COMPARED = 128  # images of each side that MS-SSIM compares in pairs
EXTRA = ("ms_ssim",)  # of images, not of features
NAMES = {
    "fd": "FD", "fd_infinity": "FD-infinity", "kid": "KID", "ks": "KS",
    "wasserstein": "Wasserstein", "ms_ssim": "MS-SSIM",
}  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far a scoring is.

    Attributes
    ----------
    stage
        ``"real images"``, ``"other real images"``, ``"synthetic images"`` or ``"scores"``.
    done, total
        Images, or scores.
    """

    stage: str
    done: int
    total: int


def score(
    fake: Any,
    *,
    real: Any,
    metrics: Sequence[str] = ("fd", "kid"),
    extractor: Any = CANONICAL,
    n: int | None = None,
    seed: int = 0,
    read: Mapping[str, Any] | None = None,
    weights: str | Path | None = None,
    engine: Engine | None = None,
    device: str = "cpu",
    cache: str | Path | bool | None = None,
    progress: Callable[[Progress], object] | None = None,
) -> Scores:
    """Return how images compare with real ones, each figure with all that makes it comparable.

    Parameters
    ----------
    fake
        What is judged: a `GenerateRequest`, a folder, an array uint8 [N, H, W(, C)],
        `TrainingImages`, or a phantom's kind.
    real
        What it is judged by: the same choices. Phantoms are drawn as large as what is
        judged, as many, and of the classes that a request holds fixed.
    metrics
        Some of ``"fd"``, ``"fd_infinity"``, ``"kid"``, ``"precision"``, ``"recall"``,
        ``"density"``, ``"coverage"``, ``"ks"``, ``"wasserstein"``, ``"ms_ssim"``.
    extractor
        What turns images into features: a name, or a torch module of yours. Figures of
        two extractors never compare.
    n
        At most so many images a side, drawn by ``seed``.
    read
        Arguments of `read_images` for the real files, e.g. those a model was trained with.
        Without them pictures of 8 bits are taken as they are.
    weights
        A file, for extractors that need one.
    engine, device
        Where images are generated, and where features are made.
    cache
        A folder for features; by default the user's cache folder, False for none.
    progress
        Called now and then; an exception that it raises ends the scoring, and the
        features made so far stay in the cache.

    Raises
    ------
    RequestError
        For an unknown metric or source.
    DataError
        When images cannot be read or compared.
    WeightsError
        When an extractor's weights are missing or others.

    Examples
    --------
    >>> pixels = np.random.default_rng(0).integers(0, 255, (40, 32, 32), dtype=np.uint8)
    >>> scores = score(pixels[:20], real=pixels[20:], metrics=["kid"], cache=False)
    >>> scores["KID"].n_real, scores["KID"].extractor
    (20, 'canonical-1')
    """
    wanted = _checked_metrics(metrics)
    seed = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    judged, reals = _both_sides(fake, real, engine or shared_engine, n, seed, read)
    extract = partial(
        feature_batches, extractor=extractor, weights=weights, cache=cache, device=device
    )
    tell = progress or (lambda _: None)
    with tempfile.TemporaryDirectory() as room:
        sides = []  # reals first: a file that cannot be read is told before images are generated
        for stage, images in (("real", reals), ("synthetic", judged), ("other real", reals.others)):
            if images is not None:
                sides.append(_Side(images, Path(room) / stage))
                for done in sides[-1].fill(extract):
                    tell(Progress(f"{stage} images", done, images.count))
        rows: list[Measured] = []
        missed: list[str] = []
        psi = fake.truncation_psi if isinstance(fake, GenerateRequest) else None
        for place, metric in enumerate(wanted):
            try:
                scores = _scores(metric, extractor, sides, seed)
            except DataError as error:  # the other figures are worth having
                missed.append(f"{metric} is not measured: {error}")
                scores = [_without_value(metric, extractor, sides, missed[-1])]
            rows += [Measured(one, judged.what, reals.what, truncation_psi=psi) for one in scores]
            tell(Progress("scores", place + 1, len(wanted)))
        if len(missed) == len(wanted):
            raise DataError(" ".join(missed))
        notes = (
            *judged.notes,
            *reals.notes,
            *_remarks(sides[1], sides[0], chosen=read is not None),
        )
    return Scores(tuple(rows), notes)


def _scores(metric: str, extractor: Any, sides: Sequence[_Side], seed: int) -> list[Score]:
    real, fake = sides[:2]
    least, here = FEWEST.get(metric, PAIR), (real.images.count, fake.images.count)
    if min(here) < least:
        raise DataError(
            f"it needs at least {least} images on each side, and there are {here[0]} real and "
            f"{here[1]} synthetic ones; give more."
        )
    if metric in EXTRA:
        for side, name in ((real, "real"), (fake, "synthetic")):
            if len(side.shapes) > 1 and len(side.some()) < PAIR:
                raise DataError(
                    f"it compares images of one size, and the {side.images.count} {name} images "
                    f"are of {len(side.shapes)} sizes; bring them to one."
                )
        return ms_ssim_diversity(real.some(), fake.some(), seed=seed)
    return score_of(
        metric,
        real.features,
        fake.features,
        extractor=extractor_name(extractor),
        other=sides[2].features if len(sides) > 2 else None,
        seed=seed,
    )


def _without_value(metric: str, extractor: Any, sides: Sequence[_Side], why: str) -> Score:
    real, fake = (side.images.count for side in sides[:2])
    name = NAMES.get(metric, metric)
    looked = None if metric in EXTRA else extractor_name(extractor)
    return Score(name, None, real, fake, looked, warning=why)


def _checked_metrics(metrics: Sequence[str]) -> tuple[str, ...]:
    known = (*METRICS, *EXTRA)
    given: tuple[Any, ...] = (metrics,)
    if isinstance(metrics, Iterable) and not isinstance(metrics, str):
        given = tuple(metrics)
    wrong = [one for one in given if one not in known]
    if wrong or not given:
        fid = " FID is 'fd' with extractor='inception-v3-compat'." if "fid" in wrong else ""
        raise RequestError(
            f"metrics must be some of {', '.join(known)}; got {wrong or given!r}.{fid}"
        )
    return tuple(dict.fromkeys(given))


def _both_sides(
    fake: Any,
    real: Any,
    engine: Engine | Callable[[], Engine],
    n: int | None,
    seed: int,
    read: Mapping[str, Any] | None,
) -> tuple[Images, Images]:
    """Return the judged images and the reals; phantoms are drawn as large, and of that class."""
    ready: Callable[[], Engine] = engine if callable(engine) else (lambda: engine)
    judged = images_of(fake, engine=ready, n=n, seed=seed)
    condition = fake.condition if isinstance(fake, GenerateRequest) else {}
    # A phantom's kind is drawn, as many as are judged and as large.
    drawn = isinstance(real, str) and real in KINDS
    size = _side_of(fake, judged, ready) if drawn else None
    reals = images_of(
        real,
        engine=ready,
        n=n or (judged.count if drawn else None),
        seed=seed,
        read=read,
        size=size,
        condition=condition,
        first=REALS,
    )
    return judged, reals


def _side_of(fake: Any, judged: Images, engine: Callable[[], Engine]) -> int | None:
    """Return how many pixels a side phantoms are drawn with."""
    if isinstance(fake, str) and fake in KINDS:
        return None
    if isinstance(fake, GenerateRequest):
        return engine().catalogue[fake.model_id].size[0]
    return int(max(next(judged.batches()).shape[1:3]))


class _Side:
    """One side's features, in memory or in a file, and some of its images."""

    def __init__(self, images: Images, file: Path) -> None:
        self.images, self._file = images, file
        self.features: NDArray[Any] = np.zeros((0, 0))
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.masks = 0
        self._some: list[NDArray[Any]] = []

    def fill(
        self, extract: Callable[[Iterator[NDArray[Any]]], Iterator[NDArray[Any]]]
    ) -> Iterator[int]:
        """Make the features part by part, and yield how many images have theirs."""
        done = 0
        for rows in extract(self._looked_at()):
            if not done:
                self.features = self._room(rows)
            self.features[done : done + len(rows)] = rows
            done += len(rows)
            yield done
        if not done:
            raise DataError(f"{self.images.what} holds no images.")

    def some(self) -> NDArray[Any]:
        """Return up to 128 of the images, all of the most common size, [n, H, W, C]."""
        shape = self.shapes.most_common(1)[0][0]
        return np.stack([one for one in self._some if one.shape == shape][:COMPARED])

    def _room(self, rows: NDArray[Any]) -> NDArray[Any]:
        shape = (self.images.count, rows.shape[1])
        if shape[0] * shape[1] * rows.itemsize <= IN_MEMORY:
            return np.empty(shape, rows.dtype)
        return np.memmap(self._file, rows.dtype, "w+", shape=shape)

    def _looked_at(self) -> Iterator[NDArray[Any]]:
        """Yield the images, and remember what is to be said of them."""
        for images in _in_chunks(self.images.batches()):
            self.shapes[images.shape[1:]] += len(images)
            self.masks += int(masks_among(images).sum())
            left = COMPARED - len(self._some)
            self._some += list(images[: max(0, left)])
            yield images


def _remarks(fake: _Side, real: _Side, *, chosen: bool) -> Iterator[str]:
    """Yield what somebody should know before leaning on the figures.

    ``chosen`` says that a person said how the reals are read.
    """
    sizes = [side.shapes.most_common(1)[0][0] for side in (fake, real)]
    if sizes[0][:2] != sizes[1][:2]:
        drawn = real.images.others is not None
        yield (
            f"synthetic images are {_size(sizes[0])} and real ones {_size(sizes[1])}: each is "
            "resized by the extractor, which alone moves a distance; "
            + (
                f"phantoms are square, {SMALLEST} to {LARGEST} pixels a side; give such images."
                if drawn
                else "read the reals as the model's training did, with read={'size': …}."
            )
        )
    ways = [side.images.way for side in (fake, real)]
    if all(ways) and ways[0] != ways[1] and not chosen:
        yield (
            f"the synthetic images were read {ways[0]} and the real ones {ways[1]}; as for "
            "training means windowed and resized, which alone moves every figure. Bring their "
            "files to one bit depth, or give what read_images returns for each folder."
        )
    if sizes[0][2] != sizes[1][2]:
        one, other = (f"{size[2]} channel{'s' * (size[2] != 1)}" for size in sizes)
        yield f"synthetic images have {one} and real ones {other}."
    for side, name in ((fake, "synthetic"), (real, "real")):
        if len(side.shapes) > 1:
            yield f"{len(side.shapes)} sizes are mixed among the {name} images."
        if side.masks:
            yield (
                f"{side.masks} of {side.images.count} {name} images look like masks (two grey "
                "levels); a mask among images moves every figure."
            )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]} pixels"


def _in_chunks(batches: Iterator[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Yield the same images in the same order, 256 together where their sizes allow."""
    waiting: list[NDArray[Any]] = []
    for batch in batches:
        if waiting and batch.shape[1:] != waiting[0].shape[1:]:
            yield np.concatenate(waiting)
            waiting = []
        waiting.append(batch)
        while sum(map(len, waiting)) >= CHUNK:
            joined = np.concatenate(waiting)
            yield joined[:CHUNK]
            waiting = [joined[CHUNK:]] if len(joined) > CHUNK else []
    if waiting:
        yield np.concatenate(waiting)
