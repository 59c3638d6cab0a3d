"""Why a figure is not to be leaned on: too few images, the same ones, columns that stand still."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from medgan_widgets.metrics._matrices import Features, blocks

KID_BELOW = 2000  # real images under which KID is the better figure
ROUGH_BELOW = 50
UNEVEN = 1.25  # how many times more images one side may have


def remarks(metric: str, real: Features, fake: Features) -> str:
    """Return what speaks against leaning on this figure, in sentences; empty if nothing does."""
    return " ".join(
        [*_on_numbers(metric, len(real), len(fake), real.shape[1]), *_on_rows(real, fake)]
    )


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
    if metric in ("precision", "recall", "density", "coverage") and (
        max(n_real, n_fake) > UNEVEN * n
    ):
        yield "neighbourhoods shrink with n: give both sides the same number of images."
    if n < ROUGH_BELOW:
        yield f"{n} images give a rough figure only."


def _on_rows(real: Features, fake: Features) -> Iterator[str]:
    mine, others = _counted(real), _counted(fake)
    shared = sum(count for row, count in others.items() if row in mine)
    if mine == others:
        yield "these are the same images on both sides: this is the floor, not a comparison."
    elif shared:
        yield f"{shared} of {len(fake)} synthetic images have a real one's very features."
    for counts, name in ((mine, "real"), (others, "synthetic")):
        total = sum(counts.values())
        if len(counts) == 1:
            yield f"all {total} {name} images have the same features."
        elif len(counts) < total:
            yield f"{total - len(counts)} of {total} {name} images repeat another one's features."
    still = int((real.max(axis=0) == real.min(axis=0)).sum())
    if still and len(mine) > 1:
        yield f"{still} of {real.shape[1]} features are constant in the real images."


def _counted(matrix: Features) -> Counter[int]:
    """Return how often each row occurs; adding zero makes -0.0 and 0.0 one."""
    return Counter(hash(row.tobytes()) for block in blocks(matrix) for row in block + 0.0)
