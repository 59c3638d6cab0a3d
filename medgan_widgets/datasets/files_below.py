"""The files of one kind below a place, opened once each: pictures, DICOM, NIfTI and masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.dicom import PATIENT, check_keyword, is_keyword, open_dicom
from medgan_widgets.datasets.listing import Listing, kind_of, list_files
from medgan_widgets.datasets.naming import own_split
from medgan_widgets.datasets.nifti import PLANES, open_nifti
from medgan_widgets.datasets.pictures import decode_picture
from medgan_widgets.datasets.preprocessing import FILE, Preprocessing
from medgan_widgets.datasets.reading import Reading, images_from
from medgan_widgets.datasets.records import NOTHING, ImageFile, ImageRecord, Refused, first_names
from medgan_widgets.datasets.table import FOLDER, Annotations, Said, plain_value, read_table
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.errors import DataError

KEPT = (0.2, 0.8)  # which part of a volume's slices: the ends show little
ENDS = (
    f"of each volume the slices from {KEPT[0]:.0%} to {KEPT[1]:.0%} of its length are read; the "
    "ends show little.",
)
VOLUMES = (
    "each volume is a group of its own; pass group= with a table where several are of one patient"
)


def files_of(
    place: Path,
    *,
    labels: Any = None,
    group: Any = None,
    table: Any = None,
    kind: str | None = None,
    reading: Reading | None = None,
) -> FilesBelow:
    """Return the files of a place, listed and not opened yet; the arguments of `read_images`."""
    reading = Reading(test=0) if reading is None else reading
    listing = list_files(place)
    source = kind_of(listing, kind)
    if source == "npz":
        if table is not None:
            raise DataError("table= is for folders; an npz file holds its own classes and groups.")
        return FilesBelow(place, listing, source, reading, None, None, None)
    if reading.window == FILE and source != "dicom":
        raise DataError("window='file' is for DICOM; other files have no window of their own.")
    labels = None if labels is False else labels
    for what, said in (("labels", labels), ("group", group)):
        if said is not None and not isinstance(said, str):
            raise DataError(f"{what}= must be a name for files, got {said!r}.")
    if reading.plane is not None and reading.plane not in PLANES:
        raise DataError(f"plane must be one of {', '.join(PLANES)}; got {reading.plane!r}.")
    return FilesBelow(place, listing, source, reading, labels, group, table)


class FilesBelow:
    """Files of one kind below a place, with what tables and folders say of them."""

    def __init__(
        self,
        place: Path,
        listing: Listing,
        source: str,
        reading: Reading,
        labels: str | None,
        group: str | None,
        table: Any,
    ) -> None:
        self.source, self.reading, self.listing = source, reading, listing
        self.note: str | None = None
        self.notes = [f"{one}." for one in listing.notes]
        self.cut: tuple[str, ...] = ()
        self.left_out = [Refused(one.name, f"{one.name}: {one.reason}") for one in listing.left_out]
        self.asked_group = group
        self.keywords: dict[str, str] = {}
        self.table = read_table(place, table, (labels, group))
        names = images_among(listing, source)
        unknown = [name for name, one in listing.kinds.items() if one is None]
        self.left_out += [Refused(name, f"{name} is of no kind known here") for name in unknown]
        self.masks: dict[str, list[str]] = {}
        for mask, image in listing.masks.items():
            self.masks.setdefault(image, []).append(mask)
        if source == "dicom":
            self._find_keywords(labels, group)
        columns = [
            None if what in self.keywords else said
            for what, said in (("labels", labels), ("group", group))
        ]
        self.labels = labels
        self._tell_table(names)
        self.annotations = Annotations(names, self.table, columns[0], columns[1])
        self.notes += [f"{one[0].upper()}{one[1:]}." for one in self.annotations.notes]
        self.left_out += [
            Refused(name, f"{name} lies beside the folders of the classes")
            for name in self.annotations.strays
        ]
        self.sides: dict[str, str] | None = None
        if reading.split is None and reading.test > 0 and (parts := own_split(names)):
            outside = [name for name in names if name not in parts]
            self.sides = parts | dict.fromkeys(outside, "train")
            beside = f"; {len(outside):,} files beside them train" if outside else ""
            self.notes.append(
                f"the split is the data's own, by its train, val and test folders{beside}."
            )
        self.names = names

    def files(self) -> list[ImageFile]:
        """Return the files that the table, or its absence, chooses."""
        files = []
        for name in self.names:
            said = self.annotations.of(name)
            if isinstance(said, Refused):
                files.append(ImageFile(name, partial(_refuse, said)))
            elif said is not None:
                files.append(self._file(name, self.listing.files[name], said))
        return files

    def read(self) -> TrainingImages:
        """Read the files as training takes them."""
        column = self.labels not in (None, FOLDER) and "labels" not in self.keywords
        told = self.table.values(str(self.labels)) if column and self.reading.most is None else ()
        images = images_from(
            self.files(),
            self.reading,
            source=self.source,
            told_classes=told,
        )
        # Opening files tells more than listing them did.
        return replace(
            images,
            left_out=tuple(self.left_out),
            notes=(*self.notes, *images.notes),
            pixel_notes=(*images.pixel_notes, *self.cut),
            note=self.note,
        )

    def _file(self, name: str, path: Path, said: Said) -> ImageFile:
        open_it: Callable[..., Iterator[ImageRecord | Refused]]
        open_it = {"folder": self._picture, "dicom": self._dicom, "nifti": self._volume}[
            self.source
        ]
        count = None if self.source == "folder" else partial(self._count, name, path)
        return ImageFile(name, partial(self._opened, open_it, name, path, said), count)

    def _opened(
        self,
        open_it: Callable[..., Iterator[ImageRecord | Refused]],
        name: str,
        path: Path,
        said: Said,
        rows: set[int] | None,
    ) -> Iterator[ImageRecord | Refused]:
        """Read a file's bytes once, hash them, and yield the images in them."""
        data = _bytes(path, name)
        whole = ImageRecord(
            name, NOTHING, said.labels, said.group, path, hashlib.sha256(data).hexdigest(),
            (self.sides or {}).get(name),
        )  # fmt: skip
        mask = self.masks.get(name)
        for one in open_it(data, whole, rows):
            if mask and isinstance(one, ImageRecord):
                part = int(one.name.removeprefix(name).lstrip("#") or 0)
                size = one.pixels.values.shape[:2]
                one = replace(one, mask=partial(self._mask, mask, part, one.pixels.aspect, size))
            yield one

    def _picture(
        self, data: bytes, whole: ImageRecord, _: set[int] | None
    ) -> Iterator[ImageRecord]:
        yield replace(whole, pixels=decode_picture(data, whole.name))

    def _dicom(
        self, data: bytes, whole: ImageRecord, rows: set[int] | None
    ) -> Iterator[ImageRecord | Refused]:
        name = whole.name
        file = open_dicom(data, name)
        if file.not_image:
            self.left_out.append(Refused(name, f"{name} is {file.not_image}"))
            return
        labels, group = dict(whole.labels), whole.group
        for what, keyword in self.keywords.items():
            value = plain_value(file.keyword(keyword))
            if what == "labels":
                if value is None:
                    yield Refused(name, f"{name} has no {keyword} to take its class from.")
                    return
                labels = {keyword: value}
            elif value is None and self.asked_group is not None:
                yield Refused(name, f"{name} has no {keyword} to say what belongs together.")
                return
            elif group is None:
                # Frames of one file are of one patient, also where nobody says which.
                group = str(value) if value is not None else name if file.frames > 1 else None
        own_window = (self.reading.like or self.reading).window == FILE
        for frame in sorted(rows) if rows is not None else range(file.frames):
            part = f"{name}#{frame}" if file.frames > 1 else name
            pixels = file.frame(frame, window_file=own_window)
            yield replace(whole, name=part, pixels=pixels, labels=labels, group=group)

    def _volume(
        self, data: bytes, whole: ImageRecord, rows: set[int] | None
    ) -> Iterator[ImageRecord]:
        name, plane = whole.name, self.reading.plane
        volume = open_nifti(data, name)
        if volume.looks_like_labels:
            self._note_once("labels", f"{name} looks like a map of labels; it is read as an image.")
        group = whole.group if whole.group is not None else name
        if self.asked_group is None:
            self.note = VOLUMES
        count = volume.slices(plane)
        shown = kept_slices(count)
        if len(shown) < count:
            self.cut = ENDS
        empty = []
        for number in shown if rows is None else [shown[row] for row in sorted(rows)]:
            part = f"{name}#{number}"
            try:
                pixels = volume.slice(number, plane)
            except DataError as error:  # beside the head, where all is NaN
                empty.append(Refused(part, str(error)))
                continue
            yield replace(whole, name=part, pixels=pixels, group=group)
        if len(empty) == len(shown):
            raise DataError(empty[0].reason)
        self.left_out += empty

    def _count(self, name: str, path: Path) -> int:
        """Return how many images a file holds."""
        data = _bytes(path, name)
        if self.source == "dicom":
            file = open_dicom(data, name)
            return 0 if file.not_image else file.frames
        return len(kept_slices(open_nifti(data, name).slices(self.reading.plane)))

    def _mask(
        self,
        names: Sequence[str],
        part: int,
        aspect: float,
        size: tuple[int, int],
        prepared: Preprocessing,
    ) -> NDArray[np.uint8]:
        """Return the mask of an image; of several the largest value at each place."""
        read = []
        for name in names:
            data = _bytes(self.listing.files[name], name)
            kind = self.listing.kinds[name]
            if kind == "nifti":
                volume = open_nifti(data, name)
                if part >= volume.slices(self.reading.plane):
                    raise DataError(f"{name} has no slice {part}, as the image beside it has.")
                values = volume.slice(part, self.reading.plane).values
            elif kind == "dicom":
                values = open_dicom(data, name).frame(part).values
            else:
                values = decode_picture(data, name).values
            if values.shape[:2] != size:
                raise DataError(
                    f"{name} is {values.shape[1]} x {values.shape[0]} pixels and its image is "
                    f"{size[1]} x {size[0]}; a mask must lie on its image pixel by pixel."
                )
            read.append(values if values.ndim == 2 else values.max(axis=2))
        return prepared.mask_pixels(np.maximum.reduce(read), aspect)

    def _find_keywords(self, labels: str | None, group: str | None) -> None:
        """Find out which of labels and group are DICOM keywords."""
        for what, said in (("labels", labels), ("group", group or PATIENT)):
            if said is not None and said != FOLDER and not self.table.has(said):
                if what == "labels":
                    check_keyword(said)
                elif not is_keyword(said):
                    raise DataError(
                        f"{said!r} is neither a DICOM keyword nor a column of {self.table.name}; "
                        "write a keyword as in 'Modality', or give a table."
                    )
                self.keywords[what] = said

    def _tell_table(self, names: Sequence[str]) -> None:
        """Say which files a table names that are not there, and which it does not name."""
        if not self.table.rows:
            return
        name, rows = self.table.name, len(self.table.rows)
        if missing := self.table.missing(names):
            self.notes.append(
                f"{len(missing):,} of the {rows:,} files that {name} names are missing: "
                f"{first_names(missing)}."
            )
        if unnamed := self.table.unnamed(names):
            left = " and are left out" if self.table.chosen else ""
            self.notes.append(
                f"{len(unnamed):,} files are not named by {name}{left}: {first_names(unnamed)}."
            )

    def _note_once(self, start: str, note: str) -> None:
        if not any(start in one for one in self.notes):
            self.notes.append(note)


def images_among(listing: Listing, kind: str) -> list[str]:
    """Return the files of a kind that are no masks."""
    return [n for n, one in listing.kinds.items() if one == kind and n not in listing.masks]


def kept_slices(count: int) -> range:
    """Return which of a volume's slices are read: the ends show little."""
    return range(round(KEPT[0] * count), max(1, round(KEPT[1] * count)))


def _refuse(said: Refused, _: set[int] | None) -> Iterator[Refused]:
    yield said


def _bytes(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror}).") from error
