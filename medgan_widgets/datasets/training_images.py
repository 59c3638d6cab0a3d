"""Images to learn from, with their classes, sides and where they come from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.duplicates import Pairs, near_duplicates
from medgan_widgets.datasets.preprocessing import Preprocessing
from medgan_widgets.datasets.records import Refused
from medgan_widgets.errors import DataError
from medgan_widgets.seeds import Value

if TYPE_CHECKING:
    from medgan_widgets.datasets.summary import Summary

NO_GROUP = (
    "no group was given, so images of one patient may stand on both sides; pass group= to keep "
    "patients apart"
)
CHUNK = 1024  # images hashed at a time
CACHE = "images.dat"  # what holds pixels that are larger than memory


@dataclass(frozen=True)
class FileUsed:
    """One file that images come from: no name, only what finds it again."""

    sha256: str | None  # of the whole file; None for images in memory
    group: str | None  # the keyed hash of the patient, or None where nobody said
    side: str  # "train" or "test"
    images: int  # how many images of it are on that side


@dataclass(frozen=True, eq=False, repr=False)
class TrainingImages:
    """Images to learn from: those that train and those held back, the former first.

    Attributes
    ----------
    images
        uint8 [N, H, W, C].
    classes
        One-hot, float32 [N, K], one block a factor.
    factors
        Factor -> its values, in the order of their columns.
    names
        One an image: the path below the data and the frame or slice. They stay
        in the run directory (``split.csv``) and go into no model.
    groups
        The keyed hash of what belongs together, one an image, or None.
    sides
        ``"train"`` or ``"test"``, one an image; all train by default.
    files
        What the images were read from.
    source
        ``"folder"``, ``"dicom"``, ``"nifti"``, ``"npz"``, ``"phantom"``, ``"dataset"`` or
        ``"array"``.
    phantom
        Whether they are phantoms, so nobody's.
    preprocessing
        How values became pixels; None where they were pixels already.
    refused
        What could not be read and was left out.
    left_out
        Files that are no images of this kind, and were not read.
    sizes
        (width, height, images) before resizing, the most common ones first.
    intensity
        The lowest and the highest value before it became a pixel.
    clipped
        How many pixels lay outside the window and were cut off.
    notes
        What is to be said of the files: masks, missing ones, classes that were guessed.
    pixel_notes
        What was changed in all pixels, such as made square; it is part of the preparation.
    note
        What is to be said about groups; left out, it is found.
    mask_readers
        For each image what reads the mask beside it, or None; `masks` reads them.

    Examples
    --------
    >>> data = TrainingImages(np.zeros((4, 16, 16, 1), np.uint8), np.zeros((4, 0), np.float32), {})
    >>> data
    TrainingImages(4 images of 16 × 16 × 1, none held out, array)
    >>> data.held_out is None, len(data.fingerprint)
    (True, 64)
    """

    images: NDArray[np.uint8]
    classes: NDArray[np.float32]
    factors: dict[str, tuple[Value, ...]]
    names: tuple[str, ...] = ()
    groups: tuple[str | None, ...] = ()
    sides: tuple[str, ...] = ()
    files: tuple[FileUsed, ...] = ()
    source: str = "array"
    phantom: bool = False
    preprocessing: Preprocessing | None = None
    refused: tuple[Refused, ...] = ()
    left_out: tuple[Refused, ...] = ()
    sizes: tuple[tuple[int, int, int], ...] = ()
    intensity: tuple[float, float] | None = None
    clipped: int = 0
    notes: tuple[str, ...] = ()
    pixel_notes: tuple[str, ...] = ()
    note: str | None = None
    mask_readers: tuple[Callable[[Preprocessing], NDArray[np.uint8]] | None, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.images)
        defaults: dict[str, tuple[Any, ...]] = {
            "names": tuple(map(str, range(count))),
            "groups": (None,) * count,
            "sides": ("train",) * count,
        }
        for name, default in defaults.items():
            if not getattr(self, name):
                object.__setattr__(self, name, default)
            if len(getattr(self, name)) != count:
                raise DataError(f"{count} images came with {len(getattr(self, name))} {name}.")
        if len(self.classes) != count:
            raise DataError(f"{count} images came with {len(self.classes)} rows of classes.")
        if set(self.sides) - {"train", "test"}:
            raise DataError("sides must be train or test for each image.")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        shape = " × ".join(map(str, self.images.shape[1:]))
        held = self.sides.count("test")
        return (
            f"TrainingImages({len(self):,} images of {shape}, {f'{held:,}' if held else 'none'} "
            f"held out, {self.source})"
        )

    @cached_property
    def training(self) -> TrainingImages:
        """The images that train; no copy where they come first, as `read_images` orders them."""
        return self._of_side("train")

    @cached_property
    def held_out(self) -> TrainingImages | None:
        """The images that judge, or None."""
        return self._of_side("test") if "test" in self.sides else None

    @cached_property
    def masks(self) -> NDArray[np.uint8] | None:
        """The masks that lie beside the images, uint8 [N, H, W]; None where there are none.

        They are read when asked for, by nearest neighbour, their values as in the files; an
        image without a mask has zeros.
        """
        if not self.mask_readers or self.preprocessing is None:
            return None
        masks = np.zeros(self.images.shape[:3], np.uint8)
        for row, read in enumerate(self.mask_readers):
            if read is not None:
                masks[row] = read(self.preprocessing)
        return masks

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over pixels, classes, factors, names, sides and preprocessing: 64 hex digits.

        The same images read the same way have the same one on every machine; one
        pixel, class or side that differs gives another.
        """
        facts = {
            "shape": self.images.shape,
            "dtype": str(self.images.dtype),
            "factors": {name: [*map(repr, values)] for name, values in self.factors.items()},
            "names": self.names,
            "sides": self.sides,
            "preprocessing": self.preprocessing.to_dict() if self.preprocessing else None,
        }
        digest = hashlib.sha256(json.dumps(facts).encode())
        for every in (self.images, self.classes):
            for start in range(0, len(every), CHUNK):
                digest.update(np.ascontiguousarray(every[start : start + CHUNK]).tobytes())
        return digest.hexdigest()

    @cached_property
    def near_duplicates(self) -> Pairs:
        """Pairs of images that are almost the same; none for phantoms, each is drawn anew."""
        return Pairs() if self.phantom else near_duplicates(self.images, self.sides)

    @property
    def group_note(self) -> str:
        """What is to be said about patients on both sides; empty where they are kept apart."""
        if self.note is not None:
            return self.note
        return NO_GROUP if not self.phantom and None in self.groups else ""

    def counts(self) -> dict[str, dict[Value, int]]:
        """Return for each factor how many images each value has."""
        totals = iter(self.classes.sum(axis=0).astype(int).tolist())
        return {
            name: {value: next(totals) for value in values} for name, values in self.factors.items()
        }

    def class_counts(self) -> list[dict[str, Any]]:
        """Return each combination of classes that there is, and how many images it has."""
        kinds, counts = np.unique(self.classes, axis=0, return_counts=True)
        starts = np.cumsum([0, *map(len, self.factors.values())])
        return [
            {
                "condition": {
                    name: values[int(kind[start : start + len(values)].argmax())]
                    for (name, values), start in zip(self.factors.items(), starts, strict=False)
                },
                "images": int(count),
            }
            for kind, count in zip(kinds, counts, strict=True)
            if self.factors
        ]

    def one_hot(self, factor: str) -> NDArray[np.float32]:
        """Return the columns of one factor, [N, its values]."""
        before = list(self.factors)[: list(self.factors).index(factor)]
        start = sum(len(self.factors[name]) for name in before)
        return self.classes[:, start : start + len(self.factors[factor])]

    def values_of(self, factor: str) -> tuple[Value, ...]:
        """Return the value of one factor of each image."""
        values = self.factors[factor]
        return tuple(values[column] for column in self.one_hot(factor).argmax(axis=1).tolist())

    def class_names(self) -> list[str]:
        """Return each image's classes as words, ``""`` where it has none.

        Examples
        --------
        >>> classes = np.array([[1, 0], [0, 1]], np.float32)
        >>> images = np.zeros((2, 16, 16, 1), np.uint8)
        >>> TrainingImages(images, classes, {"tumour": (False, True)}).class_names()
        ['no tumour', 'tumour']
        """
        words = [[_word(name, value) for value in self.values_of(name)] for name in self.factors]
        return [", ".join(row) for row in zip(*words, strict=True)] or [""] * len(self)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``data.json`` of a run holds: counts and marks, no name and no pixel."""
        low, high = self.intensity or (float(self.images.min()), float(self.images.max()))
        return {
            "fingerprint": self.fingerprint,
            "kind": self.source,
            "phantom": self.phantom,
            "count": len(self),
            "train": self.sides.count("train"),
            "test": self.sides.count("test"),
            "groups": len(set(self.groups) - {None}) or None,
            "group_note": self.group_note,
            "classes": {
                name: {str(value): count for value, count in counts.items()}
                for name, counts in self.counts().items()
            },
            "class_counts": self.training.class_counts(),
            "preprocessing": self.preprocessing.to_dict() if self.preprocessing else {},
            "intensity": {"low": low, "high": high},
            "refused": len(self.refused),
            "left_out": len(self.left_out),
            "clipped": self.clipped,
            "notes": len(self.notes) + len(self.pixel_notes),
            **({"cache": CACHE} if isinstance(self.images, np.memmap) else {}),
            "near_duplicates": self.near_duplicates.count,
        }

    def files_jsonl(self) -> str:
        """Return what ``files.jsonl`` of a run holds: one line a file, no names."""
        return "".join(json.dumps(asdict(file)) + "\n" for file in self.files)

    def summary(self) -> Summary:
        """Return what a person should look at before training on these images."""
        from medgan_widgets.datasets.summary import Summary

        return Summary(self)

    def _of_side(self, side: str) -> TrainingImages:
        rows = np.flatnonzero(np.array(self.sides) == side)
        if len(rows) == len(self):
            return self
        together = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
        take: Any = slice(int(rows[0]), int(rows[-1]) + 1) if together else rows

        def of_rows(values: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(values[row] for row in rows) if values else ()

        return replace(
            self,
            images=self.images[take],
            classes=self.classes[take],
            names=of_rows(self.names),
            groups=of_rows(self.groups),
            sides=of_rows(self.sides),
            mask_readers=of_rows(self.mask_readers),
            files=tuple(file for file in self.files if file.side == side),
        )


def _word(name: str, value: Value) -> str:
    """Return one class as few words, to stand under a small picture."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return value if isinstance(value, str) else f"{name} {value}"
