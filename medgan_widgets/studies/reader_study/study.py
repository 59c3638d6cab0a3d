"""A study folder in use: each reader's own order, what is asked next, and what was answered."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Literal

import filelock
import numpy as np
from numpy.typing import NDArray

from medgan_widgets.errors import DataError, RequestError, SaveError
from medgan_widgets.seeds import whole_number
from medgan_widgets.studies.reader_study.answers import (
    LONGEST,
    Answer,
    Answers,
    append_answer,
    file_of,
    read_answers,
    reader_name,
    readers_in,
)
from medgan_widgets.studies.reader_study.plan import (
    IMAGES,
    PLAN,
    RATINGS,
    Plan,
    plan_from,
    shuffled,
)
from medgan_widgets.studies.reader_study.results import POOLED, Results, results_of

LOCK_SECONDS = 10.0
SIMULATED = "simulated"  # how the names of readers begin who are none


@dataclass(frozen=True)
class Asked:
    """One thing that a reader is asked.

    Attributes
    ----------
    number
        Its place in the reader's own order, from 1.
    kind
        ``"choice"`` or ``"rating"``.
    trial
        Which one of the plan's trials or ratings, from 0.
    rows
        The images in the order they stand on the screen.
    """

    number: int
    kind: Literal["choice", "rating"]
    trial: int
    rows: tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Study:
    """A folder with a plan, its images, and a file of answers for each reader.

    Attributes
    ----------
    folder
        Where it lies.
    plan
        What is asked, and the truth.
    """

    folder: Path
    plan: Plan
    _stamps: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        plan = self.plan
        return f"Study({len(plan.trials)} trials of {plan.choices}, {len(plan.ratings)} ratings)"

    @property
    def readers(self) -> tuple[str, ...]:
        """Who has answered something."""
        return readers_in(self.folder)

    def asked(self, reader: str) -> tuple[Asked, ...]:
        """Return everything that a reader is asked, in the reader's own order.

        Ratings come first: who has compared images already looks at single ones with
        other eyes. The image to find stands on each side equally often.
        """
        return _order(self.plan, self.known(reader))

    def known(self, reader: object) -> str:
        """Return a reader's name as it is kept.

        Raises
        ------
        RequestError
            When it is no name, or one that means all readers, or differs from a known
            reader in capitals alone: on some disks both would be one file.
        """
        name = reader_name(reader)
        if name.casefold() == POOLED:
            raise RequestError(f"{name!r} is what results call all of them; choose another name.")
        for other in self.readers:
            if other != name and other.casefold() == name.casefold():
                raise RequestError(
                    f"reader {name!r} differs from {other!r} in capitals alone; "
                    "write it the same way, or choose another name."
                )
        return name

    def answers(self, reader: str) -> Answers:
        """Return what a reader has answered."""
        return read_answers(self.folder, self.plan, self.known(reader))

    def next(self, reader: str) -> Asked | None:
        """Return what a reader is asked next, or None when all is answered."""
        done = self.answers(reader).done
        return next((one for one in self.asked(reader) if (one.kind, one.trial) not in done), None)

    def pixels(self, rows: tuple[int, ...]) -> NDArray[np.uint8]:
        """Return the images of some rows, uint8 [N, H, W, C]."""
        shape = self.plan.shape
        size = int(np.prod(shape))
        found = np.empty((len(rows), *shape), np.uint8)
        with (self.folder / IMAGES).open("rb") as file:  # a map would crash on a file cut short
            start = _start(file, len(self.plan.synthetic), shape, self.folder)
            for place, row in enumerate(rows):
                file.seek(start + row * size)
                data = file.read(size)
                if len(data) < size:
                    raise _changed(self.folder / IMAGES)
                found[place] = np.frombuffer(data, np.uint8).reshape(shape)
        return found

    def check(self) -> None:
        """Look whether the folder is still the one that was opened.

        Raises
        ------
        DataError
            When the plan or the images are gone or changed.
        """
        if _stamped(self.folder) == self._stamps:
            return
        if open_study(self.folder).plan.id != self.plan.id:
            raise _changed(self.folder / PLAN)

    def record(
        self, reader: str, asked: Asked, place: int, seconds: float, *, resumed: bool = False
    ) -> bool:
        """Save an answer; return False, and save nothing, when it was answered before.

        Parameters
        ----------
        reader
            Who answers.
        asked
            What was asked.
        place
            Which image, from 0 as on the screen; for a rating 1 to 5.
        seconds
            How long it took, 0 to one day.
        resumed
            Whether the pictures may have been seen before.

        Raises
        ------
        DataError
            When the folder was changed; nothing is saved.
        RequestError
            For an answer or a time that cannot be.
        SaveError
            When it cannot be written.
        """
        name = self.known(reader)
        if asked not in self.asked(name):
            raise RequestError(
                f"reader {name} is not asked {asked!r:.80}; answer what next({name!r}) returns."
            )
        allowed = range(len(asked.rows)) if asked.kind == "choice" else RATINGS
        place = whole_number(place, "an answer", allowed[0], allowed[-1])
        if not isinstance(seconds, (int, float, np.number)) or not 0 <= seconds <= LONGEST:
            raise RequestError(f"an answer takes 0 to {LONGEST:g} seconds, got {seconds!r}.")
        chosen = place
        if asked.kind == "choice":
            chosen = self.plan.trials[asked.trial].index(asked.rows[place])
        answer = Answer(
            study=self.plan.id,
            reader=name,
            kind=asked.kind,
            trial=asked.trial,
            chosen=chosen,
            place=place,
            seconds=round(float(seconds), 3),
            at=datetime.now(UTC).isoformat(timespec="seconds"),
            resumed=resumed,
            simulated=name.startswith(SIMULATED),
        )
        self.check()
        try:
            with filelock.FileLock(self.folder / f".{name}.lock", timeout=LOCK_SECONDS):
                if (asked.kind, asked.trial) in self.answers(name).done:
                    return False
                append_answer(self.folder, answer)
        except filelock.Timeout:
            raise SaveError(
                f"the answer was not saved: {file_of(self.folder, name).name} is in use elsewhere "
                f"for {LOCK_SECONDS:g} s; it is kept here, so press Enter again."
            ) from None
        except SaveError:
            raise
        except OSError as error:  # the lock itself could not be made
            raise SaveError(
                f"the answer was not saved in {self.folder}: {error.strerror or error}; it is kept "
                "here, so make the folder writable and press Enter again."
            ) from error
        return True

    def results(self) -> Results:
        """Return what the answers so far say."""
        return results_of(
            self.plan,
            [self.answers(reader) for reader in self.readers],
            {reader: self.asked(reader) for reader in self.readers},
            self.folder,
        )


def open_study(folder: str | Path) -> Study:
    """Open a study folder and check that it is whole.

    Raises
    ------
    DataError
        When it is no study, or its plan or images are not those that were made.
    """
    place = Path(folder).absolute()
    try:
        stamps = _stamped(place)
        plan = plan_from((place / PLAN).read_bytes(), place / PLAN)
        digest = hashlib.sha256()
        with (place / IMAGES).open("rb") as file:
            _start(file, len(plan.synthetic), plan.shape, place)
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise DataError(
            f"{place} is no reader study: {Path(error.filename or place).name} cannot be read "
            f"({error.strerror or error}); make one with prepare(folder, real=…, synthetic=…)."
        ) from None
    if digest.hexdigest() != plan.pixels:
        raise _changed(place / IMAGES)
    return Study(place, plan, stamps)


@lru_cache(maxsize=64)
def _order(plan: Plan, reader: str) -> tuple[Asked, ...]:
    key = f"{plan.seed}/{reader}"  # not the pixels' hash: a last bit differs between processors
    found = [Asked(0, "rating", n, (row,)) for n, row in enumerate(plan.ratings)]
    found = shuffled(found, f"{key}/ratings")
    order = shuffled(range(len(plan.trials)), f"{key}/trials")
    # As many trials with the image to find on each side as can be, in no order.
    sides = shuffled([n % plan.choices for n in range(len(order))], f"{key}/sides")
    for trial, side in zip(order, sides, strict=True):
        target = plan.trials[trial][plan.target(trial)]
        others = [row for row in plan.trials[trial] if row != target]
        rows = shuffled(others, f"{key}/trial/{trial}")
        rows.insert(side, target)
        found.append(Asked(0, "choice", trial, tuple(rows)))
    return tuple(
        Asked(number, one.kind, one.trial, one.rows) for number, one in enumerate(found, 1)
    )


def _stamped(folder: Path) -> tuple[tuple[int, int], ...]:
    try:
        stats = [(folder / name).stat() for name in (PLAN, IMAGES)]
    except OSError:
        return ()
    return tuple((one.st_mtime_ns, one.st_size) for one in stats)


def _start(file: object, rows: int, shape: tuple[int, ...], folder: Path) -> int:
    """Return where the pixels begin in an open ``images.npy`` of the plan's shape."""
    try:
        version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
        found, fortran, kind = np.lib.format.read_array_header_1_0(file)  # type: ignore[arg-type]
    except ValueError as error:
        raise DataError(f"{folder / IMAGES} is no array: {error}; restore the file.") from None
    if version != (1, 0) or fortran or kind != np.uint8 or found != (rows, *shape):
        raise _changed(folder / IMAGES)
    return int(file.tell())  # type: ignore[attr-defined]


def _changed(path: Path) -> DataError:
    return DataError(
        f"{path} is not the one that this study was made with, so answers would not fit it; put "
        "the first file back, or prepare a new study in another folder."
    )
