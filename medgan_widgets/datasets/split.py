"""Which images train and which judge: drawn once, by patient, and written as ``split.csv``."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from medgan_widgets.datasets.records import MOST_LISTED, ImageRecord
from medgan_widgets.errors import DataError
from medgan_widgets.files import write_whole

FILE = "split.csv"
NO_GROUP = (
    "no group was given, so images of one patient may stand on both sides; pass group= to keep "
    "patients apart"
)


def drawn_split(
    found: Sequence[ImageRecord], *, test: float = 0.2, seed: int = 0
) -> dict[str, str]:
    """Return for each image ``"train"`` or ``"test"``; all of a group go together.

    A group's side comes from a hash of its own name, so it stays where it is
    when images are added later. Where few groups leave a side empty by chance,
    the group nearest to it changes over.

    Raises
    ------
    DataError
        When there are fewer than two groups, or the share makes no sense.

    Examples
    --------
    >>> from medgan_widgets.datasets.records import NOTHING
    >>> images = [ImageRecord(f"{n}.png", NOTHING, group=str(n // 2)) for n in range(40)]
    >>> split = drawn_split(images)
    >>> all(split[f"{n}.png"] == split[f"{n + 1}.png"] for n in range(0, 40, 2))
    True
    """
    if not 0 < test < 1:
        raise DataError(f"test must be a share between 0 and 1, got {test}.")
    places = {group: _place(group, seed) for group in {one.group or one.name for one in found}}
    if len(places) < 2:
        raise DataError(
            f"{len(places)} group{'s' * (len(places) != 1)} cannot be split in two with "
            f"test={test:g}; give more patients, or test=0 to hold none back."
        )
    judging = {group for group, place in places.items() if place < test}
    if not judging:
        judging = {min(places, key=places.__getitem__)}
    elif len(judging) == len(places):
        judging.remove(max(places, key=places.__getitem__))
    return {one.name: "test" if (one.group or one.name) in judging else "train" for one in found}


def shared_split(found: Sequence[ImageRecord], place: str | Path) -> dict[str, str]:
    """Return for each image the side it had before, from a run's folder or ``split.csv``.

    Raises
    ------
    DataError
        When the split cannot be read, does not know an image, or a group of now
        stands on both its sides.
    """
    known = read_split(Path(place).expanduser())
    new = [one.name for one in found if one.name not in known]
    if new:
        shown = ", ".join(new[:MOST_LISTED]) + (" …" if len(new) > MOST_LISTED else "")
        raise DataError(
            f"{len(new)} of {len(found)} images are not in the split of {place}: {shown}; give "
            "the same images, or draw a split anew."
        )
    return {one.name: known[one.name] for one in found}


def check_apart(found: Sequence[ImageRecord], sides: Mapping[str, str]) -> None:
    """Raise a DataError when a group stands on both sides; it is not named, it may be a person."""
    seen: dict[str, str] = {}
    both = {
        one.group
        for one in found
        if one.group is not None and seen.setdefault(one.group, sides[one.name]) != sides[one.name]
    }
    if both:
        raise DataError(
            f"{len(both)} group{'s' * (len(both) > 1)} of the images stand on both sides of the "
            "split, so it does not keep patients apart; draw it anew, or leave out group=."
        )


def write_split(folder: Path, sides: Mapping[str, str]) -> Path:
    """Write a split beside a run, all of it or nothing."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerows([("file_name", "side"), *sides.items()])
    return write_whole(folder / FILE, stream.getvalue().encode(), parents=True)


def read_split(folder: Path) -> dict[str, str]:
    """Return a split that was written before, from its folder or the file itself.

    Raises
    ------
    DataError
        When it is missing or damaged.
    """
    path = folder if folder.suffix.lower() == ".csv" else folder / FILE
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        sides = {row["file_name"]: row["side"] for row in rows}
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a split ({error}).") from error
    if not sides or set(sides.values()) - {"train", "test"}:
        raise DataError(f"{path} must say train or test for each file.")
    return sides


def _place(name: str, seed: int) -> float:
    """Return where a group stands between 0 and 1, by its name alone."""
    digest = hashlib.sha256(f"{seed}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
