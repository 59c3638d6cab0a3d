"""What a search for copies found, and how far to trust it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import binomtest

from medgan_widgets.images import as_pil, captioned
from medgan_widgets.memorisation.calibration import Calibration
from medgan_widgets.memorisation.tuning import ALARMS, SENSITIVE, USABLE

NOT_ASSESSED = "Memorisation: not assessed"
NOT_LOOKED_FOR = (
    "Not looked for: shifts of more than 6% of the side, turns of more than 3 degrees (upside "
    "down is), parts of less than 80% of the side, images made smaller inside their frame, bent, "
    "inverted, or put together from several."
)
TILE, GAP = 160, 16  # pixels of a picture of pairs

_FOUND = (
    "{copies:,} of {n:,} generated images are copies of training images ({low:.1%} to "
    "{high:.1%}), of {n_training:,} looked through; {alarms} of {asked} real images that are none "
    "were taken for one (at most {most:.1%}), and {sensitivity:.0%} of {planted} copies made on "
    "purpose were found ({found}). Neither of these had a part in the threshold, which was set by "
    "{source}."
)
_ALIKE = (
    "The training images resemble each other nearly as much as copies do, so changed copies may "
    "be missed; give held-out images of others, or groups."
)
_WEAK = "Copies changed like this may be missed: {} were found."
_LEFT_OUT = (
    "{near_duplicates:,} more real images are left out of the {asked:,}: they are as like another "
    "training image as copies are."
)
_DOUBLED = (
    "{doubled:.1%} of the training images are as like another one as a copy is: near duplicates, "
    "or so plain that chance makes them alike; then as many images that are no copies may be "
    "called copies."
)
_HELD_OUT = (
    "{:,} held-out images helped to find the threshold and were not looked through themselves."
)
_FLAT = "{:,} images without any contrast were not compared."


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
        first = {"index": self.index, "seed": self.seed}
        return {**first, **asdict(self), "likeness": round(self.likeness, 4)}


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
        return _wilson(len(self.copies), self.n_generated - self.n_flat)

    @property
    def threshold(self) -> float | None:
        """Likeness above which a pair is a copy."""
        return self.calibration.threshold if self.calibration else None

    @property
    def text(self) -> str:
        """What was found, in a sentence or two; it never says that there is none."""
        copies, known = len(self.copies), self.calibration
        if known is None or self.interval is None:
            reason = self.reason or "no generated image shows anything to compare"
            same = f" {copies} of {self.n_generated:,} are copies all the same."
            return f"{NOT_ASSESSED}: {reason}.{same if copies else ''}"
        low, high = self.interval
        alarms = round(known.false_alarm_rate * known.asked)
        text = _FOUND.format(
            **{**vars(known), "found": _counts(known.found)},
            copies=copies,
            n=self.n_generated - self.n_flat,
            n_training=self.n_training,
            low=low,
            high=high,
            alarms=alarms,
            most=_wilson(alarms, max(known.asked, 1))[1],
        )
        return " ".join([text, *self.warnings])

    @property
    def warnings(self) -> tuple[str, ...]:
        """What speaks against leaning on it and what was not looked for, a sentence each."""
        texts = []
        if known := self.calibration:
            weak = {k: (n, of) for k, (n, of) in known.found.items() if n < SENSITIVE * of}
            texts += [
                _ALIKE if not known.apart or known.sensitivity < SENSITIVE else "",
                _WEAK.format(_counts(weak)) if weak else "",
                _LEFT_OUT.format(**vars(known)) if known.near_duplicates else "",
                _DOUBLED.format(**vars(known)) if known.doubled > 0 else "",
            ]
        texts += [
            _HELD_OUT.format(self.n_held_out) if self.n_held_out else "",
            self.note,
            _FLAT.format(self.n_flat) if self.n_flat else "",
        ]
        return (*filter(None, texts), NOT_LOOKED_FOR)

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
        cells = []
        for pair in self.pairs:
            if pair.index not in self.shown:
                continue
            both = Image.new("RGB", (2 * TILE + GAP, TILE + GAP), "white")
            for column, image in enumerate(self.shown[pair.index]):
                tile = as_pil(image).convert("RGB").resize((TILE, TILE), Image.Resampling.BICUBIC)
                both.paste(tile, (column * TILE, 0))
            made = f"SYNTHETIC {pair.index if pair.seed is None else pair.seed}"
            verdict = f"{'COPY' if pair.copy else 'no copy'}, {pair.likeness:.3f}: {pair.change}"
            lines = [f"{made}, left; TRAINING {pair.training}, right", verdict]
            cells.append(captioned(both, lines, width=both.width))
        if not cells:
            return captioned(None, [self.text])
        width, height = cells[0].width, max(cell.height for cell in cells)
        sheet = Image.new("RGB", (2 * width, -(-len(cells) // 2) * height), "white")
        for index, cell in enumerate(cells):
            sheet.paste(cell, (index % 2 * width, index // 2 * height))
        return captioned(sheet, [self.text], width=sheet.width)


def not_assessed(reason: str, n_generated: int = 0, n_training: int = 0) -> Report:
    """Return the report of a check that could not be made.

    Examples
    --------
    >>> not_assessed("there are no training images").text
    'Memorisation: not assessed: there are no training images.'
    """
    return Report(n_generated, n_training, reason=reason)


def _wilson(count: int, n: int) -> tuple[float, float]:
    low, high = binomtest(count, n).proportion_ci(method="wilson")
    return float(low), float(high)


def _counts(found: Mapping[str, tuple[int, int]]) -> str:
    return ", ".join(f"{name} {right} of {count}" for name, (right, count) in found.items())
