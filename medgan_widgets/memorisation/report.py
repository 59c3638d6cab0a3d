"""What a search for copies found, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from medgan_widgets.memorisation.calibration import Calibration
from medgan_widgets.memorisation.sheet import pairs_side_by_side

NOT_ASSESSED = "Memorisation: not assessed"
SENSITIVE = 0.95  # share of planted copies below which there is a warning …
USABLE = 0.5  # … and below which nothing can be said
NOT_LOOKED_FOR = (
    "Not looked for: shifts of more than 6% of the side, turns of more than 3 degrees (upside "
    "down is), parts of less than 80% of the side, images made smaller inside their frame, bent, "
    "inverted, or put together from several."
)
ALARMS = 0.1  # share of real images taken for copies above which nothing can be said


@dataclass(frozen=True)
class Pair:
    """A generated image and the training image that it resembles most.

    Attributes
    ----------
    index, seed
        Which generated image: its place, and its seed where it is known.
    training
        The place of the training image.
    likeness
        Correlation of what is individual in both, -1 … 1.
    copy
        Whether it is above the threshold.
    change
        What makes the training image most like the generated one, in words.
    """

    index: int
    training: int
    likeness: float
    copy: bool
    change: str
    seed: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the pair as plain JSON values."""
        return {
            "index": self.index,
            "seed": self.seed,
            "training": self.training,
            "likeness": round(self.likeness, 4),
            "copy": self.copy,
            "change": self.change,
        }


@dataclass(frozen=True)
class Report:
    """How many generated images are copies of training images.

    Attributes
    ----------
    n_generated, n_training, n_held_out
        How many images there were.
    calibration
        The threshold and what it is worth; None where nothing could be assessed.
    pairs
        All copies, and the nearest of the others, the most alike first.
    reason
        Why nothing could be assessed; empty where it could.
    n_flat
        Generated images without any contrast, of which nothing can be said.
    note
        What else is to be known, a sentence; empty where there is nothing.
    shown
        The pictures of the first pairs, by place of the generated image.
    """

    n_generated: int
    n_training: int
    n_held_out: int = 0
    calibration: Calibration | None = None
    pairs: tuple[Pair, ...] = ()
    reason: str = ""
    n_flat: int = 0
    note: str = ""
    shown: Mapping[int, tuple[NDArray[np.uint8], NDArray[np.uint8]]] = field(
        default_factory=dict, repr=False, compare=False
    )

    @property
    def assessed(self) -> bool:
        """Whether anything can be said."""
        known = self.calibration
        usable = known and known.sensitivity >= USABLE and known.false_alarm_rate <= ALARMS
        return bool(usable and self.n_generated > self.n_flat)

    @property
    def copies(self) -> tuple[Pair, ...]:
        """The pairs that are copies."""
        return tuple(pair for pair in self.pairs if pair.copy)

    @property
    def copy_rate(self) -> float | None:
        """Share of copies among the generated images that show anything, 0 … 1."""
        return len(self.copies) / (self.n_generated - self.n_flat) if self.assessed else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the copy rate, after Wilson (1927)."""
        if not self.assessed:
            return None
        found = binomtest(len(self.copies), self.n_generated - self.n_flat)
        low, high = found.proportion_ci(method="wilson")
        return float(low), float(high)

    @property
    def threshold(self) -> float | None:
        """Likeness above which a pair is a copy."""
        return self.calibration.threshold if self.calibration else None

    @property
    def text(self) -> str:
        """What was found, in a sentence or two; it never says that there is none."""
        found = len(self.copies)
        if not self.assessed or self.calibration is None or self.interval is None:
            reason = self.reason or "no generated image shows anything to compare"
            same = f" {found} of {self.n_generated:,} are copies all the same."
            return f"{NOT_ASSESSED}: {reason}.{same if found else ''}"
        low, high = self.interval
        known = self.calibration
        alarms = round(known.false_alarm_rate * known.asked)
        most = binomtest(alarms, max(known.asked, 1)).proportion_ci(method="wilson").high
        text = (
            f"{found:,} of {self.n_generated - self.n_flat:,} generated images are copies of "
            f"training images ({low:.1%} to {high:.1%}), of {self.n_training:,} looked through; "
            f"{alarms} of {known.asked} real images that are none were taken for one (at most "
            f"{most:.1%}), and {known.sensitivity:.0%} of {known.planted} copies made on purpose "
            f"were found ({_each(known.found)}). Neither of these had a part in the threshold, "
            f"which was set by {known.source}."
        )
        return " ".join([text, *self.warnings])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against leaning on it and what was not looked for, a sentence each."""
        said = []
        known = self.calibration
        if known and (not known.apart or known.sensitivity < SENSITIVE):
            said.append(
                "The training images resemble each other nearly as much as copies do, so changed "
                "copies may be missed; give held-out images of others, or groups."
            )
        weak = {
            name: counts
            for name, counts in (known.found if known else {}).items()
            if counts[0] < SENSITIVE * counts[1]
        }
        if weak:
            said.append(f"Copies changed like this may be missed: {_each(weak)} were found.")
        if known and known.near_duplicates:
            said.append(
                f"{known.near_duplicates:,} more real images are left out of the {known.asked:,}: "
                "they are as like another training image as copies are."
            )
        if known and known.doubled > 0:
            said.append(
                f"{known.doubled:.1%} of the training images are as like another one as a copy is: "
                "near duplicates, or so plain that chance makes them alike; then as many images "
                "that are no copies may be called copies."
            )
        if self.n_held_out:
            said.append(
                f"{self.n_held_out:,} held-out images helped to find the threshold and were not "
                "looked through themselves."
            )
        if self.note:
            said.append(self.note)
        if self.n_flat:
            said.append(f"{self.n_flat:,} images without any contrast were not compared.")
        return (*said, NOT_LOOKED_FOR)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values: places and numbers, no names and no pixels."""
        return {
            "assessed": self.assessed,
            "text": self.text,
            "copies": len(self.copies),
            "copy_rate": self.copy_rate,
            "interval": self.interval,
            "n_generated": self.n_generated,
            "n_flat": self.n_flat,
            "n_training": self.n_training,
            "n_held_out": self.n_held_out,
            "not_looked_for": NOT_LOOKED_FOR,
            "calibration": self.calibration.to_dict() if self.calibration else None,
            "pairs": [pair.to_dict() for pair in self.pairs],
        }

    def sheet(self) -> Image.Image:
        """Return the nearest pairs side by side, each marked; training images are in it."""
        some = [(pair, *self.shown[pair.index]) for pair in self.pairs if pair.index in self.shown]
        cells = [(made, real, _under(pair)) for pair, made, real in some]
        return pairs_side_by_side(cells, self.text)


def not_assessed(reason: str, n_generated: int = 0, n_training: int = 0) -> Report:
    """Return the report of a check that could not be made.

    Examples
    --------
    >>> not_assessed("there are no training images").text
    'Memorisation: not assessed: there are no training images.'
    """
    return Report(n_generated, n_training, reason=reason)


def _each(found: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {right} of {count}" for name, (right, count) in found.items())


def _under(pair: Pair) -> tuple[str, str, str]:
    """Return the words under both pictures, and those for the pair."""
    made = "SYNTHETIC" + (f" {pair.seed if pair.seed is not None else pair.index}")
    verdict = "COPY" if pair.copy else "no copy"
    return made, f"TRAINING {pair.training}", f"{verdict}, {pair.likeness:.3f}: {pair.change}"
