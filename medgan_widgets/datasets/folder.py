"""The files of one kind below a path, opened once each: pictures, DICOM, NIfTI, and their masks."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medgan_widgets.datasets.arrays import images_of_arrays
from medgan_widgets.datasets.dicom import (
    PATIENT,
    DicomFile,
    check_keyword,
    is_keyword,
    open_dicom,
)
from medgan_widgets.datasets.listing import kind_of, list_files
from medgan_widgets.datasets.naming import own_split
from medgan_widgets.datasets.nifti import KEPT, PLANES, Volume, open_nifti
from medgan_widgets.datasets.pictures import decode_picture
from medgan_widgets.datasets.prepare import ReadOptions, images_from
from medgan_widgets.datasets.preprocessing import FILE, Preprocessing
from medgan_widgets.datasets.records import ImageFile, ImageRecord, Pixels, Refused
from medgan_widgets.datasets.table import FOLDER, Annotation, annotated, plain_value, read_table
from medgan_widgets.datasets.training_images import TrainingImages
from medgan_widgets.errors import DataError

ENDS = (
    f"of each volume the slices from {KEPT[0]:.0%} to {KEPT[1]:.0%} of its length are read; the "
    "ends show little."
)
VOLUMES = (
    "each volume is a group of its own; pass group= with a table where several are of one patient"
)


class OpenedFile(Protocol):
    """What every kind of file gives: how many images it holds, which are read, and their pixels."""

    count: int
    numbers: range

    def part_name(self, number: int) -> str:
        """Return what an image of it is called."""

    def pixels(self, number: int) -> Pixels:
        """Return an image of it."""


class Picture:
    """A file of one picture."""

    count, numbers = 1, range(1)

    def __init__(self, data: bytes, name: str) -> None:
        self._data, self._name = data, name

    def part_name(self, number: int) -> str:
        """Return the file's own name."""
        return self._name

    def pixels(self, number: int) -> Pixels:
        """Return the picture."""
        return decode_picture(self._data, self._name)


