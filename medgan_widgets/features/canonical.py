"""canonical-1: statistics of an image that have names, and need no weights.

Brightness (moments, percentiles, entropy), texture (grey-level co-occurrence,
Haralick 1973), the radially averaged power spectrum, and shape (edges, the
foreground by Otsu's threshold, symmetry). Each column is moved and scaled by its
mean and spread among phantoms of all three kinds, so that no unit drowns the others;
both are part of the version.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

SIDE = 128
LEVELS = 32  # grey levels of the co-occurrence matrices
STEPS = (1, 2, 4)  # pixels between the two of a pair
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
TEXTURES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
BANDS = 16
LEAST_POWER = 1e-3  # of the square of a grey level of 1 in 255: below it is rounding

_MOMENTS = ("mean", "deviation", "skewness", "kurtosis", "entropy")
_SHAPES = (
    "edges", "edges_95", "foreground", "parts", "outline", "across", "down", "width", "height",
    "left_right", "top_bottom",
)  # fmt: skip

# Mean and standard deviation of each column over 3,000 phantoms, 1,000 of each kind, 128 pixels,
# seeds 2^36 upwards: made by `tests/benchmarks/make_extractor.py --spreads`.
MIDDLES = (
    0.3759, 0.2052, 0.6163, 1.308, 4.855, 0.07789, 0.1174, 0.2256, 0.2975, 0.5466, 0.7642,
    0.8677, 1.59, 1.893, 2.702, 0.7695, 0.8774, 1.224, 0.611, 0.5753, 0.4596, 0.1808, 0.1737,
    0.1519, 0.9345, 0.9038, 0.769, 5.026, 3.736, 2.96, 2.625, 2.198, 1.881, 1.597, 1.396, 1.292,
    1.173, 1.007, 0.929, 0.8494, 0.7811, 0.7514, 0.7374, -3.011, 0.04026, 0.1515, 0.4206, 3.099,
    0.07755, 0.0007276, 0.03885, 0.4824, 0.5441, 0.5826, 0.471,
)  # fmt: skip
SPREADS = (
    0.1116, 0.07303, 0.4709, 0.1794, 0.478, 0.09099, 0.1143, 0.1463, 0.1746, 0.1188, 0.1542,
    0.1605, 0.8719, 0.974, 1.09, 0.2091, 0.2377, 0.3098, 0.06525, 0.06059, 0.04921, 0.06652,
    0.06749, 0.06689, 0.04182, 0.06386, 0.1497, 0.4252, 0.4734, 0.5368, 0.6018, 0.6076, 0.5713,
    0.5328, 0.5184, 0.4702, 0.4304, 0.4439, 0.4171, 0.4031, 0.3952, 0.3686, 0.3365, 0.3889,
    0.01689, 0.1174, 0.07309, 1.616, 0.04075, 0.03012, 0.05385, 0.07899, 0.06352, 0.3085, 0.234,
)  # fmt: skip

Floats = NDArray[np.float64]


def canonical_names() -> tuple[str, ...]:
    """Return the names of the columns of ``canonical-1``.

    Examples
    --------
    >>> canonical_names()[:2], len(canonical_names()) == len(set(canonical_names()))
    (('mean', 'deviation'), True)
    """
    return tuple(canonical_families())


def canonical_families() -> dict[str, str]:
    """Return what each column, by name, is about: moments, texture, spectrum or shape."""
    families = {
        "moments": (*_MOMENTS, *(f"percentile_{percent}" for percent in PERCENTILES)),
        "texture": tuple(f"{name}_{step}" for name in TEXTURES for step in STEPS),
        "spectrum": (*(f"power_{band}" for band in range(BANDS)), "slope"),
        "shape": _SHAPES,
    }
    return {name: family for family, names in families.items() for name in names}


def canonical_features(planes: Tensor) -> Floats:
    """Return the columns of grey images 0 … 1, [N, 1, 128, 128], as float64 [N, D]."""
    found: Floats = (unscaled_features(planes) - MIDDLES) / np.asarray(SPREADS)
    return found


def unscaled_features(planes: Tensor) -> Floats:
    """Return the columns in their own units."""
    images = planes[:, 0].double().cpu().numpy()
    rows = [np.concatenate([_moments(image), _textures(image)]) for image in images]
    shapes = [_shapes(image) for image in images]
    return np.concatenate([np.stack(rows), _spectrum(images), np.stack(shapes)], axis=1)


def _moments(image: Floats) -> Floats:
    deviation = image.std()
    standard = (image - image.mean()) / (deviation or 1.0)
    squares = standard * standard
    counts = np.bincount(np.minimum(image * 64, 63).astype(np.intp).ravel())
    share = counts[counts > 0] / image.size
    # The cube root and the logarithm keep one bright pixel from drowning all else.
    return np.array([
        image.mean(), deviation,
        np.cbrt((squares * standard).mean()), np.log1p((squares * squares).mean()),
        -(share * np.log2(share)).sum(), *np.percentile(image, PERCENTILES),
    ])  # fmt: skip


def _textures(image: Floats) -> Floats:
    from skimage.feature import graycomatrix, graycoprops  # slow to load

    levels = np.minimum((image * LEVELS).astype(np.uint8), LEVELS - 1)
    pairs = graycomatrix(levels, STEPS, ANGLES, LEVELS, symmetric=True, normed=True)  # type: ignore[no-untyped-call]
    found = {one: graycoprops(pairs, one).mean(axis=1) for one in TEXTURES}  # type: ignore[no-untyped-call]
    for name in ("contrast", "dissimilarity"):
        found[name] = np.log1p(found[name])
    return np.concatenate([found[name] for name in TEXTURES])


def _spectrum(images: Floats) -> Floats:
    """Return log10 of the power in rings of equal width, and its slope over log frequency."""
    window, ring, counts = _rings()
    centred = (images - images.mean(axis=(1, 2), keepdims=True)) * 255 * window
    power = np.abs(np.fft.fft2(centred)) ** 2 / images[0].size
    sums = np.stack([np.bincount(ring, one.ravel(), BANDS + 1)[:BANDS] for one in power])
    bands = np.log10(sums / counts + LEAST_POWER)
    frequency = np.log10(np.arange(BANDS) + 0.5)
    frequency = frequency - frequency.mean()
    slope = bands @ frequency / (frequency @ frequency)
    return np.concatenate([bands, slope[:, None]], axis=1)


@cache
def _rings() -> tuple[Floats, NDArray[np.intp], Floats]:
    """Return Hann's window, the ring of each frequency (the last: corners), and their sizes."""
    hann = np.hanning(SIDE)
    cycles = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    ring = np.minimum((cycles * 2 * BANDS).astype(np.intp), BANDS).ravel()
    return np.outer(hann, hann), ring, np.bincount(ring, minlength=BANDS + 1)[:BANDS].astype(float)


