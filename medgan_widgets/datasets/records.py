"""What a place holds: files that are opened once, the images in them, what was left out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.pixels import Pixels
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

MOST_LISTED = 5
NOTHING = Pixels(np.zeros((2, 2), np.uint8))  # in place of pixels that wait elsewhere
IN_MEMORY = 2**29  # bytes of decoded images that wait in memory; more wait in a file


@dataclass(frozen=True)
class ImageRecord:
    """One image that was read.

    Attributes
    ----------
    name
        The path of its file below the place it was found in, and the frame or slice of it.
    pixels
        As its file holds them.
    labels
        Its classes, factor -> value.
    group
        What belongs together, a patient for instance; None where nobody said.
        It may name a person, so it is never shown.
    file, sha256
        The file it comes from, and its hash; None for what is in memory.
    side
        ``"train"`` or ``"test"`` where the data itself says so.
    mask
        Reads the mask that lies beside it, prepared by a `Preprocessing`; None without one.
    """

    name: str
    pixels: Pixels
    labels: Mapping[str, Value] = field(default_factory=dict)
    group: str | None = field(default=None, repr=False)
    file: Path | None = field(default=None, repr=False)
    sha256: str | None = None
    side: str | None = None
    mask: Callable[[Any], NDArray[np.uint8]] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Refused:
    """One file that is not used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class ImageFile:
    """One file, or one item in memory, before it is opened.

    Attributes
    ----------
    name
        Its path below the place it was found in.
    read
        Opens it once and yields its images; of a volume or series only the places asked
        for, None for all. It raises a DataError where the whole file cannot be used.
    count
        Returns how many images it holds, from its header; None where it holds one.
    """

    name: str
    read: Callable[[set[int] | None], Iterable[ImageRecord | Refused]]
    count: Callable[[], int] | None = None


def some_of(files: Sequence[ImageFile], most: int | None, seed: int) -> list[ImageFile]:
    """Return files that hold ``most`` images together, drawn by the seed, in their order."""
    if most is None or (len(files) <= most and all(one.count is None for one in files)):
        return list(files)
    counts = []
    for one in files:
        try:
            counts.append(1 if one.count is None else one.count())
        except DataError:
            counts.append(1)  # reading it says what is wrong
    owners = np.repeat(np.arange(len(files)), counts)
    if len(owners) <= most:
        return list(files)
    first = np.cumsum([0, *counts])
    drawn = np.sort(np.random.default_rng(seed).permutation(len(owners))[:most])
    chosen: dict[int, set[int]] = {}
    for row in drawn.tolist():
        chosen.setdefault(int(owners[row]), set()).add(row - int(first[owners[row]]))
    return [
        files[place] if files[place].count is None else _only(files[place], rows)
        for place, rows in chosen.items()
    ]


def _only(file: ImageFile, rows: set[int]) -> ImageFile:
    return replace(file, read=lambda _: file.read(rows))


class Waiting:
    """Decoded images that wait until all are seen: in memory, and in a file when they are many.

    The file has no name on any disk that others could open, and ends with the process.
    """

    def __init__(self) -> None:
        self._kept: list[Pixels | tuple[Pixels, int]] = []
        self._bytes = 0
        self._file: Any = None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, pixels: Pixels) -> None:
        """Keep one image."""
        self._bytes += pixels.values.nbytes
        if self._bytes <= IN_MEMORY:
            self._kept.append(pixels)
            return
        self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115, it lives as long as we do
        start = self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(pixels.values).data)
        if pixels.background is not None:
            self._file.write(np.packbits(pixels.background).data)
        # What stays in memory knows the shape alone: a view of one number takes no room.
        shape, dtype = pixels.values.shape, pixels.values.dtype
        self._kept.append((replace(pixels, values=np.broadcast_to(np.zeros((), dtype), shape),
                                   background=None if pixels.background is None
                                   else np.broadcast_to(np.False_, shape[:2])), start))  # fmt: skip

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, row: int) -> Pixels:
        kept = self._kept[row]
        if isinstance(kept, Pixels):
            return kept
        pixels, start = kept
        self._file.seek(start)
        values = np.frombuffer(self._file.read(pixels.values.nbytes), pixels.values.dtype)
        background = pixels.background
        if background is not None:
            packed = np.frombuffer(self._file.read(-(-background.size // 8)), np.uint8)
            background = np.unpackbits(packed, count=background.size).astype(bool)
            background = background.reshape(pixels.values.shape[:2])
        return replace(pixels, values=values.reshape(pixels.values.shape), background=background)


def read_all(files: Iterable[ImageFile], refused: list[Refused]) -> Iterator[ImageRecord]:
    """Yield the images of files, each opened once; what cannot be read is added to ``refused``."""
    for file in files:
        try:
            for one in file.read(None):
                if isinstance(one, Refused):
                    refused.append(one)
                else:
                    yield one
        except DataError as error:
            refused.append(Refused(file.name, str(error)))


def in_words(refused: Sequence[Refused]) -> str:
    """Return what cannot be used as a sentence, the first few by name."""
    shown = "; ".join(one.reason.rstrip(".") for one in refused[:MOST_LISTED])
    more = f"; and {len(refused) - MOST_LISTED} more" if len(refused) > MOST_LISTED else ""
    return f"{len(refused)} file{'s' * (len(refused) != 1)} cannot be used: {shown}{more}"


def first_names(names: Sequence[str]) -> str:
    """Return the first few of some names, and how many more there are."""
    more = f" and {len(names) - MOST_LISTED:,} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more
