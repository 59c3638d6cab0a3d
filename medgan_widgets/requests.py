"""Requests and what comes back: the recipe of an image, and its seeds turned into numbers.

A latent depends on its own seed alone, never on its place in a batch: each
seed opens its own counter-based stream (Philox), one for every purpose.
No torch here, so a latent is the same on every device and torch version.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import RequestError

SEED_LIMIT = 2**64
STREAMS = {"latent": 0, "noise": 1, "label": 2}

Value = str | int | bool | float


def whole_number(value: object, name: str, low: int, high: int) -> int:
    """Return ``value`` as an int from ``low`` to ``high``, or say clearly why not.

    Raises
    ------
    RequestError
        For text, fractions, booleans and numbers out of range.

    Examples
    --------
    >>> whole_number(16, "images", 1, 64)
    16
    """
    if isinstance(value, (bool, np.bool_)):
        raise RequestError(f"{name} must be a whole number, got {value!r}.")
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise RequestError(f"{name} must be a whole number, got {value!r}.") from None
    if not low <= number <= high:
        # Python refuses to write out numbers of thousands of digits.
        got = str(number) if number.bit_length() < 256 else f"{'-' * (number < 0)}a huge number"
        raise RequestError(f"{name} must be from {low} to {high}, got {got}.")
    return number


def seeds_from(seed: int, count: int) -> range:
    """Return the seeds of a grid: ``seed``, ``seed + 1``, …, kept as a range.

    Raises
    ------
    RequestError
        When the seed is not in 0 … 2^64 - 1, the count is not in 1 … 10^9, or
        the last seed would pass the end.

    Examples
    --------
    >>> seeds_from(17, 3)
    range(17, 20)
    """
    first = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    number = whole_number(count, "images", 1, 10**9)
    if first + number > SEED_LIMIT:
        raise RequestError(
            f"seed {first} with {number} images passes the last seed {SEED_LIMIT - 1}; "
            f"use a seed of at most {SEED_LIMIT - number}."
        )
    return range(first, first + number)


@dataclass(frozen=True)
class GenerateRequest:
    """The whole recipe of some synthetic images: the same request, the same pixels.

    Parameters
    ----------
    model_id
        A model of the catalogue.
    seeds
        One whole number of 0 … 2^64 - 1 an image, or one number for one image.
        A range stays a range, so ``range(10**9)`` costs nothing; repeats are
        allowed and give the same image twice.
    condition
        The card's factors mapped to values, e.g. ``{"contrast": "T2"}``. A
        factor left out is drawn for each image from its seed.
    truncation_psi
        0 … 1, for networks that have it; None elsewhere.
    mix, inputs, options
        For models that interpolate, translate images or take their own arguments.
    mode
        ``"exact"`` (bit-identical alone or in any batch) or ``"fast"``.

    Raises
    ------
    RequestError
        When a value could be right for no model at all.

    Examples
    --------
    >>> request = GenerateRequest("phantom-brain-mri", seeds=range(3), condition={"contrast": "T2"})
    >>> len(request.seeds)
    3
    """

    model_id: str
    seeds: Sequence[int] = field(kw_only=True)
    condition: Mapping[str, Value] = field(kw_only=True, default_factory=dict)
    truncation_psi: float | None = field(kw_only=True, default=None)
    mix: Mapping[str, Any] | None = field(kw_only=True, default=None)
    inputs: tuple[Any, ...] = field(kw_only=True, default=())
    options: Mapping[str, Any] = field(kw_only=True, default_factory=dict)
    mode: Literal["exact", "fast"] = field(kw_only=True, default="exact")

    def __post_init__(self) -> None:
        if not isinstance(self.model_id, str) or not self.model_id.strip():
            raise RequestError(f"model_id must be the name of a model, got {self.model_id!r}.")
        if self.mode not in ("exact", "fast"):
            raise RequestError(f"mode must be 'exact' or 'fast', got {self.mode!r}.")
        object.__setattr__(self, "seeds", _checked_seeds(self.seeds))
        object.__setattr__(self, "truncation_psi", _checked_psi(self.truncation_psi))
        for name in ("condition", "options"):
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise RequestError(f"{name} must map names to values, got {given!r}.")
            plain = {key: _plain(value) for key, value in given.items()}
            object.__setattr__(self, name, MappingProxyType(plain))

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON values; a range of seeds stays three numbers."""
        seeds = self.seeds
        return {
            "model_id": self.model_id,
            "seeds": (
                {"start": seeds.start, "stop": seeds.stop, "step": seeds.step}
                if isinstance(seeds, range)
                else list(seeds)
            ),
            "condition": dict(self.condition),
            "truncation_psi": self.truncation_psi,
            "options": dict(self.options),
            "mode": self.mode,
        }


