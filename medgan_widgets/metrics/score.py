"""``mw.score``: images on both sides to features, features to figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.cards import ModelCard
from medgan_widgets.datasets.phantom import phantom_named
from medgan_widgets.engine import Engine, shared_engine
from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.features import CANONICAL, extractor_name, feature_batches
from medgan_widgets.image_sources import REALS, ImageSource, open_images, preparation_of
from medgan_widgets.metrics import (
    FEWEST,
    METRICS,
    ms_ssim_diversity,
    rows_to_compare,
    score_of,
)
from medgan_widgets.metrics.score_notes import notes_on, phantom_like
from medgan_widgets.metrics.similarity import MOST
from medgan_widgets.metrics.table import Prepared, Scores
from medgan_widgets.requests import GenerateRequest, Measured, Score
from medgan_widgets.seeds import SEED_LIMIT, Value, whole_number

PART = 64  # images whose features are made, and kept on disk, together
MOST_CLASSES = 8  # that get a distance of their own
EXTRA = ("ms_ssim",)  # of images, not of features
NAMES = {
    "fd": "FD", "fd_infinity": "FD-infinity", "kid": "KID", "ks": "KS",
    "wasserstein": "Wasserstein", "ms_ssim": "MS-SSIM",
}  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far a scoring is: ``done`` of ``total`` images, or of the scores at last.

    ``stage`` is ``"real images"``, ``"synthetic images"``, ``"other real images"`` or ``"scores"``.
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
    extractor, weights, device, cache
        What turns images into features, a name or a torch module of yours, and how: as for
        `features_from_images`. Figures of two extractors never compare.
    n, seed
        At most so many images a side, drawn by ``seed``.
    read
        Further arguments of `read_images` for the real files. Without them, and where nobody
        knows how the model's own data were prepared, pictures are taken as they are.
    engine
        Where images are generated.
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
    metrics = _checked_metrics(metrics)
    seed = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    ready: Callable[[], Engine] = shared_engine if engine is None else (lambda: engine)
    preparation = preparation_of(fake if like is None else like, ready)
    opened = partial(open_images, engine=ready, seed=seed)

    # Reals first: a file that cannot be read is named before images are generated.
    reals = _reals(fake, real, opened, n, preparation, labels, group, read, ready)
    fakes = _fakes(fake, reals, opened, n, ready)
    if like is not None and fakes.prepared == "as given":  # somebody vouches for an array
        fakes = replace(fakes, preprocessing=preparation)

    # Features, part by part.
    extract = partial(
        feature_batches, extractor=extractor, weights=weights, cache=cache, device=device
    )
    report = progress or (lambda _: None)
    sets = []
    for name, images in (("real", reals), ("synthetic", fakes), ("other real", reals.others)):
        if images is not None:
            pairs_seed = seed if set(EXTRA) & set(metrics) else None
            sets.append(FeatureSet(images, name, pairs_seed))
            for done in sets[-1].fill(extract):
                report(Progress(f"{name} images", done, images.count))

    # Figures, one after the other; one that cannot be had costs no other.
    rows: list[Measured] = []
    missed: list[str] = []
    psi = fake.truncation_psi if isinstance(fake, GenerateRequest) else None
    for done, metric in enumerate(metrics, start=1):
        try:
            scores = _scores(metric, extractor, sets, seed)
        except DataError as error:
            missed.append(f"{metric} is not measured: {error}")
            by = None if metric in EXTRA else extractor_name(extractor)
            figure = NAMES.get(metric, metric)
            scores = [Score(figure, None, reals.count, fakes.count, by, warning=missed[-1])]
        rows += [Measured(row, fakes.what, reals.what, truncation_psi=psi) for row in scores]
        report(Progress("scores", done, len(metrics)))
    if len(missed) == len(metrics):
        raise DataError(" ".join(missed))
    prepared = {
        side: Prepared(images.prepared, images.preprocessing, images.jpeg, images.count)
        for side, images in (("synthetic", fakes), ("real", reals))
    }
    notes = [*fakes.notes, *reals.notes, *notes_on(sets[1], sets[0], extractor)]
    return Scores(tuple(rows), tuple(dict.fromkeys(notes)), prepared)


def _checked_metrics(metrics: Any) -> tuple[str, ...]:
    known = (*METRICS, *EXTRA)
    plain = not isinstance(metrics, Iterable) or isinstance(metrics, str)
    given = (metrics,) if plain else tuple(metrics)
    wrong = [name for name in given if name not in known]
    if wrong or not given:
        fid = " FID is 'fd' with extractor='inception-v3-compat'." if "fid" in wrong else ""
        raise RequestError(
            f"metrics must be some of {', '.join(known)}; got {wrong or given!r}.{fid}"
        )
    return tuple(dict.fromkeys(given))


def _reals(
    fake: Any,
    real: Any,
    opened: Callable[..., ImageSource],
    n: int | None,
    preparation: Any,
    labels: Any,
    group: Any,
    read: Mapping[str, Any] | None,
    engine: Callable[[], Engine],
) -> ImageSource:
    """Return the reals; phantoms are drawn as large as what is judged, and of its class."""
    request = fake if isinstance(fake, GenerateRequest) else None
    card = engine().catalogue[request.model_id] if request else fake
    if phantom_named(real) is None:
        reals = opened(real, n=n, like=preparation, labels=labels, group=group, read=read)
        if not isinstance(card, ModelCard):
            return reals
        words = {
            name: tuple(_as_on_the_card(value, card.condition.get(name, ())) for value in values)
            for name, values in reals.labels.items()
        }
        return replace(reals, labels=words)
    size, count = None, n
    if isinstance(card, ModelCard):
        size, count = card.size[0], n or (len(request.seeds) if request else None)
    elif phantom_named(fake) is None:
        judged = opened(fake, n=n)
        size, count = int(max(next(judged.batches()).shape[1:3])), judged.count
    condition = request.condition if request else {}
    return opened(real, n=count, size=size, condition=condition, first=REALS)


def _as_on_the_card(value: Value, choices: Sequence[Value]) -> Value:
    """Return the model's own value that a class of the reals stands for: False for "no" or 0."""
    truths: dict[str, Value] = {"0": False, "no": False, "1": True, "yes": True}
    spelling = str(value).lower()
    for choice in choices:
        if str(choice).lower() == spelling or truths.get(spelling) is choice:
            return choice
    return value


