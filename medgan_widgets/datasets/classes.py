"""Classes as a network takes them: which values there are, and one-hot rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.found import Found
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value, one_hot

MOST_CLASSES = 200  # more than that is a measure or a name, not a class


def classes_of(
    found: Sequence[Found], sides: Sequence[str], told: Iterable[str] = ()
) -> tuple[dict[str, tuple[Value, ...]], NDArray[np.float32]]:
    """Return the factors with their values in order, and one-hot classes, float32 [N, K].

    Values that all look like whole numbers are numbers, else all are text.

    Parameters
    ----------
    found
        The images, read.
    sides
        ``"train"`` or ``"test"``, one an image.
    told
        Values that a table speaks of, as text: each needs an image.

    Raises
    ------
    DataError
        When a class has no image, or only held-out ones, when there are too many
        classes, or images differ in which factors they have.

    Examples
    --------
    >>> images = [Found(str(n), lambda: None, {"grade": str(n)}) for n in (10, 9, 10)]
    >>> classes_of(images, ["train"] * 3)[0]
    {'grade': (9, 10)}
    """
    names = list(dict.fromkeys(name for one in found for name in one.labels))
    for one in found:
        if set(one.labels) != set(names):
            raise DataError(f"{one.name} has no {', '.join(names)}, as other images have.")
    labels = {name: one_kind([one.labels[name] for one in found]) for name in names}
    factors: dict[str, tuple[Value, ...]] = {}
    for name, values in labels.items():
        _check_each_is_learned(name, values, sides, told)
        factors[name] = tuple(sorted(set(values), key=_order))
        if len(factors[name]) > MOST_CLASSES:
            raise DataError(
                f"{name} has {len(factors[name])} different values, at most {MOST_CLASSES} can be "
                "classes; choose another, or put values together in a table."
            )
    return factors, one_hot(labels, factors, len(found))


def one_kind(values: Sequence[Value]) -> list[Value]:
    """Return values of one type: numbers where all of them are whole, else text.

    Examples
    --------
    >>> one_kind(["1", "02"]), one_kind(["1", "2"]), one_kind([True, False])
    (['1', '02'], [1, 2], [True, False])
    """
    if all(isinstance(one, bool) for one in values):
        return list(values)
    texts = [str(one) for one in values]
    if all(_is_whole(one) for one in texts):
        return [int(one) for one in texts]
    return list(texts)


def _is_whole(text: str) -> bool:
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and str(int(text)) == text


def _order(value: Value) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (float(value), "")


def _check_each_is_learned(
    name: str, values: Sequence[Value], sides: Sequence[str], told: Iterable[str]
) -> None:
    have = {str(one) for one in values}
    empty = sorted(set(told) - have)
    if empty:
        raise DataError(
            f"{name} {empty[0]!r} is in the table, but none of its images is here; add them, or "
            "take it out of the table."
        )
    learned = {value for value, side in zip(values, sides, strict=True) if side == "train"}
    lost = sorted({str(one) for one in set(values) - learned})
    if lost:
        raise DataError(
            f"{name} {lost[0]!r} has only held-out images, so nothing can learn it; give more of "
            "it, another seed, or a smaller test."
        )
