"""A region of a mammogram: power-law tissue, strands, and a mass with or without spicules."""

from __future__ import annotations

import numpy as np

from medgan_widgets.phantoms.shapes import (
    Array,
    Draws,
    Labels,
    Truth,
    blob,
    flags,
    grid,
    lesion_truth,
    power_law,
    turned,
)


def mammogram(draws: Draws, size: int, labels: Labels) -> tuple[Array, Array, Truth]:
    """Return regions 0 … 1, lesion masks 0 … 1, and the truth about them."""
    gx, gy = grid(size)
    # Burgess (1999): the spectrum of breast tissue falls with a power of about 3.
    beta = draws.uniform(2.6, 3.4)
    tissue = power_law(draws.normal(size), beta)
    density, spread = draws.uniform(0.30, 0.52), draws.uniform(0.07, 0.13)
    # Linear strands run towards the nipple.
    grain = power_law(draws.normal(size), beta * 0 + 1.8)
    u, v = turned(gx, gy, draws.uniform(0, np.pi))
    strands = np.exp(-((np.abs(np.sin(2.2 * v + 0.6 * u + 0.35 * tissue)) / 0.09) ** 2))
    image = density + spread * tissue + 0.012 * grain + draws.uniform(0, 0.05) * strands

    has = flags(labels["mass"])
    radius = draws.uniform(0.10, 0.26)
    cx, cy = draws.uniform(-0.35, 0.35), draws.uniform(-0.35, 0.35)
    distance = blob(draws, gx, gy, cx, cy, radius)
    contrast = draws.uniform(0.20, 0.34)
    body = 1 / (1 + np.exp(np.clip(distance / (0.16 * radius), -30, 30)))
    dx, dy = gx - cx, gy - cy
    away, fan = np.sqrt(dx**2 + dy**2), np.arctan2(dy, dx)
    rays = np.cos(draws.uniform(7, 13).round() * fan + 1.5 * np.sin(2 * fan + away * 4))
    reach = np.exp(-np.clip(distance, 0, None) / (0.55 * radius))
    spicules = np.clip(rays - 0.8, 0, 1) * 5 * reach * (distance > -0.3 * radius)
    spiculated = draws.uniform(0, 1)
    image = image + has * (contrast * body + 0.10 * spiculated * spicules)

    photons = np.exp(draws.uniform(6.8, 8.2))
    counts = draws.poisson(photons * np.clip(image, 0.02, 1.2))
    truth = {
        "beta": beta, "density": density, "spread": spread, "photons": photons,
        "contrast": has * contrast, "spiculated": has * spiculated,
        **lesion_truth(has, radius, cx, cy),
    }  # fmt: skip
    return counts / photons, (distance < 0) * has, truth
