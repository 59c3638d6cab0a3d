"""Files of one JSON row a line, which grow while somebody reads them."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from medgan_widgets.errors import DataError, SaveError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
_NONE = type(None)
_WANTED: dict[str, tuple[type, ...]] = {  # what the fields of a row may hold, by annotation
    "float": (int, float),
    "float | None": (int, float, _NONE),
    "int | None": (int, _NONE),
    "str": (str,),
    "Mapping": (dict, _NONE),
}


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one row, all of it or nothing, and wait until it is on the disk.

    A line that was cut off before stays as it is; this one begins a line of its own.

    Raises
    ------
    SaveError
        When the file cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     append_row(Path(folder) / "a.jsonl", {"kimg": 1})
    ...     list(rows_of(Path(folder) / "a.jsonl"))
    [{'kimg': 1}]
    """
    line = (json.dumps(row) + "\n").encode()
    try:
        with path.open("a+b", buffering=0) as file:
            whole = file.seek(0, os.SEEK_END)
            if whole:
                file.seek(whole - 1)
                line = line if file.read(1) == b"\n" else b"\n" + line
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "the disk is full")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)
                raise
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "the disk is full" if full else error.strerror or str(error)
        raise SaveError(f"{path} cannot be written to: {reason}.") from error


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Yield every whole row of a file; a line that is still being written waits.

    Raises
    ------
    DataError
        When a line is no JSON, or the file cannot be read.
    """
    try:
        with path.open() as lines:
            for line in lines:
                if line.endswith("\n"):
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"a line holds {line[:40].strip()!r}")
                    yield row
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is damaged: {error}.") from None


def some_lines(path: Path, most: int) -> Iterator[bytes]:
    """Yield whole lines: all of a small file, about ``most`` at even places of a large one.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    size, window = path.stat().st_size, 4096
    with path.open("rb") as file:
        if size <= most * 400:
            yield from file.read(size).split(b"\n")[:-1][-4 * most :]
            return
        # A power of two, so that the places stay the same while the file grows.
        stride = 2 ** int(np.ceil(np.log2(size / most)))
        for place in range(0, size - window, stride):
            file.seek(place)
            # A line may be longer than the window: one at least is read to its end.
            lines = (file.read(window) + file.readline() + file.readline()).split(b"\n")
            whole = lines[:-1] if place == 0 else lines[1:-1]
            yield from whole[:1]
            yield from (line for line in whole[1:] if b'"score": {' in line)
        newest: list[bytes] = []
        while not newest and window < size:
            file.seek(size - window)
            newest = file.read(window).split(b"\n")[1:-1]
            window *= 2
        yield from newest


def row_as(kind: type[T], row: Any, word: str) -> T:
    """Return a row of a file as what it stands for; names of a newer version are left out.

    Parameters
    ----------
    kind
        A dataclass whose annotations are plain: float, str, Mapping, or one of them or None.
    word
        What the row should be, for the message.

    Raises
    ------
    DataError
        When a field is missing, or holds a value of another type.
    """
    if not isinstance(row, dict):
        raise DataError(f"a line is no {word}: {str(row)[:40]!r}.")
    try:
        known = {one.name: row[one.name] for one in fields(kind) if one.name in row}
        made = kind(**known)
    except TypeError as error:
        raise DataError(f"a line is no {word}: {error}.") from None
    for one in fields(kind):
        value, wanted = getattr(made, one.name), _WANTED.get(str(one.type).split("[")[0])
        if wanted is not None and not isinstance(value, wanted):
            raise DataError(f"a line is no {word}: {one.name} is {str(value)[:40]!r}.")
    return made
