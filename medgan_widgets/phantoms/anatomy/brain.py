"""Measuring brain MRI: the head by its moments, fluid by its signal, a tumour by an atlas.

A head is turned upright, stretched to the unit circle and compared with an atlas there, the
mean and deviation of tumour-free phantoms of its contrast. What stands out is a tumour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from medgan_widgets.phantoms import draw_phantoms
from medgan_widgets.phantoms.anatomy.frame import (
    AXIS,
    SIDE,
    TAUGHT_ON,
    Floats,
    R,
    X,
    Y,
    likeness,
    small,
)

CONTRASTS = ("T1", "T2", "FLAIR")
TAUGHT = 100  # phantoms of each contrast in the atlas
EDGE = 0.022  # the blurred threshold lies outside the scalp by so much
LIKE = 0.6  # correlation with the atlas below which this is no such head
# How far a tumour stands out, in deviations smoothed over its width; found on phantoms.
STANDS_OUT = {"T1": 1.65, "T2": 2.5, "FLAIR": 2.4}
# The core's radius as a share of that of core and swelling; None: not told apart from cortex.
CORE = {"T1": None, "T2": 0.63, "FLAIR": 0.57}
INSIDE = R < 0.8
BRAIN = (R > 0.1) & (R < 0.62)
MIDDLE = (np.abs(X) < 0.42) & (np.abs(Y) < 0.6)
FISSURE = (np.abs(X) < 0.06) & (np.abs(Y) > 0.42)
THIRD = (np.abs(X) < 0.06) & (np.abs(Y) < 0.3)


@dataclass(frozen=True)
class Head:
    """Where a head lies: centre, turn in radians, half width and half length, and its pixels."""

    x: float
    y: float
    turn: float
    width: float
    length: float
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Atlas:
    """Tumour-free phantoms of one contrast in the upright frame."""

    mean: Floats
    deviation: Floats
    fluid: float  # the signal of fluid, where that of brain is 1
    ventricles: NDArray[np.bool_]  # where they may be


def measured_brains(images: NDArray[Any], contrasts: Any = None) -> dict[str, Floats]:
    """Return the anatomy of brain images uint8 [N, H, W]; see ``measure_anatomy``."""
    rows = []
    for place, (image, original) in enumerate(zip(small(images), images, strict=True)):
        told = None if contrasts is None else str(contrasts[place])
        rows.append(_measured(image, original, told))
    names = ("contrast", "head_width", "head_length", "turn", "ventricle_area", "noise",
             "lesion", "radius")  # fmt: skip
    return {name: np.array([row.get(name, np.nan) for row in rows], float) for name in names}


def _measured(image: Floats, original: NDArray[Any], told: str | None) -> dict[str, float]:
    head = found_head(image)
    if head is None:
        return {}
    upright = _upright(image, head)
    every = atlas()
    alike = {name: likeness(upright, every[name].mean, R < 0.95) for name in CONTRASTS}
    seen = max(alike, key=alike.__getitem__)
    if alike[seen] < LIKE:
        return {}
    contrast = seen if told is None else told
    known = every[contrast]
    area = head.width * head.length / SIDE**2  # of one upright pixel, as a share of the image
    found = {
        "contrast": float(CONTRASTS.index(seen)),
        "head_width": head.width - EDGE,
        "head_length": head.length - EDGE,
        "turn": head.turn,
        # Of the ventricles: the pixels that are nearer to fluid than to brain.
        "ventricle_area": float(
            (((1 - upright) / (1 - known.fluid) > 0.5) & known.ventricles).sum() * area
        ),
        "noise": _noise(original, head),
    }
    lesion = _tumour(upright, contrast, known)
    found["lesion"] = float(lesion is not None)
    share = CORE[contrast]
    if lesion is not None and share is not None:
        found["radius"] = share * float(np.sqrt(lesion.sum() * area * 4 / np.pi))
    return found


def found_head(image: Floats) -> Head | None:
    """Return where the head lies in an image 0 … 1 [64, 64], by the moments of its outline."""
    parts, count = ndi.label(ndi.binary_fill_holes(ndi.gaussian_filter(image, 0.7) > 0.15))
    if not count:
        return None
    sizes = np.bincount(parts.ravel())[1:]
    mask = parts == 1 + int(sizes.argmax())
    if not 0.15 < mask.mean() < 0.95:
        return None
    rows, columns = np.nonzero(mask)
    x, y = AXIS[columns], AXIS[rows]
    spread = np.cov(x, y)
    # The longer axis points up and down; a round head has none and stays as it is.
    angle = 0.5 * np.arctan2(2 * spread[0, 1], spread[0, 0] - spread[1, 1])
    turn = float(angle - np.pi / 2 if angle > 0 else angle + np.pi / 2)
    turn = turn if abs(turn) < 0.3 else 0.0
    across = np.array([np.cos(turn), np.sin(turn)])
    along = np.array([-np.sin(turn), np.cos(turn)])
    # A filled ellipse has a quarter of its squared half axes as variances.
    width, length = (2 * float(np.sqrt(d @ spread @ d)) for d in (across, along))
    return Head(float(x.mean()), float(y.mean()), turn, width, length, mask)


@cache
def atlas() -> dict[str, Atlas]:
    """Return the atlas of each contrast, drawn and measured once a process."""
    return {name: _taught(name, place) for place, name in enumerate(CONTRASTS)}


def _taught(contrast: str, place: int) -> Atlas:
    first = TAUGHT_ON + place * TAUGHT
    drawn = draw_phantoms(
        "brain_mri", range(first, first + TAUGHT), size=SIDE,
        condition={"contrast": contrast, "tumour": False},
    )  # fmt: skip
    heads = [(image, found_head(image)) for image in small(drawn.images)]
    upright = np.stack([_upright(image, head) for image, head in heads if head is not None])
    mean = upright.mean(axis=0)
    fluid = float(np.quantile(mean[MIDDLE], 0.99 if contrast == "T2" else 0.01))
    often = ((1 - mean) / (1 - fluid) > 0.18) & MIDDLE & ~FISSURE
    return Atlas(mean, upright.std(axis=0) + 0.03, fluid, ndi.binary_opening(often) | THIRD)


def _upright(image: Floats, head: Head) -> Floats:
    """Return the head upright in the unit circle, the brain's median signal being 1."""
    u, v = X * head.width, Y * head.length
    x = u * np.cos(head.turn) - v * np.sin(head.turn) + head.x
    y = u * np.sin(head.turn) + v * np.cos(head.turn) + head.y
    places = [(y + 1) * SIDE / 2 - 0.5, (x + 1) * SIDE / 2 - 0.5]
    moved = ndi.map_coordinates(image, places, order=1, mode="nearest")
    return np.asarray(moved / max(float(np.median(moved[BRAIN])), 0.02), np.float64)