@dataclass(frozen=True)
class Batch:
    """What an engine yields: one row for each seed.

    Attributes
    ----------
    images
        uint8 or uint16, [N, H, W, C].
    seeds
        The seeds of the rows, in order.
    labels
        For each factor of the model, the N values the images were made with.
    masks, others
        Further outputs, [N, H, W], never mixed up with images.
    seconds
        How long the device took, in seconds.
    """

    images: NDArray[Any]
    seeds: tuple[int, ...]
    labels: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    masks: NDArray[Any] | None = None
    others: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class Score:
    """A quality figure with all that makes it comparable.

    Attributes
    ----------
    name
        The metric, e.g. ``"FD"`` or ``"FID"``.
    value
        The figure; None when it was not reported.
    n_real, n_fake
        How many images on each side; None when its source does not say.
    extractor
        What turned images into features; values of two extractors never compare.
    interval
        95 % interval, (low, high).
    floor
        The same metric, real images against other real images, at the same n.
    """

    name: str
    value: float | None
    n_real: int | None = None
    n_fake: int | None = None
    extractor: str | None = None
    interval: tuple[float, float] | None = None
    floor: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the score as plain JSON values."""
        return asdict(self)


def _checked_seeds(seeds: object) -> range | tuple[int, ...]:
    if isinstance(seeds, range):
        if not seeds:
            raise RequestError("seeds is empty: ask for at least one image.")
        whole_number(min(seeds[0], seeds[-1]), "seed", 0, SEED_LIMIT - 1)
        whole_number(max(seeds[0], seeds[-1]), "seed", 0, SEED_LIMIT - 1)
        if (seeds[-1] - seeds[0]) // seeds.step >= sys.maxsize:
            raise RequestError(f"seeds holds more than {sys.maxsize} numbers; ask for fewer.")
        return seeds
    if isinstance(seeds, (str, bytes, float, Mapping)) or seeds is None:
        raise RequestError(f"seeds must be whole numbers, got {seeds!r}.")
    try:
        given: tuple[object, ...] = tuple(seeds)  # type: ignore[arg-type]
    except TypeError:
        given = (seeds,)
    if not given:
        raise RequestError("seeds is empty: ask for at least one image.")
    return tuple(whole_number(seed, "seed", 0, SEED_LIMIT - 1) for seed in given)


def _plain(value: Any) -> Any:
    """Return a numpy scalar as Python's own, so that ``np.True_`` is the class True."""
    return value.item() if isinstance(value, np.generic) else value


