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

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError, RequestError
from medgan_widgets.requests import SEED_LIMIT, Value, whole_number

Array = NDArray[np.float32]
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
    labels: dict[str, tuple[Value, ...]]
    parameters: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Kind:
    """One kind of phantom: its classes, and the function that draws some of them."""

    factors: dict[str, tuple[Value, ...]]
    draw: Callable[[Draws, int, dict[str, tuple[Value, ...]]], tuple[Array, Array, Truth]]
    stream: int


Truth = dict[str, NDArray[np.float64]]


class Draws:
    """Random numbers for N images, each from its own seed, kind and purpose."""

    def __init__(self, seeds: Sequence[int], stream: int) -> None:
        self.count = len(seeds)
        self._shape = [_generator(seed, 2 * stream) for seed in seeds]
        self._noise = [_generator(seed, 2 * stream + 1) for seed in seeds]

    def uniform(self, low: float, high: float) -> Array:
        """Draw one number an image, float32 [N, 1, 1]."""
        drawn = np.array([g.uniform(low, high) for g in self._shape], np.float32)
        return drawn[:, None, None]

    def pick(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """Draw one of the values for every image."""
        return tuple(values[int(g.integers(len(values)))] for g in self._shape)

    def normal(self, size: int) -> Array:
        """Draw white noise, float32 [N, size, size]."""
        return np.stack([g.standard_normal((size, size), np.float32) for g in self._noise])

    def poisson(self, expected: Array) -> Array:
        """Draw photon counts of the expected ones, float32 [N, H, W]."""
        pairs = zip(self._noise, expected, strict=True)
        return np.stack([g.poisson(e) for g, e in pairs]).astype(np.float32)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 64 + stream], np.uint64)))


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
    if kind not in KINDS:
        raise RequestError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}.")
    size = whole_number(size, "size", SMALLEST, LARGEST)
    wanted = _checked_condition(KINDS[kind].factors, condition or {})
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


def _draw_chunk(kind: Kind, seeds: list[int], size: int, wanted: dict[str, Value]) -> Phantoms:
    draws = Draws(seeds, kind.stream)
    drawn = {name: draws.pick(values) for name, values in kind.factors.items()}
    labels = {
        name: (wanted[name],) * len(seeds) if name in wanted else values
        for name, values in drawn.items()
    }
    images, masks, truth = kind.draw(draws, size, labels)
    if not np.isfinite(images).all():
        raise DataError("a phantom came out with values that are not finite; please report it.")
    return Phantoms(
        images=np.clip(np.rint(images * 255), 0, 255).astype(np.uint8),
        masks=masks > 0.5,
        labels=labels,
        parameters={name: np.ravel(v).astype(np.float64) for name, v in truth.items()},
    )


def _checked_condition(
    factors: dict[str, tuple[Value, ...]], condition: dict[str, Value]
) -> dict[str, Value]:
    from medgan_widgets.requests import labels_from_seeds

    labels_from_seeds([0], factors, condition)  # says clearly what is not known
    return dict(condition)


# ---------------------------------------------------------------- shapes on a grid


