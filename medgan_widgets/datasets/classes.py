"""Classes as a network takes them: which values there are, and one-hot rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.records import ImageRecord
from medgan_widgets.datasets.table import plain_value
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value, one_hot

_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)(\.0+)?")
_NUMBER = re.compile(r"-?[0-9]*\.?[0-9]+(e-?[0-9]+)?", re.IGNORECASE)
MOST_MEASURED = 20  # fractions that may still be grades, as 0.5 on a scale of dementia
MOST_CLASSES = 200  # more than that is a measure or a name, not a class


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
        _check_no_measure(name, values)
        _check_each_is_learned(name, values, sides, told)
        factors[name] = tuple(sorted(set(values), key=_order))
        if len(factors[name]) > MOST_CLASSES:
            raise DataError(
                f"{name} has {len(factors[name])} different values, at most {MOST_CLASSES} can be "
                "classes; choose another, or put values together in a table."
            )
    return factors, one_hot(labels, factors, len(found))


def class_value(value: Any, name: str) -> Value:
    """Return one image's class as a plain value; of several findings which ones: ``"2+5"``.

    Raises
    ------
    DataError
        For a mask, for shares instead of classes, and for nothing at all.

    Examples
    --------
    >>> class_value(np.array([0, 1, 1]), "a"), class_value(np.array([2.0]), "a")
    ('1+2', 2)
    """
    if hasattr(value, "tolist"):  # an array or tensor
        flat = np.asarray(value.tolist())
        if flat.size > MOST_CLASSES or sum(side > 1 for side in flat.shape) > 1:
            raise DataError(
                f"the label of {name} has the shape {flat.shape}: a mask is no class; "
                "labels=False leaves it."
            )
        if flat.size > 1:
            if not np.isin(flat, (0, 1)).all():
                raise DataError(
                    f"the label of {name} holds {flat.reshape(-1)[:4].tolist()}, shares and no "
                    "class; give the class of each image, or labels=False."
                )
            return "+".join(map(str, np.flatnonzero(flat))) or "none"
        value = flat.reshape(-1)[0].item() if flat.size else None
    plain = plain_value(value)
    if plain is None:
        raise DataError(f"{name} has no class or group; expected text or a number.")
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def one_kind(values: Sequence[Value]) -> list[Value]:
    """Return values of one type: numbers where all of them are whole, else text.

    Examples
    --------
    >>> one_kind(["1", "02"]), one_kind(["1", "2.0"]), one_kind([True, False])
    (['1', '02'], [1, 2], [True, False])
    """
    if all(isinstance(one, bool) for one in values):
        return list(values)
    texts = [str(one) for one in values]
    if all(_WHOLE.fullmatch(one) for one in texts):
        return [int(float(one)) for one in texts]
    return list(texts)


def _check_no_measure(name: str, values: Sequence[Value]) -> None:
    """Refuse numbers that are measured and not counted: each image would be a class."""
    numbers = [str(one) for one in values if _NUMBER.fullmatch(str(one))]
    if len(numbers) < len(values) or all(_WHOLE.fullmatch(one) for one in numbers):
        return
    kinds = len(set(numbers))
    if kinds > max(2, len(values) / 2) or kinds > MOST_MEASURED:
        raise DataError(
            f"{name} holds {kinds} different numbers, such as {numbers[0]}: a measure, no class; "
            "put ranges together in a table, or pass labels=False."
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
