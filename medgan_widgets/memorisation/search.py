"""Which training images may have been copied: a few candidates out of many thousands.

Each training image is described by short vectors, one for each of some overlapping crops; a
generated image by one for each way of flipping it. How the numbers of a vector are weighted
is learned from the training images: from how they differ among themselves, and from how
little an image differs from itself when the crop is off, noisy or of other contrast. The
products are then log likelihood ratios of "a copy of this" against "an image of its own"
for normal distributions (a linear discriminant with two covariances), the best ones the
candidates. No pair needs to be looked at in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct
from scipy.linalg import eigh

from medgan_widgets.memorisation.alignment import warped
from medgan_widgets.memorisation.pixels import Floats, sampling
from medgan_widgets.memorisation.tuning import (
    BAND,
    BLOCK,
    CANDIDATES,
    GAMMAS,
    GRID,
    LEARN_IMAGES,
    NOISE,
    OFF,
    RIDGE,
    SHIFT,
    SIDE,
    SMALLEST_CROP,
    STRIPE,
    TAPER,
    TURN,
    VECTOR,
)

FLIPS = 4
# Along an axis: (where a crop begins, how long it is), whole ones first, then shifted ones.
AXIS = (
    (0.0, 1.0),
    *((0.05 * step, 0.9) for step in range(3)),
    *((0.06 * step, 0.82) for step in range(4)),
)
ALONG = (*AXIS, (-0.045, 1.0), (0.045, 1.0))
# Crops of all kinds, and whole images that were shifted: pairs of numbers in ALONG.
VIEWS = [
    (down, across)
    for down in range(len(ALONG))
    for across in range(len(ALONG))
    if max(down, across) < len(AXIS) or ALONG[down][1] == ALONG[across][1] == 1
]
POSES = np.array([(*ALONG[down], *ALONG[across], 0) for down, across in VIEWS], np.float32)


@dataclass(frozen=True, eq=False)
class Index:
    """Short vectors of all training images, of V poses each."""

    vectors: NDArray[np.float16]  # [V, N, D]
    offsets: Floats  # what is added to each product, [V, N]
    means: Floats  # of the cosines, [V, 143]
    matrices: Floats  # from cosines to short vectors, [V, 143, D]
    spreads: (
        Floats  # variance of each number, in units of what an image differs from itself, [V, D]
    )

    @classmethod
    def of(cls, images: NDArray[np.uint8], aspect: float = 1.0, seed: int = 0) -> Index:
        """Describe training images, uint8 [N, 64, 64]."""
        random = np.random.default_rng(seed)
        count = min(len(images), LEARN_IMAGES)
        rows = np.sort(random.choice(len(images), count, replace=False))
        some = images[rows].astype(np.float32)
        low = _of_views(some)
        changed = [_changed(some, aspect, random) for _ in range(2)]
        learned = [_learned(low[:, view], changed, part, random) for view, part in enumerate(POSES)]
        means, matrices, spreads = (np.stack(each) for each in zip(*learned, strict=True))
        vectors = np.empty((len(POSES), len(images), matrices.shape[2]), np.float16)
        offsets = np.empty(vectors.shape[:2], np.float32)
        constants = 0.5 * np.log1p(spreads).sum(axis=1)[:, None]
        for start in range(0, len(images), BLOCK):
            stripe = slice(start, start + BLOCK)
            found = _of_views(images[stripe].astype(np.float32)).swapaxes(0, 1) - means[:, None]
            short = found @ matrices
            vectors[:, stripe] = short
            offsets[:, stripe] = constants - 0.5 * np.square(short).sum(axis=2)
        return cls(vectors, offsets, means, matrices, spreads)

    def candidates(
        self, turned: Floats, without: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        """Return the most promising pairs of n images, in no order: an image's after the other's.

        ``turned`` is float32 [4n, 64, 64], all images flipped in one way after the other.
        ``without`` says for each image which training images do not count: [n, N].

        Returned are training images [n * K], how the generated image is to be flipped [n * K],
        and which part of the training image it then shows, and how turned, [n * K, 5].
        """
        count, known = len(turned) // FLIPS, self.vectors.shape[1]
        query, remainders = self._query(turned)
        values = np.empty((FLIPS * count, known), np.float32)
        for start in range(0, known, STRIPE):
            stripe = slice(start, start + STRIPE)
            values[:, stripe] = self._best(query, remainders, stripe)
        best: Floats = values.reshape(FLIPS, count, known).swapaxes(0, 1)
        if without is not None:
            best = np.where(without[:, None], -np.inf, best)
        best = best.reshape(count, -1)
        kept = min(CANDIDATES, best.shape[1])
        top = np.argpartition(best, best.shape[1] - kept, axis=1)[:, -kept:]
        rows, flips = top % known, top // known
        poses = self._poses(query, remainders, rows, flips)
        return rows.ravel(), flips.ravel(), poses.reshape(-1, 5)

    def _query(self, turned: Floats) -> tuple[Floats, Floats]:
        """Return short vectors of flipped images, [V, 4n, D], and their own share, [V, 4n]."""
        rows = _cosine_rows(0.0, 1.0)
        low = _weighed(np.asarray(rows @ turned @ rows.T, np.float32))
        query = np.asarray((low - self.means[:, None]) @ self.matrices, np.float32)
        shares = 1 / (1 + self.spreads[:, None]) - 1
        return query, np.asarray(0.5 * (np.square(query) * shares).sum(axis=2), np.float32)

    def _best(self, query: Floats, remainders: Floats, stripe: slice) -> Floats:
        """Return for some training images the best value of any crop, [4n, stripe]."""
        best = np.full((), -np.inf, np.float32)
        for view, vectors in enumerate(self.vectors[:, stripe]):
            product = query[view] @ vectors.T.astype(np.float32)
            product += self.offsets[view, stripe]
            product += remainders[view][:, None]
            best = np.maximum(best, product, out=product)
        return best

    def _poses(
        self,
        query: Floats,
        remainders: Floats,
        rows: NDArray[np.intp],
        flips: NDArray[np.intp],
    ) -> Floats:
        """Return which pose it was, for the few pairs that are kept, [n, K, 5]."""
        turned = flips * len(rows) + np.arange(len(rows))[:, None]
        values = np.empty((len(POSES), *rows.shape), np.float32)
        for view, vectors in enumerate(self.vectors):
            product = query[view][turned] * vectors[rows].astype(np.float32)
            values[view] = product.sum(axis=2) + self.offsets[view][rows] + remainders[view][turned]
        poses: Floats = POSES[values.argmax(axis=0)]
        return poses


def _learned(
    low: Floats, changed: Sequence[Floats], part: Floats, random: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Return mean, matrix and spread of one crop: what tells images apart, and is no accident."""
    mean = low.mean(axis=0)
    among = (low - mean).T.astype(np.float64) @ (low - mean) / len(low)
    off = np.concatenate([_near(images, part, random) - low for images in changed])
    within = off.T.astype(np.float64) @ off / len(off)
    within += np.eye(len(within)) * (RIDGE * within.trace() / len(within) + 1e-9)
    last = len(within) - 1
    spread, directions = eigh(among, within, subset_by_index=(last - VECTOR + 1, last))
    return (
        np.asarray(mean, np.float32),
        np.asarray(directions, np.float32),
        np.asarray(np.maximum(spread, 0), np.float32),
    )


