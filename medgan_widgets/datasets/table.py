"""What is known of images beside their pixels: a table (CSV, JSONL or rows), and their classes."""

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
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medgan_widgets.datasets.listing import TABLES, stem_of
from medgan_widgets.datasets.naming import folder_labels, folders_of
from medgan_widgets.datasets.records import ImageRecord, Refused, first_names
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value, number_of, one_hot

FOLDER = "folder"
FILE_NAME = "file_name"
# What other people's tables call it; letter case, blanks and underscores do not count.
FILE_NAMES = frozenset(
    {"filename", "file", "filepath", "path", "image", "imageindex", "imagename", "imagepath"}
    | {"imagefile", "imageid", "img"}
)
MAX_CLASSES = 200  # more than that is a measure or a name, not a class
MAX_FRACTIONS = 10  # half grades are classes, a measure has more values


# ---------------------------------------------------------------- tables


@dataclass(frozen=True)
class Table:
    """What is known of files beside their pixels.

    ``rows`` are by the file's path below the data, or by its bare name; with ``chosen``, files
    without a row are left alone; ``notes`` tell how its names were understood, and what is
    missing.
    """

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    chosen: bool = False
    notes: tuple[str, ...] = ()

    def has(self, column: str) -> bool:
        """Return whether any row has a column."""
        return any(column in row for row in self.rows.values())

    def values(self, column: str) -> set[str]:
        """Return what stands in a column, as text."""
        cells = (plain_value(row.get(column)) for row in self.rows.values())
        return {spelled(cell) for cell in cells if cell is not None}

    def fitted(self, files: Sequence[str]) -> Table:
        """Return it with the names of some files, where it clearly means them.

        A path from another computer, another letter case or suffix, or none, will do where
        one file and one row fit each other alone; another folder only where nothing else fits.
        Rows of no file keep the name they have.
        """
        named = self._meant(files)
        moved = sum(file.rpartition("/")[2] != name for name, file in named.items())
        rows = {named.get(name, name): row for name, row in self.rows.items()}
        notes = []
        if missing := [name for name in rows if name not in set(files)]:
            notes.append(
                f"{len(missing):,} of the {len(rows):,} files that {self.name} names are missing: "
                f"{first_names(missing)}."
            )
        if rows and (unnamed := [file for file in files if file not in rows]):
            left = " and are left out" if self.chosen else ""
            notes.append(
                f"{len(unnamed):,} files are not named by {self.name}{left}: "
                f"{first_names(unnamed)}."
            )
        if moved:
            notes.append(
                f"{moved} files are called otherwise in {self.name} (another folder, letter case "
                "or suffix) and were found by the rest of their names."
            )
        return replace(self, rows=rows, notes=tuple(notes))

    def _meant(self, files: Sequence[str]) -> dict[str, str]:
        """Return which file each name of none clearly means."""
        here = set(files)
        left = [name for name in self.rows if name not in here]
        by_stem: dict[str, list[str]] = defaultdict(list)
        for file in files:
            if file not in self.rows:
                by_stem[_bare_stem(file)].append(file)
        fits = {name: by_stem[stem] for name in left if (stem := _bare_stem(name)) in by_stem}
        near = {name: [f for f in some if _ends_alike(name, f)] for name, some in fits.items()}
        nothing_fits = len(left) == len(self.rows)
        if nothing_fits and not any(near.values()):
            near = fits
        best = {name: _most_alike(name, some) for name, some in near.items()}
        taken = Counter(some[0] for some in best.values() if len(some) == 1)
        meant = {n: some[0] for n, some in best.items() if len(some) == 1 and taken[some[0]] == 1}
        several = any(len(some) > 1 for some in best.values())
        if left and files and nothing_fits and not meant and not several:
            raise DataError(
                f"none of the {len(left)} files that {self.name} names is here, e.g. {left[0]}, "
                f"but these are: {first_names(files)}; mend the names in the table, or the folder."
            )
        return meant