def _tumour(upright: Floats, contrast: str, known: Atlas) -> NDArray[np.bool_] | None:
    """Return the pixels of core and swelling, or None where nothing stands out."""
    excess = (upright - known.mean) * (-1 if contrast == "T1" else 1)
    deviations = np.where(INSIDE, np.clip(excess / known.deviation, -4, 6), 0)
    smooth = ndi.gaussian_filter(deviations, 2.0)
    if smooth.max() < STANDS_OUT[contrast]:
        return None
    row, column = (int(at) for at in np.unravel_index(int(smooth.argmax()), smooth.shape))
    shown = ndi.gaussian_filter(np.where(R < 0.85, excess, 0), 0.7)
    near = shown[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
    parts, _ = ndi.label(shown > max(0.35 * float(np.median(near)), 1e-6))
    own = parts == parts[row, column]
    return np.asarray(ndi.binary_fill_holes(own), bool) if parts[row, column] else None


def _noise(original: NDArray[Any], head: Head) -> float:
    """Return the noise's deviation from the air around the head: E[m^2] = 2 s^2 (Rician)."""
    air = ~ndi.binary_dilation(head.mask, iterations=4)
    rows = (np.arange(original.shape[0]) * SIDE) // original.shape[0]
    columns = (np.arange(original.shape[1]) * SIDE) // original.shape[1]
    values = original[air[np.ix_(rows, columns)]].astype(np.float64) / 255
    return float(np.sqrt((values**2).mean() / 2)) if len(values) >= 20 else float("nan")