def _shapes(image: Floats) -> Floats:
    from skimage.filters import threshold_otsu  # slow to load

    down, across = np.gradient(image)
    edges = np.hypot(down, across)
    level = threshold_otsu(image) if image.min() < image.max() else 1.0  # type: ignore[no-untyped-call]
    bright = image > level
    _, parts = ndimage.label(bright)
    outline = (bright ^ ndimage.binary_erosion(bright)).mean()
    weights = image / (image.sum() or 1.0)
    place = np.linspace(-1, 1, SIDE)
    x, y = weights.sum(axis=0), weights.sum(axis=1)
    middle = float(x @ place), float(y @ place)
    spread = [np.sqrt(max(0.0, w @ (place - m) ** 2)) for w, m in zip((x, y), middle, strict=True)]
    return np.array([
        edges.mean(), np.percentile(edges, 95), bright.mean(), np.log1p(parts), outline, *middle,
        *spread, _likeness(image, image[:, ::-1]), _likeness(image, image[::-1]),
    ])  # fmt: skip


def _likeness(image: Floats, other: Floats) -> float:
    """Return the correlation of an image with itself turned over; 1 for one without contrast."""
    variance = image.var()
    if variance < 1e-12:
        return 1.0
    return float(((image - image.mean()) * (other - other.mean())).mean() / variance)
