"""Why a figure is not to be leaned on, and which columns make it: from features alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from medgan_widgets.metrics.distances import Floats

KID_BELOW = 2000  # real images under which KID is the better figure
ROUGH_BELOW = 50
UNEVEN = 1.25  # how many times more images one side may have
MOST_COLUMNS = 5  # that are named


def remarks(metric: str, real: Floats, fake: Floats) -> str:
    """Return what speaks against leaning on this figure, in sentences; empty if nothing does."""
    return " ".join([*_on_numbers(metric, len(real), len(fake), real.shape[1]),
                     *_on_rows(real, fake)])  # fmt: skip


def _on_numbers(metric: str, n_real: int, n_fake: int, columns: int) -> Iterator[str]:
    n = min(n_real, n_fake)
    if metric in ("fd", "fd_infinity"):
        if n <= columns:
            yield (
                f"{n} images are not more than the {columns} features, so the covariance is "
                "singular and the distance too large."
            )
        elif metric == "fd_infinity" and n < 4 * columns:
            yield f"with fewer than {4 * columns} images the line to 1/n = 0 is short."
        if n_real < KID_BELOW:
            yield f"under {KID_BELOW:,} real images KID is the better figure."
    neighbours = metric in ("precision", "recall", "density", "coverage")
    if neighbours and max(n_real, n_fake) > UNEVEN * n:
        yield "neighbourhoods shrink with n: give both sides the same number of images."
    if n < ROUGH_BELOW:
        yield f"{n} images give a rough figure only."


def _on_rows(real: Floats, fake: Floats) -> Iterator[str]:
    # Adding zero makes -0.0 and 0.0 one.
    reals, fakes = (Counter(row.tobytes() for row in side + 0.0) for side in (real, fake))
    shared = sum(count for row, count in fakes.items() if row in reals)
    if reals == fakes:
        yield "these are the same images on both sides: this is the floor, not a comparison."
    elif shared:
        yield f"{shared} of {len(fake)} synthetic images have a real one's very features."
    for counts, name in ((reals, "real"), (fakes, "synthetic")):
        total = sum(counts.values())
        if len(counts) == 1:
            yield f"all {total} {name} images have the same features."
        elif len(counts) < total:
            yield f"{total - len(counts)} of {total} {name} images repeat another one's features."
    still = int((real.max(axis=0) == real.min(axis=0)).sum())
    if still and len(reals) > 1:
        yield f"{still} of {real.shape[1]} features are constant in the real images."


def columns_apart(
    real: Floats, fake: Floats
) -> tuple[tuple[tuple[str, float], ...], dict[str, float]]:
    """Return the named columns that differ most, and each family's share of all squares.

    In means apart over the pooled standard deviation; in columns that stand still, over the
    phantoms' own, which is 1 in these features.
    """
    from medgan_widgets.features.canonical import canonical_families  # this needs torch

    family = canonical_families()
    pooled = np.sqrt((real.var(axis=0, ddof=1) + fake.var(axis=0, ddof=1)) / 2)
    apart = (fake.mean(axis=0) - real.mean(axis=0)) / np.where(pooled > 1e-9, pooled, 1.0)
    total = float((apart**2).sum())
    if len(family) != len(apart) or total == 0:
        return (), {}
    shares = dict.fromkeys(family.values(), 0.0)
    for name, value in zip(family, apart, strict=True):
        shares[family[name]] += float(value**2) / total
    columns = sorted(zip(family, apart.tolist(), strict=True), key=lambda pair: -abs(pair[1]))
    return tuple(columns[:MOST_COLUMNS]), shares
