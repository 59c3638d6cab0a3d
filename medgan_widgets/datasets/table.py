"""A table beside the images: classes and patients by file name, as CSV, JSONL or rows."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from medgan_widgets.datasets.records import Refused
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

FOLDER = "folder"
FILE_NAME = "file_name"
TABLES = (".csv", ".jsonl")
# What other people call the column of files.
NAMED_SO = ("filename", "file", "image", "image_name", "image index", "path", "image_path", "name")
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """What is known of files beside their pixels.

    Attributes
    ----------
    name
        What it is called in sentences.
    rows
        By the file's path below the data, or by its bare name.
    chosen
        Whether its rows are a choice: files without a row are left alone then.
    """

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    chosen: bool = False

    def has(self, column: str) -> bool:
        """Return whether any row has a column."""
        return any(column in row for row in self.rows.values())

    def values(self, column: str) -> set[str]:
        """Return what stands in a column, as text."""
        found = (plain_value(row.get(column)) for row in self.rows.values())
        return {str(one) for one in found if one is not None}

    def missing(self, names: Sequence[str]) -> list[str]:
        """Return the files that it names and that are not there."""
        here = {*names, *(PurePosixPath(name).name for name in names)}
        return [name for name in self.rows if name not in here]

    def unnamed(self, names: Sequence[str]) -> list[str]:
        """Return the files that are there and that it does not name."""
        return [name for name in names
                if name not in self.rows and PurePosixPath(name).name not in self.rows]  # fmt: skip

    def fitted(self, names: Sequence[str]) -> tuple[Table, int]:
        """Return it with rows under the names that files have here, and how many were renamed.

        Where a row names a file in another folder, without suffix or in another case, and only
        one file fits, it is that one.

        Raises
        ------
        DataError
            When none of the files that it names is here.
        """
        lost, free = self.missing(names), self.unnamed(names)
        by_stem = Counter(_stem(name) for name in free)
        here = {_stem(name): name for name in free if by_stem[_stem(name)] == 1}
        asked = Counter(_stem(name) for name in lost)
        renamed = {
            name: here[stem] for name in lost if asked[stem := _stem(name)] == 1 and stem in here
        }
        if self.rows and names and len(lost) == len(self.rows) and not renamed:
            raise DataError(
                f"none of the {len(lost):,} files that {self.name} names is here, e.g. "
                f"{lost[0]}; here are {len(names):,}, e.g. {names[0]}. Write the paths below the "
                "folder, with '/'."
            )
        rows = {renamed.get(name, name): row for name, row in self.rows.items()}
        return replace(self, rows=rows), len(renamed)


@dataclass(frozen=True)
class Said:
    """What the table, or the folder, says of one file."""

    labels: dict[str, Value]
    group: str | None


class Annotations:
    """What is said of each of some files.

    Parameters
    ----------
    names
        All files, by their path below the data.
    table
        The table.
    labels, group
        A column, ``"folder"`` for the sub-folder, or None.

    Raises
    ------
    DataError
        When the table lacks a column.
    """

    def __init__(
        self, names: Iterable[str], table: Table, labels: str | None, group: str | None
    ) -> None:
        self._table, self._labels, self._group = table, labels, group
        bare = Counter(PurePosixPath(name).name for name in names)
        self._several = {name for name, count in bare.items() if count > 1}
        for column in (labels, group):
            if column in (None, FOLDER):
                continue
            if not table.rows:
                raise DataError(f"there is no {table.name} that has a column {column!r}.")
            if not table.has(str(column)):
                raise DataError(
                    f"{table.name} has no column {column!r}; it has: {_columns(table)}."
                )

    def of(self, name: str) -> Said | Refused | None:
        """Return what is said of a file; None when it was not chosen."""
        bare = PurePosixPath(name).name
        row = self._table.rows.get(name)
        if row is None and bare in self._table.rows and "/" in name:
            if bare in self._several:
                return Refused(
                    name, f"{name} is one of several files called {bare}; write its folder too."
                )
            row = self._table.rows[bare]
        if row is None and self._table.chosen:
            return None
        labels: dict[str, Value] = {}
        if self._labels is not None:
            value = self._value(name, row, self._labels, whole=False)
            if value is None:
                return Refused(name, f"{name} has no {self._labels!r} in {self._table.name}.")
            labels = {"class" if self._labels == FOLDER else self._labels: value}
        if self._group is None:
            return Said(labels, None)
        group = self._value(name, row, self._group, whole=True)
        if group is None:
            return Refused(name, f"{name} has no {self._group!r} in {self._table.name}.")
        return Said(labels, str(group))

    def _value(
        self, name: str, row: Mapping[str, Any] | None, column: str, *, whole: bool
    ) -> Value | None:
        if column == FOLDER:
            parent = PurePosixPath(name).parent
            return (parent.as_posix() if whole else parent.name) if "/" in name else "none"
        return plain_value((row or {}).get(column))


def read_table(root: Path, table: Any, columns: Sequence[str | None] = ()) -> Table:
    """Return a table: the one that is given, else the one named ``metadata`` in the folder.

    The latter is only read when one of ``columns`` is asked for, which the
    folder's name cannot answer.

    Raises
    ------
    DataError
        When it cannot be read, is not UTF-8, has no ``file_name``, or names a file twice.

    Examples
    --------
    >>> rows = [{"file_name": "a.png", "grade": 2}]
    >>> read_table(Path("nowhere"), rows).values("grade")
    {'2'}
    """
    if hasattr(table, "to_dict") and hasattr(table, "columns"):  # a DataFrame
        table = table.to_dict("records")
    if table is not None and not isinstance(table, (str, Path)):
        return Table("the rows given as table=", _by_name("table=", list(table)), chosen=True)
    if table is None and any(column not in (None, FOLDER) for column in columns):
        known = [root / f"metadata{suffix}" for suffix in sorted(TABLES)] if root.is_dir() else []
        table = next((path for path in known if path.exists()), None)
    if table is None:
        return Table("metadata.csv or metadata.jsonl", {})
    path = Path(table).expanduser()
    rows = _rows(path)
    if not rows:
        raise DataError(
            f"{path} has no rows; give one for each image, with a column {FILE_NAME!r}."
        )
    return Table(path.name, _by_name(str(path), rows))


def plain_value(value: Any) -> Value | None:
    """Return a cell as a plain value, text without blanks at its ends; None when it is empty.

    Examples
    --------
    >>> plain_value(" T1 "), plain_value(""), plain_value(float("nan"))
    ('T1', None, None)
    """
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()  # a number of numpy, pandas or torch
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, float) and value != value:
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise DataError(f"a class or group must be text or a number, got {type(value).__name__}.")


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text (byte {error.start}); save it again as UTF-8."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a table ({error.strerror}).") from error
    try:
        if path.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            if text[:4].lower() == "sep=":  # as Excel writes it for itself
                text = text.partition("\n")[2]
            first = text.partition("\n")[0]
            mark = max(",;\t", key=first.count)  # spreadsheets write what their country writes
            rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=mark))
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}).") from error
    return rows


def _by_name(place: str, rows: list[Any]) -> dict[str, Mapping[str, Any]]:
    by_name: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        if isinstance(row, Mapping):
            row = {str(key).strip(): value for key, value in row.items() if key is not None}
            other = [key for key in row if key.lower() in NAMED_SO]
            if FILE_NAME not in row and len(other) == 1:
                row[FILE_NAME] = row[other[0]]
        named = isinstance(row, Mapping) and isinstance(row.get(FILE_NAME), str)
        if not named or not row[FILE_NAME].strip():
            raise DataError(f"{place} has no {FILE_NAME!r} in row {number}; expected one in each.")
        name = row[FILE_NAME].strip().replace("\\", "/").removeprefix("./")
        if name in by_name:
            raise DataError(f"{place} names {name} twice; keep one row for each image.")
        by_name[name] = row
    return by_name


def _columns(table: Table) -> str:
    return ", ".join(map(str, next(iter(table.rows.values())))) if table.rows else "none"


def _stem(name: str) -> str:
    """Return a file's name without folder, suffix and case."""
    return PurePosixPath(name).name.lower().removesuffix(".gz").rpartition(".")[0] or name.lower()
