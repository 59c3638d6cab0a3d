"""A table beside the images: classes and patients by file name, as CSV, JSONL or rows."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from medgan_widgets.datasets.listing import TABLES, stem_of
from medgan_widgets.datasets.naming import folder_labels, folders_of
from medgan_widgets.datasets.records import MOST_LISTED, Refused
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value, number_of

FOLDER = "folder"
FILE_NAME = "file_name"
# What other people's tables call it; letter case, blanks and underscores do not count.
FILE_NAMES = frozenset(
    {"filename", "file", "filepath", "path", "image", "imageindex", "imagename", "imagepath"}
    | {"imagefile", "imageid", "img"}
)
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Table:
    """What is known of files beside their pixels."""

    name: str  # in sentences
    rows: Mapping[str, Mapping[str, Any]]  # by the file's path below the data, or by its bare name
    chosen: bool = False  # whether files without a row are left alone
    note: str | None = None  # how its names were understood, where files differ

    def has(self, column: str) -> bool:
        """Return whether any row has a column."""
        return any(column in row for row in self.rows.values())

    def values(self, column: str) -> set[str]:
        """Return what stands in a column, as text."""
        found = (plain_value(row.get(column)) for row in self.rows.values())
        return {spelled(one) for one in found if one is not None}

    def missing(self, names: Iterable[str]) -> list[str]:
        """Return what it names that is not among some files."""
        names = set(names)
        return [name for name in self.fitted(names).rows if name not in names]

    def unnamed(self, names: Iterable[str]) -> list[str]:
        """Return those of some files that it does not name."""
        names = list(names)
        rows = self.fitted(names).rows
        return [name for name in names if name not in rows]

    def fitted(self, names: Iterable[str]) -> Table:
        """Return it with the names of some files, where it clearly means them.

        A path from another computer, another letter case or suffix, or none, will
        do where one file and one row fit each other alone; another folder only
        where nothing else fits. Rows of no file keep the name they have.
        """
        files = dict.fromkeys(names)
        left = [name for name in self.rows if name not in files]
        if not left or not files:
            return self
        by_stem: dict[str, list[str]] = defaultdict(list)
        for file in files:
            if file not in self.rows:
                by_stem[_bare_stem(file)].append(file)
        fits = {name: by_stem[stem] for name in left if (stem := _bare_stem(name)) in by_stem}
        near = {
            name: [one for one in some if _ends_alike(name, one)] for name, some in fits.items()
        }
        if len(left) == len(self.rows) and not any(near.values()):
            near = fits
        best = {name: _alike(name, some) for name, some in near.items()}
        taken = Counter(file for some in best.values() if len(some) == 1 for file in some)
        meant = {n: some[0] for n, some in best.items() if len(some) == 1 and taken[some[0]] == 1}
        several = any(len(some) > 1 for some in best.values())
        if len(left) == len(self.rows) and not meant and not several:
            here = ", ".join(list(files)[:MOST_LISTED]) + " …" * (len(files) > MOST_LISTED)
            raise DataError(
                f"none of the {len(left)} files that {self.name} names is here, e.g. {left[0]}, "
                f"but these are: {here}; mend the names in the table, or the folder."
            )
        other = sum(PurePosixPath(file).name != name for name, file in meant.items())
        note = None
        if other:
            note = (
                f"{other} files are called otherwise in {self.name} (another folder, letter case "
                "or suffix) and were found by the rest of their names"
            )
        rows = {meant.get(name, name): row for name, row in self.rows.items()}
        return replace(self, rows=rows, note=note)


@dataclass(frozen=True)
class Said:
    """What the table, or the folder, says of one file."""

    labels: dict[str, Value]
    group: str | None


class Annotations:
    """What is said of each of some files; ``notes`` tell what was decided, and how.

    ``labels`` and ``group`` are a column, ``"folder"`` for the sub-folder, or None.
    """

    def __init__(
        self, names: Iterable[str], table: Table, labels: str | None, group: str | None
    ) -> None:
        names = list(names)
        self._table, self._labels, self._group = table.fitted(names), labels, group
        self._folders = folder_labels(names) if labels == FOLDER else None
        self._company = folders_of(names) if group == FOLDER else {}
        self.strays = self._folders.strays if self._folders else []
        self.notes = [
            one for one in (self._table.note, self._folders and self._folders.note) if one
        ]
        bare = Counter(PurePosixPath(name).name for name in names)
        self._several = {name for name, count in bare.items() if count > 1}
        for column in (labels, group):
            if column in (None, FOLDER):
                continue
            if not table.rows:
                raise DataError(f"there is no {table.name} that has a column {column!r}.")
            if not table.has(str(column)):
                have = ", ".join(map(str, next(iter(table.rows.values()))))
                raise DataError(f"{table.name} has no column {column!r}; it has: {have}.")

    def of(self, name: str) -> Said | Refused | None:
        """Return what is said of a file; None when it was not chosen."""
        bare = PurePosixPath(name).name
        row = self._table.rows.get(name)
        if row is None and bare in self._several and bare in self._table.rows and "/" in name:
            return Refused(
                name, f"{name} is one of several files called {bare}; write its folder too."
            )
        if (row is None and self._table.chosen) or (
            self._folders and name not in self._folders.classes
        ):
            return None
        labels: dict[str, Value] = {}
        group: Value | None = None
        if self._folders:
            labels = {"class": self._folders.classes[name]}
            group = (self._folders.groups or {}).get(name)
        elif self._labels is not None:
            value = plain_value((row or {}).get(self._labels))
            if value is None:
                return Refused(name, f"{name} has no {self._labels!r} in {self._table.name}.")
            labels = {self._labels: value}
        if self._group == FOLDER:
            group = self._company[name]
        elif self._group is not None:
            group = plain_value((row or {}).get(self._group))
            if group is None:
                return Refused(name, f"{name} has no {self._group!r} in {self._table.name}.")
        return Said(labels, None if group is None else spelled(group))


def read_table(
    root: Path, table: str | Path | Rows | Any, columns: Sequence[str | None] = ()
) -> Table:
    """Return a table: the one that is given, else the one named ``metadata`` in the folder.

    The latter is only read when one of ``columns`` is asked for, which the
    folder's name cannot answer.
    """
    if hasattr(table, "to_dict"):
        table = table.to_dict("records")  # a DataFrame
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
    >>> plain_value(" T1 "), plain_value(""), plain_value(float("nan")), plain_value(7.0)
    ('T1', None, None, 7)
    """
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()  # a number of numpy, pandas or torch
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip() or None
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, (bool, int, float)):
        return value
    raise DataError(f"a class or group must be text or a number, got {type(value).__name__}.")


