"""Images on both sides to scores: features by the part, figures one after the other."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.engine import Engine, shared_engine
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.features import (
    CANONICAL,
    extractor_name,
    feature_batches,
    masks_among,
)
from medgan_widgets.image_sources import REALS, ImageSource, open_images, preparation_of
from medgan_widgets.metrics import (
    FEWEST,
    METRICS,
    ms_ssim_diversity,
    rows_to_compare,
    score_of,
)
from medgan_widgets.metrics.score_notes import phantom_like, remarks
from medgan_widgets.metrics.table import Prepared, Scores
from medgan_widgets.requests import GenerateRequest, Measured, Score
from medgan_widgets.seeds import SEED_LIMIT, Value, whole_number

CHUNK = 256  # images whose features are made, and cached, together
IN_MEMORY = 2**28  # bytes of features; more lie in a file while they are needed
PAIR = 2
COMPARED = 64  # images of each side that MS-SSIM compares in pairs
MOST_CLASSES = 8  # that get a distance of their own
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
    like: Any = None,
    labels: Any = None,
    group: Any = None,
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
        What is judged: a `GenerateRequest`, a model's card (as many images as there are
        reals), a run, a folder, an array uint8 [N, H, W(, C)], `TrainingImages`, a phantom.
    real
        What it is judged by: the same choices. Phantoms are drawn as large as what is
        judged, as many, and of the classes that a request holds fixed.
    like
        Whose preparation real files go through: a card, a request, a run, `TrainingImages` or
        a `Preprocessing`. By default that of ``fake``, where it carries one.
    labels, group
        Where real files have their classes and patients, as for `read_images`. Halves,
        floor and interval go by patient then; images of a request are made in the classes'
        proportions, and a distance within each class is added where n allows.
    metrics
        Some of ``"fd"``, ``"fd_infinity"``, ``"kid"``, ``"precision"``, ``"recall"``,
        ``"density"``, ``"coverage"``, ``"ks"``, ``"wasserstein"``, ``"ms_ssim"``.
    extractor
        What turns images into features: a name, or a torch module of yours. Figures of
        two extractors never compare.
    n
        At most so many images a side, drawn by ``seed``.
    read
        Further arguments of `read_images` for the real files. Without them, and where nobody
        knows how the model's own data were prepared, pictures are taken as they are.
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
    ready: Callable[[], Engine] = shared_engine if engine is None else (lambda: engine)
    said, like = like is not None, fake if like is None else like
    opened = partial(open_images, engine=ready, seed=seed)
    reals = _reals(fake, real, opened, n, like, labels, group, read, ready)
    parts, mixed = _requests(fake, reals, n, ready)
    top = reals.top if reals.top != 255 else None
    judged = [opened(one, n=n, top=top) for one in parts]
    fakes = judged[0] if len(judged) == 1 else _joined(judged, str(judged[0].what.split(",")[0]))
    if mixed:
        fakes = replaced(fakes, prepared=f"{fakes.prepared}, {mixed}")
    if said and fakes.prepared == "as given":  # somebody vouches for an array
        fakes = replaced(fakes, preprocessing=preparation_of(like, ready))
    extract = partial(
        feature_batches, extractor=extractor, weights=weights, cache=cache, device=device
    )
    tell = progress or (lambda _: None)
    with tempfile.TemporaryDirectory() as room:
        sides = []  # reals first: a file that cannot be read is told before images are generated
        for stage, images in (("real", reals), ("synthetic", fakes), ("other real", reals.others)):
            if images is not None:
                sides.append(_Side(images, Path(room) / stage, seed))
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
            rows += [Measured(one, fakes.what, reals.what, truncation_psi=psi) for one in scores]
            tell(Progress("scores", place + 1, len(wanted)))
        if len(missed) == len(wanted):
            raise DataError(" ".join(missed))
        prepared = {
            side: Prepared(one.prepared, one.preprocessing, one.jpeg, one.count)
            for side, one in (("synthetic", fakes), ("real", reals))
        }
        notes = (
            *fakes.notes,
            *reals.notes,
            *remarks(sides[1], sides[0], extractor),
        )
    return Scores(tuple(rows), tuple(dict.fromkeys(notes)), prepared)


def _reals(
    fake: Any,
    real: Any,
    opened: Callable[..., ImageSource],
    n: int | None,
    like: Any,
    labels: Any,
    group: Any,
    read: Mapping[str, Any] | None,
    engine: Callable[[], Engine],
) -> ImageSource:
    """Return the reals; phantoms are drawn as large as what is judged, and of its class."""
    preparation = preparation_of(like, engine)
    if phantom_named(real) is None:
        reals = opened(real, n=n, like=preparation, labels=labels, group=group, read=read)
        if not isinstance(fake, (GenerateRequest, ModelCard)):
            return reals
        card = fake if isinstance(fake, ModelCard) else engine().catalogue[fake.model_id]
        named = {
            name: tuple(_as_the_card_has_it(one, card.condition.get(name, ())) for one in values)
            for name, values in reals.labels.items()
        }
        return replaced(reals, labels=named)
    condition = fake.condition if isinstance(fake, GenerateRequest) else {}
    size: int | None = None
    count = n
    if isinstance(fake, (GenerateRequest, ModelCard)):
        name = fake.id if isinstance(fake, ModelCard) else fake.model_id
        size = engine().catalogue[name].size[0]
        count = n or (len(fake.seeds) if isinstance(fake, GenerateRequest) else None)
    elif phantom_named(fake) is None:
        judged = opened(fake, n=n)
        size, count = int(max(next(judged.batches()).shape[1:3])), judged.count
    return opened(real, n=count, size=size, condition=condition, first=REALS)


def _as_the_card_has_it(value: Value, choices: Sequence[Value]) -> Value:
    """Return the model's own value that a class of the reals stands for: False for "no" or 0."""
    truths: dict[str, Value] = {"0": False, "no": False, "1": True, "yes": True}
    spelling = str(value).lower()
    for choice in choices:
        if str(choice).lower() == spelling or truths.get(spelling) is choice:
            return choice
    return value


