"""study.json: which images make which trial, where they come from, and which are synthetic."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from medgan_widgets.errors import DataError

PLAN, IMAGES = "study.json", "images.npy"
ABOUT = (
    "A blinded reading of real and synthetic images, for research only. "
    "This file says which are synthetic: readers do not open it before they are done."
)
CHOICES = {"two": 2, "four": 4}
RATINGS = (1, 2, 3, 4, 5)
RATING_WORDS = (
    "clearly not real",
    "probably not real",
    "cannot say",
    "probably real",
    "clearly real",
)
T = TypeVar("T")


class Source(BaseModel):
    """Where the images of one side come from.

    Attributes
    ----------
    words
        As the person who made the study said it, or what is known of the data.
    phantom
        Whether they are phantoms, drawn by a program, with no patient behind them.
    images
        How many there were to take from.
    size
        Height and width before resizing, in pixels.
    sha256
        Of all their pixels, 64 hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    words: str
    phantom: bool
    images: int
    size: tuple[int, int]
    sha256: str


class Plan(BaseModel):
    """What is shown, to whoever reads, and the truth about it.

    Attributes
    ----------
    design
        ``"two"`` or ``"four"`` images a trial.
    find
        Which one a reader looks for: the only ``"synthetic"`` or the only ``"real"`` one.
    seed
        Decides which images are taken, and which stand together.
    shape
        Height, width and channels of every image.
    trials
        For each trial the rows of its images in ``images.npy``.
    ratings
        The rows that are rated alone.
    synthetic
        For each row, whether it is synthetic.
    taken
        For each row, its place among the images of its side.
    real, fake
        Where the two sides come from.
    notes
        What may give the images away, and what else was noticed.
    pixels
        SHA-256 of the rows, 64 hexadecimal digits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    format: Literal[1] = 1
    design: Literal["two", "four"]
    find: Literal["synthetic", "real"]
    seed: int
    shape: tuple[int, int, int]
    trials: tuple[tuple[int, ...], ...]
    ratings: tuple[int, ...]
    synthetic: tuple[bool, ...]
    taken: tuple[int, ...]
    real: Source
    fake: Source
    notes: tuple[str, ...]
    pixels: str

    @model_validator(mode="after")
    def _whole(self) -> Plan:
        rows = range(len(self.synthetic))
        if min(self.shape) < 1 or self.shape[2] not in (1, 3) or len(self.taken) != len(rows):
            raise ValueError("shape or taken do not fit the images")
        if not self.trials or not {*self.ratings, *sum(self.trials, ())} <= set(rows):
            raise ValueError("a trial names an image that is not there")
        for trial in self.trials:
            wanted = sum(self.synthetic[row] == (self.find == "synthetic") for row in trial)
            if len(trial) != CHOICES[self.design] or wanted != 1:
                raise ValueError("a trial does not have one image to find")
        return self

    @property
    def id(self) -> str:
        """The plan's identity, 16 hexadecimal digits; one value that differs gives another."""
        told = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def choices(self) -> int:
        """Images in a trial."""
        return CHOICES[self.design]

    @property
    def chance(self) -> float:
        """The share of trials that somebody who guesses gets right."""
        return 1 / self.choices

    @property
    def phantom(self) -> bool:
        """Whether phantoms stand in for real images."""
        return self.real.phantom

    def target(self, trial: int) -> int:
        """Return the place in a trial of the image to find."""
        wanted = self.find == "synthetic"
        return [self.synthetic[row] == wanted for row in self.trials[trial]].index(True)

    def to_json(self) -> bytes:
        """Return the text of ``study.json``."""
        told = {"id": self.id, "about": ABOUT, "plan": self.model_dump(mode="json")}
        return (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode()


def plan_from(text: bytes, path: Path) -> Plan:
    """Return the plan that a ``study.json`` holds."""
    try:
        told = json.loads(text)
        plan = Plan.model_validate_json(json.dumps(told["plan"]))
        known = told["id"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{path} is no plan of a reader study: {first[:200]}; prepare the study again in "
            "another folder."
        ) from None
    if plan.id != known:
        raise DataError(
            f"{path} was changed after it was made: it says {str(known)[:20]} and is {plan.id}; "
            "put the first file back, or prepare a new study in another folder."
        )
    return plan


def shuffled(items: Iterable[T], key: str) -> list[T]:
    """Return items in an order that the key decides, the same with every version of anything.

    Each is sorted by the SHA-256 of the key and its place. A random generator would
    do as well today, but a library may change its streams, and a study that is gone
    on with next year must go on in the same order.

    Examples
    --------
    >>> shuffled("abcd", "17") == shuffled("abcd", "17"), sorted(shuffled("abcd", "18"))
    (True, ['a', 'b', 'c', 'd'])
    """
    listed = list(items)
    places = range(len(listed))
    by_hash = sorted(places, key=lambda n: hashlib.sha256(f"{key}/{n}".encode()).digest())
    return [listed[place] for place in by_hash]