def read_table(root: Path, table: Any, columns: Sequence[str | None] = ()) -> Table:
    """Return a table: the one that is given, else the one named ``metadata`` in the folder.

    The latter is only read when one of ``columns`` is asked for, which the folder's name cannot
    answer.
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
        raise DataError(f"{path} has no rows; give one for each image.")
    return Table(path.name, _by_name(str(path), rows))


def _rows(path: Path) -> list[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}); save it so.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a table ({error.strerror}).") from error
    try:
        if path.suffix.lower() == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        first, _, rest = text.partition("\n")
        mark = max(",;\t", key=first.count)  # spreadsheets write what their country writes
        if excel := re.fullmatch(r"sep=(.)\s*", first):
            mark, text = excel[1], rest
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark)
        twice = [name for name, n in Counter(reader.fieldnames).items() if name and n > 1]
        if twice:
            raise ValueError(f"it has two columns called {', '.join(twice)}")
        return list(reader)
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table ({error}).") from error


def _by_name(where: str, rows: list[Any]) -> dict[str, Mapping[str, Any]]:
    by_name: dict[str, Mapping[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        name = None
        if isinstance(row, Mapping):
            if any(row.get(None) or ()):
                raise DataError(f"{where} has more cells in row {number} than columns; use quotes.")
            row = {str(key).strip(): value for key, value in row.items() if key is not None}
            name = row.get(FILE_NAME if FILE_NAME in row else _name_column(where, tuple(row)))
            name = plain_value(str(name) if isinstance(name, PurePath) else name)
        if name is None:
            raise DataError(f"{where} has no {FILE_NAME!r} in row {number}; expected one in each.")
        name = str(name).replace("\\", "/").removeprefix("./")
        if name in by_name:
            raise DataError(f"{where} names {name} twice; keep one row for each image.")
        by_name[name] = row
    return by_name


@cache
def _name_column(where: str, columns: tuple[str, ...]) -> str:
    matching = [name for name in columns if re.sub(r"[\W_]", "", name).lower() in FILE_NAMES]
    if len(matching) > 1:
        both = ", ".join(matching)
        raise DataError(f"{where} has several columns that may name the files ({both}).")
    return "".join(matching)


def _bare_stem(name: str) -> str:
    return stem_of(name.rpartition("/")[2]).casefold()


def _ends_alike(name: str, file: str) -> bool:
    """Return whether the folders of one path are the last folders of the other."""
    folders = (path.casefold().split("/")[-2::-1] for path in (name, file))
    return all(a == b for a, b in zip(*folders, strict=False))


def _most_alike(name: str, files: Sequence[str]) -> list[str]:
    """Return which of some files of one stem a name is most like: by folders, then suffix."""

    def rank(file: str) -> tuple[int, bool, bool]:
        parts, others = (path.casefold().split("/")[::-1] for path in (name, file))
        pairs = list(zip(parts[1:], others[1:], strict=False))
        folders = next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
        return folders, parts[0] == others[0], file.split("/")[-1] == name.split("/")[-1]

    best = max(map(rank, files), default=None)
    return [file for file in files if rank(file) == best]


# ---------------------------------------------------------------- what is known of each file


@dataclass(frozen=True)
class Annotation:
    """The classes and the group of one file."""

    labels: dict[str, Value]
    group: str | None


def annotated(
    names: Sequence[str], table: Table, labels: str | None, group: str | None
) -> tuple[dict[str, Annotation | Refused], list[Refused], list[str]]:
    """Return what is known of files, those that lie beside the classes' folders, and notes.

    ``labels`` and ``group`` are a column, ``"folder"`` for the sub-folder, or None. Files that
    were not chosen are not in the answer.
    """
    folders = folder_labels(names) if labels == FOLDER else None
    company = folders_of(names) if group == FOLDER else {}
    for column in (labels, group):
        if column not in (None, FOLDER) and not table.rows:
            raise DataError(f"there is no {table.name} that has a column {column!r}.")
        if column not in (None, FOLDER) and not table.has(str(column)):
            have = ", ".join(map(str, next(iter(table.rows.values()))))
            raise DataError(f"{table.name} has no column {column!r}; it has: {have}.")
    several = Counter(name.rpartition("/")[2] for name in names)
    known: dict[str, Annotation | Refused] = {}
    for name in names:
        row, bare = table.rows.get(name), name.rpartition("/")[2]
        if row is None and several[bare] > 1 and bare in table.rows and bare != name:
            reason = f"{name} is one of several files called {bare}; write its folder too."
            known[name] = Refused(name, reason)
            continue
        if (row is None and table.chosen) or (folders and name not in folders.classes):
            continue
        classes: dict[str, Value] = {"class": folders.classes[name]} if folders else {}
        together: Value | None = (folders.groups or {}).get(name) if folders else None
        if group == FOLDER:
            together = company[name]
        cells = {c: plain_value((row or {}).get(c)) for c in (labels, group) if c and c != FOLDER}
        if lacking := [column for column, cell in cells.items() if cell is None]:
            known[name] = Refused(name, f"{name} has no {lacking[0]!r} in {table.name}.")
            continue
        classes |= {c: cell for c, cell in cells.items() if c == labels and cell is not None}
        together = cells.get(group or "", together)
        known[name] = Annotation(classes, None if together is None else spelled(together))
    strays = [name for name in names if folders and name not in folders.classes]
    notes = [f"{folders.note[0].upper()}{folders.note[1:]}."] if folders else []
    beside = "lies beside the folders of the classes"
    return known, [Refused(name, f"{name} {beside}") for name in strays], notes


# ---------------------------------------------------------------- classes


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


def one_kind(values: Sequence[Value]) -> list[Value]:
    """Return values of one type: numbers where all of them are whole, else text.

    Examples
    --------
    >>> one_kind(["1", "02"]), one_kind(["1.0", 1, "2"]), one_kind([True, False])
    (['1', '02'], [1, 1, 2], [True, False])
    """
    if all(isinstance(value, bool) for value in values):
        return list(values)
    numbers = [number_of(value) for value in values]
    if all(isinstance(number, int) for number in numbers):
        return [number for number in numbers if number is not None]
    return [spelled(value) for value in values]


def class_of_item(value: Any, name: str) -> Value | None:
    """Return an item's label as a class; of several findings which there are: ``"2+5"``.

    ``value`` is text, a number, or 0 and 1 for each of several findings, also as an array.
    Masks, probabilities and whatever else is no class are refused under the item's ``name``.

    Examples
    --------
    >>> class_of_item([0, 1, 1], "item 0"), class_of_item(2.0, "item 1")
    ('1+2', 2)
    """
    if isinstance(value, Image.Image):
        value = np.asarray(value)
    if hasattr(value, "tolist"):  # an array or tensor
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        text = any(isinstance(part, (str, bytes)) for part in value)
        every = np.array(value, dtype=object if text else None)
        if sum(side > 1 for side in every.shape) > 1 or every.size > MAX_CLASSES:
            raise DataError(
                f"{name} has a mask as its label; a mask is no class, labels=False leaves it."
            )
        if every.size > 1:
            if every.dtype.kind not in "buif" or not np.isin(every, (0, 1)).all():
                raise DataError(
                    f"the label of {name} is {value}; expected one class, or 0 and 1 for each "
                    "finding: take the likeliest, or labels=False."
                )
            return "+".join(map(str, np.flatnonzero(every))) or "none"
        value = every.item() if every.size else None
    return plain_value(value)


def classes_of(
    records: Sequence[ImageRecord], sides: Sequence[str], table_classes: Iterable[str] = ()
) -> tuple[dict[str, tuple[Value, ...]], NDArray[np.float32]]:
    """Return the factors with their values in order, and one-hot classes, float32 [N, K].

    Values that all look like whole numbers are numbers, else all are text. Each class needs an
    image that trains, also those of which a table speaks.

    Examples
    --------
    >>> images = [ImageRecord(str(n), labels={"grade": str(n)}) for n in (10, 9, 10)]
    >>> classes_of(images, ["train"] * 3)[0]
    {'grade': (9, 10)}
    """
    names = list(dict.fromkeys(name for record in records for name in record.labels))
    for record in records:
        if set(record.labels) != set(names):
            raise DataError(f"{record.name} has no {', '.join(names)}, as other images have.")
    labels = {name: one_kind([record.labels[name] for record in records]) for name in names}
    factors: dict[str, tuple[Value, ...]] = {}
    for name, values in labels.items():
        _check_each_is_learned(name, values, sides, table_classes)
        factors[name] = tuple(sorted(set(values), key=_order))
        _check_no_measure(name, factors[name], len(values))
    return factors, one_hot(labels, factors, len(records))


def _order(value: Value) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (float(value), "")


def _check_each_is_learned(
    name: str, values: Sequence[Value], sides: Sequence[str], table_classes: Iterable[str]
) -> None:
    if empty := sorted(set(table_classes) - {str(value) for value in values}):
        raise DataError(f"{name} {empty[0]!r} is in the table, but none of its images is here.")
    learned = {value for value, side in zip(values, sides, strict=True) if side == "train"}
    if lost := sorted({str(value) for value in set(values) - learned}):
        raise DataError(
            f"{name} {lost[0]!r} has only held-out images; give more of it, or another seed."
        )


def _check_no_measure(name: str, values: Sequence[Value], count: int) -> None:
    numbers = [number_of(value) for value in values]
    fractions = [number for number in numbers if isinstance(number, float)]
    many = len(values) > MAX_FRACTIONS or 2 * len(values) > count
    if fractions and None not in numbers and many:
        raise DataError(
            f"{name} is a measure, such as {fractions[0]:g}, no class; put ranges of it together "
            "in a table, or leave it out with labels=False."
        )
    if len(values) > MAX_CLASSES:
        raise DataError(f"{name} has {len(values)} different values, at most {MAX_CLASSES} can be.")
