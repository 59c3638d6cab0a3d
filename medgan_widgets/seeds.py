"""Seeds turned into numbers: the same on every device, alone or in any batch.

A latent depends on its own seed alone, never on its place in a batch: each
seed opens its own counter-based stream (Philox), one for every purpose.
No torch here, so a latent does not depend on its version either.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import RequestError

SEED_LIMIT = 2**64
STREAMS = {"latent": 0, "noise": 1, "label": 2}

Value = str | int | bool | float
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")


def whole_number(value: object, name: str, low: int, high: int) -> int:
    """Return ``value`` as an int from ``low`` to ``high``, or say clearly why not."""
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
    """Return the seeds of a grid: ``seed``, ``seed + 1``, …, kept as a range."""
    first = whole_number(seed, "seed", 0, SEED_LIMIT - 1)
    number = whole_number(count, "images", 1, 10**9)
    if first + number > SEED_LIMIT:
        raise RequestError(
            f"seed {first} with {number} images passes the last seed {SEED_LIMIT - 1}; "
            f"use a seed of at most {SEED_LIMIT - number}."
        )
    return range(first, first + number)


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
    """
    words = np.random.Philox(key=np.array([seed, STREAMS[stream]], np.uint64)).random_raw(
        -(-count // 4)
    )
    pieces = words.astype("<u8", copy=False).view("<u2")[:count]
    return np.take(_normal_quantiles(), pieces)


def latents_from_seeds(seeds: Sequence[int], size: int) -> NDArray[np.float32]:
    """Return the latents ``z`` of some seeds, float32 [N, size], each from its own seed."""
    return np.stack([normals_from_seed(seed, "latent", size) for seed in seeds])


def labels_from_seeds(
    seeds: Sequence[int],
    factors: Mapping[str, Sequence[Value]],
    condition: Mapping[str, Value],
) -> dict[str, tuple[Value, ...]]:
    """Return the value of every factor for every seed: as asked, else drawn from the seed.

    A factor's draw does not depend on whether another factor was given.
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
    """Return classes as one-hot columns, one block a factor, float32 [N, classes]."""
    blocks = [np.zeros((count, 0), np.float32)]
    for name, values in factors.items():
        places = [list(values).index(value) for value in labels[name]]
        blocks.append(np.eye(len(values), dtype=np.float32)[places])
    return np.concatenate(blocks, axis=1)


def number_of(value: object) -> int | float | None:
    """Return the number that a value is or spells, whole where it can be; else None.

    Text with leading zeros is a name, and True and False are no numbers.

    Examples
    --------
    >>> [number_of(value) for value in ("7", 7.0, "0.50", "007", True)]
    [7, 7, 0.5, None, None]
    """
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            return None
        whole, _, fraction = value.partition(".")
        value = float(value) if fraction.strip("0") else int(whole)  # also of many digits
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _known_value(name: str, value: object, values: Sequence[Value]) -> Value:
    if not isinstance(value, (str, bool, int, float)):
        have = ", ".join(map(repr, values))
        raise RequestError(f"{name} must be one of {have}; got {value!r}.")
    for known in values:  # True == 1 in Python, but a class is not a number
        if known == value and isinstance(known, bool) == isinstance(value, bool):
            return known
    # 7, 7.0 and "7" are one number; "007" is another name, but may be meant.
    for spelled in (number_of, lambda one: number_of(str(one).lstrip("0") or "0")):
        number = spelled(value)
        same = [known for known in values if number is not None and spelled(known) == number]
        if len(same) == 1:
            return same[0]
    have = ", ".join(map(repr, values))
    raise RequestError(f"{name} must be one of {have}; got {value!r}.")
