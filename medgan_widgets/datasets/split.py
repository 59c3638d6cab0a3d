"""Which images train and which judge: drawn once, by patient, and written as ``split.csv``."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgan_widgets.datasets.found import Found
from medgan_widgets.errors import DataError
from medgan_widgets.files import write_whole

FILE = "split.csv"
NO_GROUP = (
    "no group was given, so images of one patient may stand on both sides; pass group= to keep "
    "patients apart"
)


def drawn_split(found: Sequence[Found], *, test: float = 0.2, seed: int = 0) -> dict[str, str]:
    """Return for each image ``"train"`` or ``"test"``; all of a group go together.

    A group's side comes from a hash of its own name, so it stays where it is
    when images are added later.

    Raises
    ------
    DataError
        When one side would be empty, or the share makes no sense.

    Examples
    --------
    >>> images = [Found(f"{n}.png", lambda: None, group=str(n // 2)) for n in range(40)]
    >>> split = drawn_split(images)
    >>> all(split[f"{n}.png"] == split[f"{n + 1}.png"] for n in range(0, 40, 2))
    True
    """
    if not 0 < test < 1:
        raise DataError(f"test must be a share between 0 and 1, got {test}.")
    sides = {one.name: _side(one.group or one.name, test, seed) for one in found}
    if len(set(sides.values())) < 2:
        groups = len({one.group or one.name for one in found})
        raise DataError(
            f"{groups} group{'s' * (groups != 1)} cannot be split in two with test={test:g}; "
            "give more patients, another share, or another seed."
        )
    return sides


def write_split(folder: Path, sides: Mapping[str, str]) -> Path:
    """Write a split beside a run, all of it or nothing."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([("file_name", "side"), *sides.items()])
    return write_whole(folder / FILE, stream.getvalue().encode(), parents=True)


def read_split(folder: Path) -> dict[str, str]:
    """Return a split that was written before.

    Raises
    ------
    DataError
        When it is missing or damaged.
    """
    try:
        rows = list(csv.DictReader((folder / FILE).read_text(encoding="utf-8").splitlines()))
        sides = {row["file_name"]: row["side"] for row in rows}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{folder / FILE} cannot be read as a split ({error}).") from error
    if not sides or set(sides.values()) - {"train", "test"}:
        raise DataError(f"{folder / FILE} must say train or test for each file.")
    return sides


def _side(name: str, test: float, seed: int) -> str:
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") / 2**64 < test else "train"
