"""Classes as a network takes them: which values there are, and one-hot rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.records import ImageRecord
from medgan_widgets.datasets.table import plain_value, spelled
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value, number_of, one_hot

MOST_CLASSES = 200  # more than that is a measure or a name, not a class
MOST_FRACTIONS = 10  # half grades are classes, a measure has more values


def classes_of(
    found: Sequence[ImageRecord], sides: Sequence[str], told: Iterable[str] = ()
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
    >>> from medgan_widgets.datasets.records import NOTHING
    >>> images = [ImageRecord(str(n), NOTHING, {"grade": str(n)}) for n in (10, 9, 10)]
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
        _check_no_measure(name, factors[name], len(values))
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
    >>> one_kind(["1", "02"]), one_kind(["1.0", 1, "2"]), one_kind([True, False])
    (['1', '02'], [1, 1, 2], [True, False])
    """
    if all(isinstance(one, bool) for one in values):
        return list(values)
    numbers = [number_of(one) for one in values]
    if all(isinstance(number, int) for number in numbers):
        return [number for number in numbers if number is not None]
    return [spelled(one) for one in values]


def check_class_value(value: Any, name: str) -> Value | None:
    """Return an item's label as a class; of several findings which there are: ``"2+5"``.

    Parameters
    ----------
    value
        Text, a number, or 0 and 1 for each of several findings, also as an array.
    name
        Whose label it is, for the sentence.

    Raises
    ------
    DataError
        For masks, probabilities and whatever else is no class.

    Examples
    --------
    >>> check_class_value([0, 1, 1], "item 0"), check_class_value(2.0, "item 1")
    ('1+2', 2)
    """
    if isinstance(value, Image.Image):
        value = np.asarray(value)
    if hasattr(value, "tolist"):  # an array or tensor
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        every = np.array(value, dtype=object) if any(map(_is_text, value)) else np.array(value)
        if sum(side > 1 for side in every.shape) > 1 or every.size > MOST_CLASSES:
            raise DataError(
                f"{name} has a mask of the shape {every.shape} as its label; a mask is no class, "
                "labels=False leaves it."
            )
        if every.size > 1:
            if every.dtype.kind not in "buif" or not np.isin(every, (0, 1)).all():
                raise DataError(
                    f"{name} has {every.size} values as its label, {value}; expected one class, or "
                    "0 and 1 for each finding: take the likeliest, or labels=False."
                )
            return "+".join(map(str, np.flatnonzero(every))) or "none"
        value = every.item() if every.size else None
    return plain_value(value)


def _is_text(value: object) -> bool:
    return isinstance(value, (str, bytes))


def _check_no_measure(name: str, values: Sequence[Value], count: int) -> None:
    numbers = [number_of(value) for value in values]
    fractions = [number for number in numbers if isinstance(number, float)]
    many = len(values) > MOST_FRACTIONS or 2 * len(values) > count
    if fractions and None not in numbers and many:
        raise DataError(
            f"{name} is a measure ({len(values)} different values in {count} images, such as "
            f"{fractions[0]:g}), no class; put ranges of it together in a table, or leave it out "
            "with labels=False."
        )


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