def _changed(images: Floats, aspect: float, random: np.random.Generator) -> Floats:
    """Return images turned a little, of other contrast, with noise."""
    poses = np.repeat(np.array([[0, 1, 0, 1, 0]], np.float32), len(images), axis=0)
    poses[:, 4] = random.uniform(-TURN, TURN, len(images))
    images, _ = warped(images, poses, aspect)
    power = random.uniform(*GAMMAS, (len(images), 1, 1)).astype(np.float32)
    noise = NOISE * random.standard_normal(images.shape, np.float32)
    return np.asarray(255 * (np.maximum(images, 0) / 255) ** power + noise, np.float32)


def _near(images: Floats, part: Floats, random: np.random.Generator) -> Floats:
    """Return cosines of crops near one, another one for each image."""
    count = len(images)
    sides = []
    for begin, length in (part[:2], part[2:4]):
        other = np.clip(length + random.uniform(-OFF, OFF, count), SMALLEST_CROP, 1)
        middle = begin + length / 2 + random.uniform(-0.6 * OFF, 0.6 * OFF, count)
        sides.append(_cosine_rows(np.clip(middle - other / 2, -SHIFT, 1 - other + SHIFT), other))
    return _weighed(np.asarray(sides[0] @ images @ sides[1].swapaxes(1, 2), np.float32))


def _of_views(images: Floats) -> Floats:
    """Return the low frequencies of all views of images [n, 64, 64], float32 [n, V, 143]."""
    rows = np.concatenate([_cosine_rows(*along) for along in ALONG])
    shape = (len(images), len(ALONG), BAND + 1, len(ALONG), BAND + 1)
    down, across = np.transpose(VIEWS)
    found = (rows @ images @ rows.T).reshape(shape).swapaxes(2, 3)
    return _weighed(np.ascontiguousarray(found[:, down, across]))


def _cosine_rows(offset: object, length: object) -> Floats:
    """Return what turns an axis into tapered cosines of a part, and its mean, [..., 13, 64]."""
    part = sampling(offset, length, GRID, SIDE)
    basis = dct(np.diag(_taper()), axis=0, norm="ortho")[:BAND]
    rows = np.concatenate([basis, np.full((1, GRID), 1 / GRID)]).astype(np.float32)
    return np.asarray(rows @ part, np.float32)


def _weighed(found: Floats) -> Floats:
    """Return cosines without brightness and whatever the contrast, from [..., 13, 13]."""
    along = dct(_taper(), norm="ortho")[:BAND].astype(np.float32)
    mean = found[..., -1:, -1:]
    low = found[..., :BAND, :BAND] - mean * np.outer(along, along)
    low = low.reshape(*found.shape[:-2], -1)[..., 1:]
    length = np.linalg.norm(low, axis=-1, keepdims=True)
    return np.asarray(low / np.maximum(length, 1), np.float32)


def _taper() -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * (np.linspace(-1, 1, GRID) / TAPER) ** 2))
