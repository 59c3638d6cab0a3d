"""Axial brain MRI: tissues by their relaxation times, signal by the spin-echo equations."""

from __future__ import annotations

import numpy as np

from medgan_widgets.phantoms.shapes import (
    Array,
    Draws,
    Labels,
    Truth,
    area,
    blob,
    ellipse,
    flags,
    grid,
    inside,
    lesion_truth,
    placed,
    turned,
)
from medgan_widgets.seeds import Value

# Relaxation times in ms and proton density at 1.5 T, rounded textbook values
# (e.g. Bottomley 1984; Stanisz 2005): T1, T2, PD.
TISSUES = {
    "scalp": (260.0, 80.0, 0.95),  # mostly fat
    "skull": (350.0, 12.0, 0.12),
    "csf": (4000.0, 1800.0, 1.0),
    "grey": (1000.0, 100.0, 0.82),
    "white": (560.0, 78.0, 0.72),
    "deep": (820.0, 86.0, 0.78),
    "oedema": (1250.0, 165.0, 0.86),
    "tumour": (1500.0, 210.0, 0.90),
}
# Repetition, echo and inversion times in ms, and the signal shown as white.
SEQUENCES = {
    "T1": (500.0, 12.0, None, 0.62),
    "T2": (4500.0, 100.0, None, 0.62),
    "FLAIR": (9000.0, 110.0, 2450.0, 0.34),
}


def _signals(contrasts: tuple[Value, ...], jitter: dict[str, Array]) -> dict[str, Array]:
    """Return each tissue's signal for each image by the spin-echo equations, [N, 1, 1]."""
    tr, te, ti, white = (
        np.array([SEQUENCES[str(c)][i] or 0.0 for c in contrasts], np.float32)[:, None, None]
        for i in range(4)
    )
    signals = {}
    for tissue, (t1, t2, density) in TISSUES.items():
        own1, own2 = t1 * jitter[tissue], t2 * jitter[tissue]
        recovered = 1 - np.exp(-tr / own1)
        inverted = np.abs(1 - 2 * np.exp(-ti / own1) + np.exp(-tr / own1))
        longitudinal = np.where(ti > 0, inverted, recovered)
        signals[tissue] = (density * longitudinal * np.exp(-te / own2) / white).astype(np.float32)
    return signals


