"""What a place holds to learn from: found first, read one by one, refused in words.

Each kind of data has a file of its own that yields `Found` images; reading one
may fail, and says so for that one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

MOST_LISTED = 5


@dataclass(frozen=True)
class Found:
    """One image that can be read.

    Attributes
    ----------
    name
        Its path below the place it was found in, and the frame or slice of it.
    read
        Returns its values, float32 [H, W] or uint8 [H, W, 3].
    labels
        Its classes, factor -> value.
    group
        What belongs together, a patient for instance; None where nobody said.
    """

    name: str
    read: Callable[[], NDArray[np.float32] | NDArray[np.uint8]]
    labels: Mapping[str, Value] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True)
class Refused:
    """One file that cannot be learned from, and why."""

    name: str
    reason: str


def checked_values(values: NDArray[np.generic], name: str) -> NDArray[np.float32]:
    """Return the values of a grey image as float32 [H, W], or say why they are none.

    Raises
    ------
    DataError
        For other shapes, empty images and values that are not finite.

    Examples
    --------
    >>> checked_values(np.ones((4, 6), np.uint16), "a.png").dtype
    dtype('float32')
    """
    if values.ndim != 2 or min(values.shape) < 2:
        raise DataError(f"{name} is not one image: its shape is {values.shape}, expected [H, W].")
    plain = np.asarray(values, np.float32)
    if not np.isfinite(plain).all():
        raise DataError(f"{name} holds values that are not finite (NaN or infinite).")
    return plain


def read_all(
    found: Iterable[Found | Refused], *, skip_unreadable: bool = False
) -> Iterator[tuple[Found, NDArray[np.float32] | NDArray[np.uint8]]]:
    """Yield images with their values; stop at the end with a list of what cannot be read.

    Parameters
    ----------
    found
        What a kind of data yielded.
    skip_unreadable
        Go on with the rest, as somebody has to say.

    Raises
    ------
    DataError
        When something could not be read and nobody said to go on without it, or
        when nothing is left.
    """
    refused: list[Refused] = []
    read = 0
    for one in found:
        if isinstance(one, Refused):
            refused.append(one)
            continue
        try:
            values = one.read()
        except DataError as error:
            refused.append(Refused(one.name, str(error)))
            continue
        read += 1
        yield one, values
    if refused and not skip_unreadable:
        raise DataError(
            f"{told(refused)}; mend or remove them, or pass skip_unreadable=True to go on "
            "with the rest."
        )
    if not read:
        raise DataError(f"there is nothing to learn from: {told(refused) or 'no images found'}.")


def told(refused: list[Refused]) -> str:
    """Return a list of refused files as a sentence, the first few by name."""
    if not refused:
        return ""
    shown = "; ".join(one.reason.rstrip(".") for one in refused[:MOST_LISTED])
    more = f"; and {len(refused) - MOST_LISTED} more" if len(refused) > MOST_LISTED else ""
    return f"{len(refused)} file{'s' * (len(refused) > 1)} cannot be used: {shown}{more}"


def files_below(root: str | Path) -> Iterator[Path]:
    """Yield the files below a folder in their order; links are not followed, so no loop is.

    Raises
    ------
    DataError
        When there is no such place, or it cannot be listed.
    """
    root = Path(root).expanduser()
    if root.is_file():
        yield root
        return
    if not root.is_dir():
        raise DataError(f"{root} is neither a folder nor a file.")
    try:
        inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root} cannot be listed: {error.strerror}.") from error
    for path in inside:
        if path.is_symlink() and path.is_dir():
            continue
        if path.is_dir():
            yield from files_below(path)
        elif path.is_file():
            yield path