def _fakes(
    fake: Any,
    reals: ImageSource,
    opened: Callable[..., ImageSource],
    n: int | None,
    engine: Callable[[], Engine],
) -> ImageSource:
    """Return what is judged; a model's images in the proportions of the reals' classes.

    A request that leaves factors open draws them evenly. Here the same seeds are shared out over
    the classes that the reals have, or that the card says its training had.
    """
    opened = partial(opened, n=n, top=reals.top if reals.top != 255 else None)
    if isinstance(fake, ModelCard):
        fake = GenerateRequest(fake.id, seeds=range(n or reals.count))
    if not isinstance(fake, GenerateRequest) or phantom_like(reals):
        return opened(fake)
    request = fake if n is None else replace(fake, seeds=fake.seeds[:n])
    card = engine().catalogue[request.model_id]
    free = [name for name in card.condition if name not in request.condition]
    counts = _class_counts(card, reals, free)
    if not free or not counts:
        return opened(request)
    shares = np.array(list(counts.values()), float) / sum(counts.values())
    ends = np.rint(np.cumsum(shares) * len(request.seeds)).astype(int).tolist()
    parts = []
    for classes, start, end in zip(counts, [0, *ends], ends, strict=False):
        if end > start:
            condition = {**request.condition, **dict(zip(free, classes, strict=True))}
            part = replace(request, seeds=request.seeds[start:end], condition=condition)
            parts.append(opened(part))
    labelled = all(name in reals.labels for name in free)
    whose = "the reals have them" if labelled else "its card says of the training images"
    mix = ", ".join(
        f"{' '.join(map(str, classes))} {share:.0%}"
        for classes, share in zip(counts, shares, strict=True)
    )
    return replace(
        parts[0],
        what=parts[0].what if len(parts) == 1 else parts[0].what.split(",")[0],
        count=sum(part.count for part in parts),
        batches=lambda: chain.from_iterable(part.batches() for part in parts),
        labels={
            name: tuple(chain.from_iterable(part.labels[name] for part in parts))
            for name in parts[0].labels
        },
        prepared=f"{parts[0].prepared}, {', '.join(free)} as {whose}: {mix}",
    )


def _class_counts(
    card: ModelCard, reals: ImageSource, free: Sequence[str]
) -> dict[tuple[Value, ...], int]:
    """Return how often each combination of the open factors stands among the reals."""
    counts: Counter[tuple[Value, ...]] = Counter()
    if all(name in reals.labels for name in free):
        counts.update(zip(*(reals.labels[name] for name in free), strict=True))
    else:
        for row in card.class_counts:
            if all(name in row.condition for name in free):
                counts[tuple(row.condition[name] for name in free)] += row.images
    fits = all(
        value in card.condition[name]
        for classes in counts
        for name, value in zip(free, classes, strict=True)
    )
    return dict(sorted(counts.items(), key=repr)) if fits else {}


