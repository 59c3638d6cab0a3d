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
from medgan_widgets.memorisation.pixels import BLOCK, SIDE, Floats, sampling

KEPT = 32  # candidates an image
LENGTH = 32  # numbers of a short vector
GRID, BAND = 16, 12  # pixels, and cosines along an axis, that short vectors are made from
TAPER = 0.6  # of half the side: where a crop is off, it is most so at the edge
OFF = 0.05  # of the side: how far a crop may be from the nearest one that is described
SHIFT, TURN = 0.06, np.deg2rad(3)  # of the side and of a circle: copies up to these are found
RIDGE = 0.02
FLIPS = 4
LEARN_FROM = 300
STRIPE = 2048  # training images at a time: their products stay in the cache
# Along an axis: (where a crop begins, how long it is).
AXIS = (
    (0.0, 1.0),
    *((0.05 * place, 0.9) for place in range(3)),
    *((0.06 * place, 0.82) for place in range(4)),
)
SHIFTED = ((-0.045, 1.0), (0.045, 1.0))
ALONG = (*AXIS, *SHIFTED)
# Crops of all kinds, and whole images that were shifted: pairs of places along the axes.
VIEWS = [
    (down, across)
    for down in range(len(ALONG))
    for across in range(len(ALONG))
    if (down in range(len(AXIS)) and across in range(len(AXIS)))
    or (ALONG[down][1] == 1 and ALONG[across][1] == 1)
]
POSES = np.array([(*ALONG[down], *ALONG[across], 0) for down, across in VIEWS], np.float32)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs to be looked at, in no order.

    Attributes
    ----------
    rows
        Training images, [n, K].
    flips
        How the generated image is to be flipped, [n, K].
    poses
        Which part of the training image it then shows, and how turned, float32 [n, K, 5].
    """

    rows: NDArray[np.intp]
    flips: NDArray[np.intp]
    poses: Floats


@dataclass(frozen=True, eq=False)
class Index:
    """Short vectors of all training images, of V poses each.

    Attributes
    ----------
    vectors
        float16 [V, N, D].
    offsets
        What is added to each product, float32 [V, N].
    means, matrices
        From cosines to short vectors: float32 [V, 143] and [V, 143, D].
    spreads
        Variance of each number, in units of what one image differs from itself, [V, D].
    """

    vectors: NDArray[np.float16]
    offsets: Floats
    means: Floats
    matrices: Floats
    spreads: Floats

    @classmethod
    def of(cls, images: NDArray[np.uint8], aspect: float = 1.0, seed: int = 0) -> Index:
        """Describe training images, uint8 [N, 64, 64]."""
        random = np.random.default_rng(seed)
        count = min(len(images), LEARN_FROM)
        rows = np.sort(random.choice(len(images), count, replace=False))
        some = images[rows].astype(np.float32)
        low = _of_views(some)
        changed = [_changed(some, aspect, random) for _ in range(2)]
        learned = [_learned(low[:, view], changed, part, random) for view, part in enumerate(POSES)]
        means, matrices, spreads = (np.stack(one) for one in zip(*learned, strict=True))
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

    def candidates(self, turned: Floats, without: NDArray[np.bool_] | None = None) -> Candidates:
        """Return the most promising pairs for a few images, each flipped in all ways.

        ``turned`` is float32 [4n, 64, 64], all images flipped in one way after the other.

        ``without`` says for each image which training images do not count: [n, N].
        """
        count, known = len(turned) // FLIPS, self.vectors.shape[1]
        asked, remainders = self._asked(turned)
        values = np.empty((FLIPS * count, known), np.float32)
        for start in range(0, known, STRIPE):
            stripe = slice(start, start + STRIPE)
            values[:, stripe] = self._best(asked, remainders, stripe)
        best: Floats = values.reshape(FLIPS, count, known).swapaxes(0, 1)
        if without is not None:
            best = np.where(without[:, None], -np.inf, best)
        best = best.reshape(count, -1)
        kept = min(KEPT, best.shape[1])
        top = np.argpartition(best, best.shape[1] - kept, axis=1)[:, -kept:]
        rows, flips = top % known, top // known
        return Candidates(rows, flips, self._poses(asked, remainders, rows, flips))

    def _asked(self, turned: Floats) -> tuple[Floats, Floats]:
        """Return short vectors of flipped images, [V, 4n, D], and their own share, [V, 4n]."""
        rows = _cosine_rows(0.0, 1.0)
        low = _weighed(np.asarray(rows @ turned @ rows.T, np.float32))
        asked = np.asarray((low - self.means[:, None]) @ self.matrices, np.float32)
        shares = 1 / (1 + self.spreads[:, None]) - 1
        return asked, np.asarray(0.5 * (np.square(asked) * shares).sum(axis=2), np.float32)

    def _best(self, asked: Floats, remainders: Floats, stripe: slice) -> Floats:
        """Return for some training images the best value of any crop, [4n, stripe]."""
        best: Floats | None = None
        for view, vectors in enumerate(self.vectors[:, stripe]):
            product = asked[view] @ vectors.T.astype(np.float32)
            product += self.offsets[view, stripe]
            product += remainders[view][:, None]
            best = product if best is None else np.maximum(best, product, out=best)
        assert best is not None
        return best

    def _poses(
        self,
        asked: Floats,
        remainders: Floats,
        rows: NDArray[np.intp],
        flips: NDArray[np.intp],
    ) -> Floats:
        """Return which pose it was, for the few pairs that are kept."""
        places = flips * len(rows) + np.arange(len(rows))[:, None]
        values = np.empty((len(POSES), *rows.shape), np.float32)
        for view, vectors in enumerate(self.vectors):
            product = asked[view][places] * vectors[rows].astype(np.float32)
            values[view] = product.sum(axis=2) + self.offsets[view][rows] + remainders[view][places]
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
    spread, directions = eigh(among, within, subset_by_index=(last - LENGTH + 1, last))
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
    power = random.uniform(0.8, 1.25, (len(images), 1, 1)).astype(np.float32)
    noise = 5 * random.standard_normal(images.shape, np.float32)
    return np.asarray(255 * (np.maximum(images, 0) / 255) ** power + noise, np.float32)


def _near(images: Floats, part: Floats, random: np.random.Generator) -> Floats:
    """Return cosines of crops near one, another one for each image."""
    count = len(images)
    sides = []
    for begin, length in (part[:2], part[2:4]):
        other = np.clip(length + random.uniform(-OFF, OFF, count), 0.8, 1)
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
    shrunk = sampling(offset, length, GRID, SIDE)
    basis = dct(np.diag(_taper()), axis=0, norm="ortho")[:BAND]
    rows = np.concatenate([basis, np.full((1, GRID), 1 / GRID)]).astype(np.float32)
    return np.asarray(rows @ shrunk, np.float32)


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