def _grid(size: int) -> tuple[Array, Array]:
    """Return x to the right and y downwards, -1 … 1 at the image's edges, [1, H, W]."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) * 2 / size - 1).astype(np.float32)
    return axis[None, None, :], axis[None, :, None]


def _turned(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _inside(distance: Array, softness: Array | float) -> Array:
    """Turn a signed distance (negative inside) into coverage, 0 … 1."""
    return np.clip(0.5 - distance / softness, 0, 1)


def _ellipse(x: Array, y: Array, cx: Array, cy: Array, a: Array, b: Array, turn: Array) -> Array:
    """Return the signed distance, to first order, from a turned ellipse."""
    u, v = _turned(x - cx, y - cy, turn)
    r = np.sqrt((u / a) ** 2 + (v / b) ** 2 + 1e-9)
    return (r - 1) * np.minimum(a, b)


def _blob(draws: Draws, x: Array, y: Array, cx: Array, cy: Array, radius: Array) -> Array:
    """Return the signed distance from an irregular round shape (a lesion)."""
    dx, dy = x - cx, y - cy
    theta = np.arctan2(dy, dx)
    wobble = sum(
        draws.uniform(0.02, 0.22 / k) * np.cos(k * theta + draws.uniform(0, 2 * np.pi))
        for k in (2, 3, 5)
    )
    return np.sqrt(dx**2 + dy**2) - radius * (1 + wobble)


def _power_law(noise: Array, beta: Array) -> Array:
    """Shape white noise to a power spectrum 1 / f^beta: zero mean, unit deviation."""
    size = noise.shape[-1]
    fy, fx = np.fft.fftfreq(size)[:, None] * size, np.fft.rfftfreq(size)[None] * size
    f = np.sqrt(fx**2 + fy**2).astype(np.float32)
    f[0, 0] = np.inf  # no mean
    shaped = np.fft.irfft2(np.fft.rfft2(noise) * f[None] ** (-beta / 2), s=(size, size))
    shaped = shaped / shaped.std(axis=(1, 2), keepdims=True)
    return shaped.astype(np.float32)


def _lesion_truth(has: Array, radius: Array, cx: Array, cy: Array) -> Truth:
    """Return where the lesion is, zero where there is none."""
    return {"lesion": has, "radius": has * radius, "x": has * cx, "y": has * cy}


def _flags(labels: tuple[Value, ...]) -> Array:
    return np.array(labels, np.float32)[:, None, None]


# ---------------------------------------------------------------- axial brain MRI

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
        t1, t2 = t1 * jitter[tissue], t2 * jitter[tissue]
        recovered = 1 - np.exp(-tr / t1)
        inverted = np.abs(1 - 2 * np.exp(-ti / t1) + np.exp(-tr / t1))
        longitudinal = np.where(ti > 0, inverted, recovered)
        signals[tissue] = (density * longitudinal * np.exp(-te / t2) / white).astype(np.float32)
    return signals


def _brain_mri(
    draws: Draws, size: int, labels: dict[str, tuple[Value, ...]]
) -> tuple[Array, Array, Truth]:
    gx, gy = _grid(size)
    pixel = 2.6 / size
    width, length = draws.uniform(0.62, 0.76), draws.uniform(0.80, 0.94)
    turn = draws.uniform(-0.14, 0.14)
    shift = draws.uniform(-0.05, 0.05), draws.uniform(-0.04, 0.04)
    x, y = _turned(gx - shift[0], gy - shift[1], turn)
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
        cover = _inside(distance, pixel) * strength
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
    thalamus = _ellipse(
        left, v, zero + 0.13, deep_y + 0.10, zero + 0.095, zero + 0.13, zero - 0.45
    )
    paint(thalamus * unit, s["deep"])
    putamen = _ellipse(left, v, zero + 0.33, deep_y, zero + 0.055, zero + 0.16, zero - 0.12)
    paint(putamen * unit, s["deep"])
    caudate = _ellipse(
        left, v, zero + 0.20, deep_y - 0.23, zero + 0.05, zero + 0.115, zero - 0.35
    )
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
    frontal = _ellipse(
        left, v, 0.095 * lean * np.sqrt(ventricle), deep_y - 0.205 + zero,
        0.058 * ventricle, 0.185 * np.sqrt(ventricle), zero - 0.38,
    )  # fmt: skip
    occipital = _ellipse(
        left, v, 0.19 * lean * np.sqrt(ventricle), deep_y + 0.30 + zero,
        0.062 * ventricle, 0.17 * np.sqrt(ventricle), zero + 0.48,
    )  # fmt: skip
    third = _ellipse(u - mid, v, zero, deep_y + 0.06, 0.016 * ventricle, zero + 0.11, zero)
    spaces = np.minimum(np.minimum(frontal, occipital), third) * unit
    paint(spaces, s["csf"])

    has = _flags(labels["tumour"])
    radius = draws.uniform(0.06, 0.14)
    angle, reach = draws.uniform(0, 2 * np.pi), draws.uniform(0.28, 0.62)
    cx, cy = reach * np.cos(angle) * width, reach * np.sin(angle) * length
    within = _inside((r - surface) * unit, pixel)
    swelling = _blob(draws, x, y, cx, cy, radius * draws.uniform(1.5, 2.0))
    halo = np.clip(0.5 - swelling / (0.5 * radius), 0, 1) * within * has
    image += 0.85 * halo * (s["oedema"] - image)
    core = _blob(draws, x, y, cx, cy, radius)
    solid = _inside(core, pixel * 1.5) * within * has
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
        "ventricle_area": _area(np.where(spaces < 0, 1.0, 0.0)),
        **_lesion_truth(has, radius, *_placed(cx, cy, turn, shift)),
    }  # fmt: skip
    return image, mask.astype(np.float32), truth


def _placed(
    cx: Array, cy: Array, turn: Array, shift: tuple[Array, Array]
) -> tuple[Array, Array]:
    """Return where a point of the turned and shifted anatomy lies in the image."""
    x, y = _turned(cx, cy, -turn)
    return x + shift[0], y + shift[1]


def _area(cover: Array) -> NDArray[np.float64]:
    """Return the covered share of the image, 0 … 1."""
    return cover.mean(axis=(1, 2), dtype=np.float64)


# ---------------------------------------------------------------- frontal chest X-ray


def _chest_xray(
    draws: Draws, size: int, labels: dict[str, tuple[Value, ...]]
) -> tuple[Array, Array, Truth]:
    gx, gy = _grid(size)
    pixel = 2.6 / size
    turn = draws.uniform(-0.05, 0.05)
    shift = draws.uniform(-0.05, 0.05), draws.uniform(-0.04, 0.04)
    x, y = _turned(gx - shift[0], gy - shift[1], turn)
    half = draws.uniform(0.88, 1.02) * (1 + 0.05 * y)  # half width of the trunk
    thick = np.sqrt(np.clip(1 - (x / half) ** 4, 0, 1)) * draws.uniform(0.85, 1.0)
    shoulder = _inside(-(y + 0.86 + 0.10 * np.abs(x)), 0.3)
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
    air = _inside(lung, pixel * 1.6)
    texture = _power_law(draws.normal(size), draws.uniform(2.4, 3.0))
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
    heart_distance = _ellipse(x, y, heart_x, heart_y, heart * 1.12, heart * 0.86, tilt)
    heart_cover = np.clip(-heart_distance / (heart * 0.5), 0, 1) ** 0.5
    soft = soft + 0.40 * heart_cover + 0.06 * _inside(heart_distance, pixel * 2)
    knob = _ellipse(
        x, y, draws.uniform(0.08, 0.13), draws.uniform(-0.36, -0.30),
        heart * 0.36, heart * 0.40, tilt,
    )  # fmt: skip
    soft = soft + 0.16 * _inside(knob, 0.04)
    soft = soft + 0.12 * _inside(np.abs(x) - 0.115 - 0.03 * np.abs(y), 0.07)
    windpipe = np.maximum(np.abs(x - 0.01 * np.sin(4 * y)) - 0.042, y + 0.22)
    soft = soft - 0.16 * _inside(windpipe, 0.03)
    soft = soft + 0.14 * _inside(-(dome + 0.02), 0.10) * _inside(out - 0.72, 0.1) * (1 - air)

    # Bones: vertebrae, ribs behind (sloping down) and in front (fainter), collar bones.
    spine = _inside(np.abs(x) - 0.075, 0.025)
    bone = spine * (0.26 + 0.07 * np.sign(np.sin(draws.uniform(20, 24) * y)) * (y > -0.9))
    pitch, phase = draws.uniform(0.150, 0.175), draws.uniform(0, 1)
    cage = _inside(out - 0.80 * half, 0.04) * _inside(0.10 - out, 0.05)
    cage = cage * _inside(y - base - 0.18, 0.15) * _inside(-(y + lung_top + 0.02), 0.06)
    slope = draws.uniform(0.55, 0.75)
    behind = y - slope * out + draws.uniform(0.75, 0.95) * out**2
    bone = bone + 0.105 * cage * _rib(behind / pitch + phase)
    front = y + draws.uniform(0.65, 0.85) * out - 0.20 * out**2
    bone = bone + 0.055 * cage * _inside(0.28 - out, 0.1) * _rib(front / (pitch * 1.12) + phase)
    collar = y + lung_top - 0.10 - 0.10 * np.sin(3.2 * out) + 0.16 * out
    collar = np.maximum(np.abs(collar) - 0.030, np.abs(out - 0.44) - 0.36)
    bone = bone + 0.17 * _inside(collar, pixel * 1.5)

    has = _flags(labels["nodule"])
    radius = draws.uniform(0.045, 0.095)
    which = np.where(draws.uniform(-1, 1) < 0, -1, 1)
    place, up = draws.uniform(-0.45, 0.55), draws.uniform(-0.62, 0.42)
    nx = which * (middle + place * lung_width * 0.8)
    ny = centre[:, :1, :1] + up * height[:, :1, :1]
    blob = _blob(draws, x, y, nx, ny, radius)
    ball = np.sqrt(np.clip(-blob / radius, 0, 1)) * has
    soft = soft + draws.uniform(0.28, 0.42) * ball

    # Beer-Lambert: counts fall with the path's attenuation; the film shows its logarithm.
    path = 3.0 * np.clip(soft, 0, None) + 3.4 * bone * (thick > 0)
    photons = np.exp(draws.uniform(8.6, 9.6))
    counts = draws.poisson(photons * np.exp(-path)) + 1
    film = np.log(photons / counts)
    low, high = draws.uniform(0.45, 0.75), draws.uniform(4.9, 5.5)
    shown = np.clip((film - low) / (high - low), 0, 1) ** draws.uniform(0.95, 1.15)
    truth = {
        "heart_size": heart, "lung_width": lung_width, "lung_area": _area(air), "turn": turn,
        "photons": photons, **_lesion_truth(has, radius, *_placed(nx, ny, turn, shift)),
    }  # fmt: skip
    mask = _inside(blob, pixel) * has
    return (0.04 + 0.96 * shown).astype(np.float32), mask, truth


def _rib(phase: Array) -> Array:
    """Return the path through a row of hollow tubes, one a unit of phase; rims are densest."""
    offset = np.abs(phase - np.round(phase)) / 0.27
    outer = np.sqrt(np.clip(1 - offset**2, 0, 1))
    inner = np.sqrt(np.clip(0.55 - offset**2, 0, 1))
    return outer - 0.6 * inner


# ---------------------------------------------------------------- mammogram region


def _mammogram(
    draws: Draws, size: int, labels: dict[str, tuple[Value, ...]]
) -> tuple[Array, Array, Truth]:
    gx, gy = _grid(size)
    # Burgess (1999): the spectrum of breast tissue falls with a power of about 3.
    beta = draws.uniform(2.6, 3.4)
    tissue = _power_law(draws.normal(size), beta)
    density, spread = draws.uniform(0.30, 0.52), draws.uniform(0.07, 0.13)
    # Linear strands run towards the nipple.
    grain = _power_law(draws.normal(size), beta * 0 + 1.8)
    u, v = _turned(gx, gy, draws.uniform(0, np.pi))
    strands = np.exp(-((np.abs(np.sin(2.2 * v + 0.6 * u + 0.35 * tissue)) / 0.09) ** 2))
    image = density + spread * tissue + 0.012 * grain + draws.uniform(0, 0.05) * strands

    has = _flags(labels["mass"])
    radius = draws.uniform(0.10, 0.26)
    cx, cy = draws.uniform(-0.35, 0.35), draws.uniform(-0.35, 0.35)
    distance = _blob(draws, gx, gy, cx, cy, radius)
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
        **_lesion_truth(has, radius, cx, cy),
    }  # fmt: skip
    return counts / photons, (distance < 0) * has, truth


KINDS: dict[str, Kind] = {
    "brain_mri": Kind(
        {"contrast": ("T1", "T2", "FLAIR"), "tumour": (False, True)}, _brain_mri, stream=1
    ),
    "chest_xray": Kind({"nodule": (False, True)}, _chest_xray, stream=2),
    "mammogram": Kind({"mass": (False, True)}, _mammogram, stream=3),
}
