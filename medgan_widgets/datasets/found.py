"""What a place holds to learn from: found first, read one by one, refused in words.

Each kind of data has a file of its own that yields `Found` images; reading one
may fail, and says so for that one alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

MOST_LISTED = 5
TABLES = frozenset({".csv", ".jsonl"})
# What lies beside images in every download, and is none of them.
DOCUMENTS = TABLES | {".txt", ".md", ".json", ".tsv", ".xml", ".html", ".pdf", ".xlsx", ".rst"}
DOCUMENTS |= {".ini", ".db", ".log", ".md5"}
DOCUMENT_NAMES = frozenset({"README", "LICENSE", "LICENCE", "DICOMDIR", "SHA256SUMS"})

Values = NDArray[np.float32] | NDArray[np.uint8]


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
        Its classes, factor -> value; a Dataset's are filled in by reading it.
    group
        What belongs together, a patient for instance; None where nobody said.
        It may name a person, so it is never shown.
    shape
        Height and width as the file's header has them; None where only reading tells.
    colour
        Whether the header says colour.
    file
        The file it comes from; None for what is in memory.
    side
        ``"train"`` or ``"test"`` where the data itself says so.
    """

    name: str
    read: Callable[[], Values]
    labels: Mapping[str, Value] = field(default_factory=dict)
    group: str | None = field(default=None, repr=False)
    shape: tuple[int, int] | None = None
    colour: bool = False
    file: Path | None = field(default=None, repr=False)
    side: str | None = None


@dataclass(frozen=True)
class Refused:
    """One file that cannot be learned from, and why."""

    name: str
    reason: str


def checked_values(values: NDArray[Any], name: str) -> NDArray[np.float32]:
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


def eight_bits(colour: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return colours of more than eight bits as uint8, their upper bits.

    Examples
    --------
    >>> int(eight_bits(np.array([4095], np.uint16), 12)[0])
    255
    """
    if colour.dtype == np.uint8:
        return colour
    return (colour.astype(np.uint32) >> max(0, bits - 8)).clip(0, 255).astype(np.uint8)


def read_all(
    found: Iterable[Found | Refused],
    *,
    skip_unreadable: bool = False,
    refused: list[Refused] | None = None,
) -> Iterator[tuple[Found, Values]]:
    """Yield images with their values; stop at the end with a list of what cannot be read.

    Parameters
    ----------
    found
        What a kind of data yielded.
    skip_unreadable
        Go on with the rest, as somebody has to say.
    refused
        A list that what cannot be read is added to.

    Raises
    ------
    DataError
        When something could not be read and nobody said to go on without it, or
        when nothing is left.
    """
    refused = [] if refused is None else refused
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
    """Yield the files below a folder in their order; links to folders are not followed.

    So no loop is walked twice. A link to nothing is yielded, that reading it says so.

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
        elif path.is_file() or path.is_symlink():
            yield path


def named_files(root: str | Path) -> dict[str, Path]:
    """Return the files below a place by their path in it, without documents and tables."""
    place = Path(root).expanduser()
    return {
        path.name if path == place else path.relative_to(place).as_posix(): path
        for path in files_below(place)
        if path.suffix.lower() not in DOCUMENTS
        and path.name.upper().partition(".")[0] not in DOCUMENT_NAMES
    }