def _requests(
    fake: Any, reals: ImageSource, n: int | None, engine: Callable[[], Engine]
) -> tuple[list[Any], str]:
    """Return what is judged, a model's images in the proportions of the reals' classes, and those.

    A request that leaves factors open draws them evenly. The same seeds are shared out over
    the classes that the reals have, or that the card says its training had.
    """
    if isinstance(fake, ModelCard):
        fake = GenerateRequest(fake.id, seeds=range(n or reals.count))
    if not isinstance(fake, GenerateRequest) or phantom_like(reals):
        return [fake], ""
    request = fake if n is None else replaced(fake, seeds=fake.seeds[:n])
    card = engine().catalogue[request.model_id]
    free = [name for name in card.condition if name not in request.condition]
    mix = _class_counts(card, reals, free)
    if not free or not mix:
        return [request], ""
    wanted = Counter(mix)
    shares = np.array(list(wanted.values()), float) / sum(wanted.values())
    ends = np.rint(np.cumsum(shares) * len(request.seeds)).astype(int).tolist()
    made, start = [], 0
    for kind, end in zip(wanted, ends, strict=True):
        if end > start:
            condition = {**request.condition, **dict(zip(free, kind, strict=True))}
            made.append(replaced(request, seeds=request.seeds[start:end], condition=condition))
        start = max(start, end)
    whose = (
        "the reals have them"
        if all(name in reals.labels for name in free)
        else ("its card says of the training images")
    )
    said = ", ".join(
        f"{' '.join(map(str, kind))} {share:.0%}"
        for kind, share in zip(wanted, shares, strict=True)
    )
    return made, f"{', '.join(free)} as {whose}: {said}"


def _class_counts(
    card: ModelCard, reals: ImageSource, free: Sequence[str]
) -> dict[tuple[Value, ...], int]:
    """Return how often each combination of the open factors stands among the reals."""
    if all(name in reals.labels for name in free):
        rows = Counter(zip(*(reals.labels[name] for name in free), strict=True))
        known = dict(rows)
    else:
        known = {}
        for one in card.class_counts:
            kind = tuple(one.condition[name] for name in free if name in one.condition)
            if len(kind) == len(free):
                known[kind] = known.get(kind, 0) + one.images
    fits = {
        kind: count
        for kind, count in known.items()
        if all(value in card.condition[name] for name, value in zip(free, kind, strict=True))
    }
    return dict(sorted(fits.items(), key=repr)) if len(fits) == len(known) else {}


def _joined(parts: Sequence[ImageSource], what: str) -> ImageSource:
    """Return several sources of one model as one."""

    def batches() -> Iterator[NDArray[np.uint8]]:
        for one in parts:
            yield from one.batches()

    return replaced(
        parts[0],
        what=what,
        count=sum(one.count for one in parts),
        batches=batches,
        labels={
            name: tuple(value for one in parts for value in one.labels[name])
            for name in parts[0].labels
        },
    )


