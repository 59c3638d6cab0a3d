"""Diversity: how like one another images of one set are, by multi-scale structural similarity.

torchmetrics gives the same numbers. Here each image is blurred once and not once a pair, by
two narrow matrices, which over all pairs is many times faster and needs no torch.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from medgan_widgets.errors import DataError
from medgan_widgets.images import checked_pixels
from medgan_widgets.metrics.distances import Floats
from medgan_widgets.metrics.draws import group_of_each, some_groups
from medgan_widgets.requests import Score

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, Wang 2003
# Of the shorter side, for so many scales: the window of 11 pixels fits the last one.
SMALLEST = ((176, 5), (88, 4), (44, 3), (22, 2), (11, 1))
REACH, SIGMA = 5, 1.5  # of the Gaussian window: 11 pixels
K1, K2 = 0.01, 0.03
MOST = 64  # images of a side that are compared in pairs
DRAWS = 40  # halves for the interval
BLOCK = 2**20  # numbers in one block of pairs: 8 MiB


def ms_ssim_pairs(images: NDArray[Any], *, scales: int | None = None) -> Floats:
    """Return the multi-scale structural similarity of every pair, float64 [N, N], 0 to 1.

    Wang, Simoncelli and Bovik 2003, of uint8 or uint16 [N, H, W] or [N, H, W, C]; channels are
    averaged. Five scales need a shorter side of 176 pixels; from 88 there are four, from 44 three,
    from 22 two, from 11 one, and the first weights are then made to sum to one: values of different
    numbers of scales do not compare. (torchmetrics asks for 99 pixels where four scales fit 88.)

    Examples
    --------
    >>> noise = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    >>> pairs = ms_ssim_pairs(np.concatenate([noise, noise[:1]]))
    >>> float(pairs[0, 3].round(6)), bool(pairs[0, 1] < 0.2)
    (1.0, True)
    """
    levels = np.moveaxis(checked_pixels(images), -1, 1).astype(np.float64)
    top = float(np.iinfo(images.dtype).max)
    fit = _scales_of(min(levels.shape[2:]))
    if scales is not None and not 1 <= scales <= fit:
        raise DataError(
            f"images of {min(levels.shape[2:])} pixels have 1 to {fit} scales, got {scales}."
        )
    weights = np.array(WEIGHTS[: scales or fit]) / sum(WEIGHTS[: scales or fit])
    pairs = np.ones((len(levels), len(levels)))
    for scale, weight in enumerate(weights):
        pairs *= _similarity(levels, top, whole=scale == len(weights) - 1) ** weight
        height, width = (side // 2 * 2 for side in levels.shape[2:])
        even = levels[:, :, :height, :width]
        levels = np.mean([even[..., y::2, x::2] for x in (0, 1) for y in (0, 1)], axis=0)
    return pairs


def _scales_of(side: int) -> int:
    fit = next((count for least, count in SMALLEST if side >= least), 0)
    if not fit:
        raise DataError(f"structural similarity needs images of at least 11 pixels, got {side}.")
    return fit


def _similarity(levels: Floats, top: float, *, whole: bool) -> Floats:
    """Return one scale of every pair: contrast and structure, at the last scale luminance too.

    The last one is taken over the whole image, mirrored at its edges, the others where
    the window fits: this is what torchmetrics does.
    """
    down, across = (_window(side, whole) for side in levels.shape[2:])
    blurred = down @ levels @ across.T
    spread = np.maximum(down @ levels**2 @ across.T - blurred**2, 0.0)
    c1, c2 = (K1 * top) ** 2, (K2 * top) ** 2
    found = np.ones((len(levels), len(levels)))
    step = max(1, BLOCK // levels[0].size)
    for i in range(len(levels)):
        for j in (slice(start, start + step) for start in range(i, len(levels), step)):
            together = down @ (levels[i] * levels[j]) @ across.T - blurred[i] * blurred[j]
            maps = (2 * together + c2) / (spread[i] + spread[j] + c2)
            if whole:
                light = 2 * blurred[i] * blurred[j] + c1
                maps *= light / (blurred[i] ** 2 + blurred[j] ** 2 + c1)
            found[i, j] = found[j, i] = np.maximum(maps.mean(axis=(1, 2, 3)), 0.0)
    return found


def _window(side: int, whole: bool) -> Floats:
    """Return the Gaussian blur of a line of pixels as a matrix, [side or side - 10, side]."""
    blur: Floats = ndimage.gaussian_filter1d(
        np.eye(side), SIGMA, axis=0, mode="mirror", radius=REACH
    )
    return blur if whole else blur[REACH:-REACH]


def rows_to_compare(
    count: int, most: int, seed: int, labels: Sequence[Any] | None = None
) -> NDArray[np.intp]:
    """Return which of so many images are compared in pairs, ascending, ``most`` of them at most.

    Drawn by chance; with labels in twos of a class, so that no image is without a partner. One
    pass over a folder can then keep just these.

    Examples
    --------
    >>> rows_to_compare(4, 9, seed=0), len(rows_to_compare(10**6, 64, seed=0))
    (array([0, 1, 2, 3]), 64)
    >>> rows_to_compare(4, 2, seed=0, labels=["a", "b", "c", "b"])
    array([1, 3])
    """
    random = np.random.default_rng(seed)
    if count <= most:
        return np.arange(count)
    if labels is None:
        return some_groups(np.arange(count), most, random)
    order = random.permutation(count)
    kinds = group_of_each(labels, count, "labelled", "labels")
    ends = np.bincount(kinds).cumsum()[:-1]
    twos = [
        own[k : k + 2]
        for own in np.split(order[np.argsort(kinds[order], kind="stable")], ends)
        for k in range(0, len(own) - 1, 2)
    ]
    chosen = random.permutation(len(twos))[: most // 2]
    return np.sort(np.array([twos[k] for k in chosen] or [order[:most]]).ravel())


def ms_ssim_diversity(
    real: NDArray[Any],
    fake: NDArray[Any],
    *,
    real_labels: Sequence[Any] | None = None,
    fake_labels: Sequence[Any] | None = None,
    real_groups: Sequence[Hashable] | None = None,
    fake_groups: Sequence[Hashable] | None = None,
    most: int = MOST,
    seed: int = 0,
) -> list[Score]:
    """Return how alike the synthetic images are: one score, mean MS-SSIM over pairs.

    Only pairs of one class (label) and of two patients (groups) count. The floor is the reals' own
    mean over pairs: above it the synthetic images are less diverse than real ones. At most
    ``most`` images of each side are compared, drawn by ``seed``; the interval comes from halves
    of them, and ``extractor`` tells the number of scales.

    Examples
    --------
    >>> real = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
    >>> score = ms_ssim_diversity(real, np.repeat(real[:1], 6, axis=0))[0]
    >>> score.name, round(score.value, 3), score.value > score.floor, score.extractor
    ('MS-SSIM', 1.0, True, 'pixels-3-scales')
    """
    for images, which in ((real, "real"), (fake, "synthetic")):
        if not isinstance(images, np.ndarray) or images.ndim < 3 or len(images) < 2 or most < 2:
            raise DataError(
                f"pairs need at least 2 {which} images, uint8 or uint16 [N, H, W(, C)]."
            )
    scales = _scales_of(min(*real.shape[1:3], *fake.shape[1:3]))
    n_real, (floor, *_) = _means(real, real_labels, real_groups, "real", most, scales, seed)
    n_fake, (value, *drawn) = _means(fake, fake_labels, fake_groups, "fake", most, scales, seed)
    interval = None
    if len(drawn) > 1:
        margin = float(stats.t.ppf(0.975, len(drawn) - 1) * np.std(drawn, ddof=1))
        interval = max(value - margin, 0.0), min(value + margin, 1.0)
    unlike = "the two sides differ in size, which alone moves the figure."
    return [
        Score(
            name="MS-SSIM",
            value=value,
            n_real=n_real,
            n_fake=n_fake,
            extractor=f"pixels-{scales}-scales",
            interval=interval,
            floor=floor,
            floor_n=None if n_real == n_fake else n_real,
            warning="" if real.shape[1:3] == fake.shape[1:3] else unlike,
        )
    ]


def _means(
    images: NDArray[Any], labels: Any, groups: Any, which: str, most: int, scales: int, seed: int
) -> tuple[int, list[float]]:
    """Return how many are compared, and the mean over pairs: of all of them, then of halves."""
    count = len(images)
    classes = group_of_each([0] * count if labels is None else labels, count, which, "labels")
    rows = rows_to_compare(count, most, seed, labels)
    classes, whose = classes[rows], group_of_each(groups, count, which)[rows]
    alike = np.triu((classes[:, None] == classes) & (whose[:, None] != whose), 1)
    if not alike.any():
        raise DataError("no class has two images (of two patients), so there is no pair.")
    pairs, random = ms_ssim_pairs(images[rows], scales=scales), np.random.default_rng(seed)
    means = [float(pairs[alike].mean())]
    for _ in range(DRAWS if len(rows) >= 4 else 0):
        half = np.ix_(*[some_groups(whose, len(rows) // 2, random)] * 2)
        if alike[half].any():
            means.append(float(pairs[half][alike[half]].mean()))
    return len(rows), means
