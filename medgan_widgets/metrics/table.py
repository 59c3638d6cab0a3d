"""A table of scores: every row with what makes it comparable."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import pandas as pd

from medgan_widgets.datasets import Preprocessing
from medgan_widgets.requests import Measured, Score

COLUMNS = (
    "of", "against", "metric", "value", "low", "high", "floor", "relative", "n_real", "n_fake",
    "floor_n", "value_at_floor_n", "extractor", "kimg", "truncation_psi", "warning",
)  # fmt: skip


@dataclass(frozen=True)
class Prepared:
    """How the images of one side came to be pixels.

    Attributes
    ----------
    how
        In words: ``"generated"``, ``"drawn"``, ``"as given"`` (nobody knows), ``"pixel by
        pixel"``, or how files were windowed and resized.
    preprocessing
        The same as it is computed; for generated images that of the model's training images.
    jpeg, count
        How many of the images were JPEG files, and of how many.
    """

    how: str
    preprocessing: Preprocessing | None = None
    jpeg: int = 0
    count: int = 0


@dataclass(frozen=True, repr=False)
class Scores(Sequence[Measured]):
    """What was measured, one row a figure, and what to know of all of them.

    Attributes
    ----------
    rows
        The figures.
    notes
        Sentences on how the images were read and where the figures should not be leaned on.
    prepared
        How the ``"synthetic"`` and the ``"real"`` images were prepared.

    Examples
    --------
    >>> row = Measured(Score("FD", 0.2, 100, 90, "e-1", (0.1, 0.3), 0.1), of="m", against="reals")
    >>> scores = Scores((row,))
    >>> print(scores)
    m: FD 0.2 [0.1, 0.3], n 100 / 90, e-1, floor 0.1, 2 times the floor
    >>> scores["FD"].value, len(scores.to_frame())
    (0.2, 1)
    """

    rows: tuple[Measured, ...]
    notes: tuple[str, ...] = ()
    prepared: Mapping[str, Prepared] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Measured]:
        return iter(self.rows)

    @overload
    def __getitem__(self, key: str) -> Score: ...
    @overload
    def __getitem__(self, key: int) -> Measured: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Measured, ...]: ...
    def __getitem__(self, key: str | int | slice) -> Score | Measured | tuple[Measured, ...]:
        """Return the first score of a name, or a row by its place."""
        if not isinstance(key, str):
            return self.rows[key]
        for row in self.rows:
            if row.score.name == key:
                return row.score
        have = ", ".join(dict.fromkeys(row.score.name for row in self.rows)) or "none"
        raise KeyError(f"there is no score {key!r}; there are {have}.")

    def __str__(self) -> str:
        lines = [f"{row.of}: {in_words(row.score)}" for row in self.rows]
        return "\n".join([*lines, *self._apart(), *(f"note: {note}" for note in self.notes)])

    __repr__ = __str__

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a DataFrame; ``relative`` is the value as a multiple of its floor."""
        rows = []
        for row in self.rows:
            low, high = row.score.interval or (None, None)
            known = {"metric": row.score.name, "low": low, "high": high,
                     "relative": relative(row.score)}  # fmt: skip
            rows.append({**vars(row.score), **vars(row), **known})
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        frame = self.to_frame().dropna(axis=1, how="all")
        table = frame.to_html(index=False, float_format="{:.4g}".format, border=0)
        below = (*self._apart(), *self.notes)
        return table + "".join(f"<p>{html.escape(note)}</p>" for note in below)

    def _apart(self) -> list[str]:
        """Return which columns differ most, once for all figures of one comparison."""
        lines = []
        for row in (row for row in self.rows if row.score.why):
            columns = ", ".join(f"{name} {apart:+.2f}" for name, apart in row.score.why)
            shares = sorted(row.score.families.items(), key=lambda pair: -pair[1])
            kinds = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares)
            lines.append(f"{row.of} differs most in {columns} standard deviations; {kinds}")
        return list(dict.fromkeys(lines))


def in_words(score: Score) -> str:
    """Return a score in one line, with all that makes it comparable."""
    value = "not measured" if score.value is None else f"{score.value:.4g}"
    parts = [f"{score.name} {value}"]
    if score.interval is not None:
        parts[0] += f" [{score.interval[0]:.4g}, {score.interval[1]:.4g}]"
    parts.append(f"n {score.n_real} / {score.n_fake}")
    if score.extractor:
        parts.append(score.extractor)
    if score.floor is not None:
        parts.append(f"floor {score.floor:.4g}")
        if score.floor_n is not None:
            parts[-1] += f" at n {score.floor_n}"
        if score.value_at_floor_n is not None:
            parts[-1] += f", where the value is {score.value_at_floor_n:.4g}"
        if (times := relative(score)) is not None:
            parts.append(f"{times:.2g} times the floor")
    return ", ".join(parts) + (f" ({score.warning})" if score.warning else "")


def relative(score: Score) -> float | None:
    """Return a Fréchet distance as a multiple of its floor; None for all else.

    Where the floor stands at another n the value there counts: fewer images make distances
    larger.
    """
    distance = score.name.split()[0] in ("FD", "FID", "FD-infinity", "FID-infinity")
    value = score.value if score.floor_n is None else score.value_at_floor_n
    if not distance or value is None or not score.floor or score.floor < 0:
        return None
    return value / score.floor