class Folder:
    """Files of one kind below a path, listed and not opened yet, with what is known of them."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.listing = list_files(path)
        self.source = kind_of(self.listing, options.kind)
        self.options = options
        if self.source == "npz":
            if options.table is not None:
                raise DataError("an npz file holds its own classes and groups; leave out table=.")
            return
        labels, group = None if options.labels is False else options.labels, options.group
        if options.window == FILE and self.source != "dicom":
            raise DataError("window='file' is for DICOM; other files have no window of their own.")
        for what, given in (("labels", labels), ("group", group)):
            if given is not None and not isinstance(given, str):
                raise DataError(f"{what}= must be a name for files, got {given!r}.")
        if options.plane is not None and options.plane not in PLANES:
            raise DataError(f"plane must be one of {', '.join(PLANES)}; got {options.plane!r}.")

        self.group_note: str | None = None
        self.pixel_notes: set[str] = set()
        self.masks: dict[str, list[str]] = defaultdict(list)
        for mask, image in self.listing.masks.items():
            self.masks[image].append(mask)
        names = self.listing.images(self.source)
        self.table = read_table(path, options.table, (labels, group)).fitted(names)
        self.keywords: dict[str, str] = {}
        if self.source == "dicom":
            self._find_keywords({"labels": labels, "group": group or PATIENT})
        columns = [
            None if what in self.keywords else given
            for what, given in (("labels", labels), ("group", group))
        ]
        self.annotations, strays, notes = annotated(names, self.table, columns[0], columns[1])
        self.notes = [*self.listing.notes, *self.table.notes, *notes]
        self.label_column = None if columns[0] == FOLDER else columns[0]
        self.left_out = [Refused(n, f"{n}: {why}") for n, why in self.listing.left_out.items()]
        self.left_out += [
            Refused(name, f"{name} is of no kind known here") for name in self.listing.images(None)
        ]
        self.left_out += strays
        self.sides: dict[str, str] = {}
        if options.split is None and options.test > 0 and (parts := own_split(names)):
            outside = [name for name in names if name not in parts]
            self.sides = parts | dict.fromkeys(outside, "train")
            beside = f"; {len(outside):,} files beside them train" if outside else ""
            self.notes.append(
                f"the split is the data's own, by its train, val and test folders{beside}."
            )

    def _find_keywords(self, given: dict[str, str | None]) -> None:
        """Find out which of labels and group are DICOM keywords."""
        for what, name in given.items():
            if name in (None, FOLDER) or self.table.has(str(name)):
                continue
            if not is_keyword(str(name)):
                raise DataError(
                    f"{name!r} is neither a DICOM keyword nor a column of {self.table.name}; "
                    "write a keyword as in 'Modality', or give a table."
                )
            if what == "labels":
                check_keyword(str(name))
            self.keywords[what] = str(name)

    def files(self) -> list[ImageFile]:
        """Return the files that the table, or its absence, chooses."""
        return [self._image_file(name, known) for name, known in self.annotations.items()]

    def read(self) -> TrainingImages:
        """Read the files as training takes them."""
        options = self.options
        if self.source == "npz":
            arrays = self.listing.images("npz")
            if len(arrays) != 1:
                raise DataError(f"there are {len(arrays)} files of arrays; give the path of one.")
            path = self.listing.files[arrays[0]]
            files = images_of_arrays(path, options.labels, options.group)
            return images_from(files, options, "npz")
        classes: set[str] = set()
        if self.label_column and options.most is None:
            classes = self.table.values(self.label_column)
        images = images_from(self.files(), options, self.source, table_classes=classes)
        # Opening files tells more than listing them did.
        return replace(
            images,
            left_out=tuple(self.left_out),
            notes=(*self.notes, *images.notes),
            pixel_notes=(*images.pixel_notes, *self.pixel_notes),
            note=self.group_note,
        )

    def _image_file(self, name: str, known: Annotation | Refused) -> ImageFile:
        if isinstance(known, Refused):
            return ImageFile(name, lambda _: [known])
        count = None if self.source == "folder" else partial(self._count, name)
        return ImageFile(name, partial(self._images, name, known), count)

    def _opened(self, name: str, data: bytes, *, own_window: bool = False) -> OpenedFile:
        kind = self.listing.kinds[name]
        if kind == "dicom":
            return open_dicom(data, name, own_window=own_window)
        if kind == "nifti":
            return open_nifti(data, name, self.options.plane)
        return Picture(data, name)

    def _count(self, name: str) -> int:
        file = self._opened(name, self._bytes(name))
        return 0 if isinstance(file, DicomFile) and file.not_image else len(file.numbers)

    def _images(
        self, name: str, known: Annotation, rows: set[int] | None
    ) -> Iterator[ImageRecord | Refused]:
        """Read a file's bytes once, hash them, and yield the images in them."""
        data = self._bytes(name)
        file = self._opened(name, data, own_window=self.options.own_window)
        record = ImageRecord(
            name,
            labels=known.labels,
            group=known.group,
            file=self.listing.files[name],
            sha256=hashlib.sha256(data).hexdigest(),
            side=self.sides.get(name),
        )
        if isinstance(file, DicomFile):
            if file.not_image:
                self.left_out.append(Refused(name, f"{name} is {file.not_image}"))
                return
            record = self._with_keywords(file, record)
        elif isinstance(file, Volume):
            record = self._of_volume(file, record)
        empty = []
        numbers = file.numbers if rows is None else [file.numbers[row] for row in sorted(rows)]
        for number in numbers:
            part = file.part_name(number)
            try:
                pixels = file.pixels(number)
            except DataError as error:
                if not isinstance(file, Volume):
                    raise
                empty.append(Refused(part, str(error)))  # beside the head, where all is NaN
                continue
            mask = None
            if name in self.masks:
                size = pixels.values.shape[:2]
                mask = partial(self._mask, self.masks[name], number, pixels.aspect, size)
            yield replace(record, name=part, pixels=pixels, mask=mask)
        if empty and len(empty) == len(file.numbers):
            raise DataError(empty[0].reason)
        self.left_out += empty

    def _with_keywords(self, file: DicomFile, record: ImageRecord) -> ImageRecord:
        """Return a record with the class and the patient that DICOM keywords tell."""
        values = {what: plain_value(file.keyword(key)) for what, key in self.keywords.items()}
        if "labels" in values and values["labels"] is None:
            keyword = self.keywords["labels"]
            raise DataError(f"{file.name} has no {keyword} to take its class from.")
        if "group" in values and values["group"] is None and self.options.group is not None:
            keyword = self.keywords["group"]
            raise DataError(f"{file.name} has no {keyword} to say what belongs together.")
        labels, group = record.labels, record.group
        if (value := values.get("labels")) is not None:
            labels = {self.keywords["labels"]: value}
        if "group" in values and group is None:
            # Frames of one file are of one patient, also where nobody says which.
            alone = file.name if file.count > 1 else None
            group = alone if values["group"] is None else str(values["group"])
        return replace(record, labels=labels, group=group)

    def _of_volume(self, file: Volume, record: ImageRecord) -> ImageRecord:
        note = f"{file.name} looks like a map of labels; it is read as an image."
        if file.looks_like_labels and not any("map of labels" in known for known in self.notes):
            self.notes.append(note)
        if self.options.group is None:
            self.group_note = VOLUMES
        if len(file.numbers) < file.count:
            self.pixel_notes.add(ENDS)
        return record if record.group is not None else replace(record, group=file.name)

    def _mask(
        self,
        names: list[str],
        number: int,
        aspect: float,
        size: tuple[int, int],
        prepared: Preprocessing,
    ) -> NDArray[np.uint8]:
        """Return the mask of an image; of several the largest value of each pixel."""
        masks = []
        for name in names:
            file = self._opened(name, self._bytes(name))
            if number >= file.count:
                raise DataError(f"{name} has no slice {number}, as the image beside it has.")
            values: NDArray[Any] = file.pixels(number).values
            if values.shape[:2] != size:
                raise DataError(
                    f"{name} is {values.shape[1]} x {values.shape[0]} pixels and its image is "
                    f"{size[1]} x {size[0]}; a mask must lie on its image pixel by pixel."
                )
            masks.append(values if values.ndim == 2 else values.max(axis=2))
        return prepared.mask_pixels(np.maximum.reduce(masks), aspect)

    def _bytes(self, name: str) -> bytes:
        try:
            return self.listing.files[name].read_bytes()
        except OSError as error:
            raise DataError(f"{name} cannot be read ({error.strerror}).") from error