def _checked_psi(psi: object) -> float | None:
    if psi is None:
        return None
    if isinstance(psi, bool) or not isinstance(psi, (int, float, np.floating)):
        raise RequestError(f"truncation_psi must be a number from 0 to 1, got {psi!r}.")
    try:
        number = float(psi)
    except OverflowError:  # an int of hundreds of digits
        number = float("inf")
    if not 0.0 <= number <= 1.0:
        raise RequestError(f"truncation_psi must be from 0 to 1, got {number:g}.")
    return number


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Return the 65,536 mid-point quantiles of the normal distribution (to 4.2 deviations)."""
    from scipy.special import ndtri

    table: NDArray[np.float32] = ndtri((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
    return table


def normals_from_seed(seed: int, stream: str, count: int) -> NDArray[np.float32]:
    """Return ``count`` normal numbers of one seed's stream, float32 [count].

    Philox words (Salmon et al. 2011) cut into 16-bit pieces index a table of
    normal quantiles: exact on every platform, with no rounding of a library's
    logarithm in it, and quick enough for the noise of every pixel.

    Examples
    --------
    >>> normals_from_seed(17, "latent", 2).shape
    (2,)
    """
    words = np.random.Philox(key=np.array([seed, STREAMS[stream]], np.uint64)).random_raw(
        -(-count // 4)
    )
    pieces = words.astype("<u8", copy=False).view("<u2")[:count]
    return np.take(_normal_quantiles(), pieces)


def latents_from_seeds(seeds: Sequence[int], size: int) -> NDArray[np.float32]:
    """Return the latents ``z`` of some seeds, float32 [N, size], each from its own seed.

    Examples
    --------
    >>> alone, together = latents_from_seeds([7], 64), latents_from_seeds([3, 7], 64)
    >>> bool((alone[0] == together[1]).all())
    True
    """
    return np.stack([normals_from_seed(seed, "latent", size) for seed in seeds])


def labels_from_seeds(
    seeds: Sequence[int],
    factors: Mapping[str, Sequence[Value]],
    condition: Mapping[str, Value],
) -> dict[str, tuple[Value, ...]]:
    """Return the value of every factor for every seed: as asked, else drawn from the seed.

    A factor's draw does not depend on whether another factor was given.

    Raises
    ------
    RequestError
        When the condition names a factor or a value the model does not have.

    Examples
    --------
    >>> labels_from_seeds([1, 2], {"tumour": (False, True)}, {"tumour": True})
    {'tumour': (True, True)}
    """
    for name, value in condition.items():
        if name not in factors:
            have = ", ".join(sorted(factors)) or "none"
            raise RequestError(f"this model has no factor {name!r}; it has: {have}.")
        _known_value(name, value, factors[name])
    words = np.array(
        [
            np.random.Philox(key=np.array([seed, STREAMS["label"]], np.uint64)).random_raw(
                max(len(factors), 1)
            )
            for seed in seeds
        ]
    )
    labels: dict[str, tuple[Value, ...]] = {}
    for column, (name, values) in enumerate(factors.items()):
        if name in condition:
            labels[name] = (_known_value(name, condition[name], values),) * len(seeds)
        else:
            labels[name] = tuple(values[int(word % len(values))] for word in words[:, column])
    return labels


def one_hot(
    labels: Mapping[str, Sequence[Value]], factors: Mapping[str, Sequence[Value]], count: int
) -> NDArray[np.float32]:
    """Return classes as one-hot columns, one block a factor, float32 [N, classes].

    Examples
    --------
    >>> one_hot({"tumour": (True, False)}, {"tumour": (False, True)}, 2).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    blocks = [np.zeros((count, 0), np.float32)]
    for name, values in factors.items():
        places = [list(values).index(value) for value in labels[name]]
        blocks.append(np.eye(len(values), dtype=np.float32)[places])
    return np.concatenate(blocks, axis=1)


def _known_value(name: str, value: object, values: Sequence[Value]) -> Value:
    if not isinstance(value, (str, bool, int, float)):
        have = ", ".join(map(repr, values))
        raise RequestError(f"{name} must be one of {have}; got {value!r}.")
    for known in values:  # True == 1 in Python, but a class is not a number
        if known == value and isinstance(known, bool) == isinstance(value, bool):
            return known
    have = ", ".join(map(repr, values))
    raise RequestError(f"{name} must be one of {have}; got {value!r}.")