class FeatureSet:
    """One side's features, and what else its images say on the way.

    With ``pairs_seed`` some images are kept to be compared in pairs.
    """

    def __init__(self, images: ImageSource, name: str, pairs_seed: int | None) -> None:
        self.images, self.name = images, name
        known = images.groups and all(group is not None for group in images.groups)
        self.groups = images.groups if known else None
        self.shapes: Counter[tuple[int, ...]] = Counter()
        self.masks = 0
        self.features: NDArray[Any] = np.zeros((0, 0))
        self._chosen: set[int] = set()
        self._kept: list[tuple[int, NDArray[Any]]] = []
        if pairs_seed is not None:
            words = self.class_words(list(images.labels)) if images.labels else None
            self._chosen = set(rows_to_compare(images.count, MOST, pairs_seed, words).tolist())

    def fill(
        self, extract: Callable[[Iterator[NDArray[Any]]], Iterator[NDArray[Any]]]
    ) -> Iterator[int]:
        """Make the features part by part, and yield how many images have theirs."""
        parts = []
        for rows in extract(self._counted()):
            parts.append(rows)
            yield sum(map(len, parts))
        if not parts:
            raise DataError(f"{self.images.what} holds no images.")
        self.features = np.concatenate(parts)

    def _counted(self) -> Iterator[NDArray[Any]]:
        """Yield the images in parts of one size, count what they are, and keep a few."""
        waiting: list[NDArray[Any]] = []
        for number, image in enumerate(chain.from_iterable(self.images.batches())):
            if waiting and (len(waiting) == PART or image.shape != waiting[0].shape):
                yield self._with_masks(waiting)
                waiting = []
            waiting.append(image)
            self.shapes[image.shape] += 1
            if number in self._chosen:
                self._kept.append((number, image))
        if waiting:
            yield self._with_masks(waiting)

    def _with_masks(self, waiting: list[NDArray[Any]]) -> NDArray[Any]:
        images = np.stack(waiting)
        flat = images.reshape(len(images), -1)
        low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
        # Two values only, as masks have; an image of one value is empty.
        self.masks += int((((flat == low) | (flat == high)).all(axis=1) & (low < high)[:, 0]).sum())
        return images

    def class_words(self, factors: Sequence[str]) -> list[str]:
        """Return the classes of each image in words."""
        columns = [self.images.labels[name] for name in factors]
        return [
            ", ".join(f"{name} {value}" for name, value in zip(factors, row, strict=True))
            for row in zip(*columns, strict=True)
        ]

    def images_to_compare(self) -> tuple[NDArray[Any], list[int]]:
        """Return images drawn by chance, all of the most common size, and which they are."""
        shape = self.shapes.most_common(1)[0][0]
        kept = [(row, image) for row, image in self._kept if image.shape == shape]
        if len(self.shapes) > 1 and len(kept) < 2:
            raise DataError(
                f"it compares images of one size, and the {self.images.count} {self.name} images "
                f"are of {len(self.shapes)} sizes; bring them to one."
            )
        return np.stack([image for _, image in kept]), [row for row, _ in kept]


def _scores(metric: str, extractor: Any, sets: Sequence[FeatureSet], seed: int) -> list[Score]:
    real, fake = sets[:2]
    least, counts = FEWEST.get(metric, 2), (real.images.count, fake.images.count)
    if min(counts) < least:
        raise DataError(
            f"it needs at least {least} images on each side, and there are {counts[0]} real and "
            f"{counts[1]} synthetic ones; give more."
        )
    shared = [name for name in real.images.labels if name in fake.images.labels]
    classes: list[Any] = [side.class_words(shared) if shared else None for side in (real, fake)]
    if metric in EXTRA:
        return _ms_ssim(real, fake, classes, seed)
    measure = partial(score_of, metric, extractor=extractor_name(extractor), seed=seed)
    scores = measure(
        real.features,
        fake.features,
        other=sets[2].features if len(sets) > 2 else None,
        real_groups=real.groups,
        fake_groups=fake.groups,
    )
    if metric == "fd" and shared:
        scores += _within_classes(measure, real, fake, *classes)
    return scores


def _within_classes(
    measure: Callable[..., list[Score]],
    real: FeatureSet,
    fake: FeatureSet,
    real_classes: Sequence[str],
    fake_classes: Sequence[str],
) -> Iterator[Score]:
    """Yield the distance of each class that has more images than features on both sides."""
    classes = sorted(set(real_classes) & set(fake_classes))
    if not 2 <= len(classes) <= MOST_CLASSES:
        return
    for kind in classes:
        reals, fakes = (
            np.flatnonzero(np.array(words) == kind) for words in (real_classes, fake_classes)
        )
        if min(len(reals), len(fakes)) <= real.features.shape[1]:
            continue
        groups = None if real.groups is None else [real.groups[row] for row in reals]
        for row in measure(real.features[reals], fake.features[fakes], real_groups=groups):
            yield replace(row, name=f"{row.name} ({kind})", why=(), families={})


def _ms_ssim(
    real: FeatureSet, fake: FeatureSet, classes: Sequence[Sequence[str] | None], seed: int
) -> list[Score]:
    arguments: dict[str, Any] = {}
    images = []
    for side, words, name in ((real, classes[0], "real"), (fake, classes[1], "fake")):
        pictures, rows = side.images_to_compare()
        images.append(pictures)
        arguments[f"{name}_labels"] = words and [words[row] for row in rows]
        arguments[f"{name}_groups"] = side.groups and [side.groups[row] for row in rows]
    return ms_ssim_diversity(*images, **arguments, seed=seed)