def _scores(metric: str, extractor: Any, sides: Sequence[_Side], seed: int) -> list[Score]:
    real, fake = sides[:2]
    least, here = FEWEST.get(metric, PAIR), (real.images.count, fake.images.count)
    if min(here) < least:
        raise DataError(
            f"it needs at least {least} images on each side, and there are {here[0]} real and "
            f"{here[1]} synthetic ones; give more."
        )
    if metric in EXTRA:
        return _ms_ssim(real, fake, seed)
    measure = partial(score_of, metric, extractor=extractor_name(extractor), seed=seed)
    found = measure(
        real.features,
        fake.features,
        other=sides[2].features if len(sides) > 2 else None,
        real_groups=real.groups,
        fake_groups=fake.groups,
    )
    if metric == "fd":
        found += _within_classes(measure, real, fake)
    return found


def _within_classes(
    measure: Callable[..., list[Score]], real: _Side, fake: _Side
) -> Iterator[Score]:
    """Yield the distance of each class that has more images than features on both sides."""
    shared = [name for name in real.images.labels if name in fake.images.labels]
    if not shared:
        return
    words = [side.class_words(shared) for side in (real, fake)]
    classes = sorted(set(words[0]) & set(words[1]))
    if not 2 <= len(classes) <= MOST_CLASSES:
        return
    for kind in classes:
        rows = [np.flatnonzero(np.array(side) == kind) for side in words]
        if min(map(len, rows)) <= real.features.shape[1]:
            continue
        groups = None if real.groups is None else [real.groups[row] for row in rows[0]]
        for one in measure(real.features[rows[0]], fake.features[rows[1]], real_groups=groups):
            yield replaced(one, name=f"{one.name} ({kind})", why=(), families={})


def _ms_ssim(real: _Side, fake: _Side, seed: int) -> list[Score]:
    for side, name in ((real, "real"), (fake, "synthetic")):
        if len(side.shapes) > 1 and len(side.some()[0]) < PAIR:
            raise DataError(
                f"it compares images of one size, and the {side.images.count} {name} images "
                f"are of {len(side.shapes)} sizes; bring them to one."
            )
    shared = [name for name in real.images.labels if name in fake.images.labels]
    (reals, real_rows), (fakes, fake_rows) = real.some(), fake.some()
    labels: list[list[str] | None] = [None, None]
    if shared:
        words = real.class_words(shared), fake.class_words(shared)
        labels = [[words[0][row] for row in real_rows], [words[1][row] for row in fake_rows]]
    groups = [
        None if side.groups is None else [side.groups[row] for row in rows]
        for side, rows in ((real, real_rows), (fake, fake_rows))
    ]
    return ms_ssim_diversity(
        reals, fakes, real_labels=labels[0], fake_labels=labels[1],
        real_groups=groups[0], fake_groups=groups[1], seed=seed,
    )  # fmt: skip


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


class _Side:
    """One side's features, in memory or in a file, and some of its images."""

    def __init__(self, images: ImageSource, file: Path, seed: int) -> None:
        self.images, self._file = images, file
        known = [one is not None for one in images.groups]
        self.groups = images.groups if known and all(known) else None
        words = self.class_words(list(images.labels)) if images.labels else None
        self._chosen = set(rows_to_compare(images.count, COMPARED, seed, words).tolist())
        self.features: NDArray[Any] = np.zeros((0, 0))
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.masks = 0
        self._some: list[tuple[int, NDArray[Any]]] = []

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

    def class_words(self, factors: Sequence[str]) -> list[str]:
        """Return the classes of each image in words."""
        columns = [self.images.labels[name] for name in factors]
        return [
            ", ".join(f"{name} {value}" for name, value in zip(factors, row, strict=True))
            for row in zip(*columns, strict=True)
        ]

    def some(self) -> tuple[NDArray[Any], list[int]]:
        """Return images drawn by chance, all of the most common size, and which they are."""
        shape = self.shapes.most_common(1)[0][0]
        rows = [row for row, one in self._some if one.shape == shape]
        return np.stack([one for _, one in self._some if one.shape == shape]), rows

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
            start = sum(self.shapes.values()) - len(images)
            self._some += [
                (start + place, images[place])
                for place in range(len(images))
                if start + place in self._chosen
            ]
            yield images


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