def spelled(value: Value) -> str:
    """Return a value as text, a whole number in one way: ``"7"`` for 7, 7.0 and "7.0".

    Other text stays: 1.1 and 1.10 may be a section and a later one.
    """
    number = number_of(value)
    return str(number if isinstance(number, int) else value)


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
            first, _, rest = text.partition("\n")
            mark = max(",;\t", key=first.count)  # spreadsheets write what their country writes
            if told := re.fullmatch(r"sep=(.)\s*", first):  # so Excel is told
                mark, text = told[1], rest
            reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
            twice = [one for one, count in Counter(reader.fieldnames).items() if one and count > 1]
            if twice:
                raise ValueError(f"it has two columns called {', '.join(twice)}")
            rows = list(reader)
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}).") from error
    return rows


def _by_name(place: str, rows: list[Any]) -> dict[str, Mapping[str, Any]]:
    by_name: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping):
            raise DataError(f"{place} has no {FILE_NAME!r} in row {number}; expected one in each.")
        if any(row.get(None) or ()):
            raise DataError(
                f"{place} has more cells in row {number} than columns; put a cell with a comma in "
                "it in quotes."
            )
        row = {str(key).strip(): value for key, value in row.items() if key is not None}
        column = FILE_NAME if FILE_NAME in row else _name_column(place, tuple(row))
        value = row.get(column)
        value = plain_value(str(value) if isinstance(value, PurePath) else value)
        if value is None:
            raise DataError(f"{place} has no {FILE_NAME!r} in row {number}; expected one in each.")
        name = str(value)
        name = name.replace("\\", "/").removeprefix("./")
        if name in by_name:
            raise DataError(f"{place} names {name} twice; keep one row for each image.")
        by_name[name] = row
    return by_name


@cache
def _name_column(place: str, columns: tuple[str, ...]) -> str:
    found = [one for one in columns if re.sub(r"[\W_]", "", one).lower() in FILE_NAMES]
    if len(found) > 1:
        raise DataError(
            f"{place} has several columns that may name the files ({', '.join(found)}); call "
            f"the right one {FILE_NAME!r}."
        )
    return "".join(found)


def _bare_stem(name: str) -> str:
    return stem_of(name.rpartition("/")[2]).casefold()


def _ends_alike(name: str, file: str) -> bool:
    """Return whether the folders of one path are the last folders of the other."""
    one, other = (path.casefold().split("/")[-2::-1] for path in (name, file))
    return all(a == b for a, b in zip(one, other, strict=False))


def _alike(name: str, files: Sequence[str]) -> list[str]:
    """Return which of some files of one stem a name is most like: by folders, then suffix."""
    if len(files) < 2:
        return list(files)

    def rank(file: str) -> tuple[int, bool, bool]:
        one, other = (path.casefold().split("/")[::-1] for path in (name, file))
        pairs = list(zip(one, other, strict=False))[1:]
        folders = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
        return folders, one[0] == other[0], file.split("/")[-1] == name.split("/")[-1]

    best = max(map(rank, files))
    return [file for file in files if rank(file) == best]