def brain_mri(draws: Draws, size: int, labels: Labels) -> tuple[Array, Array, Truth]:
    """Return brain slices 0 … 1, lesion masks 0 … 1, and the truth about them."""
    gx, gy = grid(size)
    pixel = 2.6 / size
    width, length = draws.uniform(0.62, 0.76), draws.uniform(0.80, 0.94)
    turn = draws.uniform(-0.14, 0.14)
    shift = draws.uniform(-0.05, 0.05), draws.uniform(-0.04, 0.04)
    x, y = turned(gx - shift[0], gy - shift[1], turn)
    # Egg-shaped head: wider behind than in front.
    u, v = x / (width * (1 + draws.uniform(0.02, 0.10) * y)), y / length
    r, theta = np.sqrt(u**2 + v**2) + 1e-6, np.arctan2(v, u)
    unit = (width + length) / 2  # turns the relative radius into image units

    scalp, bone = draws.uniform(0.055, 0.085), draws.uniform(0.06, 0.085)
    brain = 1 - scalp - bone - draws.uniform(0.02, 0.045)
    ripple = draws.uniform(13, 17).round() * theta
    ripple = ripple + draws.uniform(0.6, 1.6) * np.sin(2 * theta + draws.uniform(0, 6.28))
    ripple = ripple + draws.uniform(0.4, 1.2) * np.sin(3 * theta + draws.uniform(0, 6.28))
    ripple = ripple + draws.uniform(-7, 7) * (r - 0.8)  # sulci run aslant
    fold = 0.5 - 0.5 * np.cos(ripple)  # 0 on a gyrus, 1 in a sulcus
    atrophy = draws.uniform(0.6, 1.5)
    cortex = draws.uniform(0.085, 0.115)

    s = _signals(labels["contrast"], {t: draws.uniform(0.93, 1.07) for t in TISSUES})
    image = np.zeros((draws.count, size, size), np.float32)

    def paint(distance: Array, signal: Array, strength: Array | float = 1.0) -> None:
        cover = inside(distance, pixel) * strength
        image[...] += cover * (signal - image)

    paint((r - 1) * unit, s["scalp"])
    paint((r - (1 - scalp)) * unit, s["skull"])
    paint((r - (1 - scalp - bone)) * unit, s["csf"])
    surface = brain * (1 - 0.02 * atrophy * fold**2)
    paint((r - surface) * unit, s["grey"])
    paint((r - (surface - cortex * (0.72 + 0.95 * fold))) * unit, s["white"])
    # Sulci: thin folds of fluid from the surface inwards.
    depth = draws.uniform(0.07, 0.13) * atrophy
    groove = np.maximum((surface - depth) - r, (r - surface)) * unit
    paint(np.maximum(groove, (0.955 - fold) * 0.16), s["csf"], 0.85)

    left, mid = np.abs(u), draws.uniform(-0.012, 0.012)
    deep_y = draws.uniform(-0.03, 0.05)
    zero = np.zeros_like(mid)
    thalamus = ellipse(left, v, zero + 0.13, deep_y + 0.10, zero + 0.095, zero + 0.13, zero - 0.45)
    paint(thalamus * unit, s["deep"])
    putamen = ellipse(left, v, zero + 0.33, deep_y, zero + 0.055, zero + 0.16, zero - 0.12)
    paint(putamen * unit, s["deep"])
    caudate = ellipse(left, v, zero + 0.20, deep_y - 0.23, zero + 0.05, zero + 0.115, zero - 0.35)
    paint(caudate * unit, s["deep"])

    # The fissure between the hemispheres stops at the corpus callosum.
    wave = 0.012 * np.sin(draws.uniform(7, 11) * v + draws.uniform(0, 6.28))
    fissure = np.abs(u - mid - wave) - draws.uniform(0.010, 0.018) * atrophy
    callosum = draws.uniform(0.40, 0.50)
    fissure = np.maximum(np.maximum(fissure, callosum - np.abs(v - deep_y)), r - brain)
    paint(fissure * unit, s["csf"])

    # Lateral ventricles: frontal horns, occipital horns; and the third one between them.
    ventricle = draws.uniform(0.7, 1.35)
    lean = draws.uniform(0.9, 1.1)
    frontal = ellipse(
        left, v, 0.095 * lean * np.sqrt(ventricle), deep_y - 0.205 + zero,
        0.058 * ventricle, 0.185 * np.sqrt(ventricle), zero - 0.38,
    )  # fmt: skip
    occipital = ellipse(
        left, v, 0.19 * lean * np.sqrt(ventricle), deep_y + 0.30 + zero,
        0.062 * ventricle, 0.17 * np.sqrt(ventricle), zero + 0.48,
    )  # fmt: skip
    third = ellipse(u - mid, v, zero, deep_y + 0.06, 0.016 * ventricle, zero + 0.11, zero)
    spaces = np.minimum(np.minimum(frontal, occipital), third) * unit
    paint(spaces, s["csf"])

    has = flags(labels["tumour"])
    radius = draws.uniform(0.06, 0.14)
    angle, reach = draws.uniform(0, 2 * np.pi), draws.uniform(0.28, 0.62)
    cx, cy = reach * np.cos(angle) * width, reach * np.sin(angle) * length
    within = inside((r - surface) * unit, pixel)
    swelling = blob(draws, x, y, cx, cy, radius * draws.uniform(1.5, 2.0))
    halo = np.clip(0.5 - swelling / (0.5 * radius), 0, 1) * within * has
    image += 0.85 * halo * (s["oedema"] - image)
    core = blob(draws, x, y, cx, cy, radius)
    solid = inside(core, pixel * 1.5) * within * has
    image += solid * (s["tumour"] - image)
    rim = np.exp(-(((core + 0.2 * radius) / (0.18 * radius)) ** 2)) * within * has
    image += 0.35 * rim * (s["grey"] * 1.15 - image)

    # Receive-coil shading, then Rician noise: the magnitude of two noisy channels.
    shading = 1 + draws.uniform(-0.08, 0.08) * gx + draws.uniform(-0.08, 0.08) * gy
    sigma = draws.uniform(0.014, 0.040)
    channels = image * shading + sigma * draws.normal(size), sigma * draws.normal(size)
    image = np.sqrt(channels[0] ** 2 + channels[1] ** 2)
    mask = solid > 0.5
    truth = {
        "head_width": width, "head_length": length, "turn": turn, "noise": sigma,
        "ventricle_area": area(np.where(spaces < 0, 1.0, 0.0)),
        **lesion_truth(has, radius, *placed(cx, cy, turn, shift)),
    }  # fmt: skip
    return image, mask.astype(np.float32), truth
