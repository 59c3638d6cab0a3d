"""Frontal chest X-ray: attenuation along the path by Beer and Lambert, photons by Poisson."""

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
    power_law,
    turned,
)


def chest_xray(draws: Draws, size: int, labels: Labels) -> tuple[Array, Array, Truth]:
    """Return chest images 0 … 1, lesion masks 0 … 1, and the truth about them."""
    gx, gy = grid(size)
    pixel = 2.6 / size
    turn = draws.uniform(-0.05, 0.05)
    shift = draws.uniform(-0.05, 0.05), draws.uniform(-0.04, 0.04)
    x, y = turned(gx - shift[0], gy - shift[1], turn)
    half = draws.uniform(0.88, 1.02) * (1 + 0.05 * y)  # half width of the trunk
    thick = np.sqrt(np.clip(1 - (x / half) ** 4, 0, 1)) * draws.uniform(0.85, 1.0)
    shoulder = inside(-(y + 0.86 + 0.10 * np.abs(x)), 0.3)
    soft = thick * (1.0 + 0.25 * shoulder)

    # Lungs: narrow apex above, dome of the diaphragm below; the left one is smaller.
    side, out = np.sign(x), np.abs(x)
    lung_width, lung_top = draws.uniform(0.30, 0.36), draws.uniform(0.78, 0.88)
    base_right, base_left = draws.uniform(0.34, 0.50), draws.uniform(0.36, 0.56)
    base = np.where(side < 0, base_right, base_left)
    centre, height = (base - lung_top) / 2, (base + lung_top) / 2
    across = lung_width * (0.80 + 0.20 * np.clip((y + lung_top) / height, 0, 1))
    middle = 0.155 + lung_width * 0.86
    along = np.abs((y - centre) / (height * 1.06))
    field = (np.abs((out - middle) / across) ** 2.3 + along**2.6 + 1e-9) ** (1 / 2.4)
    lung = (field - 1) * 0.28
    dome = y - (base - 0.16 + 0.55 * (out - middle + 0.03) ** 2 / lung_width)
    lung = np.maximum(lung, dome)
    air = inside(lung, pixel * 1.6)
    texture = power_law(draws.normal(size), draws.uniform(2.4, 3.0))
    soft = soft - air * thick * (draws.uniform(0.50, 0.62) - 0.022 * texture)

    # Vessels fan out from each hilum and thin towards the edge of the lung.
    hx, hy = out - 0.17, y + 0.02
    away, fan = np.sqrt(hx**2 + hy**2), np.arctan2(hy, hx)
    twig = np.cos(draws.uniform(8, 12).round() * fan + 2.2 * np.sin(5 * away + side) + 3 * side)
    twig = np.clip(twig - 0.55, 0, 1) * np.exp(-away / 0.20)
    soft = soft + air * 0.30 * twig
    soft = soft + 0.10 * np.exp(-((hx / 0.07) ** 2) - (hy / 0.14) ** 2)  # hilum

    # Heart, mostly on the image's right; aortic knob; mediastinum; windpipe.
    heart = draws.uniform(0.24, 0.33)
    tilt = draws.uniform(0.45, 0.75)
    heart_x, heart_y = draws.uniform(0.10, 0.16), base_left - draws.uniform(0.20, 0.26)
    heart_distance = ellipse(x, y, heart_x, heart_y, heart * 1.12, heart * 0.86, tilt)
    heart_cover = np.clip(-heart_distance / (heart * 0.5), 0, 1) ** 0.5
    soft = soft + 0.40 * heart_cover + 0.06 * inside(heart_distance, pixel * 2)
    knob = ellipse(
        x, y, draws.uniform(0.08, 0.13), draws.uniform(-0.36, -0.30),
        heart * 0.36, heart * 0.40, tilt,
    )  # fmt: skip
    soft = soft + 0.16 * inside(knob, 0.04)
    soft = soft + 0.12 * inside(np.abs(x) - 0.115 - 0.03 * np.abs(y), 0.07)
    windpipe = np.maximum(np.abs(x - 0.01 * np.sin(4 * y)) - 0.042, y + 0.22)
    soft = soft - 0.16 * inside(windpipe, 0.03)
    soft = soft + 0.14 * inside(-(dome + 0.02), 0.10) * inside(out - 0.72, 0.1) * (1 - air)

    # Bones: vertebrae, ribs behind (sloping down) and in front (fainter), collar bones.
    spine = inside(np.abs(x) - 0.075, 0.025)
    bone = spine * (0.26 + 0.07 * np.sign(np.sin(draws.uniform(20, 24) * y)) * (y > -0.9))
    pitch, phase = draws.uniform(0.150, 0.175), draws.uniform(0, 1)
    cage = inside(out - 0.80 * half, 0.04) * inside(0.10 - out, 0.05)
    cage = cage * inside(y - base - 0.18, 0.15) * inside(-(y + lung_top + 0.02), 0.06)
    slope = draws.uniform(0.55, 0.75)
    behind = y - slope * out + draws.uniform(0.75, 0.95) * out**2
    bone = bone + 0.105 * cage * _rib(behind / pitch + phase)
    front = y + draws.uniform(0.65, 0.85) * out - 0.20 * out**2
    bone = bone + 0.055 * cage * inside(0.28 - out, 0.1) * _rib(front / (pitch * 1.12) + phase)
    collar = y + lung_top - 0.10 - 0.10 * np.sin(3.2 * out) + 0.16 * out
    collar = np.maximum(np.abs(collar) - 0.030, np.abs(out - 0.44) - 0.36)
    bone = bone + 0.17 * inside(collar, pixel * 1.5)

    has = flags(labels["nodule"])
    radius = draws.uniform(0.045, 0.095)
    which = np.where(draws.uniform(-1, 1) < 0, -1, 1)
    place, up = draws.uniform(-0.45, 0.55), draws.uniform(-0.62, 0.42)
    nx = which * (middle + place * lung_width * 0.8)
    ny = centre[:, :1, :1] + up * height[:, :1, :1]
    nodule = blob(draws, x, y, nx, ny, radius)
    ball = np.sqrt(np.clip(-nodule / radius, 0, 1)) * has
    soft = soft + draws.uniform(0.28, 0.42) * ball

    # Beer-Lambert: counts fall with the path's attenuation; the film shows its logarithm.
    path = 3.0 * np.clip(soft, 0, None) + 3.4 * bone * (thick > 0)
    photons = np.exp(draws.uniform(8.6, 9.6))
    counts = draws.poisson(photons * np.exp(-path)) + 1
    film = np.log(photons / counts)
    low, high = draws.uniform(0.45, 0.75), draws.uniform(4.9, 5.5)
    shown = np.clip((film - low) / (high - low), 0, 1) ** draws.uniform(0.95, 1.15)
    truth = {
        "heart_size": heart, "lung_width": lung_width, "lung_area": area(air), "turn": turn,
        "photons": photons, **lesion_truth(has, radius, *placed(nx, ny, turn, shift)),
    }  # fmt: skip
    mask = inside(nodule, pixel) * has
    return (0.04 + 0.96 * shown).astype(np.float32), mask, truth


def _rib(phase: Array) -> Array:
    """Return the path through a row of hollow tubes, one a unit of phase; rims are densest."""
    offset = np.abs(phase - np.round(phase)) / 0.27
    outer = np.sqrt(np.clip(1 - offset**2, 0, 1))
    inner = np.sqrt(np.clip(0.55 - offset**2, 0, 1))
    return outer - 0.6 * inner
