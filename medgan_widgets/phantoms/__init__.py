"""Procedural anatomy whose true parameters are known: phantoms, never patients.

Three kinds, each drawn from seeds at any size from 32 to 512 pixels:

=================  ==========================================================
``brain_mri``      axial slice; T1, T2 or FLAIR by spin-echo signal equations
``chest_xray``     frontal projection; Beer-Lambert attenuation
``mammogram``      region of interest; power-law texture
=================  ==========================================================

Each image comes with its lesion mask and with the parameters it was drawn
from, so that a generator trained on phantoms can be judged against the truth.
One seed gives one anatomy: the same shapes at every size and in any batch.
Lengths are in units of half the image's width, so a radius of 0.1 is a
twentieth of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.phantoms.brain_mri import brain_mri
from medgan_widgets.phantoms.chest_xray import chest_xray
from medgan_widgets.phantoms.mammogram import mammogram
from medgan_widgets.phantoms.shapes import Array, Draws, Labels, Truth
from medgan_widgets.seeds import SEED_LIMIT, Value, labels_from_seeds, whole_number

CHUNK = 16  # images drawn together: large enough to vectorise, small enough for the cache
SMALLEST, LARGEST = 32, 512


@dataclass(frozen=True)
class Phantoms:
    """Drawn images and the truth about them, one row a seed.

    Attributes
    ----------
    images
        uint8 [N, H, W].
    masks
        bool [N, H, W], true inside the lesion.
    labels
        The classes of each image, e.g. ``{"contrast": ("T1", …), "tumour": (True, …)}``.
    parameters
        float64 [N] for each anatomical parameter; lesion parameters are 0
        where there is no lesion.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    labels: Labels
    parameters: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Kind:
    """One kind of phantom: its classes, and the function that draws some of them."""

    factors: Labels
    draw: Callable[[Draws, int, Labels], tuple[Array, Array, Truth]]
    stream: int


KINDS: dict[str, Kind] = {
    "brain_mri": Kind(
        {"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)}, brain_mri, stream=1
    ),
    "chest_xray": Kind({"nodule": (False, True)}, chest_xray, stream=2),
    "mammogram": Kind({"mass": (False, True)}, mammogram, stream=3),
}


def draw_phantoms(
    kind: str, seeds: Iterable[int], *, size: int = 128, condition: dict[str, Value] | None = None
) -> Phantoms:
    """Draw phantoms of one kind, one for each seed.

    Parameters
    ----------
    kind
        ``"brain_mri"``, ``"chest_xray"`` or ``"mammogram"``.
    seeds
        Whole numbers, 0 … 2^64 - 1.
    size
        Pixels along each side, 32 … 512.
    condition
        Classes to hold fixed, e.g. ``{"contrast": "T2", "tumour": True}``;
        the others are drawn from the seed.

    Raises
    ------
    RequestError
        For an unknown kind, class, seed or size.

    Examples
    --------
    >>> drawn = draw_phantoms("brain_mri", range(2), size=32, condition={"tumour": True})
    >>> drawn.images.shape, bool(drawn.masks.any(axis=(1, 2)).all())
    ((2, 32, 32), True)
    """
    check_kind(kind)
    size = whole_number(size, "size", SMALLEST, LARGEST)
    wanted = _checked_condition(KINDS[kind].factors, {} if condition is None else condition)
    if not isinstance(seeds, Iterable):
        raise RequestError(f"seeds must be whole numbers in a list or a range, got {seeds!r}.")
    checked = [whole_number(seed, "seed", 0, SEED_LIMIT - 1) for seed in seeds]
    if not checked:
        raise RequestError("seeds is empty: ask for at least one phantom.")
    parts = [
        _draw_chunk(KINDS[kind], checked[start : start + CHUNK], size, wanted)
        for start in range(0, len(checked), CHUNK)
    ]
    return Phantoms(
        images=np.concatenate([part.images for part in parts]),
        masks=np.concatenate([part.masks for part in parts]),
        labels={k: sum((p.labels[k] for p in parts), ()) for k in parts[0].labels},
        parameters={
            k: np.concatenate([p.parameters[k] for p in parts]) for k in parts[0].parameters
        },
    )


def check_kind(kind: object) -> None:
    """Refuse what is no kind of phantom."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise RequestError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")


def phantom_labels(kind: str, seeds: Sequence[int], condition: Mapping[str, Value]) -> Labels:
    """Return the labels that `draw_phantoms` draws by, without drawing."""
    return _labels(KINDS[kind], Draws(seeds, KINDS[kind].stream), condition)


def _labels(kind: Kind, draws: Draws, wanted: Mapping[str, Value]) -> Labels:
    drawn = {name: draws.pick(values) for name, values in kind.factors.items()}
    return {
        name: (wanted[name],) * draws.count if name in wanted else values
        for name, values in drawn.items()
    }


def _draw_chunk(kind: Kind, seeds: list[int], size: int, wanted: dict[str, Value]) -> Phantoms:
    draws = Draws(seeds, kind.stream)
    labels = _labels(kind, draws, wanted)
    images, masks, truth = kind.draw(draws, size, labels)
    if not np.isfinite(images).all():
        raise DataError("a phantom came out with values that are not finite; please report it.")
    return Phantoms(
        images=np.clip(np.rint(images * 255), 0, 255).astype(np.uint8),
        masks=masks > 0.5,
        labels=labels,
        parameters={name: np.ravel(v).astype(np.float64) for name, v in truth.items()},
    )


def _checked_condition(factors: Labels, condition: dict[str, Value]) -> dict[str, Value]:
    if not isinstance(condition, dict):
        raise RequestError(f"condition must map names to values, got {condition!r}.")
    labels_from_seeds([0], factors, condition)  # says clearly what is not known
    return dict(condition)
