"""Which images train and which judge: drawn once, by patient, and written as ``split.csv``."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgan_widgets.datasets.records import ImageRecord, first_names
from medgan_widgets.errors import DataError
from medgan_widgets.files import write_whole

FILE = "split.csv"


def sides_of(
    records: Sequence[ImageRecord], split: str | Path | None, test: float, seed: int
) -> dict[str, str]:
    """Return ``"train"`` or ``"test"`` by image name: shared, the data's own, or drawn."""
    if split is not None:
        sides = _shared_split(records, split)
        _check_apart(records, sides)
    elif all(record.side for record in records):
        sides = {record.name: str(record.side) for record in records}
        _check_apart(records, sides)
    elif test == 0:
        sides = {record.name: "train" for record in records}
    else:
        sides = drawn_split(records, test=test, seed=seed)
    if "train" not in sides.values():
        raise DataError("all images are held out, none is left to learn from; draw another split.")
    return sides


def drawn_split(
    records: Sequence[ImageRecord], *, test: float = 0.2, seed: int = 0
) -> dict[str, str]:
    """Return ``"train"`` or ``"test"`` by image name; all of a group go together.

    A group's side comes from a hash of its own name, so it stays where it is when images are
    added later. Where few groups leave a side empty by chance, the group nearest to it changes
    over.
    """
    groups = {record.group or record.name for record in records}
    places = {group: _between_0_and_1(group, seed) for group in groups}
    if len(places) < 2:
        raise DataError("1 group cannot be split in two; give more patients, or test=0.")
    judging = {group for group, at in places.items() if at < test}
    if not judging:
        judging = {min(places, key=places.__getitem__)}
    elif len(judging) == len(places):
        judging.remove(max(places, key=places.__getitem__))
    return {r.name: "test" if (r.group or r.name) in judging else "train" for r in records}


def _between_0_and_1(name: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _shared_split(records: Sequence[ImageRecord], path: str | Path) -> dict[str, str]:
    known = read_split(Path(path).expanduser())
    new = [record.name for record in records if record.name not in known]
    if new:
        raise DataError(
            f"{len(new)} of {len(records)} images are not in the split of {path}: "
            f"{first_names(new)}; give the same images, or draw a split anew."
        )
    return {record.name: known[record.name] for record in records}


def _check_apart(records: Sequence[ImageRecord], sides: Mapping[str, str]) -> None:
    """Refuse a group on both sides; it is not named, it may be a person."""
    pairs = {(record.group, sides[record.name]) for record in records if record.group is not None}
    both = len(pairs) - len({group for group, _ in pairs})
    if both:
        raise DataError(
            f"{both} group{'s' * (both > 1)} of the images stand on both sides of the split, so it "
            "does not keep patients apart; draw it anew, or leave out group=."
        )


def write_split(folder: Path, sides: Mapping[str, str]) -> Path:
    """Write a split beside a run, all of it or nothing."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([("file_name", "side"), *sides.items()])
    return write_whole(folder / FILE, stream.getvalue().encode(), parents=True)


def read_split(folder: Path) -> dict[str, str]:
    """Return a split that was written before, from its folder or the file itself."""
    path = folder if folder.suffix.lower() == ".csv" else folder / FILE
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        sides = {row["file_name"]: row["side"] for row in rows}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a split ({error}).") from error
    if not sides or set(sides.values()) - {"train", "test"}:
        raise DataError(f"{path} must say train or test for each file.")
    return sides
